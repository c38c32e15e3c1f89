"""Offsets into a text: in code points, as in Python, or in units of UTF-16 or UTF-8. Pure functions."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import accumulate
from typing import Literal, TypeAlias, get_args

OffsetUnit: TypeAlias = Literal["codepoint", "utf-16", "utf-8"]

OFFSET_UNITS: tuple[OffsetUnit, ...] = get_args(OffsetUnit)
"""All units: Python counts code points; JavaScript, Java and C# count UTF-16 units; Go and Rust count UTF-8 bytes."""


def check_offset_unit(unit: str) -> None:
    """Check that a value names a unit of offsets.

    Args:
        unit: The value of ``offsets=``.

    Raises:
        ValueError: If it is not one of `OFFSET_UNITS`.
    """
    if unit not in OFFSET_UNITS:
        raise ValueError(f"offsets={unit!r} must be one of {list(OFFSET_UNITS)}")


def convert_offsets(
    text: str, offsets: Iterable[int], target: OffsetUnit, source: OffsetUnit = "codepoint"
) -> list[int]:
    r"""Convert offsets into a text from one unit to another.

    Args:
        text: The text. A lone surrogate counts as one unit of UTF-16, and as three bytes of UTF-8, as U+FFFD does.
        offsets: Places between two characters, or at an edge of the text, in any order.
        target: The unit of the result.
        source: The unit of ``offsets``.

    Returns:
        The same places, in the same order.

    Raises:
        ValueError: If a unit is unknown, or an offset is outside the text or inside a character.

    Example:
        >>> convert_offsets("\N{PARTY POPPER} Köln", [2, 6], "utf-16")
        [3, 7]
        >>> convert_offsets("\N{PARTY POPPER} Köln", [5, 10], "codepoint", source="utf-8")
        [2, 6]
    """
    for unit in (source, target):
        check_offset_unit(unit)
    offsets = list(offsets)
    places = dict(zip(_starts(text, source), _starts(text, target), strict=True))
    wrong = next((offset for offset in offsets if offset not in places), None)
    if wrong is not None:
        length = next(reversed(places))
        reason = "inside a character" if 0 < wrong < length else f"outside the text, whose length is {length}"
        raise ValueError(f"the offset {wrong}, counted in {source} units, is {reason}")
    return [places[offset] for offset in offsets]


def _starts(text: str, unit: OffsetUnit) -> Iterable[int]:
    """Where each character starts, and where the text ends, ``(len(text) + 1,)``."""
    if unit == "codepoint" or text.isascii():
        return range(len(text) + 1)
    codes = map(ord, text)
    if unit == "utf-16":
        return accumulate((1 + (code > 0xFFFF) for code in codes), initial=0)
    return accumulate((1 + (code > 0x7F) + (code > 0x7FF) + (code > 0xFFFF) for code in codes), initial=0)
