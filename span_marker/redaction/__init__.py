"""Redaction: replace entities in texts, and restore them."""

from span_marker.redaction.redactor import Redactor, redact
from span_marker.redaction.report import RedactionReport
from span_marker.redaction.results import Redacted, RedactedSpan, RedactionMap, restore

__all__ = ["Redacted", "RedactedSpan", "RedactionMap", "RedactionReport", "Redactor", "redact", "restore"]
