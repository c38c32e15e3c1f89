import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st
from oracle import candidates

from span_marker.decoding import ScoredSpan, best_labels, decode_flat, to_array


def greedy(rows, outside):
    """Sort, then compare with everything that was kept."""
    kept = []
    for label, start, end, score in sorted(rows, key=lambda row: -row[3]):
        if label != outside and all(end <= other[1] or other[2] <= start for other in kept):
            kept.append((label, start, end, score))
    return sorted(kept, key=lambda row: row[1])


@given(st.data(), st.lists(st.integers(0, 6), min_size=1, max_size=4), st.integers(1, 4))
def test_flat_decoding_is_greedy(data, lengths, limit):
    sentences = [candidates(length, limit) for length in lengths]
    total = sum(len(spans) for spans in sentences)
    labels = data.draw(st.lists(st.integers(0, 2), min_size=total, max_size=total))
    # Few different scores, so that ties are common: the first candidate wins them.
    scores = [number / 8 for number in data.draw(st.lists(st.integers(0, 8), min_size=total, max_size=total))]
    spans = np.array([span for sentence in sentences for span in sentence], dtype=np.int64).reshape(-1, 2)
    counts = np.array([len(sentence) for sentence in sentences])
    found = decode_flat(np.array(labels, dtype=np.int64), np.array(scores, dtype=np.float32), spans, counts, 1)
    first = 0
    for sentence, kept in zip(sentences, found, strict=True):
        places = range(first, first + len(sentence))
        rows = [(labels[i], *span, scores[i]) for i, span in zip(places, sentence, strict=True)]
        assert [tuple(span) for span in kept] == greedy(rows, outside=1)
        first += len(sentence)


def test_best_labels_are_the_softmax_maximum():
    label_ids, scores = best_labels(torch.tensor([[0.0, np.log(3.0)], [5.0, 5.0]]))
    assert label_ids.tolist() == [1, 0]
    np.testing.assert_allclose(scores, [0.75, 0.5], rtol=1e-6)


def test_to_array():
    assert to_array([ScoredSpan(2, 0, 3, 0.5)]).tolist() == [[2, 0, 3]]
    assert to_array([]).shape == (0, 3)
