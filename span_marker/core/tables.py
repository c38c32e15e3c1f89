"""Tables as text and as Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Sequence


def text_table(table: Sequence[Sequence[str]]) -> str:
    """Lay out a table of text, its first column to the left, the others to the right.

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
        rows: Cells; what would end a cell is escaped.

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
