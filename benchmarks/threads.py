"""Measures what threads are worth on a CPU: within a batch, and for several batches at the same time.

``python benchmarks/threads.py --checkpoint MODEL --data FOLDER`` reads sentences of CoNLL data with `predict`: with one
thread; with all cores, as it does by default, several batches at the same time; and with all cores within one batch
after the other. It does so on the machine as it is, and beside a busy loop on each core (``--loops``). Each round
measures all of them in turns; figures are medians, in relation to one thread. Set ``OMP_WAIT_POLICY`` to compare what
threads do while they wait. Figures go to ``benchmarks/results/threads.json``, part by part.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import torch
from resumable import Results
from speed import read_conll

from span_marker import SpanMarkerModel
from span_marker.preprocessing.batching import in_turn

HERE = Path(__file__).parent
ONE, SHARED, WITHIN = "1 thread", "batches at the same time", "threads within a batch"


@contextmanager
def busy_loops(count: int) -> Iterator[None]:
    """Keep cores busy within a ``with`` block."""
    loops = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(count)]
    try:
        yield
    finally:
        for loop in loops:
            loop.kill()
            loop.wait()


def ways_to_predict(model: Any, texts: list[str], num_threads: int) -> dict[str, Callable[[], Any]]:
    """Functions that predict, by name."""
    own = partial(type(model).hire_workers, model)

    def way(count: int, hire: Any) -> Callable[[], Any]:
        def run() -> None:
            torch.set_num_threads(count)
            model.hire_workers = hire
            model.predict(texts)

        return run

    return {ONE: way(1, own), SHARED: way(num_threads, own), WITHIN: way(num_threads, in_turn)}


def measure(ways: dict[str, Callable[[], Any]], num_texts: int, rounds: int) -> dict[str, float]:
    """Texts per second of each way: medians of rounds, after one that does not count."""
    rates: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(rounds + 1):
        for name, run in ways.items():
            started = time.perf_counter()
            run()
            if number:
                rates[name].append(num_texts / (time.perf_counter() - started))
    return {name: statistics.median(values) for name, values in rates.items()}


def main() -> None:
    """Measure, write, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--checkpoint", required=True)
    parser.add_argument("--data", type=Path, required=True, help="folder with train.txt in CoNLL format")
    parser.add_argument("--sentences", type=int, default=1500, help="a fifth of them beside busy loops")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--loops", type=int, help="number of busy loops; defaults to the number of threads")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--results", type=Path, default=HERE / "results" / "threads.json")
    options = parser.parse_args()
    if options.threads < 2:
        parser.error(f"--threads={options.threads} must be at least 2")
    settings = {name: str(value) if isinstance(value, Path) else value for name, value in vars(options).items()}
    del settings["results"]
    settings["OMP_WAIT_POLICY"] = os.environ.get("OMP_WAIT_POLICY")
    results = Results(options.results, settings)
    model = SpanMarkerModel.from_pretrained(options.checkpoint)
    texts = [" ".join(words) for words in read_conll(options.data / "train.txt")[0][: options.sentences]]
    for part, loops in (("idle", 0), ("busy", options.threads if options.loops is None else options.loops)):
        some = texts[:: 5 if loops else 1]

        def run(some: list[str] = some, loops: int = loops) -> dict[str, float]:
            with busy_loops(loops):
                return measure(ways_to_predict(model, some, options.threads), len(some), options.rounds)

        rates = results.part(part, run)
        shown = ", ".join(f"{name} {rate:.1f} ({rate / rates[ONE]:.2f})" for name, rate in rates.items())
        print(f"{part}, {options.threads} threads: texts per second: {shown}")


if __name__ == "__main__":
    main()
