"""The threshold of a candidate filter: how many entities it may drop."""

import math

from hypothesis import given
from hypothesis import strategies as st

from span_marker.candidate_filter.threshold import CONFIDENCE, entities_needed, num_expendable


def binomial(num_dropped, num_entities, rate):
    """P(B(num_entities, rate) <= num_dropped)."""
    lgamma = math.lgamma
    return sum(
        math.exp(
            lgamma(num_entities + 1)
            - lgamma(k + 1)
            - lgamma(num_entities - k + 1)
            + k * math.log(rate)
            + (num_entities - k) * math.log(1 - rate)
        )
        for k in range(num_dropped + 1)
    )


@given(st.integers(0, 3000), st.sampled_from([0.9, 0.98, 0.995]))
def test_the_expendable_entities_are_those_of_the_binomial_bound(more, recall):
    num_entities = entities_needed(recall) + more
    dropped = num_expendable(num_entities, recall)
    assert binomial(dropped, num_entities, 1 - recall) <= 1 - CONFIDENCE + 1e-9
    assert dropped == num_entities or binomial(dropped + 1, num_entities, 1 - recall) > 1 - CONFIDENCE - 1e-9
    assert binomial(0, entities_needed(recall) - 1, 1 - recall) > 1 - CONFIDENCE
