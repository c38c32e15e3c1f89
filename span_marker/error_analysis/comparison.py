"""Two systems on the same data: how much better one is, and how sure that is."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from span_marker.core.labels import LabelledSpan
from span_marker.core.tables import text_table
from span_marker.error_analysis import bootstrap
from span_marker.error_analysis.bootstrap import Difference, Differences
from span_marker.error_analysis.matching import tally
from span_marker.error_analysis.report import ErrorReport

ALL = ""
"""The group of all entities: no label is empty."""


@dataclass(frozen=True)
class Comparison:
    """Strict figures of two systems on the same data. ``str`` gives a table.

    Attributes:
        overall: Precision, recall and F1 of all entities.
        labels: Those of each label.
        num_both: Gold entities that both find.
        num_first_only: Gold entities that the first finds alone.
        num_second_only: Gold entities that the second finds alone.
        num_neither: Gold entities that neither finds.
        num_sentences: Sentences.
        confidence: Confidence of the intervals.
        num_resamples: Resamples of the sentences that intervals and p-values come from.
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

    def __repr__(self) -> str:
        rows = [_row(name, of) for name, of in zip(self.overall._fields, self.overall, strict=True)]
        rows += [_row(f"f1 of {label}", of.f1) for label, of in self.labels.items()]
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
        second: That of the second one.
        num_resamples: Resamples of the sentences. No p-value is below ``1 / (num_resamples + 1)``.
        confidence: Confidence of the intervals.
        seed: Seed of the resamples.

    Returns:
        Figures of both, and differences, each the second less the first, with interval and p-value, see
        `span_marker.error_analysis.bootstrap.compare`.

    Raises:
        TypeError: If one of them is no report.
        ValueError: If they are reports on different data, or an argument is out of range.
    """
    for report in (first, second):
        if not isinstance(report, ErrorReport):
            raise TypeError(f"compare_reports needs two reports of analyse_errors, not a {type(report).__name__}")
    found = Counter((ones[span], others[span]) for ones, others in _gold_entities(first, second) for span in ones)
    counts = [
        {**tally(of.sentences, lambda *_: ALL), **tally(of.sentences, lambda _, span: span.label)}
        for of in (first, second)
    ]
    labels = sorted(first.labels.keys() | second.labels.keys())
    nothing = np.zeros((len(first.sentences), 3))
    ones, others = ({group: of.get(group, nothing) for group in (ALL, *labels)} for of in counts)
    differences = bootstrap.compare(ones, others, num_resamples, confidence, seed)
    return Comparison(
        overall=differences.pop(ALL),
        labels=differences,
        num_both=found[True, True],
        num_first_only=found[True, False],
        num_second_only=found[False, True],
        num_neither=found[False, False],
        num_sentences=len(first.sentences),
        confidence=confidence,
        num_resamples=num_resamples,
    )


def _gold_entities(
    first: ErrorReport, second: ErrorReport
) -> Iterator[tuple[dict[LabelledSpan, bool], dict[LabelledSpan, bool]]]:
    """The gold entities of each sentence, and whether either system finds them."""
    if len(first.sentences) != len(second.sentences):
        raise ValueError(
            f"the reports are on {len(first.sentences)} and {len(second.sentences)} sentences: analyse the same data"
        )
    for one, other in zip(first.sentences, second.sentences, strict=True):
        ones, others = (
            {outcome.gold: outcome.kind == "correct" for outcome in of.outcomes if outcome.gold} for of in (one, other)
        )
        if one.item != other.item or ones.keys() != others.keys():
            raise ValueError(
                f"row {one.row} of the {one.split} data of the first report and row {other.row} of the {other.split} "
                "data of the second one have different texts or gold entities: analyse the same data"
            )
        yield ones, others


def _row(name: str, of: Difference) -> tuple[str, ...]:
    """A figure's row of the table."""
    value, low, high = of.difference
    return name, f"{of.first:.4f}", f"{of.second:.4f}", f"{value:+.4f} [{low:+.4f}, {high:+.4f}]", f"{of.p_value:.4f}"
