"""Calibration and thresholds: fitting the probabilities of a trained model to held-out data."""

from __future__ import annotations

import logging
import math
from dataclasses import replace

import numpy as np
import torch

from span_marker.data.in_memory import AnnotatedData
from span_marker.modeling import SpanMarkerModel, without_adapter
from span_marker.preprocessing.batching import run_in_batches
from span_marker.preprocessing.features import prepare
from span_marker.scores.calibration import CalibrationReport, calibration_report, decisions
from span_marker.scores.held_out import HELD_OUT, HeldOut
from span_marker.scores.relation_tuning import HeldOutRelations
from span_marker.scores.temperature import (
    MAX_FACTOR,
    MAX_TEMPERATURE,
    MIN_DECISIONS,
    MIN_TEMPERATURE,
    ScoredCandidates,
    decisions_needed,
    fit_temperature,
    proposed_entities,
    temperature_error,
    temperature_interval,
)
from span_marker.scores.thresholds import ThresholdReport

logger = logging.getLogger(__name__)


def calibrate(
    model: SpanMarkerModel, data: AnnotatedData, test_data: AnnotatedData | None = None, batch_size: int = 32
) -> CalibrationReport:
    """Fit the temperature of a model to held-out data, so that its scores match how often it is right.

    It is fitted to the candidates that the model proposes as entities, since only their scores are returned. It is
    stored in the configuration as ``calibration_temperature``. Thresholds are reset, since they no longer match the
    scores. Predictions change only where entities overlap.

    Args:
        model: A trained model.
        data: Annotated data that the model was not trained on, see `span_marker.data.columns`.
        test_data: Separate annotated data to report on. Defaults to ``data``, which makes the calibrated error look
            slightly better than it is.
        batch_size: The maximum number of sentences per batch.

    Returns:
        The temperature with its 95% interval, and the calibration error before and after.

    Raises:
        TypeError: If ``model`` is not a model, the data is not a `Dataset`, or a row has a value of the wrong type.
        ValueError: If a row is invalid; or if the model proposes no entities, no wrong ones, no right ones, or too few
            to determine the temperature to a factor of `MAX_FACTOR`, with 95% confidence. The model is not changed.
    """
    model = without_adapter(model)
    candidates = score_candidates(model, data, batch_size)
    entities = proposed_entities(candidates)
    _, is_right, is_entity = decisions(entities)
    num_right = int(is_right[is_entity].sum())
    if num_right in (0, is_entity.sum()):
        raise ValueError(
            f"{num_right} of the {is_entity.sum()} entities that the model proposes in the held-out data are right, "
            f"but fitting a temperature needs both right and wrong ones, at least {MIN_DECISIONS} in total: pass more "
            f"sentences{'' if num_right else ', or train the model longer'}"
        )
    temperature = fit_temperature(entities)
    error = temperature_error(entities, temperature)
    _check_error(temperature, error, int(is_entity.sum()))
    if test_data is not None:
        candidates = score_candidates(model, test_data, batch_size)
    report = calibration_report(candidates, temperature, temperature_interval(temperature, error))
    if model.config.thresholds is not None:
        logger.warning("The thresholds no longer match the scores and are reset: tune them again.")
        model.note_change("Thresholds", "None: they were reset when the scores were calibrated.")
    model.note_change(
        "Calibration",
        f"Scores are divided by {temperature:.4g}. On {report.num_entities:,} held-out entities that the model "
        f"proposes, the calibration error is {report.before.ece:.4f} without and {report.after.ece:.4f} with it. "
        "Predictions change only where entities overlap.",
    )
    model.config.thresholds, model.config.calibration_temperature = None, temperature
    return report


def _check_error(temperature: float, error: float, num_decisions: int) -> None:
    proposed = f"the model proposes {num_decisions} entities in the held-out data"
    if temperature in (MIN_TEMPERATURE, MAX_TEMPERATURE) or math.isinf(error):
        raise ValueError(
            f"{proposed}, but no temperature from {MIN_TEMPERATURE:g} to {MAX_TEMPERATURE:g} fits their scores: pass "
            "more sentences, or train the model longer"
        )
    needed = decisions_needed(num_decisions, error)
    if num_decisions < needed:
        low, high = temperature_interval(temperature, error)
        raise ValueError(
            f"{proposed}, but about {needed} are needed to know the temperature to a factor of {MAX_FACTOR:g}. It lies "
            f"between {low:.3g} and {high:.3g}: pass {math.ceil(needed / num_decisions)} times as much held-out text"
        )


def score_candidates(model: SpanMarkerModel, data: AnnotatedData, batch_size: int = 32) -> ScoredCandidates:
    """Score the candidates of annotated data: all of them, or those that the candidate filter of the model keeps.

    Args:
        model: A trained model.
        data: Annotated data.
        batch_size: The maximum number of sentences per batch.

    Returns:
        Class scores and labels.
    """
    config, preprocessor = model.config, model.preprocessor
    prepared, _ = prepare(data, preprocessor, HELD_OUT)
    logits, labels = [], []
    for _, batch, (scores, kept) in run_in_batches(
        model.score, prepared, preprocessor.collator, batch_size, hire=model.hire_workers
    ):
        logits.append(scores.float().cpu())
        labels.append(batch["labels"] if kept is None else batch["labels"][kept.cpu().numpy()])
    gold = torch.from_numpy(np.concatenate(labels))
    return ScoredCandidates(torch.cat(logits), gold, config.outside_id, config.multi_label)


def tune_thresholds(
    model: SpanMarkerModel,
    data: AnnotatedData,
    precision: float | None = None,
    batch_size: int = 32,
    only_if_better: bool = False,
) -> ThresholdReport:
    """Tune the threshold of each label on held-out data, for the best overall F1 or for a required precision.

    If the model and the data have relations, their thresholds are tuned as well, on the entities that are found with
    the tuned thresholds of entities, among all pairs; a pair filter that was fitted with other thresholds is then
    removed. All thresholds are stored in the configuration of the model, and saved with it.
    Labels with few gold entities, or relations, get thresholds near the best common one, see
    `span_marker.scores.thresholds.choose_thresholds`; a warning lists them.

    The scores to expect on new text are estimated by cross-fitting: the data is split into
    `span_marker.scores.cross_fitting.NUM_FOLDS` parts at random, with the sentences of a document in the same part, and
    each part is predicted with thresholds tuned on the other parts.

    Args:
        model: A trained model.
        data: Annotated data that the model was not trained on, see `span_marker.data.columns`.
        precision: The precision that each label must reach, with the highest possible recall; None for the best F1.
        batch_size: The maximum number of sentences per batch.
        only_if_better: Whether the model gets no thresholds if they may not help, that is, if the 95% interval of the
            change of the overall F1 on new text includes values below 0. This is decided separately for entities and
            for relations. `Trainer` sets it at the end of training.

    Returns:
        The threshold of each label; precision, recall and F1 of each label and overall, without and with the
        thresholds; and those to expect on new text. A label that cannot reach the precision gets the threshold with the
        best precision that it can reach, and is marked. The attribute ``relations`` contains the same for relations.

    Raises:
        TypeError: If ``model`` is not a model, ``data`` is not a `Dataset`, or a row has a value of the wrong type.
        ValueError: If ``precision`` is not above 0 and at most 1, a row is invalid, the data has no entities, or the
            model lacks a label or cannot find relations on its engine. The model is not changed.
    """
    model = without_adapter(model)
    held_out, former = HeldOut.read(model, data, batch_size), model.config.relation_thresholds
    relations = HeldOutRelations.read(held_out)  # before anything changes: they may be invalid
    report = held_out.tune(precision)
    held_out.keep(report, only_if_better)
    if relations is None:
        return report
    of_relations = relations.tune(precision)
    held_out.keep(of_relations, only_if_better)
    if model.config.pair_filter is not None and model.config.relation_thresholds != former:
        logger.warning(
            "The pair filter is removed, since it was fitted to the relations that were found with other thresholds: "
            "call span_marker.fit_pair_filter again."
        )
        model.reset_pair_filter()
    return replace(report, relations=of_relations)
