"""Streams: grouping items into blocks, and prefetching them, without losing any to an error.

Items before an error of a stream are yielded before the error is raised. Ctrl+C ends a stream immediately.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Iterator
from typing import TypeVar

T = TypeVar("T")


def blocks(groups: Iterable[tuple[list[T], int]], max_items: int, max_length: float = math.inf) -> Iterator[list[T]]:
    """Concatenate groups into blocks of limited size, without splitting groups.

    Args:
        groups: Groups of items, each with its length.
        max_items: The maximum number of items of a block, unless a single group has more.
        max_length: The largest length of a block, unless a single group is longer.

    Yields:
        The items of a block, as soon as it is full.

    Example:
        >>> list(blocks([(["a"], 4), (["b"], 6), (["c"], 1), (["d"], 50)], max_items=3, max_length=10))
        [['a', 'b'], ['c'], ['d']]
    """
    block: list[T] = []
    total = 0
    try:
        for group, length in groups:
            if block and (len(block) + len(group) > max_items or total + length > max_length):
                yield block
                block, total = [], 0
            block += group
            total += length
            if len(block) >= max_items or total >= max_length:
                yield block
                block, total = [], 0
    except Exception:
        if block:
            yield block
        raise
    if block:
        yield block


def begun_ahead(items: Iterable[T], num_ahead: int) -> Iterator[T]:
    """Prefetch items, so that work that starts with an item has already started when it is requested.

    Args:
        items: The items.
        num_ahead: The maximum number of items that are fetched, but not yet yielded.

    Yields:
        The items, in order.
    """
    waiting: deque[T] = deque()
    try:
        for item in items:
            waiting.append(item)
            if len(waiting) == num_ahead:
                yield waiting.popleft()
    except Exception:
        yield from waiting
        raise
    yield from waiting
