"""Export: models as ONNX graphs, which run without PyTorch's encoder. See ``docs/export.md``."""

from span_marker.export.onnx import export_onnx
from span_marker.export.verification import ExportReport

__all__ = ["ExportReport", "export_onnx"]
