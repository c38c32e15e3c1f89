"""Measures what document context buys: the same sentences, trained on and read with their neighbors and without them.

``python benchmarks/context.py --data FOLDER --encoder NAME`` takes documents of CoNLL's ``train.txt``, spread over all
of it, trains a model with each of three seeds on their sentences alone and another one on the same sentences within
their documents, and lets each read ``test.txt`` as it was trained. Figures are printed and written to
``benchmarks/results/context.json``. A study that was stopped goes on where it stopped.
"""

from __future__ import annotations

import argparse
import statistics
import time
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from speed import machine
from studies import compare_runs, continue_study, count_entities, figures, train_model, write_json

from span_marker.data.files import read_annotations

HERE = Path(__file__).parent
CONTEXT = ["document_id", "sentence_id"]


def read_documents(path: Path, every: int) -> Dataset:
    """The sentences of every so many documents, with their places in them."""
    data = read_annotations(path, documents=True)
    documents = set(sorted(set(data["document_id"]))[::every])
    return data.filter(lambda document: document in documents, input_columns="document_id")


def measure(train: Dataset, test: Dataset, encoder: str, seed: int) -> dict[str, Any]:
    """Train a model, and let it read."""
    started = time.perf_counter()
    model = train_model(train, encoder, seed)
    trained = time.perf_counter()
    found = model.predict(test.remove_columns("entities"))
    read = time.perf_counter()
    gold = [[(e["label"], e["start"], e["end"]) for e in row] for row in test["entities"]]
    predicted = [[(e["label"], e["word_start_index"], e["word_end_index"]) for e in row] for row in found]
    seconds = {"train": trained - started, "predict": read - trained}
    return {"seed": seed, **figures(count_entities(gold, predicted)), "seconds": seconds}


def main() -> None:
    """Train, measure and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder with train.txt and test.txt")
    parser.add_argument("--encoder", required=True, help="name or path of an encoder")
    parser.add_argument("--train-every", type=int, default=10, help="train on every so many documents")
    parser.add_argument("--test-every", type=int, default=1, help="test on every so many documents")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--results", type=Path, default=HERE / "results" / "context.json")
    options = parser.parse_args()
    train = read_documents(options.data / "train.txt", options.train_every)
    test = read_documents(options.data / "test.txt", options.test_every)
    settings = {"train": len(train), "test": len(test), "seeds": options.seeds}
    new = {"settings": settings, "machine": machine("cuda" if torch.cuda.is_available() else "cpu"), "runs": {}}
    results = continue_study(options.results, new)
    for seed in range(1, options.seeds + 1):
        for name, left_out in (("without", CONTEXT), ("with", [])):
            runs = results["runs"].setdefault(name, [])
            if any(run["seed"] == seed for run in runs):
                continue
            runs.append(measure(train.remove_columns(left_out), test.remove_columns(left_out), options.encoder, seed))
            print(name, {key: value for key, value in runs[-1].items() if key != "counts"}, flush=True)
            write_json(options.results, results)
    for name, runs in results["runs"].items():
        print(name, statistics.mean(run["f1"] for run in runs), [run["seconds"] for run in runs])
    results["comparison"] = compare_runs(results["runs"]["without"], results["runs"]["with"])
    write_json(options.results, results)
    print(results["comparison"])


if __name__ == "__main__":
    main()
