"""Files as annotation tools export them become canonical rows, and what can't be read says where it stands."""

import json
import logging
import sys

import pytest
from datasets import List, Value
from hypothesis import given, settings
from hypothesis import strategies as st

from span_marker.core.labels import SCHEMES, entities_to_tags, tags_to_entities
from span_marker.data.annotation_tools import GLINER, SHAPES, find_shape
from span_marker.data.files import FORMATS, read_annotations

TEXT = "Ann 👩‍👩‍👧 met Bob\nin Köln."
ANN, BOB, COLOGNE = ("PER", 0, 3), ("PER", 14, 17), ("LOC", 21, 25)


def entity(label, start, end):
    return {"label": label, "start": start, "end": end}


def read_lines(tmp_path, *records, **options):
    path = tmp_path / "data.jsonl"
    path.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
    return list(read_annotations(path, **options))


def read_text(tmp_path, content, name="data.conll", **options):
    path = tmp_path / name
    path.write_bytes(content.encode())
    return list(read_annotations(path, **options))


def test_the_texts_offsets_are_as_these_tests_need_them():
    assert [TEXT[start:end] for _, start, end in (ANN, BOB, COLOGNE)] == ["Ann", "Bob", "Köln"]


# Exports of annotation tools: a record, and the row that it becomes.

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
    "doccano with relations": {"id": 1, "text": TEXT, "entities": OFFSETS, "relations": [], "Comments": []},
    "Label Studio": LABEL_STUDIO,
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


def test_features_are_canonical(tmp_path):
    dataset = read_annotations_of(tmp_path, {"text": "a", "entities": []})
    features = {name: Value(kind) for name, kind in (("label", "string"), ("start", "int64"), ("end", "int64"))}
    assert dataset.features["entities"] == List(features)
    assert dataset.features["text"] == Value("string")
    dataset = read_annotations_of(tmp_path, {"tokens": ["a"], "entities": []})
    assert dataset.features["tokens"] == List(Value("string"))


def read_annotations_of(tmp_path, *records):
    path = tmp_path / "some.jsonl"
    path.write_text("\n".join(map(json.dumps, records)), encoding="utf-8")
    return read_annotations(path)


def test_a_region_with_several_labels_is_several_entities(tmp_path):
    record = {**JSON_MIN, "label": [{"start": 0, "end": 3, "text": "Ann", "labels": ["PER", "GUEST"]}]}
    (row,) = read_lines(tmp_path, record)
    assert row["entities"] == [entity("PER", 0, 3), entity("GUEST", 0, 3)]


def test_a_region_may_have_lost_white_space(tmp_path):
    # What a browser copies: one space for two, and a line end as two characters.
    text = "Berlin,  Germany\nhere"
    for found in ("Berlin, Germany\\nhere", "Berlin,  Germany\nhere", "Berlin, Germany here"):
        record = {**JSON_MIN, "text": text, "label": [{"start": 0, "end": 21, "text": found, "labels": ["LOC"]}]}
        assert read_lines(tmp_path, record)[0]["entities"] == [entity("LOC", 0, 21)]


def test_offsets_that_count_utf_16_are_told(tmp_path):
    region = {"start": 13, "end": 23, "text": "annotation", "labels": ["X"]}
    with pytest.raises(ValueError, match=r"line 1, row 0: characters 13 to 23 .*'nnotation\.'.*UTF-16") as error:
        read_lines(tmp_path, {**JSON_MIN, "text": "💩This is an annotation.", "label": [region]})
    assert "'annotation'" in str(error.value)
    region = {**region, "start": 12, "end": 22}
    (row,) = read_lines(tmp_path, {**JSON_MIN, "text": "💩This is an annotation.", "label": [region]})
    assert row["entities"] == [entity("X", 12, 22)]


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


def test_other_columns_of_rows_are_kept_and_scores_are_not(tmp_path):
    rows = read_lines(
        tmp_path,
        {"doc": "x", "tokens": ["a", "b"], "entities": [{**entity("X", 0, 2), "score": 0.5}]},
        {"tokens": ["c"], "entities": [], "extra": [1]},
    )
    assert rows == [
        {"doc": "x", "tokens": ["a", "b"], "extra": None, "entities": [entity("X", 0, 2)]},
        {"doc": None, "tokens": ["c"], "extra": [1], "entities": []},
    ]


def test_words_with_tags_are_read_by_the_scheme_of_the_whole_file(tmp_path):
    rows = read_lines(
        tmp_path,
        {"tokens": ["a", "b"], "ner_tags": ["I-X", "I-X"], "id": "1"},
        {"tokens": ["c"], "ner_tags": ["S-X"], "id": "2"},
    )
    assert [row["entities"] for row in rows] == [[entity("X", 0, 2)], [entity("X", 0, 1)]]
    assert all("ner_tags" not in row for row in rows)


BAD_JSON = {
    "no JSON": ('{"text": "a", "entities": []}\n{"text"', r"line 2 is not JSON"),
    "no JSON array": ('[\n{"text": "a"},\n{]', r"line 3 is not JSON"),
    "unknown keys": (
        '{"sentence": "a"}',
        r"line 1, row 0 has the keys \['sentence'\].*known shapes: .*doccano.*Prodigy",
    ),
    "unknown type": ("[1]", r"item 0, row 0 has the type int"),
    "outside": (
        '{"text": "abc", "entities": [{"label": "X", "start": 1, "end": 4}]}',
        r"line 1, row 0: entity 'X' ends at character 4, but the row has only 3 characters",
    ),
    "negative": ('{"text": "abc", "spans": [{"label": "X", "start": -1, "end": 2}]}', r"starts at character -1, but"),
    "empty": ('{"text": "abc", "label": [[1, 1, "X"]]}', r"is empty: it starts and ends at character 1"),
    "turned round": ('["abc", {"entities": [[2, 1, "X"]]}]', r"ends at character 1, before its start at character 2"),
    "no label": ('{"text": "abc", "spans": [{"start": 0, "end": 2}]}', r"'start': 0, 'end': 2} has no 'label'"),
    "empty label": ('{"text": "abc", "label": [[0, 1, ""]]}', r"must have a label other than '' and 'O'"),
    "number as label": ('{"text": "abc", "label": [[0, 1, 7]]}', r"the label of .* must be a string, not int"),
    "float": (
        '{"text": "abc", "label": [[0, 1.0, "X"]]}',
        r"'end' of entity 'X' must be a whole number, not 1\.0 \(float\)",
    ),
    "bool": (
        '{"text": "abc", "label": [[false, true, "X"]]}',
        r"'start' of entity 'X' must be a whole number, not False",
    ),
    "lacks end": ('{"text": "abc", "entities": [{"label": "X", "start": 1}]}', r"has no 'end'"),
    "both": ('{"text": "a", "tokens": ["a"], "entities": []}', r"row 0 has both 'tokens' and 'text'"),
    "words": ('{"tokens": ["a", 1], "entities": []}', r"'tokens'\[1\]=1 must be a word \(a string\), not int"),
    "mixed": (
        '{"tokens": ["a"], "entities": []}\n{"text": "a", "entities": []}',
        r"row 1 has 'text', but row 0 has 'tokens'",
    ),
    "columns": (
        '{"text": "a", "entities": [], "x": 1}\n{"text": "a", "entities": [], "x": "y"}',
        r"'x' are not all of one",
    ),
    "number tags": ('{"tokens": ["a"], "ner_tags": [1]}', r"tag 1 of word 0 \('a'\) is an integer without a name"),
    "few tags": ('{"tokens": ["a"], "ner_tags": []}', r"1 'tokens' but 0 'ner_tags'"),
    "Prodigy's text": (
        '{"text": "abc", "spans": [{"label": "X", "start": 0, "end": 2, "text": "b"}]}',
        r"are 'ab', but .*'b'",
    ),
    "two texts": (
        '{"data": {"a": "x", "b": "y"}, "annotations": []}',
        r"which field is the text\? It has \['a', 'b'\]",
    ),
    "nothing": ("\n", r"no annotated rows"),
    "hypertext": (
        json.dumps(
            label_studio(
                1, result=[{"type": "hypertextlabels", "value": {"start": "/div[1]", "hypertextlabels": ["X"]}}]
            )
        ),
        r"region with 'hypertextlabels'",
    ),
}


@pytest.mark.parametrize("name", BAD_JSON)
def test_bad_json_is_refused(tmp_path, name):
    content, message = BAD_JSON[name]
    is_wrong_type = name in ("float", "bool", "number as label", "words")
    with pytest.raises(TypeError if is_wrong_type else ValueError, match=message):
        read_text(tmp_path, content, "data.jsonl")


def test_the_row_of_an_error_counts_what_is_read(tmp_path):
    bad = {"text": "a", "spans": [entity("X", 0, 2)]}
    with pytest.raises(ValueError, match="line 3, row 1: entity 'X'"):
        read_lines(tmp_path, {"text": "a", "spans": []}, {"text": "a", "spans": [], "answer": "reject"}, bad)


# GLiNER: words, and entities whose last word is inclusive

WORDS = ["Ann", "Lee", "met", "Bob", "."]
GLINER_RECORD = {"id": 7, "tokenized_text": WORDS, "ner": [[0, 1, "PER"], [3, 3, "PER"], [0, 0, "NAME"]]}
GLINER_ROW = {"id": 7, "tokens": WORDS, "entities": [entity("PER", 0, 2), entity("PER", 3, 4), entity("NAME", 0, 1)]}


@pytest.mark.parametrize("options", [{}, {"format": "gliner"}])
def test_gliners_data_is_read_from_lines_and_from_an_array(tmp_path, caplog, options):
    empty = {"id": 8, "tokenized_text": [], "ner": []}
    expected = [GLINER_ROW, {"id": 8, "tokens": [], "entities": []}]
    assert read_lines(tmp_path, GLINER_RECORD, empty, **options) == expected
    for indent in (None, 1):
        content = json.dumps([GLINER_RECORD, empty], indent=indent)
        assert read_text(tmp_path, content, "data.json", **options) == expected
    assert not caplog.text


@pytest.mark.parametrize("options", [{}, {"format": "gliner"}])
def test_other_keys_of_gliners_data_are_ignored_and_named(tmp_path, caplog, options):
    more = {"label": ["PER"], "negatives": ["LOC"], "text": "Ann Lee", "spans": []}
    assert read_lines(tmp_path, {**GLINER_RECORD, **more}, GLINER_RECORD, **options) == [GLINER_ROW] * 2
    assert "data.jsonl: keys of some of the 2 records are ignored: 'label' in 1 (line 1); 'negat" in caplog.text
    # Beside a text, no labels look like no entities of doccano.
    assert read_lines(tmp_path, {**GLINER_RECORD, "text": "Ann Lee", "label": []}, **options) == [GLINER_ROW]


def test_gliners_data_has_one_shape():
    assert [shape for shape in SHAPES if shape.recognizes(GLINER_RECORD)] == [GLINER]


BAD_GLINER = {
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
    "float": ([[0, 1.0, "X"]], TypeError, r"the last word must be a whole number, not 1\.0"),
    "bool": ([[False, 1, "X"]], TypeError, r"the first word must be a whole number, not False"),
    "pair": ([[0, 1]], TypeError, r"ner\[0\]=\[0, 1\]: an entity must be a list of \[first word, last word, label\]"),
    "dict": ([entity("X", 0, 1)], TypeError, r"an entity must be a list of \[first word, last word, label\]"),
    "no list": (None, TypeError, r"'ner' must be a list, not NoneType"),
}


@pytest.mark.parametrize("options", [{}, {"format": "gliner"}])
@pytest.mark.parametrize("name", BAD_GLINER)
def test_bad_entities_of_gliner_are_refused(tmp_path, name, options):
    ner, kind, message = BAD_GLINER[name]
    with pytest.raises(kind, match=rf"data\.jsonl, line 2, row 1.*{message}"):
        read_lines(tmp_path, GLINER_RECORD, {"tokenized_text": WORDS, "ner": ner}, **options)
    content = json.dumps([GLINER_RECORD, {"tokenized_text": WORDS, "ner": ner}])
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
        read_lines(tmp_path, GLINER_RECORD, record, format="gliner")


def test_a_missing_key_is_told_without_a_format_too(tmp_path):
    with pytest.raises(ValueError, match=r"line 2, row 1 has the keys \['tokenized_text'\].*GLiNER \(token"):
        read_lines(tmp_path, GLINER_RECORD, {"tokenized_text": ["a"]})


# Column files

CONLL = """-DOCSTART- -X- -X- O

EU NNP B-NP B-ORG
rejects VBZ B-VP O
German JJ B-NP B-MISC

Peter NNP B-NP B-PER
Blackburn NNP I-NP I-PER

-DOCSTART- -X- -X- O

BRUSSELS NNP B-NP B-LOC
"""
CONLL_ROWS = [
    {"tokens": ["EU", "rejects", "German"], "entities": [entity("ORG", 0, 1), entity("MISC", 2, 3)]},
    {"tokens": ["Peter", "Blackburn"], "entities": [entity("PER", 0, 2)]},
    {"tokens": ["BRUSSELS"], "entities": [entity("LOC", 0, 1)]},
]


@pytest.mark.parametrize("change", [("\n", "\n"), ("\n", "\r\n"), (" ", "\t"), (" ", "   "), ("O\n", "O  \n")])
def test_columns_are_read(tmp_path, change):
    assert read_text(tmp_path, CONLL.replace(*change)) == CONLL_ROWS


def test_documents_are_numbered(tmp_path):
    rows = read_text(tmp_path, CONLL, documents=True)
    assert [(row.pop("document_id"), row.pop("sentence_id")) for row in rows] == [(0, 0), (0, 1), (1, 0)]
    assert rows == CONLL_ROWS
    rows = read_text(tmp_path, "x O\n\n-DOCSTART- O\n-DOCSTART- O\ny O\n", documents=True)
    assert [(row["document_id"], row["tokens"]) for row in rows] == [(0, ["x"]), (1, ["y"])]


def test_a_document_start_ends_a_sentence(tmp_path):
    assert [row["tokens"] for row in read_text(tmp_path, "a O\n-DOCSTART- O\nb O")] == [["a"], ["b"]]


def test_other_columns_can_be_chosen(tmp_path):
    rows = read_text(tmp_path, "1\tAnn\tB-PER\t_\n2\tLee\tI-PER\t_\n", token_column=1, tag_columns=2)
    assert rows == [{"tokens": ["Ann", "Lee"], "entities": [entity("PER", 0, 2)]}]


def test_several_tag_columns_are_levels(tmp_path):
    content = "c\tB-DNA\tB-protein\tO\n-\tI-DNA\tO\tO\nfos\tI-DNA\tB-DNA\tB-DNA\n"
    expected = [entity("DNA", 0, 3), entity("protein", 0, 1), entity("DNA", 2, 3)]
    for columns in ("all", [1, 2, 3], range(1, 4), (-3, -2, -1)):
        assert read_text(tmp_path, content, tag_columns=columns) == [
            {"tokens": ["c", "-", "fos"], "entities": expected}
        ]


def test_a_comment_is_no_word_and_a_word_is_no_comment(tmp_path):
    content = (
        "\ufeff# id = 1\n# text = # is a word\n#\tO\n#tag\tB-X\n# \tO\n\n# newdoc\n# id 7 domain=en\n#\tO\n\n#\tB-X\n"
    )
    rows = read_text(tmp_path, content)
    assert [row["tokens"] for row in rows] == [["#", "#tag", "# "], ["#"], ["#"]]
    rows = read_text(tmp_path, "# id 5\tdomain=en\n# _ _ O\nAnn _ _ B-PER\n\n# key = value\nBob _ _ B-PER\n")
    assert [row["tokens"] for row in rows] == [["#", "Ann"], ["Bob"]]


def test_only_line_feeds_end_lines_and_only_tabs_part_cells(tmp_path):
    rows = read_text(tmp_path, "a\u2028b\tO\nc\u00a0d\tB-X\ne f\tI-X\n\x0b\tO\n")
    assert rows == [{"tokens": ["a\u2028b", "c\u00a0d", "e f", "\x0b"], "entities": [entity("X", 1, 3)]}]


@given(st.lists(st.lists(st.sampled_from(["O", "B-A", "I-A", "B-B", "I-B"]), min_size=1, max_size=6), min_size=1))
def test_tags_are_read_as_the_label_module_reads_them(tmp_path_factory, sentences):
    content = "\n\n".join("\n".join(f"w {tag}" for tag in tags) for tags in sentences)
    rows = read_text(tmp_path_factory.mktemp("tags"), content)
    expected = [[span._asdict() for span in tags_to_entities(tags, "IOB")] for tags in sentences]
    assert [row["entities"] for row in rows] == expected


@pytest.mark.parametrize("scheme", SCHEMES)
def test_the_scheme_is_that_of_the_whole_file(tmp_path, scheme):
    single = {"IOB": "B", "BILO": "B", "BILOU": "U", "BIOES": "S"}[scheme]
    last = {"IOB": "I", "BILO": "L", "BILOU": "L", "BIOES": "E"}[scheme]
    rows = read_text(tmp_path, f"a B-X\nb {last}-X\nc {single}-X\n\nd I-X\n")
    assert [row["entities"] for row in rows] == [[entity("X", 0, 2), entity("X", 2, 3)], [entity("X", 0, 1)]]


def test_plain_labels_are_read(tmp_path):
    assert read_text(tmp_path, "a person\nb person\nc O\nd place\n")[0]["entities"] == [
        entity("person", 0, 2),
        entity("place", 3, 4),
    ]


BAD_CONLL = {
    "too few": ("a\tO\nb\n", {}, r"line 2, row 0: 'b' has 1 columns, but 'a\\tO' has 2"),
    "hash without a tag": ("a\tO\n\n#tag\n", {}, r"line 3, row 1: '#tag' has 1 columns"),
    "comment in a sentence": ("a\tO\n# b\n", {}, r"line 2, row 0: '# b' has 1 columns"),
    "too many": ("a O\nNew York O\n", {}, r"line 2, row 0: 'New York O' has 3 columns"),
    "no prefix": ("a\tB-X\n\nb\tperson\n", {}, r"line 3, row 1: the tag 'person' has no prefix, but 'B-X' has one"),
    "no scheme": ("a\tE-X\nb\tL-X\n", {}, r"line 1, row 0: the prefixes \['E', 'L'\] belong to none"),
    "no label": ("a\tB\nb\tI\nc\tO\n", {}, r"line 1, row 0: the tag 'B' has no label: it should be like B-LABEL"),
    "empty word": ("a\tO\n\tO\n", {}, r"line 2, row 0: the word is empty"),
    "empty tag": ("a\t\tO\n", {"tag_columns": 1}, r"line 1, row 0: the tag is empty"),
    "no column": ("a\tO\n", {"tag_columns": 2}, r"line 1: there is no column 2, since a line has 2 columns"),
    "same column": ("a\tO\n", {"tag_columns": 0}, r"column 0 of 2 has the words"),
    "one column": ("a\nb\n", {}, r"column 0 of 1 has the words"),
    "wrong word": ("a\tO\n", {"tag_columns": "every"}, r"tag_columns='every' must be"),
    "no documents": ("a\tO\n", {"documents": True}, r"no -DOCSTART- lines"),
    "nothing": ("\n\n", {}, r" has no annotated rows"),
    "only comments": ("\n# a\n\n", {}, r"only lines that begin with '# '"),
}


@pytest.mark.parametrize("name", BAD_CONLL)
def test_bad_columns_are_refused(tmp_path, name):
    content, options, message = BAD_CONLL[name]
    with pytest.raises(ValueError, match=message):
        read_text(tmp_path, content, **options)


def test_bad_bytes_are_refused(tmp_path):
    (tmp_path / "x.conll").write_bytes(b"K\xf6ln O\n")
    with pytest.raises(ValueError, match=r"x\.conll is not UTF-8 \(byte 1\)"):
        read_annotations(tmp_path / "x.conll")


# brat


def brat(folder, text, annotation, name="x"):
    folder.mkdir(exist_ok=True)
    (folder / f"{name}.txt").write_bytes(text.encode())
    (folder / f"{name}.ann").write_bytes(annotation.encode())
    return folder


def test_standoff_is_read(tmp_path, caplog):
    annotation = (
        "T1\tPER 0 3\tAnn\n"
        "#1\tAnnotatorNotes T1\tsure\n"
        "T2\tPER 14 25\tBob in Köln\n"
        "T3\tLOC 14 17;18 25\tBob in Köln\n"
        "T4\tX 0 3;14 17\tAnn Bob\n"
        "A1\tNegation T1\nR1\tmet Arg1:T1 Arg2:T2\n*\tEquiv T1 T2\n\n"
    )
    folder = brat(tmp_path / "docs", TEXT, annotation)
    brat(folder, "a\r\nb", "T1\tX 0 4\ta  b\r\n", "w")
    (folder / "later.txt").write_text("not annotated")
    rows = list(read_annotations(folder))
    assert rows == [
        {"id": "w", "text": "a\r\nb", "entities": [entity("X", 0, 4)]},
        {"id": "x", "text": TEXT, "entities": [entity("PER", 0, 3), entity("PER", 14, 25), entity("LOC", 14, 25)]},
    ]
    assert "x.ann: 1 discontinuous entities cannot be represented and are left out: lines [5]" in caplog.text
    assert "1 texts without an .ann file are left out: ['later.txt']" in caplog.text
    for one in ("x.ann", "x.txt"):
        assert list(read_annotations(folder / one)) == rows[1:]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("T1\tPER 0 3\tBob", r"x\.ann, line 2: characters 0 3 of the text are 'Ann', but the annotation says 'Bob'"),
        ("T1\tPER 0 99\tAnn", r"x\.ann, line 2: entity 'PER' ends at character 99, but the row has only 26"),
        ("T1\tPER 3 3\t", r"is empty: it starts and ends at character 3"),
        ("T1 PER 0 3 Ann", r"x\.ann, line 2: .* is not of the form"),
        ("T1\tPER\tAnn", r"is not of the form"),
    ],
)
def test_bad_standoff_is_refused(tmp_path, line, message):
    with pytest.raises(ValueError, match=message):
        read_annotations(brat(tmp_path / "docs", TEXT, f"\n{line}\n"))


def test_half_a_document_is_refused(tmp_path):
    (tmp_path / "x.ann").write_text("")
    for path in (tmp_path, tmp_path / "x.ann"):
        with pytest.raises(ValueError, match=r"x\.txt is missing"):
            read_annotations(path)


# spaCy's DocBin


def test_a_docbin_is_read(tmp_path, caplog):
    spacy = pytest.importorskip("spacy")
    nlp = spacy.blank("en")
    doc = nlp.make_doc(TEXT)
    doc.ents = [doc.char_span(*COLOGNE[1:], label="LOC")]
    doc.spans["sc"] = [doc.char_span(0, 25, label="ALL"), doc.char_span(*ANN[1:], label="PER")]
    spacy.tokens.DocBin(docs=[doc, nlp.make_doc("none")]).to_disk(tmp_path / "x.spacy")
    rows = list(read_annotations(tmp_path / "x.spacy"))
    assert rows == [{"text": TEXT, "entities": [entity(*COLOGNE)]}, {"text": "none", "entities": []}]
    rows = list(read_annotations(tmp_path / "x.spacy", spans_key="sc"))
    assert [row["entities"] for row in rows] == [[entity("ALL", 0, 25), entity(*ANN)], []]
    with pytest.raises(ValueError, match=r"no document has spans 'other'.*\['sc'\]"):
        read_annotations(tmp_path / "x.spacy", spans_key="other")
    assert not caplog.text
    doc.ents = []
    spacy.tokens.DocBin(docs=[doc]).to_disk(tmp_path / "x.spacy")
    read_annotations(tmp_path / "x.spacy")
    assert "did you mean spans_key= one of ['sc']" in caplog.text


def test_what_is_no_docbin_is_refused(tmp_path):
    pytest.importorskip("spacy")
    for content in ("", "no"):
        with pytest.raises(ValueError, match=r"x\.spacy is not a DocBin file"):
            read_text(tmp_path, content, "x.spacy")


def test_without_spacy_the_error_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "spacy", None)
    with pytest.raises(ImportError, match="pip install spacy"):
        read_text(tmp_path, "", "x.spacy")


# Formats


def test_a_format_is_told_by_the_ending(tmp_path):
    for ending in next(kind for kind in FORMATS if kind.name == "conll").endings:
        assert read_text(tmp_path, "a O\n", f"x{ending}") == [{"tokens": ["a"], "entities": []}]
    for name in ("x.json", "x.JSONL"):
        assert read_text(tmp_path, '{"text": "a", "entities": []}', name) == [{"text": "a", "entities": []}]
    assert read_text(tmp_path, "a O\n", "x.unknown", format="conll") == [{"tokens": ["a"], "entities": []}]


def test_what_does_not_fit_a_format_is_refused(tmp_path):
    with pytest.raises(
        ValueError, match=r"ending of .*x\.csv does not say its format: pass format= one of \['conll', 'jsonl'"
    ):
        read_text(tmp_path, "", "x.csv")
    with pytest.raises(ValueError, match=r"format='bio' must be one of"):
        read_text(tmp_path, "", "x.csv", format="bio")
    with pytest.raises(
        ValueError, match=r"documents=True means nothing for .*x\.jsonl, whose format is jsonl: leave it out"
    ):
        read_text(tmp_path, "{}", "x.jsonl", documents=True)
    with pytest.raises(ValueError, match=r"annotator=1 means nothing"):
        read_text(tmp_path, "a O", annotator=1)
    with pytest.raises(ValueError, match="is a folder"):
        read_annotations(tmp_path, format="conll")
    with pytest.raises(
        ValueError, match=r"has no .ann files \(a folder is read as brat: pass a single file for columns"
    ):
        read_annotations(tmp_path)
    with pytest.raises(FileNotFoundError, match="there is no"):
        read_annotations(tmp_path / "missing.conll")
    with pytest.raises(TypeError, match="path, the first argument, must be one string or Path, not list"):
        read_annotations(["a.conll", "b.conll"])


def test_entities_of_a_level_are_those_of_its_tags():
    spans = tags_to_entities(["B-X", "I-X", "O"], "IOB")
    assert entities_to_tags(spans, 3) == ["B-X", "I-X", "O"]


JSON_VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-2, 9), st.just(0.5), st.sampled_from(["", "a", "labels", "Ann"])),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(st.sampled_from(["start", "end", "label", "value"]), inner, max_size=2),
    ),
    max_leaves=4,
)


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
