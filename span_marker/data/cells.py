"""Cells of tables that hold lists: as JSON, as Python prints them, or with spaces between words."""

from __future__ import annotations

import ast
import json
from typing import Any

from span_marker.core.json_reading import RepeatedKeyError, json_problem, parse_json

_LIST_STARTS = ("['", '["', "('", '("')


def parse_words(cell: str, name: str) -> Any:
    """Read a list, as JSON or as Python prints it, or words separated by spaces.

    Args:
        cell: The cell. It has a list if it begins and ends with a bracket, or begins with a bracket and a quote.
        name: What to call it in errors.

    Returns:
        The words.

    Raises:
        ValueError: If the list is neither JSON nor as Python prints it.
    """
    cell = cell.strip()
    if (cell.startswith("[") and cell.endswith("]")) or cell.startswith(_LIST_STARTS):
        return parse_cell(cell, name)
    return cell.split()


def parse_tags(cell: str, name: str) -> Any:
    """Read a list, see `parse_cell`, or tags separated by spaces.

    Args:
        cell: The cell, which is not empty.
        name: What to call it in errors.

    Returns:
        The tags.

    Raises:
        ValueError: If there are commas or semicolons between them, or the list cannot be read.
    """
    if cell[0] in "[{(":
        return parse_cell(cell, name)
    tags = cell.split()
    if len(tags) > 1 and all(tag.endswith((",", ";")) for tag in tags[:-1]):
        raise ValueError(f"{name} has tags with {tags[0][-1]!r} between them: {cell!r:.100}: use spaces, or a list")
    return tags


def parse_cell(cell: str, name: str) -> Any:
    """Read a list or a dict, as JSON or as Python prints it.

    Args:
        cell: The cell.
        name: What to call it in errors.

    Returns:
        The value.

    Raises:
        ValueError: If it is neither.
    """
    try:
        return parse_json(cell)
    except RepeatedKeyError as error:
        raise ValueError(f"{name} {json_problem(error)}: {cell!r:.100}") from error
    except json.JSONDecodeError:
        pass
    try:
        value = ast.literal_eval(cell)
    except (ValueError, SyntaxError, RecursionError, MemoryError) as error:
        raise ValueError(f"{name} is neither a JSON list nor a Python list: {cell!r:.200}") from error
    # ['a' 'b'], as NumPy prints an array, would be one string.
    if repr(value) != cell:
        raise ValueError(f"{name} is neither JSON nor the Python form of {value!r:.100}: {cell!r:.100}: write lists")
    return value


def is_regions(cell: str) -> bool:
    """Tell whether a cell has results of a control of Label Studio: a JSON list of dicts.

    Args:
        cell: The cell.

    Returns:
        Whether it does.

    Example:
        >>> is_regions('[{"start": 0, "end": 3, "labels": ["PER"]}]'), is_regions("[1]"), is_regions("[sic]")
        (True, False, False)
    """
    if not (cell.startswith("[") and cell.endswith("]")):
        return False
    try:
        values = json.loads(cell)
    except (ValueError, RecursionError):
        return False
    return bool(values) and all(isinstance(value, dict) for value in values)
