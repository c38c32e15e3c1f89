"""Check consistency: whether the same text is annotated in the same way everywhere.

Checks of single rows cannot find these mistakes. `Mentions` collects the entities of all rows in one pass, and then
compares them. Everything that it finds is a doubt: it may be right, but is worth a look.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import combinations
from sys import intern
from typing import Any, NamedTuple
from unicodedata import category

from span_marker.core.alignment import trim
from span_marker.core.boundaries import words_beside
from span_marker.core.labels import LabelledSpan
from span_marker.core.notation import labels_like_tags
from span_marker.data.label_names import strip_label
from span_marker.validation.report import Problem, RowPlace

MAJORITY = 0.8
"""Minimum share of the mentions of a text that must have the same label for other labels to look like mistakes."""

RARE_NUMBER = 10
RARE_SHARE = 0.05
"""A label is rare if it has fewer entities than the number, and at most this share of all."""

ABBREVIATION = 4
"""Maximum number of letters of an abbreviation of a label, such as PER of person."""

SYMBOLS = "#%&*@§"
"""Symbols that Unicode counts as punctuation; others have a category that begins with S."""


class Mention(NamedTuple):
    """An entity that is compared with others.

    Attributes:
        place: Its row.
        entity: Its index in the row, or None for rows with tags.
        span: Its label and range.
        text: Its text, with single spaces.
        before: The word before it and what separates them; empty if there is none, or if it is part of an entity.
        after: The word after it, as above.
    """

    place: RowPlace
    entity: int | None
    span: LabelledSpan
    text: str
    before: str
    after: str

    def problem(self, kind: str, message: str) -> Problem:
        """Describe a problem of the entity."""
        label, start, end = self.span
        message = f"{label!r} from {self.place.unit} {start} to {end} ({self.text!r:.70}) {message}"
        return self.place.problem(kind, message, self.entity, start=start, end=end, label=label)


class Mentions:
    """The entities of all rows.

    Attributes:
        labels: Number of entities of each label.
    """

    def __init__(self) -> None:
        self.labels: Counter[str] = Counter()
        self._first: dict[str, RowPlace] = {}
        self._first_split: str | None = None
        self._mentions: list[Mention] = []

    def add(self, place: RowPlace, content: str | Sequence[str], spans: Mapping[LabelledSpan, int | None]) -> None:
        """Add the entities of a row.

        Args:
            place: Where the row is.
            content: Its words, or its text.
            spans: Its entities, each once, with their indices.
        """
        self._first_split = self._first_split or place.split
        covered = bytearray(len(content))
        spans = {span._replace(label=strip_label(span.label)): entity for span, entity in spans.items()}
        for label, start, end in spans:
            covered[start:end] = b"\1" * (end - start)
            self.labels[label] += 1
            self._first.setdefault(label, place)
        labels_of = Counter((start, end) for _, start, end in spans)
        for span, entity in spans.items():
            if labels_of[span[1:]] == 1:  # others have several labels on purpose, or are reported for that
                self._mentions.append(Mention(place, entity, span, *_texts(content, span, covered)))

    def problems(self) -> Iterator[Problem]:
        """Compare the entities.

        Yields:
            The problems, kind by kind.
        """
        variants = label_variants(self.labels)
        for label, other in variants.items():
            message = (
                f"label {label!r} ({_entities(self.labels[label])}) looks like {other!r} "
                f"({_entities(self.labels[other])}): they differ only by case or abbreviation"
            )
            yield self._first[label].problem("label-variant", message, label=label)
        for label in rare_labels(self.labels):
            message = f"label {label!r} has only {_entities(self.labels[label])} of {self.labels.total():,}"
            yield self._first[label].problem("rare-label", message, label=label)
        for label, place in self._first.items():
            if place.split != self._first_split:
                message = f"label {label!r} ({_entities(self.labels[label])}) is not in the {self._first_split} data"
                yield place.problem("unseen-label", message, label=label)
        for label in labels_like_tags(self.labels):
            message = (
                f"label {label!r} ({_entities(self.labels[label])}) looks like the tag of a word: labels of entities "
                "have no prefix; tags belong in 'ner_tags'"
            )
            yield self._first[label].problem("tag-label", message, label=label)
        yield from conflicting_labels(self._mentions, variants)
        yield from boundary_variants(self._mentions)
        yield from symbol_edges(self._mentions)


def _texts(content: str | Sequence[str], span: LabelledSpan, covered: bytearray) -> tuple[str, str, str]:
    """The text of an entity, the word before it and the word after it."""
    _, start, end = span
    if isinstance(content, str):
        start, end = trim(content, start, end, keep_marks=True)
        text = " ".join(content[start:end].split())
        before, after = words_beside(content, start, end)
        before = "" if any(covered[start - len(before) : start]) else before
        after = "" if any(covered[end : end + len(after)]) else after
    else:
        text = " ".join(content[start:end])
        before = "" if start == 0 or covered[start - 1] else f"{content[start - 1]} "
        after = "" if end == len(content) or covered[end] else f" {content[end]}"
    return intern(text), intern(before), intern(after)


def _entities(number: int) -> str:
    return f"{number:,} {'entity' if number == 1 else 'entities'}"


def label_variants(counts: Mapping[str, int]) -> dict[str, str]:
    """Find labels that probably mean the same: they differ by case, by signs, or one is the beginning of the other.

    Args:
        counts: Number of entities of each label.

    Returns:
        The less frequent label of each pair, and the more frequent one.

    Example:
        >>> label_variants({"PER": 90, "person": 2, "LOC": 5, "LOC-city": 3, "Loc": 1})
        {'person': 'PER', 'Loc': 'LOC'}
    """
    variants: dict[str, str] = {}
    ranked = sorted(counts, key=lambda label: (-counts[label], label))
    for frequent, rare in combinations(ranked, 2):
        if rare not in variants and _mean_the_same(frequent, rare):
            variants[rare] = frequent
    return variants


def _mean_the_same(first: str, second: str) -> bool:
    keys = [re.sub(r"[\W_]", "", label.casefold()) for label in (first, second)]
    if keys[0] == keys[1]:
        return bool(keys[0])
    (short, short_key), (long, long_key) = sorted(
        zip((first, second), keys, strict=True), key=lambda pair: len(pair[1])
    )
    is_subtype = not long[len(short) : len(short) + 1].isalnum()  # LOC-city is no other name of LOC
    return 2 <= len(short_key) <= ABBREVIATION and long_key.startswith(short_key) and not is_subtype


def rare_labels(counts: Mapping[str, int]) -> list[str]:
    """List the labels that have fewer entities than `RARE_NUMBER`, and at most `RARE_SHARE` of all.

    Args:
        counts: Number of entities of each label.

    Returns:
        The labels, rarest first.
    """
    most = min(RARE_NUMBER - 1, RARE_SHARE * sum(counts.values()))
    return sorted((label for label in counts if counts[label] <= most), key=lambda label: (counts[label], label))


def conflicting_labels(mentions: Iterable[Mention], variants: Mapping[str, str]) -> Iterator[Problem]:
    """Find entities whose text has another label in at least `MAJORITY` of its mentions.

    Args:
        mentions: The entities.
        variants: Labels that count as others, see `label_variants`.

    Yields:
        Their problems.
    """
    by_text: dict[str, list[Mention]] = defaultdict(list)
    for mention in mentions:
        by_text[mention.text].append(mention)
    for group in by_text.values():
        counts = Counter(variants.get(mention.span.label, mention.span.label) for mention in group)
        (label, number), *others = counts.most_common(2)
        if others and number >= MAJORITY * len(group):
            for mention in group:
                if variants.get(mention.span.label, mention.span.label) != label:
                    message = f"has the label {label!r} in {number:,} of its {len(group):,} mentions"
                    yield mention.problem("conflicting-label", message)


def boundary_variants(mentions: Sequence[Mention]) -> Iterator[Problem]:
    """Find texts that are annotated with their first or last word in some places, and without it in others.

    Args:
        mentions: The entities.

    Yields:
        The problems of the less frequent way.
    """
    longer: dict[tuple[str, str], list[Mention]] = defaultdict(list)
    for mention in mentions:
        longer[mention.span.label, mention.text.casefold()].append(mention)
    shorter: dict[tuple[str, str, str], list[Mention]] = defaultdict(list)
    for mention in mentions:
        sides = {"before": mention.before + mention.text, "after": mention.text + mention.after}
        for side, text in sides.items():
            if getattr(mention, side) and (mention.span.label, text.casefold()) in longer:
                shorter[mention.span.label, text.casefold(), side].append(mention)
    reported: set[int] = set()
    for (label, text, side), without in shorter.items():
        having = longer[label, text]
        word, whole = getattr(without[0], side).strip(), having[0].text
        if len(without) <= len(having):
            rest, verb, way = without, "leaves out", f"is annotated with it in {len(having):,}"
        else:
            rest, verb, way = having, "includes", f"is annotated without it in {len(without):,}"
        for mention in rest:
            if id(mention) not in reported:
                reported.add(id(mention))
                message = f"{verb} {word!r}, but {whole!r} {way} of {len(having) + len(without):,} places"
                yield mention.problem("boundary-variant", message)


def symbol_edges(mentions: Iterable[Mention]) -> Iterator[Problem]:
    """Find entities without an adjacent symbol that most entities of their label include, or vice versa.

    Args:
        mentions: The entities.

    Yields:
        The problems of the less frequent way.
    """
    edges: dict[tuple[str, str, str], tuple[list[Mention], list[Mention]]] = defaultdict(lambda: ([], []))
    for mention in mentions:
        sides = (("begin", mention.text[:1], mention.before), ("end", mention.text[-1:], mention.after))
        for side, edge, beside in sides:
            outer = beside.strip() if mention.place.unit == "words" else beside
            if _is_symbol(edge) and len(mention.text) > 1:
                edges[mention.span.label, side, edge][0].append(mention)
            elif _is_symbol(outer):
                edges[mention.span.label, side, outer][1].append(mention)
    for (label, side, symbol), (inside, outside) in edges.items():
        total = f"{len(inside) + len(outside):,} {label!r}"
        leaves_out = len(outside) <= len(inside)
        verb, way = ("leaves out", "with") if leaves_out else ("includes", "without")
        for mention in outside if leaves_out else inside:
            message = f"{verb} {symbol!r}, but {max(len(inside), len(outside)):,} of {total} {side} {way} it"
            yield mention.problem("symbol-edge", message)


def _is_symbol(text: Any) -> bool:
    return len(text) == 1 and (text in SYMBOLS or category(text).startswith("S"))
