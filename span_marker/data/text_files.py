"""Text files: read in any encoding, and written atomically."""

from __future__ import annotations

import codecs
import logging
import os
import re
import uuid
from collections.abc import Hashable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, TextIO, TypeAlias

from span_marker.data.row_errors import RowError

StrPath: TypeAlias = "str | os.PathLike[str]"

logger = logging.getLogger(__name__)

_LINE_END = re.compile(r"\r{1,2}\n|\r|\n")
"""Also that of a file whose line ends were converted twice, which has no blank lines in between."""

_INNER_MARK = re.compile("(?<=\n)\ufeff")
"""The byte order mark of a file that was joined to another one."""

_MARKS = {
    codecs.BOM_UTF32_LE: "utf-32",  # before UTF-16, whose mark it begins with
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
_COMPRESSED = {
    b"\x1f\x8b": "compressed (gzip): unpack it first",
    b"BZh91AY&SY": "compressed (bzip2): unpack it first",
    b"\xfd7zXZ\x00": "compressed (xz): unpack it first",
    b"\x28\xb5\x2f\xfd": "compressed (Zstandard): unpack it first",
    b"7z\xbc\xaf\x27\x1c": "an archive (7z): unpack it first",
    b"PK\x03\x04": "an archive (zip): unpack it first; save a table of Excel as CSV",
    b"PAR1\x15": "a Parquet file: pass datasets.Dataset.from_parquet(path) instead",
    b"%PDF-": "a PDF file: extract its text first",
}
"""How files begin that are no text, and what to do with them."""

_COMPRESSED_ENDINGS = frozenset((".gz", ".bz2", ".xz", ".zst", ".zip", ".7z"))

_MIN_UTF16 = 16
"""Number of bytes of which zeros in every other place say that they are UTF-16."""


@dataclass(frozen=True)
class SourceFile:
    """An input file or folder, and the errors of its rows.

    Attributes:
        path: Its path.
        encoding: Its encoding; None for what its byte order mark says, or else UTF-8.
        errors: The errors of rows so far.
        wrong: What tells the rows that have them, see `row`.
        content: What it has, if that was read already; None to read it.
    """

    path: Path
    encoding: str | None = None
    errors: list[RowError] = field(default_factory=list)
    wrong: set[Hashable] = field(default_factory=set)
    content: bytes | None = None

    def __str__(self) -> str:
        return str(self.path)

    def at(self, path: Path) -> SourceFile:
        """Return another file, whose encoding and errors are those of this one."""
        return replace(self, path=path)

    @contextmanager
    def row(self, *keys: Hashable) -> Iterator[None]:
        """Collect the error of a row, so that the others are still read.

        Args:
            *keys: What tells the row, if it may have several errors; or several rows that an error is about. Defaults
                to a row of its own.

        Yields:
            Nothing.
        """
        try:
            yield
        except (TypeError, ValueError) as error:
            self.wrong.update(keys or [len(self.errors)])
            self.errors.append(error)

    def text(self, *, keep_mark: bool = False, keep_line_ends: bool = False) -> str:
        r"""Read the text.

        Args:
            keep_mark: Whether the byte order mark of UTF-8 counts as a character of the text.
            keep_line_ends: Whether line ends stay as they are, instead of being ``\n``; and byte order marks behind
                them, which were at the beginning of files before these were joined.

        Returns:
            The text.

        Raises:
            ValueError: If the encoding is unknown or another.
        """
        data = self.path.read_bytes() if self.content is None else self.content
        text = decode(data, self.encoding, str(self))
        text = text if keep_mark else text.removeprefix("\ufeff")
        return text if keep_line_ends else _INNER_MARK.sub("", _LINE_END.sub("\n", text))

    def head(self, size: int) -> str:
        """Read the beginning of a file as far as it can be decoded.

        Args:
            size: Number of bytes.

        Returns:
            The text.

        Raises:
            ValueError: If the file is compressed.
        """
        with self.path.open("rb") as file:
            data = file.read(size)
        refuse_binary(data, str(self))
        try:
            return data.decode(self.encoding or encoding_of(data), "replace").removeprefix("\ufeff")
        except LookupError:
            return ""


def decode(data: bytes, encoding: str | None, subject: str) -> str:
    """Decode the bytes of a text file. Only the byte order marks of UTF-16 and UTF-32 are removed.

    Args:
        data: The bytes.
        encoding: Their encoding; None for what their byte order mark says, or else UTF-8.
        subject: What to call the file in errors.

    Returns:
        The text.

    Raises:
        ValueError: If the encoding is unknown or another, or the file is compressed.
    """
    name = encoding or encoding_of(data)
    check_encoding(encoding)
    refuse_binary(data, subject)
    try:
        text = data.decode(name)
    except UnicodeError as error:
        start = error.start if isinstance(error, UnicodeDecodeError) else len(data)
        line = len(re.findall(rb"\r\n|\r|\n", data[:start])) + 1
        likely = _guess_utf16(data, 0.2) or "cp1252"
        byte = f"the byte 0x{data[start]:02x} at position {start}" if start < len(data) else "its end"
        raise ValueError(
            f"{subject}, line {line}: {byte} is not {name.upper()}: pass encoding= with the encoding of the file, such "
            f"as encoding={likely!r}"
        ) from error
    if encoding is None:
        refuse_utf16(data, subject)
    return text


def refuse_binary(data: bytes, subject: str) -> None:
    """Refuse files that are not text, which some encodings would read as nonsense.

    Args:
        data: The bytes of a file, or its first ones.
        subject: What to call the file in errors.

    Raises:
        ValueError: If they are those of a compressed file, or of another one that has no text.
    """
    for start, kind in _COMPRESSED.items():
        if data.startswith(start):
            raise ValueError(f"{subject} is {kind}")


def check_encoding(encoding: str | None) -> None:
    """Check the name of an encoding.

    Args:
        encoding: The name, or None.

    Raises:
        ValueError: If there is no such encoding.
    """
    try:
        "a".encode(encoding or "utf-8")
    except LookupError as error:
        raise ValueError(f"encoding={encoding!r} is not the name of an encoding, such as 'latin-1'") from error
    except UnicodeError:
        pass  # one that lacks this letter


def refuse_utf16(data: bytes, subject: str) -> None:
    """Refuse UTF-16 that has no byte order mark, which would be read as UTF-8.

    Args:
        data: The bytes of a file, or its first ones.
        subject: What to call the file in errors.

    Raises:
        ValueError: If it looks like UTF-16.
    """
    guess = _guess_utf16(data, 0.7)
    if guess and encoding_of(data) == "utf-8":
        raise ValueError(f"{subject} looks like UTF-16 without a byte order mark: pass encoding={guess!r}")


def encoding_of(data: bytes) -> str:
    """Tell the encoding of a text file by its byte order mark.

    Args:
        data: The bytes of the file, or its first ones.

    Returns:
        Its name; that of UTF-8 without a mark.
    """
    return next((encoding for mark, encoding in _MARKS.items() if data.startswith(mark)), "utf-8")


def _guess_utf16(data: bytes, share: float) -> str | None:
    """Guess the byte order of UTF-16 by the share of zeros among the upper halves of its units; None if it is none."""
    size = len(data) // 2
    zeros = {"utf-16-be": data[0::2].count(0), "utf-16-le": data[1::2].count(0)}
    upper = max(zeros, key=lambda name: zeros[name])
    is_utf16 = zeros[upper] >= share * size and min(zeros.values()) <= 0.02 * size
    return upper if len(data) >= _MIN_UTF16 and is_utf16 else None


def check_path(path: Any) -> None:
    """Check that a value is a path.

    Args:
        path: The value.

    Raises:
        TypeError: If it is not.
    """
    if not isinstance(path, (str, os.PathLike)):
        raise TypeError(f"path, the first argument, must be one string or Path, not {type(path).__name__}")


def check_target(path: Any) -> None:
    """Check that a file can be written at a path, in the format of its name.

    Args:
        path: The path.

    Raises:
        TypeError: If it is not a path.
        ValueError: If its ending is that of compressed files, which nothing here writes.
        FileNotFoundError: If there is no such folder.
    """
    check_path(path)
    path = Path(path)
    if path.suffix.lower() in _COMPRESSED_ENDINGS:
        raise ValueError(f"{path} would not be compressed: leave {path.suffix!r} out, and compress the file afterwards")
    if not path.parent.is_dir():
        raise FileNotFoundError(f"there is no folder {path.parent} to write {path.name} to: create it first")


@contextmanager
def writing(path: StrPath, *, keep_part: bool = False, errors: str = "strict", mode: int = 0o666) -> Iterator[TextIO]:
    """Open a file that appears only when it is completely written. Of several writers, the last one wins.

    Args:
        path: The file.
        keep_part: Whether what was written before an error stays in a file beside it, which a warning names.
        errors: What happens to lone surrogates, see `codecs`.
        mode: Who can read the file, from its beginning, see ``os.open``.

    Yields:
        The file to write to: UTF-8, line ends as written.

    Raises:
        TypeError: If ``path`` is not a path.
        ValueError: If its ending is that of compressed files.
        FileNotFoundError: If there is no such folder.
    """
    check_target(path)
    part = Path(f"{os.fspath(path)}.{uuid.uuid4().hex[:8]}.part")
    try:
        opener = partial(os.open, mode=mode)
        with open(part, "w", encoding="utf-8", errors=errors, newline="", opener=opener) as file:
            yield file
        part.replace(path)
    finally:
        if keep_part and part.exists() and part.stat().st_size:
            logger.warning("%s was not written: the output before the error is in %s", os.fspath(path), part)
        else:
            part.unlink(missing_ok=True)
