import json
import re
from contextlib import nullcontext
from itertools import permutations

import pandas as pd
import pytest
from datasets import ClassLabel, Dataset, Features, List, Value
from helpers import relation_model
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny import build_model

from span_marker import infer_labels
from span_marker.data.rows import first_error
from span_marker.data.tags import Tags, read_tags
from span_marker.validation.checks import validate
from span_marker.validation.report import KINDS, ValidationReport

LABELS = ["O", "B-PER", "I-PER", "B-LOC", "I-LOC"]
MODEL = build_model("bert", labels=LABELS, entity_max_length=3, model_max_length=20)
ENTITIES = List({"label": Value("string"), "start": Value("int64"), "end": Value("int64")})


def entity(start, end, label="PER"):
    return {"label": label, "start": start, "end": end}


def texts(*rows):
    """Rows as ``(text, entities)``."""
    columns = {"text": [text for text, _ in rows], "entities": [list(found) for _, found in rows]}
    return Dataset.from_dict(columns, features=Features({"text": Value("string"), "entities": ENTITIES}))


def words(*rows):
    columns = {"tokens": [tokens for tokens, _ in rows], "entities": [list(found) for _, found in rows]}
    return Dataset.from_dict(columns, features=Features({"tokens": List(Value("string")), "entities": ENTITIES}))


def tags(*rows):
    return Dataset.from_dict({"tokens": [tokens for tokens, _ in rows], "ner_tags": [found for _, found in rows]})


def related(items, entities, *relations):
    """One row of words or text, with relations as ``(label, head, tail)``."""
    column = "text" if isinstance(items, str) else "tokens"
    found = [dict(zip(("label", "head", "tail"), values, strict=True)) for values in relations]
    return {column: items, "entities": list(entities), "relations": found}


def found(report):
    return [(problem.kind, problem.row, problem.start, problem.end) for problem in report.problems]


RELATED = relation_model(relation_types=[["PER", "lives in", "LOC"]])
ANN = ["Ann", "Lee", "saw", "Paris"]
WORDS = [f"w{place}" for place in range(20)]

CASES = {
    "clean words": (words((ANN, [entity(0, 2), entity(3, 4, "LOC")])), MODEL, []),
    "clean text": (texts(("Ann Lee saw Paris.", [entity(0, 7), entity(12, 17, "LOC")])), MODEL, []),
    "clean tags": (tags((ANN, ["B-PER", "I-PER", "O", "I-LOC"])), MODEL, []),
    "no text": (texts((None, [])), None, [("malformed-row", 0, None, None)]),
    "no word": (words((["a", None], [])), MODEL, [("malformed-row", 0, None, None)]),
    "no entities": (
        Dataset.from_dict({"tokens": [["a"], ["b"]], "entities": [None, []]}),
        None,
        [("malformed-row", 0, None, None)],
    ),
    "malformed": (
        texts(("Ann", [entity(0, 4), entity(2, 2), entity(0, 3, None), entity(None, 3), entity(0, 3)])),
        MODEL,
        [("malformed-entity", 0, start, end) for start, end in ((0, 4), (2, 2), (0, 3), (None, 3))],
    ),
    "count": (tags((["a"], ["O", "O"]), (["b"], [])), None, [("tag-count", row, None, None) for row in (0, 1)]),
    "tag of another model": (tags((["Ann", "b"], ["B-ORG", "O"])), MODEL, [("unknown-tag", 0, 0, 1)]),
    "stray among the names of tags": (
        tags((["Ann"], [0])).cast_column("ner_tags", List(ClassLabel(names=["B-PER", "I-PER", "O", "-"]))),
        None,
        [("tag-names", 0, None, None)],
    ),
    "tag without name": (tags((["Ann", "b"], [1, 9])), MODEL, [("unknown-tag", 0, 1, 2)]),
    "label": (words((ANN, [entity(0, 2), entity(3, 4, "ORG")])), MODEL, [("unknown-label", 0, 3, 4)]),
    "cut without a model": (
        texts(("Ann Lee's x2y", [entity(0, 2), entity(1, 3), entity(4, 7), entity(7, 9), entity(10, 12)])),
        None,
        [("partial-word", 0, 0, 2), ("partial-word", 0, 1, 3), ("partial-word", 0, 10, 12), ("crossing", 0, 1, 3)],
    ),
    "no spaces between words": (texts(("東京に行く", [entity(0, 2)])), None, [("unspaced-word", 0, 0, 2)]),
    "tags as labels": (
        words((["Ann", "Lee"], [entity(0, 1, "B-PER"), entity(1, 2, "I-PER")])),
        None,
        [("tag-label", 0, None, None)] * 2,
    ),
    "edges of a text": (texts(("Ann", [entity(0, 3)])), None, []),
    "cut with a model": (texts(("Ann Lee's", [entity(0, 2), entity(4, 7)])), MODEL, [("partial-word", 0, 0, 2)]),
    "too long": (words((ANN, [entity(0, 4), entity(0, 3)])), MODEL, [("too-long", 0, 0, 4), ("nested", 0, 0, 3)]),
    "too long in a text": (texts(("a b c d e", [entity(0, 7), entity(2, 7)])), MODEL, [
        ("too-long", 0, 0, 7), ("nested", 0, 2, 7)
    ]),
    "labels and repetition": (
        words((ANN, [entity(0, 1), entity(0, 1, "LOC"), entity(0, 1, "LOC"), entity(0, 1)])),
        MODEL,
        [("same-span-labels", 0, 0, 1), ("repeated-entity", 0, 0, 1), ("repeated-entity", 0, 0, 1)],
    ),
    "white space": (
        texts(("Ann  saw", [entity(0, 4), entity(3, 5)])),
        MODEL,
        [("outer-whitespace", 0, 0, 4), ("blank-entity", 0, 3, 5)],
    ),
    "the same but for white space": (
        texts(("Ann saw", [entity(0, 3), entity(0, 4), entity(0, 4, "LOC")])),
        MODEL,
        [
            ("outer-whitespace", 0, 0, 4),
            ("outer-whitespace", 0, 0, 4),
            ("repeated-entity", 0, 0, 3),
            ("same-span-labels", 0, 0, 3),
        ],
    ),
    "white space in words": (words((["Ann", " ", "Lee"], [entity(0, 2), entity(1, 2, "LOC")])), None, [
        ("outer-whitespace", 0, 0, 2), ("blank-entity", 0, 1, 2), ("nested", 0, 1, 2)
    ]),
    "no token": (words((["Ann", "\u200b"], [entity(0, 2)])), MODEL, [
        ("entity-without-token", 0, 0, 2), ("word-without-token", 0, 1, 2)
    ]),
    "no token in a text": (texts(("Ann \u200b", [entity(4, 5)])), MODEL, [
        ("entity-without-token", 0, 4, 5), ("word-without-token", 0, 4, 5)
    ]),
    "long": (words((["saw"] * 30, [])), MODEL, [("long-text", 0, None, None)]),
    "empty": (words(([], []), (["", " "], [])), None, [("empty-row", row, None, None) for row in (0, 1)]),
    "twice": (texts(("a b", []), ("c", []), ("a b", [])), None, [("repeated-sentence", 2, None, None)]),
    "twice, in two ways": (
        texts(("Ann saw", [entity(0, 3)]), ("Ann saw", [entity(0, 4)]), ("Ann saw", [])),
        None,
        [
            ("outer-whitespace", 1, 0, 4),
            *(("repeated-sentence", row, None, None) for row in (1, 2)),
            ("conflicting-sentence", 2, None, None),
        ],
    ),
    "one label under two names": (
        words(([str(row) for row in range(6)], [entity(row, row + 1, "PER" if row else "Person") for row in range(6)])),
        None,
        [("label-variant", 0, None, None)],
    ),
    "a label that training data lack": (
        {name: words((["Ann", name], [entity(0, 1, label)])) for name, label in (("train", "PER"), ("dev", "LOC"))},
        None,
        [("unseen-label", 0, None, None)],
    ),
    "a rare label": (
        words((WORDS, [entity(row, row + 1, "LOC" if row == 7 else "PER") for row in range(20)])),
        None,
        [("rare-label", 0, None, None)],
    ),
    "one text, two labels": (
        words(*[(["in", "Paris", str(row)], [entity(1, 2, "LOC" if row else "PER")]) for row in range(5)]),
        None,
        [("conflicting-label", 0, 1, 2)],
    ),
    "one text, two boundaries": (
        texts(*[(f"{row} saw The Louvre", [entity(6 + 4 * (row == 1), 16)]) for row in range(3)]),
        None,
        [("boundary-variant", 1, 10, 16)],
    ),
    "beside a symbol": (
        texts(*[(f"order #{row}45", [entity(6 + (row == 2), 10)]) for row in range(5)]),
        None,
        [("symbol-edge", 2, 7, 10)],
    ),
    "a label with a space": (
        words((ANN, [entity(0, 2, "PER "), entity(3, 4)])), None, [("label-space", 0, 0, 2)]
    ),
    "ends inside a grapheme": (texts(("Zoe\u0308 sang", [entity(0, 3)])), None, [("partial-grapheme", 0, 0, 4)]),
    "ends inside a grapheme and a word": (texts(("Garci\u0301a", [entity(0, 5)])), None, [
        ("partial-grapheme", 0, 0, 6), ("partial-word", 0, 0, 6)
    ]),
    "ends behind a mark, inside a word": (
        texts(("Garci\u0301a", [entity(0, 6)])), None, [("partial-word", 0, 0, 6)]
    ),
    "inclusive ends": (texts(*[(f"{row} saw Ann", [entity(6, 8)]) for row in range(3)]), None, [
        (kind, row, 6, 8) for row in range(3) for kind in ("shifted-offsets", "partial-word")
    ]),
    "relations": ([related(ANN, [entity(0, 2), entity(3, 4)], ("saw", 0, 1), ("by", 1, 0))], MODEL, []),
    "relations that cannot be": (
        [related(ANN, [entity(0, 2), entity(3, 4)], ("saw", 0, 2), ("saw", 1, 1), ("", 0, 1), ("saw", 1, 0))],
        None,
        [
            ("malformed-relation", 0, None, None),
            ("self-relation", 0, None, None),
            ("malformed-relation", 0, None, None),
        ],
    ),
    "a relation of a malformed entity": (
        [related(ANN, [entity(0, 9), entity(0, 2), entity(3, 4)], ("saw", 0, 1), ("saw", 1, 2), ("saw", 1, 2))],
        None,
        [("malformed-entity", 0, 0, 9), ("repeated-relation", 0, 0, 4)],
    ),
    "twice, with other relations": (
        [
            related(ANN, [entity(0, 2), entity(3, 4)], ("saw", 0, 1), ("saw", 0, 1)),
            related(ANN, [entity(3, 4), entity(0, 2)], ("saw", 1, 0)),
            {**related(ANN, [entity(0, 2), entity(3, 4)]), "relations": None},
            related(ANN, [entity(0, 2), entity(3, 4)], ("saw", 1, 0)),
            related(ANN, [entity(0, 2), entity(3, 4)]),
        ],
        None,
        [
            ("repeated-relation", 0, 0, 4),
            *(("repeated-sentence", row, None, None) for row in range(1, 5)),
            *(("conflicting-sentence", row, None, None) for row in (3, 4)),
        ],
    ),
    "a label of entities and relations": (
        [related(ANN, [entity(0, 2), entity(3, 4)], ("PER", 0, 1))],
        None,
        [("shared-label", 0, None, None)],
    ),
    "relations that the model does not have": (
        [
            related(ANN, [entity(0, 2), entity(3, 4, "LOC")], ("lives in", 0, 1), ("hates", 1, 0)),
            related(["Paris", "is"], [entity(0, 1, "LOC"), entity(1, 2, "LOC")], ("lives in", 0, 1), ("knows", 1, 0)),
        ],
        RELATED,
        [
            ("unknown-label", 0, 0, 4),
            ("ruled-out-relation", 1, 0, 2),
            ("further-relation", 1, 0, 2),  # "knows" has no direction
            *(("rare-relation-types", row, None, None) for row in range(2)),
        ],
    ),
    "two relations of a pair": (
        {
            "train": [
                *(related([n, "a"], [entity(0, 1), entity(1, 2)], ("knows", 0, 1), ("knows", 1, 0)) for n in "xyz"),
                related(["b", "a"], [entity(0, 1), entity(1, 2)], ("knows", 0, 1), ("met", 1, 0), ("knows", 1, 0)),
                related(["c", "a"], [entity(0, 1), entity(1, 2)], ("met", 0, 1), ("knows", 1, 0), ("knows", 0, 1)),
            ],
            "test": [related(ANN, [entity(0, 1), entity(1, 2)], ("saw", 0, 1), ("met", 1, 0), ("met", 0, 1))],
        },
        None,
        [("further-relation", row, 0, 2) for row in (0, 4, 4)],
    ),
    "rare types of a relation": (
        [
            related([str(row), "a", "b"], [entity(1, 2), entity(2, 3, "LOC")], ("in", int(row == 2), int(row != 2)))
            for row in range(4)
        ],
        None,
        [("rare-relation-types", 2, None, None)],
    ),
    "across sentences": (
        {
            "words": [related(["Ann", "Jr.", ".", "Bob", "!"], [entity(0, 2), entity(3, 4)], ("saw", 1, 0))],
            "texts": [
                related("Ann sang. Bob left", [entity(0, 3), entity(10, 13)], ("saw", 0, 1)),
                related("Ann saw Sen. Bob", [entity(0, 3), entity(13, 16)], ("saw", 0, 1)),
                related("Ann\n\nBob", [entity(0, 3), entity(5, 8)], ("saw", 0, 1)),
            ],
        },
        None,
        [
            ("relation-across-sentences", 0, 0, 4),
            ("relation-across-sentences", 0, 0, 13),
            ("relation-across-sentences", 2, 0, 8),
        ],
    ),
    "beyond the window": (
        [related(["saw"] * 40, [entity(0, 1), entity(5, 6), entity(39, 40)], ("in", 0, 1), ("in", 2, 0))],
        MODEL,
        [("long-text", 0, None, None), ("relation-beyond-window", 0, 0, 40)],
    ),
    "pieces of words": (
        {
            "WordPiece": words((["[CLS]", "Wash", "##ing", "##ton"], []), (["#", "##", "#a"], [])),
            "BPE": words((["Wash@@", "ington", "a@@b"], []), (["Wash", "ington</w>"], [])),
            "SentencePiece": words((["\u2581Paris", "is"], []), (["</s>", "a"], []), (["<b>", "_a"], [])),
            "bytes": words((["In", "\u0120Paris", "\u0120now"], []), (["Fi", "\u0120orni", "sa", "ma"], [])),
        },
        None,
        [("word-piece", row, None, None) for row in (0, 0, 1, 0, 1, 0)],
    ),
    "escapes of HTML": (
        {
            "texts": texts(("AT&amp;T", []), ("a&#39;b&#x27;", []), ("AT&T; R&D; &foo; & amp", []), ("A&B", [])),
            "words": words((["AT", "&amp;", "T"], []), (["&", "lt", ";", "3"], []), (["R", "&", "D", ";"], [])),
        },
        None,
        [*(("html-escape", row, None, None) for row in (0, 1, 0, 1)), ("shared-sentence", 0, None, None)],
    ),
    "the same id": (
        {
            "train": [{"id": row % 2, "text": str(row), "entities": []} for row in range(3)],
            "dev": [{"id": row, "text": "x" * (row or 5), "entities": []} for row in range(2)],
            "none": [{"id": None, "text": "y" * (row or 5), "entities": []} for row in range(2)],
        },
        None,
        [("repeated-id", 2, None, None)],
    ),
    "in two splits": ({"train": texts(("a", []), ("b", [])), "test": texts(("b", []), ("c ", []))}, None, [
        ("shared-sentence", 0, None, None)
    ]),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_problems_are_found_where_they_are(name):
    data, model, expected = CASES[name]
    report = validate(data, model)
    assert sorted(found(report), key=str) == sorted(expected, key=str)
    for problem in report.problems:
        place = "" if problem.entity is None else f", entity {problem.entity}"
        own = "" if problem.id is None else f" (id {problem.id!r})"
        located = f"row {problem.row} of the {problem.split} data{own}{place}: "
        whole = f"the names of 'ner_tags' in the {problem.split} data="
        assert problem.message.startswith(whole if problem.kind == "tag-names" else located)


def test_every_kind_has_a_case():
    in_files = {"unreadable-row"}
    assert {problem[0] for _, _, expected in CASES.values() for problem in expected} == set(KINDS) - in_files


def test_all_splits_and_both_forms_are_counted():
    data = {"train": words((ANN, [entity(0, 2), entity(0, 9)])), "test": texts(("Ann", [entity(0, 3)]), ("x", []))}
    report = validate(data, MODEL)
    assert report.num_rows == {"train": 1, "test": 2}
    assert report.num_entities == 2
    assert report.counts() == {"malformed-entity": 1}
    assert report.by_kind("malformed-entity") == report.problems
    assert (report.problems[0].split, report.problems[0].label, report.problems[0].unit) == ("train", "PER", "words")
    assert not report.is_clean
    with pytest.raises(ValueError, match="kind='nest' must be one of"):
        report.by_kind("nest")


def test_notes_leave_a_report_clean():
    assert validate(words((ANN, [entity(0, 2), entity(0, 1)]))).counts() == {"nested": 1}
    assert validate(words((ANN, [entity(0, 2), entity(0, 1)]))).is_clean
    assert not validate(words((ANN, [entity(0, 2), entity(0, 2, "LOC")]))).is_clean


def test_a_sentence_of_an_earlier_split_is_named_with_its_row():
    data = {
        "train": texts(("x", []), ("a", [])),
        "dev": texts(("b", []), ("a", [])),
        "test": texts(("b", []), ("a", []), ("a", [])),
    }
    report = validate(data)
    assert [problem.message for problem in report.by_kind("shared-sentence")] == [
        "row 1 of the dev data: 'a' is also in row 1 of the train data",
        "row 0 of the test data: 'b' is also in row 0 of the dev data",
        "row 1 of the test data: 'a' is also in row 1 of the train data",
        "row 2 of the test data: 'a' is also in row 1 of the train data",
    ]
    assert [problem.row for problem in report.by_kind("repeated-sentence")] == [2]


def test_a_sentence_is_the_same_as_a_text_and_as_words():
    text = texts(("Ann Lee flew to Paris.", [entity(0, 7), entity(16, 21, "LOC")]))
    split = words((["Ann", "Lee", "flew", "to", "Paris", "."], [entity(0, 2), entity(4, 5, "LOC")]))
    pieces = words((["Ann Lee", "flew", "to", "Paris."], [entity(0, 1)]))
    for first, second in permutations((text, split), 2):
        report = validate({"train": first, "dev": second})
        assert report.counts() == {"shared-sentence": 1}
        assert report.problems[0].message.endswith("is also in row 0 of the train data")
        assert validate({"train": first, "dev": second, "test": pieces}).counts() == {
            "shared-sentence": 2,
            "conflicting-sentence": 1,
        }
    tags = {"tokens": ["Ann", "Lee", "flew", "to", "Paris", "."], "ner_tags": ["B-PER", "I-PER", "O", "O", "O", "O"]}
    assert "entities only there: 1, only here: 0" in str(validate({"train": text, "dev": [tags]}))


def test_relations_are_compared_between_texts_and_words():
    text = related("Ann met Bo.", [entity(0, 3), entity(8, 10)], ("met", 0, 1))
    for head, tail, expected in ((1, 0, {}), (0, 1, {"conflicting-sentence": 1})):
        split = related(["Ann", "met", "Bo", "."], [entity(2, 3), entity(0, 1)], ("met", head, tail))
        assert validate({"train": [text], "dev": [split]}).counts() == {"shared-sentence": 1, **expected}


def test_the_table_shows_the_first_examples():
    table = str(validate(words(*[([f"w{row}"], [entity(0, 3)]) for row in range(5)])))
    assert table.splitlines()[0] == "rows: annotated 5; entities: 0; error: 5, loss: 0, doubt: 0, note: 0"
    assert re.search(r"^error  malformed-entity +5  ", table, re.MULTILINE)
    assert [f"row {row} of" in table for row in range(5)] == [True, True, True, False, False]
    assert "... and 2 more" in table


def test_paths_rows_and_tables_are_read_as_data_sets_are(tmp_path):
    rows = [
        {"id": "a", "text": "Ann Lee", "entities": [entity(0, 3), entity(4, 6)]},
        {"id": "b", "text": "Ann Lee", "entities": []},
    ]
    path = tmp_path / "data.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    expected = validate(Dataset.from_list(rows))
    assert [problem.message for problem in expected.problems] == [
        "row 0 of the annotated data (id 'a'), entity 1: 'PER' from characters 4 to 6 ('Le') begins or ends inside a "
        "word",
        "row 1 of the annotated data (id 'b'): 'Ann Lee' is also in row 0 of the annotated data (id 'a')",
        "row 1 of the annotated data (id 'b'): 'Ann Lee' is annotated differently in row 0 of the annotated data "
        "(id 'a') (entities only there: 2, only here: 0)",
    ]
    for data in (rows, tuple(rows), pd.DataFrame(rows), path, str(path)):
        assert validate(data) == expected
    splits = validate({"train": rows, "dev": path, "test": pd.DataFrame(rows)})
    assert splits.num_rows == {"train": 2, "dev": 2, "test": 2}
    assert len(splits.by_kind("shared-sentence")) == 4


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (7, "must be a datasets.Dataset, not int: pass a pandas DataFrame or a list of dicts"),
        ({"train": 7}, "the train data must be a datasets.Dataset, not int"),
        (["x.jsonl"], "not a list with 'x.jsonl' as item 0: pass a list of dicts, .*, or what read_annotations"),
        ([{"text": "Ann", "entities": []}, "Bob"], "not a list with 'Bob' as item 1"),
        ({"text": "Ann", "entities": []}, r"has the columns \['text', 'entities'\]: pass a list of rows, \[row\]"),
        ({"tokens": ["Ann"], "ner_tags": ["O"]}, r"pass a list of rows, \[row\]"),
        ({"text": "Ann", "start": 0, "end": 3, "label": "PER"}, r"pass a list of rows, \[row\]"),
        ({"text": ["Ann"], "entities": [[]]}, r"pass datasets.Dataset.from_dict\(columns\)"),
        ({"tokens": [["Ann"]], "entities": [[]]}, r"pass datasets.Dataset.from_dict\(columns\)"),
    ],
)
def test_what_is_no_data_is_refused(data, message):
    for function in (validate, infer_labels):
        with pytest.raises(TypeError, match=message):
            function(data)


def test_a_path_is_no_data_where_labels_are_inferred():
    with pytest.raises(TypeError, match=r"not a path: pass read_annotations\('x.jsonl'\)"):
        infer_labels("x.jsonl")


def test_rows_of_a_file_that_cannot_be_read_are_listed(tmp_path):
    path = tmp_path / "x.conll"
    path.write_text("Ann\tB-PER\nx\t-\n\nBob\tB-PER\nLee\tI-PER\n\nis\to\n", encoding="utf-8")
    report = validate(path)
    problems = report.by_kind("unreadable-row")
    assert report.problems == problems
    assert [problem.message.split(": ")[0] for problem in problems] == [
        f"{path}, line 2, row 0",
        f"{path}, line 7, row 2",
    ]
    assert (report.num_rows, report.num_entities, report.is_clean) == ({"annotated": 1}, 1, False)
    assert report.fix(path)[0].to_list() == [{"tokens": ["Bob", "Lee"], "entities": [entity(0, 2)]}]
    path.write_text("Ann\t-\n\nBob\to\n", encoding="utf-8")
    with pytest.raises(ValueError, match=r"(?s)line 1, row 0: the tag '-' .*line 3, row 1: the tag 'o'"):
        validate(path)


def test_files_are_read_and_fixed_as_the_options_say(tmp_path):
    path = tmp_path / "nested.txt"
    path.write_text("Ann\tB-PER\tO\nLee\tI-PER\tO\n\nIn\tO\n\nOslo\tB-LOC\tB-ORG\n", encoding="utf-8")
    options = {"format": "conll", "tag_columns": [1, 2]}
    report = validate({"train": path}, **options)
    assert (report.num_rows, report.num_entities) == ({"train": 2}, 3)
    assert [problem.kind for problem in report.problems if problem.severity == "error"] == ["unreadable-row"]
    assert len(report.fix({"train": path}, **options)[0]["train"]) == 2
    with pytest.raises(ValueError, match="errors='skip' does not apply here, since rows with errors are listed"):
        validate(path, errors="skip")
    rows = [{"tokens": ["Ann"], "entities": []}]
    for function in (validate, validate(rows).fix):
        with pytest.raises(ValueError, match="tag_columns='all' is for paths, but the annotated data is list"):
            function(rows, tag_columns="all")


GOOD = {"text": "Ann left", "entities": [entity(0, 3)]}


@pytest.mark.parametrize(
    ("wrong", "kind", "message"),
    [
        ({"text": float("nan"), "entities": []}, "malformed-row", "'text' must be a string, not "),
        ({"text": 7, "entities": []}, "malformed-row", "'text' must be a string, not int"),
        ({"text": "Bob", "entities": "[]"}, "malformed-row", "'entities' must be a list, not str"),
        ({"text": "Bob", "entities": float("nan")}, "malformed-row", "'entities' must be a list, not "),
        ({"text": "Bob", "entities": [entity("0", 3)]}, "malformed-entity", "must be a whole number, not '0' (str)"),
        ({"text": "Bob", "entities": [entity(0, 3, 5)]}, "malformed-entity", "must be a string, not int"),
        ({"text": "Bob", "entities": [(0, 3, "PER")]}, "malformed-entity", "must be a dict with 'label'"),
    ],
)
@pytest.mark.parametrize("make", [list, pd.DataFrame])
def test_values_of_another_type_are_problems_of_their_row(wrong, kind, message, make):
    for rows in ([GOOD, wrong, {**GOOD, "text": "Ann went"}], [wrong, GOOD]):
        [problem] = validate(make(rows)).problems
        assert (problem.kind, problem.row) == (kind, rows.index(wrong))
        assert message in problem.message
        assert validate(make(rows)).num_entities == len(rows) - 1
        fixed, changes = validate(rows).fix(rows)
        assert (len(changes.changes), len(changes.left)) == (0, kind == "malformed-entity")
        assert [row["entities"] for row in fixed if row["text"] == GOOD["text"]] == [GOOD["entities"]]


def test_tags_of_another_type_are_problems_of_their_row():
    rows = [{"tokens": ["Ann"], "ner_tags": ["B-PER"]}, {"tokens": ["Bob"], "ner_tags": [7]}]
    [problem] = validate(rows).problems
    assert (problem.kind, problem.row) == ("unknown-tag", 1)
    assert "tag 7 of word 0 ('Bob') is out of range" in problem.message


def test_few_cut_entities_are_no_reason_for_another_splitter():
    for number, is_suggested in ((1, False), (4, False), (5, True), (50, True)):
        report = ValidationReport((), {"x": 100}, 100, {"tokenizer": number, "characters": 0})
        assert report.suggested_splitter() == ("characters" if is_suggested else None)
        assert ("pass it to" in str(report)) == is_suggested
    assert ValidationReport((), {"x": 1}, 1, {"tokenizer": 0, "characters": 0}).suggested_splitter() is None


def test_the_index_of_an_entity_counts_malformed_ones():
    data = [{"tokens": ANN, "entities": [entity(0, 9), entity(0, 2), entity(3, 4, "ORG"), entity(0, 1)]}]
    found = [(problem.kind, problem.entity) for problem in validate(data, MODEL).problems]
    assert found == [("malformed-entity", 0), ("unknown-label", 2), ("nested", 3)]


def test_integer_tags_need_names():
    data = tags((["Ann"], [1]))
    with pytest.raises(ValueError, match="integers without names"):
        validate(data)
    assert validate(data, MODEL).num_entities == 1
    features = Features({"tokens": List(Value("string")), "ner_tags": List(ClassLabel(names=["B-PER", "O"]))})
    assert validate(data.cast(features)).num_entities == 0
    assert validate(tags((["Ann"], [0])).cast(features), MODEL).num_entities == 1


@pytest.mark.parametrize(
    "names", ["O B-PER I-PER -", "O", "B-PER B_PER I-PER O", "O B-PER I-PER", "B_PER I_PER O", "PER"]
)
def test_names_of_integers_are_an_error_exactly_if_labels_cannot_be_inferred_from_them(names):
    names = names.split()
    features = Features({"tokens": List(Value("string")), "ner_tags": List(ClassLabel(names=names))})
    data = tags((["Ann"], [0])).cast(features)
    report = validate({"train": tags((["Ann"], ["B-PER"])), "dev": data})
    problems = report.by_kind("tag-names")
    assert report.is_clean == (not problems)
    for problem in problems:
        assert (problem.split, problem.severity) == ("dev", "error")
        assert problem.message in str(report)
    with pytest.raises(ValueError, match=re.escape(problems[0].message)) if problems else nullcontext():
        infer_labels({"dev": data})
    assert validate(data, MODEL).by_kind("tag-names") == ()


@pytest.mark.parametrize("data", [Dataset.from_dict({"text": ["a"]}), {}])
def test_what_is_no_annotated_data_is_refused(data):
    with pytest.raises(ValueError, match="annotated data has|empty"):
        validate(data)


NUMBERS = st.none() | st.integers(-2, 8)


@given(
    st.lists(
        st.tuples(
            st.none() | st.text("ab \u200b", max_size=6),
            st.lists(st.builds(entity, NUMBERS, NUMBERS, st.sampled_from([None, "", "O", "PER", "X"])), max_size=4),
        ),
        max_size=4,
    )
)
@settings(max_examples=60)
def test_no_row_stops_it(rows):
    data = texts(*rows)
    for model in (None, MODEL):
        report = validate(data, model)
        malformed = len(report.by_kind("malformed-entity"))
        assert report.num_entities + malformed == sum(len(found) for text, found in rows if text is not None)
        assert len(report.by_kind("malformed-row")) == sum(text is None for text, _ in rows)
        assert str(report)


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(1, 10)).filter(lambda span: span[0] < span[1]), max_size=8))
@settings(max_examples=60)
def test_overlaps_are_those_of_comparing_all_pairs(spans):
    report = validate(words(([str(word) for word in range(10)], [entity(*span) for span in spans])))
    pairs = [(a, b) for a in set(spans) for b in set(spans) if a != b]
    nested = {a for a, b in pairs if b[0] <= a[0] and a[1] <= b[1]}
    crossing = {a for a, b in pairs if b[0] < a[0] < b[1] < a[1]}
    for kind, expected in (("nested", nested), ("crossing", crossing)):
        problems = report.by_kind(kind)
        assert sorted((problem.start, problem.end) for problem in problems) == sorted(expected)
        for problem in problems:  # the other one that it names is really one
            other = tuple(map(int, re.findall(r"from words (\d+) to (\d+)", problem.message)[1]))
            span = (problem.start, problem.end)
            assert (span, other) in pairs
            assert (other[0] <= span[0] and span[1] <= other[1]) == (kind == "nested")
            assert (other[0] < span[0] < other[1] < span[1]) == (kind == "crossing")
    assert len(report.by_kind("repeated-entity")) == len(spans) - len(set(spans))


@given(st.lists(st.sampled_from(["O", "B-PER", "I-LOC", "B-ORG", "S-PER", "PER"]), max_size=3), st.integers(0, 3))
@settings(max_examples=60)
def test_tags_are_errors_where_training_refuses_them(row, num_words):
    sentence = ["a"] * num_words
    report = validate(tags((sentence, row)), MODEL)
    errors = [problem for problem in report.problems if problem.severity == "error"]
    try:
        entities = first_error(*read_tags(sentence, row, Tags.from_labels(LABELS), "row 0")).entities
    except ValueError:
        assert errors
    else:
        assert not errors
        assert report.num_entities == len(entities)


def test_columns_of_the_same_name_are_told():
    table = pd.DataFrame([["Ann left", [], "Bo"]], columns=["text", "entities", "text"])
    with pytest.raises(ValueError, match=r"the annotated data has several columns 'text': rename or remove"):
        validate(table)
