"""Check that graph files contain only data, before any runtime reads them.

ONNX files are Protocol Buffers. The few relevant fields are read here without any package; their numbers are those of
``onnx.proto`` in the ONNX standard.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple, TypeAlias

LARGEST_GRAPH = 2**28
"""Maximum size of a graph without its weights, in bytes."""

EXTERNAL = 1
"""Value of ``TensorProto.data_location`` for weights in another file."""

VARINT, EIGHT_BYTES, BYTES, FOUR_BYTES = 0, 1, 2, 5
"""Wire types of Protocol Buffers."""

_Fields: TypeAlias = "dict[int, list[int | memoryview]]"
"""The values of a message, in order, by the numbers of their fields."""


class _Contents(NamedTuple):
    """The parts of a graph that are checked: domain and type of each operator, its tensors, and its functions."""

    operators: list[tuple[str, str]]
    tensors: list[memoryview]
    functions: list[str]


def check_graph(path: Path, weights: Path) -> None:
    """Refuse a graph that is not plain data: only standard ONNX operators, and only weights in the one weights file.

    Args:
        path: The file of the graph.
        weights: The file of its weights.

    Raises:
        ValueError: If the graph is too large or broken, has custom operators, or refers to other files.
    """
    if path.stat().st_size > LARGEST_GRAPH:
        raise ValueError(f"{str(path)!r} has {path.stat().st_size:,} bytes, but a graph has at most {LARGEST_GRAPH:,}")
    try:
        contents = _read(memoryview(path.read_bytes()))
        external = [entry for tensor in contents.tensors if (entry := _external(tensor)) is not None]
    except (IndexError, UnicodeDecodeError, ValueError) as error:
        raise ValueError(f"{str(path)!r} is not an ONNX file: {error}") from error
    own = sorted({kind for domain, kind in contents.operators if domain not in ("", "ai.onnx")} | {*contents.functions})
    if own:
        raise ValueError(f"{str(path)!r} has operators that are not in the ONNX standard, which are not run: {own}")
    num_bytes = weights.stat().st_size
    for name, location, offset, length in external:
        if location != weights.name or min(offset, length) < 0 or offset + length > num_bytes:
            raise ValueError(f"{str(path)!r} refers to weights outside of {weights.name}: {name}")


def _read(model: memoryview) -> _Contents:
    """Read a ModelProto, with the graphs inside of its operators."""
    fields = _fields(model)
    contents = _Contents([], [], [_text(_fields(function), 1) for function in _parts(fields, 25)])
    graphs = [*_parts(fields, 7)]
    while graphs:
        graph = _fields(graphs.pop())
        contents.tensors.extend(_parts(graph, 5))
        contents.tensors.extend(_sparse_parts(graph, 15))
        for node in map(_fields, _parts(graph, 1)):
            contents.operators.append((_text(node, 7), _text(node, 4)))
            for attribute in map(_fields, _parts(node, 5)):
                graphs.extend(_parts(attribute, 6, 11))
                contents.tensors.extend(_parts(attribute, 5, 10))
                contents.tensors.extend(_sparse_parts(attribute, 22, 23))
    return contents


def _sparse_parts(fields: _Fields, *numbers: int) -> Iterator[memoryview]:
    """The tensors that sparse tensors consist of."""
    for sparse in _parts(fields, *numbers):
        yield from _parts(_fields(sparse), 1, 2)


def _external(tensor: memoryview) -> tuple[str, str, int, int] | None:
    """Name of a TensorProto, and file, offset and length of its weights; None if they are in the graph itself."""
    fields = _fields(tensor)
    if EXTERNAL not in fields.get(14, ()):
        return None
    pairs = [(_text(entry, 1), _text(entry, 2)) for entry in map(_fields, _parts(fields, 13))]
    entry = dict(pairs)
    if len(entry) < len(pairs):
        raise ValueError("a tensor has two locations of its weights")
    offset, length = (int(entry.get(name, -1)) for name in ("offset", "length"))
    return _text(fields, 8), entry.get("location", ""), offset, length


def _text(fields: _Fields, number: int) -> str:
    """A field with text, empty if it is missing. The last one counts."""
    return bytes([b"", *_parts(fields, number)][-1]).decode()


def _parts(fields: _Fields, *numbers: int) -> Iterator[memoryview]:
    """The fields with these numbers, which must hold bytes."""
    for number in numbers:
        for value in fields.get(number, ()):
            if isinstance(value, int):
                raise ValueError(f"field {number} is a number")
            yield value


def _fields(message: memoryview) -> _Fields:
    """The values of a message by the numbers of their fields, in order."""
    fields: _Fields = {}
    place = 0
    while place < len(message):
        key, place = _varint(message, place)
        kind = key & 7
        values = fields.setdefault(key >> 3, [])
        if kind == VARINT:
            value, place = _varint(message, place)
            values.append(value)
            continue
        if kind == BYTES:
            size, place = _varint(message, place)
        elif kind in (EIGHT_BYTES, FOUR_BYTES):
            size = 8 if kind == EIGHT_BYTES else 4
        else:
            raise ValueError(f"unknown wire type {kind}")
        if place + size > len(message):
            raise ValueError("cut short")
        values.append(message[place : place + size])
        place += size
    return fields


def _varint(message: memoryview, place: int) -> tuple[int, int]:
    """A whole number of seven bits per byte, and the place after it."""
    value = message[place]
    place += 1
    if value < 0x80:  # nearly always
        return value, place
    value &= 0x7F
    for shift in range(7, 70, 7):
        byte = message[place]
        place += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, place
    raise ValueError("a number has more than 64 bits")
