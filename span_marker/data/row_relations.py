"""Relations of a row: their form, and checks of their validity.

A relation has a ``label``, and leads from its ``head`` to its ``tail``. Both are indices into the ``entities`` of the
row, from 0, so that words and texts have the same relations. Values of the wrong type raise `TypeError`,
wrong values raise `ValueError`, as those of entities do, see `span_marker.data.rows`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from numbers import Real
from typing import Any, Literal, NamedTuple

from span_marker.core.alignment import trim_entities
from span_marker.core.labels import LabelledSpan
from span_marker.core.relation_metrics import LabelledRelation
from span_marker.core.relations import NO_RELATION
from span_marker.data.values import as_whole, check_list

RELATIONS = "relations"
"""The column of the relations."""

REMOVE = f"rename or remove the column {RELATIONS!r} if it has something else"

RelationKind = Literal["malformed-relation", "self-relation"]


class RowRelation(NamedTuple):
    """A relation of a row: ``head`` and ``tail`` are indices into its entities."""

    label: str
    head: int
    tail: int
    score: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return the relation as rows have it, with its score unless that is None."""
        fields = self._asdict()
        return fields if self.score is not None else {name: fields[name] for name in ("label", "head", "tail")}


class RelationProblem(NamedTuple):
    """What is wrong with a relation.

    Attributes:
        kind: A key of `span_marker.validation.report.KINDS`.
        error: What reading the row raises.
        label: Label of the relation, or None if it has none.
        place: Index of the relation in the list of the row.
    """

    kind: RelationKind
    error: TypeError | ValueError
    label: str | None
    place: int


def parse_relations(relations: Any, num_entities: int, location: str) -> list[RowRelation]:
    """Read the relations of a row.

    Args:
        relations: A list of dicts, see `check_relation`; None if the row has no relations.
        num_entities: Number of entities of the row.
        location: What to call the row in errors, such as ``row 3``.

    Returns:
        The relations, in the order of the list.

    Raises:
        TypeError: If a value has the wrong type.
        ValueError: If a relation is invalid.

    Example:
        >>> parse_relations([{"label": "born in", "head": 0, "tail": 2}], 2, "row 3")
        Traceback (most recent call last):
        ValueError: row 3: relation 0 ('born in') has the 'tail' 2, but the row has only 2 entities, the last of them 1
    """
    read, problems = read_relations(relations, num_entities, location)
    if problems:
        raise problems[0].error
    return read


def read_relations(relations: Any, num_entities: int, location: str) -> tuple[list[RowRelation], list[RelationProblem]]:
    """Read the relations of a row, and find all of their problems.

    Args:
        relations: A list of dicts; None if the row has no relations.
        num_entities: Number of entities of the row, malformed ones included.
        location: What to call the row in errors.

    Returns:
        The relations that could be read; and the problems of the others.

    Raises:
        TypeError: If it is not a list.
    """
    if relations is None:
        return [], []
    try:
        check_list(relations, f"{location}: {RELATIONS!r}")
    except TypeError as error:
        raise TypeError(f"{error}: {REMOVE}") from error
    read: list[RowRelation] = []
    problems = []
    for index, relation in enumerate(relations):
        subject = f"{location}: relation {index}"
        label = relation.get("label") if isinstance(relation, Mapping) else None
        name = label if isinstance(label, str) else None
        try:
            found = check_relation(relation, num_entities, subject)
        except (TypeError, ValueError) as error:
            problems.append(RelationProblem("malformed-relation", error, name, index))
            continue
        if found.head == found.tail:
            message = (
                f"{subject} ({found.label!r}) has entity {found.head} as 'head' and as 'tail', but a relation is "
                "between two entities: change one of them, or remove the relation"
            )
            problems.append(RelationProblem("self-relation", ValueError(message), name, index))
        else:
            read.append(found)
    return read, problems


def check_relation(relation: Any, num_entities: int, subject: str) -> RowRelation:
    """Read a relation, which may be one of an entity to itself.

    Args:
        relation: A dict with ``label``, ``head`` and ``tail``.
        num_entities: Number of entities of the row.
        subject: What to call the relation in errors, such as ``row 3: relation 0``.

    Returns:
        The relation.

    Raises:
        TypeError: If it is not a dict, the label is not a string, an index is not a whole number, or the score is not a
            number.
        ValueError: If a field is missing, the label is empty or says that there is no relation, or there is no entity
            with an index.
    """
    if not isinstance(relation, Mapping):
        raise TypeError(
            f"{subject}, {relation!r}, must be a dict with 'label', 'head' and 'tail', not {type(relation).__name__}: "
            f"{REMOVE}"
        )
    for name in ("label", "head", "tail"):
        if relation.get(name) is None:
            raise ValueError(f"{subject}, {dict(relation)!r}, has no {name!r}: {REMOVE}")
    label, score = relation["label"], relation.get("score")
    if not isinstance(label, str):
        raise TypeError(f"{subject}: the 'label' must be a string, not {label!r} ({type(label).__name__})")
    if not label.strip():
        raise ValueError(f"{subject}: the 'label' is {label!r}, but must not be empty")
    if label.strip() == NO_RELATION:
        raise ValueError(f"{subject}: the 'label' is {label!r}, but pairs without a relation are not listed: remove it")
    if score is not None and (isinstance(score, bool) or not isinstance(score, Real)):
        raise TypeError(f"{subject} ({label!r}): the 'score' must be a number, not {score!r}")
    head, tail = (_check_index(name, relation[name], num_entities, f"{subject} ({label!r})") for name in _ENDS)
    return RowRelation(label, head, tail, None if score is None else float(score))


_ENDS = ("head", "tail")


def _check_index(name: str, value: Any, num_entities: int, subject: str) -> int:
    index = as_whole(value)
    if index is None:
        raise TypeError(
            f"{subject}: the {name!r} must be the index of an entity, a whole number, not {value!r} "
            f"({type(value).__name__})"
        )
    if index < 0:
        raise ValueError(f"{subject} has the {name!r} {index}, but entities are counted from 0")
    if index >= num_entities:
        entities = "no entity" if not num_entities else "only 1 entity" if num_entities == 1 else ""
        entities = entities or f"only {num_entities} entities, the last of them {num_entities - 1}"
        raise ValueError(f"{subject} has the {name!r} {index}, but the row has {entities}")
    return index


def check_relation_labels(relations: Iterable[RowRelation], known: Sequence[str], location: str) -> None:
    """Check that a model has the relations of a row.

    Args:
        relations: The relations.
        known: The labels of relations that the model has.
        location: What to call the row in errors, such as ``row 3``.

    Raises:
        ValueError: If it does not have a label.
    """
    for index, relation in enumerate(relations):
        if relation.label not in known:
            raise ValueError(f"{location}: relation {index} ({relation.label!r}) {unknown_label(known)}")


def unknown_label(known: Sequence[str]) -> str:
    """What is wrong with a relation whose label is not one of those that a model has, to follow its name."""
    return f"has a label that is not one of {list(known)}: make a new model with relation_labels= to add it"


def move_relations(relations: Iterable[RowRelation], places: Sequence[int | None]) -> list[RowRelation]:
    """Give relations the indices that their entities have in another list.

    Args:
        relations: The relations.
        places: The new index of each entity, or None if the list lacks it.

    Returns:
        The relations between entities in the list. Relations between two entities that became one are dropped.

    Example:
        >>> move_relations([RowRelation("born in", 0, 2), RowRelation("born in", 1, 0)], [1, None, 0])
        [RowRelation(label='born in', head=1, tail=0, score=None)]
    """
    moved = []
    for relation in relations:
        head, tail = places[relation.head], places[relation.tail]
        if head is not None and tail is not None and head != tail:
            moved.append(relation._replace(head=head, tail=tail))
    return moved


def distinct_relations(relations: Iterable[RowRelation]) -> list[RowRelation]:
    """Remove repetitions of relations; each keeps its first score."""
    kept: dict[tuple[str, int, int], RowRelation] = {}
    for relation in relations:
        kept.setdefault(relation[:3], relation)
    return list(kept.values())


def labelled_relations(
    relations: Iterable[RowRelation], spans: Sequence[LabelledSpan], item: str | Sequence[str]
) -> list[LabelledRelation]:
    """Resolve the entities of relations, so that gold and predicted relations can be compared.

    Args:
        relations: The relations of a row.
        spans: Its entities.
        item: Its text, or its words.

    Returns:
        The relations, with entities as `trim_entities` returns them.
    """
    relations = list(relations)
    trimmed = [trim_entities([span], item)[0] for span in spans] if relations else []
    return [LabelledRelation(label, trimmed[head], trimmed[tail]) for label, head, tail, _ in relations]
