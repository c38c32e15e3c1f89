"""The threshold of a filter: how many predictions it may drop."""

import math

from hypothesis import given
from hypothesis import strategies as st

from span_marker.core.tolerance import CONFIDENCE, num_expendable, predictions_needed


def binomial(num_dropped, num_predictions, rate):
    """P(B(num_predictions, rate) <= num_dropped)."""
    lgamma = math.lgamma
    return sum(
        math.exp(
            lgamma(num_predictions + 1)
            - lgamma(k + 1)
            - lgamma(num_predictions - k + 1)
            + k * math.log(rate)
            + (num_predictions - k) * math.log(1 - rate)
        )
        for k in range(num_dropped + 1)
    )


@given(st.integers(0, 3000), st.sampled_from([0.9, 0.98, 0.995]))
def test_the_expendable_entities_are_those_of_the_binomial_bound(more, recall):
    num_predictions = predictions_needed(recall) + more
    dropped = num_expendable(num_predictions, recall)
    assert binomial(dropped, num_predictions, 1 - recall) <= 1 - CONFIDENCE + 1e-9
    assert dropped == num_predictions or binomial(dropped + 1, num_predictions, 1 - recall) > 1 - CONFIDENCE - 1e-9
    assert binomial(0, predictions_needed(recall) - 1, 1 - recall) > 1 - CONFIDENCE
