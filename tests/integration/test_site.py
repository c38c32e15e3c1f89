"""The site of the documentation is built without a warning, and shows what the code does."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import span_marker

ROOT = Path(__file__).parents[2]
BESIDE = ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")

WORDS = ["[CLS]", "Amelia", "Ear", "##hart", "flew", "[SEP]"]
FIRST_AND_LAST = [(1, 1), (1, 3), (2, 3), (2, 4), (4, 4)]
"""The first and the last token of each span of at most two words of ``Amelia Earhart flew``."""

pytest.importorskip("sphinx")


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """Build the site from a copy of the pages, so that nothing is written among them."""
    folder = tmp_path_factory.mktemp("site")
    shutil.copytree(ROOT / "docs", folder / "docs", ignore=shutil.ignore_patterns("figures", "__pycache__"))
    for name in BESIDE:
        shutil.copy(ROOT / name, folder / name)
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, "-m", "sphinx", "-q", "-W", "--keep-going", "-b", "html", "docs", "html"]
    done = subprocess.run(
        command, cwd=folder, capture_output=True, text=True, env=environment, timeout=240, check=False
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return folder


def read_figure(site, name):
    return (site / "docs" / "figures" / f"{name}.svg").read_text(encoding="utf-8")


def texts(figure, kind):
    """What the pieces of text of a kind say, in order."""
    return re.findall(rf'<text class="{kind}"[^>]*>([^<]*)</text>', figure)


def test_position_ids_are_those_of_the_tokens_that_markers_observe(site):
    figure = read_figure(site, "positions")
    of_text = [int(number) for number in texts(figure, "text-position")]
    assert of_text == list(range(2, 2 + len(WORDS)))
    starts, ends = ([int(number) for number in texts(figure, f"{kind}-position")] for kind in ("start", "end"))
    assert list(zip(starts, ends, strict=True)) == [(of_text[first], of_text[last]) for first, last in FIRST_AND_LAST]


def test_the_grid_is_that_of_the_description(site):
    figure, num_text, num_all = read_figure(site, "attention"), len(WORDS), len(WORDS) + 2 * len(FIRST_AND_LAST)
    for row in range(num_all):
        pair = (row - num_text) // 2
        seen = [
            column < num_text or (row >= num_text and column >= num_text and (column - num_text) // 2 == pair)
            for column in range(num_all)
        ]
        assert texts(figure, f"attention-{row}") == [str(int(is_seen)) for is_seen in seen]


def test_rows_of_tokens(site):
    """Two sentences of 6 and 3 tokens, 5 candidates and 1, two pairs at a time, samples of 8 + 2 * 2 tokens."""
    figure = read_figure(site, "packing")
    sizes = {"published": (3 * 12, 9), "dense": (2 * 10 + 2 * 10 + 2 * 8, 17), "fast": (6 + 3 + 2 * 6, 0)}
    for kind, (num_tokens, num_padding) in sizes.items():
        assert len(re.findall(f'class="{kind}-cell"', figure)) == num_tokens
        (summary,) = texts(figure, f"{kind}-summary")
        assert summary.endswith(f": {num_tokens} tokens, {num_padding} of them padding")
    markers = [2 + token for pair in [*FIRST_AND_LAST, (1, 1)] for token in pair]
    assert [int(number) for number in texts(figure, "fast-position")] == [*range(2, 8), *range(2, 5), *markers]


def test_the_page_shows_the_figures(site):
    page = (site / "html" / "how_it_works.html").read_text(encoding="utf-8")
    for name in ("positions", "attention", "packing"):
        (path,) = re.findall(rf'<img[^>]* src="([^"]*{name}\.svg)"', page)
        assert (site / "html" / path).read_text(encoding="utf-8") == read_figure(site, name)


def test_every_public_name_is_in_the_api_pages(site):
    described = set()
    for page in (site / "html" / "api").glob("*.html"):
        shown = re.sub(r"<[^>]*>", "", page.read_text(encoding="utf-8"))
        described.update(re.findall(r"\bspan_marker\.(\w+)", shown))
    assert set(span_marker.__all__) <= described


def test_links_to_files_of_the_repository_lead_to_pages_of_the_site(site):
    page = (site / "html" / "pipelines.html").read_text(encoding="utf-8")
    assert 'href="quickstart.html#predict"' in page
    assert 'id="predict"' in (site / "html" / "quickstart.html").read_text(encoding="utf-8")


def test_every_page_of_the_folder_is_in_the_table_of_contents(site):
    """A warning of Sphinx, but only for pages that it reads."""
    pages = {path.relative_to(ROOT / "docs").with_suffix("") for path in (ROOT / "docs").rglob("*.md")}
    for page in pages:
        assert (site / "html" / page).with_suffix(".html").exists()
