import pytest
from hypothesis import given
from hypothesis import strategies as st
from seqeval.metrics import accuracy_score, classification_report

from span_marker.core.labels import LabelledSpan, entities_to_tags, tags_to_entities
from span_marker.core.metrics import compute_metrics

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
