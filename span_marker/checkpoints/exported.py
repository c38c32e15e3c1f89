"""Exported models: a folder with graphs in place of an encoder's weights, see ``docs/export.md``.

Like every checkpoint, it has ``config.json`` and the files of the tokenizer. The folder ``onnx`` has the graphs, their
weights, the heads of the model, and ``export.json``, which lists these files with their checksums.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import PreTrainedConfig, PreTrainedModel
from transformers.utils.hub import cached_file

from span_marker.checkpoints.atomic import WEIGHTS
from span_marker.checkpoints.errors import BROKEN_WEIGHTS, StrPath, naming_broken_files
from span_marker.checkpoints.loading import ARGUMENTS, HUB_ARGUMENTS, known_arguments
from span_marker.configuration import SpanMarkerConfig
from span_marker.core import folders
from span_marker.encoders.families import family_of
from span_marker.encoders.graph_engine import Backend, GraphEngine
from span_marker.encoders.support import check_encoder
from span_marker.graphs.files import (
    ENCODER,
    FOLDER,
    FORMAT,
    HEADS,
    MANIFEST,
    MARKER_EMBEDS,
    check_file,
    check_pair_graph,
    describe_file,
    find_files,
    graph_names,
    listed_files,
)
from span_marker.graphs.runtimes import RUNTIMES, RuntimeGraph
from span_marker.version import __version__

Model = TypeVar("Model", bound=PreTrainedModel)

_ONLY_GRAPHS = (
    "{!r} has exported graphs, but no weights for PyTorch: load it with backend='onnx', or load the checkpoint that "
    "it was exported from"
)


class ExportedEncoder(nn.Module):
    """Placeholder for an encoder whose weights are in graphs.

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
        """Return an embedding of no tokens with the right dimension."""
        return self._embeddings


def choose_backend(path: StrPath, backend: Backend | None) -> Backend:
    """Choose the backend for a checkpoint.

    Args:
        path: A folder or the name of a repository.
        backend: The backend that the caller requests. Defaults to PyTorch; for a folder with only graphs, to the
            runtime that they were verified with.

    Returns:
        The backend.

    Raises:
        ValueError: If there is no such backend, or the list of graphs is broken.
        FileNotFoundError: If PyTorch is requested, but the folder has only graphs.
    """
    if backend not in (None, "torch", *RUNTIMES):
        raise ValueError(f"backend={backend!r} must be one of {['torch', *RUNTIMES]}")
    has_only_graphs = Path(path, FOLDER, MANIFEST).is_file() and not _has_weights(Path(path))
    if backend == "torch" and has_only_graphs:
        raise FileNotFoundError(_ONLY_GRAPHS.format(str(path)))
    if backend is None and has_only_graphs:
        with naming_broken_files(f"the list of graphs ({FOLDER}/{MANIFEST})", path):
            backend = json.loads(Path(path, FOLDER, MANIFEST).read_text(encoding="utf-8")).get("backend") or "onnx"
            return choose_backend(path, backend)
    return backend or "torch"


@contextmanager
def reading_weights(path: StrPath, arguments: dict[str, Any]) -> Iterator[None]:
    """Turn errors about the weights of a checkpoint into errors that say what to change.

    Args:
        path: A folder or the name of a repository.
        arguments: Arguments of ``from_pretrained``.

    Raises:
        FileNotFoundError: If a repository has graphs but no weights.
        TypeError: If one of the arguments is unknown.
        ValueError: If the weights are broken.
    """
    with known_arguments(arguments), naming_broken_files("the weights", path, BROKEN_WEIGHTS):
        try:
            yield
        except OSError as error:
            known = {name: value for name, value in arguments.items() if name in HUB_ARGUMENTS}
            if Path(path).exists() or _find(path, f"{FOLDER}/{MANIFEST}", known) is None:
                raise
            raise FileNotFoundError(_ONLY_GRAPHS.format(str(path))) from error


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
        arguments: Arguments of ``from_pretrained``; only those that locate files on the Hub are allowed.

    Returns:
        The model.

    Raises:
        FileNotFoundError: If there are no graphs.
        ImportError: If the runtime is not installed.
        TypeError: If an argument does not apply to graphs.
        ValueError: If a file is broken, belongs to another export, or is of a newer version.
    """
    if unknown := sorted(set(arguments) - set(HUB_ARGUMENTS)):
        kind = "are for backend='torch'" if set(unknown) <= set(ARGUMENTS) else "do not exist"
        raise TypeError(
            f"the arguments {unknown} of from_pretrained {kind}: remove them, since exported graphs cannot use them"
        )
    check_encoder(config.encoder)
    files, manifest = find_files(path, lambda name: _find(path, name, arguments))
    check_pair_graph(files, config.relation_labels, path)
    with naming_broken_files(f"the heads ({FOLDER}/{HEADS})", path, BROKEN_WEIGHTS):
        heads = load_file(files[HEADS])
        marker_embeds = heads.pop(MARKER_EMBEDS)
    encoder: Any = ExportedEncoder(config.encoder, marker_embeds.shape[-1], files, manifest)
    runtime = RUNTIMES[backend]
    graphs = [runtime(files[name], None, manifest["dtype"]) for name in graph_names(files)]
    _check_shapes(config.encoder, graphs, path)
    engine = GraphEngine(backend, graphs[0], graphs[1], marker_embeds, manifest["max_distance"], *graphs[2:])
    arguments_of_model: dict[str, Any] = {"encoder": encoder, "engine": engine}
    model = model_class(config, **arguments_of_model)
    _load_heads(model, heads, path)
    return model


def _find(path: StrPath, name: str, arguments: dict[str, Any]) -> Path | None:
    # private: what is missing is named by the caller.
    file = cached_file(path, name, _raise_exceptions_for_missing_entries=False, **arguments)
    return None if file is None else Path(file)


def _check_shapes(config: PreTrainedConfig, graphs: Sequence[RuntimeGraph], path: StrPath) -> None:
    num_states = len(graphs[0].output_shapes), 2 * family_of(config).num_attention_layers(config)
    hidden = [graph.output_shapes[0][-1] for graph in graphs[1:]], config.hidden_size
    if num_states[0] != num_states[1] or {*hidden[0]} != {hidden[1]}:
        raise ValueError(
            f"the graphs of {str(path)!r} belong to another model: they have {num_states[0] // 2} layers of size "
            f"{hidden[0][0]}, but config.json has {num_states[1] // 2} of size {hidden[1]}"
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
    """The weights of everything except the encoder."""
    return {name: tensor for name, tensor in model.state_dict().items() if not name.startswith("encoder.")}


def save_exported(model: PreTrainedModel, folder: Path) -> None:
    """Write the configuration, graphs and heads of an exported model.

    Args:
        model: The model.
        folder: The folder to write to.

    Raises:
        ValueError: If the files that it was loaded from have changed since.
    """
    encoder, engine = model.encoder, model.engine
    assert isinstance(encoder, ExportedEncoder)
    assert isinstance(engine, GraphEngine)
    target = folder / FOLDER
    target.mkdir()
    for name in (*graph_names(encoder.files), ENCODER):
        shutil.copyfile(encoder.files[name], target / name)
        check_file(target / name, encoder.manifest["files"][name], encoder.files[name].parent.parent)
    finish_export(model, folder, engine.marker_embeds, encoder.manifest)


def finish_export(model: PreTrainedModel, folder: Path, marker_embeds: Tensor, manifest: Mapping[str, Any]) -> None:
    """Write the files of an exported model other than its graphs: configuration, heads, and the list of files.

    Args:
        model: A model with the heads, in PyTorch or exported.
        folder: The folder of the model, which contains its graphs.
        marker_embeds: Embeddings of the start and end marker, ``(2, embed_dim)``.
        manifest: Contents of the list in addition to the files.
    """
    target = folder / FOLDER
    heads = {**_head_weights(model), MARKER_EMBEDS: marker_embeds}
    save_file({name: tensor.detach().float().cpu().contiguous() for name, tensor in heads.items()}, target / HEADS)
    names = listed_files(path.name for path in target.iterdir())
    files = {name: describe_file(target / name) for name in names}
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
    """List the files to remove when a model is written to a folder: weights and graphs of another model.

    Args:
        folder: The folder.

    Returns:
        Patterns for `span_marker.core.folders.replacing`.
    """
    folders.finish(folder)
    return (*WEIGHTS, FOLDER) if Path(folder, FOLDER, MANIFEST).is_file() else WEIGHTS


def check_target(folder: StrPath) -> None:
    """Refuse to write graphs into a folder with weights, which may belong to another model.

    Args:
        folder: The folder.

    Raises:
        ValueError: If it has weights for PyTorch.
    """
    folders.finish(folder)
    if Path(folder).is_dir() and _has_weights(Path(folder)):
        raise ValueError(f"{str(folder)!r} holds a checkpoint with weights: export the model to a separate folder")
