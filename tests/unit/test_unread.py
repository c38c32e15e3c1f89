"""Annotation that nothing reads, because it has another name, is told."""

import pytest
from annotation_files import entity, read_lines
from datasets import Dataset

from span_marker import infer_labels, read_annotations, validate

TEXT, WORDS = "Ann went to Rome.", ["Ann", "went", "to", "Rome", "."]
SPANS = [entity("PER", 0, 3), entity("LOC", 12, 16)]
TRIPLES = [[0, 3, "PER"], [12, 16, "LOC"]]
ROW = {"text": TEXT, "entities": SPANS}


@pytest.mark.parametrize("name", ["entitis", "Entities", "entitiees", "entitties", "ENTITIES"])
def test_a_misspelled_key_is_named_and_renaming_it_suffices(tmp_path, name):
    with pytest.raises(ValueError, match=f"line 2, row 1 .*: rename '{name}' to 'entities'$"):
        read_lines(tmp_path, ROW, {"text": TEXT, name: SPANS})
    with pytest.raises(ValueError, match=f"is '{name}' a misspelling of 'entities'"):
        validate([{"text": TEXT, name: SPANS}])


@pytest.mark.parametrize(
    ("content", "name", "value"),
    [
        ({"text": TEXT}, "entitis", SPANS),
        ({"text": TEXT}, "spans", SPANS),
        ({"text": TEXT}, "annotations", [{"type": "PER", "offset": 0, "length": 3}]),
        ({"tokens": WORDS}, "tags", ["B-PER", "O", "O", "B-LOC", "O"]),
    ],
)
def test_a_record_without_entities_that_has_some_elsewhere_is_told(tmp_path, caplog, content, name, value):
    """One that has entities may have predictions beside them."""
    empty = {**content, "entities": []}
    rows = read_lines(tmp_path, empty, {**empty, name: value})
    assert [row["entities"] for row in rows] == [[], []]
    assert f"may have some under another one: {name!r} in 1 (line 2)" in caplog.text
    caplog.clear()
    read_lines(tmp_path, {**content, "entities": [entity("PER", 0, 1)], name: value})
    assert "under another" not in caplog.text


@pytest.mark.parametrize("name", ["label", "labels", "ner"])
def test_triples_that_are_not_read_are_told_and_no_column(tmp_path, caplog, name):
    with pytest.raises(ValueError, match=f"the values of '{name}' are not all of one type: convert them, or remove"):
        read_lines(tmp_path, {"tokens": WORDS, "entities": [], name: [[0, 0, "PER"]]})
    assert f"may have some under another one: {name!r} in 1 (line 1)" in caplog.text


@pytest.mark.parametrize("value", [[], ["a", "b"], [1, 2], [{"text": "Ann", "start": 0, "end": 3}], "PER", None])
def test_other_columns_are_no_annotation(tmp_path, caplog, value):
    """Such as the tokens of Prodigy, the classes of a text, or its comments."""
    read_lines(tmp_path, {"text": TEXT, "entities": [], "others": value})
    assert not caplog.text


def test_doccano_keys_that_differ_are_refused_and_empty_ones_hide_nothing(tmp_path):
    rows = read_lines(tmp_path, {"text": TEXT, "label": [], "labels": TRIPLES}, {"text": TEXT, "label": TRIPLES})
    assert [row["entities"] for row in rows] == [SPANS, SPANS]
    with pytest.raises(ValueError, match=r"different entities under the keys \['label', 'labels'\]"):
        read_lines(tmp_path, {"text": TEXT, "label": TRIPLES[:1], "labels": TRIPLES})


@pytest.mark.parametrize("use", [validate, infer_labels])
@pytest.mark.parametrize("make", [list, Dataset.from_list])
def test_a_misspelled_column_beside_the_right_one_is_told(use, make, caplog):
    use(make([{**ROW, "entitis": SPANS}]))
    assert "The column 'entitis' of the annotated data is ignored; 'entities' is read instead." in caplog.text
    caplog.clear()
    use(make([{**ROW, "entity": "x", "texts": "y", "id": 3, "spans": SPANS}]))
    assert not caplog.text


def test_the_training_data_of_spacy_2_is_named(tmp_path):
    tokens = [{"orth": "Ann", "ner": "U-PER"}]
    record = {"id": 0, "paragraphs": [{"raw": "Ann", "sentences": [{"tokens": tokens}]}]}
    with pytest.raises(ValueError, match="spaCy 2 wrote it: convert it with 'python -m spacy convert"):
        read_lines(tmp_path, record)


def test_an_empty_object_has_no_keys(tmp_path):
    (tmp_path / "x.json").write_text("{}")
    with pytest.raises(ValueError, match=r"has the keys \[\], which is none"):
        read_annotations(tmp_path / "x.json")
