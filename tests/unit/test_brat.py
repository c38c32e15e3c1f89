"""Standoff files of brat: what is written is read back as the same, and what cannot be read or written is refused."""

from itertools import permutations

import pytest
from annotation_files import (
    LABELS,
    TEXT,
    entity,
    lists_of,
    related,
    related_spans,
    relation,
    round_trip,
    text_rows,
    unique,
    word_rows,
)
from hypothesis import given, settings

from span_marker.data.brat import write_brat
from span_marker.data.files import read_annotations


def brat(folder, text, annotation, name="x"):
    folder.mkdir(exist_ok=True)
    (folder / f"{name}.txt").write_bytes(text.encode())
    (folder / f"{name}.ann").write_bytes(annotation.encode())
    return folder


def test_standoff_is_read(tmp_path, caplog):
    annotation = (
        "T1\tPER 0 3\tAnn\n"
        "#1\tAnnotatorNotes T1\tsure\n"
        "T2\tPER 14 25\tBob in Köln\n"
        "T3\tLOC 14 17;18 25\tBob in Köln\n"
        "T4\tX 0 3;14 17\tAnn Bob\n"
        "A1\tNegation T1\nR1\tmet Arg1:T1 Arg2:T2\n*\tEquiv T1 T2\n\n"
    )
    folder = brat(tmp_path / "docs", TEXT, annotation)
    brat(folder, "a\r\nb", "T1\tX 0 4\ta  b\r\n", "w")
    (folder / "later.txt").write_text("not annotated")
    rows = list(read_annotations(folder))
    assert rows == [
        {"id": "w", "text": "a\r\nb", "entities": [entity("X", 0, 4)], "relations": []},
        {
            "id": "x",
            "text": TEXT,
            "entities": [entity("PER", 0, 3), entity("PER", 14, 25), entity("LOC", 14, 25)],
            "relations": [relation("met", 0, 1), relation("Equiv", 0, 1), relation("Equiv", 1, 0)],
        },
    ]
    assert "x.ann: 1 discontinuous entities cannot be represented and are left out: lines [5]" in caplog.text
    assert "1 texts without an .ann file are left out: ['later.txt']" in caplog.text
    for one in ("x.ann", "x.txt"):
        assert list(read_annotations(folder / one)) == rows[1:]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("T1\tPER 0 3\tBob", r"x\.ann, line 2: characters 0 to 3 of the text are 'Ann', but the annotation says 'Bob'"),
        ("T1\tPER 0 99\tAnn", r"x\.ann, line 2: entity 'PER' ends at character 99, but the row has only 26"),
        ("T1\tPER 3 3\t", r"is empty: it starts and ends at character 3"),
        ("T1 PER 0 3 Ann", r"x\.ann, line 2: .* is not of the form"),
        ("T1\tPER\tAnn", r"is not of the form"),
        ("R1\tmet Arg1:T1 Arg2:T2", r"x\.ann, line 2: the relation 'met' has 'T1', but no line has this ID"),
        (
            "T1\tPER 0 3\tAnn\nT2\tPER 14 17\tBob\nT2\tPER 0 3\tAnn\nR1\tmet Arg1:T1 Arg2:T2",
            r"x\.ann, line 5: the relation 'met' has 'T2', but several lines have this ID",
        ),
        ("R1\tmet T1 T2", r"x\.ann, line 2: .* is neither of the form 'R1<TAB>LABEL Arg1:T1 Arg2:T2' nor"),
        (
            "T1\tPER 0 3\tAnn\nR1\tmet Arg1:T1 Arg2:T1",
            r"x\.ann, line 3: relation 0 \('met'\) has entity 0 as",
        ),
    ],
)
def test_bad_standoff_is_refused(tmp_path, line, message):
    with pytest.raises(ValueError, match=message):
        read_annotations(brat(tmp_path / "docs", TEXT, f"\n{line}\n"))


def test_half_a_document_is_refused(tmp_path):
    (tmp_path / "x.ann").write_text("")
    for path in (tmp_path, tmp_path / "x.ann"):
        with pytest.raises(ValueError, match=r"x\.txt is missing"):
            read_annotations(path)


def test_relations_of_standoff_are_read(tmp_path, caplog):
    annotation = (
        "R1\tmet Arg2:T1 Arg1:T2\t\n"  # relations may stand before their entities
        "T1\tPER 0 3\tAnn\nT2\tPER 14 17\tBob\nT3\tLOC 21 25\tKöln\nT4\tX 0 3;14 17\tAnn Bob\n"
        "R2\tin Who:T1 Where:T3\n"
        "*\tSame T1 T2 T3\n"
        "E1\tMeet:T2 Who:T1\n"
        "R3\tat Arg1:E1 Arg2:T3\nR4\tat Arg1:T4 Arg2:T3\n"
    )
    [row] = read_annotations(brat(tmp_path / "docs", TEXT, annotation))
    assert row["relations"] == [
        relation("met", 1, 0),
        relation("in", 0, 2),
        *(relation("Same", head, tail) for head, tail in permutations(range(3), 2)),
    ]
    assert "2 relations of events and of discontinuous entities are left out: lines [9, 10]" in caplog.text
    assert "1 events are reduced to their triggers, which are read as entities: lines [8]" in caplog.text


@settings(max_examples=30)
def unmarked_rows():
    return text_rows(LABELS).filter(lambda row: not row["text"].startswith("\ufeff"))


@given(lists_of(related(unmarked_rows(), equal_ends=False)))
def test_relations_are_read_back(rows):
    found = round_trip(write_brat, rows, "folder")
    assert [related_spans(row) for row in found] == [related_spans(row) for row in rows]


@settings(max_examples=30)
@given(lists_of(unmarked_rows()))
def test_standoff_is_read_back(rows):
    found = round_trip(write_brat, rows, "folder")
    assert [row["text"] for row in found] == [row["text"] for row in rows]
    assert [unique(row["entities"]) for row in found] == [unique(row["entities"]) for row in rows]


@settings(max_examples=30)
@given(lists_of(word_rows()))
def test_words_are_written_as_text(rows):
    found = round_trip(write_brat, rows, "folder")
    assert [row["text"].split(" ") if row["text"] else [] for row in found] == [row["tokens"] for row in rows]
    for row, text_row in zip(rows, found, strict=True):
        spans = {(e["label"], text_row["text"][e["start"] : e["end"]]) for e in text_row["entities"]}
        assert spans == {(e["label"], " ".join(row["tokens"][e["start"] : e["end"]])) for e in row["entities"]}


@pytest.mark.parametrize("is_counted", [False, True])
@pytest.mark.parametrize("has_copies", [False, True])
def test_a_byte_order_mark_is_no_character_of_a_document(tmp_path, is_counted, has_copies):
    """Whether offsets count it is what the copies of the text say; without any, they do, as in brat."""
    text = "Ann met Bob"
    lines = [
        f"T{i}\tPER {start + is_counted} {start + 3 + is_counted}\t{text[start : start + 3]}"
        for i, start in ((1, 0), (2, 8))
    ]
    lines.append("R1\tmet Arg1:T1 Arg2:T2")
    [row] = read_annotations(brat(tmp_path / "docs", "\ufeff" + text, "\n".join(lines if has_copies else [])))
    assert row.pop("text") == text
    assert row.pop("entities") == ([entity("PER", 0, 3), entity("PER", 8, 11)] if has_copies else [])
    assert row.pop("relations", []) == ([relation("met", 0, 1)] if has_copies else [])


def test_copies_that_fit_neither_reading_of_a_mark_are_refused(tmp_path):
    with pytest.raises(
        ValueError, match="line 1: characters 2 to 5 of the text are 'nn ', but the annotation says 'Ann'"
    ):
        read_annotations(brat(tmp_path / "docs", "\ufeffAnn met Bob", "T1\tPER 2 5\tAnn"))
    with pytest.raises(ValueError, match="line 1: entity 'PER' is empty"):
        read_annotations(brat(tmp_path / "mark", "\ufeffAnn met Bob", "T1\tPER 0 1\t\ufeff"))
    with pytest.raises(ValueError, match=r"row 0 begins with U\+FEFF"):
        write_brat(tmp_path / "x", [{"text": "\ufeffAnn", "entities": []}])


def test_documents_keep_their_names(tmp_path):
    rows = [{"id": name, "text": "a", "entities": []} for name in ("b.c", "a", 7)]
    write_brat(tmp_path / "x", rows)
    assert [row["id"] for row in read_annotations(tmp_path / "x")] == ["7", "a", "b.c"]
    with pytest.raises(FileExistsError, match="already has documents, such as"):
        write_brat(tmp_path / "x", rows)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([{"id": "a/b", "text": "a", "entities": []}], "row 0: the id 'a/b' is not a file name"),
        ([{"id": "..", "text": "a", "entities": []}], "is not a file name"),
        ([{"id": 1, "text": "a", "entities": []}] * 2, "row 1: the id '1' occurs twice"),
        (
            [{"id": "é" * 126, "text": "a", "entities": []}],
            "row 0: the id 'é+.* has 252 bytes, .* at most 251: shorten",
        ),
        (
            [{"id": x, "text": "a", "entities": []} for x in "bBc"],
            "row 1: the id 'B' is the same as 'b' if letter case",
        ),
        ([{"text": "a", "entities": [{"label": "X Y", "start": 0, "end": 1}]}], "the label 'X Y' has white space"),
    ],
)
def test_what_standoff_cannot_hold_is_refused(tmp_path, rows, message):
    with pytest.raises(ValueError, match=message):
        write_brat(tmp_path / "x", rows)
    assert not list(tmp_path.iterdir())


def test_documents_without_relations_have_none_where_others_have_some(tmp_path):
    folder = brat(tmp_path / "docs", "Ann Bob", "T1\tPER 0 3\tAnn\nT2\tPER 4 7\tBob\n", "a")
    assert "relations" not in read_annotations(folder).column_names
    brat(folder, "Ann Bob", "T1\tPER 0 3\tAnn\nT2\tPER 4 7\tBob\nR1\tmet Arg1:T1 Arg2:T2\n", "b")
    assert read_annotations(folder)["relations"][:] == [[], [relation("met", 0, 1)]]
