"""Relations of rows: what is written is read back, what a format lacks is said, and they follow their entities."""

import json

import pytest
from annotation_files import (
    TEXT,
    entity,
    lists_of,
    read_lines,
    read_text,
    related,
    relation,
    round_trip,
    text_rows,
    word_rows,
)
from datasets import Dataset
from helpers import relation_model
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny import build_model

from span_marker import read_annotations, to_dataframe, validate, write_annotations, write_jsonl
from span_marker.data.columns import RowReader, read_columns
from span_marker.data.gliner import write_gliner
from span_marker.data.html import write_html
from span_marker.data.row_relations import RowRelation, distinct_relations, move_relations, parse_relations
from span_marker.data.row_writing import without_repetitions
from span_marker.data.rows import RowEntity, parse_row
from span_marker.data.task_files import write_tasks

WORDS = ["Ann", "runs", "Acme", "in", "Rome"]
ROW = {
    "tokens": WORDS,
    "entities": [entity("PER", 0, 1), entity("ORG", 2, 3), entity("LOC", 4, 5)],
    "relations": [relation("runs", 0, 1), relation("in", 1, 2)],
}


@given(lists_of(related(text_rows())) | lists_of(related(word_rows())))
@settings(max_examples=30)
def test_json_lines_have_the_same_relations(rows):
    assert round_trip(write_jsonl, rows, "x.jsonl") == rows
    assert round_trip(write_jsonl, Dataset.from_list(rows), "x.jsonl") == rows


@given(related(text_rows()) | related(word_rows()))
def test_the_reader_of_columns_reads_what_the_reader_of_rows_reads(row):
    data = Dataset.from_list([row])
    reader = RowReader.from_dataset(data, "x")
    [read] = [reader.read(index, *values) for index, values in enumerate(read_columns(data, reader.columns))]
    assert read == parse_row(row, "row 0")
    assert [found.to_dict() for found in read.relations] == row["relations"]


@given(st.data(), st.integers(2, 6))
def test_relations_follow_their_entities_to_other_places(data, number):
    """Oracle: the relations as pairs of names. A name that has no place any more has no relation."""
    names = [f"e{index}" for index in range(number)]
    pairs = st.tuples(st.integers(0, number - 1), st.integers(0, number - 1)).filter(lambda pair: pair[0] != pair[1])
    relations = [RowRelation("x", *pair) for pair in data.draw(st.lists(pairs, max_size=6))]
    kept = data.draw(st.permutations(names).map(lambda order: order[: data.draw(st.integers(0, number))]))
    moved = move_relations(relations, [kept.index(name) if name in kept else None for name in names])
    expected = [(names[head], names[tail]) for _, head, tail, _ in relations if {names[head], names[tail]} <= {*kept}]
    assert [(kept[head], kept[tail]) for _, head, tail, _ in moved] == expected


def test_equal_entities_are_one_and_so_are_their_relations():
    ann, acme = RowEntity("PER", 0, 1), RowEntity("ORG", 2, 3)
    row = parse_row({"tokens": WORDS, "entities": [e._asdict() for e in (acme, ann, ann)], "relations": []}, "row 0")
    row = row._replace(relations=tuple(RowRelation("x", *pair) for pair in ((0, 1), (0, 2), (2, 0))))
    assert without_repetitions(row, "row 0")[2:] == ([ann, acme], (RowRelation("x", 1, 0), RowRelation("x", 0, 1)))


@pytest.mark.parametrize("target", ["x.spacy", "brat/", "page", "label-studio", "prodigy", "argilla"])
def test_a_relation_of_two_equal_entities_is_not_lost(tmp_path, target):
    ann = {"label": "PER", "start": 0, "end": 3}
    bad = {"text": "Ann left", "entities": [ann, ann], "relations": [{"label": "x", "head": 0, "tail": 1}]}
    good = {"text": "Bo left", "entities": [], "relations": []}

    def write(rows, **options):
        if target == "page":
            write_html(tmp_path / "x.html", rows, **options)
        elif "." in target or "/" in target:
            write_annotations(f"{tmp_path}/{target}", rows, **options)
        else:
            write_tasks(tmp_path / "x.json", rows, tool=target)

    with pytest.raises(
        ValueError, match=r"row 0.*: relation 0 \('x'\) joins the entities 0 and 1, which have the same"
    ):
        write([bad, good])
    if target in ("x.spacy", "brat/", "page"):
        errors = []
        write([bad, good], errors=errors)
        assert len(errors) == 1
    write_jsonl(tmp_path / "x.jsonl", [bad])
    assert read_annotations(tmp_path / "x.jsonl")["relations"] == [bad["relations"]]


def test_the_first_of_equal_relations_stays():
    relations = [RowRelation("x", 0, 1, 0.5), RowRelation("x", 0, 1, 0.25), RowRelation("x", 1, 0)]
    assert distinct_relations(relations) == [relations[0], relations[2]]


def test_a_malformed_entity_takes_its_relations_along_and_no_others():
    row = {**ROW, "entities": [entity("PER", 0, 9), *ROW["entities"][1:]]}
    report = validate([row])
    assert [problem.kind for problem in report.problems] == ["malformed-entity"]
    assert parse_relations(ROW["relations"], 3, "row 0") == [RowRelation("runs", 0, 1), RowRelation("in", 1, 2)]


WITHOUT = {
    "conll": lambda path: write_annotations(path / "x.conll", [ROW]),
    "csv": lambda path: write_annotations(path / "x.csv", [ROW]),
    "gliner": lambda path: write_gliner(path / "x.jsonl", [ROW]),
    "inline": lambda path: write_annotations(path / "x.txt", [ROW], format="inline"),
    "data frame": lambda path: to_dataframe([ROW]),
}


@pytest.mark.parametrize("name", WITHOUT)
def test_a_format_without_relations_says_so(tmp_path, caplog, name):
    WITHOUT[name](tmp_path)
    assert "2 relations are not written, since the format does not support them" in caplog.text


def test_relations_of_rows_with_tags_are_not_written_in_silence(tmp_path, caplog):
    data = Dataset.from_list([{"tokens": WORDS, "ner_tags": ["O"] * 5, "relations": []}])
    write_jsonl(tmp_path / "x.jsonl", data)
    assert "The column 'relations' is not written" in caplog.text
    assert set(json.loads((tmp_path / "x.jsonl").read_text())) == {"tokens", "entities"}


@pytest.mark.parametrize(("model", "severity"), [(None, "note"), ("relations", "error"), ("entities", None)])
def test_relations_beside_tags_are_reported_where_training_refuses_them(model, severity):
    data = Dataset.from_list([{"tokens": WORDS, "ner_tags": ["O"] * 5, "relations": [relation("x", 0, 1)]}])
    model = model and (build_model() if model == "entities" else relation_model())
    problems = [(p.kind, p.severity) for p in validate(data, model).problems if p.kind == "malformed-relation"]
    assert problems == ([("malformed-relation", severity)] if severity else [])


RECORDS = {
    "strings": {"text": "Ann", "entities": [{"text": "Ann", "label": "PER"}], "relations": [{"a": 1}]},
    "gliner": {"tokenized_text": ["Ann"], "ner": [[0, 0, "PER"]], "relations": [{"a": 1}]},
    "tags": {"tokens": ["Ann"], "ner_tags": ["B-PER"], "relations": [{"a": 1}]},
    "triples": {"text": "Ann", "label": [[0, 3, "PER"]], "relations": [{"a": 1}]},
}


@pytest.mark.parametrize("name", RECORDS)
def test_relations_of_records_without_a_place_for_them_are_named(tmp_path, caplog, name):
    [row] = read_lines(tmp_path, RECORDS[name])
    assert "relations" not in row
    assert "'relations' in 1 (line 1)" in caplog.text


def test_rows_that_say_nothing_of_relations_are_not_read_as_rows_without_any(tmp_path):
    empty = {"text": "Ann", "entities": []}
    rows = read_lines(tmp_path, empty, {**empty, "relations": []}, {**empty, "relations": None})
    assert [row["relations"] for row in rows] == [None, [], None]
    lines = "text,entities,relations\nAnn,[],\nAnn,[],[]\n"
    assert [row["relations"] for row in read_text(tmp_path, lines, "x.csv")] == [None, []]


TOOLS = {
    "doccano": [
        {
            "text": "Ann Bob",
            "entities": [{"id": i, "label": "PER", "start_offset": 4 * i, "end_offset": 4 * i + 3} for i in (0, 1)],
        },
        {"relations": [{"from_id": 0, "to_id": 1, "type": "met"}]},
    ],
    "prodigy": [
        {"text": "Ann Bob", "answer": "accept", "spans": [{"start": s, "end": s + 3, "label": "PER"} for s in (0, 4)]},
        {
            "relations": [
                {
                    "label": "met",
                    "head_span": {"start": 0, "end": 3},
                    "child_span": {"start": 4, "end": 7},
                    "head": 0,
                    "child": 1,
                }
            ]
        },
    ],
}


@pytest.mark.parametrize("name", TOOLS)
def test_records_of_tools_without_relations_have_none_where_others_have_some(tmp_path, name):
    record, relations = TOOLS[name]
    assert "relations" not in read_lines(tmp_path, record, {**record, "relations": []})[0]
    rows = read_lines(tmp_path, record, {**record, **relations}, {**record, "relations": []})
    assert [row["relations"] for row in rows] == [[], [relation("met", 0, 1)], []]


def test_scores_are_written_and_other_keys_of_files_are_named(tmp_path, caplog):
    row = {**ROW, "relations": [{**relation("runs", 0, 1), "score": 0.5, "source": "x"}]}
    write_jsonl(tmp_path / "x.jsonl", [row])
    assert json.loads((tmp_path / "x.jsonl").read_text())["relations"] == row["relations"]
    [found] = read_lines(tmp_path, row)
    assert found["relations"] == [relation("runs", 0, 1)]
    assert "'relations: score' in 1 (line 1); 'relations: source' in 1 (line 1)" in caplog.text


def test_a_cell_of_a_table_has_relations_as_json(tmp_path):
    cells = ["Ann runs Acme", json.dumps([entity("PER", 0, 3), entity("ORG", 9, 13)]), json.dumps(ROW["relations"][:1])]
    quoted = ",".join('"' + cell.replace('"', '""') + '"' for cell in cells)
    [row] = read_text(tmp_path, f"text,entities,relations\n{quoted}\n", "x.csv")
    assert row["relations"] == ROW["relations"][:1]


def test_doccano_names_entities_by_their_ids(tmp_path):
    spans = [(7, "PER", 0, 3), (3, "LOC", 21, 25)]
    record = {
        "text": TEXT,
        "entities": [{"id": i, "label": label, "start_offset": s, "end_offset": e} for i, label, s, e in spans],
        "relations": [{"id": 1, "from_id": 3, "to_id": 7, "type": "of"}],
    }
    [row] = read_lines(tmp_path, record)
    assert row["relations"] == [relation("of", 1, 0)]
    record["relations"][0]["to_id"] = 8
    with pytest.raises(
        ValueError, match=r"relation 0 \('of'\) has the tail 8, which is not one of the IDs of the entities: \[7, 3\]"
    ):
        read_lines(tmp_path, record)
    record["relations"][0]["to_id"] = [7]
    with pytest.raises(TypeError, match=r"line 1, row 0: 'to_id' must be a string or a number, not \[7\]"):
        read_lines(tmp_path, record)
    record["relations"][0]["to_id"] = record["entities"][0]["id"] = 3
    with pytest.raises(ValueError, match="line 1, row 0: entities 0 and 1 both have the 'id' 3"):
        read_lines(tmp_path, record)
    del record["relations"]
    assert len(read_lines(tmp_path, record)[0]["entities"]) == 2


def test_fixes_move_relations_with_their_entities():
    """Entity 0 is dropped, entity 2 is the same as entity 1, entity 3 loses a space."""
    row = {
        "text": "Ann runs Acme in Rome",
        "entities": [
            entity("X", 3, 4),
            entity("PER", 0, 3),
            entity("PER", 0, 3),
            entity("ORG", 8, 13),
            entity("LOC", 17, 21),
        ],
        "relations": [
            relation("lost", 0, 1),
            relation("runs", 2, 3),
            relation("self", 1, 2),
            {**relation("in", 3, 4), "source": "x"},
        ],
    }
    expected = [relation("runs", 0, 1), {**relation("in", 1, 2), "source": "x"}]
    for data in ([row], Dataset.from_list([row])):
        fixed, changes = validate(data).fix(data)
        [found] = list(fixed)
        assert [{k: v for k, v in r.items() if v is not None} for r in found["relations"]] == expected
        assert [e["label"] for e in found["entities"]] == ["PER", "ORG", "LOC"]
        assert "is dropped, which 1 relations refer to" in str(changes)
        assert validate(fixed).is_clean
