"""Predict the entities of files of texts, and write them to files."""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from functools import partial
from itertools import islice
from typing import Any, NamedTuple, TypeVar

from tqdm import tqdm

from span_marker.bulk.input_files import STANDARD_INPUT, FileList, find_files
from span_marker.bulk.items import Item
from span_marker.bulk.reader import Reader
from span_marker.bulk.results import Results, write_lines
from span_marker.bulk.sources import read_items
from span_marker.core.cpu import available_cpus
from span_marker.core.streams import begun_ahead, blocks
from span_marker.prediction.readings import ERROR, OnError, Reading

logger = logging.getLogger(__name__)

T = TypeVar("T")

CHUNK_TEXTS = 256
"""Maximum number of texts that are read together."""

CHUNK_CHARACTERS = 200_000
"""Maximum number of characters that are read together, unless a single text has more."""

CHUNKS_AHEAD = 2
"""Number of chunks to prefetch from files while the model reads."""

SECONDS_PER_LINE = 10.0
"""Seconds between log lines of progress, where no bar can be drawn."""


class BulkReport(NamedTuple):
    """The summary of a run.

    Attributes:
        num_texts: Number of texts that were read.
        num_entities: Number of entities that were found.
        num_errors: Number of texts that could not be read.
        num_before: Number of texts that were read by an earlier run.
        seconds: Duration of the run.
    """

    num_texts: int
    num_entities: int
    num_errors: int
    num_before: int
    seconds: float

    def __str__(self) -> str:
        rate = self.num_texts / self.seconds if self.seconds else 0.0
        before = f", {self.num_before:,} before" if self.num_before else ""
        errors = f", {self.num_errors:,} texts could not be read" if self.num_errors else ""
        return f"{self.num_texts:,} texts{before}, {self.num_entities:,} entities, {rate:.1f} texts/s{errors}"


def predict_files(
    model: str,
    inputs: Iterable[str | os.PathLike[str]],
    output: str | os.PathLike[str] = STANDARD_INPUT,
    *,
    input_format: str | None = None,
    output_format: str | None = None,
    text_column: str | None = None,
    token_column: int | None = None,
    encoding: str | None = None,
    device: str | None = None,
    dtype: str | None = None,
    num_workers: int = 1,
    on_error: OnError = "raise",
    resume: bool = False,
    overwrite: bool = False,
    show_progress: bool = False,
    **options: Any,
) -> BulkReport:
    """Find the entities of all texts in files, in constant memory, and write results as they come.

    The results have one row per text, in order, with the columns of the input row (if any), ``entities``, and
    ``relations`` if the model has them. Input columns with these names are replaced or dropped. In tables with one line
    per entity, consecutive lines with the same text become one row. Texts are independent of each other: they have no
    document context.

    Errors in a file are raised once the results of all earlier texts are written. If the model fails on a text, earlier
    texts in the same chunk have no results yet.

    Args:
        model: Folder of a checkpoint, or its name on the Hub.
        inputs: Files, folders, or ``-`` for standard input. If the output is in one of the folders, it is not read.
        output: File to write, or ``-`` for JSON lines on standard output. Other formats are converted from JSON lines
            when all texts have been read.
        input_format: See `span_marker.bulk.input_files.KINDS`. Defaults to what the endings say.
        output_format: A format of `write_annotations`, ``"html"``, ``"csv"`` or ``"tsv"`` (one line per entity), or
            ``"parquet"``. Defaults to the file extension.
        text_column: The column of the texts in files with columns. Defaults to ``text`` or ``tokens``.
        token_column: The column of the words in files of the kind ``conll``, from 0. Defaults to the first; in files of
            CoNLL-2012, to the fourth.
        encoding: The encoding of text files. Defaults to what their byte order mark says, or else UTF-8.
        device: See `Reader`.
        dtype: See `Reader`.
        num_workers: Number of processes that predict. They share the CPUs.
        on_error: See `Reader`; with ``"column"``, rows that cannot be read or have no text get a column ``error``,
            which replaces that of the input. Formats without such a column leave out these rows, with a warning.
        resume: Whether to continue a stopped run at the first text without a result. If the run is complete, a warning
            says so.
        overwrite: Whether to replace existing results, except for documents in a brat folder.
        show_progress: Whether to show progress on standard error: a bar on a terminal, otherwise lines.
        **options: Options of `SpanMarkerModel.predict`.

    Returns:
        The summary of the run.

    Raises:
        FileNotFoundError: If there is no such file or model.
        FileExistsError: If results exist, and neither ``resume`` nor ``overwrite`` is set.
        ValueError: If a file cannot be read (the message names the line); results to resume are of another run, or
            complete but older than the files or the model; an input is the output; or an option is wrong.
        TypeError: If a text is not a string, and ``on_error`` is ``"raise"``.
    """
    if num_workers < 1:
        raise ValueError(f"num_workers must be at least 1, not {num_workers}")
    started = time.monotonic()
    files = find_files(inputs, input_format, output, token_column)
    num_threads = None if num_workers == 1 else max(available_cpus() // num_workers, 1)
    reader = Reader(model, on_error=on_error, device=device, dtype=dtype, num_threads=num_threads, **options)
    counts = {"texts": 0, "entities": 0, "errors": 0}
    if num_workers == 1:
        reader.load()  # its errors come before anything is written
    with _writing(output, output_format, resume, overwrite, files, reader, text_column, encoding) as (
        write,
        num_before,
    ):
        if write is None:
            return BulkReport(0, 0, 0, num_before, time.monotonic() - started)
        items = read_items(files, text_column, encoding, "column")
        skipped = deque(islice(items, num_before), maxlen=1)
        num_skipped = skipped[0].num_bytes if skipped else 0
        with _Progress(files.num_bytes, num_skipped, show_progress) as progress, executor_of(num_workers) as executor:
            chunks = chunks_of(items, on_error)
            # What waits for standard input could not be stopped.
            chunks = chunks if files.has_standard_input else fetch_ahead(chunks)
            for chunk, readings in read_ahead(chunks, reader, executor, num_workers):
                write([_row(item, reading, on_error) for item, reading in zip(chunk, readings, strict=True)])
                counts["texts"] += len(chunk)
                counts["entities"] += sum(len(reading.entities) for reading in readings)
                counts["errors"] += sum(reading.error is not None for reading in readings)
                progress.update(chunk)
    return BulkReport(counts["texts"], counts["entities"], counts["errors"], num_before, time.monotonic() - started)


@contextmanager
def _writing(
    output: str | os.PathLike[str],
    output_format: str | None,
    resume: bool,
    overwrite: bool,
    files: FileList,
    reader: Reader,
    text_column: str | None,
    encoding: str | None,
) -> Iterator[tuple[Callable[[list[dict[str, Any]]], None] | None, int]]:
    """Open the output: a function that writes results (None if all exist), and the number of existing results."""
    if os.fspath(output) == STANDARD_INPUT:
        if output_format not in (None, "jsonl"):
            raise ValueError(f"standard output takes JSON lines only, not {output_format!r}: pass a file")
        if resume:
            raise ValueError("a run that wrote to standard output cannot be resumed: pass a file")
        yield lambda rows: write_lines(sys.stdout.buffer, rows), 0
        return
    if resume and files.has_standard_input:
        raise ValueError(
            "a run that reads standard input cannot be resumed, since the texts may be different now: pass a file"
        )
    settings = {"model": reader.model, "text_column": text_column, "encoding": encoding, "dtype": reader.dtype}
    run = {**settings, **reader.options, "files": files.fingerprint, "checkpoint": reader.fingerprint}
    results = Results(output, output_format, run, text_column, reader.on_error == "column")
    if not results.begin(resume, overwrite, max(files.changed_at, reader.changed_at)):
        yield None, 0
        return
    with results.appending() as write:
        yield write, results.num_done
    results.finish()


def _row(item: Item, reading: Reading, on_error: OnError) -> dict[str, Any]:
    columns = {name: value for name, value in item.columns.items() if name != ERROR or on_error == "raise"}
    return reading.add_to(columns)


def chunks_of(items: Iterator[Item], on_error: OnError) -> Iterator[list[Item]]:
    """Group texts into chunks that are read together.

    Args:
        items: The texts.
        on_error: What to do about the error of a row, see `predict_files`.

    Returns:
        Chunks of texts. Errors are raised after the texts before them.
    """

    def groups() -> Iterator[tuple[list[Item], int]]:
        for item in items:
            if item.error is not None and on_error == "raise":
                raise item.error
            content = item.content or ""
            yield [item], len(content) if isinstance(content, str) else sum(map(len, content))

    return blocks(groups(), CHUNK_TEXTS, CHUNK_CHARACTERS)


def fetch_ahead(items: Iterator[T], num_ahead: int = CHUNKS_AHEAD) -> Iterator[T]:
    """Prefetch items in a separate thread, so that the caller does not wait for slow storage.

    Args:
        items: The items, none of which is None.
        num_ahead: Number of items to prefetch.

    Yields:
        The items. An error is raised in place of the item that it occurred in.
    """
    with ThreadPoolExecutor(1) as thread:
        waiting = deque(thread.submit(next, items, None) for _ in range(num_ahead))
        while (item := waiting.popleft().result()) is not None:
            waiting.append(thread.submit(next, items, None))
            yield item


def executor_of(num_workers: int) -> Any:
    """Create the worker processes. A single worker is this process.

    Args:
        num_workers: Number of processes.

    Returns:
        A context manager of an executor, or of None.
    """
    return nullcontext() if num_workers == 1 else _processes(num_workers)


@contextmanager
def _processes(num_workers: int) -> Iterator[Executor]:
    """Worker processes that stop immediately after an error or an interrupt."""
    # Forked children of a process with threads may hang.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(num_workers, context, initializer=_end_with_parent) as executor:
        try:
            yield executor
        except BaseException:
            # private: no other way tells its processes from those that other threads have started.
            processes = [*(executor._processes or {}).values()]
            executor.shutdown(wait=False, cancel_futures=True)
            for process in processes:
                process.terminate()
            raise


@contextmanager
def _interrupts_held_back() -> Iterator[None]:
    """Make processes that start now ignore interrupts from the terminal, which their parent handles."""
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _end_with_parent() -> None:
    """Make workers exit with the process that started them, even if it is killed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    tqdm.set_lock(threading.RLock())  # its own is a semaphore of the system, which a process that is ended leaves
    parent = multiprocessing.parent_process()

    def wait() -> None:
        if parent is not None:
            parent.join()
            os._exit(1)

    threading.Thread(target=wait, daemon=True).start()


def read_ahead(
    chunks: Iterator[list[Item]], reader: Reader, executor: Executor | None, num_workers: int
) -> Iterator[tuple[list[Item], list[Reading]]]:
    """Read chunks in order; with workers, two chunks per worker are in flight.

    Args:
        chunks: The texts.
        reader: Reads them.
        executor: See `executor_of`.
        num_workers: Number of processes.

    Yields:
        The texts of a chunk, and the entities of each.
    """

    def begin(chunk: list[Item]) -> tuple[list[Item], Callable[[], list[Reading]]]:
        good = [item for item in chunk if item.error is None]
        texts = [item.content for item in good], [item.place for item in good]
        if executor is None:
            return chunk, partial(reader.read, *texts)
        with _interrupts_held_back():  # it may start a process
            return chunk, executor.submit(reader.read, *texts).result

    for chunk, result_of in begun_ahead(map(begin, chunks), 1 if executor is None else 2 * num_workers):
        yield chunk, _with_errors(chunk, result_of())


def _with_errors(chunk: list[Item], readings: list[Reading]) -> list[Reading]:
    """Insert the errors of rows without a text, in order."""
    rest = iter(readings)
    return [next(rest) if item.error is None else Reading([], str(item.error)) for item in chunk]


class _Progress:
    """Shows the progress of a run: a bar on a terminal, occasional log lines otherwise."""

    def __init__(self, total: int, num_skipped: int, is_shown: bool) -> None:
        self._bar: Any = None
        self._total, self._is_logged = total, is_shown and not sys.stderr.isatty()
        if is_shown and sys.stderr.isatty():
            sizes = {"total": total or None, "initial": num_skipped, "unit": "B", "unit_scale": True}
            self._bar = tqdm(**sizes, desc="Predicting", dynamic_ncols=True)
        self._texts, self._bytes, self._num_skipped = 0, num_skipped, num_skipped
        self._started = self._logged = time.monotonic()

    def __enter__(self) -> _Progress:
        return self

    def __exit__(self, *error: object) -> None:
        if self._bar is not None:
            self._bar.close()

    def update(self, chunk: Sequence[Item]) -> None:
        """Count finished texts."""
        before, self._bytes = self._bytes, chunk[-1].num_bytes
        self._texts += len(chunk)
        now = time.monotonic()
        rate = self._texts / max(now - self._started, 1e-9)
        if self._bar is not None:
            self._bar.set_postfix_str(f"{rate:.1f} texts/s", refresh=False)
            self._bar.update(self._bytes - before)
        elif self._is_logged and now - self._logged >= SECONDS_PER_LINE:
            self._logged = now
            tqdm.write(f"{self._texts:,} texts, {rate:.1f} texts/s{self._left(now)}", file=sys.stderr)

    def _left(self, now: float) -> str:
        if not self._total or self._bytes == self._num_skipped:
            return ""
        left = max(self._total - self._bytes, 0)
        minutes = (now - self._started) * left / (self._bytes - self._num_skipped) / 60
        return f", {1 - left / self._total:.0%}, about {minutes:.1f} minutes left"
