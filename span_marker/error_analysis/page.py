"""The page of a report: an overview, tables with bars, the matrix of confusions, and all errors in context."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import accumulate
from typing import TYPE_CHECKING

from span_marker.data.html import Drawing, Mark, draw, write_page
from span_marker.error_analysis.bootstrap import Figures
from span_marker.error_analysis.examples import CONTEXT, Example, group_examples, in_context
from span_marker.error_analysis.matching import KINDS, Kind

if TYPE_CHECKING:
    from span_marker.error_analysis.report import ErrorReport

BAR_WIDTH = 200
"""Pixels of a bar for a figure of 1."""

STRONGEST = 40
"""Percentage of the hue in a cell of the matrix that holds its whole row. The number in it stays legible."""

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
) -> None:
    """Write the page of a report.

    Args:
        path: The HTML file.
        title: Title of the page.
        report: The report.
        families: Names of the tables, and the figures of their rows.
        names: Names of the rows and columns of ``report.confusion``.
        unreachable: Gold entities out of reach of the model, by reason.
    """
    decimals = num_decimals(len(report.sentences))
    write_page(
        path,
        "error_analysis/report.html",
        title=title,
        report=report,
        num_sentences=Counter(sentence.split for sentence in report.sentences),
        meanings=KINDS,
        families=families,
        names=names,
        unreachable=unreachable,
        errors=_errors(report),
        bar_width=BAR_WIDTH,
        strongest=STRONGEST,
        right=RIGHT,
        wrong=WRONG,
        draw_error=_draw_error,
        figure=f"{{:.{decimals}f}}".format,
        percent=f"{{:.{decimals - 2}%}}".format,
        count="{:,}".format,
    )


def num_decimals(num_sentences: int) -> int:
    """Choose the number of decimals, so that one sentence more or less makes a visible difference.

    Args:
        num_sentences: Number of sentences that were measured.

    Returns:
        2 for up to 100 sentences, 3 for up to 1,000, and 4 beyond.
    """
    return min(max(len(str(num_sentences - 1)), 2), 4)


def _errors(report: ErrorReport) -> Iterator[tuple[Kind, list[list[Example]]]]:
    """The errors of each kind, grouped by their labels and texts."""
    for kind, number in report.kinds.items():
        if number and kind != "correct" and report.num_examples:
            yield kind, group_examples(report.sentences, kind)


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
