import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from span_marker.core.context import context_sizes

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


@given(st.lists(st.integers(0, 6), max_size=9), st.integers(0, 30), LIMITS, LIMITS)
def test_context_is_that_of_the_description(lengths, room, max_prev, max_next):
    ends = np.cumsum(lengths, dtype=np.int64)
    sentences = [list(range(end - length, end)) for end, length in zip(ends, lengths, strict=True)]
    sizes = context_sizes(np.array(lengths, dtype=np.int64), room, max_prev, max_next)
    for index, (num_before, num_after) in enumerate(zip(*sizes, strict=True)):
        before, after = by_the_book(sentences, index, room, max_prev, max_next)
        start, end = ends[index] - lengths[index], ends[index]
        assert list(range(start - num_before, start)) == before
        assert list(range(end, end + num_after)) == after


def test_context_without_limits_is_the_document():
    num_before, num_after = context_sizes(np.array([2, 1, 2, 1]), 100)
    assert num_before.tolist() == [0, 2, 3, 5]
    assert num_after.tolist() == [4, 3, 1, 0]


def test_a_document_of_many_empty_sentences_takes_no_longer_than_one_of_few():
    """Walking from each sentence until the room is full would take 10^10 steps here."""
    lengths = np.zeros(100_000, dtype=np.int64)
    lengths[[0, -1]] = 3
    num_before, num_after = context_sizes(lengths, 5)
    assert num_before[1:-1].tolist() == [3] * 49_999 + [2] * 49_999  # the nearer end of the document is whole
    assert num_after[1:-1].tolist() == [2] * 49_999 + [3] * 49_999
