"""Relatives of BERT that compute attention in their layers: MegatronBERT and RemBERT."""

from __future__ import annotations

from typing import Any

from torch import Tensor
from transformers import PreTrainedModel

from span_marker.encoders.families.common import Family, attend, embed_packed, run_layers, split_heads
from span_marker.encoders.passes import Pass


def _attend_as_bert(attention: Any, hidden: Tensor, span_pass: Pass) -> Tensor:
    """Self-attention with the modules of BERT: ``(num_tokens, hidden)`` to the same shape."""
    query, key, value = (
        split_heads(projection(hidden), attention.num_attention_heads)
        for projection in (attention.query, attention.key, attention.value)
    )
    return attend(attention, query, key * key.shape[-1] ** -0.5, value, span_pass)


def _megatron_layer(layer: Any, hidden: Tensor, span_pass: Pass) -> Tensor:
    attended = _attend_as_bert(layer.attention.self, layer.attention.ln(hidden), span_pass)
    return layer.feed_forward_chunk(layer.attention.output(attended, hidden))


def _run_megatron(encoder: PreTrainedModel, embeds: Tensor, position_ids: Tensor, span_pass: Pass) -> Tensor:
    """Run MegatronBERT. See `PackedRun`."""
    stack: Any = encoder.encoder
    hidden = embed_packed(encoder, embeds, position_ids)
    return stack.ln(run_layers(stack.layer, _megatron_layer, hidden, span_pass))


def _rembert_layer(layer: Any, hidden: Tensor, span_pass: Pass) -> Tensor:
    attended = _attend_as_bert(layer.attention.self, hidden, span_pass)
    return layer.feed_forward_chunk(layer.attention.output(attended, hidden))


def _run_rembert(encoder: PreTrainedModel, embeds: Tensor, position_ids: Tensor, span_pass: Pass) -> Tensor:
    """Run RemBERT. See `PackedRun`."""
    stack: Any = encoder.encoder
    hidden = stack.embedding_hidden_mapping_in(embed_packed(encoder, embeds, position_ids))
    return run_layers(stack.layer, _rembert_layer, hidden, span_pass)


MEGATRON_BERT = Family(_run_megatron)

REMBERT = Family(_run_rembert)
