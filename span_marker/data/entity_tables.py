"""Tables with one line per entity: its text, its offsets and its label. Used for files and data frames."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, NamedTuple

from span_marker.data.copies import COPY_KEYS, MAYBE_COPY_KEYS, check_copies, check_copy
from span_marker.data.forms import BOUNDS
from span_marker.data.rows import COLUMNS, UNITS, Kind, Row, RowEntity, check_content, check_entity, distinct
from span_marker.data.values import is_list

DETAILS = ("score", "span")
ENTITY_COLUMNS = (*BOUNDS, *DETAILS)
"""What a line has about its entity, in this order."""

_WHOLE = re.compile(r"\s*(-?\d+)(?:\.0)?\s*")


def rows_of_entities(
    lines: Iterable[tuple[str, Mapping[str, Any]]],
    kind: Kind,
    read: Callable[[str, Mapping[str, Any]], Mapping[str, Any]] = lambda _, cells: cells,
    row_errors: Callable[..., AbstractContextManager[None]] = lambda *keys: nullcontext(),
) -> list[dict[str, Any]]:
    """Collect the entities of each text.

    Args:
        lines: Where each line of the table is, for errors; and its cells: ``text`` or ``tokens``, ``start``, ``end``,
            ``label``, and, if the table has them, ``id`` and ``span``, a copy of the entity. A text without entities
            has one line, whose ``start``, ``end`` and ``label`` are empty.
        kind: Whether lines have texts or words.
        read: Reads the cells of a line. Which lines are of one row, ``id``, ``text`` or ``tokens`` tell before.
        row_errors: Makes contexts in which lines are read, which may collect errors, of what tells the rows. Defaults
            to raising errors.

    Returns:
        One row for each ``id``, or without one for lines one after the other with the same text, in the order of their
        first lines; without the rows that have a wrong line.

    Raises:
        TypeError: If a value has the wrong type.
        ValueError: If an entity is invalid, is not what its copy says, or two texts have the same ``id``; or if
            lines without an ``id`` have the same text in several places, but other entities.
    """
    rows: dict[LineKey, tuple[str, dict[str, Any], list[RowEntity]]] = {}
    num_wrong: Counter[LineKey] = Counter()
    column = COLUMNS[kind]
    keys_of_lines = LineKeys()
    for location, line in lines:
        key = keys_of_lines.next(line.get("id"), line[column])
        with row_errors(key):
            num_wrong[key] += 1
            cells = read(location, line)
            content = cells[column]
            check_content(kind, content, location)
            head = {column: content} if key.identity is None else {"id": cells["id"], column: content}
            first, row, entities = rows.setdefault(key, (location, head, []))
            if row[column] != content:
                raise ValueError(f"{location}: the id {cells['id']!r} has a different text than before ({first})")
            if not all(is_empty(cells[name]) for name in BOUNDS):
                entities.append(_read_entity(cells, content, kind, location))
            num_wrong[key] -= 1
    blocks = [
        (key, location, row[column], {entity[:3] for entity in entities})
        for key, (location, row, entities) in rows.items()
        if key.identity is None and not num_wrong[key]
    ]
    for keys, error in open_blocks(blocks):
        num_wrong.update(keys)
        with row_errors(*keys):
            raise error
    return [
        {**row, "entities": [entity.to_dict() for entity in distinct(entities)]}
        for key, (_, row, entities) in rows.items()
        if not num_wrong[key]
    ]


class LineKey(NamedTuple):
    """What lines of one row have in common.

    Attributes:
        identity: Their ``id``; None if they have none.
        block: Without an ``id``, the number of the block of lines with the same text.
    """

    identity: Any
    block: int


class LineKeys:
    """Tells which lines of a table are of one row, line by line."""

    def __init__(self) -> None:
        self._block = 0
        self._previous: Any = None

    def next(self, identity: Any, content: Any) -> LineKey:
        """Tell the row of the next line.

        Args:
            identity: Its ``id``; None or empty if it has none.
            content: Its text or words.

        Returns:
            What tells the row.
        """
        if not is_empty(identity):
            self._previous = None
            return LineKey(identity, 0)
        self._block += self._previous is None or self._previous != content
        self._previous = content
        return LineKey(None, self._block)


def open_blocks(
    blocks: Iterable[tuple[LineKey, str, Any, Collection[Any]]],
) -> Iterator[tuple[list[LineKey], ValueError]]:
    """Find equal texts of which nothing tells whether they are one row: their lines are apart, and have no ``id``.

    If their entities are the same, both readings are, too: the text is several rows with the same entities.

    Args:
        blocks: What tells each row without an ``id``, its first line, its text or words, and its entities.

    Yields:
        For each text with different entities, its rows, and the error.
    """
    by_text: dict[Any, list[tuple[LineKey, str, Collection[Any]]]] = {}
    for key, location, content, entities in blocks:
        text = content if isinstance(content, str) else tuple(content)
        by_text.setdefault(text, []).append((key, location, entities))
    for text, found in by_text.items():
        (_, first, entities), *others = found
        second = next((other for _, other, its in others if its != entities), None)
        if second is not None:
            shown = text if isinstance(text, str) else " ".join(text)
            message = (
                f"{second}: the text {shown!r:.70} is also in {first}, but with other entities, and lines of other "
                "texts are in between: give all lines an 'id' that tells which belong to the same text, or sort them "
                "by text"
            )
            yield [key for key, _, _ in found], ValueError(message)


class TextLines(NamedTuple):
    """The lines of one text, as they are: nothing is checked.

    Attributes:
        row: Its ``id``, if it has one, its text or words, and ``entities``. Each entity has the number of its ``line``.
        lines: The numbers of all of its lines.
    """

    row: dict[str, Any]
    lines: list[int]


def collect_lines(
    lines: Sequence[Mapping[str, Any]], column: str, dataset_name: str
) -> tuple[list[TextLines], dict[int, ValueError]]:
    """Collect the entities of each text without reading them, see `rows_of_entities`.

    Args:
        lines: The cells of each line.
        column: The column of the text or of the words.
        dataset_name: What to call the data in errors.

    Returns:
        The texts; and what is wrong with some of them as a whole, by their indices.
    """
    texts: dict[LineKey, TextLines] = {}
    errors: dict[LineKey, ValueError] = {}
    keys_of_lines = LineKeys()
    for number, line in enumerate(lines):
        key = keys_of_lines.next(line.get("id"), line[column])
        head = {column: line[column]} if key.identity is None else {"id": line["id"], column: line[column]}
        if key in texts and texts[key].row[column] != line[column]:
            first = texts[key].lines[0]
            key = LineKey(key.identity, number + 1)
            place = f"line {number} of the {dataset_name} data"
            errors[key] = ValueError(f"{place}: the id {line['id']!r} has a different text than before (line {first})")
        text = texts.setdefault(key, TextLines({**head, "entities": []}, []))
        text.lines.append(number)
        if not all(is_empty(line[name]) for name in BOUNDS):
            text.row["entities"].append({**_cells_of_entity(line), "line": number})
    blocks = [
        (key, f"line {text.lines[0]} of the {dataset_name} data", text.row[column], _places(text))
        for key, text in texts.items()
        if key.identity is None and _is_content(text.row[column])
    ]
    errors.update((keys[-1], error) for keys, error in open_blocks(blocks))
    return list(texts.values()), {index: errors[key] for index, key in enumerate(texts) if key in errors}


def _cells_of_entity(line: Mapping[str, Any]) -> dict[str, Any]:
    bounds = {name: None if is_empty(line[name]) else _whole(line[name]) for name in ("start", "end")}
    copies = sorted((COPY_KEYS | MAYBE_COPY_KEYS) - {"text", *DETAILS})  # the text is that of the row
    details = {name: line[name] for name in (*DETAILS, *copies) if not is_empty(line.get(name))}
    return {"label": None if is_empty(line["label"]) else line["label"], **bounds, **details}


def _places(text: TextLines) -> set[str]:
    return {repr([entity[name] for name in BOUNDS]) for entity in text.row["entities"]}


def _is_content(value: Any) -> bool:
    return isinstance(value, str) or (is_list(value) and all(isinstance(word, str) for word in value))


def is_empty(cell: Any) -> bool:
    """Tell whether a cell has no value: None, an empty string, or the NaN of a data frame."""
    return cell is None or cell == "" or cell != cell


def _read_entity(cells: Mapping[str, Any], content: Any, kind: Kind, location: str) -> RowEntity:
    fields = _cells_of_entity(cells) | {"score": None}
    entity = check_entity(fields, len(content), UNITS[kind], location)
    check_copies(content, entity.start, entity.end, fields, location)
    if not is_empty(cells.get("span")):
        text = content if kind == "text" else " ".join(content[entity.start : entity.end])
        check_copy(text, [(entity.start, entity.end) if kind == "text" else (0, len(text))], cells["span"], location)
    return entity


def _whole(cell: Any) -> Any:
    """A whole number, also as a string: a column with empty cells is written with ``.0``."""
    match = _WHOLE.fullmatch(cell) if isinstance(cell, str) else None
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
        first = ids.setdefault(str(identity), index)
        if first != index:
            unnamed = columns.get("id") is None
            hint = f" (row {index} has no id, so its number is used)" if unnamed else ""
            raise ValueError(f"rows {first} and {index} both have the id {identity!r}, but an id must be unique{hint}")
        head = {"id": identity, COLUMNS[row.kind]: row.content}
        for entity in row.entities:
            words = row.content[entity.start : entity.end]
            yield {**head, **entity._asdict(), "span": words if row.kind == "text" else " ".join(words)}
        if not row.entities:
            yield {**head, **dict.fromkeys(ENTITY_COLUMNS)}
