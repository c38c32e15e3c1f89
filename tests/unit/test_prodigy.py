"""Prodigy's records with relations: ends are found by their spans or last tokens, and nothing is lost in silence."""

import pytest
from annotation_files import entity, read_lines, relation

TEXT = "Ann Lee runs Acme"
SPANS = [
    {"start": 0, "end": 7, "token_start": 0, "token_end": 1, "label": "PER"},
    {"start": 13, "end": 17, "token_start": 3, "token_end": 3, "label": "ORG"},
]
VERB = {"start": 8, "end": 12, "token_start": 2, "token_end": 2, "label": None}


def record(*relations, spans=SPANS):
    return {"text": TEXT, "spans": list(spans), "relations": list(relations), "answer": "accept"}


def between(head, child, **more):
    """A relation as ``rel.manual`` writes it."""
    ends = {"head": head["token_end"], "child": child["token_end"], "head_span": head, "child_span": child}
    return {**ends, "label": "runs", "color": "#c5bdf4", **more}


def test_ends_are_spans_or_tokens(tmp_path, caplog):
    by_span, by_token = between(*SPANS), {"head": 3, "child": 1, "label": "of"}
    [row] = read_lines(tmp_path, record(by_span, by_token))
    assert row["entities"] == [entity("PER", 0, 7), entity("ORG", 13, 17)]
    assert row["relations"] == [relation("runs", 0, 1), relation("of", 1, 0)]
    assert not caplog.text


def test_labels_tell_entities_of_the_same_words_apart(tmp_path):
    doubled = [*SPANS, {**SPANS[1], "label": "LOC"}]
    [row] = read_lines(tmp_path, record(between(SPANS[0], doubled[2]), spans=doubled))
    assert row["relations"] == [relation("runs", 0, 2)]
    with pytest.raises(ValueError, match=r"row 0: relation 0 \('x'\), the child may be any of the entities \[1, 2\]"):
        read_lines(tmp_path, record({"head": 1, "child": 3, "label": "x"}, spans=doubled))


def test_relations_of_tokens_that_are_no_entities_are_named(tmp_path, caplog):
    [row] = read_lines(tmp_path, record(between(*SPANS), between(SPANS[0], VERB)))
    assert row["relations"] == [relation("runs", 0, 1)]
    assert "'relations between tokens that are not entities' in 1 (line 1)" in caplog.text


def test_a_record_without_relations_has_no_column_of_them(tmp_path):
    [row] = read_lines(tmp_path, record())
    assert list(row) == ["text", "entities"]


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"child": 3, "label": "x"}, r"relation 0 \('x'\), the head is missing"),
        (between(*SPANS, label=None), "has no 'label'"),
        (between(SPANS[0], SPANS[0]), "has entity 0 as 'head' and as 'tail'"),
    ],
)
def test_a_relation_that_cannot_be_is_refused(tmp_path, wrong, message):
    with pytest.raises(ValueError, match=message):
        read_lines(tmp_path, record(wrong))
