"""Reports as text, and tables as text and as Markdown."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from typing import Any

from span_marker.core.json_values import json_value


class TextReport(ABC):
    """A report: a dataclass that is printed as text, also in notebooks, and can be converted to JSON values.

    Its ``repr`` stays that of its dataclass.
    """

    @abstractmethod
    def __str__(self) -> str:
        """Write the report as text, in several lines."""

    def to_dict(self) -> dict[str, Any]:
        """Return all attributes of the report as JSON values, at any depth.

        Named tuples are dicts of their fields, and arrays are lists. Numbers that JSON cannot represent (nan) are None.

        Returns:
            A dict that ``json.dumps`` accepts.

        Raises:
            TypeError: If an attribute has a value that JSON cannot represent, such as bytes in a column of the data.
        """
        values: dict[str, Any] = json_value(self)
        return values

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        """Return the output for notebooks. IPython would prefer a dataclass's ``repr`` to ``_repr_pretty_``."""
        return {"text/plain": str(self)}


def text_table(table: Sequence[Sequence[str]]) -> str:
    """Lay out a table of text, with its first column aligned to the left and the others to the right.

    Args:
        table: The cells of each row.

    Returns:
        The rows as lines.
    """
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    return "\n".join(
        "  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]).rstrip() for row in table
    )


def markdown_table(titles: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    r"""Write a table in Markdown.

    Args:
        titles: Titles of the columns.
        rows: Cells of each row; ``|`` is escaped.

    Returns:
        The table.

    Example:
        >>> print(markdown_table(["Label", "Examples"], [("a|b", "x")]))
        | Label | Examples |
        |:------|:---------|
        | a\|b  | x        |
    """
    cells = [[cell.replace("|", "\\|") for cell in row] for row in (titles, *rows)]
    widths = [max(len(cell) for cell in column) for column in zip(*cells, strict=True)]
    lines = ["| " + " | ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)) + " |" for row in cells]
    lines.insert(1, "|" + "|".join(":" + "-" * (width + 1) for width in widths) + "|")
    return "\n".join(lines)
