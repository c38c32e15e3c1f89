"""Characters to words: which words of a text an entity covers. Pure functions."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence

import numpy as np

from span_marker.core.labels import LabelledSpan
from span_marker.core.spans import IntArray

MARKS = ("Mn", "Cf")
"""Unicode categories of marks that combine with a letter, and of characters that are not seen."""


def align(
    spans: Sequence[LabelledSpan], text: str, char_starts: IntArray, char_ends: IntArray
) -> tuple[list[LabelledSpan], list[LabelledSpan]]:
    """Find the words that entities cover.

    White space, combining marks and format characters at the edges of entities and of words do not count: tokenizers
    drop them, or take them for part of a word.

    Args:
        spans: Entities in characters, inside the text.
        text: The text.
        char_starts: First character of each word, ``(num_words,)``, ascending.
        char_ends: Character behind the last of each word, ``(num_words,)``, ascending.

    Returns:
        The entities in words, and those that begin or end inside a word or where there is none, in characters; both in
        the order given.

    Example:
        >>> spans = [LabelledSpan("PER", 0, 4), LabelledSpan("LOC", 4, 6)]
        >>> align(spans, "Ann went", np.array([0, 3]), np.array([3, 8]))
        ([LabelledSpan(label='PER', start=0, end=1)], [LabelledSpan(label='LOC', start=4, end=6)])
    """
    if not spans:
        return [], []
    first, last = _edges(text)
    starts, ends = first[char_starts], last[char_ends]
    words = np.flatnonzero(starts < ends)  # words of more than white space
    starts, ends = starts[words], ends[words]
    bounds = np.array([(start, end) for _, start, end in spans], dtype=np.int64)
    entity_starts, entity_ends = first[bounds[:, 0]], last[bounds[:, 1]]
    first_word = np.searchsorted(starts, entity_starts, side="left")
    last_word = np.searchsorted(ends, entity_ends, side="right") - 1
    matches = first_word <= last_word  # never so for an entity of white space
    matches[matches] &= starts[first_word[matches]] == entity_starts[matches]
    matches[matches] &= ends[last_word[matches]] == entity_ends[matches]
    aligned, others = [], []
    for index, (span, is_match) in enumerate(zip(spans, matches.tolist(), strict=True)):
        if is_match:
            start, end = int(words[first_word[index]]), int(words[last_word[index]]) + 1
            aligned.append(LabelledSpan(span.label, start, end))
        else:
            others.append(span)
    return aligned, others


def _edges(text: str) -> tuple[IntArray, IntArray]:
    """For each place in a text: the next character that counts as an edge; and behind the last one before it."""
    places = np.arange(len(text) + 1)
    is_edge = np.fromiter((char.isspace() or unicodedata.category(char) in MARKS for char in text), bool, len(text))
    after = np.where(np.append(is_edge, False), len(text), places)
    before = np.where(np.insert(is_edge, 0, False), 0, places)
    return np.minimum.accumulate(after[::-1])[::-1], np.maximum.accumulate(before)


def without_edges(span: LabelledSpan, item: str | Sequence[str]) -> LabelledSpan:
    """Take the white space off the edges of an entity of a text, as ``predict`` does.

    Args:
        span: The entity.
        item: Its text, or its words, of which nothing is taken off.

    Returns:
        What is left; the entity itself if it is white space only.
    """
    text = item[span.start : span.end]
    if not isinstance(text, str) or text.isspace():
        return span
    start = span.start + len(text) - len(text.lstrip())
    return LabelledSpan(span.label, start, span.start + len(text.rstrip()))
