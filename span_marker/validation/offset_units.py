"""Detect offsets that count other units than characters: UTF-16 units, as in JavaScript and Java, or UTF-8 bytes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from span_marker.core.boundaries import has_whole_words
from span_marker.core.offsets import OffsetUnit, convert_offsets
from span_marker.data.rows import RowProblem
from span_marker.validation.report import SHIFTED, Problem, RowPlace
from span_marker.validation.row_checks import CheckedRow
from span_marker.validation.shifts import MIN_NUMBER, SHARES

UNITS: dict[OffsetUnit, str] = {"utf-16": "UTF-16 units", "utf-8": "bytes of UTF-8"}
"""The other units, and what messages call them."""


def convert_span(text: str, start: int, end: int, unit: OffsetUnit) -> tuple[int, int] | None:
    """Read the bounds of a span as if they counted another unit.

    Args:
        text: The text.
        start: Its start.
        end: Its end.
        unit: What they count.

    Returns:
        First character and the one after the last; None if these are the same numbers, the span is empty, or a bound
        is outside of the text or inside a character.
    """
    if start >= end or not _has_long_characters(text[: max(end, 0)], unit):
        return None
    try:
        first, last = convert_offsets(text, (start, end), "codepoint", source=unit)
    except ValueError:
        return None
    return first, last


def other_reading(text: str, start: int, end: int) -> tuple[OffsetUnit, tuple[int, int]] | None:
    r"""Find the unit with which a span has whole words, although it has none in characters.

    Args:
        text: The text.
        start: Its start.
        end: Its end.

    Returns:
        The unit, and the span in characters; None if the span has whole words as it is, or with no unit.

    Example:
        >>> other_reading("\N{PARTY POPPER} Ann", 3, 6), other_reading("\N{PARTY POPPER} Ann", 2, 5)
        (('utf-16', (2, 5)), None)
    """
    if has_whole_words(text, start, end):
        return None
    readings = ((unit, convert_span(text, start, end, unit)) for unit in UNITS)
    return next(((unit, span) for unit, span in readings if span is not None and has_whole_words(text, *span)), None)


def _has_long_characters(text: str, unit: OffsetUnit) -> bool:
    """Tell whether a text has characters of several units."""
    return not text.isascii() and (unit == "utf-8" or max(text) > "\uffff")


class _Placed(NamedTuple):
    """An entity as it is written: its text, row, index in the row, label and bounds, and whether it has whole words."""

    text: str
    place: RowPlace
    entity: int | None
    label: str
    start: int
    end: int
    is_right: bool


class OffsetUnits:
    """The entities of a split, as they are written: whether their bounds count another unit than characters."""

    def __init__(self) -> None:
        self._num_right = 0
        self._entities: list[_Placed] = []

    def add(self, row: CheckedRow, problems: Iterable[RowProblem]) -> None:
        """Add the entities of a row.

        Args:
            row: The row.
            problems: Its problems, the malformed entities among them.
        """
        if not isinstance(row.item, str):
            return
        for index, label, start, end in row.as_written(problems):
            is_right = has_whole_words(row.item, start, end)
            self._num_right += is_right
            if not row.item.isascii():
                self._entities.append(_Placed(row.item, row.place, index, label, start, end, is_right))

    def problems(self, num_explained: int) -> list[Problem]:
        """Find out whether offsets count another unit.

        Args:
            num_explained: Number of entities that have whole words if offsets are wrong in another way.

        Returns:
            A problem for each entity that the unit does not make worse; none if another explanation is better.
        """
        for unit in UNITS:
            found = [entity for entity in self._entities if _has_long_characters(entity.text[: entity.end], unit)]
            num_wrong = sum(not entity.is_right for entity in found)
            if num_wrong < max(MIN_NUMBER, SHARES["characters"] * len(found)):
                continue
            converted = [convert_span(entity.text, entity.start, entity.end, unit) for entity in found]
            fits = [
                span is not None and has_whole_words(entity.text, *span)
                for entity, span in zip(found, converted, strict=True)
            ]
            num_mended = sum(fit and not entity.is_right for entity, fit in zip(found, fits, strict=True))
            num_others = self._num_right - (len(found) - num_wrong)
            is_sign = num_mended >= max(MIN_NUMBER, SHARES["characters"] * len(found))
            if is_sign and num_others + sum(fits) >= num_explained:
                of_all = f"{num_mended:,} of {len(found):,} entities after characters of several units"
                return list(
                    _problems(found, converted, fits, f"{UNITS[unit]}, but this library counts characters ({of_all})")
                )
        return []


def _problems(
    entities: Iterable[_Placed], spans: Iterable[tuple[int, int] | None], fits: Iterable[bool], counted: str
) -> Iterator[Problem]:
    """Tell what each entity is meant to be."""
    for (_, place, index, label, start, end, is_right), span, fit in zip(entities, spans, fits, strict=True):
        if span is not None and (fit or not is_right):
            message = (
                f"{label!r} from characters {start} to {end} is probably meant to be from {span[0]} to {span[1]}: "
                f"offsets seem to count {counted}"
            )
            yield place.problem(SHIFTED, message, index, label=label, start=start, end=end, replacement=span)
