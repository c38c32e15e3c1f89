"""The engine that runs exported graphs. It is the fast engine: texts first, then markers, both without padding."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedModel

from span_marker.encoders.engines import CPU_PASS, EncodedTexts, EngineInput, marker_passes
from span_marker.encoders.packing import POSITION_OFFSET, Texts, first_rows, similar_lengths, tabulate
from span_marker.encoders.passes import TextMemory

Array = np.ndarray[Any, Any]

Backend = Literal["torch", "onnx", "openvino"]
"""What runs an encoder: PyTorch, or a runtime of exported graphs."""


class Graph(Protocol):
    """A graph in the hands of a runtime, such as ONNX Runtime."""

    def __call__(self, inputs: dict[str, Array]) -> list[Array]:
        """Run the graph.

        Args:
            inputs: The inputs by name.

        Returns:
            The outputs, in order.
        """


@dataclass(frozen=True)
class GraphEngine:
    """Runs exported graphs on the CPU. See `span_marker.encoders.engines.StagedEngine`.

    Attributes:
        backend: Name of the runtime.
        text_graph: Runs `span_marker.encoders.graphs.TextGraph`.
        marker_graph: Runs `span_marker.encoders.graphs.MarkerGraph`.
        marker_embeds: Embeddings of the start and end marker, ``(2, embed_dim)``.
        max_distance: The largest distance between two positions that the graphs were made for.
    """

    backend: Backend
    text_graph: Graph
    marker_graph: Graph
    marker_embeds: Tensor
    max_distance: int

    def prepare(self, encoder: PreTrainedModel) -> None:
        """Do nothing: graphs have their attention in them."""

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
            ValueError: If a text is longer than the graphs were made for.
        """
        mask = batch.attention_mask
        texts = Texts.from_mask(mask, in_groups=True)
        if texts.max_distance > self.max_distance:
            raise ValueError(
                f"a text of {texts.max_distance} tokens is longer than those that the graphs were exported for, of at "
                f"most {self.max_distance}: lower model_max_length, or export the model again with that limit"
            )
        inputs = {"input_ids": batch.input_ids[mask], "position_ids": texts.position_ids}
        if batch.added_embeds is not None:
            inputs["added_embeds"] = batch.added_embeds[mask].float()
        layers = self._run_texts({name: tensor.cpu() for name, tensor in inputs.items()}, texts.lengths)
        memory = TextMemory(len(layers))
        for depth, layer in enumerate(layers):
            memory.store(depth, *(states.to(mask.device) for states in layer))
        return EncodedTexts(texts, memory, self.marker_embeds)

    def _run_texts(self, inputs: dict[str, Tensor], lengths: list[int]) -> list[tuple[Tensor, Tensor]]:
        """Run packed texts in groups of similar length: the keys and values of each layer."""
        if not any(lengths):  # the states have no rows, but a size
            one_token = {name: tensor.new_zeros(1, *tensor.shape[1:]) for name, tensor in inputs.items()}
            return [(key[:, :0], value[:, :0]) for key, value in self._run_texts(one_token, [1])]
        firsts = first_rows(lengths)
        groups = [sorted(group) for group in similar_lengths(lengths)]
        rows = [torch.cat([torch.arange(lengths[index]) + firsts[index] for index in group]) for group in groups]
        outputs = []
        for group, group_rows in zip(groups, rows, strict=True):
            group_lengths = [lengths[index] for index in group]
            table, places, key_mask = tabulate(first_rows(group_lengths), group_lengths)
            tensors = {name: tensor[group_rows] for name, tensor in inputs.items()}
            tensors |= {"table": table, "places": places, "key_mask": key_mask}
            outputs.append([torch.from_numpy(array) for array in self.text_graph(_arrays(tensors))])
        states = outputs[0]
        if len(groups) > 1:
            order = torch.cat(rows).argsort()
            states = [torch.cat(parts, dim=1).index_select(1, order) for parts in zip(*outputs, strict=True)]
        return list(zip(states[::2], states[1::2], strict=True))

    def encode_markers(self, encoder: PreTrainedModel, batch: EngineInput, texts: EncodedTexts) -> Tensor:
        """See `StagedEngine.encode_markers`.

        Args:
            encoder: The encoder.
            batch: The same texts with any of their candidates.
            texts: The output of `encode_texts`.

        Returns:
            The last hidden states of the markers, ``(num_spans, 2, hidden)``.
        """
        states = batch.span_tokens.new_empty(len(batch.span_tokens), 2, encoder.config.hidden_size, dtype=torch.float32)
        common = {"marker_embeds": self.marker_embeds, "text_position_ids": texts.texts.position_ids} | {
            f"text_states_{index}": tensor
            for index, tensor in enumerate(tensor for layer in texts.memory.layers for tensor in layer)
        }
        inputs = _arrays(common)
        span_positions = batch.span_tokens.cpu() + POSITION_OFFSET
        text_lengths = texts.texts.lengths
        text_firsts = first_rows(text_lengths)
        for start, _, first, counts in marker_passes(batch.span_counts, CPU_PASS // 2):
            firsts = [start + row for row in first_rows(counts)]
            for group in similar_lengths([2 * count for count in counts]):
                rows = torch.cat([torch.arange(firsts[index], firsts[index] + counts[index]) for index in group])
                lengths = [2 * counts[index] for index in group]
                table, places, _ = tabulate(first_rows(lengths), lengths)
                sentences = [first + index for index in group]
                text_table, _, text_key_mask = tabulate(
                    [text_firsts[index] for index in sentences], [text_lengths[index] for index in sentences]
                )
                tables = {
                    "span_positions": span_positions[rows],
                    "table": table,
                    "places": places,
                    "text_table": text_table,
                    "text_key_mask": text_key_mask,
                }
                (output,) = self.marker_graph(inputs | _arrays(tables))
                states[rows.to(states.device)] = torch.from_numpy(output).to(states.device)
        return states


def _arrays(tensors: dict[str, Tensor]) -> dict[str, Array]:
    """Tensors as arrays, without a copy if they are on the CPU."""
    return {name: tensor.detach().cpu().numpy() for name, tensor in tensors.items()}
