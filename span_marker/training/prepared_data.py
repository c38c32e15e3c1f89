"""Data sets for training and evaluation: limits, and features that are computed when they are first needed."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from copy import deepcopy
from typing import Any, NamedTuple
from weakref import ReferenceType, ref

from datasets import Dataset, are_progress_bars_disabled, disable_progress_bars, enable_progress_bars

from span_marker.configuration import SpanMarkerConfig
from span_marker.core.labels import OUTSIDE
from span_marker.data.columns import annotation_form, named_splits
from span_marker.data.in_memory import as_dataset
from span_marker.modeling import SpanMarkerModel
from span_marker.preprocessing import features
from span_marker.preprocessing.features import DatasetSummary
from span_marker.preprocessing.inputs import warn_of_context
from span_marker.preprocessing.word_fitting import set_word_splitter
from span_marker.validation.limits import set_limits

logger = logging.getLogger(__name__)

READ = ("entity_max_length", "max_prev_context", "max_next_context", "word_splitter", "word_rules", "letter_case")
"""Settings that features depend on, besides labels and `max_text_length`. A user may change them at any time."""

CHOSEN = ("word_splitter", "word_rules", "entity_max_length", "model_max_length")
"""Settings of a configuration that may be taken from the training data before it is tokenized."""

TRAINING = "training"
"""What the training data is called in messages."""


class PreparedDataset(NamedTuple):
    """A data set and its features.

    Attributes:
        dataset: A weak reference to the data set of the caller; the features are freed together with it.
        features: Its features, see `span_marker.preprocessing.features.prepare`.
        summary: Counts of its annotations.
    """

    dataset: ReferenceType[Dataset]
    features: Dataset
    summary: DatasetSummary


class PreparedData:
    """The word splitter, limits and features that are derived from data. Models with the same settings share them.

    Args:
        show_progress: Whether to show progress bars.
    """

    _model: SpanMarkerModel

    def __init__(self, show_progress: bool = True) -> None:
        self._show_progress = show_progress
        self._settings: tuple[str, int] | None = None
        self._read: Any = None
        self._prepared: list[PreparedDataset] = []
        self._chosen: dict[str, dict[str, Any]] = {}

    def use(self, model: SpanMarkerModel, train_dataset: Dataset | None) -> None:
        """Set the model for which features are made, and its word splitter and limits if they are ``"auto"``.

        Args:
            model: The model.
            train_dataset: The training data that determines them; None to leave them unchanged.
        """
        config, given = model.config, _settings(model.config)
        if given in self._chosen:
            for name, value in self._chosen[given].items():
                setattr(config, name, value)
        elif train_dataset is not None:
            set_word_splitter(config, train_dataset)
            set_limits(config, train_dataset, model.require_tokenizer())
            self._chosen[given] = {name: getattr(config, name) for name in CHOSEN}
        settings = (_settings(config), model.max_text_length)
        if self._settings != settings:
            self._prepared = []
        self._model, self._settings, self._read = model, settings, _what_is_read(model)

    def prepare(self, dataset: Any, dataset_name: str, needs_labels: bool = True) -> PreparedDataset:
        """Convert a data set to features, or look up features that were made earlier.

        Args:
            dataset: The data set.
            dataset_name: What to call it in messages.
            needs_labels: Whether missing annotations are an error.

        Returns:
            The data set with its features.

        Raises:
            TypeError: If it is not a `Dataset`, or a row has a value of the wrong type.
            ValueError: If a column is missing, or a row is invalid.
        """
        before, self._read = self._read, _what_is_read(self._model)
        is_current = before == self._read
        self._prepared = [prepared for prepared in self._prepared if is_current and prepared.dataset() is not None]
        for prepared in self._prepared:
            if prepared.dataset() is dataset and (not needs_labels or "entities" in prepared.features.column_names):
                return prepared
        model = self._model
        if dataset_name != TRAINING and isinstance(dataset, Dataset):
            warn_of_context("document_id" in dataset.column_names, model.config)
        with _progress_bars(self._show_progress):
            result = features.prepare(dataset, model.preprocessor, dataset_name, needs_labels)
        self._prepared.append(PreparedDataset(ref(dataset), *result))
        if dataset_name != TRAINING:
            result[1].relations.warn(model.config, dataset_name)
        return self._prepared[-1]


def settle(config: SpanMarkerConfig, training: Dataset, summary: DatasetSummary) -> None:
    """Set from the training data how overlaps are resolved and what relations join, unless it is configured.

    Args:
        config: The configuration of the model that is trained.
        training: The training data.
        summary: Counts of its annotations.
    """
    if config.decoding is None and summary.decoding != "flat":
        config.decoding = summary.decoding
    missing = [label for label in config.classes if label != OUTSIDE and label not in summary.labels]
    if missing and summary.num_entities:
        logger.warning(
            "The %s data has no entities of these labels, so the model cannot learn them: %s.",
            TRAINING,
            ", ".join(missing),
        )
    summary.warn_of_overlaps(config.decoder().decoding, TRAINING)
    config.trained_on = summary.trained_on("text" if "text" in training.column_names else "words")
    summary.relations.settle(config, TRAINING)
    summary.relations.warn(config, TRAINING)


@contextmanager
def _progress_bars(show: bool) -> Iterator[None]:
    """Hide the progress bars of ``datasets`` in a ``with`` block; there is a single switch for all of them."""
    hide = not show and not are_progress_bars_disabled()
    if hide:
        disable_progress_bars()
    try:
        yield
    finally:
        if hide:
            enable_progress_bars()


def _settings(config: SpanMarkerConfig) -> str:
    """A configuration, without the settings that ``transformers.Trainer`` only changes in its first model."""
    values = json.loads(config.to_json_string())
    return json.dumps({name: value for name, value in values.items() if name != "use_cache"})


def _what_is_read(model: SpanMarkerModel) -> Any:
    config = model.config
    values = [getattr(config, name) for name in READ]
    return deepcopy([*values, config.classes, config.relation_labels, model.max_text_length])


def evaluation_sets(eval_dataset: Any) -> dict[str, Any]:
    """Name the evaluation sets of a trainer.

    Args:
        eval_dataset: A data set, a dict of several, or None.

    Returns:
        The data sets, by their names in messages.
    """
    if isinstance(eval_dataset, Mapping):
        return {f"evaluation ({name})": dataset for name, dataset in eval_dataset.items()}
    return {} if eval_dataset is None else {"evaluation": eval_dataset}


def as_datasets(eval_dataset: Any) -> Any:
    """Convert evaluation data in other forms to data sets, see `span_marker.data.in_memory.as_dataset`.

    Args:
        eval_dataset: Anything that a trainer accepts: data, a dict of several data sets, the name of one, or None.

    Returns:
        The same, with data converted to data sets.
    """
    if isinstance(eval_dataset, Mapping):
        return {name: as_dataset(data, f"evaluation ({name})") for name, data in eval_dataset.items()}
    return as_dataset(eval_dataset, "evaluation")


def check_columns(datasets: Mapping[str, Any]) -> None:
    """Check that data sets are annotated, without reading their rows.

    Args:
        datasets: The data sets, by their names in errors; None is skipped.

    Raises:
        TypeError: If one is not a `Dataset`.
        ValueError: If the columns match no form of annotation, or several.
    """
    for name, dataset in datasets.items():
        if dataset is not None:
            annotation_form(named_splits({name: dataset})[name], name)
