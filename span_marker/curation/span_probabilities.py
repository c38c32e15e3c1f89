"""Probabilities of spans: from predictions, averaged over models, and combined with other mentions. Pure functions."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple
from unicodedata import normalize

from span_marker.core.alignment import trim
from span_marker.core.boundaries import words_beside
from span_marker.core.labels import OUTSIDE, LabelledSpan
from span_marker.data.rows import Kind, first_error, read_row

Item = str | Sequence[str]
Span = tuple[int, int]
Distribution = Mapping[str, float]
"""Probabilities of the labels of a span. ``O`` is left out, and has the remaining probability."""

Distributions = Mapping[Span, Distribution]
"""The distributions of the spans of a row. A span that is not among them is ``O`` with certainty."""

MENTION_WEIGHT = 1.0
"""Number of other mentions that have the same weight as the model, see `weigh_mentions`. Among 0.5, 1, 2, 5, 10 and 20,
values up to 2 ranked synthetic errors in CoNLL-2003 training data best."""

ROUNDING = 1e-3
"""Tolerance for sums of probabilities above 1."""


class Mentions(NamedTuple):
    """How the other mentions of the same words in similar contexts are annotated.

    Attributes:
        counts: Number of mentions with each label; ``O`` for those that are not annotated.
    """

    counts: Mapping[str, int]

    @property
    def number(self) -> int:
        """Number of mentions."""
        return sum(self.counts.values())


def read_distributions(item: Item, entities: Any, location: str) -> dict[Span, dict[str, float]]:
    """Read the predictions of a row.

    Args:
        item: The words or the text.
        entities: Entities as ``predict`` returns them, with a ``score``. If they have ``labels``, which ``top_k`` adds,
            the probabilities of all labels are known; otherwise, ``O`` has the probability that remains.
        location: What to call the row in errors.

    Returns:
        The distributions, with spans in words or in characters.

    Raises:
        TypeError: If a value has the wrong type.
        ValueError: If an entity is invalid or has no score, a score is not a probability, or the scores of a span add
            up to more than 1, as those of multi-label models may.
    """
    kind: Kind = "text" if isinstance(item, str) else "words"
    found: dict[Span, dict[str, float]] = defaultdict(dict)
    for entity, values in zip(first_error(*read_row(kind, item, entities, location)).entities, entities, strict=True):
        span = (entity.start, entity.end)
        if entity.score is None:
            raise ValueError(f"{location}: entity {entity.label!r} has no 'score', which is used as its probability")
        listed = {score["label"]: score["score"] for score in values.get("labels") or ()}
        listed = {label: score for label, score in listed.items() if label != OUTSIDE}
        found[_trim(item, span)] |= {**listed, entity.label: entity.score}
    for span, scores in found.items():
        if min(scores.values()) < 0 or sum(scores.values()) > 1 + ROUNDING:
            raise ValueError(
                f"{location}: the scores of the span {span} are {scores}, but must be probabilities of mutually "
                "exclusive labels, which those of multi-label models are not"
            )
    return dict(found)


def _trim(item: Item, span: Span) -> Span:
    if not isinstance(item, str):
        return span
    start, end = trim(item, *span)
    return (start, end) if start < end else span


def mean_distributions(models: Sequence[Distributions]) -> Distributions:
    """Average the predictions of several models, as deep ensembles do (Lakshminarayanan et al. 2017, section 2.4).

    Args:
        models: The predictions of each model for the same row.

    Returns:
        The means.

    Example:
        >>> mean_distributions([{(0, 1): {"PER": 1.0}}, {(0, 1): {"PER": 0.5, "LOC": 0.5}}, {}, {}])
        {(0, 1): {'PER': 0.375, 'LOC': 0.125}}
    """
    sums: dict[Span, dict[str, float]] = defaultdict(lambda: defaultdict(float))
    for model in models:
        for span, scores in model.items():
            for label, score in scores.items():
                sums[span][label] += score / len(models)
    return {span: dict(scores) for span, scores in sums.items()}


def find_mentions(
    rows: Sequence[tuple[Item, Sequence[LabelledSpan]]], predictions: Iterable[Distributions]
) -> list[dict[Span, Mentions]]:
    """Find out how other mentions of the same words are annotated in similar contexts.

    Mentions are the annotated entities, and spans in the predictions that have the same words as an entity and do not
    overlap any. Contexts are similar if the previous or the next word is the same; the edge of the row counts as a
    word. Words are compared in a normalized form, regardless of how accents are encoded.

    Args:
        rows: The words or the text of each row, and its entities.
        predictions: The distributions of each row.

    Returns:
        For each row, the other mentions of its spans. Spans without any are left out.
    """
    texts = {text_of(item, span) for item, gold in rows for _, *span in gold}
    counters: dict[tuple[str | None, ...], Counter[str]] = defaultdict(Counter)
    labels_of_rows = []
    for (item, gold), distributions in zip(rows, predictions, strict=True):
        labels = {span: label for span, label in _labels(gold, distributions).items() if text_of(item, span) in texts}
        labels_of_rows.append({span: (label, _contexts(item, span)) for span, label in labels.items()})
        for label, contexts in labels_of_rows[-1].values():
            for context in contexts:
                counters[context][label] += 1
    found = []
    for row in labels_of_rows:
        mentions = {}
        for span, (label, (before, after, both)) in row.items():
            counts = counters[before] + counters[after]
            counts.subtract(counters[both])  # they were counted twice
            counts[label] -= 1
            if any(counts.values()):
                mentions[span] = Mentions({label: number for label, number in counts.items() if number})
        found.append(mentions)
    return found


def _labels(gold: Sequence[LabelledSpan], distributions: Distributions) -> dict[Span, str]:
    """The label of each mention; spans with several labels are left out."""
    numbers = Counter((start, end) for _, start, end in gold)
    labels = {(start, end): label for label, start, end in gold if numbers[start, end] == 1}
    free = (span for span in distributions if not any(overlap(span, entity[1:]) for entity in gold))
    return {**labels, **dict.fromkeys(free, OUTSIDE)}


def overlap(first: Sequence[int], second: Sequence[int]) -> bool:
    """Whether two spans share a word or character."""
    return first[0] < second[1] and second[0] < first[1]


def text_of(item: Item, span: Sequence[int]) -> str:
    """Return the words of a span, in one form regardless of white space and of the composition of accents."""
    part = item[span[0] : span[1]]
    return normalize("NFC", " ".join(part.split() if isinstance(part, str) else part))


def _contexts(item: Item, span: Span) -> tuple[tuple[str | None, ...], ...]:
    """Three names of the context of a mention: by the word before, by the word after, and by both."""
    text, (start, end) = text_of(item, span), span
    if isinstance(item, str):
        before, after = map(str.strip, words_beside(item, start, end))
    else:
        before, after = item[start - 1] if start else "", item[end] if end < len(item) else ""
    before, after = normalize("NFC", before), normalize("NFC", after)
    return (text, before, None), (text, None, after), (text, before, after)


def weigh_mentions(
    distribution: Distribution, mentions: Mentions | None, weight: float = MENTION_WEIGHT
) -> Distribution:
    """Combine the prediction of a model for a span with the annotations of other mentions.

    The result is the posterior mean of a Dirichlet distribution whose prior consists of the model's probabilities, with
    a total weight of ``weight`` mentions (Gelman et al. 2013, Bayesian Data Analysis, section 3.4):
    ``(number + weight * p) / (total + weight)``.

    Args:
        distribution: The distribution of the model.
        mentions: The other mentions, or None.
        weight: Number of mentions that the model counts as.

    Returns:
        The combined distribution.

    Example:
        >>> weigh_mentions({"PER": 0.2}, Mentions({"PER": 3, "O": 1}), weight=4)
        {'PER': 0.475}
    """
    if mentions is None:
        return distribution
    labels = [label for label in {**distribution, **mentions.counts} if label != OUTSIDE]
    total = mentions.number + weight
    return {label: (mentions.counts.get(label, 0) + weight * distribution.get(label, 0.0)) / total for label in labels}
