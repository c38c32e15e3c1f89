r"""Simulate annotation: how good is a model after random sentences, and after those that `suggest_annotations` chooses?

    python benchmarks/active_learning.py --data conllpp wnut17 --encoder NAME --results results/active_learning.json

A labeled set plays the unlabelled one. Both strategies begin with the same random sentences. After each step a new
model is trained on all sentences so far, and chooses the next ones, or they are random. The results file is written
after each step. An unfinished run has the sentences that were chosen, so that it continues where it was when it is
started again.

The table has the mean F1 on the test sentences at each number of sentences, its standard error over seeds, and the
number of annotated words. Below is how many suggested sentences reach the F1 of all random ones (interpolated).
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from accuracy_data import Data, Sentence, entity_columns, load, words_of
from datasets import Dataset
from speed import machine
from studies import continue_study, count_entities, figures, train_model, write_json

from span_marker.core.labels import LabelledSpan
from span_marker.core.metrics import NAMES
from span_marker.core.tables import text_table
from span_marker.curation import suggest_annotations

STRATEGIES = ("random", "suggested")


def choose(model: Any, data: Data, chosen: Sequence[int], count: int, strategy: str, seed: int) -> list[int]:
    """Choose the next sentences among those that are not annotated yet."""
    taken = set(chosen)
    order = [int(index) for index in np.random.default_rng(seed).permutation(len(data.train))]
    rest = [index for index in order if index not in taken]
    if strategy == "random":
        return rest[:count]
    suggestions = suggest_annotations(model, words_of([data.train[index] for index in rest]), count)
    return [rest[suggestion.row] for suggestion in suggestions]


def test(model: Any, sentences: list[Sentence]) -> dict[str, Any]:
    """Compute the figures of a model."""
    predicted = [
        [LabelledSpan(e["label"], e["word_start_index"], e["word_end_index"]) for e in entities]
        for entities in model.predict(words_of(sentences), is_split_into_words=True)
    ]
    found = figures(count_entities([sentence.entities for sentence in sentences], predicted))
    return {name: found[name] for name in NAMES}


def sizes_of(strategy: str, options: argparse.Namespace) -> list[int]:
    """The numbers of sentences that a strategy is tested with."""
    sizes: list[int] = options.random_sizes if strategy == "random" else options.sizes
    return sizes


def run_step(data: Data, options: argparse.Namespace, chosen: list[int], following: int, key: tuple[str, int]) -> Any:
    """Train on the chosen sentences, test, and choose the next ones."""
    strategy, seed = key
    sentences = [data.train[index] for index in chosen]
    started = time.perf_counter()
    arguments = {"bf16": True} if options.bfloat16 else {}
    model = train_model(Dataset.from_dict(entity_columns(sentences)), options.encoder, seed, arguments)
    trained = time.perf_counter()
    step = {
        "sentences": len(chosen),
        "words": sum(len(sentence.words) for sentence in sentences),
        "entities": sum(len(sentence.entities) for sentence in sentences),
        **test(model, data.test),
    }
    tested = time.perf_counter()
    step["next"] = choose(model, data, chosen, following, strategy, seed) if following else []
    step["seconds"] = [trained - started, tested - trained, time.perf_counter() - tested]
    return step


def simulate(name: str, data: Data, options: argparse.Namespace, results: dict[str, Any]) -> None:
    """Run all steps of a data set that the results do not have yet."""
    for seed in range(options.seeds):
        for strategy in STRATEGIES:
            sizes = sizes_of(strategy, options)
            first = choose(None, data, [], sizes[0], "random", seed)
            steps = results["runs"].setdefault(f"{name}/{strategy}/{seed}", [])
            if len(steps) == len(sizes):
                continue
            chosen = [*first, *(index for step in steps for index in step["next"])]
            for following in [*sizes[1:], sizes[-1]][len(steps) :]:
                steps.append(run_step(data, options, chosen, following - len(chosen), (strategy, seed)))
                chosen += steps[-1]["next"]
                write_json(options.results, results)
                print(f"{name}, {strategy}, seed {seed}: {steps[-1]['sentences']} sentences, F1 {steps[-1]['f1']:.4f}")
            for step in steps:
                del step["next"]
            write_json(options.results, results)


def needed(sizes: Sequence[int], curve: Sequence[float], goal: float) -> float | None:
    """Interpolate the number of sentences at which a curve first reaches an F1; None if it does not."""
    for position, value in enumerate(curve):
        if value >= goal:
            if not position:
                return float(sizes[0])
            before = curve[position - 1]
            share = (goal - before) / (value - before)
            return sizes[position - 1] + share * (sizes[position] - sizes[position - 1])
    return None


def print_table(name: str, results: dict[str, Any], options: argparse.Namespace) -> None:
    """Print the curves of a data set."""
    curves = {
        strategy: [results["runs"][f"{name}/{strategy}/{seed}"] for seed in range(options.seeds)]
        for strategy in STRATEGIES
    }
    table = [("sentences", *(f"{strategy} {what}" for strategy in STRATEGIES for what in ("F1", "SE", "words")))]
    means: dict[str, list[float]] = {strategy: [] for strategy in STRATEGIES}
    for size in sorted({*options.sizes, *options.random_sizes}):
        cells = []
        for strategy, runs in curves.items():
            steps = [step for run in runs for step in run if step["sentences"] == size]
            if not steps:
                cells += [""] * 3
                continue
            values = [step["f1"] for step in steps]
            error = statistics.stdev(values) / len(values) ** 0.5 if len(values) > 1 else float("nan")
            means[strategy].append(statistics.mean(values))
            words = statistics.mean(step["words"] for step in steps)
            cells += [f"{100 * means[strategy][-1]:.2f}", f"{100 * error:.2f}", f"{words:,.0f}"]
        table.append((f"{size:,}", *cells))
    print(f"\n{name}\n{text_table(table)}")
    goal = means["random"][-1]
    reached = needed(options.sizes, means["suggested"], goal)
    text = "are never reached" if reached is None else f"are reached by {reached:,.0f} suggested ones"
    print(f"{100 * goal:.2f} of {options.random_sizes[-1]:,} random sentences {text}")


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, nargs="+", help="files or folders, see accuracy_data; default: bundled")
    parser.add_argument("--encoder", required=True)
    parser.add_argument("--results", type=Path, required=True)
    parser.add_argument("--sizes", type=int, nargs="+", default=[100, 200, 350, 500, 650], help="suggested sentences")
    parser.add_argument("--random-sizes", type=int, nargs="+", default=[650, 1000], help="random sentences")
    parser.add_argument("--bfloat16", action="store_true", help="train in mixed precision")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--test", type=int, help="test on this many sentences; all by default")
    parser.add_argument("--pool", type=int, help="choose among this many training sentences; all by default")
    return parser.parse_args()


def main() -> None:
    """Run the simulation, print its tables and write its results."""
    options = parse_arguments()
    settings = {
        "data": [path.name for path in options.data or []],
        "encoder": "/".join(Path(options.encoder).parts[-2:]),
        **{name: getattr(options, name) for name in ("sizes", "random_sizes", "bfloat16", "test", "pool")},
    }
    results = continue_study(options.results, {"settings": settings, "machine": machine(), "runs": {}})
    for path in options.data or [None]:
        name = "bundled" if path is None else path.name
        data = load(path, False, None, options.test)
        simulate(name, data._replace(train=data.train[: options.pool]), options, results)
    for path in options.data or [None]:
        print_table("bundled" if path is None else path.name, results, options)


if __name__ == "__main__":
    sys.exit(main())
