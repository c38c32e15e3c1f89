"""The letter case of words, for encoders whose tokenizer drops it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from span_marker.core.spans import IntArray

NO_CASE = 0
"""Words without cased letters, and all words of a text in a single case, which contains no information."""

LOWER, CAPITALIZED, UPPER, CAPITAL, MIXED = range(1, 6)
"""``flew``; ``Paris``; ``NATO`` and ``U.S.``; a single capital letter; anything else, such as ``McDonald``."""

NUM_CASES = 6

CASE_SCALE = 10.0
"""Factor of the embeddings of letter cases. The steps of Adam have the same size for all parameters: with the factor,
an embedding that starts at zero catches up with those of tokens in a short training."""


def letter_case(word: str) -> int:
    """Determine the letter case of a word.

    Args:
        word: The word, which may have white space around it.

    Returns:
        `NO_CASE`, `LOWER`, `CAPITALIZED`, `UPPER`, `CAPITAL` or `MIXED`.

    Example:
        >>> [letter_case(word) for word in ["flew", "Paris", "NATO", "A", "McDonald", "1503"]]
        [1, 2, 3, 4, 5, 0]
    """
    if word.islower():
        return LOWER
    if word.isupper():
        return CAPITAL if len(word.strip()) == 1 else UPPER
    if word.istitle():
        return CAPITALIZED
    return NO_CASE if word.lower() == word.upper() else MIXED


def letter_cases(words: Sequence[str]) -> IntArray:
    """Determine the letter case of the words of a text.

    Args:
        words: The words.

    Returns:
        One of the cases for each word, ``(num_words,)``; `NO_CASE` for all if the text has no capital letters, or only
        capital letters, as in headlines and some messages.

    Example:
        >>> letter_cases(["Amelia", "flew", "to", "Paris", "."]).tolist()
        [2, 1, 1, 2, 0]
        >>> letter_cases(["SOCCER", "-", "JAPAN", "WIN"]).tolist()
        [0, 0, 0, 0]
    """
    text = "".join(words)
    if text in (text.lower(), text.upper()):
        return np.zeros(len(words), dtype=np.int64)
    return np.fromiter(map(letter_case, words), np.int64, len(words))
