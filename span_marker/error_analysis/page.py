"""The HTML page of a report: an overview, all errors in context, tables with bars, and the confusion matrix."""

from __future__ import annotations

import math
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import TYPE_CHECKING

from span_marker.data.html import Drawing, Mark, draw, write_page
from span_marker.error_analysis.bootstrap import Estimate, Figures
from span_marker.error_analysis.examples import CONTEXT, Example, group_examples, in_context
from span_marker.error_analysis.matching import KINDS, Kind
from span_marker.error_analysis.relation_matching import RELATION_KINDS

if TYPE_CHECKING:
    from span_marker.error_analysis.report import ErrorReport

STRONGEST = 40
"""Percentage of the hue in a cell of the matrix that holds its whole row, low enough to keep its number legible."""

RIGHT, WRONG = 2, 1
GOLD, PREDICTED = 1, 0
"""Indices into `span_marker.data.html.HUES`: cells on and off the diagonal, and entities in context."""


def write_report(
    path: str | os.PathLike[str],
    title: str,
    report: ErrorReport,
    families: Sequence[tuple[str, Mapping[str, Figures]]],
    names: Sequence[str],
    unreachable: Mapping[str, int],
    examples: bool = True,
) -> None:
    """Write the page of a report.

    Args:
        path: The HTML file.
        title: Title of the page.
        report: The report.
        families: Names of the tables, and the figures of their rows.
        names: Names of the rows and columns of ``report.confusion``.
        unreachable: Number of gold entities that the model cannot find, by reason.
        examples: Whether the page has the errors, which are texts of the data.
    """
    errors = _group_errors(report) if examples else {}
    all_errors = [error for groups in errors.values() for group in groups for error in group]
    num_errors = Counter(label for error in all_errors for label in _labels(error))
    labels = {label: num_errors[label] for label in sorted(num_errors)}
    numbers = {label: number for number, label in enumerate(labels)}
    families = [(family, groups) for family, groups in families if groups]
    sections = [("overview", "Overview"), *[("errors", "Errors")] * bool(errors)]
    sections += [(f"by-{place}", f"By {family}") for place, (family, _) in enumerate(families)]
    sections += [("confusions", "Confusions")] * bool(report.labels)
    relations = report.relations
    sections += [("relations", "Relations")] * (relations is not None)
    write_page(
        path,
        "error_analysis/report.html",
        title=title,
        report=report,
        relations=relations,
        relation_meanings=RELATION_KINDS,
        relation_errors=[*relations.errors()] if relations is not None and examples else [],
        num_sentences=Counter(sentence.split for sentence in report.sentences),
        meanings=KINDS,
        families=families,
        names=names,
        unreachable=unreachable,
        errors=errors,
        kinds=[(kind, report.kinds[kind]) for kind in errors],
        labels=labels,
        labels_of=lambda error: [numbers[label] for label in _labels(error)],
        sections=sections,
        strongest=STRONGEST,
        right=RIGHT,
        wrong=WRONG,
        draw_error=_draw_error,
        figure=_figure,
        percent=f"{{:.{num_decimals(report.overall.f1) - 2}%}}".format,
        count="{:,}".format,
    )


def num_decimals(estimate: Estimate) -> int:
    """Choose the number of decimals of a metric by its interval, so that half its width has one significant digit.

    Args:
        estimate: The figure.

    Returns:
        From 2 to 4; 2 for an interval without width, which few sentences have.

    Example:
        >>> num_decimals(Estimate(0.8, 0.7, 0.9, 0.05)), num_decimals(Estimate(0.8, 0.795, 0.804, 0.002))
        (2, 3)
    """
    half = (estimate.high - estimate.low) / 2
    return min(max(-math.floor(math.log10(half)), 2), 4) if half else 2


def _figure(estimate: Estimate) -> str:
    """A figure with its interval."""
    decimals = num_decimals(estimate)
    value, low, high = (f"{number:.{decimals}f}" for number in estimate[:3])
    return f"{value} [{low}, {high}]"


def _group_errors(report: ErrorReport) -> dict[Kind, list[list[Example]]]:
    """The errors of each kind, grouped by their labels and texts."""
    return {
        kind: group_examples(report.sentences, kind)
        for kind, number in report.kinds.items()
        if number and kind != "correct" and report.num_examples
    }


def _labels(error: Example) -> list[str]:
    """The gold label and the predicted one, without repetition."""
    return list(dict.fromkeys(entity[0] for entity in (error.gold, error.predicted) if entity is not None))


def _draw_error(example: Example) -> Drawing:
    """An error in context. Both entities are marked, each with its role and label."""
    pieces = in_context(example.sentence, example.outcome, CONTEXT)
    starts = [0, *accumulate(len(piece.text) for piece in pieces)]
    marks = []
    for role, entity, number in (("gold", example.gold, GOLD), ("predicted", example.predicted, PREDICTED)):
        places = [place for place, piece in enumerate(pieces) if getattr(piece, f"is_{role}")]
        if entity is not None and places:
            marks.append(Mark(starts[places[0]], starts[places[-1] + 1], f"{role} {entity[0]}", number))
    return draw("".join(piece.text for piece in pieces), marks)
