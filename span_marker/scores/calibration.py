"""How well probabilities match frequencies: temperature and calibration error.

Pure functions on the scores of held-out candidates. For each candidate, a model *decides* on the most probable class;
a multi-label model decides for each label whether the candidate has it. The *confidence* of a decision is its
probability.
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

from span_marker.core.tables import TextReport, text_table

logger = logging.getLogger(__name__)

MIN_TEMPERATURE = 1e-2
MAX_TEMPERATURE = 1e2

CHUNK = 2**20
"""Number of scores that are processed at a time."""


@dataclass(frozen=True)
class ScoredCandidates:
    """Class scores of held-out candidates, and their gold labels.

    Attributes:
        logits: Class scores, ``(num_spans, num_labels)``.
        labels: Class IDs, ``(num_spans,)``; for a multi-label model zeros and ones, ``(num_spans, num_labels)``.
        outside_id: Class ID of ``O``. For a multi-label model, which never reports the probability of ``O``, it is
            ignored.
        multi_label: Whether each class has a probability of its own.
    """

    logits: Tensor
    labels: Tensor
    outside_id: int
    multi_label: bool = False

    def __post_init__(self) -> None:
        """Check that scores and labels match.

        Raises:
            ValueError: If shapes do not match, labels are out of range, or scores are not finite.
        """
        shape, label_shape = tuple(self.logits.shape), tuple(self.labels.shape)
        if len(shape) != 2 or label_shape != (shape if self.multi_label else shape[:1]):
            expected = "(num_spans, num_labels)" if self.multi_label else "(num_spans,)"
            raise ValueError(
                f"logits {shape} and labels {label_shape} must have the shapes (num_spans, num_labels) and {expected}"
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
        """Split the candidates into parts of about `CHUNK` scores.

        Yields:
            Scores, in double precision, and labels; for a multi-label model without the column of ``O``.
        """
        rows = max(CHUNK // self.logits.shape[1], 1)
        columns = [column for column in range(self.logits.shape[1]) if column != self.outside_id]
        for scores, labels in zip(self.logits.detach().split(rows), self.labels.split(rows), strict=True):
            scores, labels = scores.cpu().double(), labels.cpu().long()
            yield (scores[:, columns], labels[:, columns]) if self.multi_label else (scores, labels)


def proposed_entities(candidates: ScoredCandidates) -> ScoredCandidates:
    """Select the candidates that a model proposes as entities; they are the same at any temperature.

    Args:
        candidates: All candidates.

    Returns:
        The candidates whose most probable class is not ``O``; for a multi-label model, those with a label of at least
        0.5.
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
    """Find the temperature that makes the labels most likely (Guo et al. 2017).

    It minimizes ``-mean(log(softmax(logits / temperature)[label]))``; for a multi-label model, the mean binary
    cross-entropy of ``sigmoid(logits / temperature)``. Both are convex in ``1 / temperature``.

    Args:
        candidates: The candidates to fit it to.

    Returns:
        The temperature, from `MIN_TEMPERATURE` to `MAX_TEMPERATURE`. A warning is logged if it is at a bound.

    Raises:
        ValueError: If there are no candidates, all have the same label, or the scores of every candidate are all equal.

    Example:
        >>> logits = torch.tensor([[2.0, 0.0]] * 4)
        >>> temperature = fit_temperature(ScoredCandidates(logits, torch.tensor([0, 0, 0, 1]), outside_id=0))
        >>> torch.softmax(logits[0] / temperature, dim=0)
        tensor([0.7500, 0.2500])
    """
    classes = {label for _, labels in candidates.chunks() for label in labels.unique().tolist()}
    if len(classes) < 2:
        problem = f"all labels are {classes.pop()}" if classes else "there are no candidates"
        raise ValueError(f"{problem}, but fitting a temperature needs several labels: pass more sentences")
    if not any(differences.any() for differences in _differences(candidates)):
        raise ValueError("the scores of each candidate are all equal: no temperature makes a difference")

    def slopes(log_inverse: float) -> tuple[float, float]:
        return _likelihood(candidates, math.exp(-log_inverse))[1:]

    low, high = -math.log(MAX_TEMPERATURE), -math.log(MIN_TEMPERATURE)
    if slopes(high)[0] <= 0:
        bound, reason = MIN_TEMPERATURE, "the scores predict all labels correctly, so larger scores always fit better"
    elif slopes(low)[0] >= 0:
        bound, reason = MAX_TEMPERATURE, "the scores predict the labels worse than equal scores would"
    else:
        return math.exp(-_zero(slopes, low, high))
    logger.warning("The best temperature is beyond the bound of %g: %s. Fit it to more sentences.", bound, reason)
    return bound


def _zero(slopes: Callable[[float], tuple[float, float]], low: float, high: float) -> float:
    """Find the zero of an ascending function by Newton's method, with bisection where a step leaves the interval."""
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
    """Each score minus that of the gold label; for a multi-label model, each label is a choice between two."""
    for scores, labels in candidates.chunks():
        if candidates.multi_label:
            against = torch.where(labels == 1, -scores, scores).flatten()
            yield torch.stack([torch.zeros_like(against), against], dim=1)
        else:
            yield scores - scores.gather(1, labels[:, None])


def _likelihood(candidates: ScoredCandidates, temperature: float) -> tuple[float, float, float]:
    """Mean negative log-likelihood, its slope in ``1 / temperature``, and the slope of that in its logarithm."""
    total, count = torch.zeros(3, dtype=torch.float64), 0
    for differences in _differences(candidates):  # the gold label's is 0: nothing cancels where a model is certain
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
    """Decisions without thresholds, before overlaps are resolved; all arrays are ``(num_decisions,)``.

    Attributes:
        confidences: Probability of each decision, float64.
        is_right: Whether it agrees with the gold label.
        is_entity: Whether it is for an entity, rather than for ``O`` or against a label.
    """

    confidences: npt.NDArray[np.float64]
    is_right: npt.NDArray[np.bool_]
    is_entity: npt.NDArray[np.bool_]


def decisions(candidates: ScoredCandidates, temperature: float = 1.0) -> Decisions:
    """Return the decisions on candidates.

    Args:
        candidates: The candidates.
        temperature: Divides their scores. It changes confidences, but no decision.

    Returns:
        One decision per candidate; for a multi-label model, one per candidate and label other than ``O``.
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
    """Decisions with confidences above ``low`` and up to ``high``; the first bin includes confidences of 0.

    Attributes:
        low: Lower bound.
        high: Upper bound.
        size: Number of decisions.
        confidence: Their mean confidence.
        accuracy: Share of them that is right.
    """

    low: float
    high: float
    size: int
    confidence: float
    accuracy: float


def reliability(confidences: npt.ArrayLike, is_right: npt.ArrayLike, num_bins: int = 15) -> list[Bin]:
    """Compare confidence and accuracy in bins of equal width, as a reliability diagram does (Guo et al. 2017).

    Args:
        confidences: Probability of each decision, ``(num_decisions,)``.
        is_right: Whether each decision is right, ``(num_decisions,)``.
        num_bins: Number of bins from 0 to 1.

    Returns:
        The bins that are not empty, in ascending order.

    Raises:
        ValueError: If ``num_bins`` is below 1, lengths differ, or a confidence is not from 0 to 1.
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
    """Compute the mean distance between confidence and accuracy (Guo et al. 2017, equation 3).

    This is ``sum(size / num_decisions * abs(accuracy - confidence))`` over the bins of `reliability`.

    Args:
        confidences: See `reliability`.
        is_right: See `reliability`.
        num_bins: See `reliability`.

    Returns:
        The error, from 0 (calibrated) to 1; nan if there are no decisions.

    Example:
        >>> expected_calibration_error([1.0, 1.0, 1.0, 1.0], [True, True, True, False])
        0.25
    """
    bins = reliability(confidences, is_right, num_bins)
    count = sum(bin.size for bin in bins)
    return sum(bin.size * abs(bin.accuracy - bin.confidence) for bin in bins) / count if count else math.nan


def check_probabilities(name: str, values: npt.NDArray[Any], is_right: npt.NDArray[np.bool_]) -> None:
    """Check that there is one probability per decision.

    Args:
        name: Name of the probabilities, for errors.
        values: The probabilities.
        is_right: Whether each decision is right.

    Raises:
        ValueError: If the lengths differ, or a probability is not from 0 to 1.
    """
    if values.ndim != 1 or values.shape != is_right.shape:
        raise ValueError(
            f"{name} {values.shape} and is_right {is_right.shape} must have one dimension and equal length"
        )
    wrong = values[~((values >= 0) & (values <= 1))]
    if len(wrong):
        raise ValueError(f"{name} must be from 0 to 1, but one is {wrong[0]}")


class Calibration(NamedTuple):
    """How well probabilities match frequencies.

    Attributes:
        nll: Mean negative log-likelihood of the gold labels of `proposed_entities`; nan if nothing is proposed.
        ece: `expected_calibration_error` of the decisions for an entity; nan if there are none.
        ece_all: `expected_calibration_error` of all decisions, nearly all of which are for ``O``.
        confidence: Mean confidence of the decisions for an entity; nan if there are none.
    """

    nll: float
    ece: float
    ece_all: float
    confidence: float


@dataclass(frozen=True)
class CalibrationReport(TextReport):
    """What a temperature changes. ``print`` shows a table.

    Attributes:
        temperature: Divides class scores.
        num_candidates: Number of candidates that it was measured on.
        num_entities: Number of decisions for an entity; they are the same at any temperature.
        precision: Share of these decisions that is right; nan if there are none.
        before: Calibration at temperature 1.
        after: Calibration at ``temperature``.
    """

    temperature: float
    num_candidates: int
    num_entities: int
    precision: float
    before: Calibration
    after: Calibration

    def __str__(self) -> str:
        names = (
            "negative log-likelihood, entities",
            "calibration error, entities",
            "calibration error, all",
            "mean confidence",
        )
        table = [("", "before", "after")]
        for name, before, after in zip(names, self.before, self.after, strict=True):
            table.append((name, f"{before:.4f}", f"{after:.4f}"))
        return (
            f"temperature {self.temperature:.4g}, {self.num_candidates:,} candidates, {self.num_entities:,} proposed "
            f"as entities with precision {self.precision:.4f}\n{text_table(table)}"
        )


def calibration_report(candidates: ScoredCandidates, temperature: float) -> CalibrationReport:
    """Measure what a temperature changes.

    Args:
        candidates: The candidates to measure it on, preferably not those that it was fitted to.
        temperature: The temperature.

    Returns:
        The report.
    """
    before, after = (_measure(candidates, degree) for degree in (1.0, temperature))
    _, is_right, is_entity = decisions(candidates)
    right = is_right[is_entity]
    precision = float(right.mean()) if len(right) else math.nan
    return CalibrationReport(temperature, len(candidates.logits), len(right), precision, before, after)


def _measure(candidates: ScoredCandidates, temperature: float) -> Calibration:
    confidences, is_right, is_entity = decisions(candidates, temperature)
    entities = proposed_entities(candidates)
    return Calibration(
        nll=_likelihood(entities, temperature)[0] if len(entities.logits) else math.nan,
        ece=expected_calibration_error(confidences[is_entity], is_right[is_entity]),
        ece_all=expected_calibration_error(confidences, is_right),
        confidence=float(confidences[is_entity].mean()) if is_entity.any() else math.nan,
    )
