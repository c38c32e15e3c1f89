"""Compares number formats and compilers on a trained model: sentences per second, and what they cost in F1.

``python benchmarks/precision.py --data FOLDER --encoder NAME --checkpoint FOLDER`` trains a model on CoNLL data unless
the checkpoint is there already, then evaluates it in float32, bfloat16, dynamically quantized to int8, and compiled,
as far as the machine can run them. Figures are printed as a table and written to ``benchmarks/results/precision.json``.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from speed import equal_sentences, label_list, machine, matrix_rate, read_conll
from tables import precision_table
from torch import nn
from transformers import TrainingArguments, set_seed

from span_marker import SpanMarkerModel, Trainer
from span_marker.core.labels import LabelledSpan, detect_scheme, tags_to_entities
from span_marker.core.metrics import compute_metrics

HERE = Path(__file__).parent


def train(data: Path, encoder: str, checkpoint: Path, num_sentences: int) -> None:
    """Train a model on some sentences, chosen at random, and save it."""
    set_seed(1)
    words, tags, _ = read_conll(data / "train.txt")
    labels = label_list(tags)
    dataset = Dataset.from_dict({"tokens": words, "ner_tags": tags}).shuffle(seed=1)
    model = SpanMarkerModel.from_pretrained(
        encoder, labels=labels, model_max_length=128, entity_max_length=6, candidates_per_word=None
    )
    spend_time_on_learning(model)
    Trainer(
        model=model, args=short_training(checkpoint), train_dataset=dataset.take(min(num_sentences, len(dataset)))
    ).train()
    model.save_pretrained(checkpoint)


def short_training(folder: Path | str, seed: int = 1, epochs: int = 1, batch_size: int = 8) -> TrainingArguments:
    """Arguments of a training that takes minutes on a CPU."""
    return TrainingArguments(
        output_dir=str(folder),
        learning_rate=2.5e-4,
        num_train_epochs=epochs,
        per_device_train_batch_size=batch_size,
        warmup_steps=0.1,
        weight_decay=0.01,
        logging_steps=50,
        save_strategy="no",
        report_to="none",
        seed=seed,
        use_cpu=not torch.cuda.is_available(),
    )


def spend_time_on_learning(model: SpanMarkerModel) -> None:
    """Freeze the token embeddings and turn dropout off: a short training learns more per minute so."""
    model.get_input_embeddings().requires_grad_(False)
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0


def load(checkpoint: Path, device: str) -> SpanMarkerModel:
    """Load the trained model."""
    model = SpanMarkerModel.from_pretrained(checkpoint)
    return model.to(torch.device(device))  # type: ignore[arg-type]


def bfloat16(checkpoint: Path, device: str) -> SpanMarkerModel:
    """Load the model with bfloat16 weights."""
    return load(checkpoint, device).to(torch.bfloat16)


def int8(checkpoint: Path, device: str) -> SpanMarkerModel:
    """Load the model and quantize the encoder's linear layers, activations on the fly."""
    model = load(checkpoint, device)
    model.encoder = torch.ao.quantization.quantize_dynamic(model.encoder, {nn.Linear}, dtype=torch.qint8)
    return model


def compiled(checkpoint: Path, device: str) -> SpanMarkerModel:
    """Load the model and compile each layer's feed-forward part, which knows nothing of markers."""
    model = load(checkpoint, device)
    for layer in model.encoder.encoder.layer:  # BERT's names
        layer.intermediate.compile(dynamic=True)
        layer.output.compile(dynamic=True)
    return model


FORMATS: dict[str, Callable[[Path, str], SpanMarkerModel]] = {
    "float32": load,
    "bfloat16": bfloat16,
    "int8 (dynamic quantization)": int8,
    "float32, feed-forward compiled": compiled,
}


def f1_score(found: list[list[dict[str, Any]]], gold: list[list[LabelledSpan]], words: list[list[str]]) -> float:
    """Compute the strict micro-F1."""
    predicted = [
        [LabelledSpan(entity["label"], entity["word_start_index"], entity["word_end_index"]) for entity in entities]
        for entities in found
    ]
    return float(compute_metrics(gold, predicted, [len(row) for row in words])["overall_f1"])


def main() -> None:
    """Train if need be, measure every format and write everything down."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder with train.txt and dev.txt in CoNLL format")
    parser.add_argument("--encoder", required=True, help="name or path of a BERT encoder")
    parser.add_argument("--checkpoint", type=Path, required=True, help="the trained model; made if it is not there")
    parser.add_argument("--train-sentences", type=int, default=7000)
    parser.add_argument("--sentences", type=int, default=400, help="sentences of dev.txt, at even distances")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--results", type=Path, default=HERE / "results" / "precision.json")
    options = parser.parse_args()
    if not (options.checkpoint / "config.json").exists():
        train(options.data, options.encoder, options.checkpoint, options.train_sentences)

    words, tags, _ = read_conll(options.data / "dev.txt")
    step = max(len(words) // options.sentences, 1)
    words, tags = words[::step][: options.sentences], tags[::step][: options.sentences]
    scheme = detect_scheme(label_list(tags))
    gold = [tags_to_entities(row, scheme) for row in tags]
    models = {name: build(options.checkpoint, options.device) for name, build in FORMATS.items()}
    seconds: dict[str, list[float]] = {name: [] for name in models}
    found: dict[str, Any] = {}
    for name, model in models.items():
        model.predict(words[:64])  # compiles and warms up
        print(name, "is ready", flush=True)
    for _ in range(options.rounds):
        for name, model in models.items():
            started = time.perf_counter()
            found[name] = model.predict(words)
            seconds[name].append(time.perf_counter() - started)
    exact = found["float32"]
    results: dict[str, Any] = {"machine": machine(options.device), "sentences": len(words), "formats": {}}
    for name, entities in found.items():
        results["formats"][name] = {
            "rate": len(words) / statistics.median(seconds[name]),
            "f1": f1_score(entities, gold, words),
            "equal": equal_sentences(entities, exact, scores=False),
        }
    encoder = models["float32"].config.encoder
    results["gflops"] = {
        str(dtype).removeprefix("torch."): matrix_rate(
            dtype, encoder.hidden_size, encoder.intermediate_size, options.device
        )
        for dtype in (torch.float32, torch.bfloat16)
    }
    options.results.parent.mkdir(parents=True, exist_ok=True)
    options.results.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    print(precision_table(results))


if __name__ == "__main__":
    main()
