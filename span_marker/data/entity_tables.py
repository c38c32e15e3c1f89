"""Tables with one line per entity: its text, its place and its label. Files and data frames have them alike."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from span_marker.data.copies import check_copy
from span_marker.data.rows import COLUMNS, UNITS, Kind, Row, RowEntity, check_content, check_entity, distinct, is_whole

BOUNDS = ("start", "end", "label")
DETAILS = ("score", "span")
"""What a line has about its entity, in this order."""

_WHOLE = re.compile(r"\s*(-?\d+)(?:\.0)?\s*")


def rows_of_entities(
    lines: Iterable[tuple[str, Mapping[str, Any]]],
    kind: Kind,
    read: Callable[[str, Mapping[str, Any]], Mapping[str, Any]] = lambda _, cells: cells,
    row_errors: Callable[[], AbstractContextManager[None]] = nullcontext,
) -> list[dict[str, Any]]:
    """Collect the entities of each text.

    Args:
        lines: Where each line of the table is, for errors; and its cells: ``text`` or ``tokens``, ``start``, ``end``,
            ``label``, and, if the table has them, ``id`` and ``span``, a copy of the entity. A text without entities
            has one line, whose ``start``, ``end`` and ``label`` are empty.
        kind: Whether lines have texts or words.
        read: Reads the cells of a line. Which lines are of one row, ``id``, ``text`` or ``tokens`` tell before.
        row_errors: Makes contexts in which lines are read, which may collect errors. Defaults to raising them.

    Returns:
        One row for each ``id``, or without one for each text, in the order of their first lines; without the rows that
        have a wrong line.

    Raises:
        TypeError: If a value has the wrong type.
        ValueError: If an entity is impossible, is not what its copy says, or two texts have the same ``id``.
    """
    rows: dict[Any, tuple[str, dict[str, Any], list[RowEntity]]] = {}
    num_wrong: Counter[Any] = Counter()
    column = COLUMNS[kind]
    for location, line in lines:
        has_id = not is_empty(line.get("id"))
        with row_errors():
            key = line["id"] if has_id else _key(line[column])
            num_wrong[key] += 1
            cells = read(location, line)
            content = cells[column]
            check_content(kind, content, location)
            head = {"id": cells["id"], column: content} if has_id else {column: content}
            first, row, entities = rows.setdefault(key, (location, head, []))
            if row[column] != content:
                raise ValueError(f"{location}: the id {cells['id']!r} has another text than before ({first})")
            if not all(is_empty(cells[name]) for name in BOUNDS):
                entities.append(_read_entity(cells, content, kind, location))
            num_wrong[key] -= 1
    return [
        {**row, "entities": [entity.to_dict() for entity in distinct(entities)]}
        for key, (_, row, entities) in rows.items()
        if not num_wrong[key]
    ]


def _key(content: Any) -> Any:
    """What tells texts or lists of words apart; other values are refused when they are read."""
    return tuple(content) if isinstance(content, (list, tuple)) else content


def is_empty(cell: Any) -> bool:
    """Tell whether a cell has no value: None, an empty string, or the NaN of a data frame."""
    return cell is None or cell == "" or cell != cell


def _read_entity(cells: Mapping[str, Any], content: Any, kind: Kind, location: str) -> RowEntity:
    bounds = {name: None if is_empty(cells[name]) else _whole(cells[name]) for name in ("start", "end")}
    label = None if is_empty(cells["label"]) else cells["label"]
    entity = check_entity({"label": label, **bounds}, len(content), UNITS[kind], location)
    if not is_empty(cells.get("span")):
        text = content if kind == "text" else " ".join(content[entity.start : entity.end])
        check_copy(text, [(entity.start, entity.end) if kind == "text" else (0, len(text))], cells["span"], location)
    return entity


def _whole(cell: Any) -> Any:
    """A whole number, also as a string or a float: a column with empty cells is written with ``.0``."""
    match = _WHOLE.fullmatch(cell if isinstance(cell, str) else "" if is_whole(cell) else repr(float(cell)))
    return int(match[1]) if match else cell


def lines_of_entities(rows: Iterable[tuple[dict[str, Any], Row]]) -> Iterator[dict[str, Any]]:
    """List the entities of rows, see `rows_of_entities`.

    Args:
        rows: Rows with their columns, as `span_marker.data.columns.annotated_rows` returns them.

    Yields:
        Each entity with ``id`` (the number of the row, if it has none), ``text`` or ``tokens``, ``start``, ``end``,
        ``label``, ``score`` and ``span``, its text. A row without entities has one line, with None for these.

    Raises:
        ValueError: If an ``id`` occurs twice.
    """
    ids: dict[Any, int] = {}
    for index, (columns, row) in enumerate(rows):
        identity = index if columns.get("id") is None else columns["id"]
        if ids.setdefault(identity, index) != index:
            raise ValueError(f"rows {ids[identity]} and {index} both have the id {identity!r}, which names a text")
        head = {"id": identity, COLUMNS[row.kind]: row.content}
        for entity in row.entities:
            words = row.content[entity.start : entity.end]
            yield {**head, **entity._asdict(), "span": words if row.kind == "text" else " ".join(words)}
        if not row.entities:
            yield {**head, **dict.fromkeys((*BOUNDS, *DETAILS))}
