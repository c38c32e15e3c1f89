"""The threshold of a candidate filter: the highest one that keeps a share of the model's entities with confidence."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch

from span_marker.candidate_filter.fitting import Examples
from span_marker.candidate_filter.head import SpanFilter
from span_marker.core.checks import check_probability
from span_marker.core.tables import TextReport, text_table

DEFAULT_RECALL = 0.995
"""Share of the model's entities that its filter must keep."""

CONFIDENCE = 0.95
"""Confidence in the recall of a filter, which is estimated from a sample of held-out entities."""

RECALLS = (0.9, 0.95, 0.98, 0.99, 0.995, 0.998, 0.999)
"""Recalls listed in reports, in addition to the requested one."""

MARGIN = 1e-3
"""Distance of the threshold below the score of the last entity that must be kept; it is larger than rounding errors."""


@dataclass(frozen=True)
class FilterPoint:
    """A threshold of a filter, and the shares of held-out entities and candidates that it keeps.

    Attributes:
        recall: Minimum share of all entities that it keeps, with `CONFIDENCE`.
        threshold: The minimum score of candidates that are kept.
        entities_kept: Share of the held-out entities that it keeps.
        candidates_kept: Share of the held-out candidates that it keeps.
    """

    recall: float
    threshold: float
    entities_kept: float
    candidates_kept: float


@dataclass(frozen=True)
class SpanFilterReport(TextReport):
    """The thresholds of a candidate filter, and the shares that they keep. As a string, a table.

    Attributes:
        points: Thresholds for several recalls, ascending.
        chosen: The threshold of the filter.
        num_entities: Number of entities that the model finds in the held-out text.
        num_candidates: Number of candidates of the held-out text.
    """

    points: tuple[FilterPoint, ...]
    chosen: FilterPoint
    num_entities: int
    num_candidates: int

    def __str__(self) -> str:
        table = [(f"recall, at {CONFIDENCE:.0%} confidence", "entities kept", "candidates kept", "threshold", "")]
        table += [
            (
                f"{point.recall:.1%}",
                f"{point.entities_kept:.2%}",
                f"{point.candidates_kept:.2%}",
                f"{point.threshold:.2f}",
                "<-" if point is self.chosen else "",
            )
            for point in self.points
        ]
        return (
            f"{self.num_entities:,} entities of the model among {self.num_candidates:,} held-out candidates\n\n"
            f"{text_table(table)}"
        )


def choose_threshold(span_filter: SpanFilter, held_out: Iterable[Examples], recall: float) -> SpanFilterReport:
    """Find the highest threshold with which a filter keeps a share of the entities, with confidence.

    If the threshold is the k-th lowest score of n entities, it drops at most a share ``1 - recall`` of all entities
    with probability ``1 - P(B(n, 1 - recall) < k)``, where ``B`` is binomial (Wilks 1941, Determination of sample sizes
    for setting tolerance limits). The highest k for which this is at least `CONFIDENCE` is chosen. The threshold is set
    `MARGIN` below that score, so that the same entity is also kept in another batch or on another machine.

    Args:
        span_filter: The filter, on the CPU, in the data type that it will run in.
        held_out: Candidates that the filter has not learned from, with the predictions of the model.
        recall: The share of the entities to keep, above 0 and below 1.

    Returns:
        The threshold, and those for other recalls.

    Raises:
        ValueError: If there is no entity, or too few for the confidence.
    """
    scores, masks = [torch.empty(0)], [torch.empty(2, 0, dtype=torch.bool)]
    for batch in held_out:
        with torch.inference_mode():
            scores.append(span_filter(batch.text_states, batch.span_rows, batch.span_lengths))
        masks.append(torch.stack([batch.is_entity, batch.has_markers]))
    all_scores, (is_entity, has_markers) = torch.cat(scores).double().numpy(), torch.cat(masks, dim=1).numpy()
    entity_scores = np.sort(all_scores[is_entity])
    num_entities, needed = len(entity_scores), entities_needed(recall)
    if not num_entities:
        raise ValueError("the model finds no entity in the held-out text: pass more text, or train the model longer")
    if num_entities < needed:
        lower = f"recall={RECALLS[0]}, for which {entities_needed(RECALLS[0])} entities are enough"
        raise ValueError(
            f"the model finds {num_entities} entities in the held-out text, but {needed} are needed to be sure that a "
            f"candidate filter keeps recall={recall} of them: pass {math.ceil(needed / num_entities)} times as much "
            f"held-out text{f', or {lower}' if recall > RECALLS[0] else ''}"
        )
    points = []
    for listed in sorted({*RECALLS, recall}):
        if entities_needed(listed) <= num_entities:
            threshold = float(entity_scores[num_expendable(num_entities, listed)]) - MARGIN
            entities_kept, candidates_kept = entity_scores >= threshold, (all_scores >= threshold) & has_markers
            points.append(FilterPoint(listed, threshold, float(entities_kept.mean()), float(candidates_kept.mean())))
    chosen = next(point for point in points if point.recall == recall)
    return SpanFilterReport(tuple(points), chosen, num_entities, len(all_scores))


def check_recall(recall: float) -> None:
    """Check the share of the entities that a filter should keep.

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
    """Compute how many held-out entities are needed to guarantee a recall, if all of them are kept.

    Args:
        recall: The recall, above 0 and below 1.

    Returns:
        The number of entities.

    Example:
        >>> entities_needed(0.995)
        598
    """
    return math.ceil(math.log(1 - CONFIDENCE) / math.log(recall))


def num_expendable(num_entities: int, recall: float) -> int:
    """Compute how many held-out entities may be dropped without losing confidence in a recall.

    Args:
        num_entities: Number of held-out entities, at least `entities_needed`.
        recall: The recall, above 0 and below 1.

    Returns:
        The largest k with ``P(B(num_entities, 1 - recall) <= k) <= 1 - CONFIDENCE``, where ``B`` is binomial.

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
