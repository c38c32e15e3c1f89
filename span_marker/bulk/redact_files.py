"""Redact files of texts."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from span_marker.bulk.input_files import STANDARD_INPUT, find_files
from span_marker.bulk.items import Item
from span_marker.bulk.predict_files import chunks_of, executor_of, read_ahead
from span_marker.bulk.reader import Reader
from span_marker.bulk.sources import read_items
from span_marker.core.cpu import available_cpus
from span_marker.core.surrogates import has_surrogates
from span_marker.data.json_writing import json_line
from span_marker.data.rows import as_text, parse_row
from span_marker.data.text_files import check_target, writing
from span_marker.redaction.placeholders import How
from span_marker.redaction.redactor import Redactor
from span_marker.redaction.report import RedactionReport
from span_marker.redaction.results import Redacted

logger = logging.getLogger(__name__)

FORMATS = {".txt": "text", ".text": "text", ".md": "text", ".jsonl": "jsonl", ".ndjson": "jsonl"}
"""Output format of each file extension."""

READABLE_BY_OWNER, READABLE_BY_ALL = 0o600, 0o666


def redact_files(
    model: str,
    inputs: Iterable[str | os.PathLike[str]],
    output: str | os.PathLike[str] = STANDARD_INPUT,
    *,
    how: How = "numbered",
    key: str | bytes | None = None,
    map_file: str | os.PathLike[str] | None = None,
    keep: Collection[str] = (),
    input_format: str | None = None,
    output_format: str | None = None,
    text_column: str | None = None,
    token_column: int | None = None,
    encoding: str | None = None,
    device: str | None = None,
    dtype: str | None = None,
    num_workers: int = 1,
    overwrite: bool = False,
    **options: Any,
) -> RedactionReport:
    """Replace the entities of all texts in files, in constant memory except for the names.

    The same name has the same placeholder in all texts, see `Redactor`. A text that cannot be read raises an error: no
    text is left out, and none is written unredacted. Output and map appear only when all texts are written; a stopped
    run has to start over, since placeholders depend on earlier texts.

    Args:
        model: See `predict_files`.
        inputs: See `predict_files`.
        output: File to write, or ``-`` for standard output.
        how: See `span_marker.redaction.redact`.
        key: See `span_marker.redaction.redact`.
        map_file: File for the maps, which **contain what was redacted**: JSON lines, one per text, as returned by
            ``RedactionMap.to_dict``. Only its owner can read it. By default, no maps are kept.
        keep: Columns of the input to copy to JSON lines, in addition to ``text``. Other columns, which may contain the
            redacted names, are dropped with a warning. The column of the original texts cannot be kept.
        input_format: See `predict_files`.
        output_format: ``"text"``: only the texts, one per line, or a single one as it is; or ``"jsonl"``: one row with
            ``text`` per text. Defaults to the file extension; text on standard output.
        text_column: See `predict_files`.
        token_column: See `predict_files`.
        encoding: See `predict_files`.
        device: See `Reader`.
        dtype: See `Reader`.
        num_workers: Number of processes that find entities. They share the CPUs.
        overwrite: Whether to replace existing files.
        **options: Options of `SpanMarkerModel.predict`.

    Returns:
        Statistics of the redaction.

    Raises:
        FileNotFoundError: If there is no such file, folder or model.
        FileExistsError: If the output or the map exists, and ``overwrite`` is not set.
        TypeError: If a text is not a string, or ``key`` is neither a string nor bytes.
        ValueError: If a file or a text cannot be read (the message names the line); an option is wrong; the map is the
            output or an input; a column to keep is missing or contains the texts; or ``output_format`` is ``"text"``,
            but one of several texts contains line ends.
    """
    if num_workers < 1:
        raise ValueError(f"num_workers must be at least 1, not {num_workers}")
    redactor = Redactor(how, key=key)
    kind = _find_format(output, output_format)
    if keep and kind == "text":
        raise ValueError(f"keep={list(keep)!r} needs output_format='jsonl', since plain text has no columns")
    _check_targets(output, map_file, overwrite)
    files = find_files(inputs, input_format, output, token_column)
    if map_file is not None and os.path.exists(map_file):
        for file in files:
            if file.path != STANDARD_INPUT and os.path.samefile(file.path, map_file):
                raise ValueError(f"map_file={os.fspath(map_file)!r} is an input: choose another file for the map")
    num_threads = None if num_workers == 1 else max(available_cpus() // num_workers, 1)
    settings: dict[str, Any] = {"relations": False, **options}
    # Of a text that cannot be read, nothing would be found and replaced.
    reader = Reader(model, on_error="raise", device=device, dtype=dtype, num_threads=num_threads, **settings)
    if num_workers == 1:
        reader.load()  # its errors come before anything is written
    with ExitStack() as stack:
        write = _Writer(stack.enter_context(_opened(output)), kind, keep, text_column)
        maps = None if map_file is None else stack.enter_context(_opened(map_file, READABLE_BY_OWNER))
        executor = stack.enter_context(executor_of(num_workers))
        chunks = chunks_of(read_items(files, text_column, encoding, "column"), "raise")
        for chunk, readings in read_ahead(chunks, reader, executor, num_workers):
            for item, reading in zip(chunk, readings, strict=True):
                redacted = _redact(redactor, item, reading.entities)
                write(item, redacted.text)
                if maps is not None:
                    maps(json_line(redacted.map.to_dict(), item.place).decode())
        write.warn()
    return redactor.report


def _redact(redactor: Redactor, item: Item, entities: Any) -> Redacted:
    name = "text" if isinstance(item.content, str) else "tokens"
    text, found = as_text(parse_row({name: item.content, "entities": entities}, item.place))
    return redactor.redact(text, [entity.to_dict() for entity in found])


def _find_format(output: str | os.PathLike[str], format: str | None) -> str:
    if format is None and os.fspath(output) != STANDARD_INPUT:
        ending = Path(output).suffix.lower()
        if ending not in FORMATS:
            raise ValueError(f"the ending of {output} must be one of {', '.join(FORMATS)}, or pass output_format=")
        return FORMATS[ending]
    if format not in (None, "text", "jsonl"):
        raise ValueError(f"output_format={format!r} must be text or jsonl")
    return format or "text"


def _check_targets(output: str | os.PathLike[str], map_file: str | os.PathLike[str] | None, overwrite: bool) -> None:
    targets = [path for path in (output, map_file) if path is not None and os.fspath(path) != STANDARD_INPUT]
    if map_file is not None and os.path.realpath(map_file) == os.path.realpath(output):
        raise ValueError(f"map_file={os.fspath(map_file)!r} is the output: write the map to another file")
    for path in targets:
        check_target(path)
        if os.path.isdir(path):
            raise ValueError(f"{os.fspath(path)} is a folder: pass a file")
        if os.path.exists(path) and not overwrite:
            raise FileExistsError(f"{os.fspath(path)} exists: pass overwrite=True to replace it")


@contextmanager
def _opened(path: str | os.PathLike[str], mode: int = READABLE_BY_ALL) -> Iterator[Callable[[str], Any]]:
    """Open a file that appears only when it is completely written, or standard output."""
    if os.fspath(path) == STANDARD_INPUT:
        yield lambda text: sys.stdout.buffer.write(text.encode("utf-8", "surrogatepass"))
        sys.stdout.buffer.flush()
        return
    with writing(path, mode=mode) as file:
        yield file.write


class _Writer:
    """Writes texts, each in its row."""

    def __init__(self, write: Callable[[str], Any], kind: str, keep: Collection[str], text_column: str | None) -> None:
        self._write, self._kind, self._keep, self._text_column = write, kind, keep, text_column
        self._number, self._has_lines = 0, False
        self._left_out: dict[str, None] = {}

    def __call__(self, item: Item, text: str) -> None:
        self._number += 1
        content = self._text_column or ("text" if "text" in item.columns else "tokens")
        self._left_out |= dict.fromkeys(name for name in item.columns if name not in (content, *self._keep))
        if self._kind == "text":
            line = text.removesuffix("\n").removesuffix("\r")
            has_lines = "\n" in line or "\r" in line
            self._has_lines |= has_lines
            if self._has_lines and self._number > 1:
                raise ValueError(
                    f"{item.place}: several texts, some with line breaks, cannot be told apart in a text file: pass an "
                    "output that ends with .jsonl, or output_format='jsonl'"
                )
            if has_surrogates(text):
                raise ValueError(
                    f"{item.place} has lone surrogates, which a text file cannot hold: pass output_format='jsonl'"
                )
            self._write(text if has_lines or text.endswith("\n") else f"{text}\n")
            return
        if missing := [name for name in self._keep if name not in item.columns]:
            raise ValueError(f"{item.place} has no column {missing[0]!r}, only {list(item.columns)}: keep=")
        if content != "text" and not {content, "text"}.isdisjoint(self._keep):
            raise ValueError(
                f"keep={list(self._keep)!r}: the texts of {content!r} are written as 'text', without their entities: "
                f"leave out {content!r} and 'text'"
            )
        row: Mapping[str, Any] = {**{name: item.columns[name] for name in self._keep}, "text": text}
        self._write(json_line(row, item.place).decode())

    def warn(self) -> None:
        """Warn of columns that are not written."""
        if self._left_out and self._kind == "jsonl":
            logger.warning(
                "columns that are not written, since they may contain the same names: %s: pass keep= to write some",
                list(self._left_out),
            )
