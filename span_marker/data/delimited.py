"""Tables in text files, with any of four delimiters: their header and their lines."""

from __future__ import annotations

import csv
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

DELIMITERS = "\t,;|"
"""What may be between two cells."""

_OTHER_SEPARATORS = frozenset(",;|:/_\u3000\u00a0\u2003\u2002\uff0c")

_ONE_WORD = re.compile(r"://|^[\w.+-]+@|[.,:/]\d+$")
"""What addresses, times, dates and numbers have, but neither a word nor its tag."""

_MAX_CELL = 2**31 - 1

_SEPARATOR_LINE = re.compile(r'"?sep=([^\r\n"\w\s]|\t)"?', re.IGNORECASE)


def named_delimiter(line: str) -> str | None:
    """Find the delimiter in a line such as ``sep=;``, which Excel reads and writes before the header.

    Args:
        line: The first line of a file.

    Returns:
        The delimiter; None if it is another line.

    Example:
        >>> named_delimiter("sep=;"), named_delimiter("text;label")
        (';', None)
    """
    match = _SEPARATOR_LINE.fullmatch(line.rstrip("\r\n"))
    return match[1] if match else None


def split_header(line: str, delimiters: str = DELIMITERS) -> list[tuple[str, list[str]]]:
    """Split the header of a table by each delimiter.

    Args:
        line: The line.
        delimiters: What may be between two cells.

    Returns:
        Each delimiter, and the names that it makes of the line.
    """
    first = line.rstrip("\r\n")
    return [(delimiter, next(csv.reader([first], delimiter=delimiter), [])) for delimiter in delimiters]


def trim_names(names: Sequence[str]) -> list[str]:
    """Leave out empty names at the end, which spreadsheets write where columns were deleted.

    Args:
        names: The cells of a header.

    Returns:
        The names.

    Example:
        >>> trim_names(["", "text", "label", "", ""])
        ['', 'text', 'label']
    """
    return list(names[: max((index for index, name in enumerate(names, start=1) if name), default=0)])


def read_cells(lines: Iterable[str], delimiter: str, path: object) -> Iterator[tuple[int, list[str]]]:
    """Read the lines of a table.

    Args:
        lines: The lines with their ends, the header first, or a `named_delimiter` before it. A cell in quotes may have
            line ends.
        delimiter: What is between two cells.
        path: The file, for errors.

    Yields:
        The number of the first line of each row, from 1, and its cells; none for a blank line.

    Raises:
        ValueError: If quotes are wrong.
    """
    limit = csv.field_size_limit(_MAX_CELL)  # of the whole process: a document may be longer than its default
    number = 1
    try:
        reader = csv.reader(lines, delimiter=delimiter, strict=True)
        for cells in reader:
            yield number, cells
            number = reader.line_num + 1
    except csv.Error as error:
        raise ValueError(f"{path}, line {number}: {error}: a cell with a quote must be in quotes") from error
    finally:
        csv.field_size_limit(limit)


def name_cells(cells: Sequence[str], names: Sequence[str], delimiter: str, location: str) -> dict[str, str]:
    """Give cells the names of their columns.

    Args:
        cells: The cells of a row.
        names: The names. Columns without one at the end must be empty, and are left out.
        delimiter: What is between two cells.
        location: What to call the row in errors.

    Returns:
        The cells by name.

    Raises:
        ValueError: If there are too few or too many, or one has no name.
    """
    if len(cells) != len(names):
        raise ValueError(
            f"{location} has {len(cells)} cells, but there are {len(names)} columns: a cell with {delimiter!r} or a "
            "quote must be in quotes"
        )
    named = trim_names(names)
    if unnamed := [cell for cell in cells[len(named) :] if cell]:
        raise ValueError(f"{location} has {unnamed[0]!r:.70} in a column without a name: name it in the first line")
    return dict(zip(named, cells, strict=False))


def refuse_other_separators(lines: Sequence[str], location: str, advice: str) -> None:
    """Refuse lines that have a character between other ones, in at least half of them, that may separate columns.

    Args:
        lines: Lines of a column file without tabs and spaces.
        location: What to call the first one in errors.
        advice: What else to pass, for the error.

    Raises:
        ValueError: If there is such a character, and what follows it is no number, as in times, and no part of an
            address.
    """
    columns = [line for line in lines if not _ONE_WORD.search(line)]
    others = Counter(character for line in columns for character in {*line[1:-1]} & _OTHER_SEPARATORS)
    for character, number in others.most_common(1):
        if 2 * number >= len(lines):
            example = next(line for line in columns if character in line)
            raise ValueError(
                f"{location}: there are no tabs or spaces between words and tags, but {character!r} may separate them, "
                f"as in {example!r:.80}: write tabs, or pass {advice}"
            )
