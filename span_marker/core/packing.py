"""Packed sentences: concatenated in one row without padding, and padded again in groups for attention."""

from __future__ import annotations

import bisect
import itertools
import math
from collections.abc import Iterator, Sequence

import numpy as np

from span_marker.core.arrays import Array
from span_marker.core.spans import IntArray

POSITION_OFFSET = 2
"""Position ID of the first token, for every family of encoders, as in the 1.x library."""

SMALL_GROUP = 64
"""Sentences of at most this many tokens are padded together regardless of how much their lengths differ."""

GROUP_COST = 4000
"""Number of padded attention scores that take a core as long as the operations of an additional group."""

COPIED_SCORES = 8
"""Number of scores that take as long as copying a key and a value."""


def tabulate(firsts: Sequence[int], lengths: Sequence[int]) -> tuple[IntArray, IntArray, Array]:
    """Tabulate sentences of a packed sequence.

    Args:
        firsts: First row of each sentence.
        lengths: Rows of each sentence.

    Returns:
        Row of each place of the padded sentences, ``(sentences, longest)``, where padding points to the sentence's
        first row; the flattened places that are not padding, ``(num_rows,)``; and True for the places that may be
        attended to, ``(sentences, 1, longest)``, see `span_marker.encoders.packing.PackedRows`.
    """
    columns = np.arange(max(lengths))
    starts, counts = np.array([firsts, lengths], dtype=np.int64)[:, :, None]
    mask = columns < counts
    table = np.where(mask, starts + columns, np.where(counts > 0, starts, 0))
    return table, np.flatnonzero(mask), (mask | (columns == 0))[:, None, :]


def similar_lengths(lengths: Sequence[int], max_rows: float = math.inf) -> list[list[int]]:
    """Group sentences so that padding at most doubles a group whose longest sentence exceeds `SMALL_GROUP`.

    Args:
        lengths: Tokens of each sentence.
        max_rows: The maximum number of tokens in a group of several sentences.

    Returns:
        Indices of the sentences of each group, longest sentence first, without the empty sentences.
    """
    groups: list[list[int]] = []
    num_rows = 0  # of the last group
    for index in sorted(range(len(lengths)), key=lengths.__getitem__, reverse=True):
        length = lengths[index]
        longest = lengths[groups[-1][0]] if groups else 0
        is_similar = 2 * length >= longest or longest <= SMALL_GROUP
        if groups and is_similar and num_rows + length <= max_rows:
            if length:
                groups[-1].append(index)
                num_rows += length
        elif length:
            groups.append([index])
            num_rows = length
    return groups


def cheap_groups(num_rows: Sequence[int], num_keys: Sequence[int]) -> list[list[int]]:
    """Group sentences so that the padding of a group takes no longer than another group would, on a CPU.

    Args:
        num_rows: Number of rows of each sentence that attend to its keys.
        num_keys: Number of keys of each sentence.

    Returns:
        Indices of the sentences of each group, most keys first, without the sentences that have no rows.
    """
    groups: list[list[int]] = []
    most_rows = cost = 0  # of the last group; the cost is that without padding
    for index in sorted(range(len(num_rows)), key=num_keys.__getitem__, reverse=True):
        if not num_rows[index]:
            continue
        own = num_keys[index] * (num_rows[index] + COPIED_SCORES)
        if groups:
            most = max(most_rows, num_rows[index])
            padded = (len(groups[-1]) + 1) * num_keys[groups[-1][0]] * (most + COPIED_SCORES)
            if padded - cost - own <= GROUP_COST:
                groups[-1].append(index)
                most_rows, cost = most, cost + own
                continue
        groups.append([index])
        most_rows, cost = num_rows[index], own
    return groups


def first_rows(lengths: Sequence[int]) -> list[int]:
    """Compute the first row of each sentence in a packed sequence from the sentences' lengths."""
    return [0, *itertools.accumulate(lengths[:-1])]


def rows_of(sentences: Sequence[int], firsts: Sequence[int], lengths: Sequence[int]) -> IntArray:
    """List the rows of some sentences of a packed sequence.

    Args:
        sentences: Indices of the sentences.
        firsts: First row of each sentence of the sequence.
        lengths: Rows of each sentence of the sequence.

    Returns:
        The rows, sentence after sentence.
    """
    return np.concatenate([np.arange(firsts[index], firsts[index] + lengths[index]) for index in sentences])


def marker_passes(span_counts: Sequence[int], max_spans: int) -> Iterator[tuple[int, int, int, list[int]]]:
    """Divide the candidates of a batch into passes of similar size.

    Args:
        span_counts: Number of candidates per sentence.
        max_spans: The maximum number of candidates in one pass.

    Yields:
        First candidate of a pass and the one after its last; index of the first candidate's sentence; number of
        candidates of this sentence and each following one.
    """
    ends = list(itertools.accumulate(span_counts))
    total = sum(span_counts)
    num_passes = -(-total // max_spans)
    for number in range(num_passes):
        start, stop = total * number // num_passes, total * (number + 1) // num_passes
        first, last = bisect.bisect_right(ends, start), bisect.bisect_left(ends, stop)
        bounds = [start, *ends[first:last], stop]
        yield start, stop, first, [after - before for before, after in itertools.pairwise(bounds)]
