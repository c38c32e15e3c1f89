"""Exported models with 8-bit weights: smaller, faster on some machines, and not the same."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from span_marker.checkpoints import atomic
from span_marker.checkpoints.errors import StrPath
from span_marker.checkpoints.exported import ExportedEncoder, check_target, finish_export, write_manifest
from span_marker.core.tables import TextReport, text_table
from span_marker.encoders.graph_engine import GraphEngine
from span_marker.export.tracing import quiet, write_shared
from span_marker.graphs.files import ENCODER, FOLDER, MARKER_GRAPH, TEXT_GRAPH
from span_marker.graphs.runtimes import import_extra
from span_marker.modeling import SpanMarkerModel
from span_marker.rules.rules import RULES_FILE

GRAPHS = (TEXT_GRAPH, MARKER_GRAPH)


@dataclass(frozen=True)
class QuantizationReport(TextReport):
    """How often a quantized model finds what the original does. As a string, a table.

    Attributes:
        num_texts: Number of texts that were compared.
        num_equal: Number of texts with the same entities.
        num_entities: Number of entities that the original finds.
        num_kept: Number of these that the quantized model finds, too.
        num_new: Number of entities that only the quantized model finds.
        max_difference: The largest difference between the scores of an entity that both find.
        num_bytes: Size of the graphs and their weights, of the original and of the quantized model.
    """

    num_texts: int
    num_equal: int
    num_entities: int
    num_kept: int
    num_new: int
    max_difference: float
    num_bytes: tuple[int, int]

    def __str__(self) -> str:
        before, after = (f"{size / 1e6:,.1f}" for size in self.num_bytes)
        rows = [
            ("texts with the same entities", f"{self.num_equal:,} of {self.num_texts:,}"),
            ("entities of the original that are found", f"{self.num_kept:,} of {self.num_entities:,}"),
            ("entities that the original does not find", f"{self.num_new:,}"),
            ("largest difference between scores", f"{self.max_difference:.3f}"),
            ("megabytes", f"{before} -> {after}"),
        ]
        return text_table(rows)


def quantize(folder: StrPath, target: StrPath, texts: Sequence[str], batch_size: int = 32) -> QuantizationReport:
    """Quantize the linear layers of an exported model to 8 bits, and measure what that changes.

    Weights are rounded per output channel, to 7 bits and a sign, so that sums do not overflow on machines without VNNI.
    Activations are rounded as they come, by the range that they have in a batch: unlike those of other models, the
    scores of a sentence depend a little on the sentences beside it. Embeddings, attention, the candidate filter and
    the classifier stay in float32.

    Args:
        folder: An exported model, see `export_onnx`.
        target: The folder to write, which must not hold weights for PyTorch.
        texts: Texts to compare the two models on, similar to those to predict.
        batch_size: The largest number of texts in a batch.

    Returns:
        What the quantized model finds, compared with the original. It is also written to ``onnx/export.json``.

    Raises:
        FileNotFoundError: If ``folder`` has no graphs.
        ImportError: If ``onnx`` or ``onnxruntime`` is not installed.
        ValueError: If there are no texts, the model is quantized already, ``target`` is ``folder`` or holds weights.
    """
    if not texts:
        raise ValueError("texts is empty: pass some hundred that are similar to those to predict")
    if Path(folder).resolve() == Path(target).resolve():
        raise ValueError(f"target={str(target)!r} must be another folder than that of the original")
    check_target(target)
    original = SpanMarkerModel.from_pretrained(folder, backend="onnx")
    encoder, engine = original.encoder, original.engine
    assert isinstance(encoder, ExportedEncoder)
    assert isinstance(engine, GraphEngine)
    if "quantized" in encoder.manifest:
        raise ValueError(f"{str(folder)!r} is quantized already")
    with atomic.replacing(target) as staging:
        (staging / FOLDER).mkdir()
        _write_quantized(encoder, staging / FOLDER)
        manifest = {name: value for name, value in encoder.manifest.items() if name != "comparison"}
        finish_export(original, staging, engine.marker_embeds, {**manifest, "quantized": "dynamic, int8"})
        original.require_tokenizer().save_pretrained(staging)
        if original.rules is not None:
            original.rules.save(staging / RULES_FILE)
        original.write_card(staging)
        quantized = SpanMarkerModel.from_pretrained(
            staging, backend="onnx", word_splitter=original.config.word_splitter
        )
        report = _compare(original, quantized, list(texts), batch_size)
        assert isinstance(quantized.encoder, ExportedEncoder)
        write_manifest(staging, {**quantized.encoder.manifest, "agreement": report.to_dict()})
    return report


def _write_quantized(encoder: ExportedEncoder, target: Path) -> None:
    """Quantize both graphs, and store the weights that they share once."""
    quantization: Any = import_extra("onnxruntime.quantization")
    onnx_ir: Any = import_extra("onnx_ir")
    graphs = {}
    with tempfile.TemporaryDirectory() as scratch:
        for name in GRAPHS:
            with quiet():
                quantization.quantize_dynamic(
                    encoder.files[name],
                    Path(scratch, name),
                    op_types_to_quantize=["MatMul", "Gemm"],
                    per_channel=True,
                    reduce_range=True,
                    weight_type=quantization.QuantType.QInt8,
                    use_external_data_format=True,
                )
            graphs[name] = onnx_ir.external_data.load_to_model(onnx_ir.load(Path(scratch, name)))
        write_shared(graphs, target)


def _compare(
    original: SpanMarkerModel, quantized: SpanMarkerModel, texts: list[str], batch_size: int
) -> QuantizationReport:
    expected, found = ([_scores(row) for row in _predict(model, texts, batch_size)] for model in (original, quantized))
    pairs = list(zip(expected, found, strict=True))
    both = [(first[key], second[key]) for first, second in pairs for key in first.keys() & second.keys()]
    return QuantizationReport(
        num_texts=len(texts),
        num_equal=sum(first.keys() == second.keys() for first, second in pairs),
        num_entities=sum(map(len, expected)),
        num_kept=len(both),
        num_new=sum(len(second.keys() - first.keys()) for first, second in pairs),
        max_difference=max((abs(first - second) for first, second in both), default=0.0),
        num_bytes=(_num_bytes(original), _num_bytes(quantized)),
    )


def _predict(model: SpanMarkerModel, texts: list[str], batch_size: int) -> list[list[Any]]:
    found: Any = model.predict(texts, batch_size=batch_size, is_split_into_words=False, relations=False)
    return found


def _scores(entities: list[Any]) -> dict[tuple[int, int, str], float]:
    return {(row["char_start_index"], row["char_end_index"], row["label"]): row["score"] for row in entities}


def _num_bytes(model: SpanMarkerModel) -> int:
    assert isinstance(model.encoder, ExportedEncoder)
    return sum(model.encoder.files[name].stat().st_size for name in (*GRAPHS, ENCODER))
