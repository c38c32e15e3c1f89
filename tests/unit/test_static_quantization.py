"""Rounding of linear layers to 8 bits, against a computation in NumPy."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

onnx = pytest.importorskip("onnx")
onnx_ir = pytest.importorskip("onnx_ir")
pytest.importorskip("onnxruntime")

from span_marker.export.static_quantization import (  # noqa: E402
    LARGEST_WEIGHT,
    InputRange,
    WatchedGraph,
    layer_errors,
    linear_layers,
    output_inputs,
    quantize_layers,
    round_weight,
    weight_key,
)
from span_marker.graphs.runtimes import OnnxGraph  # noqa: E402

VALUES = st.floats(-100, 100, width=32)

RNG = np.random.default_rng(0)

STATES = RNG.normal(size=(40, 16)).astype(np.float32)

WEIGHTS = {
    "first": RNG.normal(size=(16, 12)).astype(np.float32),
    "second": RNG.normal(size=(8, 16)).astype(np.float32),
    "third": (RNG.normal(size=(16, 5)) * [[100]] + [[50.0]] * 16).astype(np.float32),
}


@pytest.fixture
def graph(tmp_path):
    """A file with x @ first, x @ second.T and x @ third."""
    nodes = [
        onnx.helper.make_node("MatMul", ["x", "first"], ["a"], name="one"),
        onnx.helper.make_node("Gemm", ["x", "second"], ["b"], name="two", transB=1),
        onnx.helper.make_node("MatMul", ["x", "third"], ["c"], name="three"),
        onnx.helper.make_node("MatMul", ["a", "turned"], ["d"], name="no weight"),
        onnx.helper.make_node("Transpose", ["a"], ["turned"], perm=[1, 0]),
    ]
    values = [onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None) for name in "xabcd"]
    constants = [onnx.numpy_helper.from_array(array, name) for name, array in WEIGHTS.items()]
    nodes[3], nodes[4] = nodes[4], nodes[3]
    made = onnx.helper.make_graph(nodes, "graph", values[:1], values[1:], constants)
    made.input[0].CopyFrom(onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, ["rows", 16]))
    path = tmp_path / "graph.onnx"
    onnx.save(onnx.helper.make_model(made, opset_imports=[onnx.helper.make_opsetid("", 20)], ir_version=10), path)
    return path


@given(states=arrays.arrays(np.float32, (7, 3), elements=VALUES))
def test_rounding_is_at_most_half_a_step_off(states):
    seen = InputRange()
    seen.add(states[:4])
    seen.add(states[4:])
    assert (seen.low, seen.high) == (min(states.min(), 0), max(states.max(), 0))
    assert np.abs(seen.rounded(states) - states).max() <= 0.501 * seen.scale
    assert seen.rounded(np.float32(0)) == 0
    assert 0 <= seen.zero_point <= 255


@given(weight=arrays.arrays(np.float32, (4, 6), elements=VALUES), axis=st.sampled_from([0, 1]))
def test_weights_have_a_scale_per_output_channel(weight, axis):
    steps, scales = round_weight(weight, axis)
    assert scales.shape == (weight.shape[axis],)
    assert abs(steps.astype(int)).max() <= LARGEST_WEIGHT
    scales = np.expand_dims(scales, 1 - axis)
    assert (np.abs(steps * scales - weight) <= 0.501 * scales).all()


def test_no_rows_are_no_error():
    seen = InputRange()
    seen.add(np.zeros((0, 3), np.float32))
    assert (seen.low, seen.high, seen.rows) == (0, 0, [])


def test_layers_are_rounded_as_in_numpy(graph, tmp_path):
    model, seen = onnx_ir.load(graph), InputRange()
    seen.add(STATES)
    assert [node.name for node in linear_layers(model)] == ["one", "two", "three"]
    before = OnnxGraph(graph)({"x": STATES})
    quantize_layers(model, {"x": seen}, {weight_key(linear_layers(model)[2])})
    onnx_ir.save(model, tmp_path / "rounded.onnx")
    first, second, third, _ = OnnxGraph(tmp_path / "rounded.onnx")({"x": STATES})
    expected = []
    for name, axis in (("first", 1), ("second", 0)):
        steps, scales = round_weight(WEIGHTS[name], axis)
        weight = steps * np.expand_dims(scales, 1 - axis)
        expected.append(seen.rounded(STATES) @ (weight if axis else weight.T))
    np.testing.assert_allclose(first, expected[0], atol=1e-4)
    np.testing.assert_allclose(second, expected[1], atol=1e-4)
    np.testing.assert_allclose(third, before[2], rtol=1e-6)
    assert np.abs(first - before[0]).max() > 1e-3  # it is rounded
    assert "first" not in model.graph.initializers
    assert "third" in model.graph.initializers


def test_watching_a_graph_changes_no_output(graph, tmp_path):
    ranges = output_inputs(graph, tmp_path / "watched.onnx")
    watched, plain = WatchedGraph(OnnxGraph(tmp_path / "watched.onnx"), ranges), OnnxGraph(graph)
    for states in (STATES[:30], STATES[30:]):
        for found, expected in zip(watched({"x": states}), plain({"x": states}), strict=True):
            np.testing.assert_array_equal(found, expected)
    assert {*ranges} == {"x"}
    assert (ranges["x"].low, ranges["x"].high) == (STATES.min(), STATES.max())
    assert len(np.concatenate(ranges["x"].rows)) == 40


def test_errors_are_those_of_the_outputs(graph):
    model, seen = onnx_ir.load(graph), InputRange()
    seen.add(STATES)
    errors = layer_errors({"graph": model}, {"graph": {"x": seen}})
    (rows,) = seen.rows
    for node, name, axis in zip(linear_layers(model), WEIGHTS, (1, 0, 1), strict=True):
        steps, scales = round_weight(WEIGHTS[name], axis)
        rounded = steps * np.expand_dims(scales, 1 - axis)
        exact, found = (
            states @ (weight if axis else weight.T)
            for states, weight in ((rows, WEIGHTS[name]), (seen.rounded(rows), rounded))
        )
        expected = ((found - exact) ** 2).sum() / (exact**2).sum()
        assert errors[weight_key(node)] == pytest.approx(expected, rel=1e-4)
    assert 0 < min(errors.values()) < max(errors.values()) < 0.01


def test_a_layer_that_no_text_reached_has_no_error(graph):
    errors = layer_errors({"graph": onnx_ir.load(graph)}, {"graph": {"x": InputRange()}})
    assert set(errors.values()) == {0.0}
