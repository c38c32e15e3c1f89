import copy
import json
import unicodedata

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from datasets import Dataset, DatasetDict, Features, List, Value
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny import build_model

from span_marker.validation.checks import validate
from span_marker.validation.fixes import snap
from span_marker.validation.report import FIXES, KINDS, SHIFTED

MODEL = build_model("bert", labels=["O", "PER", "LOC"], entity_max_length=3, model_max_length=20)
FEATURES = Features(
    {
        "id": Value("string"),
        "text": Value("string"),
        "entities": List({"label": Value("string"), "start": Value("int64"), "end": Value("int64")}),
    }
)


def entity(start, end, label="PER"):
    return {"label": label, "start": start, "end": end}


ROWS = [
    {"id": "a", "text": "Ann Lee saw Paris.", "entities": [entity(0, 8), entity(12, 16, "LOC"), entity(0, 7)]},
    {"id": "b", "text": "Nothing here", "entities": []},
    {"id": "c", "text": "Ann  Lee", "entities": [entity(3, 5), entity(0, 30), entity(5, 8), entity(5, 8)]},
]
FIXED = [
    [entity(0, 7), entity(12, 17, "LOC")],
    [],
    [entity(5, 8)],
]
KINDS_HERE = ("malformed-entity", "blank-entity", "repeated-entity", "partial-word", "outer-whitespace")
CHANGED = [
    ("outer-whitespace", 0, 0, entity(0, 7)),
    ("partial-word", 0, 1, entity(12, 17, "LOC")),
    ("repeated-entity", 0, 2, None),
    ("blank-entity", 2, 0, None),
    ("malformed-entity", 2, 1, None),
    ("repeated-entity", 2, 3, None),
]


def dataset(rows=ROWS):
    return Dataset.from_list(rows, features=FEATURES)


def entities_of(data):
    return [list(row) for row in data["entities"]]


@pytest.mark.parametrize("model", [None, MODEL])
def test_everything_is_fixed_and_said(model):
    data = dataset()
    report = validate(data, model)
    fixed, changes = report.fix(data)
    assert entities_of(fixed) == FIXED
    assert [(kind, row, index, after) for kind, _, row, index, _, after, _ in changes.changes] == CHANGED
    assert [change.before for change in changes.changes] == [ROWS[row]["entities"][at] for _, row, at, _ in CHANGED]
    assert changes.counts() == {
        "malformed-entity": 1,
        "blank-entity": 1,
        "repeated-entity": 2,
        "partial-word": 1,
        "outer-whitespace": 1,
    }
    text = str(changes)
    assert text.startswith("entities changed: 6, in 2 rows\n")
    moved = "row 0 of the annotated data (id 'a'), entity 1: 'LOC' from characters 12 to 16 is now from 12 to 17"
    assert f"       {moved}\n" in text
    assert "       row 2 of the annotated data (id 'c'), entity 0: {'label': 'PER'" in text
    assert entities_of(data) == [row["entities"] for row in ROWS]
    assert validate(fixed, model).counts() == {}


@pytest.mark.parametrize("kind", KINDS_HERE)
def test_only_the_kinds_that_are_asked_for_are_fixed(kind):
    report = validate(dataset())
    fixed, changes = report.fix(dataset(), kinds=[kind])
    before, after = report.counts(), validate(fixed).counts()
    assert set(changes.counts()) == {kind}
    assert kind not in after
    others = set(KINDS_HERE) - {kind}
    assert {name: after.get(name) for name in others} == {name: before.get(name) for name in others}


def test_nothing_asked_for_is_nothing_changed():
    data = dataset()
    fixed, changes = validate(data).fix(data, kinds=[])
    assert fixed is data
    assert (changes.changes, str(changes)) == ((), "entities changed: 0, in 0 rows")


def write(tmp_path):
    path = tmp_path / "x.jsonl"
    clean = [{**row, "entities": [entity for entity in row["entities"] if entity["end"] < 20]} for row in ROWS]
    path.write_text("".join(json.dumps(row) + "\n" for row in clean), encoding="utf-8")
    return path


def test_data_keeps_its_form(tmp_path):
    rows, table = copy.deepcopy(ROWS), pd.DataFrame(ROWS)
    fixed, _ = validate(rows).fix(rows)
    assert isinstance(fixed, list)
    assert fixed == [{**row, "entities": new} for row, new in zip(ROWS, FIXED, strict=True)]
    assert rows == ROWS
    fixed, _ = validate(table).fix(table)
    assert isinstance(fixed, pd.DataFrame)
    assert list(fixed.columns) == list(table.columns)
    assert fixed["entities"].tolist() == FIXED
    assert table["entities"].tolist() == [row["entities"] for row in ROWS]
    arrow = pa.Table.from_pandas(table)
    assert entities_of(validate(arrow).fix(arrow)[0]) == FIXED
    fixed, _ = validate(dataset()).fix(dataset())
    assert fixed.features == FEATURES
    assert fixed.column_names == dataset().column_names
    splits = DatasetDict({"train": dataset(), "dev": dataset(ROWS[1:2])})
    fixed, changes = validate(splits).fix(splits)
    assert type(fixed) is DatasetDict
    assert entities_of(fixed["train"]) == FIXED
    assert fixed["dev"] is splits["dev"]
    assert {change.split for change in changes.changes} == {"train"}
    path = write(tmp_path)
    for file in (path, str(path)):
        fixed, _ = validate(file).fix(file)
        assert entities_of(fixed) == FIXED
    mixed = {"train": rows, "dev": path}
    fixed, _ = validate(mixed).fix(mixed)
    assert (type(fixed), type(fixed["train"])) == (dict, list)
    assert entities_of(fixed["dev"]) == FIXED


def test_rows_with_tags_stay_as_they_are():
    data = Dataset.from_list([{"tokens": ["Ann", "b"], "ner_tags": ["B-PER", "O"]}])
    assert validate(data).fix(data)[0] is data
    wrong = Dataset.from_list([{"tokens": ["Ann", "b"], "ner_tags": ["B-O", "I-PER"]}])
    report = validate(wrong)
    assert report.counts() == {"unknown-tag": 1}
    assert report.fix(wrong)[0] is wrong


def test_words_are_stripped_of_blank_words():
    data = [{"tokens": ["Ann", " ", "Lee", ""], "entities": [entity(0, 2), entity(1, 4), entity(1, 2), entity(3, 4)]}]
    fixed, changes = validate(data).fix(data)
    assert fixed[0]["entities"] == [entity(0, 1), entity(2, 3)]
    assert changes.counts() == {"blank-entity": 2, "outer-whitespace": 2}


@pytest.mark.parametrize("form", ["NFC", "NFD"])
@pytest.mark.parametrize("model", [None, MODEL])
def test_no_end_stays_in_a_grapheme_and_all_move_as_in_composed_text(form, model):
    composed = "Zoë Garcías sång"
    pieces = [unicodedata.normalize(form, character) for character in composed]
    starts = [sum(map(len, pieces[:place])) for place in range(len(pieces) + 1)]
    text = "".join(pieces)
    whole = validate([{"text": composed, "entities": [entity(0, place)]} for place in range(1, 17)])
    expected = {problem.end: problem.replacement for problem in whole.by_kind("partial-word")}
    assert set(expected) == {1, 2, 5, 6, 7, 8, 9, 10, 13, 14, 15}
    for end in range(1, len(text) + 1):
        rows = [{"text": text, "entities": [entity(0, end)]}]
        report = validate(rows, model)
        place = next(place for place, start in enumerate(starts) if start >= end)
        assert bool(report.by_kind("partial-grapheme")) == (end not in starts)
        assert bool(report.by_kind("partial-word")) == (place in expected)
        [fixed] = report.fix(rows)[0]
        [after] = fixed["entities"]
        start, end = expected.get(place, (0, place if composed[place - 1] != " " else place - 1))
        assert (after["start"], after["end"]) == (starts[start], starts[end])


def test_labels_are_stripped_and_renamed():
    rows = [
        {
            "tokens": ["Ann", "Bob", "Li"],
            "entities": [entity(0, 1, " PER"), entity(1, 2), entity(2, 3, "person\u200b")],
        },
        {"tokens": ["Ann"], "entities": [entity(0, 1, "person"), entity(0, 1, "PER")]},
        {"tokens": ["x"], "entities": [{"label": None, "start": 0, "end": 1}]},
    ]
    report = validate(rows)
    assert [problem.new_label for problem in report.by_kind("label-space")] == ["PER", "person"]
    [variant] = report.by_kind("label-variant")
    assert variant.label == "person"
    fixed, changes = report.fix(rows, ["label-space"])
    assert [item["label"] for row in fixed for item in row["entities"]] == [
        "PER",
        "PER",
        "person",
        "person",
        "PER",
        None,
    ]
    fixed, changes = report.fix(rows, rename={"person": "PER"})
    assert [item["label"] for row in fixed for item in row["entities"]] == ["PER"] * 4
    assert changes.counts() == {
        "malformed-entity": 1,
        "repeated-entity": 1,
        "label-space": 2,
        "renamed-label": 2,
    }
    assert str(changes).startswith("entities changed: 5, in 3 rows\n")
    assert f"row 0 of the annotated data, entity 2: {rows[0]['entities'][2]['label']!r} is now 'person'" in str(changes)
    with pytest.raises(ValueError, match="rename= has 'persons', but no entity has this label"):
        report.fix(rows, rename={"persons": "PER"})
    for name in ("", "O", " ", 7):
        with pytest.raises(ValueError, match="a label must be a string other than '' and 'O'"):
            report.fix(rows, rename={"person": name})


def test_predictions_keep_their_fields():
    prediction = {"span": "An", "label": "PER", "score": 0.5, "char_start_index": 0, "char_end_index": 2}
    data = [{"text": "Ann", "entities": [prediction]}]
    fixed, changes = validate(data).fix(data)
    assert fixed[0]["entities"] == [{**prediction, "char_end_index": 3, "span": "Ann"}]
    assert "'PER' from characters 0 to 2 is now from 0 to 3" in str(changes)


@pytest.mark.parametrize(
    ("kinds", "message"),
    [
        (["nested"], r"kinds=\['nested'\]: 'nested' is not one of \['shifted-offsets'"),
        (["partial-word", "typo"], "'typo' is not one of"),
    ],
)
def test_other_kinds_are_refused(kinds, message):
    with pytest.raises(ValueError, match=message):
        validate(dataset()).fix(dataset(), kinds)
    with pytest.raises(TypeError, match=r"kinds='partial-word' must be a list: \['partial-word'\]"):
        validate(dataset()).fix(dataset(), "partial-word")
    assert set(FIXES) <= set(KINDS)


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (dataset(ROWS[:2]), "the annotated data has 2 rows, but the report is about {'annotated': 3}"),
        (dataset(ROWS[::-1]), r"row 0 of the annotated data \(id 'a'\) has other entities than the report is about"),
        ({"train": dataset()}, r"the data has the splits \['train'\], but the report is about \['annotated'\]"),
    ],
)
def test_other_data_is_refused(other, message):
    with pytest.raises(ValueError, match=message):
        validate(dataset()).fix(other)


@given(
    st.lists(
        st.tuples(
            st.text("aB1 #.\u0301\u200b", max_size=9),
            st.lists(
                st.builds(entity, st.integers(-1, 9), st.integers(-1, 10), st.sampled_from(["PER", "LOC", " PER"]))
            ),
        ),
        min_size=1,
        max_size=4,
    ),
    st.sampled_from([None, MODEL]),
)
@settings(max_examples=150)
def test_what_was_fixed_has_none_of_these_problems(pairs, model):
    data = [{"text": text, "entities": entities} for text, entities in pairs]
    data = Dataset.from_list(data, features=Features({name: FEATURES[name] for name in ("text", "entities")}))
    kinds = [kind for kind in FIXES if kind != SHIFTED]  # which is fixed alone
    report = validate(data, model)
    fixed, changes = report.fix(data, kinds)
    again = validate(fixed, model)
    left = [problem for problem in again.problems if problem.kind in kinds]
    assert {(problem.kind, problem.replacement) for problem in left} <= {("partial-word", None)}
    assert len(left) <= sum(p.replacement is None for p in report.by_kind("partial-word"))
    assert len(again.by_kind("entity-without-token")) <= len(report.by_kind("entity-without-token"))
    num_dropped = sum(change.after is None for change in changes.changes)
    assert sum(map(len, fixed["entities"])) == sum(map(len, data["entities"])) - num_dropped
    assert fixed["text"][:] == data["text"][:]


@given(st.integers(0, 20), st.integers(1, 20), st.lists(st.tuples(st.integers(0, 3), st.integers(1, 5)), max_size=8))
def test_edges_move_to_the_nearest_ends_of_words(start, length, gaps):
    words, place = [], 0
    for gap, size in gaps:
        words.append((place + gap, place + gap + size))
        place = words[-1][1]
    end = start + length
    snapped = snap(start, end, words)
    inside = [word for word in words if set(range(*word)) & set(range(start, end))]
    if not inside:
        assert snapped is None
        return
    assert snapped[0] in {first for first, _ in inside}
    assert snapped[1] in {last for _, last in inside}
    shares = [np.isin(np.arange(first, last), np.arange(start, end)).mean() for first, last in inside]
    for (first, last), share in zip(inside, shares, strict=True):
        if max(shares) >= 0.5:
            assert (snapped[0] <= first and last <= snapped[1]) == (share >= 0.5)
    assert snap(*snapped, words) == snapped


def test_problems_are_a_table():
    report = validate(dataset())
    table = report.to_pandas()
    assert len(table) == len(report.problems) > 0
    for row, problem in zip(table.to_dict("records"), report.problems, strict=True):
        assert {name: None if value is pd.NA else value for name, value in row.items()} == vars(problem)
    assert table[table.kind == "partial-word"][["row", "entity", "start", "end"]].values.tolist() == [[0, 1, 12, 16]]
    empty = validate(dataset(ROWS[1:2])).to_pandas()
    assert len(empty) == 0
    assert list(empty.columns) == list(table.columns)
