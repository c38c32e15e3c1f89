"""The queue in front of a model, which batches the requests that arrive while the model is busy.

Everything here runs in the event loop, except for the predictions. On a CPU, several threads predict, each its own
group of sentences with its share of PyTorch's threads: while one waits for the event loop to distribute results, the
others continue.
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeAlias

from span_marker.core.checks import without_stop_iteration
from span_marker.modeling import SpanMarkerModel
from span_marker.prediction.entities import Coverage
from span_marker.prediction.relations import as_columns
from span_marker.preprocessing.processes import begin_threads
from span_marker.serving.metrics import Metrics
from span_marker.serving.quiet import describe_error

logger = logging.getLogger(__name__)

Found: TypeAlias = tuple[dict[str, Any], Coverage]
"""The ``entities`` of a sentence, its ``relations`` if requested, and how much of it was read."""

GROUP_BYTES = 24 * 1024
"""Approximate bytes of text that are read together, about 4,000 words of English. Later requests wait for them.

Bytes of UTF-8: scripts with several bytes per letter also have more tokens per word.
"""

SHARE_BYTES = GROUP_BYTES // 8
"""Approximate number of bytes of one job in a group before the next job's turn."""

ENOUGH_BYTES = GROUP_BYTES // 16
"""Approximate number of bytes for which a group is prepared while all threads are busy, about 250 words of English."""

TURNS_TO_ARRIVE = 5
"""Iterations of the event loop: more than a request takes from its last byte to the queue."""


@dataclass(eq=False)
class Job:
    """The sentences of a request.

    Attributes:
        model: The name of the model.
        sentences: Texts, or lists of words.
        are_words: Whether they are lists of words.
        options: Options of `SpanMarkerModel.predict`.
        answer: The results of all sentences, in order. Cancel it if they are no longer needed.
        has_begun: Whether the model has begun to read.
    """

    model: str
    sentences: Sequence[Any]
    are_words: bool
    options: Mapping[str, Any]
    answer: asyncio.Future[list[Found]] = field(default_factory=lambda: asyncio.get_running_loop().create_future())
    has_begun: bool = False

    def __post_init__(self) -> None:
        self.sizes = list(map(_size, self.sentences))
        self.kind = json.dumps([self.model, self.are_words, self.options], sort_keys=True)
        self.size_left = sum(self.sizes)  # bytes of what was not taken yet
        self._found: list[Found | None] = [None] * len(self.sentences)
        self._next = 0
        self._num_missing = len(self.sentences)
        if not self.sentences:
            self.answer.set_result([])

    def take(self) -> list[tuple[Job, int]]:
        """Take the next sentences: one share, or the rest."""
        taken, size = [], 0
        self.has_begun = True
        while self._next < len(self.sentences) and size < SHARE_BYTES:
            taken.append((self, self._next))
            size += self.sizes[self._next]
            self._next += 1
        self.size_left -= size
        return taken

    @property
    def is_long(self) -> bool:
        """Whether any of its sentences alone exceeds the size of a group."""
        return max(self.sizes, default=0) > GROUP_BYTES

    @property
    def is_taken(self) -> bool:
        """Whether all of its sentences were taken."""
        return self._next == len(self.sentences)

    def put(self, index: int, found: Found) -> None:
        """Store the result of a sentence. The last one completes the answer."""
        self._found[index] = found
        self._num_missing -= 1
        if not self._num_missing and not self.answer.done():
            self.answer.set_result([found for found in self._found if found is not None])


class PredictionQueue:
    """Reads the sentences of waiting jobs together and in turns, so that no job waits for long.

    Args:
        models: The models, by name.
        metrics: Counts what is read.
        batch_size: Maximum number of sentences in a batch.
        num_threads: Number of threads with which PyTorch computes.
        num_readers: Number of groups that are read at the same time. They share the threads. If there are several, one
            more group is put together, unless it would be small.
    """

    def __init__(
        self,
        models: Mapping[str, SpanMarkerModel],
        metrics: Metrics,
        batch_size: int,
        num_threads: int,
        num_readers: int = 1,
    ) -> None:
        self._models: Mapping[str, Any] = models
        self._metrics = metrics
        self._batch_size = batch_size
        self._num_threads = num_threads
        self._num_readers = num_readers
        self._num_groups = 0  # that are being read, or will be as soon as a thread is free
        self._num_bytes_read = 0  # of these groups
        self._jobs: deque[Job] = deque()
        self._has_come = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    def put(self, job: Job) -> None:
        """Add a job to the queue."""
        if not job.answer.done():
            self._jobs.append(job)
            self._has_come.set()

    @property
    def num_waiting(self) -> int:
        """Number of jobs with sentences that wait for the model."""
        return sum(not job.answer.done() for job in self._jobs)

    @property
    def is_running(self) -> bool:
        """Whether jobs are read."""
        return bool(self._tasks) and not any(task.done() for task in self._tasks)

    async def start(self) -> None:
        """Begin to read."""
        self._threads = begin_threads(self._num_readers, self._num_threads)
        num_groups = self._num_readers + (self._num_readers > 1)
        self._tasks = [asyncio.create_task(self._run()) for _ in range(num_groups)]

    async def stop(self) -> None:
        """Stop. Call it when no jobs are waiting; the results of predictions still running are discarded."""
        if self._tasks:
            for task in self._tasks:
                task.cancel()
            await asyncio.wait(self._tasks)
            self._threads.shutdown(wait=False)

    async def _run(self) -> None:
        while True:
            if not self._may_take():
                self._has_come.clear()
                await self._has_come.wait()
                continue
            await self._let_come()
            if not self._may_take():
                continue  # others, who let them come at the same time, have taken them
            group = self._take()
            num_bytes = sum(job.sizes[index] for job, index in group)
            self._num_groups += 1
            self._num_bytes_read += num_bytes
            kinds: dict[str, list[tuple[Job, int]]] = {}
            for job, index in group:
                kinds.setdefault(job.kind, []).append((job, index))
            for sentences in kinds.values():
                await self._read(sentences)
            self._num_groups -= 1
            self._num_bytes_read -= num_bytes

    def _may_take(self) -> bool:
        """Whether to prepare a group: one per thread, plus a large one for the next free thread."""
        num_waiting = self._num_bytes_waiting()
        if self._num_groups < self._num_readers:
            return num_waiting > 0
        return self._num_groups == self._num_readers and num_waiting >= ENOUGH_BYTES

    async def _let_come(self) -> None:
        """Let requests that have already arrived into the queue, up to the size of a group."""
        num_seen = num_turns = 0
        while num_turns < TURNS_TO_ARRIVE and self._num_bytes_waiting() < GROUP_BYTES:
            await asyncio.sleep(0)
            num_turns = num_turns + 1 if len(self._jobs) == num_seen else 0
            num_seen = len(self._jobs)

    def _num_bytes_waiting(self) -> int:
        return sum(job.size_left for job in self._jobs)

    def _take(self) -> list[tuple[Job, int]]:
        """Take shares of the jobs in turns, until they fill a group, and leave an equal part for the other readers.

        Each group has a fixed cost. If one reader took everything that is waiting, the others would be left with small
        groups of the requests that arrive in the meantime.
        """
        group: list[tuple[Job, int]] = []
        size = 0
        self._jobs = deque(job for job in self._jobs if not job.answer.done())  # others still wait for their answers
        most = min(GROUP_BYTES, (self._num_bytes_waiting() + self._num_bytes_read) / self._num_readers)
        while self._jobs and size < most:
            job = self._jobs.popleft()
            share = job.take()
            group += share
            size += sum(job.sizes[index] for _, index in share)
            if not job.is_taken:
                self._jobs.append(job)
        return group

    async def _read(self, group: Sequence[tuple[Job, int]]) -> None:
        """Read sentences of one kind. If that fails, retry each job alone, so that one cannot fail the others."""
        job = group[0][0]
        sentences = [job.sentences[index] for job, index in group]
        find = partial(_find, self._models[job.model], sentences, self._batch_size, job.are_words, job.options)
        started = time.perf_counter()
        reading = asyncio.get_running_loop().run_in_executor(self._threads, find)
        await asyncio.wait({reading})
        self._metrics.was_busy(time.perf_counter() - started)
        error = reading.exception()
        if error is None:
            found, num_words = reading.result()
            self._metrics.has_read(len(sentences), num_words)
            for (job, index), one in zip(group, found, strict=True):
                job.put(index, one)
        elif len(jobs := _unique(job for job, _ in group)) > 1:
            for each in jobs:
                await self._read([(job, index) for job, index in group if job is each])
        elif not job.answer.done():
            logger.error("a request failed: %s", describe_error(error))
            job.answer.set_exception(error)


@without_stop_iteration
def _find(
    model: Any, sentences: Sequence[Any], batch_size: int, are_words: bool, options: Mapping[str, Any]
) -> tuple[list[Found], int]:
    """The results of each sentence, and the number of words. Errors in a model's output are raised here."""
    results, coverages = model.predict(
        sentences, batch_size, is_split_into_words=are_words, return_coverage=True, **options
    )
    rows = zip(sentences, results, coverages, strict=True)
    return [(as_columns(found), coverage) for _, found, coverage in rows], sum(c.num_words for c in coverages)


def _size(sentence: str | Sequence[str]) -> int:
    """Bytes of a sentence, plus a few for its special tokens."""
    text = sentence if isinstance(sentence, str) else " ".join(sentence)
    return len(text.encode(errors="surrogatepass")) + 6


def _unique(jobs: Iterable[Job]) -> list[Job]:
    return list(dict.fromkeys(jobs))
