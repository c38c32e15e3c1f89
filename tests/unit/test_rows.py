"""One mistake has one wording, and is a mistake everywhere: in files, in writers, in training and in validation."""

import json
import math
import re
import tempfile
from pathlib import Path

import numpy as np
import pyarrow
import pytest
from datasets import ClassLabel, Dataset, Features, List, Value
from hypothesis import given
from hypothesis import strategies as st
from tiny import LABELS, build_model

from span_marker import (
    Trainer,
    TrainingArguments,
    analyze_errors,
    infer_labels,
    read_annotations,
    suggest_limits,
    tune_thresholds,
    validate,
    write_jsonl,
)
from span_marker.data.columns import is_column, is_dataset, read_rows
from span_marker.data.row_writing import annotated_rows
from span_marker.data.rows import Row, RowEntity, check_entity, join_words, parse_row, unknown_labels
from span_marker.data.tags import Tags, read_tags
from span_marker.preprocessing.features import prepare

MODEL = build_model("bert", entity_max_length=3)

LOCATION = re.compile(r"^(the [\w-]+ data|(.*, )?row \d+( of the [\w-]+ data(, entity \d+)?)?):? ")
"""Begins every error of a row."""


def write(data):
    with tempfile.TemporaryDirectory() as folder:
        write_jsonl(Path(folder) / "x", data)


def read_back(data):
    """Read what a careless program has written."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "x.jsonl"
        path.write_text("".join(json.dumps(row) + "\n" for row in data), encoding="utf-8")
        read_annotations(path)


def train(data):
    with tempfile.TemporaryDirectory() as folder:
        arguments = TrainingArguments(folder, report_to="none", use_cpu=True, disable_tqdm=True)
        Trainer(build_model("bert", entity_max_length=3), arguments, data).get_train_dataloader()


def raise_problem(data, model=None):
    for problem in validate(data, model).problems:
        if problem.severity == "error":
            raise ValueError(problem.message)


CONSUMERS = {
    "write_jsonl": write,
    "infer_labels": infer_labels,
    "suggest_limits": lambda data: suggest_limits(data, MODEL.tokenizer, labels=LABELS),
    "validate": raise_problem,
    "validate with a model": lambda data: raise_problem(data, MODEL),
    "prepare": lambda data: prepare(data, MODEL.preprocessor, "training"),
    "Trainer": train,
    "tune_thresholds": lambda data: tune_thresholds(build_model("bert", entity_max_length=3), data),
    "analyze_errors": lambda data: analyze_errors(MODEL, data, num_resamples=2),
}
"""What reads rows of data sets."""

WITHOUT_LABELS = ("write_jsonl", "infer_labels", "validate")
"""Those of them that know no label list: any string is a tag."""

GOOD = {
    "words": {"tokens": ["Ann", "Lee"], "entities": [{"label": "PER", "start": 0, "end": 2}]},
    "text": {"text": "Ann Lee", "entities": [{"label": "PER", "start": 0, "end": 7}]},
    "tags": {"tokens": ["Ann", "Lee"], "ner_tags": ["B-PER", "I-PER"]},
}


def entity(**changes):
    fields = {"label": "PER", "start": 0, "end": 2} | changes
    return {name: value for name, value in fields.items() if value is not MISSING}


MISSING = object()

BAD_ENTITIES = {
    "no label": (entity(label=MISSING), "entity {'start': 0, 'end': 2} has no 'label'"),
    "label None": (entity(label=None), "entity {'label': None, 'start': 0, 'end': 2} has no 'label'"),
    "label empty": (entity(label=""), "must have a label other than '' and 'O'"),
    "label blank": (entity(label=" "), "must have a label other than '' and 'O'"),
    "label O": (entity(label="O"), "must have a label other than '' and 'O'"),
    "label 7": (entity(label=7), "the label of entity {'label': 7, 'start': 0, 'end': 2} must be a string, not int"),
    "no start": (entity(start=MISSING), "has no 'start'"),
    "no end": (entity(end=MISSING), "has no 'end'"),
    "start True": (entity(start=True), "'start' of entity 'PER' must be a whole number, not True (bool)"),
    "start 0.5": (entity(start=0.5), "'start' of entity 'PER' must be a whole number, not 0.5 (float)"),
    "end infinite": (entity(end=math.inf), "'end' of entity 'PER' must be a whole number, not inf (float)"),
    "end '2'": (entity(end="2"), "'end' of entity 'PER' must be a whole number, not '2' (str)"),
    "start negative": (entity(start=-1), "entity 'PER' starts at WORD -1, but the first WORD is WORD 0"),
    "end beyond": (entity(end=9), "entity 'PER' ends at WORD 9, but the row has only LENGTH WORDs"),
    "empty": (entity(start=2), "entity 'PER' is empty: it starts and ends at WORD 2, but its end is exclusive"),
    "reversed": (entity(start=2, end=1), "entity 'PER' ends at WORD 1, before its start at WORD 2"),
    "score": (entity(score="high"), "'score' of entity 'PER' must be a number, not 'high'"),
    "a string": ("PER", "entity 'PER' must be a dict with 'label', 'start' and 'end', not str"),
    "a list": (["PER", "0", "2"], "entity ['PER', '0', '2'] must be a dict with 'label', 'start' and 'end', not list"),
}

RELATION = {"label": "sees", "head": 0, "tail": 1}
BAD_RELATIONS = {
    "a string": ("sees", "'relations' must be a list, not str: rename or remove the column 'relations'"),
    "a dict": (RELATION, "'relations' must be a list, not dict"),
    "of strings": (["sees"], "relation 0, 'sees', must be a dict with 'label', 'head' and 'tail', not str"),
    "no label": ([{"head": 0, "tail": 1}], "relation 0, {'head': 0, 'tail': 1}, has no 'label'"),
    "no head": ([{"label": "sees", "tail": 1}], "has no 'head'"),
    "no tail": ([{"label": "sees", "head": 1}], "has no 'tail'"),
    "label 7": ([{**RELATION, "label": 7}], "relation 0: the 'label' must be a string, not 7 (int)"),
    "label blank": ([{**RELATION, "label": " "}], "relation 0: the 'label' is ' ', but must not be empty"),
    "no relation": (
        [{**RELATION, "label": "no relation"}],
        "relation 0: the 'label' is 'no relation', but pairs without a relation are not listed: remove it",
    ),
    "head a string": (
        [{**RELATION, "head": "0"}],
        "relation 0 ('sees'): the 'head' must be the index of an entity, a whole number, not '0' (str)",
    ),
    "head 0.5": ([{**RELATION, "head": 0.5}], "the 'head' must be the index of an entity, a whole number, not 0.5"),
    "head negative": (
        [{**RELATION, "head": -1}],
        "relation 0 ('sees') has the 'head' -1, but entities are counted from 0",
    ),
    "tail beyond": (
        [RELATION, {**RELATION, "tail": 2}],
        "relation 1 ('sees') has the 'tail' 2, but the row has only 2 entities, the last of them 1",
    ),
    "to itself": (
        [{**RELATION, "tail": 0}],
        "relation 0 ('sees') has entity 0 as 'head' and as 'tail', but a relation is between two entities",
    ),
    "score": ([{**RELATION, "score": "high"}], "relation 0 ('sees'): the 'score' must be a number, not 'high'"),
}

BAD_ROWS = {
    "tokens a string": ({"tokens": "Ann Lee", "entities": []}, "'tokens' must be a list of words, not str"),
    "tokens None": ({"tokens": None, "entities": []}, "'tokens' must be a list of words, not NoneType"),
    "a word None": (
        {"tokens": ["Ann", None], "entities": []},
        "'tokens'[1]=None must be a word (a string), not NoneType",
    ),
    "words integers": ({"tokens": [1], "entities": []}, "'tokens'[0]=1 must be a word (a string), not int"),
    "text a list": ({"text": ["Ann"], "entities": []}, "'text' must be a string, not list"),
    "text None": ({"text": None, "entities": []}, "'text' must be a string, not NoneType"),
    "entities None": ({"tokens": ["Ann"], "entities": None}, "'entities' must be a list, not NoneType"),
    "entities a string": ({"tokens": ["Ann"], "entities": "PER"}, "'entities' must be a list, not str"),
    "entities a dict": (
        {"tokens": ["Ann"], "entities": {"label": ["PER"], "start": [0], "end": [1]}},
        "'entities' must be a list, not dict: datasets turns a Sequence of dicts into a dict of lists",
    ),
    "both": (
        {"tokens": ["Ann"], "text": "Ann", "entities": []},
        "has both 'tokens' and 'text', so 'start' and 'end' may count words or characters",
    ),
    "two annotations": (
        {"tokens": ["Ann"], "entities": [], "ner_tags": ["O"]},
        "has both 'entities' and 'ner_tags': remove one of them",
    ),
    "neither": (
        {"sentence": "Ann", "entities": []},
        "has the columns ['sentence', 'entities'], but annotated data has",
    ),
    "no entities": ({"tokens": ["Ann"]}, "has the columns ['tokens'], but annotated data has 'tokens' and 'entities'"),
}

BAD_TAGS = {
    "tags a string": ("O", "'ner_tags' must be a list, not str"),
    "tags None": (None, "'ner_tags' must be a list, not NoneType"),
    "too few": (["B-PER"], "2 'tokens' but 1 'ner_tags': every word needs one tag"),
    "too many": (["B-PER"] * 3, "2 'tokens' but 3 'ner_tags': every word needs one tag"),
    "floats": ([0.5, 1.5], "tag 0.5 of word 0 ('Ann') must be a string or a whole number, not float"),
    "bools": ([True, False], "tag True of word 0 ('Ann') must be a string or a whole number, not bool"),
    "a tag None": (["B-PER", None], "tag None of word 1 ('Lee') must be a string or a whole number, not NoneType"),
}


def errors(rows, consumers):
    """The error of each consumer, without the location; those of data sets where Arrow can represent the rows."""
    found = {}
    try:
        data = Dataset.from_list(rows)
        is_same = all(a == {**dict.fromkeys(a), **b} for a, b in zip(data.to_list(), rows, strict=True))
    except (pyarrow.ArrowInvalid, pyarrow.ArrowTypeError, TypeError):
        data, is_same = None, False
    for name, consumer in consumers.items():
        if data is not None and is_same:
            with pytest.raises((TypeError, ValueError)) as error:
                consumer(data)
            found[name] = LOCATION.sub("", str(error.value)), error.type
    return found


def check_agreement(rows, message, consumers=CONSUMERS, is_plain=True):
    found = errors(rows, consumers)
    if is_plain:
        with pytest.raises((TypeError, ValueError)) as error:
            write(rows)
        found["write_jsonl of dicts"] = LOCATION.sub("", str(error.value)), error.type
    assert len({sentence for sentence, _ in found.values()}) == 1, found
    [sentence] = {sentence for sentence, _ in found.values()}
    assert message in sentence
    raised = {kind for name, (_, kind) in found.items() if not name.startswith("validate")}
    assert len(raised) == 1
    return found


@pytest.mark.parametrize("kind", ["words", "text"])
@pytest.mark.parametrize("name", BAD_ENTITIES)
def test_a_bad_entity_is_the_same_mistake_everywhere(name, kind):
    bad, message = BAD_ENTITIES[name]
    length = {"words": "2", "text": "7"}[kind]
    message = message.replace("WORD", {"words": "word", "text": "character"}[kind]).replace("LENGTH", length)
    row = {**GOOD[kind], "entities": [bad]}
    found = check_agreement([row], message)
    assert len(found) == len(CONSUMERS) + 1
    if isinstance(bad, dict):
        with pytest.raises((TypeError, ValueError)) as error:
            read_back([row])
        sentence, kind = found["write_jsonl of dicts"]
        assert str(error.value).endswith(f"x.jsonl, line 1, row 0: {sentence}")
        assert error.type is kind


@pytest.mark.parametrize("kind", ["words", "text"])
@pytest.mark.parametrize("name", BAD_RELATIONS)
def test_a_bad_relation_is_the_same_mistake_everywhere(name, kind):
    relations, message = BAD_RELATIONS[name]
    row = {**GOOD[kind], "entities": [entity(end=1), entity(label="LOC")], "relations": relations}
    found = check_agreement([row], message)
    assert len(found) == len(CONSUMERS) + 1
    with pytest.raises((TypeError, ValueError)) as error:
        read_back([row])
    sentence, kind = found["write_jsonl of dicts"]
    assert str(error.value).endswith(f"x.jsonl, line 1, row 0: {sentence}")
    assert error.type is kind


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (
            {"text": "Ann Lee", "entities": [entity(end=3, span="Lee")]},
            "characters 0 to 3 of the text are 'Ann', but the annotation says 'Lee'",
        ),
        (
            {"tokens": ["Ann", "Lee"], "entities": [entity(span=["Ann"])]},
            "words 0 to 2 of the row are ['Ann', 'Lee'], but the annotation says ['Ann']",
        ),
    ],
)
def test_an_entity_with_the_span_of_another_is_the_same_mistake_everywhere(row, message):
    check_agreement([row], message)
    right = {
        **row,
        "entities": [{**row["entities"][0], "span": (row.get("text") or row["tokens"])[: row["entities"][0]["end"]]}],
    }
    write([right])


@pytest.mark.parametrize("name", BAD_ROWS)
def test_a_bad_row_is_the_same_mistake_everywhere(name):
    row, message = BAD_ROWS[name]
    found = check_agreement([row], message)
    assert len(found) == len(CONSUMERS) + 1


@pytest.mark.parametrize("name", BAD_TAGS)
def test_bad_tags_are_the_same_mistake_everywhere(name):
    tags, message = BAD_TAGS[name]
    found = check_agreement([{"tokens": ["Ann", "Lee"], "ner_tags": tags}], message, is_plain=False)
    assert len(found) == len(CONSUMERS)


@pytest.mark.parametrize(
    ("tag", "message"),
    [
        ("B-ART", "tag 'B-ART' of word 1 ('Lee') is not one of ['O', 'B-PER'"),
        (9, "tag 9 of word 1 ('Lee') is out of range: there are names for only 7 integers"),
    ],
)
def test_an_unknown_tag_is_the_same_mistake_for_all_who_know_the_labels(tag, message):
    rows = [{"tokens": ["Ann", "Lee"], "ner_tags": [tag if isinstance(tag, str) else 0, tag]}]
    rows[0]["ner_tags"][0] = "O" if isinstance(tag, str) else 0
    consumers = {name: consumer for name, consumer in CONSUMERS.items() if name not in WITHOUT_LABELS}
    assert len(check_agreement(rows, message, consumers, is_plain=False)) == len(consumers)
    if isinstance(tag, str):
        for name in WITHOUT_LABELS:
            CONSUMERS[name](Dataset.from_list(rows))
    else:
        consumers = {name: CONSUMERS[name] for name in WITHOUT_LABELS}
        check_agreement(rows, "of the annotated data are integers without names", consumers, is_plain=False)


def test_an_unknown_label_is_the_same_mistake_for_all_who_know_the_labels():
    rows = [{"tokens": ["Ann", "Lee"], "entities": [entity(label="ART")]}]
    names = ("validate with a model", "prepare", "Trainer", "tune_thresholds", "analyze_errors")
    message = "entity 'ART' has a label that is not one of ['LOC', 'ORG', 'PER']: make a new model to add it"
    check_agreement(rows, message, {name: CONSUMERS[name] for name in names}, is_plain=False)


def test_the_location_is_the_row_of_the_data_set():
    rows = [GOOD["words"]] * 2 + [{**GOOD["words"], "entities": [entity(end=4)]}]
    data = Dataset.from_list(rows)
    sentence = "entity 'PER' ends at word 4, but the row has only 2 words"
    with pytest.raises(ValueError, match=f"^row 2: {sentence}$"):
        write(rows)
    for name, where in (("prepare", "training"), ("infer_labels", "annotated"), ("tune_thresholds", "held-out")):
        with pytest.raises(ValueError, match=f"^row 2 of the {where} data: {sentence}$"):
            CONSUMERS[name](data)
    [problem] = validate({"dev": data}).by_kind("malformed-entity")
    assert problem.message == f"row 2 of the dev data, entity 0: {sentence}"
    assert (problem.row, problem.entity, problem.start, problem.end, problem.label) == (2, 0, 0, 4, "PER")


ACCEPTED = {
    "words": GOOD["words"],
    "text": GOOD["text"],
    "tags": GOOD["tags"],
    "score": {**GOOD["words"], "entities": [entity(score=0.5, other=None)]},
    "predictions of words": {
        "tokens": ["Ann", "Lee"],
        "entities": [{"span": ["Ann"], "label": "PER", "score": 0.5, "word_start_index": 0, "word_end_index": 1}],
    },
    "predictions of a text": {
        "text": "Ann Lee",
        "entities": [{"span": "Ann", "label": "PER", "score": 0.5, "char_start_index": 0, "char_end_index": 3}],
    },
    "relations": {
        "tokens": ["Ann", "Lee"],
        "entities": [entity(end=1), entity(label="LOC")],
        "relations": [{"label": "is", "head": 1, "tail": 0, "score": 0.5}],
    },
    "relations None": {**GOOD["text"], "relations": None},
    "a tag of a name": {"tokens": ["Ann"], "ner_tags": ["I-PER"]},
}


@pytest.mark.parametrize("form", [None, "numpy", "torch", "pandas"])
@pytest.mark.parametrize("name", ACCEPTED)
def test_what_one_accepts_all_accept_in_every_format(name, form):
    data = Dataset.from_list([ACCEPTED[name]]).with_format(form)
    for consumer in CONSUMERS.values():
        consumer(data)
    if "ner_tags" not in ACCEPTED[name]:
        write([ACCEPTED[name]])
        read_back([ACCEPTED[name]])


def test_a_float_beside_whole_numbers_changes_no_entity(tmp_path):
    """Arrow makes floats of a column of numbers if one of them is."""
    for kind, column in (("words", "tokens"), ("text", "text")):
        [whole] = GOOD[kind]["entities"]
        rows = [GOOD[kind], {column: GOOD[kind][column], "entities": [{**whole, "start": 0.0}]}, GOOD[kind]]
        data = Dataset.from_list(rows)
        assert isinstance(data[0]["entities"][0]["start"], float)
        for values in (rows, data):
            report = validate(values)
            assert (report.is_clean, report.num_entities, report.fix(values)[0]) == (True, 3, values)
            write_jsonl(tmp_path / "x.jsonl", values)
            assert read_annotations(tmp_path / "x.jsonl")["entities"][:] == [row["entities"] for row in rows]
    floats = Dataset.from_list([{"tokens": ["Ann", "Lee"], "ner_tags": tags} for tags in ([1, 2.0], [0, 0])])
    assert [spans for _, spans in read_rows(floats, "x", LABELS)] == [[("PER", 0, 2)], []]


@pytest.mark.parametrize("kind", [np.int64, np.uint8, np.int32, np.float32, np.float64])
def test_whole_numbers_of_numpy_are_whole_numbers(kind, tmp_path):
    row = {"tokens": ["Ann", "Lee"], "entities": [entity(start=kind(0), end=kind(2), score=np.float32(0.5))]}
    assert parse_row(row, "row 0") == Row("words", ["Ann", "Lee"], [RowEntity("PER", 0, 2, 0.5)])
    write_jsonl(tmp_path / "x.jsonl", [row])
    assert read_annotations(tmp_path / "x.jsonl")[0]["entities"] == [entity()]
    tags = Tags.from_labels(LABELS)
    read, problems = read_tags(["Ann", "Lee"], [kind(1), kind(2)], tags, "row 0")
    assert (read.spans, problems) == ([("PER", 0, 2)], [])
    _, problems = read_tags(["Ann", "Lee"], [np.bool_(True), kind(9)], tags, "row 0")
    assert [str(problem.error).split("') ")[1] for problem in problems] == [
        f"must be a string or a whole number, not {type(np.bool_(True)).__name__}",
        "is out of range: there are names for only 7 integers",
    ]


def test_an_entity_may_be_a_prediction_of_the_same_unit_alone():
    prediction = {"span": ["Ann"], "label": "PER", "score": 0.5, "word_start_index": 0, "word_end_index": 1}
    assert check_entity(prediction, 2, "words", "row 0") == RowEntity("PER", 0, 1, 0.5)
    with pytest.raises(ValueError, match="row 0: entity .* has no 'start'"):
        check_entity(prediction, 2, "characters", "row 0")
    assert check_entity({**prediction, "start": 1, "end": 2}, 2, "words", "row 0") == RowEntity("PER", 1, 2, 0.5)


def test_rows_of_two_kinds_in_one_table_have_the_other_column_empty():
    row = {"tokens": None, "text": "Ann", "entities": [entity()]}
    assert parse_row(row, "row 0").kind == "text"
    assert parse_row({**row, "tokens": ["a", "b"], "text": None}, "row 0").kind == "words"
    with pytest.raises(ValueError, match="row 0 has 'ner_tags', which cannot be interpreted without the other rows"):
        parse_row(GOOD["tags"], "row 0")
    with pytest.raises(TypeError, match="row 0: a row must be a dict with 'tokens' or 'text', not list"):
        parse_row(["Ann"], "row 0")


def test_all_problems_of_a_row_are_found():
    bad = [entity(end=9), entity(), entity(label="O"), entity(start=None)]
    report = validate(Dataset.from_list([{"tokens": ["Ann", "Lee"], "entities": bad}]))
    assert [problem.kind for problem in report.problems] == ["malformed-entity"] * 3
    assert [(problem.start, problem.end, problem.label) for problem in report.problems] == [
        (0, 9, "PER"),
        (0, 2, "O"),
        (None, 2, "PER"),
    ]
    assert report.num_entities == 1
    tags = Dataset.from_list([{"tokens": ["a", "b", "c"], "ner_tags": ["B-X", "O", "I-Y"]}])
    assert [problem.start for problem in validate(tags, MODEL).problems] == [0, 2]


def test_a_tag_whose_label_is_outside_is_no_entity():
    data = Dataset.from_list([{"tokens": ["a"], "ner_tags": ["B-O"]}])
    with pytest.raises(ValueError, match="has 'O' as the label of an entity"):
        list(read_rows(data, "training"))
    with pytest.raises(ValueError, match="'B-O' has 'O' as the label of an entity"):
        build_model("bert", labels=["O", "B-O", "I-O"])


def test_tags_are_replaced_by_entities_where_rows_are_written():
    features = Features({"tokens": List(Value("string")), "ner_tags": List(ClassLabel(names=["B-X", "O"]))})
    data = Dataset.from_dict({"tokens": [["a", "b"]], "ner_tags": [[1, 0]]}, features=features)
    data = data.add_column("text", ["a b"]).add_column("id", [7])
    [(columns, row)] = annotated_rows(data)
    assert columns == {"id": 7, "tokens": ["a", "b"], "entities": [{"label": "X", "start": 1, "end": 2}]}
    assert row == Row("words", ["a", "b"], [RowEntity("X", 1, 2)])


def test_a_data_set_is_told_without_importing_the_library(monkeypatch):
    data = Dataset.from_list([GOOD["words"]])
    assert is_dataset(data)
    assert is_column(data["tokens"])
    assert not is_dataset(data["tokens"]) | is_dataset([GOOD["words"]]) | is_column(data)
    monkeypatch.delitem(__import__("sys").modules, "datasets")
    assert not is_dataset(data) | is_column(data)


@given(st.lists(st.text("ab é👩", max_size=3), max_size=5), st.data())
def test_words_are_where_the_joined_text_has_them(words, data):
    text, starts = join_words(words)
    start = data.draw(st.integers(0, len(words)))
    end = data.draw(st.integers(start, len(words)))
    if start < end:
        assert text[starts[start] : starts[end] - 1] == " ".join(words[start:end])


@pytest.mark.parametrize(("label", "meant"), [("per", "PER"), (" PER", "PER"), ("B-PER", "PER"), ("PERSON", None)])
def test_an_unknown_label_that_is_nearly_another_one_is_a_slip(label, meant):
    (problem,) = unknown_labels(Row("words", ["Ann"], [RowEntity(label, 0, 1)]), ["O", "LOC", "PER"], "row 0")
    advice = f"did you mean {meant!r}? Otherwise, make" if meant else "make"
    assert str(problem.error).endswith(f"['LOC', 'PER']: {advice} a new model to add it")
