"""Read texts one by one from files of many kinds, with their other columns."""

from __future__ import annotations

import io
import json
import logging
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack
from functools import partial
from io import BufferedReader, TextIOWrapper
from pathlib import Path
from typing import Any

from span_marker.bulk.input_files import KINDS, STANDARD_INPUT, InputFile
from span_marker.bulk.items import Item, pick_text, read_row
from span_marker.bulk.tables import Nulls, find_json_columns, merge_entity_lines, read_table
from span_marker.core.json_reading import json_problem, parse_json
from span_marker.data.conll import read_words
from span_marker.data.conllu import read_conllu_words
from span_marker.data.files import HEAD, recognize_format
from span_marker.data.text_files import SourceFile, check_encoding, decode, encoding_of, refuse_binary, refuse_utf16
from span_marker.prediction.readings import OnError

logger = logging.getLogger(__name__)

_NO_COLUMNS = ("jsonl", "pubtator")
"""Formats whose lines might be taken for those of a column file."""

_ESCAPED = re.compile("[\udc80-\udcff]")


def read_items(
    files: Iterable[InputFile],
    text_column: str | None = None,
    encoding: str | None = None,
    on_error: OnError = "raise",
) -> Iterator[Item]:
    """Read texts, holding at most one text, or one file of whole texts, in memory.

    Args:
        files: The files.
        text_column: The column of the text, for files with columns. Defaults to ``text`` or ``tokens``.
        encoding: The encoding of text files. Defaults to what their byte order mark says, or else UTF-8.
        on_error: What to do with invalid rows: ``"raise"``, or ``"column"`` for an `Item.error`.

    Yields:
        The texts in order.

    Raises:
        TypeError: With ``"raise"``, if a text is neither a string nor a list of words.
        ValueError: If a file is not what its kind says, or, with ``"raise"``, a row is wrong or has no such column;
            with file and line.
    """
    check_encoding(encoding)
    before = 0
    said: set[str] = set()
    for file in files:
        _check_kind(file, encoding, said)
        last = before
        for item in _READERS[file.kind](file, text_column, encoding):
            if item.error is not None and on_error == "raise":
                raise item.error
            last = before + item.num_bytes
            yield item._replace(num_bytes=last)
        before = max(before + file.num_bytes, last)


def _check_kind(file: InputFile, encoding: str | None, said: set[str]) -> None:
    """Warn of texts that are clearly tables or JSON, once per format; refuse such words."""
    if file.kind not in ("text", "lines", "conll"):
        return
    with ExitStack() as stack:
        stream = _open(file)
        if file.path != STANDARD_INPUT:
            stack.enter_context(stream)
        head = stream.peek()[:HEAD]
    try:
        other = recognize_format(head.decode(encoding or encoding_of(head), "replace").removeprefix("\ufeff"))
    except (LookupError, UnicodeError):
        return
    if file.kind == "conll":
        if other is not None and other.name in _NO_COLUMNS:
            raise ValueError(f"{file.path} looks like {other.name}, not like columns: pass another input_format=")
        return
    if other is not None and other.name not in said:
        said.add(other.name)
        way = f"pass input_format={other.name!r}" if other.name in KINDS else "convert it with write_annotations"
        logger.warning(
            "%s looks like %s, but is read as %s. If this is not intended, %s",
            file.path,
            other.name,
            "one text" if file.kind == "text" else "a text per line",
            way,
        )


def _open(file: InputFile) -> BufferedReader:
    stream: Any = sys.stdin.buffer
    return stream if file.path == STANDARD_INPUT else open(file.path, "rb")


def _lines(file: InputFile, encoding: str | None) -> Iterator[tuple[int, str, int]]:
    """The lines of a file: number, text with its line end, and bytes read so far. See `_refuse_bytes`."""
    num_bytes = 0
    with _open(file) as stream:
        head = stream.peek()
        refuse_binary(head, file.path)
        if encoding is None:
            refuse_utf16(head, file.path)
            encoding = encoding_of(head)
        unmarked = f"{encoding}-le" if encoding in ("utf-16", "utf-32") else encoding
        lines = TextIOWrapper(stream, encoding, errors="surrogateescape", newline="")
        try:
            for number, line in enumerate(lines, start=1):
                num_bytes += len(line.encode(unmarked, "surrogateescape"))
                yield number, line.removeprefix("\ufeff") if number == 1 else line, num_bytes
        except UnicodeError as error:
            raise ValueError(f"{file.path} is not {encoding.upper()}: {error}: pass another encoding=") from error


def _refuse_bytes(text: str, place: str, encoding: str | None) -> None:
    """Refuse a text with bytes that are not of the encoding, which `_lines` leaves as lone surrogates."""
    match = _ESCAPED.search(text)
    if match:
        raise ValueError(
            f"{place} is not {(encoding or 'utf-8').upper()} (character {match.start()}): pass encoding= with the "
            "encoding of the file, such as encoding='cp1252'"
        )


def _read_text(file: InputFile, text_column: str | None, encoding: str | None) -> Iterator[Item]:
    with _open(file) as stream:
        data = stream.read()
    text = decode(data, encoding, file.path).removeprefix("\ufeff")
    yield Item({"file": file.name, "text": text}, text, file.path, len(data))


def _read_lines(file: InputFile, text_column: str | None, encoding: str | None) -> Iterator[Item]:
    before = ""
    for number, line, num_bytes in _lines(file, encoding):
        place = f"{file.path}, line {number}"
        is_half, before = line == "\r\n" and before.endswith("\r"), line
        if is_half:  # a line end that was converted twice
            continue
        yield read_row(
            partial(_checked_line, line.removeprefix("\ufeff"), place, encoding), text_column, place, num_bytes
        )


def _read_jsonl(file: InputFile, text_column: str | None, encoding: str | None) -> Iterator[Item]:
    nulls = Nulls(file.path)
    for number, line, num_bytes in _lines(file, encoding):
        if line.strip():
            place = f"{file.path}, line {number}"
            yield read_row(partial(_parse_line, line, place, encoding, nulls), text_column, place, num_bytes)


def _checked_line(line: str, place: str, encoding: str | None) -> str:
    _refuse_bytes(line, place, encoding)
    return line.rstrip("\r\n")


def _parse_line(line: str, place: str, encoding: str | None, nulls: Nulls) -> Any:
    return _parse(_checked_line(line, place, encoding).removeprefix("\ufeff"), place, nulls)


def _parse(text: str, place: str, nulls: Nulls) -> Any:
    try:
        return parse_json(text, parse_constant=nulls.replace)
    except json.JSONDecodeError as error:
        line = f", line {error.lineno}" if error.lineno > 1 else ""
        raise ValueError(f"{place}{line} {json_problem(error)}") from error
    except RecursionError as error:
        raise ValueError(f"{place} is nested too deeply") from error


def _read_json(file: InputFile, text_column: str | None, encoding: str | None) -> Iterator[Item]:
    with _open(file) as stream:
        data = stream.read()
    text, nulls = decode(data, encoding, file.path).removeprefix("\ufeff"), Nulls(file.path)
    if _has_json_lines(text):
        for number, line in enumerate(io.StringIO(text), start=1):
            if line.strip():
                place = f"{file.path}, line {number}"
                yield read_row(partial(_parse, line, place, nulls), text_column, place, len(data))
        return
    rows = _parse(text, file.path, nulls)
    for index, row in enumerate(rows if isinstance(rows, list) else [rows]):
        yield pick_text(row, text_column, f"{file.path}, item {index}", len(data))


def _has_json_lines(text: str) -> bool:
    """Whether the first line is an object of its own, and there are more."""
    first, _, rest = text.strip().partition("\n")
    try:
        return bool(rest) and isinstance(json.loads(first), dict)
    except (RecursionError, ValueError):
        return False


def _read_csv(file: InputFile, text_column: str | None, encoding: str | None) -> Iterator[Item]:
    num_bytes = 0

    def lines() -> Iterator[str]:
        nonlocal num_bytes
        for _, line, so_far in _lines(file, encoding):
            num_bytes = so_far
            yield line

    for number, row in merge_entity_lines(read_table(lines(), file.path, text_column), text_column, file.path):
        place = f"{file.path}, line {number}"
        yield read_row(partial(_checked_row, row, place, encoding), text_column, place, num_bytes)


def _checked_row(row: dict[str, Any] | ValueError, place: str, encoding: str | None) -> dict[str, Any]:
    if isinstance(row, ValueError):
        raise row
    for cell in row.values():
        if isinstance(cell, str):
            _refuse_bytes(cell, place, encoding)
    return row


def _read_parquet(file: InputFile, text_column: str | None, encoding: str | None) -> Iterator[Item]:
    import pyarrow.parquet

    if file.path == STANDARD_INPUT:
        raise ValueError("Parquet cannot be read from standard input: pass a file")
    try:
        table = pyarrow.parquet.ParquetFile(file.path)
    except pyarrow.ArrowInvalid as error:
        raise ValueError(f"{file.path} is not Parquet: {error}") from error
    total, nulls = max(table.metadata.num_rows, 1), Nulls(file.path)
    names = find_json_columns(table.schema_arrow, text_column, file.path)
    batches = table.iter_batches(batch_size=1_000, columns=names)
    rows = (nulls.replace_all(row) for batch in batches for row in batch.to_pylist())
    for number, row in merge_entity_lines(enumerate(rows), text_column, file.path):
        place = f"{file.path}, row {number}"
        yield read_row(
            partial(_checked_row, row, place, None), text_column, place, file.num_bytes * (number + 1) // total
        )


def _read_conll(file: InputFile, text_column: str | None, encoding: str | None) -> Iterator[Item]:
    with _open(file) as stream:
        source = SourceFile(Path(file.path), encoding, content=stream.read())
    sentences = read_conllu_words(source) if file.kind == "conllu" else read_words(source, file.token_column)
    for index, words in enumerate(sentences):
        yield Item({"tokens": words}, words, f"{file.path}, sentence {index}", file.num_bytes)


_READERS: Mapping[str, Callable[[InputFile, str | None, str | None], Iterator[Item]]] = {
    "text": _read_text,
    "lines": _read_lines,
    "jsonl": _read_jsonl,
    "json": _read_json,
    "csv": _read_csv,
    "tsv": _read_csv,
    "parquet": _read_parquet,
    "conll": _read_conll,
    "conllu": _read_conll,
}
"""The reader of each of `KINDS`."""
