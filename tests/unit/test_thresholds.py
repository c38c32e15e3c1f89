import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from span_marker.scores.thresholds import UNTUNED_THRESHOLD, OperatingPoint, Scores, ThresholdReport, tune_threshold

# Few different scores, so that ties are common, and neighboring numbers, which have no middle.
SCORES = np.array(
    [0.0, 1e-45, 0.25, np.nextafter(np.float32(0.25), np.float32(1)), 0.5, 0.9, 1.0], dtype=np.float32
).tolist()
PROPOSALS = st.lists(st.tuples(st.sampled_from(SCORES) | st.floats(0, 1, width=32), st.booleans()), max_size=12)


def kept_at(scores, threshold):
    return frozenset(np.flatnonzero(np.array(scores, dtype=np.float32) >= np.float32(threshold)).tolist())


def figures(kept, is_right, num_gold):
    right = sum(is_right[index] for index in kept)
    precision, recall = Fraction(right, len(kept)), Fraction(right, num_gold)
    return precision, recall, Fraction(2 * right, len(kept) + num_gold)


@settings(max_examples=300)
@given(PROPOSALS, st.integers(0, 5), st.none() | st.sampled_from([0.1, 0.5, 2 / 3, 0.9, 1.0]))
def test_no_threshold_is_better(proposals, num_missed, wanted):
    scores, is_right = [row[0] for row in proposals], [row[1] for row in proposals]
    num_gold = sum(is_right) + num_missed
    point = tune_threshold(scores, is_right, num_gold, wanted)
    if not any(is_right):
        assert point == OperatingPoint(UNTUNED_THRESHOLD, 0.0, 0.0, 0.0, False)
        return
    # What each possible threshold keeps, the highest threshold first.
    choices = [kept_at(scores, score) for score in sorted(set(scores), reverse=True)]
    all_figures = [figures(kept, is_right, num_gold) for kept in choices]
    if wanted is None:
        best, reached = max(range(len(choices)), key=lambda i: (all_figures[i][2], -i)), True
    else:
        enough = [i for i, found in enumerate(all_figures) if float(found[0]) >= wanted]
        reached = bool(enough)
        if reached:
            best = max(enough, key=lambda i: (all_figures[i][1], -i))
        else:
            best = max(range(len(choices)), key=lambda i: all_figures[i][:2])
    assert kept_at(scores, point.threshold) == choices[best]
    assert point[1:4] == pytest.approx([float(number) for number in all_figures[best]], rel=1e-12)
    assert point.reached == reached


@given(PROPOSALS.filter(lambda rows: any(right for _, right in rows)))
def test_a_threshold_lies_halfway(proposals):
    scores, is_right = [row[0] for row in proposals], [row[1] for row in proposals]
    threshold = tune_threshold(scores, is_right, sum(is_right)).threshold
    assert threshold == float(np.float32(threshold))
    kept = kept_at(scores, threshold)
    last = min(scores[index] for index in kept)
    following = max((score for index, score in enumerate(scores) if index not in kept), default=0.0)
    middle = float(np.float32((last + following) / 2))
    assert threshold == (middle if middle > following else last)


def test_the_floor_takes_the_place_of_what_is_dropped():
    assert tune_threshold([0.75], [True], 1, floor=0.25).threshold == 0.5
    assert tune_threshold([0.25], [True], 1, floor=0.25).threshold == 0.25
    assert tune_threshold([0.75, 0.625], [True, False], 1, floor=0.25).threshold == 0.6875
    assert tune_threshold([0.1], [True], 1, floor=0.1).threshold == float(np.float32(0.1))


def test_more_recall_is_no_reason_to_keep_more_that_is_wrong():
    point = tune_threshold([0.875, 0.75, 0.5], [True, True, False], 2, precision=0.5)
    assert point == OperatingPoint(0.625, 1.0, 1.0, 1.0, True)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([0.5, math.nan], [True, False], 1), "scores must be from 0 to 1, but one is nan"),
        (([0.5, -0.5], [True, False], 1), "scores must be from 0 to 1, but one is -0.5"),
        (([0.5], [True, False], 1), "must have one dimension and equal length"),
        (([0.5, 0.5], [True, True], 1), "num_gold=1 must not be below the 2 proposals that are right"),
        (([0.5], [True], 1, 0.0), "precision=0.0 must be above 0 and at most 1"),
        (([0.5], [True], 1, 1.5), "precision=1.5 must be above 0 and at most 1"),
        (([0.5], [True], 1, None, 0.75), "floor=0.75 must not be above any score, but one is 0.5"),
    ],
)
def test_bad_proposals(arguments, message):
    with pytest.raises(ValueError, match=message):
        tune_threshold(*arguments)


def test_a_report_of_thresholds():
    report = ThresholdReport(
        points={"PER": OperatingPoint(0.25, 0.5, 1.0, 2 / 3, True), "LOC": OperatingPoint(0.5, 0.0, 0.0, 0.0, False)},
        num_gold={"PER": 1200, "LOC": 7},
        before=Scores(0.5, 0.25, 1 / 3),
        after=Scores(0.5, 0.5, 0.5),
    )
    assert report.thresholds == {"PER": 0.25, "LOC": 0.5}
    header, *rows = str(report).splitlines()
    assert header.split() == ["threshold", "precision", "recall", "f1", "gold"]
    assert [row.split() for row in rows] == [
        ["PER", "0.2500", "0.5000", "1.0000", "0.6667", "1,200"],
        ["LOC", "0.5000", "0.0000", "0.0000", "0.0000", "7", "not", "reached"],
        ["all,", "before", "0.5000", "0.2500", "0.3333", "1,207"],
        ["all,", "after", "0.5000", "0.5000", "0.5000", "1,207"],
    ]
    assert (
        len({row.index(end) + len(end) for row, end in zip(rows, ["1,200", "  7", "1,207", "1,207"], strict=True)}) == 1
    )
