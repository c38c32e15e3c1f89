"""Rows of files, with their text or their error."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from span_marker.prediction.readings import check_sentence


class Item(NamedTuple):
    """A text to read.

    Attributes:
        columns: The columns of its row, which are written along with the entities.
        content: The text, or the words.
        place: Its file and line, for errors.
        num_bytes: Approximate number of bytes read up to it: of its file, or for `read_items` of all files.
        error: The error of its row, or None.
    """

    columns: dict[str, Any]
    content: Any
    place: str
    num_bytes: int
    error: TypeError | ValueError | None = None


def read_row(read: Callable[[], Any], column: str | None, place: str, num_bytes: int) -> Item:
    """Read a row, and find its text.

    Args:
        read: Reads the row.
        column: See `pick_text`.
        place: See `pick_text`.
        num_bytes: See `pick_text`.

    Returns:
        See `pick_text`. If the row cannot be read, the item has the error.
    """
    try:
        row = read()
    except ValueError as error:
        return Item({}, None, place, num_bytes, error)
    return pick_text(row, column, place, num_bytes)


def pick_text(row: Any, column: str | None, place: str, num_bytes: int) -> Item:
    """Find the text of a row.

    Args:
        row: The row, or a text.
        column: The column of the text. Defaults to ``text`` or ``tokens``.
        place: Where the row is, for errors.
        num_bytes: See `Item`.

    Returns:
        The text with its columns. If there is none, the item has the error.
    """
    if isinstance(row, str) and column is None:
        return Item({"text": row}, row, place, num_bytes)
    if not isinstance(row, Mapping):
        error = ValueError(f"{place} must be an object with a column of texts, not {type(row).__name__}")
        return Item({}, None, place, num_bytes, error)
    columns = [name for name in ((column,) if column else ("text", "tokens")) if name in row]
    if len(columns) != 1:
        wanted = repr(column) if column else "'text' or 'tokens'"
        needs = (
            f"has both {wanted.replace('or', 'and')}" if columns else f"needs the column {wanted}, but has {list(row)}"
        )
        reason = f"{place} {needs}: pass text_column= with the name of one"
        return Item(dict(row), None, place, num_bytes, ValueError(reason))
    content = row[columns[0]]
    try:
        check_sentence(content, place)
    except TypeError as error:
        return Item(dict(row), None, place, num_bytes, error)
    return Item(dict(row), content, place, num_bytes)
