"""Trainer: ``transformers.Trainer`` for SpanMarker models and annotated data."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from datasets import Dataset
from transformers import EvalPrediction, TrainerCallback, TrainingArguments
from transformers.integrations.integration_utils import CodeCarbonCallback

from span_marker.checkpoints import atomic
from span_marker.checkpoints.training_record import TrainingRecord
from span_marker.data.columns import way_to_data
from span_marker.data.in_memory import AnnotatedData, as_dataset
from span_marker.modeling import SpanMarkerModel, without_adapter
from span_marker.preprocessing.features import LABEL_FEATURES, TEXT_FEATURES
from span_marker.preprocessing.relation_features import RELATION_FEATURES
from span_marker.training import final_choices
from span_marker.training.base_trainer import BaseTrainer, check_arguments, refuse_own_parts
from span_marker.training.prepared_data import (
    TRAINING,
    PreparedData,
    as_datasets,
    check_columns,
    evaluation_sets,
    settle,
)
from span_marker.training.progress import Progress
from span_marker.training.sharding import check_sharding, whole_weights

logger = logging.getLogger(__name__)


class Trainer(BaseTrainer):
    """Trains and evaluates a SpanMarker model.

    Data sets have the columns ``tokens`` (words) and ``ner_tags`` (integers that index the labels, or the labels),
    ``tokens`` and ``entities``, or ``text`` and ``entities``, see `span_marker.data.columns`; and for document context
    ``document_id`` and ``sentence_id``. Sentences beyond the text limit are read in windows, as in prediction. For a
    model with relations, data has a column ``relations``; only entities are learned from rows without a value in it.

    The constructor checks arguments and columns, and makes the settings on which an optimizer or a batch depends:
    limits that are ``"auto"`` are set from the training data, and the model gets a candidate filter if
    ``candidates_per_word`` is set. Data sets are tokenized once, when they are first needed, beginning with the
    training data. These also determine ``decoding`` if the model's configuration leaves it open: ``"overlapping"`` if
    at least 1% of the entities cross another entity, ``"nested"`` if at least 1% lie within another entity or share its
    words. ``symmetric_relations`` and ``relation_types`` are set in the same way. `train` prepares all data sets before
    its first step, so that errors in rows are raised early.

    Args:
        model: The model; None if ``model_init`` is passed.
        args: Training arguments.
        train_dataset: The training data: a `Dataset`, a DataFrame, an Arrow table, or a list of dicts.
        eval_dataset: The evaluation data, or a dict of several data sets.
        model_init: Creates a new model for each run.
        compute_metrics: Function that replaces `span_marker.core.metrics.compute_metrics`. The metrics of
            `span_marker.core.metrics.threshold_metrics`, and those of relations, are still reported. The
            ``predictions`` of its argument are the predicted entities, ``(num_sentences, max_entities, 3)`` with class
            ID, first word and the word after the last, and their scores, ``(num_sentences, max_entities)``. Its
            ``label_ids`` are the gold entities in the same form, and the number of words of each sentence,
            ``(num_sentences,)``. Rows are padded with -100. For a gold entity that begins or ends within a word, both
            words are -1.
        callbacks: Callbacks.
        optimizers: Optimizer and scheduler.
        tunes_thresholds: Whether `train` ends with `span_marker.tune_thresholds` on the evaluation data. The model gets
            thresholds only if they improve F1 significantly, as they do with little training data: such a model finds
            most entities, but with probabilities below that of ``O``. Thresholds of relations are tuned as well, and
            decided on separately. Existing thresholds are reset when training begins.
        **kwargs: Other arguments of ``transformers.Trainer``, except ``data_collator``.

    Raises:
        TypeError: If the model is not a `SpanMarkerModel`, ``args`` are not ``TrainingArguments``, a data set is not a
            `Dataset`, or ``data_collator`` or another tokenizer is passed.
        ValueError: If a data set lacks a column, or an argument cannot be combined with the model:
            ``batch_eval_metrics=True``, ``eval_do_concat_batches=False``, ``label_smoothing_factor`` with a multi-label
            model, a candidate filter or relations, ``compute_loss_func`` with one of the latter two, or an existing
            optimizer with a candidate filter; or FSDP cannot shard the model, see `span_marker.training.sharding`.
    """

    _is_constructed = False

    def __init__(
        self,
        model: SpanMarkerModel | None = None,
        args: TrainingArguments | None = None,
        train_dataset: AnnotatedData | None = None,
        eval_dataset: AnnotatedData | dict[str, AnnotatedData] | None = None,
        model_init: Callable[..., SpanMarkerModel] | None = None,
        compute_metrics: Callable[[EvalPrediction], dict[str, Any]] | None = None,
        callbacks: list[TrainerCallback] | None = None,
        optimizers: tuple[Any, Any] = (None, None),
        tunes_thresholds: bool = True,
        **kwargs: Any,
    ) -> None:
        refuse_own_parts(model, kwargs)
        args = TrainingArguments(output_dir="tmp_trainer") if args is None else args
        check_arguments(model, args)
        train_dataset, eval_dataset = as_dataset(train_dataset, TRAINING), as_datasets(eval_dataset)
        check_columns({TRAINING: train_dataset, **evaluation_sets(eval_dataset)})
        if args.n_gpu > 1:
            logger.warning("Training uses one of %d GPUs: launch it with torchrun to use all of them.", args.n_gpu)
            args._n_gpu = 1  # private: DataParallel would split batches
        super().__init__(
            model=model,
            args=args,
            train_dataset=train_dataset,
            eval_dataset=eval_dataset,
            model_init=model_init,
            compute_metrics=self._sentence_metrics(compute_metrics or self._entity_metrics),
            callbacks=callbacks,
            optimizers=optimizers,
            **kwargs,
        )
        # private: the columns of features that are kept, most of which forward does not take.
        self._signature_columns: list[str] = [*TEXT_FEATURES, *LABEL_FEATURES, *RELATION_FEATURES]  # type: ignore[assignment]
        self._data = PreparedData(show_progress=not args.disable_tqdm)
        self._progress = Progress()
        self._tunes_thresholds = tunes_thresholds
        self._is_constructed = True
        self._set_up(self._span_marker)

    def _set_up(self, model: SpanMarkerModel) -> None:
        """Make all settings on which an optimizer or a batch of a model depends."""
        self._check_model(model)
        train_dataset: Any = self.train_dataset
        self._data.use(model, train_dataset)
        if train_dataset is not None:
            if model.config.candidates_per_word is not None:
                self._set_span_filter(model)
            _warn_of_frozen(model)
            has_context = {"document_id", "sentence_id"} <= set(train_dataset.column_names)
            model.config.trained_with_document_context = has_context
        self.processing_class: Any = model.require_tokenizer()  # so that it is saved wherever the weights are
        self.data_collator = model.preprocessor.collator
        self._is_settled = False

    def _check_model(self, model: SpanMarkerModel) -> None:
        check_sharding(getattr(self.accelerator.state, "fsdp_plugin", None), model)
        if model.config.multi_label and self.args.label_smoothing_factor:
            raise ValueError(
                f"label_smoothing_factor={self.args.label_smoothing_factor} must be 0 for a multi-label model, whose "
                "labels are independent of each other"
            )
        if self.train_dataset is not None and model.backend != "torch":
            raise ValueError(
                f"a model on backend={model.backend!r} cannot be trained: load the checkpoint that it was exported "
                "from, train that, and export it again"
            )
        parts = (model.span_filter, model.config.candidates_per_word, model.config.relation_labels)
        if parts != (None, None, None) and (self.args.label_smoothing_factor or self.compute_loss_func is not None):
            raise ValueError(
                "label_smoothing_factor and compute_loss_func cannot be used with a candidate filter or relations, "
                "which have their own loss: load a model without either (candidates_per_word=None), or leave them out"
            )

    def _set_span_filter(self, model: SpanMarkerModel) -> None:
        """Make sure that a model has a candidate filter, and that it will be trained."""
        if model.span_filter is None:
            if self.optimizer is not None and self.model_init is None:
                raise ValueError("call model.add_span_filter() before you create an optimizer of its parameters")
            if hasattr(model, "peft_config"):
                raise ValueError(
                    'call model.add_span_filter() before you add an adapter, and put "span_filter" into the '
                    "adapter's modules_to_save"
                )
            model.add_span_filter()

    def call_model_init(self, trial: Any = None) -> Any:
        """See ``transformers.Trainer``. The new model may have other limits than the previous one."""
        model = super().call_model_init(trial)
        if self._is_constructed:
            self._set_up(without_adapter(model))
            without_adapter(model).reset_span_filter()
            without_adapter(model).reset_pair_filter()
        return model

    def _settle(self) -> None:
        """Set from the training data what the configuration leaves open."""
        if self.train_dataset is not None and not self._is_settled:
            model = self._span_marker
            settle(model.config, self.train_dataset, self._data.prepare(self.train_dataset, TRAINING).summary)
            self._is_settled = True

    def _get_dataloader(self, dataset: Any, description: str, *args: Any, **kwargs: Any) -> Any:
        # private: the data loaders of training, evaluation and prediction all get their data here.
        self._settle()
        names = [name for name, known in evaluation_sets(self.eval_dataset).items() if known is dataset]
        dataset_name = next(iter(names), description.lower())
        prepared = self._data.prepare(dataset, dataset_name, needs_labels=description != "test")
        self.data_collator = self._collator_for(description)  # reflects changes since the last one
        return super()._get_dataloader(prepared.features, description, *args, **kwargs)

    def get_train_dataloader(self) -> Any:
        """See ``transformers.Trainer``. `train` also prepares the evaluation data here."""
        dataloader = super().get_train_dataloader()
        if self.is_in_train:
            for name, dataset in evaluation_sets(self.eval_dataset).items():
                self._data.prepare(dataset, name)
            has_data = self._held_out_data is not None
            final_choices.reset_settings(self._span_marker.config, self._tunes_thresholds, has_data)
            self._begin_record()
        return dataloader

    def get_eval_dataloader(self, eval_dataset: Any = None) -> Any:
        """See ``transformers.Trainer``."""
        names = list(self.eval_dataset) if isinstance(self.eval_dataset, dict) else []
        if isinstance(eval_dataset, str) and eval_dataset not in names:
            raise ValueError(
                f"eval_dataset={eval_dataset!r} is none of the evaluation sets {names}: if it is a file, pass "
                f"{way_to_data(eval_dataset)}"
            )
        return super().get_eval_dataloader(eval_dataset)

    @property
    def _held_out_data(self) -> Dataset | None:
        """The evaluation data, or the first of several data sets."""
        return next(iter(evaluation_sets(self.eval_dataset).values()), None)

    def _begin_record(self) -> None:
        """Begin the record of a training run, which replaces the previous one."""
        model, train_dataset = self._span_marker, self.train_dataset
        prepared = self._data.prepare(train_dataset, TRAINING).features
        record = TrainingRecord.from_datasets(train_dataset, self._held_out_data, prepared, model.config.tags)
        record.set_hyperparameters(self)
        model.card_text, model.training_record, model.card_changes = None, record, {}
        if not model.model_card_data.shows_examples:
            logger.info(
                "The model card shows no texts or entities of the data. If the data is public, set dataset_id or "
                "examples=True in model.model_card_data."
            )

    def train(self, resume_from_checkpoint: str | bool | None = None, *args: Any, **kwargs: Any) -> Any:
        """See ``transformers.Trainer``. At the end, filters and thresholds are tuned on the evaluation data.

        Args:
            resume_from_checkpoint: The path of a checkpoint; or True for the latest complete checkpoint in the output
                folder. If the process was killed while it wrote its first checkpoint, training starts over.
            *args: Passed to ``transformers.Trainer.train``.
            **kwargs: Passed to ``transformers.Trainer.train``.

        Returns:
            The result of ``transformers.Trainer.train``.
        """
        if resume_from_checkpoint is True:
            latest, incomplete = atomic.last_complete(str(self.args.output_dir))
            if incomplete:
                logger.warning("%s is incomplete: training resumes from %s.", incomplete, latest or "its beginning")
                resume_from_checkpoint = latest
        if self.model_init is None:
            self._span_marker.reset_span_filter()
            self._span_marker.reset_pair_filter()
        self._progress = Progress()
        output = super().train(resume_from_checkpoint, *args, **kwargs)
        self._span_marker.eval()  # otherwise, threads that predict would switch modes concurrently
        if not self._tune():
            self._judge_end()
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
            hp_space: Returns the hyperparameters of a trial.
            compute_objective: Computes the objective from the metrics. Defaults to the best overall F1 at
                any threshold, of the first evaluation set if there are several.
            n_trials: Number of runs.
            direction: ``"maximize"`` or ``"minimize"``, or a list of them. Defaults to ``"maximize"`` for the default
                objective, and to ``"minimize"`` if ``compute_objective`` is passed.
            *args: Passed to ``transformers.Trainer.hyperparameter_search``.
            **kwargs: Passed to ``transformers.Trainer.hyperparameter_search``.

        Returns:
            The best run.

        Raises:
            ValueError: If there is no evaluation data.
        """
        if self.eval_dataset is None:
            raise ValueError("runs are compared on evaluation data, but there is none: pass Trainer an eval_dataset")
        if compute_objective is None:
            compute_objective, direction = _best_f1, direction or "maximize"
        direction = direction or "minimize"
        return super().hyperparameter_search(hp_space, compute_objective, n_trials, direction, *args, **kwargs)

    def _tune(self) -> bool:
        """Tune the filter and the thresholds on the evaluation data. Returns whether the model got thresholds."""
        model, data, batch_size = self._span_marker, self._held_out_data, self.args.eval_batch_size
        with whole_weights(model):
            final_choices.tune_span_filter(model, data, batch_size)
            report = None
            if self._tunes_thresholds and data is not None:
                report = final_choices.tune_thresholds(model, data, batch_size)
            final_choices.choose_pair_filter(model, self.train_dataset, data, batch_size)
        if report is not None:
            self._progress.add_tuning(report, self.state.global_step)
        return report is not None and report.is_better

    def _note_outcome(self, metrics: dict[str, Any], prefix: str) -> None:
        """Record the evaluation of one data set, and warn if nothing is predicted."""
        outcome, self._outcome = self._outcome, None
        if outcome is None:  # several data sets are recorded one by one
            return
        outcome = outcome._replace(loss=metrics[f"{prefix}_loss"], step=self.state.global_step)
        self._progress.add(prefix, outcome)
        if self.is_in_train:
            losses = [entry["loss"] for entry in self.state.log_history if "loss" in entry]
            self._warn(self._progress.advice_during(losses, self.args.metric_for_best_model))
        elif self.state.global_step:
            self._judge_end()

    def _judge_end(self) -> None:
        best_step = self.state.best_global_step if self.args.load_best_model_at_end else None
        self._warn(self._progress.advice_after(best_step, self.args.learning_rate))

    def _warn(self, advice: str | None) -> None:
        if advice is not None and self.is_world_process_zero():
            logger.warning(advice)

    def _complete_record(self) -> None:
        """Record the metrics of the weights that were restored, and the emissions if codecarbon measured them."""
        record = self._span_marker.training_record
        if record is None:
            return
        if self.args.load_best_model_at_end and self.state.best_global_step:
            record.restore_results(self.state.best_global_step, self.state.log_history)
        for callback in self.callback_handler.callbacks:
            if isinstance(callback, CodeCarbonCallback) and callback.tracker is not None:
                record.set_emissions(callback.tracker.final_emissions_data)

    def evaluate(
        self,
        eval_dataset: AnnotatedData | dict[str, AnnotatedData] | None = None,
        ignore_keys: list[str] | None = None,
        metric_key_prefix: str = "eval",
        compare_exact: bool = False,
    ) -> dict[str, Any]:
        """See ``transformers.Trainer``. The model is not changed.

        Args:
            eval_dataset: The data, or a dict of several data sets. Defaults to the evaluation data of the trainer.
            ignore_keys: Not used.
            metric_key_prefix: Prefix of the names of the metrics.
            compare_exact: Whether to evaluate without filters, too.

        Returns:
            The metrics of `span_marker.core.metrics.compute_metrics`; those of
            `span_marker.core.metrics.threshold_metrics`, over the spans that the model predicts at each threshold, with
            ``"flat-optimal"`` decoding replaced by ``"flat"``; and ``eval_candidates_kept``, the share of the
            candidates that got markers: 1 without a filter. If the model and the data have relations, also those of
            `span_marker.core.relation_metrics` as ``eval_relation_...``. With ``compare_exact``, all of these again as
            ``eval_exact_...``, and ``eval_recall_lost``, the recall that the candidate filter costs.
        """
        data = as_datasets(eval_dataset)
        metrics: dict[str, Any] = super().evaluate(data, ignore_keys, metric_key_prefix)
        record = self._span_marker.training_record
        if not self._exact:
            if record is not None:
                record.add_results(metrics, self.state.log_history)
            self._note_outcome(metrics, metric_key_prefix)
        if not compare_exact:
            return metrics
        self._exact = True
        try:
            exact = super().evaluate(data, ignore_keys, f"{metric_key_prefix}_exact")
        finally:
            self._exact, self._outcome = None, None
        for name in [name for name in exact if name.endswith("_overall_recall")]:
            filtered = name.replace(f"{metric_key_prefix}_exact", metric_key_prefix, 1)
            metrics[filtered.replace("overall_recall", "recall_lost")] = exact[name] - metrics[filtered]
        return metrics | exact


def _best_f1(metrics: dict[str, float]) -> float:
    return next(value for name, value in metrics.items() if name.endswith("overall_best_f1"))


def _warn_of_frozen(model: SpanMarkerModel) -> None:
    """Warn of frozen parts besides the classifier, such as those missing from the settings of an adapter."""
    for name in ("span_filter", "case_embedding", "relation_head"):
        part = getattr(model, name)
        if part is not None and not any(parameter.requires_grad for parameter in part.parameters()):
            logger.warning(
                'The parameters of model.%s are frozen, so it will not be trained: for a PEFT adapter, put "%s" into '
                'modules_to_save, beside "classifier".',
                name,
                name,
            )
