"""Passes: tokens run through an encoder as one row without padding, and attend as span markers do.

`TextPass` runs the texts of a batch and keeps every layer's keys and values in a `TextMemory`; `MarkerPass` runs any
of the markers against them. `JointPass` runs both at once, which saves calls where there are few markers. The
encoder's linear layers see real tokens only; `packed_attention` is what it finds in the place of its own attention.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from span_marker.encoders.attention import MarkerAttention, TextAttention
from span_marker.encoders.packing import Texts
from span_marker.encoders.relative_positions import RelativeScores, SlidingWindow

ATTENTION_NAME = "span_marker"
"""Name of `packed_attention` among the attention functions of ``transformers``."""


class TextEncoded(Exception):  # noqa: N818
    """Every layer's keys and values are stored: what the last layer would make of them is not needed."""


class TextMemory:
    """Keys and values of a batch's texts in every attention layer, kept for the markers.

    They are filed by attention layer, and only while the memory is open: when gradient checkpointing runs a layer
    again, it finds its keys and values here and leaves them alone.

    Args:
        num_layers: Attention layers of the encoder.
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
        """File one layer's keys and values, both ``(heads, num_tokens, head_dim)``."""
        if self.is_open:
            if layer in self._layers:
                raise RuntimeError(f"{type(layer).__name__} attends twice in one pass: its layers share weights")
            self._layers[layer] = key, value

    @property
    def states(self) -> Tensor:
        """The finished states of the texts: their values in the last layer, ``(num_tokens, heads * head_dim)``.

        They are a linear map of what enters the last layer, the last that is made of the texts at all, in every
        encoder alike; and markers send gradients into them.
        """
        _, value = next(reversed(self._layers.values()))
        return value.transpose(0, 1).flatten(1)

    def recall(self, layer: Hashable) -> tuple[Tensor, Tensor]:
        """Look up what an attention layer stored."""
        return self._layers[layer]


class Pass(Protocol):
    """One run of tokens through the encoder: it says how they attend.

    Attributes:
        has_text: Whether the texts are among the tokens, in front.
    """

    has_text: bool

    @property
    def texts(self) -> Texts:
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
        """Compute attention: ``(heads, num_tokens, head_dim)`` each to ``(num_tokens, heads, head_dim)``.

        The keys come scaled: scores are products of queries and keys, and what ``relative`` adds to them.
        """


@dataclass(frozen=True)
class LayerPass:
    """One layer of a pass through an encoder whose layers share their weights.

    Attributes:
        span_pass: The pass.
        depth: Which layer it is.
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
    def texts(self) -> Texts:
        """See `Pass.texts`."""
        return self.span_pass.texts


class TextPass:
    """The texts of a batch run through the encoder: each attends to itself.

    Args:
        texts: The texts.
        memory: Takes the keys and values of every layer.
        ends_early: Whether to end with `TextEncoded` in the last layer, once its keys and values are known.
    """

    has_text = True

    def __init__(self, texts: Texts, memory: TextMemory, ends_early: bool) -> None:
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
    """Some of a batch's markers run through the encoder, against texts that did so before.

    Args:
        texts: The texts.
        memory: Holds their keys and values.
        attention: What the markers attend to.
    """

    has_text = False

    def __init__(self, texts: Texts, memory: TextMemory, attention: MarkerAttention) -> None:
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
    """The texts of a batch and all of its markers behind them run through the encoder at once.

    Args:
        texts: The texts.
        attention: What the markers attend to.
    """

    has_text = True

    def __init__(self, texts: Texts, attention: MarkerAttention) -> None:
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
        module: The attention layer that calls.
        query: ``(1, heads, num_tokens, head_dim)``; key and value likewise.
        key: See query; it may have fewer heads.
        value: See key.
        attention_mask: Not used: ``span_pass`` knows what attends to what.
        scaling: Factor of the scores before the softmax; ``head_dim ** -0.5`` by default.
        dropout: Share of the attention weights that is dropped.
        span_pass: Which tokens these are. It travels through the encoder as an extra keyword argument.
        sliding_window: Local attention: the first distance in positions that is not seen any more; None for all.
        position_bias: What relative positions add to the scores.
        **kwargs: Other arguments that encoders hand down; not used.

    Returns:
        ``(1, num_tokens, heads, head_dim)``, and None in place of the attention weights.
    """
    scaling = query.shape[-1] ** -0.5 if scaling is None else scaling
    num_groups = query.shape[1] // key.shape[1]  # heads that share a key and a value (grouped-query attention)
    if num_groups > 1:
        key, value = (x.repeat_interleave(num_groups, dim=1) for x in (key, value))
    relative = position_bias if sliding_window is None else SlidingWindow(sliding_window - 1)
    query, key, value = (x.squeeze(0) for x in (query, key * scaling, value))
    return span_pass.attend(module, query, key, value, dropout, relative).unsqueeze(0), None
