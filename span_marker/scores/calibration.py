"""Measures of calibration: how well probabilities match frequencies.

Pure functions on the scores of held-out candidates. For each candidate, a model *decides* on the most probable class;
a multi-label model decides for each label whether the candidate has it. The *confidence* of a decision is its
probability.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from span_marker.core.tables import TextReport, text_table
from span_marker.scores.temperature import ScoredCandidates, negative_log_likelihood, proposed_entities


class Decisions(NamedTuple):
    """Decisions without thresholds, before overlaps are resolved. All arrays are ``(num_decisions,)``.

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


def chance_calibration_error(
    confidences: npt.ArrayLike, num_bins: int = 15, num_draws: int = 100, seed: int = 0
) -> float:
    """Compute the mean calibration error of calibrated confidences, which is only due to the sample size.

    Decisions are right at random with the probability of their confidence (consistency resampling; Bröcker and Smith
    2007). A calibration error that is not above this value is no evidence of miscalibration.

    Args:
        confidences: See `reliability`.
        num_bins: See `reliability`.
        num_draws: Number of random draws.
        seed: Seed of ``numpy.random.default_rng``.

    Returns:
        The mean `expected_calibration_error`; nan if there are no decisions.
    """
    values, generator = np.asarray(confidences, dtype=np.float64), np.random.default_rng(seed)
    draws = (generator.random(values.shape) < values for _ in range(num_draws))
    return float(np.mean([expected_calibration_error(values, is_right, num_bins) for is_right in draws]))


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
        nll: Mean negative log-likelihood of the gold labels of `proposed_entities`; nan if none are proposed.
        ece: `expected_calibration_error` of the decisions for an entity; nan if there are none.
        ece_chance: The mean of ``ece`` if these confidences were calibrated, see `chance_calibration_error`.
        ece_all: `expected_calibration_error` of all decisions, nearly all of which are for ``O``.
        confidence: Mean confidence of the decisions for an entity; nan if there are none.
    """

    nll: float
    ece: float
    ece_chance: float
    ece_all: float
    confidence: float


@dataclass(frozen=True)
class CalibrationReport(TextReport):
    """The effect of a temperature. ``print`` shows a table.

    Attributes:
        temperature: Divides class scores.
        interval: Its 95% interval, see `temperature_interval`; None if it is unknown.
        num_candidates: Number of candidates that it was measured on.
        num_entities: Number of decisions for an entity; they are the same at any temperature.
        precision: Share of these decisions that is right; nan if there are none.
        before: Calibration at temperature 1.
        after: Calibration at ``temperature``.
    """

    temperature: float
    interval: tuple[float, float] | None
    num_candidates: int
    num_entities: int
    precision: float
    before: Calibration
    after: Calibration

    def __str__(self) -> str:
        names = (
            "negative log-likelihood, entities",
            "calibration error, entities",
            "  if scores were calibrated",
            "calibration error, all",
            "mean confidence",
        )
        table = [("", "before", "after")]
        for name, before, after in zip(names, self.before, self.after, strict=True):
            table.append((name, f"{before:.4f}", f"{after:.4f}"))
        interval = "" if self.interval is None else " (95% interval {:.4g} to {:.4g})".format(*self.interval)
        return (
            f"temperature {self.temperature:.4g}{interval}\n{self.num_candidates:,} candidates, {self.num_entities:,} "
            f"proposed as entities with precision {self.precision:.4f}\n{text_table(table)}"
        )


def calibration_report(
    candidates: ScoredCandidates, temperature: float, interval: tuple[float, float] | None = None
) -> CalibrationReport:
    """Measure the effect of a temperature.

    Args:
        candidates: The candidates to measure it on, preferably not those that it was fitted to.
        temperature: The temperature.
        interval: Its 95% interval, if it was fitted.

    Returns:
        The report.
    """
    before, after = (_measure(candidates, degree) for degree in (1.0, temperature))
    _, is_right, is_entity = decisions(candidates)
    right = is_right[is_entity]
    precision = float(right.mean()) if len(right) else math.nan
    return CalibrationReport(temperature, interval, len(candidates.logits), len(right), precision, before, after)


def _measure(candidates: ScoredCandidates, temperature: float) -> Calibration:
    confidences, is_right, is_entity = decisions(candidates, temperature)
    entities = proposed_entities(candidates)
    return Calibration(
        nll=negative_log_likelihood(entities, temperature)[0] if len(entities.logits) else math.nan,
        ece=expected_calibration_error(confidences[is_entity], is_right[is_entity]),
        ece_chance=chance_calibration_error(confidences[is_entity]),
        ece_all=expected_calibration_error(confidences, is_right),
        confidence=float(confidences[is_entity].mean()) if is_entity.any() else math.nan,
    )
