"""Where to cut probabilities: thresholds of labels, tuned on held-out data. Pure functions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from span_marker.core.tables import text_table
from span_marker.scores.calibration import check_probabilities

UNTUNED_THRESHOLD = 0.5
"""Threshold of a label for which there is nothing to tune."""


class OperatingPoint(NamedTuple):
    """A threshold and what is to be expected of it.

    Attributes:
        threshold: Least probability of what is kept; a float32 number.
        precision: Share of what is kept that is right.
        recall: Share of the gold entities that is kept.
        f1: Their harmonic mean.
        reached: Whether it is what was asked for.
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
    """Find the threshold of a label with the best F1, or with the best recall of those that reach a precision.

    A threshold keeps every score that is not below it. It lies halfway between the last score that it keeps and the
    next one, or ``floor``: any between them fits these scores, and the middle is the safest guess for others. Scores
    are compared as float32 numbers. Of thresholds that are equally good, the highest is taken.

    Args:
        scores: Probabilities of all that was proposed for the label, in any order, ``(num_proposed,)``.
        is_right: Whether each is a gold entity, ``(num_proposed,)``.
        num_gold: Gold entities of the label, those included that were not proposed.
        precision: The precision to reach; None for the best F1.
        floor: The least probability that was proposed at all: nothing is known of what lies below it.

    Returns:
        The threshold and its figures. If the precision can't be reached, those of the best precision, and of these
        the best recall. If nothing that was proposed is right, `UNTUNED_THRESHOLD`, zeros and False.

    Raises:
        ValueError: If lengths differ, a number is out of its range, or more is right than there is gold.

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
    precisions, f1s = num_right / num_kept, 2 * num_right / (num_kept + num_gold)
    enough = np.full(len(f1s), True) if precision is None else precisions >= precision
    if precision is None:
        best = int(f1s.argmax())
    elif enough.any():
        best = int(np.where(enough, num_right, -1).argmax())
    else:
        best = int(np.flatnonzero(precisions == precisions.max())[-1])
    last, following = ranked[num_kept[best] - 1], ranked[num_kept[best]]
    middle = np.float32((float(last) + float(following)) / 2)
    threshold = middle if middle > following else last  # neighbouring numbers have no middle
    recall = num_right[best] / num_gold
    return OperatingPoint(
        float(threshold), float(precisions[best]), float(recall), float(f1s[best]), bool(enough[best])
    )


class Scores(NamedTuple):
    """Precision, recall and F1 over all labels."""

    precision: float
    recall: float
    f1: float


@dataclass(frozen=True)
class ThresholdReport:
    """The thresholds of a model and what they change. ``str`` gives a table.

    Attributes:
        points: Threshold of each label, and what is to be expected of it.
        num_gold: Gold entities of each label.
        before: Scores over all labels without the thresholds.
        after: Scores with them.
    """

    points: Mapping[str, OperatingPoint]
    num_gold: Mapping[str, int]
    before: Scores
    after: Scores

    @property
    def thresholds(self) -> dict[str, float]:
        """The thresholds alone."""
        return {label: point.threshold for label, point in self.points.items()}

    def __repr__(self) -> str:
        table: list[tuple[str, ...]] = [("", "threshold", "precision", "recall", "f1", "gold", "")]
        for label, point in self.points.items():
            figures = [f"{number:.4f}" for number in point[:4]]
            table.append((label, *figures, f"{self.num_gold[label]:,}", "" if point.reached else "not reached"))
        for name, scores in (("all, before", self.before), ("all, after", self.after)):
            figures = [f"{number:.4f}" for number in scores]
            table.append((name, "", *figures, f"{sum(self.num_gold.values()):,}", ""))
        return text_table(table)
