"""Records of JSON exports: the one form that the shapes of all annotation tools are read into."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from span_marker.data.rows import RowEntity, check_entity, is_list


class Annotation(NamedTuple):
    """The annotation of a record by one annotator.

    Attributes:
        entities: The entities.
        annotator: Names of the annotator, such as number and address; empty if the shape has no names.
    """

    entities: list[RowEntity]
    annotator: frozenset[str] = frozenset()


class Record(NamedTuple):
    """A record, whatever shape it had.

    Attributes:
        content: The columns of its row, except ``entities``.
        annotations: The finished annotations.
        reason: Why there is no annotation, if there is none.
        task: The same for all records of one task, which several annotators may have.
        tags: Tags in place of entities. Their scheme is known only when the tags of all records are.
        ignored: Keys that are not read, and that the user should know of.
    """

    content: dict[str, Any]
    annotations: list[Annotation]
    reason: str = "have no annotation"
    task: str | None = None
    tags: list[str] | None = None
    ignored: tuple[str, ...] = ()


class Shape(NamedTuple):
    """A shape of records.

    Attributes:
        name: The tools whose shape it is, and its keys.
        recognizes: Tells whether a record has it.
        read: Reads a record; the second argument is its location in errors.
    """

    name: str
    recognizes: Callable[[Any], bool]
    read: Callable[[Any, str], Record]


def has(record: Any, *keys: str) -> bool:
    """Tell whether a value is a dict with these keys."""
    return isinstance(record, Mapping) and all(key in record for key in keys)


def dicts(value: Any, name: str, location: str) -> list[Mapping[str, Any]]:
    """Check that a value is a list of dicts.

    Args:
        value: The value.
        name: What to call it in errors.
        location: What to call the record in errors.

    Returns:
        The dicts; none if the value is None.

    Raises:
        TypeError: If it is something else.
    """
    if value is None:
        return []
    if not is_list(value) or not all(isinstance(item, Mapping) for item in value):
        raise TypeError(f"{location}: {name} must be a list of dicts, not {value!r}")
    return list(value)


def row_content(text: str, record: Mapping[str, Any]) -> dict[str, Any]:
    """Return the text and the ``id`` of a record; without the latter if there is none."""
    return {"text": text} if record.get("id") is None else {"id": record["id"], "text": text}


def pick_text(fields: Mapping[str, Any], location: str) -> str:
    """Find the text among fields.

    Args:
        fields: The fields.
        location: What to call the record in errors.

    Returns:
        The field ``text``, or else the only string.

    Raises:
        ValueError: If there is no string, or several.
    """
    if isinstance(fields.get("text"), str):
        return fields["text"]
    strings = [name for name, value in fields.items() if isinstance(value, str)]
    if len(strings) != 1:
        raise ValueError(f"{location}: which field is the text? It has {strings}: name one of them 'text'")
    return fields[strings[0]]


def read_spans(spans: Any, text: str, location: str) -> list[RowEntity]:
    """Read dicts with ``label``, ``start`` and ``end``.

    Args:
        spans: The dicts.
        text: The text that they are about.
        location: What to call the record in errors.

    Returns:
        The entities.

    Raises:
        TypeError: If a value has the wrong type.
        ValueError: If an entity is impossible.
    """
    return [
        read_span(span.get("label"), span.get("start"), span.get("end"), text, location)
        for span in dicts(spans, "spans", location)
    ]


def read_span(label: Any, start: Any, end: Any, text: str, location: str) -> RowEntity:
    """Read one entity of a text, see `span_marker.data.rows.check_entity`."""
    return check_entity({"label": label, "start": start, "end": end}, len(text), "characters", location)


def mismatch(text: str, entity: RowEntity, copy: Any, location: str) -> ValueError:
    """Make the error for a record whose own copy of a span differs from its text.

    Args:
        text: The text.
        entity: The span.
        copy: The copy.
        location: What to call the record in errors.

    Returns:
        The error. It says so if the offsets would be right in UTF-16 units.
    """
    message = (
        f"{location}: characters {entity.start} to {entity.end} of the text are {text[entity.start : entity.end]!r}, "
        f"but the annotation says {copy!r}"
    )
    units = text.encode("utf-16-le", "surrogatepass")[2 * entity.start : 2 * entity.end].decode("utf-16-le", "replace")
    if units == copy:
        message += ": the offsets count UTF-16 units, not characters"
    return ValueError(message)


def annotator_names(annotator: Any) -> frozenset[str]:
    """List the number and the address of an annotator; a record may have either or both."""
    values = [annotator.get("id"), annotator.get("email")] if isinstance(annotator, Mapping) else [annotator]
    return frozenset(str(value) for value in values if value is not None)
