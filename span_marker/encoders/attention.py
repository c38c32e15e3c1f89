"""Marker attention: which tokens a marker may attend to, as a dense mask and as a function on packed tokens.

Text attends to text. A marker attends to the text of its sentence, and to its *partners*: the markers of its candidate,
itself among them. For three text tokens and two candidates of two markers each, with the markers after the text::

                 t0 t1 t2 s0 e0 s1 e1
            t0    1  1  1  0  0  0  0
            t1    1  1  1  0  0  0  0
            t2    1  1  1  0  0  0  0
            s0    1  1  1  1  1  0  0
            e0    1  1  1  1  1  0  0
            s1    1  1  1  0  0  1  1
            e1    1  1  1  0  0  1  1

So text never sees a marker, and a candidate never sees another candidate. `dense_attention_mask` builds this grid.
`TextAttention` and `MarkerAttention` compute only its ones, ``text_len + candidate_size`` weights per marker, for
packed tokens. They run on one sentence at a time, or on padded groups of sentences where one operation per sentence
would cost more than the padding. A span is a candidate of two markers, but nothing here depends on the number.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from span_marker.core.packing import cheap_groups, first_rows, similar_lengths
from span_marker.encoders.packing import PackedRows, PackedTexts, Texts
from span_marker.encoders.relative_positions import RelativeScores

FEW_MARKERS = 32
"""Below this average number of markers per sentence, attention runs on padded groups of sentences on any device."""


def dense_attention_mask(text_mask: Tensor, candidate_mask: Tensor, candidate_size: int = 2) -> Tensor:
    """Build the attention grid of padded sentences: text first, then the markers of each candidate.

    Padding attends only to itself, so that no row is empty, and nothing else attends to it.

    Args:
        text_mask: True for text tokens, ``(batch, seq_len)``.
        candidate_mask: True for candidates, ``(batch, max_candidates)``.
        candidate_size: Number of markers of each candidate.

    Returns:
        True where the token of a row may attend to the token of a column, ``(batch, length, length)`` with
        ``length = seq_len + candidate_size * max_candidates``.

    Example:
        >>> mask = dense_attention_mask(torch.ones(1, 2, dtype=torch.bool), torch.ones(1, 2, dtype=torch.bool))
        >>> print(mask[0].int())
        tensor([[1, 1, 0, 0, 0, 0],
                [1, 1, 0, 0, 0, 0],
                [1, 1, 1, 1, 0, 0],
                [1, 1, 1, 1, 0, 0],
                [1, 1, 0, 0, 1, 1],
                [1, 1, 0, 0, 1, 1]], dtype=torch.int32)
    """
    (batch, seq_len), max_candidates = text_mask.shape, candidate_mask.shape[1]
    length = seq_len + candidate_size * max_candidates
    real = torch.cat([text_mask, candidate_mask.repeat_interleave(candidate_size, dim=1)], dim=1)  # (batch, length)
    mask = torch.zeros(batch, length, length, dtype=torch.bool, device=text_mask.device)
    mask[:, :, :seq_len] = real[:, :, None] & text_mask[:, None, :]
    candidates = torch.arange(max_candidates, device=text_mask.device).repeat_interleave(candidate_size)
    mask[:, seq_len:, seq_len:] = candidates[:, None] == candidates
    mask[:, seq_len:] &= real[:, seq_len:, None]
    return mask | torch.diag_embed(~real)


@dataclass(frozen=True)
class DenseInput:
    """Text and markers side by side.

    Attributes:
        embeds: Token embeddings, zero for padding, ``(batch, length, embed_dim)``: text first, then markers.
        position_ids: ``(batch, length)``.
        allowed: True where the token of a row may attend to the token of a column, ``(batch, length, length)``.
        text_len: Length of the text, including its padding.
    """

    embeds: Tensor
    position_ids: Tensor
    allowed: Tensor
    text_len: int

    def bias(self, allowed: Tensor | None = None) -> Tensor:
        """Convert a mask, by default `allowed`, to scores to add, ``(batch, 1, length, length)``."""
        allowed = self.allowed if allowed is None else allowed
        bias = torch.zeros_like(allowed, dtype=self.embeds.dtype)
        return bias.masked_fill(~allowed, torch.finfo(bias.dtype).min)[:, None]


def add_mask(scores: Tensor, mask: Tensor | None) -> Tensor:
    """Mask attention scores.

    Args:
        scores: Attention scores.
        mask: True where attention is allowed; broadcasts to the scores. None allows it everywhere.

    Returns:
        The scores, minus infinity where attention is not allowed.
    """
    return scores if mask is None else scores.masked_fill(~mask, float("-inf"))


def attend_to_text_and_partners(
    query: Tensor,
    own_scores: Tensor,
    text_key: Tensor,
    text_value: Tensor,
    added_scores: Tensor | None,
    text_mask: Tensor | None,
    dropout: float,
) -> tuple[Tensor, Tensor]:
    """Compute softmax attention over ``text_len + candidate_size`` keys: the text and the markers of the candidate.

    Args:
        query: Markers' queries, ``(heads, sentences, num_markers, head_dim)``.
        own_scores: Their scores for the markers of their candidate, ``(heads, sentences, num_markers,
            candidate_size)``.
        text_key: Scaled keys, ``(heads, sentences, text_len, head_dim)``.
        text_value: ``(heads, sentences, text_len, head_dim)``.
        added_scores: Added to the scores for the text; broadcasts to ``(heads, sentences, num_markers, text_len)``.
            None adds nothing.
        text_mask: True for text, False for padding, ``(sentences, 1, text_len)``; None if there is no padding.
        dropout: Dropout probability of the attention weights.

    Returns:
        The weighted sum of the text's values, ``(heads, sentences, num_markers, head_dim)``, and the weights of the
        candidate's markers, ``(heads, sentences, num_markers, candidate_size)``.
    """
    text_scores = query @ text_key.transpose(-1, -2)  # (heads, sentences, num_markers, text_len)
    if added_scores is not None:
        text_scores = text_scores + added_scores.to(text_scores.dtype)
    text_scores = add_mask(text_scores, text_mask)
    scores = torch.cat([text_scores, own_scores.to(text_scores.dtype)], dim=-1)
    weights = F.dropout(scores.softmax(-1), dropout, training=dropout > 0).to(text_value.dtype)
    text_weights, own_weights = weights.split([text_key.shape[-2], own_scores.shape[-1]], dim=-1)
    return text_weights @ text_value, own_weights


def partner_scores(query: Tensor, key: Tensor, candidate_size: int) -> Tensor:
    """Score each marker against the markers of its candidate.

    Args:
        query: Markers' queries, candidate by candidate, ``(heads, num_markers, head_dim)``.
        key: Their scaled keys, of the same shape.
        candidate_size: Number of markers of each candidate.

    Returns:
        ``(heads, num_markers, candidate_size)``.
    """
    # (num_candidates, candidate_size, heads, head_dim)
    query, key = (x.transpose(0, 1).unflatten(0, (-1, candidate_size)) for x in (query, key))
    scores = (query[:, :, None] * key[:, None]).sum(-1)  # (..., marker, marker that it attends to, heads)
    return scores.flatten(0, 1).permute(2, 0, 1)


def add_partner_values(text_part: Tensor, own_weights: Tensor, value: Tensor) -> Tensor:
    """Add the weighted values of the markers of its candidate to each marker.

    Args:
        text_part: Weighted sum of the text's values, ``(num_markers, heads, head_dim)``.
        own_weights: Weights of the candidate's markers, ``(num_markers, heads, candidate_size)``.
        value: Markers' values, candidate by candidate, ``(heads, num_markers, head_dim)``.

    Returns:
        ``(num_markers, heads, head_dim)``.
    """
    size = own_weights.shape[-1]
    mixed, own_weights, value = (
        x.unflatten(0, (-1, size)) for x in (text_part, own_weights[..., None], value.transpose(0, 1))
    )
    for partner in range(size):
        mixed = torch.addcmul(mixed, own_weights[:, :, :, partner], value[:, partner : partner + 1])
    return mixed.flatten(0, 1)


class TextAttention:
    """Attention of each text to itself.

    Args:
        texts: The texts.
    """

    def __init__(self, texts: PackedTexts) -> None:
        self._position_ids = texts.position_ids
        self._groups = texts.groups

    def __call__(
        self, query: Tensor, key: Tensor, value: Tensor, dropout: float, relative: RelativeScores | None
    ) -> Tensor:
        """Compute attention.

        Args:
            query: ``(heads, num_tokens, head_dim)``.
            key: Scaled, of the same shape.
            value: Of the same shape.
            dropout: Dropout probability of the attention weights.
            relative: What distances add to the scores.

        Returns:
            ``(num_tokens, heads, head_dim)``.
        """
        outputs = []
        for rows in self._groups:
            q, k, v = (rows.pad(x) for x in (query, key, value))
            mask = rows.key_mask
            if relative is not None:
                positions = rows.pad_positions(self._position_ids)
                added = relative(q, k, positions, positions, rows.longest)
                mask = add_mask(added.to(q.dtype), mask) if added is not None else mask
            attended = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, dropout_p=dropout, scale=1.0)
            outputs.append(rows.unpad(attended))
        return torch.cat(outputs)


class MarkerAttention:
    """Attention of markers to their text and to the markers of their candidate.

    Args:
        texts: The texts.
        position_ids: Position IDs of each candidate's markers, ``(num_candidates, candidate_size)``.
        groups: Groups of sentences: the rows of their markers, and those of their texts.
        order: Where each marker is in the concatenated groups, ``(num_markers,)``; None if they are in order.
    """

    def __init__(
        self,
        texts: PackedTexts,
        position_ids: Tensor,
        groups: list[tuple[PackedRows, PackedRows]],
        order: Tensor | None = None,
    ) -> None:
        self._texts = texts
        self._position_ids = position_ids
        self._candidate_size = position_ids.shape[1]
        self._groups = groups
        self._order = order

    @classmethod
    def from_counts(cls, texts: Texts, position_ids: Tensor, first: int, counts: list[int]) -> MarkerAttention:
        """Group the sentences of markers.

        Args:
            texts: The texts.
            position_ids: Position IDs of each candidate's markers, ``(num_candidates, candidate_size)``.
            first: Index of the sentence that the first candidate belongs to.
            counts: Number of candidates of this sentence and of each following one.

        Returns:
            The attention of these markers.
        """
        lengths = [position_ids.shape[1] * count for count in counts]
        firsts = first_rows(lengths)
        groups = in_order = [[index] for index, length in enumerate(lengths) if length]
        if texts.in_groups:
            groups = similar_lengths(lengths)
        elif position_ids.numel() < FEW_MARKERS * len(counts):
            groups = cheap_groups(lengths, texts.lengths[first : first + len(counts)])
        rows = [
            (
                PackedRows.from_lengths(
                    [firsts[index] for index in group], [lengths[index] for index in group], position_ids.device
                ),
                texts.rows([first + index for index in group]),
            )
            for group in groups
        ]
        order = None
        if groups != in_order and groups != [list(range(len(lengths)))]:
            in_groups = [index for group in groups for index in group]
            places = [torch.arange(firsts[index], firsts[index] + lengths[index]) for index in in_groups]
            order = torch.cat(places).argsort().to(position_ids.device)
        return cls(texts, position_ids, rows, order)

    def __call__(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        text_key: Tensor,
        text_value: Tensor,
        dropout: float,
        relative: RelativeScores | None,
    ) -> Tensor:
        """Compute attention.

        Args:
            query: ``(heads, num_markers, head_dim)``.
            key: Scaled, of the same shape.
            value: Of the same shape.
            text_key: Scaled, ``(heads, num_tokens, head_dim)``.
            text_value: Of the same shape.
            dropout: Dropout probability of the attention weights.
            relative: What distances add to the scores.

        Returns:
            ``(num_markers, heads, head_dim)``.
        """
        scores = partner_scores(query, key, self._candidate_size)
        if relative is not None:
            scores = scores + self._relative_to_partners(relative, query, key)
        text_parts, weights = [], []
        position_ids = self._position_ids.flatten()
        for rows, text_rows in self._groups:
            q, k = rows.pad(query), text_rows.pad(text_key)
            added = None
            if relative is not None:
                positions = (rows.pad_positions(position_ids), text_rows.pad_positions(self._texts.position_ids))
                added = relative(q, k, *positions, text_rows.longest)
            attended, group_weights = attend_to_text_and_partners(
                q, rows.pad(scores), k, text_rows.pad(text_value), added, text_rows.key_mask, dropout
            )
            text_parts.append(rows.unpad(attended))
            weights.append(rows.unpad(group_weights))
        text_part, own_weights = torch.cat(text_parts), torch.cat(weights)
        if self._order is not None:
            text_part, own_weights = (rows.index_select(0, self._order) for rows in (text_part, own_weights))
        return add_partner_values(text_part, own_weights, value)

    def _relative_to_partners(self, relative: RelativeScores, query: Tensor, key: Tensor) -> Tensor | float:
        """Compute the scores to add to `partner_scores`, in the same shape."""
        positions = self._position_ids
        # (heads, num_candidates, candidate_size, head_dim)
        query, key = (x.unflatten(1, (-1, self._candidate_size)) for x in (query, key))
        added = relative(query, key, positions, positions, self._texts.max_distance)
        return 0.0 if added is None else added.flatten(1, 2)
