"""Results of a long run on disk: whole rows from the first second on, so that a run that was killed can be resumed."""

from __future__ import annotations

import csv
import json
import logging
import os
from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from span_marker.core.surrogates import readable
from span_marker.data.brat import refuse_documents
from span_marker.data.entity_tables import ENTITY_COLUMNS
from span_marker.data.files import FORMATS, write_annotations
from span_marker.data.json_writing import json_line
from span_marker.data.row_relations import RELATIONS
from span_marker.data.row_writing import warn_of_relations
from span_marker.data.text_files import check_target, writing
from span_marker.prediction.readings import ERROR

logger = logging.getLogger(__name__)

OF_WORDS = ("conll", "gliner")
"""Formats that hold no texts."""

CONTENTS = ("text", "tokens")
"""Columns of texts, which tables of entities leave out."""


class Results:
    """The rows of a run, as JSON lines; other formats are made of them when the run is done.

    Until then, the rows are in a file whose name ends in ``.part``, beside one that ends in ``.run`` and says what the
    run is about. A process that is killed leaves whole rows, and at most one that is torn, which resuming removes.

    Args:
        path: The file to make.
        format: Its format. Defaults to what its ending says.
        run: What the rows depend on: files, model and options.

    Attributes:
        path: The file to make.
        part: The file of the rows so far.
        num_done: How many rows an earlier run has left.
    """

    def __init__(self, path: str | os.PathLike[str], format: str | None, run: Mapping[str, Any]) -> None:
        self.path = Path(path)
        self.part = Path(f"{self.path}.part")
        self.num_done = 0
        self._about = Path(f"{self.path}.run")
        self._format = find_format(path, format)
        self._convert = find_converter(self._format)
        self._text_column = run.get("text_column")
        self._run = json.dumps(run, sort_keys=True, indent=1) + "\n"

    def begin(self, resume: bool, overwrite: bool, changed_at: int = 0) -> bool:
        """Look at what is there.

        Args:
            resume: Whether to go on with a run that was stopped.
            overwrite: Whether to begin again.
            changed_at: When what the rows depend on was last changed, in nanoseconds.

        Returns:
            Whether there is anything to do: resuming a run that is complete, there is not, and a warning says so.

        Raises:
            FileExistsError: If there are results, and they are neither to be resumed nor overwritten; or documents of
                brat, which are never overwritten.
            ValueError: If they are of a run on other files or with other options, or complete and out of date; or if
                they are to be both resumed and overwritten.
        """
        if resume and overwrite:
            raise ValueError("resume=True goes on with a run, and overwrite=True begins again: pass one of them")
        is_stopped = self._about.exists()
        if overwrite or not (is_stopped or self.path.exists()):
            if self._format == "brat":
                refuse_documents(self.path)
            self.part.unlink(missing_ok=True)
            self._about.write_text(self._run, encoding="utf-8")
            return True
        if not resume:
            rows = _count_lines(self.part) if is_stopped and self.part.exists() else 0
            state = f"{self.part} has {rows:,} rows of a run that was stopped" if is_stopped else f"{self.path} exists"
            raise FileExistsError(f"{state}: pass resume=True to go on with it, or overwrite=True to begin again")
        if not is_stopped:
            if changed_at > self.path.stat().st_mtime_ns:
                raise ValueError(
                    f"{self.path} is complete, but the files or the model have changed since: pass overwrite=True to "
                    "begin again"
                )
            logger.warning("%s is complete, so nothing is read: overwrite=True begins again", self.path)
            return False
        before = self._about.read_text(encoding="utf-8")
        if before != self._run:
            raise ValueError(
                f"{self.part} is from another run, {_difference(before, self._run)}: pass what was passed then, or "
                "overwrite=True to begin again"
            )
        self.num_done = _remove_torn_line(self.part) if self.part.exists() else 0
        return True

    @contextmanager
    def appending(self) -> Iterator[Callable[[list[dict[str, Any]]], None]]:
        """Open the file of the rows. A run that fails before its first row leaves nothing behind.

        Yields:
            A function that appends rows, and hands them to the operating system before it returns. It raises a
            ValueError if the format cannot hold them.
        """
        try:
            with self.part.open("ab") as file:
                yield partial(self._append, file)
        except BaseException:
            self.discard_if_empty()
            if self.part.exists():
                logger.warning("%s has the results so far: resume=True goes on with them", self.part)
            raise

    def discard_if_empty(self) -> None:
        """Remove what is left of a run that has no rows."""
        if not self.part.stat().st_size:
            self.part.unlink()
            self._about.unlink()

    def _append(self, file: BinaryIO, rows: list[dict[str, Any]]) -> None:
        contents = [self._text_column] if self._text_column else CONTENTS
        for row in rows if self._format in OF_WORDS else ():
            if ERROR not in row and not any(isinstance(row.get(name), list) for name in contents):
                raise ValueError(
                    f"{self.path}: the format {self._format} has words, but a row has no 'tokens': {row!r:.100}: pass "
                    "an output that ends with .jsonl, or rows with words"
                )
        write_lines(file, rows)

    def finish(self) -> None:
        """Turn the rows into the file that was asked for, and remove what is left of the run."""
        if self._convert is None:
            self.part.replace(self.path)
        else:
            try:
                self._convert(self.path, self.part, self._text_column)
            except (OSError, TypeError, ValueError):
                logger.warning("%s has the results as JSON lines, of which %s cannot be made", self.part, self.path)
                raise
            self.part.unlink()
        self._about.unlink()


def write_lines(file: BinaryIO, rows: list[dict[str, Any]]) -> None:
    """Write rows as JSON lines, all of them at once.

    Args:
        file: The file.
        rows: The rows.

    Raises:
        TypeError: If a column has a value of a type that JSON does not have.
        ValueError: If it has NaN or an infinity.
    """
    file.write(b"".join(json_line(row, f"the row {row.get('text', row.get('tokens'))!r:.100}") for row in rows))
    file.flush()


def read_lines(path: Path) -> Iterator[dict[str, Any]]:
    """Read rows that `write_lines` has written.

    Args:
        path: The file.

    Yields:
        The rows.
    """
    with path.open("rb") as file:
        yield from map(json.loads, file)


def find_format(path: str | os.PathLike[str], format: str | None) -> str:
    """Find out which format a file is to have.

    Args:
        path: The file, or a folder with a slash at the end, for brat.
        format: Its format. Defaults to what its ending says.

    Returns:
        The name of the format.

    Raises:
        ValueError: If neither says what to write, or the ending is that of compressed files.
        FileNotFoundError: If there is no such folder.
    """
    check_target(path)
    writable = [known for known in FORMATS if known.write is not None]
    endings = {ending: known.name for known in reversed(writable) for ending in known.endings}
    by_ending = {**endings, **{f".{other}": other for other in CONVERTERS}, ".htm": "html"}.get(
        Path(path).suffix.lower()
    )
    name = format or ("brat" if os.fspath(path).endswith(("/", os.sep)) else by_ending)
    known_names = [*dict.fromkeys([*(known.name for known in writable), *CONVERTERS])]
    if name is None:
        raise ValueError(
            f"the ending of {path} does not say how to write it: pass output_format= one of {', '.join(known_names)}"
        )
    if name not in known_names:
        raise ValueError(f"output_format={name!r} must be one of {', '.join(known_names)}")
    return name


def find_converter(format: str) -> Callable[[Path, Path, str | None], None] | None:
    """Find out how to write a format.

    Args:
        format: Its name.

    Returns:
        A function that writes to a path the rows of a file of JSON lines, whose column of texts may have another name;
        None for JSON lines.
    """
    if format == "jsonl":
        return None
    return CONVERTERS.get(format, partial(_write_annotations, format))


def _write_annotations(format: str, path: Path, source: Path, text_column: str | None) -> None:
    write_annotations(path, _predicted(path, source, text_column), format=format)


def _write_html(path: Path, source: Path, text_column: str | None) -> None:
    from span_marker.data.html import write_html

    write_html(path, _predicted(path, source, text_column))


def _predicted(path: Path, source: Path, text_column: str | None) -> Iterator[dict[str, Any]]:
    """Rows for formats of annotated data: without gold tags, and without rows whose text could not be read."""
    left_out = {text_column, *CONTENTS, "ner_tags"}
    num_left_out = 0
    for row in read_lines(source):
        content = next((row[name] for name in ([text_column] if text_column else CONTENTS) if name in row), None)
        if not isinstance(content, str) and not _are_words(content):
            num_left_out += 1
            continue
        columns = {name: value for name, value in row.items() if name not in left_out}
        yield {"text" if isinstance(content, str) else "tokens": content, **columns}
    if num_left_out:
        logger.warning("%s: %d rows whose text could not be read are left out", path, num_left_out)


def _are_words(content: Any) -> bool:
    return isinstance(content, list) and all(isinstance(word, str) for word in content)


def _write_table(path: Path, source: Path, text_column: str | None) -> None:
    """Write a line per entity, as `write_csv` does, with the other columns of its row instead of the text."""
    num_relations = 0
    names: dict[str, None] = {}
    identities = array("q")  # hashes, since there may be any number of rows
    for number, row in enumerate(read_lines(source)):
        names.update(dict.fromkeys(row))
        identities.append(hash(str(_identity(row, number))))
    are_unique = len(np.unique(np.array(identities))) == len(identities)
    if not are_unique:
        logger.warning("%s: several rows have the same id, so the column 'id' has the numbers of the rows", path)
    for name in (*(["id"] if are_unique else []), "entities", RELATIONS, *([text_column] if text_column else CONTENTS)):
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
    """Names for columns of the input, other than those of entities."""
    titles: dict[str, str] = {name: name for name in names}
    ours = ("id", *ENTITY_COLUMNS)
    for name in [name for name in titles if name in ours]:
        while titles[name] in {*ours, *(titles[other] for other in titles if other != name)}:
            titles[name] = f"input_{titles[name]}"
        logger.warning("%s: the column %r of the input is %r, beside that of the entities", path, name, titles[name])
    return list(titles.values())


def _identity(row: Mapping[str, Any], number: int) -> Any:
    return number if row.get("id") is None else row["id"]


def _cell(value: Any) -> Any:
    return json.dumps(value, ensure_ascii=False) if isinstance(value, (dict, list)) else value


def _write_parquet(path: Path, source: Path, text_column: str | None) -> None:
    """Write a table whose columns are those that any row has, with types that hold all of their values.

    Parquet has no lone surrogates, which names of files and texts may have: they become U+FFFD.
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
        logger.warning("%s: the column %r has values of several types, which are written as text", path, name)
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


CONVERTERS: Mapping[str, Callable[[Path, Path, str | None], None]] = {
    "html": _write_html,
    "csv": _write_table,
    "tsv": _write_table,
    "parquet": _write_parquet,
}
"""Formats of results that are no formats of annotated data."""


def _count_lines(path: Path) -> int:
    with path.open("rb") as file:
        return sum(block.count(b"\n") for block in iter(partial(file.read, 1 << 20), b""))


def _remove_torn_line(path: Path) -> int:
    """Cut off what stands behind the last line end, and count the lines."""
    count, position, last_end = 0, 0, 0
    with path.open("r+b") as file:
        while block := file.read(1 << 20):
            count += block.count(b"\n")
            if (end := block.rfind(b"\n")) >= 0:
                last_end = position + end + 1
            position += len(block)
        file.truncate(last_end)
    return count


def _difference(before: str, now: str) -> str:
    """What two runs differ in."""
    one, other = json.loads(before), json.loads(now)
    names = [name for name in {**one, **other} if one.get(name) != other.get(name)]
    states = {"files": "on other files, or the files have changed", "model_files": "with an earlier state of the model"}
    shown = [f"{name}={one.get(name)!r} instead of {other.get(name)!r}" for name in names if name not in states]
    return ", ".join(shown or [states[name] for name in names])
