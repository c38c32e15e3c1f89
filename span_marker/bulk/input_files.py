"""Select input files, and choose how to read each of them."""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from tempfile import SpooledTemporaryFile
from typing import Any, NamedTuple

from span_marker.data.text_files import refuse_binary

logger = logging.getLogger(__name__)

STANDARD_INPUT = "-"
"""The path that stands for standard input."""

KINDS = ("text", "lines", "jsonl", "json", "csv", "tsv", "parquet", "conll", "conllu")
"""Kinds of input: one text per file, one text per line, or rows with columns."""

ENDINGS: Mapping[str, str] = {
    **dict.fromkeys((".txt", ".text", ".md"), "text"),
    **dict.fromkeys((".jsonl", ".ndjson"), "jsonl"),
    ".json": "json",
    ".csv": "csv",
    ".tsv": "tsv",
    ".parquet": "parquet",
    **dict.fromkeys((".conll", ".bio", ".iob", ".iob2", ".v4_gold_conll", ".v4_auto_conll", ".gold_conll"), "conll"),
    ".conllu": "conllu",
}
"""The kind of each file extension."""

_HEAD_BYTES = 64
"""Number of bytes that show whether a file is compressed."""

LIST_BYTES = 2**20
"""Maximum size of a list of files in memory."""


class InputFile(NamedTuple):
    """A file of texts.

    Attributes:
        path: The file, or `STANDARD_INPUT`.
        kind: One of `KINDS`.
        name: Its name in rows: its path relative to the requested folder, or its file name.
        token_column: For ``conll``, the column of the words; None for that of the format.
    """

    path: str
    kind: str
    name: str
    token_column: int | None = None

    @property
    def num_bytes(self) -> int:
        """The size of the file; 0 for standard input."""
        return 0 if self.path == STANDARD_INPUT else os.path.getsize(self.path)

    def state(self) -> list[Any]:
        """Return an identifier of the file and its state."""
        kind = self.kind if self.token_column is None else f"{self.kind}, column {self.token_column}"
        if self.path == STANDARD_INPUT:
            return [self.path, kind]
        state = os.stat(self.path)
        return [self.path, kind, state.st_size, state.st_mtime_ns]


class FileList:
    """Input files, in reading order. A long list is kept on disk.

    Args:
        files: The files.

    Attributes:
        num_bytes: The sum of their sizes; 0 if it is unknown, because they include standard input.
        fingerprint: An identifier of the files and their states.
        changed_at: Time of the latest change, in nanoseconds; 0 for standard input.
        has_standard_input: Whether they include standard input.
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
    paths: Iterable[str | os.PathLike[str]],
    kind: str | None = None,
    output: str | os.PathLike[str] | None = None,
    token_column: int | None = None,
) -> FileList:
    """List input files, including those in folders and their subfolders, sorted by name.

    Args:
        paths: Files, folders, or `STANDARD_INPUT`.
        kind: How to read all of them, one of `KINDS`. Defaults to the file extension of each; standard input has lines
            of text.
        output: File or folder for the results, which is ignored inside input folders.
        token_column: The column of the words in files of the kind ``conll``. Defaults to that of the format.

    Returns:
        The files. In folders, hidden files and those with unknown extensions are skipped; a warning counts them.

    Raises:
        FileNotFoundError: If there is no such file or folder.
        ValueError: If the kind is unknown, a file has an unknown extension, a folder has no input files, ``output`` is
            one of the paths, or ``token_column`` applies to none of the files.
    """
    if kind is not None and kind not in KINDS:
        raise ValueError(f"input_format={kind!r} must be one of {', '.join(KINDS)}")
    written = None if output is None or os.fspath(output) == STANDARD_INPUT else os.path.realpath(output)
    files = (file for path in paths for file in _at(os.fspath(path), kind, written))
    return FileList(files if token_column is None else _with_token_column(files, token_column))


def _with_token_column(files: Iterable[InputFile], token_column: int) -> Iterator[InputFile]:
    has_columns = False
    for file in files:
        has_columns |= file.kind == "conll"
        yield file._replace(token_column=token_column) if file.kind == "conll" else file
    if not has_columns:
        raise ValueError(
            f"token_column={token_column} does not apply, since no file is read as conll: leave it out, or pass "
            "input_format='conll'"
        )


def _at(path: str, kind: str | None, output: str | None) -> Iterator[InputFile]:
    """The file at a path, or the files in a folder."""
    if path == STANDARD_INPUT:
        yield InputFile(path, kind or "lines", "standard input")
    elif output is not None and os.path.realpath(path) == output:
        raise ValueError(f"{path} cannot be both input and output: choose another output")
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
                f"the ending of {path} does not tell how to read it: pass input_format= one of {', '.join(KINDS)}"
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
        logger.warning("%s: %d files are skipped (%s)", folder, passed_over.total(), counts)
