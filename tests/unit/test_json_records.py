"""Entities in JSON records: what does not fit the text is refused, with its place."""

import pytest
from annotation_files import read_text

BAD_RECORDS = {
    "outside": (
        '{"text": "abc", "entities": [{"label": "X", "start": 1, "end": 4}]}',
        r"line 1, row 0: entity 'X' ends at character 4, but the row has only 3 characters",
    ),
    "negative": ('{"text": "abc", "spans": [{"label": "X", "start": -1, "end": 2}]}', r"starts at character -1, but"),
    "empty": ('{"text": "abc", "label": [[1, 1, "X"]]}', r"is empty: it starts and ends at character 1"),
    "turned round": ('["abc", {"entities": [[2, 1, "X"]]}]', r"ends at character 1, before its start at character 2"),
    "no label": ('{"text": "abc", "spans": [{"start": 0, "end": 2}]}', r"'start': 0, 'end': 2} has no 'label'"),
    "empty label": ('{"text": "abc", "label": [[0, 1, ""]]}', r"must have a label other than '' and 'O'"),
    "number as label": (
        '{"text": "abc", "label": [[0, 1, 7]]}',
        r"the label 7 is a number: name it with labels=\{7: 'N",
    ),
    "float": (
        '{"text": "abc", "label": [[0, 1.5, "X"]]}',
        r"'end' of entity 'X' must be a whole number, not 1\.5 \(float\)",
    ),
    "bool": (
        '{"text": "abc", "label": [[false, true, "X"]]}',
        r"'start' of entity 'X' must be a whole number, not False",
    ),
    "lacks end": ('{"text": "abc", "entities": [{"label": "X", "start": 1}]}', r"has no 'end'"),
    "Prodigy's text": (
        '{"text": "abc", "spans": [{"label": "X", "start": 0, "end": 2, "text": "b"}]}',
        r"are 'ab', but .*'b'",
    ),
    "two texts": (
        '{"data": {"a": "x", "b": "y"}, "annotations": []}',
        r"which field is the text\? It has \['a', 'b'\]",
    ),
}


@pytest.mark.parametrize("name", BAD_RECORDS)
def test_bad_json_is_refused(tmp_path, name):
    content, message = BAD_RECORDS[name]
    is_wrong_type = name in ("float", "bool")
    with pytest.raises(TypeError if is_wrong_type else ValueError, match=message):
        read_text(tmp_path, content, "data.jsonl")
