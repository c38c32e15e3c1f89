"""Values of rows: lists and whole numbers of any type."""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Integral, Real
from typing import Any, TypeGuard


def check_list(value: Any, name: str) -> Sequence[Any]:
    """Check that a value is a list or a tuple, and return it."""
    if not is_list(value):
        raise TypeError(f"{name} must be a list, not {type(value).__name__}")
    return value


def is_list(value: Any) -> bool:
    """Tell whether a value is a list or a tuple."""
    return isinstance(value, (list, tuple))


def is_whole(value: Any) -> TypeGuard[int]:
    """Tell whether a value is a whole number, of Python or of NumPy; a bool is not."""
    return type(value) is int or (isinstance(value, Integral) and not isinstance(value, bool))


def as_whole(value: Any) -> int | None:
    """Read a whole number, which may be a float without a fraction.

    Args:
        value: The value.

    Returns:
        The number; None if it is none.

    Example:
        >>> as_whole(3.0), as_whole(3.5), as_whole("3"), as_whole(True)
        (3, None, None, None)
    """
    if type(value) is int:  # the most frequent, and the quickest
        return value
    if is_whole(value):
        return int(value)
    is_float = isinstance(value, Real) and not isinstance(value, (bool, Integral))
    return int(value) if is_float and float(value).is_integer() else None


def suggest_dict(entity: Any) -> str:
    """Write an entity as a dict, for errors.

    Args:
        entity: An entity in another form.

    Returns:
        A hint, if it is a list of a label, a start and an end, in any order; otherwise nothing.

    Example:
        >>> suggest_dict([0, 3, "PER"])
        ": write {'label': 'PER', 'start': 0, 'end': 3}"
    """
    items = list(entity) if is_list(entity) else []
    labels = [item for item in items if isinstance(item, str)]
    places = [place for item in items if not isinstance(item, str) and (place := as_whole(item)) is not None]
    if len(labels) != 1 or len(places) != 2 or len(items) != 3:
        return ""
    return f": write {dict(zip(('label', 'start', 'end'), (*labels, *places), strict=True))!r}"
