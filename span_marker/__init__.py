"""SpanMarker: named entity recognition with span markers.

Every name is imported when it is first used (PEP 562). So `span_marker.runtime` does not need PyTorch, and
`SpanMarkerModel` does not wait for ``transformers.trainer`` or ``datasets``.
"""

import sys
from functools import partial
from importlib import import_module
from importlib.machinery import ModuleSpec, PathFinder
from importlib.util import find_spec
from types import ModuleType
from typing import TYPE_CHECKING, Any

from span_marker.version import __version__

if TYPE_CHECKING:
    from transformers import pipeline

    from span_marker.checkpoints.model_card import SpanMarkerModelCardData
    from span_marker.configuration import SpanMarkerConfig
    from span_marker.data import (
        infer_labels,
        infer_relation_labels,
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
    from span_marker.modeling import SpanMarkerModel, SpanMarkerOutput
    from span_marker.prediction.entities import Coverage, Entity
    from span_marker.preprocessing.tokenizer import SpanMarkerTokenizer
    from span_marker.scores.tuning import calibrate, tune_thresholds
    from span_marker.training.arguments import TrainingArguments, suggest_training_arguments
    from span_marker.training.cross_validation import cross_validate
    from span_marker.training.cross_validation_report import CrossValidationReport
    from span_marker.training.pair_filter_fitting import fit_pair_filter
    from span_marker.training.relation_fitting import fit_relations
    from span_marker.training.trainer import Trainer
    from span_marker.validation.checks import validate
    from span_marker.validation.limits import suggest_limits

_LAZY = {
    "transformers": ("pipeline",),
    "span_marker.checkpoints.model_card": ("SpanMarkerModelCardData",),
    "span_marker.configuration": ("SpanMarkerConfig",),
    "span_marker.data": (
        "infer_labels",
        "infer_relation_labels",
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
    "span_marker.modeling": ("SpanMarkerModel", "SpanMarkerOutput"),
    "span_marker.prediction.entities": ("Coverage", "Entity"),
    "span_marker.preprocessing.tokenizer": ("SpanMarkerTokenizer",),
    "span_marker.scores.tuning": ("calibrate", "tune_thresholds"),
    "span_marker.training.arguments": ("TrainingArguments", "suggest_training_arguments"),
    "span_marker.training.cross_validation": ("cross_validate",),
    "span_marker.training.cross_validation_report": ("CrossValidationReport",),
    "span_marker.training.pair_filter_fitting": ("fit_pair_filter",),
    "span_marker.training.relation_fitting": ("fit_relations",),
    "span_marker.training.trainer": ("Trainer",),
    "span_marker.validation.checks": ("validate",),
    "span_marker.validation.limits": ("suggest_limits",),
}
"""Public names, by module. Type checkers read the imports above instead."""

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
    "fit_pair_filter",
    "fit_relations",
    "infer_labels",
    "infer_relation_labels",
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
    if name in _MODULES:
        value = getattr(import_module(_MODULES[name]), name)
    elif find_spec(f"{__name__}.{name}") is not None:
        value = import_module(f"{__name__}.{name}")
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = value
    _register_pending()
    return value


def __dir__() -> list[str]:
    return sorted(__all__)


_REGISTERED = {
    "transformers.models.auto.configuration_auto": "span_marker.configuration",
    "transformers.models.auto.modeling_auto": "span_marker.modeling",
    "transformers.pipelines": "span_marker.integrations.pipeline",
}
"""Modules that make ``transformers`` know our configuration, our model and our pipeline, and what they wait for."""


_pending: list[str] = []
"""Modules of `_REGISTERED` that are to be imported as soon as none of ours is being imported, which they may need."""


def _register(awaited: ModuleType) -> None:
    _pending.append(_REGISTERED[awaited.__name__])
    _register_pending()


def _register_pending() -> None:
    while _pending and not _importing:
        import_module(_pending.pop())


_importing: list[str] = []
"""Modules of ours that are being imported."""


class _Watch(PathFinder):
    """Finds our modules, and notices when the import of one of them is done."""

    @classmethod
    def find_spec(cls, fullname: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        spec = super().find_spec(fullname, path, target) if fullname.startswith(f"{__name__}.") else None
        if spec is not None and spec.loader is not None:
            loader: Any = spec.loader
            loader.exec_module = partial(_execute, loader.exec_module)
        return spec


def _execute(execute: Any, module: ModuleType) -> None:
    _importing.append(module.__name__)
    try:
        execute(module)
    finally:
        _importing.remove(module.__name__)
    _register_pending()


def _wait_for_transformers() -> None:
    """Register with ``transformers`` as soon as anything imports the module in question."""
    if find_spec("transformers") is None:  # `span_marker.runtime` does without
        return
    import wrapt

    sys.meta_path.insert(0, _Watch)
    for awaited in _REGISTERED:
        wrapt.register_post_import_hook(_register, awaited)


_wait_for_transformers()
