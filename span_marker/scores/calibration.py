"""How far probabilities can be believed: temperature and calibration error.

Pure functions on the scores of held-out candidates. A *decision* is what a model makes of a candidate: its most
probable class, or in a multi-label model for each label whether it has it. Its *confidence* is the probability of that.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from span_marker.core.tables import text_table

logger = logging.getLogger(__name__)

MIN_TEMPERATURE = 1e-2
MAX_TEMPERATURE = 1e2

CHUNK = 2**20
"""Scores that are worked on at a time."""


@dataclass(frozen=True)
class ScoredCandidates:
    """Scores of held-out candidates, and what they should be.

    Attributes:
        logits: ``(num_spans, num_labels)``.
        labels: Class IDs, ``(num_spans,)``; zeros and ones, ``(num_spans, num_labels)``, of a multi-label model.
        outside_id: Class ID of ``O``. A multi-label model never reports its probability: it is left out there.
        multi_label: Whether each class has a probability of its own.
    """

    logits: Tensor
    labels: Tensor
    outside_id: int
    multi_label: bool = False

    def __post_init__(self) -> None:
        """Check that scores and labels fit.

        Raises:
            ValueError: If shapes don't fit, labels are out of range, or scores are not finite.
        """
        shape, found = tuple(self.logits.shape), tuple(self.labels.shape)
        if len(shape) != 2 or found != (shape if self.multi_label else shape[:1]):
            wanted = "(num_spans, num_labels)" if self.multi_label else "(num_spans,)"
            raise ValueError(
                f"logits {shape} and labels {found} don't fit: shapes are (num_spans, num_labels) and {wanted}"
            )
        if not 0 <= self.outside_id < shape[1]:
            raise ValueError(f"outside_id={self.outside_id} must be one of the {shape[1]} classes of logits")
        limit = 2 if self.multi_label else shape[1]
        for scores, labels in self.chunks():
            if not scores.isfinite().all():
                raise ValueError("logits must be finite, but some are infinite or nan: check the model's weights")
            wrong = labels[(labels < 0) | (labels >= limit)]
            if len(wrong):
                raise ValueError(f"labels must be from 0 to {limit - 1}, but one is {wrong[0]}")

    def chunks(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Take some candidates at a time.

        Yields:
            Scores, in double precision, and labels; of a multi-label model, without the column of ``O``.
        """
        rows = max(CHUNK // self.logits.shape[1], 1)
        columns = [column for column in range(self.logits.shape[1]) if column != self.outside_id]
        for scores, labels in zip(self.logits.detach().split(rows), self.labels.split(rows), strict=True):
            scores, labels = scores.cpu().double(), labels.cpu().long()
            yield (scores[:, columns], labels[:, columns]) if self.multi_label else (scores, labels)


def proposed(candidates: ScoredCandidates) -> ScoredCandidates:
    """Pick the candidates that a model proposes as entities; they are the same at any temperature.

    Args:
        candidates: All candidates.

    Returns:
        Those whose most probable class is not ``O``, or that have a label of at least 0.5 in a multi-label model.
    """
    logits = candidates.logits
    if candidates.multi_label:
        is_entity = logits >= 0
        is_entity[:, candidates.outside_id] = False
        rows = is_entity.any(dim=1)
    else:
        rows = logits.argmax(dim=1) != candidates.outside_id
    return replace(candidates, logits=logits[rows], labels=candidates.labels[rows])


def fit_temperature(candidates: ScoredCandidates) -> float:
    """Find the temperature under which the labels are the most likely (Guo et al. 2017).

    It minimises ``-mean(log(softmax(logits / temperature)[label]))``, for a multi-label model the mean binary
    cross-entropy of ``sigmoid(logits / temperature)``. Both are convex in ``1 / temperature``.

    Args:
        candidates: What to fit it to.

    Returns:
        The temperature, from `MIN_TEMPERATURE` to `MAX_TEMPERATURE`. A warning is logged if it is at a bound.

    Raises:
        ValueError: If there are no candidates, all have the same label, or the scores of each are all equal.

    Example:
        >>> logits = torch.tensor([[2.0, 0.0]] * 4)
        >>> temperature = fit_temperature(ScoredCandidates(logits, torch.tensor([0, 0, 0, 1]), outside_id=0))
        >>> torch.softmax(logits[0] / temperature, dim=0)
        tensor([0.7500, 0.2500])
    """
    found = {label for _, labels in candidates.chunks() for label in labels.unique().tolist()}
    if len(found) < 2:
        what = f"all labels are {found.pop()}" if found else "there are no candidates"
        raise ValueError(f"{what}, but a temperature is fitted to entities and candidates outside: pass more sentences")
    if not any(differences.any() for differences in _differences(candidates)):
        raise ValueError("the scores of each candidate are all equal: no temperature makes a difference")

    def slopes(log_inverse: float) -> tuple[float, float]:
        return _likelihood(candidates, math.exp(-log_inverse))[1:]

    low, high = -math.log(MAX_TEMPERATURE), -math.log(MIN_TEMPERATURE)
    if slopes(high)[0] <= 0:
        bound, reason = MIN_TEMPERATURE, "the scores predict all labels, so that ever larger ones fit better"
    elif slopes(low)[0] >= 0:
        bound, reason = MAX_TEMPERATURE, "the scores predict labels worse than equal ones would"
    else:
        return math.exp(-_zero(slopes, low, high))
    logger.warning("The best temperature is beyond its bound, %g: %s. Fit it to more sentences.", bound, reason)
    return bound


def _zero(slopes: Callable[[float], tuple[float, float]], low: float, high: float) -> float:
    """Find where an ascending function is zero: Newton's method, in an interval that is halved where it strays."""
    place, last_step = min(max(0.0, low), high), high - low
    while last_step > 1e-10:
        value, slope = slopes(place)
        low, high = (place, high) if value < 0 else (low, place)
        following = place - value / slope if slope > 0 else math.inf
        if not low <= following <= high or abs(following - place) > last_step / 2:
            following = (low + high) / 2
        place, last_step = following, abs(following - place)
    return place


def _differences(candidates: ScoredCandidates) -> Iterator[Tensor]:
    """Each score less that of the label; a label of a multi-label model is a choice of two."""
    for scores, labels in candidates.chunks():
        if candidates.multi_label:
            against = torch.where(labels == 1, -scores, scores).flatten()
            yield torch.stack([torch.zeros_like(against), against], dim=1)
        else:
            yield scores - scores.gather(1, labels[:, None])


def _likelihood(candidates: ScoredCandidates, temperature: float) -> tuple[float, float, float]:
    """Mean negative log-likelihood, how it grows with ``1 / temperature``, and how that does with its logarithm."""
    total, count = torch.zeros(3, dtype=torch.float64), 0
    for differences in _differences(candidates):  # the label's own is 0: nothing cancels where a model is sure
        scaled = differences / temperature
        log_sums = scaled.logsumexp(dim=1, keepdim=True)
        shares = (scaled - log_sums).exp()
        means = (shares * differences).sum(dim=1, keepdim=True)
        variances = shares * (differences - means).square()
        total += torch.stack([log_sums.sum(), means.sum(), variances.sum() / temperature])
        count += len(differences)
    value, slope, curvature = (total / max(count, 1)).tolist()
    return value, slope, curvature


class Decisions(NamedTuple):
    """Decisions without thresholds, before overlaps are resolved; all ``(num_decisions,)``.

    Attributes:
        confidences: Probability of each, float64.
        is_right: Whether it agrees with the label.
        is_entity: Whether it is for an entity, rather than for ``O`` or against a label.
    """

    confidences: npt.NDArray[np.float64]
    is_right: npt.NDArray[np.bool_]
    is_entity: npt.NDArray[np.bool_]


def decide(candidates: ScoredCandidates, temperature: float = 1.0) -> Decisions:
    """Decide on candidates.

    Args:
        candidates: The candidates.
        temperature: What their scores are divided by. It changes confidences, but no decision.

    Returns:
        One decision a candidate; of a multi-label model, one for each label but ``O``.
    """
    columns: list[tuple[Tensor, Tensor, Tensor]] = []
    for scores, labels in candidates.chunks():
        if candidates.multi_label:
            is_entity = scores >= 0
            confidences = (scores.abs() / temperature).sigmoid()
            columns.append((confidences.flatten(), (is_entity == (labels == 1)).flatten(), is_entity.flatten()))
        else:
            best = scores.argmax(dim=1)
            confidences = (scores / temperature).softmax(dim=1).gather(1, best[:, None]).squeeze(1)
            columns.append((confidences, best == labels, best != candidates.outside_id))
    return Decisions(*(torch.cat(parts).numpy() for parts in zip(*columns, strict=True)))


class Bin(NamedTuple):
    """Decisions with confidences above ``low`` and up to ``high``; the first bin has those of 0, too.

    Attributes:
        low: Lower bound.
        high: Upper bound.
        size: How many there are.
        confidence: Their mean confidence.
        accuracy: Share of them that is right.
    """

    low: float
    high: float
    size: int
    confidence: float
    accuracy: float


def reliability(confidences: npt.ArrayLike, is_right: npt.ArrayLike, num_bins: int = 15) -> list[Bin]:
    """Compare confidence and accuracy, in bins of equal width: what a reliability diagram shows (Guo et al. 2017).

    Args:
        confidences: Probability of each decision, ``(num_decisions,)``.
        is_right: Whether it is right, ``(num_decisions,)``.
        num_bins: Bins from 0 to 1.

    Returns:
        The bins that hold any decision, in ascending order.

    Raises:
        ValueError: If there is no bin, lengths differ, or a confidence is not from 0 to 1.
    """
    if num_bins < 1:
        raise ValueError(f"num_bins={num_bins} must be at least 1")
    values, right = np.asarray(confidences, dtype=np.float64), np.asarray(is_right, dtype=bool)
    check_probabilities("confidences", values, right)
    edges = np.arange(num_bins + 1) / num_bins
    places = np.searchsorted(edges[1:-1], values, side="left")
    counts, sums, rights = (np.bincount(places, weights, num_bins) for weights in (None, values, right))
    columns = (edges[:-1], edges[1:], counts, sums / np.maximum(counts, 1), rights / np.maximum(counts, 1))
    return [Bin(*row) for row in zip(*(column[counts > 0].tolist() for column in columns), strict=True)]


def expected_calibration_error(confidences: npt.ArrayLike, is_right: npt.ArrayLike, num_bins: int = 15) -> float:
    """Mean distance of confidence and accuracy (Guo et al. 2017, equation 3).

    ``sum(size / num_decisions * abs(accuracy - confidence))`` over the bins of `reliability`.

    Args:
        confidences: See `reliability`.
        is_right: See `reliability`.
        num_bins: See `reliability`.

    Returns:
        From 0 (calibrated) to 1; nan if there are no decisions.

    Example:
        >>> expected_calibration_error([1.0, 1.0, 1.0, 1.0], [True, True, True, False])
        0.25
    """
    bins = reliability(confidences, is_right, num_bins)
    count = sum(bin.size for bin in bins)
    return sum(bin.size * abs(bin.accuracy - bin.confidence) for bin in bins) / count if count else math.nan


def check_probabilities(name: str, values: npt.NDArray[Any], is_right: npt.NDArray[np.bool_]) -> None:
    """Check that there is a probability for each decision.

    Args:
        name: What to call them in errors.
        values: The probabilities.
        is_right: Whether each decision is right.

    Raises:
        ValueError: If there are more or fewer, or one is no probability.
    """
    if values.ndim != 1 or values.shape != is_right.shape:
        raise ValueError(
            f"{name} {values.shape} and is_right {is_right.shape} must have one dimension and equal length"
        )
    wrong = values[~((values >= 0) & (values <= 1))]
    if len(wrong):
        raise ValueError(f"{name} must be from 0 to 1, but one is {wrong[0]}")


class Calibration(NamedTuple):
    """How well probabilities fit. Expected calibration errors are those of `expected_calibration_error`.

    Attributes:
        nll: Mean negative log-likelihood of the labels of what is `proposed`; nan if nothing is.
        ece: Expected calibration error of the decisions for an entity; nan if there are none.
        ece_all: The same of all decisions, nearly all of which are for ``O``.
        confidence: Mean confidence of the decisions for an entity; nan if there are none.
    """

    nll: float
    ece: float
    ece_all: float
    confidence: float


@dataclass(frozen=True)
class CalibrationReport:
    """What a temperature changes. ``str`` gives a table.

    Attributes:
        temperature: What scores are divided by.
        num_candidates: Candidates that it was measured on.
        num_entities: Decisions for an entity; they are the same at any temperature.
        precision: Share of them that is right; nan if there are none.
        before: Measured at temperature 1.
        after: Measured at the temperature.
    """

    temperature: float
    num_candidates: int
    num_entities: int
    precision: float
    before: Calibration
    after: Calibration

    def __repr__(self) -> str:
        names = (
            "negative log-likelihood, entities",
            "calibration error, entities",
            "calibration error, all",
            "mean confidence",
        )
        table = [("", "before", "after")]
        for name, before, after in zip(names, self.before, self.after, strict=True):
            table.append((name, f"{before:.4f}", f"{after:.4f}"))
        found = f"{self.num_entities:,} proposed as entities with precision {self.precision:.4f}"
        return f"temperature {self.temperature:.4g}, {self.num_candidates:,} candidates, {found}\n{text_table(table)}"


def calibration_report(candidates: ScoredCandidates, temperature: float) -> CalibrationReport:
    """Measure what a temperature changes.

    Args:
        candidates: What to measure it on; best others than those it was fitted to.
        temperature: The temperature.

    Returns:
        The report.
    """
    before, after = (_measure(candidates, degree) for degree in (1.0, temperature))
    decisions = decide(candidates)
    right = decisions.is_right[decisions.is_entity]
    precision = float(right.mean()) if len(right) else math.nan
    return CalibrationReport(temperature, len(candidates.logits), len(right), precision, before, after)


def _measure(candidates: ScoredCandidates, temperature: float) -> Calibration:
    confidences, is_right, is_entity = decide(candidates, temperature)
    entities = proposed(candidates)
    return Calibration(
        nll=_likelihood(entities, temperature)[0] if len(entities.logits) else math.nan,
        ece=expected_calibration_error(confidences[is_entity], is_right[is_entity]),
        ece_all=expected_calibration_error(confidences, is_right),
        confidence=float(confidences[is_entity].mean()) if is_entity.any() else math.nan,
    )
