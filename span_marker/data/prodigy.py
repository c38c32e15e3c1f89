"""Records of Prodigy, and similar ones of spaCy: ``text`` and ``spans``, and ``relations`` between spans or tokens.

A relation has ``head_span`` and ``child_span``, and ``head`` and ``child``, the numbers of the last tokens of these.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

from span_marker.core.words import unicode_words
from span_marker.data.json_records import Annotation, Record, annotator_names, dicts, has, read_spans, row_content
from span_marker.data.row_relations import RELATIONS, RowRelation, distinct_relations, parse_relations
from span_marker.data.rows import RowEntity, check_text

_TOKEN_RELATIONS = "relations between tokens that are not entities"

_CHUNK = re.compile(r"\S+")


def is_prodigy(record: Any) -> bool:
    """Tell whether a value is a record of Prodigy or spaCy."""
    return has(record, "text", "spans") or has(record, "text", "tokens", "answer")


def read_prodigy(record: Any, location: str) -> Record:
    """Read a record.

    Args:
        record: The record.
        location: What to call it in errors.

    Returns:
        The record, without those relations that have a token or a span as an end that is no entity.

    Raises:
        TypeError: If a value has the wrong type.
        ValueError: If an entity or a relation is invalid.
    """
    check_text(record["text"], f"{location}: 'text'")
    text, spans = str(record["text"]), dicts(record.get("spans"), "spans", location)
    task = None if record.get("_input_hash") is None else str(record["_input_hash"])
    if record.get("answer", "accept") != "accept":
        return Record(row_content(text, record), [], f"have the answer {record['answer']!r}", task)
    entities = read_spans(spans, text, location)
    names = annotator_names(record.get("_annotator_id") or record.get("_session_id"))
    relations, is_whole = _read_relations(record, spans, entities, location)
    annotation = Annotation(entities, names, relations if record.get(RELATIONS) else None)
    return Record(row_content(text, record), [annotation], task=task, ignored=() if is_whole else (_TOKEN_RELATIONS,))


def _read_relations(
    record: Mapping[str, Any], spans: Sequence[Mapping[str, Any]], entities: Sequence[RowEntity], location: str
) -> tuple[list[RowRelation], bool]:
    """Read the relations between entities; and tell whether these are all."""
    items = dicts(record.get(RELATIONS), RELATIONS, location)
    rows = []
    for index, item in enumerate(items):
        subject = f"{location}: relation {index} ({item.get('label')!r})"
        ends = [
            _find_end(item.get(f"{name}_span"), item.get(name), spans, entities, f"{subject}, the {name}")
            for name in ("head", "child")
        ]
        if None not in ends:
            rows.append({"label": item.get("label"), "head": ends[0], "tail": ends[1]})
    return distinct_relations(parse_relations(rows, len(entities), location)), len(rows) == len(items)


def _find_end(
    span: Any, token: Any, spans: Sequence[Mapping[str, Any]], entities: Sequence[RowEntity], subject: str
) -> int | None:
    """Find the entity at one end of a relation; None if a token or a span is there that is no entity."""
    if isinstance(span, Mapping):
        wanted, label = (span.get("start"), span.get("end")), span.get("label")
        found = [i for i, entity in enumerate(entities) if entity[1:3] == wanted and label in (None, entity.label)]
    else:
        if token is None:
            raise ValueError(
                f"{subject} is missing: a relation has 'head' and 'child', or 'head_span' and 'child_span'"
            )
        found = [i for i, other in enumerate(spans) if other.get("token_end") == token]
    if len({entities[index] for index in found}) > 1:
        raise ValueError(
            f"{subject} may be any of the entities {found}: add 'head_span' and 'child_span' with a 'label' to tell "
            "which"
        )
    return found[0] if found else None


def relation_fields(text: str, entities: Sequence[RowEntity], relations: Sequence[RowRelation]) -> dict[str, Any]:
    """Write the fields that a record with relations has.

    Args:
        text: The text.
        entities: Its entities.
        relations: The relations between them.

    Returns:
        ``tokens``, which are Unicode's words, cut where entities begin or end, so that words without the punctuation
        beside them can be selected; ``spans`` and ``relations``, which name them.
    """
    edges = {edge for place in (*unicode_words(text), *(entity[1:3] for entity in entities)) for edge in place}
    tokens: list[dict[str, Any]] = []
    for chunk in _CHUNK.finditer(text):
        first, last = chunk.span()
        bounds = [first, *sorted(edge for edge in edges if first < edge < last), last]
        for start, end in pairwise(bounds):
            has_space = end == last and text[end : end + 1] == " "
            tokens.append({"text": text[start:end], "start": start, "end": end, "id": len(tokens), "ws": has_space})
    spans = [{**entity.to_dict(), **_token_range(entity, tokens)} for entity in entities]
    bare = [{name: value for name, value in span.items() if name != "score"} for span in spans]
    records = [
        {
            **({} if relation.score is None else {"score": relation.score}),
            "label": relation.label,
            "head": bare[relation.head]["token_end"],
            "child": bare[relation.tail]["token_end"],
            "head_span": bare[relation.head],
            "child_span": bare[relation.tail],
        }
        for relation in relations
    ]
    return {"tokens": tokens, "spans": spans, RELATIONS: records}


def _token_range(entity: RowEntity, tokens: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    inside = [token["id"] for token in tokens if token["start"] < entity.end and token["end"] > entity.start]
    inside = inside or [next((token["id"] for token in tokens if token["start"] >= entity.end), len(tokens) - 1)]
    return {"token_start": inside[0], "token_end": inside[-1]}
