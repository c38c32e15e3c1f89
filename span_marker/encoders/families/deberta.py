"""DeBERTa: it computes attention in its layers, with scores between content and relative positions.

The first version and the later ones (v2, v3, mDeBERTa) differ in their modules and in how they count distances.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedConfig, PreTrainedModel

from span_marker.encoders.attention import DenseInput
from span_marker.encoders.families.common import (
    Family,
    attend,
    embed,
    embed_packed,
    run_layers,
    split_heads,
    table_positions,
)
from span_marker.encoders.passes import Pass
from span_marker.encoders.relative_positions import DisentangledScores, distances


@dataclass(frozen=True)
class RelativeTable:
    """The rows of an encoder's table of relative positions that a pass can need.

    Attributes:
        rows: Row of each distance from ``-max_distance`` to ``max_distance``, ascending, counted from the first row
            that is needed.
        index: Same as `rows`, as a tensor on the device of the states.
        embeds: Embeddings of the rows, ``(num_rows, hidden)``.
    """

    rows: list[int]
    index: Tensor
    embeds: Tensor


def relative_table(encoder: PreTrainedModel, max_distance: int) -> RelativeTable | None:
    """Look up the embeddings of all distances up to a limit.

    Args:
        encoder: The encoder.
        max_distance: The limit.

    Returns:
        The embeddings; None if the encoder has no relative positions.
    """
    stack: Any = encoder.encoder
    embeds = stack.get_rel_embedding()
    if embeds is None:
        return None
    buckets = getattr(stack, "position_buckets", -1)
    rows = _table_rows(max_distance, buckets, stack.max_relative_positions, len(embeds) // 2)
    needed = [row - rows[0] for row in rows]
    return RelativeTable(needed, torch.tensor(needed, device=embeds.device), embeds[rows[0] : rows[-1] + 1])


@functools.lru_cache(maxsize=64)
def _table_rows(max_distance: int, buckets: int, max_relative_positions: int, half: int) -> tuple[int, ...]:
    """The row of each distance from ``-max_distance`` to ``max_distance`` in a table of ``2 * half`` rows.

    They are cached, so that tracing an encoder that has run before does not record the operations that compute them.
    """
    steps = _in_steps(torch.arange(-max_distance, max_distance + 1), buckets, max_relative_positions)
    return tuple((steps + half).clamp(0, 2 * half - 1).tolist())


def _count_distances(stack: Any, distance: Tensor) -> Tensor:
    """Distances in the unit of the table."""
    return _in_steps(distance, getattr(stack, "position_buckets", -1), getattr(stack, "max_relative_positions", -1))


def _in_steps(distance: Tensor, buckets: int, max_relative_positions: int) -> Tensor:
    """Distances as tokens in the first version, and as logarithmic steps in the later ones, which have buckets."""
    if buckets <= 0:
        return distance
    from transformers.models.deberta_v2.modeling_deberta_v2 import make_log_bucket_position  # no other family needs it

    return make_log_bucket_position(distance, buckets, max_relative_positions).long()


def _disentangled(
    attention: Any,
    table: RelativeTable | None,
    scale: float,
    key_projection: Any,
    query_projection: Any,
) -> DisentangledScores | None:
    """Project the table for one layer. A projection that is None omits its term."""
    if table is None:
        return None
    embeds = attention.pos_dropout(table.embeds)
    keys, queries = (
        None if projection is None else split_heads(projection(embeds), attention.num_attention_heads)
        for projection in (key_projection, query_projection)
    )
    return DisentangledScores(table.rows, table.index, None if keys is None else keys * scale, queries)


def _finish_layer(layer: Any, attended: Tensor, hidden: Tensor) -> Tensor:
    """Run the rest of a layer after attention, which is the same in all versions."""
    hidden = layer.attention.output(attended, hidden)
    return layer.output(layer.intermediate(hidden), hidden)


def _deberta_layer(layer: Any, hidden: Tensor, span_pass: Pass, table: RelativeTable | None) -> Tensor:
    attention = layer.attention.self
    heads = attention.num_attention_heads
    query, key, value = split_heads(attention.in_proj(hidden), heads).chunk(3, dim=-1)
    query = query + attention.q_bias.unflatten(0, (heads, 1, -1))
    value = value + attention.v_bias.unflatten(0, (heads, 1, -1))
    scale = (key.shape[-1] * (1 + len(attention.pos_att_type))) ** -0.5
    projections = (getattr(attention, "pos_proj", None), getattr(attention, "pos_q_proj", None))
    relative = _disentangled(attention, table, scale, *projections)
    return _finish_layer(layer, attend(attention, query, key * scale, value, span_pass, relative), hidden)


def _deberta_v2_layer(layer: Any, hidden: Tensor, span_pass: Pass, table: RelativeTable | None) -> Tensor:
    attention = layer.attention.self
    query, key, value = (
        split_heads(projection(hidden), attention.num_attention_heads)
        for projection in (attention.query_proj, attention.key_proj, attention.value_proj)
    )
    terms = {"c2p", "p2c"} & {*attention.pos_att_type}
    scale = (key.shape[-1] * (1 + len(terms))) ** -0.5
    if attention.share_att_key:
        projections = (attention.key_proj, attention.query_proj)
    else:
        projections = (getattr(attention, "pos_key_proj", None), getattr(attention, "pos_query_proj", None))
    keys, queries = (x if term in terms else None for x, term in zip(projections, ("c2p", "p2c"), strict=True))
    relative = _disentangled(attention, table, scale, keys, queries)
    return _finish_layer(layer, attend(attention, query, key * scale, value, span_pass, relative), hidden)


def _run_deberta(encoder: PreTrainedModel, embeds: Tensor, position_ids: Tensor, span_pass: Pass) -> Tensor:
    """Run the first version. See `PackedRun`."""
    stack: Any = encoder.encoder
    run_layer = functools.partial(_deberta_layer, table=relative_table(encoder, span_pass.texts.max_distance))
    return run_layers(stack.layer, run_layer, embed_packed(encoder, embeds, position_ids), span_pass)


def _run_deberta_v2(encoder: PreTrainedModel, embeds: Tensor, position_ids: Tensor, span_pass: Pass) -> Tensor:
    """Run one of the later versions. See `PackedRun`."""
    stack: Any = encoder.encoder
    run_layer = functools.partial(_deberta_v2_layer, table=relative_table(encoder, span_pass.texts.max_distance))
    return run_layers(stack.layer, run_layer, embed_packed(encoder, embeds, position_ids), span_pass)


def _run_deberta_dense(encoder: PreTrainedModel, inputs: DenseInput) -> Tensor:
    """Run any version under a mask, with distances between position IDs. See `DenseRun`.

    It runs one sentence at a time, since its attention takes one matrix of distances for the whole batch.
    """
    stack: Any = encoder.encoder
    hidden = embed(encoder, inputs.embeds, inputs.position_ids)
    states = []
    for row, positions, allowed in zip(hidden, inputs.position_ids, inputs.allowed, strict=True):
        relative = _count_distances(stack, distances(positions, positions))
        with torch.autocast(row.device.type, enabled=False):  # its mask overflows bfloat16
            output = stack(row[None], allowed[None], output_hidden_states=False, relative_pos=relative[None])
        states.append(output.last_hidden_state)
    return torch.cat(states)


def _max_positions(config: PreTrainedConfig) -> int | None:
    """No limit, unless the embedding layer adds positions from a table."""
    return table_positions(config) if config.position_biased_input else None


DEBERTA = Family(_run_deberta, _run_deberta_dense, max_positions=_max_positions)

DEBERTA_V2 = Family(_run_deberta_v2, _run_deberta_dense, max_positions=_max_positions)
