"""Inputs of `validate` and of the fixes of its report: paths, data sets, rows and tables, one or several by name."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from itertools import chain
from typing import Any, NamedTuple, TypeAlias, TypeGuard

from datasets import Dataset

from span_marker.data.columns import is_dataset, plain, require_dataset
from span_marker.data.entity_tables import TextLines, collect_lines
from span_marker.data.files import read_annotations
from span_marker.data.forms import FORMS, Form, check_splits, find_form, is_entity_table
from span_marker.data.in_memory import (
    is_dataframe,
    is_rows,
    is_table,
    refuse_equal_names,
    refuse_mixed_rows,
    table_as_dataset,
)
from span_marker.data.row_errors import RowError
from span_marker.data.row_relations import RELATIONS
from span_marker.data.rows import RowProblem
from span_marker.data.tags import read_annotation
from span_marker.validation.entity_lines import change_lines

COLUMN = "entities"


class Split(NamedTuple):
    """A data set to validate.

    Attributes:
        dataset: The data set.
        raw: What the columns of the reader have, for rows whose values no data set can hold; the data set has None.
        problems: What is wrong with rows as a whole, apart from what reading them says.
        errors: The errors of those rows of a file that the data set lacks.
    """

    dataset: Dataset
    raw: Mapping[int, tuple[Any, ...]] = {}
    problems: Mapping[int, RowProblem] = {}
    errors: Sequence[RowError] = ()


class SplitRows(NamedTuple):
    """The rows of a split, column by column.

    Attributes:
        contents: The words or the text of each row.
        entities: The entities of each row; None for a row that has no list of them, as those with tags.
        relations: The relations of each row; None if the data has none.
    """

    contents: Sequence[Any]
    entities: Sequence[Any]
    relations: Sequence[Any] | None = None


class ChangedRow(NamedTuple):
    """A row that is changed.

    Attributes:
        entities: Its new entities.
        relations: Its new relations; None if it has none.
    """

    entities: list[Any]
    relations: list[Any] | None = None


ChangeSplit: TypeAlias = "Callable[[str, SplitRows], dict[int, ChangedRow]]"
"""Gets the name of a split and its rows; returns those rows that are changed."""


def read_splits(data: Any, read_options: Mapping[str, Any]) -> dict[str, Split]:
    """Bring annotated data into one form.

    Args:
        data: A `Dataset`, a list of dicts, a table, or a path that `read_annotations` reads; or a dict of these.
        read_options: Arguments of `read_annotations` for paths.

    Returns:
        The data sets by their names. A single one is named after its split, or ``annotated``.

    Raises:
        TypeError: If it is none of these.
        ValueError: If it is an empty dict, a file is broken, or an option is wrong.
    """
    if isinstance(data, Mapping):
        check_splits(data)
        return {str(name): _read_split(split, str(name), read_options) for name, split in data.items()}
    name = str((is_dataset(data) and data.split) or "annotated")
    return {name: _read_split(data, name, read_options)}


def _read_split(data: Any, name: str, read_options: Mapping[str, Any]) -> Split:
    _check_read_options(data, name, read_options)
    if _is_path(data):
        errors: list[RowError] = []
        try:
            return Split(read_annotations(data, errors=errors, **read_options), errors=errors)
        except (TypeError, ValueError):
            return Split(read_annotations(data, **read_options))  # whose error has those of the rows, too
    if is_dataframe(data):
        refuse_equal_names(data.columns, name)
    if is_entity_table(_column_names(data)):
        texts, problems = _collect(data, name)
        rows: list[Mapping[str, Any]] = [text.row for text in texts]
        found = {index: RowProblem("malformed-row", error) for index, error in problems.items()}
        return _read_rows(rows, name)._replace(problems=found)
    if is_rows(data) or is_dataframe(data):
        refuse_mixed_rows(data, name)
        return _read_rows(data, name)
    return Split(require_dataset(data, name))


def _check_read_options(data: Any, name: str, read_options: Mapping[str, Any]) -> None:
    for option, value in read_options.items():
        if not _is_path(data):
            raise ValueError(f"{option}={value!r} is for paths, but the {name} data is {type(data).__name__}")
        if option == "errors":
            raise ValueError(f"errors={value!r} does not apply here, since rows with errors are listed: leave it out")


def _read_rows(data: Any, name: str) -> Split:
    """Read rows, each of which may be anything."""
    try:
        return Split(require_dataset(data, name))
    except ValueError:
        rows = _plain_rows(data)
        names = list(dict.fromkeys(chain.from_iterable(rows)))
        form = find_form(names, f"the {name} data")
        columns = (*FORMS[form], RELATIONS) if RELATIONS in names and form != "tags" else FORMS[form]
        values = [tuple(map(row.get, columns)) for row in rows]
        raw = {index: value for index, value in enumerate(values) if _problems(form, value, name)}
        if not raw:
            raise
        empty = dict.fromkeys(columns)
        readable = [{**row, **empty} if index in raw else row for index, row in enumerate(rows)]
        return Split(require_dataset(readable, name), raw)


def _problems(form: Form, values: Sequence[Any], name: str) -> list[RowProblem]:
    content, annotation, *relations = values
    return read_annotation(form, content, annotation, name, relations=relations[0] if relations else None)[1]


def _is_path(data: Any) -> TypeGuard[str | os.PathLike[str]]:
    return isinstance(data, (str, os.PathLike))


def _column_names(data: Any) -> list[str]:
    if is_rows(data):
        return list(dict.fromkeys(chain.from_iterable(data)))
    if is_dataframe(data):
        return list(map(str, data.columns))
    return list(getattr(table_as_dataset(data, "annotated"), "column_names", ()))


def _plain_rows(data: Any) -> list[dict[str, Any]]:
    """The rows of a list or of a table, as dicts of Python objects."""
    if is_rows(data):
        names = _column_names(data)
        return [{name: row.get(name) for name in names} for row in data]
    if not is_dataframe(data):
        return list(plain(table_as_dataset(data, "annotated")))
    columns = [[_plain_value(value) for value in data[name].astype(object)] for name in data.columns]
    gaps = [data[name].isna().tolist() for name in data.columns]
    columns = [
        [None if is_gap else value for value, is_gap in zip(column, gap, strict=True)]
        for column, gap in zip(columns, gaps, strict=True)
    ]
    return [dict(zip(_column_names(data), values, strict=True)) for values in zip(*columns, strict=True)]


def _plain_value(value: Any) -> Any:
    """A value with lists in place of arrays, which tables of pandas have that were read from files."""
    if isinstance(value, dict):
        return {name: _plain_value(item) for name, item in value.items()}
    plain_value = value.tolist() if hasattr(value, "tolist") else value
    return list(map(_plain_value, plain_value)) if isinstance(plain_value, list) else plain_value


def _collect(data: Any, name: str) -> tuple[list[TextLines], dict[int, ValueError]]:
    column = "text" if "text" in _column_names(data) else "tokens"
    return collect_lines(_plain_rows(data), column, name)


def map_entities(data: Any, names: Sequence[str], change: ChangeSplit, read_options: Mapping[str, Any]) -> Any:
    """Change entities in a copy of annotated data.

    Args:
        data: See `read_splits`.
        names: Names of the splits; a single data set is called by the only one.
        change: What to change.
        read_options: See `read_splits`.

    Returns:
        The data in the form that it was passed in; a path, and a table that is none of pandas, become a `Dataset`.

    Raises:
        TypeError: If it is not annotated data.
        ValueError: If the splits have other names, or an option is wrong.
    """
    found = [str(name) for name in data] if isinstance(data, Mapping) else list(names)[:1]
    if found != list(names):
        raise ValueError(f"the data has the splits {found}, but the report is about {list(names)}")
    if not isinstance(data, Mapping):
        return _map_split(data, names[0], change, read_options)
    splits = {name: _map_split(split, str(name), change, read_options) for name, split in data.items()}
    return type(data)(splits) if isinstance(data, dict) else splits


def _map_split(data: Any, name: str, change: ChangeSplit, read_options: Mapping[str, Any]) -> Any:
    _check_read_options(data, name, read_options)
    if _is_path(data):
        data = read_annotations(data, errors="skip", **read_options)
    elif is_table(data) and not is_dataframe(data):
        data = table_as_dataset(data, name)
    if is_entity_table(_column_names(data)):
        texts, _ = _collect(data, name)
        contents = [text.row.get("text", text.row.get("tokens")) for text in texts]
        changed = change(name, SplitRows(contents, [text.row[COLUMN] for text in texts]))
        return change_lines(data, {index: (texts[index], row.entities) for index, row in changed.items()})
    changed = change(name, _columns(data, name))
    new: dict[str, dict[int, Any]] = {COLUMN: {index: row.entities for index, row in changed.items()}}
    if any(row.relations is not None for row in changed.values()):
        new[RELATIONS] = {index: row.relations for index, row in changed.items() if row.relations is not None}
    if not changed:
        return data
    if is_rows(data):
        return [
            {**row, **{column: values[index] for column, values in new.items() if index in values}}
            for index, row in enumerate(data)
        ]
    for column, values in new.items():
        old = plain(data)[column] if is_dataset(data) else data[column]
        mixed = [values.get(index, value) for index, value in enumerate(old)]
        if is_dataset(data):
            others = data.remove_columns(column).add_column(column, mixed, feature=data.features[column])
            data = others.select_columns(data.column_names)
        else:
            data = data.assign(**{column: mixed})
    return data


def _columns(data: Any, name: str) -> SplitRows:
    names = _column_names(data)
    form = find_form(names, f"the {name} data")
    content, annotation = FORMS[form]
    has_relations = form != "tags" and RELATIONS in names

    def values(column: str) -> list[Any]:
        if is_dataset(data):
            return list(plain(data)[column][:])
        rows = data if is_rows(data) else _plain_rows(data[[column]])
        return [_plain_value(row.get(column)) for row in rows]

    contents = values(content)
    if form == "tags":
        return SplitRows(contents, [None] * len(contents))
    return SplitRows(contents, values(annotation), values(RELATIONS) if has_relations else None)
