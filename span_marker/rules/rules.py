"""Apply rules, and merge what they find with the entities of a model."""

from __future__ import annotations

import json
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from numbers import Real
from pathlib import Path
from typing import Any, Literal, TypeAlias, get_args

from span_marker.core.alignment import trim
from span_marker.core.graphemes import whole_spans
from span_marker.core.json_reading import parse_json
from span_marker.core.phrases import Folding, PhraseMatcher
from span_marker.data.rows import PREDICTED, join_words
from span_marker.data.text_files import StrPath
from span_marker.rules.kinds import KINDS, ListRule, Rule, rule_from_dict
from span_marker.rules.validators import VALIDATORS

Priority = Literal["rules first", "model first", "best score"]

PRIORITIES: tuple[Priority, ...] = get_args(Priority)

RULES_FILE = "rules.json"
"""The file of rules in a checkpoint."""

TIMEOUT_LENGTH = 100_000
"""Number of characters above which the timeout grows with the text."""

Entity: TypeAlias = dict[str, Any]
Place: TypeAlias = tuple[int, int]


@dataclass(frozen=True)
class Rules:
    r"""Rules that find entities in addition to a model.

    Args:
        rules: The rules: `RegexRule`, `ListRule` and `TokenRule`.
        priority: Which entities are kept where those of rules and those of the model overlap: ``"rules first"``,
            ``"model first"``, or ``"best score"`` (rules first among equal scores).
        validators: Names of checks by label: ``"iban"``, ``"card"`` or ``"email"``, see `span_marker.rules.validators`.
            Entities with such a label are dropped if the check fails, including those of the model.
        timeout: Maximum time per rule, in seconds, for a text of up to 100,000 characters; proportionally more for
            longer texts.

    Raises:
        TypeError: If an element of ``rules`` is not a rule, or ``timeout`` is not a number.
        ValueError: If ``priority`` or a validator is unknown, or ``timeout`` is not positive.

    Example:
        >>> from span_marker.rules import RegexRule
        >>> rules = Rules([RegexRule("IBAN", r"\b[A-Z]{2}\d{2}[A-Z\d]{11,30}\b")], validators={"IBAN": "iban"})
        >>> [entity["span"] for entity in rules.find("GB82WEST12345698765432 or GB83WEST12345698765432")]
        ['GB82WEST12345698765432']
    """

    rules: Sequence[Rule]
    priority: Priority = "rules first"
    validators: Mapping[str, str] = field(default_factory=dict)
    timeout: float = 1.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "rules", tuple(self.rules))
        for index, rule in enumerate(self.rules):
            if not isinstance(rule, tuple(KINDS.values())):
                names = [kind.__name__ for kind in KINDS.values()]
                raise TypeError(f"rules[{index}] must be one of {names}, not {rule!r:.80}")
        if self.priority not in PRIORITIES:
            raise ValueError(f"priority={self.priority!r} must be one of {list(PRIORITIES)}")
        if not isinstance(self.validators, Mapping):
            raise TypeError(f"validators={self.validators!r} must be a dict from labels to names of validators")
        for label, name in self.validators.items():
            if name not in VALIDATORS:
                raise ValueError(f"validators[{label!r}]={name!r} must be one of {list(VALIDATORS)}")
        if isinstance(self.timeout, bool) or not isinstance(self.timeout, Real):
            raise TypeError(f"timeout={self.timeout!r} must be a number of seconds")
        if not self.timeout > 0:
            raise ValueError(f"timeout={self.timeout} must be above 0 seconds")

    def __getstate__(self) -> dict[str, Any]:
        # Automata cannot be pickled or copied; they are built again.
        return {name: value for name, value in vars(self).items() if name != "_lists"}

    @property
    def labels(self) -> list[str]:
        """The distinct labels of the rules."""
        return list(dict.fromkeys(rule.label for rule in self.rules))

    def apply(self, item: str | Sequence[str], entities: Sequence[Mapping[str, Any]]) -> list[Any]:
        """Merge the entities of rules with those of a model.

        Args:
            item: The text, or the words.
            entities: The entities of the model, as ``predict`` returns them; places in a text count code points. They
                may overlap each other.

        Returns:
            All entities that are kept, in order. Those of rules have an ``origin`` with ``kind="rule"`` and the name of
            the rule.

        Raises:
            TimeoutError: If a regular expression takes too long.
        """
        valid = [e for e in entities if self._is_valid(e["label"], _text_of(e["span"]))]
        found = _without_overlaps(self.find(item), len(item))
        names = PREDICTED["characters" if isinstance(item, str) else "words"]
        return _merge(found, valid, self.priority, names, len(item))

    def find(self, item: str | Sequence[str]) -> list[Entity]:
        """Find entities with the rules alone.

        Args:
            item: The text, or the words. Words are joined by single spaces, and a match covers all words that it
                touches.

        Returns:
            The entities of all rules, in order, in the form that ``predict`` returns. They may overlap.

        Raises:
            TimeoutError: If a regular expression takes too long.
        """
        text, starts = (item, None) if isinstance(item, str) else join_words(item)
        trimmed = ((rule, trim(text, *place, keep_marks=True)) for rule, place in self._find(text))
        pairs = [(rule, (start, end)) for rule, (start, end) in trimmed if start < end]
        places = whole_spans(text, [place for _, place in pairs])
        found: dict[tuple[str, int, int], Entity] = {}
        for (rule, _), (start, end) in zip(pairs, places, strict=True):
            if not self._is_valid(rule.label, text[start:end]):
                continue
            first, last = (start, end) if starts is None else _touched_words(starts, start, end)
            part = item[first:last]
            entity: Entity = {
                "span": part if isinstance(part, str) else list(part),
                "label": rule.label,
                "score": rule.score,
            }
            entity |= zip(PREDICTED["characters" if starts is None else "words"], (first, last), strict=True)
            entity["origin"] = {"kind": "rule", "rule": rule.title}
            known = found.setdefault((rule.label, first, last), entity)
            if known["score"] < rule.score:
                found[rule.label, first, last] = entity
        return [found[key] for key in sorted(found, key=lambda key: (key[1], -key[2]))]

    def _find(self, text: str) -> Iterator[tuple[Rule, Place]]:
        timeout = self.timeout * max(1.0, len(text) / TIMEOUT_LENGTH)
        for rule in self.rules:
            if not isinstance(rule, ListRule):
                yield from ((rule, place) for place in rule.find(text, timeout))
        for folding, matcher, rules in self._lists:
            for phrase, *place in matcher.find(text, folding):
                yield from ((rule, (place[0], place[1])) for rule in rules[phrase])

    @cached_property
    def _lists(self) -> list[tuple[Folding, PhraseMatcher, list[list[ListRule]]]]:
        """An automaton for the lists with the same folding, and the rules of each of its phrases."""
        by_folding: dict[Folding, dict[str, list[ListRule]]] = {}
        for rule in self.rules:
            if isinstance(rule, ListRule):
                keys = by_folding.setdefault(rule.folding, {})
                for key in dict.fromkeys(rule.keys):
                    keys.setdefault(key, []).append(rule)
        return [(folding, PhraseMatcher(list(keys)), list(keys.values())) for folding, keys in by_folding.items()]

    def _is_valid(self, label: str, text: str) -> bool:
        name = self.validators.get(label)
        return name is None or VALIDATORS[name](text)

    def to_dict(self) -> dict[str, Any]:
        """Return a dict, for JSON."""
        return {
            "version": 1,
            "priority": self.priority,
            "validators": dict(self.validators),
            "timeout": self.timeout,
            "rules": [rule.to_dict() for rule in self.rules],
        }

    @classmethod
    def from_dict(cls, values: Any) -> Rules:
        """Read the output of `to_dict`.

        Args:
            values: The dict.

        Returns:
            The rules.

        Raises:
            TypeError: If a value has the wrong type.
            ValueError: If it is not such a dict, or a value is invalid.
        """
        keys = {"version", "priority", "validators", "timeout", "rules"}
        if not isinstance(values, dict) or set(values) != keys or not isinstance(values["rules"], list):
            raise ValueError(f"rules must be a dict with the keys {sorted(keys)}, where 'rules' is a list")
        if values["version"] != 1:
            raise ValueError(f"rules have version {values['version']!r}, but this release reads version 1: upgrade it")
        rules = [rule_from_dict(rule, f"rules[{index}]") for index, rule in enumerate(values["rules"])]
        return cls(rules, values["priority"], values["validators"], values["timeout"])

    def save(self, path: StrPath) -> None:
        """Write the rules to a JSON file.

        Args:
            path: The file.
        """
        Path(path).write_text(json.dumps(self.to_dict(), ensure_ascii=True), encoding="utf-8")

    @classmethod
    def load(cls, path: StrPath) -> Rules:
        """Read a file that `save` wrote. Nothing in it is run as code.

        Args:
            path: The file.

        Returns:
            The rules.

        Raises:
            ValueError: If the file is broken.
        """
        try:
            return cls.from_dict(parse_json(Path(path).read_text(encoding="utf-8")))
        except (TypeError, ValueError, RecursionError) as error:
            raise ValueError(f"cannot read rules from {path}: {error}") from error


def all_labels(labels: Sequence[str], rules: Rules | None) -> list[str]:
    """List the labels of what a model and its rules find.

    Args:
        labels: The labels of the model.
        rules: Its rules, or None.

    Returns:
        The distinct labels, those of the model first.
    """
    return list(dict.fromkeys([*labels, *(rules.labels if rules else ())]))


def _text_of(span: str | Sequence[str]) -> str:
    return span if isinstance(span, str) else " ".join(span)


def _touched_words(starts: Sequence[int], start: int, end: int) -> Place:
    return bisect_right(starts, start) - 1, bisect_left(starts, end)


def _place(entity: Mapping[str, Any]) -> Place:
    start, end = (value for name, value in entity.items() if name in _PLACE_NAMES)
    return start, end


_PLACE_NAMES = frozenset(name for pair in PREDICTED.values() for name in pair)


def _without_overlaps(found: Sequence[Entity], length: int) -> list[Entity]:
    """Entities of rules that do not overlap: the best score first, then the longest, then the leftmost."""
    taken = bytearray(length)
    kept: list[Entity] = []
    for entity in sorted(found, key=lambda entity: (-entity["score"], _place(entity)[0] - _place(entity)[1])):
        start, end = _place(entity)
        if not any(taken[start:end]):
            taken[start:end] = b"\1" * (end - start)
            kept.append(entity)
    return kept


def _merge(
    found: Sequence[Any], model: Sequence[Any], priority: Priority, names: tuple[str, str], length: int
) -> list[Any]:
    """Keep entities of which none of the other side that comes first overlaps."""
    sides = {"rules first": (found, model), "model first": (model, found)}
    if priority in sides:
        ranked = [(side, entity) for side, part in enumerate(sides[priority]) for entity in part]
    else:
        both = [(side, entity) for side, part in enumerate((found, model)) for entity in part]
        ranked = sorted(both, key=lambda pair: (-pair[1]["score"], pair[0]))
    taken = (bytearray(length), bytearray(length))
    kept = []
    for side, entity in ranked:
        start, end = entity[names[0]], entity[names[1]]
        if not any(taken[1 - side][start:end]):
            taken[side][start:end] = b"\1" * (end - start)
            kept.append(entity)
    return sorted(kept, key=lambda entity: entity[names[0]])
