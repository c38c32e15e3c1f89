"""What documents cost: checks the counts of ``cost_model.py`` against the clock, and prices a corpus.

``python benchmarks/cost.py --encoder ENCODER`` measures how long a unit of each kind of work takes on one core, at
settings of its own, and compares what follows for five others with what they take. Then it measures everything but the
model alone: tokenizer, Python, decoding. Times are those of the processor for one thread, the least of several rounds
in turns. Texts are runs of words of the bundled corpus. Figures go to ``benchmarks/results/cost.json``, from which
``python benchmarks/tables.py`` makes the tables of docs/scale.md. ``--price 0.04`` prices the core hours of them.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from bulk import read_split
from cost_model import (
    HOST_TERMS,
    KINDS,
    MODEL_TERMS,
    Encoder,
    Kind,
    Text,
    fit,
    seconds_of,
    work_of,
)
from speed import machine, matrix_rate
from tables import cost_check_table, cost_host_table, cost_table

from span_marker import SpanMarkerModel
from span_marker.preprocessing.inputs import Sentences

HERE = Path(__file__).parent
LABELS = ["PER", "LOC", "ORG", "MISC"]
LIMITS = {"model_max_length": 510, "entity_max_length": 8}
NUM_SPECIAL = 2
"""Special tokens of a text, which coverage does not count."""

SAMPLE_TOKENS = 800
"""About how many tokens, text and markers together, are read at each setting; at least a few texts."""


class Setting(NamedTuple):
    """What is measured at once.

    Attributes:
        words: Words of each text.
        batch_size: Texts per batch.
        per_word: Candidates that the filter keeps per word; None for all.
    """

    words: int
    batch_size: int
    per_word: float | None


CALIBRATION = [
    Setting(words, batch_size, per_word)
    for words in (4, 12, 36, 110)
    for batch_size in (1, 32)
    for per_word in (None, 1.0)
]
CHECKED = [
    Setting(13, 1, 1.0),
    Setting(26, 32, 1.0),
    Setting(52, 32, None),
    Setting(105, 1, None),
    Setting(210, 32, 1.0),
]
"""Of about 16, 32, 64, 128 and 256 tokens."""


class Sample:
    """Texts for a setting, and what they are.

    Args:
        model: The model.
        setting: The setting.
        words: Words to make them of.
    """

    def __init__(self, model: Any, setting: Setting, words: list[str]) -> None:
        self.setting, self._model = setting, model
        cost = setting.words * (2 + 2 * (LIMITS["entity_max_length"] if setting.per_word is None else 1))
        least = 1 if setting.batch_size == 1 else 4 if setting.per_word is None else 32 if setting.words < 50 else 8
        count = max(SAMPLE_TOKENS // cost, least)
        self.texts = [" ".join(words[i * setting.words : (i + 1) * setting.words]) for i in range(count)]
        self._options = {"exact": setting.per_word is None, "is_split_into_words": False}
        self._scores: list[Any] = []
        coverages = self._recorded()
        per_word = setting.per_word
        shapes = [
            Text.from_lengths(c.num_words, c.num_tokens + NUM_SPECIAL, LIMITS["entity_max_length"], per_word)
            for c in coverages
        ]
        assert all(c.num_windows == 1 for c in coverages)
        assert [text.kept for text in shapes] == [c.num_scored - c.num_dropped for c in coverages]
        encoder = Encoder.from_config(model.config.encoder, len(model.config.classes))
        self.work = work_of(encoder, shapes, per_word is not None, setting.batch_size)
        self.num_tokens = statistics.mean(text.num_tokens for text in shapes)

    def predict(self, **options: Any) -> list[Any]:
        """Read the texts, in one call, or in one for each of them."""
        size = self.setting.batch_size
        parts = [self.texts] if size > 1 else [[text] for text in self.texts]
        return [self._model.predict(part, size, **self._options, **options) for part in parts]

    def _recorded(self) -> list[Any]:
        """Read the texts, keep the scores of the model, and return what was read of each."""
        score = self._model.score

        def record(*args: Any, **kwargs: Any) -> Any:
            self._scores.append(score(*args, **kwargs))
            return self._scores[-1]

        self._model.score = record
        coverages = [coverage for _, part in self.predict(return_coverage=True) for coverage in part]
        del self._model.score
        return coverages

    def replay(self) -> None:
        """Read the texts with the scores as they were: all of `predict` but the model."""
        scores = iter(self._scores)
        self._model.score = lambda *args, **kwargs: next(scores)
        self.predict()
        del self._model.score

    def tokenize(self) -> None:
        """Tokenize the texts, and no more."""
        self._model.preprocessor.encode(Sentences(self.texts, are_texts=True))


def least_seconds(runs: Sequence[Callable[[], None]], rounds: int) -> list[float]:
    """How long each takes on the processor, in turns: the least of the rounds."""
    best = [float("inf")] * len(runs)
    for _ in range(rounds):
        for number, run in enumerate(runs):
            started = time.process_time()
            run()
            best[number] = min(best[number], time.process_time() - started)
    return best


def measure(model: Any, words: list[str], rounds: int) -> dict[str, Any]:
    """Calibrate the model of costs, and check it at other settings."""
    samples = [Sample(model, setting, words) for setting in (*CALIBRATION, *CHECKED)]
    whole, host, tokens = (
        least_seconds([getattr(sample, what) for sample in samples], rounds)
        for what in ("predict", "replay", "tokenize")
    )
    works, known = [sample.work for sample in samples], len(CALIBRATION)
    pure = [a - b for a, b in zip(whole, host, strict=True)]
    rates = {
        "host": fit(HOST_TERMS, works[:known], host[:known]),
        "model": fit(MODEL_TERMS, works[:known], pure[:known]),
    }
    rows = []
    for sample, measured, of_host, of_tokens in zip(*(x[known:] for x in (samples, whole, host, tokens)), strict=True):
        predicted = [seconds_of(rates[part], sample.work) for part in ("host", "model")]
        count = len(sample.texts)
        rows.append(
            {
                **sample.setting._asdict(),
                "tokens": sample.num_tokens,
                "gflop": sample.work.operations / count / 1e9,
                "megabytes": sample.work.bytes / count / 1e6,
                "milliseconds": 1e3 * measured / count,
                "predicted": 1e3 * sum(predicted) / count,
                "host": 1e3 * of_host / count,
                "host_predicted": 1e3 * predicted[0] / count,
                "tokenizing": 1e3 * of_tokens / count,
            }
        )
    predicted = [sum(seconds_of(units, work) for units in rates.values()) for work in works]
    errors = [guess / measured - 1 for guess, measured in zip(predicted, whole, strict=True)]
    for sample, measured, of_host, error in zip(samples, whole, host, errors, strict=True):
        print(sample.setting, f"{measured:.3f} s, {of_host:.3f} without the model, predicted {error:+.1%}", flush=True)
    return {"rates": rates, "calibration_error": max(map(abs, errors[:known])), "checked": rows}


def price_corpus(encoder: Encoder, rates: dict[str, dict[str, float]], kinds: Sequence[Kind]) -> list[dict[str, Any]]:
    """Count what a document of each kind costs, with all candidates and with a filter."""
    rows = []
    for kind in kinds:
        for per_word in (None, 1.0):
            work = kind.work(encoder, LIMITS["entity_max_length"], per_word, 32)
            host, model = (seconds_of(rates[part], work) for part in ("host", "model"))
            rows.append(
                {
                    "kind": kind.name,
                    "sentences": kind.sentences,
                    "words": kind.words,
                    "per_word": per_word,
                    "gflop": work.operations / 1e9,
                    "megabytes": work.bytes / 1e6,
                    "seconds": host + model,
                    "host_seconds": host,
                    "bytes_read": kind.bytes_read,
                    "bytes_written": kind.bytes_written,
                }
            )
    return rows


def main() -> None:
    """Measure, print, and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--encoder", required=True, help="name or path of an encoder whose layers are those of BERT")
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--price", type=float, help="of a core hour; adds a column to the table that is printed")
    parser.add_argument(
        "--kind", nargs=3, action="append", metavar=("NAME", "SENTENCES", "WORDS"), help="another kind of documents"
    )
    parser.add_argument("--results", type=Path, default=HERE / "results" / "cost.json")
    options = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    model: Any = SpanMarkerModel.from_pretrained(options.encoder, labels=["O", *LABELS], **LIMITS)
    with torch.no_grad():  # so that there is something to decode
        model.classifier.weight.normal_(std=0.1)
        model.classifier.bias.zero_()
        model.classifier.bias[model.config.outside_id] = 1.0
    words = " ".join(read_split("train")["text"][:]).split()
    while len(words) < 256 * 210:
        words += words
    encoder = Encoder.from_config(model.config.encoder, len(model.config.classes))
    shape = (torch.float32, encoder.hidden, encoder.inner)
    gflops = [matrix_rate(*shape)]
    results: dict[str, Any] = {
        "machine": machine(),
        "encoder": encoder._asdict(),
        "limits": LIMITS,
        "rounds": options.rounds,
    }
    results |= measure(model, words, options.rounds)
    gflops.append(matrix_rate(*shape))
    results["gflops"] = statistics.median(gflops)
    kinds = [*KINDS, *(Kind(name, int(sentences), int(number)) for name, sentences, number in options.kind or [])]
    results["documents"] = price_corpus(encoder, results["rates"], kinds)
    options.results.parent.mkdir(parents=True, exist_ok=True)
    options.results.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    print(f"{cost_check_table(results)}\n\n{cost_host_table(results)}\n\n{cost_table(results, options.price)}")


if __name__ == "__main__":
    main()
