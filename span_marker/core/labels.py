"""Label schemes: from tags to entities and back, and from tags to classes.

A *tag* is the label of a word in a data set (``B-PER``, ``I-PER``, ``O``). An *entity* is a label and the words that it
covers, counted from 0, end exclusive. A *class* is what the model predicts for a span: the label of an entity, or
``O``. This module is independent of tokens, tensors and data sets.

A scheme is a set of prefixes. Tags of all schemes are read with a single table, `CONTINUES`, which lists the prefixes
that continue the entity of the previous word. Any other tag starts a new entity, so tags that violate their scheme are
read as in the CoNLL evaluation.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import NamedTuple

OUTSIDE = "O"

SCHEMES: dict[str, frozenset[str]] = {
    "IOB": frozenset("BI"),  # IOB1 and IOB2 are read in the same way
    "BILO": frozenset("BIL"),
    "BILOU": frozenset("BILU"),
    "BIOES": frozenset("BIES"),
}
"""Prefixes of each scheme, without ``O``, from the smallest set to the largest."""

CONTINUES: frozenset[tuple[str, str]] = frozenset(
    {("B", "I"), ("I", "I"), ("B", "E"), ("I", "E"), ("B", "L"), ("I", "L"), ("", "")}
)
"""Pairs ``(previous prefix, prefix)`` with which a word continues the entity of the previous word, if both have the
same label. The empty prefix stands for tags without a scheme."""

PREFIX_ORDER = "BIELSU"
"""Order of prefixes in a label list."""

_PREFIXED = re.compile(r"([BIESLU])-(.+)", re.DOTALL)


class LabelledSpan(NamedTuple):
    """A labeled span of words: ``label``, ``start`` (first word) and ``end`` (word after the last)."""

    label: str
    start: int
    end: int


def detect_scheme(labels: Iterable[str]) -> str | None:
    """Detect the scheme of tags.

    Args:
        labels: The different tags of a data set, with or without ``O``.

    Returns:
        A key of `SCHEMES`; None if the tags have no prefixes.

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
    """Split a tag into its prefix and its label: ``B-PER`` into ``("B", "PER")``.

    Args:
        tag: The tag.
        scheme: The scheme of the tag, see `detect_scheme`.

    Returns:
        Prefix and label. For ``O``, these are ``("O", "")``; without a scheme, the prefix is empty.
    """
    if tag == OUTSIDE:
        return OUTSIDE, ""
    if scheme is None:
        return "", tag
    prefix, _, label = tag.partition("-")
    return prefix, label


def tags_to_entities(tags: Sequence[str], scheme: str | None) -> list[LabelledSpan]:
    """Read the entities from the tags of a sentence.

    Args:
        tags: One tag per word.
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
        entities: The entities of a sentence.
        num_words: Number of words of the sentence.

    Returns:
        One tag per word.

    Raises:
        ValueError: If an entity is outside the sentence, or overlaps another one.

    Example:
        >>> entities_to_tags([LabelledSpan("PER", 0, 2)], 3)
        ['B-PER', 'I-PER', 'O']
    """
    tags = [OUTSIDE] * num_words
    for label, start, end in entities:
        if not 0 <= start < end <= num_words:
            raise ValueError(f"entity {label!r} from words {start} to {end} is empty or outside the {num_words} words")
        if any(tag != OUTSIDE for tag in tags[start:end]):
            raise ValueError(
                f"entity {label!r} from words {start} to {end} overlaps another entity, which tags cannot represent"
            )
        tags[start:end] = [f"B-{label}"] + [f"I-{label}"] * (end - start - 1)
    return tags


def have_overlap(entities: Iterable[LabelledSpan]) -> bool:
    """Return whether any two entities of a sentence share a word.

    Args:
        entities: The entities of a sentence.

    Returns:
        Whether any two overlap.

    Example:
        >>> have_overlap([LabelledSpan("LOC", 0, 1), LabelledSpan("ORG", 0, 3)])
        True
    """
    spans = sorted((entity.start, entity.end) for entity in entities)
    return any(end > start for (_, end), (start, _) in pairwise(spans))


class Overlaps(NamedTuple):
    """Numbers of entities of a sentence that overlap others.

    Attributes:
        nested: Number of entities within a longer one.
        crossing: Number of entities that overlap another one without either lying within the other.
        sharing: Number of entities with the same words as another one.
    """

    nested: int
    crossing: int
    sharing: int


def count_overlaps(entities: Iterable[LabelledSpan]) -> Overlaps:
    """Count the entities of a sentence that overlap others.

    Args:
        entities: The entities of a sentence.

    Returns:
        The numbers of entities that are nested, cross, or share their words.

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
    """Reduce tags to the classes of spans: ``B-PER`` and ``I-PER`` become ``PER``.

    Args:
        labels: The tags, in the order of their IDs.

    Returns:
        The classes, ``O`` first, the others in alphabetical order; if the tags have no scheme, the tags themselves. And
        the class ID of each tag ID.

    Raises:
        TypeError: If a tag is not a string.
        ValueError: If ``O`` is missing, there is no other tag, or a tag occurs twice.

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


def check_label_list(labels: Sequence[str], name: str = "labels", infer: str = "") -> None:
    """Check that a value is a list of strings.

    Args:
        labels: The list.
        name: What to call it in errors.
        infer: Name of the function that lists the labels of a data set; empty if a data set may be passed instead of a
            list.

    Raises:
        TypeError: If it is not.
    """
    if isinstance(labels, str) or not isinstance(labels, Sequence):
        advice = "pass a list, since the order of the labels defines their IDs"
        if infer:
            advice = f"pass a list, such as {infer}(data)"
        elif isinstance(labels, str):
            advice = f"pass a list, or a data set, such as read_annotations({labels!r})"
        elif isinstance(labels, Mapping):
            has_ids = all(isinstance(value, int) for value in labels.values())
            advice = f"pass {sorted(labels, key=labels.__getitem__)}" if has_ids else "pass list(labels.values())"
        raise TypeError(f"{name}={labels!r:.200} must be a list of strings, not a {type(labels).__name__}: {advice}")
    others = [label for label in labels if not isinstance(label, str)]
    if others:
        raise TypeError(f"{name} must be strings, but one of them is {others[0]!r:.200}")


def check_labels(labels: Sequence[str]) -> None:
    """Check a list of tags or classes.

    Args:
        labels: The list.

    Raises:
        TypeError: If it is not a list of strings.
        ValueError: If ``O`` is missing, there is no other label, or a label occurs twice.
    """
    check_label_list(labels)
    if OUTSIDE not in labels:
        raise ValueError(
            f"labels={list(labels)!r} must contain 'O', the label of words outside entities: add it to labels"
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
    """Make a list of labels from the tags that occur in a data set.

    Args:
        tags: The tags.

    Returns:
        ``O``, followed by every label with every prefix of the scheme, in alphabetical order of the labels. Without a
        scheme, ``O`` followed by the tags in alphabetical order.

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
