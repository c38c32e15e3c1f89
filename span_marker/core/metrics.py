"""Strict metrics: an entity counts if its label, its start and its end are right, over all gold entities."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from span_marker.core.labels import LabelledSpan, entities_to_tags, have_overlap


def compute_metrics(
    gold: Sequence[Sequence[LabelledSpan]], predicted: Sequence[Sequence[LabelledSpan]], num_words: Sequence[int]
) -> dict[str, Any]:
    """Compare predicted entities with gold ones, which may be nested or overlap. Flat ones are counted as seqeval does.

    Args:
        gold: The gold entities of each sentence, those included that no candidate stood for. Those that no words stand
            for have a negative start, and are missed.
        predicted: The predicted entities of each sentence.
        num_words: Words of each sentence, before any was cut off.

    Returns:
        ``overall_precision``, ``overall_recall`` and ``overall_f1`` (micro averages), ``macro_precision``,
        ``macro_recall`` and ``macro_f1`` (means over the labels), ``overall_accuracy`` of word tags if no entities
        overlap, and for each label a dict of ``precision``, ``recall``, ``f1`` and ``number``, its gold entities.

    Example:
        >>> metrics = compute_metrics([[LabelledSpan("PER", 0, 2)]], [[LabelledSpan("PER", 0, 2)]], [3])
        >>> metrics["overall_f1"]
        1.0
    """
    right: Counter[str] = Counter()
    found: Counter[str] = Counter()
    expected: Counter[str] = Counter()
    for gold_entities, predicted_entities in zip(gold, predicted, strict=True):
        right.update(entity.label for entity in set(gold_entities) & set(predicted_entities))
        found.update(entity.label for entity in predicted_entities)
        expected.update(entity.label for entity in gold_entities)
    labels = sorted(found.keys() | expected.keys())
    metrics: dict[str, Any] = {
        label: {**_scores(right[label], found[label], expected[label]), "number": expected[label]} for label in labels
    }
    for name, value in _scores(right.total(), found.total(), expected.total()).items():
        metrics[f"overall_{name}"] = value
        metrics[f"macro_{name}"] = sum(metrics[label][name] for label in labels) / len(labels) if labels else 0.0
    with_words = [[entity for entity in entities if entity.start >= 0] for entities in gold]
    if not any(have_overlap(entities) for entities in (*with_words, *predicted)):
        metrics["overall_accuracy"] = _accuracy(with_words, predicted, num_words)
    return metrics


def _scores(right: int, found: int, expected: int) -> dict[str, float]:
    precision = right / found if found else 0.0
    recall = right / expected if expected else 0.0
    return {
        "precision": precision,
        "recall": recall,
        "f1": 2 * precision * recall / (precision + recall) if right else 0.0,
    }


def _accuracy(
    gold: Sequence[Sequence[LabelledSpan]], predicted: Sequence[Sequence[LabelledSpan]], num_words: Sequence[int]
) -> float:
    """Share of words that have the right tag."""
    num_right = sum(
        one == other
        for gold_entities, predicted_entities, words in zip(gold, predicted, num_words, strict=True)
        for one, other in zip(
            entities_to_tags(gold_entities, words), entities_to_tags(predicted_entities, words), strict=True
        )
    )
    return num_right / sum(num_words) if any(num_words) else 0.0
