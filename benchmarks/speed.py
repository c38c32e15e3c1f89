"""Compares the speed of this library with the published one, at equal predictions.

``python benchmarks/speed.py --data FOLDER`` with a folder that holds ``train.txt`` and ``test.txt`` in CoNLL format. It
makes a virtual environment for the published library, writes one checkpoint for each setting, and runs both libraries
in turns, each in a process of its own. Figures are medians; they are printed as a table and written to
``benchmarks/results/speed.json`` with commit, versions and machine. ``python benchmarks/tables.py`` then brings the
tables of the documentation up to date.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.metadata
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from tables import speed_table
from torch.nn import functional as F

from span_marker import SpanMarkerModel
from span_marker.core.spans import num_candidates
from span_marker.preprocessing.inputs import Sentences
from span_marker.preprocessing.pieces import into_pieces, tokenize

HERE = Path(__file__).parent
PUBLISHED = ["torch==2.13.0", "span-marker==1.8.1", "transformers<5"]
SETTINGS = {"128/64/6": (128, 64, 6), "256/128/8": (256, 128, 8), "512/128/8": (510, 128, 8)}
SCORE_TOLERANCE = 1e-4
INSTRUCTIONS = ("avx2", "avx512_f", "avx512_bf16", "amx_bf16")


class Worker:
    """A library in a process of its own.

    Args:
        python: The interpreter of its environment.
        script: What it runs: a script that has tasks, see ``worker.main``.
    """

    def __init__(self, python: Path | str, script: str = "worker.py") -> None:
        command = [str(python), str(HERE / script)]
        quiet = {**os.environ, "TRANSFORMERS_VERBOSITY": "error", "HF_HUB_OFFLINE": "1", "PYTHONWARNINGS": "ignore"}
        if str(python) != sys.executable:
            quiet.pop("PYTHONPATH", None)  # it may lead to this library
        self.errors = tempfile.TemporaryFile("w+")  # noqa: SIM115, for as long as the process; a pipe would fill up
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.errors, text=True, env=quiet
        )

    def ask(self, task: str, **arguments: Any) -> dict[str, Any]:
        """Run a task of ``worker.py`` and wait for its answer."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        with contextlib.suppress(BrokenPipeError):  # then it is dead, and there will be no answer
            self.process.stdin.write(json.dumps([task, arguments]) + "\n")
            self.process.stdin.flush()
        answer = self.process.stdout.readline()
        if not answer:
            self.process.wait()
            self.errors.seek(0)
            raise RuntimeError(f"{self.process.args} died at {task}:\n{self.errors.read()[-4000:]}")
        result: dict[str, Any] = json.loads(answer)
        return result

    def close(self) -> None:
        """End the process."""
        with contextlib.suppress(BrokenPipeError):
            self.process.communicate()
        self.errors.close()


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


def label_list(tags: list[list[str]]) -> list[str]:
    """List the labels of a data set, ``O`` first."""
    return ["O", *sorted({tag for row in tags for tag in row} - {"O"})]


def write_checkpoint(encoder: str, labels: list[str], limits: tuple[int, int, int], folder: Path) -> None:
    """Write a checkpoint that both libraries read, with a random head that finds something to say about many spans."""
    torch.manual_seed(0)
    text, marker, entity = limits
    model = SpanMarkerModel.from_pretrained(
        encoder,
        labels=labels,
        model_max_length=text,
        marker_max_length=marker,
        entity_max_length=entity,
        candidates_per_word=None,
        compatible_with_1x=True,
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


def matrix_rate(dtype: torch.dtype, hidden: int, inner: int, device: str = "cpu", rows: int = 2048) -> float:
    """Measure the machine: a linear layer of each of the encoder's shapes, in GFLOP/s, the median of several runs."""
    shapes = [(hidden, hidden)] * 4 + [(hidden, inner), (inner, hidden)]
    layers = [
        (torch.randn(rows, inputs), torch.randn(outputs, inputs), torch.randn(outputs)) for inputs, outputs in shapes
    ]
    layers = [tuple(x.to(device, dtype) for x in layer) for layer in layers]
    seconds = []
    for _ in range(15):
        started = time.perf_counter()
        for layer in layers:
            F.linear(*layer)
        if device != "cpu":
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - started)
    return 2 * rows * sum(inputs * outputs for inputs, outputs in shapes) / statistics.median(seconds) / 1e9


def needed_operations(model: SpanMarkerModel, sentences: list[list[str]]) -> float:
    """Operations that the model needs for some sentences, in GFLOP: linear layers and attention, nothing twice."""
    config, encoder = model.config, model.config.encoder
    linear = 2 * (4 * encoder.hidden_size**2 + 2 * encoder.hidden_size * encoder.intermediate_size)
    keys_and_values = 4 * encoder.hidden_size**2
    total = 0.0
    inputs, tokenizer = Sentences(sentences, False), model.require_tokenizer()
    for piece in into_pieces(inputs, tokenize(inputs, tokenizer), tokenizer, config, model.max_text_length):
        sentence = piece.tokens
        text, markers = len(sentence.input_ids), 2 * num_candidates(sentence.num_words, config.entity_max_length)
        attention = 4 * encoder.hidden_size * markers * (text + 2)
        text_layer = linear * text + 4 * encoder.hidden_size * text**2
        # The last layer of the text makes keys and values only.
        total += (encoder.num_hidden_layers - 1) * text_layer + keys_and_values * text
        total += encoder.num_hidden_layers * (linear * markers + attention)
    return total / 1e9


def interleave(
    workers: dict[str, Worker], rounds: int, task: str, warm_up: bool = True, **arguments: Any
) -> dict[str, list[dict[str, Any]]]:
    """Run a task in every worker in turns, after one run each to warm up."""
    answers: dict[str, list[dict[str, Any]]] = {name: [] for name in workers}
    for number in range(rounds + warm_up):
        for name, worker in workers.items():
            answer = worker.ask(task, **arguments)
            if number >= warm_up:
                answers[name].append(answer)
    return answers


def median_seconds(answers: dict[str, list[dict[str, Any]]]) -> dict[str, float]:
    """Reduce the answers of each worker to the median of their times."""
    return {name: statistics.median(answer["seconds"] for answer in found) for name, found in answers.items()}


def machine(device: str = "cpu") -> dict[str, Any]:
    """Say what the figures were measured on and with."""
    commands = (["rev-parse", "HEAD"], ["diff", "--", ":/", ":!results"])  # results change while they are measured
    commit, dirty = (
        subprocess.run(["git", *command], cwd=HERE, capture_output=True, text=True, check=False).stdout.strip()
        for command in commands
    )
    description: dict[str, Any] = {
        "commit": commit + ("+changes" if dirty else ""),
        "date": time.strftime("%Y-%m-%d"),
        "python": platform.python_version(),
        "versions": {name: importlib.metadata.version(name) for name in ("torch", "transformers", "tokenizers")},
        "device": "cpu" if device == "cpu" else torch.cuda.get_device_name(),
    }
    if device == "cpu":
        capabilities = getattr(torch.cpu, "get_capabilities", dict)()  # older versions of torch can't tell
        description |= {
            "cpu": capabilities.get("cpu_name"),
            "cores": os.cpu_count(),
            "instructions": [
                name for name in ("avx2", "avx512_f", "avx512_bf16", "amx_bf16") if capabilities.get(name)
            ],
        }
    return description


class Comparison:
    """Both libraries with one checkpoint.

    Args:
        options: The command line's.
        checkpoint: The checkpoint.
        data: Columns of the data.
        python: Interpreter of the published library's environment.
    """

    def __init__(self, options: argparse.Namespace, checkpoint: Path, data: dict[str, Any], python: Path) -> None:
        self.options = options
        self.arguments = {"checkpoint": str(checkpoint.resolve()), "data": data, "device": options.device}
        self.pythons: dict[str, Path | str] = {"this": sys.executable, "published": python}

    def start(self, dtype: str = "float32") -> dict[str, Worker]:
        """Start a fresh process of each library, the checkpoint loaded."""
        workers = {name: Worker(python) for name, python in self.pythons.items()}
        for worker in workers.values():
            worker.ask("load", **self.arguments, dtype=dtype)
        return workers

    def measure(self) -> dict[str, Any]:
        """Measure everything at this setting."""
        options, row = self.options, {}
        workers = self.start()
        sizes = {"batch_size": 32, "num_sentences": options.sentences}
        answers = interleave(workers, options.rounds, "predict", **sizes)
        row["predict"] = median_seconds(answers)
        found = {name: answer[0]["entities"] for name, answer in answers.items()}
        row["predict_equal"] = equal_sentences(found["this"], found["published"], scores=True)
        row["memory"] = {name: worker.ask("memory")["mebibytes"] for name, worker in workers.items()}
        row["latency"] = median_seconds(interleave(workers, options.rounds, "latency", num_sentences=20))
        sizes = {"batch_size": 32, "num_sentences": options.sentences // 4}
        answers = interleave(workers, options.rounds, "predict_documents", **sizes)
        row["documents"] = median_seconds(answers)
        documents = {name: answer[0]["entities"] for name, answer in answers.items()}
        row["documents_equal"] = equal_sentences(documents["this"], documents["published"], scores=True)
        answers = interleave(
            workers, options.rounds, "train", warm_up=False, batch_size=16, num_steps=options.train_steps
        )
        row["train"] = median_seconds(answers)
        row["prepare"] = median_seconds(
            interleave(workers, options.rounds, "prepare", batch_size=16, num_sentences=1600)
        )
        for worker in workers.values():
            worker.close()
        if options.bfloat16:
            worker = Worker(sys.executable)
            worker.ask("load", **self.arguments, dtype="bfloat16")
            sizes = {"batch_size": 32, "num_sentences": options.sentences}
            answers = interleave({"this": worker}, options.rounds, "predict", **sizes)
            row["predict_bfloat16"] = median_seconds(answers)
            row["bfloat16_equal"] = equal_sentences(answers["this"][0]["entities"], found["published"], scores=False)
            worker.close()
        return row

    def token_classification(self, encoder: str) -> float:
        """Measure token classification with the same encoder, in sentences per second."""
        worker = Worker(sys.executable)
        worker.ask("load", **self.arguments)
        sizes = {"encoder": encoder, "batch_size": 32, "num_sentences": 10 * self.options.sentences}
        seconds = median_seconds(interleave({"this": worker}, self.options.rounds, "classify_tokens", **sizes))["this"]
        worker.close()
        return float(10 * self.options.sentences / seconds)


def main() -> None:
    """Measure, write everything down, and print it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder with train.txt and test.txt in CoNLL format")
    parser.add_argument("--encoder", required=True, help="name or path of an encoder")
    parser.add_argument("--published", type=Path, default=HERE / ".published", help="environment of the published one")
    parser.add_argument("--settings", nargs="+", choices=SETTINGS, default=list(SETTINGS))
    parser.add_argument("--sentences", type=int, default=128, help="sentences of each prediction")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--train-steps", type=int, default=4, help="steps of each training, besides two to warm up")
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--bfloat16", action="store_true", help="measure prediction in bfloat16, too")
    parser.add_argument("--results", type=Path, default=HERE / "results" / "speed.json")
    options = parser.parse_args()

    words, tags, documents = read_conll(options.data / "test.txt")
    labels = label_list(read_conll(options.data / "train.txt")[1] + tags)
    data = {
        "tokens": words,
        "ner_tags": [[labels.index(tag) for tag in row] for row in tags],
        "document_id": documents,
    }
    python = published_python(options.published)
    results: dict[str, Any] = {
        "machine": machine(options.device),
        "published": PUBLISHED,
        "sentences": options.sentences,
        "settings": {},
    }
    rates = []
    for name in options.settings:
        checkpoint = options.published / "work" / name.replace("/", "-")
        write_checkpoint(options.encoder, labels, SETTINGS[name], checkpoint)
        comparison = Comparison(options, checkpoint, data, python)
        model = SpanMarkerModel.from_pretrained(checkpoint)
        encoder = model.config.encoder
        shape = (encoder.hidden_size, encoder.intermediate_size, options.device)
        rates.append(matrix_rate(torch.float32, *shape))
        row = comparison.measure()
        rates.append(matrix_rate(torch.float32, *shape))
        sample = words[:: len(words) // options.sentences][: options.sentences]
        row["needed_gflop"] = needed_operations(model, sample)
        results["settings"][name] = row
        print(name, json.dumps(row, indent=1), flush=True)
    results["token_classification"] = comparison.token_classification(options.encoder)
    results["gflops"] = {
        "float32": statistics.median(rates),
        "bfloat16": matrix_rate(torch.bfloat16, *shape),
    }
    options.results.parent.mkdir(parents=True, exist_ok=True)
    options.results.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    print(speed_table(results))


if __name__ == "__main__":
    main()
