"""Pieces of a page of HTML: tables, bars with whiskers, a heat map, marked text. Pure functions on strings and numbers.

A page needs no other file and no script. Everything that comes from data is escaped, and isolated, so that text written
from right to left stays within its place.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape

from span_marker.core.spans import IntArray

STYLE = """
:root { color-scheme: light dark; --line: #8884; --good: #2b8a9e; --bad: #e8590c; --gold: #ffe066; --found: #74c0fc; }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 70rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.6rem; } h2 { font-size: 1.2rem; margin: 2.2rem 0 .4rem; } p { margin: .3rem 0; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: .2rem .7rem; border-bottom: 1px solid var(--line); text-align: right; vertical-align: top; }
th { font-weight: 600; } th:first-child, td:first-child { text-align: start; }
.text th, .text td { text-align: start; } .text td:first-child { text-align: end; }
td.quote { unicode-bidi: plaintext; overflow-wrap: anywhere; min-width: 14rem; }
small { opacity: .7; white-space: nowrap; }
mark { color: #000; background: var(--gold); border-radius: 3px; }
mark.found { background: none; color: inherit; box-shadow: inset 0 -3px var(--found); }
mark.gold.found { background: var(--gold); color: #000; }
svg { font: 12px system-ui, sans-serif; vertical-align: middle; } svg text { fill: currentColor; }
.track { fill: var(--line); } .cell { fill: var(--line); opacity: .4; }
.fill, .good { fill: var(--good); } .bad { fill: var(--bad); }
.whisker { stroke: currentColor; stroke-width: 1.5; fill: none; }
"""

BAR_WIDTH = 200
CELL_WIDTH, CELL_HEIGHT = 64, 28
LETTER_WIDTH = 7.5
"""Pixels of a letter in a heat map, about."""

Quotation = tuple[int, tuple[str, str] | None, tuple[str, str] | None, str, Iterable[tuple[str, bool, bool]]]
"""How often an error occurs; label and text of the gold entity and of the prediction; where it is; and pieces of the
text there, each with whether it is part of the gold entity and of the prediction."""


def page(title: str, parts: Iterable[str]) -> str:
    """Make a page.

    Args:
        title: Its title.
        parts: What is on it, HTML.

    Returns:
        The page.
    """
    head = f'<meta charset="utf-8"><title>{escape(title)}</title>\n<style>{STYLE}</style>'
    body = "\n".join([f"<h1>{escape(title)}</h1>", *parts])
    return f'<!DOCTYPE html>\n<html lang="en">\n<head>{head}</head>\n<body>\n{body}\n</body>\n</html>\n'


def paragraph(text: str) -> str:
    """Make a paragraph of plain text."""
    return f"<p>{escape(text)}</p>"


def heading(text: str) -> str:
    """Make a heading of plain text."""
    return f"<h2>{escape(text)}</h2>"


def isolated(text: str) -> str:
    """Make a piece of plain text that has a direction of its own."""
    return f"<bdi>{escape(text)}</bdi>"


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Make a table of numbers.

    Args:
        head: Names of the columns, plain text.
        rows: Their cells, HTML.

    Returns:
        The table.
    """
    cells = (f"<td>{'</td><td>'.join(row)}</td>" for row in rows)
    return _table("numbers", head, cells)


def quotations(rows: Iterable[Quotation]) -> str:
    """Make a table of errors in context.

    Args:
        rows: The errors.

    Returns:
        The table.
    """
    head = ("", "gold", "predicted", "in context")
    cells = (
        f"<td>{count:,}x</td><td>{_entity(gold)}</td><td>{_entity(predicted)}</td>"
        f'<td class="quote" dir="auto">{_marked(pieces)} <small><bdi>{escape(where)}</bdi></small></td>'
        for count, gold, predicted, where, pieces in rows
    )
    return _table("text", head, cells)


def _table(kind: str, head: Sequence[str], cells: Iterable[str]) -> str:
    lines = [f"<th>{'</th><th>'.join(map(escape, head))}</th>", *cells]
    body = "\n".join(f"<tr>{line}</tr>" for line in lines)
    return f'<div class="scroll"><table class="{kind}">\n{body}\n</table></div>'


def _entity(pair: tuple[str, str] | None) -> str:
    return f"<small><bdi>{escape(pair[0])}</bdi></small> <bdi>{escape(pair[1])}</bdi>" if pair else ""


def _marked(pieces: Iterable[tuple[str, bool, bool]]) -> str:
    parts = []
    for text, is_gold, is_predicted in pieces:
        names = " ".join(["gold"] * is_gold + ["found"] * is_predicted)
        parts.append(f'<mark class="{names}">{escape(text)}</mark>' if names else escape(text))
    return "".join(parts)


def bar(value: float, low: float, high: float) -> str:
    """Draw a number from 0 to 1 as a bar, with a whisker for its interval.

    Args:
        value: The number.
        low: Lower bound.
        high: Upper bound.

    Returns:
        An SVG.
    """
    x, left, right = (round(number * BAR_WIDTH, 1) for number in (value, low, high))
    return (
        f'<svg width="{BAR_WIDTH + 2}" height="16" role="img"><title>{value:.4f}, from {low:.4f} to {high:.4f}</title>'
        f'<rect class="track" y="3" width="{BAR_WIDTH}" height="10"/><rect class="fill" y="3" width="{x}" height="10"/>'
        f'<path class="whisker" d="M{left} 8H{right}M{left} 4V12M{right} 4V12"/></svg>'
    )


def heat_map(matrix: IntArray, names: Sequence[str]) -> str:
    """Draw a square matrix of counts: each cell as strong as its share of the row, the diagonal in a colour of its own.

    Args:
        matrix: The counts, ``(num_names, num_names)``.
        names: Names of the rows and columns, plain text.

    Returns:
        An SVG.
    """
    left = round(LETTER_WIDTH * max(map(len, names))) + 12
    top = round(left * 0.7) + 8
    width, height = left + CELL_WIDTH * len(names) + top, top + CELL_HEIGHT * len(names)
    size = f'width="{CELL_WIDTH - 2}" height="{CELL_HEIGHT - 2}"'
    lines = [f'<div class="scroll"><svg width="{width}" height="{height}" role="img">']
    for column, name in enumerate(names):
        x = left + CELL_WIDTH * column + CELL_WIDTH // 2
        lines.append(f'<text transform="translate({x} {top - 8}) rotate(-45)">{escape(name)}</text>')
    for row, counts in enumerate(matrix.tolist()):
        y = top + CELL_HEIGHT * row
        lines.append(f'<text x="{left - 8}" y="{y + 18}" text-anchor="end">{escape(names[row])}</text>')
        for column, count in enumerate(counts):
            x, share = left + CELL_WIDTH * column, count / max(sum(counts), 1)
            color = "good" if row == column else "bad"
            lines.append(
                f"<g><title>{escape(names[row])}, {escape(names[column])}: {count:,}, {share:.2%} of the row</title>"
                f'<rect class="cell" x="{x}" y="{y}" {size}/>'
                f'<rect class="{color}" x="{x}" y="{y}" {size} opacity="{share:.3f}"/>'
                f'<text x="{x + CELL_WIDTH // 2 - 1}" y="{y + 18}" text-anchor="middle">{count or ""}</text></g>'
            )
    return "\n".join([*lines, "</svg></div>"])
