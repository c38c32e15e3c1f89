"""JSON and JSON lines: files to records, records to rows, and rows to JSON lines."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from span_marker.core.labels import tags_to_entities
from span_marker.data.annotation_tools import find_shape
from span_marker.data.columns import annotated_rows
from span_marker.data.conll import resolve_tags
from span_marker.data.json_records import Annotation, Record, Shape
from span_marker.data.rows import PREDICTED, parse_row
from span_marker.data.text_files import StrPath, read_utf8, writing

if TYPE_CHECKING:
    from datasets import Dataset

logger = logging.getLogger(__name__)

SHOWN = 5
"""How many records a warning names."""


REPEATED = {"label", "start", "end", "score", "span", *PREDICTED["words"], *PREDICTED["characters"]}
"""Keys of an entity that are written in one form, or repeat what others say."""


def read_json(path: Path, annotator: str | int | None = None, shape: Shape | None = None) -> list[dict[str, Any]]:
    """Read a file of JSON lines, or one JSON array.

    Args:
        path: The file.
        annotator: Whose annotation to use if a record has several.
        shape: The shape of all records; None if their keys determine it.

    Returns:
        Rows with entities.

    Raises:
        TypeError: If a value has the wrong type.
        ValueError: If something cannot be read, or a record has several annotations.
    """
    rows: list[dict[str, Any]] = []
    left_out: dict[str, list[str]] = {}
    ignored: dict[str, list[str]] = {}
    seen: dict[Any, tuple[str, Annotation]] = {}
    tags: dict[int, list[str]] = {}
    num_records = 0
    for place, value in _read_values(path):
        num_records += 1
        location = f"{path}, {place}, row {len(rows)}"
        record = (shape or find_shape(value, location)).read(value, location)
        for key in record.ignored:
            ignored.setdefault(key, []).append(place)
        annotation, reason = _choose(record, annotator, location)
        if annotation is None:
            left_out.setdefault(reason, []).append(place)
            continue
        if record.task is not None:
            before, other = seen.setdefault(record.task, (place, annotation))
            if other.annotator != annotation.annotator:
                raise _several(f"{location} and {before}", [other, annotation])
        if record.tags is not None:
            tags[len(rows)] = record.tags
        rows.append({**record.content, "entities": [entity.to_dict() for entity in annotation.entities]})
    if left_out:
        reasons = [f"{len(places)} {reason} ({', '.join(places[:SHOWN])})" for reason, places in left_out.items()]
        num_left_out = sum(map(len, left_out.values()))
        logger.warning("%s: %d of %d records are left out: %s", path, num_left_out, num_records, "; ".join(reasons))
    if ignored:
        keys = [f"{key!r} in {len(places)} ({', '.join(places[:SHOWN])})" for key, places in ignored.items()]
        logger.warning("%s: keys of some of the %d records are ignored: %s", path, num_records, "; ".join(keys))
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


def _choose(record: Record, annotator: str | int | None, location: str) -> tuple[Annotation | None, str]:
    """The annotation to use, or why there is none."""
    annotations = record.annotations
    if annotator is not None and annotations:
        if not any(annotation.annotator for annotation in annotations):
            raise ValueError(f"{location} does not say who annotated it: leave annotator={annotator!r} out")
        annotations = [annotation for annotation in annotations if str(annotator) in annotation.annotator]
        if not annotations:
            return None, f"have no annotation by {annotator!r}"
    if len(annotations) > 1:
        raise _several(location, annotations)
    return (annotations[0], "") if annotations else (None, record.reason)


def _several(location: str, annotations: list[Annotation]) -> ValueError:
    names = ["/".join(sorted(annotation.annotator)) or "?" for annotation in annotations]
    return ValueError(
        f"{location}: there are several annotations of the same text, by {', '.join(names)}: pass annotator=, or "
        "export one annotation of each text"
    )


def _resolve_tags(rows: list[dict[str, Any]], tags: dict[int, list[str]], path: Path) -> None:
    """Read the entities of rows that have tags instead."""
    renamed, scheme = resolve_tags({tag: f"{path}, row {index}" for index in reversed(tags) for tag in tags[index]})
    for index, row_tags in tags.items():
        row = {
            "tokens": rows[index]["tokens"],
            "entities": [e._asdict() for e in tags_to_entities([renamed[tag] for tag in row_tags], scheme)],
        }
        rows[index]["entities"] = [entity.to_dict() for entity in parse_row(row, f"{path}, row {index}").entities]


def write_jsonl(path: StrPath, rows: Dataset | Iterable[Mapping[str, Any]]) -> None:
    """Write rows as JSON lines, one after the other, without holding them all in memory.

    Entities and predictions are written with ``label``, ``start``, ``end`` and everything else that they have, such as
    ``score``, except ``span``. Other columns stay as they are.

    Args:
        path: The file; it appears when all rows are written.
        rows: A data set annotated in any form, or rows with ``tokens`` or ``text``, and ``entities``.

    Raises:
        TypeError: If a row has a value of the wrong type.
        ValueError: If a row is wrong.
    """
    with writing(path) as file:
        for columns, row in annotated_rows(rows):
            entities = [
                {**entity.to_dict(), **{name: value for name, value in given.items() if name not in REPEATED}}
                for entity, given in zip(row.entities, columns["entities"], strict=True)
            ]
            file.write(json.dumps({**columns, "entities": entities}, ensure_ascii=False, allow_nan=False) + "\n")
