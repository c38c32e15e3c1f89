"""Conversion to JSON values, for the ``to_dict`` of every report."""

from __future__ import annotations

import datetime
import math
from collections.abc import Mapping, Set
from dataclasses import fields, is_dataclass
from typing import Any

import numpy as np


def json_value(value: Any) -> Any:
    """Convert a value to one that ``json.dumps(..., allow_nan=False)`` accepts.

    Args:
        value: None, a string, a number, a date or time, or a NumPy array; or a dataclass, a named tuple, a mapping, a
            list, a tuple or a set of such values.

    Returns:
        The value. Dataclasses and named tuples are dicts of their fields, dates are in ISO 8601, and numbers that JSON
        cannot represent (nan and the infinities) are None. The keys of dicts are strings.

    Raises:
        TypeError: If it is, or contains, a value of another type.

    Example:
        >>> json_value({"f1": np.float64(0.5), "loss": math.nan, "range": (0, 2)})
        {'f1': 0.5, 'loss': None, 'range': [0, 2]}
    """
    if value is None or isinstance(value, (str, bool, int)):
        return value
    if isinstance(value, float) and not isinstance(value, np.generic):
        return value if math.isfinite(value) else None
    if isinstance(value, (np.ndarray, np.generic)):
        return json_value(value.tolist())
    if isinstance(value, (datetime.date, datetime.time)):
        return value.isoformat()
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: json_value(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return {name: json_value(part) for name, part in zip(value._fields, value, strict=True)}
    if isinstance(value, Mapping):
        return {str(key): json_value(part) for key, part in value.items()}
    if isinstance(value, (list, tuple, Set)):
        return [json_value(part) for part in value]
    raise TypeError(f"a value of type {type(value).__name__} cannot be represented in JSON: {value!r:.80}")
