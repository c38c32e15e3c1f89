"""MPNet: it computes attention in its layers, with a table of positions and learned scores for distances."""

from __future__ import annotations

import functools
from typing import Any

from torch import Tensor
from transformers import PreTrainedModel

from span_marker.encoders.attention import DenseInput
from span_marker.encoders.families.common import Family, attend, embed, embed_packed, run_layers, split_heads
from span_marker.encoders.passes import Pass
from span_marker.encoders.relative_positions import DistanceScores, RelativeScores, distances


def _mpnet_layer(layer: Any, hidden: Tensor, span_pass: Pass, relative: RelativeScores) -> Tensor:
    attention = layer.attention.attn
    query, key, value = (
        split_heads(projection(hidden), attention.num_attention_heads)
        for projection in (attention.q, attention.k, attention.v)
    )
    attended = attention.o(attend(attention, query, key * key.shape[-1] ** -0.5, value, span_pass, relative))
    hidden = layer.attention.LayerNorm(layer.attention.dropout(attended) + hidden)
    return layer.output(layer.intermediate(hidden), hidden)


def _run_mpnet(encoder: PreTrainedModel, embeds: Tensor, position_ids: Tensor, span_pass: Pass) -> Tensor:
    """Run MPNet. See `PackedRun`."""
    stack: Any = encoder.encoder
    relative = DistanceScores.from_embedding(
        stack.relative_attention_bias, stack.relative_position_bucket, span_pass.texts.max_distance
    )
    run_layer = functools.partial(_mpnet_layer, relative=relative)
    return run_layers(stack.layer, run_layer, embed_packed(encoder, embeds, position_ids), span_pass)


def _run_mpnet_dense(encoder: PreTrainedModel, inputs: DenseInput) -> Tensor:
    """Run MPNet under a mask, with distances between position IDs. See `DenseRun`."""
    stack: Any = encoder.encoder
    hidden = embed(encoder, inputs.embeds, inputs.position_ids)
    buckets = stack.relative_position_bucket(-distances(inputs.position_ids, inputs.position_ids))
    scores = stack.relative_attention_bias(buckets).permute(0, 3, 1, 2)  # (batch, heads, length, length)
    mask = inputs.bias()
    for layer in stack.layer:
        hidden = layer(hidden, mask, scores)[0]
    return hidden


MPNET = Family(_run_mpnet, _run_mpnet_dense)
