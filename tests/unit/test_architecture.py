"""The layout keeps its promises: modules stay short, tests have their names, the page about it names what exists."""

import re
from pathlib import Path

import span_marker

PACKAGE = Path(span_marker.__file__).parent
ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")

BESIDE_THE_MODULES = {
    "architecture": "the layout itself",
    "benchmark_tables": "benchmarks/tables.py",
    "bundled_corpus": "training_scripts/bundled_corpus.py and the corpus itself",
    "cost_model": "benchmarks/cost_model.py",
    "dockerfile": "the Dockerfile",
    "edges": "evaluation, tuning and error analysis agree on where an entity begins and ends",
    "exports": "what the packages export",
    "filter_head": "candidate_filter/head.py, whose own name is too close to heads.py",
    "public_names": "what can be imported from span_marker",
    "resumable": "benchmarks/resumable.py, and what bulk.py and serving.py demand",
    "wording": "span_marker_cli/wording.py",
    "unicode": "offsets are right from the tokenizer to the entities, whatever the text",
}
"""Tests whose names are those of no module, and what they test."""


def test_the_page_names_only_modules_that_exist():
    named = set(re.findall(r"`([a-z_]+(?:/[a-z_]+)+\.py)`", PAGE))
    assert named
    assert {name for name in named if not (PACKAGE / name).is_file() and not (ROOT / name).is_file()} == set()


def test_the_page_names_every_package():
    packages = {path.parent.name for path in PACKAGE.glob("*/__init__.py")}
    assert packages <= set(re.findall(r"`(\w+)/`", PAGE))


def test_the_folders_beside_the_package_are_there():
    section = PAGE.split("## Beside the package")[1]
    named = re.findall(r"^\| `([\w/.]+)`", section, flags=re.MULTILINE)
    assert named
    missing = [name for name in named if not (ROOT / name).exists()]
    assert missing in ([], ["span_marker_spacy.py"])  # installed rather than here, where a wheel is tested


def test_modules_stay_readable():
    for path in PACKAGE.rglob("*.py"):
        assert len(path.read_text(encoding="utf-8").splitlines()) <= 400, path.name


def test_components_of_search_frameworks_are_short():
    for name in ("haystack", "langchain", "llama_index"):
        path = PACKAGE / "integrations" / f"{name}.py"
        assert len(path.read_text(encoding="utf-8").splitlines()) <= 80, path.name


def test_unit_tests_are_named_after_modules():
    modules = {path.stem for path in PACKAGE.rglob("*.py")} | {
        path.parent.name for path in PACKAGE.rglob("__init__.py")
    }
    tests = {path.stem.removeprefix("test_") for path in Path(__file__).parent.glob("test_*.py")}
    assert tests - modules == set(BESIDE_THE_MODULES)
