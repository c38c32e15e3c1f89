"""Measures what nested entities buy: the same encoder, trained on all entities and on the outermost ones alone.

``python benchmarks/nested.py --data FILE --encoder NAME`` takes a column file with one column of tags for each level
of nesting, such as GENIA's. Sentences are split in order, the last fifth to test on, so that no abstract is in both.
Both models are evaluated on all entities, on those within another one, and on the outermost ones. Figures are printed
as a table and written to ``benchmarks/results/nested.json``.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from precision import short_training, spend_time_on_learning
from speed import machine
from tables import nested_table
from transformers import set_seed

from span_marker import SpanMarkerModel, Trainer, infer_labels
from span_marker.core.labels import LabelledSpan
from span_marker.core.metrics import compute_metrics
from span_marker.data.files import read_annotations

HERE = Path(__file__).parent


def lies_within(entity: dict[str, Any], other: dict[str, Any]) -> bool:
    """Whether an entity lies within another, longer one."""
    is_inside = other["start"] <= entity["start"] and entity["end"] <= other["end"]
    return is_inside and (entity["start"], entity["end"]) != (other["start"], other["end"])


def outermost(row: dict[str, Any]) -> dict[str, Any]:
    """Leave out entities that lie within another one."""
    entities = row["entities"]
    return {"entities": [e for e in entities if not any(lies_within(e, other) for other in entities)]}


def spans(entities: list[dict[str, Any]], start: str = "start", end: str = "end") -> list[LabelledSpan]:
    """Entities as labeled spans."""
    return [LabelledSpan(entity["label"], entity[start], entity[end]) for entity in entities]


def train(data: Dataset, labels: list[str], options: argparse.Namespace, seed: int) -> SpanMarkerModel:
    """Train a model on the data."""
    set_seed(seed)
    model = SpanMarkerModel.from_pretrained(
        options.encoder,
        labels=labels,
        model_max_length=256,
        entity_max_length=options.entity_max_length,
        candidates_per_word=None,
    )
    spend_time_on_learning(model)
    with tempfile.TemporaryDirectory() as folder:
        Trainer(model=model, args=short_training(folder, seed, options.epochs), train_dataset=data).train()
    return model


def evaluate(model: SpanMarkerModel, test: Dataset) -> dict[str, Any]:
    """Compare what the model finds with all entities, with those within others, and with the outermost ones."""
    predicted = [spans(row, "word_start_index", "word_end_index") for row in model.predict(test)]
    num_words = [len(words) for words in test["tokens"]]
    outer = [spans(outermost(row)["entities"]) for row in test]
    everything = [spans(row["entities"]) for row in test]
    inner = [set(entities) - set(outer_ones) for entities, outer_ones in zip(everything, outer, strict=True)]
    of_all = compute_metrics(everything, predicted, num_words)
    of_outer = compute_metrics(outer, predicted, num_words)
    return {
        "decoding": model.config.decoding,
        **{name: of_all[f"overall_{name}"] for name in ("precision", "recall", "f1")},
        "macro_f1": of_all["macro_f1"],
        "inner_recall": sum(len(gold & set(found)) for gold, found in zip(inner, predicted, strict=True))
        / sum(map(len, inner)),
        "outermost_recall": of_outer["overall_recall"],
    }


def main() -> None:
    """Train, measure and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="column file, one column of tags a level")
    parser.add_argument("--encoder", required=True, help="name or path of an encoder")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=float, default=2)
    parser.add_argument("--entity-max-length", type=int, default=6)
    parser.add_argument("--sentences", type=int, help="take this many sentences only")
    parser.add_argument("--results", type=Path, default=HERE / "results" / "nested.json")
    options = parser.parse_args()
    data = read_annotations(options.data, "conll", tag_columns="all")
    data = data.take(min(options.sentences or len(data), len(data)))
    labels = infer_labels(data)
    cut = len(data) * 4 // 5
    nested, test = data.take(cut), data.skip(cut)
    results: dict[str, Any] = {
        "machine": machine("cuda" if torch.cuda.is_available() else "cpu"),
        "sentences": {"train": len(nested), "test": len(test)},
        "epochs": options.epochs,
        "entity_max_length": options.entity_max_length,
        "runs": {"nested": [], "outermost": []},
    }
    for seed in range(1, options.seeds + 1):
        for name, rows in (("nested", nested), ("outermost", nested.map(outermost, load_from_cache_file=False))):
            figures = evaluate(train(rows, labels, options, seed), test)
            print(seed, name, figures, flush=True)
            results["runs"][name].append({"seed": seed, **figures})
            options.results.parent.mkdir(parents=True, exist_ok=True)
            options.results.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    print(nested_table(results))


if __name__ == "__main__":
    main()
