"""Lists of dicts and data frames are read as the data sets that they mean, wherever annotated data is taken."""

import types

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from annotation_files import entity
from datasets import Dataset
from helpers import arguments
from tiny import build_model

from span_marker import (
    Trainer,
    analyze_errors,
    analyze_predictions,
    infer_labels,
    suggest_limits,
    to_dataframe,
    tune_thresholds,
    validate,
)
from span_marker.checkpoints.label_lists import read_label_list
from span_marker.data.in_memory import as_dataset
from span_marker.preprocessing.inputs import read_inputs

ROWS = [
    {"id": 3, "tokens": ["Ann", "Lee", "left"], "entities": [entity("PER", 0, 2), entity("NAME", 0, 1)]},
    {"id": 4, "tokens": ["No", "one"], "entities": []},
]
TAGGED = [{"tokens": row["tokens"], "ner_tags": ["B-PER", "I-PER", "O"][: len(row["tokens"])]} for row in ROWS]


class Exporting:
    """A table of a library that is not known, such as Polars."""

    def __init__(self, table):
        self.columns, self.__arrow_c_stream__ = table.column_names, table.__arrow_c_stream__


def forms(rows):
    arrays = [
        {name: np.array(v, dtype=object) if isinstance(v, list) else v for name, v in row.items()} for row in rows
    ]
    table = pa.Table.from_pylist(rows)
    return {
        "list": rows,
        "tuple": tuple(rows),
        "frame": pd.DataFrame(rows),
        "frame of arrays": pd.DataFrame(arrays),
        "arrow": table,
        "other table": Exporting(table),
    }


@pytest.mark.parametrize("rows", [ROWS, TAGGED])
@pytest.mark.parametrize("form", forms(ROWS))
def test_rows_in_any_form_are_one_data_set(rows, form):
    dataset = as_dataset(forms(rows)[form], "x")
    assert dataset.to_list() == rows
    assert dataset.features == Dataset.from_list(rows).features


def test_a_data_frame_of_entities_is_read_too():
    frame = to_dataframe(ROWS)
    assert frame["start"].isna().tolist() == [False, False, True]
    assert as_dataset(frame, "x").to_list() == ROWS
    assert as_dataset(frame.astype({"start": float, "end": float}), "x").to_list() == ROWS
    assert as_dataset(pa.Table.from_pandas(frame), "x").to_list() == ROWS
    records = pa.Table.from_pandas(frame).to_pylist()
    assert as_dataset(records, "x").to_list() == ROWS
    assert as_dataset(Dataset.from_list(records), "x").to_list() == ROWS
    frame.loc[1, "end"] = 9
    with pytest.raises(
        ValueError, match="line 1 of the train data: entity 'NAME' ends at word 9, but the row has only 3"
    ):
        infer_labels({"train": frame})


def test_columns_that_only_some_rows_have_are_none_elsewhere():
    rows = [{"text": "a", "entities": []}, {"text": "b", "entities": [], "id": 1}]
    assert as_dataset(rows, "x").to_list() == [{"id": None, **rows[0]}, rows[1]]
    assert as_dataset(pd.DataFrame(rows), "x")["id"][:] == [None, 1]


def test_other_values_stay_and_rows_that_differ_are_refused():
    dataset = Dataset.from_list(ROWS)
    for value in (dataset, None, "train.jsonl", [], ["a"]):
        assert as_dataset(value, "x") is value
    message = "the values of 'id' in the dev data are not all of one type .* row 2 has 'a' after 1: convert"
    for value in ([{"id": 1}, {"id": None}, {"id": "a"}], pd.DataFrame({"id": [1, None, "a", 2]}, dtype=object)):
        with pytest.raises(ValueError, match=message):
            as_dataset(value, "dev")


def test_a_table_that_exports_no_data_is_refused():
    with pytest.raises(TypeError, match="cannot read the columns of a SimpleNamespace: pass a DataFrame of pandas or"):
        validate(types.SimpleNamespace(columns=["text", "entities"]))


def test_columns_of_frames_are_those_of_lists():
    days = pd.Series(pd.to_datetime(["2020-01-01", None]))
    names = pd.Series(["a", "b"], dtype="category")
    frame = pd.DataFrame({"text": ["a", "b"], "day": days, "name": names, "n": pd.Series([1, None], dtype="Int64")})
    (first, second) = as_dataset(frame, "x").to_list()
    assert first == {"text": "a", "day": days[0].to_pydatetime(), "name": "a", "n": 1}
    assert second == {"text": "b", "day": None, "name": "b", "n": None}


def outcome(function, *arguments):
    """The report, or why there is none."""
    try:
        return str(function(*arguments))
    except ValueError as error:
        return str(error)


@pytest.mark.parametrize("form", ["list", "frame", "other table"])
def test_rows_are_taken_wherever_a_data_set_is(tmp_path, form):
    rows = [{**row, "entities": row["entities"][:1]} for row in ROWS]
    data, dataset = forms(rows)[form], Dataset.from_list(rows)
    assert infer_labels(data) == infer_labels(dataset) == ["O", "PER"]
    assert str(validate(data)) == str(validate(dataset))
    assert read_label_list(data) == ["O", "PER"]
    model = build_model("bert", entity_max_length=3)
    assert str(suggest_limits(data, model.tokenizer)) == str(suggest_limits(dataset, model.tokenizer))
    assert analyze_errors(model, data).kinds == analyze_errors(model, dataset).kinds
    predictions = [row["entities"] for row in rows]
    assert analyze_predictions(data, predictions).kinds == analyze_predictions(dataset, predictions).kinds
    trainer = Trainer(model, arguments(tmp_path, max_steps=1), data, {"dev": data})
    trainer.train()
    assert trainer.evaluate(data)["eval_loss"] == pytest.approx(trainer.evaluate(dataset)["eval_loss"])
    assert {"eval_dev_loss"} <= trainer.evaluate().keys()
    for tune in (tune_thresholds, lambda model, data: model.fit_span_filter(data)):
        outcomes = [outcome(tune, build_model("bert", entity_max_length=3), rows) for rows in (data, dataset)]
        assert outcomes[0] == outcomes[1]


def test_zero_is_an_id_as_any_other():
    """A row with an `id` is told from others by it, and never merged with, or compared to, equal texts without one."""
    entity = {"start": 0, "end": 3, "label": "PER"}
    rows = [{"id": 0, "text": "Ann", **entity}, {"text": "Bob", **entity}, {"text": "Ann", **dict.fromkeys(entity)}]
    found = as_dataset(rows, "training")
    assert found["id"] == [0, None, None]
    assert found["entities"] == [[{"label": "PER", "start": 0, "end": 3}]] * 2 + [[]]


@pytest.mark.parametrize("nothing", [[], (), Dataset.from_list([]), pd.DataFrame(), pa.table({})], ids=repr)
def test_data_without_rows_is_refused_as_such(nothing):
    message = "data has (no rows|neither rows nor columns)"
    for use in (validate, infer_labels, lambda data: validate({"train": data})):
        with pytest.raises(ValueError, match=message):
            use(nothing)
    model = build_model("bert")
    for data in ({"train_dataset": nothing}, {"eval_dataset": nothing}, {"eval_dataset": {"dev": nothing}}):
        with pytest.raises(ValueError, match=message):
            Trainer(model, **data)


def test_columns_of_one_name_are_refused():
    rows = [["Ann", "Bob", []]]
    frame = pd.DataFrame(rows, columns=["text", "text", "entities"])
    table = pa.table([pa.array(["Ann"]), pa.array(["Bob"]), pa.array([[]])], names=["text", "text", "entities"])
    for data in (frame, table):
        for use in (infer_labels, read_label_list, read_inputs):
            with pytest.raises(ValueError, match="data has several columns 'text': rename or remove all but one"):
                use(data)


def test_ids_of_labels_are_no_data():
    with pytest.raises(TypeError, match=r"labels=\{.*\} must be a list of strings, not a dict: pass \['O', 'PER'\]$"):
        read_label_list({"PER": 1, "O": 0})
    with pytest.raises(TypeError, match=r"pass list\(labels.values\(\)\)$"):
        read_label_list({0: "O", 1: "PER"})


@pytest.mark.parametrize("make", [list, pd.DataFrame])
def test_entities_that_are_lists_are_told_what_to_be(make):
    rows = [{"text": "No one", "entities": []}, {"text": "Ann went", "entities": [(0, 3, "PER")]}]
    with pytest.raises(
        ValueError, match=r"row 1 of the annotated data: entity .* write {'label': 'PER', 'start': 0, 'end'"
    ):
        infer_labels(make(rows))


def test_columns_whose_names_are_the_same_as_strings_are_refused():
    for data in ([{1: "a", "1": "b"}], pd.DataFrame([["a", "b"]], columns=[1, "1"])):
        with pytest.raises(ValueError, match="the x data has several columns '1': rename or remove all but one"):
            as_dataset(data, "x")


@pytest.mark.parametrize("use", [as_dataset, lambda rows, name: validate(rows), lambda rows, name: infer_labels(rows)])
def test_rows_of_words_among_rows_of_texts_are_named(use):
    rows = [{"text": "a", "entities": []}, {"text": "b", "entities": []}, {"tokens": ["c"], "entities": []}]
    with pytest.raises(ValueError, match="row 2 of the annotated data has 'tokens', but row 0 has 'text': split them"):
        use(rows, "annotated")
