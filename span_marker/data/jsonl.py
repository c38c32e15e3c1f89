"""JSON and JSON lines: files to records, records to rows, and rows to JSON lines."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from span_marker.core.labels import tags_to_entities
from span_marker.data.annotation_tools import find_shape, is_ner_annotator
from span_marker.data.columns import annotated_rows
from span_marker.data.conll import scheme_of
from span_marker.data.json_records import Annotation, Record, Shape
from span_marker.data.label_names import read_label_names
from span_marker.data.rows import PREDICTED, parse_row
from span_marker.data.text_files import StrPath, read_utf8, writing

if TYPE_CHECKING:
    from datasets import Dataset

logger = logging.getLogger(__name__)

SHOWN = 5
"""How many records a warning names."""


READ_OPTIONS: dict[str, Any] = {"field": None, "control": None, "labels": None, "occurrences": "all"}
"""Options of shapes, with their defaults."""

REPEATED = {"label", "start", "end", "score", "span", *PREDICTED["words"], *PREDICTED["characters"]}
"""Keys of an entity that are written in one form, or repeat what others say."""


def read_json(path: Path, annotator: str | int | None = None, **options: Any) -> list[dict[str, Any]]:
    """Read a file of JSON lines, or one JSON array, see `read_records`."""
    return read_records(path, _read_values(path), annotator, **options)


def read_records(
    path: Path,
    records: Iterable[tuple[str, Any]],
    annotator: str | int | None = None,
    shape: Shape | None = None,
    **options: Any,
) -> list[dict[str, Any]]:
    """Read records of any shape.

    Args:
        path: Their file, for errors.
        records: The records, each with its place in the file.
        annotator: Whose annotation to use if a record has several.
        shape: The shape of all records; None if their keys determine it.
        **options: Options of shapes, see `READ_OPTIONS`.

    Returns:
        Rows with entities.

    Raises:
        TypeError: If a value has the wrong type.
        ValueError: If something cannot be read, a record has several annotations, or an option is of no use to any.
    """
    if "labels" in options:
        options["labels"] = read_label_names(options["labels"])
    unused = {name for name, value in options.items() if value != READ_OPTIONS[name]}
    notes = _Notes()
    rows: list[dict[str, Any]] = []
    seen: dict[Any, tuple[str, Annotation]] = {}
    tags: dict[int, tuple[str, list[str]]] = {}
    for place, value in records:
        notes.num_records += 1
        location = f"{path}, {place}, row {len(rows)}"
        kind = shape or find_shape(value, location)
        unused -= set(kind.options)
        record = kind.read(value, location, **{name: options[name] for name in kind.options if name in options})
        annotation, reason = _choose(record, annotator, location)
        notes.add(record, place, None if annotation else reason)
        if annotation is None:
            continue
        if record.task is not None:
            before, other = seen.setdefault(record.task, (place, annotation))
            if other.annotator != annotation.annotator:
                raise _several(f"{location} and {before}", [other, annotation])
        if record.tags is not None:
            tags[len(rows)] = location, record.tags
        rows.append({**record.content, "entities": [entity.to_dict() for entity in annotation.entities]})
    if unused and notes.num_records:
        raise ValueError(f"{path}: {', '.join(sorted(unused))} would change nothing: no record has such a choice")
    notes.report(path)
    _resolve_tags(rows, tags)
    return rows


@dataclass
class _Notes:
    """What to warn about when all records of a file are read: places by what is left out, ignored or ambiguous."""

    num_records: int = 0
    left_out: dict[str, list[str]] = field(default_factory=dict)
    ignored: dict[str, list[str]] = field(default_factory=dict)
    repeated: dict[str, int] = field(default_factory=dict)

    def add(self, record: Record, place: str, reason: str | None) -> None:
        for key in record.ignored:
            self.ignored.setdefault(key, []).append(place)
        if reason is not None:
            self.left_out.setdefault(reason, []).append(place)
        if record.repeated:
            self.repeated[place] = record.repeated

    def report(self, path: Path) -> None:
        if self.left_out:
            reasons = [f"{len(places)} {reason} ({_first(places)})" for reason, places in self.left_out.items()]
            num_left_out, together = sum(map(len, self.left_out.values())), "; ".join(reasons)
            logger.warning("%s: %d of %d records are left out: %s", path, num_left_out, self.num_records, together)
        if self.ignored:
            parts = "; ".join(f"{part!r} in {len(places)} ({_first(places)})" for part, places in self.ignored.items())
            logger.warning("%s: parts of some of the %d records are ignored: %s", path, self.num_records, parts)
        if self.repeated:
            logger.warning(
                "%s: %d entity strings occur several times in their text, in %d of %d records (%s): every occurrence "
                "is an entity with occurrences='all', only as many as there are strings with occurrences='in-order'",
                path,
                sum(self.repeated.values()),
                len(self.repeated),
                self.num_records,
                _first([*self.repeated]),
            )


def _first(places: list[str]) -> str:
    return ", ".join(places[:SHOWN])


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
        if is_ner_annotator(whole):
            yield from ((f"annotation {index}", item) for index, item in enumerate(whole["annotations"]))
            return
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


def _resolve_tags(rows: list[dict[str, Any]], tags: dict[int, tuple[str, list[str]]]) -> None:
    """Read the entities of rows that have tags instead, each with its location."""
    scheme = scheme_of({tag: location for location, row_tags in reversed(tags.values()) for tag in row_tags})
    for index, (location, row_tags) in tags.items():
        row = {"tokens": rows[index]["tokens"], "entities": [e._asdict() for e in tags_to_entities(row_tags, scheme)]}
        rows[index]["entities"] = [entity.to_dict() for entity in parse_row(row, location).entities]


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
