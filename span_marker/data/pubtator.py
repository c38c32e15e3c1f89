"""PubTator's format: title, abstract, and one line per mention. Offsets count over both, with one character between."""

from __future__ import annotations

import logging
import re
from typing import Any

from span_marker.data.copies import check_copy
from span_marker.data.rows import check_entity
from span_marker.data.text_files import SourceFile

logger = logging.getLogger(__name__)

_PART = re.compile(r"([^|\s]+)\|([ta])\|(.*)", re.DOTALL)


def is_pubtator(head: str) -> bool:
    """Tell whether a file is of this format, by its first title and abstract."""
    return re.match(r"\s*([^|\s]+)\|t\|[^\n]*\n\1\|a\|", head) is not None


def read_pubtator(path: SourceFile) -> list[dict[str, Any]]:
    """Read a file of abstracts.

    Args:
        path: The file. It collects the errors of articles.

    Returns:
        Rows with entities and ``id``, the number of the article. The text is the title, a space, and the abstract.
    """
    rows: dict[str, dict[str, Any]] = {}
    abstracts: set[str] = set()
    relations: list[int] = []
    for number, line in enumerate(path.text().split("\n"), start=1):
        location = f"{path}, line {number}, row {max(len(rows) - 1, 0)}"
        cells = line.split("\t")
        article = re.split(r"[|\t]", line, maxsplit=1)[0]
        with path.row(article if article in rows else next(reversed(rows), None)):
            if part := _PART.fullmatch(line):
                _add_part(rows, abstracts, part[1], part[2], part[3], location)
            elif len(cells) >= 4 and not cells[1].isdecimal() and cells[0] in rows:
                relations.append(number)
            elif line.strip():
                _add_entity(rows, cells, line, location)
    if relations:
        logger.warning("%s: %d lines with relations are not read: lines %s", path, len(relations), relations[:5])
    return [row for article, row in rows.items() if article not in path.wrong]


def _add_part(
    rows: dict[str, dict[str, Any]], abstracts: set[str], article: str, kind: str, text: str, location: str
) -> None:
    if kind == "t":
        if article in rows:
            raise ValueError(f"{location}: the article {article} occurs twice")
        rows[article] = {"id": article, "text": text, "entities": []}
        return
    if article not in rows or rows[article]["entities"]:
        raise ValueError(f"{location}: the abstract of {article} must follow its title")
    if article in abstracts:
        raise ValueError(f"{location}: the article {article} has two abstracts")
    abstracts.add(article)
    rows[article]["text"] += f" {text}"


def _add_entity(rows: dict[str, dict[str, Any]], cells: list[str], line: str, location: str) -> None:
    """Read ``article, start, end, mention, type`` and what may follow."""
    if len(cells) < 5 or not (cells[1].isdecimal() and cells[2].isdecimal()):
        raise ValueError(
            f"{location}: {line!r:.200} has none of the forms 'ARTICLE|t|TITLE', 'ARTICLE|a|ABSTRACT' and "
            "'ARTICLE<TAB>START<TAB>END<TAB>MENTION<TAB>TYPE'"
        )
    article, start, end, mention, label = cells[:5]
    if article not in rows:
        raise ValueError(f"{location}: the article {article} has no title above this line")
    text = rows[article]["text"]
    entity = check_entity({"label": label, "start": int(start), "end": int(end)}, len(text), "characters", location)
    check_copy(text, [(entity.start, entity.end)], mention, location)
    rows[article]["entities"].append(entity.to_dict())
