"""Training and evaluation with ``transformers.Trainer``, and cross-validation."""

from span_marker.training.arguments import TrainingArguments, has_fast_bfloat16, suggest_training_arguments
from span_marker.training.base_trainer import BaseTrainer
from span_marker.training.cross_validation import cross_validate
from span_marker.training.cross_validation_report import CrossValidationReport, FoldFigures
from span_marker.training.trainer import Trainer

__all__ = [
    "BaseTrainer",
    "CrossValidationReport",
    "FoldFigures",
    "Trainer",
    "TrainingArguments",
    "cross_validate",
    "has_fast_bfloat16",
    "suggest_training_arguments",
]
