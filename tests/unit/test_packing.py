"""Groups and rows of packed sentences, against naive ways to find them."""

from itertools import pairwise

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from span_marker.core.packing import (
    COPIED_SCORES,
    GROUP_COST,
    SMALL_GROUP,
    cheap_groups,
    first_rows,
    rows_of,
    similar_lengths,
    tabulate,
)

LENGTHS = st.lists(st.sampled_from([0, 1, 2, 7, 20, 63, 64, 65, 130, 300]), min_size=1, max_size=12)


@given(LENGTHS, st.sampled_from([1, 40, 130, 1000]))
def test_groups_are_similar_and_bounded(lengths, max_rows):
    groups = similar_lengths(lengths, max_rows)
    assert sorted(index for group in groups for index in group) == [i for i, length in enumerate(lengths) if length]
    for group in groups:
        own = [lengths[index] for index in group]
        assert own == sorted(own, reverse=True)
        assert len(own) == 1 or sum(own) <= max_rows
        assert own[0] <= SMALL_GROUP or 2 * own[-1] >= own[0]


@given(LENGTHS)
def test_as_few_groups_as_can_be_unless_they_are_bounded(lengths):
    """A group ends only where the next sentence does not belong to it."""
    groups = similar_lengths(lengths)
    for before, after in pairwise(groups):
        longest, following = lengths[before[0]], lengths[after[0]]
        assert longest > SMALL_GROUP
        assert 2 * following < longest


@given(st.lists(st.tuples(st.sampled_from([0, 2, 4, 10, 30, 78]), st.integers(1, 128)), min_size=1, max_size=64))
def test_padding_costs_no_more_than_another_group(sentences):
    def padding(group):
        rows, keys = zip(*(sentences[index] for index in group), strict=True)
        scores = sum(k * (r + COPIED_SCORES) for r, k in zip(rows, keys, strict=True))
        return len(group) * max(keys) * (max(rows) + COPIED_SCORES) - scores

    groups = cheap_groups(*zip(*sentences, strict=True))
    assert sorted(index for group in groups for index in group) == [i for i, (rows, _) in enumerate(sentences) if rows]
    for group in groups:
        assert padding(group) <= GROUP_COST
    for before, after in pairwise(groups):
        assert sentences[before[-1]][1] >= sentences[after[0]][1]
        assert padding([*before, after[0]]) > GROUP_COST  # it ends only where the next one would cost too much


@given(LENGTHS, st.randoms())
def test_rows_and_tables(lengths, random):
    firsts, sentences = first_rows(lengths), list(range(len(lengths)))
    random.shuffle(sentences)
    expected = [list(range(firsts[index], firsts[index] + lengths[index])) for index in sentences]
    assert rows_of(sentences, firsts, lengths).tolist() == [row for rows in expected for row in rows]
    table, places, key_mask = tabulate([firsts[index] for index in sentences], [lengths[index] for index in sentences])
    assert table.shape == (len(lengths), max(lengths))
    assert table.flatten()[places].tolist() == [row for rows in expected for row in rows]
    if max(lengths):
        assert (key_mask.sum(axis=(1, 2)) == np.maximum([lengths[index] for index in sentences], 1)).all()
        assert (table < max(sum(lengths), 1)).all()
