"""Trains models with and without a candidate filter, and measures what the filter costs in F1 and buys in speed."""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from pathlib import Path
from typing import Any

from datasets import Dataset
from precision import short_training, spend_time_on_learning
from speed import SETTINGS, Worker, equal_sentences, machine, published_python
from transformers import set_seed

from span_marker import SpanMarkerModel, Trainer, infer_labels
from span_marker.evaluation import compute_metrics
from span_marker.formats.reading import read_annotations
from span_marker.labels import LabelledSpan

HERE = Path(__file__).parent

WAYS: dict[str, dict[str, Any]] = {
    "exact": {"candidate_share": None},
    "joint": {"candidate_share": 1.0},
    "filtered-20": {"candidate_share": 0.2},
    "filtered-10": {"candidate_share": 0.1},
    "filtered-5": {"candidate_share": 0.05},
}
"""Ways to train: arguments of ``from_pretrained``."""


def train(options: argparse.Namespace) -> None:
    """Train a model in one way with one seed, and save it."""
    set_seed(options.seed)
    data: Dataset = read_annotations(options.data / "train.txt")
    model = SpanMarkerModel.from_pretrained(
        options.encoder, labels=infer_labels(data), model_max_length=256, **WAYS[options.way]
    )
    spend_time_on_learning(model)
    folder = options.models / f"{options.way}-{options.seed}"
    arguments = short_training(folder, options.seed, options.epochs)
    # The same sentences for all seeds; Trainer shuffles them anew.
    trainer = Trainer(model=model, args=arguments, train_dataset=data.shuffle(seed=1).take(options.sentences))
    started = time.perf_counter()
    trainer.train()
    seconds = time.perf_counter() - started
    model.save_pretrained(folder)
    row = {"way": options.way, "seed": options.seed, "seconds": seconds, "machine": machine()}
    (folder / "training.json").write_text(json.dumps(row, indent=1) + "\n", encoding="utf-8")


def evaluate(options: argparse.Namespace) -> None:
    """Fit or tune the filter of a trained model, and measure on test data what it costs."""
    folder = options.models / f"{options.way}-{options.seed}"
    model = SpanMarkerModel.from_pretrained(folder)
    train, dev, test = (
        data.shuffle(seed=2).take(min(count, len(data)))  # of all documents
        for data, count in (
            (read_annotations(options.data / f"{name}.txt"), count)
            for name, count in (("train", options.learn), ("dev", options.hold_out), ("test", options.test))
        )
    )
    started = time.perf_counter()
    report = model.fit_span_filter(train, held_out=dev) if model.span_filter is None else model.tune_span_filter(dev)
    row: dict[str, Any] = {"fit_seconds": time.perf_counter() - started, "report": str(report)}
    print(report, flush=True)
    model.save_pretrained(folder)
    gold = [[LabelledSpan(e["label"], e["start"], e["end"]) for e in entities] for entities in test["entities"]]
    found = {}
    for name, exact in (("exact", True), ("filtered", False)):
        started = time.perf_counter()
        predicted, coverage = model.predict(test, exact=exact, return_coverage=True)
        row[f"{name}_seconds"] = time.perf_counter() - started
        found[name] = [
            [LabelledSpan(e["label"], e["word_start_index"], e["word_end_index"]) for e in some] for some in predicted
        ]
        metrics = compute_metrics(gold, found[name], [len(words) for words in test["tokens"]])
        row[name] = {key: metrics[f"overall_{key}"] for key in ("precision", "recall", "f1")}
    row["candidates_kept"] = 1 - sum(c.num_dropped for c in coverage) / sum(c.num_candidates for c in coverage)
    again = [len(set(one) & set(other)) for one, other in zip(found["exact"], found["filtered"], strict=True)]
    row["entities_found_again"] = sum(again) / sum(map(len, found["exact"]))
    path = folder / "training.json"
    written = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    path.write_text(json.dumps({**written, **row}, indent=1) + "\n", encoding="utf-8")
    print(json.dumps({**written, **row}, indent=1))


def compare_speed(options: argparse.Namespace) -> None:
    """Compare prediction behind a filter with the published library, and with token classification, in turns."""
    train, dev = (read_annotations(options.data / f"{name}.txt").shuffle(seed=2) for name in ("train", "dev"))
    tokens = read_annotations(options.data / "test.txt")["tokens"][:]
    settings = {}
    for name, limits in SETTINGS.items():
        checkpoint = options.published / "work" / f"filtered-{name.replace('/', '-')}"
        names = ("model_max_length", "marker_max_length", "entity_max_length")
        limits_by_name = dict(zip(names, limits, strict=True))
        model = SpanMarkerModel.from_pretrained(options.models / "exact-1", **limits_by_name, exact=True)
        report = model.fit_span_filter(train.take(options.learn), held_out=dev.take(options.hold_out))
        model.config.exact = False
        model.save_pretrained(checkpoint)
        arguments = {"checkpoint": str(checkpoint.resolve()), "data": {"tokens": tokens}, "device": "cpu"}
        this, published = Worker(sys.executable), Worker(published_python(options.published))
        for worker in (this, published):
            worker.ask("load", **arguments)
        few, many = ({"batch_size": 32, "num_sentences": count} for count in (128, 1280))
        tasks = {
            "published": (published, "predict", few),
            "filtered": (this, "predict", few),
            "exact": (this, "predict", {**few, "exact": True}),
            "filtered, many": (this, "predict", many),
            "token classification, many": (this, "classify_tokens", {**many, "encoder": options.encoder}),
        }
        rates: dict[str, list[float]] = {task: [] for task in tasks}
        found = {}
        for round_number in range(options.rounds + 1):  # the first warms up
            for task, (worker, kind, sizes) in tasks.items():
                answer = worker.ask(kind, **sizes)
                found[task] = answer.get("entities")
                if round_number:
                    rates[task].append(sizes["num_sentences"] / answer["seconds"])
        for worker in (this, published):
            worker.close()
        settings[name] = {
            "rates": {task: statistics.median(values) for task, values in rates.items()},
            "candidates_kept": report.chosen.candidates_kept,
            "exact_equal": equal_sentences(found["exact"], found["published"], scores=True),
            "filtered_equal": equal_sentences(found["filtered"], found["published"], scores=True),
        }
        print(name, json.dumps(settings[name], indent=1), flush=True)
    (options.models / "speed.json").write_text(
        json.dumps({"machine": machine(), "settings": settings}, indent=1) + "\n", encoding="utf-8"
    )


def main() -> None:
    """Train."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("task", choices=("train", "evaluate", "speed"))
    parser.add_argument("--data", type=Path, required=True, help="folder with train.txt and test.txt in CoNLL format")
    parser.add_argument("--encoder", required=True, help="name or path of an encoder")
    parser.add_argument("--models", type=Path, required=True, help="folder for the models")
    parser.add_argument("--way", choices=WAYS, default="exact")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--sentences", type=int, default=5000)
    parser.add_argument("--learn", type=int, default=2000, help="sentences that a filter is fitted to")
    parser.add_argument("--hold-out", type=int, default=1600, help="dev sentences that it is tuned on")
    parser.add_argument("--test", type=int, default=1600, help="test sentences that it is measured on")
    parser.add_argument("--published", type=Path, default=HERE / ".published", help="environment of the published one")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=1)
    options = parser.parse_args()
    {"train": train, "evaluate": evaluate, "speed": compare_speed}[options.task](options)


if __name__ == "__main__":
    main()
