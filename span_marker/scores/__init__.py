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
from span_marker.scores.thresholds import OperatingPoint, Scores, ThresholdReport, tune_threshold
from span_marker.scores.tuning import calibrate, score_candidates, tune_thresholds

__all__ = [
    "Bin",
    "Calibration",
    "CalibrationReport",
    "Decisions",
    "OperatingPoint",
    "ScoredCandidates",
    "Scores",
    "ThresholdReport",
    "calibrate",
    "calibration_report",
    "decisions",
    "expected_calibration_error",
    "fit_temperature",
    "proposed_entities",
    "reliability",
    "score_candidates",
    "tune_threshold",
    "tune_thresholds",
]
