"""Tables of texts: find the column of the text, and the lines of each text."""

from __future__ import annotations

import decimal
import logging
import math
import re
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain, islice
from typing import Any

from span_marker.data.cells import parse_words
from span_marker.data.csv_files import ROLES
from span_marker.data.delimited import DELIMITERS, name_cells, named_delimiter, read_cells, split_header, trim_names
from span_marker.data.entity_tables import ENTITY_COLUMNS, LineKeys
from span_marker.data.forms import BOUNDS

logger = logging.getLogger(__name__)

_WHOLE = re.compile(r"\s*\d+(\.0*)?\s*")
"""A whole number in a cell, also of a column with empty cells."""

Line = tuple[int, "dict[str, Any] | ValueError"]
"""The number of a line, and its cells by the names of their columns, or what is wrong with it."""


def read_table(lines: Iterator[str], path: str, text_column: str | None) -> Iterator[Line]:
    """Read a table that `span_marker.read_annotations` could read, annotated or not.

    Args:
        lines: The lines with their ends.
        path: The file, for errors.
        text_column: The column of the texts. Defaults to that which is called as one of them is in annotated tables.

    Yields:
        The rows. The column of the texts is called ``text`` or ``tokens``, unless ``text_column`` names it. Cells of
        ``tokens`` are lists.

    Raises:
        ValueError: If two columns have the same name, or quotes are wrong.
    """
    start = [next(lines, "")]
    named = named_delimiter(start[0])
    if named is not None:
        start.append(next(lines, ""))
    delimiter, names = _find_delimiter(start[-1], text_column, named or DELIMITERS)
    if twice := next((name for name in trim_names(names) if names.count(name) > 1), None):
        raise ValueError(f"{path}, line {len(start)}: there are several columns {twice!r}: rename all but one")
    content = None if text_column else _find_content(names)
    rows = read_cells(chain(start, lines), delimiter, path)
    for number, cells in islice(rows, len(start), None):
        if not cells:
            continue
        place = f"{path}, line {number}"
        try:
            row: dict[str, Any] = name_cells(cells, names, delimiter, place)
            if content is not None:
                role, column = content
                row = {role if name == column else name: cell for name, cell in row.items()}
                if role == "tokens":
                    row["tokens"] = parse_words(row["tokens"], f"{place}: {column!r}")
        except ValueError as error:
            yield number, error
        else:
            yield number, row


def _find_delimiter(line: str, text_column: str | None, delimiters: str) -> tuple[str, list[str]]:
    """The delimiter that makes a column of texts of a header, or else the most columns."""
    headers = sorted(split_header(line, delimiters), key=lambda header: header[0] != ",")  # a comma if nothing tells
    return max(
        headers,
        key=lambda header: (
            text_column in header[1] if text_column else bool(_find_content(header[1])),
            len(header[1]),
        ),
    )


def _find_content(names: Sequence[str]) -> tuple[str, str] | None:
    """What the only column of texts or words has, and its name."""
    known = {name.strip().lower(): name for name in names}
    found = [(role, known[name]) for role in ("text", "tokens") for name in ROLES[role] if name in known]
    return found[0] if len(found) == 1 else None


def merge_entity_lines(lines: Iterable[Line], text_column: str | None, path: str) -> Iterator[Line]:
    """Merge consecutive lines with the same text into one row, if the lines of a table are entities.

    Args:
        lines: The lines, all with the same columns.
        text_column: See `read_table`.
        path: The file, for a warning.

    Yields:
        The first line of each text, without the columns of `ENTITY_COLUMNS`; or in other tables, such as those whose
        columns ``start`` and ``end`` are no numbers, all lines.
    """
    contents = [text_column] if text_column else ["text", "tokens"]
    dropped: list[str] = []
    keys = LineKeys()
    before: Any = None
    are_entities: bool | None = None  # as the first line with both bounds says
    for number, row in lines:
        if isinstance(row, ValueError) or are_entities is False or not _is_entity(row, contents):
            yield number, row
            continue
        if are_entities is None and (bounds := _bounds(row)):
            are_entities = all(map(_WHOLE.fullmatch, bounds))
            if not are_entities:
                yield number, row
                continue
        text = next(row[name] for name in contents if name in row)
        identity = next((row[name] for name in row if name.strip().lower() == "id"), None)
        same, before = before, (keys.next(identity, text), text)
        if same == before:
            continue
        if not dropped:
            dropped = [name for name in row if name.strip().lower() in ENTITY_COLUMNS]
            logger.warning(
                "%s has a line for each entity: consecutive lines with the same text are read once, without their "
                "columns %s",
                path,
                dropped,
            )
        yield number, {name: cell for name, cell in row.items() if name not in dropped}


def _bounds(row: Mapping[str, Any]) -> list[str]:
    """What a line has in the columns of bounds, unless they are empty."""
    cells = (row[name] for name in row if name.strip().lower() in ("start", "end"))
    return [str(cell) for cell in cells if cell not in (None, "")]


def _is_entity(row: Mapping[str, Any], contents: Sequence[str]) -> bool:
    names = {name.strip().lower() for name in row}
    return {*BOUNDS} <= names and any(name in row for name in contents)


class Nulls:
    """Makes null of numbers that JSON does not have, and says so once.

    Args:
        path: The file that they are in.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._is_said = False

    def replace(self, number: object) -> None:
        """Make null of a number.

        Args:
            number: What to call it.
        """
        if not self._is_said:
            logger.warning("%s: numbers such as %s, which JSON lacks, are written as null", self._path, number)
            self._is_said = True

    def replace_all(self, value: Any) -> Any:
        """Turn a value of a table into one that JSON has.

        Args:
            value: The value.

        Returns:
            The value, without nan and infinities. Decimal numbers and UUIDs are strings.
        """
        if isinstance(value, float):
            return value if math.isfinite(value) else self.replace(value)
        if isinstance(value, (decimal.Decimal, uuid.UUID)):
            return str(value)
        if isinstance(value, dict):
            return {name: self.replace_all(item) for name, item in value.items()}
        return [self.replace_all(item) for item in value] if isinstance(value, (list, tuple)) else value


def find_json_columns(schema: Any, text_column: str | None, path: str) -> list[str] | None:
    """Find the columns of an Arrow schema whose values JSON has, a column of texts included in any case.

    Args:
        schema: The schema.
        text_column: See `read_table`.
        path: The file, for a warning that names the others.

    Returns:
        Their names; None for all.
    """
    contents = {text_column} if text_column else {"text", "tokens"}
    left_out = [field.name for field in schema if field.name not in contents and _is_binary(field.type)]
    if not left_out:
        return None
    logger.warning("%s: columns that are left out, since results cannot hold their values: %s", path, left_out)
    return [name for name in schema.names if name not in left_out]


def _is_binary(type: Any) -> bool:
    """Whether values of an Arrow type are bytes or durations, or have some."""
    import pyarrow

    if isinstance(type, pyarrow.BaseExtensionType):
        return type.extension_name != "arrow.uuid" and _is_binary(type.storage_type)
    if isinstance(type, pyarrow.DictionaryType):
        return _is_binary(type.value_type)
    if type.num_fields:
        return any(_is_binary(type.field(index).type) for index in range(type.num_fields))
    return "binary" in str(type) or "duration" in str(type) or "interval" in str(type)
