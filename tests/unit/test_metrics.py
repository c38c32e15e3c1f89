import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from seqeval.metrics import accuracy_score, classification_report
from sklearn.metrics import average_precision_score

from span_marker.core.labels import LabelledSpan, entities_to_tags, tags_to_entities
from span_marker.core.metrics import (
    NO_BEST_THRESHOLD,
    compute_metrics,
    precision_recall_f1,
    threshold_curve,
    threshold_metrics,
)

GOLD = [[LabelledSpan("PER", 0, 2), LabelledSpan("LOC", 3, 4)], [], [LabelledSpan("LOC", 0, 9)]]
PREDICTED = [[LabelledSpan("PER", 0, 2), LabelledSpan("LOC", 3, 5)], [LabelledSpan("PER", 1, 2)], []]


def test_an_entity_counts_only_if_all_of_it_is_right():
    metrics = compute_metrics(GOLD, PREDICTED, [5, 3, 10])
    assert metrics["PER"] == {"precision": 0.5, "recall": 1.0, "f1": pytest.approx(2 / 3), "number": 1}
    assert metrics["LOC"] == {"precision": 0.0, "recall": 0.0, "f1": 0.0, "number": 2}
    assert metrics["overall_precision"] == pytest.approx(1 / 3)
    assert metrics["overall_recall"] == pytest.approx(1 / 3)
    assert metrics["overall_f1"] == pytest.approx(1 / 3)
    assert metrics["overall_accuracy"] == pytest.approx((4 + 2 + 1) / 18)


def test_nothing_found_where_nothing_is():
    metrics = compute_metrics([[], []], [[], []], [3, 0])
    assert metrics == {
        "overall_precision": 0.0,
        "overall_recall": 0.0,
        "overall_f1": 0.0,
        "macro_precision": 0.0,
        "macro_recall": 0.0,
        "macro_f1": 0.0,
        "overall_accuracy": 1.0,
    }


def test_no_sentence_at_all():
    assert compute_metrics([], [], [])["overall_f1"] == 0.0


def test_entities_may_be_nested():
    outer, inner = LabelledSpan("ORG", 0, 3), LabelledSpan("LOC", 0, 1)
    metrics = compute_metrics([[outer, inner]], [[outer, LabelledSpan("PER", 0, 1)]], [3])
    assert (metrics["overall_precision"], metrics["overall_recall"]) == (0.5, 0.5)
    assert metrics["ORG"]["f1"] == 1.0
    assert metrics["macro_f1"] == pytest.approx(1 / 3)
    assert "overall_accuracy" not in metrics


@st.composite
def flat_sentences(draw):
    num_words = draw(st.integers(0, 8))
    tags = draw(
        st.lists(st.sampled_from(["O", "O", "B-X", "I-X", "B-Y", "I-Y"]), min_size=num_words, max_size=num_words)
    )
    return tags_to_entities(tags, "IOB"), num_words


@given(st.lists(st.tuples(flat_sentences(), flat_sentences()), max_size=5))
def test_flat_entities_are_counted_as_seqeval_does(pairs):
    pairs = [(gold, predicted) for (gold, words), (predicted, other_words) in pairs if words == other_words]
    gold, predicted = [list(pair[0]) for pair in pairs], [list(pair[1]) for pair in pairs]
    words = [9] * len(pairs)
    metrics = compute_metrics(gold, predicted, words)
    if not any(gold) and not any(predicted):
        assert metrics["overall_f1"] == 0.0
        return
    gold_tags, predicted_tags = ([entities_to_tags(row, 9) for row in rows] for rows in (gold, predicted))
    report = classification_report(gold_tags, predicted_tags, output_dict=True, zero_division=0)
    names = {"precision": "precision", "recall": "recall", "f1": "f1-score"}
    for label in report.keys() - {"micro avg", "macro avg", "weighted avg"}:
        assert metrics[label] == {
            **{ours: pytest.approx(report[label][theirs]) for ours, theirs in names.items()},
            "number": report[label]["support"],
        }
    for ours, theirs in names.items():
        assert metrics[f"overall_{ours}"] == pytest.approx(report["micro avg"][theirs])
        assert metrics[f"macro_{ours}"] == pytest.approx(report["macro avg"][theirs])
    assert metrics["overall_accuracy"] == pytest.approx(accuracy_score(gold_tags, predicted_tags))


PREDICTIONS = st.lists(st.tuples(st.sampled_from([0.0, 0.125, 0.25, 0.5, 0.75, 1.0]), st.booleans()), max_size=12)
"""Scores, many of them equal, and whether each prediction is right."""


@given(PREDICTIONS, st.integers(0, 5))
def test_the_curve_is_what_each_threshold_gives(predictions, num_missed):
    scores, is_right = [score for score, _ in predictions], [right for _, right in predictions]
    num_gold = sum(is_right) + num_missed
    thresholds, figures = threshold_curve(scores, is_right, num_gold)
    assert len(thresholds) == len(set(scores))
    for threshold, score, row in zip(thresholds, sorted(set(scores), reverse=True), figures, strict=True):
        passing = [right for other, right in predictions if other >= threshold]
        assert passing == [right for other, right in predictions if other >= score]
        assert row.tolist() == precision_recall_f1([sum(passing), len(passing), num_gold]).tolist()
        lower = [other for other in scores if other < score]
        assert threshold == (score + max(lower, default=0.0)) / 2


@given(PREDICTIONS, st.integers(0, 5))
def test_metrics_over_thresholds(predictions, num_missed):
    scores, is_right = [score for score, _ in predictions], [right for _, right in predictions]
    num_gold = sum(is_right) + num_missed
    metrics = threshold_metrics(scores, is_right, num_gold)
    if not any(is_right):
        assert list(metrics.values()) == [0.0, NO_BEST_THRESHOLD, 0.0]
        return
    reached = {}
    for threshold in scores:
        passing = [right for score, right in predictions if score >= threshold]
        reached[threshold] = 2 * sum(passing) / (len(passing) + num_gold)
    assert metrics["overall_best_f1"] == max(reached.values())
    best = min(score for score in scores if score >= metrics["overall_best_threshold"])
    assert best == max(score for score, f1 in reached.items() if f1 == max(reached.values()))
    average = average_precision_score(is_right, scores) * sum(is_right) / num_gold
    assert metrics["overall_average_precision"] == pytest.approx(average)


def test_neighboring_scores_are_told_apart():
    high = np.float32(0.5)
    low = np.nextafter(high, np.float32(0))
    assert threshold_metrics([high, low], [True, False], 1)["overall_best_threshold"] == high
