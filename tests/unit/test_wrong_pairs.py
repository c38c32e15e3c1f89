import numpy as np
import pytest

import span_marker.core.wrong_pairs
from span_marker.core.wrong_pairs import GOLD_PER_WRONG, LabelledPairs, add_wrong_pairs, wrong_pairs


@pytest.mark.parametrize("num_gold", [0, 1, GOLD_PER_WRONG, GOLD_PER_WRONG + 1, 3 * GOLD_PER_WRONG])
def test_wrong_spans_are_those_with_the_highest_scores(num_gold):
    rng = np.random.default_rng(num_gold)
    is_gold = rng.permutation(np.arange(40) < num_gold)
    scores = rng.permutation(40)
    num_wrong = -(-num_gold // GOLD_PER_WRONG)
    wrong = sorted(np.flatnonzero(~is_gold), key=lambda span: -scores[span])[:num_wrong]
    spans = {*np.flatnonzero(is_gold).tolist(), *map(int, wrong)}
    expected = {(a, b) for a in spans for b in spans if a != b and not (is_gold[a] and is_gold[b])}
    found = wrong_pairs(is_gold, scores)
    assert found.shape == (len(expected), 2)
    assert set(map(tuple, found.tolist())) == expected


def test_wrong_pairs_follow_those_of_their_sentence(monkeypatch):
    pairs = LabelledPairs(np.arange(16).reshape(4, 4) + 100, np.array([2, 0, 2]), np.array([1, 0, 0, 2]))
    is_gold = np.array([True, True, False, True, False, True, True, False])
    tokens = np.stack([np.arange(8), np.arange(8)], axis=1)
    found = add_wrong_pairs(pairs, is_gold, np.zeros(8), tokens, np.array([3, 2, 3]))
    assert found.counts.tolist() == [6, 0, 6]
    assert found.labels.tolist() == [1, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0]
    rows = found.tokens.tolist()
    assert (rows[:2], rows[6:8]) == (pairs.tokens[:2].tolist(), pairs.tokens[2:].tolist())
    assert {tuple(row[::2]) for row in rows[2:6]} == {(0, 2), (1, 2), (2, 0), (2, 1)}
    assert {tuple(row[::2]) for row in rows[8:]} == {(5, 7), (6, 7), (7, 5), (7, 6)}
    assert pairs.counts.tolist() == [2, 0, 2]
    monkeypatch.setattr(span_marker.core.wrong_pairs, "MAX_PAIRS", 3)
    assert add_wrong_pairs(pairs, is_gold, np.zeros(8), tokens, np.array([3, 2, 3])).counts.tolist() == [3, 0, 3]
