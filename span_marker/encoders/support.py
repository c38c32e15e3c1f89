"""Which encoders are supported, which engine each one gets, and how long its texts may be."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable
from typing import Any, Literal, cast

from transformers import (
    MODEL_FOR_CAUSAL_LM_MAPPING,
    MODEL_FOR_MASKED_LM_MAPPING,
    MODEL_MAPPING,
    AttentionInterface,
    AutoModel,
    AutoModelForTextEncoding,
    PreTrainedConfig,
    PreTrainedModel,
)
from transformers.models.auto.modeling_auto import MODEL_FOR_TEXT_ENCODING_MAPPING

from span_marker.encoders.contract import Architecture, EngineName, broken_rule
from span_marker.encoders.engines import DenseEngine, Engine, FastEngine
from span_marker.encoders.families import FAMILIES, family_of
from span_marker.encoders.passes import ATTENTION_NAME, packed_attention

logger = logging.getLogger(__name__)

EngineChoice = Literal["auto", "fast", "dense"]

_SPARSE = "its sparse attention depends on the order of the tokens, so markers would change what the text sees"

REFUSED = {
    "big_bird": _SPARSE,
    "convbert": "its convolutions mix neighboring tokens, so the text would see the markers",
    "longformer": _SPARSE,
    "xlnet": "it takes no position IDs",
}
"""Model types that do not support span markers, with the reason."""

SIZES = {
    "vocab_size": (1, 10**7),
    "hidden_size": (1, 10**5),
    "intermediate_size": (1, 10**6),
    "num_hidden_layers": (1, 1000),
    "num_attention_heads": (1, 10**4),
    "max_position_embeddings": (1, 10**7),
    "type_vocab_size": (0, 10**4),
}
"""Accepted range of each size: wider than any published encoder, small enough that a hostile config.json cannot exhaust
memory."""


def register_attention() -> None:
    """Register `packed_attention` with ``transformers`` under its name."""
    AttentionInterface.register(ATTENTION_NAME, packed_attention)


def check_encoder(config: PreTrainedConfig) -> None:
    """Check that an encoder may support span markers.

    Args:
        config: The encoder's configuration.

    Raises:
        ValueError: If the encoder is convolutional, sparse, a decoder or an encoder-decoder, or a size is out of range.
    """
    reason = _reason_to_refuse(config)
    if reason is not None:
        raise ValueError(_refusal(config, reason))
    for name, (least, most) in SIZES.items():
        size = getattr(config, name, least)
        if isinstance(size, int) and not least <= size <= most:
            raise ValueError(f"the encoder's {name}={size} must be from {least} to {most}")
    padding = getattr(config, "pad_token_id", None)
    if isinstance(padding, int) and padding >= config.vocab_size:
        raise ValueError(f"the encoder's pad_token_id={padding} must be below its vocab_size={config.vocab_size}")


def _reason_to_refuse(config: PreTrainedConfig) -> str | None:
    if config.model_type in REFUSED:
        return REFUSED[config.model_type]
    if not hasattr(config, "vocab_size"):
        return "it has no vocabulary of tokens"
    if getattr(config, "conv_kernel_size", 0):
        return (
            f"its convolution (conv_kernel_size={config.conv_kernel_size}) mixes neighboring tokens, so the text would "
            "see the markers"
        )
    if getattr(config, "talking_head", False):
        return "talking_head=True mixes its attention heads"
    if getattr(config, "is_decoder", False):
        return "is_decoder=True lets a token see only the tokens before it"
    if config.model_type in FAMILIES:
        return None
    if type(config) in MODEL_FOR_CAUSAL_LM_MAPPING and type(config) not in MODEL_FOR_MASKED_LM_MAPPING:
        return "it is a decoder: a token sees only the tokens before it"
    if getattr(config, "is_encoder_decoder", False):
        return "it is an encoder-decoder"
    return None


def _refusal(config: PreTrainedConfig, reason: str) -> str:
    return (
        f"an encoder of type {config.model_type!r} cannot carry span markers: {reason}. "
        f"Types that can: {', '.join(sorted(FAMILIES))}"
    )


def auto_class(config: PreTrainedConfig) -> type[AutoModel | AutoModelForTextEncoding]:
    """Choose the auto class of ``transformers`` that loads an encoder without a decoder.

    Args:
        config: The encoder's configuration.

    Returns:
        The auto class.
    """
    return AutoModelForTextEncoding if _has_own_encoder_class(config) else AutoModel


def model_arguments(config: PreTrainedConfig) -> dict[str, Any]:
    """Return the arguments that build an encoder without a pooler, which is not used.

    Args:
        config: The encoder's configuration.

    Returns:
        Keyword arguments for the encoder's class.
    """
    encoder_class = _encoder_class(config)
    takes_pooler = encoder_class and "add_pooling_layer" in inspect.signature(encoder_class).parameters
    return {"add_pooling_layer": False} if takes_pooler else {}


def build_encoder(config: PreTrainedConfig) -> PreTrainedModel:
    """Build an encoder with random weights.

    Args:
        config: The encoder's configuration, which is not copied.

    Returns:
        The encoder.

    Raises:
        ValueError: If the encoder does not support span markers, or cannot be built from its configuration.
    """
    check_encoder(config)
    encoder_class = _encoder_class(config)
    if encoder_class is None:
        raise ValueError(f"transformers has no encoder for {type(config).__name__}")
    try:
        return encoder_class(config, **model_arguments(config))
    except (AttributeError, KeyError, RuntimeError, TypeError, ValueError) as error:
        raise ValueError(
            f"an encoder of type {config.model_type!r} cannot be built from its configuration: {error}"
        ) from error


def _encoder_class(config: PreTrainedConfig) -> Callable[..., PreTrainedModel] | None:
    """Return the encoder's class; None if ``transformers`` does not have it (remote code)."""
    mapping: Any = MODEL_FOR_TEXT_ENCODING_MAPPING if _has_own_encoder_class(config) else MODEL_MAPPING
    return cast(Callable[..., PreTrainedModel], mapping[type(config)]) if type(config) in mapping else None


def _has_own_encoder_class(config: PreTrainedConfig) -> bool:
    return type(config) in MODEL_FOR_TEXT_ENCODING_MAPPING


def select_engine(encoder: PreTrainedModel, engine: EngineChoice, max_candidates: int) -> Engine:
    """Choose the engine for an encoder, check that it works, and prepare the encoder for it.

    Args:
        encoder: The encoder; its attention function may be set.
        engine: ``"fast"`` or ``"dense"`` to force an engine; ``"auto"`` for the fastest that the encoder supports.
        max_candidates: Number of candidates per sentence that the dense engine runs at a time.

    Returns:
        The engine.

    Raises:
        ValueError: If ``engine`` is unknown, or the encoder breaks the contract, see `span_marker.encoders.contract`.
    """
    choices: dict[str, tuple[EngineName, ...]] = {"auto": ("fast", "dense"), "fast": ("fast",), "dense": ("dense",)}
    if engine not in choices:
        raise ValueError(f"engine={engine!r} must be one of 'auto', 'fast' and 'dense'")
    family = family_of(encoder.config)
    architecture = Architecture.from_encoder(encoder)
    broken: dict[str, str] = {}
    for name in choices[engine]:
        rule = broken_rule(architecture, family, name)
        if rule is None:
            if broken:
                logger.warning(
                    "This encoder runs on the dense engine, which is slow, because it breaks a rule of the fast "
                    "engine: %s.",
                    broken["fast"],
                )
            chosen: Engine = FastEngine(family) if name == "fast" else DenseEngine(family, max_candidates)
            chosen.prepare(encoder)
            return chosen
        broken[name] = rule
    raise ValueError(_refusal(encoder.config, broken[name]))


def max_positions(config: PreTrainedConfig) -> int | None:
    """Return how many tokens an encoder has positions for.

    Args:
        config: The encoder's configuration.

    Returns:
        The maximum number of tokens of a text, including special tokens; None if there is no limit.
    """
    return family_of(config).max_positions(config)
