import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from oracle import candidates

from span_marker.core.spans import enumerate_spans, num_candidates, ranges, span_index

LENGTHS = st.lists(st.integers(0, 15), max_size=6)
LIMITS = st.integers(1, 12)


@given(LENGTHS, LIMITS)
def test_enumeration_equals_two_loops(lengths, limit):
    spans = enumerate_spans(np.array(lengths, dtype=np.int64), limit)
    expected = [span for length in lengths for span in candidates(length, limit)]
    assert list(zip(spans.starts.tolist(), spans.ends.tolist(), strict=True)) == expected
    assert spans.counts.tolist() == [len(candidates(length, limit)) for length in lengths]


@given(st.integers(0, 40), LIMITS)
def test_the_closed_form_counts_what_is_enumerated(length, limit):
    count = num_candidates(length, limit)
    assert count == len(candidates(length, limit))
    assert type(count) is int


@given(st.integers(1, 15), LIMITS)
def test_an_index_finds_its_span(length, limit):
    spans = np.array(candidates(length, limit))
    index = span_index(spans[:, 0], spans[:, 1], np.full(len(spans), length), limit)
    assert index.tolist() == list(range(len(spans)))


@given(LENGTHS)
def test_ranges(counts):
    expected = [number for count in counts for number in range(count)]
    assert ranges(np.array(counts, dtype=np.int64)).tolist() == expected
