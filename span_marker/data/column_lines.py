"""Column files: their lines as sentences of words with cells.

A word may be ``#``. A line is a comment only before the first word of a sentence, and only if it cannot be a word.
"""

from __future__ import annotations

import logging
import re
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

from span_marker.data.column_names import tag_names
from span_marker.data.text_files import SourceFile

logger = logging.getLogger(__name__)

DOCUMENT_START = "-DOCSTART-"

COMMENT = re.compile("#(?:[ \t]|$)")

_DOCUMENT_LINE = re.compile(rf"{DOCUMENT_START}(?:[ \t]|$)|#(?:begin|end) document\b")
_BEGIN_2012 = re.compile(r"^#begin document\b", re.MULTILINE)
_HEAD = 4096
_KEY_AND_VALUE = re.compile(r"# *\S+ = ")

_WIDTH_2012, _TOKEN_2012 = 11, 3
"""Number of columns of CoNLL-2012 up to that of named entities, and the column of the words. The number of those behind
them differs from sentence to sentence."""


class Word(NamedTuple):
    """A word with its line, and the number of this, from 1."""

    number: int
    line: str
    cells: list[str]


class Sentence(NamedTuple):
    """A sentence with its number, from 0, and that of its document; -1 before the first document."""

    row: int
    document: int
    words: list[Word]


class Layout(NamedTuple):
    """What the lines of a file have in common.

    Attributes:
        has_tabs: Whether tabs separate the columns, instead of spaces.
        width: Number of columns.
        example: A line with so many columns.
        is_2012: Whether it is that of CoNLL-2011 and 2012.
    """

    has_tabs: bool
    width: int
    example: str
    is_2012: bool = False

    def split(self, line: str) -> list[str]:
        """Split a line into the cells that are read."""
        cells = line.split("\t") if self.has_tabs else re.split(" +", line)
        return cells[:_WIDTH_2012] if self.is_2012 else cells

    def pick_token(self, column: int | None) -> int:
        """Return the column of the words: the one that is given, or else that of the layout."""
        return column if column is not None else _TOKEN_2012 if self.is_2012 else 0


def is_conll_2012(head: str) -> bool:
    """Tell whether a column file is one of CoNLL-2011 or 2012, by its beginning.

    Args:
        head: The beginning of the file.

    Returns:
        Whether it has a line ``#begin document``, and all columns up to that of named entities.
    """
    words = (line for line in re.split("[\r\n]+", head) if line.strip() and not line.startswith("#"))
    return _BEGIN_2012.search(head) is not None and len(next(words, "").split()) >= _WIDTH_2012


def split_sentences(file: SourceFile) -> tuple[Layout, list[Sentence]]:
    """Split a column file into sentences, words and cells.

    Args:
        file: The file.

    Returns:
        What its lines have in common, and the sentences. Lines with too few or too many cells are among them.

    Raises:
        ValueError: If the file has nothing but lines that may be comments.
    """
    text = file.text()
    lines = [line.rstrip(" \t") for line in text.split("\n")]
    regular = [line for line in lines if line and not _DOCUMENT_LINE.match(line)]
    layout = _find_layout(regular, is_conll_2012(text[:_HEAD]), file)
    _blank_header(lines, layout, file)
    sentences: list[Sentence] = []
    document, at_start = -1, True
    for number, line in enumerate(lines, start=1):
        if not line or _DOCUMENT_LINE.match(line):
            document += bool(line)
            at_start = True
            continue
        cells = layout.split(line)
        is_comment = at_start and COMMENT.match(line) is not None
        if is_comment and (len(cells) != layout.width or _KEY_AND_VALUE.match(line)):
            continue
        if at_start:
            sentences.append(Sentence(len(sentences), document, []))
            at_start = False
        sentences[-1].words.append(Word(number, line, cells))
    return layout, sentences


def _blank_header(lines: list[str], layout: Layout, file: SourceFile) -> None:
    """Make the first line blank if it has the names of the columns, of which none is what another line has there."""
    numbers = (number for number, line in enumerate(lines) if line and not _DOCUMENT_LINE.match(line))
    number = next((n for n in numbers if len(layout.split(lines[n])) == layout.width or lines[n][0] != "#"), None)
    cells = [] if number is None else layout.split(lines[number])
    names = tag_names(cells) if len(cells) == layout.width else set()
    if number is not None and names and not any(names & {*layout.split(line)[1:]} for line in lines[number + 1 :]):
        logger.warning("%s, line %d is read as column names: %s", file, number + 1, cells)
        lines[number] = ""


def _find_layout(lines: Sequence[str], is_2012: bool, file: SourceFile) -> Layout:
    """Find out what most lines have in common, comments apart."""
    words = [line for line in lines if not COMMENT.match(line)] or [line for line in lines if line.startswith("#\t")]
    if lines and not words:
        raise ValueError(f"{file} has only lines that begin with '# ', which may be comments or words")
    has_tabs = any("\t" in line for line in words) and 2 * sum("\t" in line for line in words) >= len(words)
    regular = [line for line in words if has_tabs == ("\t" in line)]
    widths = [len(Layout(has_tabs, 0, "", is_2012).split(line)) for line in regular]
    width = Counter(widths).most_common(1)[0][0] if widths else 0
    return Layout(has_tabs, width, regular[widths.index(width)] if widths else "", is_2012)
