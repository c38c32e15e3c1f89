"""Copies of spans: many tools repeat the text of an entity next to its offsets, and lose white space on the way."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import Any
from unicodedata import normalize

from span_marker.core.boundaries import has_whole_words

COPY_KEYS = frozenset(
    {
        "span",
        "text",
        "mention",
        "quote",
        "surface",
        "surface_form",
        "covered_text",
        "entity_text",
        "mention_text",
        "span_text",
    }
)
"""Keys of an entity that have the text of it."""

MAYBE_COPY_KEYS = frozenset({"word", "value", "name", "entity", "string", "phrase"})
"""Keys that have the text of an entity, or something else, such as a normalized name."""

COPIES = COPY_KEYS | MAYBE_COPY_KEYS
"""All of them."""


def is_copy(text: str, copy: Any) -> bool:
    r"""Tell whether a value repeats a text.

    White space is ignored, including a two-character ``\n``: browsers and spreadsheets convert or drop line ends, tabs
    and no-break spaces. So are different code points for the same characters.

    Args:
        text: The text.
        copy: The value.

    Returns:
        Whether it does.

    Example:
        >>> is_copy("New\u00a0York", "NewYork"), is_copy("New York", "Newark")
        (True, False)
    """
    return isinstance(copy, str) and (text == copy or _squeeze(text) == _squeeze(copy))


def _squeeze(text: str) -> str:
    squeezed = "".join(text.replace("\\n", "").split())
    return squeezed if squeezed.isascii() else normalize("NFC", squeezed)


def check_copy(text: str, spans: Sequence[tuple[int, int]], copy: Any, location: str) -> None:
    """Check that a record's own copy of an entity is the text between its offsets, see `is_copy`.

    Args:
        text: The text.
        spans: First character of each fragment of the entity, and the one after the last.
        copy: The copy.
        location: What to call the record in errors.

    Raises:
        ValueError: If it differs. The error says so if the offsets would be right in UTF-16 units or in bytes.
    """
    expected = " ".join(text[start:end] for start, end in spans)
    if is_copy(expected, copy):
        return
    places = " and ".join(f"{start} to {end}" for start, end in spans)
    message = f"{location}: characters {places} of the text are {expected!r}, but the annotation says {copy!r}"
    for encoding, size, units in (("utf-16-le", 2, "UTF-16 units"), ("utf-8", 1, "bytes of UTF-8")):
        data = text.encode(encoding, "surrogatepass")
        parts = [data[size * start : size * end].decode(encoding, "replace") for start, end in spans]
        if is_copy(" ".join(parts), copy):
            raise ValueError(f"{message}: the offsets count {units}, not characters")
    raise ValueError(message)


def check_copied_words(words: Sequence[str], start: int, end: int, span: Any, location: str) -> None:
    """Compare an entity with its own copy, as in predictions, to detect offsets of another row.

    Args:
        words: The words of the row.
        start: First word of the entity.
        end: Word after the last.
        span: Its words. Anything else is not a copy of words.
        location: What to call the row in errors.

    Raises:
        ValueError: If it differs.
    """
    own = list(words[start:end])
    if isinstance(span, (list, tuple)) and own != list(span):
        raise ValueError(f"{location}: words {start} to {end} of the row are {own}, but the annotation says {span!r}")


def check_copies(content: Any, start: int, end: int, entity: Mapping[str, Any], location: str) -> None:
    """Compare an entity with whatever copies of its text it has, as strings.

    A string that may be something else (`MAYBE_COPY_KEYS`) is a copy if the text has it elsewhere, and the entity is no
    whole words, as with wrong offsets. In lists of words, strings are copies if other words of the row are equal to
    them; those that may be something else, if these words begin or end one word beside the entity.

    Args:
        content: The text, or the list of words.
        start: First character or word of the entity.
        end: Character or word after the last.
        entity: The entity with all of its keys.
        location: What to call the row in errors.

    Raises:
        ValueError: If a copy differs.
    """
    for key in entity.keys() & COPIES:
        copy = entity[key]
        if not isinstance(copy, str) or not copy.strip():
            continue
        if not isinstance(content, str):
            if not is_copy("".join(content[start:end]), copy) and any(
                key in COPY_KEYS or (start - 1 <= first and last <= end + 1 and not start <= first < last <= end)
                for first, last in _find_words(content, copy)
            ):
                raise ValueError(
                    f"{location}: words {start} to {end} of the row are {content[start:end]}, but {key!r} says {copy!r}"
                )
        elif content[start:end] != copy and (
            key in COPY_KEYS or (copy in content and not has_whole_words(content, start, end))
        ):
            check_copy(content, [(start, end)], copy, location)


def move_copies(
    content: Any, old: tuple[int, int], new: tuple[int, int], entity: Mapping[str, Any]
) -> dict[str, str | list[str]]:
    """Update the copies of an entity that was moved.

    Args:
        content: The text, or the list of words.
        old: First character or word of the entity, and the one after the last.
        new: The same after it was moved.
        entity: The entity with all of its keys.

    Returns:
        The new copies by their keys: strings, or lists of words. Values that are not copies of the old span are left
        out.

    Example:
        >>> move_copies("Ann went", (0, 5), (0, 3), {"label": "PER", "start": 0, "end": 5, "text": "Ann w"})
        {'text': 'Ann'}
    """
    before, after = content[slice(*old)], content[slice(*new)]
    strings = (before, after) if isinstance(content, str) else (" ".join(before), " ".join(after))
    copies: dict[str, str | list[str]] = {}
    for key in sorted(entity.keys() & COPIES):
        copy = entity[key]
        if isinstance(copy, str) and is_copy(strings[0], copy):
            copies[key] = strings[1]
        elif isinstance(copy, (list, tuple)) and list(copy) == list(before):
            copies[key] = list(after)
    return copies


def _find_words(words: Sequence[str], copy: str) -> list[tuple[int, int]]:
    """Find the words that a string has, one behind the other."""
    wanted, squeezed = _squeeze(copy), [_squeeze(word) for word in words]
    joined, starts = "".join(squeezed), [0, *accumulate(map(len, squeezed))]
    firsts = {starts[index]: index for index, word in enumerate(squeezed) if word}
    lasts = {starts[index + 1]: index + 1 for index, word in enumerate(squeezed) if word}
    found = []
    place = joined.find(wanted) if wanted else -1
    while place >= 0:
        if place in firsts and place + len(wanted) in lasts:
            found.append((firsts[place], lasts[place + len(wanted)]))
        place = joined.find(wanted, place + 1)
    return found
