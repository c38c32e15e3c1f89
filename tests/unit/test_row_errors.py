"""Errors of rows: all of them in one message, or skipped, or handed to the caller, whatever the format."""

import json

import pytest
from annotation_files import entity, read_lines, read_text

from span_marker.data.brat import write_brat
from span_marker.data.conll import write_conll
from span_marker.data.files import read_annotations
from span_marker.data.html import write_html
from span_marker.data.jsonl import write_jsonl
from span_marker.data.row_errors import report_errors
from span_marker.data.spacy_docs import write_docbin

GOOD = {"text": "Ann went", "entities": [entity("PER", 0, 3)]}
LATE = {"text": "Ann", "entities": [entity("PER", 0, 9)]}


def test_all_errors_are_in_one_message(tmp_path):
    with pytest.raises(ValueError, match=r"^.*data\.jsonl has 25 errors:\n") as raised:
        read_lines(tmp_path, GOOD, *[LATE] * 25)
    lines = str(raised.value).split("\n")
    assert len(lines) == 22
    assert lines[-1].strip() == "... and 5 more"
    for number, line in enumerate(lines[1:-1]):
        assert f"data.jsonl, line {number + 2}, row {number + 1}: entity 'PER' ends at character 9" in line


def test_one_error_is_raised_as_it_is(tmp_path):
    with pytest.raises(ValueError, match=r"^\S+data\.jsonl, line 2, row 1: entity 'PER' ends at character 9"):
        read_lines(tmp_path, GOOD, LATE)
    with pytest.raises(TypeError, match=r"^\S+data\.jsonl, line 1, row 0: 'text' must be a string"):
        read_lines(tmp_path, {"text": 1, "entities": []})


def test_the_type_is_that_of_the_first_error():
    for errors in ([TypeError("a"), ValueError("b")], [ValueError("b"), TypeError("a")]):
        with pytest.raises(type(errors[0]), match="x has 2 errors:\n  "):
            report_errors(errors, 2, "raise", "x")


FILES = {
    "data.jsonl": (
        '{"text": "a", "entities": []}\n{"text"\n{"text": "b", "entities": [{}]}\n{"x": 1}\n'
        '{"text": "c", "entities": []}\n',
        ["line 2 is not JSON", "line 3, row 2: entity {} has no 'label'", "line 4, row 3 has the keys"],
    ),
    "first.jsonl": ('{"text"\n{"text": "a", "entities": []}\n{"text": "c", "entities": []}', ["line 1 is not JSON"]),
    "data.json": (
        '[{"text": "a", "entities": []}, 5, {"text": "c", "entities": []}]',
        ["item 1, row 1 has the type int"],
    ),
    "tags.jsonl": (
        '{"tokens": ["a"], "ner_tags": ["B-X"]}\n{"tokens": ["b", "b"], "ner_tags": ["", "X"]}\n'
        '{"tokens": ["c"], "ner_tags": ["O"]}',
        ["line 2, row 1: the tag is empty"],
    ),
    "data.conll": (
        "a\tB-X\n\nb\nb\tO\n\nb\tX\n\n\tO\n\nc\tO\n",
        [
            "line 3, row 1: 'b' has 1 columns, but 'a\\tB-X' has 2",
            "line 8, row 3: the word is empty",
            "line 6, row 2: the tag 'X' has no prefix, but 'B-X' has one",
        ],
    ),
}


WEBANNO = "#FORMAT=WebAnno TSV 3.2\n#T_SP=x.NamedEntity|value\n"
CONLLU = "1\ta\t_\t_\t_\t_\t_\t_\t_\tNE=B-X\n\n{}\n# text = c\n1\tc" + "\t_" * 8 + "\n"
FILES |= {
    "data.tsv": (
        WEBANNO + "\n#Text=a\n1-1\t0-1\ta\tX\n\n#Text=b\n2-1\t2-9\tb\tX\n\n#Text=b\n2-1\t2-3\tb\tX[\n\nodd\n\n"
        "3-1\t0-1\tb\t_\n\n#Text=c\n4-1\t9-10\tc\t_\n",
        [
            "line 8, row 1: the offsets of the tokens do not fit",
            "line 11, row 2: 'X[' is not of the form LABEL",
            "line 13, row 3: 'odd' is neither a token nor a comment",
            "line 15, row 4: there is no '#Text=' above",
        ],
    ),
    "data.pubtator": (
        "1|t|a\n1\t0\t1\ta\tX\n\n2|t|b\n2|a|\n2\t0\t1\tx\tX\n2\t0\t1\tb\tX\nodd\n\n3|t|d\n4\t0\t1\tc\tX\n\n5|t|c\n",
        [
            "line 6, row 1: characters 0 to 1 of the text are 'b', but the annotation says 'x'",
            "line 8, row 1: 'odd' has none of the forms",
            "line 11, row 2: the article 4 has no title above this line",
        ],
    ),
    "data.conllu": (
        CONLLU.format("1\tb" + "\t_" * 7 + "\n"),
        ["\\t_' has 9 columns, not 10"],
    ),
    "entities.csv": (
        'id,tokens,start,end,label\n1,"[""a""]",0,1,X\n2,"[""b""]",0,1,X\n2,"[""b""]",0,2,X\n3,[b],0,1,X\n'
        '2,"[""b""]",3,1,Y\n4,"[""c""]",,,\n',
        [
            "line 4: entity 'X' ends at word 2, but the row has only 1",
            "line 5: 'tokens' is neither a JSON list nor",
            "line 6: entity 'Y' ends at word 1, before its start at word 3",
        ],
    ),
    "texts.csv": (
        "text,entities\na,[]\nb,\nb,[[0]\nc,[]\n",
        ["line 3: 'entities' is empty", "line 4: 'entities' is neither a JSON list nor"],
    ),
    "words.csv": (
        "sentence,word,tag\n1,a,B-X\n2,b,O\n2,,O\n3,b,X\n4,c,O\n",
        ["line 4: '' is not a word", "line 5, row 2: the tag 'X' has no prefix"],
    ),
}

SHARED = {"data.pubtator": 1, "entities.csv": 1}
"""How many messages are about a row that another one is about."""


@pytest.mark.parametrize("name", FILES)
def test_rows_that_are_wrong_are_skipped_or_collected(tmp_path, caplog, name):
    content, messages = FILES[name]
    found = []
    rows = read_text(tmp_path, content, name, errors=found)
    assert [row.get("text", row.get("tokens", [None])[0]) for row in rows] == ["a", "c"]
    assert len(found) == len(messages)
    assert all(message in str(error) for message, error in zip(messages, found, strict=True))
    assert all(str(tmp_path / name) in str(error) for error in found)
    caplog.clear()
    assert read_text(tmp_path, content, name, errors="skip") == rows
    (warning,) = caplog.messages
    number = len(messages) - SHARED.get(name, 0)
    skipped = "1 row is skipped, since it is wrong" if number == 1 else f"{number} rows are skipped, since they are"
    assert f"{name}: {skipped}" in warning
    assert warning.endswith(f"; the first: {found[0]}")
    with pytest.raises((TypeError, ValueError)) as raised:
        read_text(tmp_path, content, name)
    assert all(message in str(raised.value) for message in messages)


def test_documents_that_are_wrong_are_skipped(tmp_path, caplog):
    write_brat(tmp_path / "x", [{"id": name, **GOOD} for name in "abc"])
    (tmp_path / "x" / "a.ann").write_text("T1\tPER 0 9\tAnn\nT2\tPER 0 3\tBob\n")
    (tmp_path / "x" / "b.txt").write_bytes(b"\xff")
    found = []
    assert [row["id"] for row in read_annotations(tmp_path / "x", errors=found)] == ["c"]
    assert [str(error).partition(":")[0].rpartition("/")[2] for error in found] == [
        "a.ann, line 1",
        "a.ann, line 2",
        "b.txt, line 1",
    ]
    assert len(read_annotations(tmp_path / "x", errors="skip")) == 1
    assert "2 rows are skipped" in caplog.text


def test_what_is_wrong_with_the_file_is_raised_after_its_rows(tmp_path):
    with pytest.raises(
        ValueError, match=r"(?s)has 2 errors:.*row 0: the word is empty.*which the scheme of the other tags"
    ):
        read_text(tmp_path, "\tO\n\nb\tE-X\nb\tL-X\n")
    for errors in ("skip", []):
        with pytest.raises(ValueError, match=r"data.conll has no annotated rows: 2 have errors"):
            read_text(tmp_path, "\tO\n\nb\tE-X\nb\tL-X\n", errors=errors)


def test_a_file_of_wrong_rows_alone_is_an_error(tmp_path):
    with pytest.raises(ValueError, match=r"has no annotated rows: 2 have errors \(.*line 1, row 0: entity 'PER' ends"):
        read_lines(tmp_path, LATE, LATE, errors="skip")


def test_other_values_are_refused(tmp_path):
    for function in (read_annotations, lambda path, errors: write_jsonl(path, [], errors=errors)):
        with pytest.raises(
            ValueError, match="errors='collect' must be 'raise', 'skip', or a list to add the errors to"
        ):
            function(tmp_path / "x.jsonl", errors="collect")


@pytest.mark.parametrize("write", [write_jsonl, write_conll, write_brat, write_docbin, write_html])
def test_every_writer_skips_and_collects(tmp_path, caplog, write):
    if write is write_docbin:
        pytest.importorskip("spacy")
    good = {"tokens": ["Ann"], "entities": [entity("PER", 0, 1)]}
    rows = [good, {"tokens": ["Ann"], "entities": [entity("PER", 0, 2)]}, good, {"tokens": 1, "entities": []}]
    found = []
    write(tmp_path / "all", [good, good])
    write(tmp_path / "collected", rows, errors=found)
    write(tmp_path / "skipped", rows, errors="skip")
    assert [str(error).partition(":")[0] for error in found] == ["row 1", "row 3"]
    assert f"2 rows are skipped, since they are wrong; the first: {found[0]}" in caplog.text
    if write is not write_brat:  # its files are named by the numbers of the rows
        contents = {(tmp_path / name).read_bytes() for name in ("all", "collected", "skipped")}
        assert len(contents) == 1 or write is write_docbin
    else:
        assert [file.name for file in sorted((tmp_path / "skipped").glob("*.txt"))] == ["000000.txt", "000002.txt"]


def test_a_file_of_json_that_cannot_be_read_further(tmp_path):
    with pytest.raises(ValueError, match=r"x\.jsonl, line 1 is not JSON: .*digits"):
        read_text(tmp_path, json.dumps({"text": "a", "entities": []})[:-1] + ', "n": ' + "9" * 5000 + "}", "x.jsonl")
