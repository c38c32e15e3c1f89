"""Strict metrics over all gold entities: an entity counts if its label, start and end are right."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from span_marker.core.labels import LabelledSpan, entities_to_tags, have_overlap

NAMES = ("precision", "recall", "f1")

ENTITY_NAMES = re.compile(
    r"(?:overall|macro|relation|label)(?:_.*)?|loss|runtime|(?:samples|steps)_per_second|candidates_kept"
    r"|model_preparation_time|jit_compilation_time",
    re.DOTALL,
)
"""Labels of entities whose metrics would collide with the names of others in an evaluation, or with their prefixes."""

ESCAPE = "label_"
"""Prefix of the names of their metrics."""

NO_BEST_THRESHOLD = 0.5
"""The reported best threshold if F1 is 0 at every threshold."""


class HasLabel(Protocol):
    """An annotation or prediction. Two are the same if they are equal."""

    @property
    def label(self) -> str:
        """Its label."""

    def __hash__(self) -> int:
        """Return the hash of everything that determines equality."""


def precision_recall_f1(counts: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Compute precision, recall and F1, each 0 where its denominator is 0.

    Equal figures are equal floating-point numbers, since each is computed by a single division.

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


def label_metric(label: str, reserved: re.Pattern[str] = ENTITY_NAMES) -> str:
    """Name the metrics of a label, independently of other labels.

    Args:
        label: The label.
        reserved: Labels that collide with the names of other metrics.

    Returns:
        The label; with `ESCAPE` before it, if it is one of ``reserved``. No two labels have the same name.

    Example:
        >>> label_metric("PER"), label_metric("overall")
        ('PER', 'label_overall')
    """
    return ESCAPE + label if reserved.fullmatch(label) else label


def compute_metrics(
    gold: Sequence[Sequence[LabelledSpan]], predicted: Sequence[Sequence[LabelledSpan]], num_words: Sequence[int]
) -> dict[str, Any]:
    """Compare predicted with gold entities, which may be nested or overlap. Flat ones are counted as in seqeval.

    Args:
        gold: The gold entities of each sentence, including those that no candidate can match. Entities that do not
            consist of words have a negative start, and count as missed.
        predicted: The predicted entities of each sentence.
        num_words: Number of words of each sentence, before truncation.

    Returns:
        The metrics of `count_metrics`, and ``overall_accuracy`` of word tags if no entities overlap.

    Example:
        >>> metrics = compute_metrics([[LabelledSpan("PER", 0, 2)]], [[LabelledSpan("PER", 0, 2)]], [3])
        >>> metrics["overall_f1"]
        1.0
    """
    metrics = count_metrics(gold, predicted)
    with_words = [[entity for entity in entities if entity.start >= 0] for entities in gold]
    if not any(have_overlap(entities) for entities in (*with_words, *predicted)):
        metrics["overall_accuracy"] = _accuracy(with_words, predicted, num_words)
    return metrics


def count_metrics(
    gold: Iterable[Collection[HasLabel]],
    predicted: Iterable[Collection[HasLabel]],
    reserved: re.Pattern[str] = ENTITY_NAMES,
) -> dict[str, Any]:
    """Count right predictions of entities, or of anything else with a label.

    Args:
        gold: What is annotated in each sentence.
        predicted: What is predicted in each sentence. It is right if it is equal to something annotated.
        reserved: See `label_metric`.

    Returns:
        ``overall_precision``, ``overall_recall`` and ``overall_f1`` (micro averages), ``macro_precision``,
        ``macro_recall`` and ``macro_f1`` (means over the labels), and for each label, named by `label_metric`, a dict
        of ``precision``, ``recall``, ``f1`` and ``number``, its number of annotations.
    """
    num_correct: Counter[str] = Counter()
    num_predicted: Counter[str] = Counter()
    num_gold: Counter[str] = Counter()
    for of_gold, of_predicted in zip(gold, predicted, strict=True):
        num_correct.update(item.label for item in set(of_gold) & set(of_predicted))
        num_predicted.update(item.label for item in of_predicted)
        num_gold.update(item.label for item in of_gold)
    labels = sorted(num_predicted.keys() | num_gold.keys())
    counts = np.array([[num_correct[label], num_predicted[label], num_gold[label]] for label in labels]).reshape(-1, 3)
    figures = precision_recall_f1(counts)
    metrics: dict[str, Any] = {
        label_metric(label, reserved): {**dict(zip(NAMES, row, strict=True)), "number": num_gold[label]}
        for label, row in zip(labels, figures.tolist(), strict=True)
    }
    overall = precision_recall_f1(counts.sum(axis=0)).tolist()
    macro = figures.mean(axis=0).tolist() if labels else [0.0] * len(NAMES)
    metrics |= {f"overall_{name}": value for name, value in zip(NAMES, overall, strict=True)}
    metrics |= {f"macro_{name}": value for name, value in zip(NAMES, macro, strict=True)}
    return metrics


class ThresholdCurve(NamedTuple):
    """Figures at each threshold that makes a difference, from the highest to the lowest.

    Attributes:
        thresholds: Each threshold, float32, ``(num_thresholds,)``.
        figures: Precision, recall and F1 at or above it, ``(num_thresholds, 3)``.
    """

    thresholds: npt.NDArray[np.float32]
    figures: npt.NDArray[np.float64]


def threshold_curve(scores: npt.ArrayLike, is_right: npt.ArrayLike, num_gold: int) -> ThresholdCurve:
    """Compute precision, recall and F1 at every threshold.

    Scores at or above a threshold pass it, so equal scores pass together. A threshold lies halfway between the lowest
    score that passes and the next one, or 0: anywhere between them gives the same figures, and the middle is the safest
    choice for other data. Scores are compared as float32 numbers.

    Args:
        scores: Probabilities of the predictions, in any order, ``(num_predictions,)``.
        is_right: Whether each prediction is a gold entity, ``(num_predictions,)``.
        num_gold: Number of gold entities, including those that are not among the predictions.

    Returns:
        The figures at one threshold per different score.

    Example:
        >>> thresholds, figures = threshold_curve([0.75, 0.25, 0.75], [True, True, False], num_gold=2)
        >>> thresholds.tolist(), figures.tolist()
        ([0.5, 0.125], [[0.5, 0.5, 0.5], [0.6666666666666666, 1.0, 0.8]])
    """
    values, right = np.asarray(scores, dtype=np.float32), np.asarray(is_right, dtype=bool)
    order = np.argsort(-values, kind="stable")
    ranked = values[order]
    last = np.flatnonzero(np.diff(ranked, append=-1.0))  # of equal scores
    lowest = ranked[last]
    following = np.append(lowest, np.float32(0))[1:]
    middle = ((lowest.astype(np.float64) + following) / 2).astype(np.float32)
    num_right = np.cumsum(right[order])[last]
    counts = np.stack([num_right, last + 1, np.full_like(last, num_gold)], axis=-1)
    thresholds = np.where(middle > following, middle, lowest)  # neighboring numbers have no middle
    return ThresholdCurve(thresholds, precision_recall_f1(counts))


def threshold_metrics(scores: npt.ArrayLike, is_right: npt.ArrayLike, num_gold: int) -> dict[str, float]:
    """Measure how well probabilities separate entities from other spans, independently of the model's own decisions.

    Args:
        scores: See `threshold_curve`.
        is_right: See `threshold_curve`.
        num_gold: See `threshold_curve`.

    Returns:
        ``overall_best_f1``, the best F1 at any threshold; ``overall_best_threshold``, the highest threshold with this
        F1, or `NO_BEST_THRESHOLD` if no prediction is right; and ``overall_average_precision``, the sum of the
        precisions at all thresholds, each times the recall that it adds to that of the next higher threshold (Manning
        et al. 2008, Introduction to Information Retrieval, 8.4; `sklearn.metrics.average_precision_score`).

    Example:
        >>> threshold_metrics([0.75, 0.5, 0.25], [True, False, True], num_gold=2)
        {'overall_best_f1': 0.8, 'overall_best_threshold': 0.125, 'overall_average_precision': 0.8333333333333333}
    """
    thresholds, figures = threshold_curve(scores, is_right, num_gold)
    precision, recall, f1 = figures.T
    best_f1 = f1.max(initial=0.0).item()
    return {
        "overall_best_f1": best_f1,
        "overall_best_threshold": thresholds[f1.argmax()].item() if best_f1 else NO_BEST_THRESHOLD,
        "overall_average_precision": (np.diff(recall, prepend=0.0) * precision).sum().item(),
    }


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
