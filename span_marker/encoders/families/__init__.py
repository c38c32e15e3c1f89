"""Families of encoders: how each runs on either engine, and what its configuration says about layers and positions.

No other package knows a single family. To add one, write a module here that defines its `Family`, and register it in
`span_marker.encoders.families.table` by its model type. Start from `STANDARD`, which fits most encoders, and replace
what differs. The tests then require a tiny configuration in ``tests/tiny.py``, and compare both engines with the
reference implementation.
"""

from span_marker.encoders.families.common import (
    STANDARD,
    DenseRun,
    Family,
    PackedRun,
    run_standard,
    run_standard_dense,
)
from span_marker.encoders.families.table import FAMILIES, family_of

__all__ = [
    "FAMILIES",
    "STANDARD",
    "DenseRun",
    "Family",
    "PackedRun",
    "family_of",
    "run_standard",
    "run_standard_dense",
]
