"""Writing annotated data and predictions: all formats that can be read."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from typing import Any

from span_marker.data.brat import write_brat
from span_marker.data.conll import write_conll
from span_marker.data.rows import parse_row, writing
from span_marker.data.spacy_docs import to_docs, write_docbin

__all__ = ["to_docs", "write_brat", "write_conll", "write_docbin", "write_jsonl"]


REPEATED = {
    *("label", "start", "end", "score", "span"),
    *("char_start_index", "char_end_index", "word_start_index", "word_end_index"),
}
"""Keys of an entity that are written in one form, or say again what others say."""


def write_jsonl(path: str | os.PathLike[str], rows: Iterable[Mapping[str, Any]]) -> None:
    """Write rows as JSON lines, one after the other, without holding them all in memory.

    Entities are written with ``label``, ``start``, ``end`` and whatever else they have, such as ``score``; predictions,
    too, but for their ``span``. Other columns stay as they are.

    Args:
        path: The file; it appears when all rows are written.
        rows: The rows.

    Raises:
        ValueError: If a row is no row with entities.
    """
    with writing(path) as file:
        for index, row in enumerate(rows):
            checked = parse_row(row, f"row {index}").entities
            entities = [
                {**entity.to_dict(), **{name: value for name, value in given.items() if name not in REPEATED}}
                for entity, given in zip(checked, row["entities"], strict=True)
            ]
            file.write(json.dumps({**row, "entities": entities}, ensure_ascii=False, allow_nan=False) + "\n")
