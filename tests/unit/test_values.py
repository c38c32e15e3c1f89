"""Values of rows: numbers and lists, whatever library made them."""

import numpy as np
import pytest

from span_marker.data.values import as_whole, check_list, is_whole, suggest_dict


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


@pytest.mark.parametrize("value", [(0, 3, "PER"), ["PER", 0, 3], [np.int64(0), 3.0, "PER"]])
def test_a_label_with_two_places_is_written_as_a_dict(value):
    assert suggest_dict(value) == ": write {'label': 'PER', 'start': 0, 'end': 3}"


@pytest.mark.parametrize("value", ["PER", (0, 3), (0, "3", "PER"), (0, 1, 2, "PER"), None, {"label": "PER"}])
def test_other_values_are_not(value):
    assert suggest_dict(value) == ""
