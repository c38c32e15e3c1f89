"""The engine that runs exported graphs. It is the fast engine: texts first, then markers, both without padding."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from transformers import PreTrainedModel

from span_marker.core.arrays import Array
from span_marker.encoders.engines import EncodedTexts, EngineInput
from span_marker.encoders.packing import Texts
from span_marker.encoders.passes import TextMemory
from span_marker.graphs.runner import Graph, GraphRunner

Backend = Literal["torch", "onnx", "openvino"]
"""The backend of an encoder: PyTorch, or a runtime of exported graphs."""


@dataclass(frozen=True)
class GraphEngine:
    """Runs exported graphs on the CPU. See `span_marker.encoders.engines.StagedEngine`.

    Attributes:
        backend: Name of the runtime.
        text_graph: Runs `span_marker.encoders.graphs.TextGraph`.
        marker_graph: Runs `span_marker.encoders.graphs.MarkerGraph`.
        marker_embeds: Embeddings of the start and end marker, ``(2, embed_dim)``.
        max_distance: The maximum distance between two positions that the graphs support.
        pair_graph: Same as `marker_graph`, for pairs of spans; None without relations.
    """

    backend: Backend
    text_graph: Graph
    marker_graph: Graph
    marker_embeds: Tensor
    max_distance: int
    pair_graph: Graph | None = None

    @property
    def _runner(self) -> GraphRunner:
        embeds = _array(self.marker_embeds)
        return GraphRunner(self.text_graph, self.marker_graph, embeds, self.max_distance, self.pair_graph)

    def prepare(self, encoder: PreTrainedModel) -> None:
        """Do nothing, since graphs include their attention."""

    def encode(self, encoder: PreTrainedModel, batch: EngineInput) -> Tensor:
        """See `span_marker.encoders.engines.Engine.encode`."""
        return self.encode_markers(encoder, batch, self.encode_texts(encoder, batch))

    def encode_texts(self, encoder: PreTrainedModel, batch: EngineInput) -> EncodedTexts:
        """See `StagedEngine.encode_texts`.

        Args:
            encoder: Not used.
            batch: Texts and candidates.

        Returns:
            The encoded texts.

        Raises:
            ValueError: If a text is longer than the graphs support.
        """
        mask = batch.attention_mask
        texts = Texts.from_mask(mask, in_groups=True)
        added_embeds = None if batch.added_embeds is None else _array(batch.added_embeds[mask].float())
        arrays = self._runner.encode_texts(_array(batch.input_ids[mask]), texts.lengths, added_embeds)
        states = [torch.from_numpy(array).to(mask.device) for array in arrays]
        memory = TextMemory(len(states) // 2)
        for depth, layer in enumerate(zip(states[::2], states[1::2], strict=True)):
            memory.store(depth, *layer)
        return EncodedTexts(texts, memory, self.marker_embeds)

    def encode_markers(self, encoder: PreTrainedModel, batch: EngineInput, texts: EncodedTexts) -> Tensor:
        """See `StagedEngine.encode_markers`.

        Args:
            encoder: The encoder.
            batch: The same texts with any of their candidates.
            texts: The output of `encode_texts`.

        Returns:
            The last hidden states of the markers, ``(num_spans, candidate_size, hidden)``.

        Raises:
            ValueError: If candidates are pairs of spans, and there is no graph for them.
        """
        pair_embeds = None if batch.marker_embeds is None else _array(batch.marker_embeds)
        text_states = [_array(states) for layer in texts.memory.layers for states in layer]
        hidden_size = encoder.config.hidden_size
        states = self._runner.encode_markers(
            _array(batch.span_tokens), batch.span_counts, texts.texts.lengths, text_states, hidden_size, pair_embeds
        )
        return torch.from_numpy(states).to(batch.span_tokens.device)


def _array(tensor: Tensor) -> Array:
    """A tensor as an array, without a copy if it is on the CPU."""
    array: Array = tensor.detach().cpu().numpy()
    return array
