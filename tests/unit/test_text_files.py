"""Text files are read in any encoding and with any line ends, and are there as a whole or not at all."""

import bz2
import gzip
import lzma
from functools import partial

import pytest
from annotation_files import read_text

from span_marker.bulk.input_files import find_files
from span_marker.bulk.sources import read_items
from span_marker.data.brat import write_brat
from span_marker.data.conll import write_conll
from span_marker.data.csv_files import write_csv
from span_marker.data.files import FORMATS, read_annotations, write_annotations
from span_marker.data.html import write_html
from span_marker.data.jsonl import write_jsonl
from span_marker.data.spacy_docs import write_docbin
from span_marker.data.text_files import decode

LINES = "東\tO\nKöln\tB-LOC\nüber\tI-LOC\n\nx\tO\n"
ROWS = [
    {"tokens": ["東", "Köln", "über"], "entities": [{"label": "LOC", "start": 1, "end": 3}]},
    {"tokens": ["x"], "entities": []},
]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
def test_a_byte_order_mark_tells_the_encoding(tmp_path, encoding):
    (tmp_path / "x.conll").write_bytes(LINES.encode(encoding))
    assert list(read_annotations(tmp_path / "x.conll")) == ROWS
    assert list(read_annotations(tmp_path / "x.conll", encoding=encoding)) == ROWS


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be"])
@pytest.mark.parametrize("content", [LINES, "Ann\tB-PER\nwent\tO\n", '{"text": "Köln", "entities": []}', "東\tO\n" * 9])
def test_utf16_without_a_mark_is_named(tmp_path, encoding, content):
    path = tmp_path / ("x.jsonl" if content.startswith("{") else "x.conll")
    path.write_bytes(content.encode(encoding))
    with pytest.raises(ValueError, match=rf"{path.name}.*pass encoding=.*'{encoding}'"):
        read_annotations(path)
    read_annotations(path, encoding=encoding)
    path.write_bytes(f"\ufeff{content}".encode(encoding))
    assert read_annotations(path).to_list() == read_annotations(path, encoding=encoding).to_list()


def test_zeros_alone_are_no_utf16():
    assert decode(b"\0" * 99, None, "x") == "\0" * 99
    assert decode(b"a\0" * 7, None, "x") == "a\0" * 7  # too short to tell
    assert decode(b"Ann went to Paris\0.", None, "x") == "Ann went to Paris\0."


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_bad_bytes_are_refused(tmp_path, end):
    data = LINES.replace("\n", end).replace("東", "a").encode("latin-1")
    (tmp_path / "x.conll").write_bytes(data)
    with pytest.raises(
        ValueError, match=r"x\.conll, line 2: the byte 0xf6 at position .* is not UTF-8: pass encoding=.*'cp1252'"
    ):
        read_annotations(tmp_path / "x.conll")
    with pytest.raises(ValueError, match=r"x\.conll, line 2: the byte 0xf6 .* is not ASCII: pass encoding="):
        read_annotations(tmp_path / "x.conll", encoding="ascii")
    assert read_annotations(tmp_path / "x.conll", encoding="latin-1")[0]["tokens"] == ["a", "Köln", "über"]
    for encoding in ("nonsense", "hex"):
        with pytest.raises(ValueError, match=f"encoding='{encoding}' is not the name of an encoding"):
            read_annotations(tmp_path / "x.conll", encoding=encoding)


def test_only_text_has_an_encoding(tmp_path):
    (tmp_path / "x.spacy").write_bytes(b"")
    with pytest.raises(ValueError, match="encoding='latin-1' does not apply to .*, whose format is docbin"):
        read_annotations(tmp_path / "x.spacy", encoding="latin-1")


@pytest.mark.parametrize("end", ["\r\n", "\r"])
@pytest.mark.parametrize("format", [kind.name for kind in FORMATS if kind.write is not None and kind.is_text])
def test_every_reader_knows_every_line_end_and_nothing_else(tmp_path, format, end):
    words = ["a\x0bb", "c\x0cd", "e\x1cf", "g\x85h", "i\u2028j", "k\u2029l"]
    rows = [{"tokens": words, "entities": [{"label": "X", "start": 0, "end": 6}]}, {"tokens": ["m"], "entities": []}]
    if format in ("brat", "csv", "inline"):  # other texts than of one line would have other offsets
        rows = [{"id": "1", "text": " ".join(words), "entities": [{"label": "X", "start": 0, "end": 23}]}]
    if format == "conll":
        content = (
            "".join(f"{word}\t{tag}\n" for word, tag in zip(words, ["B-X", *["I-X"] * 5], strict=True)) + "\nm\tO\n"
        )
        (tmp_path / "x").write_bytes(content.encode())
    else:
        write_annotations(tmp_path / "x", rows, format=format)
    expected = list(read_annotations(tmp_path / "x", format=format))
    assert [row.get("tokens", row.get("text")) for row in expected] == [
        row.get("tokens", row.get("text")) for row in rows
    ]
    files = sorted((tmp_path / "x").glob("*.ann")) if format == "brat" else [tmp_path / "x"]
    for file in files:
        file.write_bytes(file.read_bytes().replace(b"\n", end.encode()))
    assert list(read_annotations(tmp_path / "x", format=format)) == expected


def test_arguments_the_wrong_way_round(tmp_path):
    with pytest.raises(TypeError, match="path, the first argument, must be one string or Path, not list"):
        write_jsonl([{"text": "a", "entities": []}], tmp_path / "x")


def test_a_bad_row_leaves_no_file_behind(tmp_path):
    rows = [{"text": "a", "entities": []}, {"text": "a", "entities": [{"label": "X", "start": 0, "end": 2}]}]
    (tmp_path / "before").write_text("kept")
    for write in (write_html, write_docbin):
        with pytest.raises(ValueError, match="row 1: entity 'X' ends at character 2, but the row has only 1 char"):
            write(tmp_path / "before", rows)
    with pytest.raises(ValueError, match="row 1"):
        write_brat(tmp_path / "folder", rows)
    assert [(file.name, file.read_text()) for file in tmp_path.iterdir()] == [("before", "kept")]


JOINED = {
    "conll": "{}\tB-PER\nleft\tO\n\n",
    "inline": "[{}](PER) left\n",
    "jsonl": '{{"text": "{}", "entities": []}}\n',
}


@pytest.mark.parametrize("format", JOINED)
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_the_marks_of_joined_files_are_no_characters(tmp_path, format, end):
    files = ["\ufeff" + JOINED[format].format(name).replace("\n", end) for name in ("Ann", "Bob")]
    rows = read_text(tmp_path, "".join(files), format=format)
    assert rows == read_text(tmp_path, "".join(files).replace("\ufeff", ""), format=format)
    assert len(rows) == 2


COMPRESSED = {
    "gzip": gzip.compress,
    "bzip2": bz2.compress,
    "xz": lzma.compress,
    "zip": lambda data: b"PK\x03\x04" + data,
}


@pytest.mark.parametrize("kind", COMPRESSED)
@pytest.mark.parametrize("name", ["a.jsonl", "a.jsonl.gz", "a", "a.txt", "a.csv"])
@pytest.mark.parametrize(
    "options", [{}, {"encoding": "latin-1"}, {"format": "jsonl"}, {"format": "inline", "encoding": "latin-1"}]
)
def test_compressed_files_are_named(tmp_path, kind, name, options):
    (tmp_path / name).write_bytes(COMPRESSED[kind](b"Ann O\nwent O\n"))
    with pytest.raises(ValueError, match=rf"{name} is (compressed|an archive) \({kind}\): unpack it"):
        read_annotations(tmp_path / name, **options)
    if "format" in options:
        with pytest.raises(ValueError, match=rf"{name} is (compressed|an archive) \({kind}\): unpack it"):
            list(read_items(find_files([str(tmp_path / name)], "lines"), None, options.get("encoding"), "raise"))


WRITERS = [write_html, write_docbin, write_jsonl, write_csv, write_conll, partial(write_annotations, format="inline")]


@pytest.mark.parametrize("write", WRITERS)
def test_where_nothing_can_be_written_is_said(tmp_path, write):
    for ending in ("gz", "BZ2", "xz", "zst", "zip"):
        with pytest.raises(ValueError, match=rf"x\.{ending} would not be compressed: leave '\.{ending}' out"):
            write(tmp_path / f"x.{ending}", ROWS)
    with pytest.raises(FileNotFoundError, match=r"there is no folder .*no to write x to: create it first$"):
        write(tmp_path / "no" / "x", ROWS)
    assert not list(tmp_path.iterdir())
