"""Keys of entities: their names in other tools, and how to rename them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from span_marker.data.values import as_whole, is_list

LABEL_KEYS = ("label", "type", "entity_type", "entity_group", "category")
"""What the label of an entity is called, here and elsewhere."""

_UNIT = r"(?:char|character|word|token|text|span|mention|entity)?s?"
_WHAT = rf"(?:offset|index|idx|pos(?:ition)?|{_UNIT})s?"
_START = re.compile(rf"{_UNIT}(?:start|begin|from){_WHAT}|{_UNIT}(?:offset|position)")
_END = re.compile(rf"{_UNIT}(?:end|stop|to|until){_WHAT}")
_LENGTH = re.compile(rf"{_UNIT}(?:length|len)")
_BOTH = re.compile(rf"{_UNIT}(?:span|offset|position|range|location|loc|indice|bound)s?|{_UNIT}")


def has_place(entity: Any) -> bool:
    """Tell whether an entity says where it is, whatever it calls that.

    Args:
        entity: An entity in any form.

    Returns:
        Whether it is a dict with a start that is a whole number, or with both bounds in one value.

    Example:
        >>> has_place({"text": "Ann", "offset": 8, "length": 3}), has_place({"text": "Ann", "from": "a letter"})
        (True, False)
    """
    return _find(entity, _START) is not None or _find_both(entity) is not None


def advise_keys(entity: Mapping[str, Any]) -> str:
    """Suggest keys of an entity to rename.

    Args:
        entity: An entity that lacks ``label``, ``start`` or ``end``.

    Returns:
        The advice, which follows an error; empty if no other key looks like what is missing.

    Example:
        >>> advise_keys({"category": "PER", "offset": 8, "length": 3})
        ": rename 'category' to 'label' and 'offset' to 'start', and add 'end' ('offset' + 'length')"
    """
    for unit, column in (("word", "tokens"), ("char", "text")):
        if f"{unit}_start_index" in entity:  # as `predict` writes it, of rows of another kind
            return f": its indices count {'words' if unit == 'word' else 'characters'}, so the row needs {column!r}"
    start, end, length = (_find(entity, pattern) for pattern in (_START, _END, _LENGTH))
    label = next((key for key in LABEL_KEYS if isinstance(entity.get(key), str)), None)
    both = _find_both(entity)
    known = {"label": label, "start": start, "end": end}
    names = [f"{found!r} to {name!r}" for name, found in known.items() if found not in (None, name)]
    parts = [f"rename {' and '.join(names)}"] if names else []
    if start is not None and end is None and (length or start != "start"):
        parts.append(f"add 'end' ({start!r} + {length!r})" if length else "add 'end'")
    elif start is None and both is not None:
        parts.append(f"write 'start' and 'end' in place of {both!r}")
    return f": {', and '.join(parts)}" if parts else ""


def _find(entity: Any, pattern: re.Pattern[str]) -> str | None:
    """The key of a whole number whose name fits a pattern, in any letter case, with or without underscores."""
    return next((key for key, value in _items(entity) if pattern.fullmatch(_plain(key)) and _is_number(value)), None)


def _find_both(entity: Any) -> str | None:
    """The key of a list of a start and an end, or of several, or of a dict that has them."""
    for key, value in _items(entity):
        pair = value[0] if is_list(value) and len(value) == 1 else value
        is_pair = is_list(pair) and len(pair) == 2 and all(map(_is_number, pair))
        if _BOTH.fullmatch(_plain(key)) and (is_pair or has_place(pair)):
            return key
    return None


def _items(entity: Any) -> list[tuple[str, Any]]:
    return (
        [(key, value) for key, value in entity.items() if isinstance(key, str)] if isinstance(entity, Mapping) else []
    )


def _plain(key: str) -> str:
    return "".join(filter(str.isalpha, key.lower()))


def _is_number(value: Any) -> bool:
    return as_whole(value) is not None or (isinstance(value, str) and value.isdecimal())
