"""Tables, CSV and TSV: one line per entity, per text, per word, or per task of Label Studio.

The first line contains the names of the columns.
"""

from __future__ import annotations

import csv
import io
import json
import logging
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from span_marker.data.annotation_tools import LABEL_STUDIO_MIN
from span_marker.data.cells import is_regions, parse_cell, parse_tags, parse_words
from span_marker.data.delimited import name_cells, named_delimiter, read_cells, split_header, trim_names
from span_marker.data.entity_tables import DETAILS, lines_of_entities, rows_of_entities
from span_marker.data.forms import BOUNDS
from span_marker.data.jsonl import READ_OPTIONS, read_records
from span_marker.data.label_names import name_label, read_label_names
from span_marker.data.label_studio import META_OF_MIN
from span_marker.data.row_errors import OnError
from span_marker.data.row_relations import RELATIONS
from span_marker.data.row_writing import annotated_rows
from span_marker.data.text_files import SourceFile, StrPath, writing

if TYPE_CHECKING:
    from datasets import Dataset
    from pandas import DataFrame

logger = logging.getLogger(__name__)

_TASK = ("annotation_id", "annotator", "lead_time")
"""Columns of Label Studio's exports."""

ROLES = {
    "id": ("id",),
    "text": ("text",),
    "tokens": ("tokens", "words"),
    "entities": ("entities",),
    "ner_tags": ("ner_tags", "tags"),
    "start": ("start",),
    "end": ("end",),
    "label": ("label",),
    "score": ("score",),
    "span": ("span",),
    "sentence": ("sentence #", "sentence_id", "sentence"),
    "word": ("word", "token"),
    "tag": ("tag", "ner_tag"),
    **{name: (name,) for name in _TASK},
}
"""What a column may be, and the names that say so, in lower case."""

_LAYOUTS = {
    "tasks": (_TASK,),
    "entities": (("text", "start", "end", "label"), ("tokens", "start", "end", "label")),
    "texts": (("text", "entities"), ("tokens", "entities"), ("tokens", "ner_tags")),
    "words": (("word", "tag"),),
}
"""What a line is, and the columns that it then has."""

_FORMS = "'text', 'start', 'end', 'label'; 'text', 'entities'; 'tokens', 'ner_tags'; or 'sentence', 'word', 'tag'"


class _Table(NamedTuple):
    """A table with its layout.

    Attributes:
        layout: What a line is.
        needed: The roles that make the layout.
        names: The names of the columns.
        roles: The column of each role.
        delimiter: What is between two cells.
        starts: Number of the line that has the names.
    """

    layout: str
    needed: tuple[str, ...]
    names: list[str]
    roles: dict[str, str]
    delimiter: str
    starts: int


def is_csv(head: str) -> bool:
    """Tell whether a file is a table, by the names in its first line.

    Args:
        head: The beginning of the file.

    Returns:
        Whether the names are those of one layout.
    """
    return isinstance(_find_table(head, {}), _Table)


def read_csv(
    path: SourceFile, columns: Mapping[str, str] | None = None, annotator: str | int | None = None, **options: Any
) -> list[dict[str, Any]]:
    """Read a table.

    Args:
        path: The file. It collects the errors of rows.
        columns: The names of columns that are called differently than `ROLES` says, by what they are.
        annotator: Whose annotation to use if a task of Label Studio has several.
        **options: See `span_marker.data.jsonl.READ_OPTIONS`.

    Returns:
        Rows with entities.

    Raises:
        TypeError: If a value has the wrong type.
        ValueError: If the meaning of the columns is unclear, a line has too few or too many cells, or an option does
            not apply.
    """
    text = path.text(keep_line_ends=True).replace("\r\r\n", "\r\n")  # converted twice: no blank lines in between
    if not text.strip():
        return []
    table = _find_table(text, columns or {})
    if isinstance(table, str):
        raise ValueError(f"{path}, line 1: {table}")
    lines = _read_lines(path, text, table)
    if table.layout == "tasks":
        if unused := [role for role in columns or () if role != "text"]:
            raise ValueError(
                f"{path}: columns= has {unused[0]!r}, but in tables of Label Studio, only 'text' can be named"
            )
        if columns and options.get("field") is None:
            options["field"] = columns["text"]
        return read_records(path, _tasks(path, lines), annotator, LABEL_STUDIO_MIN, **options)
    if table.layout == "texts":
        return read_records(path, _records(path, lines, table), annotator, **options)
    read = {*table.roles.values()}
    if others := [name for name in table.names if name not in read and not _is_index(name)]:
        logger.warning("%s: ignored columns: %s", path, others)
    if table.layout == "words":
        return read_records(path, _sentences(path, lines, table), annotator, **options)
    given = {"annotator": annotator, **{name: value for name, value in options.items() if value != READ_OPTIONS[name]}}
    if unused := sorted(name for name, value in given.items() if value is not None and name != "labels"):
        raise ValueError(f"{path}: {', '.join(unused)} cannot be used with one entity per line: leave it out")
    names = read_label_names(options.get("labels"))
    kind: Any = "text" if table.needed[0] == "text" else "words"
    located = (
        (f"{path}, line {number}", {role: cells[name] for role, name in table.roles.items()})
        for number, cells in lines
        if cells
    )
    return rows_of_entities(located, kind, lambda place, cells: _read_entity_line(place, cells, table, names), path.row)


def _find_table(text: str, columns: Mapping[str, str]) -> _Table | str:
    """Determine the meaning of the columns of a table, or explain why it is unclear."""
    if unknown := [role for role in columns if role not in ROLES]:
        return f"columns= has {unknown[0]!r}, which is none of {list(ROLES)}"
    first, *others = re.split("\r\n|\r|\n", text, maxsplit=2)
    named = named_delimiter(first)
    headers = split_header(first) if named is None else split_header("".join(others[:1]), named)
    starts = 1 if named is None else 2
    tables = [table for delimiter, names in headers if (table := _match(names, columns, delimiter, starts))]
    if len({(table.layout, table.delimiter) for table in tables}) > 1:
        return f"the columns {tables[0].names} may mean {[table.needed for table in tables]}: choose with columns="
    if tables:
        return tables[0]
    names = max((names for _, names in headers), key=len)
    if missing := [name for name in columns.values() if name not in names]:
        return f"there is no column {missing[0]!r}, only {names}"
    example = "pass columns=, such as columns={'text': 'NAME', 'entities': 'NAME'}"
    way = f"columns= names only {list(columns)}" if columns else example
    return f"a table has the columns {_FORMS}, but this one has {names}: {way}"


def _match(names: list[str], columns: Mapping[str, str], delimiter: str, starts: int) -> _Table | None:
    by_name = {name.strip().lower(): name for name in names}
    roles = dict(columns)
    for role, known in ROLES.items():
        found = [by_name[name] for name in known if name in by_name and by_name[name] not in columns.values()]
        if found and role not in roles:
            roles[role] = found[0]
    named = trim_names(names)
    if len(set(named)) != len(named) or not set(columns.values()) <= set(names):
        return None
    tables = [
        _Table(layout, needed, names, roles, delimiter, starts)
        for layout, alternatives in _LAYOUTS.items()
        for needed in alternatives
        if set(needed) <= set(roles)
    ]
    tables = [table for table in tables if table.layout == "tasks"] or tables
    return max(tables, key=lambda table: len(set(table.needed) & set(columns)), default=None)


def _is_index(name: str) -> bool:
    """Tell whether a column is the index that pandas writes."""
    return name == "" or name.startswith("Unnamed: ")


def _read_lines(path: SourceFile, text: str, table: _Table) -> Iterator[tuple[int, dict[str, str]]]:
    """Lines with their first numbers and their cells; no cells where a line is blank, or all of its cells are empty."""
    rows = read_cells(io.StringIO(text, newline=""), table.delimiter, path)
    for number, cells in islice(rows, table.starts, None):
        location = f"{path}, line {number}"
        yield number, name_cells(cells, table.names, table.delimiter, location) if any(cells) else {}


def _tasks(path: SourceFile, lines: Iterable[tuple[int, dict[str, str]]]) -> Iterator[tuple[str, dict[str, Any]]]:
    """One record like those of JSON_MIN per line."""
    tasks = [(number, cells) for number, cells in lines if cells]
    columns: dict[str, set[str]] = {}
    for _, cells in tasks:
        for name, cell in cells.items():
            columns.setdefault(name, set()).add(cell)
    # A column of a control has results, or nothing but empty lists.
    controls = {name for name, cells in columns.items() if "[]" in cells <= {"", "[]"} or any(map(is_regions, cells))}
    for number, cells in tasks:
        record = None
        with path.row():
            record = _read_task(cells, controls, f"{path}, line {number}")
        if record is not None:
            yield f"line {number}", record


def _read_task(cells: Mapping[str, str], controls: Collection[str], location: str) -> dict[str, Any]:
    """Leave out the empty cells of what has a value in other tasks, as JSON_MIN does."""
    record: dict[str, Any] = {
        name: parse_cell(cell, f"{location}: {name!r}") if name in controls else cell
        for name, cell in cells.items()
        if cell or name not in {*controls, *META_OF_MIN}
    }
    if record.get("id", "").isdecimal():
        record["id"] = int(record["id"])
    return record


def _records(
    path: SourceFile, lines: Iterable[tuple[int, dict[str, str]]], table: _Table
) -> Iterator[tuple[str, dict[str, Any]]]:
    """One record per line. Cells are strings, except those with lists."""
    for number, cells in lines:
        record = None
        with path.row():
            record = _read_record(cells, table, f"{path}, line {number}") if cells else None
        if record is not None:
            yield f"line {number}", record


def _read_record(cells: Mapping[str, str], table: _Table, location: str) -> dict[str, Any]:
    content, annotation = table.needed
    names = {table.roles[role]: role for role in table.needed}
    ignored = {table.roles["text"]} if content == "tokens" and "text" in table.roles else set()
    record: dict[str, Any] = {
        names.get(name, name): cell for name, cell in cells.items() if name not in ignored and not _is_index(name)
    }
    if record.get("sentence_id", "").isdecimal():
        record["sentence_id"] = int(record["sentence_id"])
    value = record[annotation].strip()
    if not value:
        raise ValueError(f"{location}: {table.roles[annotation]!r} is empty: write [] if there are no entities")
    name = f"{location}: {table.roles[annotation]!r}"
    record[annotation] = parse_cell(value, name) if annotation == "entities" else parse_tags(value, name)
    if annotation == "entities" and isinstance(record.get(RELATIONS), str):
        relations = record.pop(RELATIONS).strip()
        record[RELATIONS] = parse_cell(relations, f"{location}: {RELATIONS!r}") if relations else None
    if content == "tokens":
        record["tokens"] = parse_words(record["tokens"], f"{location}: {table.roles['tokens']!r}")
    return record


def _sentences(
    path: SourceFile, lines: Iterable[tuple[int, dict[str, str]]], table: _Table
) -> Iterator[tuple[str, dict[str, Any]]]:
    """One record per sentence whose words are right."""
    for sentence in _split_sentences(path, lines, table):
        record = None
        with path.row():
            words, tags = zip(*(_read_word(path, *word) for word in sentence), strict=True)
            record = {"tokens": list(words), "ner_tags": list(tags)}
        if record is not None:
            yield f"line {sentence[0][0]}", record


def _split_sentences(
    path: SourceFile, lines: Iterable[tuple[int, dict[str, str]]], table: _Table
) -> Iterator[list[tuple[int, str, str]]]:
    """Number, word and tag of the lines of each sentence. An empty cell of the sentence is that of the line before."""
    words: list[tuple[int, str, str]] = []
    column, sentence, is_split = table.roles.get("sentence"), "", False
    names, apart = set[str](), dict[str, None]()
    for number, cells in lines:
        if not cells:
            if words and column is None:
                yield words
                words, is_split = [], True
            continue
        name = sentence if column is None else cells[column].strip()
        if name and name != sentence:
            apart |= {name: None} if name in names else {}
            names.add(name)
        if name and name != sentence and words:
            yield words
            words = []
        if not name and not words and column is not None:
            raise ValueError(f"{path}, line {number}: {column!r} is empty, but no sentence has begun")
        sentence = name or sentence
        words.append((number, cells[table.roles["word"]], cells[table.roles["tag"]]))
    if words and column is None and not is_split:
        raise ValueError(f"{path} has no column for sentences, and no blank lines: pass columns={{'sentence': 'NAME'}}")
    if words:
        yield words
    if apart:
        logger.warning("%s: sentences whose lines are not consecutive become several rows: %s", path, [*apart][:5])


def _read_word(path: SourceFile, number: int, word: str, tag: str) -> tuple[str, str]:
    if not word or "\n" in word or "\t" in word:
        raise ValueError(f"{path}, line {number}: {word!r:.100} is not a word: write a quote as four quotes")
    return word, tag.strip()


def _read_entity_line(
    location: str, cells: Mapping[str, Any], table: _Table, names: Mapping[int, str] | None
) -> dict[str, Any]:
    line = dict(cells)
    if "tokens" in table.needed:
        line["tokens"] = parse_cell(line["tokens"], f"{location}: {table.roles['tokens']!r}")
    if names is not None and line["label"].isdecimal():
        line["label"] = name_label(int(line["label"]), names, location)
    return line


def write_csv(path: StrPath, rows: Dataset | Iterable[Mapping[str, Any]], errors: OnError = "raise") -> None:
    """Write rows as a table with one line per entity.

    The columns are ``id`` (the number of the row, if it has none), ``text`` or ``tokens`` (a JSON list), ``start``,
    ``end``, ``label``, ``score`` if an entity has one, and ``span``, the text of the entity. A row without entities has
    one line. Other columns are not written.

    Args:
        path: The file. Cells are separated by tabs if it ends with ``.tsv``, otherwise by commas.
        rows: A data set annotated in any form, or rows with ``tokens`` or ``text``, and ``entities``.
        errors: What to do with invalid rows, see `span_marker.data.jsonl.write_jsonl`.

    Raises:
        TypeError: If a row has a value of the wrong type.
        ValueError: If a row is invalid, an ``id`` occurs twice, or some rows have words and others texts.
    """
    lines, names = _entity_table(rows, errors)
    delimiter = "\t" if Path(path).suffix.lower() == ".tsv" else ","
    with writing(path) as file:
        writer = csv.writer(file, delimiter=delimiter)  # ends lines with \r\n: a cell with either must be in quotes
        writer.writerow(names)
        for line in lines:
            cells = [json.dumps(line[n], ensure_ascii=False) if n == "tokens" else line[n] for n in names]
            writer.writerow(cells)


def to_dataframe(rows: Dataset | Iterable[Mapping[str, Any]]) -> DataFrame:
    """Create a pandas data frame with one line per entity, as `write_csv` writes it.

    Args:
        rows: A data set annotated in any form, or rows with ``tokens`` or ``text``, and ``entities``, such as those of
            predictions.

    Returns:
        The data frame, with the columns of `write_csv`. It can be passed wherever annotated data is accepted.

    Raises:
        TypeError: If a row has a value of the wrong type.
        ValueError: If a row is invalid, an ``id`` occurs twice, or some rows have words and others texts.
    """
    import pandas as pd

    lines, names = _entity_table(rows)
    frame = pd.DataFrame([[line[name] for name in names] for line in lines], columns=names)
    return frame.astype(dict.fromkeys(("start", "end"), "Int64"))  # whole numbers, also beside empty cells


def _entity_table(
    rows: Dataset | Iterable[Mapping[str, Any]], errors: OnError = "raise"
) -> tuple[list[dict[str, Any]], Sequence[str]]:
    lines = list(lines_of_entities(annotated_rows(rows, errors)))
    contents = {name for line in lines for name in ("text", "tokens") if name in line}
    if len(contents) > 1:
        raise ValueError("some rows have 'text', others 'tokens': write them to different tables")
    content = contents.pop() if contents else "text"
    has_scores = any(line["score"] is not None for line in lines)
    return lines, ["id", content, *BOUNDS, *(name for name in DETAILS if has_scores or name != "score")]
