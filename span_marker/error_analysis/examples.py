"""Errors in their context, most frequent first."""

from __future__ import annotations

import re
from collections.abc import Iterable
from itertools import pairwise
from typing import NamedTuple

from span_marker.core.labels import LabelledSpan
from span_marker.core.words import surroundings
from span_marker.data.rows import join_words
from span_marker.error_analysis.matching import Item, JudgedSentence, Kind, Outcome

CONTEXT = 40
"""Characters that are shown on either side of an error."""

CONTROLS = re.compile(r"[\x00-\x20\x7f-\x9f]+")
"""White space and control characters, which a terminal might act on."""


class Example(NamedTuple):
    """An error, and how often it occurs.

    Attributes:
        number: How often it occurs with the same labels and texts.
        gold: Label and text of the gold entity; None if the prediction is spurious.
        predicted: Label and text of the prediction; None if the gold entity is missed.
        sentence: The first sentence in which it occurs.
        outcome: The outcome in that sentence.
    """

    number: int
    gold: tuple[str, str] | None
    predicted: tuple[str, str] | None
    sentence: JudgedSentence
    outcome: Outcome

    @property
    def where(self) -> str:
        """Where it occurs first."""
        return f"row {self.sentence.row} of the {self.sentence.split} data"

    def as_line(self, num_characters: int) -> str:
        """Write it on one line, with the gold entity in brackets and the prediction in braces.

        Args:
            num_characters: The largest number of characters to show on either side.

        Returns:
            The line.
        """
        line, was_gold, was_predicted = "", False, False
        for text, is_gold, is_predicted in [*in_context(self.sentence, self.outcome, num_characters), NO_FRAGMENT]:
            line += "}" * (was_predicted > is_predicted) + "]" * (was_gold > is_gold)
            line += "[" * (is_gold > was_gold) + "{" * (is_predicted > was_predicted) + text
            was_gold, was_predicted = is_gold, is_predicted
        names = " -> ".join(f"{pair[0]} {pair[1]!r}" for pair in (self.gold, self.predicted) if pair)
        return f"{names}; {self.where}: {CONTROLS.sub(' ', line)}"


def list_examples(sentences: Iterable[JudgedSentence], kind: Kind) -> list[Example]:
    """List the outcomes of a kind. Those with the same labels and texts are counted together.

    Args:
        sentences: The sentences.
        kind: The kind.

    Returns:
        The outcomes, most frequent first; equally frequent ones in order of their first occurrence.
    """
    return [group[0]._replace(number=len(group)) for group in group_examples(sentences, kind)]


def group_examples(sentences: Iterable[JudgedSentence], kind: Kind) -> list[list[Example]]:
    """Group the outcomes of a kind by their labels and texts.

    Args:
        sentences: The sentences.
        kind: The kind.

    Returns:
        The groups, the largest first; of equal ones, that which occurs first. Each has all its outcomes, in order.
    """
    groups: dict[object, list[Example]] = {}
    for sentence in sentences:
        for outcome in sentence.outcomes:
            if outcome.kind == kind:
                gold, predicted = (_quote(sentence.item, span) for span in outcome[1:])
                groups.setdefault((gold, predicted), []).append(Example(1, gold, predicted, sentence, outcome))
    return sorted(groups.values(), key=len, reverse=True)


def _quote(item: Item, span: LabelledSpan | None) -> tuple[str, str] | None:
    """Label and text of an entity."""
    if span is None:
        return None
    part = item[span.start : span.end]
    return span.label, part if isinstance(part, str) else " ".join(part)


class TextFragment(NamedTuple):
    """A part of a text, and whether it belongs to the gold entity and to the prediction."""

    text: str
    is_gold: bool
    is_predicted: bool


NO_FRAGMENT = TextFragment("", False, False)


def in_context(sentence: JudgedSentence, outcome: Outcome, num_characters: int) -> list[TextFragment]:
    """Cut a sentence where the entities of an outcome begin and end. Words are joined by single spaces.

    Args:
        sentence: The sentence.
        outcome: One of its outcomes.
        num_characters: The largest number of characters to show on either side.

    Returns:
        The fragments in order, with dots in place of what is not shown.
    """
    text, (gold, predicted) = _as_text(sentence.item, outcome[1:])
    bounds = [bound for span in (gold, predicted) if span is not None for bound in (span.start, span.stop)]
    first, last = surroundings(text, min(bounds), max(bounds), num_characters)
    cuts = pairwise(sorted({first, last, *bounds}))
    fragments = [
        TextFragment(text[start:end], start in (gold or ()), start in (predicted or ())) for start, end in cuts
    ]
    before, after = TextFragment("... ", False, False), TextFragment(" ...", False, False)
    return [before] * (first > 0) + fragments + [after] * (last < len(text))


def _as_text(item: Item, spans: Iterable[LabelledSpan | None]) -> tuple[str, list[range | None]]:
    """A sentence as text, and the characters of its entities."""
    if isinstance(item, str):
        return item, [range(span.start, span.end) if span else None for span in spans]
    text, starts = join_words(item)
    return text, [range(starts[span.start], starts[span.end] - 1) if span else None for span in spans]
