"""Text files are UTF-8, and are there as a whole or not at all."""

import pytest

from span_marker.data.brat import write_brat
from span_marker.data.files import read_annotations
from span_marker.data.html import write_html
from span_marker.data.jsonl import write_jsonl
from span_marker.data.spacy_docs import write_docbin


def test_bad_bytes_are_refused(tmp_path):
    (tmp_path / "x.conll").write_bytes(b"K\xf6ln O\n")
    with pytest.raises(ValueError, match=r"x\.conll is not UTF-8 \(byte 1\)"):
        read_annotations(tmp_path / "x.conll")


def test_arguments_the_wrong_way_round(tmp_path):
    with pytest.raises(TypeError, match="path, the first argument, must be one string or Path, not list"):
        write_jsonl([{"text": "a", "entities": []}], tmp_path / "x")


def test_a_bad_row_leaves_no_file_behind(tmp_path):
    rows = [{"text": "a", "entities": []}, {"text": "a", "entities": [{"label": "X", "start": 0, "end": 2}]}]
    (tmp_path / "before").write_text("kept")
    for write in (write_jsonl, write_html, write_docbin):
        with pytest.raises(ValueError, match="row 1: entity 'X' ends at character 2, but the row has only 1 char"):
            write(tmp_path / "before", rows)
    with pytest.raises(ValueError, match="row 1"):
        write_brat(tmp_path / "folder", rows)
    assert [(file.name, file.read_text()) for file in tmp_path.iterdir()] == [("before", "kept")]
