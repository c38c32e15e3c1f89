"""Names of numeric labels, as in doccano's exports and in integer tags."""

from __future__ import annotations

import json
import os
import unicodedata
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from span_marker.core.json_reading import json_problem, parse_json
from span_marker.data.text_files import SourceFile
from span_marker.data.values import as_whole, is_list, is_whole


def read_label_names(labels: Any) -> dict[int, str] | None:
    """Normalize the names of labels.

    Args:
        labels: A dict of numbers and names; a list of names, counted from 0; doccano's label configuration, a list of
            dicts with ``id`` and ``text``; the path of a JSON file with one of these; or None.

    Returns:
        The names by their numbers, or None.

    Raises:
        TypeError: If it is something else.
        ValueError: If a file is not JSON, or a number occurs twice.
    """
    location = "labels="
    if isinstance(labels, (str, os.PathLike)):
        location = f"labels={os.fspath(labels)!r}"
        try:
            labels = parse_json(SourceFile(Path(labels)).text())
        except json.JSONDecodeError as error:
            raise ValueError(f"{location}, line {error.lineno} {json_problem(error)}") from error
    if labels is None:
        return None
    pairs = [_pair(*item) for item in (labels.items() if isinstance(labels, Mapping) else enumerate(_list(labels)))]
    if not all(is_whole(number) and isinstance(name, str) for number, name in pairs):
        raise TypeError(
            f"{location} must be a dict of numbers and names, a list of names, or doccano's label configuration, not "
            f"{labels!r:.200}"
        )
    names = dict(pairs)
    if len(names) != len(pairs):
        raise ValueError(f"{location} has two names for a number: {pairs!r:.200}")
    return names


def _list(labels: Any) -> list[Any]:
    return list(labels) if is_list(labels) else [None]


def _pair(number: Any, name: Any) -> tuple[Any, Any]:
    if isinstance(name, Mapping):  # of doccano
        return name.get("id"), name.get("text", name.get("name"))
    return int(number) if isinstance(number, str) and number.isdecimal() else number, name


def name_label(label: Any, names: Mapping[int, str] | None, location: str) -> Any:
    """Name a label that is a number.

    Args:
        label: The label.
        names: See `read_label_names`.
        location: What to call the record in errors.

    Returns:
        Its name; anything but a number as it is.

    Raises:
        ValueError: If the number has no name.
    """
    number = as_whole(label)
    if number is None:
        return label
    label = number
    if names is None:
        raise ValueError(f"{location}: the label {label} is a number: name it with labels={{{label}: 'NAME', ...}}")
    if label not in names:
        raise ValueError(f"{location}: the label {label} is not one of labels={dict(names)}")
    return names[label]


def strip_label(label: str) -> str:
    r"""Strip a label of what cannot be seen at its edges: white space, and control and format characters.

    Args:
        label: The label.

    Returns:
        The label that is meant; as it is, if nothing would be left.

    Example:
        >>> strip_label(" PER\u200b")
        'PER'
    """
    start, end = 0, len(label)
    while start < end and _is_invisible(label[start]):
        start += 1
    while start < end and _is_invisible(label[end - 1]):
        end -= 1
    return label[start:end] or label


def _is_invisible(character: str) -> bool:
    return character.isspace() or unicodedata.category(character) in ("Cc", "Cf")
