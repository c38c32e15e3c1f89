import copy
import json
import unicodedata

import pandas as pd
import pyarrow as pa
import pytest
from datasets import Dataset, DatasetDict, Features, List, Value
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny import build_model

from span_marker.data.csv_files import to_dataframe
from span_marker.validation.checks import validate
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
        [fixed], changes = report.fix(rows)
        [after] = fixed["entities"]
        if changes.left:  # "Z" of "Zoë", "Gar" of "Garcías": no word is clearly meant
            assert expected.get(place, ()) is None or "bytes of UTF-8" in changes.left[0].message
            assert after["end"] in (end, starts[place])
            continue
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
    assert {problem.row for problem in again.problems if problem.kind in kinds} <= {c.row for c in changes.left}
    assert "repeated-entity" not in again.counts()
    assert all(change.before is change.after for change in changes.left)
    assert len(again.by_kind("entity-without-token")) <= len(report.by_kind("entity-without-token"))
    num_dropped = sum(change.after is None for change in changes.changes)
    assert sum(map(len, fixed["entities"])) == sum(map(len, data["entities"])) - num_dropped
    assert fixed["text"][:] == data["text"][:]


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


def fixed(text, *entities, kinds=tuple(FIXES), model=None, **columns):
    rows = [{"text": text, "entities": list(entities), **columns}]
    new, changes = validate(rows, model).fix(rows, kinds)
    return new[0], changes


UNSPACED = [
    ("私は東京に住んでいます。", "東京"),
    ("서울에서 왔다", "서울"),
    ("กรุงเทพเมือง", "กรุงเทพ"),
    ("ＮＨＫニュースで", "ニュース"),
]


@pytest.mark.parametrize(("text", "name"), UNSPACED)
@pytest.mark.parametrize("model", [None, MODEL])
def test_nothing_is_moved_where_words_have_no_spaces_between_them(text, name, model):
    place = entity(text.index(name), text.index(name) + len(name))
    row, changes = fixed(text, place, model=model)
    assert row["entities"] == [place]
    assert changes.changes == ()
    if model is None:
        report = validate([{"text": text, "entities": [place]}])
        assert report.counts() == {"unspaced-word": 1}
        assert report.is_clean
        assert "word_splitter" in str(report)


def test_korean_particles_are_no_sign_of_inclusive_ends():
    rows = [{"text": text, "entities": [entity(0, 2)]} for text in ("서울은 크다", "부산이 좋다", "대구를 봤다")]
    assert validate(rows).counts() == {"unspaced-word": 3}
    assert validate(rows).fix(rows)[0] == rows


def test_a_latin_word_beside_another_script_is_moved_without_it():
    row, _ = fixed("Annは行く", entity(0, 2))
    assert row["entities"] == [entity(0, 3)]
    row, changes = fixed("Annは行く", entity(1, 4))
    assert row["entities"] == [entity(1, 4)]
    assert [change.kind for change in changes.left] == ["partial-word"]


@pytest.mark.parametrize("model", [None, MODEL])
@pytest.mark.parametrize("name", ["Merkel", "Angela Merkel"])
def test_an_entity_that_is_part_of_a_compound_stays(name, model):
    text = "Die Angela Merkelregierung tagt"
    place = entity(text.index(name), text.index(name) + len(name))
    row, changes = fixed(text, place, model=model)
    assert (row["entities"], changes.changes) == ([place], ())
    [left] = changes.left
    assert (left.kind, left.entity, left.before) == ("partial-word", 0, place)
    assert left.message.endswith("(it stays, since it is unclear which words are meant)")
    assert "left as they are            1  they need a decision" in str(changes)


@pytest.mark.parametrize(
    "value",
    [(0, 3, "PER"), ["PER", 0, 3], "Ann", entity(0, 3, 1), entity("0", 3), {"start": 0, "end": 3, "type": "PER"}],
)
def test_entities_in_another_form_are_not_dropped(value):
    rows = [{"text": "Ann went", "entities": [value]}]
    new, changes = validate(rows).fix(rows)
    assert new == rows
    assert [change.kind for change in changes.left] == ["malformed-entity"]


def test_numbers_as_labels_in_a_table_lose_no_line():
    table = pd.DataFrame({"text": ["Ann went"], "start": [0], "end": [3], "label": [1]})
    new, changes = validate(table).fix(table)
    assert new.equals(table)
    assert "pass its name" in changes.left[0].message


def test_words_with_inclusive_ends_in_small_data_stay():
    rows = [
        {"tokens": ["Ann", "saw", "Bob", "Lee"], "entities": [entity(0, 0), entity(2, 3)]},
        {"tokens": ["Cy", "went"], "entities": [entity(0, 0)]},
    ]
    report = validate(rows)
    assert report.counts() == {"malformed-entity": 2}
    assert "its end is exclusive: did you mean 1?" in report.problems[0].message
    new, changes = report.fix(rows)
    assert new == rows
    assert len(changes.left) == 2
    assert changes.left[0].message.endswith("(it stays, since its end may be inclusive)")


@pytest.mark.parametrize("empty", [None, float("nan"), [], {}, ""])
def test_what_is_no_entity_is_dropped_where_that_is_asked_for_alone(empty):
    rows = [{"text": "Ann", "entities": [entity(0, 3), empty, entity(0, 3, "PER ")]}]
    new, changes = validate(rows).fix(rows, ["malformed-entity"])
    assert new[0]["entities"] == [entity(0, 3), entity(0, 3, "PER ")]
    assert changes.counts() == {"malformed-entity": 1}
    new, _ = validate(rows).fix(rows, ["label-space"])
    assert new[0]["entities"] == [entity(0, 3), empty, entity(0, 3)]


def relation(head, tail, **columns):
    return {"label": "met", "head": head, "tail": tail, **columns}


def test_relations_of_repeated_entities_are_not_doubled():
    entities = [entity(0, 3), entity(0, 4), entity(8, 11)]
    relations = [relation(1, 2), relation(0, 2), relation(2, 1), relation(2, 0, note="x"), relation(0, 1)]
    row, _ = fixed("Ann met Bob", *entities, relations=relations)
    assert row["entities"] == [entity(0, 3), entity(8, 11)]
    assert row["relations"] == [relation(0, 1), relation(1, 0)]
    twice = [relation(0, 1), relation(0, 1)]
    row, _ = fixed("Ann met Bob", entity(0, 4), entity(8, 11), relations=twice)
    assert row["relations"] == twice


@pytest.mark.parametrize("text", ["Ann met Bob", "Annie met Bob"])
def test_relations_of_repeated_entities_follow_the_one_that_stays_whatever_happens_to_it(text):
    """It is moved, stripped of white space, or renamed, so that it is no longer the same as the one that is dropped."""
    bob = text.index("Bob")
    row = {
        "text": text,
        "entities": [entity(0, 3, "PER "), entity(0, 3, "PER "), entity(bob, bob + 3)],
        "relations": [relation(1, 2)],
    }
    fixed_rows, _ = validate([row]).fix([row], rename={"PER": "person"})
    end = text.index(" ")
    assert fixed_rows[0]["entities"] == [entity(0, end, "person"), entity(bob, bob + 3, "person")]
    assert fixed_rows[0]["relations"] == [relation(0, 1)]
    row["entities"][:2] = [entity(0, 3)] * 2
    fixed_rows, _ = validate([row]).fix([row], rename={"PER": "person"})
    assert fixed_rows[0]["relations"] == [relation(0, 1)]


@pytest.mark.parametrize("form", ["frame", "rows"])
def test_relations_follow_in_tables_whose_lists_are_arrays(form, tmp_path):
    rows = [{"text": "Ann met Bob", "entities": [entity(0, 3), entity(0, 3), entity(8, 11)]}]
    rows[0]["relations"] = [relation(0, 2), relation(2, 1)]
    pd.DataFrame(rows).to_parquet(tmp_path / "rows.parquet")
    data = pd.read_parquet(tmp_path / "rows.parquet")
    data = data if form == "frame" else data.to_dict("records")
    new, changes = validate(data).fix(data)
    assert "which 1 relations refer to" in str(changes)
    new = new if form == "rows" else new.to_dict("records")
    assert new[0]["entities"] == [entity(0, 3), entity(8, 11)]
    assert new[0]["relations"] == [relation(0, 1), relation(1, 0)]
    assert validate(new).counts() == {}


def test_copies_of_moved_entities_move_along():
    row, _ = fixed("Ann went", {**entity(0, 5), "text": "Ann w", "mention": "Annw", "name": "Ann Lee"})
    assert row["entities"] == [{**entity(0, 3), "text": "Ann", "mention": "Ann", "name": "Ann Lee"}]
    assert validate([row]).counts() == {}
    row, _ = fixed("Ann went", {**entity(0.0, 5.0), "text": "Ann w"})
    assert row["entities"] == [{**entity(0, 3), "text": "Ann"}]
    words = {"tokens": ["Ann", " ", "met"], "entities": [{**entity(0, 2), "span": ["Ann", " "], "text": "Ann"}]}
    new, _ = validate([words]).fix([words])
    assert new[0]["entities"] == [{**entity(0, 1), "span": ["Ann"], "text": "Ann"}]


def test_copies_in_tables_of_words_stay_strings():
    table = to_dataframe([{"tokens": ["Ann", "Lee", " ", "met"], "entities": [entity(0, 3)]}])
    new, _ = validate(table).fix(table)
    assert new[["start", "end", "span"]].to_numpy().tolist() == [[0, 2, "Ann Lee"]]
