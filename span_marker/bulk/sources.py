"""Texts from files of many kinds, one after the other, with what else stands beside them."""

from __future__ import annotations

import hashlib
import io
import json
import logging
import os
import re
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from io import BufferedReader, TextIOWrapper
from pathlib import Path
from tempfile import SpooledTemporaryFile
from typing import Any, NamedTuple

from span_marker.bulk.items import Item, pick_text, read_row
from span_marker.bulk.tables import Nulls, find_json_columns, merge_entity_lines, read_table
from span_marker.data.conll import read_words
from span_marker.data.text_files import SourceFile, check_encoding, decode, encoding_of, refuse_binary, refuse_utf16
from span_marker.prediction.readings import OnError

logger = logging.getLogger(__name__)

STANDARD_INPUT = "-"
"""The path that stands for standard input."""

_ESCAPED = re.compile("[\udc80-\udcff]")

_HEAD_BYTES = 64
"""How much of a file shows that it is compressed."""

LIST_BYTES = 2**20
"""How much of a list of files is in memory."""


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
        changed_at: When the last of them was changed, in nanoseconds; 0 for standard input.
        has_standard_input: Whether standard input is among them.
    """

    def __init__(self, files: Iterable[InputFile]) -> None:
        self._lines = SpooledTemporaryFile(LIST_BYTES)  # noqa: SIM115  (see __del__)
        self.num_bytes, self.changed_at, self.has_standard_input, is_empty = 0, 0, False, True
        states = hashlib.sha256()
        for file in files:
            self._lines.write(json.dumps(file).encode() + b"\n")
            state = file.state()
            states.update(json.dumps(state).encode())
            self.changed_at = max(self.changed_at, *state[3:], 0)
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


def find_files(
    paths: Iterable[str | os.PathLike[str]], kind: str | None = None, output: str | os.PathLike[str] | None = None
) -> FileList:
    """List files of texts, those in folders and their folders included, in the order of their names.

    Args:
        paths: Files, folders, or `STANDARD_INPUT`.
        kind: How to read all of them, one of `KINDS`. Defaults to what each one's ending says; standard input has lines
            of text.
        output: Where the results of reading them go, a file or a folder: in folders, it is passed over.

    Returns:
        The files. In folders, those with other endings, and hidden ones, are passed over, and a warning counts them.

    Raises:
        FileNotFoundError: If there is no such file or folder.
        ValueError: If the kind is unknown, a file has an unknown ending, a folder has no file of texts, or ``output``
            is one of the paths.
    """
    if kind is not None and kind not in KINDS:
        raise ValueError(f"input_format={kind!r} must be one of {', '.join(KINDS)}")
    written = None if output is None or os.fspath(output) == STANDARD_INPUT else os.path.realpath(output)
    return FileList(file for path in paths for file in _at(os.fspath(path), kind, written))


def _at(path: str, kind: str | None, output: str | None) -> Iterator[InputFile]:
    """The file at a path, or those in the folder."""
    if path == STANDARD_INPUT:
        yield InputFile(path, kind or "lines", "standard input")
    elif output is not None and os.path.realpath(path) == output:
        raise ValueError(f"{path} cannot be read and written: choose another output")
    elif os.path.isdir(path):
        yield from _in_folder(Path(path), kind, output)
    elif not os.path.exists(path):
        raise FileNotFoundError(f"there is no {path}")
    else:
        found = kind or ENDINGS.get(Path(path).suffix.lower())
        if found is None:
            with open(path, "rb") as stream:
                refuse_binary(stream.read(_HEAD_BYTES), path)
            raise ValueError(
                f"the ending of {path} does not say how to read it: pass input_format= one of {', '.join(KINDS)}"
            )
        yield InputFile(path, found, Path(path).name)


def _in_folder(folder: Path, kind: str | None, output: str | None) -> Iterator[InputFile]:
    is_empty, passed_over = True, Counter[str]()
    for parent, folders, names in os.walk(folder):
        if output is not None and os.path.realpath(parent) == os.path.dirname(output):
            name = os.path.basename(output)
            if name in folders or name in names:
                logger.warning("%s is not read, since results are written to it", Path(parent, name))
            ours = (name, f"{name}.part", f"{name}.run")
            folders[:], names = ([other for other in some if other not in ours] for some in (folders, names))
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
        raise ValueError(
            f"{folder} has no file whose ending is one of {', '.join(ENDINGS)}: pass input_format= one of "
            f"{', '.join(KINDS)}"
        )
    if passed_over:
        counts = ", ".join(f"{count} {ending}" for ending, count in passed_over.most_common(5))
        logger.warning("%s: %d files are passed over (%s)", folder, passed_over.total(), counts)


def read_items(
    files: Iterable[InputFile],
    text_column: str | None = None,
    encoding: str | None = None,
    on_error: OnError = "raise",
) -> Iterator[Item]:
    """Read texts, without holding more than one of them, or one file of whole texts, in memory.

    Args:
        files: The files.
        text_column: The column of the text, for files with columns. Defaults to ``text`` or ``tokens``.
        encoding: The encoding of text files. Defaults to what their byte order mark says, or else UTF-8.
        on_error: What happens to rows that are wrong: ``"raise"``, or ``"column"`` for an `Item.error`.

    Yields:
        The texts in order.

    Raises:
        TypeError: With ``"raise"``, if a text is neither a string nor a list of words.
        ValueError: If a file is not what its kind says, or, with ``"raise"``, a row is wrong or has no such column;
            with file and line.
    """
    check_encoding(encoding)
    before = 0
    for file in files:
        last = before
        for item in KINDS[file.kind](file, text_column, encoding):
            if item.error is not None and on_error == "raise":
                raise item.error
            last = before + item.num_bytes
            yield item._replace(num_bytes=last)
        before = max(before + file.num_bytes, last)


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
            raise ValueError(f"{file.path} is not {encoding.upper()}: {error}: pass encoding= another one") from error


def _refuse_bytes(text: str, place: str, encoding: str | None) -> None:
    """Refuse a text with bytes that are not of the encoding, which `_lines` leaves as lone surrogates."""
    match = _ESCAPED.search(text)
    if match:
        raise ValueError(
            f"{place} is not {(encoding or 'utf-8').upper()} (character {match.start()}): pass encoding= with the "
            "encoding of the file, such as encoding='latin-1'"
        )


def _read_text(file: InputFile, text_column: str | None, encoding: str | None) -> Iterator[Item]:
    with _open(file) as stream:
        data = stream.read()
    text = decode(data, encoding, file.path).removeprefix("\ufeff")
    yield Item({"file": file.name, "text": text}, text, file.path, len(data))


def _read_lines(file: InputFile, text_column: str | None, encoding: str | None) -> Iterator[Item]:
    for number, line, num_bytes in _lines(file, encoding):
        place = f"{file.path}, line {number}"
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
    return _parse(_checked_line(line, place, encoding), place, nulls)


def _parse(text: str, place: str, nulls: Nulls) -> Any:
    try:
        return json.loads(text, parse_constant=nulls.replace)
    except json.JSONDecodeError as error:
        raise ValueError(f"{place} is not JSON: {error.msg.removesuffix(' at')} at column {error.colno}") from error
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
    for index, words in enumerate(read_words(SourceFile(Path(file.path), encoding))):
        yield Item({"tokens": words}, words, f"{file.path}, sentence {index}", file.num_bytes)


KINDS: Mapping[str, Callable[[InputFile, str | None, str | None], Iterator[Item]]] = {
    "text": _read_text,
    "lines": _read_lines,
    "jsonl": _read_jsonl,
    "json": _read_json,
    "csv": _read_csv,
    "tsv": _read_csv,
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
