"""The two engines, which run texts and the markers of all candidates through an encoder.

Both compute the same states. `FastEngine` encodes each text once, and can stop between texts and markers, so that a
candidate filter can read the texts and drop candidates. `DenseEngine` follows the published description literally: text
and markers side by side, padded to the batch, under one attention mask. How an encoder runs in an engine is defined by
its family, see `span_marker.encoders.families`.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor
from transformers import PreTrainedModel

from span_marker.core.packing import POSITION_OFFSET, first_rows, marker_passes
from span_marker.encoders.attention import DenseInput, MarkerAttention, dense_attention_mask
from span_marker.encoders.families import Family
from span_marker.encoders.packing import Texts
from span_marker.encoders.passes import ATTENTION_NAME, JointPass, MarkerPass, TextEncoded, TextMemory, TextPass

PADDING_POSITION = 1
"""Position ID of padding."""

CPU_PASS = 2048
"""Number of markers in one pass on a CPU: large enough for fast matrix products, small enough for the caches."""

ACCELERATOR_PASS = 32768
"""Number of markers in one pass on an accelerator, where only memory limits it."""


@dataclass(frozen=True)
class EngineInput:
    """A batch of texts and their candidates.

    Attributes:
        input_ids: Token IDs, ``(batch, seq_len)``.
        attention_mask: True for text, False for padding, ``(batch, seq_len)``.
        span_tokens: The tokens that the markers of each candidate observe, ``(num_spans, candidate_size)``, sentence
            after sentence: the first and the last token of a span.
        span_counts: Number of candidates per sentence.
        marker_ids: Token IDs of the start and end marker, ``(2,)``.
        added_embeds: What to add to the token embeddings of the texts, ``(batch, seq_len, embed_dim)``.
        marker_embeds: Embeddings of a candidate's markers, ``(candidate_size, embed_dim)``, if they differ from those
            of `marker_ids`.
    """

    input_ids: Tensor
    attention_mask: Tensor
    span_tokens: Tensor
    span_counts: list[int]
    marker_ids: Tensor
    added_embeds: Tensor | None = None
    marker_embeds: Tensor | None = None

    @property
    def candidate_size(self) -> int:
        """Number of markers of each candidate."""
        return self.span_tokens.shape[1]

    @property
    def span_sentences(self) -> Tensor:
        """Index of each candidate's sentence, ``(num_spans,)``."""
        counts = torch.tensor(self.span_counts)
        return torch.arange(len(counts)).repeat_interleave(counts).to(self.span_tokens.device)

    def take(self, spans: Tensor) -> EngineInput:
        """Select candidates; the texts stay the same.

        Args:
            spans: Indices of the candidates, ascending, ``(num_kept,)``.

        Returns:
            The texts with these candidates.
        """
        counts = self.span_sentences[spans].bincount(minlength=len(self.span_counts)).tolist()
        return replace(self, span_tokens=self.span_tokens[spans], span_counts=counts)


@dataclass(frozen=True)
class EncodedTexts:
    """The encoded texts of a batch, with everything that markers need from them.

    Attributes:
        texts: The texts, packed one after the other without padding.
        memory: Their keys and values in every layer.
        marker_embeds: Embeddings of the markers, ``(2, embed_dim)``, for candidates without their own.
    """

    texts: Texts
    memory: TextMemory
    marker_embeds: Tensor

    @property
    def states(self) -> Tensor:
        """States of the text tokens, ``(num_tokens, size)``, see `TextMemory.states`."""
        return self.memory.states

    def span_rows(self, batch: EngineInput) -> Tensor:
        """Find the rows of `states` for the tokens that the markers of each candidate observe.

        Args:
            batch: The batch of the texts.

        Returns:
            Rows of `states`, ``(num_spans, candidate_size)``.
        """
        firsts = torch.tensor(first_rows(self.texts.lengths)).to(batch.span_tokens.device)
        return batch.span_tokens + firsts[batch.span_sentences, None]


class Engine(Protocol):
    """Runs texts and markers through an encoder."""

    def prepare(self, encoder: PreTrainedModel) -> None:
        """Set the attention function that the engine needs, if the encoder looks it up by name."""

    def encode(self, encoder: PreTrainedModel, batch: EngineInput) -> Tensor:
        """Encode texts and markers.

        Args:
            encoder: An encoder that was prepared.
            batch: Texts and candidates.

        Returns:
            The last hidden states of the markers, ``(num_spans, candidate_size, hidden)``.
        """


@runtime_checkable
class StagedEngine(Engine, Protocol):
    """An engine that can stop between texts and markers, so that the texts can be read before any marker runs."""

    def encode_texts(self, encoder: PreTrainedModel, batch: EngineInput) -> EncodedTexts:
        """Encode the texts, up to the keys and values of the last layer.

        Args:
            encoder: An encoder that was prepared.
            batch: Texts and candidates.

        Returns:
            The encoded texts, for `encode_markers`.
        """

    def encode_markers(self, encoder: PreTrainedModel, batch: EngineInput, texts: EncodedTexts) -> Tensor:
        """Encode the markers of candidates against encoded texts.

        Args:
            encoder: The encoder that encoded the texts.
            batch: The same texts with any candidates, see `EngineInput.take`.
            texts: The output of `encode_texts`.

        Returns:
            The last hidden states of the markers, ``(num_spans, candidate_size, hidden)``.
        """


@dataclass(frozen=True)
class FastEngine:
    """Encodes each text once, and then all markers against its keys and values, without padding. See `StagedEngine`.

    Attributes:
        family: How the encoder runs packed tokens.
        max_markers: The maximum number of markers in one pass, at least those of one candidate; it does not change
            results. Defaults to `CPU_PASS` or `ACCELERATOR_PASS`.
    """

    family: Family
    max_markers: int | None = None

    def prepare(self, encoder: PreTrainedModel) -> None:
        """See `Engine.prepare`."""
        _set_attention(encoder, ATTENTION_NAME)

    def encode(self, encoder: PreTrainedModel, batch: EngineInput) -> Tensor:
        """See `Engine.encode`. Texts and markers run together if all markers fit into one pass."""
        if batch.span_tokens.numel() > self._pass_size(batch):
            return self.encode_markers(encoder, batch, self.encode_texts(encoder, batch))
        texts, text_embeds, marker_embeds = _embed(encoder, batch)
        markers = next(_markers(batch, marker_embeds, self._pass_size(batch)), None)
        if markers is None:
            return text_embeds.new_empty(0, batch.candidate_size, encoder.config.hidden_size)
        embeds = torch.cat([text_embeds, markers.embeds])
        position_ids = torch.cat([texts.position_ids, markers.position_ids.flatten()])
        states = self.family.run_packed(encoder, embeds, position_ids, JointPass(texts, markers.attention(texts)))
        return states[texts.num_tokens :].unflatten(0, (-1, batch.candidate_size))

    def encode_texts(self, encoder: PreTrainedModel, batch: EngineInput) -> EncodedTexts:
        """See `StagedEngine.encode_texts`."""
        texts, text_embeds, marker_embeds = _embed(encoder, batch)
        memory = TextMemory(self.family.num_attention_layers(encoder.config))
        # With gradient checkpointing, layers run again in the backward pass, which must repeat the forward pass.
        runs_again = torch.is_grad_enabled() and any(
            getattr(module, "gradient_checkpointing", False) for module in encoder.modules()
        )
        text_pass = TextPass(texts, memory, ends_early=not runs_again)
        with contextlib.suppress(TextEncoded):
            self.family.run_packed(encoder, text_embeds, texts.position_ids, text_pass)
        memory.is_open = False
        return EncodedTexts(texts, memory, marker_embeds)

    def encode_markers(self, encoder: PreTrainedModel, batch: EngineInput, texts: EncodedTexts) -> Tensor:
        """See `StagedEngine.encode_markers`."""
        states = []
        marker_embeds = texts.marker_embeds if batch.marker_embeds is None else batch.marker_embeds
        for markers in _markers(batch, marker_embeds, self._pass_size(batch)):
            marker_pass = MarkerPass(texts.texts, texts.memory, markers.attention(texts.texts))
            states.append(self.family.run_packed(encoder, markers.embeds, markers.position_ids.flatten(), marker_pass))
        if not states:
            return texts.marker_embeds.new_empty(0, batch.candidate_size, encoder.config.hidden_size)
        return torch.cat(states).unflatten(0, (-1, batch.candidate_size))

    def _pass_size(self, batch: EngineInput) -> int:
        return self.max_markers or (CPU_PASS if batch.input_ids.device.type == "cpu" else ACCELERATOR_PASS)


def _embed(encoder: PreTrainedModel, batch: EngineInput) -> tuple[Texts, Tensor, Tensor]:
    """Pack the texts; embed their tokens, ``(num_tokens, embed_dim)``, and the markers of a candidate."""
    mask = batch.attention_mask
    # Launching an operation is cheap on a CPU, and expensive on an accelerator.
    texts = Texts.from_mask(mask, in_groups=mask.device.type != "cpu")
    text_embeds, marker_embeds = _look_up(encoder, batch, batch.input_ids[mask])
    if batch.added_embeds is not None:
        text_embeds = text_embeds + batch.added_embeds[mask]
    return texts, text_embeds, marker_embeds


def _look_up(encoder: PreTrainedModel, batch: EngineInput, token_ids: Tensor) -> tuple[Tensor, Tensor]:
    """Embed tokens, ``(*token_ids.shape, embed_dim)``, and the markers of a candidate, ``(candidate_size, embed_dim)``.

    A single look-up, since each one has a gradient as large as the vocabulary.
    """
    embeds = encoder.get_input_embeddings()(torch.cat([token_ids.flatten(), batch.marker_ids]))
    token_embeds, marker_embeds = embeds.split([token_ids.numel(), len(batch.marker_ids)])
    own = marker_embeds if batch.marker_embeds is None else batch.marker_embeds
    return token_embeds.unflatten(0, token_ids.shape), own


def _markers(batch: EngineInput, marker_embeds: Tensor, max_markers: int) -> Iterator[Markers]:
    """Yield the markers of all candidates, pass by pass."""
    for start, stop, first, counts in marker_passes(batch.span_counts, max_markers // batch.candidate_size):
        yield Markers(
            embeds=marker_embeds.expand(stop - start, -1, -1).flatten(0, 1),
            position_ids=batch.span_tokens[start:stop] + POSITION_OFFSET,
            first=first,
            counts=counts,
        )


@dataclass(frozen=True)
class Markers:
    """Markers that run through the encoder in one pass.

    Attributes:
        embeds: Embeddings of the markers, candidate by candidate, ``(num_markers, embed_dim)``.
        position_ids: Position IDs of each candidate's markers, ``(num_candidates, candidate_size)``.
        first: Index of the first candidate's sentence.
        counts: Number of candidates of this sentence and of each following one.
    """

    embeds: Tensor
    position_ids: Tensor
    first: int
    counts: list[int]

    def attention(self, texts: Texts) -> MarkerAttention:
        """Return the attention of the markers."""
        return MarkerAttention.from_counts(texts, self.position_ids, self.first, self.counts)


@dataclass(frozen=True)
class DenseEngine:
    """Encodes texts and markers side by side under a dense mask, padded to the batch. See `Engine`.

    Attributes:
        family: How the encoder runs text and markers under a mask.
        max_candidates: The maximum number of candidates per sentence in one pass. Each pass encodes the text again.
    """

    family: Family
    max_candidates: int

    def prepare(self, encoder: PreTrainedModel) -> None:
        """See `Engine.prepare`."""
        _set_attention(encoder, "sdpa")

    def encode(self, encoder: PreTrainedModel, batch: EngineInput) -> Tensor:
        """See `Engine.encode`."""
        device = batch.input_ids.device
        counts = torch.tensor(batch.span_counts, device=device)
        columns = torch.arange(max(int(counts.max()), 1), device=device)
        mask = columns < counts[:, None]  # (batch, max_spans)
        padded = batch.span_tokens.new_zeros(*mask.shape, batch.candidate_size)
        padded[mask] = batch.span_tokens
        chunks = zip(*(part.split(self.max_candidates, dim=1) for part in (padded, mask)), strict=True)
        text_len = batch.input_ids.shape[1]
        states = [
            self.family.run_dense(encoder, dense_input(encoder, batch, tokens, real))[:, text_len:]
            for tokens, real in chunks
        ]
        return torch.cat(states, dim=1).unflatten(1, (-1, batch.candidate_size))[mask]


def dense_input(
    encoder: PreTrainedModel, batch: EngineInput, span_tokens: Tensor, candidate_mask: Tensor
) -> DenseInput:
    """Append the markers of candidates to their texts.

    Args:
        encoder: The encoder.
        batch: The texts and the markers.
        span_tokens: The tokens that the markers of each candidate observe, ``(batch, max_spans, candidate_size)``.
        candidate_mask: True for candidates, False for padding, ``(batch, max_spans)``.

    Returns:
        The input of the encoder.
    """
    text_mask = batch.attention_mask
    num_candidates, candidate_size = span_tokens.shape[1:]
    positions = (text_mask.cumsum(dim=1) - 1 + POSITION_OFFSET).masked_fill(~text_mask, PADDING_POSITION)
    marker_positions = (span_tokens + POSITION_OFFSET).masked_fill(~candidate_mask[..., None], PADDING_POSITION)
    is_real = torch.cat([text_mask, candidate_mask.repeat_interleave(candidate_size, dim=1)], dim=1)
    embeds, marker_embeds = _look_up(encoder, batch, batch.input_ids)
    if batch.added_embeds is not None:
        embeds = embeds + batch.added_embeds
    markers = marker_embeds.expand(len(text_mask), num_candidates, -1, -1).flatten(1, 2)
    embeds = torch.cat([embeds, markers], dim=1)
    return DenseInput(
        embeds=embeds * is_real[..., None],
        position_ids=torch.cat([positions, marker_positions.flatten(1)], dim=1),
        allowed=dense_attention_mask(text_mask, candidate_mask, candidate_size),
        text_len=text_mask.shape[1],
    )


def _set_attention(encoder: PreTrainedModel, name: str) -> None:
    if encoder._supports_sdpa:  # private: whether the encoder looks up its attention function by name
        encoder.set_attn_implementation(name)
