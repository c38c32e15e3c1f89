"""How sure figures are: precision, recall and F1 with bootstrap intervals, and the difference of two systems.

Pure functions on counts: what is right, what was predicted and what is gold of each sentence, ``(num_sentences, 3)``
for a group of entities. Sentences are drawn, rather than entities, since those of a sentence depend on each other.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from itertools import islice
from typing import NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]
Group = TypeVar("Group", bound=Hashable)

DRAWS = 64
"""Resamples that are added up at a time."""

ROUNDING = 1e-12
"""Differences that are this close to each other are equal."""


class Estimate(NamedTuple):
    """A figure, and the bounds of its confidence interval."""

    value: float
    low: float
    high: float


class Figures(NamedTuple):
    """Precision, recall and F1 of some entities.

    Attributes:
        num_gold: Gold entities.
        num_predicted: Predictions.
        precision: Share of the predictions that are right.
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
        first: That of the first.
        second: That of the second.
        difference: The second less the first.
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


def scores(counts: FloatArray) -> FloatArray:
    """Compute precision, recall and F1, which are 0 where there is nothing to divide by.

    Args:
        counts: Counts, ``(..., 3)``.

    Returns:
        Precision, recall and F1, ``(..., 3)``.

    Example:
        >>> scores(np.array([1.0, 2.0, 4.0])).round(3).tolist()
        [0.5, 0.25, 0.333]
    """
    right, found, expected = np.moveaxis(counts, -1, 0)
    precision = np.divide(right, found, out=np.zeros_like(right), where=found > 0)
    recall = np.divide(right, expected, out=np.zeros_like(right), where=expected > 0)
    f1 = np.divide(2 * precision * recall, precision + recall, out=np.zeros_like(right), where=right > 0)
    return np.stack([precision, recall, f1], axis=-1)


def resample(counts: FloatArray, num_resamples: int, seed: int) -> FloatArray:
    """Draw as many sentences as there are, with replacement, and add up their counts, again and again (Efron 1979).

    Args:
        counts: Counts, ``(num_sentences, ...)``.
        num_resamples: How often.
        seed: Seed of ``numpy.random.default_rng``: the same sentences are drawn whatever is counted.

    Returns:
        The sums, ``(num_resamples, ...)``.

    Raises:
        ValueError: If there are no sentences, or ``num_resamples`` is below 1.
    """
    if num_resamples < 1:
        raise ValueError(f"num_resamples={num_resamples} must be at least 1")
    size = len(counts)
    if size == 0:
        raise ValueError("there are no sentences to draw: pass data with at least one row")
    generator = np.random.default_rng(seed)
    weights = (np.bincount(generator.integers(size, size=size), minlength=size) for _ in range(num_resamples))
    chunks = iter(lambda: list(islice(weights, DRAWS)), [])
    sums = np.concatenate([np.array(chunk) @ counts.reshape(size, -1) for chunk in chunks])
    return sums.reshape(num_resamples, *counts.shape[1:])


def interval(resampled: FloatArray, confidence: float) -> FloatArray:
    """Find percentile intervals (Efron and Tibshirani 1993, chapter 13).

    Args:
        resampled: Resampled figures, ``(num_resamples, ...)``.
        confidence: Share of them that lies inside; as many lie below as above.

    Returns:
        Lower and upper bounds, ``(2, ...)``.

    Raises:
        ValueError: If ``confidence`` is not above 0 and below 1.
    """
    if not 0 < confidence < 1:
        raise ValueError(f"confidence={confidence} must be above 0 and below 1")
    return np.quantile(resampled, [(1 - confidence) / 2, (1 + confidence) / 2], axis=0)


def estimate(
    counts: Mapping[Group, FloatArray], num_resamples: int, confidence: float, seed: int
) -> dict[Group, Figures]:
    """Compute the figures of groups of entities.

    Args:
        counts: Counts of each group; at least one.
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
    bounds = interval(scores(resample(stacked, num_resamples, seed)), confidence)
    estimates = np.stack([scores(totals), *bounds], axis=-1)  # (num_groups, 3, 3)
    return {
        group: Figures(int(num_gold), int(num_predicted), *(Estimate(*of_figure) for of_figure in of_group))
        for group, (_, num_predicted, num_gold), of_group in zip(
            counts, totals.tolist(), estimates.tolist(), strict=True
        )
    }


def compare(
    first: Mapping[Group, FloatArray],
    second: Mapping[Group, FloatArray],
    num_resamples: int,
    confidence: float,
    seed: int,
) -> dict[Group, Differences]:
    """Compare two systems on the same sentences, by the paired bootstrap (Koehn 2004).

    A resample has the same sentences for both. Resampled differences scatter around the observed one, rather than
    around the 0 of the null hypothesis that there is none. So the p-value is the share of them that is as far from the
    observed one as that is from 0, or further: ``abs(resampled - observed) >= abs(observed)``, the test of
    Berg-Kirkpatrick et al. (2012) for both sides. The data itself counts as one more resample, so that no p-value is 0
    (Davison and Hinkley 1997, section 4.2).

    Args:
        first: Counts of each group by the first system.
        second: Those by the second one, of the same sentences and groups.
        num_resamples: See `resample`.
        confidence: See `interval`.
        seed: See `resample`.

    Returns:
        Figures and differences of each group.

    Raises:
        ValueError: If there are no sentences, or an argument is out of range.
    """
    stacked = np.stack([np.stack([of[group] for group in first], axis=1) for of in (first, second)], axis=1)
    ones, others = scores(stacked.sum(axis=0))  # (num_groups, 3) each
    observed = others - ones
    resampled = np.diff(scores(resample(stacked, num_resamples, seed)), axis=1)[:, 0]  # (num_resamples, num_groups, 3)
    is_extreme = abs(resampled - observed) >= abs(observed) - ROUNDING
    p_values = (is_extreme.sum(axis=0) + 1) / (num_resamples + 1)
    columns = np.stack([ones, others, observed, *interval(resampled, confidence), p_values], axis=-1)
    return {
        group: Differences(*(Difference(one, other, Estimate(*change), p) for one, other, *change, p in rows))
        for group, rows in zip(first, columns.tolist(), strict=True)
    }
