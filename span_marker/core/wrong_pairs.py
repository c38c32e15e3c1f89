"""Wrong pairs: pairs with spans that are not entities, from which a model learns that they have no relation.

In prediction, a model looks for relations between the entities that it predicts, and some of these are wrong. It is
therefore also trained on pairs with wrong spans: those spans that are not entities, but have the highest entity scores.
At first, these are almost arbitrary; later, they are spans with a wrong boundary and neighbors of entities; in the end,
the errors of the model. Nothing is sampled at random.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from span_marker.core.arrays import Array
from span_marker.core.relations import MAX_PAIRS
from span_marker.core.spans import IntArray

GOLD_PER_WRONG = 4
"""Number of gold entities of a sentence per wrong span. Most models predict fewer wrong entities."""


class LabelledPairs(NamedTuple):
    """The pairs of a batch, sentence after sentence.

    Attributes:
        tokens: First and last token of each head, and those of its tail, ``(num_pairs, 4)``.
        counts: Number of pairs per sentence, ``(batch,)``.
        labels: Class ID of each pair, ``(num_pairs,)``.
    """

    tokens: IntArray
    counts: IntArray
    labels: IntArray


def wrong_pairs(is_gold: Array, scores: Array) -> IntArray:
    """List the wrong pairs of a sentence: wrong spans with gold entities and with each other, in both orders.

    Args:
        is_gold: True for gold entities among the candidates, ``(num_spans,)``.
        scores: The entity score of each candidate, ``(num_spans,)``.

    Returns:
        Indices of head and tail among the candidates, ``(num_pairs, 2)``. Among equal scores, the first is chosen.

    Example:
        >>> wrong_pairs(np.array([True, False, False]), np.array([2.0, 0.5, 1.0])).tolist()
        [[0, 2], [2, 0]]
    """
    gold, others = np.flatnonzero(is_gold), np.flatnonzero(~is_gold)
    num_wrong = math.ceil(len(gold) / GOLD_PER_WRONG)
    wrong = others[np.argsort(-scores[others], kind="stable")[:num_wrong]]
    spans = np.concatenate([gold, wrong])
    pairs = np.argwhere(~np.eye(len(spans), dtype=bool))
    return spans[pairs[(pairs >= len(gold)).any(axis=1)]]


def add_wrong_pairs(
    pairs: LabelledPairs, is_gold: Array, scores: Array, span_tokens: IntArray, span_counts: IntArray
) -> LabelledPairs:
    """Add wrong pairs to a batch, up to `MAX_PAIRS` per sentence, for sentences that already have pairs.

    Args:
        pairs: The pairs of gold entities.
        is_gold: See `wrong_pairs`; sentence after sentence.
        scores: See `wrong_pairs`.
        span_tokens: First and last token of each candidate, ``(num_spans, 2)``.
        span_counts: Number of candidates per sentence, ``(batch,)``.

    Returns:
        The pairs of each sentence, followed by its wrong ones, which have no relation.
    """
    tokens, labels = [], []
    counts = pairs.counts.copy()
    ends, pair_ends = np.cumsum(span_counts), np.cumsum(pairs.counts)
    for sentence, (num_spans, num_pairs) in enumerate(zip(span_counts.tolist(), pairs.counts.tolist(), strict=True)):
        own = slice(pair_ends[sentence] - num_pairs, pair_ends[sentence])
        tokens.append(pairs.tokens[own])
        labels.append(pairs.labels[own])
        if num_pairs:
            spans = slice(ends[sentence] - num_spans, ends[sentence])
            added = wrong_pairs(is_gold[spans], scores[spans])[: max(MAX_PAIRS - num_pairs, 0)]
            tokens.append(span_tokens[spans][added].reshape(-1, 4))
            labels.append(np.zeros(len(added), dtype=np.int64))
            counts[sentence] += len(added)
    return LabelledPairs(np.concatenate(tokens), counts, np.concatenate(labels))
