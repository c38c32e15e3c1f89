"""Fix problems in annotated data that need no human decision.

`span_marker.validation.checks` finds the problems and determines where an entity should begin and end; `fix` applies
this to a copy of the data, in its original form.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from span_marker.core.alignment import trim_entities
from span_marker.core.labels import OUTSIDE, LabelledSpan
from span_marker.core.tables import TextReport
from span_marker.data.copies import move_copies
from span_marker.data.rows import PREDICTED, Kind, read_row
from span_marker.data.values import as_whole, is_list
from span_marker.validation.doubtful import reason_to_stay
from span_marker.validation.inputs import ChangedRow, SplitRows, map_entities
from span_marker.validation.report import FIXES, LABEL_SPACE, NUM_EXAMPLES, RENAMED, SHIFTED, Problem, RowPlace

DROPPED = ("malformed-entity", "blank-entity", "repeated-entity")
"""Kinds of problems whose entities are dropped. Those of the others are moved."""


DESCRIPTIONS = {**FIXES, RENAMED: "given another label, as rename= says"}
"""Description of each kind of change in reports."""


class Change(NamedTuple):
    """A change of an entity. One of its place and one of its label are two.

    Attributes:
        kind: A key of `span_marker.validation.report.FIXES`, or ``renamed-label``.
        split: Name of the data set.
        row: Index of the row, 0-based.
        entity: Index of the entity in the old ``entities`` of the row, 0-based.
        before: The entity as it was.
        after: The entity as it is now, the same if it was left; None if it was dropped.
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
        left: Entities with a fixable kind of problem that were not changed, since they may be correct as written or
            have a readable intended meaning: they need a human decision.
    """

    changes: tuple[Change, ...] = field(repr=False)
    left: tuple[Change, ...] = field(default=(), repr=False)

    def counts(self) -> dict[str, int]:
        """Count the changes of each kind that occurs."""
        numbers = Counter(change.kind for change in self.changes)
        return {kind: numbers[kind] for kind in DESCRIPTIONS if numbers[kind]}

    def __str__(self) -> str:
        num_entities = len({change[1:4] for change in self.changes})
        num_rows = len({change[1:3] for change in self.changes})
        lines = [f"entities changed: {num_entities:,}, in {num_rows:,} {'row' if num_rows == 1 else 'rows'}"]
        for kind in self.counts():
            lines += _list_changes(kind, DESCRIPTIONS[kind], [change for change in self.changes if change.kind == kind])
        if self.left:
            lines += _list_changes("left as they are", "they need a decision", self.left)
        return "\n".join(lines)


def _list_changes(title: str, description: str, changes: Sequence[Change]) -> list[str]:
    """The number of changes, and the first of them."""
    more = len(changes) - NUM_EXAMPLES
    return [
        "",
        f"{title:<20} {len(changes):>8,}  {description}",
        *(f"       {change.message}" for change in changes[:NUM_EXAMPLES]),
        *([f"       ... and {more:,} more"] if more > 0 else []),
    ]


def fix(
    data: Any,
    problems: Iterable[Problem],
    num_rows: Mapping[str, int],
    kinds: Iterable[str],
    rename: Mapping[str, str],
    read_options: Mapping[str, Any],
) -> tuple[Any, FixReport]:
    """Fix problems in a copy of the data.

    Args:
        data: The data that the problems are about.
        problems: The problems.
        num_rows: Number of rows of each split.
        kinds: The kinds to fix, keys of `span_marker.validation.report.FIXES`.
        rename: New names of labels, by the old ones.
        read_options: Arguments of `read_annotations` for paths.

    Returns:
        The data, as `map_entities` returns it, and what was changed.

    Raises:
        TypeError: If ``data`` is not annotated data.
        ValueError: If a kind cannot be fixed, the data is not what the problems are about, or no entity has a label
            that ``rename`` names.
    """
    if isinstance(kinds, str):
        raise TypeError(f"kinds={kinds!r} must be a list: {[kinds]}")
    chosen = list(dict.fromkeys(kinds))
    for kind in chosen:
        if kind not in FIXES:
            raise ValueError(f"kinds={chosen!r}: {kind!r} is not one of {list(FIXES)}, the kinds that can be fixed")
    _check_names(rename)
    by_row: dict[str, dict[int, list[Problem]]] = defaultdict(lambda: defaultdict(list))
    problems = list(problems)
    if SHIFTED in chosen and any(problem.kind == SHIFTED for problem in problems):
        chosen = [SHIFTED, *({LABEL_SPACE} & {*chosen})]
    for problem in problems:
        if problem.kind in chosen and problem.entity is not None:
            by_row[problem.split][problem.row].append(problem)
    changes: list[Change] = []
    left: list[Change] = []

    def fix_split(split: str, rows: SplitRows) -> dict[int, ChangedRow]:
        if num_rows.get(split) != len(rows.entities):
            raise ValueError(
                f"the {split} data has {len(rows.entities)} rows, but the report is about {dict(num_rows)}: pass the "
                "data that was validated"
            )
        fixed = {}
        for row, (content, entities) in enumerate(zip(rows.contents, rows.entities, strict=True)):
            found = by_row[split].get(row, [])
            if not found and not (rename and entities):
                continue
            place = RowPlace(
                split, row, "characters" if isinstance(content, str) else "words", found[0].id if found else None
            )
            relations = None if rows.relations is None else rows.relations[row]
            old = _OldRow(place, content, [] if entities is None else list(entities), relations)
            changed, row_changes, row_left = _fix_row(old, found, "repeated-entity" in chosen, rename)
            if row_changes:
                fixed[row] = changed
            changes.extend(row_changes)
            left.extend(row_left)
        return fixed

    fixed_data = map_entities(data, list(num_rows), fix_split, read_options)
    renamed = {change.before["label"] for change in changes if change.kind == RENAMED}
    if missing := [label for label in rename if label not in renamed]:
        raise ValueError(f"rename= has {missing[0]!r}, but no entity has this label: leave it out")
    return fixed_data, FixReport(tuple(changes), tuple(left))


def _check_names(rename: Mapping[str, str]) -> None:
    for old, new in rename.items():
        if not isinstance(new, str) or new.strip() in ("", OUTSIDE):
            raise ValueError(f"rename={{{old!r}: {new!r}}}: a label must be a string other than '' and {OUTSIDE!r}")


class _OldRow(NamedTuple):
    """A row before it is fixed."""

    place: RowPlace
    content: Any
    entities: Sequence[Any]
    relations: Any = None

    def names(self, entity: Mapping[str, Any]) -> tuple[str, str]:
        """What an entity calls its start and end."""
        return ("start", "end") if entity.get("start") is not None else PREDICTED[self.place.unit]

    def bounds(self, entity: Any) -> tuple[Any, Any]:
        """Start and end of an entity; None if it is not a dict."""
        if not isinstance(entity, Mapping):
            return None, None
        first, last = self.names(entity)
        return entity.get(first), entity.get(last)

    def change(self, kind: str, index: int, before: Any, after: Any, message: str) -> Change:
        """Describe a change of an entity."""
        return Change(kind, self.place.split, self.place.row, index, before, after, message)

    def span(self, entity: Any) -> LabelledSpan | None:
        """An entity as validation compares it with others; None if it cannot be read."""
        kind: Kind = "text" if self.place.unit == "characters" else "words"
        row, problems = read_row(kind, self.content, [entity], str(self.place))
        if row is None or problems:
            return None
        (span,) = trim_entities(row.spans, self.content)
        return span


def _fix_row(
    row: _OldRow, problems: Sequence[Problem], drops_repeated: bool, rename: Mapping[str, str]
) -> tuple[ChangedRow, list[Change], list[Change]]:
    """Fix the entities of a row: first their places, then their labels. Relations follow their entities."""
    causes, left = _causes(row, [problem for problem in problems if problem.new_label is None])
    stripped = {problem.entity: problem.new_label for problem in problems if problem.new_label is not None}
    kept: list[Any] = []
    places: list[int | None] = []
    changes: list[Change] = []
    first_place: dict[LabelledSpan, int | None] = {}  # of what is the same now
    first_listed: dict[LabelledSpan, int | None] = {}  # of what was the same before

    def change(kind: str, index: int, before: Any, after: Any) -> Any:
        changes.append(row.change(kind, index, before, after, _message(row, index, before, after)))
        return after

    for index, entity in enumerate(row.entities):
        cause, after = causes.get(index), entity
        is_dropped = cause is not None and cause.kind in DROPPED
        if cause is not None:
            after = change(cause.kind, index, entity, _move(row, entity, cause))
        if isinstance(after, Mapping) and index in stripped:
            after = change(LABEL_SPACE, index, after, {**after, "label": stripped[index]})
        label = after.get("label") if isinstance(after, Mapping) else None
        if isinstance(label, str) and label in rename:
            after = change(RENAMED, index, after, {**after, "label": rename[label]})
        old = row.span(entity) if drops_repeated else None
        new = old if after is entity else row.span(after) if drops_repeated and not is_dropped else None
        if new is not None and new in first_place:  # perhaps because one of them was changed
            changes[:] = [other for other in changes if other.entity != index]
            change("repeated-entity", index, entity, None)
            places.append(first_place[new])
        elif is_dropped:
            is_repeated = cause is not None and cause.kind == "repeated-entity"
            places.append(first_listed.get(old) if is_repeated and old is not None else None)
        else:
            places.append(len(kept))
            kept.append(after)
        if new is not None:
            first_place.setdefault(new, places[-1])
        if old is not None:
            first_listed.setdefault(old, places[-1])
    return ChangedRow(kept, _follow(row.relations, places)), changes, left


def _follow(relations: Any, places: Sequence[int | None]) -> list[Any] | None:
    """Give relations the new indices of their entities. Those of dropped entities, which have none, are dropped.

    So are those that only now are the same as an earlier one, since their entities were; others that are stay.
    """
    if not is_list(relations):
        return None
    kept = []
    first: dict[tuple[str, int, int], tuple[int | None, ...]] = {}
    for relation in relations:
        ends = [as_whole(relation.get(name)) for name in ("head", "tail")] if isinstance(relation, Mapping) else [None]
        if not all(end is not None and 0 <= end < len(places) for end in ends):
            kept.append(relation)  # it is malformed, and stays so
            continue
        head, tail = (places[end] for end in ends if end is not None)
        if head is None or tail is None or (head == tail and ends[0] != ends[1]):
            continue
        if first.setdefault((repr(relation.get("label")), head, tail), tuple(ends)) == tuple(ends):
            kept.append({**relation, "head": head, "tail": tail})
    return kept


def _causes(row: _OldRow, problems: Sequence[Problem]) -> tuple[dict[int, Problem], list[Change]]:
    """The problem of each entity that is fixed: the first in the order of `FIXES`; and the entities that are left."""
    order = list(FIXES)
    causes: dict[int, Problem] = {}
    left: dict[int, Change] = {}
    for problem in sorted(problems, key=lambda problem: order.index(problem.kind)):
        index: Any = problem.entity
        if index >= len(row.entities) or _is_another(row.entities[index], problem):
            raise ValueError(
                f"{row.place} has other entities than the report is about: pass the data that was validated"
            )
        if index in causes:
            continue
        old = row.entities[index]
        reason = reason_to_stay(problem, old, row.content, row.bounds(old))
        if reason is not None:
            message = f"{problem.message} (it stays, since {reason})"
            left.setdefault(index, row.change(problem.kind, index, old, old, message))
            continue
        causes[index] = problem
        if problem.replacement is not None:  # it is about all that are equal
            equal = (other for other, entity in enumerate(row.entities) if entity == old)
            causes.update({other: problem for other in equal if other not in causes})
    return causes, [left[index] for index in sorted(left)]


def _is_another(entity: Any, problem: Problem) -> bool:
    """Tell whether an entity cannot be the one that a problem is about."""
    label = entity.get("label") if isinstance(entity, Mapping) else None
    return problem.kind != "malformed-entity" and label != problem.label


def _move(row: _OldRow, entity: Any, problem: Problem) -> Any:
    """An entity as it is after a fix; None if it is dropped."""
    if problem.replacement is None:
        return None
    moved = {**entity, **dict(zip(row.names(entity), problem.replacement, strict=True))}
    start, end = map(as_whole, row.bounds(entity))
    if start is None or end is None:
        return moved
    return {**moved, **move_copies(row.content, (start, end), problem.replacement, entity)}


def _message(row: _OldRow, index: int, before: Any, after: Any) -> str:
    if after is None:
        number = sum(
            isinstance(relation, Mapping) and index in (relation.get("head"), relation.get("tail"))
            for relation in row.relations or ()
        )
        relations = f", which {number} relations refer to" if number else ""
        return f"{row.place}, entity {index}: {before!r} is dropped{relations}"
    if before["label"] != after["label"]:
        return f"{row.place}, entity {index}: {before['label']!r} is now {after['label']!r}"
    old, new = row.bounds(before), row.bounds(after)
    return (
        f"{row.place}, entity {index}: {before['label']!r} from {row.place.unit} {old[0]} to {old[1]} is now from "
        f"{new[0]} to {new[1]}"
    )
