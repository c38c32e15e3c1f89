"""The JSON of annotation tools: one shape per tool, recognized by the keys of a record.

Offsets count code points in all of them; the indices of GLiNER's records count words. If a record repeats the text of a
span, it is compared with the text between the offsets, so that data with other offsets is not misread.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from span_marker.data.json_records import (
    Annotation,
    Record,
    Shape,
    annotator_names,
    dicts,
    has,
    mismatch,
    pick_text,
    read_span,
    read_spans,
    row_content,
)
from span_marker.data.rows import (
    RowEntity,
    check_entity,
    check_list,
    check_text,
    check_words,
    is_list,
    is_whole,
    parse_row,
)
from span_marker.data.tags import ANY_TAGS, name_tags

_META_OF_JSON_MIN = {"id", "annotator", "annotation_id", "created_at", "updated_at", "lead_time", "agreement"}
_TRIPLES = ("label", "labels", "entities")


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
    found = f"the keys {sorted(record)}" if isinstance(record, Mapping) else f"the type {type(record).__name__}"
    raise ValueError(f"{location} has {found}, which is none of the known shapes: {', '.join(s.name for s in SHAPES)}")


# Rows of this library


def _is_row(record: Any) -> bool:
    if not (has(record, "entities") and ("tokens" in record or "text" in record)):
        return False
    return all(isinstance(item, Mapping) and "start_offset" not in item for item in _items(record["entities"]))


def _items(value: Any) -> list[Any]:
    return list(value) if is_list(value) else []


def _read_row(record: Any, location: str) -> Record:
    entities = [entity._replace(score=None) for entity in parse_row(record, location).entities]
    return Record({name: value for name, value in record.items() if name != "entities"}, [Annotation(entities)])


def _read_tags(record: Any, location: str) -> Record:
    names, problems = name_tags(record["tokens"], record["ner_tags"], ANY_TAGS, location)
    if problems or names is None:
        raise problems[0].error
    content = {name: value for name, value in record.items() if name != "ner_tags"}
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
    ignored = tuple(key for key in record if key not in ("id", "tokenized_text", "ner"))
    return Record({**identity, "tokens": words}, [Annotation(entities)], ignored=ignored)


def _read_gliner_span(item: Any, num_words: int, location: str) -> RowEntity:
    """Read ``[first word, last word, label]``. Errors count as the file does, whose last word is part of the entity."""
    if not _is_triple(item):
        raise TypeError(f"{location}: an entity must be a list of [first word, last word, label]")
    first, last, label = item
    for name, value in (("first", first), ("last", last)):
        if not is_whole(value):
            raise TypeError(f"{location}: the {name} word must be a whole number, not {value!r}")
    if first < 0:
        raise ValueError(f"{location}: the first word is {first}, but words count from 0")
    if last < first:
        raise ValueError(f"{location}: the last word, {last}, is before the first, {first}")
    if last >= num_words:
        end = f"ends with word {num_words - 1}, and the last word is in the entity" if num_words else "has no words"
        raise ValueError(f"{location}: the last word is {last}, but the row {end}")
    return check_entity({"label": label, "start": first, "end": last + 1}, num_words, "words", location)


GLINER = Shape("GLiNER (tokenized_text, ner)", lambda r: has(r, "tokenized_text", "ner"), _read_gliner)
"""The one shape that is a format of its own, too."""


# Triples and tuples


def _is_triple(item: Any) -> bool:
    return is_list(item) and len(item) == 3


def _triples_key(record: Any) -> str | None:
    if not (has(record) and isinstance(record.get("text", record.get("data")), str)):
        return None
    return next((k for k in _TRIPLES if is_list(record.get(k)) and all(map(_is_triple, record[k]))), None)


def _read_triples(record: Any, location: str) -> Record:
    return _from_triples(record.get("text", record.get("data")), record[_triples_key(record)], record, location)


def _from_triples(text: Any, triples: Any, record: Mapping[str, Any], location: str) -> Record:
    check_text(text, f"{location}: the text")
    if not is_list(triples) or not all(map(_is_triple, triples)):
        raise TypeError(f"{location}: entities must be a list of [start, end, label], not {triples!r}")
    entities = [read_span(label, start, end, text, location) for start, end, label in triples]
    return Record(row_content(text, record), [Annotation(entities)])


def _is_spacy_tuple(record: Any) -> bool:
    return is_list(record) and len(record) == 2 and isinstance(record[0], str) and has(record[1], "entities")


def _read_spacy_tuple(record: Any, location: str) -> Record:
    return _from_triples(record[0], record[1]["entities"], {}, location)


def _is_doccano_relations(record: Any) -> bool:
    return has(record, "text", "entities") and any(has(item, "start_offset") for item in _items(record["entities"]))


def _read_doccano_relations(record: Any, location: str) -> Record:
    items = dicts(record["entities"], "entities", location)
    triples = [[item.get("start_offset"), item.get("end_offset"), item.get("label")] for item in items]
    return _from_triples(record["text"], triples, record, location)


# Prodigy


def _is_prodigy(record: Any) -> bool:
    return has(record, "text", "spans") or has(record, "text", "tokens", "answer")


def _read_prodigy(record: Any, location: str) -> Record:
    text, spans = pick_text({"text": record["text"]}, location), dicts(record.get("spans"), "spans", location)
    task = _name(record.get("_input_hash"))
    if record.get("answer", "accept") != "accept":
        return Record(row_content(text, record), [], f"have the answer {record['answer']!r}", task)
    entities = read_spans(spans, text, location)
    for span, entity in zip(spans, entities, strict=True):
        if span.get("text", text[entity.start : entity.end]) != text[entity.start : entity.end]:
            raise mismatch(text, entity, span["text"], location)
    names = annotator_names(record.get("_annotator_id") or record.get("_session_id"))
    return Record(row_content(text, record), [Annotation(entities, names)], task=task)


# Label Studio


def _is_label_studio(record: Any) -> bool:
    return (
        has(record, "data") and isinstance(record["data"], Mapping) and bool({"annotations", "completions"} & {*record})
    )


def _read_label_studio(record: Any, location: str) -> Record:
    text = pick_text(record["data"], location)
    items = dicts(record.get("annotations", record.get("completions")), "annotations", location)
    annotations = []
    for item in items:
        if item.get("was_cancelled") or item.get("skipped"):
            continue
        regions = [region.get("value") for region in dicts(item.get("result"), "result", location)]
        entities = [entity for region in regions for entity in _read_region(region, text, location)]
        annotations.append(Annotation(entities, annotator_names(item.get("completed_by"))))
    return Record(row_content(text, record), annotations, "were skipped" if items else "have no annotation")


def _is_region(value: Any) -> bool:
    """Tell whether a value is a labeled region, rather than a choice or a relation."""
    return isinstance(value, Mapping) and ("start" in value or any(key.endswith("labels") for key in value))


def _read_region(value: Any, text: str, location: str) -> list[RowEntity]:
    if not _is_region(value):
        return []
    others = [key for key in value if key.endswith("labels") and key != "labels"]
    if others:
        raise ValueError(f"{location} has a region with {others[0]!r}: only 'labels' of a Text can be read")
    labels = value.get("labels") or [None]
    if not is_list(labels):
        raise TypeError(f"{location}: the 'labels' of a region must be a list, not {labels!r}")
    entities = [read_span(label, value.get("start"), value.get("end"), text, location) for label in labels]
    between, copy = text[entities[0].start : entities[0].end], value.get("text")
    # The browser's copy of a span has \n as two characters, and white space may be lost.
    if isinstance(copy, str) and _squeeze(copy) != _squeeze(between):
        raise mismatch(text, entities[0], copy, location)
    return entities


def _name(value: Any) -> str | None:
    return None if value is None else str(value)


def _squeeze(text: str) -> str:
    return "".join(text.replace("\\n", "").split())


def _region_keys(record: Mapping[str, Any]) -> list[str]:
    return [key for key, value in record.items() if any(map(_is_region, _items(value)))]


def _is_label_studio_min(record: Any) -> bool:
    if not has(record) or "annotations" in record:
        return False
    return "annotation_id" in record or any(
        has(i, "start", "labels") for value in record.values() for i in _items(value)
    )


def _read_label_studio_min(record: Any, location: str) -> Record:
    text = pick_text({key: value for key, value in record.items() if key not in _META_OF_JSON_MIN}, location)
    regions = [region for key in _region_keys(record) for region in dicts(record[key], key, location)]
    entities = [entity for region in regions for entity in _read_region(region, text, location)]
    names = annotator_names(record.get("annotator"))
    return Record(row_content(text, record), [Annotation(entities, names)], task=_name(record.get("id")))


# Argilla


def _is_argilla_1(record: Any) -> bool:
    return has(record, "text", "annotation", "status") or has(record, "text", "annotation", "annotation_agent")


def _read_argilla_1(record: Any, location: str) -> Record:
    text, spans = pick_text({"text": record["text"]}, location), record["annotation"]
    content, status = row_content(text, record), record.get("status") or "Validated"
    if status != "Validated":
        return Record(content, [], f"have the status {status!r}")
    if spans is None:
        return Record(content, [])
    if is_list(spans):
        names = ("label", "start", "end")
        spans = [dict(zip(names, span, strict=True)) if _is_triple(span) else span for span in spans]
    return Record(content, [Annotation(read_spans(spans, text, location))])


def _is_argilla_2(record: Any) -> bool:
    return has(record, "fields", "responses") and isinstance(record["fields"], Mapping)


def _read_argilla_2(record: Any, location: str) -> Record:
    text = pick_text(record["fields"], location)
    responses = record["responses"] or {}
    if not isinstance(responses, Mapping):
        raise TypeError(f"{location}: 'responses' must be a dict of questions, not {responses!r}")
    answers = {name: dicts(values, f"responses of {name!r}", location) for name, values in responses.items()}
    questions = [name for name, items in answers.items() if _are_spans([item.get("value") for item in items])]
    if len(questions) > 1:
        raise ValueError(f"{location}: the questions {questions} all have spans: export one of them")
    annotations = [
        Annotation(read_spans(item["value"], text, location), annotator_names(item.get("user_id")))
        for name in questions
        for item in answers[name]
        if (item.get("status") or "submitted") == "submitted" and item.get("value") is not None
    ]
    return Record(row_content(text, record), annotations, "have no submitted response")


def _are_spans(values: list[Any]) -> bool:
    """Tell whether answers are spans, rather than labels or a ranking."""
    answers = [value for value in values if value is not None]
    return bool(answers) and all(is_list(value) and all(has(item, "start") for item in value) for value in answers)


def _is_argilla_2_flat(record: Any) -> bool:
    return has(record) and any(key.endswith(".responses") for key in record)


def _read_argilla_2_flat(record: Any, location: str) -> Record:
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
    return _read_argilla_2({"id": record.get("id"), "fields": fields, "responses": responses}, location)


SHAPES = (
    Shape("rows of this library (tokens or text, entities)", _is_row, _read_row),
    GLINER,  # before shapes that other keys of it, such as 'label', may look like
    Shape("doccano with relations (text, entities with start_offset)", _is_doccano_relations, _read_doccano_relations),
    Shape(
        "doccano (text or data, label or labels: [start, end, label])", lambda r: bool(_triples_key(r)), _read_triples
    ),
    Shape("Argilla 2 (fields, responses)", _is_argilla_2, _read_argilla_2),
    Shape("Argilla 2, flat (QUESTION.responses)", _is_argilla_2_flat, _read_argilla_2_flat),
    Shape("Label Studio JSON (data, annotations)", _is_label_studio, _read_label_studio),
    Shape("Label Studio JSON_MIN (text, annotation_id)", _is_label_studio_min, _read_label_studio_min),
    Shape("Argilla 1 (text, annotation, status)", _is_argilla_1, _read_argilla_1),
    Shape("spaCy and Prodigy (text, spans)", _is_prodigy, _read_prodigy),
    Shape("spaCy's tuples ([text, {entities: [start, end, label]}])", _is_spacy_tuple, _read_spacy_tuple),
    Shape("words and tags (tokens, ner_tags)", lambda r: has(r, "tokens", "ner_tags"), _read_tags),
)
"""All shapes; the first one that recognizes a record reads it."""
