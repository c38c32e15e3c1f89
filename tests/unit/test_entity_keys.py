"""Entities whose keys have other names: their places are never passed over, and the errors say what to rename."""

import json
import re

import pytest
from annotation_files import read_lines, read_text

from span_marker import validate
from span_marker.data.entity_keys import LABEL_KEYS, advise_keys, has_place
from span_marker.data.rows import check_entity

TEXT = "Ann met Ann."
PAIRS = [
    ("begin", "end"),
    ("start_char", "end_char"),
    ("startOffset", "endOffset"),
    ("BeginOffset", "EndOffset"),
    ("start_index", "end_index"),
    ("start_idx", "end_idx"),
    ("from", "to"),
    ("char_start", "char_end"),
    ("start_pos", "end_pos"),
    ("start", "stop"),
]


@pytest.mark.parametrize(("start", "end"), PAIRS)
@pytest.mark.parametrize("number", [int, float, str])
def test_places_under_other_names_are_refused_with_the_names_to_change(tmp_path, start, end, number):
    row = {"text": TEXT, "entities": [{"text": "Ann", "label": "PER", start: number(8), end: number(11)}]}
    if number is float:
        row["entities"][0] |= {start: 8.0, end: 11.0}
    renames = [f"'{old}' to '{new}'" for old, new in ((start, "start"), (end, "end")) if old != new]
    message = f"has no '{'end' if start == 'start' else 'start'}': rename {' and '.join(renames)}$"
    with pytest.raises(ValueError, match=message):
        read_lines(tmp_path, row)
    (problem,) = validate([row]).problems
    assert problem.kind == "malformed-entity"
    assert f"rename {' and '.join(renames)}" in problem.message


PLACES = {
    "length": ({"offset": 8, "length": 3}, "rename 'offset' to 'start', and add 'end' ('offset' + 'length')"),
    "no end": ({"position": 8}, "rename 'position' to 'start', and add 'end'"),
    "pair": ({"span": [8, 11]}, "write 'start' and 'end' in place of 'span'"),
    "pairs": ({"offsets": [[8, 11]]}, "write 'start' and 'end' in place of 'offsets'"),
    "dict": ({"location": {"start": 8, "end": 11}}, "write 'start' and 'end' in place of 'location'"),
}


@pytest.mark.parametrize("name", PLACES)
@pytest.mark.parametrize("form", ["list", "GLiNER2", "table"])
def test_no_place_of_a_string_is_passed_over(tmp_path, name, form):
    place, advice = PLACES[name]
    entity = {"text": "Ann", "category": "PER", **place}
    assert has_place(entity)
    if form == "GLiNER2":
        record = {"input": TEXT, "output": {"entities": {"PER": [entity]}}}
        with pytest.raises(ValueError, match="has a place, but here, strings are searched for"):
            read_lines(tmp_path, record)
        return
    expected = (
        f"'category' to 'label'{' and ' if advice.startswith('rename') else ', and '}{advice.removeprefix('rename ')}"
    )
    assert advise_keys(entity) == f": rename {expected}"
    name, content = "x.jsonl", json.dumps({"text": TEXT, "entities": [entity]})
    if form == "table":
        name, content = "x.tsv", f'text\tentities\n{TEXT}\t"[{entity}]"\n'
    with pytest.raises(ValueError, match="has no 'label': rename 'category' to 'label'"):
        read_text(tmp_path, content, name)


NO_PLACES = [
    {"from": "a letter"},
    {"id": 3},
    {"ids": [1, 2]},
    {"index": 0},
    {"note": {"by": "Ann"}},
    {"stop": True},
    {"box": [1, 2, 3, 4]},
]


@pytest.mark.parametrize("other", NO_PLACES)
def test_other_keys_of_strings_are_named(tmp_path, caplog, other):
    entity = {"text": "met", "label": "PER", **other}
    assert not has_place(entity)
    (row,) = read_lines(tmp_path, {"text": TEXT, "entities": [entity]})
    assert row["entities"] == [{"label": "PER", "start": 4, "end": 7}]
    assert f"'entities: {next(iter(other))}' in 1 (line 1)" in caplog.text


@pytest.mark.parametrize("key", LABEL_KEYS[1:])
def test_labels_under_other_names_are_refused_with_the_name(key):
    with pytest.raises(ValueError, match=f"has no 'label': rename '{key}' to 'label'$"):
        check_entity({key: "PER", "start": 0, "end": 3}, 12, "characters", "row 0")


def test_nothing_is_advised_where_nothing_looks_like_what_is_missing():
    with pytest.raises(ValueError, match=r"\} has no 'end'$"):
        check_entity({"label": "PER", "start": 0}, 12, "characters", "row 0")


@pytest.mark.parametrize(
    ("column", "entity", "message"),
    [
        ("text", {"word_start_index": 0, "word_end_index": 1}, "its indices count words, so the row needs 'tokens'"),
        ("tokens", {"char_start_index": 0, "char_end_index": 3}, "its indices count characters, .* needs 'text'"),
    ],
)
def test_predictions_for_words_are_not_renamed_to_places_in_a_text(column, entity, message):
    row = {column: TEXT if column == "text" else TEXT.split(), "entities": [{"label": "PER", **entity}]}
    (problem,) = validate([row]).problems
    assert re.search(message, problem.message)
