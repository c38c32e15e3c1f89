"""Text files: read as they are, and written as a whole or not at all."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO, TypeAlias

StrPath: TypeAlias = "str | os.PathLike[str]"


def read_utf8(path: Path, keep_mark: bool = False) -> str:
    """Read a file without changing its line ends.

    Args:
        path: The file.
        keep_mark: Whether a byte order mark counts as a character of the text.

    Returns:
        Its text.

    Raises:
        ValueError: If it is not UTF-8.
    """
    try:
        return path.read_bytes().decode("utf-8" if keep_mark else "utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not UTF-8 (byte {error.start}): convert it first") from error


def check_path(path: Any) -> None:
    """Check that a value is a path.

    Args:
        path: The value.

    Raises:
        TypeError: If it is not.
    """
    if not isinstance(path, (str, os.PathLike)):
        raise TypeError(f"path, the first argument, must be one string or Path, not {type(path).__name__}")


@contextmanager
def writing(path: StrPath) -> Iterator[TextIO]:
    """Open a file that takes its place only when all of it is written. Of several writers, the last one's stays.

    Args:
        path: The file.

    Yields:
        The file to write to: UTF-8, line ends as written.
    """
    check_path(path)
    part = Path(f"{os.fspath(path)}.{uuid.uuid4().hex[:8]}.part")
    try:
        with part.open("w", encoding="utf-8", newline="") as file:
            yield file
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
