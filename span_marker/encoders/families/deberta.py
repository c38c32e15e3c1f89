"""Encoders that do not look their attention function up by name: their layers, written out.

A layer is written in terms of its own modules, with the attention of a `Pass` in the place of its own, so that the
encoder itself stays as it is.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from span_marker.encoders.attention import DenseInput
from span_marker.encoders.passes import Pass
from span_marker.encoders.relative_positions import DisentangledScores, DistanceScores, RelativeScores, distances


def _run_layers(layers: Any, run_layer: Callable[..., Tensor], hidden: Tensor, *args: Any) -> Tensor:
    """Run layers that are written out here, with gradient checkpointing where it is on."""
    for layer in layers:
        run = functools.partial(run_layer, layer)
        if getattr(layer, "gradient_checkpointing", False) and layer.training:
            hidden = layer._gradient_checkpointing_func(run, hidden, *args)
        else:
            hidden = run(hidden, *args)
    return hidden


def _split_heads(states: Tensor, num_heads: int) -> Tensor:
    """``(num_tokens, heads * head_dim)`` to ``(heads, num_tokens, head_dim)``."""
    return states.unflatten(-1, (num_heads, -1)).transpose(0, 1)


def _attend(
    attention: Any,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    span_pass: Pass,
    relative: RelativeScores | None = None,
) -> Tensor:
    """``(heads, num_tokens, head_dim)`` each, with scaled keys, to ``(num_tokens, heads * head_dim)``."""
    dropout = attention.dropout.p if attention.training else 0.0
    return span_pass.attend(attention, query, key, value, dropout, relative).flatten(1)


def _attend_as_bert(attention: Any, hidden: Tensor, span_pass: Pass) -> Tensor:
    """Self-attention with the modules of BERT: ``(num_tokens, hidden)`` to the same shape."""
    query, key, value = (
        _split_heads(projection(hidden), attention.num_attention_heads)
        for projection in (attention.query, attention.key, attention.value)
    )
    return _attend(attention, query, key * key.shape[-1] ** -0.5, value, span_pass)


def _megatron_layer(layer: Any, hidden: Tensor, span_pass: Pass) -> Tensor:
    attended = _attend_as_bert(layer.attention.self, layer.attention.ln(hidden), span_pass)
    states: Tensor = layer.feed_forward_chunk(layer.attention.output(attended, hidden))
    return states


def run_megatron(encoder: Any, embeds: Tensor, position_ids: Tensor, span_pass: Pass) -> Tensor:
    """Run MegatronBERT. See `span_marker.encoders.families.PackedRun`."""
    hidden = encoder.embeddings(inputs_embeds=embeds[None], position_ids=position_ids[None]).squeeze(0)
    states: Tensor = encoder.encoder.ln(_run_layers(encoder.encoder.layer, _megatron_layer, hidden, span_pass))
    return states


def _rembert_layer(layer: Any, hidden: Tensor, span_pass: Pass) -> Tensor:
    attended = _attend_as_bert(layer.attention.self, hidden, span_pass)
    states: Tensor = layer.feed_forward_chunk(layer.attention.output(attended, hidden))
    return states


def run_rembert(encoder: Any, embeds: Tensor, position_ids: Tensor, span_pass: Pass) -> Tensor:
    """Run RemBERT. See `span_marker.encoders.families.PackedRun`."""
    hidden = encoder.embeddings(inputs_embeds=embeds[None], position_ids=position_ids[None]).squeeze(0)
    hidden = encoder.encoder.embedding_hidden_mapping_in(hidden)
    return _run_layers(encoder.encoder.layer, _rembert_layer, hidden, span_pass)


def _mpnet_layer(layer: Any, hidden: Tensor, span_pass: Pass, relative: RelativeScores) -> Tensor:
    attention = layer.attention.attn
    query, key, value = (
        _split_heads(projection(hidden), attention.num_attention_heads)
        for projection in (attention.q, attention.k, attention.v)
    )
    attended = attention.o(_attend(attention, query, key * key.shape[-1] ** -0.5, value, span_pass, relative))
    hidden = layer.attention.LayerNorm(layer.attention.dropout(attended) + hidden)
    states: Tensor = layer.output(layer.intermediate(hidden), hidden)
    return states


def run_mpnet(encoder: Any, embeds: Tensor, position_ids: Tensor, span_pass: Pass) -> Tensor:
    """Run MPNet. See `span_marker.encoders.families.PackedRun`."""
    hidden = encoder.embeddings(inputs_embeds=embeds[None], position_ids=position_ids[None]).squeeze(0)
    stack = encoder.encoder
    relative = DistanceScores.of(stack.relative_attention_bias, stack.relative_position_bucket, span_pass.texts.reach)
    return _run_layers(stack.layer, _mpnet_layer, hidden, span_pass, relative)


def run_mpnet_dense(encoder: Any, inputs: DenseInput) -> Tensor:
    """Run MPNet under a mask, with distances in positions. See `span_marker.encoders.families.DenseRun`."""
    stack = encoder.encoder
    hidden = encoder.embeddings(inputs_embeds=inputs.embeds, position_ids=inputs.position_ids)
    buckets = stack.relative_position_bucket(-distances(inputs.position_ids, inputs.position_ids))
    added = stack.relative_attention_bias(buckets).permute(0, 3, 1, 2)  # (batch, heads, length, length)
    mask = inputs.bias()
    for layer in stack.layer:
        hidden = layer(hidden, mask, added)[0]
    states: Tensor = hidden
    return states


TERMS = ("c2p", "p2c")
"""The terms that disentangled attention adds: content to position, and position to content."""


@dataclass(frozen=True)
class _RelativeTable:
    """The rows of DeBERTa's table of relative positions that a pass can need.

    Attributes:
        rows: Row of each distance from ``-reach`` to ``reach``, ascending, counted from the first that is needed.
        table: The same as a tensor, where the states are.
        embeds: Embeddings of the rows, ``(num_rows, hidden)``.
    """

    rows: list[int]
    table: Tensor
    embeds: Tensor


def _deberta_distances(encoder: Any, distance: Tensor) -> Tensor:
    """Distances as DeBERTa counts them: as they are in its first version, in logarithmic steps in the later ones."""
    buckets = getattr(encoder.encoder, "position_buckets", -1)
    if buckets <= 0:
        return distance
    from transformers.models.deberta_v2.modeling_deberta_v2 import make_log_bucket_position

    counted: Tensor = make_log_bucket_position(distance, buckets, encoder.encoder.max_relative_positions)
    return counted.long()


def _relative_table(encoder: Any, reach: int) -> _RelativeTable | None:
    stack = encoder.encoder
    embeds = stack.get_rel_embedding()
    if embeds is None:
        return None
    span = len(embeds) // 2
    counted = _deberta_distances(encoder, torch.arange(-reach, reach + 1))
    rows = (counted + span).clamp(0, 2 * span - 1).tolist()
    needed = [row - rows[0] for row in rows]
    return _RelativeTable(needed, torch.tensor(needed, device=embeds.device), embeds[rows[0] : rows[-1] + 1])


def _finish_deberta_layer(layer: Any, attended: Tensor, hidden: Tensor) -> Tensor:
    hidden = layer.attention.output(attended, hidden)
    states: Tensor = layer.output(layer.intermediate(hidden), hidden)
    return states


def _disentangled(
    attention: Any,
    table: _RelativeTable | None,
    scale: float,
    key_projection: Any,
    query_projection: Any,
) -> DisentangledScores | None:
    if table is None:
        return None
    embeds = attention.pos_dropout(table.embeds)
    keys, queries = (
        None if projection is None else _split_heads(projection(embeds), attention.num_attention_heads)
        for projection in (key_projection, query_projection)
    )
    return DisentangledScores(table.rows, table.table, None if keys is None else keys * scale, queries)


def _deberta_layer(layer: Any, hidden: Tensor, span_pass: Pass, table: _RelativeTable | None) -> Tensor:
    attention = layer.attention.self
    heads = attention.num_attention_heads
    query, key, value = _split_heads(attention.in_proj(hidden), heads).chunk(3, dim=-1)
    query = query + attention.q_bias.unflatten(0, (heads, 1, -1))
    value = value + attention.v_bias.unflatten(0, (heads, 1, -1))
    scale = (key.shape[-1] * (1 + len(attention.pos_att_type))) ** -0.5
    projections = (getattr(attention, "pos_proj", None), getattr(attention, "pos_q_proj", None))
    relative = _disentangled(attention, table, scale, *projections)
    return _finish_deberta_layer(layer, _attend(attention, query, key * scale, value, span_pass, relative), hidden)


def _deberta_v2_layer(layer: Any, hidden: Tensor, span_pass: Pass, table: _RelativeTable | None) -> Tensor:
    attention = layer.attention.self
    query, key, value = (
        _split_heads(projection(hidden), attention.num_attention_heads)
        for projection in (attention.query_proj, attention.key_proj, attention.value_proj)
    )
    terms = [term for term in TERMS if term in attention.pos_att_type]
    scale = (key.shape[-1] * (1 + len(terms))) ** -0.5
    if attention.share_att_key:
        projections = {"c2p": attention.key_proj, "p2c": attention.query_proj}
    else:
        projections = {
            "c2p": getattr(attention, "pos_key_proj", None),
            "p2c": getattr(attention, "pos_query_proj", None),
        }
    keys, queries = (projections[term] if term in terms else None for term in ("c2p", "p2c"))
    relative = _disentangled(attention, table, scale, keys, queries)
    return _finish_deberta_layer(layer, _attend(attention, query, key * scale, value, span_pass, relative), hidden)


def run_deberta(encoder: Any, embeds: Tensor, position_ids: Tensor, span_pass: Pass) -> Tensor:
    """Run DeBERTa's first version. See `span_marker.encoders.families.PackedRun`."""
    return _run_deberta(encoder, embeds, position_ids, span_pass, _deberta_layer)


def run_deberta_v2(encoder: Any, embeds: Tensor, position_ids: Tensor, span_pass: Pass) -> Tensor:
    """Run DeBERTa's second and third version. See `span_marker.encoders.families.PackedRun`."""
    return _run_deberta(encoder, embeds, position_ids, span_pass, _deberta_v2_layer)


def _run_deberta(
    encoder: Any, embeds: Tensor, position_ids: Tensor, span_pass: Pass, run_layer: Callable[..., Tensor]
) -> Tensor:
    hidden = encoder.embeddings(inputs_embeds=embeds[None], position_ids=position_ids[None]).squeeze(0)
    table = _relative_table(encoder, span_pass.texts.reach)
    return _run_layers(encoder.encoder.layer, run_layer, hidden, span_pass, table)


def run_deberta_dense(encoder: Any, inputs: DenseInput) -> Tensor:
    """Run DeBERTa under a mask, with distances in positions. See `span_marker.encoders.families.DenseRun`.

    It runs sentence by sentence, since its attention takes one matrix of distances for all.
    """
    hidden = encoder.embeddings(inputs_embeds=inputs.embeds, position_ids=inputs.position_ids)
    states = []
    for row, positions, allowed in zip(hidden, inputs.position_ids, inputs.allowed, strict=True):
        relative = _deberta_distances(encoder, distances(positions, positions))
        with torch.autocast(row.device.type, enabled=False):  # its mask overflows bfloat16
            output = encoder.encoder(row[None], allowed[None], output_hidden_states=False, relative_pos=relative[None])
        states.append(output.last_hidden_state)
    return torch.cat(states)
