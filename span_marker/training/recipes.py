"""Training recipes: a model and training arguments from annotated data and a few options."""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Sequence
from os import PathLike, fspath
from pathlib import Path
from typing import Any, NamedTuple

import yaml
from datasets import Dataset
from transformers import HfArgumentParser, TrainingArguments, set_seed

from span_marker.checkpoints.loading import load_config
from span_marker.checkpoints.network import adapt_to_network
from span_marker.configuration import AUTO, SpanMarkerConfig
from span_marker.core.yaml_reading import parse_yaml
from span_marker.modeling import SpanMarkerModel
from span_marker.training.arguments import suggest_training_arguments
from span_marker.validation.checks import validate
from span_marker.validation.report import ValidationReport

SHOWN = (
    "learning_rate",
    "num_train_epochs",
    "per_device_train_batch_size",
    "warmup_steps",
    "weight_decay",
    "bf16",
    "seed",
)
"""The training arguments that a plan shows."""

MODEL_OPTIONS = (
    "encoder",
    "labels",
    "model_max_length",
    "entity_max_length",
    "decoding",
    "multi_label",
    "compatible_with_1x",
)
"""Options of a model in a file of options; all others are of ``TrainingArguments``."""


SHORT = {"epochs": "num_train_epochs", "output": "output_dir"}
"""Options of the command line that are short for fields of ``TrainingArguments``."""


class TrainingPlan(NamedTuple):
    """A training run that is ready to start.

    Attributes:
        model: The new model, or the checkpoint to continue with.
        arguments: The training arguments.
        train: The data to train on.
        dev: The data to evaluate on, or None.
        report: What is wrong with the data.
    """

    model: SpanMarkerModel
    arguments: TrainingArguments
    train: Dataset
    dev: Dataset | None
    report: ValidationReport

    def __str__(self) -> str:
        config = self.model.config
        settings = {name: getattr(self.arguments, name) for name in SHOWN}
        longest = f"of up to {config.entity_max_length} words" if config.entity_max_length != AUTO else "as in the data"
        lines = [
            f"{len(self.train):,} sentences to train on, {0 if self.dev is None else len(self.dev):,} to evaluate on",
            f"labels: {', '.join(label for i, label in enumerate(config.classes) if i != config.outside_id)}",
            f"texts of up to {self.model.max_text_length} tokens, entities {longest}",
            "training: " + ", ".join(f"{name}={value}" for name, value in settings.items()),
            "",
            str(self.report),
        ]
        return "\n".join(lines)


def read_options(path: Path) -> dict[str, Any]:
    """Read a file of options.

    Args:
        path: YAML file with options of a model and fields of ``TrainingArguments``, by name.

    Returns:
        The options.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file is not of this form, an option is unknown, or its value is invalid.
    """
    try:
        options: dict[str, Any] = parse_yaml(path.read_text(encoding="utf-8")) or {}
    except (UnicodeDecodeError, yaml.YAMLError) as error:
        raise ValueError(f"{path} is not YAML: {error}") from error
    if not isinstance(options, dict):
        raise ValueError(f"{path} must contain options by name, such as 'learning_rate: 1e-4'")
    before: dict[str, Any] = {}
    for given in options:
        name = str(given).replace("-", "_")
        name = SHORT.get(name, name)
        if name in before:
            raise ValueError(f"{path}: {before[name]!r} and {given!r} are the same option: leave one of them out")
        before[name] = given
    options = dict(zip(before, options.values(), strict=True))
    known = {field.name for field in dataclasses.fields(TrainingArguments)} | {*MODEL_OPTIONS, "dev"}
    dev = [options["dev"]] if isinstance(options.get("dev"), str) else options.get("dev", [])
    if not isinstance(dev, list) or not all(isinstance(file, str) for file in dev):
        raise ValueError(f"{path}: dev must be a file or a list of files, such as [dev.conll], not {dev!r}")
    options |= {"dev": dev} if "dev" in options else {}
    if unknown := [name for name in options if name not in known]:
        raise ValueError(f"{path}: there is no option {unknown[0]!r}")
    # YAML reads 1e-4 as a string, and no as False.
    words = [
        f"--{name}={'no' if value is False and name.endswith('_strategy') else value}"
        for name, value in options.items()
        if name not in (*MODEL_OPTIONS, "dev") and isinstance(value, (str, int, float))
    ]
    try:
        return options | parse_arguments(words)[1]
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def parse_arguments(arguments: Sequence[str]) -> tuple[list[str], dict[str, Any]]:
    """Find the fields of ``TrainingArguments`` on a command line.

    Args:
        arguments: The command line, with options such as ``--learning_rate 1e-4`` or ``--learning-rate=1e-4``.

    Returns:
        The arguments that are not options, and the options by name.

    Raises:
        ValueError: If there is no such option, or its value is invalid.
    """
    names, words = [], []
    for argument in arguments:
        if argument.startswith("--"):
            name, equals, value = argument[2:].partition("=")
            names.append(name.replace("-", "_"))
            argument = f"--{names[-1]}{equals}{value}"
        words.append(argument)
    try:
        parser: Any = HfArgumentParser
        values, rest = parser(TrainingArguments, exit_on_error=False, allow_abbrev=False).parse_known_args(words)
    except argparse.ArgumentError as error:
        raise ValueError(f"{error}: see the TrainingArguments of transformers") from error
    if unknown := [word for word in rest if word.startswith("--")]:
        raise ValueError(f"there is no option {unknown[0].partition('=')[0]}: see span-marker train --help")
    return rest, {name: getattr(values, name) for name in names}


def prepare_training(
    train: Dataset,
    dev: Dataset | None,
    output_dir: str | PathLike[str],
    *,
    encoder: str | None = None,
    labels: Sequence[str] | None = None,
    model_max_length: int | str | None = None,
    entity_max_length: int | str | None = None,
    **options: Any,
) -> TrainingPlan:
    """Make a model and training arguments for some data, and check the data.

    Args:
        train: The data to train on.
        dev: The data to evaluate on, or None.
        output_dir: The output folder.
        encoder: Encoder to fine-tune, or a checkpoint, which keeps its labels and limits by default.
        labels: The labels, with ``O``. Defaults to those of the data.
        model_max_length: The maximum length of a text, in tokens. Defaults to 256.
        entity_max_length: The maximum length of an entity, in words. Defaults to a value that fits the data.
        **options: Other options of a model, and fields of ``TrainingArguments``; others get suggested values.

    Returns:
        The arguments of `span_marker.Trainer`, and a report on the data.

    Raises:
        ValueError: If no encoder is passed, the data is invalid, or an option is unknown.
        FileNotFoundError: If there is no such encoder.
    """
    if encoder is None:
        raise ValueError("pass an encoder to fine-tune, such as --encoder google-bert/bert-base-cased")
    model_options = {name: options.pop(name) for name in MODEL_OPTIONS if name in options}
    data = {"train": train} if dev is None else {"train": train, "dev": dev}
    set_seed(int(options.get("seed", TrainingArguments.seed)))  # new layers are random
    chosen = {"labels": labels, "model_max_length": model_max_length, "entity_max_length": entity_max_length}
    model_options |= {name: value for name, value in chosen.items() if value is not None}
    if not isinstance(load_config(encoder, adapt_to_network(encoder, {})), SpanMarkerConfig):
        model_options = {"labels": data, "model_max_length": 256, "entity_max_length": "auto", **model_options}
    model = SpanMarkerModel.from_pretrained(encoder, **model_options)
    defaults = {"report_to": "none"} if dev is None else {"report_to": "none", "eval_strategy": "epoch"}
    arguments = suggest_training_arguments(train, model, fspath(output_dir), **{**defaults, **options})
    return TrainingPlan(model, arguments, train, dev, validate(data, model))
