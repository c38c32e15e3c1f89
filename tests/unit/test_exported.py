"""Folders of exported models that are broken or hostile: the error names the file and what to do."""

import contextlib
import json
import shutil
import subprocess
import sys

import numpy as np
import pytest
import torch
from hub_repos import File
from hub_server import HubServer
from test_folders import Killed, Killer
from tiny import build_model, uncased_tokenizer

from span_marker import SpanMarkerModel
from span_marker.checkpoints import exported
from span_marker.core.folders import WRITTEN
from span_marker.encoders.graph_engine import GraphEngine
from span_marker.graphs import onnx_files
from span_marker.graphs.files import ENCODER, FILES, FOLDER, HEADS, MANIFEST, MARKER_GRAPH, TEXT_GRAPH, checksum
from span_marker.runtime import ExportedModel

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")


def constant_graph(inputs, outputs):
    """A graph that ignores its inputs, a stand-in for one that takes long to trace."""
    helper, kind = onnx.helper, onnx.TensorProto.FLOAT
    nodes, weights, infos = [], [], []
    for name, shape in outputs.items():
        weights.append(onnx.numpy_helper.from_array(np.zeros(shape, dtype=np.float32), f"{name}_weight"))
        nodes.append(helper.make_node("Identity", [f"{name}_weight"], [name]))
        infos.append(helper.make_tensor_value_info(name, kind, shape))
    taken = [helper.make_tensor_value_info(name, onnx.TensorProto.INT64, [None]) for name in inputs]
    graph = helper.make_graph(nodes, "graph", taken, infos, initializer=weights)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


def rewrite_manifest(folder):
    """Make the checksums right, so that a file is read."""
    manifest = json.loads((folder / FOLDER / MANIFEST).read_text(encoding="utf-8"))
    for name in FILES:
        path = folder / FOLDER / name
        manifest["files"][name] = {"num_bytes": path.stat().st_size, "sha256": checksum(path)}
    exported.write_manifest(folder, manifest)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A model whose graphs return zeros."""
    folder = tmp_path_factory.mktemp("whole")
    model = build_model("bert")
    (folder / FOLDER).mkdir()
    states = {f"{kind}_{depth}": [4, 9, 8] for depth in range(3) for kind in ("key", "value")}
    onnx.save(constant_graph(["input_ids"], states), folder / FOLDER / TEXT_GRAPH)
    onnx.save(constant_graph(["text_position_ids"], {"states": [1, 2, 32]}), folder / FOLDER / MARKER_GRAPH)
    (folder / FOLDER / ENCODER).write_bytes(bytes(64))
    exported.finish_export(model, folder, torch.zeros(2, 32), {"max_distance": 128})
    model.tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture
def folder(whole, tmp_path):
    return shutil.copytree(whole, tmp_path / "model")


def refused(folder, error, message, **arguments):
    with pytest.raises(error, match=message):
        SpanMarkerModel.from_pretrained(folder, **{"backend": "onnx", **arguments})


def test_a_whole_folder_is_loaded(folder):
    for backend in (None, "onnx"):
        assert isinstance(SpanMarkerModel.from_pretrained(folder, backend=backend).engine, GraphEngine)


@pytest.mark.parametrize("loader", [SpanMarkerModel, ExportedModel])
@pytest.mark.parametrize("patience", range(18))
def test_a_save_that_dies_leaves_the_old_model_or_the_new_one(folder, tmp_path, loader, patience):
    model, other = SpanMarkerModel.from_pretrained(folder), tmp_path / "other"
    model.config.thresholds = {"PER": 0.9}
    torch.nn.init.constant_(model.classifier.bias, 7.0)
    for target in (other, folder):
        with pytest.MonkeyPatch.context() as monkeypatch, contextlib.suppress(Killed):
            Killer(monkeypatch, patience)
            model.save_pretrained(target)
    for target in (other, folder):
        if target == folder or (other / WRITTEN).exists() or (other / "config.json").exists():
            found = loader.from_pretrained(target)
            bias = found.classifier.bias if loader is SpanMarkerModel else found.heads.weights["classifier.bias"]
            is_new = found.config.thresholds is not None
            assert is_new == bool((bias == 7.0).all())
            assert is_new or target == folder


def test_graphs_and_weights_do_not_mix_on_the_hub(whole, tmp_path):
    build_model().save_pretrained(tmp_path / "weights")
    push = (
        "import sys; from span_marker import SpanMarkerModel as M; M.from_pretrained(sys.argv[1]).push_to_hub('user/a')"
    )
    with HubServer(tokens={"hf_writer": "user"}) as hub:

        def pushed(folder):
            environment = hub.environment(tmp_path / "home", token="hf_writer")
            command = [sys.executable, "-c", push, str(folder)]
            return subprocess.run(command, env=environment, capture_output=True, text=True, check=False).stderr

        hub.add("user/a", whole)
        assert "FileNotFoundError: 'user/a' has exported graphs, but no weights for PyTorch: load it" in pushed(
            "user/a"
        )
        hub.repos["user/a"].commit("Rules", {"rules.json": File(b"[]"), "notes.txt": File(b"mine")})
        assert "Error" not in pushed(tmp_path / "weights")
        names = {*hub.repos["user/a"].files()} - {".gitattributes", "README.md", "config.json"}
        assert names == {"model.safetensors", "tokenizer.json", "tokenizer_config.json", "notes.txt"}
        assert "ValueError: 'user/a' holds a checkpoint with weights (model.safetensors): push" in pushed(whole)


def test_a_checkpoint_has_no_graphs(tmp_path):
    build_model().save_pretrained(tmp_path)
    refused(tmp_path, FileNotFoundError, r"has no exported graphs \(onnx/export.json\): export the model with")
    refused(
        tmp_path, ValueError, r"backend='tensorrt' must be one of \['torch', 'onnx', 'openvino'\]", backend="tensorrt"
    )


def test_graphs_have_no_weights_for_torch(folder):
    refused(folder, FileNotFoundError, "has exported graphs, but no weights for PyTorch", backend="torch")


def test_an_encoder_is_no_exported_model(tmp_path):
    build_model().encoder.save_pretrained(tmp_path)
    uncased_tokenizer().save_pretrained(tmp_path)
    refused(tmp_path, ValueError, "is an encoder, not an exported SpanMarker model", labels=["O", "PER"])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"dtype": "bfloat16"}, r"the arguments \['dtype'\] of from_pretrained are for backend='torch'"),
        ({"engine": "dense"}, r"the arguments \['engine'\] of from_pretrained are for backend='torch'"),
        ({"labels": ["O", "NEW"]}, r"the arguments \['labels'\] of from_pretrained are for backend='torch'"),
        ({"dtyp": 1}, r"the arguments \['dtyp'\] of from_pretrained do not exist"),
    ],
)
def test_arguments_that_graphs_cannot_follow(folder, arguments, message):
    refused(folder, TypeError, message, **arguments)


@pytest.mark.parametrize("name", FILES)
def test_a_file_that_is_missing_cut_short_or_of_another_export(folder, name):
    path = folder / FOLDER / name
    contents = path.read_bytes()
    other = bytes([contents[0] ^ 1]) + contents[1:]
    for changed in (contents[:-1], b"", other):
        path.write_bytes(changed)
        refused(folder, ValueError, f"onnx/{name} of .* is not the file that onnx/export.json lists")
    path.unlink()
    refused(folder, FileNotFoundError, f"has no onnx/{name}: export the model again")


@pytest.mark.parametrize("name", [TEXT_GRAPH, MARKER_GRAPH, ENCODER])
def test_graphs_that_were_replaced_since_they_were_loaded_are_not_saved(folder, tmp_path, name):
    model = SpanMarkerModel.from_pretrained(folder)
    path = folder / FOLDER / name
    path.write_bytes(path.read_bytes() + b" ")  # such as those of a new export to the same folder
    with pytest.raises(ValueError, match=f"onnx/{name} of .*model' is not the file that onnx/export.json lists"):
        model.save_pretrained(tmp_path / "other")
    assert not [*(tmp_path / "other").iterdir()]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format": 2}, "format=2 was written by span_marker .* which reads format=1: export the model again"),
        ({"max_distance": "x"}, "max_distance='x' must be a whole number of at least 1"),
        ({"max_distance": 0}, "max_distance=0 must be a whole number"),
        ({"files": {}}, "KeyError"),
        ({"files": None}, "TypeError"),
    ],
)
def test_a_broken_list_of_files(folder, changes, message):
    manifest = json.loads((folder / FOLDER / MANIFEST).read_text(encoding="utf-8"))
    exported.write_manifest(folder, manifest | changes)
    refused(folder, ValueError, rf"cannot read the list of graphs \(onnx/export.json\) of .*{message}")


def test_a_list_of_files_that_is_no_json(folder):
    (folder / FOLDER / MANIFEST).write_text("{", encoding="utf-8")
    refused(folder, ValueError, r"cannot read the list of graphs \(onnx/export.json\)")


def save(model, path, **changes):
    onnx.save(model, path)
    rewrite_manifest(path.parents[1])


def test_a_graph_that_is_no_graph(folder):
    (folder / FOLDER / TEXT_GRAPH).write_bytes(b"\xff" * 100)
    rewrite_manifest(folder)
    refused(folder, ValueError, f"{TEXT_GRAPH}.* is not an ONNX file")


def test_operators_of_its_own(folder):
    path = folder / FOLDER / MARKER_GRAPH
    model = onnx.load(path)
    model.graph.node[0].domain = "com.example"
    save(model, path)
    refused(folder, ValueError, r"has operators that are not in the ONNX standard, which are not run: \['Identity'\]")


def test_an_operator_that_the_runtime_lacks(folder):
    path = folder / FOLDER / TEXT_GRAPH
    model = onnx.load(path)
    model.graph.node[0].op_type = "FutureOperator"
    save(model, path)
    refused(folder, ValueError, f"onnxruntime .* cannot load .*{TEXT_GRAPH}.*: pip install --upgrade onnxruntime")


@pytest.mark.parametrize(
    ("location", "offset", "length"),
    [("../config.json", 0, 4), ("/etc/hostname", 0, 4), (ENCODER, 0, 68), (ENCODER, -4, 4), (ENCODER, 64, 4)],
)
def test_weights_from_other_files(folder, location, offset, length):
    path = folder / FOLDER / TEXT_GRAPH
    model = onnx.load(path)
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    for key, value in (("location", location), ("offset", offset), ("length", length)):
        entry = tensor.external_data.add()
        entry.key, entry.value = key, str(value)
    path.write_bytes(model.SerializeToString())
    rewrite_manifest(folder)
    refused(folder, ValueError, f"refers to weights outside of {ENCODER}: {tensor.name}")


def test_a_graph_that_is_too_large(folder, monkeypatch):
    monkeypatch.setattr(onnx_files, "LARGEST_GRAPH", 100)
    refused(folder, ValueError, "has .* bytes, but a graph has at most 100")


def test_graphs_of_another_model(folder):
    graph = constant_graph(["input_ids"], {"key_0": [4, 9, 8], "value_0": [4, 9, 8]})
    save(graph, folder / FOLDER / TEXT_GRAPH)
    refused(folder, ValueError, "belong to another model: they have 1 layers of size 32, but config.json has 3 of")


def test_heads_of_another_model(folder, whole, tmp_path):
    model = build_model(labels=["O", "PER"])
    (tmp_path / FOLDER).mkdir()
    for name in FILES:
        shutil.copyfile(whole / FOLDER / name, tmp_path / FOLDER / name)
    exported.finish_export(model, tmp_path, torch.zeros(2, 32), {"max_distance": 128})
    shutil.copyfile(tmp_path / FOLDER / HEADS, folder / FOLDER / HEADS)
    rewrite_manifest(folder)
    refused(
        folder, ValueError, r"onnx/heads.safetensors of .* does not fit config.json: 'classifier.bias' has the shape"
    )


def test_heads_that_are_no_weights(folder):
    (folder / FOLDER / HEADS).write_bytes(b"{}" * 10)
    rewrite_manifest(folder)
    refused(folder, ValueError, r"cannot read the heads \(onnx/heads.safetensors\)")


@pytest.mark.parametrize(
    ("name", "backend", "packages"),
    [
        ("onnxruntime", "onnx", "onnx onnxscript onnxruntime, or install span_marker with the extra 'onnx'"),
        ("openvino", "openvino", "openvino, or install span_marker with the extra 'openvino'"),
    ],
)
def test_a_missing_extra(folder, name, backend, packages, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, name, None)
    message = f"exported graphs need {name}, which is not installed: pip install {packages}"
    refused(folder, ImportError, message, backend=backend)
