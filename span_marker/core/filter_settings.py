"""Settings of a candidate filter, which are part of a configuration."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, fields
from numbers import Real
from typing import Any

from span_marker.core.checks import check_limit, check_probability

LARGEST_STATE = 10**5
"""The maximum size of a text state: larger than that of any encoder, small enough to build a filter quickly."""


@dataclass(frozen=True)
class SpanFilterConfig:
    """Settings of a candidate filter.

    Args:
        input_size: Size of the text states that the filter reads.
        threshold: The minimum score of candidates that get markers; None until the filter is tuned.
        entity_max_length: The value of ``entity_max_length`` that the threshold was chosen for, in words.
        recall: The share of the entities that the threshold must keep.
        candidates_kept: The share of the candidates that the threshold keeps.

    Raises:
        TypeError: If an entry is not a number.
        ValueError: If an entry is out of range.
    """

    input_size: int
    threshold: float | None = None
    entity_max_length: int | None = None
    recall: float | None = None
    candidates_kept: float | None = None

    def __post_init__(self) -> None:
        check_limit("span_filter.input_size", self.input_size, at_least=1, at_most=LARGEST_STATE)
        if self.threshold is None:
            return
        if isinstance(self.threshold, bool) or not isinstance(self.threshold, Real):
            raise TypeError(f"span_filter.threshold={self.threshold!r} must be a number")
        if not math.isfinite(float(self.threshold)):
            raise ValueError(f"span_filter.threshold={self.threshold!r} must be finite")
        check_probability("span_filter.candidates_kept", self.candidates_kept)

    @classmethod
    def from_dict(cls, values: Any) -> SpanFilterConfig:
        """Read the settings from the output of `to_dict`.

        Args:
            values: The dict.

        Returns:
            The settings.

        Raises:
            TypeError: If an entry is not a number.
            ValueError: If ``values`` is not a dict, lacks ``input_size``, or has an unknown or invalid entry.
        """
        names = [field.name for field in fields(cls)]
        if not isinstance(values, dict) or "input_size" not in values or not set(values) <= set(names):
            raise ValueError(
                f"span_filter={values!r} must be None, or a dict with 'input_size' and no keys other than {names}"
            )
        return cls(**values)

    def to_dict(self) -> dict[str, Any]:
        """Return the settings that are not None, for JSON."""
        return {name: value for name, value in asdict(self).items() if value is not None}
