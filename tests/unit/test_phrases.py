"""Phrases in texts: whole words, whatever stands around them, in one pass."""

import sys
import unicodedata

import pytest
import regex
from hypothesis import example, given
from hypothesis import strategies as st

from span_marker.core.graphemes import whole_spans
from span_marker.core.phrases import Folding, PhraseMatcher, phrase_key, place_phrase_words
from span_marker.data.entity_strings import _is_whole

PARTS = [
    "a",
    "b",
    "A",
    "1",
    "_",
    "-",
    " ",
    "  ",
    "\n",
    "'",
    "\xe9",
    "e\u0301",
    "\u0301",
    "\u6771",
    "\u4eac",
    "\u0e01",
    "\U0001f600",
]
texts = st.lists(st.sampled_from(PARTS), max_size=12).map("".join)
foldings = st.builds(Folding, st.booleans(), st.booleans())


def fold(text, folding):
    """A word without what does not count."""
    text = unicodedata.normalize("NFD", text)
    if folding.ignore_diacritics:
        text = regex.sub(r"\p{Mn}", "", text)
    text = unicodedata.normalize("NFC", text)
    return unicodedata.normalize("NFC", text.casefold()) if folding.ignore_case else text


def find_naively(phrases, text, folding):
    """Compare every phrase with the words at every place."""

    def words_of(string):
        return [fold(string[start:end], folding) for start, end in place_phrase_words(string)]

    words, places, found, at = words_of(text), place_phrase_words(text), [], 0
    wanted = [words_of(phrase) for phrase in phrases]
    while at < len(words):
        here = [phrase for phrase in wanted if words[at : at + len(phrase)] == phrase]
        longest = max(here, key=len, default=None)
        if longest is not None:
            found.append((wanted.index(longest), places[at][0], places[at + len(longest) - 1][1]))
        at += len(longest or [0])
    return found


@given(st.lists(texts, max_size=5), texts, foldings)
@example(["a b", "a"], "a ba", Folding())
@example(["a"], "a a", Folding())
@example(["\xe9"], "E\u0301 e", Folding(ignore_case=True))
def test_it_finds_what_a_naive_search_finds(phrases, text, folding):
    keys = {phrase_key(phrase, folding): phrase for phrase in phrases}
    keys.pop("", None)
    found = PhraseMatcher(list(keys)).find(text, folding)
    assert found == find_naively(list(keys.values()), text, folding)
    assert whole_spans(text, [match[1:] for match in found]) == [match[1:] for match in found]


lone_marks_left_out = st.lists(st.sampled_from([part for part in PARTS if part != "\u0301"]), max_size=12).map("".join)


@given(*[lone_marks_left_out] * 3)
def test_words_are_whole_as_elsewhere(before, phrase, after):
    text = before + phrase + after
    key = phrase_key(phrase, Folding())
    found = PhraseMatcher([key]).find(text, Folding()) if key else []
    assert all(_is_whole(text, start, end) for _, start, end in found)


@given(st.text())
def test_words_have_everything_but_white_space(text):
    places = place_phrase_words(text)
    assert all(start < end for start, end in places)
    for start, end in reversed(places):
        text = text[:start] + text[end:]
    assert not text.strip()


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("Ann's", ["Ann"]),
        ("Anna", []),
        ("Ann_1 (Ann)", ["Ann", "Ann"]),
        ("Mary  Ann\nAnn", ["Ann", "Ann"]),
        ("\u6771\u4eacAnn\u6771\u4eac", ["Ann"]),
        ("Ann\u0301", []),
        ("An\u00adn Ann", ["Ann"]),
    ],
)
def test_whole_words(text, found):
    matches = PhraseMatcher([phrase_key("Ann", Folding())]).find(text, Folding())
    assert [text[start:end] for _, start, end in matches] == found


def test_the_error_names_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "ahocorasick_rs", None)
    with pytest.raises(ImportError, match="pip install ahocorasick-rs, or install span_marker with the extra 'rules'"):
        PhraseMatcher(["a"])
