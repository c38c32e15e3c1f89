import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from span_marker.context import surround

LIMITS = st.one_of(st.none(), st.integers(0, 3))


def by_the_book(sentences, index, room, max_prev, max_next):
    """Next sentence, previous sentence, next but one, ... one token list at a time."""
    before, after = [], []
    room -= len(sentences[index])
    for distance in range(1, len(sentences)):
        following, preceding = index + distance, index - distance
        if following < len(sentences) and (max_next is None or distance <= max_next):
            taken = sentences[following][: max(room, 0)]
            after += taken
            room -= len(taken)
        if preceding >= 0 and (max_prev is None or distance <= max_prev):
            taken = sentences[preceding][len(sentences[preceding]) - min(max(room, 0), len(sentences[preceding])) :]
            before = taken + before
            room -= len(taken)
    return before, after


@given(st.data(), st.lists(st.integers(0, 6), min_size=1, max_size=7), st.integers(1, 30), LIMITS, LIMITS)
def test_context_is_that_of_the_description(data, lengths, room, max_prev, max_next):
    ends = np.cumsum(lengths)
    sentences = [list(range(end - length, end)) for end, length in zip(ends, lengths, strict=True)]
    index = data.draw(st.integers(0, len(sentences) - 1))
    arrays = [np.array(sentence, dtype=np.int64) for sentence in sentences]
    before, after = surround(arrays, index, room, max_prev, max_next)
    assert (before.tolist(), after.tolist()) == by_the_book(sentences, index, room, max_prev, max_next)


def test_context_without_limits_is_the_document():
    document = [np.array([1, 2]), np.array([3]), np.array([4, 5]), np.array([6])]
    for index in range(4):
        before, after = surround(document, index, 100)
        assert np.concatenate([before, document[index], after]).tolist() == [1, 2, 3, 4, 5, 6]


def test_the_sentence_that_no_longer_fits_is_cut():
    document = [np.array([1, 2, 3]), np.array([4]), np.array([5, 6, 7])]
    before, after = surround(document, 1, 6)
    assert (before.tolist(), after.tolist()) == ([2, 3], [5, 6, 7])
    before, after = surround(document, 1, 3)
    assert (before.tolist(), after.tolist()) == ([], [5, 6])
