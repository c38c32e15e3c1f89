"""Label schemes: from tags to entities, from entities to tags, and from given labels to reduced ones.

A *tag* is what data sets annotate each word with (``B-PER``, ``I-PER``, ``O``); an *entity* is what the rest of
this library works with: a label and the words it covers, 0-based, end exclusive. This file knows nothing of
tokens, tensors or data sets.

A scheme is a set of prefixes. Reading tags needs only one table for all schemes: which prefix continues an entity
that another one left open. Everything else starts an entity of its own, so that tags which break their scheme are
still read the way the CoNLL evaluation reads them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import NamedTuple

OUTSIDE = "O"

SCHEMES: dict[str, frozenset[str]] = {
    "IOB": frozenset("BI"),  # IOB1 and IOB2: the same reading serves both
    "BILO": frozenset("BIL"),
    "BILOU": frozenset("BILU"),
    "BIOES": frozenset("BIES"),
}
"""Prefixes of each scheme, besides ``O``, from the smallest to the largest."""

CONTINUES: frozenset[tuple[str, str]] = frozenset(
    {("B", "I"), ("I", "I"), ("B", "E"), ("I", "E"), ("B", "L"), ("I", "L"), ("", "")}
)
"""``(previous prefix, prefix)`` that join two neighbouring words of the same label into one entity. The empty prefix
stands for tags without a scheme."""

PREFIX_ORDER = "BIELSU"
"""Order of prefixes in a label list."""

_PREFIXED = re.compile(r"([BIESLU])-(.+)", re.DOTALL)


class LabelledSpan(NamedTuple):
    """A labelled span of words: ``label``, ``start`` (first word) and ``end`` (behind the last word)."""

    label: str
    start: int
    end: int


def detect_scheme(labels: Iterable[str]) -> str | None:
    """Name the scheme of a label list.

    Args:
        labels: The labels of a data set, ``O`` included.

    Returns:
        A key of `SCHEMES`, or None if the labels carry no prefixes.

    Example:
        >>> detect_scheme(["O", "B-PER", "I-PER"])
        'IOB'
        >>> detect_scheme(["O", "person", "place"]) is None
        True
    """
    matches = [_PREFIXED.fullmatch(label) for label in labels if label != OUTSIDE]
    prefixes = {match[1] for match in matches if match}
    if not prefixes or None in matches:
        return None
    return next((name for name, allowed in SCHEMES.items() if prefixes <= allowed), None)


def split_tag(tag: str, scheme: str | None) -> tuple[str, str]:
    """Split a tag into its prefix and its entity label: ``B-PER`` into ``("B", "PER")``.

    Args:
        tag: A tag, ``O`` included.
        scheme: The scheme of the tag, see `detect_scheme`.

    Returns:
        Prefix and label; ``("O", "")`` for ``O``, and an empty prefix if there is no scheme.
    """
    if tag == OUTSIDE:
        return OUTSIDE, ""
    if scheme is None:
        return "", tag
    prefix, _, label = tag.partition("-")
    return prefix, label


def tags_to_entities(tags: Sequence[str], scheme: str | None) -> list[LabelledSpan]:
    """Read the entities out of one sentence's tags.

    Args:
        tags: One tag a word.
        scheme: The scheme of the tags, see `detect_scheme`.

    Returns:
        The entities in order of their start.

    Example:
        >>> tags_to_entities(["O", "I-PER", "I-LOC", "O"], "IOB")
        [LabelledSpan(label='PER', start=1, end=2), LabelledSpan(label='LOC', start=2, end=3)]
    """
    entities: list[LabelledSpan] = []
    open_prefix, open_label, start = OUTSIDE, "", 0
    for position, tag in enumerate([*tags, OUTSIDE]):
        prefix, label = split_tag(tag, scheme)
        if label == open_label and (open_prefix, prefix) in CONTINUES:
            open_prefix = prefix
            continue
        if open_prefix != OUTSIDE:
            entities.append(LabelledSpan(open_label, start, position))
        open_prefix, open_label, start = prefix, label, position
    return entities


def entities_to_tags(entities: Iterable[LabelledSpan], num_words: int) -> list[str]:
    """Write entities that do not overlap as IOB2 tags.

    Args:
        entities: Entities of one sentence.
        num_words: Number of words of the sentence.

    Returns:
        One tag a word.

    Raises:
        ValueError: If an entity lies outside the sentence or overlaps another one.

    Example:
        >>> entities_to_tags([LabelledSpan("PER", 0, 2)], 3)
        ['B-PER', 'I-PER', 'O']
    """
    tags = [OUTSIDE] * num_words
    for label, start, end in entities:
        if not 0 <= start < end <= num_words:
            raise ValueError(f"the entity {label!r} from word {start} to {end} is outside of its {num_words} words")
        if any(tag != OUTSIDE for tag in tags[start:end]):
            raise ValueError(f"the entity {label!r} from word {start} to {end} overlaps another one: tags are flat")
        tags[start:end] = [f"B-{label}"] + [f"I-{label}"] * (end - start - 1)
    return tags


def have_overlap(entities: Iterable[LabelledSpan]) -> bool:
    """Tell whether any two entities of a sentence share a word.

    Args:
        entities: Entities of one sentence.

    Returns:
        Whether any two overlap.

    Example:
        >>> have_overlap([LabelledSpan("LOC", 0, 1), LabelledSpan("ORG", 0, 3)])
        True
    """
    spans = sorted((entity.start, entity.end) for entity in entities)
    return any(end > start for (_, end), (start, _) in pairwise(spans))


class Overlaps(NamedTuple):
    """Entities of a sentence that have words in common with others.

    Attributes:
        nested: Those within a longer one.
        crossing: Those that share some words with another one, while neither lies within the other.
        sharing: Those with the same words as another one.
    """

    nested: int
    crossing: int
    sharing: int


def count_overlaps(entities: Iterable[LabelledSpan]) -> Overlaps:
    """Count the entities of a sentence that have words in common with others.

    Args:
        entities: Entities of one sentence.

    Returns:
        How many are nested, cross, or share their words.

    Example:
        >>> count_overlaps([LabelledSpan("LOC", 0, 1), LabelledSpan("ORG", 0, 3), LabelledSpan("ORG", 2, 4)])
        Overlaps(nested=1, crossing=2, sharing=0)
    """
    spans = sorted(((entity.start, entity.end) for entity in entities), key=lambda span: (span[0], -span[1]))
    nested, crossing, sharing = set[int](), set[int](), set[int]()
    for index, (start, end) in enumerate(spans):
        for other in range(index + 1, len(spans)):
            if spans[other][0] >= end:
                break
            if spans[other] == (start, end):
                sharing |= {index, other}
            elif spans[other][1] <= end:
                nested.add(other)
            else:
                crossing |= {index, other}
    return Overlaps(len(nested), len(crossing), len(sharing))


def reduce_labels(labels: Sequence[str]) -> tuple[list[str], dict[int, int]]:
    """Reduce given labels to the classes of a span: ``B-PER`` and ``I-PER`` become ``PER``.

    Args:
        labels: The labels as given; their order defines the integer tags.

    Returns:
        The reduced labels, ``O`` first and then in alphabetical order (or as given, if the labels follow no scheme),
        and the reduced ID of each given ID.

    Raises:
        ValueError: If ``O`` or every other label is missing, or a label occurs twice.

    Example:
        >>> reduce_labels(["O", "B-PER", "I-PER", "B-LOC", "I-LOC"])
        (['O', 'LOC', 'PER'], {0: 0, 1: 2, 2: 2, 3: 1, 4: 1})
    """
    check_labels(labels)
    scheme = detect_scheme(labels)
    if scheme is None:
        return list(labels), {index: index for index in range(len(labels))}
    types = [split_tag(label, scheme)[1] for label in labels]
    reduced = [OUTSIDE, *sorted(set(types) - {""})]
    return reduced, {index: reduced.index(label or OUTSIDE) for index, label in enumerate(types)}


def check_labels(labels: Sequence[str]) -> None:
    """Check a label list before anything is built on it.

    Args:
        labels: The labels as given.

    Raises:
        ValueError: If ``O`` or every other label is missing, or a label occurs twice.
        TypeError: If a label is not a string.
    """
    if isinstance(labels, str) or not isinstance(labels, Sequence):
        advice = "order matters"
        if isinstance(labels, str):
            advice += f"; or a data set: read_annotations({labels!r})"
        elif isinstance(labels, Mapping):
            advice = "pass list(labels.values())"
        raise TypeError(f"labels={labels!r} must be a list of strings, not a {type(labels).__name__}: {advice}")
    strangers = [label for label in labels if not isinstance(label, str)]
    if strangers:
        raise TypeError(f"labels must be strings, but labels contains {strangers[0]!r}")
    if OUTSIDE not in labels:
        raise ValueError(
            f"labels={list(labels)!r} must contain 'O', the label of words outside of every entity: add it to labels"
        )
    if len(set(labels)) < len(labels):
        twice = sorted({label for label in labels if labels.count(label) > 1})
        raise ValueError(f"labels={list(labels)!r} must not repeat a label, but {twice!r} occur more than once")
    if len(labels) < 2:
        raise ValueError(f"labels={list(labels)!r} must contain at least one label besides 'O'")
    scheme = detect_scheme(labels)
    if scheme is not None and any(split_tag(label, scheme)[1] == OUTSIDE for label in labels):
        raise ValueError(f"labels={list(labels)!r} must not have 'O' as the label of an entity, as in 'B-O'")


def complete_tags(tags: Iterable[str]) -> list[str]:
    """Complete tags to a label list.

    Args:
        tags: Some tags of a data set.

    Returns:
        ``O``, and then every prefix of the scheme with every label, labels in alphabetical order; without a scheme, the
        tags in that order.

    Example:
        >>> complete_tags(["I-PER", "O", "S-LOC"])
        ['O', 'B-LOC', 'I-LOC', 'E-LOC', 'S-LOC', 'B-PER', 'I-PER', 'E-PER', 'S-PER']
    """
    others = sorted(set(tags) - {OUTSIDE})
    scheme = detect_scheme(others)
    if scheme is None:
        return [OUTSIDE, *others]
    prefixes = sorted(SCHEMES[scheme], key=PREFIX_ORDER.index)
    labels = sorted({split_tag(tag, scheme)[1] for tag in others})
    return [OUTSIDE, *(f"{prefix}-{label}" for label in labels for prefix in prefixes)]


def complete_labels(labels: Iterable[str]) -> list[str]:
    """Complete entity labels to a label list.

    Args:
        labels: The labels of entities.

    Returns:
        ``O``, and then the labels in alphabetical order. Should all of them look like tags, as ``B-cell`` does, they
        come as tags of themselves, so that a model has these very labels.

    Example:
        >>> complete_labels(["PER", "LOC"]), complete_labels(["B-cell"])
        (['O', 'LOC', 'PER'], ['O', 'B-B-cell', 'I-B-cell'])
    """
    listed = sorted(set(labels))
    if detect_scheme(listed) is None:
        return [OUTSIDE, *listed]
    return complete_tags(f"B-{label}" for label in listed)
