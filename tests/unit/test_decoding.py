from itertools import combinations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from span_marker.core.decoding import DECODINGS, RULES, Decoder, ScoredSpan, likely_labels, probabilities, select


@st.composite
def sentences(draw, max_spans=7):
    """Labels of candidates, some equal in score, some on the same span."""
    found = draw(
        st.lists(
            st.tuples(st.integers(1, 3), st.integers(0, 7), st.integers(1, 4), st.integers(1, 8)),
            max_size=max_spans,
            unique_by=lambda row: row[:3],
        )
    )
    spans = [ScoredSpan(label, start, start + length, score / 8) for label, start, length, score in found]
    return sorted(spans, key=lambda span: (span.start, span.end, span.label_id))


def overlaps(one, other):
    return one.start < other.end and other.start < one.end


def crosses(one, other):
    return one.start < other.start < one.end < other.end or other.start < one.start < other.end < one.end


def greedy(spans, conflict):
    """Sort, then compare with everything that was kept."""
    kept = []
    for span in sorted(spans, key=lambda span: -span.score):
        if not any(conflict(span, other) for other in kept):
            kept.append(span)
    return sorted(kept, key=lambda span: (span.start, span.end, span.label_id))


@given(sentences(max_spans=12))
def test_flat_decoding_is_greedy(spans):
    assert select(spans, "flat") == greedy(spans, overlaps)


@given(sentences(max_spans=12))
def test_nested_decoding_is_greedy(spans):
    assert select(spans, "nested") == greedy(spans, crosses)


@given(sentences())
def test_optimal_decoding_has_the_largest_sum_of_all_flat_choices(spans):
    kept = select(spans, "flat-optimal")
    assert not any(overlaps(*pair) for pair in combinations(kept, 2))
    choices = (choice for size in range(len(spans) + 1) for choice in combinations(spans, size))
    flat = (choice for choice in choices if not any(overlaps(*pair) for pair in combinations(choice, 2)))
    assert sum(span.score for span in kept) == max(sum(span.score for span in choice) for choice in flat)


@given(sentences())
def test_overlapping_decoding_keeps_everything(spans):
    assert select(spans, "overlapping") == spans


@given(sentences(), st.sampled_from(DECODINGS))
def test_results_stand_in_order_of_their_words(spans, decoding):
    kept = select(spans, decoding)
    assert kept == sorted(kept, key=lambda span: (span.start, span.end, span.label_id))
    assert set(kept) <= set(spans)


def test_an_unknown_decoding():
    with pytest.raises(ValueError, match="decoding='best' must be one of 'flat', 'flat-optimal', 'nested', 'overl"):
        select([], "best")


def test_probabilities_are_those_of_softmax_or_of_each_class():
    logits = torch.tensor([[0.0, np.log(3.0)], [5.0, 5.0]])
    np.testing.assert_allclose(probabilities(logits, multi_label=False), [[0.25, 0.75], [0.5, 0.5]], rtol=1e-6)
    np.testing.assert_allclose(probabilities(logits, multi_label=True)[0], [0.5, 0.75], rtol=1e-6)


OUTSIDE = 0
FOUR = np.array([[0.5, 0.3, 0.2], [0.1, 0.4, 0.5], [0.35, 0.35, 0.3], [0.9, 0.05, 0.05]], dtype=np.float32)


def proposals(thresholds=None, multi_label=False):
    thresholds = None if thresholds is None else np.array(thresholds, dtype=np.float32)
    spans, labels = likely_labels(FOUR, OUTSIDE, thresholds, multi_label)
    return list(zip(spans.tolist(), labels.tolist(), strict=True))


def test_without_thresholds_the_most_probable_class_decides():
    assert proposals() == [(1, 2)]


def test_thresholds_replace_the_comparison_with_outside():
    assert proposals([1, 0.3, 0.3]) == [(0, 1), (1, 2), (2, 1)]
    assert proposals([1, 0.3, 0.6]) == [(0, 1), (1, 1), (2, 1)]
    assert proposals([0, 1, 1]) == []


def test_a_multi_label_model_proposes_every_label_that_is_likely():
    assert proposals(multi_label=True) == [(1, 2)]
    assert proposals([1, 0.3, 0.3], multi_label=True) == [(0, 1), (1, 1), (1, 2), (2, 1), (2, 2)]


def test_a_decoder_proposes_for_each_sentence():
    logits = torch.log(torch.from_numpy(FOUR)) * 2
    words, counts = torch.tensor([[0, 1], [0, 2], [1, 2], [5, 6]]), torch.tensor([2, 0, 2])
    thresholds = np.array([1, 0.25, 0.25], dtype=np.float32)  # unlike any probability, which is rounded here
    decoder = Decoder(OUTSIDE, temperature=2.0, thresholds=thresholds)
    found = [[span[:3] for span in spans] for spans in decoder.propose(logits, words, counts)]
    assert found == [[(1, 0, 1), (2, 0, 2)], [], [(1, 1, 2)]]
    (first, _), _, _ = Decoder(OUTSIDE, temperature=2.0, thresholds=decoder.thresholds, keeps_all_scores=True).propose(
        logits, words, counts
    )
    # Logarithms below 2.4 that are off by eps, and so factors of the scores; and a few roundings of the softmax.
    assert first.all_scores == pytest.approx(FOUR[0], rel=8 * torch.finfo(torch.float32).eps, abs=0)
    assert first.score == first.all_scores[1]


def test_every_name_has_a_rule():
    assert set(RULES) == set(DECODINGS)


def test_a_label_without_a_threshold_must_be_the_most_probable_class():
    scores = np.random.default_rng(0).dirichlet(np.ones(4), 200).astype(np.float32)
    plain = likely_labels(scores, 0, None, multi_label=False)
    without = likely_labels(scores, 0, np.full(4, np.nan, dtype=np.float32), multi_label=False)
    assert [part.tolist() for part in without] == [part.tolist() for part in plain]
    last_only = np.float32([np.nan, np.nan, np.nan, 0.25])
    spans, labels = likely_labels(scores, 0, last_only, multi_label=False)
    proposed = dict(zip(spans.tolist(), labels.tolist(), strict=True))
    for span, chances in enumerate(scores):
        allowed = [label for label in (1, 2) if chances.argmax() == label] + [3] * bool(chances[3] >= 0.25)
        assert proposed.get(span) == max(allowed, key=chances.__getitem__, default=None)
    several = np.float32([[0.1, 0.5, 0.4, 0.3]])
    assert likely_labels(several, 0, last_only, multi_label=True)[1].tolist() == [1, 3]
