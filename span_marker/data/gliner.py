"""The training data of GLiNER: words, and entities as ``[first word, last word, label]``; and of GLiNER2: strings."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from span_marker.data.annotation_tools import GLINER
from span_marker.data.columns import annotated_rows
from span_marker.data.entity_strings import GLINER2
from span_marker.data.jsonl import read_json
from span_marker.data.rows import distinct
from span_marker.data.text_files import StrPath, writing

if TYPE_CHECKING:
    from datasets import Dataset


def read_gliner(path: Path) -> list[dict[str, Any]]:
    """Read a file of JSON lines, or one JSON array, all of whose records are GLiNER's.

    Args:
        path: The file.

    Returns:
        Rows with entities. A warning names keys that are ignored, such as ``label`` and ``negatives``.

    Raises:
        TypeError: If a value has the wrong type.
        ValueError: If something cannot be read.
    """
    return read_json(path, shape=GLINER)


def read_gliner2(path: Path, occurrences: str = "all") -> list[dict[str, Any]]:
    """Read a file of JSON lines, or one JSON array, all of whose records are GLiNER2's, see `read_gliner`.

    Args:
        path: The file.
        occurrences: Which occurrences of a string are entities, see `span_marker.data.entity_strings.locate`.

    Returns:
        Rows with entities.

    Raises:
        TypeError: If a value has the wrong type.
        ValueError: If something cannot be read, or a text does not have a string.
    """
    return read_json(path, shape=GLINER2, occurrences=occurrences)


def write_gliner(path: StrPath, rows: Dataset | Iterable[Mapping[str, Any]]) -> None:
    """Write rows of words as ``tokenized_text`` and ``ner``, one after the other. Nothing else of them is written.

    Args:
        path: The file. It has JSON lines, unless it ends with ``.json``: then it is the one array that GLiNER loads.
        rows: A data set of words annotated in any form, or rows with ``tokens`` and ``entities``.

    Raises:
        TypeError: If a row has a value of the wrong type.
        ValueError: If a row is wrong, or has a text.
    """
    with writing(path) as file:
        before, between, after = ("[\n", ",\n", "\n]\n") if Path(path).suffix.lower() == ".json" else ("", "\n", "\n")
        file.write(before)
        for index, (_, row) in enumerate(annotated_rows(rows)):
            if row.kind == "text":
                raise ValueError(f"row {index} has 'text', but GLiNER's files have words: pass rows with 'tokens'")
            spans = [[entity.start, entity.end - 1, entity.label] for entity in distinct(row.entities)]
            record = {"tokenized_text": row.content, "ner": spans}
            file.write(between * (index > 0) + json.dumps(record, ensure_ascii=False))
        file.write(after)
