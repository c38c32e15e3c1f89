"""The two engines: markers of all candidates through an encoder, exactly and fast, or literally and dense.

Both are functions of the same signature and give the same states. `encode_fast` needs an encoder that looks its
attention function up by name; it encodes each text once. `encode_dense` is the published description taken
literally: text and markers side by side, padded to the batch, under one attention mask.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import PreTrainedModel

from span_marker.attention import MarkerPass, Pass, TextMemory, TextPass, dense_attention_mask

POSITION_OFFSET = 2
"""Position ID of the first token, for every encoder type, as in the published library."""

PADDING_POSITION = 1
"""Position ID of padding."""


@dataclass(frozen=True)
class EngineInput:
    """A batch of texts and the candidates in them.

    Attributes:
        input_ids: Token IDs, ``(batch, seq_len)``.
        attention_mask: True for text, False for padding, ``(batch, seq_len)``.
        span_tokens: The token that each candidate's start and end marker observes, ``(num_spans, 2)``, sentence
            after sentence.
        span_counts: Candidates of each sentence.
        marker_ids: Token IDs of the start and the end marker, ``(2,)``.
    """

    input_ids: Tensor
    attention_mask: Tensor
    span_tokens: Tensor
    span_counts: list[int]
    marker_ids: Tensor


Engine = Callable[[PreTrainedModel, EngineInput, int], Tensor]
"""``(encoder, inputs, max_pairs)`` to the markers' last hidden states, ``(num_spans, 2, hidden)``. ``max_pairs`` is the
most pairs of each sentence that run through the encoder at a time: it bounds memory, not results."""


def encode_fast(encoder: PreTrainedModel, inputs: EngineInput, max_pairs: int) -> Tensor:
    """Encode each text once, then all markers against its keys and values, without padding. See `Engine`.

    Args:
        encoder: An encoder that uses `span_marker.attention.packed_attention`.
        inputs: Texts and candidates.
        max_pairs: Pairs of each sentence in one pass.

    Returns:
        ``(num_spans, 2, hidden)``.
    """
    memory = encode_text(encoder, inputs)
    device = inputs.span_tokens.device
    counts = torch.tensor(inputs.span_counts)
    rank = torch.arange(len(inputs.span_tokens)) - (counts.cumsum(0) - counts).repeat_interleave(counts)
    selections, states = [], []
    for first in range(0, max(inputs.span_counts, default=0), max_pairs):
        selection = ((rank >= first) & (rank < first + max_pairs)).nonzero()[:, 0].to(device)
        chunk_counts = (counts - first).clamp(0, max_pairs).tolist()
        selections.append(selection)
        states.append(encode_markers(encoder, inputs.span_tokens[selection], chunk_counts, inputs.marker_ids, memory))
    if not states:
        return inputs.span_tokens.new_empty(0, 2, encoder.config.hidden_size, dtype=encoder.dtype)
    return torch.cat(states)[torch.cat(selections).argsort()]


def encode_text(encoder: PreTrainedModel, inputs: EngineInput) -> TextMemory:
    """Run the text of a batch through the encoder.

    Args:
        encoder: An encoder that uses `span_marker.attention.packed_attention`.
        inputs: Texts; their candidates are not looked at.

    Returns:
        The text's keys and values in every layer.
    """
    lengths = inputs.attention_mask.sum(dim=1).tolist()
    # Launching operations costs little on a CPU and much on an accelerator, which prefers padding.
    group_size = 1 if inputs.input_ids.device.type == "cpu" else len(lengths)
    memory = TextMemory(lengths, group_size, inputs.input_ids.device)
    position_ids = inputs.attention_mask.cumsum(dim=1) - 1 + POSITION_OFFSET
    input_ids = inputs.input_ids[inputs.attention_mask]
    _run_packed(encoder, input_ids, position_ids[inputs.attention_mask], TextPass(memory))
    memory.is_open = False
    return memory


def encode_markers(
    encoder: PreTrainedModel, span_tokens: Tensor, span_counts: list[int], marker_ids: Tensor, memory: TextMemory
) -> Tensor:
    """Run markers through the encoder.

    Args:
        encoder: The encoder that made ``memory``.
        span_tokens: The token that each candidate's start and end marker observes, ``(num_spans, 2)``, sentence after
            sentence; any of a batch's candidates, but at least one.
        span_counts: How many of them belong to each sentence of the batch.
        marker_ids: Token IDs of the start and the end marker, ``(2,)``.
        memory: The text's keys and values.

    Returns:
        The markers' last hidden states, ``(num_spans, 2, hidden)``.
    """
    position_ids = span_tokens + POSITION_OFFSET
    input_ids = marker_ids.expand_as(position_ids)
    states = _run_packed(encoder, input_ids.flatten(), position_ids.flatten(), MarkerPass(memory, span_counts))
    return states.unflatten(0, (-1, 2))


def _run_packed(encoder: PreTrainedModel, input_ids: Tensor, position_ids: Tensor, span_pass: Pass) -> Tensor:
    """Run tokens through the encoder as one row: ``(num_tokens,)`` to ``(num_tokens, hidden)``."""
    output = encoder(input_ids=input_ids[None], position_ids=position_ids[None], span_pass=span_pass)
    return output.last_hidden_state.squeeze(0)


def encode_dense(encoder: PreTrainedModel, inputs: EngineInput, max_pairs: int) -> Tensor:
    """Encode texts and markers side by side under a dense mask, padded to the batch. See `Engine`.

    Args:
        encoder: An encoder that takes position IDs and an attention mask with one row a token.
        inputs: Texts and candidates.
        max_pairs: Pairs of each sentence in one pass; the text is encoded again in each.

    Returns:
        ``(num_spans, 2, hidden)``.
    """
    device = inputs.input_ids.device
    counts = torch.tensor(inputs.span_counts, device=device)
    columns = torch.arange(max(int(counts.max()), 1), device=device)
    pair_mask = columns < counts[:, None]  # (batch, max_spans)
    padded = inputs.span_tokens.new_zeros(*pair_mask.shape, 2)
    padded[pair_mask] = inputs.span_tokens
    chunks = zip(padded.split(max_pairs, dim=1), pair_mask.split(max_pairs, dim=1), strict=True)
    states = torch.cat([_run_dense(encoder, inputs, tokens, mask) for tokens, mask in chunks], dim=1)
    return states[pair_mask]


def _run_dense(encoder: PreTrainedModel, inputs: EngineInput, span_tokens: Tensor, pair_mask: Tensor) -> Tensor:
    """``span_tokens (batch, max_spans, 2)`` to the markers' states ``(batch, max_spans, 2, hidden)``."""
    text_mask = inputs.attention_mask
    markers = inputs.marker_ids.expand_as(span_tokens).flatten(1)
    positions = (text_mask.cumsum(dim=1) - 1 + POSITION_OFFSET).masked_fill(~text_mask, PADDING_POSITION)
    marker_positions = (span_tokens + POSITION_OFFSET).masked_fill(~pair_mask[..., None], PADDING_POSITION)
    allowed = dense_attention_mask(text_mask, pair_mask)[:, None]  # (batch, 1, length, length)
    bias = torch.zeros_like(allowed, dtype=encoder.dtype).masked_fill(~allowed, torch.finfo(encoder.dtype).min)
    output = encoder(
        input_ids=torch.cat([inputs.input_ids, markers], dim=1),
        position_ids=torch.cat([positions, marker_positions.flatten(1)], dim=1),
        attention_mask=bias,
    )
    return output.last_hidden_state[:, text_mask.shape[1] :].unflatten(1, (-1, 2))
