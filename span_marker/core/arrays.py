"""Arrays of NumPy, on which the core works, and their conversion from tensors of PyTorch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, TypeAlias

import numpy.typing as npt

Array: TypeAlias = npt.NDArray[Any]

Batch: TypeAlias = Mapping[str, Any]
"""A batch, see `span_marker.preprocessing.data_collator.SpanMarkerDataCollator`: arrays, or tensors, by name."""


Precision: TypeAlias = Literal["float32", "float16", "bfloat16"]
"""A number format of weights."""


def as_array(values: Any) -> Array:
    """Convert numbers to NumPy, without importing PyTorch.

    Args:
        values: An array; or a tensor, on any device.

    Returns:
        The array itself; or the numbers of a tensor, in float32 unless they are whole numbers.
    """
    if not hasattr(values, "detach"):
        array: Array = values
        return array
    tensor = values.detach().cpu()
    array = (tensor.float() if tensor.is_floating_point() else tensor).numpy()
    return array
