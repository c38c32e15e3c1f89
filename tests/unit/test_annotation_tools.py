"""Exports of annotation tools: each is read as the row that it means, and what cannot be read is refused in words."""

import json
import logging

import pytest
from annotation_files import ANN, BOB, COLOGNE, TEXT, entity, read_lines
from hypothesis import given, settings
from hypothesis import strategies as st

from span_marker.data.annotation_tools import SHAPES, find_shape
from span_marker.data.files import read_annotations


def test_the_texts_offsets_are_as_these_tests_need_them():
    assert [TEXT[start:end] for _, start, end in (ANN, BOB, COLOGNE)] == ["Ann", "Bob", "Köln"]


PRODIGY = {
    "text": TEXT,
    "_input_hash": 1333440749,
    "_task_hash": 39342451,
    "_is_binary": False,
    "tokens": [{"text": "Ann", "start": 0, "end": 3, "id": 0, "ws": True}],
    "_view_id": "ner_manual",
    "spans": [
        {"start": 0, "end": 3, "token_start": 0, "token_end": 0, "label": "PER", "text": "Ann"},
        {"start": 14, "end": 17, "token_start": 3, "token_end": 3, "label": "PER"},
        {"start": 21, "end": 25, "token_start": 6, "token_end": 6, "label": "LOC"},
    ],
    "answer": "accept",
    "_timestamp": 1658923692,
}
REGIONS = [
    {"start": start, "end": end, "text": TEXT[start:end], "labels": [label]}
    for label, start, end in (ANN, BOB, COLOGNE)
]
LABEL_STUDIO = {
    "id": 7,
    "data": {"text": TEXT, "source": "x"},
    "annotations": [
        {
            "id": 9,
            "completed_by": {"id": 1, "email": "a@example.org"},
            "was_cancelled": False,
            "result": [
                {"value": value, "id": "gew", "from_name": "label", "to_name": "text", "type": "labels"}
                for value in REGIONS
            ]
            + [{"type": "choices", "value": {"choices": ["news"]}}, {"type": "relation", "from_id": "a", "to_id": "b"}],
        }
    ],
    "predictions": [],
}
JSON_MIN = {
    "text": TEXT,
    "id": 7,
    "label": REGIONS,
    "topic": "news",
    "annotator": 1,
    "annotation_id": 9,
    "created_at": "2024-02-12T00:00:00Z",
    "updated_at": "2024-02-12T00:00:00Z",
    "lead_time": 8.4,
}
SPANS = [entity(*ANN), entity(*BOB), entity(*COLOGNE)]
ARGILLA_1 = {
    "text": TEXT,
    "tokens": ["Ann"],
    "prediction": None,
    "annotation": SPANS,
    "annotation_agent": "argilla",
    "id": "u",
    "metadata": {},
    "status": "Validated",
}
ARGILLA_2 = {
    "id": "u",
    "fields": {"text": TEXT},
    "metadata": {},
    "suggestions": {"spans": {"value": [entity("X", 0, 1)], "score": None, "agent": None}},
    "responses": {"spans": [{"value": SPANS, "user_id": "u1"}], "topic": [{"value": "news", "user_id": "u1"}]},
    "vectors": {},
    "_server_id": "s",
}
ARGILLA_2_FLAT = {
    "id": "u",
    "_server_id": "s",
    "text": TEXT,
    "source": "x",
    "spans.responses": [SPANS],
    "spans.responses.users": ["u1"],
    "spans.responses.status": ["submitted"],
    "spans.suggestion": None,
    "topic.responses": ["news"],
}
TRIPLES = [[start, end, label] for label, start, end in (ANN, BOB, COLOGNE)]
OFFSETS = [
    {"id": 1, "label": label, "start_offset": start, "end_offset": end} for label, start, end in (ANN, BOB, COLOGNE)
]

EXPORTS = {
    "rows of this library": {"text": TEXT, "entities": SPANS},
    "spaCy's tuples": [TEXT, {"entities": TRIPLES}],
    "spaCy and Prodigy": {"text": TEXT, "spans": SPANS},
    "Prodigy": PRODIGY,
    "doccano": {"id": 1, "text": TEXT, "label": TRIPLES, "Comments": []},
    "older doccano": {"text": TEXT, "labels": TRIPLES},
    "doccano, renamed": {"data": TEXT, "label": TRIPLES},
    "triples as entities": {"text": TEXT, "entities": TRIPLES},
    "doccano, old": {"id": 1, "text": TEXT, "annotations": [{**item, "user": 1} for item in OFFSETS], "meta": {}},
    "doccano with relations": {"id": 1, "text": TEXT, "entities": OFFSETS, "relations": [], "Comments": []},
    "Label Studio": LABEL_STUDIO,
    "GLiNER2": {"input": TEXT, "output": {"entities": {"PER": ["Ann", "Bob"], "LOC": ["Köln"]}}},
    "strings": {"text": TEXT, "entities": [{"text": TEXT[start:end], "label": label} for start, end, label in TRIPLES]},
    "strings by label": {"id": 5, "text": TEXT, "entities": {"PER": ["Ann", "Bob"], "LOC": ["Köln"]}},
    "older Label Studio": {"id": 7, "data": {"body": TEXT}, "completions": LABEL_STUDIO["annotations"]},
    "Label Studio JSON_MIN": JSON_MIN,
    "Argilla 1": ARGILLA_1,
    "Argilla 1, tuples": {**ARGILLA_1, "annotation": [list(triple) for triple in (ANN, BOB, COLOGNE)]},
    "Argilla 2": ARGILLA_2,
    "Argilla 2, flat": ARGILLA_2_FLAT,
}


@pytest.mark.parametrize("name", EXPORTS)
def test_an_export_is_read(tmp_path, name):
    (row,) = read_lines(tmp_path, EXPORTS[name])
    record = EXPORTS[name]
    has_id = isinstance(record, dict) and "id" in record
    assert row == {**({"id": record["id"]} if has_id else {}), "text": TEXT, "entities": SPANS}


@pytest.mark.parametrize("name", EXPORTS)
def test_an_export_has_one_shape(name):
    assert [shape.recognizes(EXPORTS[name]) for shape in SHAPES].count(True) == 1


def test_all_exports_can_stand_in_one_array(tmp_path):
    path = tmp_path / "all.json"
    path.write_text(json.dumps([{"text": "a", "spans": []}, [TEXT, {"entities": TRIPLES}]], indent=2), encoding="utf-8")
    assert [len(row["entities"]) for row in read_annotations(path)] == [0, 3]
    path.write_text(json.dumps([TEXT, {"entities": TRIPLES}]), encoding="utf-8")
    assert [len(row["entities"]) for row in read_annotations(path)] == [3]


LABEL_CONFIG = [
    {"id": 3, "text": "PER", "prefix_key": None, "suffix_key": "p", "background_color": "#209cee"},
    {"id": 5, "text": "LOC", "prefix_key": None, "suffix_key": "l", "background_color": "#ffcc00"},
]


@pytest.mark.parametrize("labels", [{3: "PER", 5: "LOC"}, LABEL_CONFIG, ["a", "b", "c", "PER", "d", "LOC"], "file"])
def test_labels_of_doccano_may_be_numbers(tmp_path, labels):
    if labels == "file":
        labels = tmp_path / "label_config.json"
        labels.write_text(json.dumps(LABEL_CONFIG), encoding="utf-8")
    numbers = {"PER": 3, "LOC": 5}
    triples = [[start, end, numbers[label]] for start, end, label in TRIPLES]
    offsets = [{**item, "label": numbers[item["label"]]} for item in OFFSETS]
    for record in ({"text": TEXT, "label": triples}, {"text": TEXT, "annotations": offsets}):
        assert read_lines(tmp_path, record, labels=labels) == [{"text": TEXT, "entities": SPANS}]
        with pytest.raises(
            ValueError, match=r"line 1, row 0: the label 3 is a number: name it with labels=\{3: 'NAME'"
        ):
            read_lines(tmp_path, record)
        with pytest.raises(ValueError, match=r"the label 5 is not one of labels=\{3: 'PER'\}"):
            read_lines(tmp_path, record, labels={3: "PER"})


def test_a_triple_with_its_label_first_is_said_to_be_one(tmp_path):
    for record in (
        {"text": "Ann met", "label": [[0, 3, "PER"], ["PER", 0, 3]]},
        ["Ann met", {"entities": [["PER", 0, 3]]}],
    ):
        with pytest.raises(
            TypeError, match=r"an entity is \[start, end, label\], but \['PER', 0, 3\] has the label first"
        ):
            read_lines(tmp_path, record)


def test_tags_may_be_numbers_with_names(tmp_path):
    record = {"tokens": ["Ann", "met", "Bob"], "ner_tags": [1, 0, 1]}
    (row,) = read_lines(tmp_path, record, labels=["O", "B-PER"])
    assert row["entities"] == [entity("PER", 0, 1), entity("PER", 2, 3)]


def test_a_choice_that_no_record_has_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"data\.jsonl: field, labels has no effect: no record offers such a choice"):
        read_lines(tmp_path, {"text": "a", "entities": []}, labels=["X"], field="title")


def test_a_file_of_ner_annotator_is_read_and_null_left_out(tmp_path, caplog):
    # The newlines are those that the tool adds; a text that was skipped is null.
    text = "Ann went to Köln.\r"
    whole = {
        "classes": ["PERSON", "CITY"],
        "annotations": [[text, {"entities": [[0, 3, "PERSON"], [12, 16, "CITY"]]}], None, ["", {"entities": []}]],
    }
    path = tmp_path / "annotations.json"
    path.write_text(json.dumps(whole), encoding="utf-8")
    found = list(read_annotations(path))
    assert found[0] == {"text": text, "entities": [entity("PERSON", 0, 3), entity("CITY", 12, 16)]}
    assert found[1] == {"text": "", "entities": []}
    assert "1 of 3 records are left out: 1 have no annotation (annotation 1)" in caplog.text
    whole["annotations"][0][1]["entities"][1][1] = 99
    path.write_text(json.dumps(whole), encoding="utf-8")
    with pytest.raises(ValueError, match=r"annotations\.json, annotation 0, row 0: entity 'CITY' ends at character 99"):
        read_annotations(path)


def label_studio(*annotators, **changes):
    one = LABEL_STUDIO["annotations"][0]
    return {**LABEL_STUDIO, "annotations": [{**one, "completed_by": name, **changes} for name in annotators]}


UNFINISHED = {
    "Prodigy rejected": {**PRODIGY, "answer": "reject"},
    "Prodigy ignored": {**PRODIGY, "answer": "ignore"},
    "Label Studio skipped": label_studio(1, was_cancelled=True),
    "Label Studio empty": label_studio(),
    "Argilla 1 discarded": {**ARGILLA_1, "status": "Discarded"},
    "Argilla 1 default": {**ARGILLA_1, "annotation": None},
    "Argilla 2 empty": {**ARGILLA_2, "responses": {}},
    "Argilla 2 draft": {**ARGILLA_2, "responses": {"s": [{"value": SPANS, "user_id": "u", "status": "draft"}]}},
    "Argilla 2 flat draft": {**ARGILLA_2_FLAT, "spans.responses.status": ["discarded"]},
    "Argilla 2 flat empty": {**ARGILLA_2_FLAT, "spans.responses": None},
}


@pytest.mark.parametrize("name", UNFINISHED)
def test_what_is_not_finished_is_left_out_and_counted(tmp_path, caplog, name):
    with caplog.at_level(logging.WARNING):
        rows = read_lines(tmp_path, UNFINISHED[name], {"text": "a", "entities": []}, UNFINISHED[name])
    assert [row["text"] for row in rows] == ["a"]
    assert "2 of 3 records are left out" in caplog.text
    assert "line 1, line 3" in caplog.text


def test_an_annotation_without_entities_is_a_row(tmp_path, caplog):
    without = {key: value for key, value in JSON_MIN.items() if key != "label"}
    empty = {"spans": [{"value": [], "user_id": "u"}]}
    records = [label_studio(1, result=[]), without, {**ARGILLA_2, "responses": empty}, {**ARGILLA_1, "annotation": []}]
    for record in records:
        (row,) = read_lines(tmp_path, record)
        assert row["entities"] == []
    assert not caplog.text


SEVERAL = {
    "Label Studio": [label_studio(1, {"id": 2, "email": "b@example.org"})],
    "Label Studio JSON_MIN": [JSON_MIN, {**JSON_MIN, "annotator": 2, "annotation_id": 10}],
    "Prodigy": [{**PRODIGY, "_annotator_id": name} for name in (1, 2)],
    "Argilla 2": [{**ARGILLA_2, "responses": {"s": [{"value": SPANS, "user_id": user} for user in (1, 2)]}}],
}


@pytest.mark.parametrize("name", SEVERAL)
def test_several_annotators_need_a_choice(tmp_path, name):
    with pytest.raises(ValueError, match=r"row \d.*several annotations of the same text, by 1, .*2.*annotator="):
        read_lines(tmp_path, *SEVERAL[name])
    for choice in (1, "2"):
        (row,) = read_lines(tmp_path, *SEVERAL[name], annotator=choice)
        assert row["entities"] == SPANS


def test_an_annotator_may_be_an_address_and_be_missing(tmp_path, caplog):
    (row,) = read_lines(tmp_path, LABEL_STUDIO, JSON_MIN, annotator="a@example.org")
    assert row["entities"] == SPANS
    assert "1 have no annotation by 'a@example.org' (line 2)" in caplog.text
    with pytest.raises(ValueError, match="does not say who annotated it: leave annotator='x' out"):
        read_lines(tmp_path, {"text": "a", "spans": []}, annotator="x")


JSON_VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-2, 9), st.just(0.5), st.sampled_from(["", "a", "labels", "Ann"])),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(st.sampled_from(["start", "end", "label", "value"]), inner, max_size=2),
    ),
    max_leaves=4,
)


GLINER_RECORD = {"id": 7, "tokenized_text": ["Ann", "Lee", "met"], "ner": [[0, 1, "PER"], [0, 0, "NAME"]]}


@st.composite
def broken_records(draw):
    """A real record with one value, anywhere in it, that is something else."""

    def break_one(value):
        if isinstance(value, (dict, list)) and value and draw(st.integers(0, 3)):
            key = draw(st.sampled_from(sorted(value) if isinstance(value, dict) else range(len(value))))
            changed = value.copy()
            changed[key] = break_one(value[key])
            return changed
        return draw(JSON_VALUES)

    return break_one(draw(st.sampled_from([*EXPORTS.values(), GLINER_RECORD])))


def read_or_refuse(record):
    try:
        return find_shape(record, "here").read(record, "here")
    except (TypeError, ValueError) as error:
        return str(error)


@settings(max_examples=300)
@given(broken_records())
def test_a_broken_record_is_read_or_refused_in_words(record):
    found = read_or_refuse(record)
    if isinstance(found, str):
        assert found.startswith("here")
        return
    for annotation in found.annotations:
        for label, start, end, _ in annotation.entities:
            assert label
            assert 0 <= start < end <= len(found.content.get("text", found.content.get("tokens")))
