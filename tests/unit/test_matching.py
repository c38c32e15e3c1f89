"""Pairs of gold entities and predictions, and what is counted of them."""

from collections import Counter
from fractions import Fraction
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st
from reports import entities, few, judge, report_on, sentences

from span_marker.core.labels import LabelledSpan
from span_marker.error_analysis.matching import JudgedSentence, confusion_matrix, match, num_words
from span_marker.error_analysis.report import ErrorReport


def match_by_exhaustive_search(gold, predicted):
    """The oracle of `match`: what its description says, word by word, with no index and no sorting.

    Compare every gold entity that is left with every prediction that is left, as sets of words; take the best pair;
    repeat until no two entities overlap. Returns the outcomes as a set of (kind, gold, predicted).
    """
    gold, predicted, pairs = list(gold), list(predicted), []
    while True:
        best = None
        for one, other in product(gold, predicted):
            ones, others = set(range(*one[1:])), set(range(*other[1:]))
            if not ones & others:
                continue
            tier = {(True, True): 0, (True, False): 1, (False, True): 2, (False, False): 3}
            tier = tier[ones == others, one.label == other.label]
            places = sorted([(one.start, one.end, one.label), (other.start, other.end, other.label)])
            key = (tier, -Fraction(len(ones & others), len(ones | others)), places)
            if best is None or key < best[0]:
                best = (key, one, other)
        if best is None:
            kinds = ["correct", "wrong-label", "wrong-boundaries", "wrong-both"]
            pairs = [(kinds[tier], one, other) for (tier, _, _), one, other in pairs]
            return {
                *pairs,
                *(("missed", one, None) for one in gold),
                *(("spurious", None, other) for other in predicted),
            }
        pairs.append(best)
        gold.remove(best[1])
        predicted.remove(best[2])


@given(entities, entities)
def test_pairs_are_those_of_a_naive_search(gold, predicted):
    outcomes = match(gold, predicted)
    assert len(outcomes) == len(set(outcomes))
    assert set(outcomes) == match_by_exhaustive_search(gold, predicted)


@given(entities, entities, st.randoms())
def test_pairs_depend_on_no_order_and_no_repetition(gold, predicted, random):
    expected = match(gold, predicted)
    shuffled = [random.sample([*some, *some[:2]], len(some) + len(some[:2])) for some in (gold, predicted)]
    assert match(*shuffled) == expected
    starts = [(outcome.gold or outcome.predicted).start for outcome in expected]
    assert starts == sorted(starts)


@given(entities, entities)
def test_gold_entities_and_predictions_may_be_swapped(gold, predicted):
    back = {"missed": "spurious", "spurious": "missed"}
    swapped = {(back.get(kind, kind), other, one) for kind, one, other in match(predicted, gold)}
    assert swapped == set(match(gold, predicted))


@pytest.mark.parametrize(
    ("gold", "predicted", "kinds"),
    [
        ([("X", 0, 2)], [("X", 0, 2)], ["correct"]),
        ([("X", 0, 2)], [("Y", 0, 2)], ["wrong-label"]),
        ([("X", 0, 2)], [("X", 1, 2)], ["wrong-boundaries"]),
        ([("X", 0, 2)], [("Y", 1, 2)], ["wrong-both"]),
        ([("X", 0, 2)], [("X", 2, 3)], ["missed", "spurious"]),
        # several labels of the same words
        ([("X", 0, 2), ("Y", 0, 2)], [("Y", 0, 2), ("Z", 0, 2)], ["wrong-label", "correct"]),
        # nested ones
        ([("X", 0, 5), ("X", 1, 2)], [("X", 1, 2)], ["missed", "correct"]),
        # right boundaries before the right label
        ([("X", 0, 2)], [("Y", 0, 2), ("X", 0, 1)], ["spurious", "wrong-label"]),
        # the larger overlap first
        ([("X", 0, 5)], [("X", 0, 1), ("X", 1, 4)], ["wrong-boundaries", "spurious"]),
    ],
)
def test_kinds(gold, predicted, kinds):
    outcomes = match(*([LabelledSpan(*span) for span in some] for some in (gold, predicted)))
    assert sorted(outcome.kind for outcome in outcomes) == sorted(kinds)


def test_an_empty_entity_is_refused():
    with pytest.raises(ValueError, match="entity 'X' from 3 to 3 is empty: 'end' is exclusive"):
        match([LabelledSpan("X", 3, 3)], [])


def test_long_documents_take_no_time():
    gold = [LabelledSpan("X", place, place + 3) for place in range(0, 200_000, 10)]
    predicted = [LabelledSpan("X", place + 1, place + 3) for place in range(0, 200_000, 10)]
    assert {outcome.kind for outcome in match(gold, predicted)} == {"wrong-boundaries"}


@given(sentences)
@few
def test_measures_are_those_of_the_muc_categories(pairs):
    """COR, INC, PAR, MIS and SPU, as in the evaluation of SemEval-2013 task 9.1."""
    report = report_on(pairs)
    for name, figures in report.measures.items():
        categories = Counter()
        for gold, predicted in pairs:
            for _, one, other in match_by_exhaustive_search(gold, predicted):
                if other is None or one is None:
                    categories["MIS" if other is None else "SPU"] += 1
                    continue
                same_bounds, same_label = one[1:] == other[1:], one.label == other.label
                is_right = {
                    "strict": same_bounds and same_label,
                    "exact": same_bounds,
                    "partial": same_bounds,
                    "type": same_label,
                }[name]
                categories["COR" if is_right else "PAR" if name == "partial" else "INC"] += 1
        possible = sum(categories[name] for name in ("COR", "INC", "PAR", "MIS"))
        actual = sum(categories[name] for name in ("COR", "INC", "PAR", "SPU"))
        score = categories["COR"] + 0.5 * categories["PAR"]
        assert (figures.num_gold, figures.num_predicted) == (possible, actual)
        assert figures.precision.value == (score / actual if actual else 0)
        assert figures.recall.value == (score / possible if possible else 0)


@given(sentences)
@few
def test_the_matrix_counts_every_entity_once(pairs):
    labels = ["X", "Y", "Z"]
    matrix = confusion_matrix(judge(pairs), labels)
    for place, label in enumerate(labels):
        num_gold, num_predicted = (
            sum(span.label == label for spans in some for span in spans) for some in zip(*pairs, strict=True)
        )
        assert (matrix[place].sum(), matrix[:, place].sum()) == (num_gold, num_predicted)
    kinds = report_on(pairs).kinds
    assert (matrix[-1].sum(), matrix[:, -1].sum(), matrix[-1, -1]) == (kinds["spurious"], kinds["missed"], 0)
    assert matrix[:-1, :-1].trace() == kinds["correct"] + kinds["wrong-boundaries"]


def test_groups_of_lengths():
    gold = [LabelledSpan("X", start, end) for start, end in ((0, 1), (1, 3), (3, 10), (10, 30))]
    one = JudgedSentence(["w"] * 49, match(gold, gold[:2]))
    other = JudgedSentence("Ann Lee-Smith, 3.5% of it", match([LabelledSpan("X", 0, 18)], [LabelledSpan("Y", 15, 18)]))
    report = ErrorReport.from_sentences([one, other], num_resamples=5)
    assert {name: of[:2] for name, of in report.entity_lengths.items()} == {
        "1": (1, 1),
        "2": (1, 1),
        "3": (0, 1),  # 3 . 5
        "6-8": (2, 0),  # Ann Lee - Smith , 3 . 5 are eight
        "13+": (1, 0),
    }
    assert {name: of[:2] for name, of in report.sentence_lengths.items()} == {"10-19": (1, 1), "30-49": (4, 2)}
    assert num_words("") == num_words([]) == 0
