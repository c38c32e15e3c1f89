"""Relations in prediction: pairs of the entities of a batch, and from their scores to dicts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypedDict

import numpy as np

from span_marker.core.arrays import Array, Batch, as_array
from span_marker.core.decoding import Decoder, ScoredSpan, ScoredSpans
from span_marker.core.relations import RelationRules, ScoredRelation
from span_marker.core.spans import IntArray
from span_marker.prediction.entities import Entity

ScorePairs = Callable[[Batch, Callable[[Any, Any], tuple[IntArray, IntArray]]], tuple[Any, Any, Any]]
"""Scores a batch and pairs of its candidates, see `span_marker.relations.mixin.RelationMixin.score_pairs`."""


class Relation(TypedDict):
    """A relation, as returned by ``predict``.

    Attributes:
        label: Label of the relation.
        score: Probability of the label.
        head: Index of the entity that the relation starts from.
        tail: Index of the entity that it leads to.
    """

    label: str
    score: float
    head: int
    tail: int


@dataclass(frozen=True)
class RelationReader:
    """Finds the relations of a batch in one go with its entities.

    Args:
        score_pairs: Scores a batch and pairs of its candidates.
        decoder: How class scores of candidates become entities.
        rules: Which pairs may have which relation.
    """

    score_pairs: ScorePairs
    decoder: Decoder
    rules: RelationRules

    def __call__(self, batch: dict[str, Array]) -> tuple[Any, Any, list[list[ScoredRelation]]]:
        """Score a batch.

        Args:
            batch: The batch, in arrays.

        Returns:
            Class scores and indices of the candidates that got markers, see `span_marker.SpanMarkerModel.score`, and
            the relations of each piece, between those entities that the piece has by itself.
        """
        found: list[tuple[list[ScoredSpan], IntArray]] = []

        def find_pairs(logits: Any, kept: Any) -> tuple[IntArray, IntArray]:
            scored = ScoredSpans.from_batch(batch, logits, kept)
            proposals = self.decoder.propose(*scored)
            entities = [self.decoder.select(spans) for spans in proposals]
            found[:] = [(spans, self.rules.pairs(_as_array(spans))) for spans in entities]
            counts = np.array([len(pairs) for _, pairs in found], dtype=np.int64)
            return _pair_tokens(batch, found), counts

        logits, kept, relation_logits = self.score_pairs(batch, find_pairs)
        counts = np.cumsum([len(pairs) for _, pairs in found])[:-1]
        relations = [
            self.rules.decode(scores, [(entities[head], entities[tail]) for head, tail in pairs.tolist()])
            for scores, (entities, pairs) in zip(np.split(as_array(relation_logits), counts), found, strict=True)
        ]
        return logits, kept, relations


def _as_array(spans: Sequence[ScoredSpan]) -> IntArray:
    """Class ID, first word and word after the last of entities, ``(num_entities, 3)``."""
    return np.array([span[:3] for span in spans], dtype=np.int64).reshape(-1, 3)


def _pair_tokens(batch: Batch, found: Sequence[tuple[list[ScoredSpan], IntArray]]) -> IntArray:
    """First and last token of the heads and the tails of all pairs of a batch, ``(num_pairs, 4)``."""
    words, tokens, counts = (as_array(batch[name]) for name in ("span_words", "span_tokens", "span_counts"))
    firsts = np.cumsum(counts) - counts
    rows = [np.empty((0, 4), dtype=np.int64)]
    for first, count, (entities, pairs) in zip(firsts.tolist(), counts.tolist(), found, strict=True):
        if len(pairs):
            own = slice(first, first + count)
            places = {place: index for index, place in enumerate(map(tuple, words[own].tolist()))}
            of_entities = tokens[own][[places[span.start, span.end] for span in entities]]
            rows.append(of_entities[pairs].reshape(-1, 4))
    return np.concatenate(rows)


def as_dicts(
    relations: Sequence[ScoredRelation], entities: Sequence[ScoredSpan], labels: Sequence[str]
) -> list[Relation]:
    """Name the relations of a sentence.

    Args:
        relations: The relations, those of all its pieces.
        entities: The entities of the sentence, in the order in which they are returned.
        labels: The classes of pairs.

    Returns:
        The relations between these entities, by head and tail.
    """
    places = {span[:3]: index for index, span in enumerate(entities)}
    found: list[Relation] = [
        {"label": labels[label], "score": score, "head": places[head[:3]], "tail": places[tail[:3]]}
        for label, score, head, tail in relations
        if head[:3] in places and tail[:3] in places
    ]
    return sorted(found, key=lambda relation: (relation["head"], relation["tail"]))


def as_columns(found: Any) -> dict[str, Any]:
    """Return what was found in a sentence as columns of its row.

    Args:
        found: Its entities, or the dict of its entities and relations.

    Returns:
        ``entities``, and ``relations`` if they were looked for.
    """
    return found if isinstance(found, dict) else {"entities": found}


def join_relations(
    starts: Sequence[Sequence[int]], entities: Sequence[Sequence[Entity]], relations: Sequence[Sequence[Relation]]
) -> list[list[Relation]]:
    """Bring the relations of sentences back into their documents, see `span_marker.prediction.documents`.

    Args:
        starts: For each document, the first character of each sentence.
        entities: The entities of each sentence of all documents.
        relations: The relations of each sentence.

    Returns:
        The relations of each document, with indices of all its entities.
    """
    rows = iter(zip(entities, relations, strict=True))
    joined: list[list[Relation]] = []
    for own in starts:
        joined.append([])
        num_before = 0
        for _ in own:
            found, between = next(rows)
            joined[-1] += [_with_ends(one, one["head"] + num_before, one["tail"] + num_before) for one in between]
            num_before += len(found)
    return joined


def follow(relations: list[Relation], before: Sequence[Entity], after: Sequence[Entity]) -> list[Relation]:
    """Find the entities of relations again after others were added or removed.

    Args:
        relations: The relations of a sentence.
        before: The entities that they refer to.
        after: The entities as they are now.

    Returns:
        The relations between entities that are still there with the same place and label.
    """
    if not relations or before is after:
        return relations
    places = {_place(entity): index for index, entity in enumerate(after)}
    ends = [(places.get(_place(before[one["head"]])), places.get(_place(before[one["tail"]]))) for one in relations]
    pairs = zip(relations, ends, strict=True)
    return [_with_ends(one, head, tail) for one, (head, tail) in pairs if head is not None and tail is not None]


def _place(entity: Entity) -> tuple[Any, ...]:
    names = ("label", "char_start_index", "char_end_index", "word_start_index", "word_end_index")
    return tuple(entity.get(name) for name in names)


def _with_ends(relation: Relation, head: int, tail: int) -> Relation:
    return {"label": relation["label"], "score": relation["score"], "head": head, "tail": tail}
