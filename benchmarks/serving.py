"""Measures the server: requests per second and latency, by number of connections, beside ``model.predict``.

``python benchmarks/serving.py --model FOLDER --data FOLDER`` starts ``span-marker serve`` in a process of its own and
sends it the test sentences of CoNLL data, one per request, over 1, 8, 64 and 512 connections that stay open.
``model.predict`` reads the same sentences in batches of 32, in this process, before the server starts.
``--check 100000`` sends so many requests instead, and counts answers that are not those of ``model.predict``. Both
write down how much memory the server has. Client and server share the processor. Figures go to
``benchmarks/results/serving.json``.
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
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count, islice
from pathlib import Path
from typing import Any
from urllib.request import urlopen

from speed import machine, read_conll

from span_marker import SpanMarkerModel

HERE = Path(__file__).parent
CONNECTIONS = (1, 8, 64, 512)
BATCH_SIZE = 32


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


def memory_of(port: int) -> float:
    """MiB that the server has."""
    with urlopen(f"http://127.0.0.1:{port}/metrics") as answer:
        (size,) = re.findall(r"^process_resident_memory_bytes (\S+)$", answer.read().decode(), re.MULTILINE)
    return float(size) / 2**20


async def send(
    port: int, texts: list[str], num_requests: int, num_connections: int, see: Callable[[int, Any], None]
) -> list[float]:
    """Send requests over connections that stay open, each when the one before is answered.

    Args:
        port: Where to.
        texts: What to send, over and over.
        num_requests: How many.
        num_connections: Over how many connections.
        see: Called with the number of each request and its answer.

    Returns:
        Seconds that each request took.
    """
    numbers, seconds = islice(count(), num_requests), []

    async def talk() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for number in numbers:
            body = json.dumps({"inputs": texts[number % len(texts)]}).encode()
            started = time.perf_counter()
            head = f"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {len(body)}"
            writer.write(head.encode() + b"\r\n\r\n" + body)
            answer = await reader.readuntil(b"\r\n\r\n")
            length = int(re.findall(rb"content-length: (\d+)", answer)[0])
            content = json.loads(await reader.readexactly(length))
            if not answer.startswith(b"HTTP/1.1 200"):
                raise RuntimeError(f"request {number}: {content}")
            seconds.append(time.perf_counter() - started)
            see(number, content["entities"])
        writer.close()
        await writer.wait_closed()

    await asyncio.gather(*(talk() for _ in range(num_connections)))
    return seconds


def measure(port: int, texts: list[str], num_requests: int, num_connections: int) -> dict[str, Any]:
    """Requests per second and milliseconds per request."""
    started = time.perf_counter()
    seconds = sorted(asyncio.run(send(port, texts, num_requests, num_connections, lambda number, found: None)))
    return {
        "connections": num_connections,
        "requests": num_requests,
        "per_second": num_requests / (time.perf_counter() - started),
        "p50_ms": 1e3 * statistics.median(seconds),
        "p99_ms": 1e3 * seconds[int(0.99 * (len(seconds) - 1))],
        "server_mebibytes": memory_of(port),
    }


def check(port: int, texts: list[str], expected: list[Any], num_requests: int, num_connections: int) -> dict[str, Any]:
    """Count answers that belong to another text, and those that differ from ``model.predict``."""
    wrong = {"of_another_text": 0, "different": 0}
    memory: list[float] = []

    def places(entities: Any) -> list[Any]:
        return [(entity["label"], entity["char_start_index"], entity["char_end_index"]) for entity in entities]

    def see(number: int, entities: Any) -> None:
        text = texts[number % len(texts)]
        wrong["of_another_text"] += any(
            e["span"] != text[e["char_start_index"] : e["char_end_index"]] for e in entities
        )
        wrong["different"] += places(entities) != places(expected[number % len(texts)])

    for part in range(10):
        asyncio.run(send(port, texts, num_requests // 10, num_connections, see))
        memory.append(memory_of(port))
        print(f"{(part + 1) * num_requests // 10:>9,} requests: {wrong}, {memory[-1]:.0f} MiB", flush=True)
    return {"requests": num_requests, "connections": num_connections, **wrong, "server_mebibytes": memory}


def main() -> None:
    """Measure, and write down what came out."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", required=True, help="folder of a checkpoint")
    parser.add_argument("--data", type=Path, required=True, help="folder with test.txt in CoNLL format")
    parser.add_argument("--requests", type=int, default=4_000, help="per number of connections")
    parser.add_argument("--connections", type=int, nargs="+", default=CONNECTIONS)
    parser.add_argument("--check", type=int, help="send so many requests, and compare the answers")
    parser.add_argument("--results", type=Path, default=HERE / "results" / "serving.json")
    options = parser.parse_args()
    texts = list(dict.fromkeys(" ".join(words) for words in read_conll(options.data / "test.txt")[0] if words))
    model: Any = SpanMarkerModel.from_pretrained(options.model)
    model.predict(texts[:BATCH_SIZE], BATCH_SIZE, is_split_into_words=False)
    started = time.perf_counter()
    expected = model.predict(texts, BATCH_SIZE, is_split_into_words=False)
    per_second = len(texts) / (time.perf_counter() - started)
    results = json.loads(options.results.read_text(encoding="utf-8")) if options.results.exists() else {}
    results["machine"] = machine()
    with serving(options.model, max(options.connections)) as port:
        measure(port, texts, min(len(texts), 200), 1)
        if options.check:
            results["check"] = check(port, texts, expected, options.check, max(options.connections))
        else:
            results["predict_per_second"] = per_second
            results["server"] = []
            for num_connections in options.connections:
                row = measure(port, texts, options.requests, num_connections)
                results["server"].append(row)
                print(
                    "{connections:>4} connections: {per_second:.1f}/s, {p50_ms:.1f} and {p99_ms:.1f} ms".format(**row)
                )
            print(f"model.predict in batches of {BATCH_SIZE}: {results['predict_per_second']:.1f}/s")
    options.results.parent.mkdir(parents=True, exist_ok=True)
    options.results.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
