"""GLiNER's data: words, and entities with inclusive ends; written, read back, and refused where they are wrong."""

import json

import pytest
from annotation_files import ANY_LABELS, TEXTS, entity, lists_of, read_lines, read_text, round_trip, unique, word_rows
from hypothesis import given, settings
from hypothesis import strategies as st

from span_marker.data.annotation_tools import GLINER, SHAPES
from span_marker.data.files import write_annotations
from span_marker.data.gliner import write_gliner

WORDS = ["Ann", "Lee", "met", "Bob", "."]
RECORD = {"id": 7, "tokenized_text": WORDS, "ner": [[0, 1, "PER"], [3, 3, "PER"], [0, 0, "NAME"]]}
ROW = {"id": 7, "tokens": WORDS, "entities": [entity("PER", 0, 2), entity("PER", 3, 4), entity("NAME", 0, 1)]}


@pytest.mark.parametrize("options", [{}, {"format": "gliner"}])
def test_gliners_data_is_read_from_lines_and_from_an_array(tmp_path, caplog, options):
    empty = {"id": 8, "tokenized_text": [], "ner": []}
    expected = [ROW, {"id": 8, "tokens": [], "entities": []}]
    assert read_lines(tmp_path, RECORD, empty, **options) == expected
    for indent in (None, 1):
        content = json.dumps([RECORD, empty], indent=indent)
        assert read_text(tmp_path, content, "data.json", **options) == expected
    assert not caplog.text


@pytest.mark.parametrize("options", [{}, {"format": "gliner"}])
def test_other_keys_of_gliners_data_are_ignored_and_named(tmp_path, caplog, options):
    more = {"label": ["PER"], "negatives": ["LOC"], "text": "Ann Lee", "spans": []}
    assert read_lines(tmp_path, {**RECORD, **more}, RECORD, **options) == [ROW] * 2
    assert "data.jsonl: parts of some of the 2 records are ignored: 'label' in 1 (line 1); 'negat" in caplog.text
    # Beside a text, no labels look like no entities of doccano.
    assert read_lines(tmp_path, {**RECORD, "text": "Ann Lee", "label": []}, **options) == [ROW]


def test_gliners_data_has_one_shape():
    assert [shape for shape in SHAPES if shape.recognizes(RECORD)] == [GLINER]


BAD = {
    "outside": (
        [[0, 5, "X"]],
        ValueError,
        r"\[0, 5, 'X'\]: the last word is 5, but the row ends with word 4",
    ),
    "turned round": (
        [[0, 0, "X"], [2, 1, "X"]],
        ValueError,
        r"ner\[1\]=.*: the last word, 1, is before the first, 2",
    ),
    "negative": ([[-1, 1, "X"]], ValueError, r"the first word is -1, but words count from 0"),
    "number as label": ([[0, 1, 7]], TypeError, r"ner\[0\]=\[0, 1, 7\]: the label of .* must be a string, not int"),
    "no label": ([[0, 1, None]], ValueError, r"ner\[0\]=\[0, 1, None\]: .* has no 'label'"),
    "empty label": ([[0, 1, ""]], ValueError, r"must have a label other than '' and 'O'"),
    "float": ([[0, 1.5, "X"]], TypeError, r"the last word must be a whole number, not 1\.5"),
    "bool": ([[False, 1, "X"]], TypeError, r"the first word must be a whole number, not False"),
    "pair": ([[0, 1]], TypeError, r"ner\[0\]=\[0, 1\]: an entity must be a list \[first word, last word, label\]"),
    "dict": ([entity("X", 0, 1)], TypeError, r"an entity must be a list \[first word, last word, label\]"),
    "no list": (None, TypeError, r"'ner' must be a list, not NoneType"),
}


@pytest.mark.parametrize("options", [{}, {"format": "gliner"}])
@pytest.mark.parametrize("name", BAD)
def test_bad_entities_of_gliner_are_refused(tmp_path, name, options):
    ner, kind, message = BAD[name]
    with pytest.raises(kind, match=rf"data\.jsonl, line 2, row 1.*{message}"):
        read_lines(tmp_path, RECORD, {"tokenized_text": WORDS, "ner": ner}, **options)
    content = json.dumps([RECORD, {"tokenized_text": WORDS, "ner": ner}])
    with pytest.raises(kind, match=rf"data\.json, item 1, row 1.*{message}"):
        read_text(tmp_path, content, "data.json", **options)


@pytest.mark.parametrize(
    ("record", "kind", "message"),
    [
        ({"ner": []}, ValueError, r"has no 'tokenized_text', only the keys \['ner'\]"),
        ({"tokenized_text": ["a"]}, ValueError, r"has no 'ner', only the keys \['tokenized_text'\]"),
        ({"tokenized_text": "a", "ner": []}, TypeError, r"'tokenized_text' must be a list of words, not str"),
        ({"tokenized_text": ["a", 1], "ner": []}, TypeError, r"'tokenized_text'\[1\]=1 must be a word"),
        ({"tokenized_text": [], "ner": [[0, 0, "X"]]}, ValueError, "the last word is 0, but the row has no words"),
        ({"text": "a", "entities": []}, ValueError, r"has no 'tokenized_text', only the keys \['entities', 'text'\]"),
        (["a"], TypeError, "a record of GLiNER must be a dict, not list"),
    ],
)
def test_bad_records_of_gliner_are_refused(tmp_path, record, kind, message):
    with pytest.raises(kind, match=rf"data\.jsonl, line 2, row 1:? ?.*{message}"):
        read_lines(tmp_path, RECORD, record, format="gliner")


def test_a_missing_key_is_told_without_a_format_too(tmp_path):
    with pytest.raises(ValueError, match=r"line 2, row 1 has the keys \['tokenized_text'\].*GLiNER \(token"):
        read_lines(tmp_path, RECORD, {"tokenized_text": ["a"]})


@settings(max_examples=30)
@given(
    lists_of(word_rows(words=TEXTS, labels=ANY_LABELS)),
    st.sampled_from(["x.jsonl", "x.json", "x"]),
    st.sampled_from(["gliner", "jsonl"]),
)
def test_gliners_data_is_read_back(rows, name, format):
    found = round_trip(write_gliner, rows, name, format=format)
    assert [row["tokens"] for row in found] == [row["tokens"] for row in rows]
    assert [unique(row["entities"]) for row in found] == [unique(row["entities"]) for row in rows]
    assert all(len(row["entities"]) == len(unique(row["entities"])) for row in found)


def test_gliners_data_is_written_as_gliner_loads_it(tmp_path):
    names = {"label": "PER", "start": 0, "end": 2, "score": 0.5}
    rows = [{"id": 1, "tokens": ["Ärzte", "Lee", "met"], "entities": [names, names]}, {"tokens": ["#"], "entities": []}]
    records = [
        {"tokenized_text": ["Ärzte", "Lee", "met"], "ner": [[0, 1, "PER"]]},
        {"tokenized_text": ["#"], "ner": []},
    ]
    write_annotations(tmp_path / "x.jsonl", rows, format="gliner")
    lines = (tmp_path / "x.jsonl").read_text(encoding="utf-8")
    assert [json.loads(line) for line in lines.splitlines()] == records
    assert "Ärzte" in lines
    write_annotations(tmp_path / "x.json", rows, format="gliner")
    assert json.loads((tmp_path / "x.json").read_text(encoding="utf-8")) == records
    write_annotations(tmp_path / "y.json", [], format="gliner")
    assert json.loads((tmp_path / "y.json").read_text(encoding="utf-8")) == []


def test_gliners_data_has_no_texts(tmp_path):
    rows = [{"tokens": ["a"], "entities": []}, {"text": "a", "entities": []}]
    with pytest.raises(ValueError, match=r"row 1 has 'text', but GLiNER's files have words: pass rows with 'tokens'"):
        write_annotations(tmp_path / "x.jsonl", rows, format="gliner")
    assert not (tmp_path / "x.jsonl").exists()
