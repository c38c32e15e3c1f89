"""Integrations: ``transformers`` pipelines, spaCy, Presidio, MCP, Ray Data, Spark, Inference Endpoints.

Import those for Haystack, LangChain and LlamaIndex from the modules of these names, where saved pipelines find them.

Each name is imported on first use (PEP 562), because frameworks are slow to import and may not be installed.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from span_marker.integrations.pipeline import SpanMarkerPipeline
    from span_marker.integrations.ray import predict_dataset
    from span_marker.integrations.spacy import SpanMarkerComponent
    from span_marker.integrations.spark import predict_dataframe

_MODULES = {
    "SpanMarkerComponent": "span_marker.integrations.spacy",
    "SpanMarkerPipeline": "span_marker.integrations.pipeline",
    "predict_dataframe": "span_marker.integrations.spark",
    "predict_dataset": "span_marker.integrations.ray",
}

__all__ = ["SpanMarkerComponent", "SpanMarkerPipeline", "predict_dataframe", "predict_dataset"]


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_MODULES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
