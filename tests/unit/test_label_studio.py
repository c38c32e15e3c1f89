"""Label Studio's exports: attributes of regions, several fields and several controls are read as they are meant."""

import copy

import pytest
from annotation_files import entity, read_lines, relation

TITLE, TEXT = "Ann met Bob", "Köln is where Ann met Bob."


def result(kind, start, end, values, text=TEXT, target="text", control=None, key=None, **more):
    """A result as the JSON export has it."""
    value = {"start": start, "end": end, "text": text[start:end], key or kind: values}
    control = control or {"labels": "label", "choices": "mood"}.get(kind, kind)
    return {"id": "r1", "from_name": control, "to_name": target, "type": kind, "value": value, **more}


def task(*results, **data):
    return {
        "id": 7,
        "data": data or {"text": TEXT},
        "annotations": [{"id": 9, "completed_by": 1, "was_cancelled": False, "result": list(results)}],
    }


ANN = result("labels", 14, 17, ["PER"])
KOELN = result("labels", 0, 4, ["LOC"])
SPANS = [entity("PER", 14, 17), entity("LOC", 0, 4)]
TWO = {"title": TITLE, "text": TEXT}
IN_TITLE = result("labels", 0, 3, ["PER"], TITLE, "title", "title_label")


def json_min(record):
    """The same task as JSON_MIN has it: the values, by their controls, beside the fields."""
    values = {}
    for item in record["annotations"][0]["result"]:
        if "value" in item:
            values.setdefault(item["from_name"], []).append(item["value"])
    return {**record["data"], **values, "id": 7, "annotator": 1, "annotation_id": 9, "lead_time": 3.5}


ATTRIBUTES = {
    "choices": result("choices", 14, 17, ["happy"]),
    # A TextArea of a region overwrites the copy of its text.
    "textarea": result("textarea", 14, 17, ["my note"], key="text"),
    "rating": result("rating", 14, 17, 4),
    "number": result("number", 14, 17, 4),
    "taxonomy": result("taxonomy", 14, 17, [["a", "b"]]),
}


@pytest.mark.parametrize("export", [lambda record: record, json_min])
@pytest.mark.parametrize("name", ATTRIBUTES)
def test_an_attribute_of_a_region_is_no_entity_and_is_named(tmp_path, caplog, name, export):
    record = export(task(ANN, ATTRIBUTES[name], KOELN))
    assert read_lines(tmp_path, record, record) == [{"id": 7, "text": TEXT, "entities": SPANS}] * 2
    assert caplog.text.count("ignored") == 1
    assert f"{ATTRIBUTES[name]['from_name']} (" in caplog.text
    assert "in 2 (line 1, line 2)" in caplog.text


def test_what_is_about_the_task_is_named_too(tmp_path, caplog):
    others = [
        {"type": "relation", "from_id": "r1", "to_id": "r1", "direction": "right"},
        {"type": "choices", "from_name": "topic", "to_name": "text", "value": {"choices": ["news"]}},
    ]
    (row,) = read_lines(tmp_path, task(ANN, *others))
    assert row["entities"] == SPANS[:1]
    assert "'topic (choices)' in 1 (line 1); 'relation without a label' in 1 (line 1)" in caplog.text


def related(first, second, labels, **more):
    return {"type": "relation", "from_id": first, "to_id": second, "labels": labels, **more}


def test_relations_lead_from_region_to_region(tmp_path, caplog):
    koeln = {**KOELN, "id": "r2"}
    both = {**result("labels", 22, 25, ["PER", "X"]), "id": "r3"}
    relations = [
        related("r1", "r2", ["in"], direction="right"),
        related("r1", "r2", ["has"], direction="left"),
        related("r2", "r1", ["with", "near"], direction="bi"),
        related("r3", "r2", ["in"]),
    ]
    (row,) = read_lines(tmp_path, task(ANN, koeln, both, *relations))
    assert row["entities"] == [*SPANS, entity("PER", 22, 25), entity("X", 22, 25)]
    assert row["relations"] == [
        relation("in", 0, 1),
        relation("has", 1, 0),
        relation("with", 1, 0),
        relation("with", 0, 1),
        relation("near", 1, 0),
        relation("near", 0, 1),
        relation("in", 2, 1),
        relation("in", 3, 1),
    ]
    assert not caplog.text


def test_relations_of_what_is_not_read_are_named(tmp_path, caplog):
    in_title = {**IN_TITLE, "id": "r9"}
    (row,) = read_lines(tmp_path, task(ANN, in_title, related("r1", "r9", ["x"]), **TWO), field="text")
    assert "relations" not in row
    assert "'relation of a region that is not read' in 1" in caplog.text


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (
            related("r1", "r7", ["in"]),
            r"relation 0 \('in'\) has the tail 'r7', which is not one of the IDs of the entities: \['r1'\]",
        ),
        (related("r1", "r1", ["in"]), r"relation 0 \('in'\) has entity 0 as 'head' and as 'tail'"),
        (related("r1", "r1", "in"), "the 'labels' of a relation must be a list, not 'in'"),
        (related("r1", "r1", ["in"], direction="up"), "'direction' of a relation must be one of .*, not 'up'"),
        (related("r1", "r1", ["in"], direction=["up"]), r"'direction' of a relation must be one of .*, not \['up'\]"),
        (related("r1", ["r1"], ["in"]), r"'to_id' must be a string or a number, not \['r1'\]"),
        ({**KOELN, "id": {"r": 2}}, "'id' must be a string or a number, not {'r': 2}"),
    ],
)
def test_a_relation_that_cannot_be_is_refused(tmp_path, wrong, message):
    with pytest.raises((TypeError, ValueError), match=f"line 1, row 0: .*{message}"):
        read_lines(tmp_path, task(ANN, wrong))


def test_a_region_of_another_field_needs_a_choice(tmp_path, caplog):
    record = task(IN_TITLE, ANN, KOELN, **TWO)
    message = r"line 1, row 0: the text is the field 'text', but there are also labels of the field 'title'"
    with pytest.raises(ValueError, match=message):
        read_lines(tmp_path, record)
    (row,) = read_lines(tmp_path, record, field="text")
    assert (row["text"], row["entities"]) == (TEXT, SPANS)
    assert "'title_label (labels) of title' in 1" in caplog.text
    (row,) = read_lines(tmp_path, record, field="title")
    assert (row["text"], row["entities"]) == (TITLE, [entity("PER", 0, 3)])
    with pytest.raises(ValueError, match=r"field='body' is not one of the texts \['title', 'text'\]"):
        read_lines(tmp_path, record, field="body")


def without_copies(record):
    record = copy.deepcopy(record)
    for item in record["annotations"][0]["result"]:
        del item["value"]["text"]
    return record


def test_a_region_without_a_copy_is_that_of_the_field_that_it_names(tmp_path):
    record = without_copies(task(IN_TITLE, **TWO))
    with pytest.raises(ValueError, match="there are also labels of the field 'title'"):
        read_lines(tmp_path, record)
    assert read_lines(tmp_path, record, field="title")[0]["entities"] == [entity("PER", 0, 3)]
    (row,) = read_lines(tmp_path, without_copies(task(ANN, text=TEXT, url="x")))
    assert row["entities"] == SPANS[:1]


def test_a_name_that_is_no_field_is_told_by_the_copies(tmp_path, caplog):
    # <Text name="t1" value="$title"/> <Text name="t2" value="$text"/>
    title = result("labels", 0, 3, ["PER"], TITLE, "t1", "a")
    body = [result("labels", 14, 17, ["PER"], TEXT, "t2", "b"), result("labels", 0, 4, ["LOC"], TEXT, "t2", "b")]
    record = task(title, *body, **TWO)
    for export in (lambda item: item, json_min):
        (row,) = read_lines(tmp_path, export(record), field="text")
        assert row["entities"] == SPANS
        assert "'a (labels) of title' in 1" in caplog.text
        (row,) = read_lines(tmp_path, export(record), field="title")
        assert row["entities"] == [entity("PER", 0, 3)]
    with pytest.raises(ValueError, match=r"which of the fields \['title', 'text'\] the labels of 'a' belong to"):
        read_lines(tmp_path, without_copies(record))


def test_several_controls_of_one_field_need_a_choice(tmp_path, caplog):
    noun = result("labels", 18, 21, ["VERB"], control="pos")
    for record in (task(ANN, noun, KOELN), json_min(task(ANN, noun, KOELN))):
        with pytest.raises(ValueError, match=r"row 0: the controls \['label', 'pos'\] all have labels: pass control="):
            read_lines(tmp_path, record)
        assert read_lines(tmp_path, record, control="label")[0]["entities"] == SPANS
        assert "'pos (labels)' in 1" in caplog.text
        assert read_lines(tmp_path, record, control="pos")[0]["entities"] == [entity("VERB", 18, 21)]
        assert len(read_lines(tmp_path, record, control=["label", "pos"])[0]["entities"]) == 3


def test_labels_that_are_not_of_a_text_are_refused_or_left_out(tmp_path):
    boxes = {
        "type": "rectanglelabels",
        "from_name": "box",
        "to_name": "text",
        "value": {"x": 1, "rectanglelabels": ["X"]},
    }
    with pytest.raises(ValueError, match="a region with 'rectanglelabels': only 'labels' of a Text can be read"):
        read_lines(tmp_path, task(ANN, boxes))
    assert read_lines(tmp_path, task(ANN, boxes), control="label")[0]["entities"] == SPANS[:1]


def test_a_region_without_a_label_is_no_entity_and_is_named(tmp_path, caplog):
    for export in (task, lambda *results: json_min(task(*results))):
        caplog.clear()
        (row,) = read_lines(tmp_path, export(ANN, result("labels", 0, 4, []), result("labels", 0, 4, [])))
        assert row["entities"] == SPANS[:1]
        assert "'region without a label' in 1 (line 1)" in caplog.text


JSON_MIN = json_min(task(ANN))


def test_a_region_with_several_labels_is_several_entities(tmp_path):
    region = {"start": 0, "end": 3, "text": "Ann", "labels": ["PER", "GUEST"]}
    record = {**JSON_MIN, "text": "Ann left", "label": [region]}
    (row,) = read_lines(tmp_path, record)
    assert row["entities"] == [entity("PER", 0, 3), entity("GUEST", 0, 3)]


def test_a_region_may_have_lost_white_space(tmp_path):
    # What a browser copies: one space for two, and a line end as two characters.
    text = "Berlin,  Germany\nhere"
    for found in ("Berlin, Germany\\nhere", "Berlin,  Germany\nhere", "Berlin, Germany here"):
        record = {**JSON_MIN, "text": text, "label": [{"start": 0, "end": 21, "text": found, "labels": ["LOC"]}]}
        assert read_lines(tmp_path, record)[0]["entities"] == [entity("LOC", 0, 21)]


def test_offsets_that_count_utf_16_are_converted_where_the_copies_say_so(tmp_path):
    region = {"start": 13, "end": 23, "text": "annotation", "labels": ["X"]}
    for more in ({}, {"start": 12, "end": 22}):
        (row,) = read_lines(tmp_path, {**JSON_MIN, "text": "💩This is an annotation.", "label": [{**region, **more}]})
        assert row["entities"] == [entity("X", 12, 22)]
    with pytest.raises(ValueError, match="but the annotation says 'other'"):
        read_lines(tmp_path, {**JSON_MIN, "text": "💩This is an annotation.", "label": [{**region, "text": "other"}]})
