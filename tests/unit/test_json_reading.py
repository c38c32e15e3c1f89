"""A key that an object has twice is an error, in every reader of JSON."""

import json
import random

import pytest

from span_marker import read_annotations
from span_marker.bulk.input_files import find_files
from span_marker.bulk.sources import read_items
from span_marker.core.json_reading import RepeatedKeyError, json_problem, parse_json
from span_marker.data.label_names import read_label_names
from span_marker.rules import Rules
from span_marker.rules.entity_ruler import read_entity_ruler

ROW = '{"text": "Ann left", "entities": []}\n'
TWICE = '{"text": "Ann left", "entities": [], "text": "Bob left"}\n'
NESTED = '{"text": "Ann left", "entities": [{"label": "PER", "start": 0, "end": 3, "label": "LOC"}]}\n'


def test_other_texts_are_read_as_ever():
    generator = random.Random(0)

    def value(depth):
        kinds = [lambda: generator.choice(["a", 'q":{"', "\\", "\u2028", ":", ""]), lambda: 1.5, lambda: None]
        if depth:
            kinds += [
                lambda: [value(depth - 1) for _ in range(generator.randrange(4))],
                lambda: {generator.choice('ab{":\\\n'): value(depth - 1) for _ in range(generator.randrange(4))},
            ]
        return generator.choice(kinds)()

    for _ in range(500):
        text = json.dumps(value(5), indent=generator.choice([None, 1]))
        assert parse_json(text) == json.loads(text)
    assert parse_json("[NaN]", parse_constant=lambda name: name) == ["NaN"]


@pytest.mark.parametrize(
    ("text", "line", "column", "key"),
    [
        ('{"a": 1, "a": 2}', 1, 10, "'a'"),
        ('[{"a": {"b": "}{\\"a\\":"}},\n {"a": [{"a": 1}], "c": "a", "\\u0061": 2}]', 2, 30, "'a'"),
        ('{"x": {"y": [],\n"y"\n: 1}, "x": 2}', 2, 1, "'y'"),
        ('{"": 1, "": 1} no JSON', 1, 9, "''"),
    ],
)
def test_the_place_of_the_second_key_is_found(text, line, column, key):
    with pytest.raises(RepeatedKeyError) as caught:
        parse_json(text)
    assert (caught.value.lineno, caught.value.colno) == (line, column)
    assert json_problem(caught.value) == f"has the key {key} twice in one object, at column {column}"


def test_numbers_that_python_does_not_read_have_a_place():
    long = "9" * 5000
    with pytest.raises(json.JSONDecodeError) as caught:
        parse_json(f'{{"{long}": "{long}",\n "a": [1, {long}]}}')
    assert (caught.value.lineno, caught.value.colno) == (2, 11)
    assert json_problem(caught.value) == "is not JSON: A number has too many digits at column 11"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (TWICE, "line 1 has the key 'text' twice"),
        (ROW + TWICE, "line 2 has the key 'text' twice"),
        (TWICE + ROW, "line 1 has the key 'text' twice"),
        (ROW + NESTED, "line 2 has the key 'label' twice"),
        (f"[\n{ROW},\n{TWICE}]", "line 4 has the key 'text' twice"),
        (f"[\n{TWICE},\n{ROW}]", "line 2 has the key 'text' twice"),
        ('["a", {"entities": [], "entities": []}]\n["b", {"entities": []}]\n', "line 1 has the key 'entities' twice"),
    ],
)
@pytest.mark.parametrize("ending", ["json", "jsonl"])
def test_annotated_files(tmp_path, content, message, ending):
    path = tmp_path / f"x.{ending}"
    path.write_text(content)
    with pytest.raises(ValueError, match=rf"x\.{ending}, {message} in one object"):
        read_annotations(path)


def test_the_other_rows_are_read(tmp_path):
    (tmp_path / "x.jsonl").write_text(TWICE + ROW + NESTED)
    errors = []
    assert read_annotations(tmp_path / "x.jsonl", errors=errors)["text"] == ["Ann left"]
    assert ["line 1" in str(errors[0]), "line 3" in str(errors[1])] == [True, True]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("x.jsonl", ROW + TWICE, "line 2 has the key 'text' twice"),
        ("x.json", f"[{ROW},{TWICE}]", "line 2 has the key 'text' twice"),
        ("x.json", ROW + TWICE, "line 2 has the key 'text' twice"),
    ],
)
def test_files_to_predict(tmp_path, name, content, message):
    (tmp_path / name).write_text(content)
    with pytest.raises(ValueError, match=message):
        [*read_items(find_files([tmp_path / name]))]


def test_cells_labels_rules_and_patterns(tmp_path):
    path = tmp_path / "x.csv"
    path.write_text('text,entities\nAnn,"[{""label"": ""A"", ""start"": 0, ""end"": 3, ""end"": 2}]"\n')
    with pytest.raises(ValueError, match="line 2: 'entities' has the key 'end' twice"):
        read_annotations(path)
    path = tmp_path / "labels.json"
    path.write_text('{"0": "PER",\n "0": "LOC"}')
    with pytest.raises(ValueError, match="line 2 has the key '0' twice"):
        read_label_names(path)
    Rules([]).save(path)
    path.write_text(path.read_text().replace("{", '{"priority": "model", ', 1))
    with pytest.raises(ValueError, match="the key 'priority' occurs twice"):
        Rules.load(path)
    path.write_text('{"label": "A", "pattern": "a", "label": "B"}\n')
    with pytest.raises(ValueError, match="line 1 has the key 'label' twice"):
        read_entity_ruler(path)
    path.write_text('{"label": "A", "pattern": "a\u2028b"}\n', encoding="utf-8")
    assert len(read_entity_ruler(path)) == 1
