"""Exported models: a folder with two graphs in place of an encoder's weights, see ``docs/export.md``.

It has ``config.json`` and the files of the tokenizer, as every checkpoint, and a folder ``onnx`` with the graphs, their
weights, the heads of the model, and ``export.json``, which lists these files with their checksums.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import PreTrainedConfig, PreTrainedModel
from transformers.utils.hub import cached_file

from span_marker.checkpoints.atomic import WEIGHTS
from span_marker.checkpoints.errors import BROKEN_WEIGHTS, StrPath, naming_broken_files
from span_marker.checkpoints.loading import ARGUMENTS, HUB_ARGUMENTS
from span_marker.checkpoints.runtimes import RUNTIMES, RuntimeGraph, import_extra
from span_marker.configuration import SpanMarkerConfig
from span_marker.encoders.families import family_of
from span_marker.encoders.graph_engine import Backend, GraphEngine
from span_marker.encoders.support import check_encoder
from span_marker.version import __version__

Model = TypeVar("Model", bound=PreTrainedModel)

FOLDER = "onnx"
TEXT_GRAPH = "text.onnx"
MARKER_GRAPH = "markers.onnx"
ENCODER = "encoder.bin"
HEADS = "heads.safetensors"
MANIFEST = "export.json"

FILES = (TEXT_GRAPH, MARKER_GRAPH, ENCODER, HEADS)
"""Files of `FOLDER` that `MANIFEST` lists: the graphs, the weights of both, and everything beside the encoder."""

FORMAT = 1
"""Version of the layout of files and of what the graphs take and return."""

MARKER_EMBEDS = "marker_embeds"
"""Name of the embeddings of the two markers among the heads."""

LARGEST_GRAPH = 2**28
"""The largest size of a graph without its weights, in bytes."""


class ExportedEncoder(nn.Module):
    """Stands in for an encoder whose weights are in graphs.

    Args:
        config: The encoder's configuration.
        embed_dim: Size of its token embeddings.
        files: The files of the export, by name.
        manifest: The contents of `MANIFEST`.
    """

    supports_gradient_checkpointing = False

    def __init__(
        self, config: PreTrainedConfig, embed_dim: int, files: Mapping[str, Path], manifest: dict[str, Any]
    ) -> None:
        super().__init__()
        self.config = config
        self.name_or_path = config.name_or_path
        self.files = files
        self.manifest = manifest
        self._embeddings = nn.Embedding(0, embed_dim)  # the size is all that is asked of it

    def get_input_embeddings(self) -> nn.Module:
        """Return an embedding of no tokens, which has the right size."""
        return self._embeddings


def choose_backend(path: StrPath, backend: Backend | None) -> Backend:
    """Choose what runs a checkpoint.

    Args:
        path: A folder or the name of a repository.
        backend: What the caller asks for; None for ONNX Runtime if a folder has nothing but graphs, and otherwise
            PyTorch.

    Returns:
        The backend.

    Raises:
        ValueError: If there is no such backend.
        FileNotFoundError: If PyTorch is asked for, and the folder has only graphs.
    """
    if backend not in (None, "torch", *RUNTIMES):
        raise ValueError(f"backend={backend!r} must be one of {['torch', *RUNTIMES]}")
    has_only_graphs = Path(path, FOLDER, MANIFEST).is_file() and not _has_weights(Path(path))
    if backend == "torch" and has_only_graphs:
        raise FileNotFoundError(
            f"{str(path)!r} has exported graphs and no weights for PyTorch: load it with backend='onnx', or load the "
            "checkpoint that it was exported from"
        )
    return backend or ("onnx" if has_only_graphs else "torch")


def _has_weights(folder: Path) -> bool:
    return any(True for pattern in WEIGHTS for _ in folder.glob(pattern))


def load_exported(
    model_class: type[Model], path: StrPath, config: SpanMarkerConfig, backend: Backend, arguments: dict[str, Any]
) -> Model:
    """Load an exported model, without its tokenizer.

    Args:
        model_class: Class of the model.
        path: A folder or the name of a repository.
        config: Its configuration.
        backend: The runtime, a key of `RUNTIMES`.
        arguments: Arguments of ``from_pretrained``; only those that say where on the Hub are allowed.

    Returns:
        The model.

    Raises:
        FileNotFoundError: If there are no graphs.
        ImportError: If the runtime is not installed.
        TypeError: If there is an argument that graphs cannot follow.
        ValueError: If a file is broken, of another export, or of a newer version.
    """
    if unknown := sorted(set(arguments) - set(HUB_ARGUMENTS)):
        kind = "are for backend='torch'" if set(unknown) <= set(ARGUMENTS) else "do not exist"
        raise TypeError(f"the arguments {unknown} of from_pretrained {kind}: exported graphs cannot follow them")
    check_encoder(config.encoder)
    files, manifest = _find_files(path, arguments)
    for name in (TEXT_GRAPH, MARKER_GRAPH):
        check_graph(files[name], files[ENCODER])
    with naming_broken_files(f"the heads ({FOLDER}/{HEADS})", path, BROKEN_WEIGHTS):
        heads = load_file(files[HEADS])
        marker_embeds = heads.pop(MARKER_EMBEDS)
    encoder: Any = ExportedEncoder(config.encoder, marker_embeds.shape[-1], files, manifest)
    runtime = RUNTIMES[backend]
    graphs = runtime(files[TEXT_GRAPH]), runtime(files[MARKER_GRAPH])
    _check_shapes(config.encoder, *graphs, path)
    engine = GraphEngine(backend, *graphs, marker_embeds, manifest["max_distance"])
    arguments_of_model: dict[str, Any] = {"encoder": encoder, "engine": engine}
    model = model_class(config, **arguments_of_model)
    _load_heads(model, heads, path)
    return model


def _find_files(path: StrPath, arguments: dict[str, Any]) -> tuple[dict[str, Path], dict[str, Any]]:
    """Find the files of an export, and check them against its manifest."""
    manifest_path = _find(path, MANIFEST, arguments)
    if manifest_path is None:
        raise FileNotFoundError(
            f"{str(path)!r} has no exported graphs ({FOLDER}/{MANIFEST}): export the model with "
            f"span_marker.export.export_onnx(model, folder) or span-marker export, or load it with backend='torch'"
        )
    with naming_broken_files(f"the list of graphs ({FOLDER}/{MANIFEST})", path):
        manifest = json.loads(manifest_path.read_text(encoding="utf-8"))
        if manifest["format"] != FORMAT:
            raise ValueError(
                f"format={manifest['format']!r} was written by span_marker {manifest.get('span_marker_version')}, and "
                f"this is {__version__}, which reads format={FORMAT}: export the model again"
            )
        if not isinstance(manifest["max_distance"], int) or manifest["max_distance"] < 1:
            raise ValueError(f"max_distance={manifest['max_distance']!r} must be a whole number of at least 1")
        records = {name: (manifest["files"][name]["num_bytes"], manifest["files"][name]["sha256"]) for name in FILES}
    files = {}
    for name, record in records.items():
        file = _find(path, name, arguments)
        if file is None:
            raise FileNotFoundError(f"{str(path)!r} has no {FOLDER}/{name}: export the model again")
        if record != (file.stat().st_size, checksum(file)):
            raise ValueError(
                f"{FOLDER}/{name} of {str(path)!r} is not the file that {FOLDER}/{MANIFEST} lists: it is cut short or "
                "belongs to another export. Copy the folder again, or export the model again"
            )
        files[name] = file
    return files, manifest


def _find(path: StrPath, name: str, arguments: dict[str, Any]) -> Path | None:
    # private: what is missing is named by the caller.
    file = cached_file(path, f"{FOLDER}/{name}", _raise_exceptions_for_missing_entries=False, **arguments)
    return None if file is None else Path(file)


def checksum(file: Path) -> str:
    """Compute the SHA-256 of a file, as hexadecimal digits."""
    digest = hashlib.sha256()
    with file.open("rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def check_graph(path: Path, weights: Path) -> None:
    """Refuse a graph that is more than data: only operators of the ONNX standard, only weights in their one file.

    Args:
        path: The file of the graph.
        weights: The file of its weights.

    Raises:
        ValueError: If the graph is too large, broken, has operators of its own, or refers to other files.
    """
    if path.stat().st_size > LARGEST_GRAPH:
        raise ValueError(f"{str(path)!r} has {path.stat().st_size:,} bytes, but a graph has at most {LARGEST_GRAPH:,}")
    onnx: Any = import_extra("onnx")
    from google.protobuf.message import DecodeError  # what onnx reads files with

    try:
        graph = onnx.load(path, load_external_data=False)
    except DecodeError as error:
        raise ValueError(f"{str(path)!r} is no ONNX file: {error}") from error
    graphs = list(_graphs(graph.graph))
    nodes = [node for part in graphs for node in part.node]
    domains = {node.domain for node in nodes} - {"", "ai.onnx"}
    if domains or graph.functions:
        own = sorted({node.op_type for node in nodes if node.domain in domains} | {f.name for f in graph.functions})
        raise ValueError(f"{str(path)!r} has operators that are not in the ONNX standard, which are not run: {own}")
    num_bytes = weights.stat().st_size
    tensors = [tensor for part in graphs for tensor in part.initializer]
    tensors += [tensor for node in nodes for item in node.attribute for tensor in (item.t, *item.tensors)]
    for tensor in tensors:
        if tensor.data_location == onnx.TensorProto.EXTERNAL:
            entry = {item.key: item.value for item in tensor.external_data}
            offset, length = (int(entry.get(name, -1)) for name in ("offset", "length"))
            if entry.get("location") != ENCODER or min(offset, length) < 0 or offset + length > num_bytes:
                raise ValueError(f"{str(path)!r} refers to weights outside of {ENCODER}: {tensor.name}")


def _graphs(graph: Any) -> Iterator[Any]:
    """A graph and the graphs inside its nodes."""
    yield graph
    for node in graph.node:
        for attribute in node.attribute:
            for inner in (attribute.g, *attribute.graphs):
                if inner.node:
                    yield from _graphs(inner)


def _check_shapes(
    config: PreTrainedConfig, text_graph: RuntimeGraph, marker_graph: RuntimeGraph, path: StrPath
) -> None:
    num_states = len(text_graph.output_shapes), 2 * family_of(config).num_attention_layers(config)
    hidden = marker_graph.output_shapes[0][-1], config.hidden_size
    if num_states[0] != num_states[1] or hidden[0] != hidden[1]:
        raise ValueError(
            f"the graphs of {str(path)!r} are those of another model: they have {num_states[0] // 2} layers of size "
            f"{hidden[0]}, and config.json says {num_states[1] // 2} of size {hidden[1]}"
        )


def _load_heads(model: PreTrainedModel, heads: dict[str, Tensor], path: StrPath) -> None:
    expected = {name: tensor.shape for name, tensor in _head_weights(model).items()}
    shapes = {name: tensor.shape for name, tensor in heads.items()}
    if wrong := sorted(name for name in {*expected, *shapes} if expected.get(name) != shapes.get(name)):
        raise ValueError(
            f"{FOLDER}/{HEADS} of {str(path)!r} does not fit config.json: {wrong[0]!r} has the shape "
            f"{shapes.get(wrong[0])} instead of {expected.get(wrong[0])}"
        )
    model.load_state_dict(heads, strict=False)


def _head_weights(model: PreTrainedModel) -> dict[str, Tensor]:
    """The weights of everything beside the encoder."""
    return {name: tensor for name, tensor in model.state_dict().items() if not name.startswith("encoder.")}


def save_exported(model: PreTrainedModel, folder: Path) -> None:
    """Write configuration, graphs and heads of an exported model.

    Args:
        model: The model.
        folder: The folder to write to.
    """
    encoder, engine = model.encoder, model.engine
    assert isinstance(encoder, ExportedEncoder)
    assert isinstance(engine, GraphEngine)
    target = folder / FOLDER
    target.mkdir()
    for name in (TEXT_GRAPH, MARKER_GRAPH, ENCODER):
        shutil.copyfile(encoder.files[name], target / name)
    finish_export(model, folder, engine.marker_embeds, encoder.manifest)


def finish_export(model: PreTrainedModel, folder: Path, marker_embeds: Tensor, manifest: Mapping[str, Any]) -> None:
    """Write what an exported model needs beside its graphs: configuration, heads, and the list of files.

    Args:
        model: A model with the heads, in PyTorch or exported.
        folder: The folder of the model; its graphs are there.
        marker_embeds: Embeddings of the start and end marker, ``(2, embed_dim)``.
        manifest: What the list says besides the files.
    """
    target = folder / FOLDER
    heads = {**_head_weights(model), MARKER_EMBEDS: marker_embeds}
    save_file({name: tensor.detach().float().cpu().contiguous() for name, tensor in heads.items()}, target / HEADS)
    files = {name: {"num_bytes": (target / name).stat().st_size, "sha256": checksum(target / name)} for name in FILES}
    write_manifest(folder, {**manifest, "format": FORMAT, "span_marker_version": __version__, "files": files})
    model.config.architectures = [type(model).__name__]
    model.config.save_pretrained(folder)


def write_manifest(folder: Path, manifest: Mapping[str, Any]) -> None:
    """Write the list of an export's files.

    Args:
        folder: The folder of the model.
        manifest: Its contents.
    """
    (folder / FOLDER / MANIFEST).write_text(json.dumps(manifest, indent=2) + "\n", encoding="utf-8")


def outdated_by_weights(folder: StrPath) -> tuple[str, ...]:
    """List what a folder must lose when a checkpoint is written to it: old weights, and graphs that were made of them.

    Args:
        folder: The folder.

    Returns:
        Patterns for `span_marker.checkpoints.atomic.replacing`.
    """
    return (*WEIGHTS, FOLDER) if Path(folder, FOLDER, MANIFEST).is_file() else WEIGHTS


def check_target(folder: StrPath) -> None:
    """Refuse to write graphs beside weights, which may be those of another model.

    Args:
        folder: The folder.

    Raises:
        ValueError: If it has weights for PyTorch.
    """
    if Path(folder).is_dir() and _has_weights(Path(folder)):
        raise ValueError(f"{str(folder)!r} holds a checkpoint with weights: export the model to a folder of its own")
