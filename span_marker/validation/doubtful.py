"""Entities that fixes leave to a human, since they may be correct as written, or have a readable intended meaning."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from span_marker.core.labels import OUTSIDE
from span_marker.data.entity_tables import ENTITY_COLUMNS
from span_marker.data.rows import PREDICTED
from span_marker.data.values import as_whole
from span_marker.validation.offset_units import UNITS, other_reading
from span_marker.validation.report import Problem

_PLACES = ("malformed-entity", "blank-entity", "partial-word", "outer-whitespace", "partial-grapheme")
"""Kinds of problems that offsets in another unit can also cause."""

_OWN_KEYS = {*ENTITY_COLUMNS, "line", *(name for names in PREDICTED.values() for name in names)}


def reason_to_stay(problem: Problem, entity: Any, content: Any, bounds: tuple[Any, Any]) -> str | None:
    """Tell why an entity is neither moved nor dropped.

    Args:
        problem: A problem of it that can be fixed in general.
        entity: The entity, as it is written.
        content: The text or the words of its row.
        bounds: Its start and end, as they are written.

    Returns:
        The reason; None if it needs no decision.
    """
    start, end = map(as_whole, bounds)
    if problem.kind in _PLACES and isinstance(content, str) and start is not None and end is not None:
        reading = other_reading(content, start, end)
        if reading is not None and reading[1] != problem.replacement:
            return f"it consists of whole words if start and end count {UNITS[reading[0]]}"
    if problem.kind == "partial-word" and problem.replacement is None:
        return "it is unclear which words are meant"
    if problem.kind == "malformed-entity":
        return _possible_meaning(entity, len(content), bounds)
    return None


def _possible_meaning(entity: Any, length: int, bounds: tuple[Any, Any]) -> str | None:
    """Tell what a malformed entity may mean; None if nothing is left of it, or it lies outside of its row."""
    if not isinstance(entity, Mapping):
        return None if _is_nothing(entity) else "it may be an entity in another form"
    label = entity.get("label")
    if any(map(_is_nothing, (label, *bounds))):
        others = [key for key, value in entity.items() if key not in _OWN_KEYS and value is not None]
        return f"{others} may hold what is missing" if others else None
    if not isinstance(label, str):
        return "its label may be the number of a label"
    if label.strip() in ("", OUTSIDE):
        return None
    start, end = map(as_whole, bounds)
    if start is None or end is None:
        return "its start or its end is not a whole number"
    return _possible_place(start, end, length)


def _is_nothing(value: Any) -> bool:
    is_gap = isinstance(value, float) and value != value
    return value is None or is_gap or (isinstance(value, (str, list, tuple)) and not value)


def _possible_place(start: int, end: int, length: int) -> str | None:
    """Tell what bounds may mean; None if they lie outside of their row in any way to count."""
    if start < 0 or end < 0 or start > length or end > length + 1:
        return None
    if start == end:
        return "its end may be inclusive"
    if end < start:
        return "start and end may be swapped, or the end may be a length"
    return "its offsets may count from 1" if end > length else "its place can be read"
