"""Scores of pairs of known entities, such as predicted or gold ones, in any number of windows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from span_marker.core.arrays import Array, as_array
from span_marker.core.relations import RelationRules, is_dropped
from span_marker.core.spans import FloatArray, IntArray
from span_marker.core.window_pairs import pairs_in_windows
from span_marker.preprocessing.batching import run_in_batches

TEXT = ("input_ids", "token_cases", "word_starts", "word_ends", "first_word")
"""Features of a piece that its encoding needs."""

NO_CANDIDATES = (0, 0)
"""Bounds of a piece that no candidate belongs to."""

Feature = Mapping[str, Any]


class KnownEntities(NamedTuple):
    """A sentence whose entities are known.

    Attributes:
        pieces: The features of its pieces, in order, see `span_marker.preprocessing.pieces.Piece.features`.
        entity_sets: Sets of entities: class ID, first word and word after the last of each entity,
            ``(num_entities, 3)``. Only entities of the same set form pairs.
    """

    pieces: Sequence[Feature]
    entity_sets: Sequence[IntArray]


class RankedPairs(NamedTuple):
    """The pairs of a set of entities that may have a relation, but for those that the pair filter dropped.

    Attributes:
        pairs: Indices of head and tail, ``(num_pairs, 2)``.
        labels: Class ID of the most probable relation of each, ``(num_pairs,)``.
        scores: Its probability, ``(num_pairs,)``.
        predicted: Class ID of the predicted relation, or 0 for none, ``(num_pairs,)``. With thresholds, it may differ
            from ``labels``.
    """

    pairs: IntArray
    labels: IntArray
    scores: FloatArray
    predicted: IntArray


class _Task(NamedTuple):
    """Pairs that are scored in a piece, each once: the words of head and tail, ``(num_pairs, 4)``."""

    feature: dict[str, Any]
    words: IntArray

    def tokens(self) -> IntArray:
        """First and last token of the heads and the tails, ``(num_pairs, 4)``."""
        places = self.words - self.feature["first_word"]
        starts, ends = (np.asarray(self.feature[name], dtype=np.int64) for name in ("word_starts", "word_ends"))
        firsts, lasts = starts[places[:, 0::2]], ends[places[:, 1::2] - 1] - 1
        return np.stack([firsts, lasts], axis=2).reshape(-1, 4)


class _Place(NamedTuple):
    """Where the pairs of a set of entities in a piece are scored: indices of the pairs of a task."""

    task: int
    pairs: IntArray
    indices: IntArray


def rank_pairs(
    model: Any, sentences: Sequence[KnownEntities], batch_size: int = 32, exact: bool | None = None
) -> list[list[RankedPairs]]:
    """Score the pairs of known entities, as ``predict`` does for the entities that it finds.

    A pair is scored in the window that gives it the most context, see `span_marker.core.windows.pair_window`. Texts are
    encoded without candidates, and pairs that occur in several sets are scored once.

    Args:
        model: A model with relations.
        sentences: The sentences.
        batch_size: The maximum number of pieces in a batch.
        exact: Whether to score all pairs, see ``SpanMarkerModel.predict``.

    Returns:
        The pairs of each set of each sentence. Pairs whose entities are not together in any window are not listed.
    """
    rules, thresholds = model.config.relation_rules, model.config.read_relation_threshold()
    tasks: list[_Task] = []
    placed: list[list[list[_Place]]] = []
    for pieces, entity_sets in sentences:
        windows = np.array([(piece["first_word"], piece["first_word"] + len(piece["word_starts"])) for piece in pieces])
        chosen = [pairs_in_windows(rules, entities, windows).pairs for entities in entity_sets]
        placed.append([[] for _ in entity_sets])
        for piece, *of_sets in zip(pieces, *chosen, strict=True):
            words = [entities[pairs, 1:].reshape(-1, 4) for entities, pairs in zip(entity_sets, of_sets, strict=True)]
            unique, inverse = np.unique(np.concatenate(words), axis=0, return_inverse=True)
            if not len(unique):
                continue
            ends = np.cumsum([len(some) for some in words])[:-1]
            for places, pairs, indices in zip(placed[-1], of_sets, np.split(inverse.reshape(-1), ends), strict=True):
                places.append(_Place(len(tasks), pairs, indices))
            feature = {name: piece[name] for name in TEXT}
            tasks.append(_Task({**feature, "bounds": NO_CANDIDATES, "row": len(tasks)}, unique))
    logits = _score(model, tasks, batch_size, exact)
    return [
        [
            _rank(rules, thresholds, entities, places, logits)
            for entities, places in zip(entity_sets, of_sets, strict=True)
        ]
        for (_, entity_sets), of_sets in zip(sentences, placed, strict=True)
    ]


def _score(model: Any, tasks: Sequence[_Task], batch_size: int, exact: bool | None) -> list[FloatArray]:
    """Class scores of the pairs of each task, ``(num_pairs, num_relations)``."""
    tokens = [task.tokens() for task in tasks]

    def score(batch: dict[str, Array]) -> Any:
        own = [tokens[row] for row in batch["rows"].tolist()]
        counts = np.array([len(some) for some in own], dtype=np.int64)
        return model.score_pairs(batch, lambda *_: (np.concatenate(own), counts), exact=exact)

    logits: list[Any] = [None] * len(tasks)
    features = [task.feature for task in tasks]
    collator = model.preprocessor.collator
    for indices, _, (_, _, scores) in run_in_batches(
        score, features, collator, batch_size, candidates_kept=0.0, hire=model.hire_workers
    ):
        ends = np.cumsum([len(tokens[index]) for index in indices])[:-1]
        for index, own in zip(indices, np.split(as_array(scores), ends), strict=True):
            logits[index] = own
    return logits


def _rank(
    rules: RelationRules,
    thresholds: FloatArray | None,
    entities: IntArray,
    places: Sequence[_Place],
    logits: Sequence[FloatArray],
) -> RankedPairs:
    """Find the most probable relation of each pair of a set."""
    pairs = np.concatenate([np.empty((0, 2), dtype=np.int64), *(place.pairs for place in places)])
    num_classes = len(rules.is_symmetric)
    scored = [logits[place.task][place.indices] for place in places]
    all_logits = np.concatenate([np.empty((0, num_classes), dtype=np.float32), *scored])
    has_markers = ~is_dropped(all_logits)
    pairs, all_logits = pairs[has_markers], all_logits[has_markers]
    scores, found, found_labels = rules.likely(all_logits, entities[pairs[:, 0]], entities[pairs[:, 1]], thresholds)
    labels, predicted = 1 + scores[:, 1:].argmax(axis=1), np.zeros(len(pairs), dtype=np.int64)
    predicted[found] = found_labels
    return RankedPairs(pairs, labels, scores[np.arange(len(pairs)), labels], predicted)
