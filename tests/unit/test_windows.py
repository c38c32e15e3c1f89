import itertools

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from span_marker.core.windows import UNBOUNDED, plan_windows


@st.composite
def texts(draw):
    """Words of few and many tokens, some without any, where sentences begin, and room for some of them."""
    sizes = draw(st.lists(st.sampled_from([0, 1, 1, 1, 2, 3, 30]), min_size=1, max_size=60))
    ends = np.cumsum(sizes)
    begins = sorted(draw(st.sets(st.integers(1, len(sizes)), max_size=12)))
    return ends - sizes, ends, np.array(begins, dtype=np.int64), draw(st.integers(1, 25)), draw(st.integers(1, 6))


def context(window, start, end):
    return min(start - window.first, window.last - end)


def own(window, start, end):
    return window.above < start + end <= window.up_to


@given(texts())
def test_windows_hold_every_word_and_fit_the_room(text):
    starts, ends, _, room, _ = text
    windows = plan_windows(*text)
    assert (windows[0].first, windows[-1].last) == (0, len(starts))
    for window in windows:
        assert window.first < window.last
        tokens = ends[window.last - 1] - starts[window.first]
        too_long = (ends - starts)[window.last - 1] > room and starts[window.last - 1] == starts[window.first]
        assert tokens <= room or too_long
    for window, following in itertools.pairwise(windows):
        assert window.first < following.first <= window.last < following.last


@given(texts())
def test_each_candidate_belongs_to_the_window_that_gives_it_most_context(text):
    starts, ends, _, room, entity_max_length = text
    windows = plan_windows(*text)
    for start in range(len(starts)):
        for end in range(start + 1, min(start + entity_max_length, len(starts)) + 1):
            (owner,) = [window for window in windows if own(window, start, end)]
            best = max(context(window, start, end) for window in windows)
            # The ends of the text are no lack of context, so that they do not count.
            assert context(owner, start, end) == best or owner in (windows[0], windows[-1])
            if ends[end - 1] - starts[start] <= room:
                assert context(owner, start, end) >= 0


def test_windows_end_and_begin_with_sentences():
    starts = np.arange(100)
    windows = plan_windows(starts, starts + 1, np.arange(0, 100, 4) + 3, 20, 5)
    assert all(window.last % 4 == 3 for window in windows[:-1])
    assert all(window.first % 4 == 3 for window in windows[1:])


def test_a_text_that_fits_is_one_window():
    starts = np.arange(20)
    assert plan_windows(starts, starts + 1, np.array([10]), 20, 5) == [(0, 20, *UNBOUNDED)]


def test_a_huge_word_makes_few_windows():
    sizes = np.array([1] * 50 + [1000] + [1] * 50)
    ends = np.cumsum(sizes)
    windows = plan_windows(ends - sizes, ends, np.empty(0, dtype=np.int64), 20, 5)
    assert (50, 51) in [(window.first, window.last) for window in windows]
    assert len(windows) < 15
