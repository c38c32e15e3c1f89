"""BaseTrainer: ``transformers.Trainer`` for models that predict entities rather than one row of scores per token."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import Any

import torch
import transformers
from torch import Tensor, nn
from transformers import EvalPrediction
from transformers.trainer_utils import PredictionOutput

from span_marker.checkpoints import atomic, custom_code
from span_marker.core import metrics as span_metrics
from span_marker.core.decoding import RULES, Decoder, ScoredSpans
from span_marker.core.spans import IntArray
from span_marker.modeling import SpanMarkerModel, without_adapter
from span_marker.preprocessing.data_collator import IGNORE_INDEX, MODEL_INPUTS, PAIR_INPUTS
from span_marker.training import gathering
from span_marker.training.gathering import Gathered
from span_marker.training.progress import Outcome
from span_marker.training.relation_evaluation import evaluate_relations


def check_arguments(model: Any, args: Any) -> None:
    """Check the arguments of `Trainer`.

    Args:
        model: The model, possibly wrapped; None if ``model_init`` is used.
        args: The training arguments.

    Raises:
        TypeError: If ``model`` is not a SpanMarker model, or ``args`` are not training arguments.
        ValueError: If an argument would evaluate the windows of a text separately.
    """
    if model is not None and not isinstance(model, nn.Module):
        without_adapter(model)
    if not isinstance(args, transformers.TrainingArguments):
        folder = args if isinstance(args, str) else "folder"
        raise TypeError(
            f"args must be TrainingArguments, not {type(args).__name__}: pass TrainingArguments({folder!r})"
        )
    if args.neftune_noise_alpha is not None:
        raise ValueError(
            f"neftune_noise_alpha={args.neftune_noise_alpha} must be None: NEFTune scales its noise by the length of a "
            "text, but the texts of a batch are encoded in one row"
        )
    if args.batch_eval_metrics or not args.eval_do_concat_batches:
        raise ValueError(
            f"batch_eval_metrics={args.batch_eval_metrics} must be False and eval_do_concat_batches="
            f"{args.eval_do_concat_batches} must be True: the windows of a text may be in different batches, but are "
            "evaluated together"
        )


def refuse_own_parts(model: Any, arguments: dict[str, Any]) -> None:
    """Refuse arguments of ``transformers.Trainer`` that the model itself provides.

    Args:
        model: The model; None if ``model_init`` is used.
        arguments: The arguments by name. Those for a tokenizer are removed.

    Raises:
        TypeError: If there is a data collator, or a tokenizer other than that of the model.
    """
    if arguments.get("data_collator") is not None:
        raise TypeError("Trainer makes its own data_collator: leave data_collator out")
    own = getattr(model, "tokenizer", None)
    for name in ("tokenizer", "processing_class"):
        value = arguments.pop(name, None)
        if value is not None and value is not own and value is not getattr(own, "tokenizer", None):
            raise TypeError(
                f"{name}={type(value).__name__} cannot replace the tokenizer of the model, model.tokenizer, which "
                f"Trainer uses and saves: leave {name} out"
            )


class BaseTrainer(transformers.Trainer):
    """A ``transformers.Trainer`` that evaluates entities of whole sentences, and keeps checkpoints and cards complete.

    See `span_marker.training.trainer.Trainer`, which prepares the data.

    Args:
        model: See ``transformers.Trainer``.
        args: See ``transformers.Trainer``.
        train_dataset: See ``transformers.Trainer``.
        eval_dataset: See ``transformers.Trainer``.
        **kwargs: See ``transformers.Trainer``.
    """

    _exact: bool | None = None
    """Whether evaluation gives markers to all candidates; None to follow the model's configuration."""

    _features: Any = None
    """The features of the data that are evaluated."""

    _outcome: Outcome | None = None
    """The latest evaluation with metrics; None if there was none."""

    @property
    def _span_marker(self) -> SpanMarkerModel:
        return without_adapter(self.accelerator.unwrap_model(self.model))

    def _collator_for(self, description: str) -> Any:
        """The function that makes batches for "Training", "Evaluation" or "test"."""
        return self._span_marker.preprocessor.collator

    def compute_loss(
        self, model: nn.Module, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """See ``transformers.Trainer``. The model gets only those parts of a batch that its ``forward`` accepts."""
        inputs = _forward_inputs(inputs)
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
        """Score a batch and propose its entities at once, so that the scores of all candidates need not be kept.

        Args:
            model: The model, possibly wrapped.
            inputs: A batch.
            prediction_loss_only: Whether to return only the loss.
            ignore_keys: Not used.

        Returns:
            The loss, predictions and labels. Predictions have the form of `Gathered`; without labels, no spans are
            ranked. Labels are the gold entities and the number of words of each row.
        """
        # private: moves the batch to the device of the model.
        inputs = {**self._prepare_inputs(inputs), "exact": self._exact}
        with torch.no_grad(), self.compute_loss_context_manager():
            if "labels" in inputs:
                loss, outputs = self.compute_loss(model, inputs, return_outputs=True)
            else:
                loss, outputs = None, model(**_forward_inputs(inputs))
        if prediction_loss_only:
            return loss, None, None
        scored = ScoredSpans.from_batch(inputs, outputs.logits, outputs.kept)
        limits = gathering.proposal_limits(*(inputs[name].cpu().numpy() for name in ("span_words", "span_counts")))
        if "labels" not in inputs:
            limits[:] = 0
        entities = self._find_spans(self._span_marker.config.decoder(), scored, inputs["is_whole"])
        ranked = self._find_spans(self._ranking_decoder, scored, inputs["is_whole"], limits)
        kept_counts = torch.as_tensor(scored.span_counts, device=inputs["span_counts"].device)
        counts = torch.stack([kept_counts, inputs["span_counts"]], dim=1)
        labels = (inputs["gold_entities"], inputs["num_words"]) if "labels" in inputs else None
        return loss, (*entities, *ranked, inputs["rows"], inputs["blank_words"], counts), labels

    def _find_spans(
        self, decoder: Decoder, scored: ScoredSpans, is_whole: Tensor, limits: IntArray | None = None
    ) -> Iterator[Tensor]:
        """The selected spans of each sentence, or the proposed ones of each window, and their scores, padded."""
        proposals = zip(decoder.propose(*scored, limits), is_whole.tolist(), strict=True)
        spans = [decoder.select(proposed) if whole else proposed for proposed, whole in proposals]
        return (torch.from_numpy(array).to(self.args.device) for array in gathering.pad_spans(spans))

    @property
    def _ranking_decoder(self) -> Decoder:
        """Proposes spans regardless of the probability of ``O``, and resolves overlaps greedily for all thresholds.

        A greedy selection looks at one span after another, the most probable first. The spans that it selects at or
        above a threshold are therefore the first ones that it selects among all spans.
        """
        config = self._span_marker.config
        return config.decoder(threshold=0.0, decoding=RULES[config.decoder().decoding].greedy)

    def _sentence_metrics(self, compute_metrics: Callable[[EvalPrediction], dict[str, Any]]) -> Any:
        """A function that computes metrics over selected entities of whole sentences from proposals in windows."""

        def compute(prediction: EvalPrediction) -> dict[str, Any]:
            gathered = Gathered(*prediction.predictions)
            predictions, label_ids = gathering.merge_windows(
                gathered, prediction.label_ids, self._span_marker.config.decoder()
            )
            others = {"inputs": prediction.inputs, "losses": prediction.losses}  # of windows
            metrics = self._threshold_metrics(gathered, predictions, label_ids[0])
            metrics |= self._relation_metrics(gathered)
            metrics |= compute_metrics(EvalPrediction(predictions=predictions, label_ids=label_ids, **others))
            if self.is_in_train:
                return metrics
            num_kept, num_candidates = gathered.counts.sum(axis=0).tolist()
            return {**metrics, "candidates_kept": num_kept / num_candidates if num_candidates else 1.0}

        return compute

    def _relation_metrics(self, gathered: Gathered) -> dict[str, Any]:
        """The metrics of relations, if the model and the data have any; without those of each label during training."""
        model = self._span_marker
        if model.config.relation_labels is None:
            return {}
        found = gathering.found_entities(gathered, model.config.decoder())
        metrics = evaluate_relations(model, self._features, found, self.args.eval_batch_size, self._exact)
        return _without_labels(metrics) if self.is_in_train else metrics

    def _threshold_metrics(self, gathered: Gathered, predictions: Any, gold: Any) -> dict[str, Any]:
        """The metrics of `threshold_metrics`. Also stores the `Outcome` of the evaluation."""
        num_gold = int((gold[..., 0] != IGNORE_INDEX).sum())
        ranked = gathering.merge_ranked(gathered, self._ranking_decoder)
        metrics = span_metrics.threshold_metrics(*gathering.right_spans(ranked, gold), num_gold)
        _, is_right = gathering.right_spans(predictions, gold)
        best = metrics["overall_best_f1"], metrics["overall_best_threshold"]
        self._outcome = Outcome(int(is_right.sum()), len(is_right), num_gold, *best)
        return metrics

    def _entity_metrics(self, prediction: EvalPrediction) -> dict[str, Any]:
        """The metrics of `span_marker.core.metrics`; without those of each label during training."""
        predictions: Any = prediction.predictions
        label_ids: Any = prediction.label_ids
        (predicted, _), (gold, num_words) = predictions, label_ids
        classes = self._span_marker.config.classes
        metrics = span_metrics.compute_metrics(
            gathering.unpad_entities(gold, classes), gathering.unpad_entities(predicted, classes), num_words.tolist()
        )
        return _without_labels(metrics) if self.is_in_train else metrics

    def evaluation_loop(self, dataloader: Any, *args: Any, **kwargs: Any) -> Any:
        """See ``transformers.Trainer``. Relations are evaluated on the features of whole sentences, not on batches."""
        self._features = dataloader.dataset
        return super().evaluation_loop(dataloader, *args, **kwargs)

    def predict(
        self, test_dataset: Any, ignore_keys: list[str] | None = None, metric_key_prefix: str = "test"
    ) -> PredictionOutput:
        """See ``transformers.Trainer``.

        Args:
            test_dataset: The data; annotations may be missing.
            ignore_keys: Not used.
            metric_key_prefix: Prefix of the names of the metrics.

        Returns:
            Predictions, gold entities (None without annotations) and metrics. `Trainer` describes the shapes.
        """
        output = super().predict(test_dataset, ignore_keys, metric_key_prefix)
        if output.predictions is None:  # prediction_loss_only
            return output
        predictions, label_ids = gathering.merge_windows(
            Gathered(*output.predictions), output.label_ids, self._span_marker.config.decoder()
        )
        return PredictionOutput(predictions=predictions, label_ids=label_ids, metrics=output.metrics)

    def log(self, logs: dict[str, Any], *args: Any, **kwargs: Any) -> None:
        """See ``transformers.Trainer``. The metrics of each label are logged one by one."""
        super().log(flatten_metrics(logs), *args, **kwargs)

    def log_metrics(self, split: str, metrics: dict[str, Any]) -> None:
        """See ``transformers.Trainer``. The metrics of each label are written one by one."""
        super().log_metrics(split, flatten_metrics(metrics))

    def create_model_card(
        self,
        language: str | None = None,
        license: str | None = None,
        tags: str | list[str] | None = None,
        model_name: str | None = None,
        finetuned_from: str | None = None,
        tasks: str | list[str] | None = None,
        dataset_tags: str | list[str] | None = None,
        dataset: str | list[str] | None = None,
        dataset_args: str | list[str] | None = None,
    ) -> None:
        """Write the model's card into the output folder. The arguments fill the gaps in ``model.model_card_data``.

        Args:
            language: See `SpanMarkerModelCardData`.
            license: See `SpanMarkerModelCardData`.
            tags: Additional tags for the Hub.
            model_name: See `SpanMarkerModelCardData`.
            finetuned_from: Name of the encoder on the Hub.
            tasks: Not used: the task is token classification.
            dataset_tags: Name of the training data on the Hub.
            dataset: Name of the training data, to be displayed.
            dataset_args: Not used.
        """
        if self.is_world_process_zero():
            self._span_marker.write_card(
                str(self.args.output_dir),
                language=language,
                license=license,
                tags=[tags] if isinstance(tags, str) else tags,
                model_id=self.hub_model_id if self.args.push_to_hub else None,
                model_name=model_name,
                encoder_id=finetuned_from,
                dataset_id=_first(dataset_tags),
                dataset_name=_first(dataset),
            )

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        # private: the only place that knows which checkpoint is about to be written.
        folder = os.path.join(self._get_output_dir(trial=trial), f"{atomic.CHECKPOINT}{self.state.global_step}")
        if self.args.should_save:
            atomic.declare_incomplete(folder)
        super()._save_checkpoint(model, trial)

    def _push_from_checkpoint(self, checkpoint_folder: str) -> None:
        # private: transformers copies only weights, configuration and tokenizer to what it pushes.
        if self.is_world_process_zero():
            self.create_model_card()
            custom_code.save_code(self._span_marker.encoder, str(self.args.output_dir))
        super()._push_from_checkpoint(checkpoint_folder)


def _forward_inputs(batch: dict[str, Any]) -> dict[str, Any]:
    """The parts of a batch that the model's ``forward`` accepts."""
    return {name: value for name, value in batch.items() if name in (*MODEL_INPUTS, *PAIR_INPUTS, "exact")}


def _without_labels(metrics: dict[str, Any]) -> dict[str, Any]:
    """Metrics without those of each label, which are dicts."""
    return {name: value for name, value in metrics.items() if not isinstance(value, dict)}


def flatten_metrics(metrics: dict[str, Any]) -> dict[str, Any]:
    """Replace the metrics of each label, which are dicts, by their entries.

    Args:
        metrics: Metrics, some of them dicts.

    Returns:
        Metrics, none of them a dict.

    Example:
        >>> flatten_metrics({"eval_LOC": {"f1": 0.5}, "eval_loss": 1.0})
        {'eval_LOC_f1': 0.5, 'eval_loss': 1.0}
    """
    values: dict[str, Any] = {}
    for name, value in metrics.items():
        if isinstance(value, dict):
            values |= {f"{name}_{key}": number for key, number in value.items()}
        else:
            values[name] = value
    return values


def _first(names: str | list[str] | None) -> str | None:
    return next(iter(names), None) if isinstance(names, list) else names
