r"""Boundaries of words in texts, without a model that defines words.

A sequence of letters and digits is a word, with the marks that belong to them, such as combining accents; each other
character except white space is a separate word. In scripts without spaces between words, and in Korean, where particles
are attached to names, a sequence of letters may contain several words, which this module cannot separate.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable

import regex

from span_marker.core.graphemes import place_words
from span_marker.core.words import UNSPACED

_JOINERS = "\u200c\u200d"
_MARKS = rf"\p{{M}}{_JOINERS}"
_RUN_ON = rf"[{UNSPACED}\p{{Hangul}}\p{{Tibetan}}\p{{Line_Break=SA}}\uff70]"
_SPACED = rf"[[\p{{L}}\p{{N}}]--{_RUN_ON}]"
_WORD = regex.compile(
    rf"{_SPACED}[{_SPACED}{_MARKS}]*|[[\p{{L}}\p{{N}}]&&{_RUN_ON}][{_RUN_ON}{_MARKS}]*|\S", regex.VERSION1
)
_IS_RUN_ON = regex.compile(_RUN_ON, regex.VERSION1)
_BESIDE = rf"(?:[\p{{L}}\p{{N}}_][\p{{L}}\p{{N}}_{_MARKS}]*|[^\p{{L}}\p{{N}}_\s])"
_WORD_BEFORE = regex.compile(rf"{_BESIDE}\s?$")
_WORD_AFTER = regex.compile(rf"\s?{_BESIDE}")
_LONGEST_WORD = 40
"""Number of characters that are examined on either side of an entity."""

LARGEST_SLIP = 2
"""The maximum number of characters of a word that an entity may contain by mistake."""


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
    r"""Return whether a place is inside a word: letters or digits are on both sides, ignoring marks.

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
    return _letter_before(text, place).isalnum() and (text[place].isalnum() or _is_mark(text[place]))


def _letter_before(text: str, place: int) -> str:
    """The character before a place, ignoring marks."""
    before = place - 1
    while before > 0 and _is_mark(text[before]):
        before -= 1
    return text[before]


def is_unspaced(text: str, place: int) -> bool:
    r"""Return whether a place is among letters of a script without spaces, so that it may be between words.

    Args:
        text: The text.
        place: The character that begins at the place.

    Returns:
        Whether it is inside a sequence of letters or digits, see `is_inside_word`, and next to a letter of such a
        script.

    Example:
        >>> is_unspaced("\u6771\u4eac\u306b", 2), is_unspaced("Merkels", 6), is_unspaced("\u6771\u4eac", 2)
        (True, False, False)
    """
    return is_inside_word(text, place) and any(map(_IS_RUN_ON.match, (_letter_before(text, place), text[place])))


def _is_mark(character: str) -> bool:
    return not character.isascii() and (character in _JOINERS or unicodedata.category(character)[0] == "M")


def has_whole_words(text: str, start: int, end: int) -> bool:
    """Return whether a span consists of whole words, without white space at its edges, see also `is_unspaced`.

    Args:
        text: The text.
        start: First character of the span.
        end: Character after the last.

    Returns:
        Whether it does. An empty span, or one out of range, does not.
    """
    if not 0 <= start < end <= len(text) or text[start].isspace() or text[end - 1].isspace():
        return False
    return not any(is_inside_word(text, place) and not is_unspaced(text, place) for place in (start, end))


def words_beside(text: str, start: int, end: int) -> tuple[str, str]:
    """Find the words next to a span.

    Args:
        text: The text.
        start: First character of the span.
        end: Character after the last.

    Returns:
        The word before it and the one after it, including a white space character next to the span; empty if there is
        no word, if there is more white space, or if the span begins or ends inside a word.
    """
    before = _WORD_BEFORE.search(text, max(start - _LONGEST_WORD, 0), start)
    after = _WORD_AFTER.match(text, end, end + _LONGEST_WORD)
    return (
        "" if before is None or is_inside_word(text, start) else before[0],
        "" if after is None or is_inside_word(text, end) else after[0],
    )


def snap(start: int, end: int, words: Iterable[tuple[int, int]]) -> tuple[int, int] | None:
    """Move the edges of a span of characters to the nearest ends of words.

    Args:
        start: First character.
        end: Character after the last.
        words: First character of each word and the one after the last, ascending.

    Returns:
        The span of the words that are at least half inside the span. None if there are none, or if the span would lose
        more than `LARGEST_SLIP` characters of another word: it may be part of that word, such as "Bayern" in
        "Bayernfans".

    Example:
        >>> snap(0, 5, [(0, 3), (4, 8)]), snap(4, 5, [(0, 3), (4, 8)])
        ((0, 3), None)
    """
    touched = [(first, last) for first, last in words if first < end and last > start]
    shares = [min(last, end) - max(first, start) for first, last in touched]
    halves = [2 * share >= last - first for share, (first, last) in zip(shares, touched, strict=True)]
    lost = [share for share, is_half in zip(shares, halves, strict=True) if not is_half]
    if not any(halves) or max(lost, default=0) > LARGEST_SLIP:
        return None
    kept = [word for word, is_half in zip(touched, halves, strict=True) if is_half]
    return kept[0][0], kept[-1][1]
