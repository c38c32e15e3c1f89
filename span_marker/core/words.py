"""Words of a string: where each begins and ends, by Unicode's rules or character by character. Pure functions."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterable
from typing import TypeAlias

import regex

Place: TypeAlias = tuple[int, int]
"""First character of a word and the one after its last."""

Split: TypeAlias = Callable[[str], Iterable[Place]]
"""Finds the words of a string: in order, not empty, without overlaps."""

UNSPACED = r"[\p{Han}\p{Hiragana}\p{Katakana}\p{Bopomofo}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}\u30fc]"
"""Characters of scripts that have no white space between words, as a regular expression."""

GRAPHEME = regex.compile(r"\X")

UNICODE_WORD = regex.compile(
    rf"{UNSPACED}[\p{{M}}\p{{Cf}}]*|(?:(?!{UNSPACED})\S)+?(?={UNSPACED}|\s|\Z|\b)(?!\p{{M}}|\p{{Cf}})",
    regex.WORD | regex.VERSION1,
)


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
    return [match.span() for match in GRAPHEME.finditer(text) if not match[0].isspace()]


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
    return [match.span() for match in UNICODE_WORD.finditer(text)]


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
    # ICU counts UTF-16 units: characters beyond the basic plane are two of them.
    units = [0]
    for character in text:
        units.append(units[-1] + (2 if character > "\uffff" else 1))
    places = {unit: place for place, unit in enumerate(units)}
    bounds = [0, *(places[unit] for unit in iterator)]
    return [(start, end) for start, end in zip(bounds, bounds[1:], strict=False) if not text[start:end].isspace()]
