"""Run exported graphs on packed batches: texts first, then markers, as the fast engine does."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from span_marker.core.arrays import Array
from span_marker.core.packing import (
    POSITION_OFFSET,
    first_rows,
    marker_passes,
    rows_of,
    similar_lengths,
    tabulate,
)
from span_marker.core.spans import IntArray

MAX_TOKENS = 512
"""Maximum number of tokens of several texts in one run of a graph. Larger runs only need more memory."""

MAX_MARKERS = 512
"""Maximum number of markers in one run of a graph, as above."""


class Graph(Protocol):
    """A graph loaded by a runtime, such as ONNX Runtime."""

    def __call__(self, inputs: dict[str, Array]) -> list[Array]:
        """Run the graph.

        Args:
            inputs: The inputs by name.

        Returns:
            The outputs, in order.
        """


@dataclass(frozen=True)
class GraphRunner:
    """The graphs of an exported model.

    Attributes:
        text_graph: Runs `span_marker.encoders.graphs.TextGraph`.
        marker_graph: Runs `span_marker.encoders.graphs.MarkerGraph`.
        marker_embeds: Embeddings of the start and end marker, ``(2, embed_dim)``.
        max_distance: Maximum distance between two positions that the graphs support.
        pair_graph: Same as `marker_graph`, for pairs of spans; None without relations.
    """

    text_graph: Graph
    marker_graph: Graph
    marker_embeds: Array
    max_distance: int
    pair_graph: Graph | None = None

    def encode_texts(
        self, input_ids: IntArray, lengths: Sequence[int], added_embeds: Array | None = None
    ) -> list[Array]:
        """Encode texts.

        Args:
            input_ids: Token IDs of the texts, packed, ``(num_tokens,)``.
            lengths: Tokens of each text.
            added_embeds: What to add to the token embeddings, ``(num_tokens, embed_dim)``.

        Returns:
            The keys and values of the first layer, then those of the second, and so on, ``(heads, num_tokens,
            head_dim)`` each.

        Raises:
            ValueError: If a text is longer than the graphs support.
        """
        longest = max(lengths, default=0)
        if longest > self.max_distance:
            raise ValueError(
                f"a text of {longest} tokens is longer than the {self.max_distance} that the graphs were exported for: "
                "lower model_max_length, or export the model again with that limit"
            )
        inputs = {"input_ids": input_ids, "position_ids": _positions(lengths)}
        if added_embeds is not None:
            inputs["added_embeds"] = added_embeds
        if not longest:  # the states have no rows, but a size
            one_token = {name: np.zeros((1, *array.shape[1:]), array.dtype) for name, array in inputs.items()}
            return [states[:, :0] for states in self._run_texts(one_token, [1], [0])]
        groups = similar_lengths(lengths, MAX_TOKENS)
        if len(groups) == 1:
            return self._run_texts(inputs, lengths, sorted(groups[0]))  # without empty texts, which have no rows
        firsts = first_rows(lengths)
        states: list[Array] = []
        for group in map(sorted, groups):
            rows = rows_of(group, firsts, lengths)
            parts = self._run_texts({name: array[rows] for name, array in inputs.items()}, lengths, group)
            states = states or [np.empty((len(part), len(input_ids), part.shape[2]), part.dtype) for part in parts]
            for whole, part in zip(states, parts, strict=True):
                whole[:, rows] = part
        return states

    def _run_texts(self, inputs: dict[str, Array], lengths: Sequence[int], group: list[int]) -> list[Array]:
        own = [lengths[index] for index in group]
        table, places, key_mask = tabulate(first_rows(own), own)
        return self.text_graph({**inputs, "table": table, "places": places, "key_mask": key_mask})

    def encode_markers(
        self,
        span_tokens: IntArray,
        span_counts: Sequence[int],
        lengths: Sequence[int],
        text_states: Sequence[Array],
        hidden_size: int,
        pair_embeds: Array | None = None,
    ) -> Array:
        """Encode the markers of candidates against encoded texts.

        Args:
            span_tokens: The tokens that the markers of each candidate observe, ``(num_spans, candidate_size)``.
            span_counts: Number of candidates per text.
            lengths: Tokens of each text.
            text_states: The output of `encode_texts`.
            hidden_size: Size of a marker's state.
            pair_embeds: Embeddings of the markers of a pair, ``(4, embed_dim)``, if the candidates are pairs of spans.

        Returns:
            The last hidden states of the markers, ``(num_spans, candidate_size, hidden_size)``.

        Raises:
            ValueError: If there is no graph for pairs.
        """
        graph = self.marker_graph if pair_embeds is None else self.pair_graph
        embeds = self.marker_embeds if pair_embeds is None else pair_embeds
        if graph is None:
            raise ValueError("the exported model has no graph for pairs of spans: export a model with relations")
        size = len(embeds)
        states = np.empty((len(span_tokens), size, hidden_size), dtype=np.float32)
        inputs = {"marker_embeds": embeds, "text_position_ids": _positions(lengths)}
        inputs |= {f"text_states_{index}": array for index, array in enumerate(text_states)}
        span_positions = span_tokens + POSITION_OFFSET
        text_firsts = first_rows(lengths)
        for start, _, first, counts in marker_passes(span_counts, MAX_MARKERS // size):
            firsts = [start + row for row in first_rows(counts)]
            for group in similar_lengths([size * count for count in counts]):
                rows = rows_of(group, firsts, counts)
                num_markers = [size * counts[index] for index in group]
                table, places, _ = tabulate(first_rows(num_markers), num_markers)
                sentences = [first + index for index in group]
                text_table, _, text_key_mask = tabulate(
                    [text_firsts[index] for index in sentences], [lengths[index] for index in sentences]
                )
                tables = {
                    "span_positions": span_positions[rows],
                    "table": table,
                    "places": places,
                    "text_table": text_table,
                    "text_key_mask": text_key_mask,
                }
                (states[rows],) = graph(inputs | tables)
        return states


def _positions(lengths: Sequence[int]) -> IntArray:
    """Position IDs of packed texts, ``(num_tokens,)``."""
    return np.concatenate([np.arange(0), *(np.arange(length) + POSITION_OFFSET for length in lengths)])
