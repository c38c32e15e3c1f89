"""Temperatures: fitting them to held-out candidates, and estimating their error. Pure functions."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from statistics import NormalDist

import numpy as np
import torch
from torch import Tensor

logger = logging.getLogger(__name__)

MIN_TEMPERATURE = 1e-2
MAX_TEMPERATURE = 1e2

NORMAL_95 = NormalDist().inv_cdf(0.975)
"""Half the width of a 95% interval, in standard errors."""

MAX_FACTOR = 1.5
"""The 95% interval of a temperature must lie within this factor above and below it.

A score of 0.9 then stays between 0.81 and 0.96: ``sigmoid(logit(0.9) / 1.5)`` and ``sigmoid(logit(0.9) * 1.5)``.
"""

MAX_ERROR = math.log(MAX_FACTOR) / NORMAL_95
"""The maximum standard error of the logarithm of a temperature."""

MIN_DECISIONS = math.ceil(1 / (0.43923 * MAX_ERROR**2))
"""Number of decisions for an entity, 54, below which no temperature is precise enough.

The Fisher information of a choice between two, right and wrong, about the logarithm of the temperature is
``x**2 * p * (1 - p)`` with ``p = sigmoid(x)``. It is at most 0.43923, where p is 0.917.
"""

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
        multi_label: Whether each class has its own probability.
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
        return negative_log_likelihood(candidates, math.exp(-log_inverse))[1:]

    low, high = -math.log(MAX_TEMPERATURE), -math.log(MIN_TEMPERATURE)
    if slopes(high)[0] <= 0:
        bound, reason = MIN_TEMPERATURE, "the scores predict all labels correctly, so larger scores always fit better"
    elif slopes(low)[0] >= 0:
        bound, reason = MAX_TEMPERATURE, "the scores predict the labels worse than equal scores would"
    else:
        return math.exp(-_zero(slopes, low, high))
    logger.warning("The best temperature is beyond the bound of %g: %s. Fit it to more sentences.", bound, reason)
    return bound


def temperature_error(candidates: ScoredCandidates, temperature: float) -> float:
    """Compute the standard error of the logarithm of a temperature from the Fisher information of its fit.

    The information of a candidate with the class scores z is the variance of ``z / temperature`` under
    ``softmax(z / temperature)``; the error is 1 divided by the square root of the sum (van der Vaart 1998, Asymptotic
    Statistics, section 5.5). For a multi-label model, each label is a choice between two.

    Args:
        candidates: The candidates that it was fitted to.
        temperature: The temperature, see `fit_temperature`.

    Returns:
        The error; infinity if the candidates contain no information about the temperature.
    """
    num_choices = len(candidates.logits) * (candidates.logits.shape[1] - 1 if candidates.multi_label else 1)
    information = num_choices * negative_log_likelihood(candidates, temperature)[2] / temperature
    return 1 / math.sqrt(information) if information > 0 else math.inf


def temperature_interval(temperature: float, error: float) -> tuple[float, float]:
    """Compute the 95% interval of a temperature, which is symmetric in its logarithm.

    Args:
        temperature: The temperature.
        error: See `temperature_error`.

    Returns:
        Lower and upper bound.

    Example:
        >>> low, high = temperature_interval(1.0, error=0.2)
        >>> round(low, 3), round(high, 3)
        (0.676, 1.48)
    """
    with np.errstate(over="ignore"):
        factor = float(np.exp(NORMAL_95 * error))
    return temperature / factor, temperature * factor


def decisions_needed(num_decisions: int, error: float) -> int:
    """Compute how many decisions a precise enough temperature needs; its error shrinks with their square root.

    Args:
        num_decisions: Number of decisions for an entity that the temperature was fitted to.
        error: See `temperature_error`; finite.

    Returns:
        The approximate number for an error of at most `MAX_ERROR`; at least `MIN_DECISIONS`.

    Example:
        >>> decisions_needed(100, error=0.4), decisions_needed(6, error=0.1)
        (374, 54)
    """
    return max(MIN_DECISIONS, math.ceil(num_decisions * (error / MAX_ERROR) ** 2))


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


def negative_log_likelihood(candidates: ScoredCandidates, temperature: float) -> tuple[float, float, float]:
    """Compute the mean negative log-likelihood of the labels, which `fit_temperature` minimizes.

    Args:
        candidates: The candidates.
        temperature: The temperature.

    Returns:
        The mean, its slope in ``1 / temperature``, and the slope of that in ``log(1 / temperature)``; zeros if there
        are no candidates.
    """
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
