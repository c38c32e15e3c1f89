"""What is wrong with an annotation, by the probabilities of its span and of those around it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_span_probabilities import SPANS, distributions

from span_marker.core.labels import LabelledSpan
from span_marker.curation.span_probabilities import Mentions, overlap
from span_marker.curation.suspects import UNSUPPORTED, Suspect, find_suspects, known_labels, weigh_support

PER, LOC = LabelledSpan("PER", 0, 2), LabelledSpan("LOC", 0, 2)


def odds(probability):
    """A probability with odds that are four times as high, those of missing entities."""
    return pytest.approx(1 / (1 + (1 / probability - 1) / 4))


def judge(gold, predicted, mentions=None, **options):
    return [tuple(s[1:6]) for s in find_suspects(0, gold, predicted, mentions or {}, **options)]


@pytest.mark.parametrize(
    ("predicted", "expected"),
    [
        ({(0, 2): {"PER": 0.25, "LOC": 0.5}}, ("wrong-label", 0.75, PER, LOC, 0.5)),
        ({(0, 1): {"PER": 0.75}}, ("wrong-boundary", 1.0, PER, LabelledSpan("PER", 0, 1), 0.75)),
        ({(1, 3): {"LOC": 0.75}, (0, 1): {"PER": 0.5}}, ("wrong-boundary", 1.0, PER, LabelledSpan("LOC", 1, 3), 0.75)),
        # What overlaps takes no more than what the span itself leaves to O.
        ({(0, 2): {"PER": 0.25, "LOC": 0.5}, (0, 1): {"PER": 1.0}}, ("wrong-label", 0.75, PER, LOC, 0.5)),
        ({(0, 2): {"PER": 0.25}, (0, 1): {"PER": 0.25}}, ("spurious", 0.75, PER, None, 0.75)),
        ({}, ("spurious", 1.0, PER, None, 1.0)),
        ({(0, 2): {"PER": 1.0}}, ("spurious", 0.0, PER, None, 0.0)),
    ],
)
def test_the_likeliest_alternative_is_the_kind(predicted, expected):
    assert judge([PER], predicted) == [expected]


def test_the_most_probable_of_overlapping_spans_is_missing():
    predicted = {(0, 2): {"PER": 0.5, "LOC": 0.25}, (1, 3): {"LOC": 0.625}, (3, 4): {"PER": 0.125}}
    missing = LabelledSpan("LOC", 1, 3)
    assert judge([], predicted) == [
        ("missing", odds(0.625), None, missing, 0.625),
        ("missing", odds(0.125), None, LabelledSpan("PER", 3, 4), 0.125),
    ]


def test_entities_that_may_overlap_do_not_exclude_what_is_less_probable():
    predicted = {(0, 2): {"PER": 0.75}, (0, 1): {"LOC": 0.5}}
    inner = LabelledSpan("LOC", 0, 1)
    assert judge([PER], predicted, may_overlap=True) == [
        ("spurious", 0.25, PER, None, 0.25),
        ("missing", odds(0.5), None, inner, 0.5),
    ]
    assert judge([PER], {**predicted, (0, 2): {"PER": 0.25}}, may_overlap=True) == [
        ("wrong-boundary", 0.75, PER, inner, 0.5)
    ]


def test_an_annotation_that_most_mentions_contradict_is_inconsistent():
    predicted = {(0, 2): {"PER": 0.5, "LOC": 0.5}}
    [suspect] = find_suspects(0, [PER], predicted, {(0, 2): Mentions({"LOC": 4, "PER": 1})})
    assert (suspect.kind, suspect.suggested, suspect.mentions, suspect.agreeing) == ("inconsistent", LOC, 5, 1)
    assert suspect.probability == pytest.approx(1 - (1 + 0.5) / 6)
    assert suspect.confidence == pytest.approx((4 + 0.5) / 6)
    [suspect] = find_suspects(0, [PER], predicted, {(0, 2): Mentions({"O": 2})})
    assert (suspect.kind, suspect.suggested) == ("inconsistent", None)
    assert suspect.confidence == pytest.approx(2 / 3)
    [suspect] = find_suspects(0, [PER], predicted, {(0, 2): Mentions({"LOC": 3, "PER": 1})})
    assert (suspect.kind, suspect.mentions, suspect.agreeing) == ("wrong-label", 4, 1)
    [suspect] = find_suspects(0, [], {(0, 2): {"PER": 0.25}}, {(0, 2): Mentions({"PER": 2})})
    assert (suspect.kind, suspect.suggested, suspect.agreeing) == ("inconsistent", PER, 0)


@pytest.mark.parametrize(
    ("kind", "suggested", "known", "factor"),
    [
        ("wrong-label", LOC, {("ann lee", "LOC")}, 1),
        ("wrong-label", LOC, {("ann lee", "PER"), ("lee", "LOC")}, UNSUPPORTED),
        ("wrong-boundary", LabelledSpan("PER", 1, 2), {("lee", "PER")}, 1),
        ("spurious", None, {("ann lee", "PER")}, UNSUPPORTED),
        ("inconsistent", None, set(), 1),
        ("inconsistent", LOC, set(), 1),
    ],
)
def test_suggestions_that_no_annotation_supports_count_less(kind, suggested, known, factor):
    suspect = Suspect(0, kind, 0.5, PER, suggested, 0.5)
    assert weigh_support(suspect, ["ANN", "Lee"], known).probability == factor * 0.5
    assert known_labels([(["Ann", "Lee"], [PER]), ("ANN  LEE x", [LabelledSpan("LOC", 0, 8)])]) == {
        ("ann lee", "PER"),
        ("ann lee", "LOC"),
    }


@given(st.lists(st.tuples(st.sampled_from("AB"), st.sampled_from(SPANS)), max_size=3), distributions())
def test_every_annotation_is_judged_once_and_nothing_else_overlaps_it(entities, predicted):
    gold = []
    for label, span in entities:
        if not any(overlap(span, other[1:]) for other in gold):
            gold.append(LabelledSpan(label, *span))
    suspects = list(find_suspects(3, gold, predicted, {}))
    assert [suspect.annotated for suspect in suspects[: len(gold)]] == gold
    missing = [suspect.suggested for suspect in suspects[len(gold) :]]
    taken = [*gold, *missing]
    assert not any(overlap(a[1:], b[1:]) for place, a in enumerate(taken) for b in taken[:place])
    for span in predicted:  # each is annotated, contests an annotation, or is missing or next to something missing
        assert any(overlap(span, other[1:]) for other in taken)
    for suspect in suspects:
        own = {} if suspect.annotated is None else predicted.get(suspect.annotated[1:], {})
        total = sum(predicted.get(suspect.span[1:], {}).values())
        expected = 1 - own.get(suspect.annotated.label, 0.0) if suspect.annotated else total and odds(total)
        assert suspect.probability == (expected if suspect.annotated is None else pytest.approx(expected))
        assert suspect.row == 3
        assert -1e-9 <= suspect.confidence <= 1 + 1e-9
