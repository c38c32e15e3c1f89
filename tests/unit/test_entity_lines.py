"""Tables in which each line is one entity are validated and fixed in their own form."""

import pandas as pd
import pyarrow as pa
import pytest
from datasets import Dataset

from span_marker import to_dataframe
from span_marker.validation import validate

ROWS = [
    {"id": "a", "text": "Ann Lee saw Paris.", "entities": [(0, 7, "PER"), (12, 16, "LOC"), (0, 7, "PER")]},
    {"id": "b", "text": "Nothing here", "entities": []},
    {"id": "c", "text": "Ann  Lee", "entities": [(3, 5, "PER"), (0, 30, "PER")]},
    {"id": "d", "text": "Bob left", "entities": [(0, 3, "PER ")]},
]
FIXED = [
    ("a", "Ann Lee saw Paris.", 0, 7, "PER"),
    ("a", "Ann Lee saw Paris.", 12, 17, "LOC"),
    ("b", "Nothing here", None, None, None),
    ("c", "Ann  Lee", None, None, None),
    ("d", "Bob left", 0, 3, "PER"),
]
NAMES = ("id", "text", "start", "end", "label")


def lines():
    return [
        {"id": row["id"], "text": row["text"], **dict(zip(("start", "end", "label"), entity, strict=True)), "by": "ann"}
        for row in ROWS
        for entity in row["entities"] or [(None, None, None)]
    ]


FORMS = {
    "list": lines,
    "frame": lambda: pd.DataFrame(lines()),
    "frame of Int64": lambda: pd.DataFrame(lines()).astype({"start": "Int64", "end": "Int64"}),
    "frame with an index": lambda: pd.DataFrame(lines(), index=[7] * len(lines())),
    "data set": lambda: Dataset.from_list(lines()),
    "arrow": lambda: pa.Table.from_pylist(lines()),
}


def cells(data):
    """The cells of a table, without gaps of any kind."""
    rows = data.to_dict("records") if isinstance(data, pd.DataFrame) else list(data)
    return [tuple(None if pd.isna(row[name]) else row[name] for name in NAMES) for row in rows]


@pytest.mark.parametrize("form", FORMS)
def test_a_table_is_fixed_in_its_own_form(form):
    data = FORMS[form]()
    report = validate(data)
    assert report.counts() == {
        "malformed-entity": 1,
        "partial-word": 1,
        "blank-entity": 1,
        "label-space": 1,
        "repeated-entity": 1,
    }
    assert report.num_rows == {"annotated": 4}
    assert report.by_kind("partial-word")[0].id == "a"
    fixed, changes = report.fix(data)
    assert cells(fixed) == FIXED
    assert [change.before["line"] for change in changes.changes] == [1, 2, 4, 5, 6]
    kinds = {"data set": Dataset, "arrow": Dataset, "list": list}
    assert type(fixed) is kinds.get(form, pd.DataFrame)
    if form.startswith("frame"):
        assert fixed.dtypes.tolist() == data.dtypes.tolist()
        assert fixed.index.tolist() == data.index[[0, 1, 3, 4, 6]].tolist()
    assert validate(fixed).problems == ()
    assert validate(fixed).fix(fixed)[0] is fixed or form == "arrow"


def test_a_column_of_integers_gets_a_gap():
    frame = pd.DataFrame({"text": ["Ann left"], "start": [0], "end": [30], "label": ["PER"]})
    fixed, _ = validate(frame).fix(frame)
    assert str(fixed["start"].dtype) == "Int64"
    assert cells(fixed.assign(id=0)) == [(0, "Ann left", None, None, None)]
    assert frame["end"].tolist() == [30]


def test_a_label_may_be_none_of_the_categories():
    frame = pd.DataFrame({"text": ["Ann left"], "start": [0], "end": [3], "label": pd.Categorical(["person"])})
    fixed, _ = validate(frame).fix(frame, rename={"person": "PER"})
    assert fixed["label"].tolist() == ["PER"]


def test_copies_of_spans_follow():
    frame = to_dataframe([{"text": "Ann Lee", "entities": [{"label": "PER", "start": 0, "end": 6}]}])
    fixed, _ = validate(frame).fix(frame)
    assert fixed[["end", "span"]].values.tolist() == [[7, "Ann Lee"]]


@pytest.mark.parametrize("make", [list, pd.DataFrame])
def test_no_line_stops_validation(make):
    wrong = [
        {"id": "x", "text": "Ann left", "start": 0.0, "end": 3, "label": "PER"},
        {"id": "x", "text": "Bob left", "start": 0, "end": 3, "label": "PER"},
        {"id": "y", "text": float("nan"), "start": 0, "end": 3, "label": "PER"},
        {"id": "z", "text": 7, "start": 0, "end": 3, "label": "PER"},
        {"id": "u", "text": "Li left", "start": "many", "end": 3, "label": "PER"},
        {"id": "v", "text": "Li went", "start": 0, "end": 2, "label": 5},
        {"id": None, "text": "Jo left", "start": 0, "end": 2, "label": "PER"},
        {"id": "w", "text": "Jo went", "start": 0, "end": 2, "label": "PER"},
        {"id": None, "text": "Jo left", "start": 3, "end": 7, "label": "PER"},
    ]
    report = validate(make(wrong))
    messages = [problem.message for problem in report.problems if problem.severity == "error"]
    expected = [
        (1, "line 1 of the annotated data: the id 'x' has a different text than before (line 0)"),
        (2, "'text' must be a string, not"),
        (3, "'text' must be a string, not int"),
        (4, "'start' of entity 'PER' must be a whole number, not 'many' (str)"),
        (5, "must be a string, not int"),
        (8, "line 8 of the annotated data: the text 'Jo left' is also in line 6"),
    ]
    assert len(messages) == len(expected)
    for message, (row, text) in zip(messages, expected, strict=True):
        assert message.startswith(f"row {row} of the annotated data")
        assert text in message
    assert report.num_entities == 5
