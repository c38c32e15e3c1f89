"""Scores to entities: which candidates of a sentence are kept. Pure functions on arrays."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from span_marker.spans import IntArray

FloatArray = npt.NDArray[np.float32]


class ScoredSpan(NamedTuple):
    """A kept candidate: its class ID, its words (0-based, end exclusive) and its probability."""

    label_id: int
    start: int
    end: int
    score: float


def best_labels(logits: Tensor) -> tuple[IntArray, FloatArray]:
    """Reduce class scores to the best class and its probability.

    Args:
        logits: ``(num_spans, num_labels)``.

    Returns:
        Class IDs, ``(num_spans,)``, and their probabilities, ``(num_spans,)``.
    """
    scores, label_ids = torch.softmax(logits.float(), dim=-1).max(dim=-1)
    return label_ids.cpu().numpy(), scores.cpu().numpy()


def decode_flat(
    label_ids: IntArray, scores: FloatArray, span_words: IntArray, span_counts: IntArray, outside_id: int
) -> list[list[ScoredSpan]]:
    """Keep candidates greedily, in descending order of probability, so that none overlaps one kept before it.

    Args:
        label_ids: Best class of each candidate, ``(num_spans,)``, sentence after sentence.
        scores: Its probability, ``(num_spans,)``.
        span_words: First word and word behind the last of each candidate, ``(num_spans, 2)``.
        span_counts: Candidates of each sentence, ``(batch,)``.
        outside_id: Class ID of candidates that are no entity.

    Returns:
        The kept candidates of each sentence in order of their words.
    """
    sentence = np.repeat(np.arange(len(span_counts)), span_counts)
    found = np.flatnonzero(label_ids != outside_id)
    found = found[np.lexsort((-scores[found], sentence[found]))]
    kept: list[list[ScoredSpan]] = [[] for _ in span_counts]
    columns = (sentence, label_ids, span_words[:, 0], span_words[:, 1], scores)
    rows = zip(*(column[found].tolist() for column in columns), strict=True)
    taken = [0] * len(span_counts)  # one bit a word
    for index, label_id, start, end, score in rows:
        words = ((1 << (end - start)) - 1) << start
        if not taken[index] & words:
            taken[index] |= words
            kept[index].append(ScoredSpan(label_id, start, end, score))
    return [sorted(spans, key=_by_words) for spans in kept]


def _by_words(span: ScoredSpan) -> tuple[int, int]:
    return span.start, span.end


def to_array(spans: Iterable[ScoredSpan]) -> IntArray:
    """Drop the scores.

    Args:
        spans: Kept candidates of a sentence.

    Returns:
        Class ID, first word and word behind the last, ``(num_kept, 3)``.
    """
    return np.array([span[:3] for span in spans], dtype=np.int64).reshape(-1, 3)
