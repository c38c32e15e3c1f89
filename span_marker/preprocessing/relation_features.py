"""From annotated relations to features: finding their entities in windows, and counting lost relations.

A relation is learned in one window: the one that its pair of entities belongs to, see
`span_marker.core.windows.pair_window`. Its two entities may belong to other windows, so a window also lists its
*neighbors*: entities that it contains, but that belong to another window.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from math import prod
from typing import Any, NamedTuple

import numpy as np

from span_marker.configuration import SpanMarkerConfig
from span_marker.core.labels import LabelledSpan
from span_marker.core.relation_statistics import RelationStatistics
from span_marker.core.relations import MAX_PAIRS, all_pairs
from span_marker.core.spans import IntArray
from span_marker.core.windows import belong_to, pair_window
from span_marker.data.row_relations import RowRelation, check_relation_labels, distinct_relations
from span_marker.preprocessing.pieces import Piece

logger = logging.getLogger(__name__)

RELATION_FEATURES = ("relations", "neighbors", "gold_relations")
"""Columns that a model with relations adds to those of annotations. ``relations`` has the class ID of each, and the
indices of its head and its tail in ``entities`` followed by ``neighbors``; it is None if the row has no annotation of
relations. ``gold_relations``, only in the first piece, is the reference for evaluation: all different relations of the
row, including those that cannot be learned or predicted. Each has its class ID, and class ID, first word and word after
the last of its head and of its tail. An entity that does not consist of words has negative words, different for each.
"""


@dataclass
class RelationSummary:
    """Statistics of the relations of a data set, and counts of those that a model cannot learn or predict.

    Attributes:
        statistics: Statistics of the relations that can be learned.
        num_relations: Number of relations. Repeated ones count once, including those of repeated entities.
        without_entity: Number of those with an entity that cannot be predicted.
        same_words: Number of those between entities with the same words.
        apart: Number of those whose entities are in no window together.
        crowded: Number of sentences and windows with more than `MAX_PAIRS` pairs of entities, by their number of pairs.
            Pairs count in both orders.
        num_rows: Number of rows.
        num_unannotated: Number of rows without annotation of relations.
    """

    statistics: RelationStatistics = field(default_factory=RelationStatistics)
    num_relations: int = 0
    without_entity: int = 0
    same_words: int = 0
    apart: int = 0
    crowded: Counter[int] = field(default_factory=Counter)
    num_rows: int = 0
    num_unannotated: int = 0

    def settle(self, config: SpanMarkerConfig, dataset_name: str) -> None:
        """Set from the data which relations are symmetric and which types they join, unless the caller did.

        Args:
            config: The configuration, which gets ``symmetric_relations`` and ``relation_types``.
            dataset_name: What to call the data set in messages.
        """
        if config.relation_labels is None or not self.statistics.types:
            return
        learned = []
        if config.symmetric_relations is None:
            config.symmetric_relations = self.statistics.symmetric()
            learned.append(f"symmetric_relations={config.symmetric_relations!r}")
            self.warn_of_doubts(config.symmetric_relations, dataset_name)
        if config.relation_types is None:
            config.relation_types = self.statistics.known_types()
            known = list(dict.fromkeys(label for _, label, _ in config.relation_types))
            number = len(config.relation_types)
            learned.append(f"relation_types with {number} combinations of labels for {known!r}, all for others")
        if learned:
            logger.info("Learned from the relations of the %s data: %s.", dataset_name, "; ".join(learned))

    def warn_of_doubts(self, symmetric: list[str], dataset_name: str) -> None:
        """Log which relations may be symmetric, although not all of their pairs have both directions.

        Args:
            symmetric: The relations that are treated as symmetric.
            dataset_name: What to call the data set.
        """
        for label, (both, total) in self.statistics.doubtful().items():
            logger.warning(
                "%d of the %d pairs of entities with the relation %r in the %s data have it in both directions. It is "
                "treated as a relation with a direction; if it has none, set symmetric_relations=%r.",
                both,
                total,
                label,
                dataset_name,
                [*symmetric, label],
            )

    def warn(self, config: SpanMarkerConfig, dataset_name: str) -> None:
        """Log how many relations are lost, if any, and what to change.

        Args:
            config: Holds the limits and the labels of relations.
            dataset_name: What to call the data set.
        """
        if config.relation_labels is None:
            warn_of_unused_relations(self.num_relations, dataset_name)
            return
        if self.num_unannotated:
            logger.warning(
                "%d of the %d rows of the %s data have no value for 'relations', so nothing is learned or measured "
                "about the relations in them. If a row has no relations, give it an empty list.",
                self.num_unannotated,
                self.num_rows,
                dataset_name,
            )
        num_orders = 1 if config.relation_rules.is_symmetric[1:].all() else 2
        cut = {num_pairs * num_orders // 2 - MAX_PAIRS: number for num_pairs, number in self.crowded.items()}
        if cut := {num_cut: number for num_cut, number in cut.items() if num_cut > 0}:
            logger.warning(
                "%d sentences or windows of the %s data have more than %d pairs of entities. %d pairs are left out: "
                "those without a relation that are farthest apart.",
                sum(cut.values()),
                dataset_name,
                MAX_PAIRS,
                sum(map(prod, cut.items())),
            )
        if lost := self.lost(config):
            logger.warning(
                "Some of the %d gold relations of the %s data cannot be predicted: %s.",
                self.num_relations,
                dataset_name,
                lost,
            )

    def lost(self, config: SpanMarkerConfig) -> str:
        """Describe how many relations a model cannot predict, and why.

        Args:
            config: The configuration of a model with relations.

        Returns:
            The reasons with their numbers; empty if there are none.
        """
        further = self.statistics.num_further(config.symmetric_relations or ())
        rules, classes = config.relation_rules, config.classes
        wrong_types = sum(
            number
            for (head, label, tail), number in self.statistics.types.items()
            if not rules.allowed[classes.index(head), classes.index(tail), (config.relation_labels or []).index(label)]
        )
        reasons = {
            "have an entity that cannot be predicted": self.without_entity,
            "are between entities with the same words": self.same_words,
            "have entities that are in no window together (raise model_max_length)": self.apart,
            "join two entities that already have another relation, but the model predicts one per pair": further,
            "join entities whose labels relation_types does not allow (set model.config.relation_types to 'any', or "
            "to None to take them from the training data)": wrong_types,
        }
        return "; ".join(f"{number} {reason}" for reason, number in reasons.items() if number)


class SentenceEntities(NamedTuple):
    """The entities of a row, in the order of its features.

    Attributes:
        spans: The entities in words; those that fit into no window have negative places.
        places: For each entity of the row, its index in ``spans``; None if it cannot be predicted.
        array: Class ID, first word and word after the last of each of ``spans``, ``(num_entities, 3)``.
        class_ids: Class ID of each entity of the row.
    """

    spans: Sequence[LabelledSpan]
    places: Sequence[int | None]
    array: IntArray
    class_ids: Sequence[int]

    def find(self, index: int) -> list[int]:
        """Class ID, first word and word after the last of an entity of the row; negative words if it has none."""
        place = self.places[index]
        found: list[int] = (
            [self.class_ids[index], -1 - index, -1 - index] if place is None else self.array[place].tolist()
        )
        return found


@dataclass
class RelationPreparer:
    """Converts the relations of rows to features, and counts them.

    Args:
        labels: The classes of pairs; None if the model has no relations, so that they are only counted.
        entity_max_length: The longest candidate, in words.
        summary: What was counted so far.
    """

    labels: Sequence[str] | None
    entity_max_length: int
    summary: RelationSummary = field(default_factory=RelationSummary)

    def features(
        self,
        relations: Sequence[RowRelation] | None,
        entities: SentenceEntities,
        pieces: Sequence[Piece],
        location: str,
    ) -> list[dict[str, Any]]:
        """Make the features of a row.

        Args:
            relations: Its relations; None if they are not annotated.
            entities: Its entities.
            pieces: Its pieces.
            location: What to call the row in errors.

        Returns:
            A dict with `RELATION_FEATURES` for each piece; empty ones if the model has no relations.

        Raises:
            ValueError: If the model lacks the label of a relation.
        """
        self.summary.num_rows += 1
        self.summary.num_unannotated += relations is None
        found = self._read(relations or (), entities, location)
        if self.labels is None:
            return [{} for _ in pieces]
        spans = entities.array[:, 1:]
        windows = np.array([[piece.first_word, piece.first_word + piece.tokens.num_words] for piece in pieces])
        window = pair_window(spans[found[:, 1]], spans[found[:, 2]], windows)
        self._count(found, window, entities, windows)
        gold = None if relations is None else self._gold(relations, entities)
        rows = []
        for index, piece in enumerate(pieces):
            is_own = piece.owns(spans)
            first, last = windows[index]
            is_neighbor = ~is_own & (spans[:, 0] >= first) & (spans[:, 1] <= last)
            order = np.concatenate([np.flatnonzero(is_own), np.flatnonzero(is_neighbor)])
            place = np.zeros(len(spans), dtype=np.int64)
            place[order] = np.arange(len(order))
            label, head, tail = found[window == index].T
            own_relations = np.stack([label, place[head], place[tail]], axis=1).tolist()
            rows.append(
                {
                    "relations": None if relations is None else own_relations,
                    "neighbors": entities.array[is_neighbor].tolist(),
                    "gold_relations": gold if index == 0 else None,
                }
            )
            if relations is not None:
                self._count_pairs(spans[order], piece)
        return rows

    def _read(self, relations: Sequence[RowRelation], entities: SentenceEntities, location: str) -> IntArray:
        """Class ID, head and tail of the relations between entities that can be predicted, ``(num_relations, 3)``."""
        places = [-1 - index if place is None else place for index, place in enumerate(entities.places)]
        different = distinct_relations(
            relation._replace(head=places[relation.head], tail=places[relation.tail]) for relation in relations
        )
        self.summary.num_relations += len(different)
        if self.labels is None:
            return np.empty((0, 3), dtype=np.int64)
        check_relation_labels(relations, self.labels[1:], location)
        found = [relation for relation in different if min(relation.head, relation.tail) >= 0]
        between = [relation for relation in found if relation.head != relation.tail]
        self.summary.without_entity += len(different) - len(found)
        self.summary.same_words += len(found) - len(between)
        ids = [(self.labels.index(relation.label), relation.head, relation.tail) for relation in between]
        return np.array(ids, dtype=np.int64).reshape(-1, 3)

    def _gold(self, relations: Sequence[RowRelation], entities: SentenceEntities) -> list[list[int]]:
        """The column ``gold_relations`` of a row, see `RELATION_FEATURES`."""
        assert self.labels is not None
        return [
            [self.labels.index(one.label), *entities.find(one.head), *entities.find(one.tail)]
            for one in distinct_relations(relations)
        ]

    def _count(self, found: IntArray, window: IntArray, entities: SentenceEntities, windows: IntArray) -> None:
        """Count the relations that cannot be predicted, and keep statistics of the others."""
        heads, tails = entities.array[found[:, 1], 1:], entities.array[found[:, 2], 1:]
        is_whole = (pair_window(heads, heads, windows) >= 0) & (pair_window(tails, tails, windows) >= 0)
        for ends in (heads, tails):
            is_whole &= ends[:, 1] - ends[:, 0] <= self.entity_max_length
        have_same_words = (heads == tails).all(axis=1)
        self.summary.without_entity += int((~is_whole).sum())
        self.summary.same_words += int((is_whole & have_same_words).sum())
        self.summary.apart += int((is_whole & (window < 0)).sum())
        kept = found[(window >= 0) & ~have_same_words].tolist()
        assert self.labels is not None
        self.summary.statistics.add(
            (self.labels[label], entities.spans[head], entities.spans[tail]) for label, head, tail in kept
        )

    def _count_pairs(self, spans: IntArray, piece: Piece) -> None:
        """Count the pairs of a piece if these may be too many, which depends on settings derived from the data."""
        if len(spans) ** 2 <= MAX_PAIRS:
            return
        unique = np.unique(spans, axis=0)
        pairs = all_pairs(unique)
        bounds = (piece.above, piece.up_to)
        num_pairs = int(belong_to(unique[pairs[:, 0]], unique[pairs[:, 1]], bounds).sum())
        if num_pairs > MAX_PAIRS:
            self.summary.crowded[num_pairs] += 1


def warn_of_unused_relations(num_relations: int, dataset_name: str) -> None:
    """Log that a model without relations does not use those of a data set, if it has any.

    Args:
        num_relations: Number of its relations.
        dataset_name: What to call the data set.
    """
    if num_relations:
        logger.warning(
            "The model has no relations, so the %d relations of the %s data are not used: make it with "
            "relation_labels=, or call add_relations.",
            num_relations,
            dataset_name,
        )
