"""Trainer: ``transformers.Trainer`` for SpanMarker models and annotated data."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
import transformers
from datasets import Dataset
from torch import Tensor, nn
from transformers import EvalPrediction, TrainerCallback, TrainingArguments
from transformers.trainer_utils import PredictionOutput

from span_marker import evaluation, features
from span_marker.configuration import AUTO
from span_marker.data_collator import IGNORE_INDEX, MODEL_INPUTS, SpanMarkerDataCollator, pad_entities
from span_marker.decoding import FloatArray, ScoredSpan
from span_marker.encoders import max_text_length
from span_marker.features import Annotations
from span_marker.labels import LabelledSpan
from span_marker.limits import suggest_limits
from span_marker.modeling import SpanMarkerModel
from span_marker.spans import IntArray

logger = logging.getLogger(__name__)


class Trainer(transformers.Trainer):
    """Trains and evaluates a SpanMarker model.

    Data sets have the columns ``tokens`` (words) and ``ner_tags`` (integers that index the labels, or the labels),
    ``tokens`` and ``entities``, or ``text`` and ``entities``, see `span_marker.annotations`; and for document context
    ``document_id`` and ``sentence_id``. Each is prepared once. Sentences beyond the text limit are read in windows, as
    in prediction.

    If the model's configuration leaves it open, the training data decide about the limits that are ``"auto"``, and
    about ``decoding``: it is set to ``"overlapping"`` if at least one in a hundred entities crosses another, and to
    ``"nested"`` if so many lie within another or share its words.

    Args:
        model: The model; may be left out if there is ``model_init``.
        args: Training arguments.
        train_dataset: The data to train on.
        eval_dataset: The data to evaluate on, or a dict of several.
        model_init: Makes a model, anew for each run.
        compute_metrics: Computes other metrics than `span_marker.evaluation.compute_metrics`. Its argument's
            ``predictions`` are the predicted entities, ``(num_sentences, max_entities, 3)`` with class ID, first word
            and word behind the last, and their scores, ``(num_sentences, max_entities)``; its ``label_ids`` are the
            gold entities, likewise, and the number of words of each sentence. Rows are filled up with -100. A gold
            entity that begins or ends within a word has -1 for both words.
        callbacks: Callbacks.
        optimizers: Optimizer and scheduler.
        **kwargs: Other arguments of ``transformers.Trainer``, but no ``data_collator``: batches are made in one way.

    Raises:
        TypeError: If the model is not a `SpanMarkerModel`, or a data set not a `Dataset`.
        ValueError: If an argument would take evaluation apart (``batch_eval_metrics``, or ``eval_do_concat_batches``
            switched off), or labels are to be smoothed that each stand alone.
    """

    def __init__(
        self,
        model: SpanMarkerModel | None = None,
        args: TrainingArguments | None = None,
        train_dataset: Dataset | None = None,
        eval_dataset: Dataset | dict[str, Dataset] | None = None,
        model_init: Callable[..., SpanMarkerModel] | None = None,
        compute_metrics: Callable[[EvalPrediction], dict[str, Any]] | None = None,
        callbacks: list[TrainerCallback] | None = None,
        optimizers: tuple[Any, Any] = (None, None),
        **kwargs: Any,
    ) -> None:
        if kwargs.get("data_collator") is not None:
            raise TypeError("Trainer makes its own data_collator: leave data_collator out")
        args = TrainingArguments(output_dir="tmp_trainer") if args is None else args
        if args.batch_eval_metrics or not args.eval_do_concat_batches:
            raise ValueError(
                "batch_eval_metrics must be off and eval_do_concat_batches on: windows of a text may be in different "
                "batches, and are evaluated together"
            )
        if args.n_gpu > 1:
            logger.warning("Training uses one of %d GPUs: launch it with torchrun to use all.", args.n_gpu)
            args._n_gpu = 1  # a batch can't be cut into pieces as DataParallel would do
        super().__init__(
            model=model,
            args=args,
            train_dataset=train_dataset,
            eval_dataset=eval_dataset,
            model_init=model_init,
            compute_metrics=self._of_sentences(compute_metrics or self._compute_metrics),
            callbacks=callbacks,
            optimizers=optimizers,
            **kwargs,
        )
        self._signature_columns: list[str] = [*features.TEXT_FEATURES, *features.LABEL_FEATURES]  # type: ignore[assignment]
        self._prepared: list[tuple[Dataset, Dataset, Annotations]] = []
        self._raw_datasets = (train_dataset, eval_dataset)
        self._prepare_for(self._span_marker)

    def _prepare_for(self, model: SpanMarkerModel) -> None:
        """Fit everything that depends on the model to it: the collator, the data sets, the model's own notes."""
        self._reader, config = model, model.config
        if config.multi_label and self.args.label_smoothing_factor:
            raise ValueError("label_smoothing_factor must be 0 for a multi-label model: its labels each stand alone")
        train_dataset, eval_dataset = self._raw_datasets
        if train_dataset is not None:
            set_limits(model, train_dataset)
        self.data_collator = SpanMarkerDataCollator.for_model(model.require_tokenizer(), config)
        prepared_for = (config.to_json_string(), model.max_text_length)
        if getattr(self, "_prepared_for", None) != prepared_for:
            self._prepared_for = prepared_for
            self._prepared = []
        if train_dataset is not None:
            self.train_dataset, summary = self._prepare(train_dataset, "training")
            if config.decoding is None and summary.decoding != "flat":
                config.decoding = summary.decoding
            summary.warn_of_overlaps(config.decoder().decoding, "training")
            has_context = {"document_id", "sentence_id"} <= set(train_dataset.column_names)
            config.trained_with_document_context = has_context
        if isinstance(eval_dataset, dict):
            self.eval_dataset = {
                name: self._prepare(data, f"evaluation ({name})")[0] for name, data in eval_dataset.items()
            }
        elif eval_dataset is not None:
            self.eval_dataset, _ = self._prepare(eval_dataset, "evaluation")

    def call_model_init(self, trial: Any = None) -> Any:
        """See ``transformers.Trainer``. A new model may have other limits than the one before."""
        model = super().call_model_init(trial)
        if hasattr(self, "_raw_datasets") and isinstance(model, SpanMarkerModel):
            self._prepare_for(model)
        return model

    @property
    def _span_marker(self) -> SpanMarkerModel:
        model = self.accelerator.unwrap_model(self.model)
        if not isinstance(model, SpanMarkerModel):
            raise TypeError(f"Trainer needs a SpanMarkerModel, not {type(model).__name__}")
        return model

    def _prepare(self, dataset: Dataset, what: str, needs_labels: bool = True) -> tuple[Dataset, Annotations]:
        """Prepare a data set, or find what was prepared before."""
        for known, prepared, summary in self._prepared:
            has_labels = "entities" in prepared.column_names
            if (known is dataset and has_labels >= needs_labels) or prepared is dataset:
                return prepared, summary
        model = self._reader
        prepared, summary = features.prepare(
            dataset, model.require_tokenizer(), model.config, model.max_text_length, what, needs_labels=needs_labels
        )
        self._prepared.append((dataset, prepared, summary))
        return prepared, summary

    def get_eval_dataloader(self, eval_dataset: Any = None) -> Any:
        """See ``transformers.Trainer``."""
        if eval_dataset is not None and not isinstance(eval_dataset, str):
            eval_dataset, _ = self._prepare(eval_dataset, "evaluation")
        return super().get_eval_dataloader(eval_dataset)

    def get_test_dataloader(self, test_dataset: Any) -> Any:
        """See ``transformers.Trainer``. Test data may lack annotations."""
        return super().get_test_dataloader(self._prepare(test_dataset, "test", needs_labels=False)[0])

    def predict(
        self, test_dataset: Any, ignore_keys: list[str] | None = None, metric_key_prefix: str = "test"
    ) -> PredictionOutput:
        """See ``transformers.Trainer``.

        Args:
            test_dataset: The data; annotations may be missing.
            ignore_keys: Not used.
            metric_key_prefix: Put in front of the names of the metrics.

        Returns:
            Predictions, gold entities if there are annotations (see `Trainer` for the shapes), and metrics.
        """
        output = super().predict(test_dataset, ignore_keys, metric_key_prefix)
        if output.predictions is None:  # prediction_loss_only
            return output
        predictions, label_ids = self._merge(output.predictions, output.label_ids)
        return PredictionOutput(predictions=predictions, label_ids=label_ids, metrics=output.metrics)

    def log_metrics(self, split: str, metrics: dict[str, Any]) -> None:
        """See ``transformers.Trainer``. The metrics of each label are written out one by one."""
        flat: dict[str, Any] = {}
        for name, value in metrics.items():
            if isinstance(value, dict):
                flat |= {f"{name}_{key}": number for key, number in value.items()}
            else:
                flat[name] = value
        super().log_metrics(split, flat)

    def compute_loss(
        self, model: nn.Module, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """See ``transformers.Trainer``. What only the evaluation needs is kept from the model."""
        inputs = {name: value for name, value in inputs.items() if name in MODEL_INPUTS}
        if num_items_in_batch is not None and inputs["labels"].dim() == 2:
            num_items_in_batch = num_items_in_batch / inputs["labels"].shape[1]  # transformers counts all numbers
        return super().compute_loss(model, inputs, return_outputs, num_items_in_batch)

    def prediction_step(
        self,
        model: nn.Module,
        inputs: dict[str, Any],
        prediction_loss_only: bool,
        ignore_keys: list[str] | None = None,
    ) -> tuple[Tensor | None, Any, Any]:
        """Score a batch and find at once what may be an entity, so that the scores of all candidates are not kept.

        Args:
            model: The model, maybe wrapped.
            inputs: A batch.
            prediction_loss_only: Whether to return the loss alone.
            ignore_keys: Not used.

        Returns:
            The loss; the entities, or what may be one in a window, with scores, and the sentence of each row; gold
            entities and numbers of words of each row. Rows are sentences, or windows of them.
        """
        inputs = self._prepare_inputs(inputs)
        with torch.no_grad(), self.compute_loss_context_manager():
            if "labels" in inputs:
                loss, outputs = self.compute_loss(model, inputs, return_outputs=True)
            else:
                loss, outputs = None, model(**{name: inputs[name] for name in MODEL_INPUTS if name in inputs})
        if prediction_loss_only:
            return loss, None, None
        decoder = self._span_marker.config.decoder()
        found = [
            decoder.select(spans) if is_whole else spans
            for spans, is_whole in zip(
                decoder.propose(outputs.logits, inputs["span_words"], inputs["span_counts"]),
                inputs["is_whole"].tolist(),
                strict=True,
            )
        ]
        entities, scores = (torch.from_numpy(array).to(self.args.device) for array in pad_spans(found))
        labels = (inputs["gold_entities"], inputs["num_words"]) if "labels" in inputs else None
        return loss, (entities, scores, inputs["rows"]), labels

    def _of_sentences(self, compute_metrics: Callable[[EvalPrediction], dict[str, Any]]) -> Any:
        """Let a function see whole sentences rather than windows, and entities rather than all that may be one."""

        def compute(prediction: EvalPrediction) -> dict[str, Any]:
            predictions, label_ids = self._merge(prediction.predictions, prediction.label_ids)
            others = {"inputs": prediction.inputs, "losses": prediction.losses}  # of pieces
            return compute_metrics(EvalPrediction(predictions=predictions, label_ids=label_ids, **others))

        return compute

    def _merge(self, predictions: Any, label_ids: Any) -> tuple[Any, Any]:
        """Bring the windows of each sentence together, and resolve overlaps."""
        found, scores, rows = predictions
        decoder = self._span_marker.config.decoder()
        places = {row: index for index, row in enumerate(sorted(set(rows.tolist())))}
        spans: list[list[ScoredSpan]] = [[] for _ in places]
        for row, entities, of_entities in zip(rows.tolist(), found.tolist(), scores.tolist(), strict=True):
            pairs = zip(entities, of_entities, strict=True)
            spans[places[row]] += [
                ScoredSpan(span[0], span[1], span[2], score) for span, score in pairs if span[0] != IGNORE_INDEX
            ]
        predictions = pad_spans([decoder.select(of_sentence) for of_sentence in spans])
        if label_ids is None:
            return predictions, None
        gold: list[list[list[int]]] = [[] for _ in places]
        num_words = np.zeros(len(places), dtype=np.int64)
        for row, entities, words in zip(rows.tolist(), label_ids[0].tolist(), label_ids[1].tolist(), strict=True):
            gold[places[row]] += [entity for entity in entities if entity[0] != IGNORE_INDEX]
            num_words[places[row]] += words
        arrays = [np.array(entities, dtype=np.int64).reshape(-1, 3) for entities in gold]
        return predictions, (pad_entities(arrays), num_words)

    def _compute_metrics(self, prediction: EvalPrediction) -> dict[str, Any]:
        predictions: Any = prediction.predictions
        label_ids: Any = prediction.label_ids
        (predicted, _), (gold, num_words) = predictions, label_ids
        labels = self._span_marker.config.reduced_labels
        metrics = evaluation.compute_metrics(
            _read_entities(gold, labels), _read_entities(predicted, labels), num_words.tolist()
        )
        if self.is_in_train:
            return {name: value for name, value in metrics.items() if not isinstance(value, dict)}
        return metrics


def set_limits(model: SpanMarkerModel, train_dataset: Dataset) -> None:
    """Set the limits that are ``"auto"`` from the training data, and say to what.

    Args:
        model: The model.
        train_dataset: The data to train on.
    """
    config = model.config
    limits = [name for name in ("entity_max_length", "model_max_length") if getattr(config, name) == AUTO]
    if not limits:
        return
    suggestion = suggest_limits(
        {"training": train_dataset},
        model.require_tokenizer(),
        text_limit=max_text_length(config.encoder),
        labels=config.given_labels,
    )
    if config.entity_max_length == AUTO:
        config.entity_max_length = suggestion.entity_max_length
    if config.model_max_length == AUTO:
        # Short texts cost no more under a higher limit, and later ones may be longer, or have context around them.
        largest = max_text_length(config.encoder)
        wanted = max(suggestion.model_max_length, config.model_max_length_default)
        config.model_max_length = wanted if largest is None else min(wanted, largest)
    chosen = ", ".join(f"{name}={getattr(config, name)}" for name in limits)
    logger.info("%s, from the training data:\n%s", chosen, suggestion)


def pad_spans(spans: Sequence[Sequence[ScoredSpan]]) -> tuple[IntArray, FloatArray]:
    """Stack what was found in several sentences.

    Args:
        spans: The spans of each sentence.

    Returns:
        Class ID, first word and word behind the last, ``(batch, max_spans, 3)``, and scores, ``(batch, max_spans)``,
        both filled up with `IGNORE_INDEX`.
    """
    entities = pad_entities([np.array([span[:3] for span in of], dtype=np.int64).reshape(-1, 3) for of in spans])
    scores = np.full(entities.shape[:2], IGNORE_INDEX, dtype=np.float32)
    for row, of_sentence in zip(scores, spans, strict=True):
        row[: len(of_sentence)] = [span.score for span in of_sentence]
    return entities, scores


def _read_entities(padded: np.ndarray[Any, Any], labels: list[str]) -> list[list[LabelledSpan]]:
    """``(num_sentences, max_entities, 3)`` to the entities of each sentence."""
    return [
        [LabelledSpan(labels[label], start, end) for label, start, end in rows if label != IGNORE_INDEX]
        for rows in padded.tolist()
    ]
