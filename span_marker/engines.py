"""The two engines: markers of all candidates through an encoder, exactly and fast, or literally and dense.

Both are functions of the same signature and give the same states. `encode_fast` needs an encoder that looks its
attention function up by name; it encodes each text once. `encode_dense` is the published description taken
literally: text and markers side by side, padded to the batch, under one attention mask.
"""

from __future__ import annotations

import bisect
import contextlib
import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import PreTrainedModel

from span_marker.attention import MarkerPass, Pass, TextEncoded, TextMemory, TextPass, dense_attention_mask

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


Engine = Callable[[PreTrainedModel, EngineInput], Tensor]
"""``(encoder, inputs)`` to the markers' last hidden states, ``(num_spans, 2, hidden)``."""

CPU_PASS = 2048
"""Markers in one pass on a CPU: as many as make matrix products fast, as few as its caches hold."""

ACCELERATOR_PASS = 32768
"""Markers in one pass on an accelerator, where only the memory is a bound."""


def encode_fast(encoder: PreTrainedModel, inputs: EngineInput, max_markers: int | None = None) -> Tensor:
    """Encode each text once, then all markers against its keys and values, without padding. See `Engine`.

    Args:
        encoder: An encoder that uses `span_marker.attention.packed_attention`.
        inputs: Texts and candidates.
        max_markers: The most markers in one pass, an even number; it changes no result. By default `CPU_PASS` or
            `ACCELERATOR_PASS`.

    Returns:
        ``(num_spans, 2, hidden)``.
    """
    on_cpu = inputs.input_ids.device.type == "cpu"
    max_markers = max_markers or (CPU_PASS if on_cpu else ACCELERATOR_PASS)
    text_ids = inputs.input_ids[inputs.attention_mask]
    # One look-up: the gradient of an embedding is as large as the vocabulary.
    embeds = encoder.get_input_embeddings()(torch.cat([text_ids, inputs.marker_ids]))
    text_embeds, marker_embeds = embeds.split([len(text_ids), 2])  # (num_tokens, hidden), (2, hidden)
    # Launching operations costs little on a CPU and much on an accelerator, which prefers padding.
    memory = encode_text(encoder, text_embeds, inputs.attention_mask, in_groups=not on_cpu)
    states = [
        encode_markers(encoder, marker_embeds, inputs.span_tokens[spans], memory, first, counts)
        for spans, first, counts in marker_passes(inputs.span_counts, max_markers // 2)
    ]
    return torch.cat(states) if states else embeds.new_empty(0, 2, encoder.config.hidden_size)


def marker_passes(span_counts: list[int], max_spans: int) -> Iterator[tuple[slice, int, list[int]]]:
    """Cut a batch's candidates into passes of even size.

    Args:
        span_counts: Candidates of each sentence.
        max_spans: The most candidates in one pass.

    Yields:
        The candidates of a pass, the sentence of the first of them, and how many belong to this and to each following
        sentence.
    """
    ends = list(itertools.accumulate(span_counts))
    total = sum(span_counts)
    num_passes = -(-total // max_spans)
    for number in range(num_passes):
        start, stop = total * number // num_passes, total * (number + 1) // num_passes
        first, last = bisect.bisect_right(ends, start), bisect.bisect_left(ends, stop)
        bounds = [start, *ends[first:last], stop]
        yield slice(start, stop), first, [after - before for before, after in itertools.pairwise(bounds)]


def encode_text(encoder: PreTrainedModel, embeds: Tensor, attention_mask: Tensor, in_groups: bool) -> TextMemory:
    """Run the text of a batch through the encoder.

    Args:
        encoder: An encoder that uses `span_marker.attention.packed_attention`.
        embeds: Embeddings of all text tokens, sentence after sentence, ``(num_tokens, hidden)``.
        attention_mask: True for text, False for padding, ``(batch, seq_len)``.
        in_groups: Whether attention pads the sentences rather than taking them one by one.

    Returns:
        The text's keys and values in every layer.
    """
    lengths = attention_mask.sum(dim=1).tolist()
    memory = TextMemory(lengths, encoder.config.num_hidden_layers, in_groups, embeds.device)
    position_ids = (attention_mask.cumsum(dim=1) - 1 + POSITION_OFFSET)[attention_mask]
    with contextlib.suppress(TextEncoded):
        _run_packed(encoder, embeds, position_ids, TextPass(memory))
    memory.is_open = False
    return memory


def encode_markers(
    encoder: PreTrainedModel,
    marker_embeds: Tensor,
    span_tokens: Tensor,
    memory: TextMemory,
    first: int,
    counts: list[int],
) -> Tensor:
    """Run markers through the encoder.

    Args:
        encoder: The encoder that made ``memory``.
        marker_embeds: Embeddings of the start and the end marker, ``(2, hidden)``.
        span_tokens: The token that each candidate's start and end marker observes, ``(num_spans, 2)``, sentence after
            sentence.
        memory: The text's keys and values.
        first: Sentence of the first candidate.
        counts: Candidates of this sentence and of those that follow it.

    Returns:
        The markers' last hidden states, ``(num_spans, 2, hidden)``.
    """
    embeds = marker_embeds.expand(len(span_tokens), 2, -1).flatten(0, 1)
    position_ids = (span_tokens + POSITION_OFFSET).flatten()
    return _run_packed(encoder, embeds, position_ids, MarkerPass(memory, first, counts)).unflatten(0, (-1, 2))


def _run_packed(encoder: PreTrainedModel, embeds: Tensor, position_ids: Tensor, span_pass: Pass) -> Tensor:
    """Run tokens through the encoder as one row: ``(num_tokens, hidden)`` to the same shape."""
    output = encoder(inputs_embeds=embeds[None], position_ids=position_ids[None], span_pass=span_pass)
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
