"""Files of JSON: rows are written and read back as the same, and bad ones are refused with their line."""

import json

import pytest
from annotation_files import (
    ANY_LABELS,
    OF_TEXT,
    OF_WORDS,
    PREDICTIONS,
    SENTENCE,
    TEXTS,
    entity,
    lists_of,
    read_lines,
    read_text,
    round_trip,
    text_rows,
    word_rows,
)
from datasets import Dataset
from hypothesis import given, settings
from hypothesis import strategies as st

from span_marker.data.files import read_annotations
from span_marker.data.jsonl import write_jsonl
from span_marker.data.rows import as_text, parse_row


@settings(max_examples=30)
@given(st.one_of(lists_of(word_rows(words=TEXTS, labels=ANY_LABELS)), lists_of(text_rows(ANY_LABELS))))
def test_json_lines_are_read_back(rows):
    assert round_trip(write_jsonl, rows, "x.jsonl") == rows


def test_json_lines_keep_columns_scores_and_letters(tmp_path):
    row = {
        "id": 3,
        "text": "Köln",
        "entities": [{"end": 4, "label": "LOC", "start": 0, "score": 0.5, "x": 1}],
        "n": None,
    }
    write_jsonl(tmp_path / "x", iter([row]))
    line = (tmp_path / "x").read_text(encoding="utf-8")
    assert "Köln" in line
    entity = {"label": "LOC", "start": 0, "end": 4, "score": 0.5, "x": 1}
    assert json.loads(line) == {"id": 3, "text": "Köln", "entities": [entity], "n": None}


def test_json_lines_are_written_one_after_the_other(tmp_path):
    alive = []

    def rows():
        for index in range(20_000):
            alive.append(index)
            yield {"text": "x" * 100, "entities": []}
            if index == 10_000:
                assert next(tmp_path.glob("x.*.part")).stat().st_size > 500_000

    write_jsonl(tmp_path / "x", rows())
    assert len(alive) == len((tmp_path / "x").read_text().splitlines())


@pytest.mark.parametrize("row", PREDICTIONS)
def test_predictions_are_written(tmp_path, row):
    write_jsonl(tmp_path / "x.jsonl", [row])
    written = json.loads((tmp_path / "x.jsonl").read_text())["entities"]
    assert [entity["score"] for entity in written] == [0.75, 0.5]
    assert as_text(parse_row(read_annotations(tmp_path / "x.jsonl")[0], "x")) == (
        "Ann met Bob",
        [("PER", 0, 3, None), ("PER", 8, 11, None)],
    )


def test_predictions_of_the_other_kind_are_refused(tmp_path):
    with pytest.raises(ValueError, match="row 0: entity .* has no 'start'"):
        write_jsonl(tmp_path / "x", [{"text": "Ann met Bob", "entities": OF_WORDS}])
    with pytest.raises(TypeError, match="'score' of entity 'PER' must be a number, not 'high'"):
        write_jsonl(tmp_path / "x", [{"text": "Ann met Bob", "entities": [{**OF_TEXT[0], "score": "high"}]}])


def test_a_text_beside_tags_is_not_dropped_without_a_word(tmp_path, caplog):
    data = Dataset.from_list([{"tokens": ["Ann", "went"], "ner_tags": ["B-PER", "O"], "text": "Ann went"}])
    write_jsonl(tmp_path / "rows.jsonl", data)
    assert "The column 'text' is not written" in caplog.text
    (row,) = read_annotations(tmp_path / "rows.jsonl").to_list()
    assert row == {"tokens": ["Ann", "went"], "entities": [{"label": "PER", "start": 0, "end": 1}]}


def test_other_columns_of_rows_are_kept_and_those_of_entities_are_not(tmp_path, caplog):
    rows = read_lines(
        tmp_path,
        {"doc": "x", "tokens": ["a", "b"], "entities": [{**entity("X", 0, 2), "score": 0.5, "note": "?"}]},
        {"tokens": ["c"], "entities": [], "extra": [1]},
    )
    assert rows == [
        {"doc": "x", "tokens": ["a", "b"], "extra": None, "entities": [entity("X", 0, 2)]},
        {"doc": None, "tokens": ["c"], "extra": [1], "entities": []},
    ]
    assert "2 records are ignored: 'entities: note' in 1 (line 1); 'entities: score' in 1 (line 1)" in caplog.text


def test_predictions_are_gold_and_gold_is_written_as_predictions_are(tmp_path):
    gold = [{**entity("PER", 0, 1), "span": ["Ann"]}, {**entity("PER", 2, 3), "span": ["Bob"]}]
    predicted, bare = PREDICTIONS[0], {"tokens": SENTENCE, "entities": [entity("PER", 0, 1), entity("PER", 2, 3)]}
    assert read_lines(tmp_path, predicted) == read_lines(tmp_path, {**bare, "entities": gold}) == [bare]
    for rows in ([predicted], Dataset.from_list([predicted])):
        write_jsonl(tmp_path / "x.jsonl", rows)
        (row,) = map(json.loads, (tmp_path / "x.jsonl").read_text().splitlines())
        assert row["entities"][0] == {**gold[0], "score": 0.75}


@pytest.mark.parametrize(
    ("content", "span", "message"),
    [
        ({"text": "Ann met Bob"}, "Bob", "characters 0 to 3 of the text are 'Ann', but the annotation says 'Bob'"),
        (
            {"tokens": SENTENCE},
            ["Ann"],
            r"words 0 to 3 of the row are \['Ann', 'met', 'Bob'\], but the annotation says",
        ),
    ],
)
def test_an_entity_is_what_its_copy_says(tmp_path, content, span, message):
    with pytest.raises(ValueError, match=f"line 1, row 0: {message}"):
        read_lines(tmp_path, {**content, "entities": [{**entity("PER", 0, 3), "span": span}]})


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
        r"line 1, row 0 has the keys \['sentence'\].*known shapes: a row has 'tokens' or 'text', and 'entities' or",
    ),
    "unknown type": ("[1]", r"item 0, row 0 has the type int"),
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
    "number tags": ('{"tokens": ["a"], "ner_tags": [1]}', r"the label 1 is a number: name it with labels="),
    "few tags": ('{"tokens": ["a"], "ner_tags": []}', r"1 'tokens' but 0 'ner_tags'"),
    "nothing": ("\n", r"no annotated rows"),
    "hypertext": (
        '{"data": {"text": "a"}, "annotations": [{"result": [{"type": "hypertextlabels", "value": '
        '{"start": "/div[1]", "hypertextlabels": ["X"]}}]}]}',
        r"region with 'hypertextlabels'",
    ),
}


@pytest.mark.parametrize("name", BAD_JSON)
def test_bad_json_is_refused(tmp_path, name):
    content, message = BAD_JSON[name]
    with pytest.raises(TypeError if name == "words" else ValueError, match=message):
        read_text(tmp_path, content, "data.jsonl")


def test_the_row_of_an_error_counts_what_is_read(tmp_path):
    bad = {"text": "a", "spans": [entity("X", 0, 2)]}
    with pytest.raises(ValueError, match="line 3, row 1: entity 'X'"):
        read_lines(tmp_path, {"text": "a", "spans": []}, {"text": "a", "spans": [], "answer": "reject"}, bad)


def test_places_of_origins_count_what_those_of_entities_do(tmp_path):
    origin = {"kind": "mention", "sentence": None, "char_start_index": 2, "char_end_index": 5}
    names = ("char_start_index", "char_end_index")
    entities = [
        {"label": "PER", "score": 0.9, "span": "Ann", **dict(zip(names, place, strict=True)), **more}
        for place, more in [
            ((2, 5), {"origin": None}),
            ((6, 9), {"origin": origin}),
            ((10, 13), {"conflict": {"label": "LOC", "score": 0.8, "origin": origin}, "origin": {"kind": "rule"}}),
        ]
    ]
    row = {"text": "\N{PARTY POPPER} Ann Ann Ann", "entities": entities}
    for offsets, shift in (("codepoint", 0), ("utf-16", 1), ("utf-8", 3)):
        write_jsonl(tmp_path / "x", [row], offsets=offsets)
        first, second, third = json.loads((tmp_path / "x").read_text(encoding="utf-8"))["entities"]
        moved = {**origin, names[0]: 2 + shift, names[1]: 5 + shift}
        assert (first["start"], first["end"], first["origin"]) == (2 + shift, 5 + shift, None)
        assert second["origin"] == moved
        assert third["conflict"] == {"label": "LOC", "score": 0.8, "origin": moved}
        assert third["origin"] == {"kind": "rule"}
    entities[1]["origin"] = {**origin, "sentence": 3}
    write_jsonl(tmp_path / "x", [row])
    with pytest.raises(ValueError, match=r"^row 0: the 'origin' .* is in another row, so offsets='utf-16' cannot"):
        write_jsonl(tmp_path / "x", [row], offsets="utf-16")
    entities[1]["origin"] = {**origin, names[1]: 50}
    with pytest.raises(ValueError, match="^row 0: 'origin': the offset 50, counted in codepoint units, is outside"):
        write_jsonl(tmp_path / "x", [row], offsets="utf-16")
