"""Pairs of text in windows: each that may have a relation is scored once, dropped, or in no window."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import span_marker.core.relations
from span_marker.core.relations import NO_RELATION, RelationRules
from span_marker.core.window_pairs import count_pairs, pairs_in_windows

CLASSES = ["O", "LOC", "PER"]
TYPES = [["PER", "a", "LOC"], ["LOC", "b", "LOC"], ["PER", "c", "PER"]]


@st.composite
def texts(draw):
    """Rules, entities, some of them with the same words, and windows."""
    symmetric = draw(st.sets(st.sampled_from("abc")))
    types = draw(st.sampled_from([None, TYPES, []]))
    rules = RelationRules.from_labels([NO_RELATION, *"abc"], CLASSES, symmetric, types)
    span = st.tuples(st.integers(1, 2), st.integers(0, 20), st.integers(1, 3))
    spans = [(label, start, start + n) for label, start, n in draw(st.lists(span, max_size=12, unique=True))]
    step, size = draw(st.integers(1, 6)), draw(st.integers(6, 12))
    windows = [(first, first + size) for first in range(0, 24, step)]
    return rules, np.array(spans, dtype=np.int64).reshape(-1, 3), np.array(windows)


def context(window, *spans):
    return min(min(start - window[0], window[1] - end) for _, start, end in spans)


@given(texts())
def test_each_pair_is_in_the_window_with_the_most_context_or_in_none(text):
    rules, spans, windows = text
    pairs, num_dropped, num_separate = pairs_in_windows(rules, spans, windows)
    assert len(pairs) == len(windows)
    found = {(*pair,): index for index, own in enumerate(pairs) for pair in own.tolist()}
    assert len(found) == sum(map(len, pairs))
    expected = {}
    allowed = [(head, tail) for head, tail in rules.allowed_pairs(spans).tolist()]
    for head, tail in allowed:
        contexts = [context(window, spans[head], spans[tail]) for window in windows.tolist()]
        if max(contexts) >= 0:
            expected[head, tail] = contexts.index(max(contexts))
    assert found == expected
    assert (num_dropped, num_separate) == (0, len(allowed) - len(expected))


@given(texts())
def test_pairs_are_counted_without_listing_them(text):
    rules, spans, _ = text
    assert count_pairs(rules, spans) == len(rules.allowed_pairs(spans))


@given(texts(), st.integers(1, 5))
def test_what_is_beyond_the_limit_of_a_window_is_counted(text, limit):
    rules, spans, windows = text
    everything, _, num_separate = pairs_in_windows(rules, spans, windows)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(span_marker.core.relations, "MAX_PAIRS", limit)
        pairs, num_dropped, also_separate = pairs_in_windows(rules, spans, windows)
    assert also_separate == num_separate
    assert num_dropped == sum(max(len(own) - limit, 0) for own in everything)
    for own, every in zip(pairs, everything, strict=True):
        assert {*map(tuple, own.tolist())} <= {*map(tuple, every.tolist())}
        assert len(own) == min(len(every), limit)
