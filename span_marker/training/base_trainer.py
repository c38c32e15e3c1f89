"""Evaluation by ``transformers.Trainer`` when predictions are entities rather than a row of numbers for each token."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import transformers
from torch import Tensor, nn
from transformers import EvalPrediction
from transformers.trainer_utils import PredictionOutput

from span_marker.core import metrics as span_metrics
from span_marker.core.decoding import ScoredSpans
from span_marker.modeling import SpanMarkerModel, without_adapter
from span_marker.preprocessing.data_collator import MODEL_INPUTS
from span_marker.training import gathering


def check_arguments(model: Any, args: Any) -> None:
    """Check what `Trainer` is made with.

    Args:
        model: The model, maybe wrapped; None if there is ``model_init``.
        args: The training arguments.

    Raises:
        TypeError: If one of them is nothing of the kind.
        ValueError: If an argument would take evaluation apart.
    """
    if model is not None and not isinstance(model, nn.Module):
        without_adapter(model)
    if not isinstance(args, transformers.TrainingArguments):
        folder = args if isinstance(args, str) else "folder"
        raise TypeError(f"args must be TrainingArguments, not {type(args).__name__}: TrainingArguments({folder!r})")
    if args.batch_eval_metrics or not args.eval_do_concat_batches:
        raise ValueError(
            "batch_eval_metrics must be off and eval_do_concat_batches on: windows of a text may be in different "
            "batches, and are evaluated together"
        )


class EvaluationLoop(transformers.Trainer):
    """A ``transformers.Trainer`` that finds entities batch by batch, and computes metrics of whole sentences.

    See `span_marker.training.trainer.Trainer`, which prepares the data.

    Args:
        model: See ``transformers.Trainer``.
        args: Likewise.
        train_dataset: Likewise.
        eval_dataset: Likewise.
        **kwargs: Likewise.
    """

    @property
    def _span_marker(self) -> SpanMarkerModel:
        return without_adapter(self.accelerator.unwrap_model(self.model))

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
        entities, scores = (torch.from_numpy(array).to(self.args.device) for array in gathering.pad_spans(found))
        counts = torch.stack([scored.span_counts, inputs["span_counts"]], dim=1)
        labels = (inputs["gold_entities"], inputs["num_words"]) if "labels" in inputs else None
        return loss, (entities, scores, inputs["rows"], counts), labels

    def _of_sentences(self, compute_metrics: Callable[[EvalPrediction], dict[str, Any]]) -> Any:
        """Let a function see whole sentences rather than windows, and entities rather than all that may be one."""

        def compute(prediction: EvalPrediction) -> dict[str, Any]:
            predictions, label_ids = gathering.merge(
                prediction.predictions, prediction.label_ids, self._span_marker.config.decoder()
            )
            others = {"inputs": prediction.inputs, "losses": prediction.losses}  # of pieces
            metrics = compute_metrics(EvalPrediction(predictions=predictions, label_ids=label_ids, **others))
            if self.is_in_train:  # a search for hyperparameters adds up all metrics
                return metrics
            num_kept, num_candidates = prediction.predictions[-1].sum(axis=0).tolist()
            return {**metrics, "candidates_kept": num_kept / num_candidates if num_candidates else 1.0}

        return compute

    def _compute_metrics(self, prediction: EvalPrediction) -> dict[str, Any]:
        predictions: Any = prediction.predictions
        label_ids: Any = prediction.label_ids
        (predicted, _), (gold, num_words) = predictions, label_ids
        labels = self._span_marker.config.reduced_labels
        metrics = span_metrics.compute_metrics(
            gathering.read_entities(gold, labels), gathering.read_entities(predicted, labels), num_words.tolist()
        )
        if self.is_in_train:
            return {name: value for name, value in metrics.items() if not isinstance(value, dict)}
        return metrics

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
        predictions, label_ids = gathering.merge(
            output.predictions, output.label_ids, self._span_marker.config.decoder()
        )
        return PredictionOutput(predictions=predictions, label_ids=label_ids, metrics=output.metrics)

    def log(self, logs: dict[str, Any], *args: Any, **kwargs: Any) -> None:
        """See ``transformers.Trainer``. The metrics of each label are logged one by one."""
        super().log(flat(logs), *args, **kwargs)

    def log_metrics(self, split: str, metrics: dict[str, Any]) -> None:
        """See ``transformers.Trainer``. The metrics of each label are written out one by one."""
        super().log_metrics(split, flat(metrics))


def flat(metrics: dict[str, Any]) -> dict[str, Any]:
    """Take the metrics of each label out of their dict.

    Args:
        metrics: Metrics, some of them dicts.

    Returns:
        Metrics, none of them a dict.

    Example:
        >>> flat({"eval_LOC": {"f1": 0.5}, "eval_loss": 1.0})
        {'eval_LOC_f1': 0.5, 'eval_loss': 1.0}
    """
    values: dict[str, Any] = {}
    for name, value in metrics.items():
        if isinstance(value, dict):
            values |= {f"{name}_{key}": number for key, number in value.items()}
        else:
            values[name] = value
    return values
