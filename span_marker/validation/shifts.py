"""Detect offsets that are wrong throughout: other tools count from 1, or have inclusive ends."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from span_marker.core.boundaries import has_whole_words
from span_marker.data.rows import RowProblem, Unit
from span_marker.validation.report import SHIFTED, Problem, RowPlace
from span_marker.validation.row_checks import CheckedRow

_TOO_LARGE = (0, -1)

SHIFTS = {
    (0, 1): "ends look inclusive, but this library's ends are exclusive",
    _TOO_LARGE: "ends look one too large: the end of an entity is the position after its last character or word",
    (-1, 0): "offsets look counted from 1, with inclusive ends, but this library counts from 0, with exclusive ends",
    (-1, -1): "offsets look counted from 1, but this library counts from 0",
}
"""Offsets to add to starts and ends that are wrong throughout, and the reasons."""

MIN_NUMBER = 3
SHARES: dict[Unit, float] = {"characters": 0.7, "words": 0.2}
"""How many entities a shift must mend, and the least share of all. In words, only entities without words can tell."""

TOO_LARGE_SHARE = 0.5
"""Minimum share for ends of characters that are one too large: before a symbol, such an entity looks right, too."""


class _Placed(NamedTuple):
    """An entity as it is written.

    Attributes:
        place: Its row.
        entity: Its index.
        label: Its label.
        start: Its start.
        end: Its end.
        length: Number of characters or words of the row.
        ends_blank: Whether it ends in white space.
        is_right: Whether it consists of whole words.
        mended_by: The shifts with which it does.
    """

    place: RowPlace
    entity: int | None
    label: str
    start: int
    end: int
    length: int
    ends_blank: bool
    is_right: bool
    mended_by: tuple[tuple[int, int], ...]


class Shifts:
    """The entities of a split, as they are written."""

    def __init__(self) -> None:
        self._entities: list[_Placed] = []

    def num_explained(self) -> int:
        """The largest number of entities that have whole words with one shift."""
        return max(Counter(shift for entity in self._entities for shift in entity.mended_by).values(), default=0)

    def add(self, row: CheckedRow, problems: Iterable[RowProblem]) -> None:
        """Add the entities of a row.

        Args:
            row: The row.
            problems: Its problems, the malformed entities among them.
        """
        for index, label, start, end in row.as_written(problems):
            right = [shift for shift in ((0, 0), *SHIFTS) if _fits(row, start + shift[0], end + shift[1], shift)]
            shifts = tuple(shift for shift in right if shift != (0, 0))
            ends_blank = 0 < end <= len(row.item) and not row.item[end - 1].strip()
            bounds = (start, end, len(row.item), ends_blank)
            self._entities.append(_Placed(row.place, index, label, *bounds, (0, 0) in right, shifts))

    def problems(self) -> Iterator[Problem]:
        """Check whether all offsets are wrong.

        Yields:
            A problem for each entity that the shift does not make worse.
        """
        mended = Counter(shift for entity in self._entities if not entity.is_right for shift in entity.mended_by)
        if not mended:
            return
        (shift, number), *_ = mended.most_common(1)
        if number < max(MIN_NUMBER, self._least_share(shift) * len(self._entities)):
            return
        for place, index, label, start, end, length, _, is_right, mended_by in self._entities:
            first, last = start + shift[0], end + shift[1]
            if 0 <= first < last <= length and (shift in mended_by or not is_right):
                message = (
                    f"{label!r} from {place.unit} {start} to {end} is probably meant to be from {first} to {last}: "
                    f"{SHIFTS[shift]} ({number:,} of {len(self._entities):,} entities)"
                )
                bounds = {"start": start, "end": end, "replacement": (first, last)}
                yield place.problem(SHIFTED, message, index, label=label, **bounds)

    def _least_share(self, shift: tuple[int, int]) -> float:
        """Minimum share of the entities that a shift must mend to be meant."""
        unit = self._entities[0].place.unit
        if shift != _TOO_LARGE:
            return SHARES[unit]
        # White space at an end costs nothing, and is often a slip. If ends are too large, other characters are, too.
        longer = [shift in entity.mended_by for entity in self._entities if not entity.ends_blank]
        if 2 * sum(longer) <= len(longer):
            return math.inf
        return TOO_LARGE_SHARE if unit == "characters" else SHARES[unit]


def _fits(row: CheckedRow, start: int, end: int, shift: tuple[int, int]) -> bool:
    """Whether a span may be meant: in a text, it consists of words; among words, it has some."""
    if isinstance(row.item, str):
        return has_whole_words(row.item, start, end)
    return shift in ((0, 0), (0, 1), _TOO_LARGE) and 0 <= start < end <= len(row.item)
