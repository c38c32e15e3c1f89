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

import itertools
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


SMALL_GROUP = 64
"""Groups of sentences with fewer tokens each are padded without a second thought."""


@dataclass(frozen=True)
class Rows:
    """Some rows of a packed sequence, those of one sentence or of a group of sentences, and how to pad the group.

    Attributes:
        first: The first row of a single sentence.
        length: Rows of all sentences together.
        table: Row for each sentence of a group and place, ``(sentences, longest)``; None for a single sentence, whose
            rows need no table.
        places: Places of the table that are no padding, flattened, ``(length,)``; None likewise.
        key_mask: True for the keys that may be attended to, ``(sentences, 1, longest)``; None likewise. It holds the
            first place even of a sentence without rows, since attending to nothing would give NaN.
    """

    first: int
    length: int
    table: Tensor | None = None
    places: Tensor | None = None
    key_mask: Tensor | None = None

    @classmethod
    def of(cls, firsts: list[int], lengths: list[int], device: torch.device) -> Rows:
        """Tabulate sentences that begin in these rows and have these lengths."""
        if len(lengths) == 1:
            return cls(firsts[0], lengths[0])
        columns = torch.arange(max(lengths))  # on the CPU: the shapes below must not wait for an accelerator
        mask = columns < torch.tensor(lengths)[:, None]
        table = (torch.tensor(firsts)[:, None] + columns).masked_fill(~mask, 0)
        places, key_mask = mask.flatten().nonzero()[:, 0], (mask | (columns == 0))[:, None, :]
        return cls(firsts[0], sum(lengths), table.to(device), places.to(device), key_mask.to(device))

    def pad(self, packed: Tensor) -> Tensor:
        """``(heads, num_rows, dim)`` to ``(heads, sentences, longest, dim)``."""
        if self.table is None:
            return packed.narrow(1, self.first, self.length).unsqueeze(1)
        return packed[:, self.table]

    def unpad(self, padded: Tensor) -> Tensor:
        """``(heads, sentences, longest, dim)`` to ``(length, heads, dim)``."""
        packed = padded.squeeze(1) if self.places is None else padded.flatten(1, 2)[:, self.places]
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


def _first_rows(lengths: list[int]) -> list[int]:
    return [0, *itertools.accumulate(lengths[:-1])]


class TextEncoded(Exception):  # noqa: N818
    """Every layer's keys and values are stored: what the last layer would make of them is not needed."""


class TextMemory:
    """Keys and values of a batch's text in every attention layer, kept for the markers.

    They are filed by attention module, and only while the memory is open: when gradient checkpointing runs a layer
    again, it finds its keys and values here and leaves them alone.

    Args:
        lengths: Text tokens of each sentence.
        num_layers: Attention layers of the encoder.
        in_groups: Whether attention is computed in padded groups of sentences, rather than sentence by sentence.
        device: Where the text is.
    """

    def __init__(self, lengths: list[int], num_layers: int, in_groups: bool, device: torch.device) -> None:
        self.lengths = lengths
        self._firsts = _first_rows(lengths)
        self.num_layers = num_layers
        self.in_groups = in_groups
        self.device = device
        self.is_open = True
        self._layers: dict[nn.Module, tuple[Tensor, Tensor]] = {}

    @property
    def is_complete(self) -> bool:
        """Whether every layer has stored its keys and values."""
        return len(self._layers) == self.num_layers

    def store(self, module: nn.Module, key: Tensor, value: Tensor) -> None:
        """File one layer's keys and values, both ``(heads, num_tokens, head_dim)``."""
        if self.is_open:
            if module in self._layers:
                raise RuntimeError(f"{type(module).__name__} attends twice in one pass: its layers share weights")
            self._layers[module] = key, value

    def recall(self, module: nn.Module) -> tuple[Tensor, Tensor]:
        """Look up what an attention module stored."""
        return self._layers[module]

    def text_rows(self, sentences: list[int]) -> Rows:
        """Rows of the text of some sentences."""
        firsts, lengths = ([column[index] for index in sentences] for column in (self._firsts, self.lengths))
        return Rows.of(firsts, lengths, self.device)


class Pass(Protocol):
    """One run of tokens through the encoder: it says how they attend."""

    def attend(self, module: nn.Module, query: Tensor, key: Tensor, value: Tensor, dropout: float) -> Tensor:
        """Compute attention: ``(heads, num_tokens, head_dim)`` each to ``(num_tokens, heads, head_dim)``.

        The keys come scaled: scores are products of queries and keys.
        """


class TextPass:
    """The text of a batch runs through the encoder: each sentence attends to itself.

    Args:
        memory: Takes the keys and values of every layer.
    """

    def __init__(self, memory: TextMemory) -> None:
        self.memory = memory
        sentences = list(range(len(memory.lengths)))
        groups = [sentences] if memory.in_groups else [[index] for index in sentences]
        self.groups = [memory.text_rows(group) for group in groups]

    def attend(self, module: nn.Module, query: Tensor, key: Tensor, value: Tensor, dropout: float) -> Tensor:
        """See `Pass.attend`. In the last layer, unless gradients are recorded, it raises `TextEncoded`."""
        self.memory.store(module, key, value)
        if self.memory.is_complete and not torch.is_grad_enabled():
            raise TextEncoded
        outputs = []
        for rows in self.groups:
            q, k, v = (rows.pad(x) for x in (query, key, value))
            attended = F.scaled_dot_product_attention(q, k, v, attn_mask=rows.key_mask, dropout_p=dropout, scale=1.0)
            outputs.append(rows.unpad(attended))
        return torch.cat(outputs)


class MarkerPass:
    """Some of a batch's markers run through the encoder: each attends to its text, to itself, and to its partner.

    Args:
        memory: Holds the text's keys and values.
        first: Sentence of the first markers.
        counts: Pairs of this sentence and of those that follow it; their markers stand pair by pair, start before end.
    """

    def __init__(self, memory: TextMemory, first: int, counts: list[int]) -> None:
        self.memory = memory
        lengths = [2 * count for count in counts]
        firsts = _first_rows(lengths)
        in_order = [[index] for index, length in enumerate(lengths) if length]
        groups = similar_lengths(lengths) if memory.in_groups else in_order
        self.groups = [
            (
                Rows.of([firsts[index] for index in group], [lengths[index] for index in group], memory.device),
                memory.text_rows([first + index for index in group]),
            )
            for group in groups
        ]
        self.order: Tensor | None = None  # where each marker is once the groups stand one behind the other
        if groups != in_order and groups != [list(range(len(lengths)))]:
            rows = [torch.arange(firsts[index], firsts[index] + lengths[index]) for group in groups for index in group]
            self.order = torch.cat(rows).argsort().to(memory.device)

    def attend(self, module: nn.Module, query: Tensor, key: Tensor, value: Tensor, dropout: float) -> Tensor:
        """See `Pass.attend`."""
        text_key, text_value = self.memory.recall(module)
        scores = pair_scores(query, key)
        text_parts, weights = [], []
        for rows, text_rows in self.groups:
            attended, group_weights = attend_to_text_and_pair(
                rows.pad(query),
                rows.pad(scores),
                text_rows.pad(text_key),
                text_rows.pad(text_value),
                text_rows.key_mask,
                dropout,
            )
            text_parts.append(rows.unpad(attended))
            weights.append(rows.unpad(group_weights))
        text_part, pair_weights = torch.cat(text_parts), torch.cat(weights)
        if self.order is not None:
            text_part, pair_weights = text_part[self.order], pair_weights[self.order]
        return add_pair_values(text_part, pair_weights, value)


def attend_to_text_and_pair(
    query: Tensor,
    pair_scores: Tensor,
    text_key: Tensor,
    text_value: Tensor,
    text_mask: Tensor | None,
    dropout: float,
) -> tuple[Tensor, Tensor]:
    """Softmax attention over ``text_len + 2`` keys: the text, and the two markers of the pair.

    Args:
        query: Markers' queries, ``(heads, sentences, num_markers, head_dim)``.
        pair_scores: Their scores for the two markers of their pair, ``(heads, sentences, num_markers, 2)``.
        text_key: Scaled keys, ``(heads, sentences, text_len, head_dim)``.
        text_value: ``(heads, sentences, text_len, head_dim)``.
        text_mask: True for text, False for padding, ``(sentences, 1, text_len)``; None if there is no padding.
        dropout: Share of the attention weights that is dropped.

    Returns:
        What the text gives, ``(heads, sentences, num_markers, head_dim)``, and the weights of the two markers,
        ``(heads, sentences, num_markers, 2)``.
    """
    text_scores = query @ text_key.transpose(-1, -2)  # (heads, sentences, num_markers, text_len)
    if text_mask is not None:
        text_scores = text_scores.masked_fill(~text_mask, float("-inf"))
    scores = torch.cat([text_scores, pair_scores.to(text_scores.dtype)], dim=-1)
    weights = F.dropout(scores.softmax(-1), dropout).to(text_value.dtype)
    text_weights, pair_weights = weights.split([text_key.shape[-2], 2], dim=-1)
    return text_weights @ text_value, pair_weights


def pair_scores(query: Tensor, key: Tensor) -> Tensor:
    """Score each marker with the start and the end marker of its pair.

    Args:
        query: Markers' queries, pair by pair, ``(heads, num_markers, head_dim)``.
        key: Their scaled keys, of the same shape.

    Returns:
        ``(heads, num_markers, 2)``.
    """
    query, key = (x.transpose(0, 1).unflatten(0, (-1, 2)) for x in (query, key))  # (num_spans, 2, heads, head_dim)
    scores = (query[:, :, None] * key[:, None]).sum(-1)  # (num_spans, 2, 2, heads): marker, marker it attends to
    return scores.flatten(0, 1).permute(2, 0, 1)


def add_pair_values(text_part: Tensor, pair_weights: Tensor, value: Tensor) -> Tensor:
    """Add what the markers of its pair give to each marker.

    Args:
        text_part: What the text gives, ``(num_markers, heads, head_dim)``.
        pair_weights: Weights of the start and the end marker, ``(num_markers, heads, 2)``.
        value: Markers' values, pair by pair, ``(heads, num_markers, head_dim)``.

    Returns:
        ``(num_markers, heads, head_dim)``.
    """
    text_part, pair_weights, value = (
        x.unflatten(0, (-1, 2)) for x in (text_part, pair_weights[..., None], value.transpose(0, 1))
    )
    mixed = torch.addcmul(text_part, pair_weights[:, :, :, 0], value[:, :1])
    return torch.addcmul(mixed, pair_weights[:, :, :, 1], value[:, 1:]).flatten(0, 1)


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
    attended = span_pass.attend(module, query.squeeze(0), key.squeeze(0) * scaling, value.squeeze(0), dropout)
    return attended.unsqueeze(0), None
