"""Document context: how many tokens of a document surround each of its sentences. A pure function."""

from __future__ import annotations

import numpy as np

from span_marker.core.spans import IntArray


def context_sizes(
    lengths: IntArray, max_tokens: int, max_prev_context: int | None = None, max_next_context: int | None = None
) -> tuple[IntArray, IntArray]:
    """Compute how many tokens of a document are added before and after each of its sentences.

    For each sentence, other sentences are added in this order: the next, the previous, the second next, and so on,
    until there are no more, a limit is reached, or ``max_tokens`` is used up. The sentence that no longer fits is cut:
    a following one keeps its beginning, a preceding one its end. The context is therefore a contiguous part of the
    document, and two numbers per sentence describe it.

    The largest distance at which whole sentences fit is found by bisection on cumulative lengths, for all sentences at
    once, in ``O(num_sentences * log(num_sentences))``.

    Args:
        lengths: Number of tokens of each sentence in order, without special tokens, ``(num_sentences,)``.
        max_tokens: The maximum number of tokens of sentence and context together, without special tokens.
        max_prev_context: The maximum number of sentences before; None for no limit.
        max_next_context: The maximum number of sentences after; None for no limit.

    Returns:
        Number of tokens before and after each sentence, ``(num_sentences,)`` each.

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

    num_free = np.maximum(max_tokens - lengths, 0)
    fits, beyond = np.zeros_like(index), np.full_like(index, num_sentences)
    while (beyond - fits > 1).any():
        middle = (fits + beyond) // 2
        is_enough = before(middle) + after(middle) <= num_free
        fits, beyond = np.where(is_enough, middle, fits), np.where(is_enough, beyond, middle)
    num_after = np.minimum(after(fits + 1), num_free - before(fits))
    num_before = np.minimum(before(fits + 1), num_free - num_after)
    return num_before, num_after
