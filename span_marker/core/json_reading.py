"""Strict reading of JSON: like `json.loads`, but a repeated key in an object is an error."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable
from typing import Any

_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|[{}\[\]]', re.DOTALL)
_COLON = re.compile(r"\s*:")
_DIGITS = re.compile(r'"(?:[^"\\]|\\.)*"|\d+', re.DOTALL)


class RepeatedKeyError(json.JSONDecodeError):
    """An object has a repeated key, for which `json.loads` would only keep the last value."""


def parse_json(text: str, parse_constant: Callable[[str], Any] | None = None) -> Any:
    """Read a JSON text.

    Args:
        text: The text.
        parse_constant: Reads NaN and the infinities, see `json.loads`.

    Returns:
        The value.

    Raises:
        RepeatedKeyError: If an object has a repeated key. The error has the place of the second one.
        json.JSONDecodeError: If the text is not JSON.

    Example:
        >>> try:
        ...     parse_json('{"text": "a", "text": "b"}')
        ... except ValueError as error:
        ...     print(json_problem(error))
        has the key 'text' twice in one object, at column 15
    """
    try:
        return json.loads(text, parse_constant=parse_constant, object_pairs_hook=_unique)
    except _FoundTwiceError as error:
        key, place = _find_repeated(text)
        raise RepeatedKeyError(f"the key {key!r:.80} occurs twice", text, place) from error
    except json.JSONDecodeError:
        raise
    except ValueError as error:  # from int()
        raise json.JSONDecodeError("A number has too many digits", text, _find_long_number(text)) from error


def json_problem(error: json.JSONDecodeError) -> str:
    """Describe what is wrong with a text, to follow its name and line in a message.

    Args:
        error: The error of `parse_json`.

    Returns:
        The end of a sentence.
    """
    if isinstance(error, RepeatedKeyError):
        key = error.msg.removeprefix("the key ").removesuffix(" occurs twice")
        return f"has the key {key} twice in one object, at column {error.colno}"
    return f"is not JSON: {error.msg.removesuffix(' at')} at column {error.colno}"


class _FoundTwiceError(Exception):
    """A key occurs twice."""


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) < len(pairs):
        raise _FoundTwiceError
    return values


def _find_repeated(text: str) -> tuple[str, int]:
    """The first key that is repeated in an object, and the place of the repetition. Up to there, the text is JSON."""
    keys: list[set[str]] = []
    for match in _TOKEN.finditer(text):
        token = match[0]
        if token in "{[":
            keys.append(set())
        elif token in "}]":
            keys.pop()
        elif _COLON.match(text, match.end()):
            key = json.loads(token)
            if key in keys[-1]:
                return key, match.start()
            keys[-1].add(key)
    raise AssertionError("no key occurs twice")


def _find_long_number(text: str) -> int:
    """The place of the first number with more digits than Python accepts."""
    most = sys.get_int_max_str_digits()
    return next(match.start() for match in _DIGITS.finditer(text) if match[0][0] != '"' and len(match[0]) > most)
