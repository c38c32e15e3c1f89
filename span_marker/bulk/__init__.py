"""Bulk prediction: files in, files out, in one or several processes. Runs can be stopped and resumed at any time."""

from span_marker.bulk.predict_files import BulkReport, predict_files
from span_marker.bulk.reader import Reader
from span_marker.bulk.redact_files import redact_files
from span_marker.core.cpu import available_cpus
from span_marker.prediction.readings import Reading

__all__ = ["BulkReport", "Reader", "Reading", "available_cpus", "predict_files", "redact_files"]
