"""Packed sentences: concatenated in one row without padding, and padded again in groups for attention."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from span_marker.core.packing import POSITION_OFFSET, first_rows, tabulate


@dataclass(frozen=True)
class PackedRows:
    """The rows of one sentence or of a group of sentences in a packed sequence, and how to pad the group.

    A single sentence needs no padding: its `table`, `places` and `key_mask` are None.

    Attributes:
        first: First row of the first sentence.
        length: Total number of rows.
        longest: Rows of the longest sentence, or an upper bound.
        table: Row of each place of the padded group, ``(sentences, longest)``; padding points to the sentence's first
            row.
        places: Flattened places of the table that are not padding, ``(length,)``.
        key_mask: True for the keys that may be attended to, ``(sentences, 1, longest)``. The first place of a sentence
            without rows counts as one, since a softmax over nothing gives NaN.
    """

    first: int
    length: int
    longest: int
    table: Tensor | None = None
    places: Tensor | None = None
    key_mask: Tensor | None = None

    @classmethod
    def from_lengths(cls, firsts: list[int], lengths: list[int], device: torch.device) -> PackedRows:
        """Tabulate a group of sentences.

        Args:
            firsts: First row of each sentence.
            lengths: Rows of each sentence.
            device: Where the packed sequence is.

        Returns:
            The rows of the group.
        """
        if len(lengths) == 1:
            return cls(firsts[0], lengths[0], lengths[0])
        # Made on the CPU, so that no shape has to wait for an accelerator.
        tables = (torch.from_numpy(array).to(device) for array in tabulate(firsts, lengths))
        return cls(firsts[0], sum(lengths), max(lengths), *tables)

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


class PackedTexts(Protocol):
    """The texts of a batch from the view of a pass: `Texts`, or tables that are inputs of an exported graph."""

    @property
    def position_ids(self) -> Tensor:
        """Position IDs of the tokens, ``(num_tokens,)``."""

    @property
    def num_tokens(self) -> int:
        """Total number of tokens."""

    @property
    def max_distance(self) -> int:
        """An upper bound for the distance between two positions of a text."""

    @property
    def groups(self) -> list[PackedRows]:
        """The groups of sentences that attention runs on, which are all sentences in order."""

    @property
    def whole(self) -> PackedRows:
        """All sentences as one group."""


@dataclass(frozen=True)
class Texts:
    """The texts of a batch as a packed sequence. See `PackedTexts`.

    Attributes:
        lengths: Tokens of each text.
        position_ids: Position IDs of the tokens, from `POSITION_OFFSET` on in each text, ``(num_tokens,)``.
        in_groups: Whether attention runs on padded groups of sentences rather than on one sentence at a time.
    """

    lengths: list[int]
    position_ids: Tensor
    in_groups: bool

    @classmethod
    def from_mask(cls, mask: Tensor, in_groups: bool) -> Texts:
        """Pack the texts of a padded batch.

        Args:
            mask: True for text, False for padding, ``(batch, seq_len)``.
            in_groups: Whether attention runs on padded groups of sentences.

        Returns:
            The texts.
        """
        return cls(mask.sum(dim=1).tolist(), (mask.cumsum(dim=1) - 1 + POSITION_OFFSET)[mask], in_groups)

    @property
    def num_tokens(self) -> int:
        """Total number of tokens."""
        return len(self.position_ids)

    @property
    def max_distance(self) -> int:
        """See `PackedTexts.max_distance`."""
        return max(self.lengths, default=0)

    @property
    def groups(self) -> list[PackedRows]:
        """See `PackedTexts.groups`."""
        return [self.whole] if self.in_groups else [self.rows([index]) for index in range(len(self.lengths))]

    @property
    def whole(self) -> PackedRows:
        """See `PackedTexts.whole`."""
        return self.rows(list(range(len(self.lengths))))

    def rows(self, sentences: list[int]) -> PackedRows:
        """Tabulate a group of the texts, from their indices."""
        firsts, lengths = (
            [values[index] for index in sentences] for values in (first_rows(self.lengths), self.lengths)
        )
        return PackedRows.from_lengths(firsts, lengths, self.position_ids.device)
