"""What a cluster's engine costs on one machine: actors of Ray Data against a plain `predict`, from Parquet to Parquet.

``python benchmarks/cluster.py MODEL INPUT --rows 20000`` reads a Parquet file with a column ``text`` or ``tokens`` by
`predict` with two threads, by one actor with two threads, and by two actors with one thread each, and prints rows per
second and their ratio to the first. The rate from end to end counts everything from the call to the last file; the
steady one leaves out what does not grow with the rows: it is that of the rows beyond ``--warm`` of them, which are
measured alone. Needs the extra ``ray``.
"""

import argparse
import json
import os
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import torch

from span_marker import SpanMarkerModel
from span_marker.bulk import Reader

NUM_THREADS = 2


def plain(model: str, source: Path, output: Path) -> None:
    """Load the model, read the file, predict, write the file."""
    table = pq.read_table(source)
    pq.write_table(Reader(model, num_threads=NUM_THREADS)(table), output / "rows.parquet")


def actors(concurrency: int) -> Callable[[str, Path, Path], None]:
    """The same with actors that share the threads."""

    def run(model: str, source: Path, output: Path) -> None:
        import ray

        from span_marker.integrations import predict_dataset

        data = ray.data.read_parquet(str(source))
        num_threads = NUM_THREADS // concurrency
        predict_dataset(data, model, concurrency=concurrency, num_threads=num_threads).write_parquet(str(output))

    return run


WAYS = {"predict, 2 threads": plain, "1 actor, 2 threads": actors(1), "2 actors, 1 thread": actors(2)}


def seconds(run: Callable[[str, Path, Path], None], model: str, source: Path) -> float:
    """How long a way takes, and check that no row is lost."""
    output = Path(tempfile.mkdtemp())
    started = time.perf_counter()
    run(model, source, output)
    duration = time.perf_counter() - started
    assert pq.ParquetDataset(output).read(["entities"]).num_rows == pq.read_metadata(source).num_rows
    shutil.rmtree(output)
    return duration


def measure(model: str, table: Any, num_warm: int, rounds: int) -> dict[str, dict[str, float]]:
    """Rates of all ways, in rows per second: the best of the rounds, in turns."""
    with tempfile.TemporaryDirectory() as folder:
        few, all_rows = Path(folder, "few.parquet"), Path(folder, "all.parquet")
        pq.write_table(table.slice(0, num_warm), few)
        pq.write_table(table, all_rows)
        SpanMarkerModel.from_pretrained(model)  # what is imported, and in the cache of the file system, costs no way
        best: dict[str, list[float]] = {name: [float("inf")] * 2 for name in WAYS}
        for _ in range(rounds):
            for name, run in WAYS.items():
                times = [seconds(run, model, path) for path in (few, all_rows)]
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
    parser.add_argument("--warm", type=int, default=1024)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--output", type=Path, help="a JSON file")
    arguments = parser.parse_args()
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    import ray

    torch.set_num_threads(NUM_THREADS)
    ray.init(num_cpus=NUM_THREADS, include_dashboard=False, log_to_driver=False)
    table = pq.read_table(arguments.input)
    if table.num_rows < arguments.rows:
        parser.error(f"--rows={arguments.rows}, but {arguments.input} has {table.num_rows}")
    rates = measure(arguments.model, table.slice(0, arguments.rows), arguments.warm, arguments.rounds)
    first = rates[next(iter(WAYS))]
    for name, kinds in rates.items():
        shown = ", ".join(f"{kind} {rate:.1f} rows/s ({rate / first[kind]:.2f})" for kind, rate in kinds.items())
        print(f"{name:<20} {shown}")
    if arguments.output:
        result = {
            "rows": arguments.rows,
            "rounds": arguments.rounds,
            "torch": torch.__version__,
            "ray": ray.__version__,
        }
        arguments.output.write_text(json.dumps({**result, "rates": rates}, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
