"""Relations in prediction: from pairs of the entities of a batch to scores, and from scores to dicts."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, TypedDict

import numpy as np

from span_marker.core.arrays import Array, Batch, as_array
from span_marker.core.decoding import Decoder, ScoredSpan, ScoredSpans
from span_marker.core.relations import RelationRules, ScoredRelation, is_dropped
from span_marker.core.spans import FloatArray, IntArray
from span_marker.core.window_pairs import pairs_in_windows
from span_marker.data.row_relations import RELATIONS
from span_marker.prediction.entities import Entity, LabelScore, top_labels
from span_marker.preprocessing.pieces import Piece

ScorePairs = Callable[[Batch, Callable[[Any, Any], tuple[IntArray, IntArray]]], tuple[Any, Any, Any]]
"""Scores a batch and pairs of its candidates, see `span_marker.relations.mixin.RelationMixin.score_pairs`."""


class _Relation(TypedDict):
    label: str
    score: float
    head: int
    tail: int


class Relation(_Relation, total=False):
    """A relation, as returned by ``predict``.

    Attributes:
        label: Label of the relation.
        score: Probability of the label.
        head: Index of the entity that the relation starts from.
        tail: Index of the entity that it leads to.
        labels: The most probable labels, if ``top_k`` was passed.
    """

    labels: list[LabelScore]


class PieceRelations(NamedTuple):
    """The relations between the entities of a piece.

    Attributes:
        relations: The relations.
        num_unlikely: Number of pairs that the pair filter dropped.
        num_dropped: Number of pairs beyond `span_marker.core.relations.MAX_PAIRS`, which were not scored.
    """

    relations: list[ScoredRelation]
    num_unlikely: int = 0
    num_dropped: int = 0


class FoundPairs(NamedTuple):
    """The pairs of the entities that are found in a batch.

    Attributes:
        scored: The candidates that got markers.
        proposals: The proposals of each piece.
        entities: The entities of each piece that is a whole sentence; none for windows.
        pairs: Indices of head and tail for each piece, ``(num_pairs, 2)``.
        num_dropped: Number of pairs of each piece beyond `span_marker.core.relations.MAX_PAIRS`.
    """

    scored: ScoredSpans
    proposals: list[list[ScoredSpan]]
    entities: list[list[ScoredSpan]]
    pairs: list[IntArray]
    num_dropped: list[int]

    @property
    def counts(self) -> IntArray:
        """Number of pairs of each piece, ``(batch,)``."""
        return np.array([len(own) for own in self.pairs], dtype=np.int64)

    def ends(self) -> IntArray:
        """Class ID, first word and word after the last of heads and tails, ``(num_pairs, 2, 3)``."""
        places = _as_array([span for spans in self.entities for span in spans])
        return places[self._indices()]

    def tokens(self, batch: Batch) -> IntArray:
        """First and last token of heads and tails, ``(num_pairs, 4)``.

        Args:
            batch: The batch.

        Returns:
            The tokens.
        """
        words, tokens, counts = (as_array(batch[name]) for name in ("span_words", "span_tokens", "span_counts"))
        places = _as_array([span for spans in self.entities for span in spans])[:, 1:]
        step = int(words.max(initial=0)) + 1

        def keys(bounds: IntArray, numbers: IntArray) -> IntArray:
            """One number for sentence, start and end, which ascends as candidates do."""
            sentences: IntArray = np.repeat(np.arange(len(numbers)), numbers)
            return (sentences * step + bounds[:, 0]) * step + bounds[:, 1]

        of_entities = tokens[np.searchsorted(keys(words, counts), keys(places, self._num_entities()))]
        return of_entities[self._indices()].reshape(-1, 4)

    def _num_entities(self) -> IntArray:
        return np.array([len(spans) for spans in self.entities], dtype=np.int64)

    def _indices(self) -> IntArray:
        """Indices of heads and tails among the entities of all pieces, ``(num_pairs, 2)``."""
        numbers = self._num_entities()
        firsts = np.cumsum(numbers) - numbers
        return np.concatenate([own + first for own, first in zip(self.pairs, firsts.tolist(), strict=True)])


class WindowTask(NamedTuple):
    """The pairs to score in a window.

    Attributes:
        piece: The window.
        entities: The entities of its sentence.
        pairs: Indices of head and tail, ``(num_pairs, 2)``.
    """

    piece: Piece
    entities: list[ScoredSpan]
    pairs: IntArray

    def tokens(self) -> IntArray:
        """First and last token of the heads and the tails in the window, ``(num_pairs, 4)``."""
        words = _as_array(self.entities)[:, 1:] - self.piece.first_word
        tokens = self.piece.tokens
        starts, ends = (np.asarray(words, dtype=np.int64) for words in (tokens.word_starts, tokens.word_ends))
        inside = np.clip(words, 0, len(starts))  # what lies outside of the window is in no pair
        firsts, lasts = np.minimum(inside[:, 0], len(starts) - 1), inside[:, 1] - 1
        return np.stack([starts[firsts], ends[lasts] - 1], axis=1)[self.pairs].reshape(-1, 4)


@dataclass(frozen=True)
class RelationReader:
    """Finds the relations of sentences.

    If a sentence is read as a whole, its relations are found together with its entities. If it is read in windows, they
    are found when the entities of all windows are known.

    Args:
        score_pairs: Scores a batch and pairs of its candidates.
        decoder: How class scores of candidates become entities.
        rules: Which pairs may have which relation.
        thresholds: The minimum probability of each class of pairs, ``(num_relations,)``, or None.
    """

    score_pairs: ScorePairs
    decoder: Decoder
    rules: RelationRules
    thresholds: FloatArray | None = None

    def __call__(self, batch: dict[str, Array]) -> tuple[ScoredSpans, list[list[ScoredSpan]], list[PieceRelations]]:
        """Score a batch.

        Args:
            batch: The batch, in arrays.

        Returns:
            The candidates that got markers, and the proposals and the relations of each piece; no relations for
            windows.
        """
        found: list[FoundPairs] = []

        def find_pairs(logits: Any, kept: Any) -> tuple[IntArray, IntArray]:
            found.append(self.find(batch, logits, kept))
            return found[0].tokens(batch), found[0].counts

        _, _, relation_logits = self.score_pairs(batch, find_pairs)
        (own,) = found
        relations = self._decode(relation_logits, own.entities, own.pairs)
        dropped = zip(relations, own.num_dropped, strict=True)
        return own.scored, own.proposals, [between._replace(num_dropped=number) for between, number in dropped]

    def find(self, batch: Batch, logits: Any, kept: Any) -> FoundPairs:
        """Find the entities of a batch, and their pairs.

        Args:
            batch: The batch.
            logits: Class scores of the candidates that got markers, see `span_marker.SpanMarkerModel.score`.
            kept: Indices of these candidates; None for all.

        Returns:
            The pairs.
        """
        scored = ScoredSpans.from_batch(batch, logits, kept)
        found = FoundPairs(scored, self.decoder.propose(*scored), [], [], [])
        for spans, is_whole in zip(found.proposals, as_array(batch["is_whole"]).tolist(), strict=True):
            found.entities.append(self.decoder.select(spans) if is_whole else [])
            own, num_more = self.rules.pairs(_as_array(found.entities[-1]))
            found.pairs.append(own)
            found.num_dropped.append(num_more)
        return found

    def window_tasks(self, entities: list[ScoredSpan], pieces: Sequence[Piece]) -> tuple[list[WindowTask], int, int]:
        """Assign the pairs of a sentence to the windows in which they are scored.

        Args:
            entities: The entities of the sentence.
            pieces: Its windows, in order.

        Returns:
            The pairs by window; the number of pairs that exceed the limit of a window; and the number of pairs whose
            entities are not together in any window.
        """
        windows = np.array([(piece.first_word, piece.first_word + piece.tokens.num_words) for piece in pieces])
        pairs, num_dropped, num_separate = pairs_in_windows(self.rules, _as_array(entities), windows)
        found = (WindowTask(piece, entities, own) for piece, own in zip(pieces, pairs, strict=True) if len(own))
        return list(found), num_dropped, num_separate

    def read_windows(self, batch: dict[str, Array], tasks: Sequence[WindowTask]) -> list[PieceRelations]:
        """Score pairs in windows.

        Args:
            batch: The texts of the windows, without candidates.
            tasks: The pairs in each of them.

        Returns:
            The relations in each of them.
        """
        tokens = [task.tokens() for task in tasks]
        counts = np.array([len(own) for own in tokens], dtype=np.int64)
        _, _, logits = self.score_pairs(batch, lambda *_: (np.concatenate(tokens), counts))
        return self._decode(logits, [task.entities for task in tasks], [task.pairs for task in tasks])

    def _decode(
        self, logits: Any, entities: Sequence[Sequence[ScoredSpan]], pairs: Sequence[IntArray]
    ) -> list[PieceRelations]:
        """The relations of each piece, from the class scores of the pairs of all of them."""
        scores = np.split(as_array(logits), np.cumsum([len(own) for own in pairs])[:-1])
        found = []
        for own, spans, indices in zip(scores, entities, pairs, strict=True):
            ends = [(spans[head], spans[tail]) for head, tail in indices.tolist()]
            keeps_scores = self.decoder.keeps_all_scores
            relations = self.rules.decode(own, ends, self.thresholds, keeps_scores) if ends else []
            found.append(PieceRelations(relations, int(is_dropped(own).sum())))
        return found


def window_features(tasks: Iterable[WindowTask]) -> list[dict[str, Any]]:
    """Make the features of windows in which only pairs are scored, and no candidates.

    Args:
        tasks: The windows, and their pairs.

    Returns:
        The features; ``row`` is the number of the task.
    """
    no_candidates = {"bounds": [0, 0]}
    return [{**task.piece.features(), "row": number, **no_candidates} for number, task in enumerate(tasks)]


def _as_array(spans: Sequence[ScoredSpan]) -> IntArray:
    """Class ID, first word and word after the last of entities, ``(num_entities, 3)``."""
    return np.array([span[:3] for span in spans], dtype=np.int64).reshape(-1, 3)


def as_dicts(
    relations: Sequence[ScoredRelation],
    entities: Sequence[ScoredSpan],
    labels: Sequence[str],
    top_k: int | None = None,
) -> list[Relation]:
    """Name the relations of a sentence.

    Args:
        relations: The relations, those of all its pieces.
        entities: The entities of the sentence, in the order in which they are returned.
        labels: The classes of pairs.
        top_k: Number of labels to list for each relation; None for no such list.

    Returns:
        The relations between these entities, by head and tail.
    """
    places = {span[:3]: index for index, span in enumerate(entities)}
    found: list[Relation] = []
    for label, score, head, tail, all_scores in relations:
        if head[:3] in places and tail[:3] in places:
            ends = {"head": places[head[:3]], "tail": places[tail[:3]]}
            found.append({"label": labels[label], "score": score, **ends})  # type: ignore[typeddict-item]
            if top_k:
                found[-1]["labels"] = top_labels(labels, all_scores, top_k)
    return sorted(found, key=lambda relation: (relation["head"], relation["tail"]))


def as_columns(found: Any) -> dict[str, Any]:
    """Return the results for a sentence as columns of its row.

    Args:
        found: Its entities, or the dict of its entities and relations.

    Returns:
        ``entities``, and ``relations`` if they were predicted.
    """
    return found if isinstance(found, dict) else {"entities": found}


def replace_annotation(row: Mapping[str, Any], found: Any) -> dict[str, Any]:
    """Replace the annotation of a row by the results for its sentence.

    Args:
        row: The row. Its own ``relations`` are always dropped, since they are indices of its former entities.
        found: Its entities, or the dict of its entities and relations.

    Returns:
        The row with the results.
    """
    return {**{name: value for name, value in row.items() if name != RELATIONS}, **as_columns(found)}


def join_relations(
    starts: Sequence[Sequence[int]], entities: Sequence[Sequence[Entity]], relations: Sequence[Sequence[Relation]]
) -> list[list[Relation]]:
    """Map the relations of sentences back to their documents, see `span_marker.prediction.documents`.

    Args:
        starts: For each document, the first character of each sentence.
        entities: The entities of each sentence of all documents.
        relations: The relations of each sentence.

    Returns:
        The relations of each document, as indices of all its entities.
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
    """Update the indices of relations after entities were added or removed.

    Args:
        relations: The relations of a sentence.
        before: The entities that they refer to.
        after: The current entities.

    Returns:
        The relations between entities that still exist with the same place and label.
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
    return {**relation, "head": head, "tail": tail}
