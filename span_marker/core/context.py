"""Document-level context: how much of a document is put around each of its sentences, as a pure function."""

from __future__ import annotations

import numpy as np

from span_marker.core.spans import IntArray


def context_sizes(
    lengths: IntArray, max_tokens: int, max_prev_context: int | None = None, max_next_context: int | None = None
) -> tuple[IntArray, IntArray]:
    """Choose how many tokens stand in front of and behind each sentence of a document.

    Starting from the sentence itself, the next sentence is added, then the previous one, then the next but one, and
    so on, until no sentence is left, a limit is met, or ``max_tokens`` are reached. The sentence that no longer fits
    is cut: a following one keeps its beginning, a preceding one its end. So the context is what stands directly in
    front of the sentence and directly behind it, and two numbers say how much.

    The farthest distance at which whole sentences fit is found by bisection for all sentences at once, on running
    totals of the lengths: ``O(num_sentences)`` but for a logarithm, however many sentences have room.

    Args:
        lengths: Tokens of each sentence in order, without special tokens, ``(num_sentences,)``.
        max_tokens: The most tokens of sentence and context together, special tokens not counted.
        max_prev_context: The most sentences in front; None for no limit.
        max_next_context: The most sentences behind; None for no limit.

    Returns:
        Tokens in front of each sentence, and behind it, ``(num_sentences,)`` each.

    Example:
        >>> num_before, num_after = context_sizes(np.array([2, 1, 2]), max_tokens=4)
        >>> num_before.tolist(), num_after.tolist()
        ([0, 1, 2], [2, 2, 0])
    """
    num_sentences = len(lengths)
    max_prev = num_sentences if max_prev_context is None else max_prev_context
    max_next = num_sentences if max_next_context is None else max_next_context
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    index = np.arange(num_sentences)

    def before(distance: IntArray) -> IntArray:
        return offsets[index] - offsets[np.maximum(index - np.minimum(distance, max_prev), 0)]

    def after(distance: IntArray) -> IntArray:
        last = np.minimum(index + np.minimum(distance, max_next), num_sentences - 1)
        return offsets[last + 1] - offsets[index + 1]

    room = np.maximum(max_tokens - lengths, 0)
    fits, beyond = np.zeros_like(index), np.full_like(index, num_sentences)
    while (beyond - fits > 1).any():
        middle = (fits + beyond) // 2
        has_room = before(middle) + after(middle) <= room
        fits, beyond = np.where(has_room, middle, fits), np.where(has_room, beyond, middle)
    num_after = np.minimum(after(fits + 1), room - before(fits))
    num_before = np.minimum(before(fits + 1), room - num_after)
    return num_before, num_after
