import itertools

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from span_marker.core.windows import UNBOUNDED, pair_window, plan_windows


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


@given(texts())
def test_each_pair_belongs_to_the_window_that_gives_both_most_context(text):
    windows = plan_windows(*text)
    num_words = len(text[0])
    spans = [(start, end) for start in range(num_words) for end in range(start + 1, min(start + 3, num_words) + 1)]
    rng = np.random.default_rng(num_words)
    pairs = [(spans[head], spans[tail]) for head, tail in rng.integers(len(spans), size=(60, 2)).tolist()]
    bounds = np.array([(window.first, window.last) for window in windows])
    heads, tails = np.array(pairs).swapaxes(0, 1)
    for (head, tail), found in zip(pairs, pair_window(heads, tails, bounds).tolist(), strict=True):
        contexts = [min(context(window, *head), context(window, *tail)) for window in windows]
        best = max(contexts)
        assert found == (contexts.index(best) if best >= 0 else -1)
    assert pair_window(heads[:0], tails[:0], bounds).tolist() == []


def test_a_pair_of_one_entity_belongs_to_the_window_of_the_entity():
    starts = np.arange(60)
    windows = plan_windows(starts, starts + 1, starts[::7], 12, 4)
    spans = np.array([(start, end) for start in range(60) for end in range(start + 1, min(start + 4, 60) + 1)])
    found = pair_window(spans, spans, np.array([(window.first, window.last) for window in windows])).tolist()
    assert all(own(windows[index], *span) for index, span in zip(found, spans.tolist(), strict=True))


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
