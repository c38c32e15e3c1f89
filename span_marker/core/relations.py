"""Relations: which pairs of entities may have which label, and decoding the class scores of pairs. Pure functions.

A relation joins two entities of a sentence, its *head* and its *tail*. A *pair* is a head with a tail, so two entities
make two pairs. The class of a pair is the label of its relation, or `NO_RELATION`, whose ID is 0.

Symmetric relations are scored once: only for the pair whose head comes first in the text.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from span_marker.core.arrays import Array
from span_marker.core.decoding import ScoredSpan, likely_labels, probabilities
from span_marker.core.labels import OUTSIDE, check_label_list
from span_marker.core.spans import FloatArray, IntArray
from span_marker.core.windows import UNBOUNDED, belong_to

NO_RELATION = "no relation"
"""The class of pairs of entities without a relation."""

PAIRS_AT_ONCE = 1024
"""The maximum number of pairs whose states are in memory at once."""

MAX_PAIRS = 2048
"""The maximum number of pairs of a sentence or window that are scored, or trained on; enough for 45 entities."""

PAIRS_AT_A_TIME = 2**18
"""Approximate number of pairs in memory at once during the search for the nearest ones."""


class ScoredRelation(NamedTuple):
    """A relation between two entities of a sentence, with its probability.

    Attributes:
        label_id: Class ID.
        score: Probability of the label.
        head: The entity that the relation leads from.
        tail: The entity that it leads to.
        all_scores: Probabilities of all classes; empty unless requested.
    """

    label_id: int
    score: float
    head: ScoredSpan
    tail: ScoredSpan
    all_scores: tuple[float, ...] = ()


def relation_classes(labels: Sequence[str]) -> list[str]:
    """Make the list of classes of pairs.

    Args:
        labels: The labels of relations, with or without `NO_RELATION`.

    Returns:
        `NO_RELATION`, followed by the labels in their order.

    Raises:
        TypeError: If the labels are not a list of strings.
        ValueError: If there is no label, or one occurs twice.

    Example:
        >>> relation_classes(["Live_In", "Kill"])
        ['no relation', 'Live_In', 'Kill']
    """
    check_label_list(labels, "relation_labels", "infer_relation_labels")
    others = [label for label in labels if label != NO_RELATION]
    if not others:
        raise ValueError(f"relation_labels={list(labels)!r} must contain at least one label besides {NO_RELATION!r}")
    if len(set(labels)) < len(labels):
        twice = sorted({label for label in labels if labels.count(label) > 1})
        raise ValueError(
            f"relation_labels={list(labels)!r} must not repeat a label, but {twice!r} occur more than once"
        )
    return [NO_RELATION, *others]


@dataclass(frozen=True)
class RelationRules:
    """Which pairs of entities may have which relation.

    Attributes:
        allowed: Whether entities of two classes may be head and tail of a relation, ``(num_labels, num_labels,
            num_relations)``. `NO_RELATION` is always allowed.
        is_symmetric: Whether head and tail of a relation can be exchanged, ``(num_relations,)``.
    """

    allowed: Array
    is_symmetric: Array

    @classmethod
    def from_labels(
        cls,
        relations: Sequence[str],
        classes: Sequence[str],
        symmetric: Iterable[str] = (),
        types: Iterable[Sequence[str]] | None = None,
    ) -> RelationRules:
        """Make the rules from names.

        Args:
            relations: The classes of pairs, see `relation_classes`.
            classes: The classes of spans, including ``O``.
            symmetric: The relations whose head and tail can be exchanged.
            types: The allowed combinations of the labels of the head, the relation and the tail. For symmetric
                relations, they apply in both directions. A relation without any may join all entities; with None, all
                relations may.

        Returns:
            The rules.

        Raises:
            ValueError: If a label is unknown, or is a label of both relations and entities.
        """
        if both := sorted(set(relations) & set(classes)):
            raise ValueError(
                f"relation_labels={list(relations)!r} contains labels that entities have, too: {both!r}; rename one "
                "or the other"
            )
        labels = [label for label in relations if label != NO_RELATION]
        if unknown := sorted(set(symmetric) - set(labels)):
            raise ValueError(f"symmetric_relations contains {unknown!r}, but the relations of the model are {labels!r}")
        is_symmetric = np.isin(relations, list(symmetric))
        allowed = np.zeros((len(classes), len(classes), len(relations)), dtype=bool)
        entity_labels = [label for label in classes if label != OUTSIDE]
        for triple in types or ():
            head, relation, tail = triple
            if head not in entity_labels or tail not in entity_labels or relation not in labels:
                raise ValueError(
                    f"relation_types contains {list(triple)!r}, but each item must be an entity label, one of "
                    f"{entity_labels!r}; a relation label, one of {labels!r}; and another entity label"
                )
            allowed[classes.index(head), classes.index(tail), relations.index(relation)] = True
        allowed |= ~allowed.any(axis=(0, 1))
        either_way = allowed | allowed.swapaxes(0, 1)
        return cls(np.where(is_symmetric, either_way, allowed), is_symmetric)

    def options(self, heads: IntArray, tails: IntArray) -> Array:
        """Determine which classes pairs may have.

        Args:
            heads: Class ID, first word and word after the last of each head, ``(num_pairs, 3)``.
            tails: The same for the tails.

        Returns:
            True for each allowed class, ``(num_pairs, num_relations)``.
        """
        allowed: Array = self.allowed[heads[:, 0], tails[:, 0]]
        return allowed & (stands_first(heads[:, 1:], tails[:, 1:])[:, None] | ~self.is_symmetric)

    def pairs(self, spans: IntArray, is_used: Callable[[IntArray], Array] | None = None) -> tuple[IntArray, int]:
        """List the pairs of a sentence's entities that may have a relation, at most `MAX_PAIRS`: the nearest.

        Thousands of entities, which low thresholds may produce, have millions of pairs. These are therefore processed
        in chunks.

        Args:
            spans: Class ID, first word and word after the last of each entity, ``(num_entities, 3)``.
            is_used: Function that returns which pairs are used at all; None for all.

        Returns:
            Indices of head and tail, ``(num_pairs, 2)``, and the number of pairs beyond the limit.
        """
        chosen, num_pairs = np.empty((0, 2), dtype=np.int64), 0
        step = max(PAIRS_AT_A_TIME // max(len(spans), 1), 1)
        for first in range(0, len(spans), step):
            pairs = self.allowed_pairs(spans, np.arange(first, min(first + step, len(spans))))
            if is_used is not None:
                pairs = pairs[is_used(pairs)]
            num_pairs += len(pairs)
            pairs = np.concatenate([chosen, pairs])
            chosen = pairs[nearest(spans[:, 1:], pairs)]
        return chosen, num_pairs - len(chosen)

    def allowed_pairs(self, spans: IntArray, heads: IntArray | None = None) -> IntArray:
        """List all pairs with these heads, by default all, that may have a relation, see `pairs`."""
        pairs = all_pairs(spans[:, 1:], heads)
        return pairs[self.options(spans[pairs[:, 0]], spans[pairs[:, 1]])[:, 1:].any(axis=1)]

    def likely(
        self, logits: Array, heads: IntArray, tails: IntArray, thresholds: FloatArray | None = None
    ) -> tuple[FloatArray, IntArray, IntArray]:
        """Find the likely relations of pairs. Probabilities are normalized over the classes that a pair may have.

        Args:
            logits: Class scores of the pairs, ``(num_pairs, num_relations)``; ``-inf`` for classes that a pair must not
                have, such as all relations if the pair filter dropped it.
            heads: Class ID, first word and word after the last of each head, ``(num_pairs, 3)``.
            tails: The same for the tails.
            thresholds: The minimum probability of each class, see `likely_labels`. None for the most probable class.

        Returns:
            Probabilities, ``(num_pairs, num_relations)``; indices of the pairs that have a relation, ascending; and
            the class ID of each of these, ``(num_found,)``.
        """
        options = self.options(heads, tails)
        scores = probabilities(np.where(options, logits, -np.inf), multi_label=False)
        found, labels = likely_labels(scores, 0, thresholds, multi_label=False)
        is_option = options[found, labels] & (logits[found, labels] > -np.inf)  # others may reach a threshold of 0
        return scores, found[is_option], labels[is_option]

    def decode(
        self,
        logits: Array,
        pairs: Sequence[tuple[ScoredSpan, ScoredSpan]],
        thresholds: FloatArray | None = None,
        keeps_all_scores: bool = False,
    ) -> list[ScoredRelation]:
        """Find the relations of pairs, see `likely`.

        Args:
            logits: Class scores of the pairs, ``(num_pairs, num_relations)``.
            pairs: Head and tail of each pair.
            thresholds: See `likely`.
            keeps_all_scores: Whether to fill in `ScoredRelation.all_scores`.

        Returns:
            The relations, in the order of the pairs.
        """
        places = np.array([[span[:3] for span in pair] for pair in pairs], dtype=np.int64).reshape(-1, 2, 3)
        scores, found, labels = self.likely(logits, places[:, 0], places[:, 1], thresholds)
        relations = []
        for pair, label in zip(found.tolist(), labels.tolist(), strict=True):
            (head, tail), all_scores = pairs[pair], tuple(scores[pair].tolist()) if keeps_all_scores else ()
            relations.append(ScoredRelation(label, float(scores[pair, label]), head, tail, all_scores))
        return relations


def is_dropped(logits: Array) -> Array:
    """Determine which pairs the pair filter dropped: those that cannot have any relation.

    Args:
        logits: Class scores of the pairs, ``(num_pairs, num_relations)``.

    Returns:
        True for dropped pairs, ``(num_pairs,)``.
    """
    dropped: Array = (logits[:, 1:] == -np.inf).all(axis=1)
    return dropped


def stands_first(heads: IntArray, tails: IntArray) -> Array:
    """Determine which heads come before their tails: they start earlier, or start together and end earlier.

    Args:
        heads: First word and word after the last of each head, ``(num_pairs, 2)``.
        tails: The same for the tails.

    Returns:
        True where the head comes first, ``(num_pairs,)``.
    """
    is_first: Array = (heads[:, 0] < tails[:, 0]) | ((heads[:, 0] == tails[:, 0]) & (heads[:, 1] < tails[:, 1]))
    return is_first


def all_pairs(spans: IntArray, heads: IntArray | None = None) -> IntArray:
    """List the pairs of different spans in a sentence.

    Args:
        spans: First word and word after the last of each span, ``(num_spans, 2)``.
        heads: Indices of the heads, ascending; None for all spans.

    Returns:
        Indices of head and tail, ``(num_pairs, 2)``.

    Example:
        >>> all_pairs(np.array([[0, 2], [3, 4], [0, 2]])).tolist()
        [[0, 1], [1, 0], [1, 2], [2, 1]]
    """
    heads = np.arange(len(spans)) if heads is None else heads
    differ = (spans[heads, None] != spans[None]).any(axis=-1)
    pairs = np.argwhere(differ)
    pairs[:, 0] = heads[pairs[:, 0]]
    return pairs


def nearest(spans: IntArray, pairs: IntArray, is_kept: Array | None = None) -> IntArray:
    """Find the pairs with the fewest words between head and tail, at most `MAX_PAIRS`.

    Args:
        spans: First word and word after the last of each span, ``(num_spans, 2)``.
        pairs: Indices of head and tail, ``(num_pairs, 2)``.
        is_kept: True for pairs that take precedence over all others, ``(num_pairs,)``; None for none.

    Returns:
        Indices of the pairs, ascending.
    """
    if len(pairs) <= MAX_PAIRS:
        return np.arange(len(pairs))
    words_between = spans[pairs, 0].max(axis=1) - spans[pairs, 1].min(axis=1)
    order = np.lexsort((words_between,) if is_kept is None else (words_between, ~is_kept))
    return np.sort(order[:MAX_PAIRS])


def labelled_pairs(
    spans: IntArray, relations: IntArray, is_symmetric: Sequence[bool], bounds: Sequence[int] = UNBOUNDED
) -> tuple[IntArray, IntArray]:
    """List the pairs of a sentence or window that a model is trained on: those with a relation, and others without.

    Args:
        spans: First word and word after the last of each gold entity, ``(num_spans, 2)``. The first of several entities
            with the same words represents all of them.
        relations: Class ID, head and tail of each relation, as indices of ``spans``, ``(num_relations, 3)``.
        is_symmetric: Whether head and tail of each class of pairs can be exchanged. Such a relation is assigned to the
            pair whose head comes first; other pairs are left out if all relations are symmetric.
        bounds: The bounds of the window, see `span_marker.core.windows.Window`. Pairs without a relation that belong to
            other windows are left out.

    Returns:
        Indices of head and tail, ``(num_pairs, 2)``, at most `MAX_PAIRS`; and the class ID of each pair,
        ``(num_pairs,)``. A pair with several relations gets the first.

    Example:
        >>> spans, relations = np.array([[0, 2], [3, 4]]), np.array([[1, 1, 0], [2, 0, 1]])
        >>> [array.tolist() for array in labelled_pairs(spans, relations, [False, False, True])]
        [[[0, 1], [1, 0]], [2, 1]]
    """
    first: dict[tuple[int, ...], int] = {}
    place = np.array([first.setdefault(tuple(span), index) for index, span in enumerate(spans.tolist())], dtype=int)
    classes = np.zeros((len(spans), len(spans)), dtype=np.int64)
    for label, head, tail in reversed(relations.tolist()):
        pair = (place[head], place[tail])
        if is_symmetric[label] and not stands_first(spans[[head]], spans[[tail]])[0]:
            pair = pair[::-1]
        classes[pair] = label
    pairs = all_pairs(spans)
    labels = classes[pairs[:, 0], pairs[:, 1]]
    heads, tails = spans[pairs[:, 0]], spans[pairs[:, 1]]
    is_used = belong_to(heads, tails, bounds)
    if all(is_symmetric[1:]):
        is_used &= stands_first(heads, tails)
    is_used = (is_used | (labels > 0)) & (place[pairs] == pairs).all(axis=1)
    pairs, labels = pairs[is_used], labels[is_used]
    chosen = nearest(spans, pairs, labels > 0)
    return pairs[chosen], labels[chosen]


def check_names(name: str, values: Any) -> None:
    """Check a setting that is a list of names.

    Args:
        name: Name of the setting, for errors.
        values: The value.

    Raises:
        TypeError: If it is not a list of strings.
    """
    if not isinstance(values, (list, tuple)) or not all(isinstance(value, str) for value in values):
        raise TypeError(f"{name}={values!r} must be a list of strings")
