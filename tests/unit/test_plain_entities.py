"""Entities that are read at once are read as one by one."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from span_marker.data import rows
from span_marker.data.plain_entities import read_plain_entities
from span_marker.data.rows import PREDICTED, Row, RowEntity, first_error, read_row

TEXT = "Ann Lee met Zoe\u0308 \U0001f1e9\U0001f1ea."
PLACES = PREDICTED["characters"]


class Name(str):
    """A string of another type."""


odd = st.sampled_from([None, True, 0, 3, 3.0, 2.5, -1, 99, "", "O", " O", "PER", Name("PER"), ["PER"], float("nan")])
labels = st.sampled_from(["PER", "ORG"]) | odd
numbers = st.integers(-1, len(TEXT) + 1) | odd
scores = st.floats() | odd


@st.composite
def dicts(draw):
    """Entities, mostly right, with mostly the same keys; a copy is mostly that of their place."""
    keys = draw(st.sampled_from([("start", "end"), PLACES]))
    more = draw(st.sets(st.sampled_from(["score", "span", "text", "name", "start", "end", "char_start_index"])))
    entities = []
    for _ in range(draw(st.integers(0, 5))):
        start, end = sorted(draw(st.tuples(*[st.integers(0, len(TEXT))] * 2)))
        entity = {"label": draw(labels), keys[0]: start, keys[1]: end}
        copy = TEXT[start:end]
        for key in sorted(more):
            usual = draw(st.floats(0, 1)) if key == "score" else copy
            entity.setdefault(key, usual)
        if draw(st.integers(0, 9)) == 0:
            entity[draw(st.sampled_from([*entity]))] = draw(labels | numbers | scores)
        if draw(st.integers(0, 9)) == 0:
            del entity[draw(st.sampled_from([*entity]))]
        entities.append(entity)
    return entities


def one_by_one(*arguments):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rows, "read_plain_entities", lambda *_: None)
        return read_row(*arguments)


def as_strings(row, problems):
    """Compared as strings, since NaN is not equal to itself."""
    return repr(row), [repr(problem) for problem in problems]


@given(dicts(), st.sampled_from([TEXT, TEXT[:11], "A" * len(TEXT)]))
@example([{"label": "PER", "start": 12, "end": 15}], TEXT)
@example([{"label": "PER", "start": 0, "end": 3, "span": "Bob"}], TEXT)
def test_all_at_once_is_one_by_one(entities, text):
    assert as_strings(*read_row("text", text, entities, "it")) == as_strings(*one_by_one("text", text, entities, "it"))
    columns = read_plain_entities(text, entities, PLACES)
    if columns is not None:
        read = first_error(*one_by_one("text", text, entities, "it")).entities
        assert repr(read) == repr(list(map(RowEntity, *columns[:4])))
        assert columns.parts == [text[entity.start : entity.end] for entity in read]


def test_what_is_plain_is_read_at_once(monkeypatch):
    monkeypatch.setattr(rows, "check_entity", None)
    entities = [
        {"label": "PER", "span": "Ann Lee", "score": 0.5, "char_start_index": 0, "char_end_index": 7},
        {"label": "ORG", "span": "Zoe", "score": 0.5, "char_start_index": 12, "char_end_index": 15},
    ]
    expected = [RowEntity("PER", 0, 7, 0.5), RowEntity("ORG", 12, 16, 0.5)]
    assert read_row("text", TEXT, entities, "it") == (Row("text", TEXT, expected), [])


@pytest.mark.parametrize(
    "change",
    [{"label": "O"}, {"label": 1}, {"start": True}, {"end": 8.0}, {"end": 99}, {"start": -1}, {"start": 7}]
    + [{"score": 1}, {"span": "Ann"}, {"span": None}, {"text": "Ann Lee"}],
)
def test_what_may_be_wrong_is_not(change):
    usual = {"label": "PER", "start": 0, "end": 7, "span": "Ann Lee", "score": 0.5}
    assert read_plain_entities(TEXT, [usual, usual], PLACES) is not None
    assert read_plain_entities(TEXT, [usual, {**usual, **change}], PLACES) is None
    assert read_plain_entities(TEXT, [usual, {"label": "PER", "start": 0}], PLACES) is None


def test_relations_count_entities_that_were_read_at_once():
    entities = [{"label": "PER", "start": 0, "end": 3}, {"label": "PER", "start": 4, "end": 7}]
    relations = [{"label": "knows", "head": 1, "tail": 0}]
    row, problems = read_row("text", "Ann Bob", entities, "it", relations)
    assert (row, problems) == one_by_one("text", "Ann Bob", entities, "it", relations)
    assert row.relations[0][1:3] == (1, 0)
