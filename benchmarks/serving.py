"""Measures the server: requests per second and latency beside ``model.predict``, mixed-up answers, and memory.

``python benchmarks/serving.py --model FOLDER --data FOLDER`` starts ``span-marker serve`` in a process of its own and
sends it the test sentences of CoNLL data, one per request, over 1, 8, 64 and 512 connections that stay open. In each
round, ``model.predict`` reads the same sentences in batches of 32, in this process, while the server has nothing to do;
figures are medians over rounds. Then 64 clients send 100,000 requests (``--check``), all of other texts at a time, and
their answers are compared with those of ``model.predict``; the memory of the server is looked at twenty times. Client
and server share the processor. ``--soak MINUTES`` goes on for so long. Without ``--data``, texts are those of the
bundled corpus; without ``--model``, a tiny random model reads them. Figures go to ``benchmarks/results/serving.json``,
part by part. If it was stopped, the same command goes on with the next part. It exits with 1 if the server reaches less
than 0.85 of ``model.predict`` with 64 connections or more, an answer is wrong, or memory grows.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any
from urllib.request import urlopen

from bulk import GROWTH, model_or_tiny, read_split
from resumable import Results, show_demands
from speed import read_conll

from span_marker import SpanMarkerModel

HERE = Path(__file__).parent
CONNECTIONS = (1, 8, 64, 512)
CHECK_CONNECTIONS = 64
BATCH_SIZE = 32
LOOKS = 20
"""How often the memory of the server is looked at while answers are checked."""

LEAST_SHARE = 0.85
"""Least throughput of the server over that of ``model.predict``, with `CHECK_CONNECTIONS` or more."""


@contextmanager
def serving(model: str, num_connections: int) -> Iterator[int]:
    """Run the server within a ``with`` block, and yield its port."""
    command = [sys.executable, "-m", "span_marker_cli", "serve", model, "--port", "0"]
    command += ["--max-requests", str(max(2 * num_connections, 64)), "--timeout", "600"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=os.environ) as process:
        assert process.stderr is not None
        try:
            yield int(re.findall(r":(\d+)$", process.stderr.readline())[0])
        finally:
            process.terminate()
            process.communicate()


def figure(port: int, name: str) -> float:
    """One of the figures of the server."""
    with urlopen(f"http://127.0.0.1:{port}/metrics") as answer:
        (value,) = re.findall(rf"^{name} (\S+)$", answer.read().decode(), re.MULTILINE)
    return float(value)


def memory_of(port: int) -> float:
    """MiB that the server has."""
    return figure(port, "process_resident_memory_bytes") / 2**20


def requests_for(texts: list[str]) -> list[bytes]:
    """Make the requests before the clock runs: what the client does takes time from the server."""
    head = b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s"
    bodies = [json.dumps({"inputs": text}).encode() for text in texts]
    return [head % (len(body), body) for body in bodies]


class Client(asyncio.Protocol):
    """A connection that stays open, and sends a request when the one before is answered.

    Args:
        requests: What to send, over and over.
        numbers: The numbers of the requests that no client has sent yet.
        see: Called with the number of each request and the JSON of its answer.
        seconds: Gets the seconds that each request took.
    """

    def __init__(
        self, requests: list[bytes], numbers: Iterator[int], see: Callable[[int, bytes], None], seconds: list[float]
    ) -> None:
        self._requests, self._numbers, self._see, self._seconds = requests, numbers, see, seconds
        self.done = asyncio.get_running_loop().create_future()
        self._received = b""

    def connection_made(self, transport: Any) -> None:
        """Wait for `send_next`."""
        self._transport = transport

    def send_next(self) -> None:
        """Send a request, or end if there are no more."""
        number = next(self._numbers, None)
        if number is None:
            self._transport.close()
            return
        self._number, self._started = number, time.perf_counter()
        self._transport.write(self._requests[number % len(self._requests)])

    def data_received(self, data: bytes) -> None:
        """Read an answer, once it is complete."""
        self._received += data
        head, end, content = self._received.partition(b"\r\n\r\n")
        if not end or len(content) < int(head.partition(b"content-length: ")[2].partition(b"\r")[0]):
            return
        seconds = time.perf_counter() - self._started
        self._received = b""
        if not head.startswith(b"HTTP/1.1 200"):
            self.done.set_exception(RuntimeError(f"request {self._number}: {content.decode()}"))
            return
        self._see(self._number, content)
        self._seconds.append(seconds)
        self.send_next()

    def connection_lost(self, error: Exception | None) -> None:
        """End."""
        if not self.done.done():
            self.done.set_result(None)


async def send(
    port: int, texts: list[str], num_requests: int, num_connections: int, see: Callable[[int, bytes], None]
) -> dict[str, float]:
    """Send requests over connections that stay open, each when the one before is answered.

    Args:
        port: Where to.
        texts: What to send, over and over.
        num_requests: How many.
        num_connections: Over how many connections.
        see: Called with the number of each request and the JSON of its answer.

    Returns:
        Seconds in total, requests per second, milliseconds per request, and milliseconds of processor time that the
        client took per request.
    """
    requests, numbers, seconds = requests_for(texts), iter(range(num_requests)), []
    loop = asyncio.get_running_loop()
    clients = [
        (await loop.create_connection(lambda: Client(requests, numbers, see, seconds), "127.0.0.1", port))[1]
        for _ in range(num_connections)
    ]
    started, busy = time.perf_counter(), time.process_time()
    for client in clients:
        client.send_next()
    await asyncio.gather(*(client.done for client in clients))
    taken, busy = time.perf_counter() - started, time.process_time() - busy
    if len(seconds) != num_requests:
        raise RuntimeError(f"the server closed connections: {len(seconds)} of {num_requests} requests were answered")
    seconds.sort()
    return {
        "seconds": taken,
        "per_second": num_requests / taken,
        "p50_ms": 1e3 * statistics.median(seconds),
        "p99_ms": 1e3 * seconds[int(0.99 * (len(seconds) - 1))],
        "client_ms": 1e3 * busy / num_requests,
    }


def measure(port: int, texts: list[str], num_requests: int, num_connections: int) -> dict[str, float]:
    """Requests per second, milliseconds per request, and how many of them were read together."""
    before = figure(port, "span_marker_group_sentences_count")
    row = asyncio.run(send(port, texts, num_requests, num_connections, lambda number, answer: None))
    return {**row, "group": num_requests / (figure(port, "span_marker_group_sentences_count") - before)}


def predict_rate(model: Any, texts: list[str]) -> float:
    """Texts per second of ``model.predict``."""
    started = time.perf_counter()
    model.predict(texts, BATCH_SIZE, is_split_into_words=False)
    return len(texts) / (time.perf_counter() - started)


def measure_round(
    port: int, model: Any, texts: list[str], num_requests: int, all_connections: list[int]
) -> dict[str, Any]:
    """Measure ``model.predict``, and the server with numbers of connections, in turns."""
    predict_rate(model, texts[:BATCH_SIZE])
    measure(port, texts, min(num_requests, 200), 1)
    rate = predict_rate(model, [texts[number % len(texts)] for number in range(num_requests)])
    server = {str(number): measure(port, texts, num_requests, number) for number in all_connections}
    return {"predict_per_second": rate, "server": server}


def summarize(rounds: list[dict[str, Any]]) -> dict[str, Any]:
    """Reduce rounds to medians."""
    rate = statistics.median(one["predict_per_second"] for one in rounds)
    table = []
    for number, first in rounds[0]["server"].items():
        row = {name: statistics.median(one["server"][number][name] for one in rounds) for name in first}
        table.append({"connections": int(number), **row, "of_predict": row["per_second"] / rate})
    return {"predict_per_second": rate, "server": table}


def show(summary: dict[str, Any]) -> str:
    """A line per number of connections."""
    text = "{connections:>4} connections: {per_second:.1f}/s ({of_predict:.2f}), p50 {p50_ms:.1f}, p99 {p99_ms:.1f} ms"
    text += ", client {client_ms:.3f} ms per request, {group:.1f} read together"
    lines = [f"model.predict in batches of {BATCH_SIZE}: {summary['predict_per_second']:.1f}/s"]
    return "\n".join([*lines, *(text.format(**row) for row in summary["server"])])


def places(entities: Any) -> list[Any]:
    """What does not depend on the batch."""
    return [(entity["label"], entity["char_start_index"], entity["char_end_index"]) for entity in entities]


def check(port: int, texts: list[str], expected: list[Any], num_requests: int) -> dict[str, Any]:
    """Count answers that belong to another text, and those that differ from ``model.predict``; look at the memory."""
    wrong = {"of_another_text": 0, "different": 0}

    def see(number: int, answer: bytes) -> None:
        text, entities = texts[number % len(texts)], json.loads(answer)["entities"]
        wrong["of_another_text"] += any(
            e["span"] != text[e["char_start_index"] : e["char_end_index"]] for e in entities
        )
        wrong["different"] += places(entities) != places(expected[number % len(texts)])

    memory = memory_of(port)
    row = {
        "requests": num_requests,
        **asyncio.run(send(port, texts, num_requests, CHECK_CONNECTIONS, see)),
        **wrong,
        "port": port,  # tells servers apart, if the check was resumed
        "mebibytes": [memory, memory_of(port)],
    }
    print(
        "{requests:,} requests in {seconds:.0f} s, {different} wrong, {mebibytes[1]:.0f} MiB".format(**row), flush=True
    )
    return row


def demands(summary: dict[str, Any], checks: list[dict[str, Any]]) -> dict[str, bool]:
    """Say what was demanded, and whether it is met."""
    rows = {}
    for row in summary["server"]:
        if row["connections"] >= CHECK_CONNECTIONS:
            text = f"{row['connections']} connections: at least {LEAST_SHARE} of predict ({row['of_predict']:.2f})"
            rows[text] = row["of_predict"] >= LEAST_SHARE
    if checks:
        num_requests = sum(row["requests"] for row in checks)
        num_wrong = sum(row["of_another_text"] + row["different"] for row in checks)
        rows[f"{num_requests:,} answers: none wrong ({num_wrong})"] = num_wrong == 0
        last = [row["mebibytes"][1] for row in checks if row["port"] == checks[-1]["port"]]
        growth = last[-1] / last[min(len(last) // 5, len(last) - 1)]
        rows[f"memory grows by at most {GROWTH:g} ({growth:.2f})"] = growth <= GROWTH
    return rows


def main() -> int:
    """Measure, and write down what came out."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", help="folder of a checkpoint")
    parser.add_argument("--data", type=Path, help="folder with test.txt in CoNLL format")
    parser.add_argument("--requests", type=int, default=2_000, help="per number of connections and round")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--connections", type=int, nargs="+", default=CONNECTIONS)
    parser.add_argument("--check", type=int, default=100_000, help="compare the answers to so many; 0 for none")
    parser.add_argument("--soak", type=int, default=0, help="then go on for so many minutes")
    parser.add_argument("--results", type=Path, default=HERE / "results" / "serving.json")
    options = parser.parse_args()
    if options.data is None:
        texts = read_split("train")["text"][:]
    else:
        texts = [" ".join(words) for words in read_conll(options.data / "test.txt")[0]]
    texts = list(dict.fromkeys(texts))
    settings = {name: value for name, value in vars(options).items() if name != "results"}
    results = Results(options.results, {**settings, "data": str(options.data)})
    with tempfile.TemporaryDirectory() as folder:
        path = model_or_tiny(options.model, Path(folder))
        model: Any = SpanMarkerModel.from_pretrained(path)
        expected: list[Any] = model.predict(texts, BATCH_SIZE, is_split_into_words=False)
        with serving(path, max(*options.connections, CHECK_CONNECTIONS)) as port:
            arguments = (port, model, texts, options.requests, list(options.connections))
            rounds = [results.part(f"round {n}", lambda: measure_round(*arguments)) for n in range(options.rounds)]
            summary = summarize(rounds)
            print(show(summary), flush=True)
            ends = [options.check * n // LOOKS for n in range(LOOKS + 1)]
            checks = [
                results.part(f"check {n}", lambda: check(port, texts, expected, last - first))  # noqa: B023
                for n, (first, last) in enumerate(pairwise(ends))
                if last > first
            ]
            size = int(60 * max(row["per_second"] for row in summary["server"]))  # about a minute
            checks += [
                results.part(f"soak {n}", lambda: check(port, texts, expected, size)) for n in range(options.soak)
            ]
    results.write(summary=summary)
    return show_demands(demands(summary, checks))


if __name__ == "__main__":
    sys.exit(main())
