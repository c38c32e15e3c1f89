"""Thresholds of relations, between the entities that a model finds with its own thresholds."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from span_marker.core.decoding import likely_labels
from span_marker.core.filter_settings import without_pair_filter
from span_marker.core.labels import LabelledSpan
from span_marker.core.relation_metrics import LabelledRelation, distinct_relations
from span_marker.core.spans import FloatArray
from span_marker.data.row_relations import check_relation_labels, labelled_relations
from span_marker.scores.cross_fitting import FLOOR, cross_fit
from span_marker.scores.held_out import HELD_OUT, HeldOut, trimmed
from span_marker.scores.thresholds import ThresholdReport


class _Pairs(NamedTuple):
    """The pairs of a row: head and tail of each, and probabilities of all classes, ``(num_pairs, num_relations)``."""

    ends: list[tuple[LabelledSpan, LabelledSpan]]
    scores: FloatArray


@dataclass(frozen=True)
class HeldOutRelations:
    """The relations of annotated data.

    Attributes:
        held_out: The data, and the model.
        gold: The gold relations of each row of ``held_out.with_relations``.
    """

    held_out: HeldOut
    gold: list[set[LabelledRelation]]

    @classmethod
    def read(cls, held_out: HeldOut) -> HeldOutRelations | None:
        """Read the gold relations.

        Args:
            held_out: The data.

        Returns:
            The relations; None if the model or the data has none.

        Raises:
            ValueError: If the model lacks a label, or cannot find relations on its engine.
        """
        model = held_out.model
        if model.config.relation_labels is None:
            return None
        gold = []
        for index in held_out.with_relations:
            row = held_out.rows[index]
            check_relation_labels(
                row.relations, model.config.relation_labels[1:], f"row {index} of the {HELD_OUT} data"
            )
            relations = labelled_relations(row.relations, row.spans, row.content)
            gold.append(set(distinct_relations(relations, model.config.symmetric_relations or ())))
        if not any(gold):
            return None
        model.check_relations_possible()
        return cls(held_out, gold)

    def tune(self, precision: float | None) -> ThresholdReport:
        """Choose the threshold of each relation label. The model is not changed.

        A relation is right if its label is right, and the words and labels of both entities. The entities are those
        that the model finds with its own thresholds.

        Args:
            precision: The precision that each label must reach; None for the best F1.

        Returns:
            The thresholds and their figures.
        """
        config, pairs = self.held_out.model.config, self._read_pairs()
        labels: Any = config.relation_labels

        def predict_relations(rows: Sequence[int], threshold: Any) -> Iterable[dict[LabelledRelation, float]]:
            least = config.read_relation_threshold(threshold)
            for ends, scores in (pairs[row] for row in rows):
                found: dict[LabelledRelation, float] = {}
                for pair, label in zip(*likely_labels(scores, 0, least, multi_label=False), strict=True):
                    relation = LabelledRelation(labels[label], *ends[pair])
                    for distinct in distinct_relations([relation], config.symmetric_relations or ()):
                        found[distinct] = max(float(scores[pair, label]), found.get(distinct, 0.0))
                yield found

        place = {row: index for index, row in enumerate(self.held_out.with_relations)}
        groups = [[place[row] for row in group if row in place] for group in self.held_out.groups]
        return cross_fit(
            labels[1:], self.gold, predict_relations, [group for group in groups if group], precision, "relations"
        )

    def _read_pairs(self) -> list[_Pairs]:
        """The pairs of each row of ``held_out.with_relations`` that may be predicted at any threshold, or without one.

        They are read once: their probabilities do not depend on thresholds of relations.
        """
        held_out = self.held_out
        labels: Any = held_out.model.config.relation_labels
        least = min(FLOOR, 1 / (len(labels) + 1))  # the most probable class has more
        options = {"relations": True, "relation_threshold": least, "top_k": len(labels)}
        with without_pair_filter(held_out.model.config):
            found = held_out.predict(range(len(held_out.rows)), **options)
        pairs = []
        for index in held_out.with_relations:
            spans = [span for span, _ in trimmed(found[index]["entities"], held_out.rows[index])]
            relations = found[index]["relations"]
            by_label = [{label["label"]: label["score"] for label in relation["labels"]} for relation in relations]
            scores = [[of_pair[label] for label in labels] for of_pair in by_label]
            ends = [(spans[relation["head"]], spans[relation["tail"]]) for relation in relations]
            pairs.append(_Pairs(ends, np.array(scores, dtype=np.float32).reshape(-1, len(labels))))
        return pairs
