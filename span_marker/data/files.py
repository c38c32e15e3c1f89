"""Reading annotated data: one function for the files of annotation tools and data sets."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from datasets import Dataset

from span_marker.data.brat import read_brat
from span_marker.data.conll import read_conll
from span_marker.data.jsonl import read_json
from span_marker.data.rows import check_path, to_dataset
from span_marker.data.spacy_docs import read_docbin

FORMATS: dict[str, tuple[str, ...]] = {
    "conll": (".conll", ".txt", ".bio", ".iob", ".iob2", ".tsv"),
    "jsonl": (".jsonl", ".json"),
    "brat": (".ann",),
    "docbin": (".spacy",),
}
"""File endings of each format; a folder is brat's, too."""

_DEFAULTS = {"token_column": 0, "tag_columns": -1, "documents": False, "annotator": None, "spans_key": None}
_OPTIONS = {
    "conll": ("token_column", "tag_columns", "documents"),
    "jsonl": ("annotator",),
    "brat": (),
    "docbin": ("spans_key",),
}


def read_annotations(
    path: str | os.PathLike[str],
    format: str | None = None,
    *,
    token_column: int = 0,
    tag_columns: int | Sequence[int] | Literal["all"] = -1,
    documents: bool = False,
    annotator: str | int | None = None,
    spans_key: str | None = None,
) -> Dataset:
    """Read annotated data into canonical rows: ``tokens`` or ``text``, and ``entities``.

    Nothing is guessed: what can't be read for certain is an error that says where it stands. What was not annotated
    (skipped, rejected, not finished) is left out, and a warning says how much that is.

    Args:
        path: A file, or for brat a folder.
        format: ``conll``, ``jsonl``, ``brat`` or ``docbin``; told by the ending of the path by default.
        token_column: For conll: the column of the words.
        tag_columns: For conll: the column of the tags. Several, or ``"all"`` but the words', are levels of nested
            entities.
        documents: For conll: whether ``-DOCSTART-`` lines become the columns ``document_id`` and ``sentence_id``, with
            which the trainer reads each sentence in the context of its document.
        annotator: For jsonl: whose annotation to take where there are several; a name, number or address.
        spans_key: For docbin: read ``Doc.spans[spans_key]`` instead of ``Doc.ents``.

    Returns:
        A data set with the columns ``tokens`` or ``text``, ``entities``, and others that the format has.

    Raises:
        TypeError: If the path is none.
        ValueError: If the format is unknown, an option is not one of the format, or the data can't be read.
        FileNotFoundError: If there is no such file.
    """
    check_path(path)
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"there is no {path}")
    name = _infer_format(path) if format is None else format
    if name not in FORMATS:
        raise ValueError(f"format={format!r} must be one of {list(FORMATS)}")
    given: dict[str, Any] = {
        "token_column": token_column,
        "tag_columns": tag_columns,
        "documents": documents,
        "annotator": annotator,
        "spans_key": spans_key,
    }
    for option, value in given.items():
        if value != _DEFAULTS[option] and option not in _OPTIONS[name]:
            raise ValueError(f"{option}={value!r} means nothing for {path}, which is read as {name}: leave it out")
    if name != "brat" and path.is_dir():
        raise ValueError(f"{path} is a folder: for format={name!r}, pass one file")
    if name == "conll":
        return to_dataset(read_conll(path, token_column, tag_columns, documents), path)
    if name == "jsonl":
        return to_dataset(read_json(path, annotator), path)
    if name == "docbin":
        return to_dataset(read_docbin(path, spans_key), path)
    return to_dataset(read_brat(path), path)


def _infer_format(path: Path) -> str:
    if path.is_dir() or (path.suffix == ".txt" and path.with_suffix(".ann").exists()):
        return "brat"
    for name, endings in FORMATS.items():
        if path.suffix.lower() in endings:
            return name
    raise ValueError(f"the ending of {path} does not tell its format: pass format= one of {list(FORMATS)}")
