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
most pairs for each sentence of the batch that run through the encoder at a time: it bounds memory, not results."""


def encode_fast(encoder: PreTrainedModel, inputs: EngineInput, max_pairs: int) -> Tensor:
    """Encode each text once, then all markers against its keys and values, without padding. See `Engine`.

    Args:
        encoder: An encoder that uses `span_marker.attention.packed_attention`.
        inputs: Texts and candidates.
        max_pairs: Pairs for each sentence of the batch in one pass.

    Returns:
        ``(num_spans, 2, hidden)``.
    """
    memory = encode_text(encoder, inputs)
    step = max_pairs * len(inputs.span_counts)
    states = [
        encode_markers(encoder, inputs, memory, first, first + step)
        for first in range(0, max(len(inputs.span_tokens), 1), step)
    ]
    return torch.cat(states)


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


def encode_markers(encoder: PreTrainedModel, inputs: EngineInput, memory: TextMemory, first: int, last: int) -> Tensor:
    """Run some of the markers through the encoder.

    Args:
        encoder: The encoder that made ``memory``.
        inputs: Texts and candidates.
        memory: The text's keys and values.
        first: First candidate to run.
        last: Candidate behind the last to run; may be larger than the number of candidates.

    Returns:
        The last hidden states of these candidates' markers, ``(last - first, 2, hidden)``.
    """
    position_ids = inputs.span_tokens[first:last] + POSITION_OFFSET  # (pairs, 2)
    if len(position_ids) == 0:
        return position_ids.new_empty(0, 2, encoder.config.hidden_size, dtype=encoder.dtype)
    counts, behind = [], 0
    for count in inputs.span_counts:
        begin, behind = behind, behind + count
        counts.append(max(min(last, behind) - max(first, begin), 0))
    input_ids = inputs.marker_ids.expand_as(position_ids)
    states = _run_packed(encoder, input_ids.flatten(), position_ids.flatten(), MarkerPass(memory, counts))
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
