"""Quantization: which modules keep their precision, and where ``transformers`` looks for the settings."""

from __future__ import annotations

import copy
from typing import Any

from torch import nn
from transformers import PreTrainedModel
from transformers.quantizers.auto import AutoQuantizationConfig

HEADS = ("classifier", "span_filter", "relation_head")
"""Modules that are never quantized."""

SKIP_ARGUMENTS = ("llm_int8_skip_modules", "modules_to_not_convert")
"""Quantization settings that name the modules to leave alone."""


def spare_heads(arguments: dict[str, Any]) -> dict[str, Any]:
    """Exclude the heads of a checkpoint from quantization: they are small, and their precision matters.

    Args:
        arguments: Arguments of ``from_pretrained``.

    Returns:
        The arguments, with `HEADS` among the modules to skip if ``quantization_config`` has such a setting.
    """
    config = arguments.get("quantization_config")
    if config is None:
        return arguments
    settings = AutoQuantizationConfig.from_dict(dict(config)) if isinstance(config, dict) else copy.deepcopy(config)
    for name in SKIP_ARGUMENTS:
        if hasattr(settings, name):
            setattr(settings, name, [*(getattr(settings, name) or ()), *HEADS])
    return {**arguments, "quantization_config": settings}


def adopt_quantization(model: PreTrainedModel, encoder: PreTrainedModel) -> None:
    """Mark a model as quantized if its encoder is, as ``transformers`` marks a model that it loads as a whole.

    Saving, loading, PEFT and ``Trainer`` look for these marks on the model.

    Args:
        model: The model.
        encoder: Its encoder.
    """
    if getattr(encoder, "hf_quantizer", None) is None:  # private: set by from_pretrained on what it quantizes
        return
    settings = copy.deepcopy(encoder.config.quantization_config)
    exact = [f"encoder.{name}" for name, module in encoder.named_modules() if type(module) is nn.Linear]
    for name in SKIP_ARGUMENTS:
        if hasattr(settings, name):
            setattr(settings, name, [*exact, *HEADS])
    target: Any = model
    target.hf_quantizer = copy.copy(encoder.hf_quantizer)
    target.hf_quantizer.quantization_config = settings
    # private: what transformers sets beside it, for PEFT and Trainer.
    for name in ("is_quantized", "quantization_method", "is_loaded_in_8bit", "is_loaded_in_4bit"):
        if hasattr(encoder, name):
            setattr(target, name, getattr(encoder, name))
    # private: transformers sets it on the configuration of what it quantizes, and reads it to choose a number format.
    target.config.quantization_config, target.config._is_quantized = settings, True
    del encoder.config.quantization_config
