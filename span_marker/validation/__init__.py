"""Validate annotated data, fix problems, and suggest limits."""

from span_marker.validation.checks import validate
from span_marker.validation.fixes import Change, FixReport
from span_marker.validation.limits import EntityLimit, LimitsReport, TextLimit, suggest_limits
from span_marker.validation.report import Problem, ValidationReport

__all__ = [
    "Change",
    "EntityLimit",
    "FixReport",
    "LimitsReport",
    "Problem",
    "TextLimit",
    "ValidationReport",
    "suggest_limits",
    "validate",
]
