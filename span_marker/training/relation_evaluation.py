"""Evaluation of relations: between the predicted entities of sentences, and between the gold ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from span_marker.core.alignment import trim_words
from span_marker.core.labels import LabelledSpan
from span_marker.core.relation_metrics import (
    GIVEN,
    RELATION,
    LabelledRelation,
    relation_metrics,
    relation_threshold_metrics,
)
from span_marker.core.spans import IntArray
from span_marker.relations.pair_scores import TEXT, KnownEntities, RankedPairs, rank_pairs
from span_marker.training.gathering import FoundEntities

COLUMNS = (*TEXT, "row", "entities", "gold_relations")
"""The features that are read."""


class _Judged(NamedTuple):
    """The relations of a sentence.

    Attributes:
        gold: The annotated relations.
        ranked: The most probable relation of each pair of predicted entities, and its probability.
        predicted: The predicted relations.
        ranked_given: The most probable relation of each pair of gold entities, and its probability.
        given: The relations that are predicted between gold entities.
    """

    gold: list[LabelledRelation]
    ranked: dict[LabelledRelation, float]
    predicted: list[LabelledRelation]
    ranked_given: dict[LabelledRelation, float]
    given: list[LabelledRelation]


def evaluate_relations(
    model: Any, features: Any, found: Sequence[FoundEntities], batch_size: int, exact: bool | None = None
) -> dict[str, Any]:
    """Measure the relations that a model finds between predicted and between gold entities.

    Texts are encoded again, but without candidates. With several processes, each one reads all sentences, since
    processes that share the weights of a model must all run the same number of batches.

    Args:
        model: A model with relations.
        features: The features of the data, a `Dataset` of `span_marker.preprocessing.features.prepare`.
        found: The predicted entities of all sentences.
        batch_size: The maximum number of sentences or windows in a batch.
        exact: Whether to score all pairs, see ``SpanMarkerModel.predict``.

    Returns:
        The metrics of `span_marker.core.relation_metrics`, as ``relation_...``; empty if no row has annotated
        relations. Rows without them are skipped.
    """
    if "gold_relations" not in features.column_names:
        return {}
    pieces: dict[int, list[dict[str, Any]]] = {}
    for piece in features.with_format(None).select_columns(list(COLUMNS)):
        pieces.setdefault(piece["row"], []).append(piece)
    annotated = [sentence for sentence in found if pieces[sentence.row][0]["gold_relations"] is not None]
    if not annotated:
        return {}
    judged = _judge(model, [pieces[sentence.row] for sentence in annotated], annotated, batch_size, exact)
    gold, ranked, predicted, ranked_given, given = zip(*judged, strict=True)
    symmetric = model.config.symmetric_relations or ()
    metrics = relation_metrics(gold, predicted, given, symmetric)
    metrics |= relation_threshold_metrics(gold, ranked, symmetric)
    of_given = relation_threshold_metrics(gold, ranked_given, symmetric)
    metrics |= {GIVEN + name: value for name, value in of_given.items()}
    return {RELATION + name: value for name, value in metrics.items()}


def _judge(
    model: Any,
    pieces: Sequence[Sequence[dict[str, Any]]],
    found: Sequence[FoundEntities],
    batch_size: int,
    exact: bool | None,
) -> list[_Judged]:
    """Find the relations of sentences."""
    sentences = []
    for own_pieces, sentence in zip(pieces, found, strict=True):
        gold = [entity for piece in own_pieces for entity in piece["entities"] if entity[1] >= 0]
        own = _as_array([entity[:3] for entity in sentence.entities])
        sentences.append(KnownEntities(own_pieces, (own, _as_array(gold))))
    labels, classes = model.config.relation_labels, model.config.classes
    judged = []
    ranked_pairs = rank_pairs(model, sentences, batch_size, exact)
    for known, sentence, (ranked, given) in zip(sentences, found, ranked_pairs, strict=True):
        entities, given_entities = known.entity_sets
        spans = [_trim(classes[label], start, end, sentence.blank) for label, start, end in entities.tolist()]
        gold_spans = [LabelledSpan(classes[label], start, end) for label, start, end in given_entities.tolist()]
        annotated = [
            LabelledRelation(labels[row[0]], *(LabelledSpan(classes[end[0]], *end[1:]) for end in (row[1:4], row[4:])))
            for row in known.pieces[0]["gold_relations"]
        ]
        judged.append(_Judged(annotated, *_name(ranked, spans, labels), *_name(given, gold_spans, labels)))
    return judged


def _as_array(entities: Sequence[Sequence[Any]]) -> IntArray:
    return np.array(entities, dtype=np.int64).reshape(-1, 3)


def _trim(label: str, start: int, end: int, blank: Mapping[int, bool]) -> LabelledSpan | None:
    """A predicted entity without blank words at its edges; None if nothing is left."""
    start, end = trim_words(start, end, blank) if blank else (start, end)
    return LabelledSpan(label, start, end) if start < end else None


def _name(
    ranked: RankedPairs, spans: Sequence[LabelledSpan | None], labels: Sequence[str]
) -> tuple[dict[LabelledRelation, float], list[LabelledRelation]]:
    """The most probable relation of each pair with its probability, and those that are predicted."""
    scores: dict[LabelledRelation, float] = {}
    predicted = []
    for (head, tail), label, score, own_label in zip(*(array.tolist() for array in ranked), strict=True):
        first, second = spans[head], spans[tail]
        if first is None or second is None or first == second:
            continue
        relation = LabelledRelation(labels[label], first, second)
        scores[relation] = max(score, scores.get(relation, 0.0))
        if own_label:
            predicted.append(LabelledRelation(labels[own_label], first, second))
    return scores, predicted
