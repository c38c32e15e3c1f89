r"""Graphemes: units that a reader perceives as one character, such as a letter with its accents or a flag.

A grapheme is an extended grapheme cluster of Unicode (UAX 29). Tokenizers do not respect them: those that strip accents
end a word before its last accent, and byte-level ones begin a word at a Thai vowel. No span of characters may begin or
end within a grapheme. The same rule therefore applies wherever spans are made: a span contains all of each grapheme
that it touches, and words that share a grapheme are one word. In most texts, each character is a grapheme, and the rule
changes nothing.

There is one exception to UAX 29: white space is always a separate grapheme, even before a mark and between ``\r`` and
``\n``, since it separates words, and no span begins or ends with it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from itertools import accumulate, chain

import numpy as np
import regex

from span_marker.core.spans import IntArray

_GRAPHEME = regex.compile(r"\s|\p{GCB=Prepend}+(?=\s)|\X")
"""A grapheme: white space, prepended characters before white space, or a cluster."""

_JOINING = regex.compile(
    r"[\p{GCB=Extend}\p{GCB=ZWJ}\p{GCB=SpacingMark}\p{GCB=Prepend}\p{InCB=Linker}"
    r"\p{GCB=RI}\p{GCB=L}\p{GCB=V}\p{GCB=T}]"
)
"""Without one of these characters, each character is a grapheme: marks, joiners, halves of flags, parts of Hangul."""

_OTHER = re.compile(
    "[^\0-\u02ff\u0370-\u0482\u048a-\u0590\u1e00-\u200a\u2010-\u205f\u20a0-\u20cf"
    "\u2100-\u2cee\u3000-\u3029\u3030-\u3098\u309b-\ua66e\uac00-\ud7a3\uff00-\uff9d]"
)
"""A quick first check: characters in these ranges never join others, and most texts have only such characters. They are
Latin, Greek, Cyrillic, Armenian, punctuation, symbols, Chinese, Japanese and Korean."""


def has_clusters(text: str) -> bool:
    r"""Return whether a text may have graphemes of several characters. This is fast if there are none.

    Args:
        text: The text.

    Returns:
        False if each character is a grapheme.

    Example:
        >>> has_clusters("Zo\xeb"), has_clusters("Zoe\u0308")
        (False, True)
    """
    first = None if text.isascii() else _OTHER.search(text)
    return first is not None and _JOINING.search(text, first.start()) is not None


def graphemes(text: str) -> Sequence[str]:
    r"""Split a text into graphemes.

    Args:
        text: The text.

    Returns:
        The graphemes, which add up to the text; the text itself if each character is one.

    Example:
        >>> graphemes("Zoe\u0308") == ["Z", "o", "e\u0308"]
        True
    """
    return _GRAPHEME.findall(text) if has_clusters(text) else text


def whole_spans(text: str, spans: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    r"""Extend spans so that none begins or ends within a grapheme.

    Args:
        text: The text.
        spans: First character of each span and the one after its last.

    Returns:
        The spans with all of each grapheme that they touch. Empty spans within a grapheme are moved to its end.

    Example:
        >>> whole_spans("Zoe\u0308 sang", [(0, 3)])
        [(0, 4)]
    """
    if not has_clusters(text) or not _may_cut(text, chain.from_iterable(spans)):
        return list(spans)
    edges = _edges(text)
    starts, ends = edges[_edges_around(edges, *np.array(spans, dtype=np.int64).T)]
    return list(zip(starts.tolist(), ends.tolist(), strict=True))


def whole_words(text: str, char_starts: IntArray, char_ends: IntArray) -> tuple[IntArray, IntArray, IntArray]:
    r"""Extend the words of a text so that none begins or ends within a grapheme, and join those that share one.

    Args:
        text: The text.
        char_starts: First character of each word, ``(num_words,)``, ascending.
        char_ends: Character after the last of each word, ``(num_words,)``, ascending. Words may
            be empty; these follow the word before them.

    Returns:
        First character of each joined word and the one after its last, ``(num_joined,)`` each; and the first of the
        words that it consists of, ``(num_joined,)``.

    Example:
        >>> import numpy as np
        >>> whole_words("Zoe\u0308!", np.array([0, 3, 4]), np.array([3, 4, 5]))
        (array([0, 4]), array([4, 5]), array([0, 2]))
    """
    if not has_clusters(text) or not _may_cut(text, chain(char_starts.tolist(), char_ends.tolist())):
        return char_starts, char_ends, np.arange(len(char_starts))
    edges = _edges(text)
    starts, ends = _edges_around(edges, char_starts, char_ends)
    # The graphemes that both the words up to a place and the words after it have. Those of one character, such as a
    # fraction of which a tokenizer makes three words, join nothing.
    end_before, start_after = np.maximum.accumulate(ends)[:-1], np.minimum.accumulate(starts[::-1])[-2::-1]
    num_characters, num_graphemes = edges[end_before] - edges[start_after], end_before - start_after
    is_first = np.append(True, (num_graphemes <= 0) | (num_characters == num_graphemes))
    first_words = np.flatnonzero(is_first)
    joined_starts = np.minimum.reduceat(edges[starts], first_words)
    return joined_starts, np.maximum.reduceat(edges[ends], first_words), first_words


def place_words(text: str, places: Iterable[tuple[int, int]]) -> list[tuple[str, tuple[int, int]]]:
    r"""Extract words from a text, in whole graphemes.

    Args:
        text: The text.
        places: First character of each word, and the one after its last, ascending.

    Returns:
        Each word of `whole_words`, with its first character and the one after its last.

    Example:
        >>> place_words("Li Na", [(0, 2), (3, 5)])
        [('Li', (0, 2)), ('Na', (3, 5))]
    """
    starts, ends, _ = whole_words(text, *np.array(list(places), dtype=np.int64).reshape(-1, 2).T)
    return [(text[start:end], (start, end)) for start, end in zip(starts.tolist(), ends.tolist(), strict=True)]


def _may_cut(text: str, places: Iterable[int]) -> bool:
    """Whether any of some places may be within a grapheme. Places next to white space or ordinary letters are not."""
    pairs = (text[place - 1 : place + 1] for place in places if 0 < place < len(text))
    return has_clusters("\n".join(pair for pair in pairs if not pair[0].isspace() and not pair[1].isspace()))


def _edges(text: str) -> IntArray:
    """Where graphemes begin, and the end of the text."""
    return np.fromiter(accumulate(map(len, graphemes(text)), initial=0), dtype=np.int64)


def _edges_around(edges: IntArray, starts: IntArray, ends: IntArray) -> IntArray:
    """The indices of the edges around spans, ``(2, num_spans)``; twice the same for empty spans."""
    last = np.searchsorted(edges, ends, side="left")
    first = np.where(starts < ends, np.searchsorted(edges, starts, side="right") - 1, last)
    return np.stack([first, last])
