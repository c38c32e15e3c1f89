"""Number formats: the fastest one on this CPU, and the modules that quantization leaves alone."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel
from transformers.quantizers.auto import AutoQuantizationConfig

from span_marker.core.cpu import Cpu

HEADS = ("classifier", "span_filter", "relation_head")
"""Modules that are never quantized."""

SKIP_ARGUMENTS = ("llm_int8_skip_modules", "modules_to_not_convert")
"""Quantization settings with the names of modules to skip."""


FASTEST = "fastest"
"""The value of ``dtype`` for the choice of `fastest_dtype`. (``"auto"`` means that of the checkpoint.)"""

WITH_BFLOAT16 = frozenset({"AVX512-BF16", "AMX"})
"""CPU features with which PyTorch multiplies matrices in bfloat16 faster than in float32, see ``docs/speed.md``."""


def fastest_dtype(cpu: Cpu) -> torch.dtype:
    """Choose the number format in which PyTorch predicts fastest on a CPU.

    Args:
        cpu: The CPU.

    Returns:
        bfloat16 with one of `WITH_BFLOAT16`, otherwise float32. On Arm always float32, since bfloat16 was not measured
        there.
    """
    return torch.bfloat16 if cpu.features & WITH_BFLOAT16 else torch.float32


def choose_dtype(arguments: dict[str, Any]) -> dict[str, Any]:
    """Replace ``dtype="fastest"`` with the number format that is fastest on this CPU.

    Args:
        arguments: Arguments of ``from_pretrained``.

    Returns:
        The arguments for ``transformers``.

    Raises:
        ValueError: If the model is to be loaded on another device.
    """
    if not isinstance(dtype := arguments.get("dtype"), str) or dtype != FASTEST:
        return arguments
    placed = arguments.get("device_map")
    devices = placed.values() if isinstance(placed, dict) else ["cpu" if placed is None else placed]
    if {*map(str, devices)} != {"cpu"}:
        raise ValueError(
            f"dtype={FASTEST!r} is for the CPU, but device_map={placed!r}: pass dtype='bfloat16' or 'float32'"
        )
    return {**arguments, "dtype": fastest_dtype(Cpu.of_this_machine())}


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

    Saving, loading, PEFT and ``Trainer`` check these attributes of the model.

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
