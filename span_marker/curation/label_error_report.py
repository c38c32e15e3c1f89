"""A report of suspicious annotations, as text, as rows and as an HTML page."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from span_marker.core.labels import LabelledSpan
from span_marker.core.tables import TextReport
from span_marker.core.words import surroundings
from span_marker.curation.suspects import KINDS, Suspect, SuspectKind
from span_marker.data.html import Drawing, Mark, draw, write_page
from span_marker.data.row_relations import RELATIONS, RowRelation, move_relations
from span_marker.data.rows import join_words
from span_marker.data.text_files import StrPath

NUM_SHOWN = 20
"""Number of suspects that ``print`` shows."""

CONTEXT = 200
"""Number of characters that a page shows on either side of a suspect."""

ANNOTATED, SUGGESTED = 1, 0
"""Indices into `span_marker.data.html.HUES`."""


@dataclass(frozen=True)
class LabelErrorReport(TextReport):
    """The result of `find_label_errors`. ``print`` shows the kinds and the first suspects.

    Attributes:
        suspects: The suspicious annotations, most probable first.
        annotated: The words or the text of each row, and its annotated entities.
        num_entities: Number of annotated entities.
        num_unjudged: Number of those that are not judged, since they have more words than any predicted span.
        num_models: Number of predictions for each row that were averaged.
        relations: The annotated relations of each row, which are not judged; None if the data has none.
        dataset_name: Name of the data; None if unknown.
    """

    suspects: Sequence[Suspect] = field(repr=False)
    annotated: Sequence[tuple[Any, list[LabelledSpan]]] = field(repr=False)
    num_entities: int
    num_unjudged: int = 0
    num_models: int = 1
    relations: Sequence[Sequence[RowRelation]] | None = field(default=None, repr=False)
    dataset_name: str | None = None

    def by_kind(self, kind: SuspectKind) -> list[Suspect]:
        """List the suspects of a kind.

        Args:
            kind: A key of `span_marker.curation.suspects.KINDS`.

        Returns:
            The suspects, most probable first.

        Raises:
            ValueError: If the kind is unknown.
        """
        if kind not in KINDS:
            raise ValueError(f"kind={kind!r} must be one of {list(KINDS)}")
        return [suspect for suspect in self.suspects if suspect.kind == kind]

    @property
    def kinds(self) -> dict[SuspectKind, int]:
        """Number of suspects of each kind."""
        counts = Counter(suspect.kind for suspect in self.suspects)
        return {kind: counts[kind] for kind in KINDS}

    @property
    def rows(self) -> list[int]:
        """The rows with suspects, without repetition: the row of the most probable suspect first."""
        return list(dict.fromkeys(suspect.row for suspect in self.suspects))

    def to_pandas(self) -> Any:
        """Return a ``pandas.DataFrame`` with a row for each suspect, most probable first.

        Columns are the attributes of `Suspect`; ``annotated`` and ``suggested`` have three columns each, such as
        ``annotated_label``, ``annotated_start`` and ``annotated_end``.
        """
        import pandas as pd  # takes long to import

        table = pd.DataFrame([_as_row(suspect) for suspect in self.suspects], columns=list(_as_row(EMPTY)))
        places = [name for name in table.columns if name.endswith(("_start", "_end"))]
        return table.astype(dict.fromkeys(places, "Int64"))

    def tasks(self) -> list[dict[str, Any]]:
        """Return the rows with suspects as tasks for an annotation tool, the most suspicious first.

        Returns:
            Dicts with ``tokens`` or ``text``, an ``id``, the annotated ``entities``, and the suggested ones as
            ``predictions``. The ``id`` is that of the row if every row of the data has a unique one, otherwise the
            number of the row. Suggested entities have a ``score``, unchanged ones have none. If the data has
            ``relations``, so do the tasks; the ``predictions`` are then a dict of ``entities`` and ``relations``, and a
            suggested entity has the relations of the one that it replaces.
        """
        by_row: dict[int, list[Suspect]] = {row: [] for row in self.rows}
        for suspect in self.suspects:
            by_row[suspect.row].append(suspect)
        relations = self.relations
        return [
            _as_task(*self.annotated[row], suspects, None if relations is None else relations[row])
            for row, suspects in by_row.items()
        ]

    def write_html(self, path: StrPath, title: str = "Suspicious annotations") -> None:
        """Write an HTML page that shows all suspects in context, and can filter them by kind.

        Args:
            path: The HTML file; the page needs no other files. **It contains the texts** around the suspects.
            title: Title of the page.
        """
        write_page(
            path,
            "curation/label_errors.html",
            title=title,
            report=self,
            kinds=[(kind, number) for kind, number in self.kinds.items() if number],
            meanings=KINDS,
            draw_suspect=lambda suspect: _draw(self.annotated[suspect.row][0], suspect),
            describe=_describe,
        )

    def __str__(self) -> str:
        lines = [
            f"{len(self.suspects):,} suspects in {len(self.rows):,} of {len(self.annotated):,} rows with "
            f"{self.num_entities:,} entities"
        ]
        if self.num_unjudged:
            lines += [
                f"{self.num_unjudged:,} entities are not judged: no span with as many words is "
                "predicted; is entity_max_length too low?"
            ]
        lines += [f"{number:>8,}  {kind:<15} {KINDS[kind]}" for kind, number in self.kinds.items() if number]
        lines += [""] if self.suspects else []
        for suspect in self.suspects[:NUM_SHOWN]:
            lines.append(
                f"{suspect.probability:.3f}  {suspect.kind:<15} row {suspect.row}: {suspect.text!r:.70}: "
                f"{_describe(suspect)}"
            )
        rest = len(self.suspects) - NUM_SHOWN
        return "\n".join([*lines, *[f"... and {rest:,} more"] * (rest > 0)])


def _as_task(
    item: Any, entities: Sequence[LabelledSpan], suspects: Sequence[Suspect], relations: Sequence[RowRelation] | None
) -> dict[str, Any]:
    """A row with its annotation and the suggestions."""
    replaced = {suspect.annotated: suspect.suggested for suspect in suspects}
    kept = [entity for entity in entities if entity not in replaced]
    scores = {suspect.suggested: suspect.confidence for suspect in suspects if suspect.suggested is not None}
    suggested = sorted([*kept, *scores], key=lambda entity: (entity.start, entity.end))
    predictions = [
        {**entity._asdict(), "score": scores[entity]} if entity in scores else entity._asdict() for entity in suggested
    ]
    task = {
        "id": suspects[0].row if suspects[0].id is None else suspects[0].id,
        "text" if isinstance(item, str) else "tokens": item,
        "entities": [entity._asdict() for entity in entities],
        "predictions": predictions,
    }
    if relations is None:
        return task
    ends = [replaced.get(entity, entity) for entity in entities]
    moved = move_relations(relations, [None if end is None else suggested.index(end) for end in ends])
    return {
        **task,
        RELATIONS: [relation.to_dict() for relation in relations],
        "predictions": {"entities": predictions, RELATIONS: [relation.to_dict() for relation in moved]},
    }


EMPTY = Suspect(0, "missing", 0.0, None, None, 0.0)


def _as_row(suspect: Suspect) -> dict[str, Any]:
    row = suspect._asdict()
    for name in ("annotated", "suggested"):
        entity = row.pop(name)
        row |= {f"{name}_{part}": getattr(entity, part, None) for part in LabelledSpan._fields}
    return row


def _describe(suspect: Suspect) -> str:
    """The annotation and the suggestion."""
    annotated = "nothing" if suspect.annotated is None else suspect.annotated.label
    suggested = "nothing" if suspect.suggested is None else suspect.suggested.label
    if suspect.kind == "wrong-boundary" and suspect.suggested is not None:
        suggested += f" from {suspect.suggested.start} to {suspect.suggested.end}"
    mentions = f"; {suspect.agreeing:,} of {suspect.mentions:,} other mentions agree" if suspect.mentions else ""
    return f"{annotated} -> {suggested} ({suspect.confidence:.3f}){mentions}"


def _draw(item: Any, suspect: Suspect) -> Drawing:
    """A suspect in context, with the annotation and the suggestion."""
    text, starts = (item, None) if isinstance(item, str) else join_words(item)
    marks = []
    for role, entity, number, score in (
        ("annotated", suspect.annotated, ANNOTATED, None),
        ("suggested", suspect.suggested, SUGGESTED, suspect.confidence),
    ):
        if entity is not None:
            start, end = entity[1:] if starts is None else (starts[entity.start], starts[entity.end] - 1)
            marks.append(Mark(start, end, f"{role} {entity.label}", number, score))
    first, last = surroundings(text, min(mark.start for mark in marks), max(mark.end for mark in marks), CONTEXT)
    before, after = "... " * (first > 0), " ..." * (last < len(text))
    shift = len(before) - first
    marks = [mark._replace(start=mark.start + shift, end=mark.end + shift) for mark in marks]
    return draw(before + text[first:last] + after, marks)
