"""JSON formats of annotation tools: one shape per tool, recognized by the keys of a record.

Offsets count code points, except for doccano and Argilla, whose pages count UTF-16 units: ``offsets=`` or the metadata
of `span_marker.data.write_tasks` sets their unit. The indices of GLiNER's records count words. If a record repeats the
text of a span, it is compared with the text between the offsets, so that other offsets are not misread.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from span_marker.core.offsets import OffsetUnit
from span_marker.data.copies import COPY_KEYS, check_copies
from span_marker.data.entity_strings import GLINER2, STRINGS
from span_marker.data.json_records import (
    OFFSETS,
    ROW_ID,
    Annotation,
    Record,
    Shape,
    annotator_names,
    dicts,
    has,
    ids_of,
    is_unclear,
    pick_field,
    read_ends,
    read_id,
    read_span,
    read_spans,
    row_content,
    unit_of,
)
from span_marker.data.label_names import name_label
from span_marker.data.label_studio import (
    is_label_studio,
    is_label_studio_min,
    read_label_studio,
    read_label_studio_min,
)
from span_marker.data.nearest_shape import advise
from span_marker.data.prodigy import is_prodigy, read_prodigy
from span_marker.data.row_relations import RELATIONS
from span_marker.data.rows import PREDICTED, RowEntity, check_entity, check_text, check_words, parse_row
from span_marker.data.tags import ANY_TAGS, name_tags
from span_marker.data.values import as_whole, check_list, is_list

_TRIPLES = ("label", "labels", "entities")

FIELDS = {"label", "start", "end", *COPY_KEYS, *PREDICTED["words"], *PREDICTED["characters"]}
"""Keys of an entity of a row that are read, or compared with it."""

SHOWN_KEYS = 10
"""Maximum number of keys of a record in an error message."""


def find_shape(record: Any, location: str) -> Shape:
    """Find the shape of a record.

    Args:
        record: A value of a JSON file.
        location: What to call it in errors.

    Returns:
        The first of `SHAPES` that recognizes it.

    Raises:
        ValueError: If none does.
    """
    for shape in SHAPES:
        if shape.recognizes(record):
            return shape
    keys = sorted(record) if isinstance(record, Mapping) else []
    more = f" and {len(keys) - SHOWN_KEYS} more" if len(keys) > SHOWN_KEYS else ""
    is_dict = isinstance(record, Mapping)
    found = f"the keys {keys[:SHOWN_KEYS]}{more}" if is_dict else f"the type {type(record).__name__}"
    advice = advise(record, [shape.name for shape in SHAPES])
    raise ValueError(f"{location} has {found}, which is none of the known shapes: {advice}")


# Rows of this library


def _is_row(record: Any) -> bool:
    if not (has(record, "entities") and ("tokens" in record or "text" in record)) or STRINGS.recognizes(record):
        return False
    if _is_empty_doccano(record):
        return False
    return all(isinstance(item, Mapping) and "start_offset" not in item for item in _items(record["entities"]))


def _items(value: Any) -> list[Any]:
    return list(value) if is_list(value) else []


def _read_row(record: Any, location: str) -> Record:
    row = parse_row(record, location)
    others = {name for given in record["entities"] for name, value in given.items() if value is not None} - FIELDS
    content = {name: value for name, value in record.items() if name not in ("entities", RELATIONS)}
    ignored = tuple(f"entities: {name}" for name in sorted(others))
    annotation = Annotation([entity._replace(score=None) for entity in row.entities])
    if record.get(RELATIONS) is not None:
        annotation = annotation._replace(relations=[relation._replace(score=None) for relation in row.relations])
        others = {name for given in record[RELATIONS] for name, value in given.items() if value is not None}
        ignored += tuple(f"relations: {name}" for name in sorted(others - {"label", "head", "tail"}))
    return Record(content, [annotation], ignored=ignored)


def _read_tags(record: Any, location: str, labels: Mapping[int, str] | None = None) -> Record:
    tags = [name_label(tag, labels, location) for tag in check_list(record["ner_tags"], f"{location}: 'ner_tags'")]
    names, problems = name_tags(record["tokens"], tags, ANY_TAGS, location)
    if problems or names is None:
        raise problems[0].error
    content = {name: value for name, value in record.items() if name not in ("ner_tags", RELATIONS)}
    return Record(content, [Annotation([])], tags=names)


# GLiNER


def _read_gliner(record: Any, location: str) -> Record:
    if not isinstance(record, Mapping):
        raise TypeError(f"{location}: a record of GLiNER must be a dict, not {type(record).__name__}")
    for key in ("tokenized_text", "ner"):
        if key not in record:
            raise ValueError(f"{location} has no {key!r}, only the keys {sorted(record)}")
    words = record["tokenized_text"]
    check_words(words, f"{location}: 'tokenized_text'")
    items = check_list(record["ner"], f"{location}: 'ner'")
    entities = [_read_gliner_span(item, len(words), f"{location}, ner[{i}]={item!r}") for i, item in enumerate(items)]
    identity = {} if record.get("id") is None else {"id": record["id"]}
    ignored = tuple(key for key in record if key not in ("id", "tokenized_text", "ner", RELATIONS))
    return Record({**identity, "tokens": words}, [Annotation(entities)], ignored=ignored)


def _read_gliner_span(item: Any, num_words: int, location: str) -> RowEntity:
    """Read ``[first word, last word, label]``. Errors count as the file does, whose last word is part of the entity."""
    if not _is_triple(item):
        raise TypeError(f"{location}: an entity must be a list [first word, last word, label]")
    first, last = (_whole_word(name, value, location) for name, value in zip(("first", "last"), item, strict=False))
    if first < 0:
        raise ValueError(f"{location}: the first word is {first}, but words count from 0")
    if last < first:
        raise ValueError(f"{location}: the last word, {last}, is before the first, {first}")
    if last >= num_words:
        end = f"ends with word {num_words - 1} (the last word is part of the entity)" if num_words else "has no words"
        raise ValueError(f"{location}: the last word is {last}, but the row {end}")
    return check_entity({"label": item[2], "start": first, "end": last + 1}, num_words, "words", location)


def _whole_word(name: str, value: Any, location: str) -> int:
    number = as_whole(value)
    if number is None:
        raise TypeError(f"{location}: the {name} word must be a whole number, not {value!r}")
    return number


GLINER = Shape("GLiNER (tokenized_text, ner)", lambda r: has(r, "tokenized_text", "ner"), _read_gliner)
"""The one shape that is also a separate format."""


# Triples and tuples


def _is_triple(item: Any) -> bool:
    return is_list(item) and len(item) == 3


def _triples_keys(record: Any) -> list[str]:
    """The keys that may have the entities of a text: those with entities, or else the empty ones."""
    if not (has(record) and isinstance(record.get("text", record.get("data")), str)):
        return []
    keys = [key for key in _TRIPLES if is_list(record.get(key)) and all(map(_is_triple, record[key]))]
    return [key for key in keys if record[key]] or keys


def _read_triples(
    record: Any, location: str, labels: Mapping[int, str] | None = None, offsets: OffsetUnit | None = None
) -> Record:
    text, keys, unit = record.get("text", record.get("data")), _triples_keys(record), unit_of(record, offsets)
    if any(record[key] != record[keys[0]] for key in keys):
        raise ValueError(f"{location} has different entities under the keys {keys}: remove all but one")
    return _from_triples(text, record[keys[0]], record, location, labels, unit)


def _from_triples(
    text: Any,
    triples: Any,
    record: Mapping[str, Any],
    location: str,
    names: Mapping[int, str] | None,
    unit: OffsetUnit | None,
) -> Record:
    check_text(text, f"{location}: the text")
    if not is_list(triples) or not all(map(_is_triple, triples)):
        raise TypeError(f"{location}: entities must be a list of [start, end, label] items, not {triples!r}")
    first = next((triple for triple in triples if isinstance(triple[0], str) and not isinstance(triple[2], str)), None)
    if first is not None:
        raise TypeError(f"{location}: an entity is [start, end, label], but {list(first)!r} has the label first")
    entities = [
        read_span(name_label(label, names, location), start, end, text, location, unit) for start, end, label in triples
    ]
    return Record(row_content(text, record), [Annotation(entities)], is_unclear=is_unclear(text, entities, unit))


def _is_spacy_tuple(record: Any) -> bool:
    return is_list(record) and len(record) == 2 and isinstance(record[0], str) and has(record[1], "entities")


def _read_spacy_tuple(record: Any, location: str, labels: Mapping[int, str] | None = None) -> Record:
    return _from_triples(record[0], record[1]["entities"], {}, location, labels, "codepoint")


def _is_empty_doccano(record: Mapping[str, Any]) -> bool:
    """Tell whether a record without entities is doccano's, by the keys of its exports or of its tasks."""
    return not _items(record.get("entities")) and ("Comments" in record or has(record, ROW_ID, OFFSETS))


def _doccano_key(record: Any) -> str | None:
    """The key of dicts with offsets: ``entities`` with relations, ``annotations`` in old versions."""
    if not has(record, "text"):
        return None
    if record.get("annotations") == []:
        return "annotations"
    if record.get("entities") == [] and _is_empty_doccano(record):
        return "entities"
    keys = ("entities", "annotations")
    return next((k for k in keys if any(has(item, "start_offset") for item in _items(record.get(k)))), None)


def _read_doccano_dicts(
    record: Any, location: str, labels: Mapping[int, str] | None = None, offsets: OffsetUnit | None = None
) -> Record:
    key = _doccano_key(record)
    items = dicts(record[key], str(key), location)
    triples = [[item.get("start_offset"), item.get("end_offset"), item.get("label")] for item in items]
    read = _from_triples(record["text"], triples, record, location, labels, unit_of(record, offsets))
    for item, entity in zip(items, read.annotations[0].entities, strict=True):
        check_copies(record["text"], entity.start, entity.end, item, location)
    ends = [
        (relation.get("type"), *(read_id(relation, name, location) for name in ("from_id", "to_id")))
        for relation in dicts(record.get(RELATIONS), RELATIONS, location)
    ]
    if not ends:  # as in exports of projects without relations
        return read
    relations = read_ends(ends, ids_of(items, "id", location), len(items), location)
    return read._replace(annotations=[read.annotations[0]._replace(relations=relations)])


# NER Annotator


def is_ner_annotator(value: Any) -> bool:
    """Tell whether a value is a whole file of NER Annotator, whose annotations are spaCy's tuples.

    Texts that were not annotated are null.
    """
    return has(value, "classes", "annotations") and is_list(value["annotations"])


# Argilla


def _text_of(record: Mapping[str, Any], location: str) -> str:
    check_text(record["text"], f"{location}: 'text'")
    return str(record["text"])


def _is_argilla_1(record: Any) -> bool:
    return has(record, "text", "annotation", "status") or has(record, "text", "annotation", "annotation_agent")


def _read_argilla_1(record: Any, location: str, offsets: OffsetUnit | None = None) -> Record:
    unit = unit_of(record.get("metadata"), offsets)
    text, spans = _text_of(record, location), record["annotation"]
    content, status = row_content(text, record), record.get("status") or "Validated"
    if status != "Validated":
        return Record(content, [], f"have the status {status!r}")
    if spans is None:
        return Record(content, [])
    if is_list(spans):
        names = ("label", "start", "end")
        spans = [dict(zip(names, span, strict=True)) if _is_triple(span) else span for span in spans]
    entities = read_spans(spans, text, location, unit)
    return Record(content, [Annotation(entities)], is_unclear=is_unclear(text, entities, unit))


def _is_argilla_2(record: Any) -> bool:
    return has(record, "fields", "responses") and isinstance(record["fields"], Mapping)


def _read_argilla_2(record: Any, location: str, field: str | None = None, offsets: OffsetUnit | None = None) -> Record:
    unit = unit_of(record.get("metadata"), offsets)
    text = record["fields"][pick_field(record["fields"], location, field)]
    responses = record["responses"] or {}
    if not isinstance(responses, Mapping):
        raise TypeError(f"{location}: 'responses' must be a dict of questions, not {responses!r}")
    answers = {name: dicts(values, f"responses of {name!r}", location) for name, values in responses.items()}
    questions = [name for name, items in answers.items() if _are_spans([item.get("value") for item in items])]
    if len(questions) > 1:
        raise ValueError(f"{location}: the questions {questions} all have spans: export only one of them")
    annotations = [
        Annotation(read_spans(item["value"], text, location, unit), annotator_names(item.get("user_id")))
        for name in questions
        for item in answers[name]
        if (item.get("status") or "submitted") == "submitted" and item.get("value") is not None
    ]
    entities = [entity for annotation in annotations for entity in annotation.entities]
    content = row_content(text, record)
    return Record(content, annotations, "have no submitted response", is_unclear=is_unclear(text, entities, unit))


def _are_spans(values: list[Any]) -> bool:
    """Tell whether answers are spans, rather than labels or a ranking."""
    answers = [value for value in values if value is not None]
    return bool(answers) and all(is_list(value) and all(has(item, "start") for item in value) for value in answers)


def _is_argilla_2_flat(record: Any) -> bool:
    return has(record) and any(key.endswith(".responses") for key in record)


def _read_argilla_2_flat(
    record: Any, location: str, field: str | None = None, offsets: OffsetUnit | None = None
) -> Record:
    responses = {}
    for key, values in record.items():
        if key.endswith(".responses") and values is not None:
            users, states = record.get(f"{key}.users"), record.get(f"{key}.status")
            columns = [column if is_list(column) else [None] * len(_items(values)) for column in (users, states)]
            if not is_list(values) or any(len(column) != len(values) for column in columns):
                raise ValueError(
                    f"{location}: {key!r} must be a list with as many items as '{key}.users' and '.status'"
                )
            answers = zip(values, *columns, strict=True)
            responses[key] = [{"value": value, "user_id": user, "status": state} for value, user, state in answers]
    fields = {key: value for key, value in record.items() if "." not in key and key not in ("id", "_server_id")}
    nested = {"id": record.get("id"), "fields": fields, "responses": responses, "metadata": record}
    return _read_argilla_2(nested, location, field, offsets)


LABEL_STUDIO_MIN = Shape(
    "Label Studio JSON_MIN (text, annotation_id)", is_label_studio_min, read_label_studio_min, ("field", "control")
)
"""The shape of its tables, too."""

SHAPES = (
    Shape("rows of this library (tokens or text, entities)", _is_row, _read_row),
    GLINER,  # before shapes that other keys of it, such as 'label', may look like
    STRINGS,
    GLINER2,
    Shape(
        "doccano (text, entities or annotations with start_offset)",
        lambda r: bool(_doccano_key(r)),
        _read_doccano_dicts,
        ("labels", "offsets"),
        has_relations=True,
    ),
    Shape(
        "doccano (text or data, label or labels: [start, end, label])",
        lambda r: bool(_triples_keys(r)),
        _read_triples,
        ("labels", "offsets"),
    ),
    Shape("Argilla 2 (fields, responses)", _is_argilla_2, _read_argilla_2, ("field", "offsets")),
    Shape("Argilla 2, flat (QUESTION.responses)", _is_argilla_2_flat, _read_argilla_2_flat, ("field", "offsets")),
    Shape("Label Studio JSON (data, annotations)", is_label_studio, read_label_studio, ("field", "control"), True),
    LABEL_STUDIO_MIN,
    Shape("Argilla 1 (text, annotation, status)", _is_argilla_1, _read_argilla_1, ("offsets",)),
    Shape("spaCy and Prodigy (text, spans)", is_prodigy, read_prodigy, has_relations=True),
    Shape("spaCy's tuples ([text, {entities: [start, end, label]}])", _is_spacy_tuple, _read_spacy_tuple, ("labels",)),
    Shape("NER Annotator (null)", lambda r: r is None, lambda r, location: Record({}, [])),
    Shape("words and tags (tokens, ner_tags)", lambda r: has(r, "tokens", "ner_tags"), _read_tags, ("labels",)),
)
"""All shapes; the first one that recognizes a record reads it."""
