"""Sentences that stand one behind the other in one row, and how to pad some of them for attention."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import torch
from torch import Tensor

SMALL_GROUP = 64
"""Groups of sentences with fewer tokens each are padded without a second thought."""


@dataclass(frozen=True)
class Rows:
    """Some rows of a packed sequence, those of one sentence or of a group of sentences, and how to pad the group.

    Attributes:
        first: The first row of a single sentence.
        length: Rows of all sentences together.
        table: Row for each sentence of a group and place, ``(sentences, longest)``, the sentence's first where there is
            padding; None for a single sentence, whose rows need no table.
        places: Places of the table that are no padding, flattened, ``(length,)``; None likewise.
        key_mask: True for the keys that may be attended to, ``(sentences, 1, longest)``; None likewise. It holds the
            first place even of a sentence without rows, since attending to nothing would give NaN.
    """

    first: int
    length: int
    table: Tensor | None = None
    places: Tensor | None = None
    key_mask: Tensor | None = None

    @property
    def longest(self) -> int:
        """Rows of the longest sentence."""
        return self.length if self.table is None else self.table.shape[1]

    @classmethod
    def of(cls, firsts: list[int], lengths: list[int], device: torch.device) -> Rows:
        """Tabulate sentences that begin in these rows and have these lengths."""
        if len(lengths) == 1:
            return cls(firsts[0], lengths[0])
        columns = torch.arange(max(lengths))  # on the CPU: the shapes below must not wait for an accelerator
        starts, counts = torch.tensor([firsts, lengths])[:, :, None]
        mask = columns < counts
        table = torch.where(mask, starts + columns, starts.where(counts > 0, 0))
        places, key_mask = mask.flatten().nonzero()[:, 0], (mask | (columns == 0))[:, None, :]
        return cls(firsts[0], sum(lengths), table.to(device), places.to(device), key_mask.to(device))

    def pad(self, packed: Tensor) -> Tensor:
        """``(heads, num_rows, dim)`` to ``(heads, sentences, longest, dim)``."""
        if self.table is None:
            return packed.narrow(1, self.first, self.length).unsqueeze(1)
        return packed.index_select(1, self.table.flatten()).unflatten(1, self.table.shape)

    def pad_positions(self, packed: Tensor) -> Tensor:
        """``(num_rows,)`` to ``(sentences, longest)``."""
        return packed.narrow(0, self.first, self.length).unsqueeze(0) if self.table is None else packed[self.table]

    def unpad(self, padded: Tensor) -> Tensor:
        """``(heads, sentences, longest, dim)`` to ``(length, heads, dim)``."""
        packed = padded.squeeze(1) if self.places is None else padded.flatten(1, 2).index_select(1, self.places)
        return packed.transpose(0, 1)


def similar_lengths(lengths: list[int]) -> list[list[int]]:
    """Group sentences so that padding each group to its longest at most doubles it, unless it is small.

    Args:
        lengths: Tokens of each sentence.

    Returns:
        Indices of the sentences of each group, the longest first; those without tokens are left out.
    """
    groups: list[list[int]] = []
    for index in sorted(range(len(lengths)), key=lengths.__getitem__, reverse=True):
        longest = lengths[groups[-1][0]] if groups else 0
        if groups and (2 * lengths[index] >= longest or longest <= SMALL_GROUP):
            if lengths[index]:
                groups[-1].append(index)
        elif lengths[index]:
            groups.append([index])
    return groups


def first_rows(lengths: list[int]) -> list[int]:
    """Find where sentences of these lengths begin when they stand one behind the other."""
    return [0, *itertools.accumulate(lengths[:-1])]


@dataclass(frozen=True)
class Texts:
    """The texts of a batch, one behind the other.

    Attributes:
        lengths: Tokens of each text.
        position_ids: Their position IDs, ``(num_tokens,)``.
        in_groups: Whether attention is computed in padded groups of sentences, rather than sentence by sentence.
    """

    lengths: list[int]
    position_ids: Tensor
    in_groups: bool

    @property
    def num_tokens(self) -> int:
        """Tokens of all texts."""
        return len(self.position_ids)

    @property
    def reach(self) -> int:
        """No two positions of a text are further apart than this."""
        return max(self.lengths, default=0)

    def rows(self, sentences: list[int]) -> Rows:
        """Rows of the texts of some sentences."""
        firsts = first_rows(self.lengths)
        places = [firsts[index] for index in sentences]
        return Rows.of(places, [self.lengths[index] for index in sentences], self.position_ids.device)
