"""What a cluster's engine costs on one machine: actors of Ray Data against a plain `predict`, from Parquet to Parquet.

``python benchmarks/cluster.py MODEL INPUT --rows 20000`` reads a Parquet file with a column ``text`` or ``tokens`` by
`predict` with two threads, by one actor with two threads, and by two actors with one thread each, and prints rows per
second and their ratio to the first. Each way is a script of its own. The rate from end to end counts everything from
the start of its process to the end: Python, imports, the cluster, the model, and both files. The steady one leaves out
what does not grow with the rows: it is that of the rows beyond ``--warm`` of them, which are measured alone. Needs the
extra ``ray``.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
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
ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
data = predict_dataset(ray.data.read_parquet(source), model, concurrency=CONCURRENCY, num_threads=2 // CONCURRENCY)
data.write_parquet(output)
"""

WAYS = {
    "predict, 2 threads": PLAIN,
    "1 actor, 2 threads": ACTORS.replace("CONCURRENCY", "1"),
    "2 actors, 1 thread": ACTORS.replace("CONCURRENCY", "2"),
}


def seconds(script: str, model: str, source: Path) -> float:
    """How long a script takes, and check that no row is lost."""
    quiet = {**os.environ, "RAY_USAGE_STATS_ENABLED": "0", "RAY_worker_niceness": "0", "PYTHONWARNINGS": "ignore"}
    with tempfile.TemporaryDirectory() as output:
        command = [sys.executable, "-c", script, model, str(source), output]
        started = time.perf_counter()
        done = subprocess.run(command, env=quiet, capture_output=True, text=True, check=False)
        duration = time.perf_counter() - started
        if done.returncode:
            raise RuntimeError(f"a script failed:\n{done.stderr[-3000:]}")
        assert pq.ParquetDataset(output).read(["entities"]).num_rows == pq.read_metadata(source).num_rows
    return duration


def measure(model: str, table: Any, num_warm: int, rounds: int) -> dict[str, dict[str, float]]:
    """Rates of all ways, in rows per second: the best of the rounds, in turns."""
    with tempfile.TemporaryDirectory() as folder:
        few, all_rows = Path(folder, "few.parquet"), Path(folder, "all.parquet")
        pq.write_table(table.slice(0, num_warm), few)
        pq.write_table(table, all_rows)
        best: dict[str, list[float]] = {name: [float("inf")] * 2 for name in WAYS}
        for _ in range(rounds):
            for name, script in WAYS.items():
                times = [seconds(script, model, path) for path in (few, all_rows)]
                print(f"{name}: {num_warm} rows {times[0]:.1f} s, {table.num_rows} rows {times[1]:.1f} s", flush=True)
                best[name] = [*map(min, best[name], times)]
    rates = {}
    for name, (short, long) in best.items():
        rates[name] = {"end to end": table.num_rows / long, "steady": (table.num_rows - num_warm) / (long - short)}
    return rates


def main() -> None:
    """Measure, print, and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model")
    parser.add_argument("input", help="a Parquet file")
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--warm", type=int, default=2048, help="a block for each actor, at least")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--output", type=Path, help="a JSON file")
    arguments = parser.parse_args()
    table = pq.read_table(arguments.input)
    if table.num_rows < arguments.rows:
        parser.error(f"--rows={arguments.rows}, but {arguments.input} has {table.num_rows}")
    rates = measure(arguments.model, table.slice(0, arguments.rows), arguments.warm, arguments.rounds)
    first = rates[next(iter(WAYS))]
    for name, kinds in rates.items():
        shown = ", ".join(f"{kind} {rate:.1f} rows/s ({rate / first[kind]:.2f})" for kind, rate in kinds.items())
        print(f"{name:<20} {shown}")
    if arguments.output:
        result = {"machine": machine(), "rows": arguments.rows, "rounds": arguments.rounds, "rates": rates}
        arguments.output.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
