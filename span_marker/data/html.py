"""HTML pages of texts with marked entities, and the common parts of all pages.

A page is a self-contained file. Everything that comes from data is escaped. Entities may nest and cross: each is
underlined on a level of its own, and its label follows its last character.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from span_marker.core.surrogates import REPLACEMENT
from span_marker.data.arcs import draw_arcs
from span_marker.data.row_errors import OnError
from span_marker.data.row_relations import RowRelation
from span_marker.data.row_writing import converted_rows, without_repetitions
from span_marker.data.rows import Row, RowEntity, as_text
from span_marker.data.text_files import StrPath, writing

if TYPE_CHECKING:
    from datasets import Dataset
    from jinja2 import Environment

_REPLACED = dict.fromkeys([0, *range(0xD800, 0xE000)], REPLACEMENT)
"""NUL, which browsers drop, and lone surrogates."""

PAPER = ("#ffffff", "#16181d")
INK = ("#1b1e23", "#e8eaed")
"""Colors of the background and of text, on a light and on a dark page."""

HUES = (
    ("#1d5fbf", "#8ab4f8"),
    ("#a8440a", "#ffa94d"),
    ("#1b7837", "#69db7c"),
    ("#7b3fb5", "#d0a9f5"),
    ("#b8235a", "#faa2c1"),
    ("#0b7285", "#66d9e8"),
    ("#6b6200", "#e0d34d"),
    ("#555b66", "#c3c9d2"),
)
"""Colors of labels, on a light and on a dark page. Each colors the line of an entity, and the background of its label,
whose letters have the color of the paper. The contrast to the paper is at least 4.5 (WCAG 2, level AA)."""

TINT = 12
"""Percentage of the hue in the background of an entity."""


class Mark(NamedTuple):
    """An entity as it is drawn.

    Attributes:
        start: First character.
        end: End, exclusive.
        label: What is written after it.
        number: Number of the label, which selects its color and its switch in the legend.
        score: Its score; None if it has none.
        level: Number of levels between the text and its line.
    """

    start: int
    end: int
    label: str
    number: int
    score: float | None = None
    level: int = 0

    @property
    def color(self) -> int:
        """Index into `HUES`."""
        return self.number % len(HUES)


class _Shown(NamedTuple):
    """A row as a page shows it."""

    text: str
    entities: Sequence[RowEntity]
    relations: Sequence[RowRelation]
    caption: list[tuple[str, Any]]


Step = tuple[Literal["open", "label", "close"], Mark] | tuple[Literal["text"], str]


class Drawing(NamedTuple):
    """A text and its marks in the order in which an HTML file has them.

    Attributes:
        depth: Number of levels.
        steps: Pieces of the text, labels, and marks that open and close. A mark that opens inside another one closes
            inside it; if they cross, it is opened again.
    """

    depth: int
    steps: list[Step]


def write_html(
    path: StrPath,
    rows: Dataset | Iterable[Mapping[str, Any]],
    *,
    title: str = "Entities",
    columns: Sequence[str] = (),
    errors: OnError = "raise",
) -> None:
    """Write a page that shows rows with their entities marked.

    Entities are underlined and followed by their labels; where they overlap, their lines are stacked. Scores are shown
    on hover and on focus. Relations are arcs over their entities, below the text. A legend counts the labels, and hides
    the entities of those that are unchecked. Words are joined by single spaces. Each paragraph has the direction of its
    first letter. Colors are assigned to labels in alphabetical order.

    Args:
        path: The HTML file; it is replaced when the whole page is written.
        rows: A data set annotated in any form, or rows with ``tokens`` or ``text``, and ``entities``. All of them are
            read before anything is written, since the legend comes first.
        title: Title of the page.
        columns: Other columns of the rows, such as ``id``, to show above each text.
        errors: What to do with rows that cannot be shown, see `span_marker.data.jsonl.write_jsonl`.

    Raises:
        TypeError: If a row has a value of the wrong type.
        ValueError: If a row is invalid, or lacks one of the columns.
    """

    def to_text(index: int, values: Mapping[str, Any], row: Row) -> _Shown:
        row = without_repetitions(row, f"row {index}")
        text, entities = as_text(row)
        missing = [name for name in columns if name not in values]
        if missing:
            raise ValueError(f"row {index} has no column {missing[0]!r}, only {list(values)}: columns={columns!r}")
        caption = [(name, values[name]) for name in columns if values[name] is not None]
        return _Shown(text, entities, row.relations, caption)

    shown = list(converted_rows(rows, to_text, errors, allow_surrogates=True, writes_relations=True))
    counts = Counter(entity.label for row in shown for entity in row.entities)
    numbers = {label: number for number, label in enumerate(sorted(counts))}
    drawings = (
        (
            draw(row.text, [Mark(e.start, e.end, e.label, numbers[e.label], e.score) for e in row.entities]),
            row.caption,
            draw_arcs([(row.text[e.start : e.end], e.label, numbers[e.label]) for e in row.entities], row.relations),
        )
        for row in shown
    )
    labels = [(label, counts[label]) for label in numbers]
    num_relations = sum(len(row.relations) for row in shown)
    numbers_of = {"num_texts": len(shown), "num_relations": num_relations}
    write_page(path, "data/entities.html", title=title, labels=labels, drawings=drawings, **numbers_of)


def write_page(path: StrPath, template: str, **context: Any) -> None:
    """Write a page piece by piece, without holding it in memory.

    Args:
        path: The HTML file; it takes its place when all of it is written.
        template: Name of the template: its path inside the package. It extends ``data/page.html``.
        **context: What the template needs.
    """
    stream = _templates().get_template(template).stream(paper=PAPER, ink=INK, hues=HUES, tint=TINT, **context)
    stream.enable_buffering(100)
    with writing(path) as file:
        file.writelines(stream)


def _templates() -> Environment:
    """The templates of the package. NUL and lone surrogates are replaced, since HTML can't represent them."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined  # reading data needs no pages

    return Environment(
        loader=FileSystemLoader(Path(__file__).parents[1]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=lambda value: value.translate(_REPLACED) if isinstance(value, str) else value,
    )


def draw(text: str, marks: Sequence[Mark]) -> Drawing:
    """Cut a text where its marks begin and end.

    Args:
        text: The text.
        marks: Its marks, in any order; their levels are chosen here.

    Returns:
        The drawing. Its pieces of text add up to the text.

    Example:
        >>> for step in draw("New York", [Mark(0, 8, "LOC", 0), Mark(0, 3, "X", 1)]).steps:
        ...     print(step[0], step[1] if step[0] == "text" else step[1].label)
        open LOC
        open X
        text New
        label X
        close X
        text  York
        label LOC
        close LOC
    """
    marks = _stack(marks)
    openings: dict[int, list[Mark]] = defaultdict(list)
    for mark in sorted(marks, key=lambda mark: -mark.level):
        openings[mark.start].append(mark)
    cuts = sorted({0, len(text), *(cut for mark in marks for cut in mark[:2])})
    steps: list[Step] = []
    is_open: list[Mark] = []
    for start, end in pairwise([*cuts, len(text)]):
        steps += _close(is_open, start)
        steps += [("open", mark) for mark in openings[start]]
        is_open += openings[start]
        steps += _close(is_open, start)  # an empty word begins and ends here
        if start < end:
            steps.append(("text", text[start:end]))
    return Drawing(max((mark.level + 1 for mark in marks), default=0), steps)


def _close(is_open: list[Mark], place: int) -> Iterator[Step]:
    """Close the marks that end at a place, the last opened first; marks inside them that go on are opened again."""
    for mark in [mark for mark in reversed(is_open) if mark.end <= place]:
        index = is_open.index(mark)
        yield "label", mark
        for other in reversed(is_open[index:]):
            yield "close", other
        del is_open[index]
        for other in is_open[index:]:
            yield "open", other


def _stack(marks: Sequence[Mark]) -> list[Mark]:
    """Give each mark the lowest free level, shorter ones first, so that a nested mark is nearer to the text."""
    levels: list[list[tuple[int, int]]] = []
    stacked = []
    for mark in sorted(marks, key=lambda mark: (mark.end - mark.start, mark.start)):
        span = mark[:2]
        level = next((level for level, spans in enumerate(levels) if _is_free(spans, span)), len(levels))
        if level == len(levels):
            levels.append([])
        levels[level].insert(bisect_left(levels[level], span), span)
        stacked.append(mark._replace(level=level))
    return stacked


def _is_free(spans: Sequence[tuple[int, int]], span: tuple[int, int]) -> bool:
    """Tell whether a span overlaps none of some sorted spans, which do not overlap each other."""
    index = bisect_left(spans, span)
    return (index == 0 or spans[index - 1][1] <= span[0]) and (index == len(spans) or span[1] <= spans[index][0])
