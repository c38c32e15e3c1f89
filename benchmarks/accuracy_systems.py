"""The systems of `accuracy.py`: how each is trained on the same sentences, in the same number of epochs."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

import torch
import transformers
from accuracy_data import Data, Sentence, entity_columns, iob2_tags, tag_columns, words_of
from accuracy_worker import train_and_read, train_span_marker
from speed import Worker
from token_classification import classify, encode
from transformers import (
    AutoModelForTokenClassification,
    AutoTokenizer,
    DataCollatorForTokenClassification,
    TrainingArguments,
    set_seed,
)

PUBLISHED_VERSION = "1.8.1"

Arguments = dict[str, Any]


class Job(NamedTuple):
    """What a system needs to train a model and to read with it.

    Attributes:
        encoder: Name or path of the encoder.
        data: The data; no system may look at the test sentences other than through ``sentences``.
        train: The sentences to train on.
        sentences: The sentences to read afterwards, by name.
        model: Arguments of ``from_pretrained``, see `change_arguments`.
        training: Arguments of ``TrainingArguments``.
        patience: See `accuracy_worker.BestEpoch`.
    """

    encoder: str
    data: Data
    train: list[Sentence]
    sentences: dict[str, list[list[str]]]
    model: Arguments
    training: Arguments
    patience: int

    def with_dev(self) -> dict[str, Any]:
        """What all systems pass on to `train_and_read`, besides trainer and model."""
        dev = {"words": words_of(self.data.dev), "entities": [sentence.entities for sentence in self.data.dev]}
        return {"dev": dev, "sentences": self.sentences, "patience": self.patience}


VARIANTS: dict[str, Callable[[Arguments, Arguments], None]] = {
    "default": lambda model, training: None,
    "markers-only": lambda model, training: model.update(compatible_with_1x=True, candidates_per_word=1),
    "1x-training": lambda model, training: model.update(compatible_with_1x=True, candidates_per_word=None),
}
"""Variants of this library: what each changes in the arguments of ``from_pretrained`` and ``TrainingArguments``."""


def change_arguments(system: str, model: Arguments, training: Arguments) -> tuple[Arguments, Arguments]:
    """Apply the changes of a variant to the arguments that all systems share."""
    model, training = dict(model), dict(training)
    if system in VARIANTS:
        VARIANTS[system](model, training)
    return model, training


def training_arguments(num_sentences: int, epochs: int, batch_size: int, learning_rate: float, seed: int) -> Arguments:
    """Make arguments of ``TrainingArguments`` that transformers 4 and 5 read in the same way."""
    return {
        "learning_rate": learning_rate,
        "num_train_epochs": epochs,
        "per_device_train_batch_size": batch_size,
        "per_device_eval_batch_size": 32,
        "warmup_steps": math.ceil(epochs * math.ceil(num_sentences / batch_size) / 10),
        "weight_decay": 0.01,
        "seed": seed,
        "logging_strategy": "no",
        "save_strategy": "no",
        "report_to": "none",
        "disable_tqdm": True,
    }


def on_this_machine(training: Arguments) -> Arguments:
    """Add the device, which is no setting."""
    return {**training, "use_cpu": not torch.cuda.is_available()}


def train_variant(job: Job, published: Path | None) -> dict[str, Any]:
    """Train a model of this library, on all entities."""
    return train_span_marker(
        encoder=job.encoder,
        labels=["O", *job.data.labels],
        train=entity_columns(job.train),
        evaluation=entity_columns(job.data.dev),
        model=job.model,
        training=on_this_machine(job.training),
        **job.with_dev(),
    )


def train_published(job: Job, published: Path | None) -> dict[str, Any]:
    """Train a model of the published library in its own environment, on tags, which it takes alone.

    Raises:
        SystemExit: If the environment has another version.
    """
    tags = iob2_tags(job.data.labels)
    with closing(Worker(str(published), "accuracy_worker.py")) as worker:
        version = worker.ask("version")["span_marker"]
        if version != PUBLISHED_VERSION:
            raise SystemExit(f"--published {published} has span_marker {version} instead of {PUBLISHED_VERSION}")
        return worker.ask(
            "train",
            encoder=job.encoder,
            labels=tags,
            train=tag_columns(job.train, tags),
            evaluation=tag_columns(job.data.dev, tags),
            model=job.model,
            training=on_this_machine(job.training),
            **job.with_dev(),
        )


def train_token_classifier(job: Job, published: Path | None) -> dict[str, Any]:
    """Train the encoder with a linear layer, on tags."""
    tags, max_length = iob2_tags(job.data.labels), job.model["model_max_length"]
    tokenizer = AutoTokenizer.from_pretrained(job.encoder, add_prefix_space=True)
    set_seed(job.training["seed"])
    model = AutoModelForTokenClassification.from_pretrained(
        job.encoder, id2label=dict(enumerate(tags)), label2id={tag: index for index, tag in enumerate(tags)}
    )
    columns = tag_columns(job.train, tags)
    rows = [
        encode(tokenizer, words, numbers, max_length)
        for words, numbers in zip(columns["tokens"], columns["ner_tags"], strict=True)
    ]
    with tempfile.TemporaryDirectory() as folder:
        trainer = transformers.Trainer(
            model=model,
            args=TrainingArguments(output_dir=folder, **on_this_machine(job.training)),
            train_dataset=rows,
            data_collator=DataCollatorForTokenClassification(tokenizer),
        )
        batch_size = job.training["per_device_eval_batch_size"]
        return train_and_read(
            trainer, lambda words: classify(model, tokenizer, words, max_length, batch_size), **job.with_dev()
        )


SYSTEMS: dict[str, Callable[[Job, Path | None], dict[str, Any]]] = {
    **dict.fromkeys(VARIANTS, train_variant),
    "token-classification": train_token_classifier,
    "published": train_published,
}
"""How each is trained, given the interpreter of the published library's environment if there is one; the answer is
that of `train_and_read`."""
