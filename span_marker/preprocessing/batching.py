"""Batches of similar sentences: as little padding as can be, a bound on memory, and halves if it runs out."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from accelerate.utils.memory import clear_device_cache, should_reduce_batch_size
from torch import Tensor, nn

from span_marker.core.spans import num_candidates
from span_marker.preprocessing.data_collator import SpanMarkerDataCollator

logger = logging.getLogger(__name__)

T = TypeVar("T")

BATCH_TOKENS = 8192
"""Tokens of a batch, text and markers together, unless a single sentence has more."""


class FeatureRows(Protocol):
    """A list of features, or a `Dataset` of them."""

    def __iter__(self) -> Iterator[Any]:
        """Go through the features."""

    def __getitem__(self, index: int, /) -> Any:
        """Get one of them."""


@dataclass
class Room:
    """How much memory there is, as far as it is known.

    Attributes:
        max_tokens: Tokens of the largest batch that may fit; None as long as memory has not run out.
    """

    max_tokens: int | None = None

    def shrink(self, num_tokens: int) -> None:
        """Note that a batch did not fit; half of it may. The first time, log it.

        Args:
            num_tokens: Its tokens, text and markers together.
        """
        if self.max_tokens is None:
            logger.warning(
                "Out of memory with a batch of %d tokens, text and markers together: such batches are cut in halves "
                "from now on, which changes no result. A lower batch_size spares the attempts.",
                num_tokens,
            )
        self.max_tokens = num_tokens // 2


def run_in_batches(
    run: Callable[[dict[str, Tensor]], T],
    rows: FeatureRows,
    collator: SpanMarkerDataCollator,
    batch_size: int,
    candidates_kept: float = 1.0,
    room: Room | None = None,
) -> Iterator[tuple[list[int], dict[str, Tensor], T]]:
    """Collate features of similar cost, and run something on each batch, or on halves of it if memory runs out.

    Args:
        run: What to run on a batch.
        rows: The features, see `SpanMarkerDataCollator`.
        collator: Collates them.
        batch_size: The most of a batch.
        candidates_kept: Share of the candidates that get markers, about.
        room: What is known about memory, and will be known better.

    Yields:
        Indices of the features of a batch, the batch, and what came out of it.

    Raises:
        MemoryError: If a single row does not fit.
    """
    room = room or Room()
    costs = [
        num_tokens(len(row["input_ids"]), len(row["word_starts"]), collator.entity_max_length, candidates_kept)
        for row in rows
    ]
    waiting = list(batches(costs, batch_size))[::-1]
    while waiting:
        indices = waiting.pop()
        cost = sum(costs[index] for index in indices)
        if room.max_tokens is not None and cost > room.max_tokens and len(indices) > 1:
            middle = len(indices) // 2
            waiting += [indices[middle:], indices[:middle]]
            continue
        batch = collator([rows[index] for index in indices])
        try:
            result = run(batch)
        except RuntimeError as error:
            if not should_reduce_batch_size(error):
                raise
            if len(indices) == 1:
                raise MemoryError(
                    f"a single text with {cost} tokens, text and markers together, does not fit into memory: load the "
                    "model with a lower model_max_length, so that it is read in smaller windows, or give it a "
                    "candidate filter with fit_span_filter"
                ) from error
        else:
            yield indices, batch, result
            continue
        clear_device_cache(garbage_collection=True)  # by now nothing holds on to the failed attempt
        room.shrink(cost)
        waiting.append(indices)


def num_tokens(text_length: int, num_words: int, entity_max_length: int, candidates_kept: float = 1.0) -> int:
    """Count the tokens of a sentence, text and markers together.

    Args:
        text_length: Tokens of the text.
        num_words: Its words.
        entity_max_length: Words of the longest candidate.
        candidates_kept: Share of the candidates that get markers, about.

    Returns:
        The tokens.
    """
    return text_length + math.ceil(2 * num_candidates(num_words, entity_max_length) * candidates_kept)


def batches(costs: Sequence[int], batch_size: int) -> Iterator[list[int]]:
    """Group sentences of similar cost, the longest first, so that memory runs out at once or never.

    Args:
        costs: Tokens of each sentence, see `num_tokens`.
        batch_size: The most sentences of a batch.

    Yields:
        Indices of the sentences of a batch: at most ``batch_size``, and at most `BATCH_TOKENS` tokens.
    """
    batch: list[int] = []
    total = 0
    for index in sorted(range(len(costs)), key=costs.__getitem__, reverse=True):
        if batch and (len(batch) == batch_size or total + costs[index] > BATCH_TOKENS):
            yield batch
            batch, total = [], 0
        batch.append(index)
        total += costs[index]
    if batch:
        yield batch


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Put a model into evaluation mode, and back afterwards.

    Args:
        model: The model.
    """
    in_training = [module for module in model.modules() if module.training]
    model.eval()
    try:
        yield
    finally:
        for module in in_training:
            module.training = True
