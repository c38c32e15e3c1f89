"""Prediction: sentences in, entities out, in batches of similar sentences or as a stream."""

from span_marker.prediction.entities import Coverage, Entity, LabelScore
from span_marker.prediction.explanation import Explanation
from span_marker.prediction.predictor import Predictor

__all__ = ["Coverage", "Entity", "Explanation", "LabelScore", "Predictor"]
