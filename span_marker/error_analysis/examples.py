"""Examples of errors in context, most frequent first."""

from __future__ import annotations

import re
from collections.abc import Iterable
from itertools import pairwise
from typing import Literal, NamedTuple

from span_marker.core.labels import LabelledSpan
from span_marker.core.relation_metrics import LabelledRelation
from span_marker.core.words import surroundings
from span_marker.data.rows import join_words
from span_marker.error_analysis.matching import Item, JudgedSentence, Kind, Outcome
from span_marker.error_analysis.relation_matching import RelationKind, RelationOutcome

CONTEXT = 40
"""Number of characters to show on either side of an error."""

Outcomes = Literal["outcomes", "relations"]
Part = LabelledSpan | LabelledRelation
Quote = tuple[str, ...]

CONTROLS = re.compile(r"[\x00-\x20\x7f-\x9f]+")
"""White space and control characters, which a terminal might interpret."""


class Example(NamedTuple):
    """An error, and how often it occurs.

    Attributes:
        number: How often it occurs with the same labels and texts.
        gold: Label and text of the gold entity; or the label of the gold relation, with label and text of its head and
            of its tail; None if the prediction is spurious.
        predicted: The same of the prediction; None if it is missing.
        sentence: The first sentence in which it occurs.
        outcome: The outcome in that sentence.
    """

    number: int
    gold: Quote | None
    predicted: Quote | None
    sentence: JudgedSentence
    outcome: Outcome | RelationOutcome

    @property
    def where(self) -> str:
        """Where it occurs first."""
        return f"row {self.sentence.row} of the {self.sentence.split} data"

    def as_line(self, num_characters: int) -> str:
        """Write it on one line, with the gold entities in brackets and the predicted ones in braces.

        Args:
            num_characters: Maximum number of characters to show on either side.

        Returns:
            The line.
        """
        line, was_gold, was_predicted = "", False, False
        for text, is_gold, is_predicted in [*in_context(self.sentence, self.outcome, num_characters), NO_FRAGMENT]:
            line += "}" * (was_predicted > is_predicted) + "]" * (was_gold > is_gold)
            line += "[" * (is_gold > was_gold) + "{" * (is_predicted > was_predicted) + text
            was_gold, was_predicted = is_gold, is_predicted
        names = " -> ".join(_name(quote) for quote in (self.gold, self.predicted) if quote)
        return f"{names}; {self.where}: {CONTROLS.sub(' ', line)}"


def _name(quote: Quote) -> str:
    label, *ends = quote
    if len(ends) == 1:
        return f"{label} {ends[0]!r}"
    head_label, head, tail_label, tail = ends
    return f"{label} of {head_label} {head!r} to {tail_label} {tail!r}"


def list_examples(
    sentences: Iterable[JudgedSentence], kind: Kind | RelationKind, outcomes: Outcomes = "outcomes"
) -> list[Example]:
    """List the outcomes of a kind. Those with the same labels and texts are counted together.

    Args:
        sentences: The sentences.
        kind: The kind.
        outcomes: Whether to list those of entities, ``"outcomes"``, or those of ``"relations"``.

    Returns:
        The outcomes, most frequent first; equally frequent ones in order of their first occurrence.
    """
    return [group[0]._replace(number=len(group)) for group in group_examples(sentences, kind, outcomes)]


def group_examples(
    sentences: Iterable[JudgedSentence], kind: Kind | RelationKind, outcomes: Outcomes = "outcomes"
) -> list[list[Example]]:
    """Group the outcomes of a kind by their labels and texts.

    Args:
        sentences: The sentences.
        kind: The kind.
        outcomes: See `list_examples`.

    Returns:
        The groups, the largest first; of equal ones, that which occurs first. Each has all its outcomes, in order.
    """
    groups: dict[object, list[Example]] = {}
    for sentence in sentences:
        for outcome in getattr(sentence, outcomes) or ():
            if outcome.kind == kind:
                gold, predicted = (_quote(sentence.item, part) for part in outcome[1:])
                groups.setdefault((gold, predicted), []).append(Example(1, gold, predicted, sentence, outcome))
    return sorted(groups.values(), key=len, reverse=True)


def _quote(item: Item, part: Part | None) -> Quote | None:
    """Labels and texts of an entity or a relation."""
    if part is None:
        return None
    if isinstance(part, LabelledSpan):
        text = item[part.start : part.end]
        return part.label, text if isinstance(text, str) else " ".join(text)
    return part.label, *(_quote(item, part.head) or ()), *(_quote(item, part.tail) or ())


class TextFragment(NamedTuple):
    """A part of a text, and whether it belongs to the gold entity and to the prediction."""

    text: str
    is_gold: bool
    is_predicted: bool


NO_FRAGMENT = TextFragment("", False, False)


def in_context(sentence: JudgedSentence, outcome: Outcome | RelationOutcome, num_characters: int) -> list[TextFragment]:
    """Cut a sentence where the entities of an outcome begin and end. Words are joined by single spaces.

    Args:
        sentence: The sentence.
        outcome: One of its outcomes, of an entity or a relation.
        num_characters: Maximum number of characters to show on either side.

    Returns:
        The fragments in order, with dots in place of what is not shown.
    """
    text, (gold, predicted) = _as_text(sentence.item, outcome[1:])
    bounds = [bound for span in (*gold, *predicted) for bound in (span.start, span.stop)]
    first, last = surroundings(text, min(bounds), max(bounds), num_characters)
    cuts = pairwise(sorted({first, last, *bounds}))
    fragments = [
        TextFragment(text[start:end], any(start in span for span in gold), any(start in span for span in predicted))
        for start, end in cuts
    ]
    before, after = TextFragment("... ", False, False), TextFragment(" ...", False, False)
    return [before] * (first > 0) + fragments + [after] * (last < len(text))


def _as_text(item: Item, parts: Iterable[Part | None]) -> tuple[str, list[list[range]]]:
    """A sentence as text, and the characters of the entities of each part."""
    if isinstance(item, str):
        return item, [[range(span.start, span.end) for span in _entities(part)] for part in parts]
    text, starts = join_words(item)
    return text, [[range(starts[span.start], starts[span.end] - 1) for span in _entities(part)] for part in parts]


def _entities(part: Part | None) -> list[LabelledSpan]:
    if part is None:
        return []
    return [part] if isinstance(part, LabelledSpan) else [part.head, part.tail]
