"""Thresholds of predictions with labels and probabilities, and their effect on new text. Pure functions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from span_marker.core.metrics import HasLabel
from span_marker.core.settings import NO_THRESHOLDS
from span_marker.scores.thresholds import Kind, OperatingPoint, Proposals, ThresholdReport, choose_thresholds

Predict = Callable[[Sequence[int], Any], Iterable[Mapping[Any, float]]]
"""Function that predicts sentences, from their indices and the thresholds: a dict, one number for all labels, or
`NO_THRESHOLDS`. Returns the predictions of each sentence, with their probabilities."""

FLOOR = 0.05
"""The minimum probability of the predictions that thresholds are tuned on. No threshold is lower."""

NUM_FOLDS = 5
"""Number of parts of the data for estimating the scores on new text."""


def into_folds(groups: Sequence[Sequence[int]]) -> list[list[int]]:
    """Split sentences into parts at random.

    Args:
        groups: The sentences of each group, such as a document. Groups are not split.

    Returns:
        The sentences of each part; at most `NUM_FOLDS` parts.

    Example:
        >>> sorted(map(sorted, into_folds([[0, 1], [2]])))
        [[0, 1], [2]]
    """
    order = np.random.default_rng(0).permutation(len(groups))
    parts = (order[start::NUM_FOLDS] for start in range(min(NUM_FOLDS, len(groups))))
    return [[sentence for group in part for sentence in groups[group]] for part in parts]


def cross_fit(
    labels: Sequence[str],
    gold: Sequence[Collection[HasLabel]],
    predict: Predict,
    groups: Sequence[Sequence[int]],
    precision: float | None = None,
    kind: Kind = "entities",
) -> ThresholdReport:
    """Choose the threshold of each label, and estimate the effect of the thresholds on new text.

    They are chosen for the predictions at `FLOOR`, see `span_marker.scores.thresholds.choose_thresholds`. The figures
    describe predictions with these thresholds. For the figures on new text, each part of the data is predicted with
    thresholds that are chosen on the other parts.

    Args:
        labels: The labels.
        gold: The annotations of each sentence.
        predict: Predicts sentences. A prediction is right if it is equal to an annotation.
        groups: The sentences of each group that is not split, such as a document.
        precision: The precision that each label must reach; None for the best F1.
        kind: What is predicted: entities or relations.

    Returns:
        The thresholds and their figures.

    Raises:
        ValueError: If ``precision`` is not above 0 and at most 1.
    """

    def count(sentences: Sequence[int], thresholds: Any) -> npt.NDArray[np.float64]:
        """Number of right predictions, predictions and annotations, ``(num_sentences, num_labels, 3)``."""
        counts = []
        for sentence, predicted in zip(sentences, predict(sentences, thresholds), strict=True):
            annotated = set(gold[sentence])
            numbers = [
                Counter(item.label for item in some) for some in (annotated & predicted.keys(), predicted, annotated)
            ]
            counts.append([[number[label] for number in numbers] for label in labels])
        return np.array(counts, dtype=np.float64)

    def choose(is_used: npt.NDArray[np.bool_]) -> dict[str, OperatingPoint]:
        num_gold = before[is_used, :, 2].sum(axis=0).astype(int).tolist()
        proposals = {}
        for number, (label, (sentences, scores, is_right)) in zip(num_gold, proposed.items(), strict=True):
            proposals[label] = Proposals(scores[is_used[sentences]], is_right[is_used[sentences]], number)
        return choose_thresholds(proposals, precision, FLOOR)

    everything = np.arange(len(gold))
    before = count(everything.tolist(), NO_THRESHOLDS)
    proposed = _propose(labels, gold, predict(everything.tolist(), FLOOR))
    points = choose(everything >= 0)
    after = count(everything.tolist(), _thresholds(points))
    expected, folds = None, into_folds(groups)
    if len(folds) > 1:
        expected = np.zeros_like(before)
        for fold in folds:
            expected[fold] = count(fold, _thresholds(choose(~np.isin(everything, fold))))
    return ThresholdReport.from_counts(points, before, after, expected, precision, kind)


def _propose(
    labels: Sequence[str], gold: Sequence[Collection[HasLabel]], predictions: Iterable[Mapping[Any, float]]
) -> dict[str, tuple[npt.NDArray[Any], ...]]:
    """Sentence and score of each prediction of a label, and whether it is right, ``(num_predictions,)`` each."""
    proposed: dict[str, list[tuple[int, float, bool]]] = {label: [] for label in labels}
    for sentence, predicted in enumerate(predictions):
        for item, score in predicted.items():
            proposed[item.label].append((sentence, score, item in gold[sentence]))
    dtypes = (int, np.float32, bool)
    return {
        label: tuple(np.array([entry[place] for entry in entries], dtype) for place, dtype in enumerate(dtypes))
        for label, entries in proposed.items()
    }


def _thresholds(points: Mapping[str, OperatingPoint]) -> dict[str, float]:
    return {label: point.threshold for label, point in points.items()}
