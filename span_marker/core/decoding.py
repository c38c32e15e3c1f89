"""Probabilities to entities: which labels a candidate may have, and which candidates are kept. Pure functions.

`likely_labels` says which labels a candidate may have; `select` resolves what overlaps, in one of these ways:

- ``"flat"``: nothing overlaps. In descending order of probability, keep what overlaps nothing kept before it.
- ``"flat-optimal"``: nothing overlaps, and the probabilities of what is kept have the largest possible sum: two
  entities of 0.5 are kept rather than one of 0.9 across both.
- ``"nested"``: one entity may lie within another or share its words with another label, but none crosses another. In
  descending order of probability, keep what crosses nothing kept before it.
- ``"overlapping"``: keep everything.
"""

from __future__ import annotations

import bisect
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal, NamedTuple, get_args

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from span_marker.core.spans import IntArray

FloatArray = npt.NDArray[np.float32]

Decoding = Literal["flat", "flat-optimal", "nested", "overlapping"]

DECODINGS: tuple[Decoding, ...] = get_args(Decoding)
"""Names of the ways to resolve overlaps, see `RULES`."""

MULTI_LABEL_THRESHOLD = 0.5
"""Probability from which on a label of a multi-label model is likely enough."""


class ScoredSpan(NamedTuple):
    """A label of a candidate.

    Attributes:
        label_id: Class ID.
        start: First word.
        end: Word behind the last.
        score: Probability of the label.
        all_scores: Probabilities of all classes, if they were asked for.
    """

    label_id: int
    start: int
    end: int
    score: float
    all_scores: tuple[float, ...] = ()


class ScoredSpans(NamedTuple):
    """Those candidates of a batch that got markers, all of them unless a filter dropped some.

    Attributes:
        logits: Class scores, ``(num_kept, num_labels)``.
        span_words: First word of each and the one behind its last, ``(num_kept, 2)``.
        span_counts: How many of each sentence, ``(batch,)``.
    """

    logits: Tensor
    span_words: Tensor
    span_counts: Tensor

    @classmethod
    def of(cls, batch: dict[str, Tensor], logits: Tensor, kept: Tensor | None) -> ScoredSpans:
        """Say which candidates of a batch class scores belong to.

        Args:
            batch: What `SpanMarkerDataCollator` makes.
            logits: The class scores.
            kept: Indices of the candidates, ascending; None for all.

        Returns:
            The candidates.
        """
        words, counts = batch["span_words"], batch["span_counts"]
        if kept is None:
            return cls(logits, words, counts)
        kept = kept.to(words.device)
        bounds = torch.searchsorted(kept, counts.cumsum(0))
        return cls(logits, words[kept], bounds.diff(prepend=bounds.new_zeros(1)))


@dataclass(frozen=True)
class Decoder:
    """How the class scores of candidates become entities.

    Attributes:
        outside_id: Class ID of ``O``.
        multi_label: Whether each class has a probability of its own, rather than one distribution over all of them.
        temperature: What class scores are divided by before they become probabilities.
        thresholds: Least probability of each class, ``(num_labels,)``; None for none, or for
            `MULTI_LABEL_THRESHOLD` in a multi-label model.
        decoding: How to resolve overlaps, see `select`.
        keeps_all_scores: Whether `ScoredSpan.all_scores` is wanted.
    """

    outside_id: int
    multi_label: bool = False
    temperature: float = 1.0
    thresholds: FloatArray | None = None
    decoding: Decoding = "flat"
    keeps_all_scores: bool = False

    def propose(self, logits: Tensor, span_words: Tensor, span_counts: Tensor) -> list[list[ScoredSpan]]:
        """Find the labels that are likely enough.

        Args:
            logits: Class scores, ``(num_spans, num_labels)``.
            span_words: First word and word behind the last of each candidate, ``(num_spans, 2)``.
            span_counts: Candidates of each sentence, ``(batch,)``.

        Returns:
            The labels of each sentence's candidates.
        """
        scores = probabilities(logits, self.multi_label, self.temperature)
        found, labels = likely_labels(scores, self.outside_id, self.thresholds, self.multi_label)
        words = span_words.cpu().numpy()[found]
        sentence = np.repeat(np.arange(len(span_counts)), span_counts.cpu().numpy())[found]
        all_scores = list(map(tuple, scores[found].tolist())) if self.keeps_all_scores else [()] * len(found)
        columns = (array.tolist() for array in (sentence, labels, words[:, 0], words[:, 1], scores[found, labels]))
        proposals: list[list[ScoredSpan]] = [[] for _ in range(len(span_counts))]
        for index, label, start, end, score, of_all in zip(*columns, all_scores, strict=True):
            proposals[index].append(ScoredSpan(label, start, end, score, of_all))
        return proposals

    def select(self, spans: Iterable[ScoredSpan]) -> list[ScoredSpan]:
        """Resolve overlaps in one sentence, see `select`.

        Args:
            spans: What may be an entity.

        Returns:
            What is kept, in order of their words.
        """
        return select(spans, self.decoding)


def probabilities(logits: Tensor, multi_label: bool, temperature: float = 1.0) -> FloatArray:
    """Turn class scores into probabilities.

    Args:
        logits: ``(num_spans, num_labels)``.
        multi_label: See `Decoder`.
        temperature: See `Decoder`.

    Returns:
        ``(num_spans, num_labels)``.
    """
    logits = logits.float() / float(temperature)
    found: FloatArray = (logits.sigmoid() if multi_label else logits.softmax(dim=-1)).cpu().numpy()
    return found


def likely_labels(
    scores: FloatArray, outside_id: int, thresholds: FloatArray | None, multi_label: bool
) -> tuple[IntArray, IntArray]:
    """Find the labels that are likely enough.

    Without thresholds, a candidate has its most probable class, if that is not ``O``. With them, it has its most
    probable label among those that reach theirs. In a multi-label model it has every label that reaches its threshold.

    Args:
        scores: Probabilities, ``(num_spans, num_labels)``.
        outside_id: See `Decoder`.
        thresholds: See `Decoder`.
        multi_label: See `Decoder`.

    Returns:
        Candidates and their labels, both ``(num_found,)``, in order of the candidates.
    """
    if thresholds is None and not multi_label:
        labels = scores.argmax(axis=1)
        found = np.flatnonzero(labels != outside_id)
        return found, labels[found]
    is_likely = scores >= (MULTI_LABEL_THRESHOLD if thresholds is None else thresholds)
    is_likely[:, outside_id] = False
    if multi_label:
        found, labels = np.nonzero(is_likely)
        return found, labels
    found = np.flatnonzero(is_likely.any(axis=1))
    return found, np.where(is_likely[found], scores[found], -1.0).argmax(axis=1)


def select(spans: Iterable[ScoredSpan], decoding: Decoding) -> list[ScoredSpan]:
    """Resolve overlaps in one sentence. Of equal probabilities, the greedy ways prefer the earlier candidate.

    Args:
        spans: What may be an entity.
        decoding: How to resolve overlaps.

    Returns:
        What is kept, in order of their words.

    Raises:
        ValueError: If there is no such way.

    Example:
        >>> spans = [ScoredSpan(1, 0, 3, 0.9), ScoredSpan(2, 0, 1, 0.8), ScoredSpan(2, 2, 4, 0.7)]
        >>> [(span.start, span.end) for span in select(spans, "nested")]
        [(0, 1), (0, 3)]
    """
    return sorted(RULES[check_decoding(decoding)].select(sorted(spans, key=_by_words)), key=_by_words)


def check_decoding(decoding: str) -> Decoding:
    """Check that there is such a way to resolve overlaps.

    Args:
        decoding: Its name.

    Returns:
        Its name.

    Raises:
        ValueError: If there is none.
    """
    if decoding not in DECODINGS:
        raise ValueError(f"decoding={decoding!r} must be one of {', '.join(map(repr, DECODINGS))}")
    return decoding


def _by_words(span: ScoredSpan) -> tuple[int, int, int]:
    return span.start, span.end, span.label_id


def _by_score(span: ScoredSpan) -> float:
    return -span.score


def _flat(spans: list[ScoredSpan]) -> list[ScoredSpan]:
    kept, starts = [], list[int]()  # kept spans do not overlap, so their starts and ends have the same order
    ends: list[int] = []
    for span in sorted(spans, key=_by_score):
        place = bisect.bisect_right(starts, span.start)
        is_free_before = place == 0 or ends[place - 1] <= span.start
        is_free_behind = place == len(starts) or span.end <= starts[place]
        if is_free_before and is_free_behind:
            starts.insert(place, span.start)
            ends.insert(place, span.end)
            kept.append(span)
    return kept


def _flat_optimal(spans: list[ScoredSpan]) -> list[ScoredSpan]:
    """Weighted interval scheduling (Kleinberg and Tardos 2006, Algorithm Design, 6.1)."""
    spans = sorted(spans, key=lambda span: span.end)
    ends = [span.end for span in spans]
    best = [0.0]  # the largest sum of the first spans
    before = [bisect.bisect_right(ends, span.start, hi=index) for index, span in enumerate(spans)]
    for span, place in zip(spans, before, strict=True):
        best.append(max(best[-1], best[place] + span.score))
    kept, index = [], len(spans)
    while index:
        if best[index] > best[index - 1]:
            kept.append(spans[index - 1])
            index = before[index - 1]
        else:
            index -= 1
    return kept


def _nested(spans: list[ScoredSpan]) -> list[ScoredSpan]:
    kept: list[ScoredSpan] = []
    longest = max((span.end - span.start for span in spans), default=0)
    ends_of: dict[int, list[int]] = {}  # of kept spans, by their start
    for span in sorted(spans, key=_by_score):
        from_left = any(
            span.start < end < span.end
            for start in range(span.start - longest + 1, span.start)
            for end in ends_of.get(start, ())
        )
        from_right = any(end > span.end for start in range(span.start + 1, span.end) for end in ends_of.get(start, ()))
        if not from_left and not from_right:
            ends_of.setdefault(span.start, []).append(span.end)
            kept.append(span)
    return kept


def _overlapping(spans: list[ScoredSpan]) -> list[ScoredSpan]:
    return spans


class DecodingRule(NamedTuple):
    """One way to resolve overlaps.

    Attributes:
        may_nest: Whether an entity may lie within another one, or share its words with another label.
        may_cross: Whether an entity may overlap another one while neither lies within the other.
        select: Keeps some of the spans of a sentence, which come in order of their words.
    """

    may_nest: bool
    may_cross: bool
    select: Callable[[list[ScoredSpan]], list[ScoredSpan]]


RULES: dict[Decoding, DecodingRule] = {
    "flat": DecodingRule(may_nest=False, may_cross=False, select=_flat),
    "flat-optimal": DecodingRule(may_nest=False, may_cross=False, select=_flat_optimal),
    "nested": DecodingRule(may_nest=True, may_cross=False, select=_nested),
    "overlapping": DecodingRule(may_nest=True, may_cross=True, select=_overlapping),
}
"""All ways to resolve overlaps. To add one, write it here and add its name to `Decoding`."""
