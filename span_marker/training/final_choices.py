"""Tuning at the end of training, on the evaluation data: candidate filter, thresholds of labels, pair filter."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from datasets import Dataset

from span_marker.configuration import SpanMarkerConfig
from span_marker.modeling import SpanMarkerModel
from span_marker.scores import tuning
from span_marker.scores.held_out import SUBJECTS
from span_marker.scores.thresholds import ThresholdReport
from span_marker.training.pair_filter_fitting import fit_pair_filter

logger = logging.getLogger(__name__)

PAIR_FILTER_ROWS = 5000
"""Number of sentences that a pair filter learns from at the end of training: more of them make it hardly better."""

SETTINGS = ("thresholds", "relation_thresholds")
"""The settings that store thresholds."""


def tune_span_filter(model: SpanMarkerModel, data: Dataset | None, batch_size: int) -> None:
    """Choose the threshold of a model's candidate filter, and log it, or the reason why there is none.

    Args:
        model: The model. Nothing happens if it has no filter, or doesn't use it.
        data: The evaluation data, or None.
        batch_size: The maximum number of sentences per batch.
    """
    if model.span_filter is None or model.config.exact:
        return
    reason: object = "there is no eval_dataset"
    if data is not None:
        try:
            report = model.tune_span_filter(data, batch_size=batch_size)
        except ValueError as error:
            reason = error
        else:
            logger.info("Candidate filter, tuned on the evaluation data:\n%s", report)
            return
    logger.info(
        "The candidate filter keeps as many candidates in prediction as in training (candidates_per_word=%s), which "
        "costs speed, not accuracy. model.tune_span_filter(held_out, recall=...) chooses a threshold that keeps "
        "fewer. Training chose none: %s",
        model.config.candidates_per_word,
        reason,
    )


def choose_pair_filter(model: SpanMarkerModel, train: Dataset, held_out: Dataset | None, batch_size: int) -> None:
    """Fit a pair filter to a model, and log it, or the reason why there is none.

    Several processes get the filter of the first one, since rounding errors make their own differ.

    Args:
        model: The model. Nothing happens if it has no relations, or scores all pairs.
        train: The training data. The filter learns from at most `PAIR_FILTER_ROWS` rows of it.
        held_out: The evaluation data, or None.
        batch_size: The maximum number of sentences per batch.
    """
    if model.relation_head is None or model.config.exact:
        return
    outcome: object = "there is no eval_dataset"
    if held_out is not None:
        num_parts = max(math.ceil(len(train) / PAIR_FILTER_ROWS), 1)  # every so many rows, or whole documents
        has_documents = bool(model.config.trained_with_document_context)
        rows = train.shard(num_parts, 0, contiguous=has_documents)
        try:
            outcome = fit_pair_filter(model, rows, held_out, batch_size=batch_size)
        except ValueError as error:
            outcome = error
    _share_pair_filter(model)
    if model.config.pair_filter is not None:
        logger.info("Pair filter, tuned on the evaluation data:\n%s", outcome)
        return
    logger.info(
        "All pairs of entities get markers in prediction, which costs speed, not accuracy. span_marker.fit_pair_filter"
        "(model, data, recall=...) fits a filter that keeps fewer. Training fitted none: %s",
        outcome,
    )


def _share_pair_filter(model: SpanMarkerModel) -> None:
    """Give all processes the pair filter of the first one."""
    if not torch.distributed.is_available() or not torch.distributed.is_initialized():
        return
    own = getattr(model.relation_head, "pair_filter", None)
    shared: list[Any] = [None if own is None else own.cpu(), model.config.pair_filter]
    torch.distributed.broadcast_object_list(shared, 0, device=model.device)
    if shared[0] is None:
        model.reset_pair_filter()
    else:
        model.use_pair_filter(*shared)


def reset_thresholds(
    config: SpanMarkerConfig,
    names: Sequence[str] = SETTINGS,
    advice: str = "Training chooses new ones at the end; Trainer(tunes_thresholds=False) keeps them.",
) -> None:
    """Reset the thresholds of a model that is about to be trained, with a warning if it has any.

    Args:
        config: The configuration of the model.
        names: The settings that store them.
        advice: End of the warning.
    """
    for name in names:
        value = getattr(config, name)
        if value is not None:
            logger.warning("%s=%s belong to the weights before this training and are reset. %s", name, value, advice)
            setattr(config, name, None)


def reset_settings(config: SpanMarkerConfig, tunes_thresholds: bool, has_data: bool) -> None:
    """Reset the settings that belong to the weights of a model before it is trained, with warnings.

    Args:
        config: The configuration of the model.
        tunes_thresholds: Whether the training may choose thresholds; otherwise, the model keeps its own.
        has_data: Whether there is data to choose them on.
    """
    if tunes_thresholds and has_data:
        reset_thresholds(config)
    elif tunes_thresholds:
        _warn_of_thresholds(config)
    if config.calibration_temperature != 1.0:
        logger.warning(
            "calibration_temperature=%s belongs to the weights before this training and is reset. "
            "span_marker.calibrate fits a new one.",
            config.calibration_temperature,
        )
        config.calibration_temperature = 1.0


def _warn_of_thresholds(config: SpanMarkerConfig) -> None:
    """Warn of thresholds that a model keeps because there is no data to choose new ones on."""
    for name in SETTINGS:
        if (value := getattr(config, name)) is not None:
            logger.warning(
                "%s=%s belong to the weights before this training, but are kept, since there is no eval_dataset to "
                "choose new ones on: set model.config.%s = None, or call span_marker.tune_thresholds afterwards.",
                name,
                value,
                name,
            )


def tune_thresholds(model: SpanMarkerModel, data: Dataset, batch_size: int) -> ThresholdReport | None:
    """Choose the thresholds of a model, if they improve F1 significantly, and log them and their effect.

    Thresholds of relations are chosen as well, if the model and the data have relations.

    Args:
        model: The model.
        data: The evaluation data.
        batch_size: The maximum number of sentences per batch.

    Returns:
        The thresholds and their figures; None if the data has no entities.
    """
    try:
        report = tuning.tune_thresholds(model, data, batch_size=batch_size, only_if_better=True)
    except ValueError as error:  # no entities in the data
        logger.info("Training chose no thresholds: %s", error)
        return None
    log_thresholds(replace(report, relations=None), "evaluation")
    if report.relations is not None:
        log_thresholds(report.relations, "evaluation")
    return report


def log_thresholds(report: ThresholdReport, dataset_name: str) -> None:
    """Log thresholds that a model gets if they improve F1 significantly.

    Args:
        report: The thresholds and their figures.
        dataset_name: What to call the data that they were tuned on.
    """
    choice = "are now set in the model" if report.is_better else "may not help, so the model gets none"
    logger.info("%s, tuned on the %s data, %s:\n%s", SUBJECTS[report.kind], dataset_name, choice, report)
