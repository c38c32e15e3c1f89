"""Common parts of families of encoders: types, the encoders that run unmodified, and helpers for the others.

Most encoders look up their attention function by name and pass extra arguments on to it, so they can run packed tokens
through their own ``forward``: `STANDARD`. For the others, a family runs the encoder's modules one by one; where the
attention function is not looked up, it also writes out the layer, with the attention of a `Pass` in place of the
layer's own. No encoder is modified.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Protocol

from torch import Tensor
from transformers import PreTrainedConfig, PreTrainedModel

from span_marker.core.packing import POSITION_OFFSET
from span_marker.encoders.attention import DenseInput
from span_marker.encoders.passes import LayerPass, Pass
from span_marker.encoders.relative_positions import RelativeScores, distances


class PackedRun(Protocol):
    """Runs tokens through an encoder as one row without padding, for the fast engine."""

    def __call__(self, encoder: PreTrainedModel, embeds: Tensor, position_ids: Tensor, span_pass: Pass) -> Tensor:
        """Run the tokens.

        Args:
            encoder: The encoder.
            embeds: Token embeddings, ``(num_tokens, embed_dim)``.
            position_ids: ``(num_tokens,)``.
            span_pass: How the tokens attend.

        Returns:
            The last hidden states, ``(num_tokens, hidden)``.
        """


class DenseRun(Protocol):
    """Runs text and markers through an encoder side by side, for the dense engine."""

    def __call__(self, encoder: PreTrainedModel, inputs: DenseInput) -> Tensor:
        """Run the tokens.

        Args:
            encoder: The encoder.
            inputs: Text and markers, with their mask.

        Returns:
            The last hidden states, ``(batch, length, hidden)``.
        """


CHANGING_ROTATIONS = ("dynamic", "longrope")
"""Types of rotary positions that depend on the length of the longest text."""


def run_standard(encoder: PreTrainedModel, embeds: Tensor, position_ids: Tensor, span_pass: Pass) -> Tensor:
    """Run an encoder that looks up its attention function by name. See `PackedRun`."""
    output = encoder(inputs_embeds=embeds[None], position_ids=position_ids[None], span_pass=span_pass)
    return output.last_hidden_state.squeeze(0)


def run_standard_dense(encoder: PreTrainedModel, inputs: DenseInput) -> Tensor:
    """Run an encoder that takes position IDs and a mask with one row per token. See `DenseRun`."""
    output = encoder(inputs_embeds=inputs.embeds, position_ids=inputs.position_ids, attention_mask=inputs.bias())
    return output.last_hidden_state


def num_hidden_layers(config: PreTrainedConfig) -> int:
    """The number of layers, for encoders that attend once per layer."""
    return config.num_hidden_layers


def table_positions(config: PreTrainedConfig) -> int | None:
    """The number of usable rows, for encoders with a table that has one row per position ID."""
    num_rows = getattr(config, "max_position_embeddings", None)
    return None if num_rows is None else num_rows - POSITION_OFFSET


def rotary_positions(config: PreTrainedConfig) -> int | None:
    """The length that the encoder was designed for, for encoders with rotary positions, which have no table.

    Some rotate differently in longer texts, which would also change all other texts in the batch and in other threads.
    """
    limit: int | None = getattr(config, "max_position_embeddings", None)
    parameters = getattr(config, "rope_parameters", None) or {}
    layer_types = [one for one in (parameters, *parameters.values()) if isinstance(one, dict)]
    if limit is None or not any(one.get("rope_type") in CHANGING_ROTATIONS for one in layer_types):
        return limit
    unchanged = [one.get("original_max_position_embeddings") or limit for one in layer_types]
    return min(limit, *unchanged) - POSITION_OFFSET


def unlimited_positions(config: PreTrainedConfig) -> None:
    """No limit, for encoders that only use the distances between positions."""


@dataclass(frozen=True)
class Family:
    """How a family of encoders runs with span markers. The defaults fit most encoders.

    Attributes:
        run_packed: Runs tokens without padding.
        run_dense: Runs text and markers under a dense mask.
        num_attention_layers: Function from an encoder's configuration to the number of times that its text passes
            attention.
        max_positions: Function from an encoder's configuration to the maximum number of tokens for which it has
            positions, including special tokens; it returns None if there is no limit.
    """

    run_packed: PackedRun = run_standard
    run_dense: DenseRun = run_standard_dense
    num_attention_layers: Callable[[PreTrainedConfig], int] = num_hidden_layers
    max_positions: Callable[[PreTrainedConfig], int | None] = table_positions


STANDARD = Family()
"""Encoders that look up their attention function by name and have a table of positions."""

ROTARY = Family(max_positions=rotary_positions)
"""Encoders that look up their attention function by name and rotate states by position IDs."""


def _run_modernbert_dense(encoder: PreTrainedModel, inputs: DenseInput) -> Tensor:
    """Run ModernBERT, whose local layers attend to nearby positions, regardless of the order of the tokens."""
    is_near = distances(inputs.position_ids, inputs.position_ids).abs() <= encoder.config.sliding_window
    masks = {"full_attention": inputs.bias(), "sliding_attention": inputs.bias(inputs.allowed & is_near)}
    output = encoder(inputs_embeds=inputs.embeds, position_ids=inputs.position_ids, attention_mask=masks)
    return output.last_hidden_state


MODERNBERT = Family(run_dense=_run_modernbert_dense, max_positions=rotary_positions)


def _run_albert(encoder: PreTrainedModel, embeds: Tensor, position_ids: Tensor, span_pass: Pass) -> Tensor:
    """Run ALBERT, whose layers share weights: the pass carries the depth that distinguishes them."""
    stack: Any = encoder.encoder
    hidden = stack.embedding_hidden_mapping_in(embed(encoder, embeds[None], position_ids[None]))
    layers_per_group = encoder.config.num_hidden_layers / encoder.config.num_hidden_groups
    for depth in range(encoder.config.num_hidden_layers):
        group = stack.albert_layer_groups[int(depth / layers_per_group)]
        hidden = group(hidden, None, span_pass=LayerPass(span_pass, depth))
    return hidden.squeeze(0)


def _num_albert_layers(config: PreTrainedConfig) -> int:
    return config.num_hidden_layers * config.inner_group_num


ALBERT = Family(_run_albert, num_attention_layers=_num_albert_layers)


def embed(encoder: PreTrainedModel, embeds: Tensor, position_ids: Tensor) -> Tensor:
    """Run an encoder's embedding layer.

    Args:
        encoder: The encoder.
        embeds: Token embeddings, ``(batch, length, embed_dim)``.
        position_ids: ``(batch, length)``.

    Returns:
        The input of the first layer, ``(batch, length, size)``.
    """
    embeddings: Any = encoder.embeddings
    return embeddings(inputs_embeds=embeds, position_ids=position_ids)


def embed_packed(encoder: PreTrainedModel, embeds: Tensor, position_ids: Tensor) -> Tensor:
    """Same as `embed` for packed tokens: ``(num_tokens, embed_dim)`` to ``(num_tokens, size)``."""
    return embed(encoder, embeds[None], position_ids[None]).squeeze(0)


class RunLayer(Protocol):
    """Runs packed tokens through one layer, written out in terms of the layer's own modules."""

    def __call__(self, layer: Any, hidden: Tensor, span_pass: Pass) -> Tensor:
        """Run the layer.

        Args:
            layer: A layer of the encoder.
            hidden: Its input, ``(num_tokens, hidden)``.
            span_pass: How the tokens attend.

        Returns:
            States of the same shape.
        """


def run_layers(layers: Iterable[Any], run_layer: RunLayer, hidden: Tensor, span_pass: Pass) -> Tensor:
    """Run packed tokens through written-out layers, with gradient checkpointing if it is enabled.

    Args:
        layers: The encoder's layers.
        run_layer: Runs one of them.
        hidden: The input of the first layer, ``(num_tokens, hidden)``.
        span_pass: How the tokens attend.

    Returns:
        States of the same shape.
    """
    for layer in layers:
        run = functools.partial(run_layer, layer)
        if getattr(layer, "gradient_checkpointing", False) and layer.training:
            hidden = layer._gradient_checkpointing_func(run, hidden, span_pass)
        else:
            hidden = run(hidden, span_pass)
    return hidden


def split_heads(states: Tensor, num_heads: int) -> Tensor:
    """``(num_tokens, heads * head_dim)`` to ``(heads, num_tokens, head_dim)``."""
    return states.unflatten(-1, (num_heads, -1)).transpose(0, 1)


def attend(
    attention: Any,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    span_pass: Pass,
    relative: RelativeScores | None = None,
) -> Tensor:
    """Compute the attention of a written-out layer.

    Args:
        attention: The layer's attention module.
        query: ``(heads, num_tokens, head_dim)``.
        key: Scaled keys, of the same shape.
        value: Of the same shape.
        span_pass: How the tokens attend.
        relative: What distances add to the scores.

    Returns:
        ``(num_tokens, heads * head_dim)``.
    """
    dropout = attention.dropout.p if attention.training else 0.0
    return span_pass.attend(attention, query, key, value, dropout, relative).flatten(1)
