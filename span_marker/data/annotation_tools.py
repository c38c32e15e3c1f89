"""The JSON of annotation tools: one shape a tool, recognised by the keys of a record.

Offsets count code points in all of them. Where a record repeats the text of a span, it is compared with the text
between the offsets, so that data which counts otherwise is not read as something else.
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
    read_spans,
    row_content,
)
from span_marker.data.rows import RowEntity, check_entity, is_list, parse_row

_META_OF_JSON_MIN = {"id", "annotator", "annotation_id", "created_at", "updated_at", "lead_time", "agreement"}
_TRIPLES = ("label", "labels", "entities")


def find_shape(record: Any, where: str) -> Shape:
    """Find the shape of a record.

    Args:
        record: What the JSON says.
        where: What to call it in errors.

    Returns:
        The first of `SHAPES` that recognises it.

    Raises:
        ValueError: If none does.
    """
    for shape in SHAPES:
        if shape.recognises(record):
            return shape
    what = f"the keys {sorted(record)}" if isinstance(record, Mapping) else f"the type {type(record).__name__}"
    raise ValueError(f"{where} has {what}, which is none of the known shapes: {', '.join(s.name for s in SHAPES)}")


# Rows of this library


def _is_row(record: Any) -> bool:
    if not (has(record, "entities") and ("tokens" in record or "text" in record)):
        return False
    return all(isinstance(item, Mapping) and "start_offset" not in item for item in _items(record["entities"]))


def _items(value: Any) -> list[Any]:
    return list(value) if is_list(value) else []


def _read_row(record: Any, where: str) -> Record:
    entities = [entity._replace(score=None) for entity in parse_row(record, where).entities]
    return Record({name: value for name, value in record.items() if name != "entities"}, [Annotation(entities)])


def _read_tags(record: Any, where: str) -> Record:
    words, tags = record["tokens"], record["ner_tags"]
    parse_row({"tokens": words, "entities": []}, where)
    if not is_list(tags) or not all(isinstance(tag, str) for tag in tags):
        raise ValueError(f"{where}: 'ner_tags' must be strings such as 'B-PER', since the file has no label names")
    if len(words) != len(tags):
        raise ValueError(f"{where} has {len(words)} 'tokens' but {len(tags)} 'ner_tags': every word needs one tag")
    content = {name: value for name, value in record.items() if name != "ner_tags"}
    return Record(content, [Annotation([])], tags=list(tags))


# Triples and tuples


def _is_triple(item: Any) -> bool:
    return is_list(item) and len(item) == 3


def _triples_key(record: Any) -> str | None:
    if not (has(record) and isinstance(record.get("text", record.get("data")), str)):
        return None
    return next((k for k in _TRIPLES if is_list(record.get(k)) and all(map(_is_triple, record[k]))), None)


def _read_triples(record: Any, where: str) -> Record:
    return _from_triples(record.get("text", record.get("data")), record[_triples_key(record)], record, where)


def _from_triples(text: Any, triples: Any, record: Mapping[str, Any], where: str) -> Record:
    if not isinstance(text, str):
        raise ValueError(f"{where}: the text must be a string, not {text!r}")
    if not is_list(triples) or not all(map(_is_triple, triples)):
        raise ValueError(f"{where}: entities must be a list of [start, end, label], not {triples!r}")
    entities = [check_entity(label, start, end, len(text), where) for start, end, label in triples]
    return Record(row_content(text, record), [Annotation(entities)])


def _is_spacy_tuple(record: Any) -> bool:
    return is_list(record) and len(record) == 2 and isinstance(record[0], str) and has(record[1], "entities")


def _read_spacy_tuple(record: Any, where: str) -> Record:
    return _from_triples(record[0], record[1]["entities"], {}, where)


def _is_doccano_relations(record: Any) -> bool:
    return has(record, "text", "entities") and any(has(item, "start_offset") for item in _items(record["entities"]))


def _read_doccano_relations(record: Any, where: str) -> Record:
    items = dicts(record["entities"], "entities", where)
    triples = [[item.get("start_offset"), item.get("end_offset"), item.get("label")] for item in items]
    return _from_triples(record["text"], triples, record, where)


# Prodigy


def _is_prodigy(record: Any) -> bool:
    return has(record, "text", "spans") or has(record, "text", "tokens", "answer")


def _read_prodigy(record: Any, where: str) -> Record:
    text, spans = pick_text({"text": record["text"]}, where), dicts(record.get("spans"), "spans", where)
    task = _name(record.get("_input_hash"))
    if record.get("answer", "accept") != "accept":
        return Record(row_content(text, record), [], f"have the answer {record['answer']!r}", task)
    entities = read_spans(spans, text, where)
    for span, entity in zip(spans, entities, strict=True):
        if span.get("text", text[entity.start : entity.end]) != text[entity.start : entity.end]:
            raise mismatch(text, entity, span["text"], where)
    names = annotator_names(record.get("_annotator_id") or record.get("_session_id"))
    return Record(row_content(text, record), [Annotation(entities, names)], task=task)


# Label Studio


def _is_label_studio(record: Any) -> bool:
    return (
        has(record, "data") and isinstance(record["data"], Mapping) and bool({"annotations", "completions"} & {*record})
    )


def _read_label_studio(record: Any, where: str) -> Record:
    text = pick_text(record["data"], where)
    given = dicts(record.get("annotations", record.get("completions")), "annotations", where)
    finished = [one for one in given if not (one.get("was_cancelled") or one.get("skipped"))]
    annotations = []
    for one in finished:
        regions = [region.get("value") for region in dicts(one.get("result"), "result", where)]
        entities = [entity for region in regions for entity in _read_region(region, text, where)]
        annotations.append(Annotation(entities, annotator_names(one.get("completed_by"))))
    return Record(row_content(text, record), annotations, "were skipped" if given else "have no annotation")


def _is_region(value: Any) -> bool:
    """Tell whether a value is a labelled region, and not a choice or a relation."""
    return isinstance(value, Mapping) and ("start" in value or any(key.endswith("labels") for key in value))


def _read_region(value: Any, text: str, where: str) -> list[RowEntity]:
    if not _is_region(value):
        return []
    others = [key for key in value if key.endswith("labels") and key != "labels"]
    if others:
        raise ValueError(f"{where} has a region with {others[0]!r}: only 'labels' of a Text can be read")
    labels = value.get("labels") or [None]
    if not is_list(labels):
        raise ValueError(f"{where}: the 'labels' of a region must be a list, not {labels!r}")
    entities = [check_entity(label, value.get("start"), value.get("end"), len(text), where) for label in labels]
    between, found = text[entities[0].start : entities[0].end], value.get("text")
    # The browser's copy of a span has \n as two characters and may have lost white space.
    if isinstance(found, str) and _squeeze(found) != _squeeze(between):
        raise mismatch(text, entities[0], found, where)
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


def _read_label_studio_min(record: Any, where: str) -> Record:
    text = pick_text({key: value for key, value in record.items() if key not in _META_OF_JSON_MIN}, where)
    regions = [region for key in _region_keys(record) for region in dicts(record[key], key, where)]
    entities = [entity for region in regions for entity in _read_region(region, text, where)]
    names = annotator_names(record.get("annotator"))
    return Record(row_content(text, record), [Annotation(entities, names)], task=_name(record.get("id")))


# Argilla


def _is_argilla_1(record: Any) -> bool:
    return has(record, "text", "annotation", "status") or has(record, "text", "annotation", "annotation_agent")


def _read_argilla_1(record: Any, where: str) -> Record:
    text, spans = pick_text({"text": record["text"]}, where), record["annotation"]
    content, status = row_content(text, record), record.get("status") or "Validated"
    if status != "Validated":
        return Record(content, [], f"have the status {status!r}")
    if spans is None:
        return Record(content, [])
    if is_list(spans):
        names = ("label", "start", "end")
        spans = [dict(zip(names, span, strict=True)) if _is_triple(span) else span for span in spans]
    return Record(content, [Annotation(read_spans(spans, text, where))])


def _is_argilla_2(record: Any) -> bool:
    return has(record, "fields", "responses") and isinstance(record["fields"], Mapping)


def _read_argilla_2(record: Any, where: str) -> Record:
    text = pick_text(record["fields"], where)
    responses = record["responses"] or {}
    if not isinstance(responses, Mapping):
        raise ValueError(f"{where}: 'responses' must be a dict of questions, not {responses!r}")
    answers = {name: dicts(given, f"responses of {name!r}", where) for name, given in responses.items()}
    questions = [name for name, given in answers.items() if _are_spans([one.get("value") for one in given])]
    if len(questions) > 1:
        raise ValueError(f"{where}: the questions {questions} all have spans: export one of them")
    annotations = [
        Annotation(read_spans(one["value"], text, where), annotator_names(one.get("user_id")))
        for name in questions
        for one in answers[name]
        if (one.get("status") or "submitted") == "submitted" and one.get("value") is not None
    ]
    return Record(row_content(text, record), annotations, "have no submitted response")


def _are_spans(values: list[Any]) -> bool:
    """Tell answers to a question of spans from those to others, such as labels or a ranking."""
    given = [value for value in values if value is not None]
    return bool(given) and all(is_list(value) and all(has(item, "start") for item in value) for value in given)


def _is_argilla_2_flat(record: Any) -> bool:
    return has(record) and any(key.endswith(".responses") for key in record)


def _read_argilla_2_flat(record: Any, where: str) -> Record:
    responses = {}
    for key, values in record.items():
        if key.endswith(".responses") and values is not None:
            users, states = record.get(f"{key}.users"), record.get(f"{key}.status")
            columns = [column if is_list(column) else [None] * len(_items(values)) for column in (users, states)]
            if not is_list(values) or any(len(column) != len(values) for column in columns):
                raise ValueError(f"{where}: {key!r} must be a list with as many items as '{key}.users' and '.status'")
            answers = zip(values, *columns, strict=True)
            responses[key] = [{"value": value, "user_id": user, "status": state} for value, user, state in answers]
    fields = {key: value for key, value in record.items() if "." not in key and key not in ("id", "_server_id")}
    return _read_argilla_2({"id": record.get("id"), "fields": fields, "responses": responses}, where)


SHAPES = (
    Shape("rows of this library (tokens or text, entities)", _is_row, _read_row),
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
"""All shapes; the first one that recognises a record reads it."""
