"""What JSON can represent is written, what it cannot is an error with row and column, and no row before it is lost."""

import datetime
import json
import math

import numpy as np
import pytest
from annotation_files import entity
from datasets import Dataset

from span_marker.data.files import read_annotations, write_annotations
from span_marker.data.gliner import write_gliner
from span_marker.data.json_writing import row_to_json
from span_marker.data.jsonl import write_jsonl

GOOD = {"text": "Ann went", "entities": [entity("PER", 0, 3)]}


def test_what_json_can_represent_is_written():
    row = {
        "day": datetime.date(2024, 2, 29),
        "time": datetime.datetime(2024, 2, 29, 12, 30, tzinfo=datetime.timezone.utc),
        "numpy": [np.int64(3), np.float32(0.5), np.bool_(True), np.datetime64("2024-02-29"), np.arange(3)],
        "nested": {"a": (1, None)},
    }
    assert json.loads(row_to_json(row, "row 0")) == {
        "day": "2024-02-29",
        "time": "2024-02-29T12:30:00+00:00",
        "numpy": [3, 0.5, True, "2024-02-29", [0, 1, 2]],
        "nested": {"a": [1, None]},
    }


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        (math.nan, ValueError),
        (np.float32("inf"), ValueError),
        ([{"a": math.nan}], ValueError),
        (np.array([math.nan]), ValueError),
        (b"a", TypeError),
        ({1, 2}, TypeError),
        ({(1,): 2}, TypeError),
        (1j, TypeError),
        (np.timedelta64(1, "D"), TypeError),
        (np.datetime64("NaT"), TypeError),
    ],
)
def test_what_json_cannot_represent_names_row_and_column(tmp_path, caplog, value, kind):
    rows = [{**GOOD, "x": index} for index in range(501)] + [{**GOOD, "x": value}, GOOD]
    with pytest.raises(kind, match="row 501: the column 'x' cannot be written as JSON: "):
        write_jsonl(tmp_path / "x.jsonl", iter(rows))
    assert not (tmp_path / "x.jsonl").exists()
    (part,) = tmp_path.iterdir()
    assert f"the output before the error is in {part}" in caplog.text
    assert len(read_annotations(part, format="jsonl")) == 501
    write_jsonl(tmp_path / "x.jsonl", rows, errors="skip")
    assert len(read_annotations(tmp_path / "x.jsonl")) == 502


def test_a_score_that_is_no_number_names_its_row(tmp_path):
    with pytest.raises(ValueError, match="row 0: the column 'entities' cannot be written as JSON: .*nan"):
        write_jsonl(tmp_path / "x", [{**GOOD, "entities": [{**GOOD["entities"][0], "score": math.nan}]}])
    assert not list(tmp_path.iterdir())


def test_an_error_of_the_rows_themselves_loses_nothing(tmp_path):
    def rows():
        yield GOOD
        yield GOOD
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_jsonl(tmp_path / "x.jsonl", rows())
    (part,) = tmp_path.iterdir()
    assert list(read_annotations(part, format="jsonl")) == [GOOD, GOOD]


def test_an_array_that_is_not_whole_can_be_read(tmp_path):
    row = {"tokens": ["Ann"], "entities": [entity("PER", 0, 1)]}
    with pytest.raises(ValueError, match="row 2 has 'text'"):
        write_gliner(tmp_path / "x.json", [row, row, GOOD])
    (part,) = tmp_path.iterdir()
    assert list(read_annotations(part, format="gliner")) == [row, row]


def test_lone_surrogates_are_escaped_and_read_as_replacements(tmp_path, caplog):
    row = {"text": "a\ud83d Köln", "entities": [entity("LO\udc00C", 3, 7)], "n\ud83d": ["\ud83d"]}
    write_jsonl(tmp_path / "x.jsonl", [row, {**GOOD, "n\ud83d": ["😀"]}])
    content = (tmp_path / "x.jsonl").read_text(encoding="utf-8")
    assert json.loads(content.split("\n")[0]) == row
    assert "Köln" in content
    assert "😀" in content
    assert read_annotations(tmp_path / "x.jsonl").to_list() == [
        {"text": "a\ufffd Köln", "n\ufffd": ["\ufffd"], "entities": [entity("LO\ufffdC", 3, 7)]},
        {"text": "Ann went", "n\ufffd": ["😀"], "entities": GOOD["entities"]},
    ]
    assert "half a character, are read as U+FFFD in 2 records (line 1, line 2)" in caplog.text


def test_both_halves_of_a_character_are_no_two_characters(tmp_path):
    with pytest.raises(ValueError, match="row 0 has the halves of a surrogate pair as two characters"):
        write_jsonl(tmp_path / "x", [{"text": "\ud83d\ude00", "entities": []}])


@pytest.mark.parametrize("format", ["conll", "brat", "docbin"])
def test_other_formats_name_the_row_of_a_lone_surrogate(tmp_path, format):
    if format == "docbin":
        pytest.importorskip("spacy")
    good = {"tokens": ["Ann"], "entities": [entity("PER", 0, 1)]}
    rows = [good, {"tokens": ["a\ud83d"], "entities": []}, {"tokens": ["b"], "entities": [entity("\ud83d", 0, 1)]}]
    for bad, column in zip(rows[1:], ("tokens", "label"), strict=True):
        with pytest.raises(ValueError, match=f"row 1: '{column}' has the lone surrogate '.ud83d', which UTF-8 cannot"):
            write_annotations(tmp_path / "x", [good, bad], format=format)
    write_annotations(tmp_path / "x", rows, format=format, errors="skip")
    assert len(read_annotations(tmp_path / "x", format=format)) == 1


@pytest.mark.parametrize(("unit", "places"), [("codepoint", (2, 6)), ("utf-16", (3, 7)), ("utf-8", (5, 10))])
def test_offsets_are_written_in_other_units(tmp_path, unit, places):
    prediction = {"span": "Köln", "label": "LOC", "score": 0.5, "char_start_index": 2, "char_end_index": 6}
    write_annotations(tmp_path / "x.jsonl", [{"text": "🎉 Köln", "entities": [prediction]}], offsets=unit)
    (written,) = json.loads((tmp_path / "x.jsonl").read_text(encoding="utf-8"))["entities"]
    assert written == {"label": "LOC", "start": places[0], "end": places[1], "score": 0.5, "span": "Köln"}
    if unit == "codepoint":
        assert read_annotations(tmp_path / "x.jsonl")[0]["entities"] == [entity("LOC", 2, 6)]
    else:  # the copy tells that they are others
        with pytest.raises(ValueError, match="but the annotation says 'Köln'|ends at character"):
            read_annotations(tmp_path / "x.jsonl")


def test_offsets_are_those_of_texts(tmp_path):
    words = {"tokens": ["Ann"], "entities": []}
    with pytest.raises(ValueError, match="row 0 has words, to which offsets='utf-16' does not apply: leave it out"):
        write_jsonl(tmp_path / "x", Dataset.from_list([words]), offsets="utf-16")
    with pytest.raises(ValueError, match=r"offsets='utf16' must be one of \['codepoint', 'utf-16', 'utf-8'\]"):
        write_jsonl(tmp_path / "x", [], offsets="utf16")
