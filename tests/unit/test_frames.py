"""Tables of every kind come back with what `predict` finds in their texts, and with everything else as it was."""

import subprocess
import sys

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from datasets import Dataset
from helpers import approximately, check_margin
from pandas.testing import assert_frame_equal
from tiny import SENTENCES, build_model

from span_marker.bulk import Reader
from span_marker.rules import RegexRule, Rules

TEXTS = [" ".join(words) for words in SENTENCES]

INDEX = [f"row {number}" for number in range(len(TEXTS))]


def pandas_table(columns):
    return pd.DataFrame(columns, index=INDEX[: len(next(iter(columns.values())))])


KINDS = {"arrow": pa.table, "batch": pa.RecordBatch.from_pydict, "pandas": pandas_table, "polars": pl.DataFrame}


def as_arrow(table):
    """The Arrow table or record batch of a table of any kind."""
    if isinstance(table, pd.DataFrame):
        return pa.Table.from_pandas(table, preserve_index=False)
    return table.to_arrow() if isinstance(table, pl.DataFrame) else table


@pytest.fixture(scope="module")
def model():
    return build_model()


@pytest.fixture(params=KINDS)
def make(request):
    return KINDS[request.param]


@pytest.mark.parametrize(("column", "contents"), [("text", TEXTS), ("tokens", SENTENCES), ("body", TEXTS)])
def test_a_table_has_what_predict_finds(model, make, column, contents):
    within = check_margin(model, TEXTS, SENTENCES)
    table = make({"id": [*range(len(contents))], column: contents, "entities": [1] * len(contents)})
    result = model.predict_table(table, "body" if column == "body" else None)
    assert type(result) is type(table)
    expected = model.predict(contents, is_split_into_words=column == "tokens")
    assert any(expected)
    rows = as_arrow(result).to_pylist()
    assert [row["entities"] for row in rows] == approximately(expected, within)
    assert [(row["id"], row[column]) for row in rows] == [*enumerate(contents)]
    assert as_arrow(result).schema.names == ["id", column, "entities"]


@pytest.mark.parametrize("options", [{}, {"top_k": 2}, {"on_error": "column"}, {"propagate": True}], ids=str)
def test_there_is_one_schema(model, make, options, tmp_path):
    """That of a reader, whatever the table, and whether or not it has rows."""
    model.save_pretrained(tmp_path)
    expected = Reader(tmp_path, **options)(pa.table({"text": TEXTS})).schema
    for texts in ([], TEXTS[3:4], TEXTS):
        table = make({"text": pa.array(texts, pa.string()) if make in (pa.table, KINDS["batch"]) else texts})
        if make is pl.DataFrame:
            table = table.cast(pl.String)
        found = as_arrow(model.predict_table(table, **options)).schema
        for name in expected.names[1:]:
            assert without_large(found.field(name).type) == expected.field(name).type


def without_large(type_):
    """Polars exports lists and strings with large offsets."""
    if pa.types.is_large_list(type_):
        return pa.list_(without_large(type_.value_type))
    if pa.types.is_struct(type_):
        return pa.struct([(field.name, without_large(field.type)) for field in type_])
    return pa.string() if pa.types.is_large_string(type_) or type_ == pa.string_view() else type_


def test_a_model_with_rules_has_origins(make):
    model = build_model()
    model.rules = Rules([RegexRule("YEAR", r"\b\d{4}\b")])
    rows = as_arrow(model.predict_table(make({"text": TEXTS}))).to_pylist()
    assert {"kind": "rule", "rule": "YEAR"}.items() <= rows[2]["entities"][-1]["origin"].items()


def test_rows_that_cannot_be_read(model, make):
    table = make({"text": [TEXTS[0], None]})
    with pytest.raises(TypeError, match=r"row 1: text must be a string, not NoneType"):
        model.predict_table(table)
    rows = as_arrow(model.predict_table(table, on_error="column")).to_pylist()
    assert [row["error"] for row in rows] == [None, "row 1: text must be a string, not NoneType"]
    assert [bool(row["entities"]) for row in rows] == [True, False]


def test_the_rest_of_a_frame_is_kept(model):
    """Values that Arrow does not have, the index, and the type of each column."""
    frame = pd.DataFrame(
        {"text": TEXTS, 7: [object(), 1, "a", None, {}], "kind": pd.Categorical([*"ababa"])}, index=INDEX
    )
    before = frame.copy()
    result = model.predict_table(frame)
    assert_frame_equal(frame, before)
    assert_frame_equal(result.drop(columns="entities"), before)
    assert result.loc[INDEX[0], "entities"] == model.predict([TEXTS[0]], is_split_into_words=False)[0]
    categories = pl.DataFrame({"text": TEXTS}, schema={"text": pl.Categorical})
    assert model.predict_table(categories)["text"].dtype == pl.Categorical


def test_columns_that_are_no_texts_are_refused(model, make):
    with pytest.raises(ValueError, match=r"must have either 'text' or 'tokens', but has \['body'\]: set column"):
        model.predict_table(make({"body": TEXTS}))
    with pytest.raises(ValueError, match="must have a column 'body', but has"):
        model.predict_table(make({"text": TEXTS}), "body")
    with pytest.raises(TypeError, match=r"the column 'text' must have strings or lists of strings, not .*int64"):
        model.predict_table(make({"text": [1, 2]}))


def test_mixed_and_repeated_columns_are_refused(model):
    with pytest.raises(TypeError, match="the column 'text' must have strings or lists of strings: "):
        model.predict_table(pd.DataFrame({"text": ["Paris", ["Paris"]]}))
    frame = pd.DataFrame({"text": ["Paris", 7, None, np.nan, ("a", 3)]})
    message = "row 1: text must be a string, or a list of words, not int"
    with pytest.raises(TypeError, match="the column 'text' must have"):
        model.predict_table(frame)
    with pytest.raises(TypeError, match=message):
        model.predict_table(frame[:4])
    found = model.predict_table(frame[:4], on_error="column")
    assert found["error"].fillna("").tolist() == [
        "",
        message,
        *(f"row {n}: text must be a string, not NoneType" for n in (2, 3)),
    ]
    assert found["text"].tolist()[:2] == ["Paris", 7]
    with pytest.raises(ValueError, match=r"but has \['text', 'text'\]: set column"):
        model.predict_table(pd.DataFrame([["Paris", "Rome"]], columns=["text", "text"]))


def test_options_are_checked_without_rows(model):
    table = pa.table({"text": pa.array([], pa.string())})
    with pytest.raises(TypeError, match="predict has no option 'treshold' for batches of rows; it has batch_size, "):
        model.predict_table(table, treshold=0.5)
    with pytest.raises(ValueError, match="threshold"):
        model.predict_table(table, threshold=2)
    with pytest.raises(ValueError, match="on_error must be 'raise' or 'column', not 'ignore'"):
        model.predict_table(table, on_error="ignore")


def test_what_is_no_table_in_memory_is_refused(model):
    import duckdb

    for value, advice in [
        (pl.LazyFrame({"text": TEXTS}), r"LazyFrame: call collect\(\) first"),
        (Dataset.from_dict({"text": TEXTS}), r"Dataset: pass dataset.map a span_marker.bulk.Reader"),
        (duckdb.sql("SELECT 'Paris' AS text"), r"DuckDBPyRelation: pass relation.to_arrow_table\(\)"),
        ("Paris", "str: pass texts to predict"),
    ]:
        with pytest.raises(TypeError, match=f"must be a DataFrame of pandas or Polars, .*, not {advice}"):
            model.predict_table(value)


CODE = """
import sys
class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("pandas", "polars"):
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Missing())
import pyarrow as pa
from span_marker.core.settings import ModelSettings
from span_marker.prediction.frames import TableMixin
class Model(TableMixin):
    config = ModelSettings()
    rules = None
    def predict(self, texts, **options):
        return ([[] for _ in texts], [None for _ in texts])
print(Model().predict_table(pa.table({"text": ["Paris"]})).column("entities").to_pylist())
"""


def test_no_library_of_frames_is_needed():
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", CODE], capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "[[]]", done.stderr
