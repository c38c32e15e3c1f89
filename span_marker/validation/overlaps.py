"""Find overlaps between entities that a model cannot predict with its decoding."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import replace

from span_marker.core.decoding import RULES, Decoding
from span_marker.core.labels import LabelledSpan, count_overlaps
from span_marker.modeling import SpanMarkerModel
from span_marker.preprocessing.features import DatasetSummary
from span_marker.validation.report import Problem


def count_row(summary: DatasetSummary, spans: Collection[LabelledSpan]) -> None:
    """Add the overlaps of a row to those of the data.

    Args:
        summary: What the data has so far.
        spans: The entities of the row, each once.
    """
    summary.num_entities += len(spans)
    if len(spans) > 1:
        nested, crossing, sharing = count_overlaps(spans)
        summary.num_nested += nested
        summary.num_crossing += crossing
        summary.num_sharing += sharing


def decoding_in_force(model: SpanMarkerModel | None, summary: DatasetSummary) -> Decoding:
    """Find out how a model will resolve overlaps.

    Args:
        model: The model, or None for a new one with default settings.
        summary: What the training data has.

    Returns:
        What the model's configuration says or, if it leaves this open, what `Trainer` sets from the training data.
    """
    if model is not None and model.config.decoding is not None:
        return model.config.decoding
    if model is None or summary.decoding != "flat":
        return summary.decoding
    return model.config.decoder().decoding


def weigh_overlaps(problems: Iterable[Problem], decoding: Decoding) -> Iterator[Problem]:
    """Turn notes on overlaps that cannot be predicted into losses.

    Args:
        problems: All problems.
        decoding: How the model resolves overlaps.

    Yields:
        The problems.
    """
    rule = RULES[decoding]
    lost = {"nested": not rule.may_nest, "crossing": not rule.may_cross}
    for problem in problems:
        if lost.get(problem.kind):
            message = f"{problem.message}, which decoding={decoding!r} cannot predict"
            problem = replace(problem, message=message, severity="loss")
        yield problem
