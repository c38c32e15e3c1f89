"""Copies of spans: many tools repeat the text of an entity beside its offsets, and lose white space on the way."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


def is_copy(text: str, copy: Any) -> bool:
    r"""Tell whether a value repeats a text.

    White space does not count, and neither does a ``\n`` of two characters: browsers and spreadsheets turn line ends,
    tabs and no-break spaces into something else, or drop them.

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
    return "".join(text.replace("\\n", "").split())


def check_copy(text: str, spans: Sequence[tuple[int, int]], copy: Any, location: str) -> None:
    """Check that a record's own copy of an entity is the text between its offsets, see `is_copy`.

    Args:
        text: The text.
        spans: First character of each fragment of the entity, and the one after the last.
        copy: The copy.
        location: What to call the record in errors.

    Raises:
        ValueError: If it differs. The error says so if the offsets would be right in UTF-16 units.
    """
    expected = " ".join(text[start:end] for start, end in spans)
    if is_copy(expected, copy):
        return
    places = " and ".join(f"{start} to {end}" for start, end in spans)
    message = f"{location}: characters {places} of the text are {expected!r}, but the annotation says {copy!r}"
    encoded = text.encode("utf-16-le", "surrogatepass")
    units = " ".join(encoded[2 * start : 2 * end].decode("utf-16-le", "replace") for start, end in spans)
    if is_copy(units, copy):
        message += ": the offsets count UTF-16 units, not characters"
    raise ValueError(message)


def check_span(content: Any, start: int, end: int, span: Any, location: str) -> None:
    """Compare an entity with its own copy, which predictions have: places in other units, or of another text, differ.

    Args:
        content: The text, or the list of words.
        start: First character or word of the entity.
        end: Character or word after the last.
        span: Its text, or its words. Anything else is no copy.
        location: What to call the row in errors.

    Raises:
        ValueError: If it differs.
    """
    if isinstance(content, str):
        if isinstance(span, str) and content[start:end] != span:
            check_copy(content, [(start, end)], span, location)
        return
    words = list(content[start:end])
    if isinstance(span, (list, tuple)) and words != list(span):
        raise ValueError(f"{location}: words {start} to {end} of the row are {words}, but the annotation says {span!r}")
