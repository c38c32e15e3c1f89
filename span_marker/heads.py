"""The layers that a model adds to its encoder: letter cases, the classifiers of candidates and pairs; and the loss."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import PreTrainedConfig
from transformers import initialization as init

from span_marker.core.letter_case import CASE_SCALE, NO_CASE, NUM_CASES

OUTSIDE_PRIOR = 0.98
"""Probability of ``O`` before training, close to its share among candidates. Without it, training would spend its first
steps on shifting the encoder towards ``O`` (Lin et al. 2017, Focal Loss for Dense Object Detection)."""

NO_RELATION_PRIOR = 0.9
"""Probability of "no relation" before training: its share among the pairs of entities in CoNLL04, and a bit more than
in SciERC."""

PAIR_RANK = 64
"""Size of the hidden layer in which the tokens of a pair are combined."""

MAX_DISTANCE = 32
"""The largest distance of a pair, in tokens, that its filter tells from larger ones."""


class CaseEmbedding(nn.Embedding):
    """Embeddings of letter cases, which are added to those of the tokens. They start at zero.

    Args:
        embed_dim: Size of the encoder's token embeddings.
    """

    def __init__(self, embed_dim: int) -> None:
        super().__init__(NUM_CASES, embed_dim, padding_idx=NO_CASE)

    def reset_parameters(self) -> None:
        """Set the embeddings to zero, so that the encoder computes the same as before."""
        init.zeros_(self.weight)

    def forward(self, cases: Tensor) -> Tensor:
        """Embed cases, ``(batch, seq_len)`` to ``(batch, seq_len, embed_dim)``."""
        return CASE_SCALE * super().forward(cases)


class SpanClassifier(nn.Linear):
    """Classifies candidates by the states of their two markers, and optionally of their first and last token.

    Maps ``(num_spans, 2 * hidden_size + 2 * token_state_size)`` to class scores, ``(num_spans, num_labels)``.

    Args:
        hidden_size: Size of a marker's state.
        num_labels: Number of classes, including ``O``.
        token_state_size: Size of a token's state; 0 if only markers are read.
    """

    def __init__(self, hidden_size: int, num_labels: int, token_state_size: int = 0) -> None:
        super().__init__(2 * hidden_size + 2 * token_state_size, num_labels)

    def initialize(self, std: float, outside_id: int, multi_label: bool) -> None:
        """Initialize the weights at random, and the bias with `initial_bias`.

        Args:
            std: Standard deviation of the weights.
            outside_id: Class ID of ``O``.
            multi_label: Whether each class has its own probability.
        """
        init.normal_(self.weight, std=std)
        init.copy_(self.bias, initial_bias(self.out_features, outside_id, multi_label).to(self.bias))


class PairFilter(nn.Module):
    """Scores pairs of spans by the states of their tokens and their distance, before they have markers.

    The score is the log-odds of a relation: ``w . relu(A states + distance) + b``, where ``states`` are those of the
    first and last token of the head and of the tail, see `token_states`.

    Args:
        input_size: Size of a token's state.
    """

    def __init__(self, input_size: int) -> None:
        super().__init__()
        self.input_size = input_size
        self.tokens = nn.Linear(4 * input_size, PAIR_RANK)
        self.distance = nn.Embedding(2 * MAX_DISTANCE + 1, PAIR_RANK)
        self.score = nn.Linear(PAIR_RANK, 1)
        nn.init.zeros_(self.distance.weight)
        nn.init.constant_(self.score.bias, math.log(1 - NO_RELATION_PRIOR) - math.log(NO_RELATION_PRIOR))

    def forward(self, text_states: Tensor, pair_rows: Tensor, distances: Tensor) -> Tensor:
        """Score pairs.

        Args:
            text_states: States of the tokens of all texts, ``(num_tokens, input_size)``.
            pair_rows: Rows of ``text_states`` for the first and last token of head and tail, ``(num_pairs, 4)``.
            distances: Number of tokens from the first of the head to the first of the tail, negative if the tail comes
                first, ``(num_pairs,)``. Beyond `MAX_DISTANCE`, they do not differ.

        Returns:
            Log-odds of a relation, ``(num_pairs,)``.
        """
        hidden = self.tokens(token_states(text_states, pair_rows).flatten(1))
        hidden = hidden + self.distance(distances.clamp(-MAX_DISTANCE, MAX_DISTANCE) + MAX_DISTANCE)
        return self.score(hidden.relu()).squeeze(-1)


class RelationHead(nn.Module):
    """Classifies pairs of spans by the states of their four markers, and optionally of the tokens that these observe.

    Each pair has its own markers: start and end of the head, start and end of the tail.

    Args:
        hidden_size: Size of a marker's state.
        embed_dim: Size of the encoder's token embeddings.
        num_relations: Number of classes, including "no relation".
        token_state_size: Size of a token's state; 0 if only markers are read.
        filter_size: Size of the token states that the pair filter reads; None for no filter.

    Attributes:
        markers: Embeddings of the markers, ``(4, embed_dim)``.
        classifier: Maps ``(num_pairs, 4 * hidden_size + 4 * token_state_size)`` to class scores.
        pair_filter: Decides which pairs get markers in prediction; None if all do.
    """

    def __init__(
        self,
        hidden_size: int,
        embed_dim: int,
        num_relations: int,
        token_state_size: int = 0,
        filter_size: int | None = None,
    ) -> None:
        super().__init__()
        self.markers = nn.Parameter(torch.zeros(4, embed_dim))
        self.classifier = nn.Linear(4 * (hidden_size + token_state_size), num_relations)
        self.pair_filter = None if filter_size is None else PairFilter(filter_size)

    def initialize(self, std: float) -> None:
        """Initialize the weights at random, and the bias so that "no relation" has `NO_RELATION_PRIOR`.

        Args:
            std: Standard deviation of the weights.
        """
        init.normal_(self.markers, std=std)
        init.normal_(self.classifier.weight, std=std)
        bias = initial_bias(self.classifier.out_features, 0, multi_label=False, prior=NO_RELATION_PRIOR)
        init.copy_(self.classifier.bias, bias.to(self.classifier.bias))

    def forward(self, features: Tensor) -> Tensor:
        """Classify pairs, ``(num_pairs, 4 * hidden_size + 4 * token_state_size)`` to ``(num_pairs, num_relations)``."""
        logits: Tensor = self.classifier(features)
        return logits


def token_states(text_states: Tensor, span_rows: Tensor) -> Tensor:
    """Look up the states of the tokens that a candidate's markers observe, normalized to mean 0 and variance 1.

    Markers must learn from scratch what their positions mean, whereas the states of tokens are good features from the
    first step. With little training data, they contribute more than the markers, see ``docs/little_data.md``.

    Args:
        text_states: States of the tokens of all texts, ``(num_tokens, size)``, see
            `span_marker.encoders.passes.TextMemory.states`.
        span_rows: Rows of ``text_states`` for the tokens of each candidate, ``(num_spans, candidate_size)``: the first
            and the last token of a span, or of both spans of a pair.

    Returns:
        States, ``(num_spans, candidate_size, size)``.
    """
    return F.layer_norm(text_states, text_states.shape[-1:])[span_rows]


def initial_bias(num_labels: int, outside_id: int, multi_label: bool, prior: float = OUTSIDE_PRIOR) -> Tensor:
    """Compute the bias with which ``O`` has a given probability. The other classes share the rest equally.

    Args:
        num_labels: Number of classes, including ``O``.
        outside_id: Class ID of ``O``.
        multi_label: Whether each class has its own probability.
        prior: The probability of ``O``.

    Returns:
        The bias, ``(num_labels,)``.
    """
    share = (1 - prior) / (num_labels - 1)  # of each other class
    bias = torch.full((num_labels,), math.log(share / (1 - share)) if multi_label else 0.0)
    odds = prior / (1 - prior)
    bias[outside_id] = math.log(odds if multi_label else odds * (num_labels - 1))
    return bias


def dropout_rate(encoder: PreTrainedConfig) -> float:
    """Return the rate of the dropout before the classifier.

    Args:
        encoder: The encoder's configuration.

    Returns:
        The encoder's own rate, or 0.1 if its configuration has none.
    """
    for name in ("hidden_dropout_prob", "dropout_rate"):
        if hasattr(encoder, name):
            return float(getattr(encoder, name))
    return 0.1


def summed_loss(logits: Tensor, labels: Tensor, multi_label: bool) -> Tensor:
    """Compute the loss, summed over all candidates.

    This is the cross-entropy with the class, or with the probabilities of all classes. For multi-label models, it is
    the binary cross-entropy, summed over all classes: ``-p * log(sigmoid(logit)) - (1 - p) * log(1 - sigmoid(logit))``,
    where ``p`` is 1 for the labels of a candidate and 0 for the others, or a probability.

    Args:
        logits: Class scores, ``(num_spans, num_labels)``.
        labels: Class IDs, ``(num_spans,)``; or probabilities, ``(num_spans, num_labels)``, the only form for
            multi-label models.
        multi_label: Whether each class has its own probability.

    Returns:
        The loss, a scalar.
    """
    if labels.dim() == 2:
        labels = labels.to(logits.dtype)
    if multi_label:
        return F.binary_cross_entropy_with_logits(logits, labels, reduction="sum")
    return F.cross_entropy(logits, labels, reduction="sum")
