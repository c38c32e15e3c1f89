"""Bootstrap confidence intervals of precision, recall and F1, and of differences between two systems.

Pure functions on counts: for a group of entities, the number of correct predictions, predictions and gold entities in
each sentence, ``(num_sentences, 3)``. Sentences are drawn rather than entities, because the entities of a sentence
depend on each other.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from itertools import islice
from typing import NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt

from span_marker.core.metrics import precision_recall_f1

FloatArray = npt.NDArray[np.float64]
Group = TypeVar("Group", bound=Hashable)

DRAWS = 64
"""Number of resamples that are added up at a time."""

ROUNDING = 1e-12
"""Differences closer than this count as equal."""


class Estimate(NamedTuple):
    """A metric with its confidence interval.

    Attributes:
        value: The metric.
        low: Lower bound of its confidence interval.
        high: Upper bound of its confidence interval.
        standard_error: Its standard deviation over the resamples.
    """

    value: float
    low: float
    high: float
    standard_error: float

    @property
    def interval(self) -> str:
        """The interval as text, such as ``[0.8012, 0.8244]``."""
        return f"[{self.low:.4f}, {self.high:.4f}]"


class Figures(NamedTuple):
    """Precision, recall and F1 of a group of entities.

    Attributes:
        num_gold: Number of gold entities.
        num_predicted: Number of predictions.
        precision: Share of the predictions that are correct.
        recall: Share of the gold entities that are found.
        f1: Their harmonic mean.
    """

    num_gold: int
    num_predicted: int
    precision: Estimate
    recall: Estimate
    f1: Estimate


class Difference(NamedTuple):
    """A figure of two systems.

    Attributes:
        first: The figure of the first system.
        second: The figure of the second system.
        difference: The second figure minus the first.
        p_value: See `compare`.
    """

    first: float
    second: float
    difference: Estimate
    p_value: float


class Differences(NamedTuple):
    """Precision, recall and F1 of two systems."""

    precision: Difference
    recall: Difference
    f1: Difference


def resample(counts: FloatArray, num_resamples: int, seed: int) -> FloatArray:
    """Repeatedly draw as many sentences as there are, with replacement, and add up their counts (Efron 1979).

    Args:
        counts: Counts, ``(num_sentences, ...)``.
        num_resamples: Number of resamples.
        seed: Seed of ``numpy.random.default_rng``, which determines the drawn sentences.

    Returns:
        The sums, ``(num_resamples, ...)``.

    Raises:
        ValueError: If there are no sentences, or ``num_resamples`` is below 1.
    """
    if num_resamples < 1:
        raise ValueError(f"num_resamples={num_resamples} must be at least 1")
    size = len(counts)
    if size == 0:
        raise ValueError("there are no sentences to resample: pass data with at least one row")
    generator = np.random.default_rng(seed)
    weights = (np.bincount(generator.integers(size, size=size), minlength=size) for _ in range(num_resamples))
    chunks = iter(lambda: list(islice(weights, DRAWS)), [])
    sums = np.concatenate([np.array(chunk) @ counts.reshape(size, -1) for chunk in chunks])
    return sums.reshape(num_resamples, *counts.shape[1:])


def interval(resampled: FloatArray, confidence: float) -> FloatArray:
    """Compute percentile intervals (Efron and Tibshirani 1993, chapter 13).

    Args:
        resampled: Resampled figures, ``(num_resamples, ...)``.
        confidence: Share of them that lies inside; equally many lie below and above.

    Returns:
        Lower and upper bounds, ``(2, ...)``.

    Raises:
        ValueError: If ``confidence`` is not above 0 and below 1.
    """
    if not 0 < confidence < 1:
        raise ValueError(f"confidence={confidence} must be above 0 and below 1")
    return np.quantile(resampled, [(1 - confidence) / 2, (1 + confidence) / 2], axis=0)


def summarize(values: FloatArray, resampled: FloatArray, confidence: float) -> tuple[FloatArray, ...]:
    """Compute standard errors and confidence intervals of metrics.

    Args:
        values: The figures, ``(...)``.
        resampled: Their resamples, ``(num_resamples, ...)``.
        confidence: See `interval`.

    Returns:
        The parts of `Estimate`, ``(...)`` each.
    """
    errors = resampled.std(axis=0, ddof=min(1, len(resampled) - 1))
    return values, *interval(resampled, confidence), errors


def pool(totals: FloatArray, resampled: FloatArray, confidence: float) -> Figures:
    """Compute the metrics of a group of entities.

    Args:
        totals: Their counts, ``(3,)``.
        resampled: The resamples of these, ``(num_resamples, 3)``.
        confidence: See `interval`.

    Returns:
        The figures.
    """
    _, num_predicted, num_gold = totals.tolist()
    parts = summarize(precision_recall_f1(totals), precision_recall_f1(resampled), confidence)
    estimates = np.stack(parts, axis=-1).tolist()
    return Figures(int(num_gold), int(num_predicted), *(Estimate(*row) for row in estimates))


def estimate(
    counts: Mapping[Group, FloatArray], num_resamples: int, confidence: float, seed: int
) -> dict[Group, Figures]:
    """Compute the metrics of groups of entities.

    Args:
        counts: Counts of each group, of which there is at least one.
        num_resamples: See `resample`.
        confidence: See `interval`.
        seed: See `resample`.

    Returns:
        The figures of each group.

    Raises:
        ValueError: If there are no sentences, or an argument is out of range.
    """
    stacked = np.stack(list(counts.values()), axis=1)
    totals = stacked.sum(axis=0)
    resampled = resample(stacked, num_resamples, seed)
    return {group: pool(totals[at], resampled[:, at], confidence) for at, group in enumerate(counts)}


def compare(
    first: Mapping[Group, FloatArray],
    second: Mapping[Group, FloatArray],
    num_resamples: int,
    confidence: float,
    seed: int,
) -> dict[Group, Differences]:
    """Compare two systems on the same sentences, by the paired bootstrap (Koehn 2004).

    Each resample has the same sentences for both systems. Resampled differences scatter around the observed difference,
    rather than around the 0 of the null hypothesis. The p-value is therefore the share of them that is at least as far
    from the observed difference as that is from 0: ``abs(resampled - observed) >= abs(observed)``, the two-sided test
    of Berg-Kirkpatrick et al. (2012). The data itself counts as one more resample, so that no p-value is 0 (Davison and
    Hinkley 1997, section 4.2).

    Args:
        first: Counts of each group by the first system.
        second: Counts of the same groups by the second system, on the same sentences.
        num_resamples: See `resample`.
        confidence: See `interval`.
        seed: See `resample`.

    Returns:
        Figures and differences of each group.

    Raises:
        ValueError: If there are no sentences, or an argument is out of range.
    """
    counts = np.array([[system[group] for group in first] for system in (first, second)])
    counts = np.moveaxis(counts, 2, 0)  # (num_sentences, 2, num_groups, 3)
    first_figures, second_figures = precision_recall_f1(counts.sum(axis=0))  # (num_groups, 3) each
    observed = second_figures - first_figures
    resampled = np.diff(precision_recall_f1(resample(counts, num_resamples, seed)), axis=1)[:, 0]
    is_extreme = abs(resampled - observed) >= abs(observed) - ROUNDING  # (num_resamples, num_groups, 3)
    p_values = (is_extreme.sum(axis=0) + 1) / (num_resamples + 1)
    change = summarize(observed, resampled, confidence)
    columns = np.stack([first_figures, second_figures, *change, p_values], axis=-1)
    return {
        group: Differences(*(Difference(old, new, Estimate(*change), p_value) for old, new, *change, p_value in rows))
        for group, rows in zip(first, columns.tolist(), strict=True)
    }
