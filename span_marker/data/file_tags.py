"""The tags of a whole file: their scheme, and tags that do not fit it."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import NamedTuple

from span_marker.core.labels import OUTSIDE, SCHEMES, detect_scheme
from span_marker.core.notation import read_notation, tell_renamed

PREFIXED = re.compile(r"[BIESLU]-.+", re.DOTALL)
"""A tag with a prefix."""

_PREFIXES = frozenset("BIESLU")


class FileTags(NamedTuple):
    """The tags of a file.

    Attributes:
        renamed: How this library writes each tag that can be read.
        scheme: Their scheme, a key of `SCHEMES` or None.
        odd: What is wrong with each of the others.
    """

    renamed: dict[str, str]
    scheme: str | None
    odd: dict[str, str]


def resolve_tags(places: Mapping[str, str]) -> FileTags:
    """Find out how all tags of a file are written.

    Args:
        places: The location of the first occurrence of each tag.

    Returns:
        The tags. Odd ones are errors of the rows that have them.

    Raises:
        ValueError: If the scheme cannot be told, see `scheme_of`.
    """
    notation = read_notation(places)
    odd = {tag: f"the tag {tag!r} {reason}" if tag else "the tag is empty" for tag, reason in notation.strays.items()}
    prefixed = [tag for tag in notation.renamed.values() if PREFIXED.fullmatch(tag)]
    for tag, name in notation.renamed.items():
        if prefixed and name != OUTSIDE and not PREFIXED.fullmatch(name):
            odd[tag] = f"the tag {tag!r} has no prefix, but {prefixed[0]!r} has one: is this the column of the tags?"
    scheme = scheme_of({name: places[tag] for tag, name in notation.renamed.items() if tag not in odd})
    tell_renamed(notation)
    return FileTags(notation.renamed, scheme, odd)


def are_prefixed(tags: Collection[str]) -> bool:
    """Tell whether cells are ``O`` or have prefixes, and some have."""
    labels = [tag for tag in tags if tag != OUTSIDE]
    return bool(labels) and all(map(PREFIXED.fullmatch, labels))


def scheme_of(places: Mapping[str, str]) -> str | None:
    """Find the scheme of all tags of a file, odd ones apart.

    Args:
        places: The location of the first occurrence of each tag.

    Returns:
        A key of `SCHEMES`, or None if the tags are plain labels.

    Raises:
        ValueError: If the prefixes belong to no scheme, or plain labels look like something else.
    """
    plain = [tag for tag in places if tag != OUTSIDE and not PREFIXED.fullmatch(tag)]
    prefixed = [tag for tag in places if tag != OUTSIDE and tag not in plain]
    scheme = detect_scheme(places)
    if prefixed and scheme is None:
        found = sorted({tag[0] for tag in prefixed})
        raise ValueError(f"{places[prefixed[0]]}: the prefixes {found} belong to none of the schemes {list(SCHEMES)}")
    if plain and (OUTSIDE not in places or any(tag.isdigit() for tag in plain)):
        reason = "which is a number" if plain[0].isdigit() else "but none of its tags is 'O'"
        raise ValueError(
            f"{places[plain[0]]}: the file has plain tags, such as {plain[0]!r}, {reason}: is this a column file, and "
            "tag_columns= the column of the tags?"
        )
    if plain and _PREFIXES.issuperset(plain):
        raise ValueError(f"{places[plain[0]]}: the tag {plain[0]!r} has no label: it should look like {plain[0]}-LABEL")
    return scheme
