"""Curation: improving annotated data. See ``docs/curation.md``."""

from span_marker.curation.agreement import AgreementReport, compare_annotators
from span_marker.curation.label_error_report import LabelErrorReport
from span_marker.curation.label_errors import ALL_SPANS, find_label_errors
from span_marker.curation.suggestions import Suggestion, suggest_annotations
from span_marker.curation.suspects import Suspect

__all__ = [
    "ALL_SPANS",
    "AgreementReport",
    "LabelErrorReport",
    "Suggestion",
    "Suspect",
    "compare_annotators",
    "find_label_errors",
    "suggest_annotations",
]
