"""SpanMarker: named entity recognition with span markers."""

from transformers import AutoConfig, AutoModel, TrainingArguments, pipeline
from transformers.pipelines import PIPELINE_REGISTRY

from span_marker.checkpoints.model_card import SpanMarkerModelCardData
from span_marker.configuration import SpanMarkerConfig
from span_marker.data.brat import write_brat
from span_marker.data.columns import infer_labels
from span_marker.data.conll import write_conll
from span_marker.data.files import read_annotations
from span_marker.data.spacy_docs import to_docs, write_docbin, write_html
from span_marker.data.writing import write_jsonl
from span_marker.encoders.support import register_attention
from span_marker.error_analysis.analyze import analyse_errors, analyse_predictions
from span_marker.error_analysis.comparison import Comparison, compare_reports
from span_marker.error_analysis.report import ErrorReport
from span_marker.integrations.pipeline import TASK, NoDefaultModel, SpanMarkerPipeline
from span_marker.modeling import SpanMarkerModel, SpanMarkerOutput
from span_marker.prediction import Coverage, Entity
from span_marker.preprocessing.tokenizer import SpanMarkerTokenizer
from span_marker.scores.tuning import calibrate, tune_thresholds
from span_marker.training.trainer import Trainer
from span_marker.validation.checks import validate
from span_marker.validation.limits import suggest_limits
from span_marker.version import __version__

register_attention()
AutoConfig.register(SpanMarkerConfig.model_type, SpanMarkerConfig)
AutoModel.register(SpanMarkerConfig, SpanMarkerModel)
PIPELINE_REGISTRY.register_pipeline(TASK, SpanMarkerPipeline, SpanMarkerModel, {"model": NoDefaultModel()}, "text")

__all__ = [
    "Comparison",
    "Coverage",
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
    "calibrate",
    "compare_reports",
    "infer_labels",
    "pipeline",
    "read_annotations",
    "suggest_limits",
    "to_docs",
    "tune_thresholds",
    "validate",
    "write_brat",
    "write_conll",
    "write_docbin",
    "write_html",
    "write_jsonl",
]
