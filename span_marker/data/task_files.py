"""Task files for annotation tools: texts with predictions to correct, and with existing annotations.

Predictions are written where each tool shows them: Label Studio as ``predictions``, Argilla as ``suggestions``.
Prodigy, doccano and brat have no separate place for them, so predictions become the initial annotation. If a row has
both, Label Studio shows both; Prodigy and doccano show the predictions as text next to the annotation, and Argilla
shows the annotation as text next to the predictions.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any, Literal, NamedTuple, get_args

from span_marker.core.labels import LabelledSpan, have_overlap
from span_marker.core.offsets import OffsetUnit, check_offset_unit, convert_offsets
from span_marker.data.brat import write_brat
from span_marker.data.in_memory import table_as_dataset
from span_marker.data.json_records import OFFSETS, ROW_ID
from span_marker.data.json_writing import row_to_json, write_json
from span_marker.data.prodigy import relation_fields
from span_marker.data.row_relations import RELATIONS, RowRelation
from span_marker.data.row_writing import without_repetitions
from span_marker.data.rows import RowEntity, as_text, parse_row
from span_marker.data.text_files import StrPath

logger = logging.getLogger(__name__)

Tool = Literal["label-studio", "prodigy", "doccano", "argilla", "brat"]

_COUNTED: dict[Tool, OffsetUnit] = {"doccano": "utf-16", "argilla": "utf-16"}
"""Offset units of tools that do not count code points."""

CONTROL = "label"
"""Name of the ``Labels`` control of Label Studio, and of the question of Argilla."""


class Task(NamedTuple):
    """A text to annotate.

    Attributes:
        identity: The ``id`` of the row, or else its number.
        text: The text.
        annotated: The annotated entities, in units of the tool; None if the text was not annotated.
        predicted: The predicted entities; None if there are no predictions.
        model_version: Name of the model; None if unknown.
        relations: The relations between the annotated entities, and between the predicted ones, by their columns.
        related: The columns with known relations, even if there are none.
        offsets: Unit of the offsets of entities.
    """

    identity: Any
    text: str
    annotated: list[RowEntity] | None
    predicted: list[RowEntity] | None
    model_version: str | None
    relations: Mapping[str, Sequence[RowRelation]]
    related: Collection[str]
    offsets: OffsetUnit

    def words(self, entity: RowEntity) -> str:
        """The text of an entity."""
        start, end = convert_offsets(self.text, entity[1:3], "codepoint", source=self.offsets)
        return self.text[start:end]

    @property
    def score(self) -> float | None:
        """The lowest score of a predicted entity; None if there is none."""
        scores = [entity.score for entity in self.predicted or () if entity.score is not None]
        return min(scores, default=None)

    @property
    def about(self) -> dict[str, Any]:
        """Score and name of the model, without those that are unknown."""
        values = {"score": self.score, "model_version": self.model_version}
        return {name: value for name, value in values.items() if value is not None}

    @property
    def suggested(self) -> list[RowEntity]:
        """The suggestions for tools without a place for annotations: the predictions, or else the annotation."""
        return (self.annotated or []) if self.predicted is None else self.predicted

    @property
    def shown(self) -> list[RowEntity]:
        """The initial annotation for tools without a place for predictions: the annotation, or else the predictions."""
        return (self.predicted or []) if self.annotated is None else self.annotated

    @property
    def shown_relations(self) -> Sequence[RowRelation]:
        """The relations between the entities that are shown."""
        return self.relations[self._shown_column]

    @property
    def has_shown_relations(self) -> bool:
        """Whether the relations of the shown entities are known, even if there are none."""
        return self._shown_column in self.related

    @property
    def _shown_column(self) -> str:
        return "predictions" if self.annotated is None else "entities"


def write_tasks(
    path: StrPath,
    rows: Iterable[Mapping[str, Any]],
    tool: Tool,
    *,
    model_version: str | None = None,
    offsets: OffsetUnit | None = None,
) -> None:
    """Write texts with predictions to a file that an annotation tool can import, to correct them there.

    `span_marker.read_annotations` reads the tool's export, with the ``id`` of each row, or its number if it has none.
    Words are joined by single spaces. Other columns are not written: join them by ``id``, which must be unique.

    Args:
        path: The file: JSON for ``label-studio`` and ``argilla``, JSON Lines for ``prodigy`` and ``doccano``; for
            ``brat`` a folder.
        rows: Rows with ``tokens`` or ``text``, and ``predictions``, as ``predict`` returns them; with annotated
            ``entities``; or with both, to show the suggestion next to the annotation. ``relations`` belong to the
            ``entities``, or else to the ``predictions``, which may also have their own: a dict with ``entities`` and
            ``relations``. Or a table of these.
        tool: The tool: ``label-studio``, ``prodigy``, ``doccano``, ``argilla`` or ``brat``.
        model_version: Name of the model, which the tool shows.
        offsets: Unit of the offsets in the file. Defaults to that of the tool: ``utf-16`` for doccano and Argilla,
            ``codepoint`` for the others. Label Studio before 1.4 counts ``utf-16``.

    Raises:
        TypeError: If a row has a value of the wrong type.
        ValueError: If the tool or the unit is unknown; a row is wrong, or has neither ``predictions`` nor ``entities``,
            or both for ``brat``; an ``id`` occurs twice; or only some rows have one, or the types of IDs differ.
    """
    if tool not in get_args(Tool):
        raise ValueError(f"tool={tool!r} must be one of {list(get_args(Tool))}")
    offsets = _COUNTED.get(tool, "codepoint") if offsets is None else offsets
    check_offset_unit(offsets)
    tasks = _read_tasks(table_as_dataset(rows, "rows"), model_version, offsets)
    if tool == "brat":
        if offsets != "codepoint":
            raise ValueError(f"offsets={offsets!r} must be 'codepoint' for brat, which counts code points")
        write_brat(path, map(_to_brat, tasks), model_version=model_version or "")
        return
    convert = _TOOLS[tool]
    num_lost = 0
    troubles: Counter[str] = Counter()
    hashes: set[int] = set()  # of texts, in place of which they save memory
    are_related: bool | None = None

    def records() -> Iterator[str]:
        nonlocal num_lost, are_related
        for index, task in enumerate(tasks):
            are_related = task.has_shown_relations if are_related is None else are_related
            if tool == "doccano" and task.has_shown_relations != are_related:
                raise ValueError(
                    f"row {index} has {'no ' * are_related}{RELATIONS!r}, unlike row 0, but doccano needs tasks that "
                    "all have them, or that all have none: give every row a list of them, such as []"
                )
            if offsets != "codepoint" and tool == "prodigy" and task.shown_relations:
                raise ValueError(f"row {index} has relations: offsets={offsets!r} must be 'codepoint' for Prodigy")
            num_lost += sum(map(len, task.relations.values())) - len(_written_relations(task, tool))
            troubles.update(trouble for trouble, applies in _TROUBLES.get(tool, {}).items() if applies(task, hashes))
            hashes.update([hash(task.text)] if tool == "prodigy" else [])
            yield row_to_json(convert(task), f"row {index}")

    write_json(path, records(), as_array=tool in ("label-studio", "argilla"))
    for trouble, number in troubles.items():
        logger.warning("%d tasks %s", number, trouble)
    if num_lost:
        logger.warning("%d relations are not written, since %s does not support them", num_lost, tool)


def _overlap(entities: Sequence[RowEntity]) -> bool:
    return have_overlap([LabelledSpan(*entity[:3]) for entity in entities])


_TROUBLES: dict[Tool, dict[str, Callable[[Task, Collection[int]], bool]]] = {
    "doccano": {
        "have entities that overlap: doccano keeps them only in projects that allow this": (
            lambda task, _: _overlap(task.shown)
        ),
    },
    "argilla": {
        "have entities that overlap: Argilla refuses them unless the question has allow_overlapping=True": (
            lambda task, _: _overlap(task.suggested)
        ),
        "have entities that end, counted in UTF-16 units, after the last character: Argilla's page counts these "
        "units, but its server counts characters and refuses such tasks; with offsets='codepoint', it accepts them, "
        "but the page shows them in the wrong place": (
            lambda task, _: any(entity.end > len(task.text) for entity in task.suggested)
        ),
    },
    "prodigy": {
        "have the text of an earlier task: Prodigy asks about each text only once, so they may not come back": (
            lambda task, hashes: hash(task.text) in hashes
        ),
    },
}
"""What tools do not take of a task, given the hashes of the texts before it."""


def _written_relations(task: Task, tool: Tool) -> Sequence[RowRelation]:
    both = [*task.relations["entities"], *task.relations["predictions"]]
    return both if tool == "label-studio" else [] if tool == "argilla" else task.shown_relations


def _read_tasks(rows: Iterable[Mapping[str, Any]], model_version: str | None, offsets: OffsetUnit) -> Iterator[Task]:
    first: Any = None
    ids: dict[str, int] = {}
    for index, columns in enumerate(rows):
        location = f"row {index}"
        if not isinstance(columns, Mapping):
            raise TypeError(f"{location}: a row must be a dict with 'tokens' or 'text', not {type(columns).__name__}")
        given = {name: columns[name] for name in ("entities", "predictions") if columns.get(name) is not None}
        if not given:
            raise ValueError(f"{location} has neither 'predictions' nor 'entities': add one of them, such as []")
        text, found, related = "", {}, set()
        relations: dict[str, Sequence[RowRelation]] = {"entities": (), "predictions": ()}
        for name, entities in given.items():
            others = columns.get(RELATIONS) if name == next(iter(given)) else None
            if isinstance(entities, Mapping):  # of a model with relations
                others = entities.get(RELATIONS)
                entities = entities.get("entities")
            row = parse_row({**columns, "entities": entities, RELATIONS: others}, f"{location}: {name!r}")
            related |= set() if others is None else {name}
            row = without_repetitions(row, location) if row.relations else row  # ends are told by place and label
            text, read = as_text(row)
            found[name], relations[name] = _recount(text, read, offsets), row.relations
        identity = columns.get("id")
        first = identity if index == 0 else first
        if type(identity) is not type(first):
            raise ValueError(
                f"{location} has the 'id' {identity!r}, but row 0 has {first!r}: give all rows an 'id' of one type, or "
                "none of them, so that they can be told apart when they are read again"
            )
        identity = index if identity is None else identity
        same = ids.setdefault(str(identity), index)
        if same != index:
            raise ValueError(
                f"rows {same} and {index} both have the 'id' {identity!r}: give each row an 'id' of its own, or none "
                "of them, so that they can be told apart when they are read again"
            )
        shown = found.get("entities"), found.get("predictions")
        yield Task(identity, text, *shown, model_version, relations, related, offsets)


def _recount(text: str, entities: Sequence[RowEntity], offsets: OffsetUnit) -> list[RowEntity]:
    if offsets == "codepoint":
        return list(entities)
    bounds = convert_offsets(text, [bound for entity in entities for bound in entity[1:3]], offsets)
    places = zip(entities, bounds[::2], bounds[1::2], strict=True)
    return [entity._replace(start=start, end=end) for entity, start, end in places]


def _to_label_studio(task: Task) -> dict[str, Any]:
    record: dict[str, Any] = {"data": {"text": task.text, ROW_ID: task.identity}}
    if task.predicted is not None:
        record["predictions"] = [{**task.about, "result": _results(task, "predictions")}]
    if task.annotated is not None:
        record["annotations"] = [{"result": _results(task, "entities")}]
    return record


def _results(task: Task, column: Literal["entities", "predictions"]) -> list[dict[str, Any]]:
    prefix, entities = ("a", task.annotated) if column == "entities" else ("p", task.predicted)
    regions = [
        {
            "id": f"{prefix}{number}",
            "from_name": CONTROL,
            "to_name": "text",
            "type": "labels",
            "value": {"start": entity.start, "end": entity.end, "text": task.words(entity), "labels": [entity.label]},
            **_score(entity),
        }
        for number, entity in enumerate(entities or ())
    ]
    return regions + [
        {
            "type": "relation",
            "from_id": f"{prefix}{relation.head}",
            "to_id": f"{prefix}{relation.tail}",
            "direction": "right",
            "labels": [relation.label],
            **_score(relation),
        }
        for relation in task.relations[column]
    ]


def _score(item: RowEntity | RowRelation) -> dict[str, float]:
    return {} if item.score is None else {"score": item.score}


def _to_prodigy(task: Task) -> dict[str, Any]:
    spans = [entity.to_dict() for entity in task.shown]
    fields = {"spans": spans}
    if task.shown_relations:
        fields = relation_fields(task.text, task.shown, task.shown_relations)
    for entity, span in zip(task.shown, fields["spans"], strict=True):
        span.update(_source(entity, task))
    return {"id": task.identity, "text": task.text, **fields, "meta": {**task.about, **_suggestion(task)}}


def _source(entity: RowEntity, task: Task) -> dict[str, str]:
    return {} if entity.score is None or task.model_version is None else {"source": task.model_version}


def _to_doccano(task: Task) -> dict[str, Any]:
    fields: dict[str, Any] = {"label": [[entity.start, entity.end, entity.label] for entity in task.shown]}
    if task.has_shown_relations:  # as the other tasks of a project of relations
        fields = {
            "entities": [
                {"id": number, "label": entity.label, "start_offset": entity.start, "end_offset": entity.end}
                for number, entity in enumerate(task.shown)
            ],
            RELATIONS: [
                {"id": number, "from_id": relation.head, "to_id": relation.tail, "type": relation.label}
                for number, relation in enumerate(task.shown_relations)
            ],
        }
    # doccano fills in NaN for what some tasks have and others do not, which its database refuses.
    about = {**dict.fromkeys(("score", "model_version", "suggestion"), ""), **task.about, **_suggestion(task)}
    return {"text": task.text, **fields, ROW_ID: task.identity, OFFSETS: task.offsets, **about}


def _suggestion(task: Task) -> dict[str, str]:
    """The predictions as text, where a tool has no other place for them."""
    return {} if task.annotated is None or task.predicted is None else {"suggestion": _as_line(task.predicted, task)}


def _as_line(entities: Sequence[RowEntity], task: Task) -> str:
    scores = ["" if entity.score is None else f" ({entity.score:.3f})" for entity in entities]
    places = [f"{entity.label} {task.words(entity)} {entity.start}-{entity.end}" for entity in entities]
    return "; ".join(map(str.__add__, places, scores)) or "no entity"


def _to_argilla(task: Task) -> dict[str, Any]:
    # A question has one suggestion, and responses need a user of the server: an annotation is shown as metadata.
    is_compared = task.annotated is not None and task.predicted is not None
    shown = {"annotated": _as_line(task.annotated or [], task)} if is_compared else {}
    scores = [entity.score for entity in task.suggested]
    return {
        "id": str(task.identity),
        "fields": {"text": task.text},
        "metadata": {OFFSETS: task.offsets, **shown},
        "suggestions": {
            CONTROL: {
                "value": [entity._replace(score=None).to_dict() for entity in task.suggested],
                "score": scores if scores and None not in scores else None,  # the server wants one of each, or none
                "agent": task.model_version,
            }
        },
        "responses": {},
        "vectors": {},
    }


def _to_brat(task: Task) -> dict[str, Any]:
    if task.annotated is not None and task.predicted is not None:
        raise ValueError(
            f"the row {task.identity!r} has 'entities' and 'predictions', but a document of brat has one annotation: "
            "remove one of them"
        )
    return {
        "id": task.identity,
        "text": task.text,
        "entities": [entity.to_dict() for entity in task.shown],
        RELATIONS: [relation.to_dict() for relation in task.shown_relations],
    }


_TOOLS: dict[str, Callable[[Task], dict[str, Any]]] = {
    "label-studio": _to_label_studio,
    "prodigy": _to_prodigy,
    "doccano": _to_doccano,
    "argilla": _to_argilla,
}
