"""Windows over texts that are longer than a model can read. Pure functions on positions.

Windows overlap, and every candidate is scored in only one of them: the one that gives it the most context. Let ``a`` be
the first word of a window, and ``b`` the word after the last of the previous window. A candidate of the words ``start``
to ``end`` has ``b - end`` words after it in the earlier window, and ``start - a`` words before it in the later one. It
belongs to the earlier one if ``b - end >= start - a``, that is, if ``start + end <= a + b``. Two bounds on
``start + end`` therefore determine which candidates belong to a window. A candidate that lies within any window also
lies within its own: if it ends after ``b`` and starts at ``a`` or later, its sum is larger than ``a + b``; if it starts
before ``a`` and does not end after ``b``, its sum is smaller. Neighboring windows overlap enough for every candidate to
lie within a window, unless it has more tokens than a window.

A pair of entities belongs to the window that the span from the first to the last word of both would belong to. If such
a span is longer than all windows, no window contains both entities.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from span_marker.core.spans import BoolArray, IntArray

OVERLAP = 0.5
"""Share of a window that the next one overlaps, unless a sentence begins nearby."""

SEARCH = 0.25
"""Share of a window that is searched for the beginning of a sentence, at which to cut."""

UNBOUNDED = (-(2**62), 2**62)
"""Bounds of a text that is read as a whole."""


class Window(NamedTuple):
    """Consecutive words of a text that are read together.

    Attributes:
        first: First word.
        last: Word after the last.
        above: Candidates belong to the window if the sum of their ``start`` and ``end`` is larger than this,
        up_to: and not larger than this.
    """

    first: int
    last: int
    above: int
    up_to: int


def plan_windows(
    word_starts: IntArray, word_ends: IntArray, begins_sentence: IntArray, max_tokens: int, entity_max_length: int
) -> list[Window]:
    """Cut a text into windows.

    Args:
        word_starts: First token of each word, ``(num_words,)``, ascending.
        word_ends: Token after the last of each word, ``(num_words,)``, ascending.
        begins_sentence: Words that begin a sentence, ascending.
        max_tokens: The maximum number of tokens of a window.
        entity_max_length: The maximum number of words of a candidate.

    Returns:
        The windows in order, which together cover all words. Each begins and ends after the previous one. A word with
        more than ``max_tokens`` tokens is a separate window, or ends a window in which no other word has tokens.

    Example:
        >>> starts = np.arange(10)
        >>> [(window.first, window.last) for window in plan_windows(starts, starts + 1, starts[:0], 4, 2)]
        [(0, 4), (2, 6), (4, 8), (6, 10)]
    """
    num_words = len(word_starts)
    bounds: list[tuple[int, int]] = []
    first, last = 0, 0
    while last < num_words:
        limit = int(word_starts[first]) + max_tokens
        furthest = max(int(np.searchsorted(word_ends, limit, side="right")), last + 1)
        if furthest < num_words:
            nearest = max(_word_at(word_starts, limit - max_tokens * SEARCH), last + 1, first + entity_max_length)
            furthest = _sentence_near(begins_sentence, nearest, furthest, otherwise=furthest)
        last = furthest
        bounds.append((first, last))
        if last < num_words:
            again = int(word_ends[last - 1]) - max_tokens * OVERLAP
            # The next window must contain at least one more word, and all candidates that this window does not contain.
            earliest = max(_word_at(word_starts, int(word_ends[last]) - max_tokens), first + 1)
            latest = max(last + 1 - entity_max_length, earliest)
            usual = min(max(_word_at(word_starts, again), earliest), latest, last)
            nearby = min(_word_at(word_starts, again + max_tokens * SEARCH), latest, last)
            first = _sentence_near(begins_sentence, usual, nearby, otherwise=usual)
    middles = [following + last for (_, last), (following, _) in pairwise(bounds)]
    lower, upper = [UNBOUNDED[0], *middles], [*middles, UNBOUNDED[1]]
    return [Window(*bound, above, up_to) for bound, above, up_to in zip(bounds, lower, upper, strict=True)]


def pair_window(heads: IntArray, tails: IntArray, windows: IntArray) -> IntArray:
    """Find the window that each pair of entities belongs to: the one that contains both with the most context.

    Context is the smaller of the numbers of words before and after both entities. In case of a tie, the first window is
    chosen.

    Args:
        heads: First word and word after the last of each head, ``(num_pairs, 2)``.
        tails: The same for the tails.
        windows: First word and word after the last of each window of the text, ``(num_windows, 2)``, in order: each
            begins and ends after the previous one.

    Returns:
        Index of the window of each pair, ``(num_pairs,)``; -1 if no window contains both entities.

    Example:
        >>> heads, tails = np.array([[1, 2], [4, 5], [0, 1]]), np.array([[0, 1], [5, 6], [7, 9]])
        >>> pair_window(heads, tails, np.array([[0, 6], [3, 9]])).tolist()
        [0, 1, -1]
    """
    starts, ends = np.minimum(heads[:, 0], tails[:, 0]), np.maximum(heads[:, 1], tails[:, 1])
    middles = windows[1:, 0] + windows[:-1, 1]
    index = np.searchsorted(middles, starts + ends, side="left")
    is_held = (windows[index, 0] <= starts) & (ends <= windows[index, 1])
    return np.where(is_held, index, -1)


def belong_to(heads: IntArray, tails: IntArray, bounds: Sequence[int]) -> BoolArray:
    """Determine which pairs of entities within a window belong to it, consistently with `pair_window`.

    Args:
        heads: First word and word after the last of each head, ``(num_pairs, 2)``.
        tails: The same for the tails.
        bounds: ``above`` and ``up_to`` of the window.

    Returns:
        True for those that belong to it, ``(num_pairs,)``.
    """
    place = np.minimum(heads[:, 0], tails[:, 0]) + np.maximum(heads[:, 1], tails[:, 1])
    is_own: BoolArray = (place > bounds[0]) & (place <= bounds[1])
    return is_own


def _word_at(word_starts: IntArray, token: float) -> int:
    """The first word that begins at or after a token."""
    return int(np.searchsorted(word_starts, math.ceil(token), side="left"))


def _sentence_near(begins_sentence: IntArray, lowest: int, highest: int, otherwise: int) -> int:
    """The last word from ``lowest`` to ``highest`` that begins a sentence, or ``otherwise``."""
    place = int(np.searchsorted(begins_sentence, highest, side="right")) - 1
    word = int(begins_sentence[place]) if place >= 0 else -1
    return word if word >= lowest else otherwise
