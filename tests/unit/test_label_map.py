"""Labels get other names when files are read, whatever the format."""

import pytest
from annotation_files import entity, relation

from span_marker import read_annotations, write_annotations

TOKENS = ["Ann", "joined", "Acme", "in", "Rome"]
ROW = {"tokens": TOKENS, "entities": [entity("PER", 0, 1), entity("ORG", 2, 3), entity("LOC", 4, 5)]}


@pytest.mark.parametrize("name", ["x.conll", "x.jsonl", "x.csv", "x.spacy", "brat/"])
def test_labels_change_at_once_or_are_left_out(tmp_path, name):
    path = f"{tmp_path}/{name}"
    write_annotations(path, [ROW])
    data = read_annotations(path, label_map={"PER": "ORG", "ORG": "firm", "LOC": None})
    assert [one["label"] for one in data[0]["entities"]] == ["ORG", "firm"]
    data = read_annotations(path, label_map={"PER": "", "ORG": ""})
    assert [one["label"] for one in data[0]["entities"]] == ["LOC"]
    assert read_annotations(path, label_map={})[0]["entities"] == read_annotations(path)[0]["entities"]


def test_relations_follow_their_entities(tmp_path, caplog):
    relations = [relation("joined", 0, 1), relation("in", 1, 2), relation("at", 0, 2)]
    write_annotations(tmp_path / "x.jsonl", [{**ROW, "relations": relations}, {**ROW, "relations": []}])
    data = read_annotations(tmp_path / "x.jsonl", label_map={"ORG": None, "at": "near"})
    assert data["relations"] == [[relation("near", 0, 1)], []]
    assert "2 relations are left out, since label_map drops or merges their entities" in caplog.text
    data = read_annotations(tmp_path / "x.jsonl", label_map={"in": None})
    assert data["relations"][0] == [relations[0], relations[2]]


def test_what_becomes_the_same_is_kept_once(tmp_path, caplog):
    """The labels of two annotation schemes, merged: their entities, and the relations between them."""
    entities = [entity("PER", 0, 1), entity("ORG", 2, 3), entity("PERSON", 0, 1), entity("LOC", 0, 1)]
    relations = [relation("joined", 0, 1), relation("joined", 2, 1), relation("is", 0, 2), relation("at", 2, 3)]
    write_annotations(tmp_path / "x.jsonl", [{"tokens": TOKENS, "entities": entities, "relations": relations}])
    (row,) = read_annotations(tmp_path / "x.jsonl", label_map={"PERSON": "PER"})
    assert row["entities"] == [entities[0], entities[1], entities[3]]
    assert row["relations"] == [relation("joined", 0, 1), relation("at", 0, 2)]
    assert "1 entities become duplicates of others" in caplog.text
    assert "1 relations are left out, since label_map" in caplog.text


def test_labels_that_a_file_lacks_are_said(tmp_path, caplog):
    """Another file of the same data may have them."""
    write_annotations(tmp_path / "x.jsonl", [ROW])
    read_annotations(tmp_path / "x.jsonl", label_map={"MISC": "X"})
    assert "the labels ['MISC'] of label_map do not occur: the labels are ['LOC', 'ORG', 'PER']" in caplog.text


@pytest.mark.parametrize(
    ("label_map", "error", "message"),
    [
        ({"PER": "O"}, ValueError, "pass None to leave 'PER' out"),
        ({"PER": " "}, ValueError, "pass None to leave 'PER' out"),
        ({"PER": 1}, TypeError, "must be two strings"),
        ("PER=X", TypeError, "label_map must be a dict of old and new labels, not 'PER=X'"),
    ],
)
def test_what_is_refused(tmp_path, label_map, error, message):
    write_annotations(tmp_path / "x.jsonl", [ROW])
    with pytest.raises(error, match=message):
        read_annotations(tmp_path / "x.jsonl", label_map=label_map)
