"""Static quantization: linear layers in 8 bits, with input ranges measured on texts.

A product ``x @ W`` becomes ``dequantize(quantize(x)) @ dequantize(W8)``, in operators of the ONNX standard that
runtimes fuse to a product of whole numbers (Jacob et al. 2018, Quantization and Training of Neural Networks for
Efficient Integer-Arithmetic-Only Inference). Inputs have one range per tensor, the smallest and the largest value seen:
clipping the few large values of transformers costs more than the finer steps gain. Weights have a scale per output
channel.
"""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from span_marker.checkpoints.exported import ExportedEncoder
from span_marker.core.arrays import Array
from span_marker.encoders.graph_engine import GraphEngine
from span_marker.graphs.files import ENCODER, MARKER_GRAPH, PAIR_GRAPH, graph_names
from span_marker.graphs.runner import Graph
from span_marker.graphs.runtimes import RUNTIMES, import_extra
from span_marker.modeling import SpanMarkerModel

LINEAR = ("MatMul", "Gemm")
"""Operators whose second input may be the weight of a linear layer."""

LARGEST_WEIGHT = 63
"""Weights have 7 bits, sign included, so that sums of products do not overflow on machines without VNNI."""

LARGEST_INPUT = 255
"""Inputs have 8 bits and no sign."""

SMALLEST_STEP = float(np.finfo(np.float32).tiny)
"""Steps below are those of inputs that are always 0."""

NUM_ROWS, ROWS_PER_RUN = 1024, 32
"""How many rows of an input are kept to measure errors on, and how many of them from one run of a graph."""


@dataclass
class InputRange:
    """Statistics of the input of linear layers.

    Attributes:
        low: The smallest value, at most 0.
        high: The largest value, at least 0.
        rows: Some of its rows, ``(num_rows, size)`` each.
    """

    low: float = 0.0
    high: float = 0.0
    rows: list[Array] = field(default_factory=list)

    def add(self, states: Array) -> None:
        """Record the input of one run.

        Args:
            states: ``(..., size)``.
        """
        if not states.size:
            return
        self.low, self.high = min(self.low, float(states.min())), max(self.high, float(states.max()))
        if sum(map(len, self.rows)) < NUM_ROWS:
            rows = states.reshape(-1, states.shape[-1])
            self.rows.append(rows[:: max(1, len(rows) // ROWS_PER_RUN)][:ROWS_PER_RUN].copy())

    @property
    def scale(self) -> float:
        """The step between two values in 8 bits."""
        step = (self.high - self.low) / LARGEST_INPUT
        return step if step >= SMALLEST_STEP else 1.0

    @property
    def zero_point(self) -> int:
        """The whole number that stands for 0."""
        return round(-self.low / self.scale)

    def rounded(self, states: Array) -> Array:
        """Round values to those that 8 bits can hold.

        Args:
            states: Values, of any shape.

        Returns:
            The rounded values, of the same shape.
        """
        steps = np.clip(np.round(states / self.scale) + self.zero_point, 0, LARGEST_INPUT)
        return np.asarray((steps - self.zero_point) * self.scale, dtype=np.float32)


def round_weight(weight: Array, axis: int) -> tuple[Array, Array]:
    """Round a weight to whole numbers with a scale per output channel.

    Args:
        weight: The weight, of two dimensions.
        axis: The dimension of the output channels.

    Returns:
        Whole numbers of the same shape, and the scales, ``(num_channels,)``: their product is nearly the weight.
    """
    steps = np.abs(weight).max(axis=1 - axis) / np.float32(LARGEST_WEIGHT)
    scales = np.where(steps >= SMALLEST_STEP, steps, 1).astype(np.float32)
    return np.round(weight / np.expand_dims(scales, 1 - axis)).astype(np.int8), scales


def linear_layers(model: Any) -> list[Any]:
    """List the operators of a graph that multiply by a weight.

    Args:
        model: The graph, an ``onnx_ir.Model``.

    Returns:
        The nodes, an ``onnx_ir.Node`` each, in order.
    """
    return [node for node in model.graph if node.op_type in LINEAR and _is_weight(node.inputs[1])]


def _is_weight(value: Any) -> bool:
    tensor = value.const_value if value is not None and value.is_initializer() else None
    return tensor is not None and len(tensor.shape) == 2 and tensor.dtype == import_extra("onnx_ir").DataType.FLOAT


def weight_key(node: Any) -> str:
    """Compute an identifier of a linear layer's weight across graphs: a hash of its bytes."""
    return hashlib.sha256(node.inputs[1].const_value.tobytes()).hexdigest()


def exported_encoder(model: SpanMarkerModel) -> ExportedEncoder:
    """Return the placeholder for the encoder of an exported model."""
    assert isinstance(model.encoder, ExportedEncoder)
    return model.encoder


def _same(name: str, graph: Graph) -> Graph:
    return graph


@contextmanager
def running(model: SpanMarkerModel, folder: Path, wrap: Callable[[str, Graph], Graph] = _same) -> Iterator[None]:
    """Replace the graphs of an exported model within a ``with`` block, in the same runtime.

    Args:
        model: The exported model.
        folder: The folder with the graphs and their weights.
        wrap: Maps the file name and the graph to what runs instead. Defaults to the graph itself.

    Yields:
        None.
    """
    engine = model.engine
    assert isinstance(engine, GraphEngine)
    names = graph_names(exported_encoder(model).files)
    graphs = [wrap(name, RUNTIMES[engine.backend](folder / name)) for name in names]
    fields = ("text_graph", "marker_graph", "pair_graph")
    wrapped: dict[str, Any] = dict(zip(fields, graphs, strict=False))
    model.engine = replace(engine, **wrapped)
    try:
        yield
    finally:
        model.engine = engine


@dataclass
class WatchedGraph:
    """A graph that records the inputs of its linear layers. See `span_marker.graphs.runner.Graph`.

    Attributes:
        graph: The graph, with these inputs as further outputs.
        ranges: Statistics by the names of the inputs, in the order of these outputs.
    """

    graph: Graph
    ranges: dict[str, InputRange]

    def __call__(self, inputs: dict[str, Array]) -> list[Array]:
        """Run the graph."""
        outputs = self.graph(inputs)
        num_outputs = len(outputs) - len(self.ranges)
        for seen, states in zip(self.ranges.values(), outputs[num_outputs:], strict=True):
            seen.add(states)
        return outputs[:num_outputs]


def output_inputs(path: Path, target: Path) -> dict[str, InputRange]:
    """Write a graph that also outputs the inputs of its linear layers.

    Args:
        path: The file of the graph.
        target: The file to write.

    Returns:
        A range for each of the new outputs, by their names and in their order.
    """
    onnx_ir: Any = import_extra("onnx_ir")
    model = onnx_ir.load(path)
    inputs = {node.inputs[0].name: node.inputs[0] for node in linear_layers(model)}
    model.graph.outputs.extend(inputs.values())
    onnx_ir.save(model, target)
    return {name: InputRange() for name in inputs}


Found = TypeVar("Found")

Ranges = dict[str, dict[str, InputRange]]
"""For each graph, the ranges of the inputs of its linear layers, by the names of these inputs."""


def measure_ranges(model: SpanMarkerModel, read: Callable[[], Found]) -> tuple[Ranges, Found]:
    """Measure the ranges of the inputs of linear layers while a model reads texts.

    Args:
        model: An exported model.
        read: Makes the model read the texts.

    Returns:
        The ranges, and what `read` returned.

    Raises:
        ValueError: If the texts have no words; or if the model has relations, and they have no pair of entities.
    """
    files = exported_encoder(model).files
    with tempfile.TemporaryDirectory() as scratch:
        shutil.copyfile(files[ENCODER], Path(scratch, ENCODER))
        ranges = {name: output_inputs(files[name], Path(scratch, name)) for name in graph_names(files)}
        with running(model, Path(scratch), lambda name, graph: WatchedGraph(graph, ranges[name])):
            found = read()
    if not any(seen.rows for seen in ranges[MARKER_GRAPH].values()):
        raise ValueError("no text of calibration= has a word: pass a few hundred texts of the training data")
    if PAIR_GRAPH in ranges and not any(seen.rows for seen in ranges[PAIR_GRAPH].values()):
        raise ValueError(
            "no text of calibration= has two predicted entities that may have a relation: pass other texts, some with "
            "relations"
        )
    return ranges, found


def layer_errors(models: Mapping[str, Any], ranges: Ranges) -> dict[str, float]:
    """Measure how much 8 bits change the output of each linear layer, by itself.

    Args:
        models: The graphs by their file names, an ``onnx_ir.Model`` each.
        ranges: The ranges of the layers' inputs.

    Returns:
        For each weight, see `weight_key`: squared error of the output in relation to its squared values, the largest of
        all graphs. 0 for a layer that no text reached.
    """
    errors: dict[str, float] = {}
    for name, model in models.items():
        for node in linear_layers(model):
            seen, axis = ranges[name][node.inputs[0].name], _output_axis(node)
            weight = node.inputs[1].const_value.numpy()
            steps, scales = round_weight(weight, axis)
            rounded = steps * np.expand_dims(scales, 1 - axis)
            rows = np.concatenate([np.zeros((0, weight.shape[1 - axis]), np.float32), *seen.rows])
            exact, found = (
                states @ (matrix if axis else matrix.T)
                for states, matrix in ((rows, weight), (seen.rounded(rows), rounded))
            )
            key, size = weight_key(node), float(np.square(exact).sum())
            error = float(np.square(found - exact).sum()) / size if size else 0.0
            errors[key] = max(errors.get(key, 0.0), error)
    return errors


def quantize_layers(model: Any, ranges: Mapping[str, InputRange], in_float: set[str]) -> None:
    """Quantize the linear layers of a graph, in place.

    Args:
        model: The graph, an ``onnx_ir.Model``.
        ranges: The ranges of the layers' inputs.
        in_float: Weights that stay in float32, see `weight_key`.
    """
    onnx_ir: Any = import_extra("onnx_ir")
    rounded_inputs: dict[str, Any] = {}
    rounded_weights: dict[str, Any] = {}
    for node in linear_layers(model):
        if weight_key(node) in in_float:
            continue
        states, weight = node.inputs[0], node.inputs[1]
        if states.name not in rounded_inputs:
            seen = ranges[states.name]
            constants = [
                _constant(model, f"{states.name}_scale", np.float32(seen.scale)),
                _constant(model, f"{states.name}_zero_point", np.uint8(seen.zero_point)),
            ]
            steps = onnx_ir.node("QuantizeLinear", [states, *constants])
            back = onnx_ir.node("DequantizeLinear", [steps.outputs[0], *constants])
            model.graph.insert_before(node, [steps, back])
            rounded_inputs[states.name] = back.outputs[0]
        if weight.name not in rounded_weights:
            axis = _output_axis(node)
            parts = zip(("quantized", "scale"), round_weight(weight.const_value.numpy(), axis), strict=True)
            constants = [_constant(model, f"{weight.name}_{name}", array) for name, array in parts]
            back = onnx_ir.node("DequantizeLinear", constants, {"axis": axis})
            model.graph.insert_before(node, back)
            rounded_weights[weight.name] = back.outputs[0]
        node.replace_input_with(0, rounded_inputs[states.name])
        node.replace_input_with(1, rounded_weights[weight.name])
        if not weight.uses():
            del model.graph.initializers[weight.name]


def _output_axis(node: Any) -> int:
    """The dimension of a linear layer's weight that counts its outputs."""
    is_transposed = node.op_type == "Gemm" and "transB" in node.attributes and node.attributes["transB"].as_int()
    return 0 if is_transposed else 1


def _constant(model: Any, name: str, array: Any) -> Any:
    """Add a constant to a graph."""
    onnx_ir: Any = import_extra("onnx_ir")
    tensor = onnx_ir.tensor(np.asarray(array), name=name)
    value = onnx_ir.Value(
        name=name, const_value=tensor, shape=onnx_ir.Shape(tensor.shape), type=onnx_ir.TensorType(tensor.dtype)
    )
    model.graph.register_initializer(value)
    return value
