"""Families of encoders: how each runs packed tokens, and how each runs text and markers under a dense mask."""

from span_marker.encoders.families.common import (
    FAMILIES,
    STANDARD,
    DenseRun,
    Family,
    PackedRun,
    run_standard,
    run_standard_dense,
)

__all__ = ["FAMILIES", "STANDARD", "DenseRun", "Family", "PackedRun", "run_standard", "run_standard_dense"]
