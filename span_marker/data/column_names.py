"""Names of columns: what the first line of a file has that says what the others are."""

from __future__ import annotations

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


def tag_names(cells: Sequence[str]) -> set[str]:
    """Find the names of columns of tags, if cells are the names of columns.

    Args:
        cells: The cells of a line. Letter case, and whatever is no letter, do not count.

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
