"""Tables in text files: what is written with any delimiter is read as it was."""

import csv
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from span_marker.data.delimited import DELIMITERS, name_cells, read_cells, refuse_other_separators, split_header

CELLS = st.text(alphabet='ab ,;\t"\n\ré', max_size=6)


@given(st.lists(st.lists(CELLS, min_size=2, max_size=3), min_size=1, max_size=5), st.sampled_from(DELIMITERS))
def test_cells_are_read_as_they_were_written(rows, delimiter):
    file = io.StringIO(newline="")
    csv.writer(file, delimiter=delimiter, quoting=csv.QUOTE_ALL).writerows(rows)
    lines = io.StringIO(file.getvalue(), newline="")
    numbers, read = zip(*read_cells(lines, delimiter, "x.csv"), strict=True)
    assert list(read) == rows
    ends = [cell.replace("\r\n", "\n").replace("\r", "\n").count("\n") for row in rows for cell in row]
    assert numbers[0] == 1
    assert numbers[-1] <= 1 + len(rows) - 1 + sum(ends)


def test_the_limit_of_cells_is_that_of_before():
    before = csv.field_size_limit()
    assert [*read_cells(["x" * 300_000 + "\n"], ",", "x.csv")] == [(1, ["x" * 300_000])]
    with pytest.raises(ValueError, match=r"x\.csv, line 2: .*: a cell with a quote must be in quotes"):
        [*read_cells(["a\n", '"b\n'], ",", "x.csv")]
    assert csv.field_size_limit() == before


def test_headers_and_names():
    assert dict(split_header('a;"b,c"\r\n')) == {
        "\t": ['a;"b,c"'],
        ",": ['a;"b', 'c"'],
        ";": ["a", "b,c"],
        "|": ['a;"b,c"'],
    }
    assert name_cells(["1", "2"], ["a", "b"], ",", "line 2") == {"a": "1", "b": "2"}
    with pytest.raises(ValueError, match="line 2 has 1 cells, but there are 2 columns: a cell with ','"):
        name_cells(["1"], ["a", "b"], ",", "line 2")
    assert name_cells(["1", "2", "", ""], ["", "a", "", ""], ",", "line 2") == {"": "1", "a": "2"}, "as Excel writes"
    with pytest.raises(ValueError, match="line 2 has '3' in a column without a name: name it in the first line"):
        name_cells(["1", "2", "3"], ["", "a", ""], ",", "line 2")


@pytest.mark.parametrize("separator", sorted(",;|:/_\u00a0"))
def test_words_may_have_separators_but_tags_need_them(separator):
    with pytest.raises(ValueError, match="'.*' may separate them, as in 'Ann.+B-PER': write tabs, or pass format="):
        refuse_other_separators([f"Ann{separator}B-PER", "went", f"to{separator}O"], "line 1", "format=")
    refuse_other_separators(["Ann", f"12{separator}30", "went"], "line 1", "format=")


@pytest.mark.parametrize(
    "words",
    [
        ["12:30", "14:00:59"],
        ["2024/05/01", "31/12"],
        ["1,5", "3,000"],
        ["https://a.org/b", "http://a.org/c_d"],
        ["ann_lee@a.org", "bob@b_c.org"],
    ],
)
def test_times_numbers_and_addresses_are_words(words):
    refuse_other_separators(words, "line 1", "format=")
