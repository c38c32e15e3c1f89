"""Records of JSON exports: what all shapes of annotation tools come down to."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from span_marker.data.rows import RowEntity, check_entity, is_list


class Annotation(NamedTuple):
    """What one annotator said of a record.

    Attributes:
        entities: The entities.
        annotator: Names of the annotator, such as number and address; none if the shape has no names.
    """

    entities: list[RowEntity]
    annotator: frozenset[str] = frozenset()


class Record(NamedTuple):
    """A record, without the shape that it came in.

    Attributes:
        content: The columns of its row, but ``entities``.
        annotations: Those that are finished.
        reason: Why there is none, if there is none.
        task: What records have in common that are the same task for several annotators.
        tags: Tags that stand for the entities, whose scheme is known when those of all records are.
    """

    content: dict[str, Any]
    annotations: list[Annotation]
    reason: str = "have no annotation"
    task: str | None = None
    tags: list[str] | None = None


class Shape(NamedTuple):
    """A shape of records.

    Attributes:
        name: Whose it is.
        recognises: Tells whether a record has it.
        read: Reads a record; the second argument is what to call it in errors.
    """

    name: str
    recognises: Callable[[Any], bool]
    read: Callable[[Any, str], Record]


def has(record: Any, *keys: str) -> bool:
    """Tell whether something is a dict with these keys."""
    return isinstance(record, Mapping) and all(key in record for key in keys)


def dicts(value: Any, what: str, where: str) -> list[Mapping[str, Any]]:
    """Check that something is a list of dicts.

    Args:
        value: What should be one.
        what: What to call it in the error.
        where: What to call the record.

    Returns:
        The dicts; none if the value is None.

    Raises:
        ValueError: If it is something else.
    """
    if value is None:
        return []
    if not is_list(value) or not all(isinstance(item, Mapping) for item in value):
        raise ValueError(f"{where}: {what} must be a list of dicts, not {value!r}")
    return list(value)


def row_content(text: str, record: Mapping[str, Any]) -> dict[str, Any]:
    """The text and, if the record has one, its ``id``."""
    return {"text": text} if record.get("id") is None else {"id": record["id"], "text": text}


def pick_text(fields: Mapping[str, Any], where: str) -> str:
    """Find the text among fields.

    Args:
        fields: The fields.
        where: What to call the record in errors.

    Returns:
        The field ``text``, or else the only one that is a string.

    Raises:
        ValueError: If there is none or several.
    """
    if isinstance(fields.get("text"), str):
        return fields["text"]
    strings = [name for name, value in fields.items() if isinstance(value, str)]
    if len(strings) != 1:
        raise ValueError(f"{where}: which field is the text? It has {strings}: name one of them 'text'")
    return fields[strings[0]]


def read_spans(spans: Any, text: str, where: str) -> list[RowEntity]:
    """Read dicts with ``label``, ``start`` and ``end``.

    Args:
        spans: The dicts.
        text: The text that they are about.
        where: What to call the record in errors.

    Returns:
        The entities.

    Raises:
        ValueError: If they are something else, or not inside of the text.
    """
    found = dicts(spans, "spans", where)
    return [check_entity(span.get("label"), span.get("start"), span.get("end"), len(text), where) for span in found]


def mismatch(text: str, entity: RowEntity, found: Any, where: str) -> ValueError:
    """Make the error for a record whose own copy of a span differs from its text.

    Args:
        text: The text.
        entity: The span.
        found: The copy.
        where: What to call the record.

    Returns:
        The error; it says so if the offsets would be right as UTF-16 units.
    """
    message = (
        f"{where}: characters {entity.start} to {entity.end} of the text are {text[entity.start : entity.end]!r}, but "
        f"the annotation says {found!r}"
    )
    units = text.encode("utf-16-le", "surrogatepass")[2 * entity.start : 2 * entity.end].decode("utf-16-le", "replace")
    if units == found:
        message += ": the offsets count UTF-16 units, not characters"
    return ValueError(message)


def annotator_names(annotator: Any) -> frozenset[str]:
    """Number and address of an annotator, of which a record may have either or both."""
    values = [annotator.get("id"), annotator.get("email")] if isinstance(annotator, Mapping) else [annotator]
    return frozenset(str(value) for value in values if value is not None)
