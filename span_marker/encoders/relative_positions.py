"""What the distance between two positions adds to attention scores, as functions of position IDs.

Encoders with relative positions compute distances from the order in which tokens stand. A marker stands behind the
text, so its distances must come from position IDs instead: it then sees the text as the token it observes would.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor


def distances(query_positions: Tensor, key_positions: Tensor) -> Tensor:
    """How far queries are behind keys: ``(..., num_queries)``, ``(..., num_keys)`` to ``(..., num_queries, num_keys)``.

    Args:
        query_positions: Position IDs of the queries.
        key_positions: Position IDs of the keys.

    Returns:
        Query position minus key position.

    Example:
        >>> distances(torch.tensor([2, 4]), torch.tensor([2, 3, 4]))
        tensor([[ 0, -1, -2],
                [ 2,  1,  0]])
    """
    return query_positions[..., :, None] - key_positions[..., None, :]


class RelativeScores(Protocol):
    """What the distance between positions adds to attention scores."""

    def __call__(
        self, query: Tensor, key: Tensor, query_positions: Tensor, key_positions: Tensor, reach: int
    ) -> Tensor | None:
        """Compute the scores to add.

        Args:
            query: ``(heads, batch, num_queries, head_dim)``.
            key: Scaled keys, ``(heads, batch, num_keys, head_dim)``.
            query_positions: ``(batch, num_queries)``.
            key_positions: ``(batch, num_keys)``.
            reach: No two positions are further apart than this.

        Returns:
            A tensor that broadcasts to ``(heads, batch, num_queries, num_keys)``; None to add nothing.
        """


@dataclass(frozen=True)
class SlidingWindow:
    """Local attention: nothing sees what is more than some positions away. See `RelativeScores`.

    Attributes:
        distance: The furthest that is seen.
    """

    distance: int

    def __call__(
        self, query: Tensor, key: Tensor, query_positions: Tensor, key_positions: Tensor, reach: int
    ) -> Tensor | None:
        """See `RelativeScores`."""
        if reach <= self.distance:
            return None
        is_far = distances(query_positions, key_positions).abs() > self.distance
        return query.new_zeros(()).masked_fill(is_far, float("-inf"))[None]


@dataclass(frozen=True)
class DistanceScores:
    """A learned score for each distance and head, as in T5 and MPNet. See `RelativeScores`.

    Attributes:
        scores: Score of each distance from ``-limit`` to ``limit``, ``(heads, 2 * limit + 1)``.
    """

    scores: Tensor

    @classmethod
    def of(cls, embedding: torch.nn.Embedding, bucket_of: Callable[[Tensor], Tensor], limit: int) -> DistanceScores:
        """Tabulate the scores.

        Args:
            embedding: Score of each bucket, ``(num_buckets, heads)``.
            bucket_of: Bucket of key position minus query position.
            limit: The largest distance.

        Returns:
            The table.
        """
        buckets = bucket_of(-torch.arange(-limit, limit + 1))
        return cls(embedding(buckets.to(embedding.weight.device)).t())

    def __call__(
        self, query: Tensor, key: Tensor, query_positions: Tensor, key_positions: Tensor, reach: int
    ) -> Tensor:
        """See `RelativeScores`."""
        index = distances(query_positions, key_positions) + self.scores.shape[1] // 2
        return self.scores.index_select(1, index.flatten()).unflatten(1, index.shape)


@dataclass(frozen=True)
class DisentangledScores:
    """Content to position and position to content, as in DeBERTa. See `RelativeScores`.

    With ``r`` for the row of a distance in the table of relative positions, a query ``q`` and a scaled key ``k`` score
    ``q @ position_keys[r] + k @ position_queries[r]`` in addition to ``q @ k`` (He et al. 2021, DeBERTa, eq. 4).

    Attributes:
        rows: Row of each distance from ``-limit`` to ``limit``, ascending.
        table: The same as a tensor, where the states are.
        position_keys: Scaled, ``(heads, num_rows, head_dim)``; None without content to position.
        position_queries: ``(heads, num_rows, head_dim)``; None without position to content.
    """

    rows: list[int]
    table: Tensor
    position_keys: Tensor | None
    position_queries: Tensor | None

    def __call__(
        self, query: Tensor, key: Tensor, query_positions: Tensor, key_positions: Tensor, reach: int
    ) -> Tensor | None:
        """See `RelativeScores`."""
        limit = len(self.rows) // 2
        first, last = self.rows[limit - reach], self.rows[limit + reach]  # those that these positions can need
        index = self.table[distances(query_positions, key_positions) + limit] - first
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

    As one product for each head: to broadcast the table over the batch would copy it.
    """
    return (states.flatten(1, 2) @ table.transpose(-1, -2)).unflatten(1, states.shape[1:3])
