"""Two systems on the same data."""

import re

import pytest
from datasets import Dataset
from hypothesis import given
from hypothesis import strategies as st
from reports import DATA, entities, few, report_on, sentences

from span_marker.core.labels import LabelledSpan
from span_marker.error_analysis.analyze import analyze_predictions
from span_marker.error_analysis.comparison import compare_reports


@given(sentences)
@few
def test_a_system_is_no_better_than_itself(pairs):
    report = report_on(pairs)
    same = report_on([(gold[::-1], predicted[::-1]) for gold, predicted in pairs])
    comparison = compare_reports(report, same, num_resamples=20)
    for of in (comparison.overall, *comparison.labels.values()):
        for figure in of:
            assert (figure.difference, figure.p_value) == ((0, 0, 0, 0), 1)
    assert comparison.num_both == report.kinds["correct"]
    assert comparison.num_neither == report.overall.num_gold - report.kinds["correct"]
    assert comparison.num_first_only == comparison.num_second_only == 0


@given(st.lists(st.tuples(entities, entities, entities), min_size=1, max_size=5))
@few
def test_swapping_systems_turns_the_difference_round(rows):
    first, second = (report_on([(row[0], row[place]) for row in rows]) for place in (1, 2))
    options = {"num_resamples": 50}
    one, other = compare_reports(first, second, **options), compare_reports(second, first, **options)
    for ones, others in zip((one.overall, *one.labels.values()), (other.overall, *other.labels.values()), strict=True):
        for figure, turned in zip(ones, others, strict=True):
            value, low, high, error = turned.difference
            assert figure.difference == pytest.approx((-value, -high, -low, error), abs=1e-9)
            assert figure.p_value == turned.p_value
    assert one.overall.f1.first == first.overall.f1.value
    assert one.overall.f1.second == second.overall.f1.value
    found = [{(i, s) for i, row in enumerate(rows) for s in set(row[0]) & set(row[place])} for place in (1, 2)]
    assert one.num_first_only == other.num_second_only == len(found[0] - found[1])
    assert (one.num_both, one.num_second_only) == (len(found[0] & found[1]), len(found[1] - found[0]))
    assert one.num_neither == sum(len(row[0]) for row in rows) - len(found[0] | found[1])


def test_the_comparison_in_figures():
    gold = [LabelledSpan("PER", 0, 2), LabelledSpan("LOC", 4, 5)]
    first, second = report_on([(gold, [gold[0]])] * 3), report_on([(gold, gold)] * 3)
    table = [re.sub(" +", " ", line) for line in str(compare_reports(first, second, num_resamples=99)).splitlines()]
    assert table[0] == "95% intervals and p-values from 99 resamples of the 3 sentences"
    assert "recall 0.5000 1.0000 +0.5000 [+0.5000, +0.5000] 0.0100" in table
    assert "precision 1.0000 1.0000 +0.0000 [+0.0000, +0.0000] 1.0000" in table
    assert "f1 of LOC 0.0000 1.0000 +1.0000 [+1.0000, +1.0000] 0.0100" in table
    assert table[-1] == "gold entities found by both: 3; by the first alone: 0; by the second alone: 3; by neither: 0"


def test_only_reports_on_the_same_data_are_compared():
    report = analyze_predictions(DATA, [[]])
    with pytest.raises(TypeError, match="compare_reports needs two reports of analyze_errors, not a dict"):
        compare_reports(report, {})
    with pytest.raises(ValueError, match="the reports are on 1 and 2 sentences: analyze the same data"):
        compare_reports(report, analyze_predictions(DATA.select([0, 0]), [[], []]))
    others = (
        Dataset.from_list([{"tokens": ["Ann", "Lee"], "entities": [{"label": "PER", "start": 0, "end": 1}]}]),
        Dataset.from_list([{"tokens": ["Ann", "Loe"], "entities": [{"label": "PER", "start": 0, "end": 2}]}]),
    )
    for other in others:
        with pytest.raises(ValueError, match="row 0 of the annotated data in the first report and row 0 .* different"):
            compare_reports(report, analyze_predictions(other, [[]]))
