"""Canonical rows: the one form of annotated data, whatever file it comes from or goes to.

A row is a dict with ``tokens`` (words) or ``text``, and ``entities``: dicts with ``label``, ``start`` and ``end``,
which count words or characters, ends exclusive. Predictions are read as entities, too.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import pairwise
from numbers import Integral, Real
from pathlib import Path
from typing import Any, NamedTuple, TextIO

from datasets import Dataset, Features, List, Value

ENTITIES = List({"label": Value("string"), "start": Value("int64"), "end": Value("int64")})
"""Feature of the column ``entities``."""

_FEATURES = {"tokens": List(Value("string")), "text": Value("string"), "entities": ENTITIES}
_PREDICTED = {"tokens": ("word_start_index", "word_end_index"), "text": ("char_start_index", "char_end_index")}
_UNITS = {"tokens": "word", "text": "character"}


class RowEntity(NamedTuple):
    """An entity of a row: ``start`` and ``end`` count words or characters, as the row does."""

    label: str
    start: int
    end: int
    score: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """The entity as rows have it; with its score if it has one."""
        fields = self._asdict()
        return fields if self.score is not None else {name: fields[name] for name in ("label", "start", "end")}


class Row(NamedTuple):
    """A row that was checked.

    Attributes:
        kind: ``tokens`` or ``text``.
        content: The words, or the text.
        entities: The entities, as they stand in the row.
    """

    kind: str
    content: Any
    entities: list[RowEntity]


def parse_row(row: Any, where: str) -> Row:
    """Check a row with canonical entities or predictions.

    Args:
        row: The row.
        where: What to call it in errors.

    Returns:
        Its content.

    Raises:
        ValueError: If it is no such row.
    """
    if not isinstance(row, Mapping):
        raise ValueError(f"{where} must be a dict with 'tokens' or 'text' and 'entities', not {type(row).__name__}")
    kinds = [kind for kind in _UNITS if row.get(kind) is not None]
    if not kinds:
        raise ValueError(f"{where} needs 'tokens' (words) or 'text', but has only {list(row)}")
    if len(kinds) > 1:
        raise ValueError(f"{where} has 'tokens' and 'text': leave one out, since it says what 'start' and 'end' count")
    kind, content, entities = kinds[0], row[kinds[0]], row.get("entities")
    if kind == "text" and not isinstance(content, str):
        raise ValueError(f"{where}: 'text' must be a string, not {type(content).__name__}")
    if kind == "tokens" and not (is_list(content) and all(isinstance(word, str) for word in content)):
        raise ValueError(f"{where}: 'tokens' must be a list of words (strings), not {content!r}")
    if not isinstance(entities, (list, tuple)):
        raise ValueError(f"{where} needs a list 'entities', empty if there are none, but has {entities!r}")
    return Row(kind, content, [_parse_entity(entity, kind, len(content), where) for entity in entities])


def is_list(value: Any) -> bool:
    """Tell whether something is a list or a tuple."""
    return isinstance(value, (list, tuple))


def _parse_entity(entity: Any, kind: str, length: int, where: str) -> RowEntity:
    if not isinstance(entity, Mapping):
        raise ValueError(f"{where}: an entity must be a dict with 'label', 'start' and 'end', not {entity!r}")
    names = next((names for names in (("start", "end"), _PREDICTED[kind]) if names[0] in entity), ("start", "end"))
    missing = [name for name in ("label", *names) if name not in entity]
    if missing:
        raise ValueError(f"{where}: the entity {dict(entity)!r} lacks {missing[0]!r}")
    score = entity.get("score")
    if score is not None and (isinstance(score, bool) or not isinstance(score, Real)):
        raise ValueError(f"{where}: the score {score!r} of an entity must be a number")
    checked = check_entity(entity["label"], entity[names[0]], entity[names[1]], length, where, _UNITS[kind])
    return checked._replace(score=None if score is None else float(score))


def check_entity(label: Any, start: Any, end: Any, length: int, where: str, unit: str = "character") -> RowEntity:
    """Check that an entity lies in its row.

    Args:
        label: Its label.
        start: Where it begins.
        end: Where it ends, exclusive.
        length: Words or characters of the row.
        where: What to call the row in errors.
        unit: What ``start`` and ``end`` count.

    Returns:
        The entity.

    Raises:
        ValueError: If the label is no string or empty, or the range is empty or not inside of the row.
    """
    if not isinstance(label, str) or not label:
        raise ValueError(f"{where}: the label {label!r} of {unit}s {start!r} to {end!r} must be a string, not empty")
    for value in (start, end):
        if isinstance(value, bool) or not isinstance(value, Integral):
            raise ValueError(
                f"{where}: the {label!r} of {unit}s {start!r} to {end!r} must have whole numbers as 'start' and 'end'"
            )
    if not 0 <= start < end <= length:
        reason = "is empty, in" if start == end else "is outside of" if start < end else "ends before it starts, among"
        raise ValueError(f"{where}: the {label!r} of {unit}s {start} to {end} {reason} its {length} {unit}s")
    return RowEntity(label, int(start), int(end))


def distinct(entities: Iterable[RowEntity]) -> list[RowEntity]:
    """Sort entities by place, longer ones first, and leave repeated ones out.

    Args:
        entities: Entities of one row.

    Returns:
        Those that differ in label or range, each with the score that it has first.
    """
    found: dict[tuple[str, int, int], RowEntity] = {}
    for entity in entities:
        found.setdefault(entity[:3], entity)
    return sorted(found.values(), key=lambda entity: (entity.start, -entity.end, entity.label))


def overlaps(entities: Sequence[RowEntity]) -> bool:
    """Tell whether any two entities share a word or character.

    Args:
        entities: Entities in order of their start.

    Returns:
        Whether there are any.
    """
    return any(entity.end > other.start for entity, other in pairwise(entities))


def as_text(row: Row) -> tuple[str, list[RowEntity]]:
    """Read a row as text; words are joined by single spaces.

    Args:
        row: The row.

    Returns:
        The text, and the entities in characters.
    """
    if row.kind == "text":
        return row.content, row.entities
    starts = [0]
    for word in row.content:
        starts.append(starts[-1] + len(word) + 1)
    return " ".join(row.content), [
        entity._replace(start=starts[entity.start], end=starts[entity.end] - 1) for entity in row.entities
    ]


def to_dataset(rows: Sequence[dict[str, Any]], path: Path) -> Dataset:
    """Make a data set of canonical rows.

    Args:
        rows: The rows; all have words, or all have texts. Columns that some lack are None there.
        path: Where they come from.

    Returns:
        The data set.

    Raises:
        ValueError: If there are none, words and texts are mixed, or a column has values of different types.
    """
    if not rows:
        raise ValueError(f"{path} has no annotated rows")
    kinds = ["tokens" if "tokens" in row else "text" for row in rows]
    other = next((index for index, kind in enumerate(kinds) if kind != kinds[0]), None)
    if other is not None:
        raise ValueError(f"{path}: row {other} has {kinds[other]!r}, but row 0 has {kinds[0]!r}: split the file")
    names = [name for name in dict.fromkeys(name for row in rows for name in row) if name != "entities"] + ["entities"]
    columns = {name: [row.get(name) for row in rows] for name in names}
    features = {name: _FEATURES.get(name) or _infer_feature(name, columns[name], path) for name in names}
    return Dataset.from_dict(columns, features=Features(features))


def _infer_feature(name: str, values: list[Any], path: Path) -> Any:
    try:
        return Dataset.from_dict({name: values}).features[name]
    except (TypeError, ValueError) as error:
        raise ValueError(f"{path}: the values of {name!r} are not all of one type ({error})") from error


def read_utf8(path: Path, keep_mark: bool = False) -> str:
    """Read a file without any change to its line ends.

    Args:
        path: The file.
        keep_mark: Whether a byte order mark counts as a character of the text.

    Returns:
        Its text.

    Raises:
        ValueError: If it is not UTF-8.
    """
    try:
        return path.read_bytes().decode("utf-8" if keep_mark else "utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not UTF-8 (byte {error.start}): convert it first") from error


def check_path(path: Any) -> None:
    """Check that something is a path.

    Args:
        path: What should be one.

    Raises:
        TypeError: If it is not.
    """
    if not isinstance(path, (str, os.PathLike)):
        raise TypeError(f"path, the first argument, must be one string or Path, not {type(path).__name__}")


@contextmanager
def writing(path: str | os.PathLike[str]) -> Iterator[TextIO]:
    """Open a file that takes its place only when all of it was written.

    Args:
        path: The file.

    Yields:
        The file to write to: UTF-8, line ends as written.
    """
    check_path(path)
    part = Path(f"{os.fspath(path)}.part")
    try:
        with part.open("w", encoding="utf-8", newline="") as file:
            yield file
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
