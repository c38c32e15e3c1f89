"""Candidate filter: a small head on finished text states that says which candidates are worth their markers.

Most spans of a sentence are plainly no entities. Text never sees a marker and a pair of markers sees no other pair, so
that leaving candidates out changes no other score. The filter reads the values of the texts in the encoder's last
layer, see `span_marker.encoders.passes.TextMemory.states`. These are the last text states computed before any marker
runs, and the last that receive gradient from the marker loss. The output of the last layer is neither.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

RANK = 64
"""Numbers in which the first and the last token of a candidate are compared."""

NUM_LENGTHS = 32
"""Candidates of so many words or more are told apart by their states alone."""

ENTITY_PRIOR = 0.02
"""Probability of an entity before any training, as in `span_marker.heads`."""

FILTER_LOSS_WEIGHT = 1.0
"""Weight of the filter's loss beside that of the markers."""


class SpanFilter(nn.Module):
    """Scores candidates by the states of their first and last token, their interaction, and their length.

    The score is the log-odds of an entity: ``w . relu(A first + B last + length) + b``, with states that are normalised
    to mean 0 and variance 1 first, whatever the encoder's scale.

    Args:
        input_size: Size of a text state.
    """

    def __init__(self, input_size: int) -> None:
        super().__init__()
        self.input_size = input_size
        self.first = nn.Linear(input_size, RANK)
        self.last = nn.Linear(input_size, RANK, bias=False)
        self.length = nn.Embedding(NUM_LENGTHS, RANK)
        self.score = nn.Linear(RANK, 1)
        nn.init.zeros_(self.length.weight)
        nn.init.constant_(self.score.bias, math.log(ENTITY_PRIOR / (1 - ENTITY_PRIOR)))

    def forward(self, text_states: Tensor, span_rows: Tensor, span_lengths: Tensor) -> Tensor:
        """Score candidates.

        Args:
            text_states: States of the tokens of all texts, ``(num_tokens, input_size)``.
            span_rows: Rows of the first and the last token of each candidate in them, ``(num_spans, 2)``.
            span_lengths: Words of each candidate, ``(num_spans,)``.

        Returns:
            Log-odds of an entity, ``(num_spans,)``.

        Raises:
            ValueError: If the states have another size.
        """
        if text_states.shape[-1] != self.input_size:
            raise ValueError(
                f"the candidate filter reads text states of {self.input_size} numbers, but the encoder's have "
                f"{text_states.shape[-1]}: fit another one with fit_span_filter"
            )
        states = F.layer_norm(text_states, text_states.shape[-1:])
        first = self.first(states).index_select(0, span_rows[:, 0])
        last = self.last(states).index_select(0, span_rows[:, 1])
        hidden = first + last + self.length((span_lengths - 1).clamp(max=NUM_LENGTHS - 1))
        return self.score(hidden.relu()).squeeze(-1)


def best_candidates(scores: Tensor, span_lengths: Tensor, span_counts: Tensor, per_word: float) -> Tensor:
    """Find the best candidates of each sentence, those that are hard to tell from entities.

    Args:
        scores: ``(num_spans,)``, sentence after sentence.
        span_lengths: Words of each candidate, ``(num_spans,)``.
        span_counts: Candidates of each sentence, ``(batch,)``.
        per_word: How many are found for each word of a sentence, rounded up.

    Returns:
        True for the best, ``(num_spans,)``.
    """
    sentences = torch.arange(len(span_counts), device=scores.device).repeat_interleave(span_counts)
    num_words = sentences[span_lengths == 1].bincount(minlength=len(span_counts))
    order = scores.argsort(descending=True, stable=True)
    order = order[sentences[order].argsort(stable=True)]  # sentence after sentence, the best first
    place = torch.arange(len(scores), device=scores.device) - (span_counts.cumsum(0) - span_counts)[sentences]
    is_best = torch.empty_like(scores, dtype=torch.bool)
    is_best[order] = place < (per_word * num_words).ceil()[sentences]
    return is_best


def filter_loss(scores: Tensor, is_gold: Tensor) -> Tensor:
    """Compute the filter's loss of all candidates together: binary cross-entropy.

    Args:
        scores: Log-odds, ``(num_spans,)``.
        is_gold: Whether each candidate is an entity, or the probability of it, ``(num_spans,)``.

    Returns:
        A single number.
    """
    return F.binary_cross_entropy_with_logits(scores.float(), is_gold.float(), reduction="sum")
