"""Which encoders can carry span markers, which engine each gets, and how long their texts may be."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any, Literal, cast

from transformers import MODEL_MAPPING, AttentionInterface, PreTrainedConfig, PreTrainedModel

from span_marker.attention import ATTENTION_NAME, packed_attention
from span_marker.engines import POSITION_OFFSET, Engine, encode_dense, encode_fast

EngineName = Literal["auto", "fast", "dense"]

SUPPORTED_ENCODERS = ("bert", "camembert", "distilbert", "electra", "roberta", "xlm-roberta")
"""Model types that have been shown to carry span markers on both engines."""


def register_attention() -> None:
    """Make `packed_attention` known to ``transformers`` by its name."""
    AttentionInterface.register(ATTENTION_NAME, packed_attention)


def check_encoder(config: PreTrainedConfig) -> None:
    """Refuse an encoder that is not known to carry span markers.

    Args:
        config: The encoder's configuration.

    Raises:
        ValueError: If the encoder's model type is not among `SUPPORTED_ENCODERS`.
    """
    if config.model_type not in SUPPORTED_ENCODERS:
        raise ValueError(
            f"an encoder of type {config.model_type!r} has not been shown to carry span markers; "
            f"supported types: {', '.join(SUPPORTED_ENCODERS)}"
        )


def model_arguments(config: PreTrainedConfig) -> dict[str, Any]:
    """Arguments that build an encoder without a pooler, which no span marker reads.

    Args:
        config: The encoder's configuration.

    Returns:
        Keyword arguments for the encoder's class.
    """
    parameters = inspect.signature(_encoder_class(config)).parameters
    return {"add_pooling_layer": False} if "add_pooling_layer" in parameters else {}


def build_encoder(config: PreTrainedConfig) -> PreTrainedModel:
    """Build an encoder with random weights that shares the given configuration.

    Args:
        config: The encoder's configuration.

    Returns:
        The encoder.
    """
    check_encoder(config)
    return _encoder_class(config)(config, **model_arguments(config))


def _encoder_class(config: PreTrainedConfig) -> Callable[..., PreTrainedModel]:
    encoder_class: Any = MODEL_MAPPING[type(config)]
    return cast(Callable[..., PreTrainedModel], encoder_class)


def select_engine(encoder: PreTrainedModel, engine: EngineName, max_pairs: int) -> Engine:
    """Choose the engine for an encoder and prepare the encoder for it.

    Args:
        encoder: The encoder; its attention function is set.
        engine: ``"fast"`` or ``"dense"`` to force one, ``"auto"`` for the fastest that the encoder can run.
        max_pairs: Pairs of each sentence that the dense engine runs at a time.

    Returns:
        The engine.

    Raises:
        ValueError: If there is no such engine.
    """
    if engine in ("auto", "fast"):
        encoder.set_attn_implementation(ATTENTION_NAME)
        return encode_fast
    if engine == "dense":
        encoder.set_attn_implementation("sdpa")
        return functools.partial(encode_dense, max_pairs=max_pairs)
    raise ValueError(f"engine={engine!r} must be one of 'auto', 'fast' and 'dense'")


def max_text_length(config: PreTrainedConfig) -> int:
    """Find the most tokens that an encoder's position table leaves room for.

    Args:
        config: The encoder's configuration.

    Returns:
        Tokens of the longest text, special tokens included.
    """
    return int(config.max_position_embeddings) - POSITION_OFFSET
