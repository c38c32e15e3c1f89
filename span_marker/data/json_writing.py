"""Write rows as JSON. A value that JSON cannot represent raises an error that names the row and the column."""

from __future__ import annotations

import datetime
import json
import re
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from span_marker.data.text_files import StrPath, writing

_PAIR = re.compile("[\ud800-\udbff][\udc00-\udfff]")


def row_to_json(row: Mapping[str, Any], location: str) -> str:
    r"""Write a row as one line of JSON.

    Args:
        row: Its columns. Dates and times are written in ISO 8601, scalars and arrays of NumPy as numbers and lists.
        location: What to call it in errors.

    Returns:
        The line. It may have lone surrogates, which the encoding of the file must escape.

    Raises:
        TypeError: If a column has a value of a type that JSON does not have.
        ValueError: If it has NaN, an infinity, or both halves of a surrogate pair.

    Example:
        >>> row_to_json({"day": datetime.date(2024, 2, 29), "f1": np.float32(0.5)}, "row 0")
        '{"day": "2024-02-29", "f1": 0.5}'
    """
    try:
        line = _dumps(row)
    except (TypeError, ValueError) as error:
        raise _find_column(row, location) or error from error
    pair = None if line.isascii() else _PAIR.search(line)
    if pair:
        raise ValueError(
            f"{location} has the halves of a surrogate pair as two characters, {pair[0]!r}, which JSON cannot "
            "distinguish from one character: join them with text.encode('utf-16', 'surrogatepass').decode('utf-16')"
        )
    return line


def json_line(row: Mapping[str, Any], location: str) -> bytes:
    r"""Write a row as a line of a file of JSON lines.

    Args:
        row: Its columns, see `row_to_json`.
        location: What to call it in errors.

    Returns:
        The line with its end, in UTF-8. Lone surrogates are escaped.

    Raises:
        TypeError: See `row_to_json`.
        ValueError: See `row_to_json`.

    Example:
        >>> json_line({"text": "\u00e4 \ud800"}, "row 0")
        b'{"text": "\xc3\xa4 \\ud800"}\n'
    """
    return row_to_json(row, location).encode(errors="backslashreplace") + b"\n"


def _dumps(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False, default=_plain)


def _plain(value: Any) -> Any:
    if isinstance(value, (datetime.date, datetime.time)):
        return value.isoformat()
    if isinstance(value, np.datetime64) and not np.isnat(value):
        return str(value)
    if isinstance(value, (np.generic, np.ndarray)) and value.dtype.kind in "biufU":
        return value.tolist()
    raise TypeError(f"JSON cannot represent values of type {type(value).__name__}")


def _find_column(row: Mapping[str, Any], location: str) -> TypeError | ValueError | None:
    """The error of the first column that cannot be written."""
    for name, value in row.items():
        try:
            _dumps({name: value})
        except (TypeError, ValueError) as error:
            error_type = TypeError if isinstance(error, TypeError) else ValueError
            return error_type(f"{location}: the column {name!r} cannot be written as JSON: {error} ({value!r:.100})")
    return None


def write_json(path: StrPath, records: Iterable[str], *, as_array: bool = False) -> None:
    """Write records one after the other, without holding them all in memory.

    Args:
        path: The file; it appears when all records are written. If there is an error before, the records so far stay in
            a file beside it, which a warning names.
        records: The records, see `row_to_json`.
        as_array: Whether they are one array, instead of JSON lines.
    """
    before, between, after = ("[\n", ",\n", "\n]\n") if as_array else ("", "\n", "\n")
    with writing(path, keep_part=True, errors="backslashreplace") as file:
        num_records = 0
        try:
            for record in records:
                file.write((between if num_records else before) + record)
                num_records += 1
        finally:
            if num_records:
                file.write(after)
        if as_array and not num_records:
            file.write(before + after)
