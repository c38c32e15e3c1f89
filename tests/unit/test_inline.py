"""Inline annotation: what is written is read back, what is read is what stands there, and stray brackets are errors."""

import re
from functools import partial

import pytest
from annotation_files import LABELS, entity, is_line, lists_of, read_text, round_trip, text_rows, unique, word_rows
from hypothesis import given, settings
from hypothesis import strategies as st

from span_marker.data.files import write_annotations
from span_marker.data.inline import write_inline
from span_marker.data.rows import as_text, parse_row

FILE = (
    "# news\n"
    "[Amelia Earhart](person) flew to [Paris](place).\n"
    "\n"
    "Nobody came.\n"
    "[[Paris](place) University](organization)[2024](date)(a year)\n"
)
ROWS = [
    {
        "text": "Amelia Earhart flew to Paris.",
        "entities": [entity("person", 0, 14), entity("place", 23, 28)],
    },
    {"text": "Nobody came.", "entities": []},
    {
        "text": "Paris University2024(a year)",
        "entities": [entity("organization", 0, 16), entity("place", 0, 5), entity("date", 16, 20)],
    },
]

SPECIAL = "[]()#\\ ab\ufeff\u0301"
"""Characters with a meaning, and a few without."""


def read(tmp_path, content, **options):
    return read_text(tmp_path, content, "x.txt", format="inline", **options)


def is_nested(row):
    """Whether no two entities cross: what the format has."""
    spans = [(item["start"], item["end"]) for item in row["entities"]]
    return not any(a < c < b < d for a, b in spans for c, d in spans)


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_a_file_is_read(tmp_path, end):
    assert read(tmp_path, FILE.replace("\n", end)) == ROWS
    assert read(tmp_path, "\ufeff" + FILE.replace("\n", end)) == ROWS


@pytest.mark.parametrize(
    ("line", "text", "entities"),
    [
        (r"a \[b\] c", "a [b] c", []),
        (r"\# no comment", "# no comment", []),
        (r"C:\new \\ \\[d](X)", r"C:\new \ \d", [("X", 10, 11)]),
        (r"[a\]](X\)Y)", "a]", [("X)Y", 0, 2)]),
        ("f(x) (y)", "f(x) (y)", []),
        ("[#tag](X) #b", "#tag #b", [("X", 0, 4)]),
        ("  [a](X) ", "  a ", [("X", 2, 3)]),
        ("[a ](X)b", "a b", [("X", 0, 2)]),
        ("[[a](X)](X)", "a", [("X", 0, 1)]),
        ("[👩‍👩‍👧](X)!", "👩‍👩‍👧!", [("X", 0, 5)]),
    ],
)
def test_brackets_and_backslashes(tmp_path, line, text, entities):
    assert read(tmp_path, line) == [{"text": text, "entities": [entity(*item) for item in entities]}]


BAD = {
    "not closed": ("a [b", r"the bracket of '\[b', at column 3, is not closed: an entity is \[text\]\(label\)"),
    "outer not closed": ("[a [b](X)", r"the bracket of '\[a \[b\]\(X\)', at column 1, is not closed"),
    "not opened": ("a] b", r"the bracket of '\] b', at column 2, closes none"),
    "no label": ("[sic] c", r"the bracket of '\[sic\] c', at column 1, has no label"),
    "blank": ("x [b] (X)", r"the bracket of '\[b\] \(X\)', at column 3, has no label"),
    "empty label": ("[b]()", "at column 1, has no label"),
    "label not closed": ("[b](X and [c](Y)", "has no label: .* without white space before or in the label"),
    "escaped": (r"[b](X\)", "at column 1, has no label"),
    "empty": ("a [](X)", "entity 'X' is empty: it starts and ends at character 2"),
    "outside": ("[a](O)", "must have a label other than '' and 'O'"),
}


@pytest.mark.parametrize("name", BAD)
def test_what_is_no_entity_is_refused_where_it_stands(tmp_path, name):
    line, message = BAD[name]
    with pytest.raises(ValueError, match=rf"x\.txt, line 6, row 3:? .*{message}"):
        read(tmp_path, f"{FILE}{line}\n")
    errors = []
    assert read(tmp_path, f"{line}\n{FILE}", errors=errors) == ROWS
    assert [re.search(r"line \d, row \d", str(error))[0] for error in errors] == ["line 1, row 0"]


@settings(max_examples=200)
@given(st.text(SPECIAL, max_size=12).filter(str.strip), st.text("[]()#\\ab", min_size=1, max_size=4), st.data())
def test_special_characters_are_read_back(text, label, data):
    start = data.draw(st.integers(0, len(text) - 1))
    rows = [{"text": text, "entities": [entity(label, start, data.draw(st.integers(start + 1, len(text))))]}] * 2
    whole = parse_row(rows[0], "row").entities  # with all of each grapheme
    expected = {"text": text, "entities": [item.to_dict() for item in whole]}
    assert round_trip(write_inline, rows, "x.txt", format="inline") == [expected] * 2


@settings(max_examples=100)
@given(lists_of(text_rows(LABELS)) | lists_of(word_rows()))
def test_rows_are_read_back(rows):
    """Rows that it cannot represent are errors. Of all others, everything is read back, words as text."""
    errors = []
    good = [as_text(parse_row(row, "row")) for row in rows if is_nested(row)]
    good = [(text, entities) for text, entities in good if is_line({"text": text})]
    if not good:
        return
    found = round_trip(partial(write_inline, errors=errors), rows, "x.txt", format="inline")
    assert len(errors) == len(rows) - len(good)
    assert [row["text"] for row in found] == [text for text, _ in good]
    expected = [unique([item.to_dict() for item in entities]) for _, entities in good]
    assert [unique(row["entities"]) for row in found] == expected


def test_it_is_written_as_people_write_it(tmp_path):
    write_annotations(tmp_path / "x.txt", ROWS, format="inline")
    assert (tmp_path / "x.txt").read_bytes().decode() == "".join(FILE.splitlines(keepends=True)[i] for i in (1, 3, 4))
    words = {"id": 7, "tokens": ["Ann", "#", "[1]"], "entities": [entity("PER", 0, 1)]}
    write_annotations(tmp_path / "x.txt", [words, {"text": "# a", "entities": []}], format="inline")
    assert (tmp_path / "x.txt").read_text(encoding="utf-8") == "[Ann](PER) # \\[1\\]\n\\# a\n"


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"text": " ", "entities": []}, "row 0: ' ' is empty or has a line break"),
        ({"text": "a\nb", "entities": []}, "is empty or has a line break, but inline annotation needs one line"),
        ({"text": "a b", "entities": [entity("X Y", 0, 1)]}, "row 0: the label 'X Y' has white space"),
        (
            {"text": "a b c", "entities": [entity("X", 0, 3), entity("Y", 2, 5)]},
            "row 0: the entities 'X' and 'Y' overlap from character 2 to 3, and neither is within the other",
        ),
        ({"tokens": ["a", ""], "entities": [entity("X", 1, 2)]}, "row 0: the entity 'X' has only empty words"),
    ],
)
def test_what_it_cannot_represent_is_refused(tmp_path, row, message):
    with pytest.raises(ValueError, match=message):
        write_inline(tmp_path / "x.txt", [row])
    assert not (tmp_path / "x.txt").exists()


def test_without_its_name_the_error_asks_for_a_format(tmp_path):
    message = r"x\.txt looks like plain text .* pass format=, such as format='inline' for \[Paris\]\(place\)"
    with pytest.raises(ValueError, match=message):
        read_text(tmp_path, FILE, "x.txt")


def test_links_are_read_as_entities_with_a_warning(tmp_path, caplog):
    rows = read_text(tmp_path, "[Ann](PER) on [her page](http://x.org/a)\n", "x.md", format="inline")
    assert [one["label"] for one in rows[0]["entities"]] == ["PER", "http://x.org/a"]
    assert "links, such as the one to http://x.org/a, are read as 1 entities" in caplog.text
