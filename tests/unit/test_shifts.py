"""Offsets that are wrong throughout are recognized, and moved back exactly; right ones are left alone."""

import re
import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from span_marker.validation import validate
from span_marker.validation.shifts import MIN_NUMBER, SHIFTS

TEXT = unicodedata.normalize("NFD", "Ann Lee (Zoë) flew from São Paulo to X with PixelPad 7, by García Inc.")
NAMES = [
    unicodedata.normalize("NFD", name) for name in ("Ann Lee", "Zoë", "São Paulo", "X", "PixelPad 7", "García Inc.")
]


def entity(start, end, label="PER"):
    return {"label": label, "start": start, "end": end}


def texts(move=(0, 0), names=NAMES):
    """Rows of one entity each, with offsets that are moved."""
    rows = []
    for number, name in enumerate(names):
        start = TEXT.index(name) + len(f"{number} ")
        places = entity(start + move[0], start + len(name) + move[1])
        rows.append({"text": f"{number} {TEXT}", "entities": [places]})
    return rows


@pytest.mark.parametrize("shift", SHIFTS)
def test_offsets_that_are_wrong_throughout_are_moved_back(shift):
    wrong = texts((-shift[0], -shift[1]))
    report = validate(wrong)
    problems = report.by_kind("shifted-offsets")
    assert len(problems) == len(wrong)
    assert SHIFTS[shift] in problems[0].message
    assert re.search(rf"\(\d of {len(wrong)} entities\)", problems[0].message)
    fixed, changes = report.fix(wrong)
    assert fixed == texts()
    assert changes.counts() == {"shifted-offsets": len(wrong)}
    assert validate(fixed).problems == ()


def test_words_with_inclusive_ends_are_moved_back():
    wrong = [{"tokens": [str(row), "saw", "Ann", "Lee"], "entities": [entity(0, 0), entity(2, 3)]} for row in range(3)]
    report = validate(wrong)
    assert report.counts() == {"malformed-entity": 3, "shifted-offsets": 6}
    fixed, _ = report.fix(wrong)
    assert [row["entities"] for row in fixed] == [[entity(0, 1), entity(2, 4)]] * 3
    assert validate(fixed).problems == ()


def test_words_with_ends_that_are_too_large_are_moved_back():
    wrong = [{"tokens": [str(row), "saw", "Ann"], "entities": [entity(0, 2), entity(2, 4)]} for row in range(3)]
    report = validate(wrong)
    assert report.counts() == {"malformed-entity": 3, "shifted-offsets": 6}
    fixed, _ = report.fix(wrong)
    assert [row["entities"] for row in fixed] == [[entity(0, 1), entity(2, 3)]] * 3
    single = [{**row, "entities": [entity(0, 1), entity(2, 4)]} for row in wrong]
    assert validate(single).counts() == {"malformed-entity": 3}, "an entity of one word would have none"


def test_white_space_at_ends_alone_is_no_sign():
    """It costs nothing, and people who annotate by hand leave it."""
    blank = [name for name in NAMES if TEXT[TEXT.index(name) + len(name) :].startswith(" ")]
    rest = [name for name in NAMES if name not in blank]
    assert validate(texts((0, 1), blank)).counts() == {"outer-whitespace": len(blank)}
    right = texts(names=[*blank * 2, *rest])[2 * len(blank) :]
    assert validate([*texts((0, 1), blank * 2), *right]).counts() == {"outer-whitespace": 2 * len(blank)}


def test_an_entity_that_cannot_be_moved_or_would_be_worse_stays():
    """Until the data is validated again: what else is wrong was measured at wrong places."""
    others = [{"text": "right: Ann went", "entities": [entity(7, 10)]}, {"text": "to Anna", "entities": [entity(4, 7)]}]
    wrong = [*texts((0, -1), NAMES * 2), *others]
    report = validate(wrong)
    assert (len(wrong) - 1, "partial-word") in {(problem.row, problem.kind) for problem in report.problems}
    fixed, _ = report.fix(wrong)
    right = texts(names=NAMES * 2)
    assert fixed == [*right, *others]
    assert validate(fixed).fix(fixed)[0] == [*right, others[0], {"text": "to Anna", "entities": [entity(3, 7)]}]


@pytest.mark.parametrize("number", range(1, len(NAMES)))
def test_single_mistakes_are_no_sign(number):
    rows = [*texts((0, -1), NAMES[:number]), *texts((0, 0), NAMES[number:])]
    is_sign = number >= max(MIN_NUMBER, 0.7 * len(NAMES))
    assert bool(validate(rows).by_kind("shifted-offsets")) == is_sign


def test_without_the_kind_ends_of_words_decide():
    wrong = texts((0, -1), [NAMES[0], NAMES[2], NAMES[4]])
    fixed, changes = validate(wrong).fix(wrong, kinds=["partial-word", "outer-whitespace"])
    names = [row["text"][row["entities"][0]["start"] : row["entities"][0]["end"]] for row in fixed]
    assert [unicodedata.normalize("NFC", name) for name in names] == ["Ann Lee", "São Paulo", "PixelPad"]
    assert changes.counts() == {"partial-word": 2, "outer-whitespace": 1}


@given(st.lists(st.lists(st.text("ab1é.", min_size=1, max_size=4), min_size=1, max_size=5), max_size=5), st.data())
@settings(max_examples=60)
def test_right_offsets_are_never_moved(sentences, data):
    rows = []
    for words in sentences:
        first = data.draw(st.integers(0, len(words) - 1))
        last = data.draw(st.integers(first, len(words) - 1))
        start = sum(len(word) + 1 for word in words[:first])
        end = start + len(" ".join(words[first : last + 1]))
        rows.append({"text": " ".join(words), "entities": [entity(start, end)]})
    if rows:
        report = validate(rows)
        assert not report.by_kind("shifted-offsets")
        assert not report.by_kind("partial-word")
