"""Suspicious annotations as text, as rows and as a page."""

import json

import pytest
from test_label_errors import PREDICTED, ROWS

from span_marker import read_annotations
from span_marker.curation import find_label_errors
from span_marker.data import write_tasks


@pytest.fixture
def report():
    return find_label_errors(ROWS, PREDICTED)


def test_it_is_printed_with_kinds_and_suspects(report):
    assert str(report).splitlines() == [
        "2 suspects in 2 of 3 rows with 2 entities",
        "       1  wrong-label     entities that have another label",
        "       1  missing         entities that are not annotated",
        "",
        "0.750  wrong-label     row 0: 'Ann Lee': LOC -> PER (0.750)",
        "0.724  missing         row 1: 'Rome': nothing -> LOC (0.875)",
    ]


def test_long_lists_are_cut():
    rows, predicted = [ROWS[1]] * 30, [PREDICTED[1]] * 30
    lines = str(find_label_errors(rows, predicted)).splitlines()
    assert lines[-1] == "... and 10 more"
    assert len(lines) == 3 + 20 + 1


def test_suspects_are_found_by_their_kind(report):
    assert [s.text for s in report.by_kind("missing")] == ["Rome"]
    assert report.by_kind("spurious") == []
    with pytest.raises(ValueError, match="kind='wrong'"):
        report.by_kind("wrong")


def test_rows_have_a_column_per_attribute(report):
    table = report.to_pandas()
    assert table["text"].tolist() == ["Ann Lee", "Rome"]
    assert table["annotated_label"].tolist()[0] == "LOC"
    assert table["suggested_end"].tolist() == [2, 2]
    assert table[["annotated_label", "annotated_start"]].isna().to_numpy().tolist() == [[False] * 2, [True] * 2]
    empty = find_label_errors(ROWS, PREDICTED, min_probability=1).to_pandas().iloc[:0]
    assert list(empty.columns) == list(table.columns)


def test_it_is_a_dict_that_json_can_hold(report):
    values = json.loads(json.dumps(report.to_dict()))
    assert values["suspects"][0]["annotated"] == {"label": "LOC", "start": 0, "end": 2}


def test_the_page_shows_both_sides_and_escapes_the_text(tmp_path):
    rows = [{**ROWS[0], "tokens": ["<b>", "Lee", "went"]}, {"id": "<i>", "text": "x", "entities": []}]
    report = find_label_errors(rows[:1], PREDICTED[:1])
    report.write_html(tmp_path / "page.html", title="Errors")
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert "annotated LOC" in page
    assert "suggested PER" in page
    assert "&lt;b&gt;" in page
    assert "<b>" not in page
    assert 'id="kind-0"' in page


def test_tasks_have_the_suggestion_beside_the_annotation(report):
    first, second = report.tasks()
    assert first["id"] == "a"
    assert first["tokens"] == ROWS[0]["tokens"]
    assert first["entities"] == ROWS[0]["entities"]
    assert first["predictions"] == [{"label": "PER", "start": 0, "end": 2, "score": 0.75}]
    assert second["predictions"] == [{"label": "LOC", "start": 1, "end": 2, "score": 0.875}]
    rows = [
        {"text": "Ann Bo", "entities": [{"label": "X", "start": 0, "end": 3}, {"label": "PER", "start": 4, "end": 6}]}
    ]
    [task] = find_label_errors(rows, [[{"label": "PER", "score": 1.0, "start": 4, "end": 6}]]).tasks()
    assert task == {"id": 0, **rows[0], "predictions": rows[0]["entities"][1:]}


def test_tasks_keep_relations(tmp_path):
    """Of "Ann Lee", which is annotated twice and with a blank at its end, and moves; and of "Bo", which goes."""
    entities = [("X", 12, 14), ("PER", 0, 4), ("PER", 0, 3), ("LOC", 16, 20)]
    row = {
        "text": "Ann Lee met Bo, Rome",
        "entities": [dict(zip(("label", "start", "end"), entity, strict=True)) for entity in entities],
        "relations": [{"label": "met", "head": 2, "tail": 0}, {"label": "in", "head": 1, "tail": 3}],
    }
    predicted = [
        {"label": "PER", "score": 1.0, "start": 0, "end": 7},
        {"label": "LOC", "score": 1.0, "start": 16, "end": 20},
    ]
    other = {"text": "Oslo", "entities": [], "relations": None}
    report = find_label_errors([row, other], [predicted, [{"label": "LOC", "score": 1.0, "start": 0, "end": 4}]])
    first, second = sorted(report.tasks(), key=lambda task: task["id"])
    assert [entity["start"] for entity in first["entities"]] == [12, 0, 16]
    assert first["relations"] == [{"label": "met", "head": 1, "tail": 0}, {"label": "in", "head": 1, "tail": 2}]
    assert [entity["end"] for entity in first["predictions"]["entities"]] == [7, 20]
    assert first["predictions"]["relations"] == [{"label": "in", "head": 0, "tail": 1}]
    assert second["relations"] == second["predictions"]["relations"] == []
    write_tasks(tmp_path / "tasks", [first, second], "label-studio")
    read, empty = read_annotations(tmp_path / "tasks", "jsonl")
    ends = [[read["entities"][relation[end]]["label"] for end in ("head", "tail")] for relation in read["relations"]]
    assert (ends, empty["relations"]) == ([["PER", "X"], ["PER", "LOC"]], [])
    json.dumps(report.to_dict())
