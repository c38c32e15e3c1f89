"""The error about an unknown record says what to change, and is short."""

import pytest
from annotation_files import entity, read_lines, read_text

from span_marker.data.annotation_tools import SHAPES

WORDS, TAGS = ["Ann", "went"], ["B-PER", "O"]
ENTITIES = [entity("PER", 0, 1)]


@pytest.mark.parametrize(
    ("record", "advice"),
    [
        ({"tokens": WORDS, "tags": TAGS}, "rename 'tags' to 'ner_tags'"),
        ({"words": WORDS, "labels": TAGS}, "rename 'words' to 'tokens' and 'labels' to 'ner_tags'"),
        ({"words": WORDS, "ner_tags": TAGS}, "rename 'words' to 'tokens'"),
        ({"text": WORDS, "label": TAGS, "id": 1}, "rename 'text' to 'tokens' and 'label' to 'ner_tags'"),
        ({"words": WORDS, "entities": ENTITIES}, "rename 'words' to 'tokens'"),
        ({"sentence": "Ann went", "entities": ENTITIES}, "rename 'sentence' to 'text'"),
        ({"text": "Ann went", "ents": ENTITIES}, "rename 'ents' to 'entities'"),
    ],
)
def test_the_names_to_change_are_told_and_suffice(tmp_path, record, advice):
    with pytest.raises(ValueError, match=f"row 0 has the keys .*, which is none of the known shapes: {advice}$"):
        read_lines(tmp_path, record)
    new = dict(pair.split("' to '") for pair in advice.removeprefix("rename '").removesuffix("'").split("' and '"))
    (row,) = read_lines(tmp_path, {new.get(name, name): value for name, value in record.items()})
    assert row["entities"]


@pytest.mark.parametrize(
    ("record", "advice"),
    [
        ({"tokens": WORDS, "tags": TAGS[:1]}, "'tokens'"),
        ({"tokenized_text": WORDS, "x": 1}, "the nearest shape is GLiNER"),
        ({"fields": {}, "x": 1}, "the nearest shape is Argilla 2"),
        (
            {f"key {number}": number for number in range(99)},
            "and 89 more, .* a row has 'tokens' or 'text', and 'entities'",
        ),
        (5, "has the type int.*a record must be a dict"),
        ({}, "a row has 'tokens' or 'text'"),
    ],
)
def test_anything_else_is_told_the_nearest_shape(tmp_path, record, advice):
    with pytest.raises(ValueError, match=advice) as raised:
        read_lines(tmp_path, record)
    assert len(str(raised.value)) < 500
    assert sum(shape.name in str(raised.value) for shape in SHAPES) <= 1


def test_words_without_tags_are_no_row(tmp_path):
    with pytest.raises(ValueError, match="has the keys .'tokens'."):
        read_text(tmp_path, '{"tokens": ["a"]}', "x.jsonl")
