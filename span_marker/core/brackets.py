"""Columns of brackets: ``(ORG*`` where an entity begins, ``*)`` where it ends, as in CoNLL-2005, 2011 and 2012."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence

from span_marker.core.labels import LabelledSpan

NOTHING = "*"
"""The cell of a word at which no entity begins or ends."""

_CELL = re.compile(r"((?:\([^()*\s]+)*)\*?(\)*)")


def are_brackets(cells: Collection[str]) -> bool:
    """Return whether a column contains brackets: most of its cells do, or are ``*``, and some contain a ``*``.

    Args:
        cells: The cells of the column.

    Returns:
        Whether it does.

    Example:
        >>> are_brackets(["(PER*", "*)", "*"]), are_brackets(["*"]), are_brackets(["O", "(PER)"])
        (True, True, False)
    """
    if not any(NOTHING in cell for cell in cells):
        return False
    return 2 * sum(bool(cell and _CELL.fullmatch(cell)) for cell in cells) > len(cells)


def brackets_to_entities(cells: Sequence[str]) -> list[LabelledSpan]:
    """Read the entities of a sentence. A closing bracket refers to the last open one.

    Args:
        cells: One cell per word.

    Returns:
        The entities in order of their start, longer ones first. They may be nested.

    Raises:
        ValueError: If a cell contains anything else, or a bracket is not closed or was not opened.

    Example:
        >>> [tuple(entity) for entity in brackets_to_entities(["(ORG(GPE*)", "*)", "*", "(GPE)"])]
        [('ORG', 0, 2), ('GPE', 0, 1), ('GPE', 3, 4)]
    """
    entities: list[LabelledSpan] = []
    opened: list[int] = []  # indices of entities
    for word, cell in enumerate(cells):
        match = _CELL.fullmatch(cell)
        if not cell or match is None:
            raise ValueError(f"{cell!r} (word {word}) must be *, or contain brackets such as (LABEL* and *)")
        for label in match[1].split("(")[1:]:
            opened.append(len(entities))
            entities.append(LabelledSpan(label, word, word))
        for _ in match[2]:
            if not opened:
                raise ValueError(f"{cell!r} (word {word}) closes a bracket that was not opened")
            index = opened.pop()
            entities[index] = entities[index]._replace(end=word + 1)
    if opened:
        label, start, _ = entities[opened[-1]]
        raise ValueError(f"the bracket of {label!r} (word {start}) is not closed in its sentence")
    return entities
