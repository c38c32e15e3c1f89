"""Measures what the parts cost that new models have and 1.x does not know: token states, letter case, the filter.

``python benchmarks/additions.py --checkpoint MODEL --data FOLDER`` takes the parts out of copies of a trained model of
an uncased encoder, one by one and together, and trains and predicts with the copies in turns: an epoch on the first
sentences of ``train.txt``, and prediction of sentences of ``test.txt``. Everything else is the same, and so are the
candidates that the filter keeps. Figures are medians of rounds, and the time in relation to the whole model; they go to
``benchmarks/results/additions.json``.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from accuracy_data import entity_columns, load, words_of
from datasets import Dataset
from speed import machine
from studies import write_json

from span_marker import SpanMarkerModel, Trainer, TrainingArguments
from span_marker.heads import SpanClassifier

WHOLE = "new model"
BATCH_SIZE = 8


def without_token_states(model: SpanMarkerModel) -> None:
    """Let the classifier read the states of markers alone."""
    hidden, old = model.config.encoder.hidden_size, model.classifier
    model.config.token_state_size = None
    model.classifier = SpanClassifier(hidden, len(model.config.classes))
    with torch.no_grad():
        model.classifier.weight.copy_(old.weight[:, : 2 * hidden])
        model.classifier.bias.copy_(old.bias)


def without_letter_case(model: SpanMarkerModel) -> None:
    """Let the model read no letter case."""
    model.config.letter_case, model.case_embedding = False, None


def without_filter(model: SpanMarkerModel) -> None:
    """Give markers to all candidates, in training and in prediction."""
    model.config.candidates_per_word = model.config.span_filter = model.span_filter = None


PARTS: dict[str, tuple[Callable[[SpanMarkerModel], None], ...]] = {
    WHOLE: (),
    "without token states": (without_token_states,),
    "without letter case": (without_letter_case,),
    "without either": (without_token_states, without_letter_case),
    "without the filter": (without_filter,),
}


def train(model: SpanMarkerModel, data: Dataset) -> None:
    """Train for an epoch, with a learning rate that leaves the model as it is."""
    with tempfile.TemporaryDirectory() as folder:
        arguments = TrainingArguments(
            folder,
            learning_rate=1e-12,
            num_train_epochs=1,
            per_device_train_batch_size=BATCH_SIZE,
            save_strategy="no",
            logging_strategy="no",
            report_to="none",
            disable_tqdm=True,
            use_cpu=not torch.cuda.is_available(),
        )
        Trainer(model, arguments, data).train()


def measure(runs: dict[str, Callable[[], Any]], rounds: int) -> dict[str, list[float]]:
    """Seconds of each run, in turns, after one round that does not count."""
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for number in range(rounds + 1):
        for name, run in runs.items():
            started = time.perf_counter()
            run()
            if number:
                seconds[name].append(time.perf_counter() - started)
    return seconds


def relative(seconds: dict[str, list[float]]) -> dict[str, float]:
    """Median over rounds of the time in relation to the whole model."""
    pairs = {name: zip(some, seconds[WHOLE], strict=True) for name, some in seconds.items()}
    return {name: statistics.median(own / whole for own, whole in some) for name, some in pairs.items()}


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", required=True, help="a model with token states, letter case and a filter")
    parser.add_argument("--data", type=Path, required=True, help="a folder in a form of accuracy_data")
    parser.add_argument("--train-sentences", type=int, default=400)
    parser.add_argument("--test-sentences", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--results", type=Path, default=Path(__file__).parent / "results" / "additions.json")
    options = parser.parse_args()
    data = load(options.data, False, None, options.test_sentences)
    sentences, words = data.train[: options.train_sentences], words_of(data.test)
    models = {name: SpanMarkerModel.from_pretrained(options.checkpoint).try_cuda() for name in PARTS}
    for name, take_out in PARTS.items():
        for part in take_out:
            part(models[name])
    columns = Dataset.from_dict(entity_columns(sentences))
    training = measure(
        {name: lambda model=model: train(model, columns) for name, model in models.items()}, options.rounds
    )
    prediction = measure(
        {name: lambda model=model: model.eval().predict(words) for name, model in models.items()}, options.rounds
    )
    steps = -(-len(sentences) // BATCH_SIZE)
    for name in PARTS:
        print(
            f"{name:24} {steps / statistics.median(training[name]):6.2f} steps/s ({relative(training)[name]:.3f}), "
            f"{len(words) / statistics.median(prediction[name]):7.1f} sentences/s ({relative(prediction)[name]:.3f})"
        )
    result = {"machine": machine(), "threads": torch.get_num_threads(), "num_sentences": [len(sentences), len(words)]}
    write_json(options.results, {**result, "training": relative(training), "prediction": relative(prediction)})


if __name__ == "__main__":
    main()
