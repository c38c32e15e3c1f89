"""Words of a string: where each begins and ends, by Unicode's rules or character by character. Pure functions."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Callable, Container, Iterable, Iterator
from itertools import accumulate, pairwise
from typing import TypeAlias

import regex

Place: TypeAlias = tuple[int, int]
"""First character of a word and the one after its last."""

Split: TypeAlias = Callable[[str], Iterable[Place]]
"""Finds the words of a string: in order, not empty, without overlaps."""

UNSPACED = r"[\p{Han}\p{Hiragana}\p{Katakana}\p{Bopomofo}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}\u30fc]"
"""Characters of scripts that have no white space between words, as a regular expression."""

CHUNK = re.compile(r"\S+")
"""Text without white space, as Python defines it."""

GRAPHEME = regex.compile(r"\X")

WORD_BREAK = regex.compile(r"\b", regex.WORD)

UNSPACED_START = regex.compile(UNSPACED)


def words_between(text: str, breaks: Container[int]) -> list[Place]:
    """Split a string at white space, and at other places.

    Args:
        text: The string.
        breaks: Places where a word begins, besides those after white space.

    Returns:
        The place of each word.

    Example:
        >>> words_between("Oslo, 1 May", {4})
        [(0, 4), (4, 5), (6, 7), (8, 11)]
    """
    places: list[Place] = []
    for chunk in CHUNK.finditer(text):
        start, end = chunk.span()
        places += pairwise([start, *(place for place in range(start + 1, end) if place in breaks), end])
    return places


def character_words(text: str) -> list[Place]:
    """Split a string into characters, each with its combining marks.

    Args:
        text: The string.

    Returns:
        The place of each character that is not white space.

    Example:
        >>> character_words("I 東京")
        [(0, 1), (2, 3), (3, 4)]
    """
    return words_between(text, {start for start, _ in _graphemes(text)})


def unicode_words(text: str) -> list[Place]:
    """Split a string into words as Unicode's Standard Annex 29 does, without a dictionary.

    In scripts without white space between words, each character is a word, with its combining marks.

    Args:
        text: The string.

    Returns:
        The place of each word.

    Example:
        >>> text = "The U.S. buys 3.5 t in 東京"
        >>> [text[start:end] for start, end in unicode_words(text)]
        ['The', 'U.S', '.', 'buys', '3.5', 't', 'in', '東', '京']
    """
    word_breaks = {match.start() for match in WORD_BREAK.finditer(text)}
    breaks = set()
    was_unspaced = False
    for start, _ in _graphemes(text):
        is_unspaced = UNSPACED_START.match(text, start) is not None
        if is_unspaced or was_unspaced or start in word_breaks:
            breaks.add(start)
        was_unspaced = is_unspaced
    return words_between(text, breaks)


def _graphemes(text: str) -> Iterator[Place]:
    """The characters that are not white space, each with its combining marks."""
    for chunk in CHUNK.finditer(text):
        for match in GRAPHEME.finditer(text, *chunk.span()):
            yield match.span()


def has_icu() -> bool:
    """Whether PyICU is installed."""
    return importlib.util.find_spec("icu") is not None


def icu_words(text: str) -> list[Place]:
    """Split a string into words as ICU does, which has dictionaries of Chinese, Japanese, Thai, Lao, Khmer and Burmese.

    Args:
        text: The string.

    Returns:
        The place of each word.

    Raises:
        ValueError: If PyICU is not installed.
    """
    if not has_icu():
        raise ValueError("word_splitter='icu' needs PyICU: pip install PyICU")
    import icu  # optional

    iterator = icu.BreakIterator.createWordInstance(icu.Locale.getRoot())
    iterator.setText(text)
    # ICU counts UTF-16 units: characters outside the basic plane have two.
    units = accumulate((2 if character > "\uffff" else 1 for character in text), initial=0)
    places = {unit: place for place, unit in enumerate(units)}
    return words_between(text, {places[unit] for unit in iterator})


def surroundings(text: str, start: int, end: int, num_characters: int) -> Place:
    """Choose the part of a text to show around a span. It begins and ends between words, if possible.

    Args:
        text: The text.
        start: First character of the part.
        end: Character after its last.
        num_characters: The maximum number of characters to show on either side.

    Returns:
        The first character to show, and the one after the last.

    Example:
        >>> surroundings("She flew to Paris today.", 12, 17, 6)
        (9, 17)
    """
    first, last = max(start - num_characters, 0), min(end + num_characters, len(text))
    if first > 0:  # at the start of a word, if one starts there
        first = text.find(" ", first, start) + 1 or first
    if last < len(text):
        place = text.rfind(" ", end, last)
        last = last if place < 0 else place
    return first, last
