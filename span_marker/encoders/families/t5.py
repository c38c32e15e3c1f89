"""The encoder half of T5 and mT5: learned scores for distances, and no other positions."""

from __future__ import annotations

import functools
from typing import Any

from torch import Tensor
from transformers import PreTrainedModel

from span_marker.encoders.attention import DenseInput
from span_marker.encoders.families.common import Family, unlimited_positions
from span_marker.encoders.passes import Pass
from span_marker.encoders.relative_positions import DistanceScores, distances


def _buckets(attention: Any, key_minus_query: Tensor) -> Tensor:
    """The bucket of each distance, in the same shape."""
    return attention._relative_position_bucket(
        key_minus_query,
        bidirectional=True,
        num_buckets=attention.relative_attention_num_buckets,
        max_distance=attention.relative_attention_max_distance,
    )


def _run_t5(encoder: PreTrainedModel, embeds: Tensor, position_ids: Tensor, span_pass: Pass) -> Tensor:
    """Run T5, which looks up its attention function by name but takes distances from the order of the tokens."""
    stack: Any = encoder.encoder
    attention = stack.block[0].layer[0].SelfAttention
    relative = DistanceScores.from_embedding(
        attention.relative_attention_bias, functools.partial(_buckets, attention), span_pass.texts.max_distance
    )
    hidden = stack.dropout(embeds[None])
    for block in stack.block:
        hidden = block(hidden, None, position_bias=relative, span_pass=span_pass)[0]
    return stack.dropout(stack.final_layer_norm(hidden)).squeeze(0)


def _run_t5_dense(encoder: PreTrainedModel, inputs: DenseInput) -> Tensor:
    """Run T5 under a mask, with distances between position IDs. See `DenseRun`."""
    stack: Any = encoder.encoder
    attention = stack.block[0].layer[0].SelfAttention
    buckets = _buckets(attention, -distances(inputs.position_ids, inputs.position_ids))
    scores = attention.relative_attention_bias(buckets).permute(0, 3, 1, 2)  # (batch, heads, length, length)
    hidden = stack.dropout(inputs.embeds)
    mask = inputs.bias()
    for block in stack.block:
        hidden = block(hidden, mask, position_bias=scores)[0]
    return stack.dropout(stack.final_layer_norm(hidden))


T5 = Family(_run_t5, _run_t5_dense, max_positions=unlimited_positions)
