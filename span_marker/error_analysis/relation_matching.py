"""Match gold relations with predicted ones, and classify the error of each pair: the relation, or one of its entities.

Pure functions on the relations of a sentence whose entities were paired by `span_marker.error_analysis.matching`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from span_marker.core.labels import LabelledSpan
from span_marker.core.relation_metrics import LabelledRelation, distinct_relations

Counts = npt.NDArray[np.float64]
Ends = tuple[LabelledSpan, LabelledSpan]
RelationKind = Literal[
    "correct", "wrong-direction", "wrong-label", "wrong-entity", "missed-entity", "missed", "spurious"
]

RELATION_KINDS: dict[RelationKind, str] = {
    "correct": "pairs with the same label, head and tail",
    "wrong-direction": "pairs with the same label, and head and tail swapped",
    "wrong-label": "pairs between the same entities, with different labels",
    "wrong-entity": "gold relations with an entity that is found with another label or other boundaries",
    "missed-entity": "gold relations with an entity that is not found",
    "missed": "gold relations between entities that are found, in no pair",
    "spurious": "predictions in no pair",
}
"""Description of each kind. The first matching kind applies, and pairs of better kinds come first."""


class RelationOutcome(NamedTuple):
    """A gold relation paired with a prediction, or one of them alone.

    Attributes:
        kind: A key of `RELATION_KINDS`.
        gold: The gold relation; None if the prediction is spurious.
        predicted: The prediction; None if the gold relation is in no pair.
    """

    kind: RelationKind
    gold: LabelledRelation | None
    predicted: LabelledRelation | None


def match_relations(
    gold: Iterable[LabelledRelation],
    predicted: Iterable[LabelledRelation],
    counterparts: Mapping[LabelledSpan, LabelledSpan],
    symmetric: Collection[str] = (),
) -> list[RelationOutcome]:
    """Pair the gold relations of a sentence with its predictions, one to one.

    Only relations between the same entities are paired, or between entities that are paired with each other: better
    kinds first, in the order of `RELATION_KINDS`; then those with the same label.

    Args:
        gold: The gold relations. Repeated ones count once.
        predicted: The predictions.
        counterparts: For each gold entity that is found, the predicted entity that it is paired with.
        symmetric: Labels of the relations whose head and tail can be exchanged.

    Returns:
        The pairs and the unpaired relations, in order of place.

    Example:
        >>> ann, rome = LabelledSpan("PER", 0, 1), LabelledSpan("LOC", 3, 4)
        >>> [outcome] = match_relations([LabelledRelation("lives in", ann, rome)], [], {ann: ann, rome: rome})
        >>> outcome.kind
        'missed'
    """
    open_gold = dict.fromkeys(distinct_relations(gold, symmetric))
    open_predicted = dict.fromkeys(distinct_relations(predicted, symmetric))
    pairs: list[tuple[RelationKind, LabelledRelation, LabelledRelation]] = []
    for relation in open_gold:
        ends = _predicted_ends(relation, counterparts)
        kinds = ((_pair_kind(relation, other, ends), other) for other in open_predicted)
        pairs += [(kind, relation, other) for kind, other in kinds if kind is not None]
    outcomes = []
    for kind, relation, other in sorted(pairs, key=_rank):
        if relation in open_gold and other in open_predicted:
            del open_gold[relation], open_predicted[other]
            outcomes.append(RelationOutcome(kind, relation, other))
    for relation in open_gold:
        outcomes.append(RelationOutcome(_cause(relation, _predicted_ends(relation, counterparts)), relation, None))
    outcomes += [RelationOutcome("spurious", None, relation) for relation in open_predicted]
    return sorted(outcomes, key=lambda outcome: [_place(relation) for relation in outcome[1:] if relation])


def _predicted_ends(relation: LabelledRelation, counterparts: Mapping[LabelledSpan, LabelledSpan]) -> Ends | None:
    """The predicted entities that head and tail of a gold relation are paired with; None if one is not found."""
    head, tail = counterparts.get(relation.head), counterparts.get(relation.tail)
    return None if head is None or tail is None else (head, tail)


def _pair_kind(gold: LabelledRelation, predicted: LabelledRelation, ends: Ends | None) -> RelationKind | None:
    """The kind of a pair; None if the prediction is between other entities."""
    if ends not in (predicted[1:], predicted.turned()[1:]):
        return None
    if ends != gold[1:]:
        return "wrong-entity"
    if gold.label != predicted.label:
        return "wrong-label"
    return "correct" if gold == predicted else "wrong-direction"


def _cause(gold: LabelledRelation, ends: Ends | None) -> RelationKind:
    """The kind of a gold relation that is in no pair."""
    if ends is None:
        return "missed-entity"
    return "missed" if ends == gold[1:] else "wrong-entity"


def _rank(pair: tuple[RelationKind, LabelledRelation, LabelledRelation]) -> tuple[object, ...]:
    kind, gold, predicted = pair
    return list(RELATION_KINDS).index(kind), gold.label != predicted.label, _place(gold), _place(predicted)


def _place(relation: LabelledRelation) -> tuple[object, ...]:
    starts = sorted((relation.head.start, relation.tail.start))
    return (*starts, relation)


def tally_relations(sentences: Sequence[Sequence[RelationOutcome]]) -> tuple[dict[str, Counts], dict[str, Counts]]:
    """Count relations: correct including their entities, and correct except for the labels of these.

    Args:
        sentences: The outcomes of each sentence.

    Returns:
        Counts by the measures ``strict`` and ``boundaries``, see `span_marker.core.relation_metrics.relation_metrics`;
        and strict ones of each label. Each has the number of correct predictions, predictions and gold relations of
        each sentence, ``(num_sentences, 3)``.
    """
    measures = {name: np.zeros((len(sentences), 3)) for name in ("strict", "boundaries")}
    labels: dict[str, Counts] = {}
    for index, outcomes in enumerate(sentences):
        gold, predicted = ([relation for relation in side if relation] for side in _sides(outcomes))
        measures["strict"][index] = _count(gold, predicted)
        measures["boundaries"][index] = _count(*map(_without_types, (gold, predicted)))
        for label in {relation.label for relation in (*gold, *predicted)}:
            rows = labels.setdefault(label, np.zeros((len(sentences), 3)))
            rows[index] = _count(*([one for one in side if one.label == label] for side in (gold, predicted)))
    return measures, {label: labels[label] for label in sorted(labels)}


def _sides(outcomes: Sequence[RelationOutcome]) -> tuple[list[LabelledRelation | None], list[LabelledRelation | None]]:
    return [outcome.gold for outcome in outcomes], [outcome.predicted for outcome in outcomes]


def _without_types(relations: Iterable[LabelledRelation]) -> list[LabelledRelation]:
    return distinct_relations(relation.without_types() for relation in relations)


def _count(gold: Sequence[LabelledRelation], predicted: Sequence[LabelledRelation]) -> tuple[int, int, int]:
    return len({*gold} & {*predicted}), len(predicted), len(gold)
