"""What a caller may pass to predict, and how strings are read: as words or as texts."""

import csv
import io
import types
from collections import namedtuple
from itertools import chain

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from datasets import Dataset, DatasetDict
from helpers import approximately, check_margin, score_rounding
from tiny import SENTENCES, build_model

from span_marker.integrations.pipeline import SpanMarkerPipeline
from span_marker.preprocessing import inputs as module
from span_marker.preprocessing.inputs import read_inputs
from span_marker.preprocessing.table_rows import _say_that_rows_are_words

CHINESE = ["东京是日本的首都。", "巴黎是法国的首都。"]
CITIES = ["Paris", "Tokyo"]


PAIRS = [("doc-1", "Amelia Earhart flew to Paris."), ("doc-2", "Tokyo is large.")]

CSV = "doc-1,Amelia Earhart flew to Paris.\r\ndoc-2,Tokyo is large.\r\n"


def views(columns):
    """A table as Polars exports it."""
    table = pa.table(columns)
    is_string = [pa.types.is_string(field.type) for field in table.schema]
    return table.cast(
        pa.schema(
            [
                (field.name, pa.string_view() if text else field.type)
                for field, text in zip(table.schema, is_string, strict=True)
            ]
        )
    )


TABLES = [
    pd.DataFrame,
    lambda columns: pd.DataFrame(columns, index=[7, 7]),
    pa.table,
    lambda columns: pa.record_batch(columns),
    views,
]


@pytest.fixture(autouse=True)
def nothing_said_yet():
    module._say_that_strings_are_words.cache_clear()


@pytest.mark.parametrize("strings", [CITIES, CHINESE, ["#Paris", "#Tokyo"]])
def test_strings_without_a_space_are_texts_if_the_caller_says_so(strings, caplog):
    sentences, is_single = read_inputs(strings, is_split_into_words=False)
    assert (sentences.items, sentences.are_texts, is_single) == (strings, True, False)
    assert not caplog.text


@pytest.mark.parametrize("strings", [CITIES, ["New York", "is", "large"]])
def test_strings_are_words_if_the_caller_says_so(strings, caplog):
    sentences, is_single = read_inputs(strings, is_split_into_words=True)
    assert (sentences.items, sentences.are_texts, is_single) == ([strings], False, True)
    assert not caplog.text


@pytest.mark.parametrize("word", ["Paris\tB-LOC", "1\tParis\n", "Paris\nTokyo"])
def test_lines_of_a_file_are_no_words_unless_the_caller_says_so(word):
    for lines in (["is", word], [["is", word]]):
        with pytest.raises(ValueError, match="is read as a list of words, but 'P?.*has a space, tab or line end"):
            read_inputs(lines)
    assert read_inputs(["is", word], is_split_into_words=True)[0].items == [["is", word]]
    assert read_inputs(["is\n", "\t", "\u00a0x"])[0].items == [["is\n", "\t", "\u00a0x"]], "as of other tokenizers"


@pytest.mark.parametrize("kind", [list, tuple])
def test_by_default_a_space_decides_and_the_guess_is_logged_once(kind, caplog):
    for _ in range(2):
        sentences, is_single = read_inputs(kind(CITIES))
        assert (sentences.items, sentences.are_texts, is_single) == ([CITIES], False, True)
    assert caplog.text.count("is_split_into_words=False") == 1
    sentences, is_single = read_inputs(kind(["Paris", "New York"]))
    assert (sentences.items, sentences.are_texts, is_single) == (["Paris", "New York"], True, False)


def test_the_guess_is_also_logged_for_a_list_of_one_string(caplog):
    sentences, is_single = read_inputs(["Paris"])
    assert (sentences.items, is_single) == ([["Paris"]], True)
    assert "is_split_into_words=False" in caplog.text


@pytest.mark.parametrize(
    "make",
    [
        np.array,
        pd.Series,
        lambda strings: pd.Series(strings, index=[7, 7]),
        iter,
        lambda strings: (string for string in strings),
        lambda strings: Dataset.from_dict({"x": strings})["x"],
    ],
    ids=["array", "series", "series with an index", "iterator", "generator", "column"],
)
@pytest.mark.parametrize("strings", [CITIES, ["Paris", "New York"]])
def test_any_other_iterable_of_strings_holds_texts(make, strings, caplog):
    sentences, is_single = read_inputs(make(strings))
    assert (sentences.items, sentences.are_texts, is_single) == (strings, True, False)
    assert read_inputs(make(strings), is_split_into_words=True)[0].items == [strings]
    assert not caplog.text


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        (pd.DataFrame({"name": CITIES}), ValueError, r"needs a column 'tokens' or 'text', but has only \['name'\]"),
        (
            pd.DataFrame({"text": CITIES, "id": [1, "b"]}),
            ValueError,
            "the values of 'id' in the input data are not all of one",
        ),
        (
            pd.DataFrame({"tokens": [["a"], ["\ud83d"]]}),
            ValueError,
            "row 1 of the input data: 'tokens' has a lone surrogate",
        ),
        (types.SimpleNamespace(columns=["text"]), TypeError, "cannot read the columns of a SimpleNamespace"),
        (PAIRS, ValueError, r"inputs\[0\] is read as a list of words, but 'Amelia Earhart flew to Paris.' has a space"),
        ({"text": "Paris"}, TypeError, "of type dict"),
        (set(CITIES), TypeError, "of type set"),
        (b"Paris", TypeError, "of type bytes"),
        (7, TypeError, "of type int"),
        (["Paris", None], TypeError, r"inputs\[1\] of type NoneType"),
        (pd.Series(["Paris", float("nan")]), TypeError, r"inputs\[1\] of type float"),
        ([["Paris"], "Tokyo"], TypeError, r"inputs\[1\] of type str"),
        ([["Paris", 7]], TypeError, r"inputs\[0\].*7"),
    ],
    ids=lambda value: type(value).__name__ if not isinstance(value, str) else None,
)
def test_what_is_neither_is_refused(given, error, message):
    with pytest.raises(error, match=message):
        read_inputs(given)


@pytest.mark.parametrize(
    ("given", "is_split_into_words"),
    [
        ("Paris", True),
        ([CITIES], False),
        (Dataset.from_dict({"tokens": [CITIES]}), False),
        (Dataset.from_dict({"text": CITIES}), True),
    ],
)
def test_a_contradiction_is_refused(given, is_split_into_words):
    with pytest.raises(ValueError, match=f"is_split_into_words={is_split_into_words}"):
        read_inputs(given, is_split_into_words)


@pytest.mark.parametrize("make", TABLES, ids=["pandas", "pandas with an index", "arrow", "batch", "views"])
def test_a_table_is_read_as_a_data_set(make):
    sentences, is_single = read_inputs(make({"id": [1, 2], "text": CITIES}))
    assert (list(sentences.items), sentences.are_texts, is_single) == (CITIES, True, False)
    sentences, _ = read_inputs(make({"tokens": [CITIES, ["Oslo"]], "id": ["a", "b"]}))
    assert (list(sentences.items), sentences.are_texts) == ([CITIES, ["Oslo"]], False)
    context = make({"text": CITIES, "document_id": [1, 1], "sentence_id": [1, 0]})
    assert read_inputs(context)[0].documents() == [[1, 0]]


@pytest.mark.parametrize(
    "rows",
    [PAIRS, [list(pair) for pair in PAIRS], zip(*zip(*PAIRS, strict=True), strict=True), csv.reader(io.StringIO(CSV))],
    ids=["pairs", "lists", "zip", "csv"],
)
def test_rows_of_a_table_are_no_lists_of_words(rows):
    with pytest.raises(ValueError, match="predict_stream and dicts: {'id': ..., 'text': ...}"):
        read_inputs(rows)


SHORT = [("1", "Paris"), ("2", "Tokyo")]
Named = namedtuple("Named", "id text")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: zip(*zip(*SHORT, strict=True), strict=True), "the rows of a zip would be read as lists of words"),
        (lambda: dict(SHORT).items(), "the rows of a dict_items would be read as lists of words"),
        (lambda: csv.reader(io.StringIO("1,Paris\n2,Tokyo\n")), "the rows of a reader would be read as lists of words"),
        (lambda: [Named(*pair) for pair in SHORT], r"is read as a list of words, but has the fields \('id', 'text'\)"),
    ],
)
def test_rows_are_refused_although_no_text_has_a_space(model, make, message):
    """They were read as sentences of two words, without a word."""
    for read in (read_inputs, lambda rows: list(model.predict_stream(rows)), SpanMarkerPipeline(model)):
        with pytest.raises(ValueError, match=message):
            [*read(make())]
    assert read_inputs(make(), is_split_into_words=True)[0].items == [*make()]
    assert len([*model.predict_stream(make(), is_split_into_words=True)]) == 2


@pytest.mark.parametrize(
    ("rows", "is_said"),
    [
        (SHORT, True),
        (SHORT[:1], True),
        ([[*pair] for pair in SHORT], True),
        ([("a", "x"), ("b", "y")], True),
        ([["1", "Paris", "France"], ["2", "Tokyo", "Japan"]], True),
        ([["a", "x"], ["b", "y"]], False),
        ([("the", "sea"), ("the", "sun")], False),
        ([["1", "Paris"]], False),
        ([["1", "Paris"], ["2"]], False),
        ([("New", "York", "City"), ("San", "Jose", "too")], False),
        ([["1"], ["2"]], False),
        ([], False),
    ],
)
def test_pairs_that_may_be_rows_are_said_to_be_words(caplog, rows, is_said):
    _say_that_rows_are_words.cache_clear()
    assert read_inputs(rows)[0].items == rows
    assert ("are read as sentences of words" in caplog.text) == is_said
    read_inputs(rows)
    assert len(caplog.messages) == is_said, "once"
    _say_that_rows_are_words.cache_clear()
    read_inputs(rows, is_split_into_words=True if rows else None)
    assert len(caplog.messages) == is_said


def test_streams_say_that_pairs_are_words(model, caplog):
    _say_that_rows_are_words.cache_clear()
    assert len([*model.predict_stream(iter(SHORT))]) == 2
    assert len(caplog.messages) == 1
    assert "such as ('1', 'Paris')" in caplog.messages[0]


def test_words_with_a_space_must_be_said_to_be_words():
    words = [["in", "New York"]]
    with pytest.raises(ValueError, match="is_split_into_words=True"):
        read_inputs(words)
    assert read_inputs(words, is_split_into_words=True)[0].items == words
    assert read_inputs(Dataset.from_dict({"tokens": words}))[0].items[:] == words
    assert read_inputs([["in", " York", "\n "]])[0].items == [["in", " York", "\n "]]


@pytest.fixture(scope="module")
def model():
    model = build_model("bert", entity_max_length=2)
    check_margin(model, np.array([*CHINESE, *CITIES]))  # batches of any size find the same
    return model


def test_each_text_has_entities_of_its_own(model):
    whole = model.predict(CHINESE, is_split_into_words=False)
    assert whole == approximately([model.predict(text) for text in CHINESE], score_rounding(model))
    assert whole == model.predict(np.array(CHINESE))
    data = Dataset.from_dict({"text": [*CHINESE, *CITIES]})
    mapped = data.map(
        lambda batch: {"entities": model.predict(batch["text"], is_split_into_words=False)}, batched=True, batch_size=2
    )
    assert len(mapped) == len(data)
    assert [len(row) for row in mapped["entities"]] == [len(model.predict(text)) for text in data["text"]]


@pytest.mark.parametrize("batch_size", [1, 2, 3, 7])
def test_batches_of_a_data_set_give_what_the_data_set_gives(model, batch_size):
    # Batches with a blank and without, of Chinese, of table cells, and of one text.
    texts = [*CHINESE, "Amelia Earhart flew", *CITIES, "n/a", "", "4711"]
    data = Dataset.from_dict({"text": texts})
    mapped = data.map(
        lambda batch: {"entities": model.predict(batch["text"], is_split_into_words=False)},
        batched=True,
        batch_size=batch_size,
    )
    spans = [[entity["span"] for entity in row] for row in mapped["entities"]]
    assert spans == [[entity["span"] for entity in row] for row in model.predict(data)]
    with pytest.raises(TypeError, match=r"of type LazyBatch: .* one column of a batch of Dataset.map"):
        data.map(lambda batch: {"entities": model.predict(batch)}, batched=True)


@pytest.mark.parametrize("make", [*TABLES, Dataset.from_dict])
def test_streams_read_the_rows_of_tables(model, make):
    rows = list(model.predict_stream(make({"id": [1, 2], "text": CITIES})))
    assert [(row["id"], row["text"]) for row in rows] == [(1, "Paris"), (2, "Tokyo")]
    expected = approximately([model.predict(text) for text in CITIES], score_rounding(model))
    assert [row["entities"] for row in rows] == expected
    row, _ = model.predict_stream(make({"tokens": [CITIES, ["Oslo"]]}))
    assert row["tokens"] == CITIES
    with pytest.raises(ValueError, match=r"needs a column 'tokens' or 'text', but has only \['name'\]"):
        model.predict_stream(make({"name": CITIES}))


def test_predict_keeps_columns_of_a_table(model):
    (first, second) = model.predict(pd.DataFrame({"id": [1, 2], "text": CITIES}), keep_columns=["id"])
    assert (first["id"], second["id"]) == (1, 2)


@pytest.mark.parametrize("rows", [PAIRS, csv.reader(io.StringIO(CSV)), dict(PAIRS).items()])
def test_streams_refuse_rows_that_are_no_words_when_it_is_their_turn(model, rows):
    stream = model.predict_stream(chain(["Paris"], rows))
    assert next(stream) == approximately([model.predict("Paris")], score_rounding(model))[0]
    with pytest.raises(ValueError, match="item 1 of the inputs is read as a list of words, but 'Amelia Earhart flew"):
        next(stream)


def test_streams_read_rows_of_a_csv_file_as_dicts(model):
    rows = csv.DictReader(io.StringIO("id,text\n1,Amelia Earhart flew to Paris.\n"))
    assert [row["id"] for row in model.predict_stream(rows)] == ["1"]


@pytest.mark.parametrize("inputs", ["Paris", {"text": "Paris"}, DatasetDict(), set(CITIES), b"Paris", 7, None])
def test_streams_need_sentences_in_an_order(model, inputs):
    with pytest.raises(TypeError, match="predict_stream needs an iterable of sentences, not a single"):
        model.predict_stream(inputs)


def test_streams_say_that_words_with_a_space_are_words(model):
    words = ["in", "New York"]
    with pytest.raises(ValueError, match="a dict with 'tokens'"):
        list(model.predict_stream([words]))
    (expected,) = model.predict([words], is_split_into_words=True)
    assert list(model.predict_stream([words], is_split_into_words=True)) == [expected]
    assert [row["entities"] for row in model.predict_stream([{"tokens": words}])] == [expected]


def test_streams_take_items_for_what_they_are_unless_told(model):
    within = score_rounding(model)
    expected = approximately([model.predict("Paris"), model.predict(CITIES)], within)
    assert list(model.predict_stream(["Paris", CITIES])) == expected
    expected = approximately([model.predict(text) for text in CITIES], within)
    assert list(model.predict_stream(CITIES, is_split_into_words=False)) == expected
    with pytest.raises(TypeError, match="item 1 of the inputs must be a list of words"):
        list(model.predict_stream([CITIES, "Paris"], is_split_into_words=True))
    with pytest.raises(TypeError, match="item 0 of the inputs: 'tokens' must be a text"):
        list(model.predict_stream([{"tokens": CITIES}], is_split_into_words=False))


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        (3, "inputs of type int"),
        (None, "inputs of type NoneType"),
        ({"text": "a"}, "inputs of type dict: .*; predict_stream takes dicts"),
        (DatasetDict(), "one split of a DatasetDict"),
        ([{"text": "a"}], r"inputs\[0\] of type dict: .*; predict_stream takes dicts"),
        ([1, 2], r"inputs\[0\] of type int"),
        (["a b", ["c"]], r"inputs\[1\] of type list"),
        (["a b", None], r"inputs\[1\] of type NoneType"),
        ([["a"], "b c"], r"inputs\[1\] of type str"),
        ([["a", 5]], r"inputs\[0\]\[1\]=5 must be a word"),
        ([["a", None]], r"inputs\[0\]\[1\]=None must be a word"),
    ],
)
def test_what_predict_cannot_read(model, inputs, message):
    with pytest.raises(TypeError, match=message):
        model.predict(inputs)


def test_a_data_set_without_tokens(model):
    with pytest.raises(ValueError, match=r"needs a column 'tokens' or 'text', but has only \['words'\]"):
        model.predict(Dataset.from_dict({"words": ["a"]}))
    with pytest.raises(ValueError, match="no 'document_id': number .* drop 'sentence_id' with dataset.remove_columns"):
        model.predict(Dataset.from_dict({"tokens": [["a"]], "sentence_id": [1]}))


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"sentence_id": [0, 1, 1]}, ValueError, r"rows 1 and 2 both have sentence_id=1 in document_id='a'"),
        ({"sentence_id": [0, None, 1]}, ValueError, "row 1 has no 'sentence_id'"),
        ({"document_id": ["a", "a", None]}, ValueError, "row 2 has no 'document_id'"),
        ({"sentence_id": ["10", "9", "8"]}, TypeError, "row 0: sentence_id='10' must be a whole number"),
        ({"sentence_id": [0.5, 1.0, 2.0]}, TypeError, "row 0: sentence_id=0.5 must be a whole number"),
    ],
)
def test_documents_without_an_order_are_refused(model, changes, error, message):
    rows = {"tokens": SENTENCES[:3], "document_id": ["a"] * 3, "sentence_id": [0, 1, 2]}
    with pytest.raises(error, match=message):
        model.predict(Dataset.from_dict(rows | changes))


def test_words_beside_texts_are_not_chosen_in_silence(model):
    columns = {"text": ["Ann went"], "tokens": [["Bob", "left"]]}
    for make in (Dataset.from_dict, pd.DataFrame, pa.table):
        for read in (read_inputs, lambda table: list(model.predict_stream(table))):
            with pytest.raises(ValueError, match="input data has both 'tokens' and 'text': remove"):
                read(make(columns))
    with pytest.raises(ValueError, match="either 'text' or 'tokens'"):
        list(model.predict_stream([{name: values[0] for name, values in columns.items()}]))
    tagged = {**columns, "ner_tags": [["B-PER", "O"]]}  # tags say what is read
    assert list(read_inputs(Dataset.from_dict(tagged))[0].items) == columns["tokens"]
    ((row, other),) = zip(
        model.predict_stream(Dataset.from_dict(tagged)), model.predict(columns["tokens"]), strict=True
    )
    assert row["entities"] == other


def test_arrays_of_arrow_are_read_and_an_array_of_no_dimension_is_refused():
    for array in (pa.array(["Ann went", "Bob"]), pa.chunked_array([["Ann went"], ["Bob"]])):
        sentences, is_single = read_inputs(array)
        assert (list(sentences.items), sentences.are_texts, is_single) == (["Ann went", "Bob"], True, False)
    assert list(read_inputs(pa.array([["Ann", "went"]]))[0].items) == [["Ann", "went"]]
    with pytest.raises(TypeError, match="predict can't read inputs of type ndarray: pass a string"):
        read_inputs(np.array("Ann went"))


def test_exact_must_be_a_bool(model):
    for call in (lambda: model.predict("Ann", exact="no"), lambda: list(model.predict_stream(["Ann"], exact="no"))):
        with pytest.raises(TypeError, match="exact='no' must be True, False, or None"):
            call()
