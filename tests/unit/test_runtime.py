"""Without PyTorch, an exported model finds what it finds with it, in every way of using a model."""

import contextlib
import copy
import json
import os
import pickle
import re
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch
from datasets import Dataset
from hub_server import HubServer
from test_onnx import assert_same, build, traced_once, tracing_nothing
from tiny import SENTENCES, TEXT, build_model

from span_marker import SpanMarkerModel
from span_marker.compression import shrink
from span_marker.export import export_onnx
from span_marker.export.verification import TOLERANCE
from span_marker.graphs import runtimes
from span_marker.graphs.files import FOLDER, HEADS, MANIFEST
from span_marker.graphs.heads import PAIR_FILTER, Heads, layer_norm
from span_marker.heads import PairFilter, SpanClassifier
from span_marker.rules import RegexRule, Rules
from span_marker.runtime import ExportedModel, ExportedSettings

pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")

ROOT = Path(__file__).parents[2]

BLOCKED = ("torch", "transformers", "datasets", "accelerate", "pandas", "jinja2", "onnx", "wrapt", "yaml", "spacy")

TEXTS = [" ".join(words) for words in SENTENCES] + TEXT.strip().splitlines()

LONG = " ".join(TEXTS * 6)

SPLIT = [(0, 44), (45, 117)]
"""The sentences of the first line of `TEXT`."""


@pytest.fixture(scope="module")
def full(tmp_path_factory):
    """Everything that a model may have: filter, token states, letter case, calibration, thresholds, rules."""
    model = build("bert")
    model.config.thresholds, model.config.calibration_temperature = {"LOC": 0.2}, 1.3
    model.rules = Rules([RegexRule("YEAR", r"\b\d{4}\b")])
    folder = tmp_path_factory.mktemp("full")
    with tracing_nothing(traced_once(tmp_path_factory)):
        export_onnx(model, folder)
    return folder


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    """The least that a model may have, with a tokenizer that splits otherwise."""
    folder = tmp_path_factory.mktemp("plain")
    export_onnx(shrink(build_model("roberta"), 2), folder)
    return folder


@pytest.fixture(scope="module")
def multi(plain, tmp_path_factory):
    """Several labels for a span; the graphs are those of `plain`."""
    folder = tmp_path_factory.mktemp("multi")
    model = SpanMarkerModel.from_pretrained(plain)
    model.config.multi_label = True
    model.save_pretrained(folder)
    return folder


@cache
def load(folder):
    """The same exported model, without and with PyTorch. Graphs are checked when they are loaded, which takes long."""
    return ExportedModel.from_pretrained(folder), SpanMarkerModel.from_pretrained(folder, backend="onnx")


@pytest.fixture(params=["full", "plain", "multi"])
def pair(request):
    """See `load`; change settings with `both`."""
    return load(request.getfixturevalue(request.param))


@pytest.fixture
def both(pair, monkeypatch):
    """A function that changes settings of both models for a test."""

    def change(**settings):
        for model in pair:
            for name, value in settings.items():
                monkeypatch.setattr(model.config, name, value)

    return change


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"exact": True},
        {"batch_size": 1},
        {"threshold": 0.3},
        {"threshold": {"PER": 0.05}},
        {"decoding": "nested", "threshold": 0.05},
        {"decoding": "flat-optimal"},
        {"decoding": "overlapping", "offsets": "utf-8"},
    ],
    ids=str,
)
def test_entities_are_the_same(pair, options):
    runtime, model = pair
    for inputs in (TEXTS, SENTENCES):
        expected = model.predict(inputs, **options)
        assert sum(map(len, expected)) > 5
        assert_same(runtime.predict(inputs, **options), expected)
    assert_same([runtime.predict(TEXTS[0], **options)], [model.predict(TEXTS[0], **options)])


@pytest.mark.parametrize(("named", "quota", "expected"), [("3", 2, 3), ("", 2, 2), ("", 16, 4), ("", None, 0)])
def test_threads_are_those_that_the_container_has(plain, monkeypatch, named, quota, expected):
    monkeypatch.setenv("OMP_NUM_THREADS", named)
    monkeypatch.delitem(sys.modules, "torch")
    monkeypatch.setattr(runtimes, "quota_cpus", lambda: quota)
    monkeypatch.setattr(runtimes, "available_cpus", lambda: min(quota, 4))
    assert ExportedModel.from_pretrained(plain).runner.text_graph._num_threads == expected


@pytest.mark.parametrize(
    ("policy", "quota", "expected"),
    [("passive", None, True), ("PASSIVE", None, True), ("active", 2, False), ("", 2, True), ("", None, False)],
)
def test_threads_sleep_where_cores_are_shared(plain, monkeypatch, policy, quota, expected):
    monkeypatch.setenv("OMP_WAIT_POLICY", policy)
    monkeypatch.setattr(runtimes, "quota_cpus", lambda: quota)
    assert runtimes.waits_passively() == expected
    options = ExportedModel.from_pretrained(plain).runner.text_graph._session.get_session_options()
    with contextlib.nullcontext() if expected else pytest.raises(RuntimeError, match="does not have configuration"):
        assert options.get_session_config_entry("session.intra_op.allow_spinning") == "0"


def test_labels_by_probability(pair):
    found, expected = (model.predict(SENTENCES, top_k=3) for model in pair)
    for first, second in zip(found, expected, strict=True):
        for left, right in zip(first, second, strict=True):
            pairs = [entity.get("labels", []) for entity in (left, right)]  # a rule has none
            assert [pair["label"] for pair in pairs[0]] == [pair["label"] for pair in pairs[1]]
            scores = [[pair["score"] for pair in each] for each in pairs]
            assert scores[0] == pytest.approx(scores[1], abs=TOLERANCE)


def test_rules_go_with_the_model(full):
    for model in (ExportedModel.from_pretrained(full), SpanMarkerModel.from_pretrained(full)):
        found = model.predict("Florence, Italy, around 1503.")
        assert [entity["span"] for entity in found if entity.get("origin", {}).get("kind") == "rule"] == ["1503"]
        model.rules = None
        assert all("origin" not in entity for entity in model.predict("Florence, Italy, around 1503."))


def test_windows(pair):
    (found, read), (expected, coverage) = (model.predict([LONG], return_coverage=True) for model in pair)
    assert coverage[0].num_windows > 1
    assert read == coverage
    assert_same(found, expected)


@pytest.mark.parametrize("settings", [{}, {"max_prev_context": 1}, {"max_next_context": 0}], ids=str)
def test_document_context(pair, both, settings):
    document = TEXT.strip().splitlines()[0]

    def split(text):
        return [(start, min(end, len(text))) for start, end in SPLIT] if text == document else [(0, len(text))]

    (without,) = pair[0].predict([document], split_sentences=split)
    both(trained_with_document_context=True, **settings)
    runtime, model = pair
    found, expected = (model.predict([document, TEXTS[3]], split_sentences=split) for model in (runtime, model))
    assert_same(found, expected)
    assert found[0] != without
    rows = Dataset.from_dict({"tokens": SENTENCES, "document_id": [0, 1, 1, 1, 1], "sentence_id": [0, 3, 2, 1, 0]})
    assert_same(*(model.predict(rows) for model in (runtime, model)))


@pytest.mark.parametrize("splitter", ["unicode", "characters", lambda text: [(0, 3), (3, len(text))]])
def test_word_splitters(pair, both, splitter):
    both(word_splitter=splitter)
    runtime, model = pair
    assert_same(runtime.predict(TEXTS[5:]), model.predict(TEXTS[5:]))


def test_streams(pair):
    rows = [{"id": 1, "text": TEXTS[0]}, {"id": 2, "tokens": SENTENCES[2]}, {"id": 3, "text": LONG}]
    found, expected = (list(model.predict_stream(iter(rows))) for model in pair)
    assert [row["id"] for row in found] == [1, 2, 3]
    assert_same([row["entities"] for row in found], [row["entities"] for row in expected])


def test_tables(pair):
    table = pa.table({"id": range(len(TEXTS)), "text": TEXTS})
    found, expected = (model.predict_table(table, threshold=0.3) for model in pair)
    assert found.schema == expected.schema
    assert_same(found["entities"].to_pylist(), expected["entities"].to_pylist())


def test_explanations(pair):
    for span in ("Spain", "France and Spain"):
        found, expected = (model.explain(TEXTS[5], span) for model in pair)
        assert found.reason == expected.reason
        assert found.scores == pytest.approx(expected.scores, abs=TOLERANCE)
        assert found.filter_score == pytest.approx(expected.filter_score, abs=TOLERANCE)


def test_scores_and_what_the_filter_keeps(full):
    runtime, model = ExportedModel.from_pretrained(full), SpanMarkerModel.from_pretrained(full)
    pieces = runtime.preprocessor.pieces
    from span_marker.preprocessing.inputs import Sentences

    sentences = Sentences(SENTENCES, are_texts=False)
    features = [piece.features() for piece in pieces(sentences, runtime.preprocessor.encode(sentences))]
    batch = runtime.preprocessor.collator.collate(features)
    for exact in (False, True):
        (logits, kept), (expected, also_kept) = runtime.score(batch, exact), model.score(batch, exact)
        np.testing.assert_allclose(logits, expected.numpy(), atol=1e-3)
        assert (kept is None) == exact == (also_kept is None)
        assert exact or kept.tolist() == also_kept.tolist()
    np.testing.assert_allclose(runtime.filter_scores(batch), model.filter_scores(batch).numpy(), atol=1e-4)
    assert 0 < len(runtime.score(batch)[1]) < len(batch["span_words"])


def test_the_model_says_what_it_is(full):
    runtime, model = ExportedModel.from_pretrained(full), SpanMarkerModel.from_pretrained(full)
    for name in ("labels", "max_text_length", "candidates_kept", "backend"):
        assert getattr(runtime, name) == getattr(model, name)
    for name in ("thresholds", "calibration_temperature", "entity_max_length", "exact", "span_filter", "letter_case"):
        assert getattr(runtime.config, name) == getattr(model.config, name)


def test_a_copy_and_a_pickle_find_the_same(plain):
    runtime = ExportedModel.from_pretrained(plain, num_threads=1)
    for other in (copy.deepcopy(runtime), pickle.loads(pickle.dumps(runtime))):
        assert_same(other.predict(TEXTS), runtime.predict(TEXTS))
        assert other.runner.text_graph.num_threads == 1


CODE = """
import json, sys
from importlib.util import find_spec
sys.modules.update(dict.fromkeys({blocked}))  # importing them raises ModuleNotFoundError
from span_marker.runtime import ExportedModel
model = ExportedModel.from_pretrained(sys.argv[1])
texts = json.loads(sys.argv[2])
found = [model.predict(texts), list(model.predict_stream(texts)), [model.predict(["Paris", "is"])]]
model.explain("Paris", "Paris")
there = [name for name in ("torch", "transformers", "datasets") if sys.modules.get(name) or find_spec(name)]
print(json.dumps([found, there]))
"""


def run_alone(folder, python=sys.executable, blocked=(), name=None, environment=os.environ):
    """Compare what another process finds, in which these packages cannot be imported, or none is installed."""
    code = CODE.replace("{blocked}", repr(blocked))
    command = [python, "-W", "ignore", "-c", code, name or str(folder), json.dumps(TEXTS)]
    environment = {**environment, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    (texts, streamed, words), there = json.loads(done.stdout)
    assert there == []
    model = SpanMarkerModel.from_pretrained(folder)
    assert_same(texts, model.predict(TEXTS))
    assert_same(streamed, model.predict(TEXTS))
    assert_same(words, [model.predict(["Paris", "is"])])


@pytest.mark.parametrize("name", ["full", "plain"])
def test_nothing_heavy_is_needed(name, request):
    run_alone(request.getfixturevalue(name), blocked=BLOCKED)


def test_a_model_on_the_hub(plain, tmp_path):
    with HubServer(tokens={"hf_reader": "user"}) as hub:
        hub.add("user/exported", plain)
        environment = hub.environment(tmp_path, token="hf_reader")
        run_alone(plain, blocked=BLOCKED[:3], name="user/exported", environment=environment)
        downloaded = {path.name for path in tmp_path.rglob("snapshots/*/**/*") if path.is_file()}
    assert "encoder.bin" in downloaded
    assert "README.md" not in downloaded


@pytest.mark.slow
def test_what_the_page_says_to_install_is_enough(full, tmp_path):
    page = (ROOT / "docs" / "export.md").read_text(encoding="utf-8")
    (packages,) = re.findall(r"^pip install (numpy .*)$", page, flags=re.MULTILINE)
    subprocess.run([sys.executable, "-m", "venv", str(tmp_path)], check=True)
    python = str(tmp_path / "bin" / "python")
    install = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *packages.split()]
    done = subprocess.run(install, capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"no package registry: {done.stderr[-300:]}")
    run_alone(full, python)


def test_heads_compute_what_they_compute_in_torch():
    torch.manual_seed(0)
    states = 5 * torch.randn(20, 32) + 3
    expected = torch.nn.functional.layer_norm(states, (32,))
    np.testing.assert_allclose(layer_norm(states.numpy()), expected.numpy(), atol=1e-5)
    classifier, markers = SpanClassifier(8, 4, 32), torch.randn(6, 2, 8)
    torch.nn.init.normal_(classifier.bias)
    heads = Heads({f"classifier.{name}": tensor.detach().numpy() for name, tensor in classifier.named_parameters()})
    rows = torch.randint(20, (6, 2))
    features = torch.cat([markers.flatten(1), expected[rows].flatten(1)], dim=1)
    found = heads.classify(markers.numpy(), layer_norm(states.numpy()), rows.numpy())
    np.testing.assert_allclose(found, classifier(features).detach().numpy(), atol=1e-4)
    pair_filter, rows, distances = PairFilter(32), torch.randint(20, (6, 4)), torch.tensor([1, -1, 5, -40, 40, 999])
    torch.nn.init.normal_(pair_filter.distance.weight)
    heads = Heads({f"{PAIR_FILTER}.{name}": tensor.detach().numpy() for name, tensor in pair_filter.named_parameters()})
    found = heads.pair_scores(layer_norm(states.numpy()), rows.numpy(), distances.numpy())
    np.testing.assert_allclose(found, pair_filter(states, rows, distances).detach().numpy(), atol=1e-4)


@pytest.fixture
def folder(full, tmp_path):
    return shutil.copytree(full, tmp_path / "model")


def refused(folder, error, message, **arguments):
    with pytest.raises(error, match=message):
        ExportedModel.from_pretrained(folder, **arguments)


def change_config(folder, **changes):
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_what_is_not_an_exported_model(folder, tmp_path):
    refused(tmp_path / "none", FileNotFoundError, "cannot load a model from .*: there is no such folder")
    refused("", FileNotFoundError, "cannot load a model from '': there is no such folder")
    refused(tmp_path, FileNotFoundError, r"the folder .* has no config.json")
    refused(folder, ValueError, r"backend='torch' must be one of \['onnx', 'openvino'\]", backend="torch")
    refused(folder, ValueError, "num_threads=0", num_threads=0)
    shutil.rmtree(folder / FOLDER)
    refused(folder, FileNotFoundError, r"has no exported graphs \(onnx/export.json\)")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model_type": "bert"}, "model_type='bert', but a SpanMarker model has 'span-marker'"),
        ({"id2label": {"0": "PER"}}, "cannot read the configuration"),
        ({"id2label": None}, "cannot read the configuration"),
        ({"entity_max_length": 0}, "entity_max_length=0"),
        ({"thresholds": {"LOC": 2}}, "threshold"),
        ({"span_filter": {"input_size": 9}}, "cannot read the heads .*instead of"),
        ({"token_state_size": 8}, r"cannot read the heads \(onnx/heads.safetensors\) .*'classifier.weight' has the"),
        ({"span_filter": None}, r"'span_filter.first.bias' has the shape \(64,\) instead of None"),
        ({"letter_case": False}, r"'case_embedding.weight' has the shape \(6, 32\) instead of None"),
        (
            {"word_splitter": "package:function"},
            "splits strings into words with a custom function.*which is only run if",
        ),
    ],
)
def test_a_configuration_that_does_not_fit(folder, changes, message):
    change_config(folder, **changes)
    refused(folder, ValueError, message)


def test_broken_files(folder):
    (folder / "tokenizer.json").write_text("{")
    refused(folder, ValueError, r"cannot read the tokenizer \(tokenizer.json, tokenizer_config.json\) of")
    shutil.copyfile(folder / "config.json", folder / "tokenizer_config.json")
    (folder / "config.json").write_text("{")
    refused(folder, ValueError, r"cannot read the configuration \(config.json\) of")


def test_the_tokenizer_of_another_model(folder):
    build_model("roberta").tokenizer.save_pretrained(folder)
    refused(folder, ValueError, r"cannot read the tokenizer .* it has 343 tokens, but the encoder has vocab_size=176")


def test_files_of_another_export(folder, plain):
    shutil.copyfile(plain / FOLDER / HEADS, folder / FOLDER / HEADS)
    refused(folder, ValueError, "onnx/heads.safetensors of .* is not the file that onnx/export.json lists")
    shutil.copyfile(plain / FOLDER / MANIFEST, folder / FOLDER / MANIFEST)
    refused(folder, ValueError, "is not the file that onnx/export.json lists")


def test_the_runtime_is_the_one_that_an_export_was_compared_in(folder):
    pytest.importorskip("openvino")
    path = folder / FOLDER / MANIFEST
    manifest = json.loads(path.read_text())
    path.write_text(json.dumps(manifest | {"backend": "openvino"}))
    assert ExportedModel.from_pretrained(folder).backend == "openvino"
    assert ExportedModel.from_pretrained(folder, backend="onnx").backend == "onnx"
    path.write_text(json.dumps({name: value for name, value in manifest.items() if name != "backend"}))  # an older one
    assert ExportedModel.from_pretrained(folder).backend == "onnx"
    path.write_text(json.dumps(manifest | {"backend": ["torch"]}))
    refused(folder, ValueError, r"backend=\['torch'\] must be one of \['onnx', 'openvino'\]")


@pytest.mark.parametrize("backend", ["onnx", "openvino"])
@pytest.mark.parametrize("kind", [ExportedModel, SpanMarkerModel])
def test_threads_share_graphs(plain, backend, kind):
    pytest.importorskip(backend)
    model = kind.from_pretrained(plain, backend=backend)
    inputs = [" ".join(LONG.split()[:length]) for length in (3, 24, 49, 10, 1, 99)]
    expected = [model.predict(text) for text in inputs]
    with ThreadPoolExecutor(4) as pool:
        for found in (model.predict(inputs), *pool.map(lambda _: [model.predict(text) for text in inputs], range(8))):
            assert_same(found, expected)


def test_a_missing_runtime(folder, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    refused(folder, ImportError, "exported graphs need onnxruntime, which is not installed: pip install")


def test_settings_are_those_of_a_configuration(full):
    values = json.loads((full / "config.json").read_text())
    config = SpanMarkerModel.from_pretrained(full).config
    settings = ExportedSettings.from_dict(values)
    for name in vars(settings).keys() - {"id2label"}:
        assert getattr(settings, name) == getattr(config, name), name
    assert settings.classes == config.classes
