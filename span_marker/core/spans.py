"""Candidate spans: which spans of a sentence are scored, in what order, and where each stands in that order.

Every span of at most ``entity_max_length`` words is a candidate, in order of its start word, then its end word.
Words are 0-based, ends exclusive. All functions work on whole batches: no Python loop over spans.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

IntArray = npt.NDArray[np.int64]


class SpanBatch(NamedTuple):
    """The candidates of a batch of sentences, sentence after sentence.

    Attributes:
        starts: First word of each candidate, ``(num_spans,)``.
        ends: Word behind the last of each candidate, ``(num_spans,)``.
        counts: Candidates of each sentence, ``(batch,)``.
    """

    starts: IntArray
    ends: IntArray
    counts: IntArray


def num_candidates(num_words: int, entity_max_length: int) -> int:
    """Count the candidates of a sentence, in closed form.

    Args:
        num_words: Words of the sentence.
        entity_max_length: Words of the longest candidate.

    Returns:
        ``sum(min(entity_max_length, num_words - start) for start in range(num_words))``.

    Example:
        >>> num_candidates(8, 8)
        36
    """
    longest = min(num_words, entity_max_length)
    return longest * num_words - longest * (longest - 1) // 2


def enumerate_spans(num_words: IntArray, entity_max_length: int) -> SpanBatch:
    """List the candidates of a batch of sentences.

    Args:
        num_words: Words of each sentence, ``(batch,)``.
        entity_max_length: Words of the longest candidate.

    Returns:
        The candidates in order of sentence, start word and end word.

    Example:
        >>> spans = enumerate_spans(np.array([3]), 2)
        >>> list(zip(spans.starts.tolist(), spans.ends.tolist()))
        [(0, 1), (0, 2), (1, 2), (1, 3), (2, 3)]
    """
    words = ranges(num_words)  # (total words,)
    per_word = np.minimum(entity_max_length, np.repeat(num_words, num_words) - words)  # candidates that start there
    starts = np.repeat(words, per_word)
    ends = starts + 1 + ranges(per_word)
    per_sentence = np.minimum(num_words, entity_max_length)
    counts = per_sentence * num_words - per_sentence * (per_sentence - 1) // 2
    return SpanBatch(starts, ends, counts)


def span_index(start: IntArray, end: IntArray, num_words: IntArray, entity_max_length: int) -> IntArray:
    """Find spans in the order of `enumerate_spans`, in closed form.

    Args:
        start: First words, ``(n,)``.
        end: Words behind the last, ``(n,)``, at most ``entity_max_length`` behind ``start``.
        num_words: Words of the sentence of each span, ``(n,)``.
        entity_max_length: Words of the longest candidate.

    Returns:
        The place of each span among the candidates of its own sentence, ``(n,)``.
    """
    full = np.maximum(num_words - entity_max_length, 0)  # start words that have all their candidates
    whole = np.minimum(start, full)
    rest = start - whole  # start words that the sentence's end cuts short
    first_rest = np.minimum(num_words, entity_max_length)
    before = whole * entity_max_length + rest * first_rest - rest * (rest - 1) // 2
    return before + end - start - 1


def ranges(counts: IntArray) -> IntArray:
    """Chain ``arange(count)`` of every count.

    Args:
        counts: How far each range goes, ``(n,)``.

    Returns:
        ``(sum(counts),)``.

    Example:
        >>> ranges(np.array([2, 0, 3])).tolist()
        [0, 1, 0, 1, 2]
    """
    ends = np.cumsum(counts)
    return np.arange(int(counts.sum()), dtype=np.int64) - np.repeat(ends - counts, counts)
