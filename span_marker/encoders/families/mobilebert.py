"""MobileBERT: its embedding layer reads the neighbors of each token. A text reads its own; a marker has none."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel

from span_marker.encoders.attention import DenseInput
from span_marker.encoders.families.common import Family, embed
from span_marker.encoders.packing import PackedTexts
from span_marker.encoders.passes import Pass


def _run_mobilebert(encoder: PreTrainedModel, embeds: Tensor, position_ids: Tensor, span_pass: Pass) -> Tensor:
    """Run MobileBERT, which looks up its attention function by name. See `PackedRun`."""
    stack: Any = encoder.encoder
    num_text_tokens = span_pass.texts.num_tokens if span_pass.has_text else 0
    hidden = _embed_alone(encoder, embeds[num_text_tokens:], position_ids[num_text_tokens:])
    if span_pass.has_text:
        text = _embed_texts(encoder, embeds[:num_text_tokens], span_pass.texts)
        hidden = torch.cat([text, hidden]) if hidden.shape[0] else text
    output = stack(hidden[None], attention_mask=None, span_pass=span_pass)
    return output.last_hidden_state.squeeze(0)


def _embed_texts(encoder: PreTrainedModel, embeds: Tensor, texts: PackedTexts) -> Tensor:
    """Embed texts, with zeros around each: ``(num_tokens, embed_dim)`` to ``(num_tokens, hidden)``."""
    rows = texts.whole
    padded = rows.pad(embeds[None]).squeeze(0)
    if rows.key_mask is not None:
        padded = padded * rows.key_mask.transpose(1, 2)
    return rows.unpad(embed(encoder, padded, rows.pad_positions(texts.position_ids))[None]).squeeze(1)


def _embed_alone(encoder: PreTrainedModel, embeds: Tensor, position_ids: Tensor) -> Tensor:
    """Embed each token as a separate text: ``(num_tokens, embed_dim)`` to ``(num_tokens, hidden)``."""
    if not embeds.shape[0]:  # older versions of torch can't pad an empty tensor
        return embeds.new_empty(0, encoder.config.hidden_size)
    return embed(encoder, embeds[:, None], position_ids[:, None]).squeeze(1)


def _run_mobilebert_dense(encoder: PreTrainedModel, inputs: DenseInput) -> Tensor:
    """Run MobileBERT under a mask. See `DenseRun`."""
    stack: Any = encoder.encoder
    sizes = [inputs.text_len, inputs.embeds.shape[1] - inputs.text_len]
    text, markers = inputs.embeds.split(sizes, dim=1)
    positions, marker_positions = inputs.position_ids.split(sizes, dim=1)
    hidden = _embed_alone(encoder, markers.flatten(0, 1), marker_positions.flatten()).unflatten(0, markers.shape[:2])
    if inputs.text_len:
        hidden = torch.cat([embed(encoder, text, positions), hidden], dim=1)
    return stack(hidden, attention_mask=inputs.bias()).last_hidden_state


MOBILEBERT = Family(_run_mobilebert, _run_mobilebert_dense)
