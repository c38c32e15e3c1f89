"""Strict metrics: an entity counts if its label, its start and its end are right, over all gold entities."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from seqeval.metrics import accuracy_score, classification_report

from span_marker.labels import LabelledSpan, entities_to_tags

_AVERAGES = ("micro avg", "macro avg", "weighted avg")


def compute_metrics(
    gold: Sequence[Sequence[LabelledSpan]], predicted: Sequence[Sequence[LabelledSpan]], num_words: Sequence[int]
) -> dict[str, Any]:
    """Compare predicted entities with gold ones, both flat. seqeval does the counting.

    Args:
        gold: The gold entities of each sentence, those included that no candidate stood for.
        predicted: The predicted entities of each sentence.
        num_words: Words of each sentence, before any was cut off.

    Returns:
        ``overall_precision``, ``overall_recall``, ``overall_f1`` (micro averages) and ``overall_accuracy`` (of word
        tags), and for each label a dict of ``precision``, ``recall``, ``f1`` and ``number``, its gold entities.

    Example:
        >>> metrics = compute_metrics([[LabelledSpan("PER", 0, 2)]], [[LabelledSpan("PER", 0, 2)]], [3])
        >>> metrics["overall_f1"]
        1.0
    """
    gold_tags = [entities_to_tags(entities, words) for entities, words in zip(gold, num_words, strict=True)]
    predicted_tags = [entities_to_tags(entities, words) for entities, words in zip(predicted, num_words, strict=True)]
    if any(gold) or any(predicted):
        report = classification_report(gold_tags, predicted_tags, output_dict=True, zero_division=0)
    else:
        report = {name: {"precision": 0.0, "recall": 0.0, "f1-score": 0.0, "support": 0} for name in _AVERAGES}
    metrics: dict[str, Any] = {
        label: {
            "precision": float(row["precision"]),
            "recall": float(row["recall"]),
            "f1": float(row["f1-score"]),
            "number": int(row["support"]),
        }
        for label, row in report.items()
        if label not in _AVERAGES
    }
    overall = report["micro avg"]
    metrics["overall_precision"] = float(overall["precision"])
    metrics["overall_recall"] = float(overall["recall"])
    metrics["overall_f1"] = float(overall["f1-score"])
    metrics["overall_accuracy"] = float(accuracy_score(gold_tags, predicted_tags)) if any(num_words) else 0.0
    return metrics
