"""The options of ``predict`` that every way of predicting takes."""

from __future__ import annotations

from typing import TypedDict

from span_marker.core.decoding import Decoding
from span_marker.core.offsets import OffsetUnit
from span_marker.prediction.documents import Splitter
from span_marker.prediction.propagation import Propagation


class PredictOptions(TypedDict, total=False):
    """Options of `SpanMarkerModel.predict` that do not change the type of the result."""

    batch_size: int
    show_progress_bar: bool
    threshold: float | dict[str, float] | None
    decoding: Decoding | None
    top_k: int | None
    exact: bool | None
    split_sentences: bool | Splitter
    offsets: OffsetUnit
    propagate: bool | Propagation
