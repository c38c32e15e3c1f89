"""The replacements for entities, for each way of redaction.

Each placeholder of ``"numbered"`` and ``"hash"`` stands for a single name, so that a text can be restored even after it
was changed: ``[PERSON_1]``, ``[PERSON_3f2a9c1be07d5a48]``. A text may already contain something that looks like a
placeholder. It is also replaced, as a name with the label `LITERAL`, so that everything in a redacted text that looks
like a placeholder is one. Two placeholders cannot overlap, since they begin with ``[``, end with ``]``, and have no
brackets inside.
"""

from __future__ import annotations

import hmac
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache, partial
from typing import Literal, TypeAlias, get_args

from span_marker.core.names import name_key, without_possessive

NamedWay = Literal["numbered", "hash"]
Way = Literal["label", "numbered", "mask", "hash", "remove"]
How: TypeAlias = Way | Callable[[str, str], str]
Replace: TypeAlias = Callable[[Sequence[str], Sequence[str]], list[str]]

WAYS: tuple[Way, ...] = get_args(Way)
NAMED_WAYS: tuple[NamedWay, ...] = get_args(NamedWay)

LITERAL = "TEXT"
"""Label of parts of the original text that look like placeholders."""

PLACEHOLDER = re.compile(r"\[([^\[\]\s]+)_([0-9a-f]+)\]")
"""A placeholder that stands for a single name."""

MASK = "*"

MIN_KEY_LENGTH = 16
"""Minimum number of bytes of a key: shorter keys can be guessed."""

DIGEST_LENGTH = 8
"""Number of bytes of a hashed name, each written as two hexadecimal digits."""

_NOT_IN_LABELS = re.compile(r"[\[\]\s]+")


@lru_cache(maxsize=1024)
def placeholder_label(label: str) -> str:
    """Return a label in the form used in placeholders: upper case, with underscores for white space and brackets.

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
    """Replace the placeholders in a text with their names; unknown ones stay.

    Args:
        text: The text.
        names: What each placeholder stands for.

    Returns:
        The text.
    """
    return PLACEHOLDER.sub(lambda match: names.get(match[0], match[0]), text)


def _label_all(texts: Sequence[str], labels: Sequence[str]) -> list[str]:
    placeholders = {label: f"[{placeholder_label(label)}]" for label in set(labels)}
    return [placeholders[label] for label in labels]


def _mask_all(texts: Sequence[str], labels: Sequence[str]) -> list[str]:
    return [MASK * len(text) for text in texts]


def _remove_all(texts: Sequence[str], labels: Sequence[str]) -> list[str]:
    return [""] * len(texts)


def _call_for_all(how: Callable[[str, str], str], texts: Sequence[str], labels: Sequence[str]) -> list[str]:
    new = [how(*pair) for pair in zip(texts, labels, strict=True)]  # not map, which StopIteration would end
    for replacement, label in zip(new, labels, strict=True):
        if not isinstance(replacement, str):
            raise TypeError(f"how must return a string, but returned {replacement!r} for an entity {label!r}")
    return new


_PLAIN: dict[str, Replace] = {"label": _label_all, "mask": _mask_all, "remove": _remove_all}


def plain_replacement(how: How) -> Replace:
    """Find the replacement function for ways that do not tell names apart.

    Args:
        how: The way, or a function.

    Returns:
        The function: it takes the old texts and their labels.
    """
    return _PLAIN[how] if isinstance(how, str) else partial(_call_for_all, how)


class Pseudonyms:
    """Placeholders that each stand for a single name, and these names.

    Args:
        key: The key of ``"hash"``; None for ``"numbered"``.
        names: Placeholders of earlier texts and their names.

    Attributes:
        names: The name that each placeholder stands for: its first form in the texts, preferably without a possessive
            ending.
        labels: The label of each placeholder that `replace` returned.

    Raises:
        ValueError: If a key of ``names`` is not a placeholder.
    """

    def __init__(self, key: bytes | None, names: Mapping[str, str]) -> None:
        self.names = dict(names)
        self.labels: dict[str, str] = {}
        self._key = key
        self._by_text: dict[tuple[str, str], str] = {}  # by text and label: texts repeat
        self._by_name: dict[tuple[str, str], str] = {}  # by `name_key` and label in placeholders
        self._hashes: dict[str, str] = {}  # by `name_key`, which may have several labels
        self._counts: Counter[str] = Counter()
        for placeholder, name in names.items():
            match = PLACEHOLDER.fullmatch(placeholder)
            if match is None:
                raise ValueError(f"names has {placeholder!r}, but its keys must be placeholders such as '[PERSON_1]'")
            label, number = match.groups()
            if key is None and not number.isdecimal():
                raise ValueError(f"names has {placeholder!r}, but the placeholders of how='numbered' end in a number")
            if key is not None and number != self._hash(_key_of(name)):
                raise ValueError(f"names has {placeholder!r}, which is not the hash of its name: pass the earlier key")
            if key is None:
                self._counts[label] = max(self._counts[label], int(number))
            self._by_name[_key_of(name), label] = placeholder

    def replace(self, texts: Sequence[str], labels: Sequence[str]) -> list[str]:
        """Return the placeholders of names.

        Args:
            texts: The names as written in the text.
            labels: Their labels.

        Returns:
            The placeholders.

        Raises:
            ValueError: If two names have the same hash.
        """
        known = self._by_text
        return [known.get(pair) or self._find(*pair) for pair in zip(texts, labels, strict=True)]

    def _find(self, text: str, label: str) -> str:
        name = key, kind = _key_of(text), placeholder_label(label)
        placeholder = self._by_name.get(name)
        if placeholder is None:
            placeholder = self._by_name[name] = self._new(key, kind)
            self.names[placeholder] = text
        elif not _has_possessive(text) and _has_possessive(self.names[placeholder]):
            self.names[placeholder] = text
        self._by_text[text, label] = placeholder
        self.labels[placeholder] = label
        return placeholder

    def _new(self, key: str, kind: str) -> str:
        if self._key is None:
            self._counts[kind] += 1
            return f"[{kind}_{self._counts[kind]}]"
        placeholder = f"[{kind}_{self._hash(key)}]"
        if placeholder in self.names:
            raise ValueError(f"two names have the same placeholder {placeholder!r}: choose another key")
        return placeholder

    def _hash(self, key: str) -> str:
        digest = self._hashes.get(key)
        if digest is None:
            assert self._key is not None
            data = hmac.digest(self._key, key.encode("utf-8", "surrogatepass"), "sha256")
            digest = self._hashes[key] = data[:DIGEST_LENGTH].hex()
        return digest


def _has_possessive(name: str) -> bool:
    return without_possessive(name) != name


def _key_of(name: str) -> str:
    """The key of a name. Text that looks like a placeholder is its own key."""
    return name if name.startswith("[") and PLACEHOLDER.fullmatch(name) else name_key(name)
