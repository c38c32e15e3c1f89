import re
import tempfile
from collections import Counter
from dataclasses import replace
from datetime import date
from fractions import Fraction
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from datasets import ClassLabel, Dataset, Features, List, Value
from hypothesis import given, settings
from hypothesis import strategies as st
from IPython.core.formatters import DisplayFormatter
from pages import contrast, has_class, mix, read_marks, read_page, text_of
from seqeval.metrics import f1_score
from tiny import LABELS, SENTENCES, build_model

from span_marker import SpanMarkerModel, Trainer, TrainingArguments
from span_marker.core.labels import LabelledSpan, entities_to_tags, tags_to_entities
from span_marker.core.metrics import compute_metrics
from span_marker.data.html import HUES, INK, PAPER
from span_marker.error_analysis import bootstrap
from span_marker.error_analysis.analyze import analyze_errors, analyze_predictions
from span_marker.error_analysis.comparison import compare_reports
from span_marker.error_analysis.examples import TextFragment, in_context, list_examples
from span_marker.error_analysis.matching import KINDS, MEASURES, JudgedSentence, confusion_matrix, match, num_words
from span_marker.error_analysis.page import RIGHT, STRONGEST, WRONG
from span_marker.error_analysis.report import NOTHING, REASONS, ErrorReport

NUM_WORDS = 8
FIGURES = ("precision", "recall", "f1")
WORDS = [*SENTENCES, ["Amelia", "left", "Paris", "for", "New", "York"], ["Cleopatra", "the", "Great"]]

bounds = st.tuples(st.integers(0, NUM_WORDS), st.integers(0, NUM_WORDS)).filter(lambda pair: pair[0] != pair[1])
spans = st.builds(lambda label, pair: LabelledSpan(label, min(pair), max(pair)), st.sampled_from("XYZ"), bounds)
entities = st.lists(spans, max_size=6, unique=True)
sentences = st.lists(st.tuples(entities, entities), min_size=1, max_size=6)
flat = st.lists(st.sampled_from(["O", "B-X", "I-X", "B-Y", "I-Y"]), min_size=NUM_WORDS, max_size=NUM_WORDS)
few = settings(max_examples=40)


def judge(pairs):
    words = [f"w{place}" for place in range(NUM_WORDS)]
    return [JudgedSentence(words, match(*pair), row=row) for row, pair in enumerate(pairs)]


def report_on(pairs, **options):
    return ErrorReport.from_sentences(judge(pairs), **{"num_resamples": 20, **options})


def dicts(spans):
    return [span._asdict() for span in spans]


# Matching


def naive_match(gold, predicted):
    """Take the best pair that is left, until none is."""
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
    assert set(outcomes) == naive_match(gold, predicted)


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


# Figures


@given(sentences)
@few
def test_strict_figures_are_those_of_the_evaluation(pairs):
    report = report_on(pairs)
    metrics = compute_metrics(*zip(*pairs, strict=True), [NUM_WORDS] * len(pairs))
    assert [of.value for of in report.overall[2:]] == [metrics[f"overall_{name}"] for name in FIGURES]
    assert report.labels.keys() == {name for name, value in metrics.items() if isinstance(value, dict)}
    for label, figures in report.labels.items():
        assert figures.num_gold == metrics[label]["number"]
        assert [of.value for of in figures[2:]] == [metrics[label][name] for name in FIGURES]
    assert list(report.labels) == sorted(report.labels)


@given(st.lists(st.tuples(flat, flat), min_size=1, max_size=5))
@few
def test_strict_f1_of_flat_entities_is_that_of_seqeval(tags):
    pairs = [tuple(tags_to_entities(row, "IOB") for row in pair) for pair in tags]
    if any(gold or predicted for gold, predicted in pairs):
        rows = [[entities_to_tags(row, NUM_WORDS) for row in some] for some in zip(*pairs, strict=True)]
        assert report_on(pairs).overall.f1.value == pytest.approx(f1_score(*rows, zero_division=0))


@given(sentences)
@few
def test_outcomes_are_a_partition(pairs):
    report = report_on(pairs)
    num_gold, num_predicted = (sum(map(len, some)) for some in zip(*pairs, strict=True))
    kinds = report.kinds
    assert list(kinds) == list(KINDS)
    assert sum(kinds.values()) - kinds["spurious"] == num_gold
    assert sum(kinds.values()) - kinds["missed"] == num_predicted
    for outcomes, (gold, predicted) in zip((of.outcomes for of in report.sentences), pairs, strict=True):
        assert Counter(outcome.gold for outcome in outcomes if outcome.gold) == Counter(gold)
        assert Counter(outcome.predicted for outcome in outcomes if outcome.predicted) == Counter(predicted)
    for family in (report.labels, report.entity_lengths, report.sentence_lengths, report.splits):
        assert sum(of.num_gold for of in family.values()) == num_gold
        assert sum(of.num_predicted for of in family.values()) == num_predicted
        assert sum(of.recall.value * of.num_gold for of in family.values()) == pytest.approx(kinds["correct"])
    for kind, number in kinds.items():
        examples = report.by_kind(kind)
        assert sum(example.number for example in examples) == number
        numbers = [example.number for example in examples]
        assert numbers == sorted(numbers, reverse=True)


@given(sentences)
@few
def test_swapping_gold_and_predictions_swaps_precision_and_recall(pairs):
    one, other = report_on(pairs), report_on([pair[::-1] for pair in pairs])
    for name in MEASURES:
        ones, others = one.measures[name], other.measures[name]
        assert (ones.precision, ones.recall, ones.num_gold) == (others.recall, others.precision, others.num_predicted)
        assert ones.f1.value == pytest.approx(others.f1.value)
    assert (one.confusion == other.confusion.T).all()


@given(sentences)
@few
def test_measures_are_those_of_the_muc_categories(pairs):
    """COR, INC, PAR, MIS and SPU, as in the evaluation of SemEval-2013 task 9.1."""
    report = report_on(pairs)
    for name, figures in report.measures.items():
        categories = Counter()
        for gold, predicted in pairs:
            for _, one, other in naive_match(gold, predicted):
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


# Statistics


def naive_figures(counts):
    correct, predicted, gold = (Fraction(sum(row[column] for row in counts)) for column in range(3))
    precision, recall = (correct / number if number else Fraction(0) for number in (predicted, gold))
    f1 = 2 * precision * recall / (precision + recall) if correct else Fraction(0)
    return float(precision), float(recall), float(f1)


def naive_quantile(values, share):
    values, place = sorted(values), share * (len(values) - 1)
    low = int(place)
    return values[low] + (place - low) * (values[min(low + 1, len(values) - 1)] - values[low])


def random_counts(num_sentences, recalls, seed):
    """Counts of systems that find these shares of the same gold entities, and as many others as they miss."""
    generator = np.random.default_rng(seed)
    num_gold = generator.integers(0, 4, size=num_sentences)
    of_systems = []
    for recall in recalls:
        num_right, num_spurious = (generator.binomial(num_gold, share) for share in (recall, 1 - recall))
        of_systems.append(np.stack([num_right, num_right + num_spurious, num_gold], axis=1).astype(float))
    return of_systems


def test_resamples_are_those_of_a_naive_loop():
    first, second = random_counts(23, (0.7, 0.6), seed=1)
    num_resamples = 150  # more than are drawn at a time, and no multiple of it
    found = bootstrap.estimate({"a": first, "b": second}, num_resamples, 0.9, seed=7)
    compared = bootstrap.compare({"a": first}, {"a": second}, num_resamples, 0.9, seed=7)["a"]
    generator = np.random.default_rng(7)
    draws = [generator.integers(23, size=23).tolist() for _ in range(num_resamples)]
    resampled = [
        [naive_figures([counts[index] for index in draw]) for draw in draws]
        for counts in (first.tolist(), second.tolist())
    ]
    for name, counts, figures in zip("ab", (first, second), resampled, strict=True):
        assert found[name][:2] == (counts[:, 2].sum(), counts[:, 1].sum())
        for place, (value, low, high) in enumerate(found[name][2:]):
            column = [row[place] for row in figures]
            assert value == naive_figures(counts.tolist())[place]
            assert (low, high) == pytest.approx([naive_quantile(column, share) for share in (0.05, 0.95)])
    for place, of in enumerate(compared):
        ones, others = (naive_figures(counts.tolist())[place] for counts in (first, second))
        differences = [after[place] - before[place] for before, after in zip(*resampled, strict=True)]
        assert (of.first, of.second, of.difference.value) == (ones, others, others - ones)
        assert of.difference[1:] == pytest.approx([naive_quantile(differences, share) for share in (0.05, 0.95)])
        num_extreme = sum(abs(change - (others - ones)) >= abs(others - ones) for change in differences)
        assert of.p_value == pytest.approx((1 + num_extreme) / (1 + num_resamples))


def test_counts_do_not_depend_on_what_else_is_counted():
    first, second = random_counts(40, (0.7, 0.5), seed=1)
    both = bootstrap.estimate({"a": first, "b": second}, 50, 0.95, seed=0)
    assert both["b"] == bootstrap.estimate({"b": second}, 50, 0.95, seed=0)["b"]
    assert both["b"] != bootstrap.estimate({"b": second}, 50, 0.95, seed=1)["b"]


def test_intervals_hold_the_figure_and_mostly_the_truth():
    num_held = 0
    for seed in range(100):
        figures = bootstrap.estimate({"a": random_counts(100, [0.7], seed)[0]}, 200, 0.9, seed=seed)["a"]
        assert all(low <= value <= high for value, low, high in figures[2:])
        num_held += figures.recall.low <= 0.7 <= figures.recall.high
    assert 82 <= num_held <= 97


def test_intervals_are_wider_for_more_confidence_and_narrower_for_more_data():
    def width(num_sentences, confidence):
        counts = np.tile(random_counts(50, [0.7], 0)[0], (num_sentences // 50, 1))
        _, low, high = bootstrap.estimate({"a": counts}, 400, confidence, seed=0)["a"].f1
        return high - low

    assert width(50, 0.8) < width(50, 0.95) < width(50, 0.99)
    assert width(800, 0.95) == pytest.approx(width(50, 0.95) / 4, rel=0.2)


def test_p_values_of_equal_systems_are_spread_and_those_of_others_small():
    p_values = []
    for seed in range(150):
        first, second = random_counts(120, (0.7, 0.7), seed)
        p_values.append(bootstrap.compare({"a": first}, {"a": second}, 100, 0.95, seed=0)["a"].f1.p_value)
    assert 0.02 <= np.mean(np.array(p_values) <= 0.1) <= 0.2
    assert 0.35 <= np.mean(np.array(p_values) <= 0.5) <= 0.65
    first, second = random_counts(300, (0.6, 0.8), seed=0)
    of = bootstrap.compare({"a": first}, {"a": second}, 999, 0.95, seed=0)["a"].f1
    assert of.p_value == 1 / 1000
    assert 0 < of.difference.low < of.difference.value < of.difference.high


@given(sentences)
@few
def test_a_system_is_no_better_than_itself(pairs):
    report = report_on(pairs)
    same = report_on([(gold[::-1], predicted[::-1]) for gold, predicted in pairs])
    comparison = compare_reports(report, same, num_resamples=20)
    for of in (comparison.overall, *comparison.labels.values()):
        for figure in of:
            assert (figure.difference, figure.p_value) == ((0, 0, 0), 1)
    assert comparison.num_both == report.kinds["correct"]
    assert comparison.num_neither == report.overall.num_gold - report.kinds["correct"]
    assert comparison.num_first_only == comparison.num_second_only == 0


@given(st.lists(st.tuples(entities, entities, entities), min_size=1, max_size=5))
@few
def test_swapping_systems_turns_the_difference_round(rows):
    first, second = (report_on([(row[0], row[place]) for row in rows]) for place in (1, 2))
    options = {"num_resamples": 50}
    one, other = compare_reports(first, second, **options), compare_reports(second, first, **options)
    for ones, others in zip((one.overall, *one.labels.values()), (other.overall, *other.labels.values()), strict=True):
        for figure, turned in zip(ones, others, strict=True):
            value, low, high = turned.difference
            assert figure.difference == pytest.approx((-value, -high, -low), abs=1e-9)
            assert figure.p_value == turned.p_value
    assert one.overall.f1.first == first.overall.f1.value
    assert one.overall.f1.second == second.overall.f1.value
    found = [{(i, s) for i, row in enumerate(rows) for s in set(row[0]) & set(row[place])} for place in (1, 2)]
    assert one.num_first_only == other.num_second_only == len(found[0] - found[1])
    assert (one.num_both, one.num_second_only) == (len(found[0] & found[1]), len(found[1] - found[0]))
    assert one.num_neither == sum(len(row[0]) for row in rows) - len(found[0] | found[1])


# Text


def test_an_error_in_context():
    words = "In 1937 Amelia Earhart flew her Lockheed Vega over the Atlantic Ocean once more".split()
    outcomes = match(
        [LabelledSpan("PER", 2, 4), LabelledSpan("ART", 6, 8), LabelledSpan("LOC", 10, 12)],
        [LabelledSpan("PER", 3, 4), LabelledSpan("ART", 7, 9), LabelledSpan("PER", 0, 1)],
    )
    sentence = JudgedSentence(words, outcomes, "dev", 5)
    lines = {kind: [example.as_line(8) for example in list_examples([sentence], kind)] for kind in KINDS}
    assert lines["wrong-boundaries"] == [
        "PER 'Amelia Earhart' -> PER 'Earhart'; row 5 of the dev data: In 1937 [Amelia {Earhart}] flew ...",
        "ART 'Lockheed Vega' -> ART 'Vega over'; row 5 of the dev data: ... her [Lockheed {Vega] over} the ...",
    ]
    assert lines["missed"] == ["LOC 'Atlantic Ocean'; row 5 of the dev data: ... the [Atlantic Ocean] once ..."]
    assert lines["spurious"] == ["PER 'In'; row 5 of the dev data: {In} 1937 ..."]


def test_texts_are_quoted_as_they_are_and_terminals_obey_nothing():
    text = "a\n\tb \x1b[31mred  c"
    sentence = JudgedSentence(text, match([LabelledSpan("X", 3, 13)], []))
    [example] = list_examples([sentence], "missed")
    assert example.gold == ("X", "b \x1b[31mred")
    assert example.as_line(40) == "X 'b \\x1b[31mred'; row 0 of the annotated data: a [b [31mred] c"


@given(entities, entities, st.integers(0, 30))
@few
def test_pieces_are_the_text(gold, predicted, num_characters):
    words = ["a", "bc", "", "def", "é", "gh", "i", "jkl"]
    for item in (words, "".join(words)[:NUM_WORDS]):
        for outcome in match(gold, predicted):
            pieces = in_context(JudgedSentence(item, [outcome]), outcome, num_characters)
            shown = "".join(piece.text for piece in pieces)
            text = item if isinstance(item, str) else " ".join(item)
            assert re.sub(r"^\.\.\. | \.\.\.$", "", shown) in text
            for place, span in ((1, outcome.gold), (2, outcome.predicted)):
                part = item[span.start : span.end] if span else ""
                expected = part if isinstance(part, str) else " ".join(part)
                assert "".join(piece.text for piece in pieces if piece[place]) == expected


def test_the_most_frequent_error_comes_first():
    rare, frequent = LabelledSpan("X", 0, 1), LabelledSpan("Y", 1, 3)
    report = report_on([([rare], []), ([frequent], []), ([frequent], [])], num_examples=1)
    assert [(example.number, example.gold) for example in report.by_kind("missed")] == [
        (2, ("Y", "w1 w2")),
        (1, ("X", "w0")),
    ]
    assert "2x  Y 'w1 w2'; row 1" in str(report)
    assert "1x  X 'w0'" not in str(report)
    assert "1x  X 'w0'" in str(report_on([([rare], []), ([frequent], [])], num_examples=2))
    assert "2x" not in str(report_on([([frequent], []), ([frequent], [])], num_examples=0))
    with pytest.raises(ValueError, match="kind='wrong' must be one of"):
        report.by_kind("wrong")


def test_the_report_in_figures():
    gold = [LabelledSpan("PER", 0, 2), LabelledSpan("LOC", 4, 5)]
    report = report_on([(gold, [gold[0]])] * 3, num_resamples=10, confidence=0.8)
    lines = str(report).splitlines()
    assert lines[0].endswith("80% intervals from 10 resamples of the sentences")
    table = [re.sub(" +", " ", line) for line in lines]
    assert "strict 6 3 1.0000 [1.0000, 1.0000] 0.5000 [0.5000, 0.5000] 0.6667 [0.6667, 0.6667]" in table
    assert "LOC 3 0 0.0000 [0.0000, 0.0000] 0.0000 [0.0000, 0.0000] 0.0000 [0.0000, 0.0000]" in table
    assert "missed 3 50.00%" in table
    assert "correct 3 50.00% 100.00%" in table
    assert "LOC 0 0 3" in table
    assert "out of reach" not in str(report)
    assert "sentences=" not in repr(report)


def test_a_report_without_any_entity():
    report = report_on([([], [])])
    assert report.overall.f1 == (0, 0, 0)
    assert report.labels == report.entity_lengths == {}
    assert "gold entities: 0" in str(report)


def test_the_comparison_in_figures():
    gold = [LabelledSpan("PER", 0, 2), LabelledSpan("LOC", 4, 5)]
    first, second = report_on([(gold, [gold[0]])] * 3), report_on([(gold, gold)] * 3)
    table = [re.sub(" +", " ", line) for line in str(compare_reports(first, second, num_resamples=99)).splitlines()]
    assert table[0] == "95% intervals and p-values from 99 resamples of the 3 sentences"
    assert "recall 0.5000 1.0000 +0.5000 [+0.5000, +0.5000] 0.0100" in table
    assert "precision 1.0000 1.0000 +0.0000 [+0.0000, +0.0000] 1.0000" in table
    assert "f1 of LOC 0.0000 1.0000 +1.0000 [+1.0000, +1.0000] 0.0100" in table
    assert table[-1] == "gold entities found by both: 3; by the first alone: 0; by the second alone: 3; by neither: 0"


# Pages


def write_and_read(report, folder, **options):
    report.write_html(folder / "errors.html", **options)
    assert [folder / "errors.html"] == list(folder.iterdir())
    return read_page(folder / "errors.html")


def table_of(page, name):
    """The cells of a table, its head first."""
    [region] = [element for element in page.iter("div") if element.get("aria-label") == name]
    return [[" ".join(text_of(cell).split()) for cell in row] for row in region.iter("tr")]


def errors_of(page, kind):
    """Of each error its caption, its letters with the numbers of their lines, and its labels."""
    [section] = [element for element in page.iter("section") if element.find("h2").get("id") == kind]
    found = []
    for figure in section.iter("figure"):
        letters, labels = read_marks(figure.find("p"))
        found.append((text_of(figure.find("figcaption")), letters, [text_of(label) for _, label in labels]))
    return found


def test_a_page_is_well_formed_and_needs_nothing_else(tmp_path):
    label, text = "<b>&\"'", '<script>alert("1")</script> &amp; שלום עולם'
    gold = [LabelledSpan(label, 0, 27), LabelledSpan("קטן", 34, 38)]
    found = [LabelledSpan(label, 8, 27), LabelledSpan("קטן", 39, 43)]
    sentences = [JudgedSentence(text, match(gold, found), "<dev>", 3), JudgedSentence("x", [], "test", 0)]
    report = ErrorReport.from_sentences(
        sentences, dict.fromkeys(REASONS, 2), num_resamples=10, model_name="<i>m", dataset_name="&d"
    )
    report = replace(report, date=date(2031, 2, 3))
    page = write_and_read(report, tmp_path, title="Fish & <Chips>")
    source = (tmp_path / "errors.html").read_text(encoding="utf-8")
    assert not re.search(r"https?:|<link|<script|<img|src=|href=(?!\"#)|@import|url\(|onclick", source)
    assert page.find(".//title").text == page.find(".//h1").text == "Fish & <Chips>"
    facts = [" ".join(text_of(element).split()) for element in page.iter("dd")]
    assert facts == ["<i>m", "&d · <dev>: 1 sentence, test: 1 sentence", "2 gold, 2 predicted", "2031-02-03"]
    assert table_of(page, "By label")[1][0] == table_of(page, "Gold and predicted labels")[0][1] == label
    [(caption, letters, labels)] = errors_of(page, "wrong-boundaries")
    assert caption == "row 3 of the <dev> data"
    assert labels == [f"predicted {label}", f"gold {label}"]
    assert "".join(letter for letter, _ in letters) == text
    for number, expected in ((1, '<script>alert("1")</script>'), (0, 'alert("1")</script>')):
        assert "".join(letter for letter, lines in letters if number in dict(lines)) == expected
    assert errors_of(page, "missed")[0][2] == ["gold קטן"]
    assert errors_of(page, "spurious")[0][2] == ["predicted קטן"]
    paragraphs = [" ".join(text_of(element).split()) for element in page.iter("p")]
    assert "Gold entities out of reach of the model: 10 of 2, so that recall is at most -4.00" in paragraphs
    assert {element.get("href")[1:] for element in page.iter("a")} == {"wrong-boundaries", "missed", "spurious"}


def test_bars_and_cells_are_in_proportion(tmp_path):
    gold = [LabelledSpan("X", 0, 1), LabelledSpan("X", 2, 3), LabelledSpan("Y", 4, 5), LabelledSpan("Y", 6, 7)]
    report = report_on([(gold, [gold[0], LabelledSpan("Y", 2, 3), *gold[2:]])])
    page = write_and_read(report, tmp_path)
    families = (report.measures, report.labels, report.entity_lengths, report.sentence_lengths)
    bars = list(page.iter("svg"))
    assert len(bars) == sum(map(len, families))
    assert bars[0].find("rect[@class='fill']").get("width") == "150.0"  # F1 of 0.75, of 200 pixels
    assert text_of(bars[0].find("title")) == "0.75 [0.75, 0.75]"
    names = ["X", "Y", NOTHING]
    cells = [cell for table in page.iter("table") if has_class(table, "matrix") for cell in table.iter("td")]
    shares = [50, 50, 0, 0, 100, 0, 0, 0, 0]
    for (row, column), cell, share in zip(product(range(3), repeat=2), cells, shares, strict=True):
        number = report.confusion[row, column]
        assert cell.get("title") == f"{names[row]}, predicted {names[column]}: {number}, {share}% of the row"
        assert (cell.text or "") == (str(number) if number else "")
        assert cell.get("style") == f"--share: {STRONGEST * share / 100}%"
        assert has_class(cell, f"c{RIGHT if row == column else WRONG}")


@pytest.mark.parametrize("mode", [0, 1])
def test_numbers_can_be_read_on_every_cell(mode):
    for color in (RIGHT, WRONG):
        assert contrast(INK[mode], mix(HUES[color][mode], STRONGEST, PAPER[mode])) >= 4.5


@pytest.mark.parametrize(
    ("num_sentences", "figure", "share"),
    [(35, "0.67", "50%"), (100, "0.67", "50%"), (432, "0.667", "50.0%"), (1001, "0.6667", "50.00%")],
)
def test_decimals_suit_the_number_of_sentences(num_sentences, figure, share, tmp_path):
    gold = [LabelledSpan("X", 0, 1), LabelledSpan("X", 2, 3)]
    page = write_and_read(report_on([(gold, gold[:1])] * num_sentences, num_resamples=2), tmp_path)
    assert table_of(page, "By label")[1][5] == f"{figure} [{figure}, {figure}]"
    assert table_of(page, "Outcomes")[1][1:3] == [f"{num_sentences:,}", share]
    assert f"F1 {figure} [{figure}, {figure}]" in [" ".join(text_of(item).split()) for item in page.iter("li")]


@given(sentences, st.integers(1, 3))
@few
def test_all_errors_are_on_the_page(pairs, num_examples):
    report = report_on(pairs, num_examples=num_examples)
    with tempfile.TemporaryDirectory() as folder:
        page = write_and_read(report, Path(folder))
    for kind, number in report.kinds.items():
        if number and kind != "correct":
            found = errors_of(page, kind)
            expected = [
                [f"{role} {span.label}" for role, span in zip(("gold", "predicted"), outcome[1:], strict=True) if span]
                for sentence in report.sentences
                for outcome in sentence.outcomes
                if outcome.kind == kind
            ]
            assert sorted(map(sorted, (labels for *_, labels in found))) == sorted(map(sorted, expected))
            [section] = [element for element in page.iter("section") if element.find("h2").get("id") == kind]
            groups = report.by_kind(kind)
            assert len(section.findall("figure")) == min(len(groups), num_examples)
            assert len(section.findall("details/figure")) == max(len(groups) - num_examples, 0)


def test_errors_that_are_alike_are_folded(tmp_path):
    gold = [LabelledSpan("X", 0, 1)]
    page = write_and_read(report_on([(gold, [])] * 3), tmp_path)
    assert [caption for caption, *_ in errors_of(page, "missed")] == [
        "3× · row 0 of the annotated data",
        "row 1 of the annotated data",
        "row 2 of the annotated data",
    ]
    assert [text_of(element) for element in page.iter("summary")] == ["2 more like this"]
    (tmp_path / "errors.html").unlink()
    assert not list(write_and_read(report_on([(gold, [])] * 3, num_examples=0), tmp_path).iter("figure"))


def test_a_page_without_any_entity(tmp_path):
    page = write_and_read(report_on([([], [])]), tmp_path)
    assert "0 gold, 0 predicted" in [text_of(element) for element in page.iter("dd")]
    assert not [table for table in page.iter("table") if has_class(table, "matrix")]


# Models and predictions


@pytest.fixture(scope="module")
def model():
    return build_model("bert", entity_max_length=3)


def half_right(model, inputs, unit):
    """Gold entities of which the model finds some; the others have another label, are shorter, or are not found."""
    rows = []
    for found in model.predict(inputs):
        spans = [LabelledSpan(e["label"], e[f"{unit}_start_index"], e[f"{unit}_end_index"]) for e in found]
        spans = [span._replace(label="PER") if index % 3 == 1 else span for index, span in enumerate(spans)]
        rows.append([span for index, span in enumerate(spans) if index % 4 != 3])
    return rows


def dataset_of(inputs, gold):
    return Dataset.from_dict(
        {"text" if isinstance(inputs[0], str) else "tokens": inputs, "entities": [*map(dicts, gold)]}
    )


def evaluate(model, data, folder):
    arguments = TrainingArguments(str(folder), report_to="none", use_cpu=True, disable_tqdm=True)
    return Trainer(model, arguments, eval_dataset=data).evaluate()


@pytest.mark.parametrize("unit", ["word", "char"])
def test_figures_of_a_model_are_those_of_the_trainer(model, unit, tmp_path):
    inputs = WORDS if unit == "word" else [" ".join(words) for words in WORDS]
    gold = half_right(model, inputs, unit)
    if unit == "char":  # spaces at the edges, and an entity that cuts a word
        gold[0] = [span._replace(end=min(span.end + 1, len(inputs[0]))) for span in gold[0]]
        gold[1] = [LabelledSpan("LOC", 0, 3)]
    data = dataset_of(inputs, gold)
    report = analyze_errors(model, data, batch_size=2, num_resamples=20)
    metrics = evaluate(model, data, tmp_path)
    assert 0 < report.overall.f1.value < 1
    assert [of.value for of in report.overall[2:]] == [metrics[f"eval_overall_{name}"] for name in FIGURES]
    for label, figures in report.labels.items():
        assert [of.value for of in figures[2:]] == [metrics[f"eval_{label}"][name] for name in FIGURES]
    assert report.unreachable == {**dict.fromkeys(REASONS, 0), "partial-word": int(unit == "char")}
    assert analyze_errors(model, data, num_resamples=20) == report


def test_accents_of_their_own_at_the_edges_do_not_count(model, tmp_path):
    texts = ["Café left", "for Café", "Zoe\u0301"]
    texts = [text.replace("é", "e\u0301") for text in texts]
    found = half_right(model, texts, "char")
    gold = [[LabelledSpan("PER", text.index(text.split()[-1][0]), len(text))] for text in texts]
    gold = [[*ones, *others[:1]] for ones, others in zip(gold, found, strict=True)]
    data = dataset_of(texts, gold)
    metrics = evaluate(model, data, tmp_path)
    assert analyze_errors(model, data, num_resamples=5).overall.f1.value == metrics["eval_overall_f1"]
    row = dataset_of(texts[:1], [[LabelledSpan("PER", 0, 5)]])
    predictions = [[{"label": "PER", "start": 0, "end": 4}]]
    assert analyze_predictions(row, predictions, num_resamples=5).kinds["correct"] == 1


def test_reports_say_what_was_measured(tmp_path):
    model = build_model("bert", entity_max_length=3)
    assert analyze_errors(model, DATA, num_resamples=5).model_name is None
    model.save_pretrained(tmp_path / "model")
    model = SpanMarkerModel.from_pretrained(tmp_path / "model")
    assert analyze_errors(model, DATA, num_resamples=5).model_name == str(tmp_path / "model")
    model.model_card_data.model_id = "user/model"
    data = DATA.select([0])
    data.info.download_checksums = {"hf://datasets/user/names@0123/train.parquet": {}}
    report = analyze_errors(model, {"dev": data, "test": data, "other": DATA}, num_resamples=5)
    assert (report.model_name, report.dataset_name) == ("user/model", "user/names")
    report = analyze_errors(model, data, num_resamples=5, model_name="mine", dataset_name="ours")
    assert (report.model_name, report.dataset_name) == ("mine", "ours")
    report = analyze_predictions(data, [[]], num_resamples=5, model_name="rules")
    assert (report.model_name, report.dataset_name) == ("rules", "user/names")
    assert report.date <= date.today()


def test_tags_and_a_dict_of_splits(model):
    names = ClassLabel(names=LABELS)
    gold = half_right(model, WORDS, "word")
    tags = [entities_to_tags(row, len(words)) for row, words in zip(gold, WORDS, strict=True)]
    features = Features({"tokens": List(Value("string")), "ner_tags": List(names)})
    tagged = Dataset.from_dict({"tokens": WORDS, "ner_tags": tags}, features=features)
    report = analyze_errors(model, {"dev": tagged, "test": dataset_of(WORDS, gold)}, num_resamples=5)
    assert list(report.splits) == ["dev", "test"]
    assert report.splits["dev"][:2] == report.splits["test"][:2]
    assert {(of.split, of.row) for of in report.sentences} == set(product(("dev", "test"), range(len(WORDS))))
    assert report.by_kind("spurious")[-1].where.endswith("data")
    lines = [re.sub(" +", " ", line) for line in str(report).splitlines()]
    assert any(line.startswith("test ") for line in lines)
    integers = Dataset.from_dict({"tokens": WORDS, "ner_tags": [[LABELS.index(tag) for tag in row] for row in tags]})
    assert (
        analyze_errors(model, integers, num_resamples=5).kinds == analyze_errors(model, tagged, num_resamples=5).kinds
    )


def test_what_the_limits_put_out_of_reach():
    model = build_model("bert", entity_max_length=2, model_max_length=8)
    words = [["a", "b", "c"], ["x" * 20, "d", "\u200b"], *WORDS]
    gold = [[LabelledSpan("PER", 0, 3)], [LabelledSpan("PER", 1, 3), LabelledSpan("LOC", 0, 2)], *([] for _ in WORDS)]
    report = analyze_errors(model, dataset_of(words, gold), num_resamples=5)
    assert report.unreachable["too-long"] == 1
    assert report.unreachable["entity-without-token"] + report.unreachable["cut-off"] == 2
    text = str(report)
    assert "gold entities out of reach: 3 of 3, so that recall is at most 0.0000" in text
    assert "     1  longer than entity_max_length" in text
    assert "partial-word" not in text


@pytest.mark.parametrize("multi_label", [False, True])
def test_what_the_filter_drops_is_counted(multi_label):
    model = build_model("bert", entity_max_length=3, multi_label=multi_label)
    gold = [
        [LabelledSpan("PER", start, start + 1) for start in range(0, len(words), 2)]
        + [LabelledSpan("LOC", start, start + 2) for start in range(len(words) - 1)]
        for words in WORDS
    ]
    if multi_label:
        gold = [[*row, *(span._replace(label="ORG") for span in row[:2])] for row in gold]
    data = dataset_of(WORDS, gold)
    assert analyze_errors(model, data, num_resamples=5).unreachable["filtered"] == 0
    model.add_span_filter()
    model.config.candidates_per_word = 1
    report = analyze_errors(model, data, batch_size=2, num_resamples=5)
    kept, everything = (
        [{(e["word_start_index"], e["word_end_index"]) for e in row} for row in rows]
        for rows in (
            model.predict(WORDS, threshold=0.0, decoding="overlapping"),
            model.predict(WORDS, threshold=0.0, decoding="overlapping", exact=True),
        )
    )
    assert all(len(row) == 3 * len(words) - 3 for row, words in zip(everything, WORDS, strict=True) if len(words) > 1)
    num_dropped = sum(
        (span.start, span.end) not in row for row, spans in zip(kept, gold, strict=True) for span in spans
    )
    assert report.unreachable["filtered"] == num_dropped > 0
    assert report.kinds["correct"] <= report.overall.num_gold - num_dropped


def test_predictions_may_come_in_any_form(model):
    for inputs, unit in ((WORDS, "word"), ([" ".join(words) for words in WORDS], "char")):
        gold = half_right(model, inputs, unit)
        data = dataset_of(inputs, gold)
        expected = analyze_errors(model, data, num_resamples=5)
        column = data.column_names[0]
        lists = model.predict(inputs)
        plain = [
            [{"label": e["label"], "start": e[f"{unit}_start_index"], "end": e[f"{unit}_end_index"]} for e in row]
            for row in lists
        ]
        forms = [
            lists,
            plain,
            tuple(map(tuple, plain)),
            [{"entities": row} for row in lists],
            model.predict(data, keep_columns=[column]),
            Dataset.from_dict({column: inputs, "entities": plain}),
        ]
        for predictions in forms:
            report = analyze_predictions(data, predictions, num_resamples=5)
            assert report.unreachable is None
            assert report.sentences == expected.sentences
            assert report.measures == expected.measures
        report = analyze_predictions({"dev": data, "test": data}, {"test": lists, "dev": plain}, num_resamples=5)
        assert report.kinds == {kind: 2 * number for kind, number in expected.kinds.items()}


DATA = Dataset.from_list([{"tokens": ["Ann", "Lee"], "entities": [{"label": "PER", "start": 0, "end": 2}]}])
TEXTS = Dataset.from_list([{"text": "Ann", "entities": [{"label": "PER", "start": 0, "end": 3}]}])


@pytest.mark.parametrize(
    ("predictions", "error", "message"),
    [
        ([], ValueError, "0 predictions for the 1 rows of the annotated data: pass one for each"),
        ("Ann", TypeError, "predictions must be a list with one item for each row, not a str"),
        (None, TypeError, "not a NoneType"),
        (
            [[{"label": "PER", "start": 0, "end": 3}]],
            ValueError,
            "row 0 of the predictions: entity 'PER' ends at word 3",
        ),
        ([[{"label": "PER", "char_start_index": 0, "char_end_index": 1}]], ValueError, "has no 'start'"),
        ([{"tokens": ["Bob"], "entities": []}], ValueError, r"row 0 of the predictions is not .* but \['Bob'\]"),
        ([{"tokens": ["Ann", "Lee"]}], TypeError, "row 0 of the predictions: 'entities' must be a list"),
        (TEXTS, ValueError, "row 0 of the predictions is not row 0 of the annotated data, but 'Ann'"),
        (DATA.select([0, 0]), ValueError, "2 predictions for the 1 rows"),
    ],
)
def test_predictions_that_do_not_fit(predictions, error, message):
    with pytest.raises(error, match=message):
        analyze_predictions(DATA, predictions)


def test_arguments_that_do_not_fit(model):
    with pytest.raises(TypeError, match="model must be a SpanMarkerModel, not Dataset"):
        analyze_errors(DATA, model)
    with pytest.raises(TypeError, match=r"annotated data must be a datasets.Dataset or a dict of several, not list"):
        analyze_errors(model, [])
    with pytest.raises(TypeError, match=r"not str: make one with read_annotations\('dev.jsonl'\)"):
        analyze_errors(model, "dev.jsonl")
    with pytest.raises(ValueError, match="the annotated data set has no rows"):
        analyze_errors(model, DATA.select([]))
    with pytest.raises(ValueError, match="entity 'ART' has a label that is not one of"):
        analyze_errors(
            model, Dataset.from_list([{"tokens": ["a"], "entities": [{"label": "ART", "start": 0, "end": 1}]}])
        )
    with pytest.raises(
        ValueError, match=r"predictions for the data sets \['dev'\] must be a dict with these, not list"
    ):
        analyze_predictions({"dev": DATA}, [[]])
    with pytest.raises(ValueError, match=r"must be a dict with these, not \['test'\]"):
        analyze_predictions({"dev": DATA}, {"test": [[]]})
    with pytest.raises(ValueError, match="num_examples=-1 must be at least 0"):
        analyze_predictions(DATA, [[]], num_examples=-1)
    with pytest.raises(ValueError, match="num_resamples=0 must be at least 1"):
        analyze_predictions(DATA, [[]], num_resamples=0)
    with pytest.raises(ValueError, match="confidence=95 must be above 0 and below 1"):
        analyze_predictions(DATA, [[]], confidence=95)
    with pytest.raises(ValueError, match="there are no sentences to draw: pass data with at least one row"):
        ErrorReport.from_sentences([])


def test_only_reports_on_the_same_data_are_compared():
    report = analyze_predictions(DATA, [[]])
    with pytest.raises(TypeError, match="compare_reports needs two reports of analyze_errors, not a dict"):
        compare_reports(report, {})
    with pytest.raises(ValueError, match="the reports are on 1 and 2 sentences: analyze the same data"):
        compare_reports(report, analyze_predictions(DATA.select([0, 0]), [[], []]))
    others = (
        Dataset.from_list([{"tokens": ["Ann", "Lee"], "entities": [{"label": "PER", "start": 0, "end": 1}]}]),
        Dataset.from_list([{"tokens": ["Ann", "Loe"], "entities": [{"label": "PER", "start": 0, "end": 2}]}]),
    )
    for other in others:
        with pytest.raises(ValueError, match="row 0 of the annotated data in the first report and row 0 .* different"):
            compare_reports(report, analyze_predictions(other, [[]]))


def test_a_report_is_shown_as_its_tables():
    report = analyze_predictions(DATA, [[]])
    for shown in (report, compare_reports(report, report)):
        assert len(str(shown).splitlines()) > 5
        assert DisplayFormatter().format(shown)[0] == {"text/plain": str(shown)}  # in notebooks
        assert repr(shown).startswith(f"{type(shown).__name__}(")
        assert len(repr(shown).splitlines()) == 1


def test_many_labels_are_not_printed_as_a_matrix():
    gold = [LabelledSpan(f"L{place}", 0, 1) for place in range(13)]
    report = report_on([(gold, gold)])
    assert "confusions of 13 labels: see report.confusion, or report.write_html(path)" in str(report)
    assert report.confusion.shape == (14, 14)


def test_pieces_know_where_they_belong():
    assert in_context(
        JudgedSentence("ab cd", []), match([LabelledSpan("X", 0, 4)], [LabelledSpan("X", 3, 5)])[0], 9
    ) == [TextFragment("ab ", True, False), TextFragment("c", True, True), TextFragment("d", False, True)]
