"""Words of strings: every character in one word, by Unicode's rules, by ICU's, and character by character."""

import unicodedata
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from span_marker.core.words import character_words, has_icu, icu_words, surroundings, unicode_words

FUNCTIONS = [unicode_words, character_words]
if has_icu():
    FUNCTIONS.append(icu_words)

TEXTS = st.text(
    st.sampled_from(
        "aZ5'.,-_ \n\t\u00a0\u3000\u0301\u200b\u200d\u00ad\ufeff\x1c\x85\u6771\u4eac\u30bf\u30ef\u30fc\u306b\u0e2a"
        "\u0e27\u0e31\u0e14\u0e35\u179f\u17bd\u17d2\u178f\uc11c\uc6b8\u0939\u093f\U0001f469\U0001f3fd\ufffd"
    )
    | st.characters(exclude_categories=["Cs"]),
    max_size=12,
)


def strings(places, text):
    return [text[start:end] for start, end in places]


@pytest.mark.parametrize("function", FUNCTIONS)
@given(TEXTS)
def test_every_character_but_white_space_is_in_one_word(function, text):
    places = function(text)
    assert all(start < end for start, end in places)
    assert all(first[1] <= second[0] for first, second in pairwise(places))
    between = [0, *(place for bounds in places for place in bounds), len(text)]
    assert all(not text[start:end].strip() for start, end in zip(between[::2], between[1::2], strict=True))


@pytest.mark.parametrize("function", FUNCTIONS)
@given(TEXTS)
def test_no_word_has_white_space(function, text):
    assert not any(character.isspace() for character in "".join(strings(function(text), text)))


@pytest.mark.parametrize("function", FUNCTIONS)
@given(st.sampled_from("ae\u6771\u0e2a\uc11c"), st.sampled_from("\u0301\u0e31\u0e35\u200d"))
def test_combining_marks_stay_with_their_character(function, letter, mark):
    assert unicodedata.category(mark) in ("Mn", "Cf")
    assert strings(function(f"b {letter}{mark} b"), f"b {letter}{mark} b") == ["b", letter + mark, "b"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("The U.S. don't buy 3.5 t.", ["The", "U.S", ".", "don't", "buy", "3.5", "t", "."]),
        ("\u30bf_a", ["\u30bf", "_a"]),
        ("foo_bar (a-b)", ["foo_bar", "(", "a", "-", "b", ")"]),
        ("\u6771\u4eac\u30bf\u30ef\u30fc\u306bBMW\u3002", [*"\u6771\u4eac\u30bf\u30ef\u30fc\u306b", "BMW", "\u3002"]),
        ("\u0e2a\u0e27\u0e31\u0e2a\u0e14\u0e35", ["\u0e2a", "\u0e27\u0e31", "\u0e2a", "\u0e14\u0e35"]),
        ("\uc11c\uc6b8\uc5d0\uc11c \uc654\ub2e4", ["\uc11c\uc6b8\uc5d0\uc11c", "\uc654\ub2e4"]),
    ],
)
def test_unicode_words(text, words):
    assert strings(unicode_words(text), text) == words


def test_characters_have_their_joiners():
    family = "\U0001f469\u200d\U0001f469\u200d\U0001f467"
    assert strings(character_words(f"e\u0301 {family}!"), f"e\u0301 {family}!") == ["e\u0301", family, "!"]


@pytest.mark.skipif(not has_icu(), reason="needs PyICU")
def test_icu_has_dictionaries_and_counts_characters():
    text = "\U0001f469 \u0e2a\u0e27\u0e31\u0e2a\u0e14\u0e35\u0e0a\u0e32\u0e27\u0e42\u0e25\u0e01 \u6771\u4eac\u90fd"
    words = strings(icu_words(text), text)
    assert words[0] == "\U0001f469"
    assert "\u0e2a\u0e27\u0e31\u0e2a\u0e14\u0e35" in words
    assert len(words) < len(unicode_words(text))


@pytest.mark.skipif(has_icu(), reason="tests what happens without PyICU")
def test_icu_is_asked_for_if_it_is_missing():
    with pytest.raises(ValueError, match="word_splitter='icu' needs PyICU"):
        icu_words("a")


@given(st.text("ab ", max_size=30), st.data())
def test_surroundings_are_whole_words_where_the_limit_allows_it(text, data):
    start = data.draw(st.integers(0, len(text)))
    end, limit = data.draw(st.integers(start, len(text))), data.draw(st.integers(0, 12))
    first, last = surroundings(text, start, end, limit)
    assert max(start - limit, 0) <= first <= start <= end <= last <= min(end + limit, len(text))
    assert first == 0 or text[first - 1] == " " or " " not in text[first:start]
    assert last == len(text) or text[last] == " " or " " not in text[end:last]
