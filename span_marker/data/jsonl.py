"""JSON and JSON lines: read files into records, records into rows, and write rows as JSON lines."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from span_marker.core.json_reading import RepeatedKeyError, json_problem, parse_json
from span_marker.core.labels import tags_to_entities
from span_marker.core.offsets import OffsetUnit, check_offset_unit, convert_offsets
from span_marker.core.surrogates import has_surrogates, readable
from span_marker.data.annotation_tools import find_shape, is_ner_annotator
from span_marker.data.file_tags import resolve_tags
from span_marker.data.json_records import Annotation, Record, Shape, fill_in_relations, has
from span_marker.data.json_writing import row_to_json, write_json
from span_marker.data.label_names import read_label_names
from span_marker.data.record_notes import RecordNotes, first_places
from span_marker.data.row_errors import OnError
from span_marker.data.row_relations import RELATIONS
from span_marker.data.row_writing import converted_rows
from span_marker.data.rows import PREDICTED, Row, parse_row
from span_marker.data.text_files import SourceFile, StrPath
from span_marker.data.unread import unread_annotation
from span_marker.data.values import as_whole

if TYPE_CHECKING:
    from datasets import Dataset

logger = logging.getLogger(__name__)

READ_OPTIONS: dict[str, Any] = {"field": None, "control": None, "labels": None, "occurrences": "all", "offsets": None}
"""Options of shapes, with their defaults."""

REPEATED = {"label", "start", "end", "score", *PREDICTED["words"], *PREDICTED["characters"]}
"""Keys of an entity that are written in one form."""

_RECORD = re.compile(r'\s*(?:\[\s*)?\{\s*"(?:[^"\\\n]|\\.)*"\s*:')
_ESCAPED_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")


def is_json(head: str) -> bool:
    """Tell whether a file is JSON by its beginning: a dict with a key, or a list of these.

    Args:
        head: The beginning of the file.

    Returns:
        Whether it is.
    """
    return _RECORD.match(head) is not None


def read_json(file: SourceFile, annotator: str | int | None = None, **options: Any) -> list[dict[str, Any]]:
    """Read a file of JSON lines, or one JSON array, see `read_records`."""
    return read_records(file, _read_values(file), annotator, **options)


def read_records(
    file: SourceFile,
    records: Iterable[tuple[str, Any]],
    annotator: str | int | None = None,
    shape: Shape | None = None,
    **options: Any,
) -> list[dict[str, Any]]:
    """Read records of any shape.

    Args:
        file: Their file, which collects the errors of records.
        records: The records, each with its place in the file.
        annotator: Whose annotation to use if a record has several.
        shape: The shape of all records; None if their keys determine it.
        **options: Options of shapes, see `READ_OPTIONS`.

    Returns:
        Rows with entities.

    Raises:
        TypeError: If an option has the wrong type.
        ValueError: If an option is of no use to any record, or the file is not JSON.
    """
    if options.get("offsets") is not None:
        check_offset_unit(options["offsets"])
    if "labels" in options:
        options["labels"] = read_label_names(options["labels"])
    unused = {name for name, value in options.items() if value != READ_OPTIONS[name]}
    notes = RecordNotes()
    rows: list[dict[str, Any]] = []
    seen: dict[Any, tuple[str, Annotation]] = {}
    tags: dict[int, tuple[str, list[str]]] = {}
    unrelated: list[int] = []
    for place, value in records:
        notes.num_records += 1
        location = f"{file}, {place}, row {len(rows) + len(file.errors)}"
        with file.row():
            kind = shape or find_shape(value, location)
            unused -= set(kind.options)
            record = kind.read(value, location, **{name: options[name] for name in kind.options if name in options})
            annotation, reason = _choose(record, annotator, location)
            notes.add(record, place, None if annotation else reason)
            if annotation is None:
                continue
            if not annotation.entities and record.tags is None:
                notes.add_unread(unread_annotation(value), place)
            if record.task is not None:
                before, other = seen.setdefault(record.task, (place, annotation))
                if other.annotator != annotation.annotator:
                    raise _several(f"{location} and {before}", [other, annotation])
            if record.tags is not None:
                tags[len(rows)] = location, record.tags
            if kind.has_relations:
                unrelated.append(len(rows))
            rows.append({**record.content, **_annotation_columns(annotation)})
            notes.add_task(value, record, place)
            is_named = annotation.relations is not None or RELATIONS in record.ignored
            if not is_named and has(value, RELATIONS) and value[RELATIONS]:
                notes.ignored.setdefault(RELATIONS, []).append(place)
    if unused and notes.num_records:
        raise ValueError(f"{file}: {', '.join(sorted(unused))} has no effect: no record offers such a choice")
    notes.report(file)
    fill_in_relations(rows, unrelated)
    wrong = _resolve_tags(rows, tags, file)
    return [row for index, row in enumerate(rows) if index not in wrong]


def _annotation_columns(annotation: Annotation) -> dict[str, Any]:
    columns = {"entities": [entity.to_dict() for entity in annotation.entities]}
    if annotation.relations is not None:
        columns[RELATIONS] = [relation.to_dict() for relation in annotation.relations]
    return columns


def _read_values(file: SourceFile) -> Iterator[tuple[str, Any]]:
    """The values of a file, each with its place. Lone surrogates, which Arrow cannot hold, are replaced."""
    text = file.text()
    replaced: list[str] = []
    may_have_surrogates = _ESCAPED_SURROGATE.search(text) is not None
    for place, value in _parse(file, text):
        if may_have_surrogates and has_surrogates(value):
            replaced.append(place)
            value = _without_surrogates(value)
        yield place, value
    if replaced:
        logger.warning(
            "%s: lone surrogates, which are half a character, are read as U+FFFD in %d records (%s)",
            file,
            len(replaced),
            first_places(replaced),
        )


def _without_surrogates(value: Any) -> Any:
    if isinstance(value, str):
        return readable(value)
    if isinstance(value, list):
        return [_without_surrogates(item) for item in value]
    if isinstance(value, dict):
        return {readable(key): _without_surrogates(item) for key, item in value.items()}
    return value


def _parse(file: SourceFile, text: str) -> Iterator[tuple[str, Any]]:
    """Read one array, or lines. A line that is not JSON is an error of its row."""
    if not text.strip():
        return
    try:
        whole = parse_json(text)
    except json.JSONDecodeError as error:
        if not _has_lines(text, error):
            raise _not_json(file, 1, error) from error
    except RecursionError as error:
        raise ValueError(f"{file} is nested too deeply") from error
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
            values = []
            with file.row():
                values.append(_read_line(line, file, number))
            yield from ((f"line {number}", value) for value in values)


def _read_line(line: str, file: SourceFile, number: int) -> Any:
    try:
        return parse_json(line)
    except json.JSONDecodeError as error:
        raise _not_json(file, number, error) from error


def _has_lines(text: str, error: json.JSONDecodeError) -> bool:
    """Tell whether a text that is no JSON has JSON lines: one of its lines is a record."""
    if isinstance(error, RepeatedKeyError) and _is_json(text):
        return False
    if error.msg != "Extra data" and not isinstance(error, RepeatedKeyError) and not text.startswith("{"):
        return False
    return any(line.startswith(("{", "[")) and _is_json(line) for line in text.split("\n"))


def _is_json(line: str) -> bool:
    try:
        json.loads(line)
    except ValueError:
        return False
    return True


def _not_json(file: SourceFile, line: int, error: json.JSONDecodeError) -> ValueError:
    return ValueError(f"{file}, line {line + error.lineno - 1} {json_problem(error)}")


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


def _resolve_tags(rows: list[dict[str, Any]], tags: dict[int, tuple[str, list[str]]], file: SourceFile) -> set[int]:
    """Read the entities of rows that have tags instead, and return the indices of those that are wrong."""
    read = resolve_tags({tag: location for location, row_tags in reversed(tags.values()) for tag in row_tags})
    wrong = set(tags)
    for index, (location, row_tags) in tags.items():
        with file.row():
            reason = next((read.odd[tag] for tag in row_tags if tag in read.odd), None)
            if reason:
                raise ValueError(f"{location}: {reason}")
            spans = tags_to_entities([read.renamed[tag] for tag in row_tags], read.scheme)
            row = {"tokens": rows[index]["tokens"], "entities": [span._asdict() for span in spans]}
            rows[index]["entities"] = [entity.to_dict() for entity in parse_row(row, location).entities]
            wrong.remove(index)
    return wrong


def write_jsonl(
    path: StrPath,
    rows: Dataset | Iterable[Mapping[str, Any]],
    errors: OnError = "raise",
    offsets: OffsetUnit = "codepoint",
) -> None:
    """Write rows as JSON lines, one after the other, without holding them all in memory.

    Entities and predictions are written with ``label``, ``start``, ``end`` and everything else that they have, such as
    ``score`` and ``span``. Other columns are kept: dates are written in ISO 8601, lone surrogates as escapes.

    Args:
        path: The file; it appears when all rows are written. If there is an error before, the rows so far stay in a
            file beside it that ends with ``.part``, which a warning names.
        rows: A data set annotated in any form, or rows with ``tokens`` or ``text``, and ``entities``.
        errors: What to do with rows that are invalid or have a value that JSON cannot represent, such as NaN: ``raise``
            the first error, ``skip`` them with a warning, or a list, to which their errors are appended.
        offsets: Unit of ``start`` and ``end`` in texts: ``codepoint``, as in Python and for `read_annotations`;
            ``utf-16``, as in JavaScript, Java and C#; or ``utf-8``, bytes. Also applies to offsets in ``origin`` and
            ``conflict``.

    Raises:
        TypeError: If a row has a value of the wrong type.
        ValueError: If a row is invalid or has a value that JSON cannot represent; or ``offsets`` is unknown, or not
            ``codepoint`` for words or for an ``origin`` in another row.
    """
    check_offset_unit(offsets)
    convert = partial(_to_line, offsets=offsets)
    write_json(path, converted_rows(rows, convert, errors, allow_surrogates=True, writes_relations=True))


def _to_line(index: int, columns: Mapping[str, Any], row: Row, offsets: OffsetUnit) -> str:
    location = f"row {index}"
    if offsets != "codepoint" and row.kind == "words":
        raise ValueError(f"{location} has words, to which offsets={offsets!r} does not apply: leave it out")
    bounds = [bound for entity in row.entities for bound in (entity.start, entity.end)]
    if offsets != "codepoint":
        bounds = convert_offsets(row.content, bounds, offsets)
    entities = []
    for entity, given, start, end in zip(row.entities, columns["entities"], bounds[::2], bounds[1::2], strict=True):
        others = {name: value for name, value in given.items() if name not in REPEATED}
        if offsets != "codepoint":
            others |= _convert_origins(given, row.content, offsets, location)
        entities.append({**entity._replace(start=start, end=end).to_dict(), **others})
    relations = {}
    if columns.get(RELATIONS) is not None:
        pairs = zip(columns[RELATIONS], row.relations, strict=True)
        relations = {RELATIONS: [{**given, **relation.to_dict()} for given, relation in pairs]}
    return row_to_json({**columns, "entities": entities, **relations}, location)


def _convert_origins(entity: Mapping[str, Any], text: str, offsets: OffsetUnit, location: str) -> dict[str, Any]:
    """Those of ``origin`` and ``conflict`` that an entity has, with places in another unit."""
    converted: dict[str, Any] = {}
    if isinstance(entity.get("origin"), Mapping):
        converted["origin"] = _convert_origin(entity["origin"], text, offsets, location)
    conflict = entity.get("conflict")
    if isinstance(conflict, Mapping) and isinstance(conflict.get("origin"), Mapping):
        converted["conflict"] = {**conflict, "origin": _convert_origin(conflict["origin"], text, offsets, location)}
    return converted


def _convert_origin(origin: Mapping[str, Any], text: str, offsets: OffsetUnit, location: str) -> Mapping[str, Any]:
    names = PREDICTED["characters"]
    places = [place for place in map(as_whole, map(origin.get, names)) if place is not None]
    if len(places) < len(names):  # of a rule, which has no place
        return origin
    if origin.get("sentence") is not None:
        raise ValueError(
            f"{location}: the 'origin' {dict(origin)!r} is in another row, so offsets={offsets!r} cannot be counted in "
            "its text: remove 'origin', or write code points"
        )
    try:
        return {**origin, **dict(zip(names, convert_offsets(text, places, offsets), strict=True))}
    except ValueError as error:
        raise ValueError(f"{location}: 'origin': {error}") from error
