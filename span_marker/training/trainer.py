"""Trainer: ``transformers.Trainer`` for SpanMarker models and annotated data."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from typing import Any

from datasets import Dataset
from transformers import EvalPrediction, TrainerCallback, TrainingArguments
from transformers.integrations.integration_utils import CodeCarbonCallback
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR

from span_marker.checkpoints import atomic, loading
from span_marker.checkpoints.training_record import TrainingRecord
from span_marker.data.columns import way_to_data
from span_marker.modeling import SpanMarkerModel, without_adapter
from span_marker.preprocessing import features
from span_marker.preprocessing.data_collator import SpanMarkerDataCollator
from span_marker.preprocessing.features import Annotations
from span_marker.preprocessing.inputs import warn_of_context
from span_marker.training.base_trainer import EvaluationLoop, check_arguments
from span_marker.validation.limits import set_limits

logger = logging.getLogger(__name__)


class Trainer(EvaluationLoop):
    """Trains and evaluates a SpanMarker model.

    Data sets have the columns ``tokens`` (words) and ``ner_tags`` (integers that index the labels, or the labels),
    ``tokens`` and ``entities``, or ``text`` and ``entities``, see `span_marker.data.columns`; and for document context
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
        compute_metrics: Computes other metrics than `span_marker.core.metrics.compute_metrics`. Its argument's
            ``predictions`` are the predicted entities, ``(num_sentences, max_entities, 3)`` with class ID, first word
            and word behind the last, and their scores, ``(num_sentences, max_entities)``; its ``label_ids`` are the
            gold entities, likewise, and the number of words of each sentence. Rows are filled up with -100. A gold
            entity that begins or ends within a word has -1 for both words.
        callbacks: Callbacks.
        optimizers: Optimizer and scheduler.
        **kwargs: Other arguments of ``transformers.Trainer``, but no ``data_collator``: batches are made in one way.

    Raises:
        TypeError: If the model is not a `SpanMarkerModel`, ``args`` are others, or a data set is not a `Dataset`.
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
        check_arguments(model, args)
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
            if config.candidates_per_word is not None:
                self._check_span_filter(model)
        self.processing_class: Any = model.require_tokenizer()  # so that the tokenizer goes wherever the weights go
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

    def _check_span_filter(self, model: SpanMarkerModel) -> None:
        """Make sure that a model has a candidate filter, and that it will learn."""
        if model.span_filter is None:
            if self.optimizer is not None and self.model_init is None:
                raise ValueError("call model.add_span_filter() before you make an optimizer of its parameters")
            if hasattr(model, "peft_config"):
                raise ValueError(
                    'call model.add_span_filter() before you give it an adapter, and put "span_filter" into the '
                    "adapter's modules_to_save"
                )
            model.add_span_filter()
        elif not any(parameter.requires_grad for parameter in model.span_filter.parameters()):
            logger.warning(
                "The candidate filter's parameters are frozen, so that it learns nothing from this training: of an "
                'adapter of PEFT, put "span_filter" into modules_to_save, beside "classifier".'
            )

    def call_model_init(self, trial: Any = None) -> Any:
        """See ``transformers.Trainer``. A new model may have other limits than the one before."""
        model = super().call_model_init(trial)
        if hasattr(self, "_raw_datasets"):
            span_marker = without_adapter(model)
            self._prepare_for(span_marker)
            self._begin_training(span_marker)
        return model

    @property
    def _held_out_data(self) -> Dataset | None:
        """The evaluation data, or the first of several."""
        data = self._raw_datasets[1]
        return next(iter(data.values()), None) if isinstance(data, dict) else data

    def _begin_training(self, model: SpanMarkerModel) -> None:
        """Let a model forget what training will change, and begin a record of it."""
        model.reset_span_filter()
        train_dataset = self._raw_datasets[0]
        if train_dataset is None:
            return
        prepared = self._prepare(train_dataset, "training")[0].select_columns(["num_words", "first_word"]).to_dict()
        num_words = [num for num, first in zip(*prepared.values(), strict=True) if first == 0]
        model.card_text = None
        model.training_record = TrainingRecord.of(
            train_dataset, self._held_out_data, num_words, model.config.given_labels
        )
        model.training_record.set_hyperparameters(self)

    def _prepare(self, dataset: Dataset, what: str, needs_labels: bool = True) -> tuple[Dataset, Annotations]:
        """Prepare a data set, or find what was prepared before."""
        for known, prepared, summary in self._prepared:
            has_labels = "entities" in prepared.column_names
            if (known is dataset and has_labels >= needs_labels) or prepared is dataset:
                return prepared, summary
        model = self._reader
        if what != "training" and isinstance(dataset, Dataset):
            warn_of_context("document_id" in dataset.column_names, model.config)
        prepared, summary = features.prepare(
            dataset, model.require_tokenizer(), model.config, model.max_text_length, what, needs_labels=needs_labels
        )
        self._prepared.append((dataset, prepared, summary))
        return prepared, summary

    def train(self, resume_from_checkpoint: str | bool | None = None, *args: Any, **kwargs: Any) -> Any:
        """See ``transformers.Trainer``. A candidate filter is tuned at the end, on the evaluation data.

        Args:
            resume_from_checkpoint: The path of a checkpoint; or True for the latest one in the output folder that is
                complete. If the process was killed while it wrote its first one, training begins anew.
            *args: Handed to ``transformers.Trainer.train``.
            **kwargs: Likewise.

        Returns:
            What ``transformers.Trainer.train`` returns.
        """
        if resume_from_checkpoint is True:
            latest, incomplete = atomic.last_complete(str(self.args.output_dir))
            if incomplete:
                logger.warning("%s is incomplete: training goes on from %s.", incomplete, latest or "its beginning")
                resume_from_checkpoint = latest
        if self.model_init is None:
            self._begin_training(self._span_marker)
        output = super().train(resume_from_checkpoint, *args, **kwargs)
        self._tune_span_filter()
        self._complete_record()
        return output

    def hyperparameter_search(
        self,
        hp_space: Callable[[Any], dict[str, float]] | None = None,
        compute_objective: Callable[[dict[str, float]], float] | None = None,
        n_trials: int = 20,
        direction: str | list[str] | None = None,
        *args: Any,
        **kwargs: Any,
    ) -> Any:
        """See ``transformers.Trainer``.

        Args:
            hp_space: Says what to try.
            compute_objective: Computes from the metrics what is optimized; by default it is the overall F1, of the
                first evaluation set if there are several.
            n_trials: How many runs.
            direction: ``"maximize"`` or ``"minimize"``, or a list of them; by default the first for the overall F1,
                and the second for a ``compute_objective``.
            *args: Handed to ``transformers.Trainer.hyperparameter_search``.
            **kwargs: Likewise.

        Returns:
            The best run.
        """
        if compute_objective is None:
            compute_objective, direction = _overall_f1, direction or "maximize"
        direction = direction or "minimize"
        return super().hyperparameter_search(hp_space, compute_objective, n_trials, direction, *args, **kwargs)

    def _tune_span_filter(self) -> None:
        model, data = self._span_marker, self._held_out_data
        if model.span_filter is None or model.config.exact:
            return
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
                "The candidate filter's threshold can't be chosen on the eval_dataset, and prediction gives markers to "
                "as many candidates as training until you call model.tune_span_filter(held_out, recall=...): %s",
                error,
            )
        else:
            logger.info("Candidate filter, tuned on the evaluation data:\n%s", report)

    def _complete_record(self) -> None:
        """Note for the model card how good the loaded weights are, and what training emitted, if anyone measured it."""
        record = self._span_marker.training_record
        if record is None:
            return
        if self.args.load_best_model_at_end and self.state.best_global_step:
            record.keep_results_of(self.state.best_global_step, self.state.log_history)
        for callback in self.callback_handler.callbacks:
            if isinstance(callback, CodeCarbonCallback) and callback.tracker is not None:
                record.note_emissions(callback.tracker.final_emissions_data)

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
            The metrics of `span_marker.core.metrics.compute_metrics`, and ``eval_candidates_kept``, the share of the
            candidates that got markers: 1 if no filter was on. With ``compare_exact``, all of that again as
            ``eval_exact_...``, and ``eval_recall_lost``, the recall that the filter cost.
        """
        metrics: dict[str, Any] = super().evaluate(eval_dataset, ignore_keys, metric_key_prefix)
        record = self._span_marker.training_record
        if record is not None:
            record.note(metrics, self.state.log_history)
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
        names = list(self.eval_dataset) if isinstance(self.eval_dataset, dict) else []
        if isinstance(eval_dataset, str) and eval_dataset not in names:
            raise ValueError(
                f"eval_dataset={eval_dataset!r} is none of the evaluation sets {names}: if it is a file, pass "
                f"{way_to_data(eval_dataset)}"
            )
        if eval_dataset is not None and not isinstance(eval_dataset, str):
            eval_dataset, _ = self._prepare(eval_dataset, "evaluation")
        return super().get_eval_dataloader(eval_dataset)

    def get_test_dataloader(self, test_dataset: Any) -> Any:
        """See ``transformers.Trainer``. Test data may lack annotations."""
        return super().get_test_dataloader(self._prepare(test_dataset, "test", needs_labels=False)[0])

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
        """Write the model's card into the output folder. What ``model.model_card_data`` says comes first.

        Args:
            language: See `SpanMarkerModelCardData`.
            license: Likewise.
            tags: Likewise.
            model_name: Likewise.
            finetuned_from: Name of the encoder on the Hub.
            tasks: Not used: the task is token classification.
            dataset_tags: Name of the training data on the Hub.
            dataset: What to call the training data.
            dataset_args: Not used.
        """
        if not self.is_world_process_zero():
            return
        model = self._span_marker
        with model.known_besides(
            language=language,
            license=license,
            tags=[tags] if isinstance(tags, str) else tags,
            model_id=self.hub_model_id if self.args.push_to_hub else None,
            model_name=model_name,
            encoder_id=finetuned_from,
            dataset_id=_first(dataset_tags),
            dataset_name=_first(dataset),
        ):
            model.write_card(str(self.args.output_dir))

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        folder = os.path.join(self._get_output_dir(trial=trial), f"{PREFIX_CHECKPOINT_DIR}-{self.state.global_step}")
        if self.args.should_save:
            atomic.declare_incomplete(folder)
        super()._save_checkpoint(model, trial)

    def _push_from_checkpoint(self, checkpoint_folder: str) -> None:
        if self.is_world_process_zero():  # transformers copies weights, configuration and tokenizer alone
            self.create_model_card()
            loading.save_code(self._span_marker.encoder, str(self.args.output_dir))
        super()._push_from_checkpoint(checkpoint_folder)


def _overall_f1(metrics: dict[str, float]) -> float:
    return next(value for name, value in metrics.items() if name.endswith("overall_f1"))


def _first(names: str | list[str] | None) -> str | None:
    return next(iter(names), None) if isinstance(names, list) else names
