"""The reader of graphs sees what the package ``onnx`` sees, and any bytes at all are either a graph or a ValueError."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from span_marker.graphs.onnx_files import _external, _read, check_graph

onnx = pytest.importorskip("onnx")
message = pytest.importorskip("google.protobuf.message")
helper, FLOAT = onnx.helper, onnx.TensorProto.FLOAT


def constant(name, domain=""):
    value = onnx.numpy_helper.from_array(np.float32([1, 2]), f"{name}_value")
    return helper.make_node("Constant", [], [name], domain=domain, value=value)


def nested(domain=""):
    """A graph with another one in each branch of an operator, in one of which stands an operator of this domain."""
    branches = [
        helper.make_graph([constant(name, own)], name, [], [helper.make_tensor_value_info(name, FLOAT, [2])])
        for name, own in (("then", ""), ("else", domain))
    ]
    node = helper.make_node("If", ["is_true"], ["out"], then_branch=branches[0], else_branch=branches[1])
    inputs = [helper.make_tensor_value_info("is_true", onnx.TensorProto.BOOL, [])]
    outputs = [helper.make_tensor_value_info("out", FLOAT, [2])]
    weight = onnx.numpy_helper.from_array(np.zeros((3, 4), np.float32), "weight")
    graph = helper.make_graph([node], "graph", inputs, outputs, initializer=[weight])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


WHOLE = nested().SerializeToString()


@pytest.fixture
def weights(tmp_path):
    path = tmp_path / "encoder.bin"
    path.write_bytes(bytes(64))
    return path


def refused(path, weights, contents, message):
    path.write_bytes(contents)
    with pytest.raises(ValueError, match=message):
        check_graph(path, weights)


def test_everything_is_seen():
    contents = _read(memoryview(WHOLE))
    assert sorted(contents.operators) == [("", "Constant"), ("", "Constant"), ("", "If")]
    names = [onnx.TensorProto.FromString(bytes(tensor)).name for tensor in contents.tensors]
    assert sorted(names) == ["else_value", "then_value", "weight"]
    assert contents.functions == []


def test_where_weights_are():
    tensor = onnx.TensorProto(name="w", data_location=onnx.TensorProto.EXTERNAL)
    for key, value in (("location", "encoder.bin"), ("offset", "8"), ("length", "16")):
        tensor.external_data.add(key=key, value=value)
    assert _external(memoryview(tensor.SerializeToString())) == ("w", "encoder.bin", 8, 16)
    tensor.external_data.add(key="location", value="other.bin")
    with pytest.raises(ValueError, match="two locations of its weights"):
        _external(memoryview(tensor.SerializeToString()))
    tensor.data_location = onnx.TensorProto.DEFAULT
    assert _external(memoryview(tensor.SerializeToString())) is None


def test_graphs_inside_of_operators_are_checked(tmp_path, weights):
    (tmp_path / "good.onnx").write_bytes(WHOLE)
    check_graph(tmp_path / "good.onnx", weights)
    refused(tmp_path / "bad.onnx", weights, nested("com.example").SerializeToString(), r"not run: \['Constant'\]")


def test_functions_are_operators_of_its_own(tmp_path, weights):
    model = nested()
    model.functions.append(helper.make_function("", "Mine", [], ["y"], [constant("y")], [helper.make_opsetid("", 20)]))
    refused(tmp_path / "bad.onnx", weights, model.SerializeToString(), r"not run: \['Mine'\]")


def test_sparse_weights_are_checked(tmp_path, weights):
    model = nested()
    sparse = model.graph.sparse_initializer.add()
    sparse.values.name, sparse.values.data_location = "sparse", onnx.TensorProto.EXTERNAL
    sparse.values.external_data.add(key="location", value="../secret")
    refused(tmp_path / "bad.onnx", weights, model.SerializeToString(), "weights outside of encoder.bin: sparse")


@given(st.integers(0, len(WHOLE) - 1), st.binary(max_size=3), st.integers(0, 3))
def test_changed_bytes_are_a_graph_or_an_error(place, inserted, num_removed):
    changed = WHOLE[:place] + inserted + WHOLE[place + num_removed :]
    try:
        contents = _read(memoryview(changed))
        for tensor in contents.tensors:
            _external(tensor)
    except (IndexError, UnicodeDecodeError, ValueError):
        return
    try:
        model = onnx.ModelProto.FromString(changed)
    except message.DecodeError:
        return
    assert [(node.domain, node.op_type) for node in model.graph.node] == contents.operators[: len(model.graph.node)]


@given(st.binary(max_size=60))
def test_any_bytes_are_a_graph_or_an_error(contents):
    try:
        _read(memoryview(contents))
    except (IndexError, UnicodeDecodeError, ValueError):
        return
