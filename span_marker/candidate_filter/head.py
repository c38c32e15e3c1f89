"""Candidate filter: a small head on text states that decides which candidates get markers.

Most spans of a sentence are obviously not entities. Texts never see markers and a pair of markers sees no other pair,
so dropping candidates changes no other score. The filter reads the values of the texts in the encoder's last layer, see
`span_marker.encoders.passes.TextMemory.states`. These are the last text states computed before any marker runs, and the
last that receive gradient from the marker loss. The output of the last layer is neither.
"""

from __future__ import annotations

import math

from torch import Tensor, nn
from torch.nn import functional as F

RANK = 64
"""Size of the hidden layer in which the first and last token of a candidate are combined."""

NUM_LENGTHS = 32
"""Number of different lengths: candidates of this many words or more share an embedding."""

ENTITY_PRIOR = 0.02
"""Probability of an entity before training, as in `span_marker.heads`."""

FILTER_LOSS_WEIGHT = 1.0
"""Weight of the filter's loss relative to that of the markers."""


class SpanFilter(nn.Module):
    """Scores candidates by the states of their first and last token, the interaction of these, and their length.

    The score is the log-odds of an entity: ``w . relu(A first + B last + length) + b``. States are first normalized to
    mean 0 and variance 1, so that the encoder's scale does not matter.

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
            span_rows: Rows of ``text_states`` for the first and last token of each candidate, ``(num_spans, 2)``.
            span_lengths: Number of words of each candidate, ``(num_spans,)``.

        Returns:
            Log-odds of an entity, ``(num_spans,)``.

        Raises:
            ValueError: If the states have another size.
        """
        if text_states.shape[-1] != self.input_size:
            raise ValueError(
                f"the candidate filter reads text states of size {self.input_size}, but those of the encoder have "
                f"size {text_states.shape[-1]}: fit another filter with fit_span_filter"
            )
        states = F.layer_norm(text_states, text_states.shape[-1:])
        first = self.first(states).index_select(0, span_rows[:, 0])
        last = self.last(states).index_select(0, span_rows[:, 1])
        hidden = first + last + self.length((span_lengths - 1).clamp(max=NUM_LENGTHS - 1))
        return self.score(hidden.relu()).squeeze(-1)


def filter_loss(scores: Tensor, is_gold: Tensor) -> Tensor:
    """Compute the filter's loss, summed over all candidates: binary cross-entropy.

    Args:
        scores: Log-odds of an entity, ``(num_spans,)``.
        is_gold: Whether each candidate is an entity, or the probability that it is, ``(num_spans,)``.

    Returns:
        The loss, a scalar.
    """
    return F.binary_cross_entropy_with_logits(scores.float(), is_gold.float(), reduction="sum")
