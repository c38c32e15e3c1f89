"""Exported models with 8-bit weights: what is quantized, what is not, and what the report says."""

import json
import re
from contextlib import nullcontext
from types import SimpleNamespace

import pytest
import torch
from test_onnx import related as related
from test_onnx import traced_once, tracing_nothing
from tiny import SENTENCES, TAGS, TEXT, build_model

import span_marker.export.static_quantization
from span_marker import SpanMarkerModel, analyze_errors, compare_reports
from span_marker.core.cpu import Cpu
from span_marker.export import QuantizationReport, export_onnx, quantization, quantize
from span_marker.graphs.files import ENCODER, FOLDER, HEADS, MANIFEST, MARKER_GRAPH, PAIR_GRAPH, TEXT_GRAPH
from span_marker.rules import Rules
from span_marker.rules.rules import RULES_FILE

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")

ROWS = [{"tokens": words, "ner_tags": tags} for words, tags in zip(SENTENCES, TAGS, strict=True)]

ROUND = span_marker.export.static_quantization.round_weight

TEXTS = [line for line in TEXT.splitlines() if line] + ["Paris", ""]


def too_large(weight, axis):
    """Stand in for the rounding of weights: nothing is as it was."""
    steps, scales = ROUND(weight, axis)
    return steps, 3 * scales


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    folder = tmp_path_factory.mktemp("original")
    with tracing_nothing(traced_once(tmp_path_factory)):
        export_onnx(build_model("bert", reads_tokens=True, letter_case=True), folder)
    return folder


@pytest.fixture(scope="module")
def quantized(original, tmp_path_factory):
    folder = tmp_path_factory.mktemp("quantized")
    Rules([]).save(folder / RULES_FILE)  # those of a model that was there before
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
    assert not (folder / RULES_FILE).exists()


def by_spaces(text):
    """A word splitter of a caller."""
    return [match.span() for match in re.finditer(r"\S+", text)]


def test_a_model_with_a_word_splitter_of_the_caller_is_quantized(original, tmp_path):
    exported = SpanMarkerModel.from_pretrained(original, word_splitter=by_spaces)
    exported.save_pretrained(tmp_path / "own")
    with pytest.raises(
        ValueError, match=r"with a custom function, word_splitter='.*:by_spaces', which is only run if you pass"
    ):
        quantize(tmp_path / "own", tmp_path / "small", TEXTS)
    report = quantize(tmp_path / "own", tmp_path / "small", TEXTS, word_splitter=by_spaces)
    assert report.num_kept > 0
    small = SpanMarkerModel.from_pretrained(tmp_path / "small", word_splitter=by_spaces)
    assert small.predict("Paris, France", return_coverage=True)[1].num_words == 2


def test_the_card_says_what_8_bits_change(quantized):
    folder, report = quantized
    line = (
        f"- **Weights:** Quantized to 8 bits (dynamic). Of {report.num_texts} texts, {report.num_equal} have the same"
    )
    assert line in (folder / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("mode", ["dynamic", "static"])
def test_relations_are_quantized_and_counted(related, tmp_path, mode):
    _, folder, _ = related
    calibration = None if mode == "dynamic" else [" ".join(words) for words in SENTENCES]
    report = quantize(folder, tmp_path, TEXTS, mode=mode, calibration=calibration)
    first, second = (SpanMarkerModel.from_pretrained(place) for place in (folder, tmp_path))
    found = [
        [len(row["relations"]) for row in model.predict(TEXTS, is_split_into_words=False)] for model in (first, second)
    ]
    assert report.num_relations == sum(found[0])
    assert report.num_kept_relations + report.num_new_relations == sum(found[1])
    assert report.num_kept_relations > 0
    assert "relations of the original that are found" in str(report)
    types = {node.op_type for node in onnx.load(tmp_path / FOLDER / PAIR_GRAPH).graph.node}
    assert ("MatMulInteger" if mode == "dynamic" else "DequantizeLinear") in types
    assert (tmp_path / FOLDER / ENCODER).stat().st_size < 0.7 * (folder / FOLDER / ENCODER).stat().st_size


def test_ranges_of_pairs_are_measured(related, tmp_path):
    with pytest.raises(ValueError, match="no text of calibration= has two predicted entities"):
        quantize(related[1], tmp_path, TEXTS, mode="static", calibration=["Paris"])


@pytest.fixture(scope="module")
def static(original, tmp_path_factory):
    """All layers are rounded, however many entities it changes."""
    folder = tmp_path_factory.mktemp("static")
    calibration = [{"tokens": words} for words in SENTENCES[:3] * 2]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(quantization, "FLOAT_SHARES", (0,))
        return folder, quantize(original, folder, ROWS, mode="static", calibration=calibration)


def scores_of(entities):
    return {(e["char_start_index"], e["char_end_index"], e["label"]): e["score"] for e in entities}


def test_with_static_ranges_a_sentence_has_the_same_scores_in_every_batch(static, quantized):
    """With those of each batch, it has not."""
    differences = []
    for folder in (static[0], quantized[0]):
        model = SpanMarkerModel.from_pretrained(folder)
        alone = [model.predict(text, is_split_into_words=False) for text in TEXTS]
        together = model.predict(TEXTS, is_split_into_words=False)
        scores = [[scores_of(entities) for entities in rows] for rows in (alone, together)]
        if folder == static[0]:
            assert [of.keys() for of in scores[0]] == [of.keys() for of in scores[1]]
        pairs = [(a[key], b[key]) for a, b in zip(*scores, strict=True) for key in a.keys() & b.keys()]
        differences.append(max(abs(first - second) for first, second in pairs))
    assert differences[0] < 1e-4 < differences[1]


def test_static_graphs_round_inputs_and_weights_of_linear_layers(original, static):
    folder, report = static
    for name in (TEXT_GRAPH, MARKER_GRAPH):
        before, after = (onnx.load(place / FOLDER / name) for place in (original, folder))
        constants = {tensor.name for tensor in before.graph.initializer}
        layers = [node for node in before.graph.node if node.op_type == "MatMul" and node.input[1] in constants]
        weights = [tensor for tensor in after.graph.initializer if tensor.data_type == onnx.TensorProto.INT8]
        assert report.num_layers[1] == 0
        assert len(weights) == len(layers) > 10
        assert max(abs(onnx.numpy_helper.to_array(tensor)).max() for tensor in weights) == 63
    assert (folder / FOLDER / ENCODER).stat().st_size < 0.6 * (original / FOLDER / ENCODER).stat().st_size
    manifest = json.loads((folder / FOLDER / MANIFEST).read_text(encoding="utf-8"))
    assert manifest["quantized"] == "static, int8"
    assert manifest["agreement"] == report.to_dict()


def test_with_annotated_rows_the_report_has_f1_before_and_after(original, static):
    folder, report = static
    models = [SpanMarkerModel.from_pretrained(place) for place in (original, folder)]
    expected = compare_reports(*(analyze_errors(model, ROWS) for model in models))
    assert report.comparison.overall.f1 == expected.overall.f1
    assert report.comparison.num_sentences == report.num_texts == len(ROWS)
    assert f"{expected.overall.f1.first:.4f} -> {expected.overall.f1.second:.4f}" in str(report)
    assert "95% interval" in str(report)


def test_a_model_that_loses_too_much_is_not_kept(original, tmp_path, monkeypatch):
    expected = SpanMarkerModel.from_pretrained(original).predict([row["tokens"] for row in ROWS])
    names = ("label", "word_start_index", "word_end_index")
    gold = [[dict(zip(("label", "start", "end"), (e[n] for n in names), strict=True)) for e in row] for row in expected]
    rows = [{"tokens": row["tokens"], "entities": entities} for row, entities in zip(ROWS, gold, strict=True)]
    monkeypatch.setattr(span_marker.export.static_quantization, "round_weight", too_large)
    arguments = {"mode": "static", "calibration": TEXTS}
    message = r"(?s)F1 on the 5 annotated rows changes from 1.0000 -> 0.\d+ .*% interval .* more than max_loss=0.05"
    with pytest.raises(ValueError, match=message):
        quantize(original, tmp_path / "new", rows, max_loss=0.05, **arguments)
    assert list((tmp_path / "new").iterdir()) == []
    assert quantize(original, tmp_path / "new", rows, max_loss=1, **arguments).comparison.overall.f1.second < 0.95


@pytest.mark.parametrize("mode", ["static", "dynamic"])
def test_layers_stay_in_float_until_the_entities_agree(original, tmp_path, monkeypatch, mode):
    monkeypatch.setattr(quantization, "FLOAT_SHARES", (0, 1))
    monkeypatch.setattr(quantization, "GOAL", 1.0)
    if mode == "static":
        with monkeypatch.context() as broken:
            broken.setattr(span_marker.export.static_quantization, "round_weight", too_large)
            report = quantize(original, tmp_path / "best", TEXTS, mode=mode, calibration=TEXTS)
        assert report.num_layers[1] == report.num_layers[0]
    monkeypatch.setattr(quantization, "FLOAT_SHARES", (1,))
    report = quantize(original, tmp_path / "float", TEXTS, mode=mode, calibration=TEXTS)
    assert report.num_layers[0] == report.num_layers[1] > 10
    assert report.num_equal == len(TEXTS)
    assert report.max_difference < 1e-4
    monkeypatch.setattr(quantization, "FLOAT_SHARES", (0, 1))
    monkeypatch.setattr(quantization, "GOAL", 0)  # within reach at once
    report = quantize(original, tmp_path / "none", TEXTS, mode=mode, calibration=TEXTS)
    assert report.num_layers[1] == 0


def test_at_most_a_quarter_of_the_layers_stays_in_float(monkeypatch):
    numbers = []

    def written(layers, in_float):
        numbers.append(len(in_float))
        return nullcontext()

    monkeypatch.setattr(quantization, "_written", written)
    monkeypatch.setattr(quantization, "running", lambda *_: nullcontext())
    layers = SimpleNamespace(by_error=lambda: list("abcdef"))
    never_equal = SimpleNamespace(predict=lambda _: None, scores=lambda _: [quantization.Scores({"entity": 1.0}, {})])
    quantization._choose_float(None, layers, never_equal, [quantization.Scores({}, {})])
    assert len(numbers) == len(quantization.FLOAT_SHARES)
    assert 0 < max(numbers) <= 6 / 4


@pytest.mark.parametrize(
    ("flags", "dtype"),
    [({"avx512_bf16"}, "bfloat16"), ({"amx_bf16"}, "bfloat16"), ({"avx512f"}, "float32"), ({"bf16"}, "float32")],
)
def test_the_fastest_number_format_is_one_that_the_cpu_has(tmp_path, monkeypatch, flags, dtype):
    cpu = Cpu.from_flags("x86_64", flags, 1)
    monkeypatch.setattr(Cpu, "of_this_machine", lambda: cpu)
    build_model().save_pretrained(tmp_path)
    model = SpanMarkerModel.from_pretrained(tmp_path, dtype="fastest")
    assert {parameter.dtype for parameter in model.parameters()} == {getattr(torch, dtype)}
    assert SpanMarkerModel.from_pretrained(tmp_path, dtype="auto").dtype == torch.float32  # that of the checkpoint
    assert SpanMarkerModel.from_pretrained(tmp_path, dtype=torch.float16).dtype == torch.float16
    for device_map in ("cpu", torch.device("cpu"), {"": "cpu"}):
        placed = SpanMarkerModel.from_pretrained(tmp_path, dtype="fastest", device_map=device_map)
        assert placed.dtype == model.dtype
    for device_map in ("cuda", 0, "auto", {"encoder": "cpu", "classifier": 0}):
        with pytest.raises(ValueError, match="dtype='fastest' is for the CPU, but device_map="):
            SpanMarkerModel.from_pretrained(tmp_path, dtype="fastest", device_map=device_map)
    loaded = build_model()
    loaded.encoder.save_pretrained(tmp_path / "encoder")
    loaded.tokenizer.save_pretrained(tmp_path / "encoder")
    with pytest.raises(ValueError, match="dtype='fastest' chooses a number format for prediction, not for a new"):
        SpanMarkerModel.from_pretrained(tmp_path / "encoder", labels=["O", "PER"], dtype="fastest")


def test_a_report_is_a_table():
    text = str(QuantizationReport(100, 97, 50, 49, 1, 0.0421, (90_300_000, 57_000_000), "static", (36, 2)))
    assert "97 of 100" in text
    assert "90.3 -> 57.0" in text
    assert "(static)" in text
    assert "2 of 36" in text
    assert "F1" not in text


def test_wrong_arguments(original, quantized, tmp_path):
    with pytest.raises(ValueError, match="data is empty: pass a few hundred"):
        quantize(original, tmp_path, [])
    with pytest.raises(ValueError, match="must not be the folder of the original"):
        quantize(original, original, TEXTS)
    with pytest.raises(ValueError, match="is quantized already"):
        quantize(quantized[0], tmp_path, TEXTS)
    with pytest.raises(ValueError, match="mode='int4' must be 'dynamic' or 'static'"):
        quantize(original, tmp_path, TEXTS, mode="int4")
    with pytest.raises(ValueError, match="mode='static' needs calibration="):
        quantize(original, tmp_path, TEXTS, mode="static")
    with pytest.raises(ValueError, match="max_loss=0.1 needs annotated data"):
        quantize(original, tmp_path, TEXTS, max_loss=0.1)
    with pytest.raises(ValueError, match="max_loss=0.1 needs data with entities to measure F1 on, but no row has any"):
        quantize(original, tmp_path, [{"text": "Paris is big.", "entities": []}], max_loss=0.1)
    with pytest.raises(ValueError, match="no text of calibration= has a word"):
        quantize(original, tmp_path, TEXTS, mode="static", calibration=["", " "])
    with pytest.raises(ValueError, match="max_loss=-1 must be from 0 to 1"):
        quantize(original, tmp_path, ROWS, max_loss=-1)
    with pytest.raises(TypeError, match="calibration must be a list of texts or rows, not a single text"):
        quantize(original, tmp_path, TEXTS, mode="static", calibration="Paris")
    for data, name in ((iter(TEXTS), "list_iterator"), ({"train": TEXTS}, "dict"), (None, "NoneType")):
        with pytest.raises(TypeError, match=f"data must be a list of texts or rows, not {name}"):
            quantize(original, tmp_path, data)
    checkpoint = tmp_path / "checkpoint"
    build_model().save_pretrained(checkpoint)
    with pytest.raises(ValueError, match="holds a checkpoint with weights"):
        quantize(original, checkpoint, TEXTS)
    with pytest.raises(FileNotFoundError, match="has no exported graphs"):
        quantize(checkpoint, tmp_path / "new", TEXTS)
