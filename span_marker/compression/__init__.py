"""Compress models with nearly the same predictions. See ``docs/small_models.md``."""

from span_marker.compression.distillation import distill
from span_marker.compression.layers import shrink
from span_marker.compression.vocabulary import prune_vocabulary

__all__ = ["distill", "prune_vocabulary", "shrink"]
