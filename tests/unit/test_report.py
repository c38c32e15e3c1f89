"""Reports of errors: their figures are those of the evaluation and of seqeval, and add up."""

import re
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st
from IPython.core.formatters import DisplayFormatter
from reports import DATA, FIGURES, NUM_WORDS, few, flat, report_on, sentences
from seqeval.metrics import f1_score

from span_marker.core.labels import LabelledSpan, entities_to_tags, tags_to_entities
from span_marker.core.metrics import compute_metrics
from span_marker.error_analysis.analyze import analyze_predictions
from span_marker.error_analysis.comparison import compare_reports
from span_marker.error_analysis.matching import KINDS, MEASURES


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
    assert report.overall.f1 == (0, 0, 0, 0)
    assert report.labels == report.entity_lengths == {}
    assert "gold entities: 0" in str(report)


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
