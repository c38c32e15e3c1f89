"""Measure the speed and the memory of prediction."""

from __future__ import annotations

import platform
import resource
import statistics
import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import islice

import torch

from span_marker.core.tables import TextReport, text_table
from span_marker.modeling import SpanMarkerModel


@dataclass(frozen=True)
class Pace:
    """The speed of a model at one batch size.

    Attributes:
        batch_size: Sentences per batch.
        sentences_per_second: The median over rounds.
        p50: Median time of a batch, in milliseconds.
        p99: 99th percentile of the time of a batch, in milliseconds.
    """

    batch_size: int
    sentences_per_second: float
    p50: float
    p99: float


@dataclass(frozen=True)
class PaceReport(TextReport):
    """The speed of a model.

    Attributes:
        paces: By batch size.
        num_sentences: Number of sentences that were read.
        memory: Peak memory of the process so far, in MiB.
        device: The device.
        num_threads: Number of threads.
    """

    paces: tuple[Pace, ...]
    num_sentences: int
    memory: float
    device: str
    num_threads: int

    def __str__(self) -> str:
        table = [("batch size", "sentences/s", "p50 (ms)", "p99 (ms)")]
        table += [
            (str(p.batch_size), f"{p.sentences_per_second:.1f}", f"{p.p50:.1f}", f"{p.p99:.1f}") for p in self.paces
        ]
        return (
            f"{self.num_sentences:,} sentences on {self.device} with {self.num_threads} threads, "
            f"{self.memory:,.0f} MiB at most, torch {torch.__version__}, {platform.machine()}\n\n{text_table(table)}"
        )


def measure(
    model: SpanMarkerModel,
    contents: Iterable[str | list[str]],
    num_sentences: int,
    batch_sizes: Sequence[int],
    num_rounds: int = 3,
) -> PaceReport:
    """Measure how fast a model reads texts, batch by batch, in their order.

    Args:
        model: The model.
        contents: The texts: strings, or lists of words.
        num_sentences: Maximum number of texts to read.
        batch_sizes: Sizes to measure, one after the other in each round.
        num_rounds: Number of rounds. One more round runs first as a warm-up.

    Returns:
        Rates, times and memory.

    Raises:
        ValueError: If there are no texts.
    """
    texts = [
        {"tokens" if isinstance(content, list) else "text": content} for content in islice(contents, num_sentences)
    ]
    if not texts:
        raise ValueError("there are no texts to measure with")
    rates: dict[int, list[float]] = {size: [] for size in batch_sizes}
    times: dict[int, list[float]] = {size: [] for size in batch_sizes}
    list(model.predict_stream(texts[: max(batch_sizes)]))
    for _ in range(num_rounds):
        for size in batch_sizes:
            started = time.perf_counter()
            for first in range(0, len(texts), size):
                before = time.perf_counter()
                list(model.predict_stream(texts[first : first + size], size))
                times[size].append(1e3 * (time.perf_counter() - before))
            rates[size].append(len(texts) / (time.perf_counter() - started))
    paces = [Pace(size, statistics.median(rates[size]), *_percentiles(times[size])) for size in batch_sizes]
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1 if sys.platform == "darwin" else 1024)
    memory = peak if sys.platform != "darwin" else peak / 2**20
    return PaceReport(tuple(paces), len(texts), memory, str(model.device), torch.get_num_threads())


def _percentiles(times: list[float]) -> tuple[float, float]:
    ordered = sorted(times)
    return statistics.median(ordered), ordered[min(int(0.99 * len(ordered)), len(ordered) - 1)]
