"""Pairs of gold and predicted relations: every kind by hand, and figures that are those of the metrics."""

from collections import Counter
from itertools import permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from reports import entities, few

from span_marker.core.labels import LabelledSpan
from span_marker.core.metrics import precision_recall_f1
from span_marker.core.relation_metrics import LabelledRelation, distinct_relations, relation_metrics
from span_marker.error_analysis.matching import match
from span_marker.error_analysis.relation_matching import RELATION_KINDS, match_relations, tally_relations

ANN, BO, ROME, ACME = (
    LabelledSpan("PER", 0, 1),
    LabelledSpan("PER", 2, 4),
    LabelledSpan("LOC", 5, 6),
    LabelledSpan("ORG", 8, 9),
)
ENTITIES = [ANN, BO, ROME, ACME]
SYMMETRIC = ["knows"]


def counterparts(gold, predicted):
    return {outcome.gold: outcome.predicted for outcome in match(gold, predicted) if outcome.gold and outcome.predicted}


@pytest.mark.parametrize(
    ("gold", "predicted", "found", "kinds"),
    [
        (("lives in", ANN, ROME), ("lives in", ANN, ROME), ENTITIES, ["correct"]),
        (("lives in", ANN, ROME), ("lives in", ROME, ANN), ENTITIES, ["wrong-direction"]),
        (("lives in", ANN, ROME), ("born in", ANN, ROME), ENTITIES, ["wrong-label"]),
        (("lives in", ANN, ROME), ("born in", ROME, ANN), ENTITIES, ["wrong-label"]),
        (("lives in", BO, ANN), ("knows", ANN, BO), ENTITIES, ["wrong-label"]),
        (("knows", BO, ANN), ("knows", ANN, BO), ENTITIES, ["correct"]),
        (("lives in", ANN, ROME), ("lives in", BO, ROME), ENTITIES, ["missed", "spurious"]),
        (("lives in", ANN, ROME), None, ENTITIES, ["missed"]),
        (None, ("lives in", ANN, ROME), ENTITIES, ["spurious"]),
        (("lives in", ANN, ROME), None, [ANN, BO], ["missed-entity"]),
        (("lives in", ANN, ROME), ("lives in", ANN, ACME), [ANN, ACME], ["missed-entity", "spurious"]),
    ],
)
def test_kinds(gold, predicted, found, kinds):
    sides = [[] if one is None else [LabelledRelation(*one)] for one in (gold, predicted)]
    outcomes = match_relations(*sides, counterparts(ENTITIES, found), SYMMETRIC)
    assert [outcome.kind for outcome in outcomes] == kinds
    assert [outcome.gold for outcome in outcomes if outcome.gold] == distinct_relations(sides[0], SYMMETRIC)


@pytest.mark.parametrize("wrong", [LabelledSpan("PER", 3, 4), LabelledSpan("ORG", 2, 4)])
@pytest.mark.parametrize("label", ["knows", "leads", None])
def test_an_entity_with_another_label_or_boundaries(wrong, label):
    gold = [LabelledRelation("leads", BO, ROME)]
    predicted = [] if label is None else [LabelledRelation(label, wrong, ROME)]
    [outcome] = match_relations(gold, predicted, counterparts(ENTITIES, [ANN, wrong, ROME]))
    assert outcome == ("wrong-entity", gold[0], predicted[0] if predicted else None)


def test_better_pairs_come_first():
    gold = [LabelledRelation(label, ANN, ROME) for label in ("born in", "lives in")]
    predicted = [LabelledRelation("lives in", ANN, ROME), LabelledRelation("leads", ROME, ANN)]
    for some in permutations(predicted):
        outcomes = match_relations(gold, some, counterparts(ENTITIES, ENTITIES))
        assert {(outcome.kind, outcome.gold, outcome.predicted) for outcome in outcomes} == {
            ("correct", gold[1], predicted[0]),
            ("wrong-label", gold[0], predicted[1]),
        }


@st.composite
def judged(draw):
    """Gold entities, predicted ones, and relations between either."""
    sides = []
    for spans in (draw(entities), draw(entities)):
        ends = st.sampled_from(spans) if spans else st.nothing()
        relations = st.builds(LabelledRelation, st.sampled_from(["knows", "leads"]), ends, ends)
        sides.append((spans, draw(st.lists(relations, max_size=6)) if spans else []))
    return tuple(zip(*sides, strict=True))


@given(st.lists(judged(), min_size=1, max_size=4))
@few
def test_outcomes_are_a_partition_with_the_figures_of_the_metrics(rows):
    sentences = [match_relations(*relations, counterparts(*spans), SYMMETRIC) for spans, relations in rows]
    for outcomes, (_, sides) in zip(sentences, rows, strict=True):
        for place, side in enumerate(sides, start=1):
            listed = Counter(outcome[place] for outcome in outcomes if outcome[place])
            assert listed == Counter(distinct_relations(side, SYMMETRIC))
        assert all(outcome.kind in RELATION_KINDS for outcome in outcomes)
        assert all((outcome.gold == outcome.predicted) == (outcome.kind == "correct") for outcome in outcomes)
    gold, predicted = ([relations[place] for _, relations in rows] for place in range(2))
    expected = relation_metrics(gold, predicted, symmetric=SYMMETRIC)
    measures, labels = tally_relations(sentences)
    for counts, prefix in ((measures["strict"], ""), (measures["boundaries"], "boundaries_")):
        figures = precision_recall_f1(counts.sum(axis=0)).tolist()
        assert figures == [expected[prefix + name] for name in ("precision", "recall", "f1")]
    assert labels.keys() == {label for label in ("knows", "leads") if label in expected}
    for label, counts in labels.items():
        *_, f1 = precision_recall_f1(counts.sum(axis=0)).tolist()
        assert (f1, counts.sum(axis=0)[2]) == (expected[label]["f1"], expected[label]["number"])


@given(judged())
@few
def test_causes_are_those_of_the_entities(row):
    (gold_spans, predicted_spans), relations = row
    kinds = {outcome.gold: outcome.kind for outcome in match(gold_spans, predicted_spans)}
    for outcome in match_relations(*relations, counterparts(gold_spans, predicted_spans), SYMMETRIC):
        if outcome.gold is not None:
            of_ends = {kinds[outcome.gold.head], kinds[outcome.gold.tail]}
            if "missed" in of_ends:
                assert outcome.kind == "missed-entity"
            elif of_ends != {"correct"}:
                assert outcome.kind == "wrong-entity"
            else:
                assert outcome.kind not in ("missed-entity", "wrong-entity")
