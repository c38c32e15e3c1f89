"""What a training leaves behind for the model card: examples, figures of the data, settings, results."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from datasets import Dataset
from transformers.modelcard import extract_hyperparameters_from_trainer

from span_marker.data.columns import read_rows

NUM_LABEL_EXAMPLES = 3
NUM_TEXTS = 5
LONGEST_TEXT = 200
"""Characters of the longest text of the data that a card shows."""

OVERALL = "_overall_f1"
"""Ends the name of the F1 score of each evaluation; in front of it stands which one it is."""


class Spread(NamedTuple):
    """Least, middle and largest of some counts."""

    least: float
    median: float
    largest: float

    @classmethod
    def of(cls, counts: Sequence[int]) -> Spread:
        """Summarise counts.

        Args:
            counts: At least one.

        Returns:
            Their spread; the median of an even number of counts is the mean of the two in the middle.

        Example:
            >>> Spread.of([7, 1, 2, 4])
            Spread(least=1, median=3.0, largest=7)
        """
        return cls(min(counts), float(np.median(counts)), max(counts))


class Evaluation(NamedTuple):
    """Overall figures of one evaluation during training; None for what was not computed."""

    name: str
    epoch: float | None
    step: int
    loss: float | None
    precision: float | None
    recall: float | None
    f1: float
    accuracy: float | None


@dataclass
class TrainingRecord:
    """What a model card says about a training.

    Attributes:
        label_examples: Some entities of each label.
        texts: Some texts of the evaluation data, or of the training data if there are no others.
        sentence_lengths: Words of the training sentences.
        entity_counts: Entities of each of them.
        dataset_id: Name of the training data on the Hub, if it says so itself.
        hyperparameters: Settings of the training.
        evaluations: Those during training.
        results: Latest metrics of each evaluation, by what stands in front of their names: ``eval``, ``test``.
        emissions: What codecarbon measured, if it did.
    """

    label_examples: dict[str, list[str]]
    texts: list[str]
    sentence_lengths: Spread
    entity_counts: Spread
    dataset_id: str | None = None
    hyperparameters: dict[str, Any] = field(default_factory=dict)
    evaluations: list[Evaluation] = field(default_factory=list)
    results: dict[str, dict[str, Any]] = field(default_factory=dict)
    emissions: dict[str, Any] | None = None

    @classmethod
    def of(
        cls, train_dataset: Dataset, eval_dataset: Dataset | None, num_words: Sequence[int], labels: Sequence[str]
    ) -> TrainingRecord:
        """Look at annotated data.

        Args:
            train_dataset: What a model is trained on.
            eval_dataset: What it is evaluated on, if anything.
            num_words: Words of each training sentence.
            labels: The labels that integer tags index.

        Returns:
            Examples and figures.
        """
        examples: dict[str, dict[str, None]] = {}
        entity_counts = []
        for item, spans in read_rows(train_dataset, "training", labels):
            entity_counts.append(len(spans))
            for label, start, end in spans:
                found = examples.setdefault(label, {})
                if len(found) < NUM_LABEL_EXAMPLES:
                    found[as_line(item[start:end])] = None
        texts = read_rows(train_dataset if eval_dataset is None else eval_dataset, "evaluation", labels)
        return cls(
            label_examples={label: list(found) for label, found in examples.items()},
            texts=_choose_texts(texts),
            sentence_lengths=Spread.of(num_words),
            entity_counts=Spread.of(entity_counts),
            dataset_id=hub_name(train_dataset),
        )

    def set_hyperparameters(self, trainer: Any) -> None:
        """Note the settings of a training.

        Args:
            trainer: The ``transformers.Trainer``.
        """
        settings = extract_hyperparameters_from_trainer(trainer)
        args = trainer.args
        settings["optimizer"] = f"{getattr(args.optim, 'value', args.optim)}"
        if "adam" in settings["optimizer"]:
            settings["optimizer"] += (
                f" with betas=({args.adam_beta1},{args.adam_beta2}) and epsilon={args.adam_epsilon}"
            )
        settings["weight_decay"] = args.weight_decay
        if args.bf16:
            settings["mixed_precision_training"] = "bfloat16"
        self.hyperparameters = settings

    def note(self, metrics: dict[str, Any], log_history: Sequence[dict[str, Any]]) -> None:
        """Note an evaluation.

        Args:
            metrics: Its metrics.
            log_history: What was logged during the whole training, before an interruption, too.
        """
        self.results |= dict.fromkeys(evaluation_names(metrics), metrics)
        latest: dict[tuple[str, int], Evaluation] = {}
        for entry in log_history:
            for prefix in evaluation_names(entry):
                if prefix.startswith("eval"):
                    latest[prefix, entry["step"]] = _read_evaluation(prefix, entry)
        self.evaluations = list(latest.values())

    def keep_results_of(self, step: int, log_history: Sequence[dict[str, Any]]) -> None:
        """Note that the model has the weights of an earlier step.

        Args:
            step: The step.
            log_history: See `note`.
        """
        for entry in log_history:
            if entry["step"] == step:
                self.results |= {name: entry for name in evaluation_names(entry) if name in self.results}

    def note_emissions(self, measured: Any) -> None:
        """Note what training emitted.

        Args:
            measured: The ``EmissionsData`` of codecarbon.
        """
        hardware = f"{measured.gpu_count} x {measured.gpu_model}" if measured.gpu_model else measured.cpu_model
        self.emissions = {
            "emissions": 1000 * measured.emissions,  # grams, as the Hub has it
            "energy_consumed": measured.energy_consumed,
            "source": "codecarbon",
            "training_type": "fine-tuning",
            "on_cloud": measured.on_cloud == "Y",
            "cpu_model": measured.cpu_model,
            "ram_total_size": measured.ram_total_size,
            "hours_used": measured.duration / 3600,
            "hardware_used": hardware,
            "geographical_location": measured.region or measured.country_name,
        }


def evaluation_names(metrics: dict[str, Any]) -> list[str]:
    """List what stands in front of the names of metrics.

    Args:
        metrics: Metrics of one evaluation or several.

    Returns:
        Such as ``["eval"]``; evaluations without the candidate filter are left out.

    Example:
        >>> evaluation_names({"eval_overall_f1": 0.9, "eval_exact_overall_f1": 0.9})
        ['eval']
    """
    names = [name.removesuffix(OVERALL) for name in metrics if name.endswith(OVERALL)]
    return [name for name in names if not name.endswith("_exact")]


def _read_evaluation(name: str, entry: dict[str, Any]) -> Evaluation:
    overall = f"{name}_overall"
    return Evaluation(
        name,
        entry.get("epoch"),
        entry["step"],
        entry.get(f"{name}_loss"),
        entry.get(f"{overall}_precision"),
        entry.get(f"{overall}_recall"),
        entry[f"{overall}_f1"],
        entry.get(f"{overall}_accuracy"),
    )


def as_line(item: str | Sequence[str]) -> str:
    """Write a text or words in one line, with single spaces.

    Args:
        item: A text, or words.

    Returns:
        The line.
    """
    return " ".join((item if isinstance(item, str) else " ".join(item)).split())


def _choose_texts(rows: Iterable[tuple[Any, Sequence[Any]]]) -> list[str]:
    """The first short texts with entities, and only if there is none, others."""
    chosen: dict[str, None] = {}
    others: dict[str, None] = {}
    for item, spans in rows:
        line = as_line(item)
        if line and len(line) <= LONGEST_TEXT:
            (chosen if spans else others).setdefault(line)
        if len(chosen) == NUM_TEXTS:
            break
    return list(chosen or others)[:NUM_TEXTS]


def hub_name(dataset: Dataset) -> str | None:
    """Tell which repository of the Hub a data set was downloaded from, without asking the Hub.

    Args:
        dataset: A data set.

    Returns:
        Its name, or None if it came from elsewhere.
    """
    for source in dataset.info.download_checksums or {}:
        if source.startswith("hf://datasets/"):
            return source.removeprefix("hf://datasets/").partition("@")[0]
    return None
