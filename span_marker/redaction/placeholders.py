"""What replaces the entities of a text, for each way of redaction.

Placeholders of ``"numbered"`` and ``"hash"`` stand for a single name each, so that a text can be restored even after it
was changed: ``[PERSON_1]``, ``[PERSON_3f2a9c1be07d5a48]``. A text may already have something that looks like one of
them. It is replaced, too, as a name with the label `LITERAL`, so that everything in a redacted text that looks like a
placeholder is one. Two placeholders cannot overlap, since they begin with ``[``, end with ``]``, and have no brackets
inside.
"""

from __future__ import annotations

import hmac
import re
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Literal, TypeAlias, get_args

from span_marker.core.names import name_key, without_possessive

NamedWay = Literal["numbered", "hash"]
Way = Literal["label", "numbered", "mask", "hash", "remove"]
How: TypeAlias = Way | Callable[[str, str], str]

WAYS: tuple[Way, ...] = get_args(Way)
NAMED_WAYS: tuple[NamedWay, ...] = get_args(NamedWay)

LITERAL = "TEXT"
"""Label of parts of the text that looked like placeholders before."""

PLACEHOLDER = re.compile(r"\[([^\[\]\s]+)_([0-9a-f]+)\]")
"""A placeholder that stands for a single name."""

MASK = "*"

MIN_KEY_LENGTH = 16
"""The smallest number of bytes of a key: shorter ones can be found by trying."""

DIGEST_LENGTH = 8
"""Bytes of a hashed name, of which two hexadecimal digits are written each."""

_NOT_IN_LABELS = re.compile(r"[\[\]\s]+")


def placeholder_label(label: str) -> str:
    """Return a label as placeholders have it: upper case, with underscores for white space and brackets.

    Args:
        label: The label.

    Returns:
        The label in a placeholder.

    Example:
        >>> placeholder_label("first name")
        'FIRST_NAME'
    """
    return _NOT_IN_LABELS.sub("_", label.upper())


def fill_in(text: str, names: Mapping[str, str]) -> str:
    """Replace the placeholders in a text by their names; unknown ones stay.

    Args:
        text: The text.
        names: What each placeholder stands for.

    Returns:
        The text.
    """
    return PLACEHOLDER.sub(lambda match: names.get(match[0], match[0]), text)


_PLAIN: dict[str, Callable[[str, str], str]] = {
    "label": lambda text, label: f"[{placeholder_label(label)}]",
    "mask": lambda text, label: MASK * len(text),
    "remove": lambda text, label: "",
}


def plain_replacement(how: How) -> Callable[[str, str], str]:
    """Find the function that replaces a text with a label, for ways that do not tell names apart.

    Args:
        how: The way, or a function.

    Returns:
        The function: it takes the old text and its label.
    """
    if isinstance(how, str):
        return _PLAIN[how]

    def checked(text: str, label: str) -> str:
        replacement = how(text, label)
        if not isinstance(replacement, str):
            raise TypeError(f"how returned {replacement!r} for an entity {label!r}, which must be a string")
        return replacement

    return checked


class Pseudonyms:
    """Placeholders that stand for a single name each, and the names.

    Args:
        key: The key of ``"hash"``; None for ``"numbered"``.
        names: Placeholders of earlier texts and their names.

    Attributes:
        names: What each placeholder stands for: the first form of the name in the texts, without a possessive ending
            if there is such a form.

    Raises:
        ValueError: If a key of ``names`` is not a placeholder.
    """

    def __init__(self, key: bytes | None, names: Mapping[str, str]) -> None:
        self.names: dict[str, str] = {}
        self._key = key
        self._by_text: dict[tuple[str, str], str] = {}  # by label and text: texts repeat
        self._by_name: dict[tuple[str, str], str] = {}  # by label and `name_key`
        self._keys: dict[str, str] = {}
        self._counts: Counter[str] = Counter()
        for placeholder, name in names.items():
            match = PLACEHOLDER.fullmatch(placeholder)
            if match is None:
                raise ValueError(f"names has {placeholder!r}, which must be a placeholder such as '[PERSON_1]'")
            label, number = match.groups()
            if key is None:
                if not number.isdecimal():
                    raise ValueError(f"names has {placeholder!r}, but placeholders of how='numbered' have a number")
                self._counts[label] = max(self._counts[label], int(number))
            self._enter(placeholder, label, _key_of(name), name)

    def replace(self, text: str, label: str) -> str:
        """Return the placeholder of a name.

        Args:
            text: The name, as it is written.
            label: Its label.

        Returns:
            The placeholder.

        Raises:
            ValueError: If two names have the same hash.
        """
        placeholder = self._by_text.get((label, text))
        if placeholder is None:
            placeholder = self._find(text, placeholder_label(label))
            self._by_text[label, text] = placeholder
        return placeholder

    def _find(self, text: str, label: str) -> str:
        key = _key_of(text)
        known = self._by_name.get((label, key))
        if known is not None:
            if without_possessive(self.names[known]) != self.names[known] and without_possessive(text) == text:
                self.names[known] = text
            return known
        if self._key is None:
            self._counts[label] += 1
            number = str(self._counts[label])
        else:
            number = hmac.digest(self._key, key.encode("utf-8", "surrogatepass"), "sha256")[:DIGEST_LENGTH].hex()
        placeholder = f"[{label}_{number}]"
        self._enter(placeholder, label, key, text)
        return placeholder

    def _enter(self, placeholder: str, label: str, key: str, name: str) -> None:
        if self._keys.setdefault(placeholder, key) != key:
            raise ValueError(f"two names have the placeholder {placeholder!r}: choose another key")
        self._by_name[label, key] = placeholder
        self.names[placeholder] = name


def _key_of(name: str) -> str:
    """The key of a name. What looks like a placeholder has no other form."""
    return name if name.startswith("[") and PLACEHOLDER.fullmatch(name) else name_key(name)
