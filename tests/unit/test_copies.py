"""A copy of a span may have lost white space, and nothing else; one rule for all tools."""

from unicodedata import normalize

import pytest
from annotation_files import read_lines
from hypothesis import given
from hypothesis import strategies as st

from span_marker import validate
from span_marker.data import copies
from span_marker.data.copies import COPY_KEYS, MAYBE_COPY_KEYS, check_copy, is_copy
from span_marker.data.files import read_annotations
from span_marker.data.in_memory import as_dataset
from span_marker.data.rows import parse_row

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


def test_bytes_are_told():
    with pytest.raises(ValueError, match="'nn ', but the annotation says 'Ann': the offsets count bytes of UTF-8"):
        check_copy("Köl Ann met", [(5, 8)], "Ann", "here")


TEXT = "Ann met Ann Lee."


def shapes(key, copy, start, end):
    """A wrong copy in each form that has dicts with offsets."""
    span = {"label": "PER", "start": start, "end": end, key: copy}
    doccano = {"label": "PER", "start_offset": start, "end_offset": end, key: copy}
    return {
        "row": {"text": TEXT, "entities": [span]},
        "spaCy": {"text": TEXT, "spans": [span]},
        "doccano": {"text": TEXT, "annotations": [doccano]},
        "Argilla": {"text": TEXT, "annotation": [span], "status": "Validated"},
    }


@pytest.mark.parametrize("key", sorted(COPY_KEYS | MAYBE_COPY_KEYS))
@pytest.mark.parametrize("shape", shapes("x", "", 0, 0))
def test_a_copy_is_compared_whatever_it_is_called(tmp_path, key, shape):
    assert len(read_lines(tmp_path, shapes(key, "Ann", 8, 11)[shape])) == 1
    with pytest.raises(ValueError, match="line 1, row 0: characters 7 to 10 of the text are ' An', but .* says 'Ann'"):
        read_lines(tmp_path, shapes(key, "Ann", 7, 10)[shape])


@pytest.mark.parametrize("key", sorted(COPY_KEYS | MAYBE_COPY_KEYS))
def test_rows_in_memory_are_compared_with_their_copies(key):
    row = {"text": TEXT, "entities": [{"label": "PER", "start": 7, "end": 10, key: "Ann"}]}
    assert [problem.kind for problem in validate([row]).problems] == ["malformed-entity"]
    words = {"tokens": ["Ann", "Lee", "met"], "entities": [{"label": "PER", "start": 0, "end": 1, key: "Ann Lee"}]}
    with pytest.raises(ValueError, match=f"words 0 to 1 of the row are .'Ann'., but '{key}' says 'Ann Lee'"):
        parse_row(words, "row 0")
    if key != "text":
        with pytest.raises(ValueError, match="characters 7 to 10 of the text are ' An'"):
            as_dataset([{"text": TEXT, "label": "PER", "start": 7, "end": 10, key: "Ann"}], "x")


@pytest.mark.parametrize("key", sorted(MAYBE_COPY_KEYS))
@pytest.mark.parametrize("value", ["Anna Maria Lee", "Ann", "Q42", "ann lee", "", None, 7, ["Ann"]])
def test_what_may_be_another_name_is_no_copy(key, value):
    for content in ({"text": TEXT}, {"tokens": TEXT.split()}):
        start, end = (8, 15) if "text" in content else (2, 4)
        entity = {"label": "PER", "start": start, "end": end, key: value}
        assert parse_row({**content, "entities": [entity]}, "row 0").entities[0].end == end


def test_a_copy_may_have_other_code_points_for_the_same_characters():
    for form in ("NFC", "NFD"):
        text, copy = (normalize(name, "José met Ann") for name in (form, "NFC" if form == "NFD" else "NFD"))
        place = {"start": 0, "end": text.index(" ")}
        assert parse_row({"text": text, "entities": [{"label": "PER", **place, "text": copy[: copy.index(" ")]}]}, "x")


def test_words_are_looked_at_once_for_a_copy_however_long_it_is(monkeypatch):
    calls = []
    squeeze = copies._squeeze
    monkeypatch.setattr(copies, "_squeeze", lambda text: calls.append(text) or squeeze(text))
    words = ["word", ""] * 1000
    entity = {"label": "PER", "start": 0, "end": 1, "text": " ".join([*words[:1990], "other"])}
    assert parse_row({"tokens": words, "entities": [entity]}, "row 0").entities
    entity["text"] = "wordword"
    with pytest.raises(ValueError, match="words 0 to 1 of the row are"):
        parse_row({"tokens": words, "entities": [entity]}, "row 0")
    assert len(calls) < 3 * len(words)
