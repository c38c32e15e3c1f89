"""The two engines: markers of all candidates through an encoder, exactly and fast, or literally and dense.

Both give the same states. `encode_fast` encodes each text once. `encode_dense` is the published description taken
literally: text and markers side by side, padded to the batch, under one attention mask. How an encoder runs in
either is the business of its family, see `span_marker.encoders.families`.
"""

from __future__ import annotations

import bisect
import contextlib
import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from transformers import PreTrainedModel

from span_marker.encoders.attention import DenseInput, MarkerAttention, dense_attention_mask
from span_marker.encoders.families import DenseRun, PackedRun, family_of
from span_marker.encoders.packing import POSITION_OFFSET, Texts, first_rows
from span_marker.encoders.passes import JointPass, MarkerPass, TextEncoded, TextMemory, TextPass

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

    @property
    def span_sentences(self) -> Tensor:
        """Sentence of each candidate, ``(num_spans,)``."""
        counts = torch.tensor(self.span_counts)
        return torch.arange(len(counts)).repeat_interleave(counts).to(self.span_tokens.device)

    def take(self, spans: Tensor) -> EngineInput:
        """The same texts with some of their candidates.

        Args:
            spans: Indices of the candidates, ascending, ``(num_kept,)``.

        Returns:
            Texts and candidates.
        """
        counts = self.span_sentences[spans].bincount(minlength=len(self.span_counts)).tolist()
        return replace(self, span_tokens=self.span_tokens[spans], span_counts=counts)


Engine = Callable[..., Tensor]
"""``(encoder, inputs)`` to the markers' last hidden states, ``(num_spans, 2, hidden)``."""

Choose = Callable[[Tensor, Tensor], Tensor]
"""``(text_states, span_rows)`` to the indices of the candidates that get markers, ascending: the states of all texts'
tokens, ``(num_tokens, size)``, see `TextMemory.states`, and the rows in it of each candidate's first and last token,
``(num_spans, 2)``."""

CPU_PASS = 2048
"""Markers in one pass on a CPU: as many as make matrix products fast, as few as its caches hold."""

ACCELERATOR_PASS = 32768
"""Markers in one pass on an accelerator, where only the memory is a bound."""


def encode_fast(
    encoder: PreTrainedModel,
    inputs: EngineInput,
    run: PackedRun,
    max_markers: int | None = None,
    choose: Choose | None = None,
) -> Tensor:
    """Encode each text once, then all markers against its keys and values, without padding. See `Engine`.

    Args:
        encoder: An encoder that is ready for the fast engine.
        inputs: Texts and candidates.
        run: How it runs packed tokens.
        max_markers: The most markers in one pass, an even number; it changes no result. By default `CPU_PASS` or
            `ACCELERATOR_PASS`.
        choose: Chooses the candidates that get markers once the texts are finished; all of them by default.

    Returns:
        States of the chosen candidates, ``(num_spans, 2, hidden)``.
    """
    on_cpu = inputs.input_ids.device.type == "cpu"
    max_markers = max_markers or (CPU_PASS if on_cpu else ACCELERATOR_PASS)
    mask = inputs.attention_mask
    texts = Texts(
        lengths=mask.sum(dim=1).tolist(),
        position_ids=(mask.cumsum(dim=1) - 1 + POSITION_OFFSET)[mask],
        in_groups=not on_cpu,  # launching operations costs little on a CPU and much on an accelerator
    )
    # One look-up: the gradient of an embedding is as large as the vocabulary.
    embeds = encoder.get_input_embeddings()(torch.cat([inputs.input_ids[mask], inputs.marker_ids]))
    text_embeds, marker_embeds = embeds.split([texts.num_tokens, 2])  # (num_tokens, embed_dim), (2, embed_dim)
    memory = None
    if choose is not None:
        memory = encode_text(encoder, run, texts, text_embeds)
        firsts = torch.tensor(first_rows(texts.lengths)).to(inputs.span_tokens.device)
        inputs = inputs.take(choose(memory.states, inputs.span_tokens + firsts[inputs.span_sentences, None]))
    markers = [
        Markers(
            embeds=marker_embeds.expand(stop - start, 2, -1).flatten(0, 1),
            position_ids=(inputs.span_tokens[start:stop] + POSITION_OFFSET).flatten(),
            first=first,
            counts=counts,
        )
        for start, stop, first, counts in marker_passes(inputs.span_counts, max_markers // 2)
    ]
    if not markers:
        return embeds.new_empty(0, 2, encoder.config.hidden_size)
    if memory is None and len(markers) == 1:
        return encode_together(encoder, run, texts, text_embeds, markers[0])
    memory = memory or encode_text(encoder, run, texts, text_embeds)
    return torch.cat([encode_markers(encoder, run, texts, memory, some) for some in markers])


@dataclass(frozen=True)
class Markers:
    """Markers that run through the encoder in one pass.

    Attributes:
        embeds: Their embeddings, pair by pair, ``(num_markers, embed_dim)``.
        position_ids: ``(num_markers,)``.
        first: Sentence of the first of them.
        counts: Pairs of this sentence and of those that follow it.
    """

    embeds: Tensor
    position_ids: Tensor
    first: int
    counts: list[int]

    def attention(self, texts: Texts) -> MarkerAttention:
        """What they attend to."""
        return MarkerAttention(texts, self.position_ids, self.first, self.counts)


def marker_passes(span_counts: list[int], max_spans: int) -> Iterator[tuple[int, int, int, list[int]]]:
    """Cut a batch's candidates into passes of even size.

    Args:
        span_counts: Candidates of each sentence.
        max_spans: The most candidates in one pass.

    Yields:
        The first candidate of a pass and the one behind its last, the sentence of the first, and how many belong to
        this and to each following sentence.
    """
    ends = list(itertools.accumulate(span_counts))
    total = sum(span_counts)
    num_passes = -(-total // max_spans)
    for number in range(num_passes):
        start, stop = total * number // num_passes, total * (number + 1) // num_passes
        first, last = bisect.bisect_right(ends, start), bisect.bisect_left(ends, stop)
        bounds = [start, *ends[first:last], stop]
        yield start, stop, first, [after - before for before, after in itertools.pairwise(bounds)]


def encode_text(encoder: PreTrainedModel, run: PackedRun, texts: Texts, embeds: Tensor) -> TextMemory:
    """Run texts through the encoder.

    Args:
        encoder: An encoder that is ready for the fast engine.
        run: How it runs packed tokens.
        texts: The texts.
        embeds: Embeddings of their tokens, ``(num_tokens, embed_dim)``.

    Returns:
        Their keys and values in every layer.
    """
    memory = TextMemory(family_of(encoder.config).num_attention_layers(encoder.config))
    # Layers that run again for their gradients must run as they did before.
    runs_again = torch.is_grad_enabled() and any(
        getattr(module, "gradient_checkpointing", False) for module in encoder.modules()
    )
    with contextlib.suppress(TextEncoded):
        run(encoder, embeds, texts.position_ids, TextPass(texts, memory, ends_early=not runs_again))
    memory.is_open = False
    return memory


def encode_markers(
    encoder: PreTrainedModel, run: PackedRun, texts: Texts, memory: TextMemory, markers: Markers
) -> Tensor:
    """Run markers through the encoder, against texts that did so before.

    Args:
        encoder: The encoder that made ``memory``.
        run: How it runs packed tokens.
        texts: The texts.
        memory: Their keys and values.
        markers: The markers.

    Returns:
        The markers' last hidden states, ``(num_spans, 2, hidden)``.
    """
    marker_pass = MarkerPass(texts, memory, markers.attention(texts))
    return run(encoder, markers.embeds, markers.position_ids, marker_pass).unflatten(0, (-1, 2))


def encode_together(
    encoder: PreTrainedModel, run: PackedRun, texts: Texts, text_embeds: Tensor, markers: Markers
) -> Tensor:
    """Run texts and all of their markers through the encoder at once.

    Args:
        encoder: An encoder that is ready for the fast engine.
        run: How it runs packed tokens.
        texts: The texts.
        text_embeds: Embeddings of their tokens, ``(num_tokens, embed_dim)``.
        markers: The markers.

    Returns:
        The markers' last hidden states, ``(num_spans, 2, hidden)``.
    """
    embeds = torch.cat([text_embeds, markers.embeds])
    position_ids = torch.cat([texts.position_ids, markers.position_ids])
    states = run(encoder, embeds, position_ids, JointPass(texts, markers.attention(texts)))
    return states[texts.num_tokens :].unflatten(0, (-1, 2))


def encode_dense(encoder: PreTrainedModel, inputs: EngineInput, run: DenseRun, max_pairs: int) -> Tensor:
    """Encode texts and markers side by side under a dense mask, padded to the batch. See `Engine`.

    Args:
        encoder: An encoder that is ready for the dense engine.
        inputs: Texts and candidates.
        run: How it runs text and markers under a mask.
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
    text_len = inputs.input_ids.shape[1]
    states = [run(encoder, dense_input(encoder, inputs, tokens, mask))[:, text_len:] for tokens, mask in chunks]
    return torch.cat(states, dim=1).unflatten(1, (-1, 2))[pair_mask]


def dense_input(encoder: PreTrainedModel, inputs: EngineInput, span_tokens: Tensor, pair_mask: Tensor) -> DenseInput:
    """Put the markers of some candidates behind their texts.

    Args:
        encoder: The encoder.
        inputs: Texts.
        span_tokens: The token that each candidate's start and end marker observes, ``(batch, max_spans, 2)``.
        pair_mask: True for candidates, False for padding, ``(batch, max_spans)``.

    Returns:
        What the encoder reads.
    """
    text_mask = inputs.attention_mask
    markers = inputs.marker_ids.expand_as(span_tokens).flatten(1)
    positions = (text_mask.cumsum(dim=1) - 1 + POSITION_OFFSET).masked_fill(~text_mask, PADDING_POSITION)
    marker_positions = (span_tokens + POSITION_OFFSET).masked_fill(~pair_mask[..., None], PADDING_POSITION)
    is_real = torch.cat([text_mask, pair_mask.repeat_interleave(2, dim=1)], dim=1)
    embeds = encoder.get_input_embeddings()(torch.cat([inputs.input_ids, markers], dim=1))
    return DenseInput(
        embeds=embeds * is_real[..., None],
        position_ids=torch.cat([positions, marker_positions.flatten(1)], dim=1),
        allowed=dense_attention_mask(text_mask, pair_mask),
        text_len=text_mask.shape[1],
    )
