"""Fixes: what can be changed in annotated data without a human decision.

`span_marker.validation.checks` finds the problems and says where an entity should begin and end; `fix` writes this into
a copy of the data, in the form that it is in.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from span_marker.core.alignment import trim_entities
from span_marker.core.labels import LabelledSpan
from span_marker.core.tables import TextReport
from span_marker.data.rows import PREDICTED, check_entity
from span_marker.validation.inputs import SplitRows, map_entities
from span_marker.validation.report import FIXES, NUM_EXAMPLES, Problem, RowPlace

DROPPED = ("malformed-entity", "blank-entity", "repeated-entity")
"""Kinds of problems whose entities are dropped. Those of the others are moved."""


class Change(NamedTuple):
    """An entity that was changed.

    Attributes:
        kind: A key of `span_marker.validation.report.FIXES`.
        split: Name of the data set.
        row: Index of the row, 0-based.
        entity: Index of the entity in the old ``entities`` of the row, 0-based.
        before: The entity as it was.
        after: The entity as it is now; None if it was dropped.
        message: What was changed, as a sentence.
    """

    kind: str
    split: str
    row: int
    entity: int
    before: Any
    after: Any
    message: str


@dataclass(frozen=True)
class FixReport(TextReport):
    """What `ValidationReport.fix` changed. ``print`` shows the first examples of each kind.

    Attributes:
        changes: All changes, in order of the rows.
    """

    changes: tuple[Change, ...] = field(repr=False)

    def counts(self) -> dict[str, int]:
        """Count the changes of each kind that occurs."""
        numbers = Counter(change.kind for change in self.changes)
        return {kind: numbers[kind] for kind in FIXES if numbers[kind]}

    def __str__(self) -> str:
        num_entities, num_rows = len(self.changes), len({(change.split, change.row) for change in self.changes})
        lines = [f"entities changed: {num_entities:,}, in {num_rows:,} {'row' if num_rows == 1 else 'rows'}"]
        for kind, number in self.counts().items():
            examples = [change.message for change in self.changes if change.kind == kind][:NUM_EXAMPLES]
            lines += ["", f"{kind:<20} {number:>8,}  {FIXES[kind]}", *(f"       {message}" for message in examples)]
            lines += [f"       ... and {number - NUM_EXAMPLES:,} more"] if number > NUM_EXAMPLES else []
        return "\n".join(lines)


def snap(start: int, end: int, words: Iterable[tuple[int, int]]) -> tuple[int, int] | None:
    """Move the edges of a span of characters to the nearest ends of words.

    Args:
        start: First character.
        end: Character after the last.
        words: First character of each word and the one after the last, ascending.

    Returns:
        The span of those words of which it has at least half; if there are none, of those that it touches; None if it
        touches none.

    Example:
        >>> snap(0, 5, [(0, 3), (4, 8)]), snap(4, 5, [(0, 3), (4, 8)])
        ((0, 3), (4, 8))
    """
    touched = [(first, last) for first, last in words if first < end and last > start]
    if not touched:
        return None
    halves = [word for word in touched if 2 * (min(word[1], end) - max(word[0], start)) >= word[1] - word[0]]
    kept = halves or touched
    return kept[0][0], kept[-1][1]


def fix(
    data: Any, problems: Iterable[Problem], num_rows: Mapping[str, int], kinds: Iterable[str]
) -> tuple[Any, FixReport]:
    """Fix problems in a copy of the data.

    Args:
        data: The data that the problems are about.
        problems: The problems.
        num_rows: Number of rows of each split.
        kinds: The kinds to fix, keys of `span_marker.validation.report.FIXES`.

    Returns:
        The data, in the form that it was passed in, and what was changed.

    Raises:
        TypeError: If ``data`` is not annotated data.
        ValueError: If a kind cannot be fixed, or the data is not what the problems are about.
    """
    if isinstance(kinds, str):
        raise TypeError(f"kinds={kinds!r} must be a list: {[kinds]}")
    chosen = list(dict.fromkeys(kinds))
    for kind in chosen:
        if kind not in FIXES:
            raise ValueError(f"kinds={chosen!r}: {kind!r} is not one of {list(FIXES)}, the kinds that can be fixed")
    by_row: dict[str, dict[int, list[Problem]]] = defaultdict(lambda: defaultdict(list))
    for problem in problems:
        is_fixable = problem.replacement is not None or problem.kind in DROPPED
        if problem.kind in chosen and problem.entity is not None and is_fixable:
            by_row[problem.split][problem.row].append(problem)
    changes: list[Change] = []

    def fix_split(split: str, rows: SplitRows) -> dict[int, list[Any]]:
        if num_rows.get(split) != len(rows.entities):
            raise ValueError(
                f"the {split} data has {len(rows.entities)} rows, but the report is about {dict(num_rows)}: pass the "
                "data that was validated"
            )
        fixed = {}
        for row, found in by_row[split].items():
            place, entities = RowPlace(split, row, found[0].unit, found[0].id), rows.entities[row]
            old = _OldRow(place, rows.contents[row], [] if entities is None else list(entities))
            fixed[row], row_changes = _fix_row(old, found, "repeated-entity" in chosen)
            changes.extend(row_changes)
        return fixed

    return map_entities(data, list(num_rows), fix_split), FixReport(tuple(changes))


class _OldRow(NamedTuple):
    """A row before it is fixed."""

    place: RowPlace
    content: Any
    entities: Sequence[Any]

    def names(self, entity: Mapping[str, Any]) -> tuple[str, str]:
        """What an entity calls its start and end."""
        return ("start", "end") if entity.get("start") is not None else PREDICTED[self.place.unit]

    def bounds(self, entity: Mapping[str, Any]) -> tuple[Any, Any]:
        """Start and end of an entity."""
        first, last = self.names(entity)
        return entity.get(first), entity.get(last)

    def is_readable(self, entity: Any) -> bool:
        """Whether an entity is none that reading drops."""
        try:
            check_entity(entity, len(self.content), self.place.unit, str(self.place))
        except (TypeError, ValueError):
            return False
        return True

    def span(self, entity: Mapping[str, Any]) -> LabelledSpan:
        """A readable entity, as validation compares it with others."""
        (span,) = trim_entities([LabelledSpan(entity["label"], *self.bounds(entity))], self.content)
        return span


def _fix_row(row: _OldRow, problems: Sequence[Problem], drops_repeated: bool) -> tuple[list[Any], list[Change]]:
    """Fix the entities of a row."""
    causes = _causes(row, problems)
    kept: list[Any] = []
    changes: list[Change] = []
    seen: set[LabelledSpan] = set()
    for index, entity in enumerate(row.entities):
        cause = causes.get(index)
        kind = "repeated-entity" if cause is None else cause.kind
        after = entity if cause is None else _move(row, entity, cause)
        if drops_repeated and after is not None and row.is_readable(after):
            span = row.span(after)
            if span in seen:  # the same as an earlier one, perhaps because one of them was moved
                kind, after = "repeated-entity", None
            seen.add(span)
        if after is not None:
            kept.append(after)
        if after is not entity:
            message = _message(row, index, after)
            changes.append(Change(kind, row.place.split, row.place.row, index, entity, after, message))
    return kept, changes


def _causes(row: _OldRow, problems: Sequence[Problem]) -> dict[int, Problem]:
    """The problem of each entity that is fixed: the first in the order of `FIXES`."""
    order = list(FIXES)
    causes: dict[int, Problem] = {}
    for problem in sorted(problems, key=lambda problem: order.index(problem.kind)):
        index: Any = problem.entity
        old = row.entities[index] if index < len(row.entities) else None
        if old is None or (problem.kind != "malformed-entity" and old.get("label") != problem.label):
            raise ValueError(
                f"{row.place} has other entities than the report is about: pass the data that was validated"
            )
        causes.setdefault(index, problem)
        if problem.replacement is not None:  # it is about all that are equal
            equal = (other for other, entity in enumerate(row.entities) if entity == old)
            causes.update({other: problem for other in equal if other not in causes})
    return causes


def _move(row: _OldRow, entity: Any, problem: Problem) -> Any:
    """An entity as it is after a fix; None if it is dropped."""
    if problem.replacement is None:
        return None
    start, end = problem.replacement
    span = {"span": row.content[start:end]} if "span" in entity else {}  # as in predictions
    return {**entity, **dict(zip(row.names(entity), (start, end), strict=True)), **span}


def _message(row: _OldRow, index: int, after: Any) -> str:
    before = row.entities[index]
    if after is None:
        return f"{row.place}, entity {index}: {before!r} is dropped"
    old, new = row.bounds(before), row.bounds(after)
    return (
        f"{row.place}, entity {index}: {before['label']!r} from {row.place.unit} {old[0]} to {old[1]} is now from "
        f"{new[0]} to {new[1]}"
    )
