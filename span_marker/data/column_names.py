"""Column names: recognize the header of a column file."""

from __future__ import annotations

import re
from collections.abc import Sequence

_WORDS = frozenset("form surface text token tokens word words".split())
_TAGS = frozenset(
    "bio biotag class entities entity entitytag entitytype iob iobtag label labels namedentity ne ner nerlabel nertag "
    "nertags netag tag tags type".split()
)
_OTHERS = frozenset(
    "chunk chunks chunktag chunktags cpos deprel docid head id idx index lemma no pos postag postags sentence "
    "sentenceid sentid upos xpos".split()
)

_NUMBER = re.compile(r"\d+(?:[-.]\d+)?")
"""The number of a word, or of several (CoNLL-U), or of a sentence and its word (WebAnno)."""

_MANY_SENTENCES, _MANY_WORDS = 20, 500


def tag_names(cells: Sequence[str]) -> set[str]:
    """Find the names of tag columns, if the cells are a header.

    Args:
        cells: The cells of a line. Letter case and all characters other than letters are ignored.

    Returns:
        The cells that name tags; none unless one of the cells names words, and all are names of columns.

    Example:
        >>> tag_names(["TOKEN", "POS", "NER-Tag"]), tag_names(["Word", "of", "tag"]), tag_names(["label", "O"])
        ({'NER-Tag'}, set(), set())
    """
    names = ["".join(filter(str.isalpha, cell.lower())) for cell in cells]
    if not {*names} <= {*_WORDS, *_TAGS, *_OTHERS, ""} or _WORDS.isdisjoint(names):
        return set()
    return {cell for cell, name in zip(cells, names, strict=True) if name in _TAGS}


def why_no_words(sentences: Sequence[Sequence[str]]) -> str | None:
    """Explain why a column clearly does not contain words.

    Args:
        sentences: Its cells in each sentence.

    Returns:
        The end of a sentence, if the cells count the words, from 0 or 1, as in CoNLL-U and WebAnno's files; or are the
        same throughout each sentence, as the names of documents are. None if they may be words.

    Example:
        >>> why_no_words([["1-2", "1", "2"], ["1"]]), why_no_words([["1-2", "1", "4"]])
        ("numbers the words, such as '1-2'", None)
    """
    first = sentences[0][0]
    if all(map(_are_numbers, sentences)):
        return f"numbers the words, such as {first!r}"
    if all(len({*cells}) == 1 for cells in sentences):
        return f"has one value per sentence, such as {first!r}"
    return None


def odd_lengths(lengths: Sequence[int]) -> str | None:
    """Describe suspicious lengths of the sentences of a column file.

    Args:
        lengths: Number of words of each sentence.

    Returns:
        A sentence, if a blank line stands behind each word, or nowhere in a long file; otherwise None.
    """
    if len(lengths) >= _MANY_SENTENCES and max(lengths) == 1:
        return f"each of {len(lengths):,} sentences has one word: a blank line ends a sentence, not a word"
    if len(lengths) == 1 and lengths[0] >= _MANY_WORDS:
        return f"all {lengths[0]:,} words are one sentence, since no blank line ends one before"
    return None


def _are_numbers(cells: Sequence[str]) -> bool:
    numbers = [cell for cell in cells if cell.isdecimal()] or [cell.partition("-")[2] for cell in cells]
    counted = ([str(first + index) for index in range(len(numbers))] for first in (0, 1))
    return numbers in counted and all(map(_NUMBER.fullmatch, cells))
