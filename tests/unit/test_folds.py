"""Folds for cross-validation: their sizes, and how labels are spread over them."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from span_marker.core.folds import assign_folds


@st.composite
def groups(draw):
    """Sizes and counts of groups, and a number of folds that they suffice for."""
    sizes = draw(st.lists(st.integers(1, 20), min_size=2, max_size=40))
    num_labels = draw(st.integers(0, 4))
    counts = [draw(st.lists(st.integers(0, 5), min_size=num_labels, max_size=num_labels)) for _ in sizes]
    shape = (len(sizes), num_labels)
    return np.array(sizes), np.array(counts, dtype=int).reshape(shape), draw(st.integers(2, len(sizes)))


@given(groups(), st.integers(0, 3))
def test_sizes_differ_by_at_most_the_largest_group_and_no_fold_is_empty(drawn, seed):
    sizes, counts, num_folds = drawn
    folds = assign_folds(sizes, counts, num_folds, seed)
    assert folds.shape == sizes.shape
    assert set(folds) == set(range(num_folds))
    fold_sizes = np.bincount(folds, weights=sizes)
    assert fold_sizes.max() - fold_sizes.min() <= sizes.max()
    assert (folds == assign_folds(sizes, counts, num_folds, seed)).all()


@given(st.lists(st.integers(0, 4), min_size=2, max_size=60), st.data())
def test_single_entities_of_each_label_differ_by_at_most_one(labels, data):
    num_folds = data.draw(st.integers(2, len(labels)))
    counts = np.eye(5, dtype=int)[labels][:, :4]  # the last stands for sentences without an entity
    folds = assign_folds(np.ones(len(labels), dtype=int), counts, num_folds, seed=data.draw(st.integers(0, 3)))
    per_fold = np.array([counts[folds == fold].sum(axis=0) for fold in range(num_folds)])
    assert (per_fold.max(axis=0) - per_fold.min(axis=0) <= 1).all()
    assert np.ptp(np.bincount(folds)) <= 1


def test_a_long_document_is_made_up_for_by_short_ones():
    sizes = np.array([1] * 50 + [50] + [1] * 50)
    folds = assign_folds(sizes, np.zeros((101, 0), dtype=int), 3, seed=0)
    assert sorted(np.bincount(folds, weights=sizes)) == [50, 50, 50]


def test_sizes_come_before_labels():
    counts = np.array([[5], [1], [1], [1], [1], [1]])  # by labels alone, one against five
    assert np.bincount(assign_folds(np.ones(6, dtype=int), counts, 2, seed=0)).tolist() == [3, 3]


def test_the_rarest_label_comes_before_the_others():
    counts = np.array([[2, 0], [1, 3], [1, 1], [0, 1]])
    folds = assign_folds(np.ones(4, dtype=int), counts, 2, seed=0)
    assert folds[0] != folds[1]
    assert folds[2] == folds[1]  # which has fewer entities of the first label, but more of the second


def spread(folds, counts, num_folds):
    """Standard deviation of each label's entities over the folds, as a share of their mean, added up."""
    per_fold = np.array([counts[folds == fold].sum(axis=0) for fold in range(num_folds)])
    return (per_fold.std(axis=0) / per_fold.mean(axis=0)).sum()


@pytest.mark.parametrize("largest", [1, 8])
def test_labels_are_spread_more_evenly_than_by_chance(largest):
    generator = np.random.default_rng(0)
    sizes = generator.integers(1, largest, size=100, endpoint=True)
    counts = generator.poisson(np.outer(sizes, [1.5, 0.5, 0.2, 0.05]))
    by_rule = spread(assign_folds(sizes, counts, 5, seed=0), counts, 5)
    by_chance = [spread(generator.permutation(100) % 5, counts, 5) for _ in range(200)]
    assert by_rule < min(by_chance)


def test_another_seed_makes_other_folds():
    sizes, counts = np.ones(30, dtype=int), np.zeros((30, 0), dtype=int)
    assert (assign_folds(sizes, counts, 3, seed=0) != assign_folds(sizes, counts, 3, seed=1)).any()
