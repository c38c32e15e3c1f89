"""Compares a model in PyTorch with its export: speed, latency, memory, and whether they predict the same.

``python benchmarks/export.py --data FOLDER --model CHECKPOINT --folder FOLDER_TO_MAKE`` exports the model unless the
folder is there already, then predicts sentences of ``test.txt`` in turns, with the candidate filter and with all
candidates. Figures are medians, printed and written to ``benchmarks/results/BACKEND.json``. Set ``OMP_NUM_THREADS``,
which both backends follow.
"""

from __future__ import annotations

import argparse
import json
import math
import random
import statistics
import subprocess
import sys
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from speed import equal_sentences, machine, read_conll

from span_marker import SpanMarkerModel
from span_marker.export import export_onnx

HERE = Path(__file__).parent

BATCH_SIZE, LONGEST = 32, 60
"""Sentences of the largest batch, and words of the longest sentence of random length."""

PACKAGES = {"onnx": "onnxruntime", "openvino": "openvino"}

Models = dict[str, SpanMarkerModel]


def median_seconds(models: Models, sentences: list[list[str]], rounds: int, exact: bool) -> dict[str, Any]:
    """Predict all sentences in turns: sentences per second of each backend."""
    seconds: dict[str, list[float]] = {name: [] for name in models}
    for _ in range(rounds):
        for name, model in models.items():
            start = time.perf_counter()
            model.predict(sentences, BATCH_SIZE, exact=exact)
            seconds[name].append(time.perf_counter() - start)
    return {name: round(len(sentences) / statistics.median(values), 1) for name, values in seconds.items()}


def median_latency(models: Models, sentences: list[list[str]], exact: bool) -> dict[str, Any]:
    """Predict sentences one by one, in turns: the median in milliseconds of each backend."""
    seconds: dict[str, list[float]] = {name: [] for name in models}
    for sentence in sentences:
        for name, model in models.items():
            start = time.perf_counter()
            model.predict(sentence, is_split_into_words=True, exact=exact)
            seconds[name].append(time.perf_counter() - start)
    return {name: round(1000 * statistics.median(values), 1) for name, values in seconds.items()}


def agreement(models: Models, sentences: list[list[str]], exact: bool) -> dict[str, Any]:
    """Share of sentences with the same entities, and the largest difference between scores of these."""
    expected, found = (model.predict(sentences, BATCH_SIZE, exact=exact) for model in models.values())
    same = [pair for pair in zip(expected, found, strict=True) if equal_sentences([pair[0]], [pair[1]], scores=False)]
    pairs = (scores for rows in same for scores in zip(*rows, strict=True))
    differences = [abs(first["score"] - second["score"]) for first, second in pairs]
    return {
        "equal": len(same) / len(sentences),
        "entities": sum(map(len, expected)),
        "max_difference": max(differences, default=0.0),
    }


def peak_memory() -> int:
    """The peak memory of this process alone in MiB, on Linux: ``getrusage`` counts that of its parent, too."""
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    return int(status.split("VmHWM:")[1].split()[0]) // 2**10


def memory_over_lengths(folder: str, backend: str, num_batches: int) -> dict[str, Any]:
    """Predict batches of random lengths: peak memory in MiB after a tenth of them, and after all."""
    model = SpanMarkerModel.from_pretrained(folder, backend=backend)  # type: ignore[arg-type]
    rng = random.Random(0)
    words = "The quick brown fox of Andorra jumps over the lazy dog , Amelia Earhart said in Paris .".split()
    peaks = []

    def up_to(largest: int) -> int:  # all orders of magnitude are as likely
        return math.ceil(largest ** rng.random())

    for number in range(num_batches):
        lengths = [up_to(LONGEST) for _ in range(up_to(BATCH_SIZE))]
        model.predict([rng.choices(words, k=length) for length in lengths], BATCH_SIZE)
        if number + 1 in (num_batches // 10, num_batches):
            peaks.append(peak_memory())
    return {"early": peaks[0], "late": peaks[-1]}


def main() -> None:
    """Export, measure everything, and write it down."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder with test.txt in CoNLL format")
    parser.add_argument("--model", required=True, help="a SpanMarker checkpoint")
    parser.add_argument("--folder", type=Path, required=True, help="folder of the export, made if it is missing")
    parser.add_argument("--backend", choices=["onnx", "openvino"], default="onnx")
    parser.add_argument("--sentences", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--batches", type=int, default=10_000, help="batches of random lengths; 0 measures no memory")
    parser.add_argument(
        "--memory-of", choices=["torch", "onnx", "openvino"], help=argparse.SUPPRESS
    )  # in a process of its own
    options = parser.parse_args()
    if options.memory_of:
        folder = options.model if options.memory_of == "torch" else str(options.folder)
        print(json.dumps(memory_over_lengths(folder, options.memory_of, options.batches)))
        return
    if not options.folder.exists():
        print(export_onnx(SpanMarkerModel.from_pretrained(options.model), options.folder))
    models: Models = {
        "torch": SpanMarkerModel.from_pretrained(options.model),
        options.backend: SpanMarkerModel.from_pretrained(options.folder, backend=options.backend),
    }
    words, _, _ = read_conll(options.data / "test.txt")
    sentences = words[:: max(1, len(words) // options.sentences)][: options.sentences]
    results: dict[str, Any] = {
        "machine": machine()
        | {"threads": torch.get_num_threads(), options.backend: version(PACKAGES[options.backend])},
        "encoder": models["torch"].config.encoder.model_type,
    }
    modes = {"filtered": False, "all candidates": True} if models["torch"].uses_filter(False) else {"all": True}
    for mode, exact in modes.items():
        results[mode] = {
            "agreement": agreement(models, sentences, exact),  # and warms both up
            "sentences_per_second": median_seconds(models, sentences, options.rounds, exact),
            "one_sentence_ms": median_latency(models, sentences[:200], exact),
        }
        print(mode, json.dumps(results[mode], indent=2), flush=True)
    if options.batches:
        results["memory"] = {}
        for name in models:
            command = [sys.executable, __file__, *sys.argv[1:], "--memory-of", name]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            results["memory"][name] = json.loads(done.stdout.splitlines()[-1])
        print("memory", results["memory"])
    path = HERE / "results" / f"{options.backend}.json"
    path.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
