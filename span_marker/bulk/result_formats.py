"""Convert the results of a run from JSON lines to other formats."""

from __future__ import annotations

import csv
import json
import logging
import os
from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from span_marker.core.surrogates import readable
from span_marker.data.entity_tables import ENTITY_COLUMNS
from span_marker.data.files import FORMATS, write_annotations
from span_marker.data.row_relations import RELATIONS
from span_marker.data.row_writing import warn_of_relations
from span_marker.data.text_files import check_target, writing
from span_marker.prediction.readings import ERROR

logger = logging.getLogger(__name__)

CONTENTS = ("text", "tokens")
"""Default columns of texts. Tables of entities leave them out."""

OTHER_FORMATS = ("html", "csv", "tsv", "parquet")
"""Formats of results that are not formats of annotated data, or are written differently."""


def find_format(path: str | os.PathLike[str], format: str | None) -> str:
    """Determine the format of an output file.

    Args:
        path: The file, or a folder with a slash at the end, for brat.
        format: Its format. Defaults to its file extension.

    Returns:
        The name of the format.

    Raises:
        ValueError: If neither determines the format, or the extension is that of a compressed file.
        FileNotFoundError: If there is no such folder.
    """
    check_target(path)
    writable = [known for known in FORMATS if known.write is not None]
    endings = {ending: known.name for known in reversed(writable) for ending in known.endings}
    endings |= {f".{other}": other for other in OTHER_FORMATS} | {".htm": "html"}
    by_ending = endings.get(Path(path).suffix.lower())
    name = format or ("brat" if os.fspath(path).endswith(("/", os.sep)) else by_ending)
    known_names = list(dict.fromkeys([*(known.name for known in writable), *OTHER_FORMATS]))
    if name is None:
        raise ValueError(
            f"the ending of {path} does not tell how to write it: pass output_format= one of {', '.join(known_names)}"
        )
    if name not in known_names:
        raise ValueError(f"output_format={name!r} must be one of {', '.join(known_names)}")
    return name


def read_lines(path: Path) -> Iterator[dict[str, Any]]:
    """Read rows written by `write_lines`.

    Args:
        path: The file.

    Yields:
        The rows.
    """
    with path.open("rb") as file:
        yield from map(json.loads, file)


def find_converter(
    format: str, text_column: str | None = None, with_errors: bool = False
) -> Callable[[Path, Path], None] | None:
    """Find the writer of a format.

    Args:
        format: Its name.
        text_column: See `Results`.
        with_errors: See `Results`.

    Returns:
        A function that writes the rows of a file of JSON lines to a path; None for JSON lines.
    """
    if format == "jsonl":
        return None
    if format == "parquet":
        return _write_parquet
    if format in ("csv", "tsv"):
        return partial(_write_table, CONTENTS if text_column is None else (text_column,))
    return partial(_write_texts, format, text_column, with_errors)


def content_of(row: Mapping[str, Any], text_column: str | None, with_errors: bool) -> Any:
    """The text or the words of a row; None if it could not be read."""
    if with_errors and row.get(ERROR) is not None:
        return None
    names = CONTENTS if text_column is None else (text_column,)
    return next((row[name] for name in names if isinstance(row.get(name), str) or _are_words(row.get(name))), None)


def _are_words(content: Any) -> bool:
    return isinstance(content, list) and all(isinstance(word, str) for word in content)


def _write_texts(format: str, text_column: str | None, with_errors: bool, path: Path, source: Path) -> None:
    """Write texts with their entities as annotated data or as a page. Texts that could not be read are left out."""
    num_left_out = 0
    left_out = {text_column, *CONTENTS, "ner_tags"}  # gold tags, whose place the entities take

    def rows() -> Iterator[dict[str, Any]]:
        nonlocal num_left_out
        for number, row in enumerate(read_lines(source)):
            content = content_of(row, text_column, with_errors)
            if content is None:
                num_left_out += 1
                continue
            others = {name: value for name, value in row.items() if name not in left_out}
            if format == "brat" and others.get("id") is None:
                others["id"] = f"{number:06}"  # of all rows, those included that are left out
            yield {"text" if isinstance(content, str) else "tokens": content, **others}

    if format == "html":
        from span_marker.data.html import write_html

        write_html(path, rows())
    else:
        write_annotations(path, rows(), format=format)
    if num_left_out:
        logger.warning(
            "%s: %d texts that could not be read are left out, since the format %s cannot hold their errors",
            path,
            num_left_out,
            format,
        )


def _write_table(contents: Sequence[str], path: Path, source: Path) -> None:
    """Write one line per entity, as `write_csv` does, with the other columns of its row instead of the text."""
    num_relations = 0
    names: dict[str, None] = {}
    identities = array("q")  # hashes, since there may be any number of rows
    for number, row in enumerate(read_lines(source)):
        names.update(dict.fromkeys(row))
        identities.append(hash(str(_identity(row, number))))
    are_unique = len(np.unique(np.array(identities))) == len(identities)
    if not are_unique:
        logger.warning("%s: several rows have the same id, so the column 'id' has row numbers instead", path)
    for name in (*(["id"] if are_unique else []), "entities", RELATIONS, *contents):
        names.pop(name, None)
    with writing(path, errors="backslashreplace") as file:
        writer = csv.writer(file, delimiter="\t" if path.suffix.lower() == ".tsv" else ",")
        writer.writerow(["id", *_titles(names, path), *ENTITY_COLUMNS])
        for number, row in enumerate(read_lines(source)):
            num_relations += len(row.get(RELATIONS) or ())
            cells = [_identity(row, number) if are_unique else number, *(_cell(row.get(name)) for name in names)]
            for entity in row["entities"]:
                start, end = (
                    entity.get(f"char_{side}_index", entity.get(f"word_{side}_index")) for side in ("start", "end")
                )
                span = entity["span"] if isinstance(entity["span"], str) else " ".join(entity["span"])
                writer.writerow([*cells, start, end, entity["label"], entity["score"], span])
            if not row["entities"]:
                writer.writerow([*cells, *[""] * len(ENTITY_COLUMNS)])
    warn_of_relations(num_relations)


def _titles(names: Iterable[str], path: Path) -> list[str]:
    """Names for the columns of the input that differ from those of entities."""
    titles: dict[str, str] = {name: name for name in names}
    ours = ("id", *ENTITY_COLUMNS)
    for name in [name for name in titles if name in ours]:
        while titles[name] in {*ours, *(titles[other] for other in titles if other != name)}:
            titles[name] = f"input_{titles[name]}"
        logger.warning(
            "%s: the column %r of the input is written as %r, since entities have a column of that name",
            path,
            name,
            titles[name],
        )
    return list(titles.values())


def _identity(row: Mapping[str, Any], number: int) -> Any:
    return number if row.get("id") is None else row["id"]


def _cell(value: Any) -> Any:
    return json.dumps(value, ensure_ascii=False) if isinstance(value, (dict, list)) else value


def _write_parquet(path: Path, source: Path) -> None:
    """Write a table with the columns of all rows, and types that fit all values.

    File names and texts may contain lone surrogates, which Parquet cannot represent: they become U+FFFD.
    """
    import pyarrow
    import pyarrow.parquet

    fields: dict[str, Any] = {}
    mixed: dict[str, None] = {}
    for batch in _batches(source):
        for name in dict.fromkeys(name for row in batch for name in row):
            try:
                field = pyarrow.field(name, pyarrow.array([row.get(name) for row in batch]).type)
                schemas = [pyarrow.schema([one]) for one in (fields.get(name, field), field)]
                fields[name] = pyarrow.unify_schemas(schemas, promote_options="permissive").field(0)
            except (pyarrow.ArrowInvalid, pyarrow.ArrowTypeError):
                mixed[name] = None
    for name in mixed:
        fields[name] = pyarrow.field(name, pyarrow.string())
        logger.warning("%s: the column %r has values of several types, so they are written as text", path, name)
    schema = pyarrow.schema(list(fields.values()))
    part = Path(f"{path}.parquet")
    with pyarrow.parquet.ParquetWriter(part, schema) as writer:
        for batch in _batches(source):
            rows = [{**row, **{name: _as_text(row.get(name)) for name in mixed}} for row in batch]
            writer.write_table(pyarrow.Table.from_pylist(rows, schema=schema))
    part.replace(path)


def _as_text(value: Any) -> str | None:
    return value if value is None or isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _batches(source: Path) -> Iterator[list[dict[str, Any]]]:
    rows = map(_readable_values, read_lines(source))
    while batch := list(islice(rows, 10_000)):
        yield batch


def _readable_values(value: Any) -> Any:
    if isinstance(value, dict):
        return {_readable_values(name): _readable_values(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_readable_values(item) for item in value]
    return readable(value) if isinstance(value, str) else value
