"""Quantization: which modules are spared, and where ``transformers`` looks for what was done."""

from __future__ import annotations

import copy
from typing import Any

from torch import nn
from transformers import PreTrainedModel
from transformers.quantizers.auto import AutoQuantizationConfig

HEADS = ("classifier", "span_filter")
"""Modules that are never quantized."""

SKIP_ARGUMENTS = ("llm_int8_skip_modules", "modules_to_not_convert")
"""Settings of quantization that name the modules to leave alone."""


def spare_heads(arguments: dict[str, Any]) -> dict[str, Any]:
    """Let quantization leave alone what is small and decides: of a checkpoint, the encoder alone is quantized.

    Args:
        arguments: Arguments of ``from_pretrained``.

    Returns:
        The same, with `HEADS` among the modules to skip if there is a ``quantization_config`` that knows of such.
    """
    given = arguments.get("quantization_config")
    if given is None:
        return arguments
    settings = AutoQuantizationConfig.from_dict(dict(given)) if isinstance(given, dict) else copy.deepcopy(given)
    for name in SKIP_ARGUMENTS:
        if hasattr(settings, name):
            setattr(settings, name, [*(getattr(settings, name) or ()), *HEADS])
    return {**arguments, "quantization_config": settings}


def adopt_quantization(model: PreTrainedModel, encoder: PreTrainedModel) -> None:
    """Note in a model that its encoder is quantized, as ``transformers`` does in a model that it loads as a whole.

    Saving, loading, adapters and ``Trainer`` look there.

    Args:
        model: The model.
        encoder: Its encoder.
    """
    if getattr(encoder, "hf_quantizer", None) is None:
        return
    settings = copy.deepcopy(encoder.config.quantization_config)
    exact = [f"encoder.{name}" for name, module in encoder.named_modules() if type(module) is nn.Linear]
    for name in SKIP_ARGUMENTS:
        if hasattr(settings, name):
            setattr(settings, name, [*exact, *HEADS])
    target: Any = model
    target.hf_quantizer = copy.copy(encoder.hf_quantizer)
    target.hf_quantizer.quantization_config = settings
    for name in ("is_quantized", "quantization_method", "is_loaded_in_8bit", "is_loaded_in_4bit"):
        if hasattr(encoder, name):
            setattr(target, name, getattr(encoder, name))
    target.config.quantization_config, target.config._is_quantized = settings, True
    del encoder.config.quantization_config
