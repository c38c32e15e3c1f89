"""The tables of the documentation are made from the kept results."""

import json
import re

import precision
import pytest
from datasets import Dataset
from tables import HERE, PAGES, TABLES, fill, precision_table, span_filter_speed_table, speed_summary, speed_table
from tiny import SENTENCES, build_model

SUMMARIZED = ("speed", "span_filter")


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
        "planted_secrets.json",
        "span_filter.json",
        "threads.json",
        "active_learning.json",
        "label_errors.json",
        "label_errors_synthetic.json",
    ],
)
def test_results_say_what_they_were_measured_on(name):
    machine = json.loads((HERE / "results" / name).read_text(encoding="utf-8"))["machine"]
    assert len(machine["commit"]) == 40, "measure a committed state"
    assert {"date", "python", "versions", "device"} <= set(machine)


def test_the_summary_shows_figures_of_the_full_tables():
    speed, span_filter = (json.loads((HERE / "results" / f"{name}.json").read_text("utf-8")) for name in SUMMARIZED)
    full = rows(speed_table(speed)) | rows(span_filter_speed_table(span_filter))
    summary = rows(speed_summary(speed, span_filter))
    assert summary["text/marker/entity limits"] == full["text/marker/entity limits"]
    for title, full_title in {
        "prediction, all candidates": "prediction, sentences/s",
        "prediction, candidate filter": "published → filter",
        "training step, all candidates": "training step of 16 sentences",
    }.items():
        assert summary[title] == [re.search(r"\*\*(.*)\*\*", cell)[1] for cell in full[full_title]]


def rows(table):
    """The cells of each row of a table, by the first of them."""
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()]
    return {first: others for first, *others in cells}


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


def test_a_new_measurement_of_number_formats_fits_its_table():
    model = build_model(entity_max_length=3)
    entities = [{"label": "PER", "start": 0, "end": 1}]
    data = Dataset.from_list([{"tokens": words, "entities": entities} for words in SENTENCES if words])
    formats = precision.measure({"float32": model, "again": model}, data, rounds=1)
    table = rows(precision_table({"formats": formats}))
    assert table["again"][3:] == ["+0.0000, +0.0000 to +0.0000", "100.0%"]
