"""Read patterns of spaCy's ``EntityRuler`` from its JSONL files."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from span_marker.core.json_reading import json_problem, parse_json
from span_marker.core.labels import OUTSIDE
from span_marker.data.text_files import StrPath
from span_marker.rules.kinds import TEXT_KEYS, ListRule, Rule, TokenRule, check_token


def read_entity_ruler(path: StrPath) -> list[Rule]:
    """Read a file of patterns of spaCy's ``EntityRuler``.

    Phrases, and token patterns that consist only of exact words (``TEXT``, ``ORTH``) or only of words in any case
    (``LOWER``), become one `ListRule` per label and ID. Each other token pattern becomes a `TokenRule`. Words are split
    as in this library rather than by spaCy's tokenizer: they end at punctuation.

    Args:
        path: A JSONL file with a ``label``, a ``pattern``, and optionally an ``id`` per line.

    Returns:
        The rules, in the order of the file.

    Raises:
        TypeError: If a value has the wrong type.
        ValueError: If a line is not such a dict, or a token has an unsupported condition.
    """
    lists: dict[tuple[str, str, bool], list[str]] = {}
    rules: dict[Any, Rule | None] = {}  # in order; lists are filled in at the end
    for number, line in enumerate(Path(path).read_text(encoding="utf-8").split("\n"), start=1):
        if not line.strip():
            continue
        subject = f"{path}, line {number}"
        label, name, pattern = _read_line(line, subject)
        phrase = _as_phrase(pattern, subject)
        if phrase is None:
            rules[number] = TokenRule(label, pattern, name=name)
        else:
            key = (label, name, phrase[1])
            lists.setdefault(key, []).append(phrase[0])
            rules.setdefault(key, None)
    for (label, name, ignore_case), phrases in lists.items():
        rules[label, name, ignore_case] = ListRule(label, phrases, ignore_case, name=name)
    return [rule for rule in rules.values() if rule is not None]


def _read_line(line: str, subject: str) -> tuple[str, str, Any]:
    try:
        values = parse_json(line)
    except json.JSONDecodeError as error:
        raise ValueError(f"{subject} {json_problem(error)}") from error
    if not isinstance(values, dict) or not {"label", "pattern"} <= set(values):
        raise ValueError(f"{subject} must be an object with 'label' and 'pattern'")
    if unknown := sorted(set(values) - {"label", "pattern", "id"}):
        raise ValueError(f"{subject} has {unknown}, but only 'label', 'pattern' and 'id' are supported")
    label, name, pattern = values["label"], values.get("id"), values["pattern"]
    if not isinstance(label, str) or label in ("", OUTSIDE):
        raise ValueError(f"{subject}: 'label' must be a string other than '' and {OUTSIDE!r}, not {label!r}")
    if name is not None and not isinstance(name, str):
        raise TypeError(f"{subject}: 'id' must be a string, not {name!r}")
    if isinstance(pattern, str) and not pattern.strip():
        raise ValueError(f"{subject}: 'pattern' is {pattern!r}, which contains no word")
    return label, name or "", pattern


def _as_phrase(pattern: Any, subject: str) -> tuple[str, bool] | None:
    """A pattern as a phrase, and whether case is ignored; None if it is not a phrase."""
    if isinstance(pattern, str):
        return pattern, False
    if not isinstance(pattern, list) or not pattern:
        raise TypeError(f"{subject}: 'pattern' must be a string or a list of dicts, not {pattern!r}")
    words: list[str] = []
    kinds: set[bool] = set()
    for index, token in enumerate(pattern):
        check_token(token, f"{subject}: token {index}")
        word = _only_word(token)
        if word is None:
            return None
        words.append(word[0])
        kinds.add(word[1])
    return (" ".join(words), kinds.pop()) if len(kinds) == 1 else None


def _only_word(token: Mapping[str, Any]) -> tuple[str, bool] | None:
    """The word of a token and whether its case is ignored; None if it has other conditions."""
    if len(token) != 1:
        return None
    ((name, value),) = token.items()
    return (value, name not in TEXT_KEYS) if isinstance(value, str) else None
