"""Batches of similar sentences: as little padding as can be, and a bound on memory."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any, Protocol

from torch import Tensor

from span_marker.data_collator import SpanMarkerDataCollator
from span_marker.spans import num_candidates

BATCH_TOKENS = 8192
"""Tokens of a batch, text and markers together, unless a single sentence has more."""


class FeatureRows(Protocol):
    """A list of features, or a `Dataset` of them."""

    def __iter__(self) -> Iterator[Any]:
        """Go through the features."""

    def __getitem__(self, index: int, /) -> Any:
        """Get one of them."""


def in_batches(
    rows: FeatureRows, collator: SpanMarkerDataCollator, batch_size: int, candidates_kept: float = 1.0
) -> Iterator[tuple[list[int], dict[str, Tensor]]]:
    """Collate features of similar cost.

    Args:
        rows: The features, see `SpanMarkerDataCollator`.
        collator: Collates them.
        batch_size: The most of a batch.
        candidates_kept: Share of the candidates that get markers, about.

    Yields:
        Indices of the features of a batch, and the batch.
    """
    costs = [
        num_tokens(len(row["input_ids"]), len(row["word_starts"]), collator.entity_max_length, candidates_kept)
        for row in rows
    ]
    for indices in batches(costs, batch_size):
        yield indices, collator([rows[index] for index in indices])


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
