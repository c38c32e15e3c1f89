"""Training and evaluation with ``transformers.Trainer``."""

from span_marker.training.base_trainer import BaseTrainer
from span_marker.training.trainer import Trainer

__all__ = ["BaseTrainer", "Trainer"]
