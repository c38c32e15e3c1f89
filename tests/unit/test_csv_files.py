"""Tables: one line per entity, per text or per word; written, read back, and refused where they are wrong."""

import json

import pandas as pd
import pytest
from annotation_files import (
    ANY_LABELS,
    PREDICTIONS,
    TEXTS,
    entity,
    lists_of,
    read_text,
    round_trip,
    text_rows,
    unique,
    word_rows,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from span_marker import read_annotations
from span_marker.bulk.input_files import find_files
from span_marker.bulk.sources import read_items
from span_marker.data.csv_files import to_dataframe, write_csv
from span_marker.data.in_memory import as_dataset

KAGGLE = (
    "Sentence #,Word,POS,Tag\n"
    "Sentence: 1,Thousands,NNS,O\n"
    ",marched,VBP,O\n"
    ",through,IN,O\n"
    ",London,NNP,B-geo\n"
    ",.,.,O\n"
    'Sentence: 2,"""",``,O\n'
    ',"Iran,",NNP,B-gpe\n'
    ",New,NNP,B-geo\n"
    ",York,NNP,I-geo\n"
)
KAGGLE_ROWS = [
    {"tokens": ["Thousands", "marched", "through", "London", "."], "entities": [entity("geo", 3, 4)]},
    {"tokens": ['"', "Iran,", "New", "York"], "entities": [entity("gpe", 1, 2), entity("geo", 2, 4)]},
]


def filled(content):
    """The file as pandas writes it after filling the empty cells."""
    lines, name = [], ""
    for line in content.splitlines():
        first, rest = line.split(",", 1)
        name = first or name
        lines.append(f"{name},{rest}\n")
    return "".join(lines)


@pytest.mark.parametrize("content", [KAGGLE, filled(KAGGLE), KAGGLE.replace("\n", "\r\n")])
def test_words_with_sentence_numbers_are_read(tmp_path, caplog, content):
    assert read_text(tmp_path, content, "ner.csv") == KAGGLE_ROWS
    assert "ner.csv: ignored columns: ['POS']" in caplog.text


def region(text, name, *labels):
    """A result of Label Studio."""
    return {"start": text.index(name), "end": text.index(name) + len(name), "text": name, "labels": [*labels]}


PARIS = "Ann met Bo, \U0001f600 in\r\nParis"
TASKS = [
    {"id": 1, "row_id": "a", "text": PARIS, "ner": [region(PARIS, "Ann", "PER"), region(PARIS, "Paris", "LOC")]},
    {"id": 2, "row_id": "b", "text": "[sic]"},
    {"id": 3, "row_id": "c", "text": "Ann", "ner": [], "sentiment": "[good]"},
    {"id": 4, "row_id": "d", "text": "Bo", "ner": [region("Bo", "Bo", "PER", "ORG")], "title": "x"},
]
BY = {"annotator": "a@b.c", "annotation_id": 7, "created_at": "2026-01-01", "updated_at": "2026-01-01", "lead_time": 2}


def write_tasks(path, tasks):
    """The tasks as Label Studio writes them as JSON_MIN and as a table: by pandas, with lists as JSON."""
    tasks = [{**task, **BY, **by} for task, by in tasks]
    path.with_suffix(".json").write_text(json.dumps(tasks), encoding="utf-8")
    cells = [{n: json.dumps(v, ensure_ascii=False) if isinstance(v, list) else v for n, v in t.items()} for t in tasks]
    delimiter = "\t" if path.suffix == ".tsv" else ","
    pd.DataFrame.from_records(cells).to_csv(path, index=False, sep=delimiter)


@pytest.mark.parametrize("name", ["x.csv", "x.tsv"])
def test_tables_of_label_studio_are_read_as_its_json_is(tmp_path, name):
    write_tasks(tmp_path / name, [(task, {}) for task in TASKS])
    for options in ({}, {"annotator": "a@b.c"}, {"field": "text"}, {"control": "ner"}):
        rows = list(read_annotations(tmp_path / name, **options))
        assert rows == list(read_annotations(tmp_path / "x.json", **options))
    assert [row["id"] for row in rows] == [*"abcd"]
    assert [len(row["entities"]) for row in rows] == [2, 0, 0, 2]
    by_name = {"columns": {"text": "text"}} if name == "x.csv" else {"format": "csv", "columns": {"text": "text"}}
    assert list(read_annotations(tmp_path / name, **by_name)) == rows


def test_tables_of_label_studio_may_have_other_names(tmp_path):
    task = {"id": 1, "body": "Ann met Bo", "entities": [region("Ann", "Ann", "PER")], "label": "", "start": "x"}
    write_tasks(tmp_path / "x.csv", [(task, {})])
    for options in ({"field": "body"}, {"columns": {"text": "body"}}):
        (row,) = read_annotations(tmp_path / "x.csv", **options)
        assert row == {"id": 1, "text": "Ann met Bo", "entities": [entity("PER", 0, 3)]}
    with pytest.raises(ValueError, match=r"x\.csv, line 2, row 0: which field is the text\? It has \['body', "):
        read_annotations(tmp_path / "x.csv")
    with pytest.raises(
        ValueError, match=r"columns= has 'label', but in tables of Label Studio, only 'text' can be named"
    ):
        read_annotations(tmp_path / "x.csv", columns={"label": "entities"})


def test_tables_of_label_studio_with_several_annotators_need_one(tmp_path):
    other = {**TASKS[0], "ner": []}
    write_tasks(tmp_path / "x.csv", [(TASKS[0], {}), (other, {"annotator": "d@e.f", "annotation_id": 8})])
    with pytest.raises(ValueError, match=r"several annotations of the same text, by a@b\.c, d@e\.f: pass annotator="):
        read_annotations(tmp_path / "x.csv")
    for name, num_entities in (("a@b.c", 2), ("d@e.f", 0)):
        (row,) = read_annotations(tmp_path / "x.csv", annotator=name)
        assert len(row["entities"]) == num_entities


def test_cut_cells_of_label_studio_are_errors(tmp_path):
    """Spreadsheets keep 32,767 characters of a cell."""
    write_tasks(tmp_path / "x.csv", [(TASKS[0], {}), (TASKS[3], {})])
    content = (tmp_path / "x.csv").read_text(encoding="utf-8")
    assert '""ORG""]}]' in content
    (tmp_path / "x.csv").write_text(content.replace('""ORG""]}]', '""OR'), encoding="utf-8", newline="")
    with pytest.raises(ValueError, match="'ner' is neither a JSON list nor a Python list"):
        read_annotations(tmp_path / "x.csv")


@pytest.mark.parametrize("option", [{"occurrences": "in-order"}, {"annotator": "x"}, {"field": "text"}])
@pytest.mark.parametrize("content", ["text,start,end,label\nAnn,0,3,PER\n", KAGGLE, "tokens,ner_tags\nAnn,B-PER\n"])
def test_options_that_change_nothing_are_errors(tmp_path, content, option):
    with pytest.raises(ValueError, match="cannot be used with|has no effect|does not say who annotated it"):
        read_text(tmp_path, content, "x.csv", **option)


def test_a_sentence_ends_where_another_name_begins(tmp_path):
    content = "sentence #,word,tag\n1,Ann,B-PER\n,has,O\n1,left,O\n2,Bob,B-PER\n"
    assert [row["tokens"] for row in read_text(tmp_path, content, "x.csv")] == [["Ann", "has", "left"], ["Bob"]]


def test_words_with_blank_lines_are_read_and_one_endless_sentence_is_not(tmp_path):
    content = "token,tag\nAnn,B-PER\nleft,O\n\nBob,B-PER\n"
    assert [row["tokens"] for row in read_text(tmp_path, content, "x.csv")] == [["Ann", "left"], ["Bob"]]
    with pytest.raises(ValueError, match=r"x\.csv has no column for sentences, and no blank lines: pass columns="):
        read_text(tmp_path, content.replace("\n\n", "\n"), "x.csv")


ENTITIES = (
    "id,text,start,end,label,note\n"
    '7,"Ann met Bob, once.",0,3,PER,x\n'
    '8,"Two\nlines",,,,\n'
    '7,"Ann met Bob, once.",8,11,PER,y\n'
)
ENTITY_ROWS = [
    {"id": "7", "text": "Ann met Bob, once.", "entities": [entity("PER", 0, 3), entity("PER", 8, 11)]},
    {"id": "8", "text": "Two\nlines", "entities": []},
]


def test_one_line_per_entity_is_read(tmp_path, caplog):
    assert read_text(tmp_path, ENTITIES, "x.csv") == ENTITY_ROWS
    assert "ignored columns: ['note']" in caplog.text
    as_floats = ENTITIES.replace(",0,3,", ",0.0,3.0,").replace(",8,11,", ",8.0,11.0,")
    assert read_text(tmp_path, as_floats, "x.csv") == ENTITY_ROWS
    for delimiter, name in ((";", "x.csv"), ("\t", "x.tsv"), ("\t", "x.txt")):
        content = ENTITIES.replace("Bob, once", "Bob once").replace(",", delimiter)
        assert [len(row["entities"]) for row in read_text(tmp_path, content, name)] == [2, 0]


def table(*lines):
    return "".join(f"{line}\n" for line in ("text,start,end,label", *lines))


def test_without_an_id_lines_of_the_same_text_are_one_row_if_they_stand_together(tmp_path):
    content = table("Ann left,0,3,PER", "Ann left,0,3,GUEST", "Bob,0,3,PER", "Bob,,,", "Ann left,0,3,GUEST")
    rows = read_text(tmp_path, content + "Ann left,0,3,PER\n", "x.csv")
    assert [row["text"] for row in rows] == ["Ann left", "Bob", "Ann left"]
    assert rows[0] == rows[2] == {"text": "Ann left", "entities": [entity("GUEST", 0, 3), entity("PER", 0, 3)]}


@pytest.mark.parametrize("apart", ["Ann left,0,3,GUEST", "Ann left,4,8,PER", "Ann left,,,"])
def test_whether_lines_apart_are_one_row_is_not_guessed(tmp_path, apart):
    content = table("Ann left,0,3,PER", "Bob,0,3,PER", apart)
    with pytest.raises(ValueError, match="x.csv, line 4: the text 'Ann left' is also in .*line 2, but with .* an 'id'"):
        read_text(tmp_path, content, "x.csv")
    wrong = []
    assert [row["text"] for row in read_text(tmp_path, content, "x.csv", errors=wrong)] == ["Bob"]
    assert len(wrong) == 1
    header, *lines = content.splitlines()
    named = "\n".join([f"id,{header}", *(f"{'ab'['Bob' in line]},{line}" for line in lines)])
    assert [row["id"] for row in read_text(tmp_path, named, "x.csv")] == ["a", "b"]
    ordered = "\n".join([header, *sorted(lines)])
    assert [row["text"] for row in read_text(tmp_path, ordered, "x.csv")] == ["Ann left", "Bob"]


def test_names_of_columns_can_be_told(tmp_path):
    content = "sentence,type,from,to,label\nAnn left,PER,0,3,1\n"
    columns = {"text": "sentence", "label": "type", "start": "from", "end": "to"}
    expected = [{"text": "Ann left", "entities": [entity("PER", 0, 3)]}]
    assert read_text(tmp_path, content, "x.csv", columns=columns) == expected
    numbers = content.replace("PER", "3")
    assert read_text(tmp_path, numbers, "x.csv", columns=columns, labels={3: "PER"}) == expected
    with pytest.raises(ValueError, match=r"line 1: columns= has 'begin', which is none of \['id', 'text'"):
        read_text(tmp_path, content, "x.csv", columns={"begin": "from"})
    with pytest.raises(ValueError, match=r"line 1: there is no column 'body', only \['sentence', 'type'"):
        read_text(tmp_path, content, "x.csv", columns={"text": "body"})
    with pytest.raises(
        ValueError, match=r"a table has the columns .* but this one has \['sentence', .*: pass columns="
    ):
        read_text(tmp_path, content, "x.csv")
    with pytest.raises(ValueError, match=r"but this one has .*: columns= names only \['text', 'label'\]"):
        read_text(tmp_path, content, "x.csv", columns={"text": "sentence", "label": "type"})


def quoted(*cells):
    return ",".join('"' + cell.replace('"', '""') + '"' for cell in cells) + "\n"


@pytest.mark.parametrize(
    "cell", [json.dumps([entity("PER", 0, 3)]), repr([entity("PER", 0, 3)]), '[[0, 3, "PER"]]', '{"PER": ["Ann"]}']
)
def test_one_line_per_text_is_read(tmp_path, cell):
    (row,) = read_text(tmp_path, ",id,text,entities\n" + quoted("0", "a", "Ann left", cell), "x.csv")
    assert row == {"id": "a", "text": "Ann left", "entities": [entity("PER", 0, 3)]}


def test_one_line_per_sentence_with_tags_is_read(tmp_path):
    words, tags = ["EU", "rejects", "["], ["B-ORG", "O", "O"]
    expected = {"tokens": words, "entities": [entity("ORG", 0, 1)]}
    for tokens_cell, tags_cell in (
        (" ".join(words), " ".join(tags)),
        (" ".join(words), str(tags)),
        (json.dumps(words), json.dumps(tags)),
        (str(words), str(tags)),
        (str(words), " ".join(tags)),
        (json.dumps(words), " ".join(tags)),
        (str(tuple(words)), str(tuple(tags))),
        (" ".join(words), str(tuple(tags))),
    ):
        assert read_text(tmp_path, "tokens,ner_tags\n" + quoted(tokens_cell, tags_cell), "x.csv") == [expected]
    numbers = "Number,Sentence,Tag\n" + quoted("1", "EU rejects [", "[1, 0, 0]")
    columns = {"tokens": "Sentence", "ner_tags": "Tag"}
    (row,) = read_text(tmp_path, numbers, "x.csv", columns=columns, labels=["O", "B-ORG"])
    assert row == {"Number": "1", **expected}


BAD = {
    "outside": ("text,start,end,label\nAnn,0,9,X\n", "line 2: entity 'X' ends at character 9, but the row has only 3"),
    "no label": ("text,start,end,label\nAnn,0,3,\n", "line 2: entity .* has no 'label'"),
    "word": ("text,start,end,label\nAnn,a,3,X\n", "line 2: 'start' of entity 'X' must be a whole number, not 'a'"),
    "half": ("text,start,end,label\nAnn,0.5,3,X\n", "line 2: 'start' of entity 'X' must be a whole number"),
    "copy": (
        "text,start,end,label,span\nAnn left,0,3,X,left\n",
        "line 2: characters 0 to 3 of the text are 'Ann', but",
    ),
    "id": (
        "id,text,start,end,label\n1,Ann,,,\n1,Bob,,,\n",
        r"line 3: the id '1' has a different text than before \(.* 2\)",
    ),
    "cells": ("text,start,end,label\nAnn,0,3\n", "line 2 has 3 cells, but there are 4 columns"),
    "comma": ('text,entities\n"a\nb",[]\nAnn, Bob,[]\n', "line 4 has 3 cells, but there are 2 columns"),
    "quote": ('text\tentities\n"Ann" left\t[]\n', "line 2: '\t' expected after '\"': a cell with a quote must be in"),
    "open": ('text,entities\n"Ann,[]\n', "line 2: unexpected end of data"),
    "empty": ("text,entities\nAnn,\n", r"line 2: 'entities' is empty: write \[\] if there are no entities"),
    "numpy": (
        "tokens,ner_tags\na b,['B-PER' 'O']\n",
        r"line 2: 'ner_tags' is neither JSON nor the Python form of \['B-PERO",
    ),
    "numpy words": ("tokens,ner_tags\n['a' 'b'],B-PER O\n", r"line 2: 'tokens' is neither JSON nor the Python form of"),
    "cut off": ("tokens,ner_tags\n['a' 'b,B-PER O\n", "line 2: 'tokens' is neither a JSON list nor a Python list"),
    "brackets": ("tokens,ner_tags\n[ a ],O O O\n", "line 2: 'tokens' is neither a JSON list nor a Python list"),
    "commas": ('tokens,ner_tags\na b,"B-PER, O"\n', "line 2: 'ner_tags' has tags with ',' between them: .* spaces"),
    "code": ('text,entities\nAnn,"[int(1)]"\n', "line 2: 'entities' is neither a JSON list nor a Python list"),
    "swallowed": ('sentence_id\tword\ttag\n1\t"\tO\n1\tEU\tB-ORG\n1\t"\tO\n', r"2: '\\tO\\n1\\tEU.*' is not a word"),
    "first": ("sentence #,word,tag\n,Ann,B-PER\n", "line 2: 'sentence #' is empty, but no sentence has begun"),
    "lengths": ("tokens,ner_tags\na b,O\n", "line 2, row 0: 2 'tokens' but 1 'ner_tags'"),
    "plain": ("sentence #,word,tag\n1,Ann,B-PER\n1,x,odd\n", "row 0: the tag 'odd' has no prefix"),
    "twice": ("text,text,start,end,label\na,b,0,1,X\n", "line 1: a table has the columns"),
    "number": ("text,start,end,label\nAnn,0,3,7\n", "line 2: the label 7 is not one of labels="),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_tables_are_refused(tmp_path, name):
    content, message = BAD[name]
    options = {"labels": {3: "PER"}} if name == "number" else {}
    with pytest.raises((TypeError, ValueError), match=rf"x\.csv, .*{message}"):
        read_text(tmp_path, content, "x.csv", **options)


@pytest.mark.parametrize("delimiter", ",;\t|")
def test_what_spreadsheets_leave_is_no_row_and_no_column(tmp_path, caplog, delimiter):
    """Empty columns behind the last one, and lines of empty cells below the last one."""
    lines = ["text,start,end,label,,", "Ann left,0,3,PER,,", "Bob,,,,,", ",,,,,", ",,,,,"]
    content = "\r\n".join(lines).replace(",", delimiter)
    rows = read_text(tmp_path, content, "x.csv")
    assert [(row["text"], row["entities"]) for row in rows] == [("Ann left", [entity("PER", 0, 3)]), ("Bob", [])]
    assert not caplog.text
    with pytest.raises(ValueError, match="line 2 has 'x' in a column without a name"):
        read_text(tmp_path, content.replace("PER" + delimiter, f"PER{delimiter}x"), "x.csv")
    content = "\r\n".join(["id,text,,", "1,Ann left,,"]).replace(",", delimiter)
    (tmp_path / "x.csv").write_text(content, encoding="utf-8")
    (item,) = read_items(find_files([tmp_path / "x.csv"]))
    assert item.columns == {"id": "1", "text": "Ann left"}


@pytest.mark.parametrize("content", ["", "\ufeff", "\n\n", "text,entities\n"])
def test_an_empty_table_has_no_rows(tmp_path, content):
    with pytest.raises(ValueError, match=r"x\.csv has no annotated rows"):
        read_text(tmp_path, content, "x.csv")


def test_a_long_document_is_read(tmp_path):
    text = "a " * 100_000
    assert read_text(tmp_path, f"text,entities\n{text},[]\n", "x.csv")[0]["text"] == text


@settings(max_examples=40)
@given(
    st.one_of(lists_of(text_rows(ANY_LABELS)), lists_of(word_rows(words=TEXTS, labels=ANY_LABELS))),
    st.sampled_from(["x.csv", "x.tsv"]),
)
def test_tables_are_read_back(rows, name):
    rows = [{**row, "id": f"n{index}"} for index, row in enumerate(rows)]
    format = "csv"
    for read in (round_trip(write_csv, rows, name, format=format), as_dataset(to_dataframe(rows), "x").to_list()):
        assert [(row["id"], row.get("text", row.get("tokens"))) for row in read] == [
            (row["id"], row.get("text", row.get("tokens"))) for row in rows
        ]
        assert [unique(row["entities"]) for row in read] == [unique(row["entities"]) for row in rows]


def test_predictions_are_written_with_score_and_span(tmp_path):
    words, text = PREDICTIONS
    write_csv(tmp_path / "x.csv", [{"id": "a", **text}, {"text": "None here", "entities": []}])
    assert (tmp_path / "x.csv").read_bytes().decode().split("\r\n") == [
        "id,text,start,end,label,score,span",
        "a,Ann met Bob,0,3,PER,0.75,Ann",
        "a,Ann met Bob,8,11,PER,0.5,Bob",
        "1,None here,,,,,",
        "",
    ]
    frame = to_dataframe([words])
    assert list(frame.columns) == ["id", "tokens", "start", "end", "label", "score", "span"]
    assert frame["start"].tolist() == [0, 2]
    assert frame["span"].tolist() == ["Ann", "Bob"]


def test_what_a_table_cannot_hold_is_refused(tmp_path):
    row = {"id": 1, "text": "a", "entities": []}
    with pytest.raises(ValueError, match="rows 0 and 1 both have the id 1, but an id must be unique"):
        write_csv(tmp_path / "x.csv", [row, row])
    with pytest.raises(ValueError, match="both have the id '1', but an id must be unique"):
        write_csv(tmp_path / "x.csv", [row, {**row, "id": "1"}])
    with pytest.raises(ValueError, match=r"both have the id 1, .* \(row 1 has no id, so its number is used"):
        write_csv(tmp_path / "x.csv", [row, {**row, "id": None}])
    with pytest.raises(ValueError, match="some rows have 'text', others 'tokens'"):
        to_dataframe([row, {"id": 2, "tokens": ["a"], "entities": []}])
    assert not list(tmp_path.iterdir())


def test_sentences_whose_words_stand_apart_are_said(tmp_path, caplog):
    text = "sentence,word,tag\n1,Ann,B-PER\n,left,O\n2,Bob,B-PER\n1,ran,O\n"
    assert [row["tokens"] for row in read_text(tmp_path, text, "x.csv")] == [["Ann", "left"], ["Bob"], ["ran"]]
    assert "sentences whose lines are not consecutive become several rows: ['1']" in caplog.text
    caplog.clear()
    read_text(tmp_path, text.replace("1,ran", "3,ran"), "x.csv")
    assert not caplog.text
