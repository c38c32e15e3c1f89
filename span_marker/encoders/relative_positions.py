"""Relative positions: what the distance between two tokens adds to attention scores, as a function of position IDs.

Encoders with relative positions compute distances from the order of the tokens. Markers come after the text, so their
distances must come from position IDs instead: a marker then sees the text as the token that it observes does.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor


def distances(query_positions: Tensor, key_positions: Tensor) -> Tensor:
    """Subtract key positions from query positions.

    Args:
        query_positions: Position IDs of the queries, ``(..., num_queries)``.
        key_positions: Position IDs of the keys, ``(..., num_keys)``.

    Returns:
        Query position minus key position, ``(..., num_queries, num_keys)``.

    Example:
        >>> distances(torch.tensor([2, 4]), torch.tensor([2, 3, 4]))
        tensor([[ 0, -1, -2],
                [ 2,  1,  0]])
    """
    return query_positions[..., :, None] - key_positions[..., None, :]


class RelativeScores(Protocol):
    """Computes what the distances between positions add to attention scores."""

    def __call__(
        self, query: Tensor, key: Tensor, query_positions: Tensor, key_positions: Tensor, max_distance: int
    ) -> Tensor | None:
        """Compute the scores to add.

        Args:
            query: ``(heads, batch, num_queries, head_dim)``.
            key: Scaled keys, ``(heads, batch, num_keys, head_dim)``.
            query_positions: ``(batch, num_queries)``.
            key_positions: ``(batch, num_keys)``.
            max_distance: An upper bound for the distance between two of the positions.

        Returns:
            A tensor that broadcasts to ``(heads, batch, num_queries, num_keys)``, or None to add nothing.
        """


@dataclass(frozen=True)
class SlidingWindow:
    """Local attention: scores are minus infinity beyond a distance. See `RelativeScores`.

    Attributes:
        distance: The largest distance at which a query sees a key.
    """

    distance: int

    def __call__(
        self, query: Tensor, key: Tensor, query_positions: Tensor, key_positions: Tensor, max_distance: int
    ) -> Tensor | None:
        """See `RelativeScores`."""
        if max_distance <= self.distance:
            return None
        is_far = distances(query_positions, key_positions).abs() > self.distance
        return query.new_zeros(()).masked_fill(is_far, float("-inf"))[None]


@dataclass(frozen=True)
class DistanceScores:
    """A learned score per distance and head, as in T5 and MPNet. See `RelativeScores`.

    Attributes:
        scores: Score of each distance from ``-limit`` to ``limit``, ``(heads, 2 * limit + 1)``.
    """

    scores: Tensor

    @classmethod
    def from_embedding(
        cls, embedding: torch.nn.Embedding, bucket_of: Callable[[Tensor], Tensor], limit: int
    ) -> DistanceScores:
        """Tabulate the scores of all distances up to a limit.

        Args:
            embedding: Scores per bucket, ``(num_buckets, heads)``.
            bucket_of: Maps key position minus query position to a bucket.
            limit: The largest distance.

        Returns:
            The scores.
        """
        buckets = bucket_of(-torch.arange(-limit, limit + 1))
        return cls(embedding(buckets.to(embedding.weight.device)).t())

    def __call__(
        self, query: Tensor, key: Tensor, query_positions: Tensor, key_positions: Tensor, max_distance: int
    ) -> Tensor:
        """See `RelativeScores`."""
        index = distances(query_positions, key_positions) + self.scores.shape[1] // 2
        return self.scores.index_select(1, index.flatten()).unflatten(1, index.shape)


@dataclass(frozen=True)
class DisentangledScores:
    """Content-to-position and position-to-content scores, as in DeBERTa. See `RelativeScores`.

    Let ``r`` be the row of a distance in the table of relative positions. A query ``q`` and a scaled key ``k`` score
    ``q @ position_keys[r] + k @ position_queries[r]`` in addition to ``q @ k`` (He et al. 2021, DeBERTa, eq. 4).

    Attributes:
        rows: Row of each distance from ``-limit`` to ``limit``, ascending.
        index: Same as `rows`, as a tensor on the device of the states.
        position_keys: Scaled keys, ``(heads, num_rows, head_dim)``; None to leave content-to-position out.
        position_queries: Queries, of the same shape; None to leave position-to-content out.
    """

    rows: list[int]
    index: Tensor
    position_keys: Tensor | None
    position_queries: Tensor | None

    def __call__(
        self, query: Tensor, key: Tensor, query_positions: Tensor, key_positions: Tensor, max_distance: int
    ) -> Tensor | None:
        """See `RelativeScores`."""
        limit = len(self.rows) // 2
        first, last = self.rows[limit - max_distance], self.rows[limit + max_distance]  # the rows that can occur here
        index = self.index[distances(query_positions, key_positions) + limit] - first
        index = index.expand(query.shape[0], -1, -1, -1)  # (heads, batch, num_queries, num_keys)
        scores = None
        if self.position_keys is not None:
            scores = _products(query, self.position_keys[:, first : last + 1]).gather(-1, index)
        if self.position_queries is not None:
            to_content = _products(key, self.position_queries[:, first : last + 1])
            to_content = to_content.transpose(-1, -2).gather(-2, index)
            scores = to_content if scores is None else scores + to_content
        return scores


def _products(states: Tensor, table: Tensor) -> Tensor:
    """``(heads, batch, n, head_dim)`` with ``(heads, num_rows, head_dim)`` to ``(heads, batch, n, num_rows)``.

    One product per head, since broadcasting the table over the batch would copy it.
    """
    return (states.flatten(1, 2) @ table.transpose(-1, -2)).unflatten(1, states.shape[1:3])
