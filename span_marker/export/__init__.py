"""Export models to ONNX graphs, which run without PyTorch's encoder. See ``docs/export.md``."""

from span_marker.export.onnx import export_onnx, export_openvino
from span_marker.export.quantization import quantize
from span_marker.export.quantization_report import QuantizationReport
from span_marker.export.recommendation import Recommendation, recommend
from span_marker.export.verification import ExportReport, compare_models

__all__ = [
    "ExportReport",
    "QuantizationReport",
    "Recommendation",
    "compare_models",
    "export_onnx",
    "export_openvino",
    "quantize",
    "recommend",
]
