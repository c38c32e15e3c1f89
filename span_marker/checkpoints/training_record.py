"""The record of a training for the model card: examples and statistics of the data, settings, results."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from datasets import Dataset

NUM_LABEL_EXAMPLES = 3
NUM_LABEL_ROWS = 10
"""Number of rows per label to take examples from, since entities repeat."""

NUM_TEXTS = 5
NUM_TEXT_ROWS = 100
"""Number of rows to take texts from."""

BATCH_SIZE = 1000
"""Number of prepared rows that are read at a time."""

LONGEST_TEXT = 200
"""Maximum length of a text in a card, in characters."""

OVERALL = "_overall_f1"
"""Suffix of the name of each evaluation's F1 score; the rest names the evaluation."""


class Spread(NamedTuple):
    """Minimum, median and maximum of some counts."""

    least: float
    median: float
    largest: float

    @classmethod
    def from_counts(cls, counts: npt.ArrayLike) -> Spread:
        """Summarize counts.

        Args:
            counts: At least one count.

        Returns:
            Their spread; the median of an even number of counts is the mean of the two in the middle.

        Example:
            >>> Spread.from_counts([7, 1, 2, 4])
            Spread(least=1, median=3.0, largest=7)
        """
        values = np.asarray(counts)
        return cls(values.min().item(), np.median(values).item(), values.max().item())


class Evaluation(NamedTuple):
    """Overall figures of one evaluation during training; None for figures that were not computed."""

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
        texts: Some texts of the evaluation data, or of the training data if there is no evaluation data.
        sentence_lengths: Number of words per training sentence.
        entity_counts: Number of entities per training sentence.
        dataset_id: Name of the training data on the Hub, or None if it was not loaded from there.
        hyperparameters: Settings of the training.
        evaluations: The evaluations during training.
        results: Latest metrics of each evaluation, by the prefix of their names: ``eval``, ``test``.
        emissions: What codecarbon measured, or None.
        outdated: Results that were measured before the model was changed, for example by new thresholds.
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
    outdated: set[str] = field(default_factory=set)

    @classmethod
    def from_datasets(
        cls, train_dataset: Dataset, eval_dataset: Dataset | None, prepared: Dataset, tags: Sequence[str]
    ) -> TrainingRecord:
        """Summarize annotated data. Only a few rows of the data itself are read.

        Args:
            train_dataset: The training data.
            eval_dataset: The evaluation data, or None.
            prepared: The features of the training data, see `span_marker.preprocessing.features.prepare`.
            tags: The tags that integers in the data index.

        Returns:
            Examples and figures.
        """
        num_words = np.zeros(len(train_dataset), dtype=np.int64)
        num_entities = np.zeros(len(train_dataset), dtype=np.int64)
        label_rows: dict[int, dict[int, None]] = {}
        batches = prepared.select_columns(["row", "num_words", "entities"]).iter(BATCH_SIZE)
        for row, words, entities in (piece for batch in batches for piece in zip(*batch.values(), strict=True)):
            num_words[row] += words
            num_entities[row] += len(entities)
            for class_id, _, _ in entities:
                rows = label_rows.setdefault(class_id, {})
                if len(rows) < NUM_LABEL_ROWS:
                    rows[row] = None
        text_dataset = train_dataset if eval_dataset is None else eval_dataset
        return cls(
            label_examples=_choose_entities(train_dataset, label_rows, tags),
            texts=_choose_texts(_read(text_dataset, range(min(len(text_dataset), NUM_TEXT_ROWS)), tags)),
            sentence_lengths=Spread.from_counts(num_words),
            entity_counts=Spread.from_counts(num_entities),
            dataset_id=hub_name(train_dataset),
        )

    def set_hyperparameters(self, trainer: Any) -> None:
        """Record the settings of a training.

        Args:
            trainer: The ``transformers.Trainer``.
        """
        from transformers.modelcard import extract_hyperparameters_from_trainer  # imports PEFT

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

    def add_results(self, metrics: dict[str, Any], log_history: Sequence[dict[str, Any]]) -> None:
        """Record an evaluation.

        Args:
            metrics: Its metrics.
            log_history: Everything logged in this training so far, including before interruptions.
        """
        names = evaluation_names(metrics)
        self.results |= dict.fromkeys(names, metrics)
        self.outdated.difference_update(names)
        latest: dict[tuple[str, int], Evaluation] = {}
        for entry in log_history:
            for prefix in evaluation_names(entry):
                if prefix.startswith("eval"):
                    latest[prefix, entry["step"]] = _read_evaluation(prefix, entry)
        self.evaluations = list(latest.values())

    def forget(self, kind: str) -> None:
        """Forget the metrics of one kind, such as those of relations that the model no longer has.

        Args:
            kind: Prefix of their names, after the name of the evaluation.
        """
        for name, metrics in self.results.items():
            prefix = f"{name}_{kind}"
            self.results[name] = {key: value for key, value in metrics.items() if not key.startswith(prefix)}

    def restore_results(self, step: int, log_history: Sequence[dict[str, Any]]) -> None:
        """Report the metrics of the step whose weights were restored.

        Args:
            step: The step.
            log_history: See `add_results`.
        """
        for entry in log_history:
            if entry["step"] == step:
                self.results |= {name: entry for name in evaluation_names(entry) if name in self.results}

    def set_emissions(self, measured: Any) -> None:
        """Record the emissions of a training.

        Args:
            measured: The ``EmissionsData`` of codecarbon.
        """
        hardware = f"{measured.gpu_count} x {measured.gpu_model}" if measured.gpu_model else measured.cpu_model
        self.emissions = {
            "emissions": 1000 * measured.emissions,  # the Hub counts grams
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


def evaluation_names(metrics: Mapping[str, Any]) -> list[str]:
    """List the prefixes of metrics' names.

    Args:
        metrics: Metrics of one or several evaluations.

    Returns:
        The prefixes, such as ``["eval"]``. Evaluations without the candidate filter, which have ``exact`` in their
        prefix, are left out.

    Example:
        >>> evaluation_names({"eval_overall_f1": 0.9, "eval_exact_overall_f1": 0.9, "eval_exact_news_overall_f1": 0.9})
        ['eval']
    """
    names = [name.removesuffix(OVERALL) for name in metrics if name.endswith(OVERALL)]
    return [name for name in names if "exact" not in name.split("_")]


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
    """Write a text or words on one line, with single spaces.

    Args:
        item: A text, or words.

    Returns:
        The line.
    """
    return " ".join((item if isinstance(item, str) else " ".join(item)).split())


def _read(dataset: Dataset, rows: Iterable[int], tags: Sequence[str]) -> Iterable[tuple[Any, Sequence[Any]]]:
    """Read rows: words or texts, and entities."""
    from span_marker.data.columns import read_rows  # imports datasets

    return read_rows(dataset.with_format(None).select(rows), "example", tags)


def _choose_entities(
    dataset: Dataset, label_rows: Mapping[int, Iterable[int]], tags: Sequence[str]
) -> dict[str, list[str]]:
    """The first entities of each label in the given rows."""
    chosen: dict[str, dict[str, None]] = {}
    for item, spans in _read(dataset, sorted({row for rows in label_rows.values() for row in rows}), tags):
        for label, start, end in spans:
            examples = chosen.setdefault(label, {})
            if len(examples) < NUM_LABEL_EXAMPLES:
                examples[as_line(item[start:end])] = None
    return {label: list(examples) for label, examples in chosen.items()}


def _choose_texts(rows: Iterable[tuple[Any, Sequence[Any]]]) -> list[str]:
    """The first short texts with entities, or without if there are none."""
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
    """Find the Hub repository that a data set was downloaded from, without asking the Hub.

    Args:
        dataset: A data set.

    Returns:
        Its name, or None if the data set was not downloaded from the Hub.
    """
    for source in dataset.info.download_checksums or {}:
        if source.startswith("hf://datasets/"):
            return source.removeprefix("hf://datasets/").partition("@")[0]
    return None
