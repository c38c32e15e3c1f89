"""Error analysis: the errors of a model, confidence intervals of its metrics, and comparison of two systems."""

from span_marker.error_analysis.analyze import analyse_errors, analyse_predictions, analyze_errors, analyze_predictions
from span_marker.error_analysis.bootstrap import Difference, Differences, Estimate, Figures
from span_marker.error_analysis.comparison import Comparison, compare_reports
from span_marker.error_analysis.examples import Example
from span_marker.error_analysis.matching import JudgedSentence, Outcome, match
from span_marker.error_analysis.relation_matching import RelationOutcome, match_relations
from span_marker.error_analysis.relation_report import RelationErrors
from span_marker.error_analysis.report import ErrorReport

__all__ = [
    "Comparison",
    "Difference",
    "Differences",
    "ErrorReport",
    "Estimate",
    "Example",
    "Figures",
    "JudgedSentence",
    "Outcome",
    "RelationErrors",
    "RelationOutcome",
    "analyse_errors",
    "analyse_predictions",
    "analyze_errors",
    "analyze_predictions",
    "compare_reports",
    "match",
    "match_relations",
]
