"""Match gold entities with predictions, and classify the error of each pair.

Pure functions on entities. Each gold entity is paired with at most one prediction. Each pair, and each unpaired entity,
has one *kind*, and all metrics are computed from counts of kinds, as in the evaluation of MUC-5 (Chinchor and Sundheim
1993).
"""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from span_marker.core.labels import LabelledSpan
from span_marker.core.spans import IntArray
from span_marker.error_analysis.relation_matching import RelationOutcome

Counts = npt.NDArray[np.float64]
Item = str | Sequence[str]
Kind = Literal["correct", "wrong-label", "wrong-boundaries", "wrong-both", "missed", "spurious"]

KINDS: dict[Kind, str] = {
    "correct": "pairs with the same label and the same boundaries",
    "wrong-label": "pairs with the same boundaries and different labels",
    "wrong-boundaries": "pairs that overlap, with the same label",
    "wrong-both": "pairs that overlap, with different labels",
    "missed": "gold entities in no pair",
    "spurious": "predictions in no pair",
}
"""Description of each kind. The first four are kinds of pairs, best first."""

MEASURES: dict[str, dict[Kind, float]] = {
    "strict": {"correct": 1},
    "exact": {"correct": 1, "wrong-label": 1},
    "partial": {"correct": 1, "wrong-label": 1, "wrong-boundaries": 0.5, "wrong-both": 0.5},
    "type": {"correct": 1, "wrong-boundaries": 1},
}
"""Weight of a pair of each kind in the measures of SemEval-2013 task 9.1 (Segura-Bedmar et al. 2013). *Strict* needs
the right label and boundaries, *exact* the right boundaries, *partial* the right boundaries or, at half weight, an
overlap, and *type* the right label and an overlap. The sum over all pairs is divided by the number of predictions for
precision, and by the number of gold entities for recall."""

WORD = re.compile(r"\w+|[^\w\s]")


class Outcome(NamedTuple):
    """A gold entity paired with a prediction, or one of them alone.

    Attributes:
        kind: A key of `KINDS`.
        gold: The gold entity; None if the prediction is spurious.
        predicted: The prediction; None if the gold entity is missed.
    """

    kind: Kind
    gold: LabelledSpan | None
    predicted: LabelledSpan | None


@dataclass(frozen=True)
class JudgedSentence:
    """A sentence, and the outcomes of its entities.

    Attributes:
        item: The words, or the text.
        outcomes: The result of `match`, with entities in words, or in characters of a text.
        split: Name of the data set.
        row: Index of its row.
        relations: The outcomes of its relations; None if these are not annotated, or not predicted.
    """

    item: Item
    outcomes: Sequence[Outcome]
    split: str = "annotated"
    row: int = 0
    relations: Sequence[RelationOutcome] | None = None

    @cached_property
    def num_words(self) -> int:
        """Number of words, see `num_words`."""
        return num_words(self.item)


def match(gold: Iterable[LabelledSpan], predicted: Iterable[LabelledSpan]) -> list[Outcome]:
    """Pair the gold entities of a sentence with its predictions, one to one.

    Only entities that overlap are paired: better kinds first, in the order of `KINDS`; within a kind, those with a
    larger Jaccard index first, which is the length of their intersection over that of their union; then the leftmost.
    Swapping gold entities and predictions changes no pair.

    Args:
        gold: The gold entities, which may be nested or overlap. Repeated ones count once.
        predicted: The predictions, in the same form.

    Returns:
        The pairs and the unpaired entities, in order of place.

    Raises:
        ValueError: If an entity is empty.

    Example:
        >>> [outcome] = match([LabelledSpan("PER", 0, 2)], [LabelledSpan("PER", 1, 2)])
        >>> outcome.kind
        'wrong-boundaries'
    """
    open_gold, open_predicted = dict.fromkeys(gold), dict.fromkeys(predicted)
    for label, start, end in (*open_gold, *open_predicted):
        if start >= end:
            raise ValueError(f"entity {label!r} from {start} to {end} is empty: 'end' is exclusive")
    outcomes = []
    for gold_span, predicted_span in sorted(_overlapping(open_gold, open_predicted), key=_rank):
        if gold_span in open_gold and predicted_span in open_predicted:
            del open_gold[gold_span], open_predicted[predicted_span]
            outcomes.append(Outcome(_kind(gold_span, predicted_span), gold_span, predicted_span))
    outcomes += [Outcome("missed", span, None) for span in open_gold]
    outcomes += [Outcome("spurious", None, span) for span in open_predicted]
    return sorted(outcomes, key=lambda outcome: [_place(span) for span in outcome[1:] if span])


def _overlapping(
    gold: Iterable[LabelledSpan], predicted: Iterable[LabelledSpan]
) -> Iterator[tuple[LabelledSpan, LabelledSpan]]:
    ordered = sorted(predicted, key=_place)
    starts = [span.start for span in ordered]
    longest = max((span.end - span.start for span in ordered), default=0)
    for span in gold:
        for candidate in ordered[bisect_right(starts, span.start - longest) : bisect_left(starts, span.end)]:
            if candidate.end > span.start:
                yield span, candidate


def _place(span: LabelledSpan) -> tuple[int, int, str]:
    return span.start, span.end, span.label


def _kind(gold: LabelledSpan, predicted: LabelledSpan) -> Kind:
    return list(KINDS)[2 * (gold[1:] != predicted[1:]) + (gold.label != predicted.label)]


def _rank(pair: tuple[LabelledSpan, LabelledSpan]) -> tuple[object, ...]:
    gold, predicted = pair
    intersection = min(gold.end, predicted.end) - max(gold.start, predicted.start)
    union = max(gold.end, predicted.end) - min(gold.start, predicted.start)
    return list(KINDS).index(_kind(gold, predicted)), -intersection / union, _place(gold), _place(predicted)


def count_kinds(sentences: Sequence[JudgedSentence]) -> Counts:
    """Count the outcomes of each kind.

    Args:
        sentences: The sentences.

    Returns:
        Number of outcomes of each of the `KINDS` in each sentence, ``(num_sentences, num_kinds)``.
    """
    counts = np.zeros((len(sentences), len(KINDS)))
    columns = {kind: column for column, kind in enumerate(KINDS)}
    for row, sentence in zip(counts, sentences, strict=True):
        for outcome in sentence.outcomes:
            row[columns[outcome.kind]] += 1
    return counts


def tally_measures(sentences: Sequence[JudgedSentence]) -> dict[str, Counts]:
    """Count entities by each measure.

    Args:
        sentences: The sentences.

    Returns:
        For each of the `MEASURES`, the weight of the pairs, the number of predictions and the number of gold entities
        in each sentence, ``(num_sentences, 3)``.
    """
    kinds = count_kinds(sentences)
    num_predicted, num_gold = (kinds @ [kind != unpaired for kind in KINDS] for unpaired in ("missed", "spurious"))
    return {
        name: np.stack([kinds @ [weights.get(kind, 0) for kind in KINDS], num_predicted, num_gold], axis=1)
        for name, weights in MEASURES.items()
    }


def tally(
    sentences: Sequence[JudgedSentence], group_of: Callable[[JudgedSentence, LabelledSpan], str]
) -> dict[str, Counts]:
    """Count the entities of groups by the strict measure, such as those of each label.

    Args:
        sentences: The sentences.
        group_of: Returns the name of the group of an entity in a sentence.

    Returns:
        For each group, the number of correct pairs, predictions and gold entities in each sentence,
        ``(num_sentences, 3)``.
    """
    counts: dict[str, Counts] = {}
    for index, sentence in enumerate(sentences):
        for kind, gold, predicted in sentence.outcomes:
            for column, span in enumerate((gold if kind == "correct" else None, predicted, gold)):
                if span is not None:
                    group = counts.setdefault(group_of(sentence, span), np.zeros((len(sentences), 3)))
                    group[index, column] += 1
    return counts


def tally_lengths(
    sentences: Sequence[JudgedSentence], length_of: Callable[[JudgedSentence, LabelledSpan], int], starts: Sequence[int]
) -> dict[str, Counts]:
    """Count the entities of groups of lengths by the strict measure.

    Args:
        sentences: The sentences.
        length_of: Returns the length of an entity, or of its sentence.
        starts: Start of each group of lengths; shorter lengths belong to the first group.

    Returns:
        See `tally`; groups are named like ``3``, ``6-8`` and ``13+``, shortest first.
    """
    names = [str(start) if start + 1 == end else f"{start}-{end - 1}" for start, end in pairwise(starts)]
    names.append(f"{starts[-1]}+")

    def group_of(sentence: JudgedSentence, span: LabelledSpan) -> str:
        return names[max(bisect_right(starts, length_of(sentence, span)) - 1, 0)]

    counts = tally(sentences, group_of)
    return {name: counts[name] for name in names if name in counts}


def confusion_matrix(sentences: Sequence[JudgedSentence], labels: Sequence[str]) -> IntArray:
    """Count which label was predicted for which gold label, whatever the boundaries.

    Args:
        sentences: The sentences.
        labels: All labels.

    Returns:
        Gold labels by predicted labels, ``(num_labels + 1, num_labels + 1)``. The last row counts spurious predictions,
        the last column missed gold entities.
    """
    matrix = np.zeros((len(labels) + 1, len(labels) + 1), dtype=np.int64)
    places = {label: place for place, label in enumerate(labels)}
    for sentence in sentences:
        for _, gold, predicted in sentence.outcomes:
            matrix[places[gold.label] if gold else -1, places[predicted.label] if predicted else -1] += 1
    return matrix


def num_words(item: Item) -> int:
    """Count words.

    Args:
        item: Words; or a text, in which each run of letters and digits is a word, and so is each other character that
            is not white space.

    Returns:
        The number of words.

    Example:
        >>> num_words(["the", "U.S.", "dollar"]), num_words("the U.S. dollar")
        (3, 6)
    """
    return len(WORD.findall(item)) if isinstance(item, str) else len(item)
