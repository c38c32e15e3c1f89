"""Values of rows: numbers and lists, whatever library made them."""

import numpy as np
import pytest

from span_marker.data.values import as_whole, check_list, is_whole


@pytest.mark.parametrize("value", [3, np.int8(3), np.uint64(3), 3.0, np.float32(3), np.float64(3)])
def test_a_whole_number_is_one_in_any_type(value):
    assert as_whole(value) == 3
    assert is_whole(value) == (not isinstance(value, (float, np.floating)))


@pytest.mark.parametrize("value", [True, np.True_, 0.5, float("nan"), float("inf"), "3", None, [3]])
def test_anything_else_is_none(value):
    assert as_whole(value) is None
    assert not is_whole(value)


def test_lists_and_tuples_are_lists():
    assert (check_list([1], "x"), check_list((1,), "x")) == ([1], (1,))
    with pytest.raises(TypeError, match="^x must be a list, not str$"):
        check_list("ab", "x")
