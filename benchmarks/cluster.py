"""What a cluster's engine costs on one machine: actors of Ray Data against a plain `predict`, from Parquet to Parquet.

``python benchmarks/cluster.py MODEL INPUT --rows 20000`` reads a Parquet file with a column ``text`` or ``tokens`` by
`predict` with two threads, by one actor with two threads, and by two actors with one thread each, and prints rows per
second and their ratio to the first. Each way is a script of its own, and its time counts everything from the start of
its process to the end: Python, imports, the model in each actor, and both files. The cluster, of two CPUs, has been
started before, as a cluster is; how long that takes is printed, too. Medians of rounds in turns. Needs the extra
``ray``.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from speed import machine

PLAIN = """
import sys

import pyarrow.parquet as pq

from span_marker.bulk import Reader

model, source, output = sys.argv[1:]
pq.write_table(Reader(model, num_threads=2)(pq.read_table(source)), f"{output}/rows.parquet")
"""

ACTORS = """
import sys

import ray

from span_marker.integrations import predict_dataset

model, source, output = sys.argv[1:]
ray.init("auto", log_to_driver=False)
data = predict_dataset(ray.data.read_parquet(source), model, concurrency=CONCURRENCY, num_threads=2 // CONCURRENCY)
data.write_parquet(output)
"""

START = "start of a cluster"

WAYS = {
    "predict, 2 threads": PLAIN,
    "1 actor, 2 threads": ACTORS.replace("CONCURRENCY", "1"),
    "2 actors, 1 thread": ACTORS.replace("CONCURRENCY", "2"),
}


QUIET = {
    **os.environ,
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_AUTH_MODE": "disabled",
    "RAY_worker_niceness": "0",
    "PYTHONWARNINGS": "ignore",
}


def seconds(command: list[str]) -> float:
    """How long a command takes.

    Raises:
        RuntimeError: If it fails.
    """
    started = time.perf_counter()
    done = subprocess.run(command, env=QUIET, capture_output=True, text=True, check=False)
    duration = time.perf_counter() - started
    if done.returncode:
        raise RuntimeError(f"{command[0]} failed:\n{done.stderr[-3000:]}")
    return duration


@contextmanager
def cluster() -> Iterator[float]:
    """Run a cluster on this machine within a ``with`` block, and yield how long it took to start."""
    ray = str(Path(sys.executable).with_name("ray"))
    start = [ray, "start", "--head", "--num-cpus=2", "--include-dashboard=false", "--port=0"]
    try:
        yield seconds(start)
    finally:
        seconds([ray, "stop"])


def read(script: str, model: str, source: Path) -> float:
    """How long a script takes, and check that no row is lost."""
    with tempfile.TemporaryDirectory() as output:
        duration = seconds([sys.executable, "-c", script, model, str(source), output])
        assert pq.ParquetDataset(output).read(["entities"]).num_rows == pq.read_metadata(source).num_rows
    return duration


def measure(model: str, table: Any, rounds: int) -> dict[str, list[float]]:
    """Seconds of all ways, and of starting a cluster, in turns."""
    times: dict[str, list[float]] = {name: [] for name in (*WAYS, START)}
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder, "rows.parquet")
        pq.write_table(table, source)
        for _ in range(rounds):
            for name, script in WAYS.items():
                with nullcontext() if script == PLAIN else cluster() as start:
                    times[name].append(read(script, model, source))
                times[START] += [start] if start is not None else []
                print(f"{name}: {times[name][-1]:.1f} s", flush=True)
    return times


def main() -> None:
    """Measure, print, and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model")
    parser.add_argument("input", help="a Parquet file")
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--output", type=Path, help="a JSON file")
    arguments = parser.parse_args()
    table = pq.read_table(arguments.input)
    if table.num_rows < arguments.rows:
        parser.error(f"--rows={arguments.rows}, but {arguments.input} has {table.num_rows}")
    times = measure(arguments.model, table.slice(0, arguments.rows), arguments.rounds)
    medians = {name: statistics.median(some) for name, some in times.items()}
    for name in WAYS:
        ratio = medians[next(iter(WAYS))] / medians[name]
        print(f"{name:<20} {medians[name]:.1f} s, {arguments.rows / medians[name]:.1f} rows/s ({ratio:.2f})")
    print(f"{START:<20} {medians[START]:.1f} s")
    if arguments.output:
        result = {"machine": machine(), "rows": arguments.rows, "seconds": times}
        arguments.output.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
