"""What waits for the model, and who is next. The model reads together whatever has come while it was busy.

Everything here runs in the event loop, except for the predictions. On a CPU, several threads make them, each a group of
its own with its share of PyTorch's threads: while one waits for the event loop to hand out answers, the others read on.
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
"""The ``entities`` of a sentence, and ``relations`` if they were looked for; and how much of it was read."""

GROUP_BYTES = 24 * 1024
"""About how many bytes of text are read together, some 4,000 words of English. Whatever comes meanwhile waits for them.

They are bytes of UTF-8: where letters take several, words have more tokens, too.
"""

SHARE_BYTES = GROUP_BYTES // 8
"""About how many bytes one job may have in a group before it is the turn of the next."""

ENOUGH_BYTES = GROUP_BYTES // 16
"""About how many bytes are worth a group although all threads are busy, some 250 words of English."""

TURNS_TO_ARRIVE = 5
"""More turns of the event loop than a request takes from its last byte to the queue."""


@dataclass(eq=False)
class Job:
    """The sentences of a request.

    Attributes:
        model: The name of the model.
        sentences: Texts, or lists of words.
        are_words: Whether they are lists of words.
        options: Options of `SpanMarkerModel.predict`.
        answer: What was found in each sentence, in order. Cancel it if nobody waits for it any longer.
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
        """Take the next sentences: one share, or what is left."""
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
        """Whether one of its sentences alone is more than a group."""
        return max(self.sizes, default=0) > GROUP_BYTES

    @property
    def is_taken(self) -> bool:
        """Whether all of its sentences were taken."""
        return self._next == len(self.sentences)

    def put(self, index: int, found: Found) -> None:
        """Note what was found in a sentence. The last one completes the answer."""
        self._found[index] = found
        self._num_missing -= 1
        if not self._num_missing and not self.answer.done():
            self.answer.set_result([found for found in self._found if found is not None])


class PredictionQueue:
    """Reads the sentences of jobs, those together that have come meanwhile, and in turns, so that none waits for long.

    Args:
        models: The models, by name.
        metrics: Counts what is read.
        batch_size: The largest number of sentences in a batch.
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
        """Let a job wait for its turn."""
        if not job.answer.done():
            self._jobs.append(job)
            self._has_come.set()

    @property
    def num_waiting(self) -> int:
        """Number of jobs with sentences that the model has not begun to read."""
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
        """Stop once nobody waits for anything. What the model may still be reading, it reads in vain."""
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
        """Whether to put together a group: one for each thread, and a large one to go on with at once."""
        num_waiting = self._num_bytes_waiting()
        if self._num_groups < self._num_readers:
            return num_waiting > 0
        return self._num_groups == self._num_readers and num_waiting >= ENOUGH_BYTES

    async def _let_come(self) -> None:
        """Let in the requests that have arrived by now, until they are a group; wait for no others."""
        num_seen = num_turns = 0
        while num_turns < TURNS_TO_ARRIVE and self._num_bytes_waiting() < GROUP_BYTES:
            await asyncio.sleep(0)
            num_turns = num_turns + 1 if len(self._jobs) == num_seen else 0
            num_seen = len(self._jobs)

    def _num_bytes_waiting(self) -> int:
        return sum(job.size_left for job in self._jobs)

    def _take(self) -> list[tuple[Job, int]]:
        """Take shares of the jobs in turns, until they are a group, and leave the others as much of all there is.

        A group costs some time, whatever its size. A reader who took all that waits would leave another, who has little
        to read, with what comes one by one while it reads.
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
        """Read sentences of one kind. If that fails, each job is tried alone, so that one cannot spoil the others."""
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
    """What a model finds in each sentence, and the number of words. What it returns is checked where it may fail."""
    results, coverages = model.predict(
        sentences, batch_size, is_split_into_words=are_words, return_coverage=True, **options
    )
    rows = zip(sentences, results, coverages, strict=True)
    return [(as_columns(found), coverage) for _, found, coverage in rows], sum(c.num_words for c in coverages)


def _size(sentence: str | Sequence[str]) -> int:
    """Bytes of a sentence, and some for the special tokens around it."""
    text = sentence if isinstance(sentence, str) else " ".join(sentence)
    return len(text.encode(errors="surrogatepass")) + 6


def _unique(jobs: Iterable[Job]) -> list[Job]:
    return list(dict.fromkeys(jobs))
