"""Trains models with and without a candidate filter, and measures what the filter costs in F1 and buys in speed.

Each of these takes ``--data FOLDER --encoder NAME --models FOLDER``:

- ``python benchmarks/span_filter.py train --way WAY --seed N`` trains a model and saves it under ``--models``.
- ``python benchmarks/span_filter.py evaluate --way WAY --seed N`` fits a filter to it, or tunes the one that it has,
  and compares predictions with and without the filter.
- ``python benchmarks/span_filter.py speed`` compares the speed of prediction with that of the published library, which
  gets an environment of its own, and of token classification, in turns. It needs ``1x-training-1``, which both read.
- ``python benchmarks/span_filter.py steps`` compares the speed of training steps.
- ``python benchmarks/span_filter.py collect`` writes all of it to ``benchmarks/results/span_filter.json``.
"""

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
from transformers import TrainerCallback, set_seed

from span_marker import SpanMarkerModel, Trainer, infer_labels
from span_marker.core.labels import LabelledSpan
from span_marker.core.metrics import compute_metrics
from span_marker.data.files import read_annotations

HERE = Path(__file__).parent

WAYS: dict[str, dict[str, Any]] = {
    "exact": {"candidates_per_word": None},
    "joint": {"candidates_per_word": 100},
    "filtered": {"candidates_per_word": 1},
    "filtered-half": {"candidates_per_word": 0.5},
    "1x-training": {"candidates_per_word": None, "compatible_with_1x": True},
}
"""Ways to train: arguments of ``from_pretrained``."""


def make_trainer(options: argparse.Namespace, way: str, seed: int, folder: Path, **changes: Any) -> Trainer:
    """Make a new model and its trainer; seeds share their sentences, which Trainer shuffles anew."""
    set_seed(seed)
    data: Dataset = read_annotations(options.data / "train.txt")
    model = SpanMarkerModel.from_pretrained(
        options.encoder, labels=infer_labels(data), model_max_length=256, **WAYS[way]
    )
    spend_time_on_learning(model)
    arguments = short_training(folder, seed, options.epochs)
    for name, value in changes.items():
        setattr(arguments, name, value)
    return Trainer(model=model, args=arguments, train_dataset=data.shuffle(seed=1).take(options.sentences))


def train(options: argparse.Namespace) -> None:
    """Train a model in one way with one seed, and save it."""
    folder = options.models / f"{options.way}-{options.seed}"
    trainer = make_trainer(options, options.way, options.seed, folder)
    started = time.perf_counter()
    trainer.train()
    seconds = time.perf_counter() - started
    trainer.save_model(folder)
    result = {"way": options.way, "seed": options.seed, "seconds": seconds, "machine": machine()}
    write(folder / "training.json", result)


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
    fits = model.config.candidates_per_word is None
    report = model.fit_span_filter(train, held_out=dev) if fits else model.tune_span_filter(dev)
    row: dict[str, Any] = {"fit_seconds": time.perf_counter() - started, "report": str(report)}
    print(report, flush=True)
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
    write(folder / "evaluation.json", {**row, "machine": machine()})


def compare_speed(options: argparse.Namespace) -> None:
    """Compare prediction behind a filter with the published library and with token classification, in turns."""
    train, dev = (read_annotations(options.data / f"{name}.txt").shuffle(seed=2) for name in ("train", "dev"))
    data = {"tokens": read_annotations(options.data / "test.txt")["tokens"][:]}
    trained = options.models / "1x-training-1"
    settings = {}
    for name, limits in SETTINGS.items():
        checkpoint = options.models / f"speed-{name.replace('/', '-')}"
        if not checkpoint.exists():
            names = ("model_max_length", "marker_max_length", "entity_max_length")
            limits_by_name = dict(zip(names, limits, strict=True))
            model = SpanMarkerModel.from_pretrained(trained, **limits_by_name, exact=True)
            print(model.fit_span_filter(train.take(options.learn), held_out=dev.take(options.hold_out)))
            model.save_pretrained(checkpoint)
        candidates_kept = SpanMarkerModel.from_pretrained(checkpoint).candidates_kept
        load = {"checkpoint": str(checkpoint.resolve()), "data": data, "device": "cpu"}
        few, many = ({"batch_size": 32, "num_sentences": count} for count in (128, 1280))
        tasks = {
            "published": ("predict", few),
            "filtered": ("predict", few),
            "exact": ("predict", {**few, "exact": True}),
            "filtered, many": ("predict", many),
            "token classification, many": ("classify_tokens", {**many, "encoder": options.encoder}),
        }
        workers = dict.fromkeys(tasks, Worker(sys.executable)) | {
            "published": Worker(published_python(options.published))
        }
        seconds, entities = in_turns(workers, tasks, load, options.rounds)
        settings[name] = {
            "rates": {task: tasks[task][1]["num_sentences"] / value for task, value in seconds.items()},
            "candidates_kept": candidates_kept,
            "exact_equal": equal_sentences(entities["exact"], entities["published"], scores=True),
            "filtered_equal": equal_sentences(entities["filtered"], entities["published"], scores=True),
        }
        print(name, json.dumps(settings[name], indent=1), flush=True)
    write(options.models / "speed.json", {"machine": machine(), "settings": settings})


def compare_training(options: argparse.Namespace) -> None:
    """Compare training steps with all candidates, with all and a filter, and with the filter's best, in turns."""
    num_steps, ways = 22, ("exact", "joint", "filtered")
    seconds: dict[str, list[float]] = {way: [] for way in ways}
    for seed in range(options.rounds):
        for way in ways:
            trainer = make_trainer(options, way, seed, options.models, max_steps=num_steps, disable_tqdm=True)
            clock = Clock()
            trainer.add_callback(clock)
            trainer.train()
            seconds[way].append((clock.moments[-1] - clock.moments[1]) / (num_steps - 2))
    medians = {way: statistics.median(values) for way, values in seconds.items()}
    write(options.models / "steps.json", {"machine": machine(), "seconds_per_step": medians})


class Clock(TrainerCallback):
    """Notes when each step ends."""

    def __init__(self) -> None:
        self.moments: list[float] = []

    def on_step_end(self, *args: Any, **kwargs: Any) -> None:
        """See ``TrainerCallback``."""
        self.moments.append(time.perf_counter())


def write(path: Path, result: dict[str, Any]) -> None:
    """Keep a result, and show it."""
    text = json.dumps(result, indent=1)
    print(text)
    path.write_text(text + "\n", encoding="utf-8")


def in_turns(
    workers: dict[str, Worker], tasks: dict[str, tuple[str, dict[str, Any]]], load: dict[str, Any], rounds: int
) -> tuple[dict[str, float], dict[str, Any]]:
    """Run the tasks of some processes in turns: median seconds, and the entities found."""
    for worker in set(workers.values()):
        worker.ask("load", **load)
    seconds: dict[str, list[float]] = {task: [] for task in tasks}
    entities = {}
    for round_number in range(rounds + 1):  # the first warms up
        for name, (task, arguments) in tasks.items():
            if "num_sentences" in arguments:  # what waited for its turn has lost its caches
                workers[name].ask(task, **{**arguments, "num_sentences": 16})
            answer = workers[name].ask(task, **arguments)
            entities[name] = answer.get("entities")
            if round_number:
                seconds[name].append(answer["seconds"])
    for worker in set(workers.values()):
        worker.close()
    return {name: statistics.median(values) for name, values in seconds.items()}, entities


def collect(options: argparse.Namespace) -> None:
    """Write what was measured on all models to one file."""
    runs = []
    for path in sorted(options.models.glob("*/evaluation.json")):
        training, evaluation = (
            json.loads(path.with_name(f"{name}.json").read_text(encoding="utf-8"))
            for name in ("training", "evaluation")
        )
        runs.append({"training": training, "evaluation": evaluation})
    speed, steps = (
        json.loads((options.models / f"{name}.json").read_text(encoding="utf-8")) for name in ("speed", "steps")
    )
    write(options.results, {**speed, "steps": steps, "runs": runs})


TASKS = {
    "train": train,
    "evaluate": evaluate,
    "speed": compare_speed,
    "steps": compare_training,
    "collect": collect,
}


def main() -> None:
    """Do one of the tasks."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("task", choices=TASKS)
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
    parser.add_argument("--results", type=Path, default=HERE / "results" / "span_filter.json")
    options = parser.parse_args()
    TASKS[options.task](options)


if __name__ == "__main__":
    main()
