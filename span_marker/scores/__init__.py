"""Scores: calibration, so that they are probabilities, and thresholds of labels."""

from span_marker.scores.calibration import (
    Bin,
    Calibration,
    CalibrationReport,
    Decisions,
    ScoredCandidates,
    calibration_report,
    decisions,
    expected_calibration_error,
    fit_temperature,
    proposed_entities,
    reliability,
)
from span_marker.scores.thresholds import (
    F1Change,
    Figures,
    OperatingPoint,
    Proposals,
    Scores,
    ThresholdReport,
    choose_thresholds,
    f1_change,
)
from span_marker.scores.tuning import calibrate, score_candidates, tune_thresholds

__all__ = [
    "Bin",
    "Calibration",
    "CalibrationReport",
    "Decisions",
    "F1Change",
    "Figures",
    "OperatingPoint",
    "Proposals",
    "ScoredCandidates",
    "Scores",
    "ThresholdReport",
    "calibrate",
    "calibration_report",
    "choose_thresholds",
    "decisions",
    "expected_calibration_error",
    "f1_change",
    "fit_temperature",
    "proposed_entities",
    "reliability",
    "score_candidates",
    "tune_thresholds",
]
