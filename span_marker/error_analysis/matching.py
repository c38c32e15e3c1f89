"""Which prediction stands for which gold entity, and what is wrong with it.

Pure functions on entities. Each gold entity is paired with at most one prediction. Each pair, and each entity that is
left over, is of one *kind*, and all figures come from counts of kinds, as in the evaluation of MUC-5 (Chinchor and
Sundheim 1993).
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

Counts = npt.NDArray[np.float64]
Item = str | Sequence[str]
Kind = Literal["correct", "wrong-label", "wrong-boundaries", "wrong-both", "missed", "spurious"]

KINDS: dict[Kind, str] = {
    "correct": "pairs with the same label and the same boundaries",
    "wrong-label": "pairs with the same boundaries and another label",
    "wrong-boundaries": "pairs that overlap, with the same label",
    "wrong-both": "pairs that overlap, with another label",
    "missed": "gold entities in no pair",
    "spurious": "predictions in no pair",
}
"""What each kind is. The first four are pairs, the best first."""

MEASURES: dict[str, dict[Kind, float]] = {
    "strict": {"correct": 1},
    "exact": {"correct": 1, "wrong-label": 1},
    "partial": {"correct": 1, "wrong-label": 1, "wrong-boundaries": 0.5, "wrong-both": 0.5},
    "type": {"correct": 1, "wrong-boundaries": 1},
}
"""What a pair of each kind counts for in the measures of SemEval-2013 task 9.1 (Segura-Bedmar et al. 2013): *strict*
asks for label and boundaries, *exact* for boundaries, *partial* for boundaries or, at half, an overlap, and *type* for
the label and an overlap. The sum over all pairs is divided by the number of predictions for precision, and by that of
gold entities for recall."""

WORD = re.compile(r"\w+|[^\w\s]")


class Outcome(NamedTuple):
    """A gold entity with the prediction that stands for it, or one of them that is left over.

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
    """A sentence, and what became of its entities.

    Attributes:
        item: The words, or the text.
        outcomes: What `match` gives; entities count words, or characters of a text.
        split: Name of the data set.
        row: Row in it, 0-based.
    """

    item: Item
    outcomes: Sequence[Outcome]
    split: str = "annotated"
    row: int = 0

    @cached_property
    def num_words(self) -> int:
        """Its words, see `num_words`."""
        return num_words(self.item)


def match(gold: Iterable[LabelledSpan], predicted: Iterable[LabelledSpan]) -> list[Outcome]:
    """Pair the gold entities of a sentence with its predictions, one with one.

    Only entities that overlap are paired: first those of a better kind, in the order of `KINDS`; among them those with
    the larger Jaccard index, the share that is common to both of what either covers; among these the leftmost. Swapping
    gold entities and predictions changes no pair.

    Args:
        gold: The gold entities, nested and overlapping ones, too. What is listed twice counts once.
        predicted: The predictions, likewise.

    Returns:
        The pairs, and what is left over, in order of place.

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
            raise ValueError(f"the entity {label!r} from {start} to {end} is empty: 'end' is exclusive")
    outcomes = []
    for one, other in sorted(_overlapping(open_gold, open_predicted), key=_rank):
        if one in open_gold and other in open_predicted:
            del open_gold[one], open_predicted[other]
            outcomes.append(Outcome(_kind(one, other), one, other))
    outcomes += [Outcome("missed", one, None) for one in open_gold]
    outcomes += [Outcome("spurious", None, other) for other in open_predicted]
    return sorted(outcomes, key=lambda outcome: [_place(span) for span in outcome[1:] if span])


def _overlapping(
    gold: Iterable[LabelledSpan], predicted: Iterable[LabelledSpan]
) -> Iterator[tuple[LabelledSpan, LabelledSpan]]:
    ordered = sorted(predicted, key=_place)
    starts = [span.start for span in ordered]
    longest = max((span.end - span.start for span in ordered), default=0)
    for one in gold:
        for other in ordered[bisect_right(starts, one.start - longest) : bisect_left(starts, one.end)]:
            if other.end > one.start:
                yield one, other


def _place(span: LabelledSpan) -> tuple[int, int, str]:
    return span.start, span.end, span.label


def _kind(one: LabelledSpan, other: LabelledSpan) -> Kind:
    return list(KINDS)[2 * (one[1:] != other[1:]) + (one.label != other.label)]


def _rank(pair: tuple[LabelledSpan, LabelledSpan]) -> tuple[object, ...]:
    one, other = pair
    common = min(one.end, other.end) - max(one.start, other.start)
    either = max(one.end, other.end) - min(one.start, other.start)
    return list(KINDS).index(_kind(one, other)), -common / either, _place(one), _place(other)


def count_kinds(sentences: Sequence[JudgedSentence]) -> Counts:
    """Count the outcomes of each kind.

    Args:
        sentences: The sentences.

    Returns:
        How many each sentence has of each of the `KINDS`, ``(num_sentences, num_kinds)``.
    """
    counts = np.zeros((len(sentences), len(KINDS)))
    columns = {kind: column for column, kind in enumerate(KINDS)}
    for row, sentence in zip(counts, sentences, strict=True):
        for outcome in sentence.outcomes:
            row[columns[outcome.kind]] += 1
    return counts


def tally_measures(sentences: Sequence[JudgedSentence]) -> dict[str, Counts]:
    """Count by each measure.

    Args:
        sentences: The sentences.

    Returns:
        For each of the `MEASURES` what pairs count for, predictions, and gold entities of each sentence,
        ``(num_sentences, 3)``.
    """
    kinds = count_kinds(sentences)
    num_predicted, num_gold = (kinds @ [kind != other for kind in KINDS] for other in ("missed", "spurious"))
    return {
        name: np.stack([kinds @ [worth.get(kind, 0) for kind in KINDS], num_predicted, num_gold], axis=1)
        for name, worth in MEASURES.items()
    }


def tally(
    sentences: Sequence[JudgedSentence], group_of: Callable[[JudgedSentence, LabelledSpan], str]
) -> dict[str, Counts]:
    """Count the entities of groups, such as those of a label, strictly.

    Args:
        sentences: The sentences.
        group_of: Names the group of an entity of a sentence.

    Returns:
        For each group correct pairs, predictions, and gold entities of each sentence, ``(num_sentences, 3)``.
    """
    counts: dict[str, Counts] = {}
    for index, sentence in enumerate(sentences):
        for kind, gold, predicted in sentence.outcomes:
            for column, span in enumerate((gold if kind == "correct" else None, predicted, gold)):
                if span is not None:
                    of_group = counts.setdefault(group_of(sentence, span), np.zeros((len(sentences), 3)))
                    of_group[index, column] += 1
    return counts


def tally_lengths(
    sentences: Sequence[JudgedSentence], length_of: Callable[[JudgedSentence, LabelledSpan], int], starts: Sequence[int]
) -> dict[str, Counts]:
    """Count the entities of groups of lengths, strictly.

    Args:
        sentences: The sentences.
        length_of: Gives the length of an entity, or of its sentence.
        starts: Where groups of lengths begin; whatever is shorter belongs to the first.

    Returns:
        See `tally`; groups are named like ``3``, ``6-8`` and ``13+``, the shortest first.
    """
    names = [str(one) if one + 1 == other else f"{one}-{other - 1}" for one, other in pairwise(starts)]
    names.append(f"{starts[-1]}+")
    counts = tally(sentences, lambda of, span: names[max(bisect_right(starts, length_of(of, span)) - 1, 0)])
    return {name: counts[name] for name in names if name in counts}


def confusion_matrix(sentences: Sequence[JudgedSentence], labels: Sequence[str]) -> IntArray:
    """Count which label was predicted for which, whatever the boundaries.

    Args:
        sentences: The sentences.
        labels: All labels.

    Returns:
        Gold labels by predicted ones, ``(num_labels + 1, num_labels + 1)``. The last row is of spurious predictions,
        the last column of missed gold entities.
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
        item: Words; or a text, of which each run of letters and digits is a word, and each other character that is not
            white space.

    Returns:
        How many there are.

    Example:
        >>> num_words(["the", "U.S.", "dollar"]), num_words("the U.S. dollar")
        (3, 6)
    """
    return len(WORD.findall(item)) if isinstance(item, str) else len(item)
