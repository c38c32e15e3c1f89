"""Records of JSON exports: the common form of the shapes of all annotation tools."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from span_marker.core.offsets import OFFSET_UNITS, OffsetUnit, convert_offsets
from span_marker.data.copies import check_copies
from span_marker.data.row_relations import RELATIONS, RowRelation, distinct_relations, parse_relations
from span_marker.data.rows import RowEntity, check_entity
from span_marker.data.values import as_whole, is_list

ROW_ID = "row_id"
"""The key of the ID of a row in tools that number tasks themselves. `read_annotations` returns it as ``id``."""

OFFSETS = "offsets"
"""The key of what the places in a task file count, see `span_marker.data.task_files`."""

SHOWN_IDS = 10
"""Maximum number of entity IDs in an error message."""


class Annotation(NamedTuple):
    """The annotation of a record by one annotator.

    Attributes:
        entities: The entities.
        annotator: Names of the annotator, such as number and address; empty if the shape has no names.
        relations: The relations between the entities; None if the record says nothing of them.
    """

    entities: list[RowEntity]
    annotator: frozenset[str] = frozenset()
    relations: Sequence[RowRelation] | None = None


class Record(NamedTuple):
    """A record, whatever shape it had.

    Attributes:
        content: The columns of its row, except ``entities``.
        annotations: The finished annotations.
        reason: Why there is no annotation, if there is none.
        task: The same for all records of one task, which several annotators may have.
        tags: Tags in place of entities. Their scheme is known only when the tags of all records are.
        ignored: Keys and results that are not read, and that the user should know of.
        repeated: Number of entity strings that occur several times in the text.
        is_unclear: Whether nothing says what the places count, and UTF-16 units are other places than characters.
    """

    content: dict[str, Any]
    annotations: list[Annotation]
    reason: str = "have no annotation"
    task: str | None = None
    tags: list[str] | None = None
    ignored: tuple[str, ...] = ()
    repeated: int = 0
    is_unclear: bool = False


class Shape(NamedTuple):
    """A shape of records.

    Attributes:
        name: The tools whose shape it is, and its keys.
        recognizes: Tells whether a record has it.
        read: Reads a record; the second argument is its location in errors.
        options: Names of the options of `span_marker.data.jsonl.read_json` that ``read`` takes.
        has_relations: Whether a record that says nothing of relations has none, if others of its file have some.
    """

    name: str
    recognizes: Callable[[Any], bool]
    read: Callable[..., Record]
    options: tuple[str, ...] = ()
    has_relations: bool = False


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
    """Return the text and the ``id`` of a record; without the latter if there is none.

    The ``row_id`` of a task file, see `span_marker.data.task_files`, comes before the tool's own number.

    Args:
        text: The text.
        record: The record.

    Returns:
        The columns.
    """
    identity = record.get("id") if record.get(ROW_ID) is None else record[ROW_ID]
    return {"text": text} if identity is None else {"id": identity, "text": text}


def pick_field(fields: Mapping[str, Any], location: str, field: str | None = None) -> str:
    """Find the text among fields.

    Args:
        fields: The fields.
        location: What to call the record in errors.
        field: The name of the text. Defaults to ``text``, or else to the only string.

    Returns:
        The name of the text.

    Raises:
        ValueError: If it is not a string; or, without ``field``, if there is no string, or several.
    """
    strings = [name for name, value in fields.items() if isinstance(value, str)]
    if field is not None:
        if field not in strings:
            raise ValueError(f"{location}: field={field!r} is not one of the texts {strings}")
        return field
    if "text" in strings:
        return "text"
    if len(strings) != 1:
        raise ValueError(f"{location}: which field is the text? It has {strings}: pass field= with one of them")
    return strings[0]


def read_spans(spans: Any, text: str, location: str, unit: OffsetUnit | None = None) -> list[RowEntity]:
    """Read dicts with ``label``, ``start`` and ``end``.

    Args:
        spans: The dicts.
        text: The text that they are about.
        location: What to call the record in errors.
        unit: What the places count; None for characters.

    Returns:
        The entities.

    Raises:
        TypeError: If a value has the wrong type.
        ValueError: If an entity is invalid, or is not what its copy says.
    """
    entities = []
    for span in dicts(spans, "spans", location):
        entity = read_span(span.get("label"), span.get("start"), span.get("end"), text, location, unit)
        check_copies(text, entity.start, entity.end, span, location)
        entities.append(entity)
    return entities


def read_span(label: Any, start: Any, end: Any, text: str, location: str, unit: OffsetUnit | None = None) -> RowEntity:
    """Read one entity of a text, whose places count ``unit``, see `span_marker.data.rows.check_entity`."""
    places = [place for place in map(as_whole, (start, end)) if place is not None]
    if unit not in (None, "codepoint") and len(places) == 2:
        try:
            start, end = convert_offsets(text, places, "codepoint", source=unit)
        except ValueError as error:
            raise ValueError(f"{location}: entity {label!r} from {start} to {end}: {error}") from error
    return check_entity({"label": label, "start": start, "end": end}, len(text), "characters", location)


def unit_of(metadata: Any, given: OffsetUnit | None) -> OffsetUnit | None:
    """Find out what places count.

    Args:
        metadata: The metadata of a record, as `span_marker.data.write_tasks` writes it.
        given: The unit that the caller gives, which comes first.

    Returns:
        The unit; None if nothing says so.
    """
    known = metadata.get(OFFSETS) if isinstance(metadata, Mapping) else None
    return given or (known if known in OFFSET_UNITS else None)


def is_unclear(text: str, entities: Sequence[RowEntity], unit: OffsetUnit | None) -> bool:
    """Tell whether places would be others if they counted UTF-16 units, and nothing says what they count."""
    last = max((entity.end for entity in entities), default=0)
    return unit is None and any(character > "\uffff" for character in text[:last])


def annotator_names(annotator: Any) -> frozenset[str]:
    """List the number and the address of an annotator; a record may have either or both."""
    values = [annotator.get("id"), annotator.get("email")] if isinstance(annotator, Mapping) else [annotator]
    return frozenset(str(value) for value in values if value is not None)


def fill_in_relations(rows: Sequence[dict[str, Any]], indices: Iterable[int]) -> None:
    """Give rows an empty list of relations in place, if any row has relations.

    Args:
        rows: The rows of a file.
        indices: Those that have no relations, where the format cannot tell this from relations that nobody annotated.
    """
    if any(RELATIONS in row for row in rows):
        for index in indices:
            rows[index].setdefault(RELATIONS, [])


def read_ends(
    relations: Sequence[tuple[Any, Any, Any]], places: Mapping[Any, Sequence[int]], num_entities: int, location: str
) -> list[RowRelation]:
    """Read relations whose ends are named by the IDs of entities.

    Args:
        relations: Label, and the IDs of head and tail, of each relation.
        places: The entities of each ID, as indices. A region with several labels is several entities.
        num_entities: Number of entities of the record.
        location: What to call the record in errors.

    Returns:
        The relations, each once. Those of several entities with one ID are relations of each of them.

    Raises:
        TypeError: If a label is not a string.
        ValueError: If there is no entity with an ID, a label is missing, or both ends are the same.
    """
    rows = []
    for index, (label, *ends) in enumerate(relations):
        for name, end in zip(("head", "tail"), ends, strict=True):
            if end not in places:
                raise ValueError(
                    f"{location}: relation {index} ({label!r}) has the {name} {end!r}, which is not one of the IDs of "
                    f"the entities: {list(places)[:SHOWN_IDS]!r}"
                )
        rows += [{"label": label, "head": head, "tail": tail} for head in places[ends[0]] for tail in places[ends[1]]]
    return distinct_relations(parse_relations(rows, num_entities, location))


def read_id(item: Mapping[str, Any], name: str, location: str) -> Any:
    """Read an ID.

    Args:
        item: What has it.
        name: Its key.
        location: What to call the record in errors.

    Returns:
        The ID; None if there is none.

    Raises:
        TypeError: If it is a list or a dict.
    """
    value = item.get(name)
    if isinstance(value, (list, Mapping)):
        raise TypeError(f"{location}: {name!r} must be a string or a number, not {value!r:.100}")
    return value


def ids_of(items: Sequence[Mapping[str, Any]], name: str, location: str) -> dict[Any, list[int]]:
    """Find the index of each entity by its ID.

    Args:
        items: The entities.
        name: The key of their IDs.
        location: What to call the record in errors.

    Returns:
        The indices. Entities without an ID are left out.

    Raises:
        TypeError: If an ID is a list or a dict.
        ValueError: If two have the same ID.
    """
    places: dict[Any, list[int]] = {}
    for index, item in enumerate(items):
        identity = read_id(item, name, location)
        if identity in places:
            raise ValueError(
                f"{location}: entities {places[identity][0]} and {index} both have the {name!r} {identity!r}"
            )
        if identity is not None:
            places[identity] = [index]
    return places
