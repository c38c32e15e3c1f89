"""Translate messages of the library for the command line: arguments of functions become options of commands."""

from __future__ import annotations

import inspect
import logging
import re
from collections.abc import Callable, Mapping
from typing import Any, get_type_hints

from typer.models import OptionInfo

_OTHER_NAMES = {"key": "--key-file"}
"""Options that correspond to an argument with another name."""

_NO_OPTIONS = {"is_split_into_words": "a column 'tokens'/a column 'text'"}
"""Replacements for an argument that no command has, if it is True and if it is False."""


def in_options(text: str, names: Mapping[str, str]) -> str:
    """Replace names of arguments in a text with those of options.

    Args:
        text: A message of the library, which names an argument as ``name=value``, or just by name if it has an
            underscore.
        names: The options by argument name. Options that end with ``=`` are followed by the value without a space;
            those with ``/`` include the option for False.

    Returns:
        The text.

    Example:
        >>> in_options("pass resume=True, or batch_size=4", {"resume": "--resume", "batch_size": "--batch-size"})
        'pass --resume, or --batch-size 4'
    """
    if not names:
        return text
    known = "|".join(sorted(map(re.escape, names), key=len, reverse=True))
    start = r"(?<![\w.'\"=-])(?<!--read )(?<!--write )"  # neither a part of a name, nor quoted, nor an option already

    def with_value(match: re.Match[str]) -> str:
        option, _, negative = names[match[1]].partition("/")
        if match[2] == "False":
            return negative or f"{option} False"
        return option if option.endswith("=") or match[2] is not None else f"{option} "

    text = re.sub(rf"{start}({known})=(True\b|False\b|(?=[\s,.;:)]|$))?", with_value, text)
    alone = re.compile(rf"{start}({known})(?![=\w'\"(]|\.\w)")
    return alone.sub(lambda match: names[match[1]].partition("/")[0].rstrip("=") if "_" in match[1] else match[1], text)


def option_names(command: Callable[..., Any]) -> dict[str, str]:
    """Find the options of a command.

    Args:
        command: Its function.

    Returns:
        The options by argument name, including those of ``--read``.
    """
    names: dict[str, str] = {}
    for name, hint in get_type_hints(command, include_extras=True).items():
        for option in getattr(hint, "__metadata__", ()):
            if isinstance(option, OptionInfo):
                words = (option.default, *(option.param_decls or ()))  # within Annotated, the first is an option, too
                spelled = (word for word in words if isinstance(word, str) and word.startswith("--"))
                names[name] = next(spelled, f"--{name.replace('_', '-')}")
    for name, option in _OTHER_NAMES.items():
        if option in names.values():
            names[name] = option
    return {**_NO_OPTIONS, **(read_names("--read") if "read" in names else {}), **names}


def read_names(option: str) -> dict[str, str]:
    """Find the names accepted by an option such as ``--read NAME=VALUE``.

    Args:
        option: The option.

    Returns:
        The option with the name, by argument of `span_marker.read_annotations`.
    """
    from span_marker import read_annotations

    return {name: f"{option} {name}=" for name in [*inspect.signature(read_annotations).parameters][2:]}


class OptionFormatter(logging.Formatter):
    """Replaces names of arguments in log messages with those of options.

    Attributes:
        names: The options of the command that runs, see `in_options`.
    """

    names: Mapping[str, str] = {}

    def format(self, record: logging.LogRecord) -> str:
        """See ``logging.Formatter``."""
        return in_options(super().format(record), self.names)
