"""The fast engine as graphs of tensors, for export: from texts to keys and values, and markers against these.

Everything that depends on the lengths of texts is a table among the inputs, so that a graph that is traced once works
for any batch. `span_marker.encoders.graph_engine` makes the tables and runs the graphs.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass

from torch import Tensor, nn
from transformers import PreTrainedModel

from span_marker.encoders.attention import MarkerAttention
from span_marker.encoders.families import Family
from span_marker.encoders.packing import PackedRows
from span_marker.encoders.passes import MarkerPass, TextMemory, TextPass


@dataclass(frozen=True)
class TabulatedTexts:
    """Texts whose lengths are known only as tables. See `span_marker.encoders.packing.PackedTexts`.

    Attributes:
        position_ids: ``(num_tokens,)``.
        whole: All texts as one group.
        max_distance: The largest distance between two positions that any batch may have.
    """

    position_ids: Tensor
    whole: PackedRows
    max_distance: int

    @property
    def num_tokens(self) -> int:
        """See `PackedTexts.num_tokens`."""
        return self.position_ids.shape[0]  # its len would be traced as a constant

    @property
    def groups(self) -> list[PackedRows]:
        """See `PackedTexts.groups`."""
        return [self.whole]


class LayersInOrder:
    """Keys and values of texts in the order in which layers attend, which is the same for texts and markers.

    Args:
        layers: Keys and values of each layer.
    """

    def __init__(self, layers: Iterator[tuple[Tensor, Tensor]]) -> None:
        self._layers = layers

    def recall(self, layer: Hashable) -> tuple[Tensor, Tensor]:
        """Return the keys and values of the next layer."""
        return next(self._layers)


class EncoderGraph(nn.Module):
    """Base class of the graphs.

    Args:
        encoder: The encoder, prepared for the fast engine.
        family: How it runs.
        max_distance: The largest distance between two positions of a text.
    """

    def __init__(self, encoder: PreTrainedModel, family: Family, max_distance: int) -> None:
        super().__init__()
        self.encoder = encoder
        self.family = family
        self.max_distance = max_distance

    def _rows(self, table: Tensor, places: Tensor | None = None, key_mask: Tensor | None = None) -> PackedRows:
        return PackedRows(0, 0, self.max_distance, table, places, key_mask)


class TextGraph(EncoderGraph):
    """Computes the keys and values of all layers from texts. See `EncoderGraph`."""

    def forward(
        self,
        input_ids: Tensor,
        position_ids: Tensor,
        table: Tensor,
        places: Tensor,
        key_mask: Tensor,
        added_embeds: Tensor | None = None,
    ) -> tuple[Tensor, ...]:
        """Encode texts.

        Args:
            input_ids: Token IDs, ``(num_tokens,)``.
            position_ids: ``(num_tokens,)``.
            table: See `PackedRows`.
            places: See `PackedRows`.
            key_mask: See `PackedRows`.
            added_embeds: What to add to the token embeddings, ``(num_tokens, embed_dim)``.

        Returns:
            The keys and values of the first layer, then those of the second, and so on, ``(heads, num_tokens,
            head_dim)`` each.
        """
        texts = TabulatedTexts(position_ids, self._rows(table, places, key_mask), self.max_distance)
        embeds = self.encoder.get_input_embeddings()(input_ids)
        if added_embeds is not None:
            embeds = embeds + added_embeds
        memory = TextMemory(self.family.num_attention_layers(self.encoder.config))
        # The tracer does not support an early exit; it removes the unused computations of the last layer.
        self.family.run_packed(self.encoder, embeds, position_ids, TextPass(texts, memory, ends_early=False))
        return tuple(states for layer in memory.layers for states in layer)


class MarkerGraph(EncoderGraph):
    """Computes the last hidden states of markers, against the keys and values of their texts. See `EncoderGraph`.

    Candidates with two markers and pairs with four need separate graphs, since the number is a constant of the trace.
    """

    def forward(
        self,
        marker_embeds: Tensor,
        span_positions: Tensor,
        table: Tensor,
        places: Tensor,
        text_position_ids: Tensor,
        text_table: Tensor,
        text_key_mask: Tensor,
        text_states: Sequence[Tensor],
    ) -> Tensor:
        """Encode markers.

        Args:
            marker_embeds: Embeddings of the markers of a candidate, ``(candidate_size, embed_dim)``.
            span_positions: Position IDs of the markers of each candidate, ``(num_spans, candidate_size)``.
            table: Rows of the markers of each sentence, see `PackedRows`.
            places: See `PackedRows`.
            text_position_ids: ``(num_tokens,)``.
            text_table: Rows of the text of each sentence, see `PackedRows`.
            text_key_mask: See `PackedRows`.
            text_states: The output of `TextGraph`.

        Returns:
            ``(num_spans, candidate_size, hidden)``.
        """
        text_rows = self._rows(text_table, key_mask=text_key_mask)
        texts = TabulatedTexts(text_position_ids, text_rows, self.max_distance)
        attention = MarkerAttention(texts, span_positions, [(self._rows(table, places), text_rows)])
        layers = LayersInOrder(zip(text_states[::2], text_states[1::2], strict=True))
        embeds = marker_embeds.expand(span_positions.shape[0], -1, -1).flatten(0, 1)
        marker_pass = MarkerPass(texts, layers, attention)
        states = self.family.run_packed(self.encoder, embeds, span_positions.flatten(), marker_pass)
        return states.unflatten(0, (-1, marker_embeds.shape[0]))
