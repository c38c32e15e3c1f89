"""Rename labels while rows are read."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from span_marker.core.labels import OUTSIDE
from span_marker.data.row_relations import RELATIONS

logger = logging.getLogger(__name__)


def check_label_map(label_map: Any) -> dict[str, str | None]:
    """Validate new names of labels.

    Args:
        label_map: The new names by the old ones; None or "" for labels that are left out.

    Returns:
        The same, with None for "".

    Raises:
        TypeError: If it is not a dict of strings.
        ValueError: If a new name is ``O`` or blank.
    """
    if not isinstance(label_map, Mapping):
        raise TypeError(f"label_map must be a dict of old and new labels, not {label_map!r:.100}")
    for old, new in label_map.items():
        if not isinstance(old, str) or not (new is None or isinstance(new, str)):
            raise TypeError(f"label_map={{{old!r}: {new!r}}} must be two strings, or a string and None to leave it out")
        if new and new.strip() in ("", OUTSIDE):
            raise ValueError(f"label_map={{{old!r}: {new!r}}}: pass None to leave {old!r} out")
    return {old: new or None for old, new in label_map.items()}


def map_labels(rows: Sequence[dict[str, Any]], label_map: Mapping[str, str | None], path: object) -> None:
    """Rename or drop the labels of entities and relations, in place. All renames are simultaneous.

    Entities and relations that become the same are kept once.

    Args:
        rows: Rows with entities.
        label_map: The new names by the old ones; None for labels that are left out.
        path: The file, for warnings.
    """
    found = {item["label"]: None for row in rows for item in (*row["entities"], *(row.get(RELATIONS) or ()))}
    if unknown := [label for label in label_map if label not in found]:
        logger.warning("%s: the labels %s of label_map do not occur: the labels are %s", path, unknown, sorted(found))
    num_same, num_lost = 0, 0
    for row in rows:
        row["entities"], places = _distinct({**entity, "label": _new(entity, label_map)} for entity in row["entities"])
        num_same += sum(place is not None for place in places) - len(row["entities"])
        if row.get(RELATIONS):
            wanted = [item for item in row[RELATIONS] if _new(item, label_map) is not None]
            ends = [(places[item["head"]], places[item["tail"]]) for item in wanted]
            moved = [
                {**item, "label": _new(item, label_map), "head": head, "tail": tail}
                for item, (head, tail) in zip(wanted, ends, strict=True)
                if None not in (head, tail) and head != tail
            ]
            num_lost += len(wanted) - len(moved)
            row[RELATIONS], _ = _distinct(moved)
    if num_same:
        logger.warning("%s: %d entities become duplicates of others with label_map, and are left out", path, num_same)
    if num_lost:
        logger.warning("%s: %d relations are left out, since label_map drops or merges their entities", path, num_lost)


def _distinct(items: Iterable[dict[str, Any]]) -> tuple[list[dict[str, Any]], list[int | None]]:
    """Keep each item once that has a label. Also returns the place of each given one among those kept, or None."""
    kept: dict[tuple[Any, ...], dict[str, Any]] = {}
    index: dict[tuple[Any, ...], int] = {}
    places: list[int | None] = []
    for item in items:
        key = tuple(item.values())
        if item["label"] is not None:
            index.setdefault(key, len(kept))
            kept.setdefault(key, item)
        places.append(index.get(key))
    return list(kept.values()), places


def _new(item: Mapping[str, Any], label_map: Mapping[str, str | None]) -> str | None:
    label: str = item["label"]
    return label_map.get(label, label)
