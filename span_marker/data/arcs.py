"""Layout of relations as arcs over their entities, for HTML pages. Pure functions; the template draws the result."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple
from unicodedata import east_asian_width

from span_marker.data.row_relations import RowRelation

CHARACTER_WIDTH = 8
"""Pixels of a character of the diagram's monospaced font; wide ones, as those of Chinese, have two."""

LONGEST_TEXT = 32
"""Maximum number of characters of an entity in a box."""

PADDING = 8
GAP = 24
LEVEL_HEIGHT = 26
BOX_HEIGHT = 40
"""Pixels inside of boxes and between them, between two arcs, and of a box: its text, and its label below."""


class Box(NamedTuple):
    """An entity in a diagram.

    Attributes:
        text: Its text, shortened.
        label: Its label.
        number: Number of its label, as in `span_marker.data.html.Mark`.
        x: Left edge.
        width: Its width.
    """

    text: str
    label: str
    number: int
    x: int
    width: int

    @property
    def middle(self) -> int:
        """The middle of the box."""
        return self.x + self.width // 2


class Arc(NamedTuple):
    """A relation in a diagram.

    Attributes:
        label: Its label.
        title: Head, label and tail, and the score if there is one.
        start: Where the arc leaves its head, from the left.
        end: Where it reaches its tail.
        y: Its height, from the top.
    """

    label: str
    title: str
    start: int
    end: int
    y: int


class Diagram(NamedTuple):
    """Entities in a row, and arcs above them.

    Attributes:
        boxes: The entities that have a relation, in order of the text.
        arcs: The relations.
        width: Width of the diagram.
        top: Top edge of the boxes.
        height: Height of the diagram.
    """

    boxes: list[Box]
    arcs: list[Arc]
    width: int
    top: int
    height: int


def draw_arcs(entities: Sequence[tuple[str, str, int]], relations: Sequence[RowRelation]) -> Diagram | None:
    """Place relations over their entities. Arcs that would touch have different heights, shorter ones are lower.

    Args:
        entities: Text, label and number of the label of each entity, in order of the text.
        relations: The relations between them.

    Returns:
        The diagram; None without relations.
    """
    if not relations:
        return None
    chosen = sorted({end for relation in relations for end in (relation.head, relation.tail)})
    boxes: dict[int, Box] = {}
    x = PADDING
    for index in chosen:
        text, label, number = entities[index]
        shown = text if len(text) <= LONGEST_TEXT else f"{text[: LONGEST_TEXT - 1]}\N{HORIZONTAL ELLIPSIS}"
        boxes[index] = Box(shown, label, number, x, max(_width(shown), _width(label)) + 2 * PADDING)
        x += boxes[index].width + max(GAP, *(_width(r.label) for r in relations if index in (r.head, r.tail)))
    levels = arc_levels([(relation.head, relation.tail) for relation in relations])
    top = (max(levels) + 1) * LEVEL_HEIGHT + PADDING
    arcs = []
    for relation, level in zip(relations, levels, strict=True):
        # Arcs at one box stand side by side, those to the right on the right.
        side = 5 if relation.head < relation.tail else -5
        score = "" if relation.score is None else f" ({relation.score:.3f})"
        arcs.append(
            Arc(
                relation.label,
                f"{entities[relation.head][0]} \N{RIGHTWARDS ARROW} {relation.label} \N{RIGHTWARDS ARROW} "
                f"{entities[relation.tail][0]}{score}",
                boxes[relation.head].middle + side,
                boxes[relation.tail].middle - side,
                top - (level + 1) * LEVEL_HEIGHT + LEVEL_HEIGHT // 2,
            )
        )
    return Diagram(list(boxes.values()), arcs, x, top, top + BOX_HEIGHT + PADDING)


def arc_levels(ends: Sequence[tuple[int, int]]) -> list[int]:
    """Give each arc the lowest level at which it overlaps no other, shorter arcs first.

    Args:
        ends: The two ends of each arc, in either order.

    Returns:
        The level of each arc, from 0.

    Example:
        >>> arc_levels([(0, 2), (1, 0), (2, 1), (0, 1)])
        [2, 0, 0, 1]
    """
    levels: dict[int, int] = {}
    taken: list[list[tuple[int, int]]] = []
    for index in sorted(range(len(ends)), key=lambda index: abs(ends[index][0] - ends[index][1])):
        low, high = sorted(ends[index])
        free = (n for n, arcs in enumerate(taken) if all(end <= low or high <= start for start, end in arcs))
        levels[index] = next(free, len(taken))
        if levels[index] == len(taken):
            taken.append([])
        taken[levels[index]].append((low, high))
    return [levels[index] for index in range(len(ends))]


def _width(text: str) -> int:
    return CHARACTER_WIDTH * sum(2 if east_asian_width(character) in "WF" else 1 for character in text)
