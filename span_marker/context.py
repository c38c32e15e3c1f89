"""Document-level context: the neighbouring sentences that are put around a sentence, as a pure function."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from span_marker.spans import IntArray


def surround(
    sentences: Sequence[IntArray],
    index: int,
    max_tokens: int,
    max_prev_context: int | None = None,
    max_next_context: int | None = None,
) -> tuple[IntArray, IntArray]:
    """Choose the tokens in front of and behind one sentence of a document.

    Starting from the sentence itself, the next sentence is added, then the previous one, then the next but one, and
    so on, until no sentence is left, a limit is met, or ``max_tokens`` are reached. The sentence that no longer fits
    is cut: a following one keeps its beginning, a preceding one its end.

    Args:
        sentences: Token IDs of every sentence of the document in order, without special tokens.
        index: The sentence to surround.
        max_tokens: The most tokens of sentence and context together, special tokens not counted.
        max_prev_context: The most sentences in front; None for no limit.
        max_next_context: The most sentences behind; None for no limit.

    Returns:
        Token IDs in front, ``(num_before,)``, and behind, ``(num_after,)``.

    Example:
        >>> document = [np.array([1, 2]), np.array([3]), np.array([4, 5])]
        >>> before, after = surround(document, 1, max_tokens=4)
        >>> before.tolist(), after.tolist()
        ([2], [4, 5])
    """
    room = max_tokens - len(sentences[index])
    num_prev = index if max_prev_context is None else min(index, max_prev_context)
    num_next = len(sentences) - index - 1
    num_next = num_next if max_next_context is None else min(num_next, max_next_context)
    before: list[IntArray] = []
    after: list[IntArray] = []
    for distance in range(1, max(num_prev, num_next) + 1):
        if room > 0 and distance <= num_next:
            after.append(sentences[index + distance][:room])
            room -= len(after[-1])
        if room > 0 and distance <= num_prev:
            before.append(sentences[index - distance][-room:])
            room -= len(before[-1])
        if room <= 0:
            break
    empty = np.empty(0, dtype=np.int64)
    return np.concatenate([empty, *before[::-1]]), np.concatenate([empty, *after])
