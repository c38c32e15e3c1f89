"""Finding phrases in texts as whole words, in a single pass (Aho-Corasick). Pure functions, and the automaton.

A word is a sequence of letters and digits, with the marks on them; any other character that is not white space; or, in
scripts without white space between words (`span_marker.core.words.UNSPACED`), each character. The amount of white space
between words does not count, nor whether there is any. Words that share a grapheme are one word.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from itertools import accumulate
from typing import Any, NamedTuple

import numpy as np
import regex

from span_marker.core.extras import import_extra
from span_marker.core.graphemes import has_clusters, place_words
from span_marker.core.words import UNSPACED, Place

_ASCII_WORD = re.compile(r"[A-Za-z0-9]+|[^\sA-Za-z0-9]")
_WORD = regex.compile(rf"{UNSPACED}\p{{M}}*|[\w--_--{UNSPACED}]+|\S\p{{M}}*", regex.VERSION1)
_MARKS = regex.compile(r"\p{Mn}+")

_START, _END = " ", "\n"
"""Delimiters before and after each word of a key: white space, which no word contains."""


class Folding(NamedTuple):
    """The differences between words that are ignored.

    Attributes:
        ignore_case: Whether case is ignored: ``ROMA``.
        ignore_diacritics: Whether marks on letters are ignored: ``Zoë``, ``Zoe``. Canonically equivalent strings
            (composed and decomposed letters) are always the same.
    """

    ignore_case: bool = False
    ignore_diacritics: bool = False


class Match(NamedTuple):
    """A phrase in a text: its index, its first character and the one after its last."""

    phrase: int
    start: int
    end: int


def place_phrase_words(text: str) -> list[Place]:
    """Split a text into the words of which phrases consist.

    Args:
        text: The text.

    Returns:
        First character of each word and the one after its last.

    Example:
        >>> text = "Ann's IBAN_2"
        >>> [text[start:end] for start, end in place_phrase_words(text)]
        ['Ann', "'", 's', 'IBAN', '_', '2']
    """
    pattern: Any = _ASCII_WORD if text.isascii() else _WORD
    places = [match.span() for match in pattern.finditer(text)]
    return [place for _, place in place_words(text, places)] if has_clusters(text) else places


def phrase_key(text: str, folding: Folding) -> str:
    r"""Make the key of a text, which contains the key of a phrase if the text contains the phrase.

    Args:
        text: The text, or the phrase.
        folding: The differences that are ignored.

    Returns:
        The key: each word between `_START` and `_END`; empty without words.

    Example:
        >>> phrase_key("Anne-Marie", Folding(ignore_case=True))
        ' anne\n -\n marie\n'
    """
    if text.isascii():
        words = _ASCII_WORD.findall(text)
    elif has_clusters(text):
        words = [text[start:end] for start, end in place_phrase_words(text)]
    else:
        words = _WORD.findall(text)
    if not words:
        return ""
    key = _START + f"{_END}{_START}".join(words) + _END
    if text.isascii():
        return key.lower() if folding.ignore_case else key
    if folding.ignore_diacritics:
        key = _MARKS.sub("", unicodedata.normalize("NFD", key))
    if folding.ignore_case:
        key = unicodedata.normalize("NFC", key).casefold()
    return unicodedata.normalize("NFC", key)


class PhraseMatcher:
    """Finds phrases in texts.

    Args:
        keys: The keys of the phrases, see `phrase_key`: different, and not empty.

    Raises:
        ImportError: If ``ahocorasick_rs`` is not installed.
    """

    def __init__(self, keys: Sequence[str]) -> None:
        library = import_extra("ahocorasick_rs", "ahocorasick-rs", "rules", "propagate= and word lists need")
        self._automaton = library.AhoCorasick(keys, matchkind=library.MatchKind.LeftmostLongest, store_patterns=False)

    def find(self, text: str, folding: Folding) -> list[Match]:
        """Find the phrases in a text, from left to right, with longer ones first; they do not overlap.

        Args:
            text: The text.
            folding: The folding of the keys.

        Returns:
            The phrases, in order.
        """
        key = phrase_key(text, folding)
        found = self._automaton.find_matches_as_indexes(key)
        if not found:
            return []
        places = place_phrase_words(text)
        starts = np.fromiter(accumulate((len(word) + 1 for word in key.split(_END)), initial=0), dtype=np.int64)
        first, last = np.searchsorted(starts, np.array(found)[:, 1:]).T.tolist()
        return [
            Match(phrase, places[start][0], places[end - 1][1])
            for (phrase, _, _), start, end in zip(found, first, last, strict=True)
        ]
