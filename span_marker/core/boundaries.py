r"""Boundaries of words in texts, where no model says what a word is.

Letters and digits in a row are a word, with the marks that belong to them, such as combining accents; each other
character that is no white space is a word of its own.
"""

from __future__ import annotations

import unicodedata

import regex

from span_marker.core.graphemes import place_words

_JOINERS = "\u200c\u200d"
_MARKS = rf"\p{{M}}{_JOINERS}"
_LETTERS = rf"[\p{{L}}\p{{N}}][\p{{L}}\p{{N}}{_MARKS}]*"
_WORD = regex.compile(rf"{_LETTERS}|\S")
_BESIDE = rf"(?:[\p{{L}}\p{{N}}_][\p{{L}}\p{{N}}_{_MARKS}]*|[^\p{{L}}\p{{N}}_\s])"
_WORD_BEFORE = regex.compile(rf"{_BESIDE}\s?$")
_WORD_AFTER = regex.compile(rf"\s?{_BESIDE}")
_LONGEST_WORD = 40
"""Number of characters that are looked at beside an entity."""


def words_of(text: str) -> list[tuple[int, int]]:
    r"""Find the words of a text.

    Args:
        text: The text.

    Returns:
        First character of each word and the one after its last. No word begins or ends within a grapheme.

    Example:
        >>> words_of("Zoe\u0308a, 2x")
        [(0, 5), (5, 6), (7, 9)]
    """
    return [place for _, place in place_words(text, (word.span() for word in _WORD.finditer(text)))]


def is_inside_word(text: str, place: int) -> bool:
    r"""Tell whether a place is inside a word: letters or digits are on both sides, marks apart.

    Args:
        text: The text.
        place: The character that begins at the place.

    Returns:
        Whether it is.

    Example:
        >>> is_inside_word("Zoe\u0308a", 4), is_inside_word("Zoe\u0308a", 3), is_inside_word("Zoe!", 3)
        (True, True, False)
    """
    if not 0 < place < len(text):
        return False
    before = place - 1
    while before > 0 and _is_mark(text[before]):
        before -= 1
    return text[before].isalnum() and (text[place].isalnum() or _is_mark(text[place]))


def _is_mark(character: str) -> bool:
    return not character.isascii() and (character in _JOINERS or unicodedata.category(character)[0] == "M")


def has_whole_words(text: str, start: int, end: int) -> bool:
    """Tell whether a span consists of words, without white space at its edges.

    Args:
        text: The text.
        start: First character of the span.
        end: Character after the last.

    Returns:
        Whether it does. An empty span, or one out of range, does not.
    """
    if not 0 <= start < end <= len(text) or text[start].isspace() or text[end - 1].isspace():
        return False
    return not is_inside_word(text, start) and not is_inside_word(text, end)


def words_beside(text: str, start: int, end: int) -> tuple[str, str]:
    """Find the words beside a span.

    Args:
        text: The text.
        start: First character of the span.
        end: Character after the last.

    Returns:
        The word before it and the one after it, with a white space character between them and the span; empty if there
        is none, if more white space is between, or if the span begins or ends inside a word.
    """
    before = _WORD_BEFORE.search(text, max(start - _LONGEST_WORD, 0), start)
    after = _WORD_AFTER.match(text, end, end + _LONGEST_WORD)
    return (
        "" if before is None or is_inside_word(text, start) else before[0],
        "" if after is None or is_inside_word(text, end) else after[0],
    )
