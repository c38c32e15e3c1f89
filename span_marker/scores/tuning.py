"""Fitting a trained model's probabilities to held-out data: calibration, and thresholds of labels."""

from __future__ import annotations

import logging
from collections import Counter
from typing import Any

import numpy as np
import torch
from datasets import Dataset

from span_marker.core.alignment import without_edges
from span_marker.core.labels import OUTSIDE, LabelledSpan
from span_marker.core.metrics import compute_metrics
from span_marker.data.columns import read_rows, way_to_data
from span_marker.modeling import SpanMarkerModel, without_adapter
from span_marker.prediction import Entity
from span_marker.preprocessing.batching import run_in_batches
from span_marker.preprocessing.data_collator import SpanMarkerDataCollator
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

logger = logging.getLogger(__name__)

FLOOR = 0.05
"""Least probability of what thresholds are tuned on: no threshold is lower."""


def calibrate(
    model: SpanMarkerModel, data: Dataset, test_data: Dataset | None = None, batch_size: int = 32
) -> CalibrationReport:
    """Fit a model's temperature to held-out data, so that its scores say how often it is right.

    It is fitted to those candidates that the model proposes as entities, since theirs are the scores that anyone sees.
    It is written into the model's configuration as ``calibration_temperature``, and saved with it; thresholds, which
    would no longer fit, are taken away. It changes no prediction of a text in which nothing overlaps.

    Args:
        model: A trained model.
        data: Annotated data that the model was not trained on, see `span_marker.data.columns`.
        test_data: Other such data to measure on; by default the same, which flatters one number a little.
        batch_size: Sentences of a batch.

    Returns:
        The temperature, and the calibration error before and after it.

    Raises:
        TypeError: If it is no model, or no data set.
        ValueError: If the model proposes nothing, or nothing wrong, or nothing right: the model stays as it is.
    """
    model = _check(model, data)
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
        logger.warning("The model's thresholds are those of other scores, and are taken away: tune them again.")
    model.config.thresholds, model.config.calibration_temperature = None, temperature
    return report


def score_candidates(model: SpanMarkerModel, data: Dataset, batch_size: int = 32) -> ScoredCandidates:
    """Score the candidates of annotated data: all of them, or those that the model's candidate filter keeps.

    Args:
        model: A trained model.
        data: Annotated data.
        batch_size: Sentences of a batch.

    Returns:
        Class scores and labels.
    """
    tokenizer, config = model.require_tokenizer(), model.config
    prepared, _ = prepare(data, tokenizer, config, model.max_text_length, "held-out")
    collator = SpanMarkerDataCollator.for_model(tokenizer, config)
    logits, labels = [], []
    for _, batch, (scores, kept) in run_in_batches(model.score, prepared, collator, batch_size):
        logits.append(scores.float().cpu())
        labels.append(batch["labels"] if kept is None else batch["labels"][kept.cpu()])
    return ScoredCandidates(torch.cat(logits), torch.cat(labels), config.outside_id, config.multi_label)


def tune_thresholds(
    model: SpanMarkerModel, data: Dataset, precision: float | None = None, batch_size: int = 32
) -> ThresholdReport:
    """Tune the threshold of each label on held-out data, for F1 or for a wanted precision.

    The thresholds are written into the model's configuration, and saved with it.

    Args:
        model: A trained model.
        data: Annotated data that the model was not trained on, see `span_marker.data.columns`.
        precision: The precision that each label is to reach with as much recall as it can; None for the best F1.
        batch_size: Sentences of a batch.

    Returns:
        The threshold of each label with what is to be expected of it, and the overall figures before and after. A label
        that can't reach the precision gets the threshold with the best one that it can, and is marked.

    Raises:
        TypeError: If it is no model, or no data set.
        ValueError: If ``precision`` is not above 0 and at most 1, or the data has no entity, or a label that the model
            does not have.
    """
    model = _check(model, data)
    rows = list(read_rows(data.with_format(None), "held-out", model.config.given_labels))
    gold = [{without_edges(span, item) for span in spans} for item, spans in rows]
    labels = [label for label in model.config.reduced_labels if label != OUTSIDE]
    num_gold = Counter(span.label for spans in gold for span in spans)
    if not num_gold:
        raise ValueError("there is no entity in the held-out data: there is nothing to tune thresholds on")
    if unknown := num_gold.keys() - set(labels):
        raise ValueError(
            f"the labels {sorted(unknown)} of the held-out data are not among those of the model, {labels}"
        )

    def predict(threshold: float | dict[str, float] | None) -> list[list[Entity]]:
        return list(model.predict(data, batch_size=batch_size, threshold=threshold))

    def overall(predicted: list[list[Entity]]) -> Scores:
        spans = [[_span(entity) for entity in found] for found in predicted]
        metrics = compute_metrics([list(found) for found in gold], spans, [len(item) for item, _ in rows])
        return Scores(*(metrics[f"overall_{name}"] for name in ("precision", "recall", "f1")))

    previous, model.config.thresholds = model.config.thresholds, None
    try:
        before = overall(predict(None))
        proposals: dict[str, list[tuple[float, bool]]] = {label: [] for label in labels}
        for found, spans in zip(predict(FLOOR), gold, strict=True):
            for entity in found:
                proposals[entity["label"]].append((entity["score"], _span(entity) in spans))
        points = {}
        for label, pairs in proposals.items():
            scores, is_right = (np.array([pair[column] for pair in pairs]) for column in (0, 1))
            points[label] = tune_threshold(scores, is_right, num_gold[label], precision, FLOOR)
        thresholds = {label: point.threshold for label, point in points.items()}
        after = overall(predict(thresholds))
    finally:
        model.config.thresholds = previous
    model.config.thresholds = thresholds
    return ThresholdReport(points, {label: num_gold[label] for label in points}, before, after)


def _check(model: Any, data: Any) -> SpanMarkerModel:
    model = without_adapter(model)
    if not isinstance(data, Dataset):
        raise TypeError(
            f"the held-out data must be a datasets.Dataset, such as one split or {way_to_data(data)}, not "
            f"{type(data).__name__}"
        )
    return model


def _span(entity: Entity) -> LabelledSpan:
    if "char_start_index" in entity:
        return LabelledSpan(entity["label"], entity["char_start_index"], entity["char_end_index"])
    return LabelledSpan(entity["label"], entity["word_start_index"], entity["word_end_index"])
