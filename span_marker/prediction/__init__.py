"""Prediction: from sentences to entities, in batches of similar sentences or as a stream."""

from span_marker.prediction.entities import Coverage, Entity, LabelScore
from span_marker.prediction.explanation import Explanation
from span_marker.prediction.predictor import Predictor
from span_marker.prediction.propagation import Propagation

__all__ = ["Coverage", "Entity", "Explanation", "LabelScore", "Predictor", "Propagation"]
