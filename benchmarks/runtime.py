"""Measures what an exported model costs before and while it predicts, with PyTorch and without: time and memory.

``python benchmarks/runtime.py --folder EXPORTED_MODEL --texts FILE.txt`` starts a fresh process for each way of loading
the model, several times in turns, and prints medians: seconds to import the library, to load the model and to predict
the texts, and the peak of the resident memory in MiB. ``--python`` names the interpreter of an environment without
PyTorch for `span_marker.runtime`. The entities are compared, too. Set ``OMP_NUM_THREADS``.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]

WORKER = """
import json, resource, sys, time
start = time.perf_counter()
{imports}
imported = time.perf_counter()
model = {load}
loaded = time.perf_counter()
texts = open(sys.argv[2], encoding="utf-8").read().splitlines()
entities = model.predict(texts, int(sys.argv[3]), is_split_into_words=False)
predicted = time.perf_counter()
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
print(json.dumps([[imported - start, loaded - imported, predicted - loaded, peak], entities]))
"""

WAYS = {
    "runtime": ("from span_marker.runtime import ExportedModel", "ExportedModel.from_pretrained(sys.argv[1])"),
    "PyTorch and onnxruntime": (
        "from span_marker import SpanMarkerModel",
        "SpanMarkerModel.from_pretrained(sys.argv[1], backend='onnx')",
    ),
}


def measure(way: str, python: str, folder: str, texts: str, batch_size: int) -> tuple[list[float], Any]:
    """Seconds to import, load and predict, MiB at the peak, and the entities, from a fresh process."""
    imports, load = WAYS[way]
    code = WORKER.format(imports=imports, load=load)
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [python, "-W", "ignore", "-c", code, folder, texts, str(batch_size)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    figures, entities = json.loads(done.stdout.splitlines()[-1])
    return figures, entities


def equal_share(found: list[Any], expected: list[Any]) -> float:
    """Share of the texts with the same entities, whose scores may differ by 0.0001."""

    def is_equal(first: Any, second: Any) -> bool:
        pairs = list(zip(first, second, strict=False))
        return (
            len(first) == len(second)
            and all({**left, "score": 0} == {**right, "score": 0} for left, right in pairs)
            and all(abs(left["score"] - right["score"]) <= 1e-4 for left, right in pairs)
        )

    return sum(map(is_equal, found, expected)) / len(expected)


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", required=True)
    parser.add_argument("--texts", required=True)
    parser.add_argument("--python", default=sys.executable)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    pythons = {"runtime": arguments.python}
    results: dict[str, list[list[float]]] = {way: [] for way in WAYS}
    entities = {}
    for _ in range(arguments.rounds):
        for way in WAYS:
            python = pythons.get(way, sys.executable)
            figures, entities[way] = measure(way, python, arguments.folder, arguments.texts, arguments.batch_size)
            results[way].append(figures)
    for way, rounds in results.items():
        import_s, load_s, predict_s, peak = (statistics.median(column) for column in zip(*rounds, strict=True))
        print(f"{way}: import {import_s:.2f} s, load {load_s:.2f} s, predict {predict_s:.2f} s, peak {peak:.0f} MiB")
    share = equal_share(entities["runtime"], entities["PyTorch and onnxruntime"])
    print(f"texts with the same entities: {share:.2%}")


if __name__ == "__main__":
    main()
