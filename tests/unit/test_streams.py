"""Streams: everything in order, in limited amounts, and nothing lost to an error."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from span_marker.core.streams import begun_ahead, blocks

GROUPS = st.lists(st.tuples(st.lists(st.integers(), min_size=1, max_size=4), st.integers(0, 9)), max_size=20)


def until(items, error):
    yield from items
    raise error


@given(GROUPS, st.integers(1, 6), st.integers(1, 20))
def test_blocks_have_everything_in_order_and_as_much_as_fits(groups, max_items, max_length):
    found = list(blocks(iter(groups), max_items, max_length))
    assert [item for block in found for item in block] == [item for group, _ in groups for item in group]
    assert all(found)
    assert all(len(block) <= max(max_items, *(len(group) for group, _ in groups)) for block in found)
    alone = list(blocks([([item], 0) for item in range(len(groups))], max_items))
    assert all(len(block) == max_items for block in alone[:-1])


@pytest.mark.parametrize("lengths", [[4, 6, 1, 50, 1], [9, 2, 8, 60, 3]])
def test_only_a_group_of_its_own_is_longer_than_a_block(lengths):
    found = list(blocks([([place], length) for place, length in enumerate(lengths)], 10, 10))
    assert all(len(block) == 1 or sum(lengths[place] for place in block) <= 10 for block in found)
    assert len(found) == 4


def test_a_full_block_does_not_wait_for_the_next_item():
    taken = []
    stream = blocks(((taken.append(number) or [number], 1) for number in range(9)), 3)
    assert (next(stream), taken) == ([0, 1, 2], [0, 1, 2])


@given(st.lists(st.integers(), max_size=9), st.integers(1, 4))
def test_an_error_is_raised_after_everything_before_it(items, limit):
    groups = (([item], 0) for item in until(items, LookupError("gone")))
    single = (item for block in blocks(groups, limit) for item in block)
    for stream in (single, begun_ahead(until(items, LookupError("gone")), limit)):
        found = []
        with pytest.raises(LookupError, match="gone"):
            found.extend(stream)
        assert found == items


def test_an_interrupt_ends_a_stream_at_once():
    for stream in (blocks(until([([1], 1)], KeyboardInterrupt()), 9), begun_ahead(until([1], KeyboardInterrupt()), 9)):
        with pytest.raises(KeyboardInterrupt):
            next(stream)


@given(st.lists(st.integers()), st.integers(1, 4))
def test_what_is_begun_ahead_is_a_limited_number_of_items_in_order(items, num_ahead):
    begun = []
    for number, item in enumerate(begun_ahead((begun.append(item) or item for item in items), num_ahead)):
        assert item == items[number]
        assert len(begun) == min(number + num_ahead, len(items))
    assert begun == items
