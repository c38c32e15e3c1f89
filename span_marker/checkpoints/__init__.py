"""Checkpoints: load, save and publish models, and write their cards."""

from span_marker.checkpoints.atomic import last_complete
from span_marker.checkpoints.model_card import SpanMarkerModelCardData
from span_marker.checkpoints.pretrained import SpanMarkerPreTrainedModel
from span_marker.checkpoints.training_record import Evaluation, Spread, TrainingRecord

__all__ = [
    "Evaluation",
    "SpanMarkerModelCardData",
    "SpanMarkerPreTrainedModel",
    "Spread",
    "TrainingRecord",
    "last_complete",
]
