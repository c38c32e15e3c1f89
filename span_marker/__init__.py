"""SpanMarker: named entity recognition with span markers."""

from transformers import AutoConfig, AutoModel, TrainingArguments

from span_marker.configuration import SpanMarkerConfig
from span_marker.encoders import register_attention
from span_marker.modeling import SpanMarkerModel, SpanMarkerOutput
from span_marker.tokenizer import SpanMarkerTokenizer
from span_marker.trainer import Trainer
from span_marker.version import __version__

register_attention()
AutoConfig.register(SpanMarkerConfig.model_type, SpanMarkerConfig)
AutoModel.register(SpanMarkerConfig, SpanMarkerModel)

__all__ = [
    "SpanMarkerConfig",
    "SpanMarkerModel",
    "SpanMarkerOutput",
    "SpanMarkerTokenizer",
    "Trainer",
    "TrainingArguments",
    "__version__",
]
