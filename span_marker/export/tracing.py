"""Trace an encoder to graphs that share one file of weights."""

from __future__ import annotations

import contextlib
import hashlib
import logging
import threading
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.export import Dim
from transformers import PreTrainedModel

from span_marker.core.arrays import Precision
from span_marker.core.packing import POSITION_OFFSET, first_rows, tabulate
from span_marker.encoders.families import Family
from span_marker.encoders.graphs import MarkerGraph, TextGraph
from span_marker.graphs.files import ENCODER, MARKER_GRAPH, PAIR_GRAPH, TEXT_GRAPH
from span_marker.graphs.runtimes import import_extra

EXAMPLE_LENGTHS = [5, 3, 4]
"""Numbers of tokens of the texts for tracing. All sizes differ, so that none is mistaken for another."""

EXPORTERS = ("torch.onnx", "torch.export", "onnxscript", "onnx_ir")
"""Loggers of the exporters. onnxruntime logs to the root logger."""

EXAMPLE_COUNTS = [7, 2, 4]
"""Number of candidates, or of pairs, of these texts."""

SMALL_WEIGHT = 1024
"""Maximum size in bytes of weights that are stored in the graphs themselves."""

ANY = Dim.DYNAMIC


def write_graphs(
    encoder: PreTrainedModel,
    family: Family,
    max_distance: int,
    reads_case: bool,
    marker_embeds: Tensor,
    folder: Path,
    dtype: Precision = "float32",
    pair_embeds: Tensor | None = None,
) -> None:
    """Trace an encoder, and write its graphs and their weights.

    Args:
        encoder: The encoder, on the CPU, in evaluation mode and prepared for the fast engine.
        family: How it runs.
        max_distance: Tokens of the longest text.
        reads_case: Whether something is added to the token embeddings.
        marker_embeds: Embeddings of the start and end marker, ``(2, embed_dim)``.
        folder: The folder to write to.
        dtype: Number format in which weights are stored.
        pair_embeds: Embeddings of the markers of a pair, ``(4, embed_dim)``; None without relations.

    Raises:
        ImportError: If ``onnx`` or ``onnxscript`` is not installed.
    """
    for name in ("onnx", "onnxscript"):
        import_extra(name)
    with torch.no_grad():
        text_inputs, text_shapes = _text_example(marker_embeds.shape[1] if reads_case else None)
        text_graph = TextGraph(encoder, family, max_distance).eval()
        text_states = text_graph(**text_inputs)
        marker_graph = MarkerGraph(encoder, family, max_distance).eval()
        names = [f"{kind}_{depth}" for depth in range(len(text_states) // 2) for kind in ("key", "value")]
        graphs = {TEXT_GRAPH: _trace(text_graph, text_inputs, text_shapes, names)}
        for name, embeds in ((MARKER_GRAPH, marker_embeds), (PAIR_GRAPH, pair_embeds)):
            if embeds is not None:
                inputs, shapes = _marker_example(embeds.detach(), text_inputs, text_states)
                marker_graph(**inputs)  # families keep what they compute from constants, so that it is not traced
                graphs[name] = _trace(marker_graph, inputs, shapes, ["states"])
    for graph in graphs.values():
        store_as(graph, dtype)
    write_shared(graphs, folder)


def store_as(model: Any, dtype: Precision) -> None:
    """Store the weights of a graph in another number format, in place. Runtimes convert them back on loading.

    Args:
        model: The graph, an ``onnx_ir.Model`` in float32.
        dtype: The number format.
    """
    if dtype == "float32":
        return
    onnx_ir: Any = import_extra("onnx_ir")
    kind, first = onnx_ir.DataType[dtype.upper()], model.graph[0]
    for name, value in list(model.graph.initializers.items()):
        weight = value.const_value
        if weight.dtype != onnx_ir.DataType.FLOAT or weight.nbytes <= SMALL_WEIGHT:
            continue
        stored = onnx_ir.tensor(weight.numpy().astype(kind.numpy()), name=f"{name}_{dtype}")
        constant = onnx_ir.Value(name=stored.name, const_value=stored, shape=value.shape, type=onnx_ir.TensorType(kind))
        back = onnx_ir.node("Cast", [constant], {"to": int(onnx_ir.DataType.FLOAT)})
        model.graph.insert_before(first, back)
        value.replace_all_uses_with(back.outputs[0])
        del model.graph.initializers[name]
        model.graph.register_initializer(constant)


def _text_example(embed_dim: int | None) -> tuple[dict[str, Any], dict[str, Any]]:
    """Inputs of the text graph, and which of their sizes vary."""
    table, places, key_mask = map(torch.from_numpy, tabulate(first_rows(EXAMPLE_LENGTHS), EXAMPLE_LENGTHS))
    num_tokens = sum(EXAMPLE_LENGTHS)
    inputs = {
        "input_ids": torch.arange(num_tokens) % 5,
        "position_ids": torch.cat([torch.arange(length) + POSITION_OFFSET for length in EXAMPLE_LENGTHS]),
        "table": table,
        "places": places,
        "key_mask": key_mask,
    }
    shapes: dict[str, Any] = {
        "input_ids": {0: ANY},
        "position_ids": {0: ANY},
        "table": {0: ANY, 1: ANY},
        "places": {0: ANY},
        "key_mask": {0: ANY, 2: ANY},
    }
    if embed_dim is not None:
        inputs["added_embeds"], shapes["added_embeds"] = torch.zeros(num_tokens, embed_dim), {0: ANY}
    return inputs, shapes


def _marker_example(
    marker_embeds: Tensor, text_inputs: dict[str, Any], text_states: tuple[Tensor, ...]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Inputs of a graph of markers, and which of their sizes vary."""
    size = len(marker_embeds)
    lengths = [size * count for count in EXAMPLE_COUNTS]
    table, places, _ = map(torch.from_numpy, tabulate(first_rows(lengths), lengths))
    pairs = zip(EXAMPLE_LENGTHS, EXAMPLE_COUNTS, strict=True)
    positions = torch.cat([torch.arange(size * count) % length + POSITION_OFFSET for length, count in pairs])
    inputs = {
        "marker_embeds": marker_embeds,
        "span_positions": positions.unflatten(0, (-1, size)),
        "table": table,
        "places": places,
        "text_position_ids": text_inputs["position_ids"],
        "text_table": text_inputs["table"],
        "text_key_mask": text_inputs["key_mask"],
        "text_states": list(text_states),
    }
    shapes = {
        "marker_embeds": None,
        "span_positions": {0: ANY},
        "table": {0: ANY, 1: ANY},
        "places": {0: ANY},
        "text_position_ids": {0: ANY},
        "text_table": {0: ANY, 1: ANY},
        "text_key_mask": {0: ANY, 2: ANY},
        "text_states": [{1: ANY}] * len(text_states),
    }
    return inputs, shapes


def _trace(graph: torch.nn.Module, inputs: dict[str, Any], shapes: dict[str, Any], outputs: list[str]) -> Any:
    """Trace a graph to an ``onnx_ir.Model`` that holds nothing but the graph."""
    with quiet():
        program: Any = torch.onnx.export(
            graph, (), kwargs=inputs, dynamic_shapes=shapes, output_names=outputs, dynamo=True, verbose=False
        )
    model = program.model
    for node in model.graph.all_nodes():  # where each comes from, with paths of this machine
        node.metadata_props.clear()
        node.doc_string = None
    for value in (*model.graph.inputs, *model.graph.outputs, *model.graph.initializers.values()):
        value.metadata_props.clear()
    model.metadata_props.clear()
    model.graph.metadata_props.clear()
    return model


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Silence the progress and deprecation messages of exporters, but no other messages.

    Yields:
        None.
    """
    root, thread = logging.getLogger(), threading.get_ident()
    loggers = [logging.getLogger(name) for name in EXPORTERS]
    levels = [logger.level for logger in loggers]

    def is_kept(record: logging.LogRecord) -> bool:
        return record.thread != thread or record.levelno >= logging.ERROR

    with contextlib.ExitStack() as undo:
        if not root.handlers and logging.lastResort is not None:
            # The functions of logging, which onnxruntime calls, would configure the root logger for good.
            root.addHandler(logging.lastResort)
            undo.callback(root.removeHandler, logging.lastResort)
        root.addFilter(is_kept)  # for what is logged by the root logger itself
        undo.callback(root.removeFilter, is_kept)
        for logger, level in zip(loggers, levels, strict=True):
            undo.callback(logger.setLevel, level)
            logger.setLevel(logging.ERROR)
        undo.enter_context(warnings.catch_warnings())
        warnings.simplefilter("ignore")
        yield


def write_shared(graphs: dict[str, Any], folder: Path) -> None:
    """Write graphs. Shared weights are written once.

    Args:
        graphs: The graphs as ``onnx_ir.Model``, by file name.
        folder: The folder to write to.
    """
    onnx_ir: Any = import_extra("onnx_ir")
    values: dict[str, list[Any]] = {}
    for model in graphs.values():
        for value in model.graph.initializers.values():
            if value.const_value.nbytes > SMALL_WEIGHT:
                kind = f"{value.const_value.dtype}{value.const_value.shape}".encode()
                key = hashlib.sha256(kind + value.const_value.tobytes()).hexdigest()
                values.setdefault(key, []).append(value)
    tensors = [same[0].const_value for same in values.values()]
    stored = onnx_ir.external_data.convert_tensors_to_external(tensors, folder, ENCODER)
    for same, tensor in zip(values.values(), stored, strict=True):
        for value in same:
            value.const_value = onnx_ir.ExternalTensor(
                tensor.location,
                tensor.offset,
                tensor.length,
                tensor.dtype,
                shape=tensor.shape,
                name=value.name,
                base_dir=folder,
            )
    for name, model in graphs.items():
        onnx_ir.save(model, folder / name)
