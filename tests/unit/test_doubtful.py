"""What a malformed entity may mean decides whether fixes leave it to a human."""

import pytest

from span_marker.validation.doubtful import reason_to_stay
from span_marker.validation.report import RowPlace


def reason(entity, kind="malformed-entity", length=5):
    bounds = (entity.get("start"), entity.get("end")) if isinstance(entity, dict) else (None, None)
    return reason_to_stay(RowPlace("train", 0, "words").problem(kind, "x", 0), entity, ["w"] * length, bounds)


def entity(start, end, label="PER", **others):
    return {"label": label, "start": start, "end": end, **others}


@pytest.mark.parametrize(
    "value",
    [
        None,
        float("nan"),
        {},
        (),
        entity(None, 3),
        entity(0, 3, None),
        entity(0, 3, "O"),
        entity(0, 3, " "),
        entity(0, 30),
        entity(6, 6),
        entity(-1, 2),
        entity(-1, -1),
        entity(None, None, None, score=0.5, line=3),
    ],
)
def test_what_has_no_meaning_is_dropped(value):
    assert reason(value) is None


@pytest.mark.parametrize(
    ("value", "meaning"),
    [
        ((0, 3, "PER"), "it may be an entity in another form"),
        ("Ann", "it may be an entity in another form"),
        (entity(2, 2), "its end may be inclusive"),
        (entity(3, 2), "start and end may be swapped, or the end may be a length"),
        (entity(3, 6), "its offsets may count from 1"),
        (entity(0, 3, 7), "its label may be the number of a label"),
        (entity("0", 3), "its start or its end is not a whole number"),
        (entity(0, 3, score="high"), "its place can be read"),
        (entity(0, 3, span=["other"]), "its place can be read"),
        ({"type": "PER", "start": 0, "end": 3}, "['type'] may hold what is missing"),
    ],
)
def test_what_may_have_a_meaning_stays(value, meaning):
    assert reason(value) == meaning


def test_other_problems_need_no_decision():
    assert reason(entity(2, 3), "repeated-entity") is None
    assert reason(entity(2, 3), "partial-word") == "it is unclear which words are meant"
