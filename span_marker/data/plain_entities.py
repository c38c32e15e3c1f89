"""Fast reading of all entities of a text at once, if they are valid and have the same keys.

Checking each entity and each of its keys takes longer than redaction. So whole columns are checked first. Only if
something is unusual, `span_marker.data.rows` checks each entity and reports errors.
"""

from __future__ import annotations

from collections.abc import Sequence
from operator import lt
from typing import Any, NamedTuple

from span_marker.core.graphemes import whole_spans
from span_marker.core.labels import OUTSIDE
from span_marker.data.copies import COPIES


class EntityColumns(NamedTuple):
    """Entities of a text. Each column has one value per entity.

    Attributes:
        labels: Their labels.
        starts: First character of each.
        ends: Character after the last of each.
        scores: Their scores, if they have any.
        parts: What the text has there.
    """

    labels: Sequence[str]
    starts: Sequence[int]
    ends: Sequence[int]
    scores: Sequence[float | None]
    parts: Sequence[str]


def read_plain_entities(text: str, entities: Sequence[Any], predicted: tuple[str, str]) -> EntityColumns | None:
    """Read the entities of a text if they are dicts with the same keys, whose copies are equal to the text.

    Args:
        text: The text.
        entities: What may be entities.
        predicted: What predictions call ``start`` and ``end``.

    Returns:
        The entities, as `span_marker.data.rows.read_row` reads them; or None if something may be wrong, so that each
        must be looked at.

    Example:
        >>> read_plain_entities("Ann went", [{"label": "PER", "start": 0, "end": 3}], ("first", "last"))
        EntityColumns(labels=['PER'], starts=[0], ends=[3], scores=[None], parts=['Ann'])
    """
    if set(map(type, entities)) != {dict}:
        return None
    keys = set().union(*entities)
    start, end = ("start", "end") if "start" in keys else predicted
    try:
        labels, starts, ends = (_column(entities, key) for key in ("label", start, end))
        scores = _column(entities, "score") if "score" in keys else []
        copies = [_column(entities, key) for key in keys & COPIES]
    except KeyError:
        return None
    columns = [(labels, {str}), (starts, {int}), (ends, {int}), *((column, {str}) for column in copies)]
    if any(set(map(type, column)) != types for column, types in columns) or not set(map(type, scores)) <= {float}:
        return None
    if any(label.strip() in ("", OUTSIDE) for label in set(labels)):
        return None
    if min(starts) < 0 or max(ends) > len(text) or not all(map(lt, starts, ends)):
        return None
    parts = _parts(text, starts, ends)
    if any(column != parts for column in copies):
        return None
    if not text.isascii():
        starts, ends = map(list, zip(*whole_spans(text, list(zip(starts, ends, strict=True))), strict=True))
        parts = _parts(text, starts, ends)
    return EntityColumns(labels, starts, ends, scores or [None] * len(labels), parts)


def _column(entities: Sequence[Any], key: str) -> list[Any]:
    return [entity[key] for entity in entities]


def _parts(text: str, starts: Sequence[int], ends: Sequence[int]) -> list[str]:
    return [text[start:end] for start, end in zip(starts, ends, strict=True)]
