"""Results of a run on disk, written row by row, so that a killed run can be resumed."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

from span_marker.bulk.result_formats import content_of, find_converter, find_format
from span_marker.data.brat import refuse_documents
from span_marker.data.json_writing import json_line

logger = logging.getLogger(__name__)

OF_WORDS = ("conll", "gliner")
"""Formats that hold no texts."""


class Results:
    """The rows of a run, as JSON lines; other formats are converted from them when the run is done.

    Until then, the rows are in a file whose name ends in ``.part``, and a file that ends in ``.run`` describes the run.
    A killed process leaves at most one incomplete row, which resuming removes.

    Args:
        path: The file to make.
        format: Its format. Defaults to what its ending says.
        run: What the rows depend on: files, model and options.
        text_column: The column of the texts. Defaults to ``text`` or ``tokens``.
        with_errors: Whether a column ``error`` says what is wrong with texts that could not be read. Formats without
            such a column leave these texts out.

    Attributes:
        path: The file to make.
        part: The file of the rows so far.
        num_done: How many rows an earlier run has left.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        format: str | None,
        run: Mapping[str, Any],
        text_column: str | None = None,
        with_errors: bool = False,
    ) -> None:
        self.path = Path(path)
        self.part = Path(f"{self.path}.part")
        self.num_done = 0
        self._about = Path(f"{self.path}.run")
        self._format = find_format(path, format)
        self._convert = find_converter(self._format, text_column, with_errors)
        self._text_column, self._with_errors = text_column, with_errors
        self._run = json.dumps(run, sort_keys=True, indent=1) + "\n"

    def begin(self, resume: bool, overwrite: bool, changed_at: int = 0) -> bool:
        """Look at what is there.

        Args:
            resume: Whether to go on with a run that was stopped.
            overwrite: Whether to begin again.
            changed_at: When what the rows depend on was last changed, in nanoseconds.

        Returns:
            Whether there is anything to do: resuming a run that is complete, there is not, and a warning says so.

        Raises:
            FileExistsError: If there are results, and they are neither to be resumed nor overwritten; or a folder has
                documents, which are never overwritten.
            ValueError: If they are of a run on other files or with other options, or complete and out of date; or if
                they are to be both resumed and overwritten.
        """
        if resume and overwrite:
            raise ValueError("resume=True continues a run, and overwrite=True starts again: pass only one of them")
        is_stopped = self._about.exists()
        if overwrite or not (is_stopped or self.path.exists()):
            if self._format == "brat":
                refuse_documents(self.path)
            self.part.unlink(missing_ok=True)
            self._about.write_text(self._run, encoding="utf-8")
            return True
        if not resume:
            rows = _count_lines(self.part) if is_stopped and self.part.exists() else 0
            state = f"{self.part} has {rows:,} rows of a run that was stopped" if is_stopped else f"{self.path} exists"
            raise FileExistsError(f"{state}: pass resume=True to continue it, or overwrite=True to start again")
        if not is_stopped:
            if changed_at > self.path.stat().st_mtime_ns:
                raise ValueError(
                    f"{self.path} is complete, but the files or the model have changed since: pass overwrite=True to "
                    "start again"
                )
            logger.warning("%s is complete, so nothing is read: pass overwrite=True to start again", self.path)
            return False
        before = self._about.read_text(encoding="utf-8")
        if before != self._run:
            raise ValueError(
                f"{self.part} is from another run, {_difference(before, self._run)}: pass the same arguments, or "
                "overwrite=True to start again"
            )
        self.num_done = _remove_torn_line(self.part) if self.part.exists() else 0
        return True

    @contextmanager
    def appending(self) -> Iterator[Callable[[list[dict[str, Any]]], None]]:
        """Open the file of the rows. A run that fails before its first row leaves nothing behind.

        Yields:
            A function that appends rows, and hands them to the operating system before it returns. It raises a
            ValueError if the format cannot hold them.
        """
        try:
            with self.part.open("ab") as file:
                yield partial(self._append, file)
        except BaseException:
            self.discard_if_empty()
            if self.part.exists():
                logger.warning("%s has the results so far: pass resume=True to continue", self.part)
            raise

    def discard_if_empty(self) -> None:
        """Remove what is left of a run that has no rows."""
        if not self.part.stat().st_size:
            self.part.unlink()
            self._about.unlink()

    def _append(self, file: BinaryIO, rows: list[dict[str, Any]]) -> None:
        contents = (content_of(row, self._text_column, self._with_errors) for row in rows)
        text = next((content for content in contents if isinstance(content, str)), None)
        if text is not None and self._format in OF_WORDS:
            raise ValueError(
                f"{self.path}: the format {self._format} has words, but a row has no 'tokens': {text!r:.100}: pass an "
                "output that ends with .jsonl, or rows with words"
            )
        write_lines(file, rows)

    def finish(self) -> None:
        """Turn the rows into the file that was asked for, and remove what is left of the run."""
        if self._convert is None:
            self.part.replace(self.path)
        else:
            try:
                self._convert(self.path, self.part)
            except (OSError, TypeError, ValueError):
                logger.warning("%s has the results as JSON lines, of which %s cannot be made", self.part, self.path)
                raise
            self.part.unlink()
        self._about.unlink()


def write_lines(file: BinaryIO, rows: list[dict[str, Any]]) -> None:
    """Write rows as JSON lines, all of them at once.

    Args:
        file: The file.
        rows: The rows.

    Raises:
        TypeError: If a column has a value of a type that JSON does not have.
        ValueError: If it has NaN or an infinity.
    """
    file.write(b"".join(json_line(row, f"the row {row.get('text', row.get('tokens'))!r:.100}") for row in rows))
    file.flush()


def _count_lines(path: Path) -> int:
    with path.open("rb") as file:
        return sum(block.count(b"\n") for block in iter(partial(file.read, 1 << 20), b""))


def _remove_torn_line(path: Path) -> int:
    """Cut off what stands behind the last line end, and count the lines."""
    count, position, last_end = 0, 0, 0
    with path.open("r+b") as file:
        while block := file.read(1 << 20):
            count += block.count(b"\n")
            if (end := block.rfind(b"\n")) >= 0:
                last_end = position + end + 1
            position += len(block)
        file.truncate(last_end)
    return count


def _difference(before: str, now: str) -> str:
    """What two runs differ in."""
    one, other = json.loads(before), json.loads(now)
    names = [name for name in {**one, **other} if one.get(name) != other.get(name)]
    parts = [f"{name}={one.get(name)!r} instead of {other.get(name)!r}" for name in names if name not in _STATES]
    return ", ".join(parts) or " and ".join(_STATES[name] for name in names)


_STATES = {
    "files": "on other files, or the files have changed",
    "checkpoint": "with the checkpoint as it was before it was changed",
}
"""What is different if something of this name is, whose value says nothing."""
