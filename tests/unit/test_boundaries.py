"""Boundaries of words without a model: marks belong to the letter before them."""

import unicodedata

from hypothesis import given
from hypothesis import strategies as st

from span_marker.core.boundaries import has_whole_words, is_inside_word, words_beside, words_of
from span_marker.core.graphemes import whole_spans

TEXTS = st.text(st.sampled_from("aZ1é_ .#\u0301\u0308\u200d\u0930\u093f\u0e01\u0e34👩💻"), max_size=12)
COMPOSED = st.text(st.sampled_from("aZ1éÍñ_ .#"), max_size=12)


@given(TEXTS)
def test_words_hold_all_that_is_visible_and_cut_no_grapheme(text):
    words = words_of(text)
    covered = {place for start, end in words for place in range(start, end)}
    assert {place for place, character in enumerate(text) if not character.isspace()} <= covered
    assert whole_spans(text, words) == words
    assert not any(is_inside_word(text, edge) for word in words for edge in word)


@given(COMPOSED)
def test_a_text_has_the_same_words_whether_composed_or_not(text):
    pieces = [unicodedata.normalize("NFD", character) for character in text]
    decomposed = "".join(pieces)
    starts = [sum(map(len, pieces[:place])) for place in range(len(pieces) + 1)]
    assert [(starts[start], starts[end]) for start, end in words_of(text)] == words_of(decomposed)
    for place, start in enumerate(starts):
        assert is_inside_word(text, place) == is_inside_word(decomposed, start)
        beside = [unicodedata.normalize("NFC", word) for word in words_beside(decomposed, start, start)]
        assert beside == list(words_beside(text, place, place))


@given(COMPOSED)
def test_a_place_is_inside_a_word_between_letters_and_digits_alone(text):
    for place in range(len(text) + 1):
        joined = 0 < place < len(text) and text[place - 1].isalnum() and text[place].isalnum()
        assert is_inside_word(text, place) == joined


def test_spans_of_whole_words():
    text = "in Garci\u0301a "
    whole = {(start, end) for start in range(-1, 12) for end in range(-1, 13) if has_whole_words(text, start, end)}
    assert whole == {(0, 2), (0, 10), (3, 10)}
