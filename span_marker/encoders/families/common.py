"""Families of encoders: how each runs packed tokens, and how each runs text and markers under a dense mask.

Most encoders look their attention function up by name and hand extra arguments down to it, so that they run packed
tokens as they are: `STANDARD`. For others, the run goes through the encoder's own modules one by one, here or, where
attention itself must be replaced, in `span_marker.encoders.families.deberta`. No encoder is modified.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from transformers import PreTrainedModel

from span_marker.encoders.attention import DenseInput
from span_marker.encoders.families.deberta import (
    run_deberta,
    run_deberta_dense,
    run_deberta_v2,
    run_megatron,
    run_mpnet,
    run_mpnet_dense,
    run_rembert,
)
from span_marker.encoders.passes import LayerPass, Pass
from span_marker.encoders.relative_positions import DistanceScores, distances

PackedRun = Callable[[PreTrainedModel, Tensor, Tensor, Pass], Tensor]
"""``(encoder, embeds, position_ids, span_pass)`` with ``(num_tokens, embed_dim)`` and ``(num_tokens,)`` to states
``(num_tokens, hidden)``."""


DenseRun = Callable[[PreTrainedModel, DenseInput], Tensor]
"""``(encoder, inputs)`` to states ``(batch, length, hidden)``."""


@dataclass(frozen=True)
class Family:
    """How a family of encoders carries span markers.

    Attributes:
        run_packed: Runs tokens without padding.
        run_dense: Runs text and markers under a dense mask.
        positions: ``"table"`` if each position ID has a row in a table, ``"rotary"`` if states are rotated by them,
            ``"relative"`` if only their distances are looked at.
    """

    run_packed: PackedRun
    run_dense: DenseRun
    positions: Literal["table", "rotary", "relative"] = "table"


def run_standard(encoder: Any, embeds: Tensor, position_ids: Tensor, span_pass: Pass) -> Tensor:
    """Run an encoder that looks its attention function up by name. See `PackedRun`."""
    output = encoder(inputs_embeds=embeds[None], position_ids=position_ids[None], span_pass=span_pass)
    states: Tensor = output.last_hidden_state
    return states.squeeze(0)


def run_standard_dense(encoder: Any, inputs: DenseInput) -> Tensor:
    """Run an encoder that takes position IDs and a mask with one row a token. See `DenseRun`."""
    output = encoder(inputs_embeds=inputs.embeds, position_ids=inputs.position_ids, attention_mask=inputs.bias())
    states: Tensor = output.last_hidden_state
    return states


def _run_modernbert_dense(encoder: Any, inputs: DenseInput) -> Tensor:
    """Local layers see what is near in positions, wherever it stands."""
    is_near = distances(inputs.position_ids, inputs.position_ids).abs() <= encoder.config.sliding_window
    output = encoder(
        inputs_embeds=inputs.embeds,
        position_ids=inputs.position_ids,
        attention_mask={
            "full_attention": inputs.bias(),
            "sliding_attention": inputs.bias(inputs.allowed & is_near),
        },
    )
    states: Tensor = output.last_hidden_state
    return states


def _run_albert(encoder: Any, embeds: Tensor, position_ids: Tensor, span_pass: Pass) -> Tensor:
    """Its layers share their weights: which one it is travels with the pass."""
    stack = encoder.encoder
    hidden = encoder.embeddings(inputs_embeds=embeds[None], position_ids=position_ids[None])
    hidden = stack.embedding_hidden_mapping_in(hidden)
    per_group = encoder.config.num_hidden_layers / encoder.config.num_hidden_groups
    for depth in range(encoder.config.num_hidden_layers):
        group = stack.albert_layer_groups[int(depth / per_group)]
        hidden = group(hidden, None, span_pass=LayerPass(span_pass, depth))
    states: Tensor = hidden
    return states.squeeze(0)


def _run_mobilebert(encoder: Any, embeds: Tensor, position_ids: Tensor, span_pass: Pass) -> Tensor:
    """Its embeddings read the neighbours of a token: those of its own text; a marker has none."""
    lengths = span_pass.texts.lengths if span_pass.has_text else []
    texts, places = ([*x[: sum(lengths)].split(lengths)] for x in (embeds, position_ids))
    markers = _embed_alone(encoder, embeds[sum(lengths) :], position_ids[sum(lengths) :])
    hidden = [markers]
    if texts:
        padded, positions = (pad_sequence(x, batch_first=True) for x in (texts, places))
        rows = encoder.embeddings(inputs_embeds=padded, position_ids=positions)
        hidden = [*(row[:length] for row, length in zip(rows, lengths, strict=True)), markers]
    output = encoder.encoder(torch.cat(hidden)[None], attention_mask=None, span_pass=span_pass)
    states: Tensor = output.last_hidden_state
    return states.squeeze(0)


def _embed_alone(encoder: Any, embeds: Tensor, position_ids: Tensor) -> Tensor:
    """Each token as a text of its own: ``(num_tokens, embed_dim)`` to ``(num_tokens, hidden)``."""
    if not len(embeds):  # older versions of torch can't pad nothing
        return embeds.new_empty(0, encoder.config.hidden_size)
    hidden: Tensor = encoder.embeddings(inputs_embeds=embeds[:, None], position_ids=position_ids[:, None])
    return hidden.squeeze(1)


def _run_mobilebert_dense(encoder: Any, inputs: DenseInput) -> Tensor:
    text, markers = inputs.embeds.split([inputs.text_len, inputs.embeds.shape[1] - inputs.text_len], dim=1)
    positions, marker_positions = inputs.position_ids.split([text.shape[1], markers.shape[1]], dim=1)
    alone = _embed_alone(encoder, markers.flatten(0, 1), marker_positions.flatten()).unflatten(0, markers.shape[:2])
    hidden = alone
    if inputs.text_len:
        hidden = torch.cat([encoder.embeddings(inputs_embeds=text, position_ids=positions), alone], dim=1)
    states: Tensor = encoder.encoder(hidden, attention_mask=inputs.bias()).last_hidden_state
    return states


def _t5_buckets(attention: Any, key_minus_query: Tensor) -> Tensor:
    buckets: Tensor = attention._relative_position_bucket(
        key_minus_query,
        bidirectional=True,
        num_buckets=attention.relative_attention_num_buckets,
        max_distance=attention.relative_attention_max_distance,
    )
    return buckets


def _run_t5(encoder: Any, embeds: Tensor, position_ids: Tensor, span_pass: Pass) -> Tensor:
    """It looks its attention function up by name, but computes distances from the order of the tokens."""
    stack = encoder.encoder
    attention = stack.block[0].layer[0].SelfAttention
    buckets = functools.partial(_t5_buckets, attention)
    relative = DistanceScores.of(attention.relative_attention_bias, buckets, span_pass.texts.reach)
    hidden = stack.dropout(embeds[None])
    for block in stack.block:
        hidden = block(hidden, None, position_bias=relative, span_pass=span_pass)[0]
    states: Tensor = stack.dropout(stack.final_layer_norm(hidden))
    return states.squeeze(0)


def _run_t5_dense(encoder: Any, inputs: DenseInput) -> Tensor:
    stack = encoder.encoder
    attention = stack.block[0].layer[0].SelfAttention
    buckets = _t5_buckets(attention, -distances(inputs.position_ids, inputs.position_ids))
    added = attention.relative_attention_bias(buckets).permute(0, 3, 1, 2)  # (batch, heads, length, length)
    hidden = stack.dropout(inputs.embeds)
    mask = inputs.bias()
    for block in stack.block:
        hidden = block(hidden, mask, position_bias=added)[0]
    states: Tensor = stack.dropout(stack.final_layer_norm(hidden))
    return states


STANDARD = Family(run_standard, run_standard_dense)
"""Encoders whose attention function is looked up by name and whose positions are position IDs."""

FAMILIES: dict[str, Family] = {
    **dict.fromkeys(
        (
            "bert",
            "camembert",
            "distilbert",
            "electra",
            "roberta",
            "roberta-prelayernorm",
            "xlm-roberta",
            "xlm-roberta-xl",
        ),
        STANDARD,
    ),
    **dict.fromkeys(("eurobert", "nomic_bert"), Family(run_standard, run_standard_dense, positions="rotary")),
    "albert": Family(_run_albert, run_standard_dense),
    "deberta": Family(run_deberta, run_deberta_dense, positions="relative"),
    "deberta-v2": Family(run_deberta_v2, run_deberta_dense, positions="relative"),
    "megatron-bert": Family(run_megatron, run_standard_dense),
    "mobilebert": Family(_run_mobilebert, _run_mobilebert_dense),
    "modernbert": Family(run_standard, _run_modernbert_dense, positions="rotary"),
    "mpnet": Family(run_mpnet, run_mpnet_dense),
    "mt5": Family(_run_t5, _run_t5_dense, positions="relative"),
    "rembert": Family(run_rembert, run_standard_dense),
    "t5": Family(_run_t5, _run_t5_dense, positions="relative"),
}
"""Families that have been shown to carry span markers on both engines, by model type."""
