"""Fitting a trained model's probabilities to held-out data: calibration, and thresholds of labels."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from span_marker.configuration import NO_THRESHOLDS
from span_marker.core.alignment import trim_entities
from span_marker.core.labels import OUTSIDE, LabelledSpan
from span_marker.core.metrics import precision_recall_f1
from span_marker.data.columns import read_rows, require_dataset
from span_marker.data.rows import Unit, check_entity
from span_marker.modeling import SpanMarkerModel, without_adapter
from span_marker.preprocessing.batching import run_in_batches
from span_marker.preprocessing.features import prepare
from span_marker.scores.calibration import (
    CalibrationReport,
    ScoredCandidates,
    calibration_report,
    decisions,
    fit_temperature,
    proposed_entities,
)
from span_marker.scores.thresholds import Scores, ThresholdReport, tune_threshold

if TYPE_CHECKING:
    from datasets import Dataset

logger = logging.getLogger(__name__)

HELD_OUT = "held-out"
"""What the data is called in messages."""

FLOOR = 0.05
"""The least probability of the predictions that thresholds are tuned on: no threshold is lower."""


def calibrate(
    model: SpanMarkerModel, data: Dataset, test_data: Dataset | None = None, batch_size: int = 32
) -> CalibrationReport:
    """Fit the temperature of a model to held-out data, so that its scores say how often it is right.

    It is fitted to the candidates that the model proposes as entities, since only their scores are returned. It is
    stored in the configuration as ``calibration_temperature``. Thresholds are reset, since they no longer match the
    scores. Predictions change only where entities overlap.

    Args:
        model: A trained model.
        data: Annotated data that the model was not trained on, see `span_marker.data.columns`.
        test_data: Separate annotated data to report on. Defaults to ``data``, which makes the calibrated error look
            slightly better than it is.
        batch_size: The largest number of sentences per batch.

    Returns:
        The temperature, and the calibration error before and after.

    Raises:
        TypeError: If ``model`` is not a model, the data is not a `Dataset`, or a row has a value of the wrong type.
        ValueError: If a row is wrong, or the model proposes nothing, nothing wrong, or nothing right. The model does
            not change.
    """
    model = without_adapter(model)
    candidates = score_candidates(model, data, batch_size)
    entities = proposed_entities(candidates)
    _, is_right, is_entity = decisions(entities)
    num_right = int(is_right[is_entity].sum())
    if num_right in (0, is_entity.sum()):
        raise ValueError(
            f"{num_right} of the {is_entity.sum()} entities that the model proposes in the held-out data are "
            "right, but a temperature is fitted to right and wrong ones: pass more sentences"
        )
    temperature = fit_temperature(entities)
    if test_data is not None:
        candidates = score_candidates(model, test_data, batch_size)
    report = calibration_report(candidates, temperature)
    if model.config.thresholds is not None:
        logger.warning("The thresholds no longer match the scores and are reset: tune them again.")
    model.config.thresholds, model.config.calibration_temperature = None, temperature
    return report


def score_candidates(model: SpanMarkerModel, data: Dataset, batch_size: int = 32) -> ScoredCandidates:
    """Score the candidates of annotated data: all of them, or those that the candidate filter of the model keeps.

    Args:
        model: A trained model.
        data: Annotated data.
        batch_size: The largest number of sentences per batch.

    Returns:
        Class scores and labels.
    """
    config, preprocessor = model.config, model.preprocessor
    prepared, _ = prepare(data, preprocessor, HELD_OUT)
    logits, labels = [], []
    for _, batch, (scores, kept) in run_in_batches(model.score, prepared, preprocessor.collator, batch_size):
        logits.append(scores.float().cpu())
        labels.append(batch["labels"] if kept is None else batch["labels"][kept.cpu()])
    return ScoredCandidates(torch.cat(logits), torch.cat(labels), config.outside_id, config.multi_label)


def tune_thresholds(
    model: SpanMarkerModel, data: Dataset, precision: float | None = None, batch_size: int = 32
) -> ThresholdReport:
    """Tune the threshold of each label on held-out data, for the best F1 or for a required precision.

    The thresholds are stored in the configuration of the model, and saved with it.

    Args:
        model: A trained model.
        data: Annotated data that the model was not trained on, see `span_marker.data.columns`.
        precision: The precision that each label must reach, with the highest possible recall; None for the best F1.
        batch_size: The largest number of sentences per batch.

    Returns:
        The threshold of each label with the figures to expect, and the overall figures before and after. A label that
        cannot reach the precision gets the threshold with the best one that it can reach, and is marked.

    Raises:
        TypeError: If ``model`` is not a model, ``data`` is not a `Dataset`, or a row has a value of the wrong type.
        ValueError: If ``precision`` is not above 0 and at most 1, a row is wrong, the data has no entity, or the model
            does not have a label. The model does not change.
    """
    model = without_adapter(model)
    dataset = require_dataset(data, HELD_OUT)
    rows = list(read_rows(dataset, HELD_OUT, model.config.tags, model.config.classes))
    gold = [set(trim_entities(spans, item)) for item, spans in rows]
    num_gold = Counter(span.label for spans in gold for span in spans)
    if not num_gold:
        raise ValueError("there is no entity in the held-out data: there is nothing to tune thresholds on")

    def predict(threshold: Any) -> list[dict[LabelledSpan, float]]:
        predictions = model.predict(dataset, batch_size=batch_size, threshold=threshold)
        return [_trim_predictions(entities, item) for entities, (item, _) in zip(predictions, rows, strict=True)]

    before = _overall(gold, predict(NO_THRESHOLDS))
    proposals: dict[str, list[tuple[float, bool]]] = {label: [] for label in model.config.classes if label != OUTSIDE}
    for predicted, spans in zip(predict(FLOOR), gold, strict=True):
        for span, score in predicted.items():
            proposals[span.label].append((score, span in spans))
    points = {}
    for label, pairs in proposals.items():
        scores, is_right = (np.array([pair[column] for pair in pairs]) for column in (0, 1))
        points[label] = tune_threshold(scores, is_right, num_gold[label], precision, FLOOR)
    thresholds = {label: point.threshold for label, point in points.items()}
    after = _overall(gold, predict(thresholds))
    model.config.thresholds = thresholds
    return ThresholdReport(points, {label: num_gold[label] for label in points}, before, after)


def _trim_predictions(entities: Sequence[Mapping[str, Any]], item: Any) -> dict[LabelledSpan, float]:
    """The different entities of a sentence after trimming, each with its highest score."""
    scores: dict[LabelledSpan, float] = {}
    unit: Unit = "characters" if isinstance(item, str) else "words"
    for entity in entities:
        label, start, end, score = check_entity(entity, len(item), unit, "a prediction")
        [span] = trim_entities([LabelledSpan(label, start, end)], item)
        scores[span] = max(score or 0.0, scores.get(span, 0.0))
    return scores


def _overall(gold: Sequence[Collection[LabelledSpan]], predicted: Sequence[Collection[LabelledSpan]]) -> Scores:
    num_right = sum(span in spans for spans, found in zip(gold, predicted, strict=True) for span in found)
    return Scores(*precision_recall_f1([num_right, sum(map(len, predicted)), sum(map(len, gold))]).tolist())
