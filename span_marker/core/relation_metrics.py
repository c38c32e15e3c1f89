"""Metrics of relations: strict, by boundaries only, and between gold entities. Pure functions."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from span_marker.core.labels import LabelledSpan
from span_marker.core.metrics import ESCAPE, count_metrics, threshold_metrics

RELATION, BOUNDARIES, GIVEN = "relation_", "boundaries_", "gold_"
"""Prefixes of the names of metrics: of all metrics of relations in an evaluation, of those by boundaries only, and of
those between gold entities."""

RELATION_NAMES = re.compile(
    r"(?:overall|boundaries|gold|macro|best|average|label)(?:_.*)?|precision|recall|f1", re.DOTALL
)
"""Labels of relations whose metrics would collide with the names of others, or with their prefixes."""

ANY = ""
"""Replaces the labels of entities if these do not count."""


class LabelledRelation(NamedTuple):
    """A relation of a sentence: its ``label``, and the entities that it joins, ``head`` and ``tail``."""

    label: str
    head: LabelledSpan
    tail: LabelledSpan

    def turned(self) -> LabelledRelation:
        """Return the relation with head and tail exchanged."""
        return LabelledRelation(self.label, self.tail, self.head)

    def without_types(self) -> LabelledRelation:
        """Return the relation without the labels of its entities."""
        return LabelledRelation(self.label, self.head._replace(label=ANY), self.tail._replace(label=ANY))


def distinct_relations(
    relations: Iterable[LabelledRelation], symmetric: Collection[str] = ()
) -> list[LabelledRelation]:
    """List each relation of a sentence once. The head of a symmetric relation is the entity that comes first.

    Args:
        relations: The relations.
        symmetric: Labels of the relations whose head and tail can be exchanged.

    Returns:
        The different relations, in order, including those between entities with the same words.

    Example:
        >>> ann, bo = LabelledSpan("PER", 0, 1), LabelledSpan("PER", 2, 3)
        >>> both = [LabelledRelation("knows", ann, bo), LabelledRelation("knows", bo, ann)]
        >>> len(distinct_relations(both)), len(distinct_relations(both, ["knows"]))
        (2, 1)
    """
    oriented = (
        relation.turned() if relation.label in symmetric and _place(relation.tail) < _place(relation.head) else relation
        for relation in relations
    )
    return list(dict.fromkeys(oriented))


def _place(span: LabelledSpan) -> tuple[int, int, str]:
    return span.start, span.end, span.label


def relation_metrics(
    gold: Sequence[Collection[LabelledRelation]],
    predicted: Sequence[Collection[LabelledRelation]],
    given: Sequence[Collection[LabelledRelation]] | None = None,
    symmetric: Collection[str] = (),
) -> dict[str, Any]:
    """Compare predicted with gold relations.

    Strict figures require the right label, and the right words and labels of both entities; those by boundaries, the
    right label and the right words. A relation counts once, even if it is listed again; so does a symmetric one that is
    listed in both directions. Every gold relation counts in all figures, even one between entities with the same words,
    which no model predicts.

    Args:
        gold: The gold relations of each sentence, including those that cannot be predicted. Entities that do not
            consist of words have a negative start, different for each.
        predicted: The predicted relations of each sentence, between predicted entities.
        given: The predicted relations of each sentence between its gold entities; None if they are unknown.
        symmetric: Labels of the relations whose head and tail can be exchanged.

    Returns:
        ``precision``, ``recall`` and ``f1`` (micro averages), ``macro_precision``, ``macro_recall`` and ``macro_f1``
        (means over the labels), and for each label, named by `span_marker.core.metrics.label_metric` with
        `RELATION_NAMES`, a dict of ``precision``, ``recall``, ``f1`` and ``number``, its gold relations. All of this
        again as ``boundaries_...``, and with ``given`` relations, strict, as ``gold_...``.

    Example:
        >>> ann, rome = LabelledSpan("PER", 0, 1), LabelledSpan("LOC", 3, 4)
        >>> lives_in = LabelledRelation("lives in", ann, rome)
        >>> metrics = relation_metrics([[lives_in]], [[lives_in._replace(tail=LabelledSpan("ORG", 3, 4))]])
        >>> metrics["f1"], metrics["boundaries_f1"], metrics["boundaries_lives in"]["number"]
        (0.0, 1.0, 1)
    """
    metrics = _figures(gold, predicted, symmetric, "")
    bare_gold, bare_predicted = (
        [[relation.without_types() for relation in relations] for relations in sentences]
        for sentences in (gold, predicted)
    )
    metrics |= _figures(bare_gold, bare_predicted, symmetric, BOUNDARIES)
    return metrics if given is None else metrics | _figures(gold, given, symmetric, GIVEN)


def _figures(
    gold: Sequence[Collection[LabelledRelation]],
    predicted: Sequence[Collection[LabelledRelation]],
    symmetric: Collection[str],
    prefix: str,
) -> dict[str, Any]:
    """The metrics of `count_metrics`, with a prefix in place of ``overall_``."""
    distinct_gold, distinct_predicted = (
        [distinct_relations(relations, symmetric) for relations in sentences] for sentences in (gold, predicted)
    )
    counted = count_metrics(distinct_gold, distinct_predicted, RELATION_NAMES)
    return {prefix + name.removeprefix("overall_"): value for name, value in counted.items()}


def relation_threshold_metrics(
    gold: Sequence[Collection[LabelledRelation]],
    ranked: Sequence[Mapping[LabelledRelation, float]],
    symmetric: Collection[str] = (),
) -> dict[str, float]:
    """Measure how well probabilities separate relations from other pairs, independently of the model's decisions.

    Args:
        gold: See `relation_metrics`.
        ranked: The most probable relation of each pair of a sentence, and its probability.
        symmetric: See `relation_metrics`.

    Returns:
        ``best_f1``, ``best_threshold`` and ``average_precision``, see `span_marker.core.metrics.threshold_metrics`, of
        strict figures.
    """
    distinct = [set(distinct_relations(relations, symmetric)) for relations in gold]
    scores: list[float] = []
    is_right: list[bool] = []
    for relations, found in zip(distinct, ranked, strict=True):
        scores += found.values()
        is_right += [relation in relations for relation in found]
    metrics = threshold_metrics(scores, is_right, sum(map(len, distinct)))
    return {name.removeprefix("overall_"): value for name, value in metrics.items()}


def metrics_of_labels(metrics: Mapping[str, Any], prefix: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Select the metrics of labels from those of an evaluation.

    Args:
        metrics: The metrics of ``Trainer.evaluate``, in which each label has a dict.
        prefix: Prefix of their names, such as ``eval_``.

    Returns:
        The metrics of each label of entities, and the strict ones of each label of relations, in alphabetical order.

    Example:
        >>> figures = {"number": 1}
        >>> metrics_of_labels({"eval_PER": figures, "eval_relation_knows": figures, "eval_relation_f1": 0.5}, "eval_")
        ({'PER': {'number': 1}}, {'knows': {'number': 1}})
    """
    labels: dict[str, Any] = {}
    relations: dict[str, Any] = {}
    for name, value in metrics.items():
        name = name.removeprefix(prefix) if name.startswith(prefix) and isinstance(value, dict) else ""
        if not name.startswith(RELATION):
            labels[name.removeprefix(ESCAPE)] = value
        elif not name.removeprefix(RELATION).startswith((BOUNDARIES, GIVEN)):
            relations[name.removeprefix(RELATION).removeprefix(ESCAPE)] = value
    labels.pop("", None)
    return dict(sorted(labels.items())), dict(sorted(relations.items()))
