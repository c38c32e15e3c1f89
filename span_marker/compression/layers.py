"""Remove layers: a student starts with a subset of its teacher's."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
from torch import nn
from transformers import PreTrainedModel

from span_marker.core.checks import check_limit
from span_marker.encoders.engines import DenseEngine
from span_marker.encoders.support import EngineChoice
from span_marker.modeling import SpanMarkerModel


def shrink(model: SpanMarkerModel, num_layers: int) -> SpanMarkerModel:
    """Create a model with fewer layers, which must be trained before use, see `distill`.

    The layers are evenly spaced, and include the first (Sanh et al. 2019, DistilBERT). Embeddings, classifier and
    candidate filter are copied; thresholds, temperature and pair filter are not, since they fit other scores.

    Args:
        model: The model, which does not change.
        num_layers: Number of layers to keep.

    Returns:
        The smaller model, in evaluation mode.

    Raises:
        TypeError: If ``num_layers`` is not a whole number.
        ValueError: If it is below 1 or above the model's number of layers; or if the model has an adapter, is quantized
            or runs on exported graphs.
    """
    check_compressible(model)
    config = copy.deepcopy(model.config)
    old_layers = config.encoder.num_hidden_layers
    check_limit("num_layers", num_layers, at_least=1, at_most=old_layers)
    kept = kept_layers(old_layers, num_layers)
    config.encoder.num_hidden_layers = num_layers
    if types := getattr(config.encoder, "layer_types", None):
        config.encoder.layer_types = [types[layer] for layer in kept]
    config.thresholds, config.relation_thresholds, config.calibration_temperature = None, None, 1.0
    engine: EngineChoice = "dense" if isinstance(model.engine, DenseEngine) else "auto"
    student = SpanMarkerModel(config, engine=engine).to(model.device, model.dtype)  # type: ignore[arg-type]
    student.load_state_dict(_take_layers(model.state_dict(), _stack_name(model.encoder, old_layers), kept))
    student.tokenizer = model.tokenizer
    student.model_card_data = copy.deepcopy(model.model_card_data)
    student.rules = model.rules
    student.reset_span_filter()
    student.reset_pair_filter()
    note_compression(student, "Layers", f"{num_layers} of {old_layers} ({', '.join(map(str, kept))}, counted from 0)")
    return student.eval()


def note_compression(model: SpanMarkerModel, part: str, how: str) -> None:
    """Record in a model's card how it was made smaller. The record survives further training.

    Args:
        model: The model.
        part: What of it is smaller.
        how: How much is left, and of how much, on one line. It is added to what was done to this part before.
    """
    compression = model.config.compression or {}
    before = f"{compression[part]}; then " if part in compression else ""
    model.config.compression = {**compression, part: before + how}


def check_compressible(model: SpanMarkerModel) -> None:
    """Check that a model has ordinary weights.

    Args:
        model: The model.

    Raises:
        TypeError: If it is not a `SpanMarkerModel`.
        ValueError: If it has an adapter, is quantized or runs on exported graphs.
    """
    if not isinstance(model, SpanMarkerModel):
        raise TypeError(f"model must be a SpanMarkerModel, not {type(model).__name__}")
    if model.backend != "torch":
        raise ValueError(
            f"a model with backend={model.backend!r} has no weights to change: load the checkpoint that it was "
            "exported from, change it, and export the result"
        )
    if getattr(model, "peft_config", None) or getattr(model, "hf_quantizer", None):
        raise ValueError(
            "the model has an adapter or quantized weights: merge the adapter (merge_and_unload), or load the model "
            "without quantization_config"
        )


def kept_layers(num_layers: int, num_kept: int) -> list[int]:
    """Choose evenly spaced layers, from the first to the last.

    Args:
        num_layers: Number of layers.
        num_kept: Number of layers to choose.

    Returns:
        The layers, ascending.

    Example:
        >>> kept_layers(6, 3), kept_layers(12, 6), kept_layers(6, 1)
        ([0, 2, 5], [0, 2, 4, 7, 9, 11], [0])
    """
    return [int(layer) for layer in np.linspace(0, num_layers - 1, num_kept).round()]


def _stack_name(encoder: PreTrainedModel, num_layers: int) -> str | None:
    """The name of the list of layers; None if the encoder has none, because its layers share their weights."""
    stacks = (
        name
        for name, module in encoder.named_modules()
        if isinstance(module, nn.ModuleList) and len(module) == num_layers
    )
    return min(stacks, key=lambda name: name.count("."), default=None)  # layers may hold such lists themselves


def _take_layers(weights: dict[str, Any], stack: str | None, kept: list[int]) -> dict[str, Any]:
    """All weights except those of dropped layers, with their names in the smaller model."""
    if stack is None:
        return weights
    prefix, taken = f"encoder.{stack}.", {}
    places = {layer: place for place, layer in enumerate(kept)}
    for name, value in weights.items():
        if not name.startswith(prefix):
            taken[name] = value
            continue
        layer, rest = name[len(prefix) :].split(".", 1)
        if int(layer) in places:
            taken[f"{prefix}{places[int(layer)]}.{rest}"] = value
    return taken
