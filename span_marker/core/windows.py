"""Windows over text that is longer than a model can read. A pure function on positions.

Windows overlap, and every candidate is scored in one of them alone: the one that gives it the most context. With ``a``
the first word of a window and ``b`` the one behind the last of the window before it, a candidate of the words ``start``
to ``end`` has ``b - end`` words behind it in the earlier window and ``start - a`` in front of it in the later one. It
belongs to the earlier one if ``b - end >= start - a``, that is if ``start + end <= a + b``: two bounds on the sum say
which candidates are a window's own. A candidate that lies within any window lies within its own: one that goes beyond
``b`` and begins at ``a`` or behind has a sum larger than ``a + b``, one that begins in front of ``a`` and does not go
beyond ``b`` has a smaller one. And neighbours share so many words that a candidate lies within a window if a window has
room for its tokens at all.
"""

from __future__ import annotations

import math
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from span_marker.core.spans import IntArray

OVERLAP = 0.5
"""Share of a window that the next one reads again, unless a sentence begins nearby."""

SEARCH = 0.25
"""Share of a window in which the beginning of a sentence is looked for, to cut there."""

UNBOUNDED = (-(2**62), 2**62)
"""Bounds of a text that is read as a whole."""


class Window(NamedTuple):
    """Some words of a text that are read together.

    Attributes:
        first: First word.
        last: Word behind the last.
        above: Candidates belong to the window if the sum of their first word and the one behind their last is larger.
        up_to: And not larger than this.
    """

    first: int
    last: int
    above: int
    up_to: int


def plan_windows(
    word_starts: IntArray, word_ends: IntArray, begins_sentence: IntArray, room: int, entity_max_length: int
) -> list[Window]:
    """Cut a text into windows.

    Args:
        word_starts: First token of each word, ``(num_words,)``, ascending.
        word_ends: Token behind the last of each word, ``(num_words,)``, ascending.
        begins_sentence: Words with which a sentence begins, ascending.
        room: The most tokens of a window.
        entity_max_length: Words of the longest candidate.

    Returns:
        The windows, in order; each begins and ends behind the one before it, and together they hold all words. A word
        with more tokens than there is room for has a window of its own, or ends one that holds words without tokens.

    Example:
        >>> starts = np.arange(10)
        >>> [(window.first, window.last) for window in plan_windows(starts, starts + 1, starts[:0], 4, 2)]
        [(0, 4), (2, 6), (4, 8), (6, 10)]
    """
    num_words = len(word_starts)
    bounds: list[tuple[int, int]] = []
    first, last = 0, 0
    while last < num_words:
        limit = int(word_starts[first]) + room
        furthest = max(int(np.searchsorted(word_ends, limit, side="right")), last + 1)
        if furthest < num_words:
            nearest = max(_word_at(word_starts, limit - room * SEARCH), last + 1, first + entity_max_length)
            furthest = _sentence_near(begins_sentence, nearest, furthest, otherwise=furthest)
        last = furthest
        bounds.append((first, last))
        if last < num_words:
            again = int(word_ends[last - 1]) - room * OVERLAP
            # The next window must have room for a word that this one lacks, and for all candidates that it lacks.
            earliest = max(_word_at(word_starts, int(word_ends[last]) - room), first + 1)
            latest = max(last + 1 - entity_max_length, earliest)
            usual = min(max(_word_at(word_starts, again), earliest), latest, last)
            nearby = min(_word_at(word_starts, again + room * SEARCH), latest, last)
            first = _sentence_near(begins_sentence, usual, nearby, otherwise=usual)
    middles = [following + last for (_, last), (following, _) in pairwise(bounds)]
    lower, upper = [UNBOUNDED[0], *middles], [*middles, UNBOUNDED[1]]
    return [Window(*bound, above, up_to) for bound, above, up_to in zip(bounds, lower, upper, strict=True)]


def _word_at(word_starts: IntArray, token: float) -> int:
    """The first word that begins at a token or behind it."""
    return int(np.searchsorted(word_starts, math.ceil(token), side="left"))


def _sentence_near(begins_sentence: IntArray, lowest: int, highest: int, otherwise: int) -> int:
    """The last word from ``lowest`` to ``highest`` that begins a sentence."""
    place = int(np.searchsorted(begins_sentence, highest, side="right")) - 1
    found = int(begins_sentence[place]) if place >= 0 else -1
    return found if found >= lowest else otherwise
