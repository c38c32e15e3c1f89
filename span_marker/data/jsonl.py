"""JSON and JSON lines: from a file to records, and from records to rows."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from span_marker.core.labels import tags_to_entities
from span_marker.data.annotation_tools import find_shape
from span_marker.data.conll import scheme_of
from span_marker.data.json_records import Annotation, Record
from span_marker.data.rows import read_utf8

logger = logging.getLogger(__name__)

SHOWN = 5
"""How many records a warning names."""


def read_json(path: Path, annotator: str | int | None) -> list[dict[str, Any]]:
    """Read a file of JSON lines, or one JSON array.

    Args:
        path: The file.
        annotator: Whose annotation to take, if there are several of a record.

    Returns:
        Canonical rows.

    Raises:
        ValueError: If something can't be read, or there are several annotations of a record.
    """
    rows: list[dict[str, Any]] = []
    left_out: dict[str, list[str]] = {}
    seen: dict[Any, tuple[str, Annotation]] = {}
    tags: dict[int, list[str]] = {}
    num_records = 0
    for place, value in _read_values(path):
        num_records += 1
        where = f"{path}, {place}, row {len(rows)}"
        record = find_shape(value, where).read(value, where)
        annotation, reason = _choose(record, annotator, where)
        if annotation is None:
            left_out.setdefault(reason, []).append(place)
            continue
        if record.task is not None:
            before, other = seen.setdefault(record.task, (place, annotation))
            if other.annotator != annotation.annotator:
                raise _several(f"{where} and {before}", [other, annotation])
        if record.tags is not None:
            tags[len(rows)] = record.tags
        rows.append({**record.content, "entities": [entity.to_dict() for entity in annotation.entities]})
    if left_out:
        reasons = [f"{len(places)} {reason} ({', '.join(places[:SHOWN])})" for reason, places in left_out.items()]
        num_left_out = sum(map(len, left_out.values()))
        logger.warning("%s: %d of %d records are left out: %s", path, num_left_out, num_records, "; ".join(reasons))
    _resolve_tags(rows, tags, path)
    return rows


def _read_values(path: Path) -> Iterator[tuple[str, Any]]:
    text = read_utf8(path)
    if not text.strip():
        return
    try:
        whole = json.loads(text)
    except json.JSONDecodeError as error:
        if error.msg != "Extra data":
            raise ValueError(f"{path}, line {error.lineno} is not JSON: {error.msg} at column {error.colno}") from error
    else:
        is_tuple = isinstance(whole, list) and len(whole) == 2 and isinstance(whole[0], str)
        yield from (
            ((f"item {index}", item) for index, item in enumerate(whole))
            if isinstance(whole, list) and not is_tuple
            else [("line 1", whole)]
        )
        return
    # Not splitlines: JSON strings may have other line separators in them.
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            try:
                yield f"line {number}", json.loads(line)
            except json.JSONDecodeError as error:
                raise ValueError(f"{path}, line {number} is not JSON: {error.msg} at column {error.colno}") from error


def _choose(record: Record, annotator: str | int | None, where: str) -> tuple[Annotation | None, str]:
    """The annotation to take, or why there is none."""
    annotations = record.annotations
    if annotator is not None and annotations:
        if not any(annotation.annotator for annotation in annotations):
            raise ValueError(f"{where} does not say who annotated it: leave annotator={annotator!r} out")
        annotations = [annotation for annotation in annotations if str(annotator) in annotation.annotator]
        if not annotations:
            return None, f"have no annotation by {annotator!r}"
    if len(annotations) > 1:
        raise _several(where, annotations)
    return (annotations[0], "") if annotations else (None, record.reason)


def _several(where: str, annotations: list[Annotation]) -> ValueError:
    names = ["/".join(sorted(annotation.annotator)) or "?" for annotation in annotations]
    return ValueError(
        f"{where}: there are several annotations of the same text, by {', '.join(names)}: say with annotator= whose to "
        "take, or export one of each"
    )


def _resolve_tags(rows: list[dict[str, Any]], tags: dict[int, list[str]], path: Path) -> None:
    """Read the entities of rows that have tags instead."""
    scheme = scheme_of({tag: f"{path}, row {index}" for index in reversed(tags) for tag in tags[index]})
    for index, found in tags.items():
        rows[index]["entities"] = [entity._asdict() for entity in tags_to_entities(found, scheme)]
