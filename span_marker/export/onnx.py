"""Export models to ONNX, verified against the original before the export is kept."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from importlib.metadata import version
from typing import Any

import torch

from span_marker.checkpoints.errors import StrPath
from span_marker.checkpoints.exported import (
    ExportedEncoder,
    check_target,
    finish_export,
    outdated_by_weights,
    write_manifest,
)
from span_marker.core import folders
from span_marker.core.arrays import Precision
from span_marker.core.checks import check_texts
from span_marker.encoders.engines import FastEngine
from span_marker.encoders.graph_engine import Backend
from span_marker.export.tracing import write_graphs
from span_marker.export.verification import TOLERANCES, ExportReport, compare_models
from span_marker.graphs.files import FOLDER
from span_marker.graphs.runtimes import import_extra
from span_marker.modeling import SpanMarkerModel, without_adapter
from span_marker.preprocessing.processes import evaluating
from span_marker.rules.rules import RULES_FILE

PACKAGES: dict[Backend, tuple[str, ...]] = {
    "onnx": ("torch", "transformers", "onnx", "onnxscript", "onnxruntime"),
    "openvino": ("torch", "transformers", "onnx", "onnxscript", "openvino"),
}
"""Packages that an export needs, whose versions are recorded in it."""


def export_onnx(
    model: SpanMarkerModel, folder: StrPath, texts: Sequence[str] = (), dtype: Precision = "float32"
) -> ExportReport:
    """Export a model to ONNX, and compare it with the model in ONNX Runtime.

    The folder can be loaded like a checkpoint, ``SpanMarkerModel.from_pretrained(folder, backend="onnx")``, and
    published like one. It includes labels, thresholds, calibration, limits, word splitter, decoding, candidate filter
    and relations. The export is loaded again and compared with the model, with and without the filter. It is kept only
    if all entities and relations are equal, and no probability differs by more than
    `span_marker.export.verification.TOLERANCE`.

    In ``float16`` and ``bfloat16``, weights take half the disk space. ONNX Runtime converts them to float32 on loading,
    so speed and memory are unchanged. Such an export may differ as far as `span_marker.export.verification.TOLERANCES`
    allow.

    Args:
        model: A trained model in float32 on the CPU.
        folder: The folder to write, which must not hold weights for PyTorch.
        texts: Texts to compare the models on, in addition to some sentences in several languages.
        dtype: Number format of the weights: ``"float32"``, ``"float16"`` or ``"bfloat16"``.

    Returns:
        The comparison of the export with the model. It is also written to ``onnx/export.json``.

    Raises:
        ImportError: If ``onnx``, ``onnxscript`` or ``onnxruntime`` is not installed.
        TypeError: If ``model`` is not a `SpanMarkerModel`, or ``texts`` is not a list of strings.
        ValueError: If the model is not in float32 on the CPU, runs on the dense engine, is quantized, has custom code,
            or is itself an export; if ``dtype`` is unknown or ``folder`` holds weights; or if the export differs from
            the model.
    """
    return _export(model, folder, texts, dtype, "onnx")


def export_openvino(
    model: SpanMarkerModel, folder: StrPath, texts: Sequence[str] = (), dtype: Precision = "float32"
) -> ExportReport:
    """Export a model to ONNX, and compare it with the model in OpenVINO, which runs the same graphs.

    See `export_onnx`. With ``dtype="bfloat16"`` or ``"float16"``, OpenVINO also computes in this format on CPUs that
    support it (AVX512-BF16, AMX; AVX512-FP16), and otherwise in float32. ``from_pretrained(folder)`` chooses OpenVINO.

    Args:
        model: See `export_onnx`.
        folder: See `export_onnx`.
        texts: See `export_onnx`.
        dtype: Number format of the weights and, if the CPU supports it, of the computation.

    Returns:
        See `export_onnx`.

    Raises:
        ImportError: If ``onnx``, ``onnxscript`` or ``openvino`` is not installed.
        TypeError: See `export_onnx`.
        ValueError: See `export_onnx`.
    """
    return _export(model, folder, texts, dtype, "openvino")


def _export(
    model: SpanMarkerModel, folder: StrPath, texts: Sequence[str], dtype: Precision, backend: Backend
) -> ExportReport:
    """Export a model, and compare it in a runtime."""
    engine = _check_model(model)
    if dtype not in TOLERANCES:
        raise ValueError(f"dtype={dtype!r} must be one of {[*TOLERANCES]}")
    texts = check_texts(texts, "texts")
    check_target(folder)
    packages = PACKAGES[backend]
    for name in packages[2:]:
        import_extra(name)
    stale = (*outdated_by_weights(folder), RULES_FILE)
    with evaluating(model), torch.no_grad(), folders.replacing(folder, stale) as staging:
        (staging / FOLDER).mkdir()
        embeddings: Any = model.get_input_embeddings()
        marker_embeds = embeddings(model._marker_ids(model.device)).clone()
        reads_case = model.case_embedding is not None
        limit = model.max_text_length
        pairs = None if model.relation_head is None else model.relation_head.markers
        write_graphs(model.encoder, engine.family, limit, reads_case, marker_embeds, staging / FOLDER, dtype, pairs)
        versions = {"python": platform.python_version()} | {name: version(name) for name in packages}
        manifest = {"max_distance": limit, "dtype": dtype, "backend": backend, "versions": versions}
        finish_export(model, staging, marker_embeds, manifest)
        model.require_tokenizer().save_pretrained(staging)
        if model.rules is not None:
            model.rules.save(staging / RULES_FILE)
        model.write_card(staging)
        exported = SpanMarkerModel.from_pretrained(staging, backend=backend, word_splitter=model.config.word_splitter)
        report = compare_models(model, exported, texts)
        if dtype != "float32":
            exported.note_change("Weights", _describe(report))
            exported.write_card(staging)
        write_manifest(staging, {**_manifest(exported), "comparison": report.to_dict()})
    return report


def _check_model(model: SpanMarkerModel) -> FastEngine:
    """Refuse a model that cannot be exported; otherwise return its engine."""
    if not isinstance(model, SpanMarkerModel):
        without_adapter(model)  # raises what it is, unless it is an adapter
        raise TypeError("model has a PEFT adapter: export the result of model.merge_and_unload()")
    if model.backend != "torch":
        raise ValueError(f"the model runs on backend={model.backend!r}, so it is exported already: copy its folder")
    if not isinstance(model.engine, FastEngine):
        raise ValueError(
            f"an encoder of type {model.config.encoder.model_type!r} on the dense engine cannot be exported: load the "
            "model with engine='auto', if the encoder supports the fast engine"
        )
    if type(model.encoder).__module__.startswith("transformers_modules."):  # private: where such code is imported to
        raise ValueError("an encoder with code of its own cannot be exported, since graphs must not need any code")
    kinds = {(parameter.device.type, parameter.dtype) for parameter in model.parameters()}
    if kinds != {("cpu", torch.float32)}:
        raise ValueError(
            "the model must be in float32 on the CPU, and not quantized, but it has weights in "
            f"{sorted(f'{dtype} on {device}' for device, dtype in kinds)}: load it with dtype='float32'"
        )
    return model.engine


def _describe(report: ExportReport) -> str:
    """State in the card what another number format changes."""
    return (
        f"Exported in {report.dtype}. On {report.num_texts:,} texts with {report.num_entities:,} entities, "
        f"probabilities differ by {report.mean_difference:.1e} on average, and {report.num_changed:,} entities changed."
    )


def _manifest(exported: SpanMarkerModel) -> dict[str, Any]:
    assert isinstance(exported.encoder, ExportedEncoder)
    return exported.encoder.manifest
