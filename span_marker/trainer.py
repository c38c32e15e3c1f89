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
from span_marker.data_collator import IGNORE_INDEX, MODEL_INPUTS, SpanMarkerDataCollator, pad_entities
from span_marker.decoding import FloatArray, ScoredSpan
from span_marker.features import Annotations
from span_marker.inference import ScoredSpans
from span_marker.labels import LabelledSpan
from span_marker.limits import set_limits
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
        has_filter = model.span_filter is not None or config.candidates_per_word is not None
        if has_filter and (self.args.label_smoothing_factor or self.compute_loss_func is not None):
            raise ValueError(
                "label_smoothing_factor and compute_loss_func can't be used with a candidate filter, which has a loss "
                "of its own: load the model with candidates_per_word=None, or leave them out"
            )
        train_dataset, eval_dataset = self._raw_datasets
        if train_dataset is not None:
            set_limits(config, train_dataset, model.require_tokenizer())
            if config.candidates_per_word is not None and model.span_filter is None:
                if self.optimizer is not None and self.model_init is None:
                    raise ValueError("call model.add_span_filter() before you make an optimizer of its parameters")
                model.add_span_filter()
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
            model.reset_span_filter()
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

    def train(self, *args: Any, **kwargs: Any) -> Any:
        """See ``transformers.Trainer``. A candidate filter is tuned at the end, on the evaluation data.

        Args:
            *args: Handed to ``transformers.Trainer.train``.
            **kwargs: Likewise.

        Returns:
            What ``transformers.Trainer.train`` returns.
        """
        if self.model_init is None:
            self._span_marker.reset_span_filter()
        output = super().train(*args, **kwargs)
        self._tune_span_filter()
        return output

    def _tune_span_filter(self) -> None:
        model, data = self._span_marker, self._raw_datasets[1]
        if model.span_filter is None or model.config.exact:
            return
        if isinstance(data, dict):
            data = next(iter(data.values()), None)
        if data is None:
            logger.warning(
                "There is no eval_dataset to choose the candidate filter's threshold on: prediction gives markers to "
                "as many candidates as training, candidates_per_word=%s, until you call model.tune_span_filter.",
                model.config.candidates_per_word,
            )
            return
        try:
            report = model.tune_span_filter(data, batch_size=self.args.eval_batch_size)
        except ValueError as error:
            logger.warning(
                "The candidate filter's threshold can't be chosen on the eval_dataset: prediction gives markers to as "
                "many candidates as training, until you call model.tune_span_filter. %s",
                error,
            )
        else:
            logger.info("Candidate filter, tuned on the evaluation data:\n%s", report)

    def evaluate(
        self,
        eval_dataset: Dataset | dict[str, Dataset] | None = None,
        ignore_keys: list[str] | None = None,
        metric_key_prefix: str = "eval",
        compare_exact: bool = False,
    ) -> dict[str, Any]:
        """See ``transformers.Trainer``.

        Args:
            eval_dataset: The data, or a dict of several; by default those of the trainer.
            ignore_keys: Not used.
            metric_key_prefix: Put in front of the names of the metrics.
            compare_exact: Whether to evaluate without the candidate filter, too.

        Returns:
            The metrics of `span_marker.evaluation.compute_metrics`, and ``eval_candidates_kept``, the share of the
            candidates that got markers: 1 if no filter was on. With ``compare_exact``, all of that again as
            ``eval_exact_...``, and ``eval_recall_lost``, the recall that the filter cost.
        """
        metrics: dict[str, Any] = super().evaluate(eval_dataset, ignore_keys, metric_key_prefix)
        if not compare_exact:
            return metrics
        config = self._span_marker.config
        was_exact, config.exact = config.exact, True
        try:
            exact = super().evaluate(eval_dataset, ignore_keys, f"{metric_key_prefix}_exact")
        finally:
            config.exact = was_exact
        for name in [name for name in exact if name.endswith("_overall_recall")]:
            filtered = name.replace(f"{metric_key_prefix}_exact", metric_key_prefix, 1)
            metrics[filtered.replace("overall_recall", "recall_lost")] = exact[name] - metrics[filtered]
        return metrics | exact

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
            The loss; the entities, or what may be one in a window, with scores, the sentence of each row, and how many
            candidates got markers of how many; gold entities and numbers of words of each row. Rows are sentences, or
            windows of them.
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
        scored = ScoredSpans.of(inputs, outputs.logits, outputs.kept)
        found = [
            decoder.select(spans) if is_whole else spans
            for spans, is_whole in zip(decoder.propose(*scored), inputs["is_whole"].tolist(), strict=True)
        ]
        entities, scores = (torch.from_numpy(array).to(self.args.device) for array in pad_spans(found))
        counts = torch.stack([scored.span_counts, inputs["span_counts"]], dim=1)
        labels = (inputs["gold_entities"], inputs["num_words"]) if "labels" in inputs else None
        return loss, (entities, scores, inputs["rows"], counts), labels

    def _of_sentences(self, compute_metrics: Callable[[EvalPrediction], dict[str, Any]]) -> Any:
        """Let a function see whole sentences rather than windows, and entities rather than all that may be one."""

        def compute(prediction: EvalPrediction) -> dict[str, Any]:
            predictions, label_ids = self._merge(prediction.predictions, prediction.label_ids)
            others = {"inputs": prediction.inputs, "losses": prediction.losses}  # of pieces
            metrics = compute_metrics(EvalPrediction(predictions=predictions, label_ids=label_ids, **others))
            if self.is_in_train:  # a search for hyperparameters adds up all metrics
                return metrics
            num_kept, num_candidates = prediction.predictions[-1].sum(axis=0).tolist()
            return {**metrics, "candidates_kept": num_kept / num_candidates if num_candidates else 1.0}

        return compute

    def _merge(self, predictions: Any, label_ids: Any) -> tuple[Any, Any]:
        """Bring the windows of each sentence together, and resolve overlaps."""
        found, scores, rows, _ = predictions
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
