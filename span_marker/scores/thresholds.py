"""Thresholds of labels, tuned on held-out data. Pure functions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from span_marker.core.metrics import precision_recall_f1
from span_marker.core.tables import TextReport, text_table
from span_marker.scores.calibration import check_probabilities

UNTUNED_THRESHOLD = 0.5
"""Threshold of a label without any correct proposal to tune it on."""


class OperatingPoint(NamedTuple):
    """A threshold, and the figures to expect with it.

    Attributes:
        threshold: The least probability of an entity, a float32 number.
        precision: Share of the proposals at or above the threshold that is right.
        recall: Share of the gold entities that is proposed at or above the threshold.
        f1: Harmonic mean of precision and recall.
        reached: Whether the threshold reaches the precision that was asked for.
    """

    threshold: float
    precision: float
    recall: float
    f1: float
    reached: bool


def tune_threshold(
    scores: npt.ArrayLike,
    is_right: npt.ArrayLike,
    num_gold: int,
    precision: float | None = None,
    floor: float = 0.0,
) -> OperatingPoint:
    """Find the threshold with the best F1 for a label, or with the best recall at a required precision.

    Scores at or above the threshold pass it. It lies halfway between the lowest score that passes and the next one, or
    ``floor``: anywhere between them gives the same figures, and the middle is the safest choice for other data. Scores
    are compared as float32 numbers. Of equally good thresholds, the highest is chosen.

    Args:
        scores: Probabilities of all proposals for the label, in any order, ``(num_proposed,)``.
        is_right: Whether each proposal is a gold entity, ``(num_proposed,)``.
        num_gold: Number of gold entities of the label, including those that were not proposed.
        precision: The precision to reach, above 0 and at most 1; None for the best F1.
        floor: The least probability that was proposed at all: what lies below it is unknown.

    Returns:
        The threshold and its figures. If the precision cannot be reached, the threshold with the best precision and,
        among those, the best recall. If no proposal is right, `UNTUNED_THRESHOLD`, zeros and False.

    Raises:
        ValueError: If lengths differ, a number is out of range, or ``num_gold`` is below the number of right proposals.

    Example:
        >>> tune_threshold([0.75, 0.25, 0.5], [True, False, True], num_gold=2)
        OperatingPoint(threshold=0.375, precision=1.0, recall=1.0, f1=1.0, reached=True)
    """
    values, right = np.asarray(scores, dtype=np.float32), np.asarray(is_right, dtype=bool)
    check_probabilities("scores", values, right)
    least = np.float32(floor)
    if (values < least).any():
        raise ValueError(f"floor={floor} must not be above any score, but one is {values.min()}")
    if right.sum() > num_gold:
        raise ValueError(f"num_gold={num_gold} must not be below the {right.sum()} proposals that are right")
    if precision is not None and not 0 < precision <= 1:
        raise ValueError(f"precision={precision} must be above 0 and at most 1")
    if not right.any():
        return OperatingPoint(UNTUNED_THRESHOLD, 0.0, 0.0, 0.0, False)

    order = np.argsort(-values, kind="stable")
    ranked = np.append(values[order], least)
    num_kept = np.flatnonzero(np.append(np.diff(ranked[:-1]) != 0, True)) + 1  # equal scores stay together
    num_right = np.cumsum(right[order])[num_kept - 1]
    figures = precision_recall_f1(np.stack([num_right, num_kept, np.full_like(num_kept, num_gold)], axis=-1))
    precisions, _, f1s = figures.T
    enough = np.full(len(f1s), True) if precision is None else precisions >= precision
    if precision is None:
        best = int(f1s.argmax())
    elif enough.any():
        best = int(np.where(enough, num_right, -1).argmax())
    else:
        best = int(np.flatnonzero(precisions == precisions.max())[-1])
    last, following = ranked[num_kept[best] - 1], ranked[num_kept[best]]
    middle = np.float32((float(last) + float(following)) / 2)
    threshold = middle if middle > following else last  # neighboring numbers have no middle
    best_precision, best_recall, best_f1 = figures[best].tolist()
    return OperatingPoint(float(threshold), best_precision, best_recall, best_f1, bool(enough[best]))


class Scores(NamedTuple):
    """Precision, recall and F1 over all labels."""

    precision: float
    recall: float
    f1: float


@dataclass(frozen=True)
class ThresholdReport(TextReport):
    """The thresholds of a model, and what they change. ``print`` shows a table.

    Attributes:
        points: Threshold of each label, and the figures to expect with it.
        num_gold: Number of gold entities of each label.
        before: Overall scores without the thresholds.
        after: Overall scores with the thresholds.
    """

    points: Mapping[str, OperatingPoint]
    num_gold: Mapping[str, int]
    before: Scores
    after: Scores

    @property
    def thresholds(self) -> dict[str, float]:
        """The threshold of each label."""
        return {label: point.threshold for label, point in self.points.items()}

    def __str__(self) -> str:
        table: list[tuple[str, ...]] = [("", "threshold", "precision", "recall", "f1", "gold", "")]
        for label, point in self.points.items():
            figures = [f"{number:.4f}" for number in point[:4]]
            table.append((label, *figures, f"{self.num_gold[label]:,}", "" if point.reached else "not reached"))
        for name, scores in (("all, before", self.before), ("all, after", self.after)):
            figures = [f"{number:.4f}" for number in scores]
            table.append((name, "", *figures, f"{sum(self.num_gold.values()):,}", ""))
        return text_table(table)
