"""The files of an exported model, other than its configuration and its tokenizer. See ``docs/export.md``."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, get_args

from span_marker.core.arrays import Precision
from span_marker.graphs.onnx_files import check_graph
from span_marker.version import __version__

FOLDER = "onnx"
TEXT_GRAPH = "text.onnx"
MARKER_GRAPH = "markers.onnx"
PAIR_GRAPH = "pairs.onnx"
ENCODER = "encoder.bin"
HEADS = "heads.safetensors"
MANIFEST = "export.json"

FILES = (TEXT_GRAPH, MARKER_GRAPH, ENCODER, HEADS)
"""Files of `FOLDER` that `MANIFEST` lists: the graphs, their weights, and the heads. `PAIR_GRAPH` is also listed if the
model has relations."""

GRAPHS = (TEXT_GRAPH, MARKER_GRAPH, PAIR_GRAPH)
"""All graphs that a model may have."""

FORMAT = 1
"""Version of the file layout and of the inputs and outputs of the graphs."""

MARKER_EMBEDS = "marker_embeds"
"""Name of the embeddings of the two markers among the heads."""

BROKEN = (AttributeError, IndexError, KeyError, OverflowError, RecursionError, TypeError, ValueError)
"""Errors from reading a broken settings file."""


@contextmanager
def naming_files(contents: str, path: str | os.PathLike[str], *more: type[Exception]) -> Iterator[None]:
    """Turn errors about the contents of files into errors that name the files.

    Args:
        contents: What is being read, with the names of its files.
        path: A folder or the name of a repository.
        *more: Errors that mean that the contents are broken, in addition to `BROKEN`.

    Raises:
        ValueError: In place of such an error.
    """
    try:
        yield
    except BaseException as error:
        if (
            not isinstance(error, (*BROKEN, *more)) and type(error) is not Exception
        ):  # as libraries written in Rust raise it
            raise
        reason = str(error) if isinstance(error, ValueError) else f"{type(error).__name__}: {error}"
        raise ValueError(f"cannot read {contents} of {str(path)!r}: {reason}") from error


def find_files(
    path: str | os.PathLike[str], find: Callable[[str], Path | None]
) -> tuple[dict[str, Path], dict[str, Any]]:
    """Find the files of an export, and check them against its manifest. Graphs that are not plain data are refused.

    Args:
        path: A folder or the name of a repository, for errors.
        find: Finds a file by its name relative to ``path``; None if there is none.

    Returns:
        The files of `FILES`, and `PAIR_GRAPH` if it is listed, by name; and the contents of `MANIFEST`.

    Raises:
        FileNotFoundError: If there are no graphs.
        ValueError: If a file is broken, belongs to another export, or is of a newer version.
    """
    manifest_path = find(f"{FOLDER}/{MANIFEST}")
    if manifest_path is None:
        raise FileNotFoundError(
            f"{str(path)!r} has no exported graphs ({FOLDER}/{MANIFEST}): export the model with "
            f"span_marker.export.export_onnx(model, folder) or span-marker export, or load it with backend='torch'"
        )
    with naming_files(f"the list of graphs ({FOLDER}/{MANIFEST})", path):
        manifest = json.loads(manifest_path.read_text(encoding="utf-8"))
        if manifest["format"] != FORMAT:
            raise ValueError(
                f"format={manifest['format']!r} was written by span_marker {manifest.get('span_marker_version')}, but "
                f"this is {__version__}, which reads format={FORMAT}: export the model again"
            )
        if not isinstance(manifest["max_distance"], int) or manifest["max_distance"] < 1:
            raise ValueError(f"max_distance={manifest['max_distance']!r} must be a whole number of at least 1")
        if manifest.setdefault("dtype", "float32") not in get_args(Precision):
            raise ValueError(f"dtype={manifest['dtype']!r} must be one of {[*get_args(Precision)]}")
        records = {
            name: {key: manifest["files"][name][key] for key in ("num_bytes", "sha256")}
            for name in listed_files(manifest["files"])
        }
    files = {}
    for name, record in records.items():
        file = find(f"{FOLDER}/{name}")
        if file is None:
            raise FileNotFoundError(f"{str(path)!r} has no {FOLDER}/{name}: export the model again")
        check_file(file, record, path)
        files[name] = file
    for name in graph_names(files):
        check_graph(files[name], files[ENCODER])
    return files, manifest


def listed_files(names: Iterable[str]) -> list[str]:
    """List the files that an export must have.

    Args:
        names: The names that it lists.

    Returns:
        Those of `FILES`, and `PAIR_GRAPH` if it is among them.
    """
    return [*FILES, *({PAIR_GRAPH} & {*names})]


def graph_names(files: Iterable[str]) -> list[str]:
    """List the graphs of an export.

    Args:
        files: The names of its files.

    Returns:
        Those of `GRAPHS`, in this order.
    """
    return [name for name in GRAPHS if name in {*files}]


def check_pair_graph(files: Iterable[str], relation_labels: Sequence[str] | None, path: str | os.PathLike[str]) -> None:
    """Check that an export has a graph for relations if and only if the model has relations.

    Args:
        files: The names of its files.
        relation_labels: The relations of the model, or None.
        path: A folder or the name of a repository, for errors.

    Raises:
        ValueError: If not.
    """
    has_graph = PAIR_GRAPH in {*files}
    if has_graph != (relation_labels is not None):
        raise ValueError(
            f"{str(path)!r} has {'a' if has_graph else 'no'} graph for relations ({FOLDER}/{PAIR_GRAPH}), but "
            f"config.json has relation_labels={relation_labels}: export the model again"
        )


def check_file(file: Path, record: Mapping[str, Any], path: str | os.PathLike[str]) -> None:
    """Check that a file is the one that `MANIFEST` lists.

    Args:
        file: The file.
        record: Its entry in the list, see `describe_file`.
        path: The folder or the name of a repository that it comes from, for errors.

    Raises:
        ValueError: If not.
    """
    if describe_file(file) != record:
        raise ValueError(
            f"{FOLDER}/{file.name} of {str(path)!r} is not the file that {FOLDER}/{MANIFEST} lists: it is truncated or "
            "belongs to another export. Copy the folder again, or export the model again"
        )


def describe_file(file: Path) -> dict[str, Any]:
    """Describe a file for `MANIFEST`: its size in bytes, and its checksum."""
    return {"num_bytes": file.stat().st_size, "sha256": checksum(file)}


def checksum(file: Path) -> str:
    """Compute the SHA-256 of a file, as hexadecimal digits."""
    digest = hashlib.sha256()
    with file.open("rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
