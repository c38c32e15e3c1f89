"""Passes: packed tokens run through an encoder and attend as span markers do.

`TextPass` runs the texts of a batch and stores the keys and values of every layer in a `TextMemory`; `MarkerPass` runs
any of the markers against them. `JointPass` runs both at once, which saves calls if there are few markers. The
encoder's linear layers see no padding, and `packed_attention` replaces its attention function.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from span_marker.encoders.attention import MarkerAttention, TextAttention
from span_marker.encoders.packing import PackedTexts
from span_marker.encoders.relative_positions import RelativeScores, SlidingWindow

ATTENTION_NAME = "span_marker"
"""Name of `packed_attention` among the attention functions of ``transformers``."""


class TextEncoded(Exception):  # noqa: N818
    """Ends a text pass once every layer has stored its keys and values: the last layer's output is not needed."""


class TextMemory:
    """Keys and values of a batch's texts in every attention layer, stored for the markers.

    Layers can only store while the memory is open: a layer that gradient checkpointing runs again must not replace its
    keys and values.

    Args:
        num_layers: Number of attention layers of the encoder.
    """

    def __init__(self, num_layers: int) -> None:
        self.num_layers = num_layers
        self.is_open = True
        self._layers: dict[Hashable, tuple[Tensor, Tensor]] = {}

    @property
    def is_complete(self) -> bool:
        """Whether every layer has stored its keys and values."""
        return len(self._layers) == self.num_layers

    def store(self, layer: Hashable, key: Tensor, value: Tensor) -> None:
        """Store one layer's keys and values, ``(heads, num_tokens, head_dim)`` each."""
        if self.is_open:
            if layer in self._layers:
                raise RuntimeError(f"{type(layer).__name__} attends twice in one pass: its layers share weights")
            self._layers[layer] = key, value

    @property
    def states(self) -> Tensor:
        """The values of the texts in the last layer, ``(num_tokens, heads * head_dim)``.

        They are a linear projection of the last layer's input, for every encoder family, and markers send gradients
        into them.
        """
        _, value = next(reversed(self._layers.values()))
        return value.transpose(0, 1).flatten(1)

    @property
    def layers(self) -> list[tuple[Tensor, Tensor]]:
        """The keys and values of all layers, in the order in which they attended."""
        return list(self._layers.values())

    def recall(self, layer: Hashable) -> tuple[Tensor, Tensor]:
        """Look up the keys and values that a layer stored."""
        return self._layers[layer]


class Recall(Protocol):
    """Stores the keys and values of a batch's texts in every layer, such as `TextMemory`."""

    def recall(self, layer: Hashable) -> tuple[Tensor, Tensor]:
        """Look up a layer's keys and values, ``(heads, num_tokens, head_dim)`` each."""


class Pass(Protocol):
    """One run of packed tokens through an encoder, which determines how the tokens attend.

    Attributes:
        has_text: Whether the tokens start with the texts.
    """

    has_text: bool

    @property
    def texts(self) -> PackedTexts:
        """The texts that the tokens attend to."""

    def attend(
        self,
        layer: Hashable,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        dropout: float,
        relative: RelativeScores | None = None,
    ) -> Tensor:
        """Compute the attention of one layer.

        Args:
            layer: The attention layer, under which keys and values are stored.
            query: ``(heads, num_tokens, head_dim)``.
            key: Scaled keys, of the same shape.
            value: Of the same shape.
            dropout: Dropout probability of the attention weights.
            relative: What distances add to the scores.

        Returns:
            ``(num_tokens, heads, head_dim)``.
        """


@dataclass(frozen=True)
class LayerPass:
    """One layer of a pass through an encoder whose layers share weights.

    Attributes:
        span_pass: The pass.
        depth: Index of the layer, which distinguishes it from the others.
    """

    span_pass: Pass
    depth: int

    @property
    def has_text(self) -> bool:
        """See `Pass.has_text`."""
        return self.span_pass.has_text

    def attend(self, layer: Hashable, *args: Any) -> Tensor:
        """See `Pass.attend`."""
        return self.span_pass.attend((layer, self.depth), *args)

    @property
    def texts(self) -> PackedTexts:
        """See `Pass.texts`."""
        return self.span_pass.texts


class TextPass:
    """The texts of a batch run through the encoder, and each attends to itself.

    Args:
        texts: The texts.
        memory: Where to store the keys and values of every layer.
        ends_early: Whether to raise `TextEncoded` in the last layer, once its keys and values are stored.
    """

    has_text = True

    def __init__(self, texts: PackedTexts, memory: TextMemory, ends_early: bool) -> None:
        self.texts = texts
        self._memory = memory
        self._ends_early = ends_early
        self._attention = TextAttention(texts)

    def attend(
        self,
        layer: Hashable,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        dropout: float,
        relative: RelativeScores | None = None,
    ) -> Tensor:
        """See `Pass.attend`."""
        self._memory.store(layer, key, value)
        if self._memory.is_complete and self._ends_early:
            raise TextEncoded
        return self._attention(query, key, value, dropout, relative)


class MarkerPass:
    """Some markers of a batch run through the encoder, against the stored keys and values of their texts.

    Args:
        texts: The texts.
        memory: The keys and values of the texts.
        attention: The attention of these markers.
    """

    has_text = False

    def __init__(self, texts: PackedTexts, memory: Recall, attention: MarkerAttention) -> None:
        self.texts = texts
        self._memory = memory
        self._attention = attention

    def attend(
        self,
        layer: Hashable,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        dropout: float,
        relative: RelativeScores | None = None,
    ) -> Tensor:
        """See `Pass.attend`."""
        return self._attention(query, key, value, *self._memory.recall(layer), dropout, relative)


class JointPass:
    """The texts of a batch, followed by all of its markers, run through the encoder at once.

    Args:
        texts: The texts.
        attention: The attention of the markers.
    """

    has_text = True

    def __init__(self, texts: PackedTexts, attention: MarkerAttention) -> None:
        self.texts = texts
        self._text_attention = TextAttention(texts)
        self._marker_attention = attention

    def attend(
        self,
        layer: Hashable,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        dropout: float,
        relative: RelativeScores | None = None,
    ) -> Tensor:
        """See `Pass.attend`."""
        sizes = [self.texts.num_tokens, query.shape[1] - self.texts.num_tokens]
        (text_query, query), (text_key, key), (text_value, value) = (
            states.split(sizes, dim=1) for states in (query, key, value)
        )
        text_states = self._text_attention(text_query, text_key, text_value, dropout, relative)
        states = self._marker_attention(query, key, value, text_key, text_value, dropout, relative)
        return torch.cat([text_states, states])


def packed_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    *,
    span_pass: Pass,
    sliding_window: int | None = None,
    position_bias: RelativeScores | None = None,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """Attention function in the form that ``transformers`` looks up by name.

    Args:
        module: The attention layer that calls it.
        query: ``(1, heads, num_tokens, head_dim)``.
        key: Of the same shape, or with fewer heads (grouped-query attention).
        value: Of the same shape as ``key``.
        attention_mask: Not used; ``span_pass`` determines what attends to what.
        scaling: Factor of the scores before the softmax. Defaults to ``head_dim ** -0.5``.
        dropout: Dropout probability of the attention weights.
        span_pass: The pass. Encoders pass it on to their attention layers as an extra keyword argument.
        sliding_window: In local attention, the smallest distance that is masked; None for no limit.
        position_bias: What distances add to the scores.
        **kwargs: Not used; other arguments that encoders pass on.

    Returns:
        ``(1, num_tokens, heads, head_dim)``, and None in place of the attention weights.
    """
    scaling = query.shape[-1] ** -0.5 if scaling is None else scaling
    num_groups = query.shape[1] // key.shape[1]  # heads that share a key and a value
    if num_groups > 1:
        key, value = (x.repeat_interleave(num_groups, dim=1) for x in (key, value))
    relative = position_bias if sliding_window is None else SlidingWindow(sliding_window - 1)
    query, key, value = (x.squeeze(0) for x in (query, key * scaling, value))
    return span_pass.attend(module, query, key, value, dropout, relative).unsqueeze(0), None
