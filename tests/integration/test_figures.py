"""The figures of the documentation are those that are drawn from the code, and show what it does."""

import re
from pathlib import Path

import draw_figures
import pytest

FOLDER = Path(draw_figures.__file__).parent / "figures"

WORDS = ["[CLS]", "Amelia", "Ear", "##hart", "flew", "[SEP]"]
FIRST_AND_LAST = [(1, 1), (1, 3), (2, 3), (2, 4), (4, 4)]
"""The first and the last token of each span of at most two words of ``Amelia Earhart flew``."""


def read_figure(name):
    return (FOLDER / f"{name}.svg").read_text(encoding="utf-8")


def test_figures_are_as_they_are_drawn(tmp_path):
    assert {path.name for path in draw_figures.draw(tmp_path)} == {path.name for path in FOLDER.iterdir()}
    how = "run python docs/draw_figures.py docs/figures"
    for name in draw_figures.FIGURES:
        assert (tmp_path / f"{name}.svg").read_text(encoding="utf-8") == read_figure(name), how


def texts(figure, kind):
    """What the pieces of text of a kind say, in order."""
    return re.findall(rf'<text class="{kind}"[^>]*>([^<]*)</text>', figure)


def test_position_ids_are_those_of_the_tokens_that_markers_observe():
    figure = read_figure("positions")
    of_text = [int(number) for number in texts(figure, "text-position")]
    assert of_text == list(range(2, 2 + len(WORDS)))
    starts, ends = ([int(number) for number in texts(figure, f"{kind}-position")] for kind in ("start", "end"))
    assert list(zip(starts, ends, strict=True)) == [(of_text[first], of_text[last]) for first, last in FIRST_AND_LAST]


@pytest.mark.parametrize(
    ("name", "num_text", "num_groups", "size"),
    [("attention", len(WORDS), len(FIRST_AND_LAST), 2), ("relations", 7, 2, 4)],
)
def test_the_grid_is_that_of_the_description(name, num_text, num_groups, size):
    figure, num_all = read_figure(name), num_text + size * num_groups
    assert not texts(figure, f"attention-{num_all}")
    for row in range(num_all):
        group = (row - num_text) // size
        seen = [
            column < num_text or (row >= num_text and column >= num_text and (column - num_text) // size == group)
            for column in range(num_all)
        ]
        assert texts(figure, f"attention-{row}") == [str(int(is_seen)) for is_seen in seen]


def test_rows_of_tokens():
    """Two sentences of 6 and 3 tokens, 5 candidates and 1, two pairs at a time, samples of 8 + 2 * 2 tokens."""
    figure = read_figure("packing")
    sizes = {"published": (3 * 12, 9), "dense": (2 * 10 + 2 * 10 + 2 * 8, 17), "fast": (6 + 3 + 2 * 6, 0)}
    for kind, (num_tokens, num_padding) in sizes.items():
        assert len(re.findall(f'class="{kind}-cell"', figure)) == num_tokens
        (summary,) = texts(figure, f"{kind}-summary")
        assert summary.endswith(f": {num_tokens} tokens, {num_padding} of them padding")
    markers = [2 + token for pair in [*FIRST_AND_LAST, (1, 1)] for token in pair]
    assert [int(number) for number in texts(figure, "fast-position")] == [*range(2, 8), *range(2, 5), *markers]
