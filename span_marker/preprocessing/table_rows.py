"""Rows of tables, such as pairs of an ID and a text, which look like sentences that are split into words."""

from __future__ import annotations

import csv
import functools
import logging
import re
from collections.abc import ItemsView, Sequence
from typing import Any

logger = logging.getLogger(__name__)

_SPACE = re.compile("[ \t\r\n]")

_ADVICE = (
    "If they have a text, pass it alone, or keep an ID beside it with predict_stream and dicts: {'id': ..., 'text': "
    "...}. If they are words, pass is_split_into_words=True, or a dict with 'tokens' in streams and pipelines"
)


def may_be_row(words: Any) -> bool:
    """Return whether a list or tuple is more likely a row of a table than a sentence, see `refuse_row`."""
    return hasattr(words, "_fields") or spaced_word(words) is not None


def spaced_word(words: Any) -> str | None:
    """Find a "word" that is more likely a text: one with a space, a tab or a line end between other characters.

    Args:
        words: A list or tuple, which should contain words.

    Returns:
        The first such word, or None.

    Example:
        >>> spaced_word(("doc-1", "Amelia Earhart flew to Paris."))
        'Amelia Earhart flew to Paris.'
    """
    return next((word for word in words if isinstance(word, str) and _SPACE.search(word.strip())), None)


def refuse_rows(inputs: Any) -> None:
    """Refuse inputs whose items can only be rows of a table, which would be read as lists of words.

    Args:
        inputs: The inputs of a caller that did not set ``is_split_into_words``.

    Raises:
        ValueError: If it is a ``zip``, the ``items()`` of a dict, or a ``csv.reader``.
    """
    if isinstance(inputs, (zip, ItemsView, type(csv.reader([])))):
        raise ValueError(f"the rows of a {type(inputs).__name__} would be read as lists of words. {_ADVICE}")


def refuse_row(words: Any, location: str) -> None:
    """Refuse a list of words that may be a row of a table, such as an ID and a text.

    Args:
        words: The words.
        location: What to call them in errors.

    Raises:
        ValueError: If it is a named tuple, or a word contains a space, a tab or a line end between other characters.
    """
    if not may_be_row(words):
        return
    word = spaced_word(words)
    if word is None:
        reason = f"has the fields {words._fields}"
    else:
        start = word if len(word) <= 40 else f"{word[:40]}..."
        reason = f"{start!r} has a space, tab or line end"
    raise ValueError(f"{location} is read as a list of words, but {reason}. {_ADVICE}")


def warn_of_rows(items: Sequence[Sequence[str]]) -> None:
    """Warn once of lists of words that may be rows of a table, although no text has a space.

    Args:
        items: The lists of words. They may be rows if all are tuples of two strings, or have the same length and begin
            with a number, and no two begin with the same string.
    """
    firsts = {item[0] for item in items if len(item) > 1}
    if len({*map(len, items)}) != 1 or len(firsts) < len(items):
        return
    are_pairs = all(isinstance(item, tuple) and len(item) == 2 for item in items)
    if are_pairs or (len(items) > 1 and all(map(str.isdecimal, firsts))):
        _say_that_rows_are_words()


@functools.cache
def _say_that_rows_are_words() -> None:
    logger.warning(
        "Tuples of two strings, such as ('1', 'Paris'), and lists with numbers in front, are read as sentences of "
        "words. %s. This message is logged once.",
        _ADVICE,
    )
