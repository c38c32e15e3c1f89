"""Trains a model and lets its best epoch read sentences; a part of `accuracy.py`.

`train_span_marker` runs in the process of ``accuracy.py`` with this library, and in one of its own, this script with
the interpreter of another environment, with the published one. It uses only what both have, and nothing else of this
library.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Sequence
from typing import Any

import torch
import transformers
import worker
from datasets import Dataset
from transformers import PrinterCallback, TrainerCallback, TrainingArguments, set_seed

Read = Callable[[list[list[str]]], list[list[tuple[str, int, int]]]]
"""Reads entities, each with label, first word and the word behind the last, out of sentences, each a list of words."""


def strict_f1(gold: Sequence[Sequence[Any]], found: Sequence[Sequence[Any]]) -> float:
    """Compute strict micro-F1, to choose the best epoch. Figures that are reported are computed by the library."""
    pairs = [({*map(tuple, one)}, {*map(tuple, other)}) for one, other in zip(gold, found, strict=True)]
    num_correct = sum(len(one & other) for one, other in pairs)
    return 2 * num_correct / max(sum(len(one) + len(other) for one, other in pairs), 1)


LEARNED = 0.1
"""An F1 that shows that a model has learned something. A few hits by chance come before that."""


class BestEpoch(TrainerCallback):
    """Measures a model after each epoch, and ends the training with the weights of the best one.

    Args:
        measure: Measures the model; higher is better.
        patience: Stop if this many epochs were no better than the best one before them, and that has at least
            `LEARNED`.
    """

    def __init__(self, measure: Callable[[], float], patience: int) -> None:
        self.measure, self.patience = measure, patience
        self.measured: list[float] = []
        self.seconds = 0.0
        self.weights: dict[str, torch.Tensor] = {}

    def on_epoch_end(self, args: Any, state: Any, control: Any, model: Any = None, **kwargs: Any) -> None:
        """Measure the model, and keep its weights if they are the best so far."""
        started = time.perf_counter()
        before = max(self.measured, default=-1.0)
        self.measured.append(self.measure())
        if self.measured[-1] > before:
            self.weights = {name: value.detach().cpu().clone() for name, value in model.state_dict().items()}
        elif before >= LEARNED and len(self.measured) - 1 - self.measured.index(before) >= self.patience:
            control.should_training_stop = True
        self.seconds += time.perf_counter() - started

    def on_train_end(self, args: Any, state: Any, control: Any, model: Any = None, **kwargs: Any) -> None:
        """Give the model the weights of the best epoch."""
        model.load_state_dict(self.weights)


def train_best(trainer: Any, measure: Callable[[], float], patience: int) -> dict[str, Any]:
    """Train a model, and leave it with the weights of its best epoch.

    Args:
        trainer: A ``transformers.Trainer``.
        measure: See `BestEpoch`.
        patience: See `BestEpoch`.

    Returns:
        What was measured after each epoch, ``epochs``; and the ``seconds`` of the training without those of measuring.
    """
    best = BestEpoch(measure, patience)
    trainer.add_callback(best)
    trainer.remove_callback(PrinterCallback)  # standard output is for the figures
    started = time.perf_counter()
    trainer.train()
    seconds = time.perf_counter() - started - best.seconds
    versions = {"torch": torch.__version__, "transformers": transformers.__version__}
    return {"epochs": best.measured, "seconds": seconds, "versions": versions}


def train_and_read(
    trainer: Any,
    read: Read,
    dev: dict[str, Any],
    sentences: dict[str, list[list[str]]],
    patience: int,
    measure: Callable[[], float] | None = None,
) -> dict[str, Any]:
    """Train a model, and let its best epoch read.

    Args:
        trainer: A ``transformers.Trainer``.
        read: How its model reads.
        dev: ``words`` and ``entities`` of the sentences on which epochs are compared.
        sentences: The sentences to read afterwards, by name.
        patience: See `BestEpoch`.
        measure: Measures the model after each epoch; None for `strict_f1` on dev.

    Returns:
        What `train_best` returns, and the entities that were ``found`` in each of the sentences, by the
        same name.
    """
    measure = measure or (lambda: strict_f1(dev["entities"], read(dev["words"])))
    answer = train_best(trainer, measure, patience)
    return {**answer, "found": {name: read(words) for name, words in sentences.items()}}


def train_span_marker(
    encoder: str,
    labels: list[str],
    train: dict[str, list[Any]],
    evaluation: dict[str, list[Any]],
    dev: dict[str, Any],
    sentences: dict[str, list[list[str]]],
    model: dict[str, Any],
    training: dict[str, Any],
    patience: int,
) -> dict[str, Any]:
    """Train a SpanMarker model of the library that is installed.

    Args:
        encoder: Name or path of the encoder.
        labels: The labels, as ``from_pretrained`` takes them.
        train: Columns of the training data.
        evaluation: The same columns of the dev sentences, on which the library may choose something, too.
        dev: See `train_and_read`.
        sentences: See `train_and_read`.
        model: Other arguments of ``from_pretrained``.
        training: Arguments of ``TrainingArguments``.
        patience: See `BestEpoch`.

    Returns:
        See `train_and_read`.
    """
    import span_marker  # of this environment

    set_seed(training["seed"])
    new = span_marker.SpanMarkerModel.from_pretrained(encoder, labels=labels, **model)

    def read(words: list[list[str]]) -> list[list[tuple[str, int, int]]]:
        found = new.predict(words, batch_size=training["per_device_eval_batch_size"])
        return [[(e["label"], e["word_start_index"], e["word_end_index"]) for e in some] for some in found]

    with tempfile.TemporaryDirectory() as folder:
        trainer = span_marker.Trainer(
            model=new,
            args=TrainingArguments(output_dir=folder, **training),
            train_dataset=Dataset.from_dict(train),
            eval_dataset=Dataset.from_dict(evaluation),
        )
        is_published = span_marker.__version__.startswith("1.")  # has no figure over all thresholds, and chooses none
        measure = None if is_published else lambda: trainer.evaluate()["eval_overall_best_f1"]
        answer = train_and_read(trainer, read, dev, sentences, patience, measure)
    return {**answer, "versions": {**answer["versions"], "span_marker": span_marker.__version__}}


def version() -> dict[str, Any]:
    """Say which version of the library this environment has."""
    import span_marker

    return {"span_marker": span_marker.__version__}


if __name__ == "__main__":
    worker.main({"version": version, "train": train_span_marker})
