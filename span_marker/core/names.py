"""Spelling variants of names: which strings denote the same name. Pure functions."""

from __future__ import annotations

import re
import unicodedata

_POSSESSIVE = re.compile("(?<=\\w)['\u2019\u02bc]s$|(?<=s)['\u2019\u02bc]$", re.IGNORECASE)


def without_possessive(name: str) -> str:
    """Remove the possessive ending of a name.

    Args:
        name: The name.

    Returns:
        The name without a final ``'s``, or without an apostrophe after a final ``s``.

    Example:
        >>> [without_possessive(name) for name in ("Ann's", "the Joneses'", "O'Neill")]
        ['Ann', 'the Joneses', "O'Neill"]
    """
    if "'" in name or "\u2019" in name or "\u02bc" in name:
        return _POSSESSIVE.sub("", name)
    return name


def name_key(name: str) -> str:
    r"""Normalize a name regardless of its case, a possessive ending and the amount of white space between words.

    Args:
        name: The name.

    Returns:
        A string that is the same for all ways to write the name. Compatible characters of Unicode, such as full-width
        letters, are treated as the same.

    Example:
        >>> name_key("Ann  Lee") == name_key("ANN\nLEE's")
        True
    """
    if name.isascii() and "'" not in name:  # the most frequent, and the quickest
        return " ".join(name.lower().split())
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", name).casefold())
    return " ".join(without_possessive(folded.strip()).split())
