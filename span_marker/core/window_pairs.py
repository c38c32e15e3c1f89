"""Pairs of entities in texts that are read in windows: the window in which each pair is scored, if any."""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import numpy as np

from span_marker.core.arrays import Array
from span_marker.core.relations import RelationRules
from span_marker.core.spans import IntArray
from span_marker.core.windows import pair_window


class WindowPairs(NamedTuple):
    """The pairs of a text that is read in windows.

    Attributes:
        pairs: For each window, the pairs that are scored in it: indices of head and tail, ``(num_pairs, 2)``.
        num_dropped: Number of pairs that exceed `span_marker.core.relations.MAX_PAIRS` per window.
        num_separate: Number of pairs whose entities are not together in any window.
    """

    pairs: list[IntArray]
    num_dropped: int
    num_separate: int


def pairs_in_windows(rules: RelationRules, spans: IntArray, windows: IntArray) -> WindowPairs:
    """List the pairs of a text that may have a relation, by the window in which they are scored.

    Args:
        rules: Which pairs may have a relation.
        spans: Class ID, first word and word after the last of each entity, ``(num_entities, 3)``.
        windows: First word and word after the last of each window, ``(num_windows, 2)``, see
            `span_marker.core.windows.pair_window`.

    Returns:
        The pairs, at most `MAX_PAIRS` per window, and the numbers of pairs that are left out.
    """
    chosen: list[IntArray] = []
    num_dropped = 0
    for index, (first, last) in enumerate(windows.tolist()):
        inside = np.flatnonzero((spans[:, 1] >= first) & (spans[:, 2] <= last))
        pairs, num_more = rules.pairs(spans[inside], partial(_belong_to, spans[inside, 1:], windows, index))
        chosen.append(inside[pairs])
        num_dropped += num_more
    num_together = sum(map(len, chosen)) + num_dropped
    return WindowPairs(chosen, num_dropped, count_pairs(rules, spans) - num_together)


def _belong_to(places: IntArray, windows: IntArray, index: int, pairs: IntArray) -> Array:
    """Determine which pairs belong to a window."""
    is_own: Array = pair_window(places[pairs[:, 0]], places[pairs[:, 1]], windows) == index
    return is_own


def count_pairs(rules: RelationRules, spans: IntArray) -> int:
    """Count the pairs of a text that may have a relation, without listing them, since there may be millions.

    Args:
        rules: Which pairs may have a relation.
        spans: Class ID, first word and word after the last of each entity, ``(num_entities, 3)``.

    Returns:
        The number of `RelationRules.allowed_pairs`.
    """
    spans = spans[np.lexsort((spans[:, 2], spans[:, 1]))]
    labels, places = spans[:, 0], spans[:, 1:]
    is_new = np.ones(len(spans), dtype=bool)
    is_new[1:] = (places[1:] != places[:-1]).any(axis=1)
    first = np.maximum.accumulate(np.where(is_new, np.arange(len(spans)), 0))  # entity of the same words
    num_classes = len(rules.allowed)
    totals = np.zeros((len(spans) + 1, num_classes), dtype=np.int64)
    np.cumsum(np.eye(num_classes, dtype=np.int64)[labels], axis=0, out=totals[1:])
    before = totals[first]  # (num_entities, num_classes): entities that come before each
    one_way: Array = rules.allowed & ~rules.is_symmetric
    as_tail, as_head = (np.any(allowed[:, :, 1:], axis=2, keepdims=False) for allowed in (rules.allowed, one_way))
    return int((before * as_tail[:, labels].T).sum() + (before * as_head[labels]).sum())
