"""Compares number formats, compilers and runtimes on a trained model: speed, and what they cost in F1.

``python benchmarks/precision.py --data FOLDER --encoder NAME --checkpoint FOLDER`` trains a model on CoNLL data unless
the checkpoint is there already, then evaluates it in PyTorch in float32, bfloat16, dynamically quantized to int8, and
compiled; and exported and quantized, in the runtimes that are installed, as far as the machine can run them. Pass
``--test FILE --calibration FILE`` for annotated data in any other format. Figures are medians in turns, printed as a
table and written to ``benchmarks/results/precision.json``. Set ``OMP_NUM_THREADS``, which all of them follow.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from speed import label_list, machine, matrix_rate, read_conll
from tables import HERE, precision_table
from torch import nn
from transformers import TrainingArguments, set_seed

from span_marker import SpanMarkerModel, Trainer, analyze_predictions, compare_reports, read_annotations
from span_marker.export import export_onnx, export_openvino, quantize

sys.path.append(str(HERE.parent / "training_scripts"))

from quickstart import spend_time_on_learning


def train(data: Path, encoder: str, checkpoint: Path, num_sentences: int) -> None:
    """Train a model on some sentences, chosen at random, and save it."""
    set_seed(1)
    parts, labels = {}, []
    for part in ("train", "dev"):
        words, tags, _ = read_conll(data / f"{part}.txt")
        labels = labels or label_list(tags)
        parts[part] = Dataset.from_dict({"tokens": words, "ner_tags": tags})
    model = SpanMarkerModel.from_pretrained(encoder, labels=labels, model_max_length=128, entity_max_length=6)
    spend_time_on_learning(model)
    Trainer(
        model=model,
        args=short_training(checkpoint, epochs=2),
        train_dataset=parts["train"].shuffle(seed=1).take(min(num_sentences, len(parts["train"]))),
        eval_dataset=parts["dev"],  # the candidate filter's threshold is chosen on it
    ).train()
    model.save_pretrained(checkpoint)


def short_training(
    folder: Path | str, seed: int = 1, epochs: float = 1, batch_size: int = 8, learning_rate: float = 2.5e-4
) -> TrainingArguments:
    """Arguments of a training that takes minutes on a CPU."""
    return TrainingArguments(
        output_dir=str(folder),
        learning_rate=learning_rate,
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


class Ways:
    """One model in every way of running it.

    Args:
        checkpoint: The trained model.
        device: Where PyTorch runs it.
        calibration: Texts for static quantization.
        scratch: A folder for exports.
    """

    def __init__(self, checkpoint: Path, device: str, calibration: list[Any], scratch: Path) -> None:
        self.checkpoint, self.device, self.calibration, self.scratch = checkpoint, device, calibration, scratch

    def load(self) -> SpanMarkerModel:
        """Load the trained model."""
        model = SpanMarkerModel.from_pretrained(self.checkpoint)
        return model.to(torch.device(self.device))  # type: ignore[arg-type]

    def bfloat16(self) -> SpanMarkerModel:
        """Load the model with bfloat16 weights."""
        return self.load().to(torch.bfloat16)

    def int8(self) -> SpanMarkerModel:
        """Load the model and quantize the encoder's linear layers, activations on the fly."""
        model = self.load()
        model.encoder = torch.ao.quantization.quantize_dynamic(model.encoder, {nn.Linear}, dtype=torch.qint8)
        return model

    def compiled(self) -> SpanMarkerModel:
        """Load the model and compile each layer's feed-forward part, which knows nothing of markers."""
        model = self.load()
        for layer in model.encoder.encoder.layer:  # BERT's names
            layer.intermediate.compile(dynamic=True)
            layer.output.compile(dynamic=True)
        return model

    @cached_property
    def exported(self) -> Path:
        """The model as graphs in float32."""
        export_onnx(SpanMarkerModel.from_pretrained(self.checkpoint), self.scratch / "onnx")
        return self.scratch / "onnx"

    def onnx(self) -> SpanMarkerModel:
        """Export the model."""
        return SpanMarkerModel.from_pretrained(self.exported, backend="onnx")

    def openvino(self) -> SpanMarkerModel:
        """Export the model, and run it in OpenVINO."""
        return SpanMarkerModel.from_pretrained(self.exported, backend="openvino")

    def openvino_bfloat16(self) -> SpanMarkerModel:
        """Export the model in bfloat16."""
        export_openvino(SpanMarkerModel.from_pretrained(self.checkpoint), self.scratch / "bfloat16", dtype="bfloat16")
        return SpanMarkerModel.from_pretrained(self.scratch / "bfloat16")

    def quantized(self, mode: Any, backend: Any) -> SpanMarkerModel:
        """Export the model, and quantize it."""
        target = self.scratch / f"{mode}-{backend}"
        calibration = self.calibration if mode == "static" else None
        quantize(self.exported, target, self.calibration[:10], mode=mode, calibration=calibration, backend=backend)
        return SpanMarkerModel.from_pretrained(target)


FORMATS: dict[str, tuple[str, Callable[[Ways], SpanMarkerModel]]] = {
    "float32": ("torch", Ways.load),
    "bfloat16": ("torch", Ways.bfloat16),
    "int8 (dynamic quantization)": ("torch", Ways.int8),
    "float32, feed-forward compiled": ("torch", Ways.compiled),
    "ONNX Runtime, float32": ("onnxruntime", Ways.onnx),
    "ONNX Runtime, int8, dynamic": ("onnxruntime", lambda ways: ways.quantized("dynamic", "onnx")),
    "ONNX Runtime, int8, static": ("onnxruntime", lambda ways: ways.quantized("static", "onnx")),
    "OpenVINO, float32": ("openvino", Ways.openvino),
    "OpenVINO, bfloat16": ("openvino", Ways.openvino_bfloat16),
    "OpenVINO, int8, static": ("openvino", lambda ways: ways.quantized("static", "openvino")),
}
"""The package that runs each of them, and how the model is made."""

PLACES = ("char_start_index", "char_end_index", "word_start_index", "word_end_index", "label")
"""What must be equal of two entities."""


def spans(found: list[list[dict[str, Any]]]) -> list[set[tuple[Any, ...]]]:
    """The entities of each text, without scores."""
    return [{tuple(entity.get(name) for name in PLACES) for entity in entities} for entities in found]


def measure(models: dict[str, SpanMarkerModel], data: Dataset, rounds: int) -> dict[str, dict[str, Any]]:
    """Predict everything with each model in turns, in batches and one by one, and compare with the first."""
    kind = "text" if "text" in data.column_names else "tokens"
    batches: dict[str, list[float]] = {name: [] for name in models}
    single: dict[str, list[float]] = {name: [] for name in models}
    found: dict[str, Any] = {}
    contents = list(data[kind])[:: max(1, len(data) // 60)]
    for _ in range(rounds):
        for name, model in models.items():
            started = time.perf_counter()
            found[name] = model.predict(data)
            batches[name].append(time.perf_counter() - started)
            for content in contents:  # one after another, since a model that waits for its turn loses its caches
                started = time.perf_counter()
                model.predict(content, is_split_into_words=kind == "tokens")
                single[name].append(time.perf_counter() - started)
    reports = {name: analyze_predictions(data, entities, num_resamples=1) for name, entities in found.items()}
    first, results = next(iter(models)), {}
    for name in models:
        f1 = compare_reports(reports[first], reports[name]).overall.f1
        pairs = zip(spans(found[first]), spans(found[name]), strict=True)
        results[name] = {
            "rate": len(data) / statistics.median(batches[name]),
            "milliseconds": 1000 * statistics.median(single[name]),
            "f1": f1.second,
            "difference": list(f1.difference[:3]),
            "equal": sum(one == other for one, other in pairs) / len(data),
        }
    return results


def main() -> None:
    """Train if need be, measure every format and write everything down."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, help="folder with train.txt, dev.txt and test.txt in CoNLL format")
    parser.add_argument("--encoder", help="name or path of a BERT encoder")
    parser.add_argument("--checkpoint", type=Path, required=True, help="the trained model; made if it is not there")
    parser.add_argument("--train-sentences", type=int, default=14_041)
    parser.add_argument("--test", type=Path, help="annotated data to measure on; test.txt by default")
    parser.add_argument("--calibration", type=Path, help="annotated data for static quantization; train.txt by default")
    parser.add_argument("--sentences", type=int, default=400, help="sentences of the test data, at even distances")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument(
        "--formats", nargs="+", default=[*FORMATS], choices=[*FORMATS], help="the first is the original"
    )
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--results", type=Path, default=HERE / "results" / "precision.json")
    options = parser.parse_args()
    if not (options.checkpoint / "config.json").exists():
        train(options.data, options.encoder, options.checkpoint, options.train_sentences)
    test: Any = read_annotations(options.test or options.data / "test.txt")
    test = test.select(range(0, len(test), max(len(test) // options.sentences, 1))).take(options.sentences)
    calibration: Any = read_annotations(options.calibration or options.data / "train.txt")
    texts = list(calibration["text" if "text" in calibration.column_names else "tokens"])[
        :: max(1, len(calibration) // 400)
    ]
    with tempfile.TemporaryDirectory() as scratch:
        ways = Ways(options.checkpoint, options.device, texts, Path(scratch))
        models = {}
        for name in options.formats:
            package, make = FORMATS[name]
            if importlib.util.find_spec(package) is None:
                print(f"{name}: {package} is not installed", flush=True)
                continue
            models[name] = make(ways)
            models[name].predict(list(texts)[:64], is_split_into_words=not isinstance(texts[0], str))  # warms up
            print(name, "is ready", flush=True)
        formats = measure(models, test, options.rounds)
    packages = {package for package, _ in FORMATS.values() if importlib.util.find_spec(package)} - {"torch"}
    description = machine(options.device) | {"threads": torch.get_num_threads()}
    description["versions"] |= {package: version(package) for package in sorted(packages)}
    encoder = models[options.formats[0]].config.encoder
    rates = {
        str(dtype).removeprefix("torch."): matrix_rate(
            dtype, encoder.hidden_size, encoder.intermediate_size, options.device
        )
        for dtype in (torch.float32, torch.bfloat16)
    }
    results = {"machine": description, "sentences": len(test), "formats": formats, "gflops": rates}
    options.results.parent.mkdir(parents=True, exist_ok=True)
    options.results.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    print(precision_table(results))


if __name__ == "__main__":
    main()
