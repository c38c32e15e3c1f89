"""Readers find in batches of rows what `predict` finds in texts, and travel as a path."""

import pickle
import shutil
import subprocess
import sys

import pyarrow as pa
import pytest
import torch
from datasets import ClassLabel, Dataset
from helpers import approximately, check_margin
from tiny import SENTENCES, build_model

from span_marker import SpanMarkerModel
from span_marker.bulk import Reader
from span_marker.core import forks
from span_marker.prediction.entities import Coverage
from span_marker.prediction.readings import read_contents
from span_marker.rules import RegexRule, Rules

TEXTS = [" ".join(words) for words in SENTENCES]


@pytest.fixture(scope="module")
def model():
    return build_model()


@pytest.fixture(scope="module")
def folder(model, tmp_path_factory):
    folder = tmp_path_factory.mktemp("reader") / "model"
    model.save_pretrained(folder)
    return str(folder)


def test_texts_and_words_are_read_as_predict_reads_them(folder, model):
    within = check_margin(model, TEXTS, SENTENCES)
    for column, contents in (("text", TEXTS), ("tokens", SENTENCES), ("body", TEXTS)):
        reader = Reader(folder, text_column="body" if column == "body" else None)
        table = reader(pa.table({"id": range(len(contents)), column: contents}))
        expected = model.predict(contents, is_split_into_words=column == "tokens")
        assert any(expected)
        assert table["entities"].to_pylist() == approximately(expected, within)
        assert table.schema.names == ["id", column, "entities"]
        assert table["id"].to_pylist() == [*range(len(contents))]


@pytest.mark.parametrize("make", [pa.table, pa.RecordBatch.from_pydict, dict], ids=["table", "record batch", "dict"])
def test_every_kind_of_batch_is_read(folder, make):
    result = Reader(folder)(make({"text": TEXTS, "entities": [None] * len(TEXTS)}))
    assert isinstance(result, pa.RecordBatch if make == pa.RecordBatch.from_pydict else pa.Table)
    assert result.schema.names == ["text", "entities"], "a column of this name is replaced"
    assert result.column("entities").to_pylist()[0]


@pytest.mark.parametrize(
    "kind", [pa.large_string(), pa.string_view(), pa.dictionary(pa.int32(), pa.string())], ids=["large", "view", "dict"]
)
def test_strings_of_every_kind_are_texts(folder, kind):
    plain, other = (
        Reader(folder)(pa.table({"text": pa.array(TEXTS, pa.string()).cast(t)})) for t in (pa.string(), kind)
    )
    assert other["entities"].type == plain["entities"].type
    assert other["entities"].to_pylist() == plain["entities"].to_pylist()


def test_rows_do_not_change_the_schema(folder):
    """Whether or not a batch has entities, errors, or rows."""
    for column, contents in (("text", TEXTS), ("tokens", SENTENCES)):
        for options in ({}, {"top_k": 2}, {"on_error": "column"}):
            reader = Reader(folder, **options)
            kind = pa.list_(pa.string()) if column == "tokens" else pa.string()
            for some in ([], contents[3:4], contents):
                table = pa.table({column: pa.array(some, kind)})
                assert reader(table).schema == reader.schema(table.schema)
            assert reader(table)["entities"].to_pylist() == Reader(folder, **options)(table)["entities"].to_pylist()
            names = set(reader(table)["entities"].to_pylist()[0][0])
            assert names == {*reader.read(contents)[0].entities[0]}, "the keys are those of predict"


@pytest.mark.parametrize(("column", "contents"), [("text", TEXTS), ("tokens", SENTENCES)])
def test_the_origin_of_entities_is_kept(folder, column, contents, tmp_path):
    model = SpanMarkerModel.from_pretrained(folder)
    model.rules = Rules([RegexRule("YEAR", r"\b\d{4}\b")])
    model.save_pretrained(tmp_path)
    table = pa.table({column: contents})
    for reader in (Reader(tmp_path), Reader(folder, propagate=True), Reader(tmp_path, propagate=True, top_k=2)):
        result = reader(table)
        assert result.schema == reader.schema(table.schema)
        for told, entities in zip(result["entities"].to_pylist(), reader.read(contents), strict=True):
            for entity, expected in zip(told, entities.entities, strict=True):
                assert without_nulls(entity) == expected
    assert any(entity["origin"] for row in result["entities"].to_pylist() for entity in row)


def without_nulls(value):
    if not isinstance(value, dict):
        return value
    return {key: without_nulls(inner) for key, inner in value.items() if inner is not None}


def test_bad_rows_are_raised_or_told(folder):
    for column, contents in (("text", [TEXTS[0], None]), ("tokens", [SENTENCES[0], None, ["Paris", None]])):
        table = pa.table({column: contents})
        with pytest.raises(TypeError, match=r"row 1 of its batch: .*, not NoneType"):
            Reader(folder)(table)
        rows = Reader(folder, on_error="column")(table).to_pylist()
        assert [bool(row["error"]) for row in rows] == [False] + [True] * (len(contents) - 1)
        assert [bool(row["entities"]) for row in rows] == [True] + [False] * (len(contents) - 1)
    nulls = Reader(folder, on_error="column")(pa.table({"text": [None, None]}))
    assert nulls["error"].null_count == 0


class Failing:
    """A model that fails on some texts, and counts its calls."""

    def __init__(self, error):
        self.error, self.num_calls = error, 0

    def predict(self, sentences, *, threshold=0.5, **options):
        if not isinstance(threshold, float):
            raise TypeError("threshold must be a number")
        self.num_calls += bool(sentences)
        if any("bad" in sentence for sentence in sentences):
            raise self.error
        coverage = [Coverage(len(sentence), 1, 1, 1, 1, 0, []) for sentence in sentences]
        return [[{"span": sentence}] for sentence in sentences], coverage


@pytest.mark.parametrize("error", [TimeoutError("the rule takes too long"), MemoryError(), RuntimeError("no kernel")])
@pytest.mark.parametrize("bad", [{0}, {77}, {255}, {3, 4, 200}, set(range(0, 256, 2))])
def test_a_text_that_cannot_be_read_spoils_no_other(error, bad):
    contents = [f"{'bad' if row in bad else 'good'} {row}" for row in range(256)]
    contents = [text.split() if row % 3 else text for row, text in enumerate(contents)]
    model = Failing(error)
    readings = read_contents(model, contents, "column", {})
    assert [row for row, reading in enumerate(readings) if reading.error] == sorted(bad)
    assert all(readings[row].error == f"row {row}: {type(error).__name__}: {error}".removesuffix(": ") for row in bad)
    assert all(reading.entities == [{"span": contents[row]}] for row, reading in enumerate(readings) if row not in bad)
    assert model.num_calls <= 2 + 2 * 8 * len(bad), "halves"
    with pytest.raises(type(error)):
        read_contents(model, contents, "raise", {})


def test_options_that_are_wrong_are_no_fault_of_the_texts():
    with pytest.raises(TypeError, match="threshold must be a number"):
        read_contents(Failing(ValueError()), ["good", "bad"], "column", {"threshold": "high"})


def test_columns_that_are_no_texts_are_refused(folder):
    reader = Reader(folder)
    with pytest.raises(ValueError, match=r"must have either 'text' or 'tokens', but has \['body'\]: set text_column"):
        reader(pa.table({"body": TEXTS}))
    with pytest.raises(ValueError, match="must have either 'text' or 'tokens'"):
        reader(pa.table({"text": TEXTS, "tokens": SENTENCES}))
    with pytest.raises(ValueError, match="must have a column 'body', but has"):
        Reader(folder, text_column="body")(pa.table({"text": TEXTS}))
    for values in ([1, 2], [[1], [2]]):
        with pytest.raises(TypeError, match=r"the column 'text' must have strings or lists of strings, not .*int64"):
            reader(pa.table({"text": values}))
    with pytest.raises(TypeError, match=r"not str: set batched=True for Dataset\.map"):
        reader("Paris")


def test_a_reader_is_checked_when_it_is_made(model):
    with pytest.raises(TypeError, match="not SpanMarkerModel, since each process loads it: save yours with"):
        Reader(model)
    with pytest.raises(TypeError, match="predict has no option 'treshold' for batches of rows; it has batch_size, "):
        Reader("my-model", treshold=0.5)
    with pytest.raises(TypeError, match="no option 'return_coverage'"):
        Reader("my-model", return_coverage=True)
    with pytest.raises(ValueError, match="num_threads=0 must be at least 1"):
        Reader("my-model", num_threads=0)


def test_a_reader_is_a_path(folder, monkeypatch, tmp_path):
    monkeypatch.chdir(folder + "/..")
    pickled = pickle.dumps(Reader("model", threshold=0.5))
    assert len(pickled) < 1000
    monkeypatch.chdir(tmp_path)
    assert pickle.loads(pickled).load().predict("Paris") is not None


def test_what_sends_readers_does_without_pytorch():
    code = (
        "import pickle, sys; from span_marker.bulk import Reader; "
        "from span_marker.integrations import predict_dataframe, predict_dataset; pickle.dumps(Reader('my-model')); "
        "print([name for name in ('torch', 'transformers', 'datasets', 'pandas') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_model_is_loaded_once_in_each_of_its_states(folder, tmp_path):
    copy = str(tmp_path / "copy")
    shutil.copytree(folder, copy)
    assert Reader(copy).load() is Reader(copy, threshold=0.5).load()
    before = Reader(copy)
    build_model(seed=1).save_pretrained(copy)
    assert pickle.dumps(Reader(copy)) != pickle.dumps(before), "caches do not apply to the new one"
    assert Reader(copy).load() is not before.load()


def test_threads_are_set_but_one_in_forked_processes(folder, monkeypatch):
    before = torch.get_num_threads()
    try:
        Reader(folder, num_threads=before + 1).load()
        assert torch.get_num_threads() == before + 1
        monkeypatch.setattr(forks, "_imported_in", -1)
        Reader(folder, num_threads=before + 2).load()
        assert torch.get_num_threads() == 1
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("format", [None, "arrow"])
def test_datasets_map_keeps_columns_and_types(folder, format):
    names = ["a", "b", "c", "d", "e"]
    data = Dataset.from_dict({"text": [*TEXTS[3:], *TEXTS[:3]], "kind": [0, 1, 2, 3, 4]})
    data = data.cast_column("kind", ClassLabel(names=names))
    result = data.with_format(format).map(Reader(folder), batched=True, batch_size=1)  # a batch without entities first
    assert result.features["kind"] == ClassLabel(names=names)
    assert result.with_format(None)["kind"][:] == data["kind"][:]
    expected = Reader(folder)(data.with_format("arrow")[:])["entities"].type
    assert result.data.schema.field("entities").type == expected
