"""Marker attention: what a marker may attend to, as a dense mask and as a function on packed tokens.

Text attends to text. A marker attends to the text of its sentence, to itself, and to its partner. For three text
tokens and two candidates, with the markers behind the text, pair by pair::

                 t0 t1 t2 s0 e0 s1 e1
            t0    1  1  1  0  0  0  0
            t1    1  1  1  0  0  0  0
            t2    1  1  1  0  0  0  0
            s0    1  1  1  1  1  0  0
            e0    1  1  1  1  1  0  0
            s1    1  1  1  0  0  1  1
            e1    1  1  1  0  0  1  1

So text never sees a marker, and a pair never sees another pair. `dense_attention_mask` writes the grid out.
`packed_attention` computes the same without it, in two passes through an unmodified encoder: `TextPass` runs the
text of all sentences and keeps every layer's keys and values in a `TextMemory`; `MarkerPass` runs any of the
markers against them, with ``text_len + 2`` attention weights each.

In both passes the tokens of all sentences stand in one row without padding, so that the encoder's linear layers see
real tokens only. Attention alone is computed sentence by sentence, or in padded groups of sentences where launching
one operation for each sentence would cost more than the padding does.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional as F

ATTENTION_NAME = "span_marker"
"""Name of `packed_attention` among the attention functions of ``transformers``."""


def dense_attention_mask(text_mask: Tensor, pair_mask: Tensor) -> Tensor:
    """Write out the attention grid for padded sentences: text first, then ``start, end`` of each pair.

    Padding attends to itself alone, so that no row is empty; nothing else attends to it.

    Args:
        text_mask: True for text tokens, ``(batch, seq_len)``.
        pair_mask: True for candidates, ``(batch, max_spans)``.

    Returns:
        True where a row's token may attend to a column's, ``(batch, length, length)``, where length is
        ``seq_len + 2 * max_spans``.

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
    (batch, seq_len), max_spans = text_mask.shape, pair_mask.shape[1]
    length = seq_len + 2 * max_spans
    real = torch.cat([text_mask, pair_mask.repeat_interleave(2, dim=1)], dim=1)  # (batch, length)
    mask = torch.zeros(batch, length, length, dtype=torch.bool, device=text_mask.device)
    mask[:, :, :seq_len] = real[:, :, None] & text_mask[:, None, :]
    pairs = torch.eye(max_spans, dtype=torch.bool, device=text_mask.device)
    mask[:, seq_len:, seq_len:] = pairs.repeat_interleave(2, dim=0).repeat_interleave(2, dim=1)
    mask[:, seq_len:] &= real[:, seq_len:, None]
    return mask | torch.diag_embed(~real)


@dataclass(frozen=True)
class Rows:
    """Rows of a packed sequence that belong to one group of sentences, as a padded table.

    Attributes:
        length: Rows of the whole group.
        table: Row of the group for each sentence and place, ``(sentences, longest)``; None for a single sentence,
            whose rows need no table.
        places: Place of each row of the group in the flattened table, ``(length,)``; None likewise.
        key_mask: True for the keys that may be attended to, ``(sentences, 1, longest)``; None likewise. It holds the
            first place even of a sentence without rows, since attending to nothing would give NaN.
    """

    length: int
    table: Tensor | None = None
    places: Tensor | None = None
    key_mask: Tensor | None = None

    @classmethod
    def of(cls, lengths: list[int], device: torch.device) -> Rows:
        """Tabulate sentences of these lengths that stand one behind the other."""
        if len(lengths) == 1:
            return cls(lengths[0])
        counts = torch.tensor(lengths)  # on the CPU: the shapes below must not wait for an accelerator
        columns = torch.arange(max(lengths))
        mask = columns < counts[:, None]
        table = ((counts.cumsum(0) - counts)[:, None] + columns).masked_fill(~mask, 0)
        key_mask = (mask | (columns == 0))[:, None, :]
        return cls(sum(lengths), table.to(device), mask.flatten().nonzero()[:, 0].to(device), key_mask.to(device))

    def pad(self, packed: Tensor) -> Tensor:
        """``(heads, length, head_dim)`` to ``(heads, sentences, longest, head_dim)``."""
        return packed.unsqueeze(1) if self.table is None else packed[:, self.table]

    def unpad(self, padded: Tensor) -> Tensor:
        """``(heads, sentences, longest, head_dim)`` to ``(length, heads, head_dim)``."""
        packed = padded.squeeze(1) if self.places is None else padded.flatten(1, 2)[:, self.places]
        return packed.transpose(0, 1)


class TextMemory:
    """Keys and values of a batch's text in every attention layer, kept for the markers.

    They are filed by attention module, and only while the memory is open: when gradient checkpointing runs a layer
    again, it finds its keys and values here and leaves them alone.

    Args:
        lengths: Text tokens of each sentence.
        group_size: Sentences that attention is computed for at a time.
        device: Where the text is.
    """

    def __init__(self, lengths: list[int], group_size: int, device: torch.device) -> None:
        self.group_size = group_size
        self.device = device
        groups = [lengths[first : first + group_size] for first in range(0, len(lengths), group_size)]
        self.text_rows = [Rows.of(group, device) for group in groups]
        self.is_open = True
        self._layers: dict[nn.Module, list[tuple[Tensor, Tensor]]] = {}

    def store(self, module: nn.Module, keys_values: list[tuple[Tensor, Tensor]]) -> None:
        """File one layer's padded keys and values, one pair a group: ``(heads, sentences, longest, head_dim)``."""
        if self.is_open:
            if module in self._layers:
                raise RuntimeError(f"{type(module).__name__} attends twice in one pass: its layers share weights")
            self._layers[module] = keys_values

    def recall(self, module: nn.Module) -> list[tuple[Tensor, Tensor]]:
        """Look up what an attention module stored."""
        return self._layers[module]


class Pass(Protocol):
    """One run of tokens through the encoder: it says how they attend."""

    def attend(
        self, module: nn.Module, query: Tensor, key: Tensor, value: Tensor, scaling: float, dropout: float
    ) -> Tensor:
        """Compute attention: ``(heads, num_tokens, head_dim)`` each to ``(num_tokens, heads, head_dim)``."""


class TextPass:
    """The text of a batch runs through the encoder: each sentence attends to itself.

    Args:
        memory: Takes the keys and values of every layer.
    """

    def __init__(self, memory: TextMemory) -> None:
        self.memory = memory

    def attend(
        self, module: nn.Module, query: Tensor, key: Tensor, value: Tensor, scaling: float, dropout: float
    ) -> Tensor:
        """See `Pass.attend`."""
        groups = self.memory.text_rows
        sizes = [rows.length for rows in groups]
        outputs, keys_values = [], []
        for rows, *qkv in zip(groups, *(x.split(sizes, dim=1) for x in (query, key, value)), strict=True):
            q, k, v = (rows.pad(x) for x in qkv)
            attended = F.scaled_dot_product_attention(
                q, k, v, attn_mask=rows.key_mask, dropout_p=dropout, scale=scaling
            )
            outputs.append(rows.unpad(attended))
            keys_values.append((k, v))
        self.memory.store(module, keys_values)
        return torch.cat(outputs)


class MarkerPass:
    """Some of a batch's markers run through the encoder: each attends to its text, to itself, and to its partner.

    Args:
        memory: Holds the text's keys and values.
        counts: Pairs of each sentence that run in this pass; their markers stand pair by pair, start before end.
    """

    def __init__(self, memory: TextMemory, counts: list[int]) -> None:
        self.memory = memory
        size = memory.group_size
        groups = [counts[first : first + size] for first in range(0, len(counts), size)]
        self.marker_rows = [Rows.of([2 * count for count in group], memory.device) for group in groups]

    def attend(
        self, module: nn.Module, query: Tensor, key: Tensor, value: Tensor, scaling: float, dropout: float
    ) -> Tensor:
        """See `Pass.attend`."""
        keys_values = self.memory.recall(module)
        sizes = [rows.length for rows in self.marker_rows]
        splits = [x.split(sizes, dim=1) for x in (query, key, value)]
        outputs = []
        for rows, text_rows, (text_k, text_v), *qkv in zip(
            self.marker_rows, self.memory.text_rows, keys_values, *splits, strict=True
        ):
            if rows.length:
                q, k, v = (rows.pad(x) for x in qkv)
                outputs.append(
                    rows.unpad(attend_to_text_and_pair(q, k, v, text_k, text_v, text_rows.key_mask, scaling, dropout))
                )
        return torch.cat(outputs)


def attend_to_text_and_pair(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    text_key: Tensor,
    text_value: Tensor,
    text_mask: Tensor | None,
    scaling: float,
    dropout: float,
) -> Tensor:
    """Softmax attention over ``text_len + 2`` keys: the text, the marker itself, its partner.

    Args:
        query: Markers' queries, pair by pair, ``(heads, sentences, num_markers, head_dim)``.
        key: Markers' keys, of the same shape.
        value: Markers' values, of the same shape.
        text_key: ``(heads, sentences, text_len, head_dim)``.
        text_value: ``(heads, sentences, text_len, head_dim)``.
        text_mask: True for text, False for padding, ``(sentences, 1, text_len)``; None if there is no padding.
        scaling: Factor of the scores before the softmax.
        dropout: Share of the attention weights that is dropped.

    Returns:
        ``(heads, sentences, num_markers, head_dim)``.
    """
    text_scores = query @ (text_key * scaling).transpose(-1, -2)  # (heads, sentences, num_markers, text_len)
    if text_mask is not None:
        text_scores = text_scores.masked_fill(~text_mask, float("-inf"))
    # Within a pair, attention is that of a sequence of two: (heads, sentences, num_spans, 2, head_dim).
    query, key, pair_value = (x.unflatten(-2, (-1, 2)) for x in (query, key, value))
    pair_scores = (query @ key.transpose(-1, -2)) * scaling  # (heads, sentences, num_spans, 2, 2)
    scores = torch.cat([text_scores, pair_scores.flatten(-3, -2)], dim=-1)
    weights = F.dropout(scores.softmax(-1), dropout).to(value.dtype)
    text_weights, pair_weights = weights.split([text_key.shape[-2], 2], dim=-1)
    pair_part = pair_weights.unflatten(-2, (-1, 2)) @ pair_value
    return text_weights @ text_value + pair_part.flatten(-3, -2)


def packed_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    *,
    span_pass: Pass,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """Attention function in the form that ``transformers`` looks up by name.

    Args:
        module: The attention layer that calls.
        query: ``(1, heads, num_tokens, head_dim)``; key and value likewise.
        key: See query.
        value: See query.
        attention_mask: Not used: ``span_pass`` knows what attends to what.
        scaling: Factor of the scores before the softmax; ``head_dim ** -0.5`` by default.
        dropout: Share of the attention weights that is dropped.
        span_pass: Which tokens these are. It travels through the encoder as an extra keyword argument.
        **kwargs: Other arguments that encoders hand down; not used.

    Returns:
        ``(1, num_tokens, heads, head_dim)``, and None in place of the attention weights.
    """
    scaling = query.shape[-1] ** -0.5 if scaling is None else scaling
    attended = span_pass.attend(module, query.squeeze(0), key.squeeze(0), value.squeeze(0), scaling, dropout)
    return attended.unsqueeze(0), None
