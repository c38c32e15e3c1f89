"""From characters to words: the edges of an entity, and the words of a text that it covers. Pure functions."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Iterable, Mapping, Sequence

from span_marker.core.graphemes import graphemes
from span_marker.core.labels import LabelledSpan
from span_marker.core.spans import IntArray

MARKS = ("Mn", "Cf")
"""Unicode categories of combining marks and of format characters, such as a zero-width joiner or a soft hyphen."""


def trim(text: str, start: int, end: int, keep_marks: bool = False) -> tuple[int, int]:
    r"""Find the edges of a span of characters.

    White space does not count at the edges, and neither do combining marks and format characters unless they belong to
    the grapheme of a letter: tokenizers drop them, or count them as part of a word. They only count in a span that
    consists of nothing else.

    Args:
        text: The text.
        start: First character. It begins a grapheme, see `span_marker.core.graphemes`.
        end: Character after the last. It ends a grapheme.
        keep_marks: Whether to remove only white space, so that the span keeps everything that is visible when printed.

    Returns:
        First character that counts and the one after the last; ``(start, start)`` if there is only white space. They
        begin and end graphemes.

    Example:
        >>> trim(" Beyonce\u0301\u200b sang", 0, 11)
        (1, 9)
    """
    parts = graphemes(text[start:end])
    outer = _shrink(0, len(parts), lambda place: parts[place].isspace())
    if outer is None:
        return start, start
    first, last = outer if keep_marks else _shrink(*outer, lambda place: all(map(_is_ignored, parts[place]))) or outer
    return start + sum(map(len, parts[:first])), end - sum(map(len, parts[last:]))


def _is_ignored(character: str) -> bool:
    return character.isspace() or (not character.isascii() and unicodedata.category(character) in MARKS)


def _shrink(start: int, end: int, is_ignored: Callable[[int], bool]) -> tuple[int, int] | None:
    """Remove ignored places from both ends of a range; None if nothing is left."""
    while start < end and is_ignored(start):
        start += 1
    while start < end and is_ignored(end - 1):
        end -= 1
    return (start, end) if start < end else None


def trim_entities(entities: Iterable[LabelledSpan], item: str | Sequence[str]) -> list[LabelledSpan]:
    """Trim the entities of a sentence, so that gold and predicted ones can be compared.

    Args:
        entities: Entities in characters of a text, or in words.
        item: The text, or the words. Entities in words are not trimmed.

    Returns:
        The resulting entities in order, without duplicates. An entity that consists of white space does not change.

    Example:
        >>> trim_entities([LabelledSpan("PER", 0, 4), LabelledSpan("PER", 0, 3)], "Ann went")
        [LabelledSpan(label='PER', start=0, end=3)]
    """
    if not isinstance(item, str):
        return list(dict.fromkeys(entities))
    trimmed = []
    for entity in entities:
        start, end = trim(item, entity.start, entity.end)
        trimmed.append(LabelledSpan(entity.label, start, end) if start < end else entity)
    return list(dict.fromkeys(trimmed))


def align(
    spans: Sequence[LabelledSpan], text: str, char_starts: IntArray, char_ends: IntArray
) -> tuple[list[LabelledSpan], list[LabelledSpan]]:
    """Find the words that entities cover. Entities and words have the edges that `trim` finds.

    Args:
        spans: Entities in characters, inside the text.
        text: The text.
        char_starts: First character of each word, ``(num_words,)``, ascending.
        char_ends: Character after the last of each word, ``(num_words,)``, ascending.

    Returns:
        The entities in words; and, in characters, those that begin or end inside a word or outside of all words. Both
        are in the order of ``spans``.

    Example:
        >>> import numpy as np
        >>> spans = [LabelledSpan("PER", 0, 4), LabelledSpan("LOC", 4, 6)]
        >>> align(spans, "Ann went", np.array([0, 3]), np.array([3, 8]))
        ([LabelledSpan(label='PER', start=0, end=1)], [LabelledSpan(label='LOC', start=4, end=6)])
    """
    if not spans:
        return [], []
    first_words: dict[int, int] = {}
    last_words: dict[int, int] = {}
    for word, bounds in enumerate(zip(char_starts.tolist(), char_ends.tolist(), strict=True)):
        start, end = trim(text, *bounds)
        if start < end:
            first_words.setdefault(start, word)
            last_words[end] = word
    aligned, others = [], []
    for span in spans:
        start, end = trim(text, span.start, span.end)
        first, last = first_words.get(start), last_words.get(end)
        if start < end and first is not None and last is not None and first <= last:
            aligned.append(LabelledSpan(span.label, first, last + 1))
        else:
            others.append(span)
    return aligned, others


def blank_words(text: str, char_starts: IntArray, char_ends: IntArray) -> dict[int, bool]:
    """Find the words of a text that `trim` would remove from the edges of an entity.

    Args:
        text: The text.
        char_starts: First character of each word, ``(num_words,)``.
        char_ends: Character after the last of each word, ``(num_words,)``.

    Returns:
        The indices of these words, each with whether the word is empty or consists only of white space.
    """
    words = enumerate(zip(char_starts.tolist(), char_ends.tolist(), strict=True))
    return {word: not text[start:end].strip() for word, (start, end) in words if all(map(_is_ignored, text[start:end]))}


def trim_words(start: int, end: int, blank: Mapping[int, bool]) -> tuple[int, int]:
    """Find the edges of a span of words, as `trim` finds those of its characters.

    Args:
        start: First word.
        end: Word after the last.
        blank: The return value of `blank_words`.

    Returns:
        First word that counts and the one after the last; ``(start, start)`` if there is only white space.

    Example:
        >>> trim_words(0, 3, {0: True, 2: False})
        (1, 2)
    """
    outer = _shrink(start, end, lambda word: blank.get(word, False)) or (start, start)
    return _shrink(*outer, blank.__contains__) or outer
