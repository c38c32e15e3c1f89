"""The kinds of rules. Rules are data: they are saved as dicts, never as code."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import MISSING, asdict, dataclass, field, fields
from functools import cached_property
from typing import Any, ClassVar, TypeAlias

import regex

from span_marker.core.checks import check_probability
from span_marker.core.labels import OUTSIDE
from span_marker.core.phrases import Folding, phrase_key, place_phrase_words

LONGEST_PATTERN = 10_000
"""Maximum number of characters of a regular expression."""

LARGEST_EXPANSION = 10_000_000
"""Maximum estimated number of characters of an expression whose repetitions are written out, as they are in memory.
Expressions can come from a checkpoint, and must not exhaust memory."""

_COUNT = re.compile(r"(\)?)\s*\{\s*([0-9]{1,12})")

TEXT_KEYS = ("TEXT", "ORTH")
TOKEN_KEYS = (*TEXT_KEYS, "LOWER")
"""Conditions of a token: the exact word, or the word in any case."""

Condition: TypeAlias = str | Mapping[str, str]
"""A word, or ``{"REGEX": ...}``, which is searched in the word."""


@dataclass(frozen=True)
class _Rule:
    """Base class of all rules.

    Args:
        label: The label of what is found.
        name: Name of the rule, for ``origin`` and errors. Defaults to the label.
        score: The score of what is found, from 0 to 1.
    """

    kind: ClassVar[str]
    label: str
    name: str = field(default="", kw_only=True)
    score: float = field(default=1.0, kw_only=True)

    def __post_init__(self) -> None:
        if not isinstance(self.label, str) or self.label in ("", OUTSIDE):
            raise ValueError(f"label={self.label!r} of a rule must be a string other than '' and {OUTSIDE!r}")
        if not isinstance(self.name, str):
            raise TypeError(f"name={self.name!r} of a rule must be a string")
        check_probability(f"score of rule {self.title!r}", self.score)

    @property
    def title(self) -> str:
        """The name, or the label."""
        return self.name or self.label

    def to_dict(self) -> dict[str, Any]:
        """Return a dict, for JSON."""
        return {"kind": self.kind, **asdict(self)}


@dataclass(frozen=True)
class RegexRule(_Rule):
    r"""Finds what a regular expression matches.

    Args:
        label: The label of what is found.
        pattern: The expression, in the syntax of the package ``regex``.
        ignore_case: Whether to ignore case.
        name: Name of the rule. Defaults to the label.
        score: The score of what is found, from 0 to 1.

    Raises:
        TypeError: If a value has the wrong type.
        ValueError: If the expression is wrong or has more than 10,000 characters, or another value is invalid.

    Example:
        >>> rule = RegexRule("DATE", r"\d{4}-\d{2}-\d{2}")
        >>> list(rule.find("Since 1937-07-02."))
        [(6, 16)]
    """

    kind: ClassVar[str] = "regex"
    pattern: str
    ignore_case: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        _compile(self.pattern, f"pattern of rule {self.title!r}", self.ignore_case)

    @cached_property
    def _compiled(self) -> regex.Pattern[str]:
        return _compile(self.pattern, f"pattern of rule {self.title!r}", self.ignore_case)

    def find(self, text: str, timeout: float | None = None) -> Iterator[tuple[int, int]]:
        """Find the matches in a text.

        Args:
            text: The text.
            timeout: The longest time that the search may take, in seconds.

        Yields:
            First character of each match and the one after its last; no empty matches.

        Raises:
            TimeoutError: If the search takes longer.
        """
        try:
            for match in self._compiled.finditer(text, timeout=timeout):
                if match.end() > match.start():
                    yield match.span()
        except TimeoutError as error:
            raise TimeoutError(
                f"rule {self.title!r} took longer than {timeout:.3g} seconds on a text of {len(text):,} characters: "
                f"rewrite pattern={self.pattern!r:.80}, which may backtrack excessively, or raise the timeout of Rules"
            ) from error


@dataclass(frozen=True)
class ListRule(_Rule):
    """Finds phrases of a list as whole words. All lists are searched together, so that they may be long.

    Args:
        label: The label of what is found.
        phrases: The phrases. The amount of white space between their words is ignored.
        ignore_case: Whether to ignore case.
        ignore_diacritics: Whether to ignore marks on letters.
        name: Name of the rule. Defaults to the label.
        score: The score of what is found, from 0 to 1.

    Raises:
        TypeError: If a value has the wrong type.
        ValueError: If a phrase has no word, or another value is invalid.
    """

    kind: ClassVar[str] = "list"
    phrases: Sequence[str] = field(repr=False)
    ignore_case: bool = False
    ignore_diacritics: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if isinstance(self.phrases, str):
            raise TypeError(f"phrases of rule {self.title!r} must be a list of strings, not a string")
        object.__setattr__(self, "phrases", tuple(self.phrases))
        for index, phrase in enumerate(self.phrases):
            if not isinstance(phrase, str):
                raise TypeError(f"phrases[{index}] of rule {self.title!r} must be a string, not {phrase!r}")
            if not phrase or phrase.isspace():
                raise ValueError(f"phrases[{index}] of rule {self.title!r} is {phrase!r}, which contains no word")

    @property
    def folding(self) -> Folding:
        """Which differences between words do not count."""
        return Folding(bool(self.ignore_case), bool(self.ignore_diacritics))

    @property
    def keys(self) -> Iterator[str]:
        """The key of each phrase, see `phrase_key`."""
        return (phrase_key(phrase, self.folding) for phrase in self.phrases)


@dataclass(frozen=True)
class TokenRule(_Rule):
    """Finds a sequence of words, each by its conditions, as token patterns of spaCy do.

    Args:
        label: The label of what is found.
        tokens: A dict for each word. ``{"LOWER": "san"}`` is a word in any case, ``{"TEXT": "San"}`` or ``{"ORTH":
            "San"}`` a word as it is, and ``{"TEXT": {"REGEX": "^S"}}`` a word in which an expression is found. All
            conditions of a dict must hold; ``{}`` is any word.
        name: Name of the rule. Defaults to the label.
        score: The score of what is found, from 0 to 1.

    Raises:
        TypeError: If a value has the wrong type.
        ValueError: If a token has any other condition, which is named, or another value is invalid.

    Example:
        >>> list(TokenRule("GPE", [{"LOWER": "san"}, {"TEXT": {"REGEX": "^F"}}]).find("in SAN Francisco"))
        [(3, 16)]
    """

    kind: ClassVar[str] = "tokens"
    tokens: Sequence[Mapping[str, Condition]]

    def __post_init__(self) -> None:
        super().__post_init__()
        subject = f"tokens of rule {self.title!r}"
        if not isinstance(self.tokens, (list, tuple)) or not self.tokens:
            raise TypeError(f"{subject} must be a non-empty list of dicts, not {self.tokens!r}")
        object.__setattr__(self, "tokens", tuple(self.tokens))
        for index, token in enumerate(self.tokens):
            check_token(token, f"{subject}: [{index}]")

    @cached_property
    def _words(self) -> list[Mapping[str, Any]]:
        """The conditions of each word. A token that has several, such as ``U.S.``, is several."""
        return [word for token in self.tokens for word in _split_token(token)]

    def find(self, text: str, timeout: float | None = None) -> Iterator[tuple[int, int]]:
        """Find the sequences in a text, from the left; they do not overlap.

        Args:
            text: The text.
            timeout: The longest time that an expression may take for a word, in seconds.

        Yields:
            First character of each sequence and the one after its last.

        Raises:
            TimeoutError: If an expression takes longer.
        """
        places = place_phrase_words(text)
        words = [text[start:end] for start, end in places]
        first, size = 0, len(self._words)
        while first + size <= len(words):
            if all(
                _holds(at, word, timeout) for at, word in zip(self._words, words[first : first + size], strict=True)
            ):
                yield places[first][0], places[first + size - 1][1]
                first += size
            else:
                first += 1


def check_token(token: Any, subject: str) -> None:
    """Check the conditions of a token.

    Args:
        token: The conditions.
        subject: What to call the token in errors.

    Raises:
        TypeError: If it is not a dict, or a value is neither a string nor ``{"REGEX": ...}``.
        ValueError: If there is any other condition, several of them have several words, or an expression is wrong.
    """
    if not isinstance(token, Mapping):
        raise TypeError(f"{subject} must be a dict such as {{'LOWER': 'paris'}}, not {token!r}")
    for name, value in token.items():
        if name not in TOKEN_KEYS:
            raise ValueError(f"{subject} has {name!r}, but only {list(TOKEN_KEYS)} are supported")
        if isinstance(value, Mapping):
            if list(value) != ["REGEX"]:
                raise ValueError(f"{subject}: {name!r} has {list(value)}, but only ['REGEX'] is supported")
            _compile(value["REGEX"], f"{subject}: {name!r}")
        elif not isinstance(value, str) or not value.strip():
            raise TypeError(f"{subject}: {name!r} must be a word or {{'REGEX': ...}}, not {value!r}")
        elif len(token) > 1 and len(place_phrase_words(value)) > 1:
            raise ValueError(f"{subject}: {name!r} is {value!r}, which is several words: remove the other conditions")


def _split_token(token: Mapping[str, Condition]) -> list[Mapping[str, Any]]:
    """The conditions of each word of a token."""
    if len(token) != 1:
        return [token]
    ((name, value),) = token.items()
    if not isinstance(value, str):
        return [token]
    return [{name: value[start:end]} for start, end in place_phrase_words(value)]


def _holds(conditions: Mapping[str, Any], word: str, timeout: float | None) -> bool:
    for name, value in conditions.items():
        form = word.lower() if name == "LOWER" else word
        if isinstance(value, str):
            if form != (value.lower() if name == "LOWER" else value):
                return False
        elif regex.search(value["REGEX"], form, timeout=timeout) is None:
            return False
    return True


def _compile(pattern: Any, subject: str, ignore_case: bool = False) -> regex.Pattern[str]:
    if not isinstance(pattern, str):
        raise TypeError(f"{subject} must be a string, not {pattern!r}")
    if len(pattern) > LONGEST_PATTERN:
        raise ValueError(f"{subject} has {len(pattern):,} characters, but the limit is {LONGEST_PATTERN:,}")
    counts = [(group, int(count)) for group, count in _COUNT.findall(pattern)]
    nested = math.prod(count for group, count in counts if group and count)
    if len(pattern) * max((count for _, count in counts), default=1) * nested > LARGEST_EXPANSION:
        raise ValueError(f"{subject} is {pattern!r:.80}, which repeats too often: use smaller counts in braces")
    try:
        return regex.compile(pattern, regex.IGNORECASE if ignore_case else 0)
    except (regex.error, RecursionError) as error:
        raise ValueError(f"{subject} is {pattern!r:.80}, which is not a valid regular expression: {error}") from error


KINDS: dict[str, type[RegexRule | ListRule | TokenRule]] = {
    rule.kind: rule for rule in (RegexRule, ListRule, TokenRule)
}
"""The kinds of rules, by the name that they are saved under."""

Rule: TypeAlias = RegexRule | ListRule | TokenRule


def rule_from_dict(values: Any, subject: str) -> Rule:
    """Read the output of ``to_dict``.

    Args:
        values: The dict.
        subject: What to call it in errors.

    Returns:
        The rule.

    Raises:
        TypeError: If a value has the wrong type.
        ValueError: If it is not a dict, the kind or a key is unknown, or a value is invalid.
    """
    if not isinstance(values, dict) or not isinstance(values.get("kind"), str) or values["kind"] not in KINDS:
        kind = values.get("kind") if isinstance(values, dict) else values
        raise ValueError(f"{subject} must be a dict whose 'kind' is one of {list(KINDS)}, not {kind!r:.80}")
    cls = KINDS[values["kind"]]
    names = [item.name for item in fields(cls)]
    required = {item.name for item in fields(cls) if item.default is MISSING}
    arguments = {name: value for name, value in values.items() if name != "kind"}
    if not required <= set(arguments) or not set(arguments) <= set(names):
        raise ValueError(f"{subject} has the keys {list(arguments)}, but {values['kind']!r} rules have {names}")
    return cls(**arguments)
