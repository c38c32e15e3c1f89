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
from span_marker.core.labels import OUTSIDE, LabelledSpan
from span_marker.core.tables import TextReport
from span_marker.data.rows import PREDICTED, Kind, read_row
from span_marker.data.values import as_whole, is_list
from span_marker.validation.inputs import ChangedRow, SplitRows, map_entities
from span_marker.validation.report import FIXES, LABEL_SPACE, NUM_EXAMPLES, RENAMED, SHIFTED, Problem, RowPlace

DROPPED = ("malformed-entity", "blank-entity", "repeated-entity")
"""Kinds of problems whose entities are dropped. Those of the others are moved."""


DESCRIPTIONS = {**FIXES, RENAMED: "given another label, as rename= says"}
"""What reports say of each kind of change."""


class Change(NamedTuple):
    """A change of an entity. One of its place and one of its label are two.

    Attributes:
        kind: A key of `span_marker.validation.report.FIXES`, or ``renamed-label``.
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
        return {kind: numbers[kind] for kind in DESCRIPTIONS if numbers[kind]}

    def __str__(self) -> str:
        num_entities = len({change[1:4] for change in self.changes})
        num_rows = len({change[1:3] for change in self.changes})
        lines = [f"entities changed: {num_entities:,}, in {num_rows:,} {'row' if num_rows == 1 else 'rows'}"]
        for kind, number in self.counts().items():
            examples = [change.message for change in self.changes if change.kind == kind][:NUM_EXAMPLES]
            lines += [
                "",
                f"{kind:<20} {number:>8,}  {DESCRIPTIONS[kind]}",
                *(f"       {message}" for message in examples),
            ]
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
        The data, in the form that it was passed in, and what was changed.

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
        is_fixable = problem.replacement is not None or problem.new_label is not None or problem.kind in DROPPED
        if problem.kind in chosen and problem.entity is not None and is_fixable:
            by_row[problem.split][problem.row].append(problem)
    changes: list[Change] = []

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
            fixed[row], row_changes = _fix_row(old, found, "repeated-entity" in chosen, rename)
            if not row_changes:
                del fixed[row]
            changes.extend(row_changes)
        return fixed

    fixed_data = map_entities(data, list(num_rows), fix_split, read_options)
    renamed = {change.before["label"] for change in changes if change.kind == RENAMED}
    if missing := [label for label in rename if label not in renamed]:
        raise ValueError(f"rename= has {missing[0]!r}, but no entity has this label: leave it out")
    return fixed_data, FixReport(tuple(changes))


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

    def bounds(self, entity: Mapping[str, Any]) -> tuple[Any, Any]:
        """Start and end of an entity."""
        first, last = self.names(entity)
        return entity.get(first), entity.get(last)

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
) -> tuple[ChangedRow, list[Change]]:
    """Fix the entities of a row: first their places, then their labels. Relations follow their entities."""
    causes = _causes(row, [problem for problem in problems if problem.new_label is None])
    stripped = {problem.entity: problem.new_label for problem in problems if problem.new_label is not None}
    kept: list[Any] = []
    places: list[int | None] = []
    changes: list[Change] = []
    seen: dict[LabelledSpan, int | None] = {}

    def change(kind: str, index: int, before: Any, after: Any) -> Any:
        message = _message(row, index, before, after)
        changes.append(Change(kind, row.place.split, row.place.row, index, before, after, message))
        return after

    for index, entity in enumerate(row.entities):
        cause, after = causes.get(index), entity
        if cause is not None:
            after = change(cause.kind, index, entity, _move(row, entity, cause))
        if after is not None and index in stripped:
            after = change(LABEL_SPACE, index, after, {**after, "label": stripped[index]})
        if isinstance(after, Mapping) and after.get("label") in rename:
            after = change(RENAMED, index, after, {**after, "label": rename[after["label"]]})
        span = row.span(after) if drops_repeated and after is not None else None
        if span is not None and span in seen:  # the same as an earlier one, perhaps because one of them was changed
            changes[:] = [other for other in changes if other.entity != index]
            after = change("repeated-entity", index, entity, None)
        if after is None and cause is not None and cause.kind == "repeated-entity":
            span = row.span(entity)
        places.append(len(kept) if after is not None else seen.get(span) if span is not None else None)
        if span is not None:
            seen.setdefault(span, places[-1])
        if after is not None:
            kept.append(after)
    return ChangedRow(kept, _follow(row.relations, places)), changes


def _follow(relations: Any, places: Sequence[int | None]) -> list[Any] | None:
    """Give relations the new indices of their entities. Those of dropped entities, which have none, are dropped."""
    if not is_list(relations):
        return None
    kept = []
    for relation in relations:
        ends = [as_whole(relation.get(name)) for name in ("head", "tail")] if isinstance(relation, Mapping) else [None]
        if not all(end is not None and 0 <= end < len(places) for end in ends):
            kept.append(relation)  # it is malformed, and stays so
            continue
        head, tail = (places[end] for end in ends if end is not None)
        if head is not None and tail is not None and (head != tail or ends[0] == ends[1]):
            kept.append({**relation, "head": head, "tail": tail})
    return kept


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
