"""Trainer: ``transformers.Trainer`` for SpanMarker models and data sets of words and tags."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import transformers
from datasets import Dataset
from torch import Tensor, nn
from transformers import EvalPrediction, TrainerCallback, TrainingArguments

from span_marker import evaluation, features
from span_marker.data_collator import IGNORE_INDEX, MODEL_INPUTS, SpanMarkerDataCollator, pad_entities
from span_marker.decoding import best_labels, decode_flat, to_array
from span_marker.labels import LabelledSpan
from span_marker.modeling import SpanMarkerModel

logger = logging.getLogger(__name__)


class Trainer(transformers.Trainer):
    """Trains and evaluates a SpanMarker model.

    Data sets have the columns ``tokens`` (words) and ``ner_tags`` (integers that index the labels, or the labels), and
    for document context ``document_id`` and ``sentence_id``. Each is prepared once.

    Args:
        model: The model; may be left out if there is ``model_init``.
        args: Training arguments.
        train_dataset: The data to train on.
        eval_dataset: The data to evaluate on, or a dict of several.
        model_init: Makes a model, anew for each run.
        compute_metrics: Computes other metrics than `span_marker.evaluation.compute_metrics`. Its argument's
            ``predictions`` are the predicted entities, ``(num_sentences, max_entities, 3)`` with class ID, first word
            and word behind the last, and their scores, ``(num_sentences, max_entities)``; its ``label_ids`` are the
            gold entities, likewise, and the number of words of each sentence. Rows are filled up with -100.
        callbacks: Callbacks.
        optimizers: Optimizer and scheduler.
        **kwargs: Other arguments of ``transformers.Trainer``, but no ``data_collator``: batches are made in one way.

    Raises:
        TypeError: If the model is not a `SpanMarkerModel`, or a data set not a `Dataset`.
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
        if args.n_gpu > 1:
            logger.warning("Training uses one of %d GPUs: launch it with torchrun to use all.", args.n_gpu)
            args._n_gpu = 1  # a batch can't be cut into pieces as DataParallel would do
        super().__init__(
            model=model,
            args=args,
            train_dataset=train_dataset,
            eval_dataset=eval_dataset,
            model_init=model_init,
            compute_metrics=compute_metrics or self._compute_metrics,
            callbacks=callbacks,
            optimizers=optimizers,
            **kwargs,
        )
        self._signature_columns: list[str] = [*features.TEXT_FEATURES, *features.LABEL_FEATURES]  # type: ignore[assignment]
        self._prepared: list[tuple[Dataset, Dataset]] = []
        self._raw_datasets = (train_dataset, eval_dataset)
        self._prepare_for(self._span_marker)

    def _prepare_for(self, model: SpanMarkerModel) -> None:
        """Fit everything that depends on the model to it: the collator, the data sets, the model's own notes."""
        self._reader, config = model, model.config
        pad_token_id = model.require_tokenizer().pad_token_id
        self.data_collator = SpanMarkerDataCollator(pad_token_id, config.entity_max_length, config.outside_id)
        if getattr(self, "_text_limit", None) != model.max_text_length:
            self._text_limit = model.max_text_length
            self._prepared = []
        train_dataset, eval_dataset = self._raw_datasets
        if train_dataset is not None:
            self.train_dataset = self._prepare(train_dataset, "training")
            has_context = {"document_id", "sentence_id"} <= set(train_dataset.column_names)
            config.trained_with_document_context = has_context
        if isinstance(eval_dataset, dict):
            self.eval_dataset = {
                name: self._prepare(data, f"evaluation ({name})") for name, data in eval_dataset.items()
            }
        elif eval_dataset is not None:
            self.eval_dataset = self._prepare(eval_dataset, "evaluation")

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

    def _prepare(self, dataset: Dataset, what: str, needs_tags: bool = True) -> Dataset:
        """Prepare a data set, or find what was prepared before."""
        for known, prepared in self._prepared:
            has_tags = "entities" in prepared.column_names
            if (known is dataset and has_tags >= needs_tags) or prepared is dataset:
                return prepared
        model = self._reader
        prepared = features.prepare(
            dataset, model.require_tokenizer(), model.config, model.max_text_length, what, needs_tags=needs_tags
        )
        self._prepared.append((dataset, prepared))
        return prepared

    def get_eval_dataloader(self, eval_dataset: Any = None) -> Any:
        """See ``transformers.Trainer``."""
        if eval_dataset is not None and not isinstance(eval_dataset, str):
            eval_dataset = self._prepare(eval_dataset, "evaluation")
        return super().get_eval_dataloader(eval_dataset)

    def get_test_dataloader(self, test_dataset: Any) -> Any:
        """See ``transformers.Trainer``. Test data may lack the column ``ner_tags``."""
        return super().get_test_dataloader(self._prepare(test_dataset, "test", needs_tags=False))

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
        return super().compute_loss(model, inputs, return_outputs, num_items_in_batch)

    def prediction_step(
        self,
        model: nn.Module,
        inputs: dict[str, Any],
        prediction_loss_only: bool,
        ignore_keys: list[str] | None = None,
    ) -> tuple[Tensor | None, Any, Any]:
        """Score a batch and decode it at once, so that only entities are kept, not the scores of all candidates.

        Args:
            model: The model, maybe wrapped.
            inputs: A batch.
            prediction_loss_only: Whether to return the loss alone.
            ignore_keys: Not used.

        Returns:
            The loss; predicted entities and their scores; gold entities and numbers of words. See `Trainer` for the
            shapes.
        """
        inputs = self._prepare_inputs(inputs)
        with torch.no_grad(), self.compute_loss_context_manager():
            if "labels" in inputs:
                loss, outputs = self.compute_loss(model, inputs, return_outputs=True)
            else:
                loss, outputs = None, model(**{name: inputs[name] for name in MODEL_INPUTS if name in inputs})
        if prediction_loss_only:
            return loss, None, None
        spans = decode_flat(
            *best_labels(outputs.logits),
            inputs["span_words"].cpu().numpy(),
            inputs["span_counts"].cpu().numpy(),
            self._span_marker.config.outside_id,
        )
        entities = torch.from_numpy(pad_entities([to_array(kept) for kept in spans]))
        scores = torch.full(entities.shape[:2], float(IGNORE_INDEX))
        for row, kept in zip(scores, spans, strict=True):
            row[: len(kept)] = torch.tensor([span.score for span in kept])
        device = self.args.device
        labels = (inputs["gold_entities"], inputs["num_words"]) if "labels" in inputs else None
        return loss, (entities.to(device), scores.to(device)), labels

    def _compute_metrics(self, prediction: EvalPrediction) -> dict[str, Any]:
        predictions: Any = prediction.predictions
        label_ids: Any = prediction.label_ids
        (predicted, _), (gold, num_words) = predictions, label_ids
        labels = self._span_marker.config.reduced_labels
        metrics = evaluation.compute_metrics(
            _read_entities(gold, labels), _read_entities(predicted, labels), num_words.tolist()
        )
        if self.is_in_train:
            return {name: value for name, value in metrics.items() if name.startswith("overall_")}
        return metrics


def _read_entities(padded: np.ndarray[Any, Any], labels: list[str]) -> list[list[LabelledSpan]]:
    """``(num_sentences, max_entities, 3)`` to the entities of each sentence."""
    return [
        [LabelledSpan(labels[label], start, end) for label, start, end in rows if label != IGNORE_INDEX]
        for rows in padded.tolist()
    ]
