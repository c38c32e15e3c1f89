"""Offsets in UTF-16 units and in bytes are recognized, and read as what they are; right ones are left alone."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from span_marker.core.offsets import convert_offsets
from span_marker.validation import validate
from span_marker.validation.offset_units import UNITS, convert_span, other_reading
from span_marker.validation.report import FIXES, SHIFTED

TEXTS = ["\U0001f600\U0001f600 Annabel went", "\U0001f600 Bob went", "x \U0001f600 Cyd went", "Eve \U0001f600 Zoë went"]
NAMES = ["Annabel", "Bob", "Cyd", "Zoë"]


def rows_in(unit, texts=TEXTS, names=NAMES):
    rows = []
    for text, name in zip(texts, names, strict=True):
        start = text.index(name)
        start, end = convert_offsets(text, [start, start + len(name)], unit)
        rows.append({"text": text, "entities": [{"label": "PER", "start": start, "end": end}]})
    return rows


@pytest.mark.parametrize("unit", ["utf-16", "utf-8"])
def test_offsets_in_another_unit_are_said_and_read(unit):
    wrong = [*rows_in(unit), {"text": "Dan left", "entities": [{"label": "PER", "start": 0, "end": 3}]}]
    report = validate(wrong)
    assert len(report.by_kind(SHIFTED)) == len(NAMES)
    assert f"seem to count {UNITS[unit]}, but" in report.by_kind(SHIFTED)[0].message
    fixed, changes = report.fix(wrong)
    assert fixed == [*rows_in("codepoint"), wrong[-1]]
    assert changes.counts() == {SHIFTED: len(NAMES)}
    assert validate(fixed).problems == ()


@pytest.mark.parametrize("unit", ["utf-16", "utf-8"])
@pytest.mark.parametrize("number", [1, 2])
def test_few_such_offsets_are_left(unit, number):
    wrong = rows_in(unit)[:number]
    report = validate(wrong)
    assert not report.by_kind(SHIFTED)
    fixed, changes = report.fix(wrong, [kind for kind in FIXES if kind != SHIFTED])
    for old, new, right in zip(wrong, fixed, rows_in("codepoint"), strict=False):
        assert new in (old, right)
    assert all(change.message.endswith(f"if start and end count {UNITS[unit]})") for change in changes.left)
    assert len(changes.left) + len(changes.changes) == number
    if unit == "utf-8":
        assert changes.left


def test_offsets_that_count_from_1_are_no_other_unit():
    texts = [*TEXTS[1:], *(f"{name} went" for name in ("Ann Lee", "Dan", "Li", "Mo", "Xu", "Yu"))]
    names = ["Bob", "Cyd", "Zoë", "Ann Lee", "Dan", "Li", "Mo", "Xu", "Yu"]
    right = rows_in("codepoint", texts, names)
    wrong = [
        {**row, "entities": [{"label": "PER", "start": e["start"] + 1, "end": e["end"] + 1} for e in row["entities"]]}
        for row in right
    ]
    report = validate(wrong)
    assert "counted from 1" in report.by_kind(SHIFTED)[0].message
    assert report.fix(wrong)[0] == right


@given(st.lists(st.text("aé東\U0001f600 ", min_size=1, max_size=6), min_size=1, max_size=6), st.data())
def test_offsets_that_are_right_are_no_other_unit(texts, data):
    rows = []
    for text in texts:
        text = f"{text} Ann {text}"
        start = text.index("Ann") if data.draw(st.booleans()) else 0
        end = start + 3 if start else len(text)
        rows.append({"text": text, "entities": [{"label": "PER", "start": start, "end": end}]})
    rows = [row for row in rows if row["text"][0].strip() and row["text"][-1].strip()]
    if rows:
        assert not validate(rows).by_kind(SHIFTED)


@given(st.text("aé東\U0001f600 ", max_size=8), st.integers(-2, 20), st.integers(-2, 20), st.sampled_from(list(UNITS)))
def test_a_span_is_converted_exactly_if_it_can_be(text, start, end, unit):
    starts = convert_offsets(text, range(len(text) + 1), unit)
    span = convert_span(text, start, end, unit)
    if span is not None:
        assert [starts[place] for place in span] == [start, end]
    elif 0 <= start < end and start in starts and end in starts:
        assert text[:end].isascii() or unit == "utf-16"
    reading = other_reading(text, start, end)
    assert reading is None or reading[1] == convert_span(text, start, end, reading[0])
