"""The format of a file is told by its ending; options reach the format that they are for."""

import inspect
import json
from functools import partial

import pytest
from annotation_files import (
    CONLL_WORDS,
    flat,
    is_line,
    lists_of,
    read_text,
    round_trip,
    snap,
    text_rows,
    unique,
    word_rows,
)
from datasets import ClassLabel, Dataset, Features, List, Value
from hypothesis import given, settings
from hypothesis import strategies as st

from span_marker.data.brat import write_brat
from span_marker.data.conll import write_conll
from span_marker.data.csv_files import write_csv
from span_marker.data.files import FORMATS, read_annotations, write_annotations
from span_marker.data.gliner import write_gliner
from span_marker.data.html import write_html
from span_marker.data.inline import write_inline
from span_marker.data.jsonl import write_jsonl
from span_marker.data.spacy_docs import write_docbin


@pytest.fixture(scope="module")
def nlp():
    return pytest.importorskip("spacy").blank("xx")


def test_a_format_is_told_by_the_ending(tmp_path):
    for ending in next(kind for kind in FORMATS if kind.name == "conll").endings:
        assert read_text(tmp_path, "a O\n", f"x{ending}") == [{"tokens": ["a"], "entities": []}]
    for name in ("x.json", "x.JSONL"):
        assert read_text(tmp_path, '{"text": "a", "entities": []}', name) == [{"text": "a", "entities": []}]
    assert read_text(tmp_path, "a O\n", "x.unknown", format="conll") == [{"tokens": ["a"], "entities": []}]


def test_contents_tell_no_other_format_from_columns_and_json(tmp_path):
    columns = [
        "Word O\nTag O\n",
        "text\tO\nentities\tO\n",
        "#FORMAT O\nx O\n",
        "1\tAnn\tB-PER\n3\tLee\tO\n",
        "a|t|b O\n",
    ]
    for content in columns:
        assert "tokens" in read_text(tmp_path, content, "x.txt")[0]
    assert read_text(tmp_path, '{"text": "1|t|a", "entities": []}', "x.json")[0]["text"] == "1|t|a"


@pytest.mark.parametrize(
    ("text", "format"),
    [('{"text": "Ann", "entities": []}\n', "jsonl"), ("text,start,end,label\nAnn,0,3,PER\n", "csv")],
)
def test_what_is_plainly_of_another_format_is_not_read_as_texts(tmp_path, text, format):
    (tmp_path / "x.txt").write_text(text)
    with pytest.raises(ValueError, match=f"looks like {format}, not like texts with brackets: pass format='{format}'"):
        read_annotations(tmp_path / "x.txt", format="inline")


def test_what_does_not_fit_a_format_is_refused(tmp_path):
    with pytest.raises(
        ValueError, match=r"ending of .*x\.abc does not tell its format: pass format= one of conll, jsonl"
    ):
        read_text(tmp_path, "", "x.abc")
    with pytest.raises(ValueError, match=r"format='bio' must be one of"):
        read_text(tmp_path, "", "x.abc", format="bio")
    with pytest.raises(
        ValueError, match=r"documents=True does not apply to .*x\.jsonl, whose format is jsonl: leave it out"
    ):
        read_text(tmp_path, "{}", "x.jsonl", documents=True)
    with pytest.raises(ValueError, match=r"annotator=1 does not apply"):
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


@settings(max_examples=30)
@given(st.data())
def test_every_format_writes_what_it_reads(nlp, data):
    kind = data.draw(st.sampled_from([kind for kind in FORMATS if kind.write is not None]))
    format = None if kind.endings else kind.name
    name = f"x{data.draw(st.sampled_from(kind.endings or ('', '.jsonl', '.txt')))}"
    if kind.name in ("conll", "gliner"):
        rows = [flat(row) for row in data.draw(lists_of(word_rows(CONLL_WORDS, min_words=1)))]
    else:
        texts = text_rows().filter(is_line) if kind.name == "inline" else text_rows()
        rows = [flat(snap(row, nlp)) for row in data.draw(lists_of(texts))]
    found = round_trip(partial(write_annotations, format=format), rows, name, format=format)
    assert [unique(row["entities"]) for row in found] == [unique(row["entities"]) for row in rows]
    assert [row.get("text", row.get("tokens")) for row in found] == [row.get("text", row.get("tokens")) for row in rows]


def test_a_folder_is_written_as_brat(tmp_path):
    rows = [{"id": "x", "text": "a", "entities": []}]
    write_annotations(f"{tmp_path / 'made'}/", rows)
    (tmp_path / "empty").mkdir()
    write_annotations(tmp_path / "empty", rows)
    write_annotations(tmp_path / "named", rows, format="brat")
    assert all(list(read_annotations(tmp_path / name)) == rows for name in ("made", "empty", "named"))


def test_options_reach_the_writer_of_their_format(nlp, tmp_path):
    rows = [{"text": "can't", "entities": [{"label": "X", "start": 0, "end": 2}]}]
    english = pytest.importorskip("spacy").blank("en")
    write_annotations(tmp_path / "x.spacy", rows, nlp=english, spans_key="k")
    assert list(read_annotations(tmp_path / "x.spacy", spans_key="k")) == rows
    with pytest.raises(ValueError, match=r"nlp=.* does not apply to .*x\.jsonl, whose format is jsonl: leave it out"):
        write_annotations(tmp_path / "x.jsonl", rows, nlp=english)
    with pytest.raises(ValueError, match=r"ending of .*x\.abc does not tell its format: pass format= one of"):
        write_annotations(tmp_path / "x.abc", rows)
    with pytest.raises(
        ValueError, match=r"x\.pubtator: pubtator can only be read: pass format= one of \['conll', 'jsonl'"
    ):
        write_annotations(tmp_path / "x.pubtator", rows)
    with pytest.raises(ValueError, match="format='bio' must be one of"):
        write_annotations(tmp_path / "x.csv", rows, format="bio")
    with pytest.raises(TypeError, match="path, the first argument, must be one string or Path, not list"):
        write_annotations(rows, tmp_path / "x")


def test_reading_options_are_those_of_the_formats():
    options = {name: default for kind in FORMATS for name, default in kind.options.items()}
    options |= {"encoding": None, "label_map": None, "errors": "raise"}  # of text files, and of all files
    parameters = inspect.signature(read_annotations).parameters.values()
    assert options == {p.name: p.default for p in parameters if p.kind == p.KEYWORD_ONLY}


@pytest.mark.parametrize("form", ["numpy", "torch", "pandas", "arrow"])
@pytest.mark.parametrize(
    "write", [write_jsonl, write_conll, write_csv, write_gliner, write_inline, write_brat, write_docbin, write_html]
)
def test_the_format_and_the_form_of_a_data_set_change_nothing(nlp, tmp_path, write, form):
    entities = [[{"label": "PER", "start": 0, "end": 2}], []]
    data = Dataset.from_dict({"n": [1, 2], "tokens": [["Ann", "Lee", "left"], ["No"]], "entities": entities})
    names = ["O", "B-PER", "I-PER"]
    features = Features(
        {"n": Value("int64"), "tokens": List(Value("string")), "ner_tags": List(ClassLabel(names=names))}
    )
    tagged = {"n": [1, 2], "tokens": data["tokens"][:], "ner_tags": [[1, 2, 0], [0]]}
    numbered = Dataset.from_dict(tagged, features=features)
    tagged["ner_tags"] = [["B-PER", "I-PER", "O"], ["O"]]
    named = Dataset.from_dict(tagged)
    contents = []
    for rows in (data.to_list(), data, data.with_format(form), named.with_format(form), numbered.with_format(form)):
        path = tmp_path / f"x{len(contents)}"
        write(path, rows)
        files = sorted(path.iterdir()) if path.is_dir() else [path]
        contents.append([file.read_bytes() for file in files])
    assert all(content == contents[0] for content in contents)


@pytest.mark.parametrize("name", ["x.conll", "x.txt", "x.bio", "x", "x.csv", "x.jsonl", "x.json"])
def test_json_is_recognized_by_its_contents(tmp_path, name):
    row = {"text": "Ann met", "entities": [{"label": "PER", "start": 0, "end": 3}]}
    for content in (json.dumps(row) + "\n", f"[\n{json.dumps(row)}]", json.dumps(row, indent=1)):
        (tmp_path / name).write_text(content)
        assert list(read_annotations(tmp_path / name)) == [row]
    (tmp_path / "brackets.conll").write_text('{" O\n} O\nAnn B-PER\n')
    assert read_annotations(tmp_path / "brackets.conll")[0]["tokens"] == ['{"', "}", "Ann"]


def test_columns_that_a_format_lacks_are_said(tmp_path, caplog):
    data = Dataset.from_list(
        [
            {
                "id": "a",
                "page": 3,
                "document_id": 1,
                "tokens": ["Ann"],
                "entities": [{"label": "PER", "start": 0, "end": 1}],
            }
        ]
    )
    lost = {
        "x.conll": ["id", "page"],
        "x.csv": ["document_id", "page"],
        "x.jsonl": [],
        "brat/": ["document_id", "page"],
    }
    for name, columns in lost.items():
        for number, rows in enumerate((data, data.to_list(), iter(data.to_list()))):
            caplog.clear()
            write_annotations(f"{tmp_path}/{number}{name}", rows)
            said = f"columns that the format does not support are left out: {columns}"
            assert (said in caplog.text) == bool(columns)
    caplog.clear()
    write_annotations(tmp_path / "x.conll", data.to_pandas())
    assert "columns that the format does not support are left out: ['id', 'page']" in caplog.text
    caplog.clear()
    write_annotations(tmp_path / "y.conll", data.select_columns(["tokens", "entities"]))
    assert not caplog.text
