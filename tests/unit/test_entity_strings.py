"""Entities that are strings: found as whole words, counted where ambiguous, refused where they are not there."""

import json
from unicodedata import normalize

import pytest
from annotation_files import entity, read_lines, read_text
from hypothesis import given
from hypothesis import strategies as st

from span_marker.data.entity_strings import EntityString, locate

TEXT = "Tim Cook met Ann.  Ann's friend Anna likes New\nYork and York."
SHAPES = {
    "GLiNER2": lambda items: {"input": TEXT, "output": {"entities": by_label(items)}},
    "by label": lambda items: {"text": TEXT, "entities": by_label(items)},
    "text and label": lambda items: {"text": TEXT, "entities": [{"text": s, "label": label} for label, s in items]},
    "entity and type": lambda items: {"text": TEXT, "entities": [{"entity": s, "type": label} for label, s in items]},
}


def by_label(items):
    return {label: [string for other, string in items if other == label] for label, _ in items}


@pytest.mark.parametrize("name", SHAPES)
def test_strings_are_found_as_whole_words(tmp_path, caplog, name):
    record = SHAPES[name]([("person", "Tim Cook"), ("person", "Ann"), ("person", "Anna"), ("city", "New York")])
    (row,) = read_lines(tmp_path, record)
    places = [("person", 0, 8), ("person", 13, 16), ("person", 19, 22), ("person", 32, 36), ("city", 43, 51)]
    assert row == {"text": TEXT, "entities": [entity(*place) for place in places]}
    assert caplog.text.count("occur several times") == 1
    assert "1 entity strings occur several times in their text, in 1 of 1 records (line 1)" in caplog.text


@pytest.mark.parametrize("name", SHAPES)
def test_strings_are_found_in_their_order(tmp_path, name):
    record = SHAPES[name]([("person", "Ann"), ("city", "York"), ("person", "Ann")])
    (row,) = read_lines(tmp_path, record, occurrences="in-order")
    assert sorted(item["start"] for item in row["entities"]) == [13, 19, 47]
    message = "line 1, row 0: entity 'city': as whole .* 'York' occurs only 2 times, but is listed"
    with pytest.raises(ValueError, match=message):
        read_lines(tmp_path, SHAPES[name]([("city", "York")] * 3), occurrences="in-order")


def test_a_string_inside_of_a_longer_one_counts_only_if_it_is_nowhere_else():
    strings = [EntityString("LOC", "York"), EntityString("LOC", "New York")]
    assert [found[1:3] for found in locate("New York and York", strings, "all", "x")[0]] == [(13, 17), (0, 8)]
    assert [found[1:3] for found in locate("New York", strings, "all", "x")[0]] == [(4, 8), (0, 8)]


def test_a_mark_is_no_end_of_a_word():
    for word, is_there in (("Garci\u0301", False), ("Garci", False), ("Garci\u0301a", True)):
        strings = [EntityString("PER", word)]
        if is_there:
            assert [found[1:3] for found in locate("in Garci\u0301a now", strings, "all", "x")[0]] == [(3, 10)]
        else:
            with pytest.raises(ValueError, match="x"):
                locate("in Garci\u0301a now", strings, "all", "x")


def test_scripts_without_spaces_have_no_whole_words():
    for text, string in (("私は東京都に住む", "東京都"), ("서울에 갔다", "서울"), ("ฉันอยู่กรุงเทพมหานคร", "กรุงเทพ")):
        ((_, start, end, _),), _ = locate(text, [EntityString("LOC", string)], "all", "x")
        assert text[start:end] == string


@given(st.lists(st.sampled_from(["a", "ab", "b", "ba", "é", "."]), min_size=1, max_size=8), st.data())
def test_all_occurrences_are_those_of_a_search_over_words(words, data):
    start = data.draw(st.integers(0, len(words) - 1))
    string = words[start : data.draw(st.integers(start + 1, len(words)))]
    found, _ = locate(" ".join(words), [EntityString("X", " ".join(string))], "all", "x")
    naive, place = [], 0
    while place + len(string) <= len(words):
        is_here = words[place : place + len(string)] == string
        if is_here:
            offset = sum(len(word) + 1 for word in words[:place])
            naive.append((offset, offset + len(" ".join(string))))
        place += len(string) if is_here else 1
    assert [item[1:3] for item in found] == naive


BAD = {
    "not there": (
        {"person": ["Bob"]},
        ValueError,
        "entity 'person': as whole words in the text, 'Bob' does not occur",
    ),
    "other case": (
        {"person": ["tim cook"]},
        ValueError,
        "entity 'person': as whole words in the text, 'tim cook' does not",
    ),
    "part of a word": ({"person": ["Ti"]}, ValueError, "entity 'person': as whole words in the text, 'Ti' does not"),
    "empty": ({"person": [" "]}, ValueError, "the text of an entity is empty"),
    "number": ({"person": [7]}, TypeError, "the text of an entity must be a string, not int"),
    "no list": ({"person": 7}, TypeError, "entities 'person' must be a list, not int"),
    "no label": ([{"text": "Ann"}], ValueError, r"the entity \{'text': 'Ann'\} has none of the keys \['label', 'type'"),
    "label": ([{"text": "Ann", "label": 3}], TypeError, "the label of 'Ann' must be a string, not int"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_strings_are_refused(tmp_path, name):
    entities, kind, message = BAD[name]
    with pytest.raises(kind, match=rf"data\.jsonl, line 2, row 1: {message}"):
        read_lines(tmp_path, SHAPES["by label"]([]), {"text": TEXT, "entities": entities})


def test_an_unknown_choice_is_refused(tmp_path):
    with pytest.raises(ValueError, match="occurrences='first' must be 'all' or 'in-order'"):
        read_lines(tmp_path, SHAPES["GLiNER2"]([("person", "Ann")]), occurrences="first")


def test_gliner2_is_a_format_and_other_tasks_are_named(tmp_path, caplog):
    output = {
        "entities": {"person": ["Tim Cook"], "date": []},
        "entity_descriptions": {"person": "Names of people"},
        "classifications": [{"task": "topic", "labels": ["a", "b"], "true_label": ["a"]}],
    }
    lines = [{"input": TEXT, "output": output}, {"input": "Hi", "output": {"classifications": []}}]
    content = "\n".join(map(json.dumps, lines))
    for options in ({}, {"format": "gliner2"}):
        (row,) = read_text(tmp_path, content, "x.jsonl", **options)
        assert row == {"text": TEXT, "entities": [entity("person", 0, 8)]}
    assert "'output.classifications' in 2 (line 1, line 2)" in caplog.text
    assert "1 of 2 records are left out: 1 have no entities (line 2)" in caplog.text
    message = r"line 1, row 0 has the keys \['entities', 'text'\], but a record of GLiNER2 has"
    with pytest.raises(ValueError, match=message):
        read_text(tmp_path, '{"text": "a", "entities": {}}', "x.jsonl", format="gliner2")


def test_entities_with_offsets_are_not_searched_for(tmp_path):
    record = {"text": TEXT, "entities": [{"text": "Ann", "label": "PER", "start": 19, "end": 22}]}
    assert read_lines(tmp_path, record)[0]["entities"] == [entity("PER", 19, 22)]


@pytest.mark.parametrize("text_form", ["NFC", "NFD"])
@pytest.mark.parametrize("form", ["NFC", "NFD"])
def test_accents_may_be_composed_or_not(text_form, form):
    text, name = normalize(text_form, "Zoë met José Núñez."), "José Núñez"
    ((_, start, end, _),), _ = locate(text, [EntityString("PER", normalize(form, name))], "all", "x")
    assert text[start:end] == normalize(text_form, name)
