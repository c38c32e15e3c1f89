"""Batches of similar sentences, with little padding and bounded memory. They are split if memory runs out.

Several may run at the same time, see `Workers`.
"""

from __future__ import annotations

import gc
import logging
import math
import sys
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol, TypeAlias, TypeVar

from span_marker.core.arrays import Array
from span_marker.core.spans import num_candidates
from span_marker.preprocessing.data_collator import SpanMarkerDataCollator

logger = logging.getLogger(__name__)

T = TypeVar("T")

BATCH_TOKENS = 8192
"""The maximum number of tokens of a batch of several sentences, text and markers together."""


SHARE_TOKENS = 512
"""The minimum number of tokens that are worth a separate worker."""


class FeatureRows(Protocol):
    """A list of features, or a `Dataset` of them."""

    def __iter__(self) -> Iterator[Any]:
        """Iterate over the features."""

    def __getitem__(self, index: int, /) -> Any:
        """Return the features of one piece."""


@dataclass
class MemoryBudget:
    """How many tokens fit into memory, as far as known.

    Attributes:
        max_tokens: The maximum number of tokens of a batch; None until memory runs out for the first time.
    """

    max_tokens: int | None = None

    def shrink(self, num_tokens: int) -> None:
        """Remember that a batch did not fit. The first time, log a warning.

        Args:
            num_tokens: Number of tokens of the batch, text and markers together.
        """
        if self.max_tokens is None:
            logger.warning(
                "Out of memory with a batch of %d tokens, text and markers together. Batches of this size are now "
                "split in half; results are unchanged. Lower batch_size to avoid the failed attempts.",
                num_tokens,
            )
        self.max_tokens = num_tokens // 2


@dataclass(frozen=True)
class Workers:
    """Workers that run the batches.

    Attributes:
        count: How many of them run at the same time.
        start: Function that takes a task, which starts immediately or when its result is requested, and returns a
            function that waits for the result.
    """

    count: int = 1
    start: Callable[[Callable[[], Any]], Callable[[], Any]] = lambda task: task


HireWorkers: TypeAlias = Callable[[int], AbstractContextManager[Workers]]
"""Function that takes the maximum number of workers with enough to do, and returns workers for a ``with`` block."""


def in_turn(count: int) -> AbstractContextManager[Workers]:
    """Run one batch after the other. See `HireWorkers`.

    Args:
        count: Not used.

    Returns:
        A single worker.
    """
    return nullcontext(Workers())


def run_in_batches(
    run: Callable[[dict[str, Array]], T],
    rows: FeatureRows,
    collator: SpanMarkerDataCollator,
    batch_size: int,
    candidates_kept: float = 1.0,
    memory_budget: MemoryBudget | None = None,
    hire: HireWorkers = in_turn,
) -> Iterator[tuple[list[int], dict[str, Array], T]]:
    """Run a function on batches of features with similar cost. If memory runs out, batches are split and run alone.

    Args:
        run: The function, which takes a batch of arrays.
        rows: The features, see `SpanMarkerDataCollator`.
        collator: Collates features into batches.
        batch_size: The maximum number of features in a batch.
        candidates_kept: Approximate share of the candidates that get markers.
        memory_budget: The known limit of memory; updated if memory runs out. Defaults to a new one.
        hire: Starts the workers that run the function.

    Yields:
        Indices of the features of a batch, the batch, and the result of the function.

    Raises:
        MemoryError: If a single feature does not fit into memory.
    """
    memory_budget = memory_budget or MemoryBudget()
    costs = [
        num_tokens(len(row["input_ids"]), len(row["word_starts"]), collator.entity_max_length, candidates_kept)
        for row in rows
    ]
    with hire(min(len(costs), sum(costs) // SHARE_TOKENS)) as workers:
        waiting = list(batches(costs, batch_size, workers.count))[::-1]
        running: deque[tuple[list[int], int, bool, dict[str, Array], Callable[[], T]]] = deque()
        most = workers.count + (workers.count > 1)  # one waits for the next free worker
        while waiting or running:
            if waiting and len(running) < most:
                indices = waiting.pop()
                cost = sum(costs[index] for index in indices)
                if memory_budget.max_tokens is not None and cost > memory_budget.max_tokens and len(indices) > 1:
                    middle = len(indices) // 2
                    waiting += [indices[middle:], indices[:middle]]
                    continue
                batch = collator.collate([rows[index] for index in indices])
                running.append((indices, cost, most == 1, batch, workers.start(partial(run, batch))))
                continue
            indices, cost, was_alone, batch, result_of = running.popleft()
            try:
                result = result_of()
            except (MemoryError, RuntimeError) as error:
                if not _is_out_of_memory(error):
                    raise
                if len(indices) == 1 and was_alone:
                    raise MemoryError(
                        f"a single text with {cost} tokens, text and markers together, does not fit into memory: load "
                        "the model with a lower model_max_length to read the text in smaller windows, or give the "
                        "model a candidate filter with fit_span_filter"
                    ) from error
            else:
                yield indices, batch, result
                continue
            del result_of, batch  # frees the failed attempt
            _free_memory()
            most = 1  # a batch that failed next to others is retried alone, when all of them are done
            memory_budget.shrink(cost)
            waiting.append(indices)


def _is_out_of_memory(error: MemoryError | RuntimeError) -> bool:
    if isinstance(error, MemoryError) or not sys.modules.get("torch"):
        return isinstance(error, MemoryError)
    from accelerate.utils.memory import should_reduce_batch_size  # imports PyTorch

    return should_reduce_batch_size(error)


def _free_memory() -> None:
    gc.collect()
    if sys.modules.get("torch"):
        from accelerate.utils.memory import clear_device_cache

        clear_device_cache()


def num_tokens(text_length: int, num_words: int, entity_max_length: int, candidates_kept: float = 1.0) -> int:
    """Count the tokens of a sentence, text and markers together.

    Args:
        text_length: Number of tokens of the text.
        num_words: Number of words of the text.
        entity_max_length: The maximum number of words of a candidate.
        candidates_kept: Approximate share of the candidates that get markers.

    Returns:
        The number of tokens.
    """
    return text_length + math.ceil(2 * num_candidates(num_words, entity_max_length) * candidates_kept)


def batches(costs: Sequence[int], batch_size: int, num_workers: int = 1) -> Iterator[list[int]]:
    """Group sentences of similar cost, longest first, so that memory runs out in the first batches or not at all.

    Args:
        costs: Number of tokens of each sentence, see `num_tokens`.
        batch_size: The maximum number of sentences in a batch.
        num_workers: Number of workers that share the batches.

    Yields:
        Indices of the sentences of a batch: at most ``batch_size``, and, if there are several, at most `BATCH_TOKENS`
        tokens, and about a worker's share of all of them.
    """
    share = max(sum(costs) / num_workers, 1)
    if share > BATCH_TOKENS:  # there are several batches for each of them
        share = math.inf
    batch: list[int] = []
    total = done = 0
    number = 0.0  # of the share that the batch belongs to
    for index in sorted(range(len(costs)), key=costs.__getitem__, reverse=True):
        cost = costs[index]
        middle = (done + cost / 2) // share
        if batch and (len(batch) == batch_size or total + cost > BATCH_TOKENS or middle > number):
            yield batch
            batch, total = [], 0
        if not batch:
            number = middle
        batch.append(index)
        total += cost
        done += cost
    if batch:
        yield batch
