"""Where a candidate filter cuts: the highest threshold that keeps a share of the model's entities, with confidence."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch

from span_marker.candidate_filter.fitting import Examples
from span_marker.candidate_filter.head import SpanFilter
from span_marker.core.checks import check_probability

DEFAULT_RECALL = 0.995
"""Share of a model's entities that its filter must keep."""

CONFIDENCE = 0.95
"""Confidence in a filter's recall, which is estimated on a sample of held-out entities."""

RECALLS = (0.9, 0.95, 0.98, 0.99, 0.995, 0.998, 0.999)
"""Recalls that reports list besides the one asked for."""


@dataclass(frozen=True)
class FilterPoint:
    """A threshold of a filter, and what it keeps of held-out text.

    Attributes:
        recall: The share of the entities that it keeps at least, with `CONFIDENCE`.
        threshold: The least score of a candidate that is kept.
        entities_kept: Share of the held-out entities that it keeps.
        candidates_kept: Share of the held-out candidates that it keeps.
    """

    recall: float
    threshold: float
    entities_kept: float
    candidates_kept: float


@dataclass(frozen=True)
class SpanFilterReport:
    """What a candidate filter keeps; as a string, a table.

    Attributes:
        points: Its thresholds for several recalls, ascending.
        chosen: The one that it has.
        num_entities: Entities of the model in the held-out text.
        num_candidates: Candidates of the held-out text.
    """

    points: tuple[FilterPoint, ...]
    chosen: FilterPoint
    num_entities: int
    num_candidates: int

    def __repr__(self) -> str:
        lines = [
            f"{self.num_entities:,} entities of the model among {self.num_candidates:,} held-out candidates",
            "",
            f"recall, at {CONFIDENCE:.0%} confidence  entities kept  candidates kept  threshold",
        ]
        lines += [
            f"{point.recall:>25.1%}  {point.entities_kept:>13.2%}  {point.candidates_kept:>15.2%}"
            f"  {point.threshold:>9.2f}{' <-' if point is self.chosen else ''}"
            for point in self.points
        ]
        return "\n".join(lines)


def choose_threshold(span_filter: SpanFilter, held_out: Iterable[Examples], recall: float) -> SpanFilterReport:
    """Find the highest threshold with which a filter keeps a share of the entities, and be sure of it.

    With the k-th lowest score of n entities as the threshold, the share of all entities that it drops is at most ``1 -
    recall`` with the probability ``1 - P(B(n, 1 - recall) < k)``, ``B`` being binomial (Wilks 1941, Determination of
    sample sizes for setting tolerance limits). The highest k is taken for which that is at least `CONFIDENCE`.

    Args:
        span_filter: The filter, on the CPU, in the numbers that it is to run in.
        held_out: What the model makes of candidates that the filter has not learned from.
        recall: The share, above 0 and below 1.

    Returns:
        The threshold, and those for other recalls.

    Raises:
        ValueError: If there is no entity, or too few to be sure.
    """
    scores, masks = [torch.empty(0)], [torch.empty(2, 0, dtype=torch.bool)]
    for some in held_out:
        with torch.inference_mode():
            scores.append(span_filter(some.text_states, some.span_rows, some.span_lengths))
        masks.append(torch.stack([some.is_entity, some.has_markers]))
    all_scores, (is_entity, has_markers) = torch.cat(scores).double().numpy(), torch.cat(masks, dim=1).numpy()
    of_entities = np.sort(all_scores[is_entity])
    needed = entities_needed(recall)
    if not len(of_entities):
        raise ValueError("the model finds no entity in the held-out text: has it learned enough?")
    if len(of_entities) < needed:
        lower = f"recall={RECALLS[0]}, for which {entities_needed(RECALLS[0])} entities are enough"
        raise ValueError(
            f"the model finds {len(of_entities)} entities in the held-out text, but it takes {needed} to be sure that "
            f"a candidate filter keeps recall={recall} of them: pass {math.ceil(needed / len(of_entities))} times as "
            f"much held-out text{f', or {lower}' if recall > RECALLS[0] else ''}"
        )
    points = []
    for wanted in sorted({*RECALLS, recall}):
        if entities_needed(wanted) <= len(of_entities):
            threshold = float(of_entities[num_expendable(len(of_entities), wanted)])
            entities_kept, candidates_kept = of_entities >= threshold, (all_scores >= threshold) & has_markers
            points.append(FilterPoint(wanted, threshold, float(entities_kept.mean()), float(candidates_kept.mean())))
    chosen = next(point for point in points if point.recall == recall)
    return SpanFilterReport(tuple(points), chosen, len(of_entities), len(all_scores))


def check_recall(recall: float) -> None:
    """Check the share of the entities that a filter is to keep.

    Args:
        recall: The share.

    Raises:
        TypeError: If it is not a number.
        ValueError: If it is out of range.
    """
    check_probability("recall", recall)
    if recall in (0, 1):
        raise ValueError(f"recall={recall} must be above 0 and below 1: to keep all entities, predict with exact=True")


def entities_needed(recall: float) -> int:
    """Count the held-out entities that it takes to be sure of a recall, if all of them are kept.

    Args:
        recall: The recall, above 0 and below 1.

    Returns:
        How many.

    Example:
        >>> entities_needed(0.995)
        598
    """
    return math.ceil(math.log(1 - CONFIDENCE) / math.log(recall))


def num_expendable(num_entities: int, recall: float) -> int:
    """Count the held-out entities that may be dropped while one can still be sure of a recall.

    Args:
        num_entities: Held-out entities, at least `entities_needed`.
        recall: The recall, above 0 and below 1.

    Returns:
        How many: the largest k with ``P(B(num_entities, 1 - recall) <= k) <= 1 - CONFIDENCE``.

    Example:
        >>> num_expendable(598, 0.995), num_expendable(5000, 0.995)
        (0, 16)
    """
    odds = math.log1p(-recall) - math.log(recall)
    log_probability = num_entities * math.log(recall)  # of dropping none
    total = math.exp(log_probability)
    dropped = 0
    while True:
        log_probability += odds + math.log((num_entities - dropped) / (dropped + 1))
        total += math.exp(log_probability)
        if total > 1 - CONFIDENCE:
            return dropped
        dropped += 1
