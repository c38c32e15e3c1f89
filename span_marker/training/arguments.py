"""Training arguments that fit the amount of data, the size of the encoder and the device."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sized
from dataclasses import dataclass
from typing import Any

import torch
import transformers

from span_marker.data.columns import require_dataset
from span_marker.data.in_memory import as_dataset
from span_marker.modeling import SpanMarkerModel, without_adapter

NUM_STEPS = 500
"""Minimum number of optimizer steps that a new model needs."""

EPOCHS = (3, 20)
"""Minimum and maximum number of epochs."""

BATCH_SIZE = 8
"""Number of sentences per step. A larger number would leave too few steps if there is little data."""

BEST_METRIC = "overall_best_f1"
"""The metric by which checkpoints are compared. F1 itself stays 0 as long as a model predicts nothing."""

LEARNING_RATES = ((512, 3e-4), (896, 1e-4), (math.inf, 3e-5))
"""The learning rate for encoders up to a hidden size."""


@dataclass
class TrainingArguments(transformers.TrainingArguments):
    """``transformers.TrainingArguments`` whose ``metric_for_best_model`` defaults to `BEST_METRIC`.

    This applies with ``load_best_model_at_end=True``. Schedulers that follow a metric keep the default of transformers.
    """

    def __post_init__(self) -> None:
        """Set the default before transformers sets its own, the loss."""
        follows = self.lr_scheduler_type in ("reduce_lr_on_plateau", "greedy")
        if self.load_best_model_at_end and self.metric_for_best_model is None and not follows:
            self.metric_for_best_model = BEST_METRIC
        super().__post_init__()


def suggest_training_arguments(
    data: Any, model: SpanMarkerModel, output_dir: str = "trainer_output", **arguments: Any
) -> TrainingArguments:
    """Choose training arguments from the number of sentences, the size of the encoder, and the device.

    The defaults of transformers are meant for large data sets: with a few hundred sentences, three epochs at 5e-5 end
    long before a new model has learned to predict anything. See ``docs/little_data.md`` for the measurements behind the
    choices.

    Args:
        data: The training data; only its number of sentences matters.
        model: The model.
        output_dir: The output folder.
        **arguments: Additional arguments of ``TrainingArguments``, which replace suggested ones. The number of epochs
            follows ``per_device_train_batch_size`` and ``gradient_accumulation_steps``.

    Returns:
        The arguments: learning rate, batch size, number of epochs, warm-up, weight decay, and ``bf16`` if the device
        computes it much faster.

    Raises:
        TypeError: If the model is not a `SpanMarkerModel`, or the data is a path, a dict of several data sets, or
            something without a length, such as a generator.
        ValueError: If ``data`` is empty.

    Example:
        >>> from span_marker import suggest_training_arguments
        >>> suggest_training_arguments(train, model, "my-model", eval_strategy="epoch")  # doctest: +SKIP
    """
    hidden_size = without_adapter(model).config.encoder.hidden_size
    is_something_else = isinstance(data, (str, os.PathLike, Mapping)) or not isinstance(data, Sized)
    num_sentences = len(require_dataset(data, "training") if is_something_else else as_dataset(data, "training"))
    if num_sentences == 0:
        raise ValueError("data must have at least one sentence to train on")
    batch_size = arguments.get("per_device_train_batch_size", BATCH_SIZE)
    steps_per_epoch = math.ceil(num_sentences / (batch_size * arguments.get("gradient_accumulation_steps", 1)))
    suggested = {
        "learning_rate": next(rate for largest, rate in LEARNING_RATES if hidden_size <= largest),
        "num_train_epochs": min(max(math.ceil(NUM_STEPS / steps_per_epoch), EPOCHS[0]), EPOCHS[1]),
        "per_device_train_batch_size": BATCH_SIZE,
        "per_device_eval_batch_size": 32,
        "warmup_steps": 0.1,  # a share of all steps
        "weight_decay": 0.01,
        "bf16": has_fast_bfloat16(bool(arguments.get("use_cpu"))),
    }
    return TrainingArguments(output_dir, **{**suggested, **arguments})


def has_fast_bfloat16(use_cpu: bool = False) -> bool:
    """Return whether the device used in training multiplies bfloat16 matrices much faster than float32 ones.

    Args:
        use_cpu: Whether to train on the CPU even if there is an accelerator.

    Returns:
        Whether it does. A CPU needs AMX for this.
    """
    if torch.cuda.is_available() and not use_cpu:
        return torch.cuda.is_bf16_supported(including_emulation=False)
    capabilities: dict[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()  # older versions of torch can't tell
    return bool(capabilities.get("amx_bf16"))
