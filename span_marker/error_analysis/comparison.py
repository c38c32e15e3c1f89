"""Compare two systems on the same data, with confidence intervals and p-values."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from span_marker.core.labels import LabelledSpan
from span_marker.core.tables import TextReport, text_table
from span_marker.error_analysis import bootstrap
from span_marker.error_analysis.bootstrap import Difference, Differences
from span_marker.error_analysis.matching import Counts, JudgedSentence, tally
from span_marker.error_analysis.relation_matching import tally_relations
from span_marker.error_analysis.report import ErrorReport

ALL, OF_RELATIONS = "", " "
"""Names of the groups of all entities and of all relations, distinct from any label."""


@dataclass(frozen=True)
class Comparison(TextReport):
    """Strict metrics of two systems on the same data. ``print`` shows a table.

    Attributes:
        overall: Precision, recall and F1 of all entities.
        labels: Precision, recall and F1 of each label.
        num_both: Number of gold entities that both systems find.
        num_first_only: Number of gold entities that only the first system finds.
        num_second_only: Number of gold entities that only the second system finds.
        num_neither: Number of gold entities that neither system finds.
        num_sentences: Number of sentences.
        confidence: Confidence of the intervals, such as 0.95.
        num_resamples: Number of resamples of the sentences behind intervals and p-values.
        relations: Precision, recall and F1 of all relations; None unless both reports have relations.
    """

    overall: Differences
    labels: Mapping[str, Differences]
    num_both: int
    num_first_only: int
    num_second_only: int
    num_neither: int
    num_sentences: int
    confidence: float
    num_resamples: int
    relations: Differences | None = None

    def __str__(self) -> str:
        rows = [_row(name, figure) for name, figure in zip(self.overall._fields, self.overall, strict=True)]
        rows += [_row(f"f1 of {label}", figures.f1) for label, figures in self.labels.items()]
        if self.relations is not None:
            named = zip(self.relations._fields, self.relations, strict=True)
            rows += [_row(f"{name} of relations", figure) for name, figure in named]
        return (
            f"{100 * self.confidence:.4g}% intervals and p-values from {self.num_resamples:,} resamples of the "
            f"{self.num_sentences:,} sentences\n\n"
            f"{text_table([('', 'first', 'second', 'difference', 'p'), *rows])}\n\n"
            f"gold entities found by both: {self.num_both:,}; by the first alone: {self.num_first_only:,}; "
            f"by the second alone: {self.num_second_only:,}; by neither: {self.num_neither:,}"
        )


def compare_reports(
    first: ErrorReport,
    second: ErrorReport,
    *,
    num_resamples: int = 10_000,
    confidence: float = 0.95,
    seed: int = 0,
) -> Comparison:
    """Compare two systems on the same data, by the paired bootstrap over its sentences.

    Args:
        first: The report of the first system.
        second: The report of the second system.
        num_resamples: Number of resamples of the sentences. No p-value is below ``1 / (num_resamples + 1)``.
        confidence: Confidence of the intervals, above 0 and below 1.
        seed: Seed of the resamples.

    Returns:
        The metrics of both systems, and their differences, second minus first, with intervals and p-values, see
        `span_marker.error_analysis.bootstrap.compare`.

    Raises:
        TypeError: If an argument is not a report.
        ValueError: If the reports are on different data, or an argument is out of range.
    """
    for report in (first, second):
        if not isinstance(report, ErrorReport):
            raise TypeError(f"compare_reports needs two reports of analyze_errors, not a {type(report).__name__}")
    num_found = Counter(
        (by_first[span], by_second[span]) for by_first, by_second in _gold_entities(first, second) for span in by_first
    )
    groups = [ALL, *sorted(first.labels.keys() | second.labels.keys())]
    no_counts = dict.fromkeys(groups, np.zeros((len(first.sentences), 3)))
    first_counts, second_counts = (
        no_counts | tally(report.sentences, lambda _, span: span.label) | tally(report.sentences, lambda _, span: ALL)
        for report in (first, second)
    )
    if first.relations is not None and second.relations is not None:
        first_counts[OF_RELATIONS], second_counts[OF_RELATIONS] = _count_relations(first), _count_relations(second)
    differences = bootstrap.compare(first_counts, second_counts, num_resamples, confidence, seed)
    return Comparison(
        overall=differences.pop(ALL),
        relations=differences.pop(OF_RELATIONS, None),
        labels=differences,
        num_both=num_found[True, True],
        num_first_only=num_found[True, False],
        num_second_only=num_found[False, True],
        num_neither=num_found[False, False],
        num_sentences=len(first.sentences),
        confidence=confidence,
        num_resamples=num_resamples,
    )


def _count_relations(report: ErrorReport) -> Counts:
    """Correct relations, predictions and gold relations of each sentence, ``(num_sentences, 3)``."""
    measures, _ = tally_relations([sentence.relations or () for sentence in report.sentences])
    return measures["strict"]


def _gold_entities(
    first: ErrorReport, second: ErrorReport
) -> Iterator[tuple[dict[LabelledSpan, bool], dict[LabelledSpan, bool]]]:
    """The gold entities of each sentence, and whether each system finds them."""
    if len(first.sentences) != len(second.sentences):
        raise ValueError(
            f"the reports are on {len(first.sentences)} and {len(second.sentences)} sentences: analyze the same data"
        )
    for sentence, same_sentence in zip(first.sentences, second.sentences, strict=True):
        by_first, by_second = (
            {outcome.gold: outcome.kind == "correct" for outcome in judged.outcomes if outcome.gold}
            for judged in (sentence, same_sentence)
        )
        if sentence.item != same_sentence.item or by_first.keys() != by_second.keys():
            raise _different(sentence, same_sentence)
        if first.relations is not None and second.relations is not None:
            _check_relations(sentence, same_sentence)
        yield by_first, by_second


def _check_relations(sentence: JudgedSentence, same_sentence: JudgedSentence) -> None:
    """Check that two systems are compared on the same relations of a sentence."""
    sides = [sentence.relations, same_sentence.relations]
    if (sides[0] is None) != (sides[1] is None):
        raise ValueError(
            f"{_name_rows(sentence, same_sentence)} are the same, but only one report has its relations: pass an empty "
            "list of relations for a row in which a system finds none"
        )
    gold, same_gold = ({outcome.gold for outcome in outcomes or () if outcome.gold} for outcomes in sides)
    if gold == same_gold:
        return
    either_way, same_either_way = (
        {frozenset([relation, relation.turned()]) for relation in relations} for relations in (gold, same_gold)
    )
    if either_way == same_either_way:
        raise ValueError(
            f"{_name_rows(sentence, same_sentence)} have the same gold relations, but not the same symmetric ones: "
            "analyze both systems with the same symmetric_relations"
        )
    raise _different(sentence, same_sentence)


def _different(sentence: JudgedSentence, same_sentence: JudgedSentence) -> ValueError:
    names = _name_rows(sentence, same_sentence)
    return ValueError(f"{names} have different texts or gold annotations: analyze the same data")


def _name_rows(sentence: JudgedSentence, same_sentence: JudgedSentence) -> str:
    return (
        f"row {sentence.row} of the {sentence.split} data in the first report and row {same_sentence.row} of the "
        f"{same_sentence.split} data in the second report"
    )


def _row(name: str, figure: Difference) -> tuple[str, ...]:
    """A figure's row of the table."""
    value, low, high, _ = figure.difference
    first, second, p_value = (f"{number:.4f}" for number in (figure.first, figure.second, figure.p_value))
    return name, first, second, f"{value:+.4f} [{low:+.4f}, {high:+.4f}]", p_value
