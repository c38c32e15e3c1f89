"""Task files: what a tool imports, is corrected, exported and read again, without losing anything."""

import json
import tempfile
from pathlib import Path

import pandas
import pytest
from annotation_files import entities_of, entity, read_lines, related, related_spans, relation, text_rows, word_rows
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from span_marker.core.offsets import convert_offsets
from span_marker.data.files import read_annotations
from span_marker.data.rows import as_text, parse_row
from span_marker.data.task_files import write_tasks

TOOLS = Path(__file__).parents[1] / "fixtures" / "tools"
TEXT = "😀 Ann met 👩‍👩‍👧 Bob in Köln, 東京 and القاهرة."
ANN = {"label": "PER", "char_start_index": 2, "char_end_index": 5, "span": "Ann", "score": 0.75}
COLOGNE = {"label": "LOC", "char_start_index": 23, "char_end_index": 27, "span": "Köln", "score": 0.5}
ROW = {"id": "a-1", "text": TEXT, "predictions": [ANN, COLOGNE]}


def read_file(path):
    text = path.read_text(encoding="utf-8")
    return json.loads(text) if text.startswith("[\n") else [json.loads(line) for line in text.split("\n") if line]


def write(path, rows, tool, **options):
    write_tasks(path, rows, tool, **options)
    return read_file(path)


# What each tool exports of a task that somebody accepted as it is, by its documented export format.


def export_label_studio(task, number, offsets="codepoint"):
    [prediction] = task["predictions"]
    results = []
    for result in prediction["result"]:
        if result["type"] == "relation":
            results.append(result)
            continue
        text, value = task["data"]["text"], result["value"]
        start, end = convert_offsets(text, [value["start"], value["end"]], "codepoint", source=offsets)
        results.append({**result, "value": {**value, "text": text[start:end]}, "origin": "prediction"})
    annotation = {"id": number, "completed_by": 1, "was_cancelled": False, "result": results}
    return {**task, "id": 100 + number, "annotations": [annotation], "predictions": [7]}


def export_prodigy(task, number):
    hashes = {"_input_hash": number, "_task_hash": number, "_session_id": None, "_view_id": "ner_manual"}
    return {**task, **hashes, "answer": "accept"}


def export_doccano(task, number):
    return {"id": 100 + number, **task, "Comments": []}


def export_argilla(task, number):
    value = task["suggestions"]["label"]["value"]
    return {**task, "responses": {"label": [{"value": value, "user_id": "u"}]}, "status": "completed"}


EXPORTS = {
    "label-studio": export_label_studio,
    "prodigy": export_prodigy,
    "doccano": export_doccano,
    "argilla": export_argilla,
}


def spans_of(row):
    return sorted((e["label"], e["start"], e["end"]) for e in row["entities"])


def round_trip(folder, rows, tool, **options):
    path = Path(folder) / "tasks"
    write_tasks(path, rows, tool, model_version="m", **options)
    if tool == "brat":
        return list(read_annotations(path))
    exported = Path(folder) / "export.json"
    exported.write_text(json.dumps([EXPORTS[tool](task, i) for i, task in enumerate(read_file(path))]), "utf-8")
    return list(read_annotations(exported))


@st.composite
def predicted_rows(draw):
    row = draw(st.one_of(text_rows(), word_rows()).filter(lambda row: row.get("text") or row.get("tokens")))
    score = st.floats(0, 1)
    return {**{k: v for k, v in row.items() if k != "entities"},
            "predictions": [{**e, "score": draw(score)} for e in row["entities"]]}  # fmt: skip


@pytest.mark.parametrize("tool", [*EXPORTS, "brat"])
@given(rows=st.lists(predicted_rows(), min_size=1, max_size=3))
def test_what_is_exported_unchanged_is_read_as_it_was_predicted(tmp_path_factory, tool, rows):
    if tool == "brat":  # refuses it, since it would be read as the byte order mark of the document
        assume(not any("".join(row.get("tokens") or row["text"]).startswith("\ufeff") for row in rows))
    found = round_trip(tmp_path_factory.mktemp("tasks"), rows, tool)
    for index, (row, given_row) in enumerate(zip(found, rows, strict=True)):
        text, entities = as_text(parse_row({**given_row, "entities": given_row["predictions"]}, "row"))
        expected = {e[:3] for e in entities}
        assert row["text"] == text
        assert set(spans_of(row)) == expected
        assert int(row["id"]) == index


@st.composite
def distinct_characters(draw):
    """A text in which no character occurs twice, so that the copy of an entity has one place."""
    text = "".join(draw(st.lists(st.sampled_from("😀🎉𝔸𐐷b東é1٣שй"), min_size=1, unique=True)))
    return {"text": text, "predictions": draw(entities_of(len(text)))}


@given(rows=st.lists(distinct_characters(), min_size=1, max_size=3))
def test_versions_of_label_studio_that_count_utf_16_are_read_by_their_copies(tmp_path_factory, rows):
    folder = tmp_path_factory.mktemp("tasks")
    tasks = write(folder / "tasks", rows, "label-studio", offsets="utf-16")
    for index, task in enumerate(tasks):
        record = export_label_studio(task, index, "utf-16")
        (folder / "export.json").write_text(json.dumps([record]), "utf-8")
        [row] = read_annotations(folder / "export.json")
        assert spans_of(row) == spans_of({"entities": rows[index]["predictions"]})


@pytest.mark.parametrize("tool", [*EXPORTS, "brat"])
def test_the_id_of_a_row_survives_numbers_of_the_tool(tmp_path, tool):
    [row] = round_trip(tmp_path, [ROW], tool)
    assert row == {"id": "a-1", "text": TEXT, "entities": [entity("PER", 2, 5), entity("LOC", 23, 27)]}


@pytest.mark.parametrize("tool", [*EXPORTS, "brat"])
@pytest.mark.parametrize("ids", [("a", "b", "a"), (7, 8, 7)])
def test_rows_with_the_same_id_are_refused(tmp_path, tool, ids):
    """The tool would merge their tasks, or one's correction would be joined to the other."""
    rows = [{**ROW, "id": identity} for identity in ids]
    with pytest.raises(
        ValueError, match=f"rows 0 and 2 both have the 'id' {ids[0]!r}: give each row an 'id' of its own"
    ):
        write_tasks(tmp_path / "tasks", rows, tool)
    assert not (tmp_path / "tasks").exists()


@pytest.mark.parametrize("tool", EXPORTS)
def test_tasks_that_were_imported_twice_are_reported(tmp_path, tool, caplog):
    tasks = write(tmp_path / "tasks", [ROW, {**ROW, "id": "a-2"}], tool)
    for repeated in ([], tasks[1:]):
        exported = [EXPORTS[tool](task, number) for number, task in enumerate([*tasks, *repeated])]
        (tmp_path / "export.json").write_text(json.dumps(exported), "utf-8")
        assert len(read_annotations(tmp_path / "export.json")) == len(exported)
        name = "row_id" if tool in ("label-studio", "doccano") else "id"
        message = f"1 tasks have several records, such as the one with the {name} 'a-2' (item 1, item 2)"
        assert (message in caplog.text) == bool(repeated)


def test_a_task_without_an_id_that_one_annotator_did_twice_is_reported(tmp_path, caplog):
    prodigy = {"text": "Ann", "spans": [], "answer": "accept", "_input_hash": -5}
    read_lines(tmp_path, prodigy, {**prodigy, "_input_hash": 7})
    assert not caplog.text
    read_lines(tmp_path, prodigy, {**prodigy, "spans": [entity("PER", 0, 3)]})
    assert "1 tasks have several records, such as the one with the hash or number -5 (line 1, line 2)" in caplog.text
    caplog.clear()
    label_studio = {"id": 3, "text": "Ann", "annotation_id": 1, "annotator": 1}
    read_lines(tmp_path, label_studio, {**label_studio, "annotation_id": 2})
    assert "the one with the hash or number 3 (line 1, line 2)" in caplog.text


@pytest.mark.parametrize("tool", ["label-studio", "argilla"])
def test_tasks_that_nobody_has_corrected_are_left_out(tmp_path, tool, caplog):
    write(tmp_path / "tasks.json", [ROW], tool)
    with pytest.raises(ValueError, match="has no annotated rows"):
        read_annotations(tmp_path / "tasks.json")
    assert "1 of 1 records are left out" in caplog.text


def test_a_correction_is_what_is_read(tmp_path):
    [task] = write(tmp_path / "tasks", [ROW], "label-studio")
    record = export_label_studio(task, 0)
    results = record["annotations"][0]["result"]
    results[0]["value"]["labels"] = ["ORG"]
    del results[1]
    (tmp_path / "export.json").write_text(json.dumps([record]), "utf-8")
    [row] = read_annotations(tmp_path / "export.json")
    assert row["entities"] == [entity("ORG", 2, 5)]


def test_scores_and_the_name_of_the_model_are_where_the_tool_shows_them(tmp_path):
    [task] = write(tmp_path / "l", [ROW], "label-studio", model_version="m")
    [prediction] = task["predictions"]
    assert (prediction["model_version"], prediction["score"]) == ("m", 0.5)
    assert [result["score"] for result in prediction["result"]] == [0.75, 0.5]
    [task] = write(tmp_path / "p", [ROW], "prodigy", model_version="m")
    assert task["meta"] == {"score": 0.5, "model_version": "m"}
    assert task["spans"][0] == {"label": "PER", "start": 2, "end": 5, "score": 0.75, "source": "m"}
    [task] = write(tmp_path / "d", [ROW], "doccano", model_version="m")
    assert (task["label"][1], task["score"], task["model_version"]) == ([27, 31, "LOC"], 0.5, "m")
    [task] = write(tmp_path / "a", [ROW], "argilla", model_version="m")
    value = [entity("PER", 3, 6), entity("LOC", 27, 31)]
    assert task["suggestions"] == {"label": {"value": value, "score": [0.75, 0.5], "agent": "m"}}
    write_tasks(tmp_path / "b", [ROW], "brat", model_version="m")
    assert "#1\tAnnotatorNotes T1\tm 0.7500\n" in (tmp_path / "b" / "a-1.ann").read_text("utf-8")


def test_a_suggestion_is_beside_the_annotation(tmp_path):
    row = {**ROW, "entities": [entity("PER", 2, 5)]}
    [task] = write(tmp_path / "l", [row], "label-studio")
    assert [len(task[key][0]["result"]) for key in ("annotations", "predictions")] == [1, 2]
    shown = "PER Ann 2-5 (0.750); LOC Köln 23-27 (0.500)"
    shown_utf_16 = "PER Ann 3-6 (0.750); LOC Köln 27-31 (0.500)"
    [task] = write(tmp_path / "p", [row], "prodigy")
    assert (len(task["spans"]), task["meta"]["suggestion"]) == (1, shown)
    [task] = write(tmp_path / "d", [row], "doccano")
    assert (task["label"], task["suggestion"]) == ([[3, 6, "PER"]], shown_utf_16)
    [task] = write(tmp_path / "a", [row], "argilla")
    assert (len(task["suggestions"]["label"]["value"]), task["metadata"]) == (
        2,
        {"offsets": "utf-16", "annotated": "PER Ann 3-6"},
    )
    with pytest.raises(ValueError, match="'a-1' has 'entities' and 'predictions'"):
        write_tasks(tmp_path / "b", [row], "brat")


@pytest.mark.parametrize("predictions", [[], [{**ANN, "score": None}, COLOGNE], [{**ANN, "score": None}]])
def test_argilla_gets_a_score_of_each_entity_or_none(tmp_path, predictions):
    """Its server refuses one score for a list of entities, an empty list of scores, and one that is too short."""
    [task] = write(tmp_path / "a", [{**ROW, "predictions": predictions}], "argilla")
    assert task["suggestions"]["label"]["score"] is None


def test_tables_are_written_by_row(tmp_path):
    write_tasks(tmp_path / "rows", [ROW, {**ROW, "id": "a-2"}], "label-studio")
    write_tasks(tmp_path / "table", pandas.DataFrame([ROW, {**ROW, "id": "a-2"}]), "label-studio")
    assert (tmp_path / "table").read_bytes() == (tmp_path / "rows").read_bytes()


def test_predictions_of_nothing_are_a_task_too(tmp_path):
    for tool in EXPORTS:
        assert len(write(tmp_path / tool, [{"text": "Hi", "predictions": []}], tool)) == 1


@pytest.mark.parametrize(
    ("row", "options", "message"),
    [
        ({"text": "Ann"}, {}, "row 0 has neither 'predictions' nor 'entities'"),
        (ROW, {"offsets": "utf-7"}, "offsets='utf-7'"),
        (ROW, {"tool": "brat", "offsets": "utf-16"}, "must be 'codepoint' for brat"),
        (ROW, {"tool": "word"}, "tool='word' must be one of"),
        ({"text": "A", "predictions": [ANN]}, {}, "row 0: 'predictions'.*ends at character 5"),
    ],
)
def test_what_cannot_be_written_is_refused(tmp_path, row, options, message):
    with pytest.raises(ValueError, match=message):
        write_tasks(tmp_path / "tasks", [row], **{"tool": "label-studio", **options})


@pytest.mark.parametrize("tool", ["label-studio", "prodigy", "doccano", "brat"])
def test_relations_are_corrected_and_read_again(tool):
    @settings(max_examples=20)
    @given(related(text_rows(), equal_ends=False))
    def check(row):
        task = {"text": row["text"], "predictions": row["entities"], "relations": row["relations"]}
        with tempfile.TemporaryDirectory() as folder:
            [found] = round_trip(folder, [task], tool)
        assert related_spans(found) == related_spans(row)

    check()


def test_relations_may_be_predicted_beside_annotated_ones(tmp_path, caplog):
    one, other = relation("met", 0, 1), relation("in", 1, 0)
    entities = [{"label": "PER", "start": 2, "end": 5}, {"label": "LOC", "start": 23, "end": 27}]
    predicted = {"entities": [ANN, COLOGNE], "relations": [{**other, "score": 0.75}]}
    row = {"text": TEXT, "entities": entities, "relations": [one], "predictions": predicted}
    [task] = write(tmp_path / "l.json", [row], "label-studio")
    [annotation], [prediction] = task["annotations"], task["predictions"]
    assert (annotation["result"][-1]["labels"], annotation["result"][-1]["from_id"]) == (["met"], "a0")
    assert (prediction["result"][-1]["labels"], prediction["result"][-1]["score"]) == (["in"], 0.75)
    assert not caplog.text
    write(tmp_path / "d.jsonl", [row], "doccano")
    assert "1 relations are not written, since doccano does not support them" in caplog.text
    write(tmp_path / "a.json", [row], "argilla")
    assert "2 relations are not written, since argilla does not support them" in caplog.text


def test_tokens_of_prodigy_begin_and_end_with_entities(tmp_path):
    entities = [entity("PER", 6, 9), entity("LOC", 9, 13)]
    row = {"text": "I met AnnKöln, (Bob).", "predictions": entities, "relations": [relation("in", 0, 1)]}
    [task] = write(tmp_path / "p.jsonl", [row], "prodigy")
    tokens = ["I", "met", "Ann", "Köln", ",", "(", "Bob", ")", "."]  # so that Bob, who is missing, can be selected
    assert [token["text"] for token in task["tokens"]] == tokens
    assert "".join(token["text"] + " " * token["ws"] for token in task["tokens"]) == row["text"]
    assert [(span["token_start"], span["token_end"]) for span in task["spans"]] == [(2, 2), (3, 3)]
    [found] = task["relations"]
    assert (found["head"], found["child"], found["label"]) == (2, 3, "in")
    with pytest.raises(ValueError, match="row 0 has relations: offsets='utf-16' must be 'codepoint' for Prodigy"):
        write(tmp_path / "q.jsonl", [row], "prodigy", offsets="utf-16")


def test_tasks_of_doccano_without_relations_are_like_those_that_have_some(tmp_path):
    entities = [entity("PER", 0, 3)]
    predictions = {"entities": entities, "relations": []}
    rows = [{"text": "Ann", "predictions": predictions}, {"text": "Ann", "entities": entities, "relations": []}]
    for task in write(tmp_path / "d.jsonl", [*rows, {"text": "Ann", "entities": [], "relations": []}], "doccano"):
        assert "label" not in task
        assert task["relations"] == []
    [task] = write(tmp_path / "e.jsonl", [{"text": "Ann", "entities": entities, "relations": None}], "doccano")
    assert (task["label"], "relations" in task) == ([[0, 3, "PER"]], False)


# What real servers exported, shortened: Label Studio 1.23.2 and doccano 1.8.4, of tasks that `write_tasks` wrote. Those
# of pages were annotated on the page of Label Studio, with text selected by a script.

LINES = "Ann\r\nLee,\tBob\nParis  \u00a0Rome\u2028Oslo "
EMOJI_ENTITIES = [("PER", "Ann"), ("PER", "Bob"), ("LOC", "Köln"), ("LOC", "東京"), ("LOC", "القاهرة")]
PREDICTED = {
    "emoji": EMOJI_ENTITIES,
    "crlf": [("PER", "Ann\r\nLee"), ("PER", "Bob"), ("LOC", "Paris"), ("LOC", "Rome"), ("LOC", "Oslo")],
    "nothing": [],
}
NESTED = {"nested": [("ORG", "University of Paris"), ("LOC", "Paris")]}
BY_HAND = {
    "emoji": EMOJI_ENTITIES,
    "combining": [("ORG", "Cafe\u0301"), ("PER", "Zoe\u0308"), ("LOC", "Co\u0302te d'Ivoire")],
    "crlf": [("PER", "Lee"), ("PER", "Bob"), ("LOC", "Paris"), ("LOC", "Rome"), ("LOC", "Oslo")],
}
ANNOTATED = {"e1": [("ORG", "Ann"), ("LOC", "Köln")], "e2": [("PER", "Nobody")]}


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("label-studio-1.23.2.json", PREDICTED),
        ("label-studio-1.23.2-errors.json", ANNOTATED),
        ("label-studio-1.23.2-min.json", ANNOTATED),
        ("label-studio-1.23.2-page.json", BY_HAND),
        ("label-studio-1.3-page.json", BY_HAND),
        ("doccano-1.8.4.jsonl", {**PREDICTED, **NESTED}),
        ("doccano-1.8.4-errors.jsonl", ANNOTATED),
    ],
)
def test_exports_of_real_servers_are_read(name, expected, caplog):
    found = {
        row["id"]: [(e["label"], row["text"][e["start"] : e["end"]]) for e in row["entities"]]
        for row in read_annotations(TOOLS / name)
    }
    assert found == expected
    assert not caplog.text


@pytest.mark.parametrize("name", ["label-studio-1.23.2-relations.json", "doccano-1.8.4-relations.jsonl"])
def test_relations_and_ids_of_real_servers_are_read(name, caplog):
    rows = list(read_annotations(TOOLS / name))
    assert [row["id"] for row in rows] == ["r1", "r2"]
    assert rows[0]["relations"] == [relation("met", 0, 1), relation("in", 1, 2)]
    assert (rows[1]["entities"], rows[1]["relations"]) == ([], [])
    assert not caplog.text


def test_texts_of_real_servers_come_back_unchanged():
    for name in ("label-studio-1.23.2.json", "doccano-1.8.4.jsonl"):
        texts = {row["id"]: row["text"] for row in read_annotations(TOOLS / name)}
        assert (texts["emoji"], texts["crlf"]) == (TEXT, LINES)


@pytest.mark.parametrize("tool", ["doccano", "argilla"])
def test_pages_that_count_utf_16_units_show_predictions_where_they_are(tmp_path, tool):
    [task] = write(tmp_path / "tasks", [ROW], tool)
    spans = task["label"] if tool == "doccano" else [[*map(s.get, ("start", "end"))] for s in shown_spans(task)]
    units = TEXT.encode("utf-16-le")
    assert [units[2 * start : 2 * end].decode("utf-16-le") for start, end, *_ in spans] == ["Ann", "Köln"]


def shown_spans(task):
    return task["suggestions"]["label"]["value"]


UNMARKED = {
    "doccano": {"text": TEXT, "label": [[3, 6, "PER"], [27, 31, "LOC"]]},
    "argilla": {"fields": {"text": TEXT}, "responses": {"label": [{"value": [entity("PER", 3, 6)], "user_id": "u"}]}},
    "argilla 1": {"text": TEXT, "annotation": [entity("PER", 3, 6)], "status": "Validated"},
    "argilla, flat": {"text": TEXT, "label.responses": [[entity("PER", 3, 6)]]},
}


@pytest.mark.parametrize("name", UNMARKED)
def test_what_places_count_can_be_said(tmp_path, name, caplog):
    [row] = read_lines(tmp_path, UNMARKED[name], offsets="utf-16")
    assert row["entities"][0] == entity("PER", 2, 5)
    assert not caplog.text
    [row] = read_lines(tmp_path, UNMARKED[name], offsets="codepoint")
    assert row["entities"][0] == entity("PER", 3, 6)
    assert not caplog.text
    with pytest.raises(ValueError, match="offsets='utf-7' must be one of"):
        read_lines(tmp_path, UNMARKED[name], offsets="utf-7")


@pytest.mark.parametrize("name", UNMARKED)
def test_what_places_count_is_asked_for_where_it_matters(tmp_path, name, caplog):
    read_lines(tmp_path, UNMARKED[name])
    assert "pass offsets='utf-16'" in caplog.text
    caplog.clear()
    read_lines(tmp_path, {"text": "Ann 😀", "label": [[0, 3, "PER"]]})
    assert not caplog.text


def test_a_place_inside_a_character_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"entity 'PER' from 1 to 6.*inside a character"):
        read_lines(tmp_path, {"text": TEXT, "label": [[1, 6, "PER"]]}, offsets="utf-16")


def test_tasks_of_doccano_have_the_same_metadata(tmp_path):
    """It fills in NaN for keys that a task lacks, which its database refuses."""
    both = {**ROW, "id": "a-2", "entities": [entity("PER", 2, 5)]}
    rows = [ROW, {**ROW, "id": "a-3", "predictions": []}, both, {"id": "a", "text": TEXT, "entities": []}]
    tasks = write(tmp_path / "d.jsonl", rows, "doccano", model_version="m")
    assert len({tuple(task) for task in tasks}) == 1
    assert all(value is not None for task in tasks for value in task.values())
    related = {"text": "Ann", "entities": [entity("PER", 0, 3)], "relations": []}
    with pytest.raises(ValueError, match="row 1 has 'relations', unlike row 0"):
        write(tmp_path / "d.jsonl", [{**related, "relations": None}, related], "doccano")
    with pytest.raises(ValueError, match="row 1 has no 'relations', unlike row 0"):
        write(tmp_path / "d.jsonl", [related, {**related, "relations": None}], "doccano")


@pytest.mark.parametrize("tool", EXPORTS)
def test_what_a_tool_does_not_take_is_counted(tmp_path, tool, caplog):
    nested = {"text": "New York", "predictions": [entity("LOC", 0, 8), entity("LOC", 4, 8)]}
    last = {"text": "😀 Rome", "predictions": [entity("LOC", 2, 6)]}
    write(tmp_path / "tasks", [nested, {**nested, "predictions": []}, last], tool)
    expected = {
        "label-studio": [],
        "doccano": ["1 tasks have entities that overlap: doccano keeps"],
        "argilla": [
            "1 tasks have entities that overlap: Argilla refuses",
            "1 tasks have entities that end, counted in UTF-16 units, after the last character",
        ],
        "prodigy": ["1 tasks have the text of an earlier task"],
    }
    found = [record.getMessage() for record in caplog.records]
    assert [message[: len(start)] for message, start in zip(found, expected[tool], strict=True)] == expected[tool]


def test_the_ids_of_rows_without_entities_are_not_those_of_doccano(tmp_path):
    rows = [{"id": 7, "text": "Nobody", "predictions": {"entities": [], "relations": []}}]
    [task] = write(tmp_path / "d.jsonl", rows, "doccano")
    [row] = read_lines(tmp_path, export_doccano(task, 0))
    assert (row["id"], "Comments" in row) == (7, False)


def test_rows_that_could_not_be_told_apart_are_refused(tmp_path):
    for identity in (None, 7):
        with pytest.raises(ValueError, match=f"row 1 has the 'id' {identity}, but row 0 has 'a-1'"):
            write(tmp_path / "tasks", [ROW, {**ROW, "id": identity}], "label-studio")
