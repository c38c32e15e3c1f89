"""Annotated rows: their contents, and the one reader that validates them.

A row has words (``tokens``) or a text (``text``), and its entities: dicts with ``label``, ``start`` and ``end``, which
count words or characters, ends exclusive. Rows with entities may also have ``relations`` between them, see
`span_marker.data.row_relations`. Predictions are read as entities, too. Values of the wrong type raise `TypeError`,
invalid values raise `ValueError`. Nothing is repaired, with two exceptions: an entity of a text is extended to all of
each grapheme that it touches (`span_marker.core.graphemes`), and 3.0 is accepted as a whole number, since tables
convert a column of integers to floats if a value is missing. `span_marker.data.tags` reads rows with tags.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from itertools import accumulate
from numbers import Real
from typing import Any, Literal, NamedTuple

from span_marker.core.graphemes import has_clusters, whole_spans
from span_marker.core.labels import OUTSIDE, LabelledSpan
from span_marker.data.copies import check_copied_words, check_copies
from span_marker.data.entity_keys import advise_keys
from span_marker.data.forms import FORMS, find_form
from span_marker.data.plain_entities import read_plain_entities
from span_marker.data.row_relations import (
    RELATIONS,
    RelationKind,
    RowRelation,
    move_relations,
    read_relations,
)
from span_marker.data.values import as_whole, check_list, is_list, suggest_dict

Kind = Literal["words", "text"]
Unit = Literal["words", "characters"]

COLUMNS: dict[Kind, str] = {"words": "tokens", "text": "text"}
"""The column of words, and that of a text."""

UNITS: dict[Kind, Unit] = {"words": "words", "text": "characters"}
"""What ``start`` and ``end`` count."""

PREDICTED: dict[Unit, tuple[str, str]] = {
    "words": ("word_start_index", "word_end_index"),
    "characters": ("char_start_index", "char_end_index"),
}
"""Names of ``start`` and ``end`` in predictions, by the unit that they count."""


class RowEntity(NamedTuple):
    """An entity of a row: ``start`` and ``end`` count words or characters, as the row does."""

    label: str
    start: int
    end: int
    score: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return the entity as a dict, with its score unless that is None."""
        fields = self._asdict()
        return fields if self.score is not None else {name: fields[name] for name in ("label", "start", "end")}


class Row(NamedTuple):
    """A parsed row.

    Attributes:
        kind: Whether it has words or a text.
        content: The words or the text.
        entities: The entities, in the order of the row.
        relations: The relations, in the order of the row: their indices count ``entities``.
    """

    kind: Kind
    content: Any
    entities: list[RowEntity]
    relations: tuple[RowRelation, ...] = ()

    @property
    def unit(self) -> Unit:
        """What the entities count."""
        return UNITS[self.kind]

    @property
    def spans(self) -> list[LabelledSpan]:
        """The entities without their scores."""
        return [LabelledSpan(*entity[:3]) for entity in self.entities]


class RowProblem(NamedTuple):
    """A problem of a row.

    Attributes:
        kind: A key of `span_marker.validation.report.KINDS`.
        error: The error that reading the row raises.
        start: First word or character of the part that it is about; None if it is about the whole row, or unknown.
        end: The one after the last.
        label: Label of the entity or the relation that it is about.
        entity: Index of this entity in the list of the row; of one with an unknown label, among those that were read.
        relation: Index of this relation in the list of the row.
    """

    kind: Literal["malformed-row", "malformed-entity", "tag-count", "unknown-tag", "unknown-label"] | RelationKind
    error: TypeError | ValueError
    start: int | None = None
    end: int | None = None
    label: str | None = None
    entity: int | None = None
    relation: int | None = None


def parse_row(row: Any, location: str) -> Row:
    """Read a row with entities or predictions.

    Args:
        row: A dict with ``tokens`` or ``text``, ``entities``, and optionally ``relations``.
        location: What to call the row in errors, such as ``row 3``.

    Returns:
        The row.

    Raises:
        TypeError: If the row or a value has the wrong type.
        ValueError: If the row has neither words nor a text, or both, or an entity is invalid.

    Example:
        >>> parse_row({"tokens": ["Ann", "went"], "entities": [{"label": "PER", "start": 0, "end": 4}]}, "row 0")
        Traceback (most recent call last):
        ValueError: row 0: entity 'PER' ends at word 4, but the row has only 2 words
    """
    if not isinstance(row, Mapping):
        raise TypeError(f"{location}: a row must be a dict with 'tokens' or 'text', not {type(row).__name__}")
    filled = {column for column in COLUMNS.values() if row.get(column) is not None}
    form = find_form([name for name in row if not filled or name not in COLUMNS.values() or name in filled], location)
    if form == "tags":
        raise ValueError(
            f"{location} has 'ner_tags', which cannot be interpreted without the other rows: pass a Dataset of all rows"
        )
    content, entities = (row[column] for column in FORMS[form])
    return first_error(*read_row(form, content, entities, location, row.get(RELATIONS)))


def read_row(
    kind: Kind, content: Any, entities: Any, location: str, relations: Any = None
) -> tuple[Row | None, list[RowProblem]]:
    """Read a row with entities, and find all of its problems.

    Args:
        kind: Whether ``content`` should be words or a text.
        content: The words or the text.
        entities: A list of dicts, see `check_entity`.
        location: What to call the row in errors.
        relations: A list of dicts, see `span_marker.data.row_relations.check_relation`; None if it has no relations.

    Returns:
        The row, with all readable entities and the relations between them, or None if it is not a row at all; and its
        problems.
    """
    try:
        check_content(kind, content, location)
        if isinstance(entities, Mapping):
            raise TypeError(
                f"{location}: 'entities' must be a list, not dict: datasets turns a Sequence of dicts into a dict of "
                "lists, so make the column a List"
            )
        entities = check_list(entities, f"{location}: 'entities'")
        found, wrong = read_relations(relations, len(entities), location)
    except TypeError as error:
        return None, [RowProblem("malformed-row", error)]
    length, unit = len(content), UNITS[kind]
    plain = read_plain_entities(content, entities, PREDICTED[unit]) if kind == "text" else None
    row = Row(kind, content, list(map(RowEntity, *plain[:4])) if plain else [])
    problems = []
    places: list[int | None] = list(range(len(row.entities)))
    for index, entity in enumerate(entities if plain is None else ()):
        places.append(None)
        try:
            read = check_entity(entity, length, unit, location)
            if kind == "words":
                check_copied_words(content, read[1], read[2], entity.get("span"), location)
            check_copies(content, read[1], read[2], entity, location)
            places[-1] = len(row.entities)
            row.entities.append(read)
        except (TypeError, ValueError) as error:
            problems.append(RowProblem("malformed-entity", error, *_readable_fields(entity), index))
    if kind == "text" and plain is None and has_clusters(content):
        whole = whole_spans(content, [entity[1:3] for entity in row.entities])
        row.entities[:] = [RowEntity(old[0], *new, old[3]) for old, new in zip(row.entities, whole, strict=True)]
    problems += [RowProblem(kind, error, label=label, relation=index) for kind, error, label, index in wrong]
    return row._replace(relations=tuple(move_relations(found, places))), problems


def _readable_fields(entity: Any) -> tuple[int | None, int | None, str | None]:
    """Start, end and label of a malformed entity, as far as they can be read."""
    fields = entity if isinstance(entity, Mapping) else {}
    pairs = [("start", "end"), *PREDICTED.values()]
    names = next((pair for pair in pairs if fields.get(pair[0]) is not None), pairs[0])
    start, end = map(as_whole, map(fields.get, names))
    label = fields.get("label")
    return start, end, label if isinstance(label, str) else None


def first_error(row: Row | None, problems: Sequence[RowProblem]) -> Row:
    """Raise the first problem of a row.

    Args:
        row: A row as `read_row` or `read_tags` returns it.
        problems: Its problems.

    Returns:
        The row, if it has no problem.

    Raises:
        TypeError: If the first problem is a value of the wrong type.
        ValueError: If it is a wrong value.
    """
    if problems or row is None:
        raise problems[0].error
    return row


def check_content(kind: Kind, content: Any, location: str) -> None:
    """Check the words or the text of a row, see `check_words` and `check_text`."""
    check = check_text if kind == "text" else check_words
    check(content, f"{location}: {COLUMNS[kind]!r}")


def check_words(words: Any, name: str) -> None:
    """Check that a value is a list of words.

    Args:
        words: The value.
        name: What to call it in errors.

    Raises:
        TypeError: If it is not.
    """
    if not is_list(words):
        raise TypeError(f"{name} must be a list of words, not {type(words).__name__}")
    for position, word in enumerate(words):
        if not isinstance(word, str):
            raise TypeError(f"{name}[{position}]={word!r} must be a word (a string), not {type(word).__name__}")


def check_text(text: Any, name: str) -> None:
    """Check that a value is a text.

    Args:
        text: The value.
        name: What to call it in errors.

    Raises:
        TypeError: If it is not.
    """
    if not isinstance(text, str):
        raise TypeError(f"{name} must be a string, not {type(text).__name__}")


def check_entity(entity: Any, length: int, unit: Unit, location: str) -> RowEntity:
    """Read an entity.

    Args:
        entity: A dict with ``label``, ``start`` and ``end`` (exclusive), or as ``predict`` returns it.
        length: Number of words or characters of the row.
        unit: What start and end count.
        location: What to call the row in errors.

    Returns:
        The entity.

    Raises:
        TypeError: If it is not a dict, the label is not a string, a bound is not a whole number, or the score is not a
            number.
        ValueError: If a field is missing, the label is empty or ``O``, or the range is empty or outside of the row.
    """
    if not isinstance(entity, (dict, Mapping)):  # dict is quicker to check
        raise TypeError(
            f"{location}: entity {entity!r} must be a dict with 'label', 'start' and 'end', not "
            f"{type(entity).__name__}{suggest_dict(entity)}"
        )
    get = entity.get
    label, start, end, score = get("label"), get("start"), get("end"), get("score")
    if start is None and get(PREDICTED[unit][0]) is not None:
        start, end = map(get, PREDICTED[unit])
    if label is None or start is None or end is None:
        name = "label" if label is None else "start" if start is None else "end"
        raise ValueError(f"{location}: entity {dict(entity)!r} has no {name!r}{advise_keys(entity)}")
    if not isinstance(label, str):
        kind = type(label).__name__
        raise TypeError(f"{location}: the label of entity {dict(entity)!r} must be a string, not {kind}: pass its name")
    if label.strip() in ("", OUTSIDE):
        raise ValueError(f"{location}: entity {dict(entity)!r} must have a label other than '' and {OUTSIDE!r}")
    if score is not None and type(score) is not float:
        if isinstance(score, bool) or not isinstance(score, Real):
            raise TypeError(f"{location}: 'score' of entity {label!r} must be a number, not {score!r}")
        score = float(score)
    first, last = as_whole(start), as_whole(end)
    if first is None or last is None or not 0 <= first < last <= length:
        raise _range_error(start, end, length, unit, f"entity {label!r}", location)
    return RowEntity(label, first, last, score)


def _range_error(start: Any, end: Any, length: int, unit: Unit, subject: str, location: str) -> TypeError | ValueError:
    for name, value in (("start", start), ("end", end)):
        if as_whole(value) is None:
            kind = type(value).__name__
            return TypeError(f"{location}: {name!r} of {subject} must be a whole number, not {value!r} ({kind})")
    start, end = int(start), int(end)
    one, subject = unit.removesuffix("s"), f"{location}: {subject}"
    if start < 0:
        return ValueError(f"{subject} starts at {one} {start}, but the first {one} is {one} 0")
    if start == end:
        hint = f": did you mean {end + 1}?" if end < length else ""
        return ValueError(f"{subject} is empty: it starts and ends at {one} {start}, but its end is exclusive{hint}")
    if start > end:
        return ValueError(f"{subject} ends at {one} {end}, before its start at {one} {start}")
    unit_or_one = one if length == 1 else unit
    return ValueError(f"{subject} ends at {one} {end}, but the row has only {length} {unit_or_one}")


def unknown_labels(row: Row, classes: Collection[str], location: str) -> list[RowProblem]:
    """Find the entities of a row whose label a model does not have.

    Args:
        row: The row.
        classes: The labels of the model.
        location: What to call the row in errors.

    Returns:
        A problem for each of these entities.
    """
    return [
        RowProblem("unknown-label", _unknown_label(label, classes, location), start, end, label, index)
        for index, (label, start, end, _) in enumerate(row.entities)
        if label not in classes
    ]


def _unknown_label(label: str, classes: Collection[str], location: str) -> ValueError:
    known = [name for name in classes if name != OUTSIDE]
    bare = [name.strip().casefold().removeprefix("b-").removeprefix("i-") for name in (label, *known)]
    alike = f"did you mean {known[bare.index(bare[0], 1) - 1]!r}? Otherwise, " if bare[0] in bare[1:] else ""
    reason = f"entity {label!r} has a label that is not one of {known}: {alike}make a new model to add it"
    return ValueError(f"{location}: {reason}")


def distinct(entities: Iterable[RowEntity]) -> list[RowEntity]:
    """Sort entities by place, longer ones first, and remove repetitions.

    Args:
        entities: Entities of one row.

    Returns:
        The entities that differ in label or range, each with its first score.
    """
    kept: dict[tuple[str, int, int], RowEntity] = {}
    for entity in entities:
        kept.setdefault(entity[:3], entity)
    return sorted(kept.values(), key=lambda entity: (entity.start, -entity.end, entity.label))


def as_text(row: Row) -> tuple[str, list[RowEntity]]:
    """Return a row as text; words are joined by single spaces.

    Args:
        row: The row.

    Returns:
        The text, and the entities in characters.
    """
    if row.kind == "text":
        return row.content, row.entities
    text, starts = join_words(row.content)
    return text, [entity._replace(start=starts[entity.start], end=starts[entity.end] - 1) for entity in row.entities]


def join_words(words: Sequence[str]) -> tuple[str, list[int]]:
    """Join words by single spaces.

    Args:
        words: The words.

    Returns:
        The text, and the first character of each word and of one more that might follow, ``(num_words + 1,)``: words
        ``start`` to ``end`` are the characters ``starts[start]`` to ``starts[end] - 1``.

    Example:
        >>> join_words(["New", "York"])
        ('New York', [0, 4, 9])
    """
    return " ".join(words), [0, *accumulate(len(word) + 1 for word in words)]
