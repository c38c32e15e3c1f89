"""The training data of GLiNER: words, and entities as ``[first word, last word, label]``; and of GLiNER2: strings."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from span_marker.data.annotation_tools import GLINER
from span_marker.data.entity_strings import GLINER2
from span_marker.data.json_writing import row_to_json, write_json
from span_marker.data.jsonl import read_json
from span_marker.data.row_errors import OnError
from span_marker.data.row_writing import converted_rows
from span_marker.data.rows import Row, distinct
from span_marker.data.text_files import SourceFile, StrPath, check_path

if TYPE_CHECKING:
    from datasets import Dataset


def read_gliner(file: SourceFile) -> list[dict[str, Any]]:
    """Read a file of JSON lines, or one JSON array, all of whose records are GLiNER's.

    Args:
        file: The file.

    Returns:
        Rows with entities. A warning names keys that are ignored, such as ``label`` and ``negatives``.

    Raises:
        TypeError: If a value has the wrong type.
        ValueError: If something cannot be read.
    """
    return read_json(file, shape=GLINER)


def read_gliner2(file: SourceFile, occurrences: str = "all") -> list[dict[str, Any]]:
    """Read a file of JSON lines, or one JSON array, all of whose records are GLiNER2's, see `read_gliner`.

    Args:
        file: The file.
        occurrences: Which occurrences of a string are entities, see `span_marker.data.entity_strings.locate`.

    Returns:
        Rows with entities.

    Raises:
        TypeError: If a value has the wrong type.
        ValueError: If something cannot be read, or a text does not have a string.
    """
    return read_json(file, shape=GLINER2, occurrences=occurrences)


def write_gliner(path: StrPath, rows: Dataset | Iterable[Mapping[str, Any]], errors: OnError = "raise") -> None:
    """Write rows of words as ``tokenized_text`` and ``ner``, one after the other. Nothing else of them is written.

    Args:
        path: The file. It has JSON lines, unless it ends with ``.json``: then it is the one array that GLiNER loads.
        rows: A data set of words annotated in any form, or rows with ``tokens`` and ``entities``.
        errors: What to do with rows that cannot be written, see `span_marker.data.jsonl.write_jsonl`.

    Raises:
        TypeError: If a row has a value of the wrong type.
        ValueError: If a row is invalid, or has a text.
    """
    check_path(path)
    records = converted_rows(rows, _to_record, errors, allow_surrogates=True)
    write_json(path, records, as_array=Path(path).suffix.lower() == ".json")


def _to_record(index: int, columns: Mapping[str, Any], row: Row) -> str:
    location = f"row {index}"
    if row.kind == "text":
        raise ValueError(f"{location} has 'text', but GLiNER's files have words: pass rows with 'tokens'")
    spans = [[entity.start, entity.end - 1, entity.label] for entity in distinct(row.entities)]
    return row_to_json({"tokenized_text": row.content, "ner": spans}, location)
