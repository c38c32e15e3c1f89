"""The summary of `accuracy.py`: tables, tests of differences, and learning curves, from the results of its runs."""

from __future__ import annotations

import json
import math
import statistics
import sys
from pathlib import Path
from typing import Any

from studies import compare_runs, write_json
from tables import HERE, accuracy_table, standard_error

sys.path.append(str(HERE.parent / "docs"))

from draw_figures import FAINT, INK, label, svg

COLORS = ("#1f6fb4", "#c0712f", "#3c8d40", "#8a4fa3", "#b03a48", "#5f6b76")

Records = dict[str, dict[str, dict[str, dict[int, dict[str, Any]]]]]
"""Results of test runs by data, number of sentences, system and seed."""


def read_records(folder: Path) -> Records:
    """Read the results of all runs that read the test sentences."""
    records: Records = {}
    for path in sorted(folder.glob("*/*/*/test-*.json")):
        record = json.loads(path.read_text(encoding="utf-8"))
        budgets = records.setdefault(record["data"], {})
        budgets.setdefault(record["budget"], {}).setdefault(record["system"], {})[record["seed"]] = record
    return records


def summarize(records: Records, reference: str) -> dict[str, Any]:
    """Summarize runs.

    Args:
        records: The results of the runs.
        reference: The system that the others are compared with, on the seeds that both have.

    Returns:
        ``data``, a row for each system and number of sentences of each data set, by ascending number, the reference
        first; and what the runs were made on, ``machines``.

    Raises:
        SystemExit: If runs on the same sentences have different settings, so that they can't be compared.
    """
    data: dict[str, list[dict[str, Any]]] = {}
    machines: list[dict[str, Any]] = []
    for name, budgets in records.items():
        rows = []
        for budget, systems in budgets.items():
            runs = [run for seeds in systems.values() for run in seeds.values()]
            if any(run["settings"] != runs[0]["settings"] for run in runs):
                raise SystemExit(f"runs on {budget} sentences of {name} have different settings: remove some of them")
            for run in runs:
                if run["machine"] not in machines:
                    machines.append(run["machine"])
            rows += [summarize_system(system, systems, reference) for system in systems]
        data[name] = sorted(rows, key=lambda row: (row["num_sentences"], row["system"] != reference))
    return {"reference": reference, "machines": machines, "data": data}


def summarize_system(system: str, systems: dict[str, dict[int, dict[str, Any]]], reference: str) -> dict[str, Any]:
    """Summarize the runs of a system on the same numbers of sentences."""
    runs = systems[system]
    first = next(iter(runs.values()))
    row = {
        **{name: first[name] for name in ("budget", "system", "learning_rate")},
        "num_sentences": first["settings"]["num_sentences"],
        "seeds": sorted(runs),
        **{name: [runs[seed]["test"][name] for seed in sorted(runs)] for name in ("precision", "recall", "f1")},
        "dev_f1": [runs[seed]["dev"]["f1"] for seed in sorted(runs)],
        "seconds": statistics.mean(run["seconds"] for run in runs.values()),
    }
    shared = sorted(runs.keys() & systems.get(reference, {}).keys())
    if system != reference and shared:
        row["against"] = compare_runs(
            *([systems[name][seed]["test"] for seed in shared] for name in (reference, system))
        )
    return row


def write_summary(folder: Path, reference: str) -> str:
    """Write ``summary.json`` and a learning curve of each data set, ``NAME.svg``, into the folder of the results.

    Args:
        folder: The folder of the results.
        reference: See `summarize`.

    Returns:
        The tables.
    """
    summary = summarize(read_records(folder), reference)
    write_json(folder / "summary.json", summary)
    for name, rows in summary["data"].items():
        (folder / f"{name}.svg").write_text(learning_curve_svg(rows, name), encoding="utf-8")
    return accuracy_table(summary)


def learning_curve_svg(rows: list[dict[str, Any]], title: str) -> str:
    """Draw mean F1, and its standard error as a bar, against the number of sentences, on a logarithmic axis.

    Args:
        rows: The rows of a data set, see `summarize`.
        title: What the curves are of.

    Returns:
        The drawing.
    """
    left, top, width, height = 70.0, 40.0, 480.0, 300.0
    counts = sorted({row["num_sentences"] for row in rows})
    margins = [statistics.mean(row["f1"]) + sign * error_of(row["f1"]) for row in rows for sign in (-1, 1)]
    lowest, highest = math.floor(10 * min(margins)) / 10, max(math.ceil(10 * max(margins)), 1) / 10
    span = math.log(counts[-1] / counts[0]) or 1.0

    def across(count: int) -> float:
        return left + width * math.log(count / counts[0]) / span

    def down(f1: float) -> float:
        return top + height * (highest - f1) / ((highest - lowest) or 1.0)

    def line(x1: float, y1: float, x2: float, y2: float, color: str) -> str:
        return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{color}" stroke-width="1"/>'

    parts = [label(left, 22, f"{title}: F1 by number of sentences", 13, anchor="start")]
    for tenth in range(round(10 * lowest), round(10 * highest) + 1):
        y = down(tenth / 10)
        parts += [
            line(left, y, left + width, y, "#e1e5ea"),
            label(left - 8, y + 4, f"{tenth / 10:.1f}", 11, FAINT, "end"),
        ]
    parts += [label(across(count), top + height + 20, f"{count:,}", 11, FAINT) for count in counts]
    systems = list(dict.fromkeys(row["system"] for row in rows))
    for number, system in enumerate(systems):
        color, points = COLORS[number % len(COLORS)], []
        for row in (row for row in rows if row["system"] == system):
            x, mean, error = across(row["num_sentences"]), statistics.mean(row["f1"]), error_of(row["f1"])
            parts.append(line(x, down(mean - error), x, down(mean + error), color))
            parts.append(f'<circle class="{system}" cx="{x:.1f}" cy="{down(mean):.1f}" r="3" fill="{color}"/>')
            points.append(f"{x:.1f},{down(mean):.1f}")
        parts.append(f'<polyline points="{" ".join(points)}" fill="none" stroke="{color}" stroke-width="2"/>')
        y = top + 14 + 20 * number
        parts += [line(left + width + 20, y - 4, left + width + 44, y - 4, color)]
        parts.append(label(left + width + 50, y, system, 12, INK, "start"))
    return svg(left + width + 230, top + height + 40, f"Learning curves on {title}", parts)


def error_of(values: list[float]) -> float:
    """The standard error of a mean, 0 of a single value."""
    return standard_error(values) if len(values) > 1 else 0.0
