"""Decoding: from probabilities to entities. Pure functions.

`likely_labels` proposes labels for candidates; `select` resolves overlaps between the proposals, in one of these ways:

- ``"flat"``: entities do not overlap. In descending order of probability, each proposal is selected unless it overlaps
one selected before.
- ``"flat-optimal"``: entities do not overlap, and the sum of their probabilities is as large as possible: two entities
  of 0.5 are selected rather than one of 0.9 that overlaps both.
- ``"nested"``: entities may lie within others, or share their words with another label, but do not cross. In descending
order of probability, each proposal is selected unless it crosses one selected before.
- ``"overlapping"``: all proposals are selected.
"""

from __future__ import annotations

import bisect
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, get_args

import numpy as np

from span_marker.core.arrays import Array, Batch, as_array
from span_marker.core.spans import FloatArray as FloatArray
from span_marker.core.spans import IntArray, ranges

Decoding = Literal["flat", "flat-optimal", "nested", "overlapping"]

DECODINGS: tuple[Decoding, ...] = get_args(Decoding)
"""Names of the ways to resolve overlaps, see `RULES`."""

MULTI_LABEL_THRESHOLD = 0.5
"""Probability at which a label of a multi-label model is proposed, unless thresholds are set."""


class ScoredSpan(NamedTuple):
    """A label of a candidate, with its probability.

    Attributes:
        label_id: Class ID.
        start: First word.
        end: Word after the last.
        score: Probability of the label.
        all_scores: Probabilities of all classes; empty unless requested.
    """

    label_id: int
    start: int
    end: int
    score: float
    all_scores: tuple[float, ...] = ()


class ScoredSpans(NamedTuple):
    """The candidates of a batch that got markers: all of them, unless the candidate filter dropped some.

    Attributes:
        logits: Class scores, ``(num_kept, num_labels)``.
        span_words: First word and word after the last of each candidate, ``(num_kept, 2)``.
        span_counts: Number of these candidates per sentence, ``(batch,)``.
    """

    logits: Array
    span_words: IntArray
    span_counts: IntArray

    @classmethod
    def from_batch(cls, batch: Batch, logits: Any, kept: Any = None) -> ScoredSpans:
        """Find the candidates that class scores belong to.

        Args:
            batch: The batch, from `SpanMarkerDataCollator`, in arrays or tensors.
            logits: The class scores, ``(num_kept, num_labels)``, in an array or a tensor.
            kept: Indices of the candidates that the filter kept, ascending, ``(num_kept,)``; None for all.

        Returns:
            The candidates with their class scores.
        """
        words, counts = as_array(batch["span_words"]), as_array(batch["span_counts"])
        if kept is None:
            return cls(as_array(logits), words, counts)
        kept = as_array(kept)
        sentences = np.searchsorted(np.cumsum(counts), kept, side="right")
        return cls(as_array(logits), words[kept], np.bincount(sentences, minlength=len(counts)))


@dataclass(frozen=True)
class Decoder:
    """How class scores become entities.

    Attributes:
        outside_id: Class ID of ``O``.
        multi_label: Whether each class has its own probability, rather than one distribution over all classes.
        temperature: Divisor of the class scores.
        thresholds: The minimum probability of each class, ``(num_labels,)``; NaN for a class without one. None for no
            thresholds; multi-label models then use `MULTI_LABEL_THRESHOLD`.
        decoding: How overlaps are resolved, see `select`.
        keeps_all_scores: Whether to fill in `ScoredSpan.all_scores`.
    """

    outside_id: int
    multi_label: bool = False
    temperature: float = 1.0
    thresholds: FloatArray | None = None
    decoding: Decoding = "flat"
    keeps_all_scores: bool = False

    def propose(
        self, logits: Array, span_words: IntArray, span_counts: IntArray, limits: IntArray | None = None
    ) -> list[list[ScoredSpan]]:
        """Propose labels, see `likely_labels`.

        Args:
            logits: Class scores, ``(num_spans, num_labels)``.
            span_words: First word and word after the last of each candidate, ``(num_spans, 2)``.
            span_counts: Number of candidates per sentence, ``(batch,)``.
            limits: The maximum number of proposals per sentence, ``(batch,)``: the most probable ones, and the first of
                equally probable ones. None for all.

        Returns:
            The proposals of each sentence.
        """
        scores = probabilities(logits, self.multi_label, self.temperature)
        spans, labels = likely_labels(scores, self.outside_id, self.thresholds, self.multi_label)
        sentences = np.repeat(np.arange(len(span_counts)), span_counts)[spans]
        if limits is not None:
            kept = most_probable(scores[spans, labels], sentences, limits)
            spans, labels, sentences = spans[kept], labels[kept], sentences[kept]
        words = span_words[spans]
        all_scores = list(map(tuple, scores[spans].tolist())) if self.keeps_all_scores else [()] * len(spans)
        columns = (array.tolist() for array in (sentences, labels, words[:, 0], words[:, 1], scores[spans, labels]))
        proposals: list[list[ScoredSpan]] = [[] for _ in range(len(span_counts))]
        for sentence, *fields in zip(*columns, all_scores, strict=True):
            proposals[sentence].append(ScoredSpan(*fields))
        return proposals

    def select(self, spans: Iterable[ScoredSpan]) -> list[ScoredSpan]:
        """Resolve overlaps in one sentence, see `select`.

        Args:
            spans: The proposals of the sentence.

        Returns:
            The entities, in order of their words.
        """
        return select(spans, self.decoding)


def probabilities(logits: Array, multi_label: bool, temperature: float = 1.0) -> FloatArray:
    """Convert class scores to probabilities.

    Args:
        logits: Class scores, ``(num_spans, num_labels)``.
        multi_label: See `Decoder`.
        temperature: See `Decoder`.

    Returns:
        Probabilities, ``(num_spans, num_labels)``.
    """
    logits = np.asarray(logits, dtype=np.float32) / np.float32(temperature)
    with np.errstate(over="ignore", invalid="ignore"):  # 1 / infinity is 0; broken weights give nan, not a warning
        if multi_label:
            scores: FloatArray = 1 / (1 + np.exp(-logits))
            return scores
        exponentials = np.exp(logits - logits.max(axis=-1, keepdims=True))
        scores = exponentials / exponentials.sum(axis=-1, keepdims=True)
        return scores


def likely_labels(
    scores: FloatArray, outside_id: int, thresholds: FloatArray | None, multi_label: bool
) -> tuple[IntArray, IntArray]:
    """Propose labels for candidates.

    Without thresholds, the proposal for a candidate is its most probable class, unless that is ``O``. With thresholds,
    it is the most probable of the labels that are at or above theirs; a label without a threshold is among them if it
    is the most probable class. Multi-label models propose all of these labels.

    Args:
        scores: Probabilities, ``(num_spans, num_labels)``.
        outside_id: See `Decoder`.
        thresholds: See `Decoder`.
        multi_label: See `Decoder`.

    Returns:
        Indices of the candidates, ascending, and the class ID of each proposal, ``(num_proposals,)`` each.
    """
    if thresholds is None and not multi_label:
        labels = scores.argmax(axis=1)
        spans = np.flatnonzero(labels != outside_id)
        return spans, labels[spans]
    least = np.full(scores.shape[1], np.nan) if thresholds is None else thresholds
    if multi_label:
        least = np.where(np.isnan(least), MULTI_LABEL_THRESHOLD, least)
    is_likely = scores >= least.astype(np.float32)
    if np.isnan(least).any():
        is_likely |= np.isnan(least) & (np.arange(scores.shape[1]) == scores.argmax(axis=1)[:, None])
    is_likely[:, outside_id] = False
    if multi_label:
        spans, labels = np.nonzero(is_likely)
        return spans, labels
    spans = np.flatnonzero(is_likely.any(axis=1))
    return spans, np.where(is_likely[spans], scores[spans], -1.0).argmax(axis=1)


def most_probable(scores: FloatArray, sentences: IntArray, limits: IntArray) -> IntArray:
    """Find the most probable proposals of each sentence.

    Args:
        scores: Probabilities, ``(num_proposals,)``.
        sentences: Index of the sentence of each proposal, ascending, ``(num_proposals,)``.
        limits: The maximum number of proposals per sentence, ``(batch,)``.

    Returns:
        Indices of the proposals, ascending. Among equally probable proposals, the first are found.

    Example:
        >>> most_probable(np.float32([0.5, 0.75, 0.5, 0.25]), np.array([0, 0, 0, 1]), np.array([2, 2])).tolist()
        [0, 1, 3]
    """
    order = np.lexsort((-scores, sentences))
    ranks = ranges(np.bincount(sentences, minlength=len(limits)))
    return np.sort(order[ranks < limits[sentences]])


def select(spans: Iterable[ScoredSpan], decoding: Decoding) -> list[ScoredSpan]:
    """Resolve overlaps in one sentence. The greedy ways prefer the earlier of two proposals with equal probabilities.

    Args:
        spans: The proposals of the sentence.
        decoding: How to resolve overlaps, one of `DECODINGS`.

    Returns:
        The entities, in order of their words.

    Raises:
        ValueError: If ``decoding`` is unknown.

    Example:
        >>> spans = [ScoredSpan(1, 0, 3, 0.9), ScoredSpan(2, 0, 1, 0.8), ScoredSpan(2, 2, 4, 0.7)]
        >>> [(span.start, span.end) for span in select(spans, "nested")]
        [(0, 1), (0, 3)]
    """
    return sorted(RULES[check_decoding(decoding)].select(sorted(spans, key=_by_words)), key=_by_words)


def check_decoding(decoding: str) -> Decoding:
    """Check the name of a way to resolve overlaps.

    Args:
        decoding: The name.

    Returns:
        The name.

    Raises:
        ValueError: If it is not one of `DECODINGS`.
    """
    if decoding not in DECODINGS:
        raise ValueError(f"decoding={decoding!r} must be one of {', '.join(map(repr, DECODINGS))}")
    return decoding


def _by_words(span: ScoredSpan) -> tuple[int, int, int]:
    return span.start, span.end, span.label_id


def _by_score(span: ScoredSpan) -> float:
    return -span.score


def _flat(spans: list[ScoredSpan]) -> list[ScoredSpan]:
    selected, starts = [], list[int]()  # these do not overlap, so their starts and ends have the same order
    ends: list[int] = []
    for span in sorted(spans, key=_by_score):
        place = bisect.bisect_right(starts, span.start)
        is_free_before = place == 0 or ends[place - 1] <= span.start
        is_free_after = place == len(starts) or span.end <= starts[place]
        if is_free_before and is_free_after:
            starts.insert(place, span.start)
            ends.insert(place, span.end)
            selected.append(span)
    return selected


def _flat_optimal(spans: list[ScoredSpan]) -> list[ScoredSpan]:
    """Weighted interval scheduling (Kleinberg and Tardos 2006, Algorithm Design, 6.1)."""
    spans = sorted(spans, key=lambda span: span.end)
    ends = [span.end for span in spans]
    best = [0.0]  # the largest sum of probabilities that the first 0, 1, 2, ... spans allow
    before = [bisect.bisect_right(ends, span.start, hi=index) for index, span in enumerate(spans)]
    for span, place in zip(spans, before, strict=True):
        best.append(max(best[-1], best[place] + span.score))
    selected, index = [], len(spans)
    while index:
        if best[index] > best[index - 1]:
            selected.append(spans[index - 1])
            index = before[index - 1]
        else:
            index -= 1
    return selected


def _nested(spans: list[ScoredSpan]) -> list[ScoredSpan]:
    selected: list[ScoredSpan] = []
    longest = max((span.end - span.start for span in spans), default=0)
    ends_by_start: dict[int, list[int]] = {}  # of the selected spans
    for span in sorted(spans, key=_by_score):
        from_left = any(
            span.start < end < span.end
            for start in range(span.start - longest + 1, span.start)
            for end in ends_by_start.get(start, ())
        )
        from_right = any(
            end > span.end for start in range(span.start + 1, span.end) for end in ends_by_start.get(start, ())
        )
        if not from_left and not from_right:
            ends_by_start.setdefault(span.start, []).append(span.end)
            selected.append(span)
    return selected


def _overlapping(spans: list[ScoredSpan]) -> list[ScoredSpan]:
    return spans


class DecodingRule(NamedTuple):
    """One way to resolve overlaps.

    Attributes:
        may_nest: Whether an entity may lie within another one, or share its words with another label.
        may_cross: Whether an entity may overlap another one without either lying within the other.
        greedy: The way to resolve the same overlaps in descending order of probability. At a threshold, it selects the
            same spans as at a lower one, without those below the threshold.
        select: Selects entities from the proposals of a sentence, which are in order of their words.
    """

    may_nest: bool
    may_cross: bool
    greedy: Decoding
    select: Callable[[list[ScoredSpan]], list[ScoredSpan]]


RULES: dict[Decoding, DecodingRule] = {
    "flat": DecodingRule(may_nest=False, may_cross=False, greedy="flat", select=_flat),
    "flat-optimal": DecodingRule(may_nest=False, may_cross=False, greedy="flat", select=_flat_optimal),
    "nested": DecodingRule(may_nest=True, may_cross=False, greedy="nested", select=_nested),
    "overlapping": DecodingRule(may_nest=True, may_cross=True, greedy="overlapping", select=_overlapping),
}
"""All ways to resolve overlaps. To add one, add an entry here, and its name to `Decoding`."""
