"""Settings of the filters of candidates and of pairs, which are part of a configuration."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import MISSING, asdict, dataclass, fields
from numbers import Real
from typing import Any, ClassVar, TypeVar

from span_marker.core.checks import check_limit, check_probability

Settings = TypeVar("Settings", bound="_FilterConfig")

LARGEST_STATE = 10**5
"""The maximum size of a text state: larger than that of any encoder, small enough to build a filter quickly."""


@dataclass(frozen=True)
class _FilterConfig:
    """Settings that are saved as a dict."""

    name: ClassVar[str]
    """Name of the settings in the configuration of a model."""

    @classmethod
    def from_dict(cls: type[Settings], values: Any) -> Settings:
        """Read the settings from the output of `to_dict`.

        Args:
            values: The dict.

        Returns:
            The settings.

        Raises:
            TypeError: If an entry is not a number.
            ValueError: If ``values`` is not a dict, lacks an entry, or has an unknown or invalid one.
        """
        known = [field.name for field in fields(cls)]
        needed = [field.name for field in fields(cls) if field.default is MISSING]
        if not isinstance(values, dict) or not set(needed) <= set(values) <= set(known):
            listed = ", ".join(map(repr, needed))
            raise ValueError(
                f"{cls.name}={values!r} must be None, or a dict with {listed} and no keys other than {known}"
            )
        return cls(**values)

    def to_dict(self) -> dict[str, Any]:
        """Return the settings that are not None, for JSON."""
        return {name: value for name, value in asdict(self).items() if value is not None}


@dataclass(frozen=True)
class SpanFilterConfig(_FilterConfig):
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

    name: ClassVar[str] = "span_filter"

    input_size: int
    threshold: float | None = None
    entity_max_length: int | None = None
    recall: float | None = None
    candidates_kept: float | None = None

    def __post_init__(self) -> None:
        check_limit("span_filter.input_size", self.input_size, at_least=1, at_most=LARGEST_STATE)
        if self.threshold is not None:
            _check_threshold("span_filter.threshold", self.threshold)
            check_probability("span_filter.candidates_kept", self.candidates_kept)


@dataclass(frozen=True)
class PairFilterConfig(_FilterConfig):
    """Settings of the filter of pairs of entities.

    Args:
        input_size: Size of the text states that the filter reads.
        threshold: The minimum score of pairs that get markers.
        recall: The share of the relations that the threshold must keep.
        pairs_kept: The share of the pairs that the threshold keeps.

    Raises:
        TypeError: If an entry is not a number.
        ValueError: If an entry is out of range.
    """

    name: ClassVar[str] = "pair_filter"

    input_size: int
    threshold: float
    recall: float
    pairs_kept: float

    def __post_init__(self) -> None:
        check_limit("pair_filter.input_size", self.input_size, at_least=1, at_most=LARGEST_STATE)
        _check_threshold("pair_filter.threshold", self.threshold)
        check_probability("pair_filter.recall", self.recall)
        check_probability("pair_filter.pairs_kept", self.pairs_kept)


@contextmanager
def without_pair_filter(config: Any) -> Iterator[None]:
    """Score all pairs in a ``with`` block, whatever ``config.exact`` says of candidates.

    Args:
        config: The configuration of a model. The pair filter of the model is not used meanwhile.
    """
    former, config.pair_filter = config.pair_filter, None
    try:
        yield
    finally:
        config.pair_filter = former


def _check_threshold(name: str, value: Any) -> None:
    if isinstance(value, bool) or not isinstance(value, Real):
        raise TypeError(f"{name}={value!r} must be a number")
    if not math.isfinite(float(value)):
        raise ValueError(f"{name}={value!r} must be finite")
