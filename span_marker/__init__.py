"""SpanMarker: named entity recognition with span markers.

Importing the package loads what prediction needs. `Trainer` and everything else that needs `transformers.trainer` or
`datasets` is imported when it is first used (PEP 562).
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

import wrapt
from transformers import AutoConfig, AutoModel

from span_marker.checkpoints.model_card import SpanMarkerModelCardData
from span_marker.configuration import SpanMarkerConfig
from span_marker.encoders.support import register_attention
from span_marker.modeling import SpanMarkerModel, SpanMarkerOutput
from span_marker.prediction import Coverage, Entity
from span_marker.preprocessing.tokenizer import SpanMarkerTokenizer
from span_marker.version import __version__

if TYPE_CHECKING:
    from transformers import TrainingArguments, pipeline

    from span_marker.data import (
        infer_labels,
        read_annotations,
        to_dataframe,
        to_docs,
        write_annotations,
        write_brat,
        write_conll,
        write_csv,
        write_docbin,
        write_html,
        write_jsonl,
    )
    from span_marker.error_analysis.analyze import (
        analyse_errors,
        analyse_predictions,
        analyze_errors,
        analyze_predictions,
    )
    from span_marker.error_analysis.comparison import Comparison, compare_reports
    from span_marker.error_analysis.report import ErrorReport
    from span_marker.scores.tuning import calibrate, tune_thresholds
    from span_marker.training.arguments import suggest_training_arguments
    from span_marker.training.cross_validation import cross_validate
    from span_marker.training.cross_validation_report import CrossValidationReport
    from span_marker.training.trainer import Trainer
    from span_marker.validation.checks import validate
    from span_marker.validation.limits import suggest_limits

_LAZY = {
    "transformers": ("TrainingArguments", "pipeline"),
    "span_marker.data": (
        "infer_labels",
        "read_annotations",
        "to_dataframe",
        "to_docs",
        "write_annotations",
        "write_brat",
        "write_conll",
        "write_csv",
        "write_docbin",
        "write_html",
        "write_jsonl",
    ),
    "span_marker.error_analysis.analyze": (
        "analyse_errors",
        "analyse_predictions",
        "analyze_errors",
        "analyze_predictions",
    ),
    "span_marker.error_analysis.comparison": ("Comparison", "compare_reports"),
    "span_marker.error_analysis.report": ("ErrorReport",),
    "span_marker.scores.tuning": ("calibrate", "tune_thresholds"),
    "span_marker.training.arguments": ("suggest_training_arguments",),
    "span_marker.training.cross_validation": ("cross_validate",),
    "span_marker.training.cross_validation_report": ("CrossValidationReport",),
    "span_marker.training.trainer": ("Trainer",),
    "span_marker.validation.checks": ("validate",),
    "span_marker.validation.limits": ("suggest_limits",),
}
"""Public names that are imported on first use, by module. Type checkers read the imports above instead."""

_MODULES = {name: module for module, names in _LAZY.items() for name in names}

__all__ = [
    "Comparison",
    "Coverage",
    "CrossValidationReport",
    "Entity",
    "ErrorReport",
    "SpanMarkerConfig",
    "SpanMarkerModel",
    "SpanMarkerModelCardData",
    "SpanMarkerOutput",
    "SpanMarkerTokenizer",
    "Trainer",
    "TrainingArguments",
    "__version__",
    "analyse_errors",
    "analyse_predictions",
    "analyze_errors",
    "analyze_predictions",
    "calibrate",
    "compare_reports",
    "cross_validate",
    "infer_labels",
    "pipeline",
    "read_annotations",
    "suggest_limits",
    "suggest_training_arguments",
    "to_dataframe",
    "to_docs",
    "tune_thresholds",
    "validate",
    "write_annotations",
    "write_brat",
    "write_conll",
    "write_csv",
    "write_docbin",
    "write_html",
    "write_jsonl",
]


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(_MODULES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)


register_attention()
AutoConfig.register(SpanMarkerConfig.model_type, SpanMarkerConfig)
AutoModel.register(SpanMarkerConfig, SpanMarkerModel)


@wrapt.when_imported("transformers.pipelines")
def _register_pipeline(pipelines: Any) -> None:
    """Register the task as soon as anything imports the pipelines of ``transformers``, which takes seconds."""
    import_module("span_marker.integrations.pipeline")
