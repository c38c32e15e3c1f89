"""Suggest changes to a record that is close to one of the known shapes."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from span_marker.data.forms import misspelled
from span_marker.data.values import is_list

_WORDS = ("tokens", "words", "token", "sentence", "text", "tokenized_text")
_TAGS = ("ner_tags", "tags", "labels", "ner", "ner_labels", "label", "targets", "iob", "bio")
_TEXTS = ("text", "sentence", "content", "document", "body", "data")
_ENTITIES = ("entities", "ents", "spans", "annotations", "labels", "label", "ner")


def advise(record: Any, shapes: Iterable[str]) -> str:
    """Suggest what a record needs to be readable.

    Args:
        record: A value of a JSON file.
        shapes: Names of the known shapes, with their keys in parentheses.

    Returns:
        The advice.

    Example:
        >>> advise({"words": ["Ann"], "tags": ["B-PER"]}, [])
        "rename 'words' to 'tokens' and 'tags' to 'ner_tags'"
    """
    if not isinstance(record, Mapping):
        return "a record must be a dict, such as {'text': 'Ann', 'entities': [{'label': 'PER', 'start': 0, 'end': 3}]}"
    if _is_old_spacy(record):
        return "spaCy 2 wrote it: convert it with 'python -m spacy convert FILE FOLDER', and read the .spacy file"
    words = _find(record, _WORDS, lambda value: is_list(value) and bool(value) and _are(str, value))
    text = _find(record, _TEXTS, lambda value: isinstance(value, str))
    tags = words and _find(record, _TAGS, lambda value: _are_tags(value, len(record[words])), besides=words)
    if words and tags:
        return _rename({words: "tokens", tags: "ner_tags"})
    content = words or text
    entities = content and _find(record, _ENTITIES, _are_entities, besides=content)
    if content and entities:
        return _rename({content: "tokens" if words else "text", entities: "entities"})
    known = {name: {*re.findall(r"\w+", name.partition("(")[2])} & {*map(str, record)} for name in shapes}
    nearest = max(known, key=lambda name: len(known[name]), default="")
    if known.get(nearest):
        return f"the nearest shape is {nearest}"
    return "a row has 'tokens' or 'text', and 'entities' or 'ner_tags'"


def _find(record: Mapping[str, Any], names: Sequence[str], fits: Any, besides: str | None = None) -> str | None:
    """The first name, or one that is a misspelled form of the first, whose value fits."""
    similar = [name for name, meant in misspelled(record).items() if meant == names[0]]
    found = (name for name in (*names, *similar) if name != besides and name in record)
    return next((name for name in found if fits(record[name])), None)


def _is_old_spacy(record: Mapping[str, Any]) -> bool:
    """Tell whether a record is a document of spaCy 2's training data."""
    paragraphs: Any = record.get("paragraphs")
    return is_list(paragraphs) and any(isinstance(item, Mapping) and "sentences" in item for item in paragraphs)


def _are(kind: Any, values: Any) -> bool:
    return all(isinstance(value, kind) for value in values)


def _are_tags(value: Any, num_words: int) -> bool:
    return is_list(value) and len(value) == num_words and (_are(str, value) or _are(int, value))


def _are_entities(value: Any) -> bool:
    return is_list(value) and all(isinstance(item, Mapping) and "label" in item for item in value)


def _rename(names: Mapping[str, str]) -> str:
    changes = [f"{old!r} to {new!r}" for old, new in names.items() if old != new]
    return f"rename {' and '.join(changes)}" if changes else "some values of its entities are missing or malformed"
