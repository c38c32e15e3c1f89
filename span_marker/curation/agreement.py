"""Inter-annotator agreement: how often two annotators agree, and where they differ.

Cohen's kappa (Cohen 1960, A Coefficient of Agreement for Nominal Scales) is ``(o - e) / (1 - e)``, where ``o`` is the
observed share of words on which both agree, and ``e = a * b + (1 - a) * (1 - b)`` the share to expect if two annotators
mark the shares ``a`` and ``b`` of all words at random. It is computed for each label over words, each of which has the
label or not. For entities, it has two flaws: most words have no label, so it approaches F1 (Hripcsak and Rothschild
2005, Agreement, the F-Measure, and Reliability in Information Retrieval); and the words of an entity are not
independent, so long entities count more. The F1 of spans has neither flaw.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from span_marker.core.alignment import trim_entities
from span_marker.core.labels import LabelledSpan
from span_marker.core.metrics import precision_recall_f1
from span_marker.core.tables import TextReport, text_table
from span_marker.core.words import unicode_words
from span_marker.data.html import Mark, draw, write_page
from span_marker.data.in_memory import table_as_dataset
from span_marker.data.rows import Row, RowEntity, as_text, join_words, parse_row
from span_marker.data.text_files import StrPath
from span_marker.error_analysis.matching import JudgedSentence, Kind, Outcome, match, tally, tally_measures

NUM_SHOWN = 20
"""Number of disagreements that ``print`` shows."""

DISAGREEMENTS: dict[Kind, str] = {
    "wrong-label": "the same words with another label",
    "wrong-boundaries": "the same label with other boundaries",
    "wrong-both": "words that overlap, with another label",
    "missed": "entities of the first annotator alone",
    "spurious": "entities of the second annotator alone",
}
"""Kinds of disagreements, named as if the first annotator were right."""


class SpanAgreement(NamedTuple):
    """Agreement on entities.

    Attributes:
        first_in_second: Share of the entities of the first annotator that the second has, too.
        second_in_first: Share of the entities of the second annotator that the first has, too.
        f1: Their harmonic mean, which does not depend on who counts as right.
    """

    first_in_second: float
    second_in_first: float
    f1: float


class LabelAgreement(NamedTuple):
    """Agreement on a label.

    Attributes:
        spans: Agreement on its entities, with the same boundaries.
        kappa: Cohen's kappa over words; nan if both annotators give the label to all words, or to none.
        first: Number of entities of the first annotator.
        second: Number of entities of the second annotator.
    """

    spans: SpanAgreement
    kappa: float
    first: int
    second: int


class Disagreement(NamedTuple):
    """A disagreement to resolve.

    Attributes:
        row: Index of the row.
        id: The ``id`` of the row, or None.
        outcome: Both annotations: the first as ``gold``, the second as ``predicted``; in characters of ``text``.
        text: The text of the row.
    """

    row: int
    id: Any
    outcome: Outcome
    text: str


@dataclass(frozen=True)
class AgreementReport(TextReport):
    """The agreement of two annotators, see `compare_annotators`. ``print`` shows tables and the first disagreements.

    Attributes:
        strict: Agreement on entities with the same label and boundaries.
        boundaries: Agreement on entities with the same boundaries, whatever their label.
        labels: Agreement on each label.
        disagreements: The disagreements to resolve, in order of the rows.
        num_rows: Number of rows.
        names: Names of the annotators.
    """

    strict: SpanAgreement
    boundaries: SpanAgreement
    labels: Mapping[str, LabelAgreement]
    disagreements: Sequence[Disagreement] = field(repr=False)
    num_rows: int = 0
    names: tuple[str, str] = ("first", "second")

    def __str__(self) -> str:
        first, second = self.names
        titles = ("", f"{first} in {second}", f"{second} in {first}", "F1")
        both = [("strict", self.strict), ("boundaries", self.boundaries)]
        lines = [f"{self.num_rows:,} rows, {len(self.disagreements):,} disagreements", ""]
        lines += [text_table([titles, *((name, *(f"{value:.3f}" for value in spans)) for name, spans in both)]), ""]
        table: list[tuple[str, ...]] = [("label", first, second, "F1", "kappa (words)")]
        for label, (spans, kappa, *numbers) in self.labels.items():
            table.append((label, *(f"{number:,}" for number in numbers), f"{spans.f1:.3f}", f"{kappa:.3f}"))
        lines += [text_table(table), ""]
        lines += [f"row {item.row}: {_describe(item, self.names)}" for item in self.disagreements[:NUM_SHOWN]]
        rest = len(self.disagreements) - NUM_SHOWN
        return "\n".join([*lines, *[f"... and {rest:,} more"] * (rest > 0)]).rstrip()

    def write_html(self, path: StrPath, title: str = "Agreement") -> None:
        """Write an HTML page that shows all disagreements in context, and can filter them by kind.

        Args:
            path: The HTML file; the page needs no other files. **It contains the texts** of the rows that differ.
            title: Title of the page.
        """
        numbers = {kind: sum(item.outcome.kind == kind for item in self.disagreements) for kind in DISAGREEMENTS}
        write_page(
            path,
            "curation/agreement.html",
            title=title,
            report=self,
            kinds=[(kind, number) for kind, number in numbers.items() if number],
            meanings=DISAGREEMENTS,
            draw_both=lambda item: draw(item.text, _marks(item.outcome, self.names)),
        )


def _describe(item: Disagreement, names: tuple[str, str]) -> str:
    parts = [
        f"{name}: {f'{span.label} {item.text[span.start : span.end]!r:.60}' if span else 'nothing'}"
        for name, span in zip(names, item.outcome[1:], strict=True)
    ]
    return "; ".join(parts)


def _marks(outcome: Outcome, names: tuple[str, str]) -> list[Mark]:
    pairs = enumerate(zip(names, outcome[1:], strict=True))
    return [Mark(s.start, s.end, f"{name}: {s.label}", number, None) for number, (name, s) in pairs if s]


def compare_annotators(
    first: Iterable[Mapping[str, Any]],
    second: Iterable[Mapping[str, Any]],
    names: tuple[str, str] = ("first", "second"),
) -> AgreementReport:
    """Compare the annotations of the same rows by two annotators.

    Args:
        first: Rows of the first annotator, with ``tokens`` or ``text``, and ``entities``, as returned by
            `span_marker.read_annotations`; or a table with these columns. Relations are not compared.
        second: The same rows, by the second annotator. Rows are paired by ``id`` if all have one, otherwise by order.
            White space at the edges of entities does not count.
        names: What to call the annotators.

    Returns:
        The report.

    Raises:
        TypeError: If a row is not a dict, or has a value of the wrong type.
        ValueError: If a row is invalid, an ``id`` occurs twice, the annotators have different rows or texts, or
            ``names`` are not two different names.
    """
    if isinstance(names, str) or len(set(names)) != len(names) or len(names) != 2:
        raise ValueError(f"names={names!r} must be two different names, such as ('Ann', 'Bob')")
    sentences, disagreements, words = [], [], _WordCounts()
    pairs = _pairs(_read_rows(first, names[0]), _read_rows(second, names[1]), names)
    for index, (left, right) in enumerate(pairs):
        rows = [parse_row(row, f"{name}, row {index}") for name, row in zip(names, (left, right), strict=True)]
        (text, one), (other_text, other) = map(as_text, rows)
        _check_same(rows, (text, other_text), names, index)
        outcomes = match(*(_spans(row, entities) for row, entities in zip(rows, (one, other), strict=True)))
        sentences.append(JudgedSentence(text, outcomes, row=index))
        disagreements += [Disagreement(index, left.get("id"), o, text) for o in outcomes if o.kind != "correct"]
        words.add(_word_places(rows[0]), one, other)
    measures = {name: _agreement(counts) for name, counts in tally_measures(sentences).items()}
    labels = {}
    for label, counts in sorted(tally(sentences, lambda _, span: span.label).items()):
        _, num_second, num_first = map(int, counts.sum(axis=0))
        labels[label] = LabelAgreement(_agreement(counts), words.kappa(label), num_first, num_second)
    return AgreementReport(measures["strict"], measures["exact"], labels, disagreements, len(sentences), names)


def _check_same(rows: Sequence[Row], texts: tuple[str, str], names: tuple[str, str], index: int) -> None:
    """Check that two annotators have annotated the same text."""
    if texts[0] != texts[1]:
        same = (a == b for a, b in zip(*texts, strict=False))
        place = next((place for place, is_same in enumerate(same) if not is_same), min(map(len, texts)))
        parts = [f"{text[place : place + 40]!a} of {name}" for text, name in zip(texts, names, strict=True)]
        raise ValueError(f"row {index}: the texts differ from character {place} on: {parts[0]}, but {parts[1]}")
    if rows[0].kind != rows[1].kind:
        raise ValueError(
            f"row {index} has {rows[0].kind} from {names[0]}, but {rows[1].kind} from {names[1]}: pass both in the "
            "same form"
        )
    if list(rows[0].content) != list(rows[1].content):
        raise ValueError(
            f"row {index}: the words from {names[0]} and from {names[1]} differ, although the text is the same"
        )


def _spans(row: Row, entities: Iterable[RowEntity]) -> list[LabelledSpan]:
    """Entities in characters. White space at their edges does not count, as in training."""
    spans = [LabelledSpan(*entity[:3]) for entity in entities]
    return trim_entities(spans, row.content) if row.kind == "text" else spans


Rows = Sequence[Mapping[str, Any]]


def _read_rows(annotated: Any, name: str) -> Rows:
    rows = [*table_as_dataset(annotated, name)]
    for index, row in enumerate(rows):
        if not isinstance(row, Mapping):
            raise TypeError(f"{name}, row {index}: a row must be a dict, not {type(row).__name__}")
    return rows


def _pairs(first: Rows, second: Rows, names: tuple[str, str]) -> list[tuple[Mapping[str, Any], Mapping[str, Any]]]:
    """Pair the rows by their IDs, otherwise by their order."""
    if any(row.get("id") is None for row in (*first, *second)):
        if len(first) != len(second):
            raise ValueError(
                f"{names[0]} has {len(first)} rows, but {names[1]} has {len(second)}: give every row an 'id', by "
                "which rows are paired"
            )
        return list(zip(first, second, strict=True))
    by_id = [_rows_of_ids(rows, name) for name, rows in zip(names, (first, second), strict=True)]
    alone = [(key, side) for side, rows in enumerate(by_id) for key in rows if key not in by_id[1 - side]]
    if alone:
        key, side = alone[0]
        raise ValueError(
            f"{len(alone)} rows are from only one annotator, such as the one with the id {key!r} from {names[side]}: "
            "remove them, and use one type for all IDs, since 1 is not '1'"
        )
    return [(row, by_id[1][row["id"]][1]) for row in first]


def _rows_of_ids(rows: Rows, name: str) -> dict[Any, tuple[int, Mapping[str, Any]]]:
    """The rows and their indices, by ID."""
    by_id: dict[Any, tuple[int, Mapping[str, Any]]] = {}
    for index, row in enumerate(rows):
        if not isinstance(row["id"], Hashable):
            raise TypeError(f"{name}: row {index} has the 'id' {row['id']!r:.80}: it must be a string or a number")
        same, _ = by_id.setdefault(row["id"], (index, row))
        if same != index:
            raise ValueError(f"{name}: rows {same} and {index} both have the 'id' {row['id']!r}: keep one of them")
    return by_id


def _agreement(counts: npt.ArrayLike) -> SpanAgreement:
    precision, recall, f1 = precision_recall_f1(np.sum(counts, axis=0)).tolist()
    return SpanAgreement(recall, precision, f1)


def _word_places(row: Row) -> list[tuple[int, int]]:
    """The words of a row, in characters of its text."""
    if row.kind == "text":
        return unicode_words(row.content)
    _, starts = join_words(row.content)
    return [(start, end - 1) for start, end in pairwise(starts)]


@dataclass
class _WordCounts:
    """How many words have a label: by the first annotator, by the second, and by both."""

    num_words: int = 0
    labels: dict[str, list[int]] = field(default_factory=dict)

    def add(self, places: Sequence[tuple[int, int]], first: Sequence[RowEntity], second: Sequence[RowEntity]) -> None:
        self.num_words += len(places)
        for label in {entity.label for entity in (*first, *second)}:
            one, other = (
                {
                    place
                    for e in entities
                    if e.label == label
                    for place in places
                    if e.start < place[1] and place[0] < e.end
                }
                for entities in (first, second)
            )
            counts = self.labels.setdefault(label, [0, 0, 0])
            counts[:] = map(int.__add__, counts, (len(one), len(other), len(one & other)))

    def kappa(self, label: str) -> float:
        first, second, both = self.labels[label]
        return cohen_kappa(first, second, both, self.num_words)


def cohen_kappa(first: int, second: int, both: int, total: int) -> float:
    """Compute Cohen's kappa of two annotators who mark items.

    Args:
        first: Number of items that the first marks.
        second: Number of items that the second marks.
        both: Number of items that both mark.
        total: Number of items.

    Returns:
        Kappa: 1 for complete agreement, 0 for chance agreement. It is nan if both mark all items, or none.

    Example:
        >>> cohen_kappa(25, 30, 20, 50)
        0.4
    """
    # In whole numbers until the last division: total ** 2 times the numerator and the denominator.
    expected = first * second + (total - first) * (total - second)
    observed = total * (total - first - second + 2 * both)
    return (observed - expected) / (total**2 - expected) if total**2 != expected else math.nan
