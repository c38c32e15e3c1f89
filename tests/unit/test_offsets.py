"""Offsets in other units are those of the encoded text, and are converted back as the same."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from span_marker.core.offsets import OFFSET_UNITS, convert_offsets

CHARACTERS = st.one_of(st.characters(), st.sampled_from("aé\u07ff\u0800\uffff\U00010000\U0010ffff\ud800\udfff"))
TEXTS = st.text(CHARACTERS, max_size=12)


def encoded_length(text, unit):
    if unit == "codepoint":
        return len(text)
    encoding, size = {"utf-16": ("utf-16-le", 2), "utf-8": ("utf-8", 1)}[unit]
    return sum(len(character.encode(encoding, "surrogatepass")) // size for character in text)


@given(TEXTS, st.sampled_from(OFFSET_UNITS), st.data())
def test_offsets_count_what_is_in_front_of_them(text, unit, data):
    places = data.draw(st.lists(st.integers(0, len(text)), max_size=6))
    assert convert_offsets(text, places, unit) == [encoded_length(text[:place], unit) for place in places]


@given(TEXTS, st.sampled_from(OFFSET_UNITS), st.sampled_from(OFFSET_UNITS))
def test_offsets_are_converted_back(text, source, target):
    places = convert_offsets(text, range(len(text) + 1), source)
    there = convert_offsets(text, places, target, source)
    assert there == convert_offsets(text, range(len(text) + 1), target)
    assert convert_offsets(text, there, source, target) == places


def test_places_that_are_none_are_refused():
    with pytest.raises(ValueError, match="the offset 1, counted in utf-16 units, is inside a character"):
        convert_offsets("🎉a", [1], "codepoint", "utf-16")
    for wrong in (-1, 3):
        with pytest.raises(ValueError, match=f"offset {wrong}, .* is outside the text, whose length is 2"):
            convert_offsets("🎉a", [wrong], "utf-8")
    with pytest.raises(ValueError, match=r"offsets='utf8' must be one of \['codepoint', 'utf-16', 'utf-8'\]"):
        convert_offsets("a", [0], "utf8")
