"""What a caller may pass to predict, and how strings are read: as words or as texts."""

import numpy as np
import pandas as pd
import pytest
from datasets import Dataset, DatasetDict
from helpers import approximately, check_margin, score_rounding
from tiny import SENTENCES, build_model

from span_marker.preprocessing import inputs as module
from span_marker.preprocessing.inputs import read_inputs

CHINESE = ["东京是日本的首都。", "巴黎是法国的首都。"]
CITIES = ["Paris", "Tokyo"]


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
        (pd.DataFrame({"text": CITIES}), TypeError, "DataFrame.*one column of a DataFrame"),
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
