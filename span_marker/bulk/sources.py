"""Texts from files of many kinds, one after the other, with what else stands beside them."""

from __future__ import annotations

import csv
import hashlib
import json
import logging
import os
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from tempfile import SpooledTemporaryFile
from typing import Any, BinaryIO, NamedTuple

from span_marker.data.conll import read_words
from span_marker.data.text_files import SourceFile

logger = logging.getLogger(__name__)

STANDARD_INPUT = "-"
"""The path that stands for standard input."""

LIST_BYTES = 2**20
"""How much of a list of files is in memory."""


class Item(NamedTuple):
    """A text to read.

    Attributes:
        columns: The columns of its row, which are written beside the entities.
        content: The text, or the words.
        place: Its file and line, for errors.
        num_bytes: How many bytes have been read, about, when it has: of its file, or for `read_items` of all files.
    """

    columns: dict[str, Any]
    content: Any
    place: str
    num_bytes: int


class InputFile(NamedTuple):
    """A file of texts.

    Attributes:
        path: The file, or `STANDARD_INPUT`.
        kind: One of `KINDS`.
        name: What its rows call it: its path in the folder that was asked for, or its name.
    """

    path: str
    kind: str
    name: str

    @property
    def num_bytes(self) -> int:
        """The size of the file; 0 for standard input."""
        return 0 if self.path == STANDARD_INPUT else os.path.getsize(self.path)

    def state(self) -> list[Any]:
        """Return what tells the file from another one, or from another state of it."""
        if self.path == STANDARD_INPUT:
            return [self.path, self.kind]
        state = os.stat(self.path)
        return [self.path, self.kind, state.st_size, state.st_mtime_ns]


class FileList:
    """Files of texts, in the order in which they are read. The list is on disk if it is long.

    Args:
        files: The files.

    Attributes:
        num_bytes: The sum of their sizes; 0 if it is not known, because standard input is among them.
        fingerprint: What tells them from other files, and from other states of them.
        has_standard_input: Whether standard input is among them.
    """

    def __init__(self, files: Iterable[InputFile]) -> None:
        self._lines = SpooledTemporaryFile(LIST_BYTES)  # noqa: SIM115  (see __del__)
        self.num_bytes, self.has_standard_input, is_empty = 0, False, True
        states = hashlib.sha256()
        for file in files:
            self._lines.write(json.dumps(file).encode() + b"\n")
            states.update(json.dumps(file.state()).encode())
            self.num_bytes += file.num_bytes
            self.has_standard_input |= file.path == STANDARD_INPUT
            is_empty = False
        if is_empty:
            raise ValueError("there is nothing to read: pass a file, a folder, or - for standard input")
        if self.has_standard_input:
            self.num_bytes = 0
        self.fingerprint = states.hexdigest()

    def __iter__(self) -> Iterator[InputFile]:
        """Iterate over the files."""
        place = 0
        while True:
            self._lines.seek(place)
            line = self._lines.readline()
            if not line:
                return
            place += len(line)
            yield InputFile(*json.loads(line))

    def __del__(self) -> None:
        self._lines.close()


def find_files(paths: Iterable[str | os.PathLike[str]], kind: str | None = None) -> FileList:
    """List files of texts, those in folders and their folders included, in the order of their names.

    Args:
        paths: Files, folders, or `STANDARD_INPUT`.
        kind: How to read all of them, one of `KINDS`. Defaults to what each one's ending says; standard input has lines
            of text.

    Returns:
        The files. In folders, those with other endings, and hidden ones, are passed over, and a warning counts them.

    Raises:
        FileNotFoundError: If there is no such file or folder.
        ValueError: If the kind is unknown, a file has an unknown ending, or a folder has no file of texts.
    """
    if kind is not None and kind not in KINDS:
        raise ValueError(f"there is no format {kind!r}: it must be one of {', '.join(KINDS)}")
    return FileList(file for path in paths for file in _at(os.fspath(path), kind))


def _at(path: str, kind: str | None) -> Iterator[InputFile]:
    """The file at a path, or those in the folder."""
    if path == STANDARD_INPUT:
        yield InputFile(path, kind or "lines", "standard input")
    elif os.path.isdir(path):
        yield from _in_folder(Path(path), kind)
    elif not os.path.exists(path):
        raise FileNotFoundError(f"there is no {path}")
    else:
        found = kind or ENDINGS.get(Path(path).suffix.lower())
        if found is None:
            raise ValueError(
                f"the ending of {path} does not say how to read it: pass a format, one of {', '.join(KINDS)}"
            )
        yield InputFile(path, found, Path(path).name)


def _in_folder(folder: Path, kind: str | None) -> Iterator[InputFile]:
    is_empty, passed_over = True, Counter[str]()
    for parent, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            path = Path(parent, name)
            found = kind or ENDINGS.get(path.suffix.lower())
            if found is None or name.startswith("."):
                passed_over[path.suffix or name] += 1
            else:
                is_empty = False
                yield InputFile(str(path), found, str(path.relative_to(folder)))
    if is_empty:
        raise ValueError(f"{folder} has no file whose ending is one of {', '.join(ENDINGS)}: pass a format")
    if passed_over:
        counts = ", ".join(f"{count} {ending}" for ending, count in passed_over.most_common(5))
        logger.warning("%s: %d files are passed over (%s)", folder, passed_over.total(), counts)


def read_items(files: Iterable[InputFile], text_column: str | None = None) -> Iterator[Item]:
    """Read texts, without holding more than one of them, or one file of whole texts, in memory.

    Args:
        files: The files.
        text_column: The column of the text, for files with columns. Defaults to ``text`` or ``tokens``.

    Yields:
        The texts in order.

    Raises:
        ValueError: If a file is not what its kind says, or its rows have no such column; with file and line.
    """
    before = 0
    for file in files:
        last = before
        for item in KINDS[file.kind](file, text_column):
            last = before + item.num_bytes
            yield item._replace(num_bytes=last)
        before = max(before + file.num_bytes, last)


def _open(file: InputFile) -> BinaryIO:
    return sys.stdin.buffer if file.path == STANDARD_INPUT else open(file.path, "rb")


def _lines(file: InputFile) -> Iterator[tuple[int, str, int]]:
    """The lines of a file: number, text without its line end, and bytes read so far."""
    num_bytes = 0
    with _open(file) as stream:
        for number, line in enumerate(stream, start=1):
            num_bytes += len(line)
            yield number, _decode(line, f"{file.path}, line {number}", number == 1).rstrip("\r\n"), num_bytes


def _decode(data: bytes, place: str, is_first: bool = True) -> str:
    try:
        return data.decode("utf-8-sig" if is_first else "utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(f"{place} is not UTF-8 (byte {error.start}): convert the file first") from error


def _read_text(file: InputFile, text_column: str | None) -> Iterator[Item]:
    with _open(file) as stream:
        data = stream.read()
    text = _decode(data, file.path)
    yield Item({"file": file.name, "text": text}, text, file.path, len(data))


def _read_lines(file: InputFile, text_column: str | None) -> Iterator[Item]:
    for number, line, num_bytes in _lines(file):
        yield Item({"text": line}, line, f"{file.path}, line {number}", num_bytes)


def _read_jsonl(file: InputFile, text_column: str | None) -> Iterator[Item]:
    for number, line, num_bytes in _lines(file):
        if line.strip():
            place = f"{file.path}, line {number}"
            yield _pick(_parse(line, place), text_column, place, num_bytes)


def _parse(text: str, place: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise ValueError(f"{place} is not JSON: {error.msg} at column {error.colno}") from error


def _read_json(file: InputFile, text_column: str | None) -> Iterator[Item]:
    with _open(file) as stream:
        data = stream.read()
    rows = _parse(_decode(data, file.path), file.path)
    for index, row in enumerate(rows if isinstance(rows, list) else [rows]):
        yield _pick(row, text_column, f"{file.path}, item {index}", len(data))


def _read_csv(file: InputFile, text_column: str | None, delimiter: str = ",") -> Iterator[Item]:
    csv.field_size_limit(2**31 - 1)  # the default refuses cells of more than 131,072 characters
    num_bytes = 0

    def lines() -> Iterator[str]:
        nonlocal num_bytes
        with _open(file) as stream:
            for number, line in enumerate(stream, start=1):
                num_bytes += len(line)
                yield _decode(line, f"{file.path}, line {number}", number == 1)

    reader = csv.DictReader(lines(), delimiter=delimiter, strict=True)
    try:
        for row in reader:
            place = f"{file.path}, line {reader.line_num}"
            if None in row or None in row.values():
                raise ValueError(f"{place} has another number of cells than the header, {reader.fieldnames}")
            yield _pick(dict(row), text_column, place, num_bytes)
    except csv.Error as error:
        raise ValueError(f"{file.path}, line {reader.line_num} is not CSV: {error}") from error


def _read_tsv(file: InputFile, text_column: str | None) -> Iterator[Item]:
    return _read_csv(file, text_column, "\t")


def _read_parquet(file: InputFile, text_column: str | None) -> Iterator[Item]:
    import pyarrow.parquet

    if file.path == STANDARD_INPUT:
        raise ValueError("Parquet cannot be read from standard input: pass a file")
    table = pyarrow.parquet.ParquetFile(file.path)
    row_number, total = 0, max(table.metadata.num_rows, 1)
    for batch in table.iter_batches(batch_size=1_000):
        for row in batch.to_pylist():
            row_number += 1
            place = f"{file.path}, row {row_number - 1}"
            yield _pick(row, text_column, place, file.num_bytes * row_number // total)


def _read_conll(file: InputFile, text_column: str | None) -> Iterator[Item]:
    for index, words in enumerate(read_words(SourceFile(Path(file.path)))):
        yield Item({"tokens": words}, words, f"{file.path}, sentence {index}", file.num_bytes)


def _pick(row: Any, column: str | None, place: str, num_bytes: int) -> Item:
    """Find the text of a row."""
    if isinstance(row, str) and column is None:
        return Item({"text": row}, row, place, num_bytes)
    if not isinstance(row, Mapping):
        raise ValueError(f"{place} must be an object with a column of texts, not {type(row).__name__}")
    columns = [name for name in ((column,) if column else ("text", "tokens")) if name in row]
    if len(columns) != 1:
        wanted = repr(column) if column else "'text' or 'tokens'" if not columns else "one of 'text' and 'tokens'"
        raise ValueError(f"{place} needs the column {wanted}, but has {list(row)}: name the column of the texts")
    return Item(dict(row), row[columns[0]], place, num_bytes)


KINDS: Mapping[str, Callable[[InputFile, str | None], Iterator[Item]]] = {
    "text": _read_text,
    "lines": _read_lines,
    "jsonl": _read_jsonl,
    "json": _read_json,
    "csv": _read_csv,
    "tsv": _read_tsv,
    "parquet": _read_parquet,
    "conll": _read_conll,
}
"""How files are read: as one text, as a text per line, or as rows with columns."""

ENDINGS: Mapping[str, str] = {
    **dict.fromkeys((".txt", ".text", ".md"), "text"),
    **dict.fromkeys((".jsonl", ".ndjson"), "jsonl"),
    ".json": "json",
    ".csv": "csv",
    ".tsv": "tsv",
    ".parquet": "parquet",
    **dict.fromkeys((".conll", ".bio", ".iob", ".iob2"), "conll"),
}
"""The kinds of files by their endings."""
