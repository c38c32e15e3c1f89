import dataclasses
import datetime
import json
import math
import pkgutil
from collections import Counter
from importlib import import_module

import numpy as np
import pytest
from datasets import Dataset
from hypothesis import given
from hypothesis import strategies as st
from reports import DATA, report_on
from tiny import build_model, build_tokenizer

import span_marker
from span_marker.bulk.measuring import Pace, PaceReport
from span_marker.core.json_values import json_value
from span_marker.core.labels import LabelledSpan
from span_marker.core.tables import TextReport
from span_marker.core.tolerance import FilterPoint, FilterReport
from span_marker.curation import LabelErrorReport, find_label_errors
from span_marker.curation.agreement import AgreementReport, compare_annotators
from span_marker.error_analysis.analyze import analyze_predictions
from span_marker.error_analysis.comparison import Comparison, compare_reports
from span_marker.error_analysis.relation_report import RelationErrors
from span_marker.error_analysis.report import ErrorReport
from span_marker.export import ExportReport, QuantizationReport, Recommendation, recommend
from span_marker.prediction.explanation import Explanation
from span_marker.redaction import RedactionReport
from span_marker.scores.calibration import Calibration, CalibrationReport
from span_marker.scores.thresholds import Figures, OperatingPoint, Scores, ThresholdReport
from span_marker.training.cross_validation_report import CrossValidationReport
from span_marker.validation.checks import validate
from span_marker.validation.fixes import FixReport
from span_marker.validation.limits import LimitsReport, suggest_limits
from span_marker.validation.report import ValidationReport

GOLD = LabelledSpan("X", 0, 1)
ROWS = [{"text": "Ann went", "entities": [{"label": "PER", "start": 0, "end": 5}], "id": 7}]

ENDS = [{"label": "PER", "start": place, "end": place + 1} for place in (0, 1)]
RELATED = {"tokens": ["Ann", "Bo"], "entities": ENDS, "relations": [{"label": "knows", "head": 0, "tail": 1}]}


def cross_validation_report():
    gold = [(["Ann", "Lee"], [LabelledSpan("PER", 0, 2)])] * 2
    rows = [{"tokens": ["Ann", "Lee"], "entities": [], "seen": datetime.datetime(2020, 1, 2)} for _ in gold]
    return CrossValidationReport.from_predictions(gold, rows, [0, 1])


def threshold_report():
    scores = Scores(0.5, 0.5, 0.5)
    point = OperatingPoint(0.5, 1.0, 1.0, 1.0, True)
    return ThresholdReport({"X": point}, {"X": 1}, {"X": Figures(scores, scores, None)}, scores, scores, None, None)


POINT = FilterPoint(0.9, -1.5, 1.0, 0.25)
NO_ENTITY = Calibration(math.nan, math.nan, math.nan, 0.5, math.nan)
REPORTS = {
    AgreementReport: lambda: compare_annotators(ROWS, [{**ROWS[0], "entities": []}]),
    CalibrationReport: lambda: CalibrationReport(1.5, (1.0, 2.0), 3, 0, math.nan, NO_ENTITY, NO_ENTITY),
    Comparison: lambda: compare_reports(report_on([([GOLD], [GOLD])]), report_on([([GOLD], [])]), num_resamples=5),
    CrossValidationReport: cross_validation_report,
    ErrorReport: lambda: report_on([([GOLD], [GOLD])], unreachable={"too-long": 0}),
    Explanation: lambda: build_model().explain("Ann went", (0, 3)),
    ExportReport: lambda: ExportReport(3, 9, 2, 1e-7, ("filtered", "all"), 1e-8, 0, "float32"),
    FixReport: lambda: validate(Dataset.from_list(ROWS)).fix(Dataset.from_list(ROWS))[1],
    PaceReport: lambda: PaceReport((Pace(1, 2.0, 3.0, 4.0),), 5, 6.0, "cpu", 1),
    LabelErrorReport: lambda: find_label_errors(ROWS, [[]]),
    LimitsReport: lambda: suggest_limits(DATA, build_tokenizer("wordpiece")),
    QuantizationReport: lambda: QuantizationReport(3, 2, 2, 1, 1, 0.25, (4096, 1024), "static", (8, 1)),
    Recommendation: recommend,
    RedactionReport: lambda: RedactionReport("numbered", 1, 9, 3, 1, {"PER": 1}, {"PER": 1}),
    RelationErrors: lambda: analyze_predictions([RELATED], [RELATED], num_resamples=5).relations,
    FilterReport: lambda: FilterReport((POINT,), POINT, 5, 9),
    ThresholdReport: threshold_report,
    ValidationReport: lambda: validate(Dataset.from_list(ROWS)),
}
"""One of each type of report."""


def subclasses(cls):
    return {cls}.union(*map(subclasses, cls.__subclasses__()))


def test_all_types_of_reports_are_here():
    for module in pkgutil.walk_packages(span_marker.__path__, "span_marker."):
        import_module(module.name)
    ours = {cls for cls in subclasses(TextReport) - {TextReport} if cls.__module__.startswith("span_marker.")}
    assert ours == set(REPORTS)


@pytest.mark.parametrize("kind", REPORTS, ids=lambda kind: kind.__name__)
def test_every_report_is_a_dict_of_its_attributes_that_json_can_hold(kind):
    report = REPORTS[kind]()
    values = report.to_dict()
    assert list(values) == [field.name for field in dataclasses.fields(kind)]
    assert json.loads(json.dumps(values, allow_nan=False)) == values
    assert values == report.to_dict()


def test_figures_and_problems_are_found_under_their_names():
    errors = REPORTS[ErrorReport]().to_dict()
    assert errors["measures"]["strict"]["f1"]["value"] == 1.0
    assert errors["sentences"][0]["outcomes"] == [
        {"kind": "correct", "gold": GOLD._asdict(), "predicted": GOLD._asdict()}
    ]
    assert errors["confusion"] == [[1, 0], [0, 0]]
    assert errors["date"] == datetime.date.today().isoformat()
    assert REPORTS[CalibrationReport]().to_dict()["before"]["ece"] is None
    assert REPORTS[CrossValidationReport]().to_dict()["rows"][0]["seen"] == "2020-01-02T00:00:00"
    [problem] = REPORTS[ValidationReport]().to_dict()["problems"]
    assert (problem["kind"], problem["id"], problem["replacement"]) == ("partial-word", 7, [0, 3])


PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text() | st.floats(allow_nan=False, allow_infinity=False),
    lambda values: st.lists(values) | st.dictionaries(st.text(), values),
    max_leaves=10,
)


@given(PLAIN)
def test_what_json_has_stays_as_it_is(value):
    assert json_value(value) == value


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (np.float32(0.5), 0.5),
        (np.array([[1, 2]]), [[1, 2]]),
        (np.array([math.nan, 1.0]), [None, 1.0]),
        (np.bool_(True), True),
        (-math.inf, None),
        (Counter({3: 1}), {"3": 1}),
        ((1, frozenset({2})), [1, [2]]),
        (GOLD, {"label": "X", "start": 0, "end": 1}),
    ],
)
def test_other_values_become_what_json_has(value, expected):
    found = json_value(value)
    assert found == expected
    assert type(found) is type(expected)


@pytest.mark.parametrize("value", [b"x", {"a": [object()]}, 1j])
def test_what_json_cannot_hold_is_refused(value):
    with pytest.raises(TypeError, match="cannot be represented in JSON"):
        json_value(value)
