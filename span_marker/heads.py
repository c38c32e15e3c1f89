"""The classifier of candidates: its layer, its initial bias, its dropout, and its loss."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import PreTrainedConfig
from transformers import initialization as init

OUTSIDE_PRIOR = 0.98
"""Probability of ``O`` before any training, close to its share among candidates. Starting there, training does not
spend its first steps on bending the encoder towards ``O`` (Lin et al. 2017, Focal Loss for Dense Object Detection)."""


class SpanClassifier(nn.Linear):
    """Classifies candidates by the states of their two markers: ``(num_spans, 2 * hidden)`` to class scores.

    Args:
        hidden_size: Size of a marker's state.
        num_labels: Classes, ``O`` included.
    """

    def __init__(self, hidden_size: int, num_labels: int) -> None:
        super().__init__(2 * hidden_size, num_labels)

    def initialize(self, std: float, outside_id: int, multi_label: bool) -> None:
        """Draw new weights, and set the bias to `initial_bias`.

        Args:
            std: Standard deviation of the weights.
            outside_id: Class ID of ``O``.
            multi_label: Whether each class has a probability of its own.
        """
        init.normal_(self.weight, std=std)
        init.copy_(self.bias, initial_bias(self.out_features, outside_id, multi_label).to(self.bias))


def initial_bias(num_labels: int, outside_id: int, multi_label: bool) -> Tensor:
    """Make the bias with which ``O`` has the probability `OUTSIDE_PRIOR`, and the other classes the rest together.

    Args:
        num_labels: Classes, ``O`` included.
        outside_id: Class ID of ``O``.
        multi_label: Whether each class has a probability of its own.

    Returns:
        ``(num_labels,)``.
    """
    share = (1 - OUTSIDE_PRIOR) / (num_labels - 1)  # of each other class
    bias = torch.full((num_labels,), math.log(share / (1 - share)) if multi_label else 0.0)
    odds = OUTSIDE_PRIOR / (1 - OUTSIDE_PRIOR)
    bias[outside_id] = math.log(odds if multi_label else odds * (num_labels - 1))
    return bias


def dropout_rate(encoder: PreTrainedConfig) -> float:
    """Take the dropout in front of the classifier from the encoder.

    Args:
        encoder: The encoder's configuration.

    Returns:
        The encoder's own rate; 0.1 if it has none.
    """
    for name in ("hidden_dropout_prob", "dropout_rate"):
        if hasattr(encoder, name):
            return float(getattr(encoder, name))
    return 0.1


def summed_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Compute the loss of all candidates together.

    The cross-entropy of the class, or in a multi-label model the sum over all classes of their binary cross-entropies,
    ``-log(sigmoid(logit))`` of the labels that a candidate has and ``-log(1 - sigmoid(logit))`` of the others.

    Args:
        logits: ``(num_spans, num_labels)``.
        labels: Class IDs, ``(num_spans,)``; of a multi-label model ones and zeros, ``(num_spans, num_labels)``.

    Returns:
        A single number.
    """
    if labels.dim() == 1:
        return F.cross_entropy(logits, labels, reduction="sum")
    return F.binary_cross_entropy_with_logits(logits, labels.to(logits.dtype), reduction="sum")
