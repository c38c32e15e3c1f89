"""Shows how long the model waits for a store that is slow, with texts fetched ahead and without.

``python benchmarks/slow_store.py`` reads a file with `predict_files` as if it came from a store that delivers a given
number of texts per second: 0.8, 1.25 and 2 times as many as the model reads. For each, it prints the share of the time
in which the model had nothing to read, and the least that any reader can have: ``1 - store / model``, with the rate of
the model in that run, since shared machines are not always as fast. Texts are those of the bundled corpus; without
``--model``, a tiny random model reads them. Figures go to ``benchmarks/results/slow_store.json``.
"""

from __future__ import annotations

import argparse
import itertools
import json
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar
from unittest import mock

from bulk import model_or_tiny, read_split
from speed import machine

from span_marker.bulk import Reader, predict_files

HERE = Path(__file__).parent
STORES = (0.8, 1.25, 2.0)
T = TypeVar("T")


def deliver(items: Iterator[T], per_second: float) -> Iterator[T]:
    """Deliver items no faster than at a rate, counted from when the first is asked for."""
    started = time.perf_counter()
    for number, item in enumerate(items, start=1):
        time.sleep(max(started + number / per_second - time.perf_counter(), 0))
        yield item


def waiting_share(intervals: list[tuple[float, float]]) -> float:
    """The share of the time, from the first beginning to the last end, that no interval covers.

    Args:
        intervals: When each began and ended, one after the other.
    """
    length = intervals[-1][1] - intervals[0][0]
    return 1 - sum(end - begin for begin, end in intervals) / length


def least_share(intervals: list[tuple[float, float]], num_texts: int, per_second: float) -> float:
    """The least share that any reader could have waited, with the rate that the model had just then.

    Args:
        intervals: When the model was busy.
        num_texts: Number of texts that it read in this time.
        per_second: Number of texts that the store delivers per second.
    """
    busy = sum(end - begin for begin, end in intervals)
    return max(1 - per_second * busy / num_texts, 0.0)


def run(model: str, source: Path, per_second: float, ahead: bool) -> tuple[list[tuple[float, float]], int]:
    """Read a file at a store's rate; return when the model was busy, and the number of texts."""
    from span_marker.bulk.predict_files import fetch_ahead, read_items

    intervals = []
    read = Reader.read

    def timed(*args: Any) -> Any:
        started = time.perf_counter()
        result = read(*args)
        intervals.append((started, time.perf_counter()))
        return result

    def slow(*args: Any) -> Any:
        return deliver(read_items(*args), per_second)

    fetch: Callable[[Any], Any] = fetch_ahead if ahead else iter
    names = {"read_items": slow, "fetch_ahead": fetch}
    with mock.patch.multiple("span_marker.bulk.predict_files", **names), mock.patch.object(Reader, "read", timed):
        report = predict_files(model, [source], source.with_suffix(".out.jsonl"), overwrite=True)
    return intervals, report.num_texts


def main() -> None:
    """Measure, print, and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", help="folder of a checkpoint")
    parser.add_argument("--texts", type=int, default=4_096)
    parser.add_argument("--results", type=Path, default=HERE / "results" / "slow_store.json")
    options = parser.parse_args()
    results: dict[str, Any] = {
        "machine": machine(),
        "model": options.model or "tiny",
        "texts": options.texts,
        "runs": [],
    }
    with tempfile.TemporaryDirectory() as name:
        model, source = model_or_tiny(options.model, Path(name)), Path(name) / "texts.jsonl"
        texts = itertools.islice(itertools.cycle(read_split("train")["text"][:]), options.texts)
        source.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts), encoding="utf-8")
        run(model, source, float("inf"), True)
        intervals, count = run(model, source, float("inf"), True)
        rate = count / sum(end - begin for begin, end in intervals)
        results["model_per_second"] = rate
        print(f"the model reads {rate:.1f} texts/s")
        for store, ahead in itertools.product(STORES, (False, True)):
            intervals, count = run(model, source, store * rate, ahead)
            share, least = waiting_share(intervals), least_share(intervals, count, store * rate)
            results["runs"].append({"store": store, "ahead": ahead, "waiting": share, "least": least})
            way = "fetched ahead" if ahead else "one after the other"
            waits = f"the model waits {share:.1%} of the time, at least {least:.1%}"
            print(f"a store of {store * rate:.1f} texts/s, {way}: {waits}", flush=True)
    options.results.parent.mkdir(parents=True, exist_ok=True)
    options.results.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
