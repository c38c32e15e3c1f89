"""brat's standoff files: ``x.txt`` with a document and ``x.ann`` with its annotation. Offsets count code points."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterable, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

from span_marker.data.rows import RowEntity, as_text, check_entity, distinct, parse_row, read_utf8

logger = logging.getLogger(__name__)

_SPAN = re.compile(r"T\S*\t(\S+) (\d+ \d+(?:;\d+ \d+)*)\t(.*)", re.DOTALL)
_LINE_END = str.maketrans("\r\n", "  ")


def read_brat(path: Path) -> list[dict[str, Any]]:
    """Read a folder of documents, or one.

    Args:
        path: The folder, or one of the two files of a document.

    Returns:
        Canonical rows with ``id``, the name of the files, in order of the names.

    Raises:
        ValueError: If a file is missing, or a line can't be read or does not fit the text.
    """
    if not path.is_dir():
        missing = [path.with_suffix(suffix) for suffix in (".txt", ".ann") if not path.with_suffix(suffix).is_file()]
        if missing:
            raise ValueError(f"{path} is half of a document: {missing[0]} is missing")
        return [_read_document(path.with_suffix(".txt"))]
    texts, annotations = (sorted(path.glob(pattern)) for pattern in ("*.txt", "*.ann"))
    if not annotations:
        raise ValueError(f"{path} has no .ann files (a folder is read as brat: pass a single file for columns)")
    have_text = {text.with_suffix(".ann") for text in texts}
    strays = [file for file in annotations if file not in have_text]
    if strays:
        raise ValueError(f"{strays[0]} has no text: {strays[0].with_suffix('.txt').name} is missing beside it")
    left_out = [text.name for text in texts if not text.with_suffix(".ann").is_file()]
    if left_out:
        logger.warning("%s: %d texts have no .ann file and are left out: %s", path, len(left_out), left_out[:5])
    return [_read_document(file.with_suffix(".txt")) for file in annotations]


def _read_document(path: Path) -> dict[str, Any]:
    text, annotation = read_utf8(path, keep_mark=True), path.with_suffix(".ann")
    entities, split, others = [], [], 0
    for number, line in enumerate(read_utf8(annotation).split("\n"), start=1):
        line = line.removesuffix("\r")
        if not line.startswith("T"):
            others += bool(line.strip())
            continue
        entity = _read_span(line, text, f"{annotation}, line {number}")
        if entity is None:
            split.append(number)
        else:
            entities.append({"label": entity.label, "start": entity.start, "end": entity.end})
    if split:
        logger.warning(
            "%s: %d entities in several pieces can't be represented and are left out: lines %s",
            annotation,
            len(split),
            split[:5],
        )
    logger.debug("%s: %d lines are no entities and were ignored", annotation, others)
    return {"id": path.stem, "text": text, "entities": entities}


def _read_span(line: str, text: str, where: str) -> RowEntity | None:
    """Read one line; None if the entity has several pieces with text between them."""
    match = _SPAN.fullmatch(line)
    if match is None:
        raise ValueError(f"{where}: {line!r} is not of the form 'T1<TAB>LABEL START END<TAB>TEXT'")
    label, offsets, found = match.groups()
    bounds = [[int(bound) for bound in piece.split()] for piece in offsets.split(";")]
    pieces = [check_entity(label, start, end, len(text), where) for start, end in bounds]
    expected = " ".join(text[piece.start : piece.end] for piece in pieces)
    if expected.translate(_LINE_END) != found.translate(_LINE_END):
        raise ValueError(
            f"{where}: characters {offsets} of the text are {expected!r}, but the annotation says {found!r}"
        )
    # brat cuts an entity into pieces where a line ends.
    gaps = [text[piece.end : after.start] for piece, after in pairwise(pieces)]
    if any(not gap or gap.strip("\r\n") for gap in gaps):
        return None
    return pieces[0]._replace(end=pieces[-1].end)


def write_brat(folder: str | os.PathLike[str], rows: Iterable[Mapping[str, Any]]) -> None:
    """Write each row as a document: ``NAME.txt`` and ``NAME.ann``.

    The name is the row's ``id`` if it has one, else its number. Words are joined by single spaces. Scores and other
    columns are not written.

    Args:
        folder: Where to write; it is made if need be, and must have no .txt and .ann files.
        rows: The rows.

    Raises:
        ValueError: If a row or its label can't be written, or its ``id`` is no file name or occurs twice.
        FileExistsError: If the folder has .txt or .ann files.
    """
    documents: dict[str, tuple[str, str]] = {}
    for index, row in enumerate(rows):
        text, entities = as_text(parse_row(row, f"row {index}"))
        name = f"{index:06}" if row.get("id") is None else str(row["id"])
        if not re.fullmatch(r"[^/\\:\x00]+", name) or name in (".", ".."):
            raise ValueError(f"row {index}: the id {name!r} is no file name")
        if name in documents:
            raise ValueError(f"row {index}: the id {name!r} occurs twice, but names a file")
        lines = []
        for number, entity in enumerate(distinct(entities), start=1):
            if any(character.isspace() for character in entity.label):
                raise ValueError(f"row {index}: the label {entity.label!r} has white space, which brat can't have")
            span = text[entity.start : entity.end].translate(_LINE_END)
            lines.append(f"T{number}\t{entity.label} {entity.start} {entity.end}\t{span}\n")
        documents[name] = text, "".join(lines)
    target = Path(folder)
    target.mkdir(parents=True, exist_ok=True)
    existing = sorted(file.name for pattern in ("*.txt", "*.ann") for file in target.glob(pattern))
    if existing:
        raise FileExistsError(f"{target} has documents already, such as {existing[0]}: choose an empty folder")
    for name, (text, annotation) in documents.items():
        (target / f"{name}.txt").write_bytes(text.encode())
        (target / f"{name}.ann").write_bytes(annotation.encode())
