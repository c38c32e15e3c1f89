"""The summary of `relations.py`: tables of what was found, and of what it took, from the results of its runs."""

from __future__ import annotations

import json
import statistics
from pathlib import Path
from typing import Any

from accuracy_summary import read_records
from studies import compare_runs, write_json
from tables import relations_table

MEASURES = ("entities", "relations", "gold")


def summarize_system(system: str, systems: dict[str, dict[int, dict[str, Any]]], reference: str) -> dict[str, Any]:
    """Summarize the runs of a system on the same number of sentences.

    Args:
        system: Name of the system.
        systems: The results of all systems by seed.
        reference: The system to compare with, on the seeds that both have.

    Returns:
        The F1 of each seed for each of `MEASURES`, and how they compare with the reference, ``against``; the mean
        ``seconds`` of a training, and the settings that matter.
    """
    runs = systems[system]
    first = next(iter(runs.values()))
    measures = [name for name in MEASURES if name in first["test"]]
    shared = sorted(runs.keys() & systems.get(reference, {}).keys()) if system != reference else []
    of_reference = next(iter(systems.get(reference, {}).values()), first)["test"]
    return {
        **{name: first[name] for name in ("budget", "system", "learning_rate")},
        "num_sentences": first["settings"]["num_sentences"],
        "seeds": sorted(runs),
        "f1": {name: [runs[seed]["test"][name]["f1"] for seed in sorted(runs)] for name in measures},
        "seconds": statistics.mean(run["seconds"] for run in runs.values()),
        "against": {
            name: compare_runs(*([systems[of][seed]["test"][name] for seed in shared] for of in (reference, system)))
            for name in measures
            if shared and name in of_reference
        },
    }


def summarize(folder: Path, reference: str) -> dict[str, Any]:
    """Summarize the results in a folder.

    Args:
        folder: The folder of the results.
        reference: See `summarize_system`.

    Returns:
        ``data``, a row for each system and number of sentences of each data set; ``times``, the speed of the systems on
        each data set that was timed; and what the runs were made on, ``machines``.
    """
    data: dict[str, list[dict[str, Any]]] = {}
    machines: list[dict[str, Any]] = []
    for name, budgets in read_records(folder).items():
        rows = [summarize_system(system, systems, reference) for systems in budgets.values() for system in systems]
        data[name] = sorted(rows, key=lambda row: (row["num_sentences"], row["system"] != reference, row["system"]))
        for run in (run for systems in budgets.values() for seeds in systems.values() for run in seeds.values()):
            if run["machine"] not in machines:
                machines.append(run["machine"])
    times = {path.parent.name: json.loads(path.read_text("utf-8")) for path in sorted(folder.glob("*/time.json"))}
    return {"reference": reference, "machines": machines, "data": data, "times": times}


def write_summary(folder: Path, reference: str) -> str:
    """Write ``summary.json`` into the folder of the results, and return its tables."""
    summary = summarize(folder, reference)
    write_json(folder / "summary.json", summary)
    return relations_table(summary)
