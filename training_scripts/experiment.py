"""What the experiments have in common: options, data from files, the training, seeds, mean and standard error.

One run says little: results of the same setting with other seeds scatter by several tenths of a point of F1. Each
experiment is run with several seeds, and reports the mean with its standard error.
"""

from __future__ import annotations

import argparse
import gc
import json
import statistics
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset, DatasetDict

from span_marker import SpanMarkerModel, Trainer, TrainingArguments, read_annotations
from span_marker.training.arguments import has_fast_bfloat16

MEASURES = ("f1", "precision", "recall")

FILES = {"train": ("train",), "validation": ("dev", "validation", "valid"), "test": ("test",)}
"""What the file of each split may be called, without its ending."""

CONTEXT = ("document_id", "sentence_id")


def parse_options(
    description: str | None, encoder: str, epochs: float, arguments: list[str] | None = None
) -> argparse.Namespace:
    """Read the command line.

    Args:
        description: The script's docstring.
        encoder: The encoder of the experiment.
        epochs: Its epochs.
        arguments: Command line arguments; those of the process by default.

    Returns:
        The options.
    """
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--encoder", default=encoder, help="name or path of an encoder (default: %(default)s)")
    parser.add_argument("--data", type=Path, help="folder with files train, dev and test, instead of data from the Hub")
    parser.add_argument("--revision", help='revision of the data on the Hub, such as "refs/convert/parquet"')
    parser.add_argument("--output", type=Path, required=True, help="folder of the results and the models")
    parser.add_argument("--seeds", type=int, default=5, help="how many runs (default: %(default)s)")
    parser.add_argument("--epochs", type=float, default=epochs, help="epochs of each (default: %(default)s)")
    parser.add_argument("--sentences", type=int, help="use the first so many of each split, for a quick try")
    parser.add_argument(
        "--candidates-per-word",
        type=float,
        help="train with a candidate filter: 1 is the library's default, and faster (default: all candidates)",
    )
    options = parser.parse_args(arguments)
    for name in ("seeds", "sentences"):
        value = getattr(options, name)
        if value is not None and value < 1:
            parser.error(f"--{name} {value} must be at least 1")
    return options


def read_data(options: argparse.Namespace, hub: Callable[[], DatasetDict], document_context: bool) -> DatasetDict:
    """Read the data, from files if there is ``--data``, else from the Hub.

    Args:
        options: The command line.
        hub: Loads the data from the Hub.
        document_context: Whether sentences are read in the context of their document.

    Returns:
        The splits ``train``, ``validation`` and ``test``, with the columns of document context, or without them.

    Raises:
        SystemExit: If a file or a column is missing.
    """
    data = _read_folder(options.data, document_context) if options.data else hub()
    for name in FILES:
        missing = [column for column in CONTEXT if column not in data[name].column_names]
        if document_context and missing:
            raise SystemExit(f"the {name} data has no {' and no '.join(missing)}, which document context takes")
        if not document_context:
            data[name] = data[name].remove_columns([column for column in CONTEXT if column not in missing])
        if options.sentences:
            data[name] = data[name].take(min(options.sentences, len(data[name])))
    return data


def _read_folder(folder: Path, document_context: bool) -> DatasetDict:
    splits = {}
    for split, stems in FILES.items():
        found = [path for path in sorted(folder.glob("*")) if path.stem in stems]
        if len(found) != 1:
            names = " or ".join(f"{stem}.*" for stem in stems)
            raise SystemExit(f"{folder} must have one file {names}, but has {[path.name for path in found]}")
        is_columns = found[0].suffix not in (".json", ".jsonl", ".spacy")
        splits[split] = read_annotations(found[0], documents=document_context and is_columns)
    return DatasetDict(splits)


def fine_tune(
    model: SpanMarkerModel, data: DatasetDict, options: argparse.Namespace, seed: int, folder: Path, **training: Any
) -> Trainer:
    """Train a model as all experiments do, and evaluate it after each epoch.

    Args:
        model: The model.
        data: The splits ``train`` and ``validation``.
        options: The command line.
        seed: The seed of the run.
        folder: The folder of the run.
        **training: What differs between experiments: other arguments of ``TrainingArguments``.

    Returns:
        The trainer.
    """
    args = TrainingArguments(
        output_dir=str(folder),
        num_train_epochs=options.epochs,
        optim="adamw_torch",
        lr_scheduler_type="linear",
        warmup_steps=0.1,  # a share of all steps
        weight_decay=0.01,
        bf16=has_fast_bfloat16(),
        use_cpu=not torch.cuda.is_available(),
        eval_strategy="epoch",
        save_strategy="no",
        report_to="none",
        seed=seed,
        **training,
    )
    trainer = Trainer(model, args, data["train"], data["validation"])
    trainer.train()
    return trainer


def run_seeds(
    train: Callable[[int, Path], Trainer], test: Dataset, options: argparse.Namespace, more: Sequence[str] = ()
) -> dict[str, Any]:
    """Train with each seed, evaluate on the test data, and save the models with their cards.

    Args:
        train: Makes a model of a seed, and trains it; gets the seed and a folder.
        test: The test data.
        options: The command line.
        more: Metrics to report besides `MEASURES`, without the prefix of the evaluation.

    Returns:
        The figures of each seed, and ``mean`` and ``standard_error`` of each measure. They are also written to
        ``results.json`` in the output folder, after each seed.
    """
    runs: list[dict[str, Any]] = []
    metric_names = {**{name: f"overall_{name}" for name in MEASURES}, **{name: name for name in more}}
    for seed in range(1, options.seeds + 1):
        folder = options.output / f"seed-{seed}"
        trainer = train(seed, folder)
        metrics = trainer.evaluate(test, metric_key_prefix="test")
        trainer.model.save_pretrained(folder)  # its card has the figures of the test data
        runs.append({"seed": seed, **{name: metrics[f"test_{metric}"] for name, metric in metric_names.items()}})
        report = summarize(runs)
        (options.output / "results.json").write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
        print(f"seed {seed}: " + ", ".join(f"{name} {runs[-1][name]:.4f}" for name in metric_names), flush=True)
        del trainer
        gc.collect()  # the next model may need the memory of this one
    for name in metric_names:
        error = report["standard_error"][name]
        print(f"test {name}: {report['mean'][name]:.4f} ± {'unknown' if error is None else format(error, '.4f')}")
    return report


def summarize(runs: list[dict[str, Any]]) -> dict[str, Any]:
    """Compute means over the seeds, and their standard errors.

    Args:
        runs: The figures of each seed.

    Returns:
        The runs, ``mean`` and ``standard_error`` of each measure; of a single run there is no standard error.

    Example:
        >>> one, other = {"f1": 0.9, "precision": 1.0, "recall": 0.8}, {"f1": 0.7, "precision": 0.7, "recall": 0.7}
        >>> round(summarize([one, other])["standard_error"]["f1"], 6)
        0.1
    """
    columns = {name: [run[name] for run in runs] for name in runs[0] if name != "seed"}
    errors = {name: statistics.stdev(values) / len(values) ** 0.5 for name, values in columns.items() if len(runs) > 1}
    return {
        "runs": runs,
        "mean": {name: statistics.mean(values) for name, values in columns.items()},
        "standard_error": {name: errors.get(name) for name in columns},
    }
