"""Fitting a trained model's probabilities to held-out data: calibration, and thresholds of labels."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from datasets import Dataset

from span_marker.annotations import read_rows
from span_marker.calibration import CalibrationReport, ScoredCandidates, calibration_report, fit_temperature
from span_marker.data_collator import SpanMarkerDataCollator
from span_marker.decoding import likely_labels, probabilities
from span_marker.evaluation import compute_metrics
from span_marker.features import prepare
from span_marker.inference import Entity, batches
from span_marker.labels import LabelledSpan
from span_marker.modeling import SpanMarkerModel
from span_marker.spans import num_candidates
from span_marker.thresholds import Scores, ThresholdReport, tune_threshold

FLOOR = 0.05
"""Least probability of what thresholds are tuned on: no threshold is lower."""


def calibrate(
    model: SpanMarkerModel, data: Dataset, test_data: Dataset | None = None, batch_size: int = 32
) -> CalibrationReport:
    """Fit a model's temperature to held-out data, so that its scores say how often it is right.

    The temperature is written into the model's configuration, and saved with it. It changes no prediction of a text in
    which nothing overlaps. Tune thresholds after it, not before.

    Args:
        model: A trained model.
        data: Annotated data that the model was not trained on, see `span_marker.annotations`.
        test_data: Other such data to measure on; by default the same, which flatters one number a little.
        batch_size: Sentences of a batch.

    Returns:
        The temperature, and the calibration error before and after it.

    Raises:
        ValueError: If there is nothing to fit, such as no entity at all.
    """
    candidates = score_candidates(model, data, batch_size)
    temperature = fit_temperature(proposed(candidates))
    if test_data is not None:
        candidates = score_candidates(model, test_data, batch_size)
    report = calibration_report(candidates, temperature)
    model.config.calibration_temperature = temperature
    return report


def proposed(candidates: ScoredCandidates) -> ScoredCandidates:
    """Pick the candidates that a model proposes as entities, whatever its temperature.

    Args:
        candidates: All candidates.

    Returns:
        Those whose most probable class is not ``O``, or that have a label of at least 0.5 in a multi-label model.
    """
    scores = probabilities(candidates.logits, candidates.multi_label)
    found, _ = likely_labels(scores, candidates.outside_id, None, candidates.multi_label)
    rows = torch.from_numpy(np.unique(found))
    return replace(candidates, logits=candidates.logits[rows], labels=candidates.labels[rows])


def score_candidates(model: SpanMarkerModel, data: Dataset, batch_size: int = 32) -> ScoredCandidates:
    """Score all candidates of annotated data.

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
    costs = [
        len(row["input_ids"]) + 2 * num_candidates(len(row["word_starts"]), collator.entity_max_length)
        for row in prepared.select_columns(["input_ids", "word_starts"])
    ]
    logits, labels = [], []
    for indices in batches(costs, batch_size):
        batch = collator([prepared[index] for index in indices])
        logits.append(model.score(batch).float().cpu())
        labels.append(batch["labels"])
    return ScoredCandidates(torch.cat(logits), torch.cat(labels), config.outside_id, config.multi_label)


def tune_thresholds(
    model: SpanMarkerModel, data: Dataset, precision: float | None = None, batch_size: int = 32
) -> ThresholdReport:
    """Tune the threshold of each label on held-out data, for F1 or for a wanted precision.

    The thresholds are written into the model's configuration, and saved with it.

    Args:
        model: A trained model.
        data: Annotated data that the model was not trained on, see `span_marker.annotations`.
        precision: The precision that each label is to reach with as much recall as it can; None for the best F1.
        batch_size: Sentences of a batch.

    Returns:
        The threshold of each label with what is to be expected of it, and the overall figures before and after. A label
        that can't reach the precision gets the threshold with the best one that it can, and is marked.

    Raises:
        ValueError: If ``precision`` is not above 0 and at most 1.
    """
    rows = list(read_rows(data.with_format(None), "held-out", model.config.given_labels))
    gold = [{_without_edges(span, item) for span in spans} for item, spans in rows]
    texts = data.select_columns(["text" if rows and isinstance(rows[0][0], str) else "tokens", *_context(data)])

    def predict(threshold: float | None) -> list[list[Entity]]:
        return list(model.predict(texts, batch_size, threshold=threshold))

    def overall(predicted: list[list[Entity]]) -> Scores:
        spans = [[_span(entity) for entity in found] for found in predicted]
        metrics = compute_metrics([list(found) for found in gold], spans, [len(item) for item, _ in rows])
        return Scores(*(metrics[f"overall_{name}"] for name in ("precision", "recall", "f1")))

    previous, model.config.thresholds = model.config.thresholds, None
    try:
        before = overall(predict(None))
        proposed = predict(FLOOR)
        num_gold = Counter(span.label for spans in gold for span in spans)
        points = {}
        for label in model.config.reduced_labels:
            of_label = [
                (entity["score"], _span(entity) in spans)
                for found, spans in zip(proposed, gold, strict=True)
                for entity in found
                if entity["label"] == label
            ]
            if label != model.config.reduced_labels[model.config.outside_id]:
                scores, is_right = (np.array([row[column] for row in of_label]) for column in (0, 1))
                points[label] = tune_threshold(scores, is_right, num_gold[label], precision, FLOOR)
    except BaseException:
        model.config.thresholds = previous
        raise
    model.config.thresholds = {label: point.threshold for label, point in points.items()}
    return ThresholdReport(points, {label: num_gold[label] for label in points}, before, overall(predict(None)))


def _context(data: Dataset) -> list[str]:
    """The columns of document context, if the data has them."""
    return [name for name in ("document_id", "sentence_id") if name in data.column_names]


def _span(entity: Entity) -> LabelledSpan:
    if "char_start_index" in entity:
        return LabelledSpan(entity["label"], entity["char_start_index"], entity["char_end_index"])
    return LabelledSpan(entity["label"], entity["word_start_index"], entity["word_end_index"])


def _without_edges(span: LabelledSpan, item: Any) -> LabelledSpan:
    """An entity of a text without the white space at its edges, as ``predict`` returns it."""
    if not isinstance(item, str):
        return span
    text = item[span.start : span.end]
    start = span.start + len(text) - len(text.lstrip())
    return LabelledSpan(span.label, start, max(start, span.start + len(text.rstrip())))
