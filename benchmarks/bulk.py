"""Shows that ``span-marker predict`` takes constant memory, and what several processes give.

``python benchmarks/bulk.py`` makes a folder of 100,000 small files, and a file of JSON lines of 10 GB, whose rows have
another column of 20 kB beside their text, as records do. Each is read by 1 and by 2 processes. The memory of all
processes, and the rows so far, are looked at twice per second. Inputs and results need twice the size of the input in
``--folder``. Texts are those of the bundled corpus, over and over; without ``--model``, a tiny random model reads them.
Figures go to ``benchmarks/results/bulk.json``, run by run. If it was stopped, the same command goes on with the next
run, and with the inputs that are there. It exits with 1 if memory grew, or several processes are slower than one.
"""

from __future__ import annotations

import argparse
import itertools
import json
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import psutil

HERE = Path(__file__).parent
sys.path += [str(HERE.parent / name) for name in ("training_scripts", "tests")]

from bundled_corpus import read_split  # noqa: E402
from resumable import Results, show_demands  # noqa: E402
from tiny import build_model  # noqa: E402

SECONDS = 0.5
"""Time between two looks at a process."""

GROWTH = 1.1
"""Memory at the end over that after a fifth of the rows: more than this is not constant."""


class Look(NamedTuple):
    """What a process was seen to have.

    Attributes:
        seconds: Since it was started.
        num_bytes: Size of its results so far.
        mebibytes: Memory of the process.
        workers: Memory of each process that it has started, in MiB.
    """

    seconds: float
    num_bytes: int
    mebibytes: float
    workers: list[float]


def model_or_tiny(model: str | None, folder: Path) -> str:
    """Name a model: the one that was asked for, or a tiny random one, which is saved, always the same."""
    if model is None:
        model = str(folder / "tiny")
        build_model(entity_max_length=4).save_pretrained(model)
    return model


def make_files(folder: Path, texts: list[str], num_files: int) -> None:
    """Make a folder of small files, 1,000 per folder in it."""
    for number, text in zip(range(num_files), itertools.cycle(texts), strict=False):
        path = folder / f"{number // 1000:04}" / f"{number:07}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


def make_lines(path: Path, texts: list[str], num_bytes: int, row_bytes: int) -> None:
    """Make a file of JSON lines of some size."""
    with path.open("w", encoding="utf-8") as file:
        for number, text in enumerate(itertools.cycle(texts)):
            file.write(json.dumps({"id": number, "text": text, "source": f"{number} " * (row_bytes // 8)}) + "\n")
            if file.tell() >= num_bytes:
                return


def look_at(process: psutil.Process, results: Path, started: float) -> Iterator[Look]:
    """Look at a process, if it is still there."""
    try:
        sizes = [one.memory_info().rss / 2**20 for one in (process, *process.children(recursive=True))]
        yield Look(time.perf_counter() - started, results.stat().st_size, sizes[0], sizes[1:])
    except (psutil.NoSuchProcess, psutil.ZombieProcess, FileNotFoundError):
        return


def run(model: str, source: Path, num_workers: int) -> dict[str, Any]:
    """Predict what is in a file or a folder, and look at it meanwhile."""
    output = source.with_name(f"{source.name}.entities.jsonl")
    command = [sys.executable, "-m", "span_marker_cli", "predict", model, str(source), "--output", str(output)]
    command += ["--num-workers", str(num_workers), "--overwrite"]
    looks: list[Look] = []
    started = time.perf_counter()
    with tempfile.TemporaryFile("w+") as log, subprocess.Popen(command, stdout=log, stderr=log) as process:
        watched = psutil.Process(process.pid)
        while process.poll() is None:
            looks += look_at(watched, Path(f"{output}.part"), started)
            time.sleep(SECONDS)
        log.seek(0)
        said = log.read()
    if process.returncode:
        raise RuntimeError(said)
    (num_texts, rate) = re.findall(r"([\d,]+) texts, [\d,]+ entities, ([\d.]+) texts/s", said)[-1]
    num_bytes = output.stat().st_size
    output.unlink()
    return {
        "source": source.name,
        "workers": num_workers,
        "texts": int(num_texts.replace(",", "")),
        "per_second": float(rate),
        "seconds": time.perf_counter() - started,
        "peak_mebibytes": max(look.mebibytes for look in looks),
        "peak_mebibytes_of_workers": max(sum(look.workers) for look in looks),
        "over_time": [
            max((look for look in looks if look.num_bytes <= num_bytes * tenth / 10), key=lambda look: look.seconds)
            for tenth in range(1, 11)
        ],
    }


def show(row: dict[str, Any]) -> str:
    """A few lines about a run."""
    lines = ["{source}, {workers} processes: {texts:,} texts, {per_second:.1f} texts/s, at most ".format(**row)]
    lines[0] += "{peak_mebibytes:.0f} MiB, workers together {peak_mebibytes_of_workers:.0f}".format(**row)
    for tenth, look in enumerate(row["over_time"], start=1):
        seconds, _, size, workers = look
        sizes = ", ".join(f"{one:.0f}" for one in (size, *workers))
        lines.append(f"  {tenth:>2}/10 of the rows, {seconds:7.1f} s: {sizes} MiB")
    return "\n".join(lines)


def made(source: Path, make: Callable[[Path], None]) -> Path:
    """Make an input, unless it is there."""
    if not source.exists():
        part = source.with_name(f"part-{source.name}")
        shutil.rmtree(part) if part.is_dir() else part.unlink(missing_ok=True)
        make(part)
        part.rename(source)
    return source


def demands(runs: list[dict[str, Any]]) -> dict[str, bool]:
    """Say what was demanded, and whether it is met."""
    rows = {}
    for run in runs:
        name = f"{run['source']}, {run['workers']} processes"
        sizes = [look[2] + sum(look[3]) for look in run["over_time"]]
        growth = sizes[-1] / max(sizes[1], 1e-9)
        rows[f"{name}: memory grows by at most {GROWTH:g} ({growth:.2f})"] = growth <= GROWTH
        alone = [one["per_second"] for one in runs if (one["source"], one["workers"]) == (run["source"], 1)]
        if run["workers"] > 1 and alone:
            ratio = run["per_second"] / alone[0]
            rows[f"{name}: no slower than one ({ratio:.2f})"] = ratio >= 1
    return rows


def main() -> int:
    """Make files, predict what is in them, and write down what it took."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", help="folder of a checkpoint")
    parser.add_argument("--files", type=int, default=100_000, help="number of small files; 0 for none")
    parser.add_argument("--megabytes", type=float, default=10_000, help="size of the JSON lines; 0 for none")
    parser.add_argument("--row-bytes", type=int, default=20_000, help="size of a row of these")
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()), help="gets a folder of inputs")
    parser.add_argument("--results", type=Path, default=HERE / "results" / "bulk.json")
    options = parser.parse_args()
    names = ("model", "files", "megabytes", "row_bytes", "workers")
    results = Results(options.results, {name: getattr(options, name) for name in names})
    texts, folder = read_split("train")["text"][:], options.folder / "span-marker-bulk"
    folder.mkdir(parents=True, exist_ok=True)
    model = model_or_tiny(options.model, folder)
    makers: dict[str, tuple[float, Callable[[Path], None]]] = {
        f"{options.files}-files": (options.files, lambda path: make_files(path, texts, options.files)),
        f"{options.megabytes:g}-mb-of-{options.row_bytes}.jsonl": (
            options.megabytes,
            lambda path: make_lines(path, texts, int(1e6 * options.megabytes), options.row_bytes),
        ),
    }
    runs = []
    for name, (size, make) in makers.items():
        for num_workers in options.workers if size else ():
            part = f"{name}, {num_workers} processes"
            runs.append(results.part(part, lambda: run(model, made(folder / name, make), num_workers)))  # noqa: B023
            print(show(runs[-1]), flush=True)
    shutil.rmtree(folder)
    return show_demands(demands(runs))


if __name__ == "__main__":
    sys.exit(main())
