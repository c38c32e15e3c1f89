"""Strict metrics: an entity counts if its label, its start and its end are right, over all gold entities."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from span_marker.core.labels import LabelledSpan, entities_to_tags, have_overlap

NAMES = ("precision", "recall", "f1")


def precision_recall_f1(counts: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Compute precision, recall and F1, each 0 where its denominator is 0.

    Equal figures are equal floating-point numbers, since each is a single division.

    Args:
        counts: Number of correct predictions, predictions and gold entities, ``(..., 3)``.

    Returns:
        Precision, recall and F1, ``(..., 3)``.

    Example:
        >>> precision_recall_f1([1, 2, 4]).round(3).tolist()
        [0.5, 0.25, 0.333]
    """
    correct, predicted, gold = np.moveaxis(np.asarray(counts, dtype=np.float64), -1, 0)
    fractions = ((correct, predicted), (correct, gold), (2 * correct, predicted + gold))
    figures = [np.divide(above, below, out=np.zeros_like(below), where=below > 0) for above, below in fractions]
    return np.stack(figures, axis=-1)


def compute_metrics(
    gold: Sequence[Sequence[LabelledSpan]], predicted: Sequence[Sequence[LabelledSpan]], num_words: Sequence[int]
) -> dict[str, Any]:
    """Compare predicted with gold entities, which may be nested or overlap. Flat ones are counted as seqeval does.

    Args:
        gold: The gold entities of each sentence, including those that no candidate can match. Those that no words stand
            for have a negative start, and count as missed.
        predicted: The predicted entities of each sentence.
        num_words: Number of words of each sentence, before any was cut off.

    Returns:
        ``overall_precision``, ``overall_recall`` and ``overall_f1`` (micro averages), ``macro_precision``,
        ``macro_recall`` and ``macro_f1`` (means over the labels), ``overall_accuracy`` of word tags if no entities
        overlap, and for each label a dict of ``precision``, ``recall``, ``f1`` and ``number``, its gold entities.

    Example:
        >>> metrics = compute_metrics([[LabelledSpan("PER", 0, 2)]], [[LabelledSpan("PER", 0, 2)]], [3])
        >>> metrics["overall_f1"]
        1.0
    """
    num_correct: Counter[str] = Counter()
    num_predicted: Counter[str] = Counter()
    num_gold: Counter[str] = Counter()
    for gold_entities, predicted_entities in zip(gold, predicted, strict=True):
        num_correct.update(entity.label for entity in set(gold_entities) & set(predicted_entities))
        num_predicted.update(entity.label for entity in predicted_entities)
        num_gold.update(entity.label for entity in gold_entities)
    labels = sorted(num_predicted.keys() | num_gold.keys())
    counts = np.array([[num_correct[label], num_predicted[label], num_gold[label]] for label in labels]).reshape(-1, 3)
    figures = precision_recall_f1(counts)
    metrics: dict[str, Any] = {
        label: {**dict(zip(NAMES, row, strict=True)), "number": num_gold[label]}
        for label, row in zip(labels, figures.tolist(), strict=True)
    }
    overall = precision_recall_f1(counts.sum(axis=0)).tolist()
    macro = figures.mean(axis=0).tolist() if labels else [0.0] * len(NAMES)
    metrics |= {f"overall_{name}": value for name, value in zip(NAMES, overall, strict=True)}
    metrics |= {f"macro_{name}": value for name, value in zip(NAMES, macro, strict=True)}
    with_words = [[entity for entity in entities if entity.start >= 0] for entities in gold]
    if not any(have_overlap(entities) for entities in (*with_words, *predicted)):
        metrics["overall_accuracy"] = _accuracy(with_words, predicted, num_words)
    return metrics


def _accuracy(
    gold: Sequence[Sequence[LabelledSpan]], predicted: Sequence[Sequence[LabelledSpan]], num_words: Sequence[int]
) -> float:
    """Share of words whose tag is right."""
    num_right = sum(
        gold_tag == predicted_tag
        for gold_entities, predicted_entities, words in zip(gold, predicted, num_words, strict=True)
        for gold_tag, predicted_tag in zip(
            entities_to_tags(gold_entities, words), entities_to_tags(predicted_entities, words), strict=True
        )
    )
    return num_right / sum(num_words) if any(num_words) else 0.0
