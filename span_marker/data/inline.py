r"""Inline annotation: one text per line, with entities in it.

An entity is written as in ``[Amelia Earhart](person) flew to [Paris](place)``. Entities may be nested. A backslash
makes a bracket, a parenthesis, a ``#`` or a backslash a part of the text or the label; before any other character, a
backslash is one itself. Blank lines and lines that begin with ``#`` are skipped.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from span_marker.data.row_errors import OnError
from span_marker.data.row_writing import converted_rows
from span_marker.data.rows import Row, RowEntity, as_text, check_entity, distinct
from span_marker.data.text_files import SourceFile, StrPath, writing

if TYPE_CHECKING:
    from datasets import Dataset

logger = logging.getLogger(__name__)

_COMMENT, _BYTE_ORDER_MARK = "#", "\ufeff"

_SPECIAL = rf"\\\[\]()#{_BYTE_ORDER_MARK}"
"""What a backslash may stand before; the last at the beginning of a file, where it would get lost."""

_ESCAPED = re.compile(rf"\\([{_SPECIAL}])")
_LABEL = rf"\((?P<label>(?:\\[{_SPECIAL}]|\\(?![{_SPECIAL}])|[^\\()\[\]\s])+)\)"
_PART = re.compile(rf"\\(?P<escaped>[{_SPECIAL}])|(?P<open>\[)|(?P<close>\])(?:{_LABEL})?")

_IN_TEXTS, _IN_LABELS = re.compile(r"[\\\[\]]"), re.compile(r"[\\\[\]()]")
"""What needs a backslash."""

_ESCAPE = r"\\\g<0>"

_SHOWN = 40
"""How many characters of a line an error shows."""


def read_inline(file: SourceFile) -> list[dict[str, Any]]:
    """Read a file of texts with inline annotation.

    Args:
        file: The file, which collects the errors of lines.

    Returns:
        Rows with ``text`` and entities.
    """
    rows: list[dict[str, Any]] = []
    for number, line in enumerate(file.text().split("\n"), start=1):
        if line.strip() and not line.startswith(_COMMENT):
            with file.row():
                rows.append(parse_line(line, f"{file}, line {number}, row {len(rows) + len(file.errors)}"))
    if links := [e["label"] for row in rows for e in row["entities"] if "://" in e["label"]]:
        logger.warning("%s: links, such as the one to %s, are read as %d entities", file, links[0], len(links))
    return rows


def parse_line(line: str, location: str) -> dict[str, Any]:
    """Split an annotated line into its text and its entities.

    Args:
        line: The line, without its end.
        location: What to call it in errors.

    Returns:
        A row with ``text`` and ``entities``.

    Raises:
        ValueError: If a bracket belongs to no entity, or an entity is empty or has no label.

    Example:
        >>> parse_line("[Ann](PER) left.", "line 1")
        {'text': 'Ann left.', 'entities': [{'label': 'PER', 'start': 0, 'end': 3}]}
    """
    text, behind = "", 0
    opened: list[tuple[int, int]] = []  # where each bracket stands in the line, and where its entity starts in the text
    spans: list[tuple[str, int, int]] = []
    for part in _PART.finditer(line):
        text += line[behind : part.start()] + (part["escaped"] or "")
        behind = part.end()
        if part["open"]:
            opened.append((part.start(), len(text)))
        elif part["close"]:
            if not opened:
                raise _stray(line, part.start(), "closes none", location)
            place, start = opened.pop()
            if part["label"] is None:
                raise _stray(line, place, "has no label", location)
            spans.append((_ESCAPED.sub(r"\1", part["label"]), start, len(text)))
    if opened:
        raise _stray(line, opened[-1][0], "is not closed", location)
    text += line[behind:]
    entities = [
        check_entity({"label": label, "start": start, "end": end}, len(text), "characters", location)
        for label, start, end in spans
    ]
    return {"text": text, "entities": [entity.to_dict() for entity in distinct(entities)]}


def _stray(line: str, place: int, problem: str, location: str) -> ValueError:
    shown = line[place : place + _SHOWN]
    return ValueError(
        f"{location}: the bracket of {shown!r}, at column {place + 1}, {problem}: an entity is [text](label), without "
        r"white space before or in the label, and a bracket that is part of the text is \[ or \]"
    )


def write_inline(path: StrPath, rows: Dataset | Iterable[Mapping[str, Any]], errors: OnError = "raise") -> None:
    """Write each row as a line of text with inline annotation.

    Words are joined by single spaces. Scores and other columns are not written.

    Args:
        path: The file.
        rows: A data set annotated in any form, or rows with ``tokens`` or ``text``, and ``entities``.
        errors: What to do with rows that cannot be written, see `span_marker.data.jsonl.write_jsonl`.

    Raises:
        TypeError: If a row has a value of the wrong type.
        ValueError: If a row is invalid, its text is empty or has a line break, a label has white space, or entities
            overlap without being nested.
    """
    lines = list(converted_rows(rows, _to_line, errors))
    with writing(path) as file:
        file.writelines(f"{line}\n" for line in lines)


def _to_line(index: int, columns: Mapping[str, Any], row: Row) -> str:
    location = f"row {index}"
    text, entities = as_text(row)
    _check(text, entities, location)
    marks: list[tuple[int, int, int, str]] = []  # where one ends, others may begin; what began last ends first
    around: list[RowEntity] = []
    for number, entity in enumerate(distinct(entities)):
        while around and around[-1].end <= entity.start:
            around.pop()
        if around and around[-1].end < entity.end:
            raise ValueError(
                f"{location}: the entities {around[-1].label!r} and {entity.label!r} overlap from character "
                f"{entity.start} to {around[-1].end}, and neither is within the other: inline annotation cannot "
                "represent them"
            )
        around.append(entity)
        marks.append((entity.start, 1, number, "["))
        marks.append((entity.end, 0, -number, f"]({_IN_LABELS.sub(_ESCAPE, entity.label)})"))
    line, behind = "", 0
    for place, _, _, mark in sorted(marks):
        line += _IN_TEXTS.sub(_ESCAPE, text[behind:place]) + mark
        behind = place
    line += _IN_TEXTS.sub(_ESCAPE, text[behind:])
    return f"\\{line}" if line.startswith((_COMMENT, _BYTE_ORDER_MARK)) else line


def _check(text: str, entities: Iterable[RowEntity], location: str) -> None:
    if not text.strip() or "\n" in text or "\r" in text:
        raise ValueError(f"{location}: {text!r:.80} is empty or has a line break, but inline annotation needs one line")
    for entity in entities:
        if entity.start == entity.end:
            raise ValueError(f"{location}: the entity {entity.label!r} has only empty words")
        if any(character.isspace() for character in entity.label):
            raise ValueError(
                f"{location}: the label {entity.label!r} has white space, which inline annotation cannot represent"
            )
