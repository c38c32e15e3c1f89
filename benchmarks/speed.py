"""Compares the speed of this library with the published one, at equal predictions.

``python benchmarks/speed.py --data FOLDER`` with a folder that holds ``train.txt`` and ``test.txt`` in CoNLL format. It
makes a virtual environment for the published library, writes one checkpoint for each setting, and runs both libraries
in turns, each in a process of its own. Figures are medians; they are printed as a table and written to
``benchmarks/results/speed.json`` with commit, versions and machine.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import torch
from torch.nn import functional as F

from span_marker import SpanMarkerModel

HERE = Path(__file__).parent
PUBLISHED = ["torch==2.13.0", "span-marker==1.8.1", "transformers<5"]
SETTINGS = {"128/64/6": (128, 64, 6), "256/128/8": (256, 128, 8), "512/128/8": (510, 128, 8)}
SCORE_TOLERANCE = 1e-4


class Worker:
    """A library in a process of its own.

    Args:
        python: The interpreter of its environment.
    """

    def __init__(self, python: Path | str) -> None:
        command = [str(python), str(HERE / "worker.py")]
        quiet = {**os.environ, "TRANSFORMERS_VERBOSITY": "error", "HF_HUB_OFFLINE": "1", "PYTHONWARNINGS": "ignore"}
        if str(python) != sys.executable:
            quiet.pop("PYTHONPATH", None)  # it may lead to this library
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=quiet
        )

    def ask(self, task: str, **arguments: Any) -> dict[str, Any]:
        """Run a task of ``worker.py`` and wait for its answer."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps([task, arguments]) + "\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline()
        if not answer:
            raise RuntimeError(f"a worker died at {task}: run benchmarks/worker.py by hand to see why")
        result: dict[str, Any] = json.loads(answer)
        return result

    def close(self) -> None:
        """End the process."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait()


def published_python(folder: Path) -> Path:
    """Make the published library's environment, once, and return its interpreter."""
    python = folder / "bin" / "python"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
        for package in (PUBLISHED[:1], PUBLISHED):
            subprocess.run([str(python), "-m", "pip", "install", "--quiet", "--use-pep517", *package], check=True)
    return python


def read_conll(path: Path) -> tuple[list[list[str]], list[list[str]], list[int]]:
    """Read words, tags and documents of a CoNLL file: the first and the last column of each line."""
    sentences: list[list[str]] = []
    tags: list[list[str]] = []
    documents: list[int] = []
    document = 0
    for block in path.read_text(encoding="utf-8").split("\n\n"):
        rows = [line.split() for line in block.splitlines() if line.strip()]
        if rows and rows[0][0] == "-DOCSTART-":
            document += 1
        elif rows:
            sentences.append([row[0] for row in rows])
            tags.append([row[-1] for row in rows])
            documents.append(document)
    return sentences, tags, documents


def write_checkpoint(encoder: str, labels: list[str], limits: tuple[int, int, int], folder: Path) -> None:
    """Write a checkpoint with a random head that finds something to say about many spans."""
    torch.manual_seed(0)
    text, marker, entity = limits
    model = SpanMarkerModel.from_pretrained(
        encoder, labels=labels, model_max_length=text, marker_max_length=marker, entity_max_length=entity
    )
    with torch.no_grad():
        model.classifier.weight.normal_(std=0.1)
        model.classifier.bias.zero_()
        model.classifier.bias[model.config.outside_id] = 1.0
    model.save_pretrained(folder)


def equal_sentences(one: list[Any], other: list[Any], scores: bool) -> float:
    """Share of sentences with the same entities, and the same scores if asked."""

    def same(first: dict[str, Any], second: dict[str, Any]) -> bool:
        keys = ("label", "word_start_index", "word_end_index")
        close = not scores or abs(first["score"] - second["score"]) <= SCORE_TOLERANCE
        return close and all(first[key] == second[key] for key in keys)

    equal = [
        len(found) == len(expected) and all(same(*pair) for pair in zip(found, expected, strict=True))
        for found, expected in zip(one, other, strict=True)
    ]
    return sum(equal) / len(equal)


def matrix_rate(dtype: torch.dtype, hidden: int, inner: int, rows: int = 4096) -> float:
    """Measure the machine: multiply-adds of the encoder's feed-forward shape, in GFLOP/s, the best of several."""
    x, weight = torch.randn(rows, hidden, dtype=dtype), torch.randn(inner, hidden, dtype=dtype)
    best = 0.0
    for _ in range(20):
        started = time.perf_counter()
        F.linear(x, weight)
        best = max(best, 2 * rows * hidden * inner / (time.perf_counter() - started) / 1e9)
    return best


def interleave(workers: dict[str, Worker], rounds: int, task: str, **arguments: Any) -> dict[str, list[dict[str, Any]]]:
    """Run a task in every worker in turns, after one run each to warm up."""
    answers: dict[str, list[dict[str, Any]]] = {name: [] for name in workers}
    for number in range(rounds + 1):
        for name, worker in workers.items():
            answer = worker.ask(task, **arguments)
            if number:
                answers[name].append(answer)
    return answers


def machine() -> dict[str, Any]:
    """Say what the figures were measured on and with."""
    commit = subprocess.run(["git", "rev-parse", "HEAD"], cwd=HERE, capture_output=True, text=True, check=False)
    capabilities = torch.cpu.get_capabilities() if hasattr(torch.cpu, "get_capabilities") else {}
    return {
        "commit": commit.stdout.strip(),
        "date": time.strftime("%Y-%m-%d"),
        "python": platform.python_version(),
        "versions": {name: importlib.metadata.version(name) for name in ("torch", "transformers", "tokenizers")},
        "published": PUBLISHED,
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "amx_bf16": bool(capabilities.get("amx_bf16")),
    }


def main() -> None:
    """Measure and write everything down."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder with train.txt and test.txt in CoNLL format")
    parser.add_argument("--encoder", required=True, help="name or path of an encoder")
    parser.add_argument("--published", type=Path, default=HERE / ".published", help="environment of the published one")
    parser.add_argument("--settings", nargs="+", choices=SETTINGS, default=list(SETTINGS))
    parser.add_argument("--sentences", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--results", type=Path, default=HERE / "results" / "speed.json")
    options = parser.parse_args()

    words, tags, documents = read_conll(options.data / "test.txt")
    _, train_tags, _ = read_conll(options.data / "train.txt")
    labels = ["O", *sorted({tag for row in train_tags + tags for tag in row} - {"O"})]
    python = published_python(options.published)
    work = options.published / "work"
    results: dict[str, Any] = {"machine": machine(), "settings": {}}

    for name in options.settings:
        checkpoint = work / name.replace("/", "-")
        write_checkpoint(options.encoder, labels, SETTINGS[name], checkpoint)
        workers = {"this": Worker(sys.executable), "published": Worker(python)}
        ids = [[labels.index(tag) for tag in row] for row in tags]
        row: dict[str, Any] = {}
        for worker in workers.values():
            arguments = {"sentences": words, "tags": ids, "documents": documents, "dtype": "float32"}
            worker.ask("load", checkpoint=str(checkpoint.resolve()), **arguments)
        for task in ("predict", "predict_documents"):
            answers = interleave(workers, options.rounds, task, batch_size=32, num_sentences=options.sentences)
            row[task] = {
                key: options.sentences / statistics.median(answer["seconds"] for answer in found)
                for key, found in answers.items()
            }
            both = [answers[key][0]["entities"] for key in ("this", "published")]
            row[f"{task}_equal"] = equal_sentences(*both, scores=True)
        row["memory"] = {key: worker.ask("memory")["mebibytes"] for key, worker in workers.items()}
        answers = interleave(workers, options.rounds, "latency", num_sentences=20)
        row["latency"] = {
            key: statistics.median(answer["seconds"] for answer in found) for key, found in answers.items()
        }
        for task, arguments in (
            ("train", {"batch_size": 16, "num_steps": 4}),
            ("prepare", {"batch_size": 16, "num_sentences": 1600}),
        ):
            answers = interleave(workers, options.rounds, task, **arguments)
            row[task] = {
                key: statistics.median(answer["seconds"] for answer in found) for key, found in answers.items()
            }
        for worker in workers.values():
            worker.close()
        results["settings"][name] = row
        print(name, json.dumps(row, indent=1), flush=True)

    encoder = SpanMarkerModel.from_pretrained(checkpoint).config.encoder
    results["gflops"] = {
        str(dtype).removeprefix("torch."): matrix_rate(dtype, encoder.hidden_size, encoder.intermediate_size)
        for dtype in (torch.float32, torch.bfloat16)
    }
    options.results.parent.mkdir(parents=True, exist_ok=True)
    options.results.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
