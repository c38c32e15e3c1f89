"""Metrics of relations against a naive count, and by hand."""

from itertools import chain

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score

from span_marker.core.labels import LabelledSpan
from span_marker.core.metrics import NAMES, compute_metrics
from span_marker.core.relation_metrics import (
    LabelledRelation,
    distinct_relations,
    metrics_of_labels,
    relation_metrics,
    relation_threshold_metrics,
)
from span_marker.training.base_trainer import flatten_metrics

ANN, BO, ROME, ACME = (
    LabelledSpan("PER", 0, 1),
    LabelledSpan("PER", 2, 4),
    LabelledSpan("LOC", 5, 6),
    LabelledSpan("ORG", 5, 6),
)
SYMMETRIC = {"knows"}

spans = st.builds(
    lambda label, start, length: LabelledSpan(label, start, start + length),
    st.sampled_from("XY"),
    st.integers(0, 2),
    st.integers(1, 2),
)
relations = st.builds(LabelledRelation, st.sampled_from(["knows", "leads", "owns"]), spans, spans)
sentences = st.lists(st.tuples(*[st.lists(relations, max_size=6)] * 3), max_size=4)


def test_by_hand():
    gold = [[LabelledRelation("lives in", ANN, ROME), LabelledRelation("knows", BO, ANN)], []]
    predicted = [
        [LabelledRelation("lives in", ANN, ACME), LabelledRelation("knows", ANN, BO)],
        [LabelledRelation("lives in", BO, ROME)],
    ]
    metrics = relation_metrics(gold, predicted, symmetric=SYMMETRIC)
    assert metrics["knows"] == {"precision": 1.0, "recall": 1.0, "f1": 1.0, "number": 1}
    assert metrics["lives in"] == {"precision": 0.0, "recall": 0.0, "f1": 0.0, "number": 1}
    assert (metrics["precision"], metrics["recall"]) == (pytest.approx(1 / 3), 0.5)
    assert metrics["f1"] == pytest.approx(2 / 5)
    assert metrics["macro_f1"] == 0.5
    assert metrics["boundaries_lives in"] == {"precision": 0.5, "recall": 1.0, "f1": pytest.approx(2 / 3), "number": 1}
    assert metrics["boundaries_f1"] == pytest.approx(4 / 5)
    assert metrics["boundaries_macro_f1"] == pytest.approx(5 / 6)
    assert "gold_f1" not in metrics
    assert relation_metrics(gold, predicted)["knows"]["f1"] == 0.0
    assert relation_metrics(gold, predicted, gold)["gold_f1"] == 1.0
    assert relation_metrics(gold, predicted, [[], []])["gold_recall"] == 0.0


def test_a_symmetric_relation_counts_once_whatever_its_direction():
    both = [LabelledRelation("knows", ANN, BO), LabelledRelation("knows", BO, ANN)]
    for gold in (both, both[:1], both[1:]):
        for predicted in (both, both[:1], both[1:]):
            metrics = relation_metrics([gold], [predicted], symmetric=SYMMETRIC)
            assert metrics["knows"] == {"precision": 1.0, "recall": 1.0, "f1": 1.0, "number": 1}
    assert relation_metrics([both], [both])["knows"]["number"] == 2


def test_types_alone_do_not_make_two_of_a_relation():
    of_rome, of_acme = LabelledRelation("lives in", ANN, ROME), LabelledRelation("lives in", ANN, ACME)
    metrics = relation_metrics([[of_rome, of_acme]], [[of_rome]])
    assert (metrics["lives in"]["number"], metrics["boundaries_lives in"]["number"]) == (2, 1)
    assert (metrics["recall"], metrics["boundaries_recall"]) == (0.5, 1.0)


NAMES_OF_METRICS = [
    "owner",
    "f1",
    "recall",
    "overall",
    "macro",
    "best",
    "average",
    "gold",
    "boundaries",
    "relation",
    "loss",
]
NAMES_OF_METRICS += [
    f"{first}_{second}" for first in (*NAMES_OF_METRICS, "label") for second in ("owner", "f1", "label_x")
]


def test_labels_may_be_called_as_metrics_are():
    """Two metrics had one name, of which the second was left: X between gold entities was the strict gold_X."""
    entities = [LabelledSpan(label, place, place + 1) for place, label in enumerate(NAMES_OF_METRICS)]
    found = compute_metrics([entities], [entities[::2]], [len(entities)])
    assert found["overall_f1"] == pytest.approx(2 * len(entities[::2]) / (len(entities) + len(entities[::2])))
    gold = [[LabelledRelation(label, ANN, ACME) for label in NAMES_OF_METRICS]]
    of_relations = relation_metrics(gold, [[]], gold) | {"best_f1": 0.5, "gold_best_f1": 0.5, "average_precision": 0.5}
    metrics = found | {f"relation_{name}": value for name, value in of_relations.items()} | {"loss": 0.5}
    assert len(metrics) == len(found) + len(of_relations) + 1
    flat = flatten_metrics(metrics)
    assert len(flat) == sum(len(value) if isinstance(value, dict) else 1 for value in metrics.values())
    assert (flat["relation_f1"], flat["relation_gold_f1"], flat["relation_gold_best_f1"]) == (0.0, 1.0, 0.5)
    prefixed = {f"eval_{name}": value for name, value in metrics.items()}
    of_entities, strict = metrics_of_labels(prefixed, "eval_")
    assert [*of_entities] == [*strict] == sorted(NAMES_OF_METRICS)
    assert {figures["recall"] for figures in strict.values()} == {0.0}
    assert [of_entities[label]["recall"] for label in NAMES_OF_METRICS[:2]] == [1.0, 0.0]


def test_entities_without_words_are_missed_one_by_one():
    lost = [LabelledSpan("LOC", -place, -place) for place in (1, 2)]
    gold = [[LabelledRelation("lives in", ANN, end) for end in lost]]
    metrics = relation_metrics(gold, gold[:0] or [[]])
    assert metrics["lives in"]["number"] == metrics["boundaries_lives in"]["number"] == 2


def test_relations_between_entities_with_the_same_words_are_missed_in_all_figures():
    """Strict figures counted them, unless the labels were the same, too; those of boundaries did not."""
    twice = LabelledRelation("knows", ANN, ANN)
    assert distinct_relations([twice, twice]) == [twice]
    gold = [[twice, LabelledRelation("is", ANN, ANN._replace(label="ROLE")), LabelledRelation("knows", ANN, BO)]]
    metrics = relation_metrics(gold, [gold[0][2:]], [gold[0][2:]])
    for prefix in ("", "boundaries_", "gold_"):
        assert (metrics[f"{prefix}knows"]["number"], metrics[f"{prefix}is"]["number"]) == (2, 1)
        assert (metrics[f"{prefix}precision"], metrics[f"{prefix}recall"]) == (1.0, 1 / 3)


@pytest.mark.parametrize("rows", [[], [[]], [[], []]])
def test_nothing_found_where_nothing_is(rows):
    metrics = relation_metrics(rows, rows, rows)
    assert set(metrics.values()) == {0.0}
    assert len(metrics) == 18


def same(first, second, with_types):
    """Whether two relations are the same, by the definition."""

    def is_same(one, other):
        return one[1:] == other[1:] and (one.label == other.label or not with_types)

    straight = is_same(first.head, second.head) and is_same(first.tail, second.tail)
    crossed = is_same(first.head, second.tail) and is_same(first.tail, second.head)
    return first.label == second.label and (straight or (first.label in SYMMETRIC and crossed))


def count(found, others, with_types):
    """How many different relations there are, and how many of them are among others."""
    kept = []
    for relation in found:
        if not any(same(relation, other, with_types) for other in kept):
            kept.append(relation)
    return len(kept), sum(any(same(relation, other, with_types) for other in others) for relation in kept)


def oracle(pairs, label, with_types):
    num_gold = num_predicted = num_right = 0
    for gold, predicted in pairs:
        gold, predicted = ([one for one in some if label in (None, one.label)] for some in (gold, predicted))
        num_gold += count(gold, [], with_types)[0]
        number, right = count(predicted, gold, with_types)
        num_predicted += number
        num_right += right
    precision = num_right / num_predicted if num_predicted else 0.0
    recall = num_right / num_gold if num_gold else 0.0
    f1 = 2 * precision * recall / (precision + recall) if num_right else 0.0
    return dict(zip(NAMES, map(pytest.approx, (precision, recall, f1)), strict=True)), num_gold, num_predicted


@given(sentences)
def test_metrics_are_those_of_counting(rows):
    gold, predicted, given_gold = ([row[place] for row in rows] for place in range(3))
    metrics = relation_metrics(gold, predicted, given_gold, SYMMETRIC)
    expected = {}
    for prefix, found, with_types in (("", predicted, 1), ("boundaries_", predicted, 0), ("gold_", given_gold, 1)):
        pairs = list(zip(gold, found, strict=True))
        per_label = []
        for label in ("knows", "leads", "owns"):
            figures, num_gold, num_predicted = oracle(pairs, label, with_types)
            if num_gold or num_predicted:
                expected[prefix + label] = {**figures, "number": num_gold}
                per_label.append(figures)
        micro, *_ = oracle(pairs, None, with_types)
        for name in NAMES:
            expected[prefix + name] = micro[name]
            mean = sum(figures[name].expected for figures in per_label) / max(len(per_label), 1)
            expected[f"{prefix}macro_{name}"] = pytest.approx(mean)
    assert metrics == expected


@given(sentences)
def test_swapping_gold_and_predictions_swaps_precision_and_recall(rows):
    gold, predicted = ([row[place] for row in rows] for place in range(2))
    first, second = relation_metrics(gold, predicted), relation_metrics(predicted, gold)
    for prefix in ("", "boundaries_"):
        assert first[f"{prefix}precision"] == second[f"{prefix}recall"]
        assert first[f"{prefix}f1"] == second[f"{prefix}f1"]


@given(
    st.lists(
        st.tuples(st.lists(relations, max_size=4), st.dictionaries(relations, st.sampled_from([0.25, 0.5]))), max_size=4
    )
)
def test_figures_over_all_thresholds(rows):
    gold, ranked = ([row[place] for row in rows] for place in range(2))
    ranked = [{one: score for one, score in row.items() if one.head != one.tail} for row in ranked]
    metrics = relation_threshold_metrics(gold, ranked)
    by_threshold = [
        relation_metrics(gold, [[one for one, score in row.items() if score >= threshold] for row in ranked])["f1"]
        for threshold in (0.25, 0.5)
    ]
    assert metrics["best_f1"] == max(by_threshold)
    right = [one in relations for relations, row in zip(gold, ranked, strict=True) for one in row]
    if any(right):
        at_best = [[one for one, score in row.items() if score >= metrics["best_threshold"]] for row in ranked]
        assert relation_metrics(gold, at_best)["f1"] == metrics["best_f1"]
        scores = list(chain.from_iterable(row.values() for row in ranked))
        num_gold = sum(len(distinct_relations(relations)) for relations in gold)
        expected = average_precision_score(right, scores) * sum(right) / num_gold
        assert metrics["average_precision"] == pytest.approx(expected)
