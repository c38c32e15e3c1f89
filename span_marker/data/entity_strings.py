"""Texts with entities as strings, without offsets: GLiNER2's training data, and the output of language models.

An entity is an occurrence of its string as whole words. White space may differ, letter case may not.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from span_marker.core.boundaries import is_inside_word
from span_marker.data.entity_keys import LABEL_KEYS, has_place
from span_marker.data.json_records import Annotation, Record, Shape, has, read_span, row_content
from span_marker.data.rows import RowEntity, check_text
from span_marker.data.values import check_list, is_list

_STRING_KEYS = ("text", "entity", "span", "name", "mention")
_BOUNDS = ("start", "start_offset", "char_start_index", "word_start_index")


class EntityString(NamedTuple):
    """An entity without a place."""

    label: Any
    string: str


class _Match(NamedTuple):
    start: int
    end: int


def locate(text: str, strings: Sequence[EntityString], occurrences: str, location: str) -> tuple[list[RowEntity], int]:
    """Find entities by their strings.

    Args:
        text: The text.
        strings: The entities.
        occurrences: ``all``: every occurrence of the string is an entity, except inside of one of a longer string, if
            it occurs elsewhere, too. ``in-order``: the first entity of a string is its first occurrence, the second
            entity of the same string and label its second one, and so on.
        location: What to call the record in errors.

    Returns:
        The entities, and how many of the strings occur several times.

    Raises:
        TypeError: If a string or a label is none.
        ValueError: If ``occurrences`` is unknown, a string is empty, or does not occur as often as it should.

    Example:
        >>> locate("Ann met Anna. Ann left.", [EntityString("PER", "Ann")], "all", "row 0")
        ([RowEntity(label='PER', start=0, end=3, score=None), RowEntity(label='PER', start=14, end=17, score=None)], 1)
    """
    if occurrences not in ("all", "in-order"):
        raise ValueError(f"occurrences={occurrences!r} must be 'all' or 'in-order'")
    matches = {string: _find(text, string, location) for string in dict.fromkeys(item.string for item in strings)}
    entities: list[RowEntity] = []
    before: Counter[EntityString] = Counter()
    for item in dict.fromkeys(strings) if occurrences == "all" else strings:
        places = matches[item.string]
        if occurrences == "in-order":
            places = places[before[item] :][:1]
            before[item] += 1
        if not places:
            number = len(matches[item.string])
            often = f"occurs only {number} times, but is listed more often" if number else "does not occur"
            raise ValueError(f"{location}: entity {item.label!r}: as whole words in the text, {item.string!r} {often}")
        longer = [place for other, found in matches.items() if len(other) > len(item.string) for place in found]
        if occurrences == "all":
            places = [place for place in places if not any(_inside(place, outer) for outer in longer)] or places
        entities += [read_span(item.label, *place, text, location) for place in places]
    return entities, sum(len(places) > 1 for places in matches.values())


def _inside(place: _Match, outer: _Match) -> bool:
    return place != outer and outer.start <= place.start and place.end <= outer.end


def _find(text: str, string: Any, location: str) -> list[_Match]:
    check_text(string, f"{location}: the text of an entity")
    if not string.strip():
        raise ValueError(f"{location}: the text of an entity is empty: {string!r}")
    # Other code points for the same characters will do: a keyboard composes accents, a file of macOS may not.
    forms = dict.fromkeys([string, *(unicodedata.normalize(form, string) for form in ("NFC", "NFD"))])
    pattern = "|".join(r"\s+".join(map(re.escape, form.split())) for form in forms)
    return [_Match(*match.span()) for match in re.finditer(pattern, text) if _is_whole(text, *match.span())]


def _is_whole(text: str, start: int, end: int) -> bool:
    """Tell whether a span begins and ends between words."""
    return not any(0 < edge < len(text) and _is_inside(text, edge) for edge in (start, end))


def _is_inside(text: str, edge: int) -> bool:
    """Tell whether a place is inside a word. In scripts without spaces, any two characters may be of different ones."""
    if unicodedata.category(text[edge]) in ("Mn", "Mc"):
        return True
    return is_inside_word(text, edge) and not any(map(_has_no_spaces, text[edge - 1 : edge + 1]))


def _has_no_spaces(character: str) -> bool:
    """Tell whether a character is of East Asia, or Thai, Lao, Burmese or Khmer, where a run has several words."""
    ranges = (("\u0e00", "\u0eff"), ("\u1000", "\u109f"), ("\u1780", "\u17ff"))
    return unicodedata.east_asian_width(character) in "WF" or any(first <= character <= last for first, last in ranges)


def _strings(entities: Any, location: str) -> Iterator[EntityString]:
    """Read ``{label: [string, ...]}``, or a list of dicts with a string and a label."""
    if isinstance(entities, Mapping):
        for label, items in entities.items():
            for item in [items] if isinstance(items, str) else check_list(items, f"{location}: entities {label!r}"):
                yield EntityString(label, _string(item, location) if isinstance(item, Mapping) else item)
        return
    for item in check_list(entities, f"{location}: 'entities'"):
        string, label = _string(item, location), _value(item, LABEL_KEYS, location)
        yield EntityString(label, string)


def _string(item: Any, location: str) -> Any:
    """Read the string of an entity without a place."""
    if has_place(item):
        raise ValueError(
            f"{location}: the entity {item!r} has a place, but here, strings are searched for in the text: list the "
            "entities as {'label', 'start', 'end'}, or leave out the places"
        )
    return _value(item, _STRING_KEYS, location)


def _value(item: Any, keys: Sequence[str], location: str) -> Any:
    names = [key for key in keys if has(item, key)]
    if not names:
        raise ValueError(f"{location}: the entity {item!r} has none of the keys {list(keys)}")
    return item[names[0]]


def _read(
    text: Any, entities: Any, record: Mapping[str, Any], ignored: Sequence[str], occurrences: str, location: str
) -> Record:
    check_text(text, f"{location}: the text")
    strings = list(_strings(entities, location))
    for item in strings:
        check_text(item.string, f"{location}: the text of an entity")
        check_text(item.label, f"{location}: the label of {item.string!r}")
    items = [item for item in entities if isinstance(item, Mapping)] if is_list(entities) else []
    others = {key for item in items for key, value in item.items() if value is not None} - {*_STRING_KEYS, *LABEL_KEYS}
    ignored = [*ignored, *(f"entities: {key}" for key in sorted(others))]
    found, repeated = locate(text, strings, occurrences, location)
    return Record(row_content(text, record), [Annotation(found)], ignored=tuple(ignored), repeated=repeated)


def _read_gliner2(record: Any, location: str, occurrences: str = "all") -> Record:
    if not has(record, "input", "output") or not isinstance(record["output"], Mapping):
        found = f"the keys {sorted(record)}" if isinstance(record, Mapping) else f"the type {type(record).__name__}"
        raise ValueError(f"{location} has {found}, but a record of GLiNER2 has 'input' and a dict as 'output'")
    output = record["output"]
    ignored = [f"output.{key}" for key in output if key not in ("entities", "entity_descriptions")]
    if "entities" not in output:
        return Record(row_content(record["input"], record), [], "have no entities", ignored=tuple(ignored))
    return _read(record["input"], output["entities"], record, ignored, occurrences, location)


def _is_gliner2(record: Any) -> bool:
    return has(record, "input", "output") and isinstance(record["output"], Mapping)


def _are_strings(record: Any) -> bool:
    if not has(record, "text", "entities"):
        return False
    entities = record["entities"]
    if isinstance(entities, Mapping):
        return True
    items = entities if is_list(entities) else []
    has_string = [any(has(item, key) for key in _STRING_KEYS) for item in items]
    has_bounds = any(has_place(item) or any(has(item, key) for key in _BOUNDS) for item in items)
    return bool(items) and all(has_string) and not has_bounds


def _read_strings(record: Any, location: str, occurrences: str = "all") -> Record:
    ignored = [key for key in record if key not in ("id", "text", "entities")]
    return _read(record["text"], record["entities"], record, ignored, occurrences, location)


GLINER2 = Shape("GLiNER2 (input, output: entities)", _is_gliner2, _read_gliner2, ("occurrences",))
"""The shape that is a format of its own, too."""

STRINGS = Shape("entity strings (text, entities: text, label)", _are_strings, _read_strings, ("occurrences",))
"""A text with a list of strings and labels, or with a dict of labels with their strings."""
