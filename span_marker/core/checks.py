"""Checks of arguments with consistent messages, and of errors raised by functions of the caller."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable
from numbers import Integral, Real
from typing import Any, ParamSpec, TypeVar

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")


def check_limit(
    name: str, value: Any, at_least: int, at_most: int | None = None, also: tuple[str | None, ...] = ()
) -> None:
    """Check a whole number.

    Args:
        name: Name of the argument, for errors.
        value: The value.
        at_least: The minimum allowed value.
        at_most: The maximum allowed value; None for no maximum.
        also: Other allowed values, such as None.

    Raises:
        TypeError: If the value is not a whole number.
        ValueError: If the value is too low or too high.
    """
    if (value is None or isinstance(value, str)) and value in also:
        return
    if isinstance(value, bool) or not isinstance(value, Integral):
        raise TypeError(f"{name}={value!r} must be a whole number{''.join(f' or {other!r}' for other in also)}")
    if int(value) < at_least:
        raise ValueError(f"{name}={value} must be at least {at_least}")
    if at_most is not None and int(value) > at_most:
        raise ValueError(f"{name}={value} must be at most {at_most}")


def check_probability(name: str, value: Any) -> None:
    """Check a number from 0 to 1.

    Args:
        name: Name of the argument, for errors.
        value: The value.

    Raises:
        TypeError: If the value is not a number.
        ValueError: If the value is out of range.
    """
    if isinstance(value, bool) or not isinstance(value, Real):
        raise TypeError(f"{name}={value!r} must be a number from 0 to 1")
    if not 0 <= float(value) <= 1:
        raise ValueError(f"{name}={value!r} must be from 0 to 1")


def without_stop_iteration(function: Callable[Arguments, Result]) -> Callable[Arguments, Result]:
    """Make a function raise RuntimeError instead of StopIteration, as generators do (PEP 479).

    A ``map`` ends silently if its function raises StopIteration, and code that awaits a thread of asyncio waits
    forever.

    Args:
        function: The function, which calls functions of the caller.

    Returns:
        The function.
    """

    @functools.wraps(function)
    def run(*args: Arguments.args, **kwargs: Arguments.kwargs) -> Result:
        try:
            return function(*args, **kwargs)
        except StopIteration as error:
            raise RuntimeError(
                "split_sentences, a word splitter or a hook raised StopIteration, which would silently end a loop: "
                "make it return a value, or raise another error"
            ) from error

    return run


def refuse_single_text(texts: Any, name: str) -> None:
    """Check that a caller did not pass a single text instead of several.

    Args:
        texts: The value that was passed.
        name: What to call it in errors.

    Raises:
        TypeError: If it is a string.
    """
    if isinstance(texts, str):
        raise TypeError(
            f"{name} must be a list of texts, not a single string, whose characters would each be read as a text"
        )


def check_texts(texts: Iterable[Any], name: str) -> list[str]:
    """Check that all items are texts.

    Args:
        texts: The items.
        name: What to call all of them in errors.

    Returns:
        The texts.

    Raises:
        TypeError: If an item is not a string, or ``texts`` is a single one.
    """
    refuse_single_text(texts, name)
    checked = list(texts)
    for index, text in enumerate(checked):
        if not isinstance(text, str):
            raise TypeError(f"item {index} of {name} must be a string, not {type(text).__name__}")
    return checked
