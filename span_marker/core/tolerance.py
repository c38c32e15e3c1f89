"""Thresholds of filters: the highest one that keeps a share of what a model predicts, with confidence."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from span_marker.core.arrays import Array
from span_marker.core.checks import check_probability
from span_marker.core.tables import TextReport, text_table

CONFIDENCE = 0.95
"""Confidence in the recall of a filter, which is estimated from a sample of held-out predictions."""

RECALLS = (0.9, 0.95, 0.98, 0.99, 0.995, 0.998, 0.999)
"""Recalls listed in reports, in addition to the requested one."""

MARGIN = 1e-3
"""Distance of the threshold below the score of the last prediction that must be kept; larger than rounding errors."""


@dataclass(frozen=True)
class FilterPoint:
    """A threshold of a filter, and the shares that it keeps of held-out text.

    Attributes:
        recall: Minimum share of all predictions that it keeps, with `CONFIDENCE`.
        threshold: The minimum score of what is kept.
        predictions_kept: Share of the held-out predictions, that is, of entities or relations, that it keeps.
        kept: Share of all that was scored, that is, of candidates or pairs, that it keeps.
    """

    recall: float
    threshold: float
    predictions_kept: float
    kept: float


@dataclass(frozen=True)
class FilterReport(TextReport):
    """The thresholds of a filter, and the shares that they keep. As a string, a table.

    Attributes:
        points: Thresholds for several recalls, ascending.
        chosen: The threshold of the filter.
        num_predictions: Number of predictions of the model in the held-out text.
        num_scored: Number of candidates, or pairs, of the held-out text.
        predicted: What the model predicts: ``"entities"`` or ``"relations"``.
        scored: What the filter scores: ``"candidates"`` or ``"pairs"``.
    """

    points: tuple[FilterPoint, ...]
    chosen: FilterPoint
    num_predictions: int
    num_scored: int
    predicted: str = "entities"
    scored: str = "candidates"

    def __str__(self) -> str:
        names = (f"{self.predicted} kept", f"{self.scored} kept", "threshold", "")
        table = [(f"recall, at {CONFIDENCE:.0%} confidence", *names)]
        table += [
            (
                f"{point.recall:.1%}",
                f"{point.predictions_kept:.2%}",
                f"{point.kept:.2%}",
                f"{point.threshold:.2f}",
                "<-" if point is self.chosen else "",
            )
            for point in self.points
        ]
        return (
            f"{self.num_predictions:,} {self.predicted} of the model among {self.num_scored:,} held-out "
            f"{self.scored}\n\n{text_table(table)}"
        )


def choose_point(
    scores: Array,
    is_predicted: Array,
    recall: float,
    has_markers: Array,
    predicted: str = "entities",
    scored: str = "candidates",
    name: str = "candidate filter",
) -> FilterReport:
    """Find the highest threshold with which a filter keeps a share of the predictions, with confidence.

    If the threshold is the k-th lowest score of n predictions, it drops at most a share ``1 - recall`` of all
    predictions with probability ``1 - P(B(n, 1 - recall) < k)``, where ``B`` is binomial (Wilks 1941, Determination of
    sample sizes for setting tolerance limits). The highest k for which this is at least `CONFIDENCE` is chosen. The
    threshold is set `MARGIN` below that score, so that the same prediction is also kept in another batch or on another
    machine.

    Args:
        scores: Scores by a filter that has not learned from this text, ``(num_scored,)``.
        is_predicted: Whether the model predicts something there, ``(num_scored,)``.
        recall: The share of the predictions to keep, above 0 and below 1.
        has_markers: Whether the model gave markers at all, ``(num_scored,)``.
        predicted: What the model predicts, for the report and errors.
        scored: What the filter scores.
        name: Name of the filter, for errors.

    Returns:
        The threshold, and those for other recalls.

    Raises:
        ValueError: If there is no prediction, or too few for the confidence.
    """
    scores = scores.astype(np.float64)
    of_predictions = np.sort(scores[is_predicted])
    num_predictions, needed = len(of_predictions), predictions_needed(recall)
    if not num_predictions:
        raise ValueError(
            f"the model finds no {predicted} in the held-out text: pass more text, or train the model longer"
        )
    if num_predictions < needed:
        lower = f"recall={RECALLS[0]}, for which {predictions_needed(RECALLS[0])} {predicted} are enough"
        raise ValueError(
            f"the model finds {num_predictions} {predicted} in the held-out text, but {needed} are needed to be sure "
            f"that a {name} keeps recall={recall} of them: pass {math.ceil(needed / num_predictions)} times as much "
            f"held-out text{f', or {lower}' if recall > RECALLS[0] else ''}"
        )
    points = []
    for listed in sorted({*RECALLS, recall}):
        if predictions_needed(listed) <= num_predictions:
            threshold = float(of_predictions[num_expendable(num_predictions, listed)]) - MARGIN
            is_kept = (scores >= threshold) & has_markers
            share = float((of_predictions >= threshold).mean())
            points.append(FilterPoint(listed, threshold, share, float(is_kept.mean())))
    chosen = next(point for point in points if point.recall == recall)
    return FilterReport(tuple(points), chosen, num_predictions, len(scores), predicted, scored)


def check_recall(recall: float) -> None:
    """Check the share of the predictions that a filter should keep.

    Args:
        recall: The share.

    Raises:
        TypeError: If it is not a number.
        ValueError: If it is out of range.
    """
    check_probability("recall", recall)
    if recall in (0, 1):
        raise ValueError(f"recall={recall} must be above 0 and below 1: to keep everything, predict with exact=True")


def predictions_needed(recall: float) -> int:
    """Compute how many held-out predictions are needed to guarantee a recall, if all of them are kept.

    Args:
        recall: The recall, above 0 and below 1.

    Returns:
        The number of predictions.

    Example:
        >>> predictions_needed(0.995)
        598
    """
    return math.ceil(math.log(1 - CONFIDENCE) / math.log(recall))


def num_expendable(num_predictions: int, recall: float) -> int:
    """Compute how many held-out predictions may be dropped without losing confidence in a recall.

    Args:
        num_predictions: Number of held-out predictions, at least `predictions_needed`.
        recall: The recall, above 0 and below 1.

    Returns:
        The largest k with ``P(B(num_predictions, 1 - recall) <= k) <= 1 - CONFIDENCE``, where ``B`` is binomial.

    Example:
        >>> num_expendable(598, 0.995), num_expendable(5000, 0.995)
        (0, 16)
    """
    odds = math.log1p(-recall) - math.log(recall)
    log_probability = num_predictions * math.log(recall)  # of dropping none
    total = math.exp(log_probability)
    dropped = 0
    while True:
        log_probability += odds + math.log((num_predictions - dropped) / (dropped + 1))
        total += math.exp(log_probability)
        if total > 1 - CONFIDENCE:
            return dropped
        dropped += 1
