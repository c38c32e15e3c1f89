"""Candidates: the spans of a sentence that are scored, and their order.

Every span of at most ``entity_max_length`` words is a candidate. Candidates are ordered by their first word, then by
their last. Words are counted from 0, ends are exclusive. All functions work on whole batches, without a Python loop
over spans.
"""

from __future__ import annotations

from typing import NamedTuple, overload

import numpy as np
import numpy.typing as npt

BoolArray = npt.NDArray[np.bool_]
FloatArray = npt.NDArray[np.float32]
IntArray = npt.NDArray[np.int64]


class SpanBatch(NamedTuple):
    """The candidates of a batch of sentences, sentence after sentence.

    Attributes:
        starts: First word of each candidate, ``(num_spans,)``.
        ends: Word after the last of each candidate, ``(num_spans,)``.
        counts: Number of candidates per sentence, ``(batch,)``.
    """

    starts: IntArray
    ends: IntArray
    counts: IntArray


@overload
def num_candidates(num_words: int, entity_max_length: int) -> int: ...


@overload
def num_candidates(num_words: IntArray, entity_max_length: int | IntArray) -> IntArray: ...


def num_candidates(num_words: int | IntArray, entity_max_length: int | IntArray) -> int | IntArray:
    """Count the candidates of sentences, in closed form.

    Args:
        num_words: Number of words of a sentence, or of each of several sentences.
        entity_max_length: The maximum number of words of a candidate. Arrays are broadcast against ``num_words``.

    Returns:
        ``sum(min(entity_max_length, num_words - start) for start in range(num_words))``, for each sentence.

    Example:
        >>> num_candidates(8, 8)
        36
        >>> num_candidates(np.array([3, 8]), 2)
        array([ 5, 15])
    """
    longest = np.minimum(num_words, entity_max_length)
    count = longest * num_words - longest * (longest - 1) // 2
    return count if isinstance(count, np.ndarray) else int(count)


def enumerate_spans(num_words: IntArray, entity_max_length: int) -> SpanBatch:
    """List the candidates of a batch of sentences.

    Args:
        num_words: Number of words of each sentence, ``(batch,)``.
        entity_max_length: The maximum number of words of a candidate.

    Returns:
        The candidates in order of sentence, first word and last word.

    Example:
        >>> spans = enumerate_spans(np.array([3]), 2)
        >>> list(zip(spans.starts.tolist(), spans.ends.tolist()))
        [(0, 1), (0, 2), (1, 2), (1, 3), (2, 3)]
    """
    words = ranges(num_words)  # (total words,)
    per_word = np.minimum(entity_max_length, np.repeat(num_words, num_words) - words)  # candidates that start there
    starts = np.repeat(words, per_word)
    ends = starts + 1 + ranges(per_word)
    return SpanBatch(starts, ends, num_candidates(num_words, entity_max_length))


def span_index(start: IntArray, end: IntArray, num_words: IntArray, entity_max_length: int) -> IntArray:
    """Compute the index of spans in the order of `enumerate_spans`, in closed form.

    Args:
        start: First word of each span, ``(n,)``.
        end: Word after the last of each span, ``(n,)``, at most ``entity_max_length`` after ``start``.
        num_words: Number of words of each span's sentence, ``(n,)``.
        entity_max_length: The maximum number of words of a candidate.

    Returns:
        The index of each span among the candidates of its sentence, ``(n,)``.
    """
    full = np.maximum(num_words - entity_max_length, 0)  # words that start entity_max_length candidates
    whole = np.minimum(start, full)
    rest = start - whole  # words that start fewer, since the sentence ends
    first_rest = np.minimum(num_words, entity_max_length)
    before = whole * entity_max_length + rest * first_rest - rest * (rest - 1) // 2
    return before + end - start - 1


def ranges(counts: IntArray) -> IntArray:
    """Concatenate ``arange(count)`` for every count.

    Args:
        counts: Length of each range, ``(n,)``.

    Returns:
        The concatenated ranges, ``(sum(counts),)``.

    Example:
        >>> ranges(np.array([2, 0, 3])).tolist()
        [0, 1, 0, 1, 2]
    """
    ends = np.cumsum(counts)
    return np.arange(int(counts.sum()), dtype=np.int64) - np.repeat(ends - counts, counts)


def best_candidates(scores: FloatArray, span_lengths: IntArray, span_counts: IntArray, per_word: float) -> BoolArray:
    """Find the candidates of each sentence with the highest scores.

    Args:
        scores: Scores of the candidate filter, ``(num_spans,)``, sentence after sentence.
        span_lengths: Number of words of each candidate, ``(num_spans,)``.
        span_counts: Number of candidates per sentence, ``(batch,)``.
        per_word: Number of candidates to find per word of a sentence. The number per sentence is rounded up.

    Returns:
        True for these candidates, ``(num_spans,)``. Among equal scores, the first are found.
    """
    sentences = np.repeat(np.arange(len(span_counts)), span_counts)
    num_words = np.bincount(sentences[span_lengths == 1], minlength=len(span_counts))
    order = np.lexsort((-scores, sentences))  # sentence after sentence, best first
    is_best = np.empty(len(scores), dtype=bool)
    is_best[order] = ranges(span_counts) < np.ceil(np.float32(per_word) * num_words.astype(np.float32))[sentences]
    return is_best


def kept_candidates(
    scores: FloatArray, span_lengths: IntArray, span_counts: IntArray, per_word: float | None, threshold: float | None
) -> IntArray:
    """Choose the candidates that get markers in prediction.

    Args:
        scores: Scores of the candidate filter, ``(num_spans,)``, sentence after sentence.
        span_lengths: Number of words of each candidate, ``(num_spans,)``.
        span_counts: Number of candidates per sentence, ``(batch,)``.
        per_word: Number of candidates per word of a sentence, see `best_candidates`; None for all.
        threshold: The minimum score; None for any.

    Returns:
        Indices of the candidates, ascending, ``(num_kept,)``.
    """
    is_kept = np.ones(len(scores), dtype=bool)
    if per_word is not None:
        is_kept = best_candidates(scores, span_lengths, span_counts, per_word)
    if threshold is not None:
        is_kept &= scores >= threshold
    return np.flatnonzero(is_kept)
