"""Scores: calibration, so that they are probabilities, and thresholds of labels."""

from span_marker.scores.calibration import (
    Bin,
    Calibration,
    CalibrationReport,
    Decisions,
    calibration_report,
    chance_calibration_error,
    decisions,
    expected_calibration_error,
    reliability,
)
from span_marker.scores.temperature import (
    ScoredCandidates,
    decisions_needed,
    fit_temperature,
    proposed_entities,
    temperature_error,
    temperature_interval,
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
    "chance_calibration_error",
    "choose_thresholds",
    "decisions",
    "decisions_needed",
    "expected_calibration_error",
    "f1_change",
    "fit_temperature",
    "proposed_entities",
    "reliability",
    "score_candidates",
    "temperature_error",
    "temperature_interval",
    "tune_thresholds",
]
