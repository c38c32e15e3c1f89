"""Suspects: annotations that are probably wrong, with the kind and probability of the error. Pure functions.

``p(label | span)`` are out-of-fold probabilities. The probability that an annotated entity is wrong is
``1 - p(label | span)``, the complement of its *self-confidence* (Northcutt et al. 2021, Confident Learning). It is
divided among the alternatives:

- *wrong label*: the most probable other label of the span, ``p(other | span)``;
- *wrong boundary*: ``min(p(O | span), p(best | overlapping))``, with the most probable label of any span that overlaps
  it, since of two overlapping spans only one is an entity;
- *spurious*: the rest of ``p(O | span)``.

The largest of these is the kind of the suspect. Where no entity is annotated, a *missing* entity has the probability
``1 - p(O | span)`` of the most probable span of those that overlap, with odds that are `MISSING_ODDS` times as high: an
annotation was a decision, whereas a missing one may have been overlooked.

A suggestion is *supported* if the same words are annotated with its label elsewhere. Models are much less reliable
about words that they have not seen with a label, so the probability of other suspects is multiplied by `UNSUPPORTED`.
"""

from __future__ import annotations

from collections.abc import Collection, Container, Iterable, Iterator, Mapping, Sequence
from typing import Literal, NamedTuple

from span_marker.core.labels import OUTSIDE, LabelledSpan
from span_marker.curation.span_probabilities import (
    Distribution,
    Distributions,
    Item,
    Mentions,
    Span,
    overlap,
    text_of,
    weigh_mentions,
)

SuspectKind = Literal["wrong-label", "wrong-boundary", "missing", "spurious", "inconsistent"]

KINDS: dict[SuspectKind, str] = {
    "wrong-label": "entities that have another label",
    "wrong-boundary": "entities that begin or end elsewhere",
    "missing": "entities that are not annotated",
    "spurious": "annotations of spans that are not entities",
    "inconsistent": "annotations that contradict those of the same words in similar contexts",
}
"""Description of each kind."""

MAJORITY = 0.8
LEAST_MENTIONS = 2
"""An annotation is inconsistent if at least this many other mentions, and this share of all, agree on another label."""


MISSING_ODDS = 4.0
"""How much more often a missing entity is an error than an annotated one with the same probability of being wrong, as a
ratio of odds. Among the suspects with a probability of at least 0.5 in CoNLL-2003 training data with synthetic errors,
a third of the missing entities were errors, and an eighth of the others."""

UNSUPPORTED = 0.75
"""Reliability of a suggestion that is not supported. In 4,953 sentences of CoNLL-2003, cross-validated with a small
model, annotations confirmed 97 % of the predicted entities whose words had the same label elsewhere, and 77 % of the
others."""


class Suspect(NamedTuple):
    """An annotation that may be wrong, or a place where one may be missing.

    Attributes:
        row: Index of the row, 0-based.
        kind: A key of `KINDS`.
        probability: Probability that the annotation is wrong.
        annotated: The annotated entity, in words or characters, or None.
        suggested: The suggested entity, or None to suggest no entity.
        confidence: Probability of the suggestion: of the suggested entity, or of ``O``.
        mentions: Number of other mentions of the same words in similar contexts.
        agreeing: Number of these that are annotated in the same way.
        text: The text of the annotated or suggested entity.
        id: The ``id`` of the row; None unless every row of the data has a unique one.
    """

    row: int
    kind: SuspectKind
    probability: float
    annotated: LabelledSpan | None
    suggested: LabelledSpan | None
    confidence: float
    mentions: int = 0
    agreeing: int = 0
    text: str = ""
    id: object = None

    @property
    def span(self) -> LabelledSpan:
        """The annotated entity, otherwise the suggested one."""
        span = self.annotated or self.suggested
        assert span is not None
        return span


def find_suspects(
    row: int,
    gold: Sequence[LabelledSpan],
    predicted: Distributions,
    mentions: Mapping[Span, Mentions],
    may_overlap: bool = False,
) -> Iterator[Suspect]:
    """Judge all annotations of a row, and all places where the predictions list spans that are not annotated.

    Args:
        row: Index of the row.
        gold: Its annotated entities.
        predicted: The predictions of the models.
        mentions: See `span_marker.curation.span_probabilities.find_mentions`.
        may_overlap: Whether entities may overlap. A span then only replaces an entity if it is more probable.

    Yields:
        A suspect for each of them, however improbable.

    Example:
        >>> [suspect] = find_suspects(0, [LabelledSpan("PER", 0, 1)], {(0, 1): {"PER": 0.25, "LOC": 0.5}}, {})
        >>> suspect.kind, suspect.probability, suspect.suggested
        ('wrong-label', 0.75, LabelledSpan(label='LOC', start=0, end=1))
    """
    weighed = {span: weigh_mentions(predicted.get(span, {}), mentions.get(span)) for span in {**predicted, **mentions}}
    own = {entity: weighed.get(entity[1:], {}).get(entity.label, 0.0) for entity in gold}
    annotated = {entity[1:] for entity in gold}
    free = []
    rivals: dict[LabelledSpan, list[_Scored]] = {entity: [] for entity in own}
    for other in (best for span, scores in weighed.items() if span not in annotated and (best := _best(span, scores))):
        contested = [
            entity
            for entity, score in own.items()
            if overlap(entity[1:], other.entity[1:]) and (not may_overlap or other.score > score)
        ]
        for entity in contested:
            rivals[entity].append(other)
        free += [] if contested else [other]
    suspects = [_judge(row, entity, gold, weighed.get(entity[1:], {}), rivals[entity]) for entity in own]
    for entity, score in _most_probable(free, may_overlap):
        probability = 1 - _outside(weighed[entity[1:]])
        odds = MISSING_ODDS * probability
        suspects.append(Suspect(row, "missing", odds / (odds + 1 - probability), None, entity, score))
    for suspect in suspects:
        span = suspect.span[1:]
        yield _consider_mentions(suspect, weighed.get(span, {}), mentions.get(span))


class _Scored(NamedTuple):
    """A span with its most probable label."""

    entity: LabelledSpan
    score: float


def _best(span: Span, scores: Distribution, without: Collection[str] = ()) -> _Scored | None:
    label = max((label for label in scores if label not in without), key=scores.__getitem__, default=None)
    return None if label is None else _Scored(LabelledSpan(label, *span), scores[label])


def _judge(
    row: int, entity: LabelledSpan, gold: Sequence[LabelledSpan], scores: Distribution, rivals: Sequence[_Scored]
) -> Suspect:
    """Find the alternatives to an annotated entity."""
    outside = _outside(scores)
    relabelled = _best(entity[1:], scores, without={label for label, *span in gold if tuple(span) == entity[1:]})
    rival = max(rivals, key=lambda other: other.score, default=None)
    moved = 0.0 if rival is None else min(rival.score, outside)
    kind: SuspectKind
    share, kind, suggested = 0.0 if relabelled is None else relabelled.score, "wrong-label", relabelled
    if moved > share:
        share, kind, suggested = moved, "wrong-boundary", rival
    probability = 1 - scores.get(entity.label, 0.0)
    if suggested is None or outside - moved > share:
        return Suspect(row, "spurious", probability, entity, None, outside)
    return Suspect(row, kind, probability, entity, *suggested)


def _outside(scores: Distribution) -> float:
    """The probability of ``O``."""
    return max(1 - sum(scores.values()), 0.0)


def _most_probable(scored: Sequence[_Scored], may_overlap: bool) -> list[_Scored]:
    """Keep only the most probable of overlapping spans, unless entities may overlap."""
    if may_overlap:
        return list(scored)
    kept: list[_Scored] = []
    for other in sorted(scored, key=lambda other: -other.score):
        if not any(overlap(other.entity[1:], better.entity[1:]) for better in kept):
            kept.append(other)
    return kept


def _consider_mentions(suspect: Suspect, scores: Distribution, mentions: Mentions | None) -> Suspect:
    """Add the numbers of other mentions. If most of them agree on another label, the suspect is inconsistent."""
    if mentions is None:
        return suspect
    label = OUTSIDE if suspect.annotated is None else suspect.annotated.label
    majority = max(mentions.counts, key=mentions.counts.__getitem__)
    number = mentions.counts[majority]
    suspect = suspect._replace(mentions=mentions.number, agreeing=mentions.counts.get(label, 0))
    if majority == label or number < max(LEAST_MENTIONS, MAJORITY * mentions.number):
        return suspect
    if majority == OUTSIDE:
        return suspect._replace(kind="inconsistent", suggested=None, confidence=_outside(scores))
    suggested = LabelledSpan(majority, *suspect.span[1:])
    return suspect._replace(kind="inconsistent", suggested=suggested, confidence=scores[majority])


def known_labels(rows: Iterable[tuple[Item, Sequence[LabelledSpan]]]) -> set[tuple[str, str]]:
    """Return the words of all annotated entities, in lower case, with their labels.

    Args:
        rows: The words or the text of each row, and its entities.

    Returns:
        Pairs of words and label.
    """
    return {(text_of(item, span).casefold(), label) for item, entities in rows for label, *span in entities}


def weigh_support(suspect: Suspect, item: Item, known: Container[tuple[str, str]]) -> Suspect:
    """Multiply the probability of a suspect by `UNSUPPORTED` unless its suggestion is supported.

    Inconsistent annotations are always supported: by mentions in similar contexts. A suggestion to annotate no entity
    is not supported otherwise.

    Args:
        suspect: The suspect.
        item: The words or the text of its row.
        known: See `known_labels`. The suspect itself supports no other label and no other span.

    Returns:
        The suspect with its final probability.

    Example:
        >>> suspect = Suspect(0, "missing", 0.8, None, LabelledSpan("LOC", 0, 1), 0.6)
        >>> weigh_support(suspect, ["PARIS"], {("paris", "LOC")}).probability
        0.8
    """
    suggested = suspect.suggested
    if suspect.kind == "inconsistent" or (
        suggested is not None and (text_of(item, suggested[1:]).casefold(), suggested.label) in known
    ):
        return suspect
    return suspect._replace(probability=UNSUPPORTED * suspect.probability)
