"""Notations of tags: how people write a scheme, and which tags of a data set do not belong to it.

`read_notation` converts the tags of new data and the labels of new models to the form that `span_marker.core.labels`
reads: ``B-PER``, ``I-PER``, ``O``. It reads other separators (``B_PER``), suffixes (``PER-B``), BMES and BMEWO, and
``B`` and ``I`` alone. A tag that fits no notation is a *stray*: a single one would otherwise turn every ``B-PER`` of
the data set into a plain label. Tags of checkpoints are never changed.
"""

from __future__ import annotations

import logging
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from span_marker.core.labels import OUTSIDE, SCHEMES, check_label_list, check_labels, complete_tags, detect_scheme

logger = logging.getLogger(__name__)

UNNAMED = "entity"
"""The label of entities whose tags have none: ``B`` and ``I``."""

BMEWO: Mapping[str, str] = {"M": "I", "W": "S"}
"""Prefixes of BMES and BMEWO, and the BIOES prefixes that mean the same."""

_LETTERS = "BIESLUMW"
_PREFIX = re.compile(rf"([{_LETTERS}])([-_./])(.+)", re.DOTALL | re.IGNORECASE)
_SUFFIX = re.compile(rf"(.+)([-_./])([{_LETTERS}])", re.DOTALL)
_NO_LABEL = re.compile(rf"[{_LETTERS}][-_./]", re.IGNORECASE)
_SEVERAL = re.compile(r"[BIESLUM]-.+[|;,+][BIESLUM]-.+", re.DOTALL)
_PLACEHOLDER = re.compile(r"[\W_]*|\[.*\]|<.*>|o|nan|none|null|n/a", re.DOTALL | re.IGNORECASE)


class Notation(NamedTuple):
    """How the tags of a data set are written.

    Attributes:
        renamed: Each readable tag, and its form in this library.
        strays: Each unreadable tag, and the reason.
    """

    renamed: dict[str, str]
    strays: dict[str, str]


class _Parts(NamedTuple):
    letter: str
    label: str


_Style = tuple[str, bool]
"""A separator, and whether the letter is a suffix."""

_HYPHEN: _Style = ("-", False)


def read_notation(tags: Iterable[str]) -> Notation:
    """Determine how tags are written.

    Tags are those of a scheme if all of them have prefixes, if one label occurs with ``B`` and with ``I`` or ``M``, or,
    with hyphens, if several labels have prefixes. Other tags are plain labels, so that ``B-52`` may occur next to
    ``Concorde``.

    Args:
        tags: The different tags of a data set, or the labels of a new model.

    Returns:
        The notation. Without a scheme, tags are not renamed.

    Example:
        >>> read_notation(["O", "PER_B", "PER_I"]).renamed
        {'O': 'O', 'PER_B': 'B-PER', 'PER_I': 'I-PER'}
        >>> read_notation(["O", "B-PER", "I-PER", "-"]).strays
        {'-': "is not a label: use the tag 'O' for words outside entities"}
    """
    tags = list(dict.fromkeys(tags))
    strays = {tag: reason for tag in tags if tag != OUTSIDE and (reason := _not_a_label(tag))}
    named = [tag for tag in tags if tag != OUTSIDE and tag not in strays]
    renamed, reasons = _read_bare(named) or _read_scheme(named)
    strays |= reasons
    return Notation({tag: renamed.get(tag, tag) for tag in tags if tag not in strays}, strays)


def read_labels(labels: Sequence[str], subject: str = "labels") -> list[str]:
    """Read the labels of a new model.

    Args:
        labels: Tags or plain labels, in the order of their IDs.
        subject: What to call them in errors.

    Returns:
        The labels in the form of this library, in the same order; ``O`` is added in front if it is missing.

    Raises:
        TypeError: If they are not a list of strings.
        ValueError: If a label is a stray, a label is repeated, or there is none.
    """
    check_label_list(labels)
    notation = read_notation(labels)
    for tag, reason in notation.strays.items():
        raise ValueError(f"{subject}={list(labels)!r}: {tag!r} {reason}")
    tell_renamed(notation)
    read = [notation.renamed[label] for label in labels]
    if OUTSIDE not in read and read:
        logger.warning("'O' is added in front of the labels %s, so integer tag 0 means 'O'.", read)
        read = [OUTSIDE, *read]
    check_labels(read)
    return read


def labels_like_tags(labels: Iterable[str]) -> list[str]:
    """Find the labels of entities that are probably tags of words, whose prefixes would become part of the label.

    A single label such as ``B-cell`` is not evidence. A name with two prefixes is, and so are several labels that all
    have prefixes of the same scheme.

    Args:
        labels: The labels of entities.

    Returns:
        Those that look like tags.

    Example:
        >>> labels_like_tags(["B-PER", "I-PER", "LOC"]), labels_like_tags(["B-cell", "T-cell"])
        (['B-PER', 'I-PER'], [])
    """
    labels = list(dict.fromkeys(labels))
    styles: dict[_Style, dict[str, _Parts]] = {}
    for label in labels:
        for style, parts in _parse(label):
            if parts.letter.isupper():
                styles.setdefault(style, {})[label] = parts
    letters = {letter for letter, _ in styles.get(_HYPHEN, {}).values()}
    if len(labels) > 1 and len(styles.get(_HYPHEN, {})) == len(labels) and any(letters <= s for s in SCHEMES.values()):
        return labels
    found = {"B", "I"} if {"B", "I"} <= set(labels) else set[str]()
    for parts_of in styles.values():
        names: dict[str, set[str]] = defaultdict(set)
        for letter, name in parts_of.values():
            names[name].add(letter)
        found |= {label for label, parts in parts_of.items() if _is_pair(names[parts.label])}
    return [label for label in labels if label in found]


def complete_labels(labels: Iterable[str]) -> list[str]:
    """Make a list of labels from the labels of entities.

    Args:
        labels: The labels.

    Returns:
        ``O``, followed by the labels in alphabetical order. If labels could be mistaken for tags, such as ``B-cell``,
        the result consists of tags of these labels, so that the classes of the model are the labels; a warning names
        labels that probably are tags.

    Example:
        >>> complete_labels(["PER", "LOC"]), complete_labels(["B-cell"])
        (['O', 'LOC', 'PER'], ['O', 'B-B-cell', 'I-B-cell'])
    """
    listed = sorted(set(labels))
    if tags := labels_like_tags(listed):
        logger.warning(
            "The entity labels %s look like tags of words. Labels of entities should not have prefixes.", tags
        )
    if read_notation(listed) == Notation({label: label for label in listed}, {}) and detect_scheme(listed) is None:
        return [OUTSIDE, *listed]
    return complete_tags(f"B-{label}" for label in listed)


def tell_renamed(notation: Notation) -> None:
    """Log how tags are read, if this differs from how they are written.

    Args:
        notation: The notation.
    """
    examples = [f"{tag!r} as {name!r}" for tag, name in notation.renamed.items() if tag != name]
    note = ", ".join(examples[:4]) + (f", and {len(examples) - 4} more" if len(examples) > 4 else "")
    if examples and note not in _told:
        _told.add(note)
        logger.warning("Tags are read as follows: %s.", note)


_told: set[str] = set()


def _not_a_label(tag: str) -> str | None:
    if _PLACEHOLDER.fullmatch(tag):
        return "is not a label: use the tag 'O' for words outside entities"
    if _NO_LABEL.fullmatch(tag):
        return f"has no label behind its prefix: it should be like '{tag[0].upper()}-PER'"
    if _SEVERAL.fullmatch(tag):
        return "contains several tags: write each level into a separate column"
    if tag != tag.strip():
        return f"has leading or trailing white space: write {tag.strip()!r}"
    return None


def _read_bare(tags: Sequence[str]) -> tuple[dict[str, str], dict[str, str]] | None:
    """Read prefixes without labels; None if any of the tags is not a prefix."""
    if not tags or not set(tags) <= set(_LETTERS) or not {"B", "I"} & set(tags):
        return None
    if not ("B" in tags and {"I", "M"} & set(tags)):
        return {}, {tags[0]: f"may be a prefix without a label or a plain label: write it like '{tags[0]}-PER'"}
    return _fit_scheme({tag: _Parts(tag, UNNAMED) for tag in tags})


def _read_scheme(tags: Sequence[str]) -> tuple[dict[str, str], dict[str, str]]:
    styles: dict[_Style, dict[str, _Parts]] = {_HYPHEN: {}}
    labels: dict[str, set[str]] = defaultdict(set)
    for tag in tags:
        for style, parts in _parse(tag):
            styles.setdefault(style, {})[tag] = parts
            labels[parts.label].add(parts.letter.upper())
    best = max(styles, key=lambda style: (_has_pair(styles[style].values()), len(styles[style]), style == _HYPHEN))
    if not _has_pair(styles[best].values()):
        best = _HYPHEN
    is_bare_pair = {"B", "I"} <= set(tags)
    if not (is_bare_pair or any(map(_is_pair, labels.values())) or _has_hyphens(styles[_HYPHEN], len(tags))):
        return {}, {}
    if not any(styles.values()):
        return {}, dict.fromkeys(("B", "I"), "is a prefix without a label, but other tags are labels: write 'B-LABEL'")
    renamed, strays = _fit_scheme({tag: parts for tag, parts in styles[best].items() if parts.letter.isupper()})
    example = next(iter(renamed), "B-PER")
    others = [tag for tag in tags if tag not in renamed and tag not in strays]
    return renamed, {**strays, **{tag: _why_stray(tag, example) for tag in others}}


def _parse(tag: str) -> list[tuple[_Style, _Parts]]:
    """The ways to split a tag. The letter of a prefix may be lower-case, which occurs in no notation."""
    readings: list[tuple[_Style, _Parts]] = []
    if match := _PREFIX.fullmatch(tag):
        readings.append(((match[2], False), _Parts(match[1], match[3])))
    if match := _SUFFIX.fullmatch(tag):
        readings.append(((match[2], True), _Parts(match[3], match[1])))
    return readings


def _is_pair(letters: set[str]) -> bool:
    return "B" in letters and bool({"I", "M"} & letters)


def _has_pair(all_parts: Iterable[_Parts]) -> bool:
    letters: dict[str, set[str]] = defaultdict(set)
    for letter, label in all_parts:
        letters[label].add(letter)
    return any(map(_is_pair, letters.values()))


def _has_hyphens(parts: Mapping[str, _Parts], num_tags: int) -> bool:
    """Whether tags like ``B-PER`` are a scheme although no label has two of its prefixes."""
    letters = {letter for letter, _ in parts.values()}
    if parts and len(parts) == num_tags and any(letters <= allowed for allowed in SCHEMES.values()):
        return True
    labels = [label for letter, label in parts.values() if letter.isupper() and re.search(r"[^\W\d_]", label)]
    repeats = len(set(labels)) < len(labels)
    return repeats or (len(labels) > 1 and bool({"B", "I"} & letters))


def _fit_scheme(parts: Mapping[str, _Parts]) -> tuple[dict[str, str], dict[str, str]]:
    """Rename the tags whose letters belong to the scheme that most tags have."""
    alphabets: list[tuple[set[str], Mapping[str, str]]] = [(set(allowed), {}) for allowed in SCHEMES.values()]
    alphabets += [(set("BMES"), BMEWO), (set("BMEW"), BMEWO)]
    allowed, meaning = max(alphabets, key=lambda pair: sum(letter in pair[0] for letter, _ in parts.values()))
    renamed, strays = {}, {}
    for tag, (letter, label) in parts.items():
        if letter not in allowed:
            strays[tag] = (
                f"has the prefix {letter!r}, which the scheme of the other tags ({''.join(sorted(allowed))}) lacks"
            )
        elif label == OUTSIDE:
            strays[tag] = "has 'O' as the label of an entity"
        else:
            renamed[tag] = f"{meaning.get(letter, letter)}-{label}"
    return renamed, strays


def _why_stray(tag: str, example: str) -> str:
    if (match := _PREFIX.fullmatch(tag)) and match[1].islower():
        return f"has a lower-case prefix: write {match[1].upper() + tag[1:]!r}"
    if _parse(tag):
        return f"is written differently from {example!r}: write all tags in the same way"
    return (
        f"has no prefix, but {example!r} has one: correct it, or if these are plain labels, add 'B-' and 'I-' to "
        "all of them"
    )
