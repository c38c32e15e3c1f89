"""A copy of a span may have lost white space, and nothing else; one rule for all tools."""

import pytest
from annotation_files import read_lines
from hypothesis import given
from hypothesis import strategies as st

from span_marker.data.copies import check_copy, is_copy
from span_marker.data.files import read_annotations

SPACES = [" ", "  ", "\t", "\n", "\r\n", "\u00a0", "\u2028", "\u3000", ""]


@given(
    st.lists(st.tuples(st.sampled_from(["New", "York", "é", "\\"]), st.sampled_from(SPACES), st.sampled_from(SPACES)))
)
def test_white_space_does_not_count_and_all_else_does(parts):
    text, copy = ("".join(part[0] + part[place] for part in parts) for place in (1, 2))
    assert is_copy(text, copy)
    assert not is_copy(text, copy + "x")
    assert not is_copy(text, None)


COPIES = {
    "blank": "NewYork City",
    "tab": "New York\tCity",
    "no-break space": "New\u00a0York City",
    "line end": "New\\nYork City",
}


@pytest.mark.parametrize("name", COPIES)
@pytest.mark.parametrize("text", ["New York City", "New\u00a0York\tCity", "New\nYork  City"])
def test_tools_share_the_rule(tmp_path, name, text):
    copy = COPIES[name]
    expected = [{"label": "LOC", "start": 0, "end": len(text)}]
    region = {"start": 0, "end": len(text), "text": copy, "labels": ["LOC"]}
    span = {"start": 0, "end": len(text), "text": copy, "label": "LOC"}
    for record in (
        {"annotation_id": 1, "text": text, "label": [region]},
        {"text": text, "spans": [span], "answer": "accept"},
    ):
        assert read_lines(tmp_path, record)[0]["entities"] == expected
    (tmp_path / "x.txt").write_bytes(text.encode())
    (tmp_path / "x.ann").write_bytes(f"T1\tLOC 0 {len(text)}\t{copy}\n".encode())
    assert read_annotations(tmp_path / "x.ann")[0]["entities"] == expected


def test_another_copy_is_refused_and_utf_16_is_told():
    with pytest.raises(
        ValueError, match=r"^here: characters 0 to 3 and 4 to 5 of the text are 'Ann L', but the .* 'Ann M'$"
    ):
        check_copy("Ann Lee", [(0, 3), (4, 5)], "Ann M", "here")
    with pytest.raises(ValueError, match=r"'ee', but the annotation says 'Lee': the offsets count UTF-16 units"):
        check_copy("💩 Lee", [(3, 6)], "Lee", "here")
