"""Label Studio's JSON, JSON_MIN and CSV exports: find the results that are entities, and their field of the task.

A task has fields, and an annotation has results of several controls. Results of a ``Labels`` control are entities of
the field that they point to, and results of type ``relation`` are relations between them. Attributes of a region
(``Choices``, ``TextArea`` or ``Rating`` with its ID) are neither, and are named in a warning. Exports lack the
configuration of the project, which maps ``to_name`` to a field: it is the field of this name, or else the one that
contains the copies of the spans.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple

from span_marker.core.offsets import convert_offsets
from span_marker.data.copies import check_copy, is_copy
from span_marker.data.json_records import (
    ROW_ID,
    Annotation,
    Record,
    annotator_names,
    dicts,
    has,
    pick_field,
    read_ends,
    read_id,
    read_span,
    row_content,
)
from span_marker.data.row_relations import RowRelation
from span_marker.data.rows import RowEntity
from span_marker.data.values import as_whole, is_list

META_OF_MIN = {"id", ROW_ID, "annotator", "annotation_id", "created_at", "updated_at", "lead_time", "agreement"}
"""Keys of a task of JSON_MIN, and columns of one of CSV, that are neither fields nor controls."""

_RELATION = "relation"
_PAIRS = {"right": [(0, 1)], "left": [(1, 0)], "bi": [(0, 1), (1, 0)]}
_REGION = {"start", "end", "text", "labels", "startOffset", "endOffset", "globalOffsets"}


class _Result(NamedTuple):
    """A result: what one control says, about a task or about a region."""

    control: Any
    target: Any  # to_name; None in JSON_MIN
    kind: str  # such as "labels"
    value: Any
    region: Any = None  # its ID

    @property
    def name(self) -> str:
        return self.kind if self.control is None else f"{self.control} ({self.kind})"


class _Choice(NamedTuple):
    """What a caller wants to read."""

    field: str | None
    controls: Sequence[str] | None


def is_label_studio(record: Any) -> bool:
    """Tell whether a value is a task of the JSON export, or one that was never imported."""
    is_task = has(record, "data") and any(key in record for key in ("annotations", "completions", "predictions"))
    return is_task and isinstance(record["data"], Mapping)


def read_label_studio(
    record: Any, location: str, field: str | None = None, control: str | Sequence[str] | None = None
) -> Record:
    """Read a task of the JSON export.

    Args:
        record: The task.
        location: What to call it in errors.
        field: The field of the text. Defaults to ``text``, or else to the only string.
        control: Name of the ``Labels`` control to read, or several. Defaults to the only one.

    Returns:
        The record.

    Raises:
        TypeError: If a value has the wrong type.
        ValueError: If it is open which field or control to read, or an entity is invalid.
    """
    fields = record["data"]
    name = pick_field(fields, location, field)
    items = dicts(record.get("annotations", record.get("completions")), "annotations", location)
    annotations: list[Annotation] = []
    passed: list[str] = []
    for item in items:
        if item.get("was_cancelled") or item.get("skipped"):
            continue
        given = dicts(item.get("result"), "result", location)
        results = [
            _Result(result.get("from_name"), result.get("to_name"), kind, result.get("value"), region)
            for result in given
            if (kind := _kind(result, location)) != _RELATION
            for region in [read_id(result, "id", location)]
        ]
        entities, others = _read_results(results, fields, name, _Choice(field, _names(control)), location)
        found = [result for result in given if result.get("type") == _RELATION]
        relations, lost = _read_relations(found, entities, {result.region for result in results}, location)
        spans = [entity for _, entity in entities]
        annotations.append(Annotation(spans, annotator_names(item.get("completed_by")), relations or None))
        passed += [*others, *lost]
    reason = "were skipped" if items else "have no annotation"
    return Record(
        row_content(fields[name], {**record, ROW_ID: fields.get(ROW_ID)}),
        annotations,
        reason,
        ignored=tuple(dict.fromkeys(passed)),
    )


def is_label_studio_min(record: Any) -> bool:
    """Tell whether a value is a task of the JSON_MIN export."""
    if not has(record) or "annotations" in record:
        return False
    lists = [value for value in record.values() if is_list(value)]
    return "annotation_id" in record or any(has(item, "start", "labels") for value in lists for item in value)


def read_label_studio_min(
    record: Any, location: str, field: str | None = None, control: str | Sequence[str] | None = None
) -> Record:
    """Read a task of the JSON_MIN export, see `read_label_studio`. Its keys are fields and controls alike."""
    fields = {key: value for key, value in record.items() if key not in META_OF_MIN}
    name = pick_field(fields, location, field)
    controls = [key for key, value in fields.items() if is_list(value) and any(map(_is_region, value))]
    results = [
        _Result(key, None, _kind({"value": value}, location), value)
        for key in controls
        for value in dicts(record[key], key, location)
    ]
    entities, passed = _read_results(results, fields, name, _Choice(field, _names(control)), location)
    task = record.get("id")
    return Record(
        row_content(fields[name], record),
        [Annotation([entity for _, entity in entities], annotator_names(record.get("annotator")))],
        task=None if task is None else str(task),
        ignored=tuple(dict.fromkeys(passed)),
    )


def _names(control: str | Sequence[str] | None) -> Sequence[str] | None:
    return [control] if isinstance(control, str) else control


def _is_region(value: Any) -> bool:
    return isinstance(value, Mapping) and ("start" in value or any(key.endswith("labels") for key in value))


def _kind(result: Mapping[str, Any], location: str) -> str:
    """The type of a result. JSON_MIN and old versions have none: the keys of the value tell it."""
    value, kind = result.get("value"), result.get("type")
    if kind is not None:
        if not isinstance(kind, str):
            raise TypeError(f"{location}: the 'type' of a result must be a string, not {kind!r}")
        return kind
    if not isinstance(value, Mapping):
        return "other"
    kinds = [key for key in value if key.endswith("labels")] or [key for key in value if key not in _REGION]
    return str(kinds[0]) if kinds else ("labels" if "start" in value and not is_list(value.get("text")) else "other")


def _read_results(
    results: Sequence[_Result], fields: Mapping[str, Any], name: str, choice: _Choice, location: str
) -> tuple[list[tuple[Any, RowEntity]], list[str]]:
    """Read the entities of one field with the IDs of their regions, and name the results that are none of them."""
    passed = [result.name for result in results if not result.kind.endswith("labels")]
    groups: dict[tuple[str, str], list[_Result]] = {}
    for result in results:
        if result.kind.endswith("labels"):
            groups.setdefault((str(result.control), str(result.target)), []).append(result)
    entities: list[tuple[Any, RowEntity]] = []
    read: dict[str, None] = {}
    for (control, _), group in groups.items():
        if choice.controls is not None and control not in choice.controls:
            passed.append(group[0].name)
            continue
        field = _field_of(group, fields, name, choice, location)
        if field != name:
            if choice.field is None:
                raise ValueError(
                    f"{location}: the text is the field {name!r}, but there are also labels of the field {field!r}: "
                    f"pass field={field!r} to read these, or field={name!r} to ignore them"
                )
            passed.append(f"{group[0].name} of {field}")
            continue
        read[control] = None
        regions = _in_code_points(group, fields[name])
        passed += ["region without a label" for result in regions if _is_unlabelled(result)][:1]
        entities += [
            (result.region, entity) for result in regions for entity in _read_region(result, fields[name], location)
        ]
    if len(read) > 1 and choice.controls is None:
        raise ValueError(
            f"{location}: the controls {list(read)} all have labels: pass control= with one of them, or with a list"
        )
    return entities, passed


def _read_relations(
    results: Sequence[Mapping[str, Any]],
    entities: Sequence[tuple[Any, RowEntity]],
    regions: Collection[Any],
    location: str,
) -> tuple[list[RowRelation], list[str]]:
    """Read the relations between entities, and name those that have no label or lead to regions that are not read."""
    places: dict[Any, list[int]] = {}
    for index, (region, _) in enumerate(entities):
        if region is not None:
            places.setdefault(region, []).append(index)
    ends, lost = [], []
    for result in results:
        labels = result.get("labels") or []
        if not is_list(labels):
            raise TypeError(f"{location}: the 'labels' of a relation must be a list, not {labels!r}")
        pair = read_id(result, "from_id", location), read_id(result, "to_id", location)
        direction = result.get("direction") or "right"
        if direction not in [*_PAIRS]:  # it may be anything
            raise ValueError(f"{location}: the 'direction' of a relation must be one of {[*_PAIRS]}, not {direction!r}")
        if not labels:
            lost.append("relation without a label")
        elif any(end in regions and end not in places for end in pair):
            lost.append("relation of a region that is not read")
        else:
            ends += [(label, *(pair[end] for end in order)) for label in labels for order in _PAIRS[direction]]
    return read_ends(ends, places, len(entities), location), lost


def _field_of(group: Sequence[_Result], fields: Mapping[str, Any], name: str, choice: _Choice, location: str) -> str:
    """The field that a control labels: the one that ``to_name`` names, or else one that has the copies of the spans."""
    if isinstance(group[0].target, str) and group[0].target in fields:
        return str(group[0].target)
    texts = [key for key, value in fields.items() if isinstance(value, str)]
    values = [value for result in group if isinstance(value := result.value, Mapping)]
    spans = [(v.get("start"), v.get("end"), v["text"]) for v in values if isinstance(v.get("text"), str)]
    if not spans and len(texts) > 1 and choice.field is None:
        raise ValueError(
            f"{location}: it is unclear which of the fields {texts} the labels of {group[0].control!r} belong to, "
            "since they have no copies of their text: pass field="
        )
    fitting = [key for key in texts if all(_fits(fields[key], *span) for span in spans)]
    return name if name in fitting or not fitting else fitting[0]  # where none fits, the error will name the span


def _in_code_points(group: Sequence[_Result], text: str) -> Sequence[_Result]:
    """Convert places from UTF-16 units, which versions before 1.4 count, if the copies of the text say so."""
    if _copies_fit(group, text):
        return group
    try:
        converted = [_convert(result, text) for result in group]
    except ValueError:  # a place inside a character, or outside of the text
        return group
    return converted if _copies_fit(converted, text) else group


def _copies_fit(group: Sequence[_Result], text: str) -> bool:
    values = [result.value for result in group if isinstance(result.value, Mapping)]
    return all(_fits(text, v.get("start"), v.get("end"), v["text"]) for v in values if isinstance(v.get("text"), str))


def _convert(result: _Result, text: str) -> _Result:
    value = result.value if isinstance(result.value, Mapping) else {}
    first, last = as_whole(value.get("start")), as_whole(value.get("end"))
    if first is None or last is None:
        return result  # reading it says what is wrong
    start, end = convert_offsets(text, [first, last], "codepoint", source="utf-16")
    return result._replace(value={**value, "start": start, "end": end})


def _fits(text: str, start: Any, end: Any, copy: str) -> bool:
    first, last = as_whole(start), as_whole(end)
    if first is None or last is None or not 0 <= first < last <= len(text):
        return False
    return is_copy(text[first:last], copy)


def _is_unlabelled(result: _Result) -> bool:
    return isinstance(result.value, Mapping) and result.kind == "labels" and not result.value.get("labels")


def _read_region(result: _Result, text: str, location: str) -> list[RowEntity]:
    """Read one region; one with several labels is several entities."""
    if result.kind != "labels":
        raise ValueError(
            f"{location} has a region with {result.kind!r}: only 'labels' of a Text can be read; pass control= to "
            "leave out others"
        )
    value = result.value
    if not isinstance(value, Mapping):
        raise TypeError(f"{location}: the 'value' of a region must be a dict, not {value!r}")
    if _is_unlabelled(result):
        return []
    labels = value["labels"]
    if not is_list(labels):
        raise TypeError(f"{location}: the 'labels' of a region must be a list, not {labels!r}")
    entities = [read_span(label, value.get("start"), value.get("end"), text, location) for label in labels]
    if value.get("text") is not None:
        check_copy(text, [entities[0][1:3]], value["text"], location)
    return entities
