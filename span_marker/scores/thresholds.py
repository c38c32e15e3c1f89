"""Tuning the thresholds of labels on held-out data. Pure functions."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from span_marker.core.metrics import precision_recall_f1
from span_marker.core.tables import TextReport, text_table
from span_marker.scores.calibration import check_probabilities
from span_marker.scores.temperature import NORMAL_95

Kind = Literal["entities", "relations"]
"""The kinds of predictions that have thresholds."""

FloatArray = npt.NDArray[np.float64]

UNTUNED_THRESHOLD = 0.5
"""Threshold of all labels if no proposal is correct."""

PSEUDO_GOLD = 20
"""Number of gold entities that the pooled proposals of all labels count for in the threshold of each label.

If the recalls of labels at one threshold have mean p and variance v, then the prior knowledge about the recall of a
label is worth ``p * (1 - p) / v - 1`` of its entities (a beta distribution). This is 20 for a mean of 0.7 and a
standard deviation of 0.1. The threshold of a label with fewer gold entities is mostly determined by other labels.
"""


@dataclass(frozen=True)
class Proposals:
    """Proposals of one label in held-out data.

    Attributes:
        scores: Their probabilities, in any order, ``(num_proposed,)``. They are compared as float32 numbers.
        is_right: Whether each is a gold entity, ``(num_proposed,)``.
        num_gold: Number of gold entities of the label, including those that were not proposed.
    """

    scores: npt.NDArray[np.float32]
    is_right: npt.NDArray[np.bool_]
    num_gold: int

    def __post_init__(self) -> None:
        """Convert and check the proposals.

        Raises:
            ValueError: If lengths differ, a score is not from 0 to 1, or more proposals are right than there are gold
                entities.
        """
        object.__setattr__(self, "scores", np.asarray(self.scores, dtype=np.float32))
        object.__setattr__(self, "is_right", np.asarray(self.is_right, dtype=bool))
        check_probabilities("scores", self.scores, self.is_right)
        if self.is_right.sum() > self.num_gold:
            raise ValueError(
                f"num_gold={self.num_gold} must not be below the {self.is_right.sum()} proposals that are right"
            )

    def counts(self, thresholds: npt.NDArray[np.float32]) -> FloatArray:
        """Count the proposals that reach thresholds.

        Args:
            thresholds: The thresholds, ``(num_thresholds,)``.

        Returns:
            Number of right proposals, proposals and gold entities at each threshold, ``(num_thresholds, 3)``.
        """
        right, proposed = (
            len(scores) - np.searchsorted(np.sort(scores), thresholds)
            for scores in (self.scores[self.is_right], self.scores)
        )
        return np.stack([right, proposed, np.full(len(thresholds), self.num_gold)], axis=-1).astype(np.float64)


class OperatingPoint(NamedTuple):
    """The threshold of a label, and the figures that it was chosen for.

    The figures are those of the label's own proposals together with those of all labels, see `choose_thresholds`.

    Attributes:
        threshold: The minimum probability of an entity, a float32 number.
        precision: Share of the proposals at or above the threshold that are right.
        recall: Share of the gold entities that are proposed at or above the threshold.
        f1: Harmonic mean of precision and recall.
        reached: Whether the requested precision is reached. False if no proposal is right.
    """

    threshold: float
    precision: float
    recall: float
    f1: float
    reached: bool


def choose_thresholds(
    proposals: Mapping[str, Proposals],
    precision: float | None = None,
    floor: float = 0.0,
    pseudo_gold: float = PSEUDO_GOLD,
) -> dict[str, OperatingPoint]:
    """Choose the threshold of each label, for the best F1 of all labels together or for a required precision.

    The counts of a label at a threshold are its own, plus those of all labels at the same threshold, scaled to
    ``pseudo_gold`` gold entities. The threshold of a label with many gold entities therefore depends on its own
    proposals, that of a label without any on those of all labels, and that of a label with a few on both (empirical
    Bayes; Efron and Morris 1975).

    Let F be the best F1 of all labels with one common threshold. The threshold of a label maximizes
    ``num_right - F / 2 * num_proposed``: it accepts proposals as long as the next ones are right with a probability of
    at least F / 2, which raises the overall F1 (Dinkelbach 1967, On nonlinear fractional programming; Lipton et al.
    2014, Thresholding classifiers to maximize F1 score). For a single label, this is its best F1. If the best F1 of
    each label were chosen instead, a label with many wrong proposals would accept nearly all of them, at the cost of
    the overall precision.

    A threshold lies halfway between the lowest score of any label that passes it and the next lower one, or ``floor``.
    Of equally good thresholds, the highest is chosen.

    Args:
        proposals: The proposals of each label.
        precision: The precision to reach, above 0 and at most 1, with the highest possible recall; None for the best
            F1.
        floor: The minimum probability of the proposals; nothing is known about lower ones.
        pseudo_gold: Number of gold entities that the proposals of all labels count for, 0 or more.

    Returns:
        The threshold of each label and its figures. If the precision cannot be reached, the threshold with the best
        precision and, among those, the best recall. If no proposal is right, `UNTUNED_THRESHOLD`, zeros and False.

    Raises:
        ValueError: If ``precision`` is out of range, or a score is below ``floor``.

    Example:
        >>> few = Proposals([0.75, 0.25, 0.5], [True, False, True], num_gold=2)
        >>> choose_thresholds({"PER": few})
        {'PER': OperatingPoint(threshold=0.375, precision=1.0, recall=1.0, f1=1.0, reached=True)}
    """
    if precision is not None and not 0 < precision <= 1:
        raise ValueError(f"precision={precision} must be above 0 and at most 1")
    least, scores = np.float32(floor), np.concatenate([label.scores for label in proposals.values()])
    if (scores < least).any():
        raise ValueError(f"floor={floor} must not be above any score, but one is {scores.min()}")
    num_gold, ranked = sum(label.num_gold for label in proposals.values()), np.unique(scores)[::-1]
    pooled = np.zeros((len(ranked), 3))
    for label in proposals.values():
        pooled += label.counts(ranked)

    points = {}
    for name, label in proposals.items():
        # Whole numbers, as far as pseudo_gold is one: figures that are equal are equal as floating-point numbers.
        counts = label.counts(ranked) * num_gold + pseudo_gold * pooled
        if not counts[:, 0].any():
            points[name] = OperatingPoint(UNTUNED_THRESHOLD, 0.0, 0.0, 0.0, False)
            continue
        best, reached = _best_f1(counts, pooled) if precision is None else _best_recall(counts, precision)
        threshold = _halfway(ranked[best], ranked[best + 1] if best + 1 < len(ranked) else least)
        best_precision, best_recall, best_f1 = precision_recall_f1(counts[best]).tolist()
        points[name] = OperatingPoint(threshold, best_precision, best_recall, best_f1, reached)
    return points


def _best_f1(counts: FloatArray, pooled: FloatArray) -> tuple[int, bool]:
    num_right, num_proposed, num_gold = pooled[precision_recall_f1(pooled)[:, 2].argmax()]
    return int((counts[:, 0] * (num_proposed + num_gold) - num_right * counts[:, 1]).argmax()), True


def _best_recall(counts: FloatArray, precision: float) -> tuple[int, bool]:
    precisions = precision_recall_f1(counts)[:, 0]
    enough = precisions >= precision
    if enough.any():
        return int(np.where(enough, counts[:, 0], -1).argmax()), True
    return int(np.flatnonzero(precisions == precisions.max())[-1]), False


def _halfway(last: np.float32, following: np.float32) -> float:
    middle = np.float32((float(last) + float(following)) / 2)
    return float(middle if middle > following else last)  # neighboring numbers have no middle


class Scores(NamedTuple):
    """Precision, recall and F1 of a label, or over all labels."""

    precision: float
    recall: float
    f1: float


class Figures(NamedTuple):
    """The effect of thresholds, for a label or over all labels.

    Attributes:
        before: Scores without thresholds.
        after: Scores with the thresholds, on the data that they were tuned on, which makes them look better than they
            are.
        expected: Scores to expect on new text: those of each part of the data, with thresholds tuned on the other
            parts. None if the data cannot be split.
    """

    before: Scores
    after: Scores
    expected: Scores | None


class F1Change(NamedTuple):
    """The change of the overall F1 that is expected on new text, and its 95% interval.

    Attributes:
        value: The change.
        low: Lower bound of the interval.
        high: Upper bound of the interval.
    """

    value: float
    low: float
    high: float


def f1_change(before: npt.ArrayLike, after: npt.ArrayLike) -> F1Change:
    """Estimate the interval of a change of F1 on the same sentences.

    F1 is ``2 * R / (P + G)``, where R, P and G are sums over the sentences. A sentence with the counts r, p and g
    contributes ``(2 * r - F1 * (p + g)) / (P + G)`` to its error. The variance of the change is the sum of the squared
    differences of these contributions (delta method; Efron and Tibshirani 1993, chapter 21).

    Args:
        before: Number of right predictions, predictions and gold entities of each sentence, ``(num_sentences, 3)``.
        after: The same after the change.

    Returns:
        The change, and its 95% interval.
    """
    values, contributions = [], []
    for counts in (np.asarray(before, dtype=np.float64), np.asarray(after, dtype=np.float64)):
        size = max(float(counts[:, 1:].sum()), 1.0)
        values.append(2 * float(counts[:, 0].sum()) / size)
        contributions.append((2 * counts[:, 0] - values[-1] * counts[:, 1:].sum(axis=1)) / size)
    value, error = values[1] - values[0], math.sqrt(np.square(contributions[1] - contributions[0]).sum())
    return F1Change(value, value - NORMAL_95 * error, value + NORMAL_95 * error)


@dataclass(frozen=True)
class ThresholdReport(TextReport):
    """The thresholds of a model, and their effect. ``print`` shows a table.

    Attributes:
        points: Threshold of each label, and the figures that it was chosen for.
        num_gold: Number of gold entities of each label.
        labels: The effect of the thresholds on each label.
        before: Overall scores without thresholds, see `Figures`.
        after: Overall scores with the thresholds, see `Figures`.
        expected: Overall scores to expect on new text, see `Figures`.
        f1_change: Change of the overall F1 to expect on new text; None if the data cannot be split.
        requested_precision: The requested precision; None for the best F1.
        kind: What the thresholds are for.
        relations: The report for relations, between the entities that are found with the thresholds; None if the model
            or the data has none.
        num_predicted: Number of predictions without thresholds.
    """

    points: Mapping[str, OperatingPoint]
    num_gold: Mapping[str, int]
    labels: Mapping[str, Figures]
    before: Scores
    after: Scores
    expected: Scores | None
    f1_change: F1Change | None
    requested_precision: float | None = None
    kind: Kind = "entities"
    relations: ThresholdReport | None = None
    num_predicted: int = 0

    @classmethod
    def from_counts(
        cls,
        points: Mapping[str, OperatingPoint],
        before: FloatArray,
        after: FloatArray,
        expected: FloatArray | None,
        requested_precision: float | None = None,
        kind: Kind = "entities",
    ) -> ThresholdReport:
        """Compute the figures of a report.

        Args:
            points: Threshold of each label.
            before: Number of right predictions, predictions and gold entities without thresholds, of each sentence and
                label, ``(num_sentences, num_labels, 3)``.
            after: The same with the thresholds.
            expected: The same with thresholds that are tuned on other sentences; None if the data cannot be split.
            requested_precision: The requested precision.
            kind: What the thresholds are for.

        Returns:
            The report.
        """

        def figures(columns: slice) -> Figures:
            first, second = (_scores(counts[:, columns]) for counts in (before, after))
            return Figures(first, second, None if expected is None else _scores(expected[:, columns]))

        num_gold = before[..., 2].sum(axis=0).astype(int).tolist()
        return cls(
            points,
            dict(zip(points, num_gold, strict=True)),
            {label: figures(slice(column, column + 1)) for column, label in enumerate(points)},
            *figures(slice(None)),
            None if expected is None else f1_change(before.sum(axis=1), expected.sum(axis=1)),
            requested_precision,
            kind,
            num_predicted=int(before[..., 1].sum()),
        )

    @property
    def thresholds(self) -> dict[str, float]:
        """The threshold of each label."""
        return {label: point.threshold for label, point in self.points.items()}

    @property
    def setting(self) -> str:
        """Name of the setting in the configuration that stores the thresholds."""
        return "thresholds" if self.kind == "entities" else "relation_thresholds"

    @property
    def few(self) -> dict[str, int]:
        """Number of gold entities of the labels that have fewer than `PSEUDO_GOLD`."""
        return {label: number for label, number in self.num_gold.items() if number < PSEUDO_GOLD}

    @property
    def is_better(self) -> bool:
        """Whether the overall F1 on new text is higher with the thresholds: its change has a 95% interval above 0."""
        return self.f1_change is not None and self.f1_change.low > 0

    @property
    def problem(self) -> str | None:
        """Why the thresholds may fail on new text, and what helps; None if they are expected to work."""
        if not any(point.recall for point in self.points.values()):
            return "none of the model's proposals are right, whatever the thresholds: train it longer"
        if self.expected is None or self.f1_change is None:
            return "the data is one sentence or document, which gives no estimate for new text: tune on more data"
        wanted = self.requested_precision
        if wanted is None and self.f1_change.value < 0:
            return (
                f"the expected F1 on new text is {self.expected.f1:.4f}, below {self.before.f1:.4f} without "
                f"thresholds: tune on more data, or set model.config.{self.setting} = None to predict without them"
            )
        if wanted is not None and self.expected.precision < wanted:
            return (
                f"the expected precision on new text is {self.expected.precision:.4f}, below the requested "
                f"precision={wanted}: request a higher precision, or tune on more data"
            )
        return None

    def __str__(self) -> str:
        steps = ("before", "tuned", "new")
        table: list[tuple[str, ...]] = [
            ("", "", "", *(cell for name in ("precision", "recall", "f1") for cell in ("", name, "")), ""),
            ("", "threshold", "gold", *steps * 3, ""),
        ]
        for label, figures in self.labels.items():
            point, number = self.points[label], self.num_gold[label]
            notes = [f"few {self.kind}"] * (label in self.few) + ["not reached"] * (not point.reached)
            table.append((label, f"{point.threshold:.4f}", f"{number:,}", *_cells(figures), ", ".join(notes)))
        overall = Figures(self.before, self.after, self.expected)
        table.append(("all", "", f"{sum(self.num_gold.values()):,}", *_cells(overall), ""))
        lines = [
            text_table(table),
            "",
            "before: without thresholds; tuned: with them, on the data that they were tuned on; new: on new text",
        ]
        name, after = ("tuning data", self.after) if self.expected is None else ("new text", self.expected)
        precision, recall, f1 = (new - old for new, old in zip(after, self.before, strict=True))
        lines.append(f"change on {name}: precision {precision:+.4f}, recall {recall:+.4f}, f1 {f1:+.4f}")
        if self.f1_change is not None:
            lines[-1] += f" (95% interval {self.f1_change.low:+.4f} to {self.f1_change.high:+.4f})"
        if self.problem:
            lines.append(f"note: {self.problem}")
        if self.relations is not None:
            lines += ["", "relations between the entities that are found:", "", str(self.relations)]
        return "\n".join(lines)


def _scores(counts: FloatArray) -> Scores:
    return Scores(*precision_recall_f1(counts.sum(axis=(0, 1))).tolist())


def _cells(figures: Figures) -> list[str]:
    """Precision before, tuned and on new text; then recall, then F1."""
    columns = zip(*(scores or (None,) * len(Scores._fields) for scores in figures), strict=True)
    return ["-" if value is None else f"{value:.4f}" for column in columns for value in column]
