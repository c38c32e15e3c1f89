"""The site of the documentation is built without a warning, and has all pages, figures and public names."""

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

pytest.importorskip("sphinx")
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """Build the site from a copy of the pages, so that nothing is written among them."""
    folder = tmp_path_factory.mktemp("site")
    shutil.copytree(ROOT / "docs", folder / "docs", ignore=shutil.ignore_patterns("__pycache__"))
    for name in BESIDE:
        shutil.copy(ROOT / name, folder / name)
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, "-m", "sphinx", "-q", "-W", "--keep-going", "-b", "html", "docs", "html"]
    done = subprocess.run(
        command, cwd=folder, capture_output=True, text=True, env=environment, timeout=240, check=False
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return folder


def test_the_page_shows_the_figures(site):
    page = (site / "html" / "how_it_works.html").read_text(encoding="utf-8")
    for name in ("positions", "attention", "packing"):
        (path,) = re.findall(rf'<img[^>]* src="([^"]*{name}\.svg)"', page)
        assert (site / "html" / path).read_bytes() == (ROOT / "docs" / "figures" / f"{name}.svg").read_bytes()


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
