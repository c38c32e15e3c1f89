"""Boundaries of words without a model: marks belong to the letter before them."""

import unicodedata

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from span_marker.core.boundaries import (
    LARGEST_SLIP,
    has_whole_words,
    is_inside_word,
    is_unspaced,
    snap,
    words_beside,
    words_of,
)
from span_marker.core.graphemes import whole_spans

TEXTS = st.text(st.sampled_from("aZ1é_ .#\u0301\u0308\u200d\u0930\u093f\u0e01\u0e34👩💻"), max_size=12)
COMPOSED = st.text(st.sampled_from("aZ1éÍñ_ .#"), max_size=12)


@given(TEXTS)
def test_words_hold_all_that_is_visible_and_cut_no_grapheme(text):
    words = words_of(text)
    covered = {place for start, end in words for place in range(start, end)}
    assert {place for place, character in enumerate(text) if not character.isspace()} <= covered
    assert whole_spans(text, words) == words
    edges = [edge for word in words for edge in word if is_inside_word(text, edge)]
    assert all(is_unspaced(text, edge) for edge in edges)


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


@pytest.mark.parametrize(
    ("text", "unspaced"),
    [
        ("東京に行く。", [1, 2, 3, 4]),
        ("서울 에서", [1, 4]),
        ("กรุง", [1, 2, 3]),
        ("Annは", [3]),
        ("ｶﾞｽ", [1, 2]),
        ("Zoë a2", []),
        ("मुंबई में", []),
    ],
)
def test_places_where_words_have_no_spaces_between_them(text, unspaced):
    assert [place for place in range(-1, len(text) + 2) if is_unspaced(text, place)] == unspaced


@given(st.integers(0, 20), st.integers(1, 20), st.lists(st.tuples(st.integers(0, 3), st.integers(1, 9)), max_size=8))
def test_edges_move_to_the_nearest_ends_of_words(start, length, gaps):
    words, place = [], 0
    for gap, size in gaps:
        words.append((place + gap, place + gap + size))
        place = words[-1][1]
    end = start + length
    snapped = snap(start, end, words)
    inside = [word for word in words if set(range(*word)) & set(range(start, end))]
    parts = [np.isin(np.arange(first, last), np.arange(start, end)) for first, last in inside]
    kept = [word for word, part in zip(inside, parts, strict=True) if part.mean() >= 0.5]
    num_lost = max((int(part.sum()) for part in parts if part.mean() < 0.5), default=0)
    if not kept or num_lost > LARGEST_SLIP:
        assert snapped is None
        return
    assert snapped == (kept[0][0], kept[-1][1])
    assert snap(*snapped, words) == snapped
