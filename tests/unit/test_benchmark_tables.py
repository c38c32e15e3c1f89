"""The tables of the documentation are made from the kept results."""

import json

import pytest
from tables import HERE, PAGES, TABLES, fill


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_pages_show_the_kept_results(path):
    page = path.read_text(encoding="utf-8")
    assert any(f"<!-- {name} -->" in page for name in TABLES)
    assert fill(page) == page, "run python benchmarks/tables.py"


@pytest.mark.parametrize(
    "name",
    [
        "speed.json",
        "memory.json",
        "precision.json",
        "encoders.json",
        "long_documents.json",
        "nested.json",
        "ablations.json",
        "case_studies.json",
        "span_filter.json",
    ],
)
def test_results_say_what_they_were_measured_on(name):
    machine = json.loads((HERE / "results" / name).read_text(encoding="utf-8"))["machine"]
    assert len(machine["commit"]) == 40, "measure a committed state"
    assert {"date", "python", "versions", "device"} <= set(machine)


def test_fill_replaces_what_stands_between_the_marks():
    old = "before\n<!-- memory -->\nold\nlines\n<!-- /memory -->\nafter\n"
    new = fill(old)
    assert "old" not in new
    assert new.startswith("before\n<!-- memory -->\n| sentences |")
    assert new.endswith("|\n<!-- /memory -->\nafter\n")
    assert fill(new) == new


def test_measurements_name_all_kept_results():
    page = (HERE.parent / "docs" / "measurements.md").read_text(encoding="utf-8")
    for path in (HERE / "results").glob("*.json"):
        machine = json.loads(path.read_text(encoding="utf-8"))["machine"]
        assert f"`{path.name}`, {machine['date']}, {machine['commit'][:7]}" in page
