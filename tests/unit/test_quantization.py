"""Exported models with 8-bit weights: what is quantized, what is not, and what the report says."""

import json

import pytest
from tiny import TEXT, build_model

from span_marker import SpanMarkerModel
from span_marker.export import QuantizationReport, export_onnx, quantize
from span_marker.graphs.files import ENCODER, FOLDER, HEADS, MANIFEST, MARKER_GRAPH, TEXT_GRAPH

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")

TEXTS = [line for line in TEXT.splitlines() if line] + ["Paris", ""]


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    folder = tmp_path_factory.mktemp("original")
    export_onnx(build_model("bert", reads_tokens=True), folder)
    return folder


@pytest.fixture(scope="module")
def quantized(original, tmp_path_factory):
    folder = tmp_path_factory.mktemp("quantized")
    return folder, quantize(original, folder, TEXTS)


def test_linear_layers_are_quantized_and_nothing_else(original, quantized):
    folder, _ = quantized
    for name in (TEXT_GRAPH, MARKER_GRAPH):
        before, after = (onnx.load(place / FOLDER / name) for place in (original, folder))
        constants = {tensor.name for tensor in before.graph.initializer}
        layers = [node for node in before.graph.node if node.op_type == "MatMul" and node.input[1] in constants]
        integer = [node for node in after.graph.node if node.op_type == "MatMulInteger"]
        assert len(layers) == len(integer) > 10
        weights = [tensor for tensor in after.graph.initializer if tensor.data_type == onnx.TensorProto.INT8]
        assert {onnx.numpy_helper.to_array(tensor).min() >= -64 for tensor in weights} == {True}  # 7 bits and a sign
        scales = [tensor for tensor in after.graph.initializer if tensor.name.endswith("_scale")]
        assert max(scale.dims[0] for scale in scales if scale.dims) >= 32  # one per channel
    assert (folder / FOLDER / HEADS).read_bytes() == (original / FOLDER / HEADS).read_bytes()
    assert (folder / FOLDER / ENCODER).stat().st_size < 0.6 * (original / FOLDER / ENCODER).stat().st_size


def test_the_report_says_what_changed(original, quantized):
    folder, report = quantized
    first, second = (SpanMarkerModel.from_pretrained(place) for place in (original, folder))
    expected, found = (model.predict(TEXTS, is_split_into_words=False) for model in (first, second))
    keys = ("char_start_index", "char_end_index", "label")
    rows = [
        tuple({tuple(entity[key] for key in keys) for entity in entities} for entities in pair)
        for pair in zip(expected, found, strict=True)
    ]
    assert report.num_texts == len(TEXTS)
    assert report.num_equal == sum(one == other for one, other in rows)
    assert report.num_entities == sum(len(one) for one, _ in rows) > 0
    assert report.num_kept == sum(len(one & other) for one, other in rows) > 0
    assert report.num_new == sum(len(other - one) for one, other in rows)
    assert 0 < report.max_difference < 0.5
    assert report.num_bytes[1] < report.num_bytes[0]
    manifest = json.loads((folder / FOLDER / MANIFEST).read_text(encoding="utf-8"))
    assert manifest["agreement"] == report.to_dict()
    assert "comparison" not in manifest


def test_a_report_is_a_table():
    text = str(QuantizationReport(100, 97, 50, 49, 1, 0.0421, (90_300_000, 57_000_000)))
    assert "97 of 100" in text
    assert "90.3 -> 57.0" in text


def test_wrong_arguments(original, quantized, tmp_path):
    with pytest.raises(ValueError, match="texts is empty: pass some hundred"):
        quantize(original, tmp_path, [])
    with pytest.raises(ValueError, match="must be another folder than that of the original"):
        quantize(original, original, TEXTS)
    with pytest.raises(ValueError, match="is quantized already"):
        quantize(quantized[0], tmp_path, TEXTS)
    checkpoint = tmp_path / "checkpoint"
    build_model().save_pretrained(checkpoint)
    with pytest.raises(ValueError, match="holds a checkpoint with weights"):
        quantize(original, checkpoint, TEXTS)
    with pytest.raises(FileNotFoundError, match="has no exported graphs"):
        quantize(checkpoint, tmp_path / "new", TEXTS)
