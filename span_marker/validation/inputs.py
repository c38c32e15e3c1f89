"""What `validate` and the fixes of its report read: paths, data sets, rows and tables, one or several by name."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

from datasets import Dataset

from span_marker.data.columns import is_dataset, named_splits, plain
from span_marker.data.files import read_annotations
from span_marker.data.in_memory import as_dataset, is_dataframe, is_table

COLUMN = "entities"


class SplitRows(NamedTuple):
    """The rows of a split, column by column.

    Attributes:
        contents: The words or the text of each row.
        entities: The entities of each row; None for a row that has no list of them, as those with tags.
    """

    contents: Sequence[Any]
    entities: Sequence[Any]


ChangeSplit: TypeAlias = "Callable[[str, SplitRows], dict[int, list[Any]]]"
"""Gets the name of a split and its rows; returns the new entities of those rows that are changed."""


def read_splits(data: Any) -> dict[str, Dataset]:
    """Bring annotated data into one form.

    Args:
        data: A `Dataset`, a list of dicts, a table, or a path that `read_annotations` reads; or a dict of these.

    Returns:
        The data sets by their names, see `span_marker.data.columns.named_splits`.

    Raises:
        TypeError: If it is none of these.
        ValueError: If it is an empty dict, or a file is broken.
    """
    return named_splits(
        {name: _to_dataset(split) for name, split in data.items()} if _is_dict(data) else _to_dataset(data)
    )


def _is_dict(data: Any) -> bool:
    return isinstance(data, Mapping)


def _is_path(data: Any) -> bool:
    return isinstance(data, (str, os.PathLike))


def _to_dataset(data: Any) -> Any:
    return read_annotations(data) if _is_path(data) else data


def map_entities(data: Any, names: Sequence[str], change: ChangeSplit) -> Any:
    """Change entities in a copy of annotated data.

    Args:
        data: See `read_splits`.
        names: Names of the splits; a single data set is called by the only one.
        change: What to change.

    Returns:
        The data in the form that it was passed in; a path, and a table that is none of pandas, become a `Dataset`.

    Raises:
        TypeError: If it is no annotated data.
        ValueError: If the splits have other names.
    """
    found = [str(name) for name in data] if _is_dict(data) else list(names)[:1]
    if found != list(names):
        raise ValueError(f"the data has the splits {found}, but the report is about {list(names)}")
    if not _is_dict(data):
        return _map_split(data, names[0], change)
    splits = {name: _map_split(split, str(name), change) for name, split in data.items()}
    return type(data)(splits) if isinstance(data, dict) else splits


def _map_split(data: Any, name: str, change: ChangeSplit) -> Any:
    if _is_path(data):
        data = read_annotations(data)
    elif is_table(data) and not is_dataframe(data):
        data = as_dataset(data, name)
    changed = change(name, _columns(data))
    if not changed:
        return data
    if is_dataset(data):
        entities = [changed.get(index, row) for index, row in enumerate(plain(data)[COLUMN])]
        others = data.remove_columns(COLUMN)
        return others.add_column(COLUMN, entities, feature=data.features[COLUMN]).select_columns(data.column_names)
    if is_dataframe(data):
        return data.assign(**{COLUMN: [changed.get(index, row) for index, row in enumerate(data[COLUMN])]})
    return [{**row, COLUMN: changed[index]} if index in changed else row for index, row in enumerate(data)]


def _columns(data: Any) -> SplitRows:
    if not is_dataset(data) and not is_dataframe(data):
        contents = [row.get("tokens") if row.get("text") is None else row["text"] for row in data]
        return SplitRows(contents, [row.get(COLUMN) for row in data])
    names = data.column_names if is_dataset(data) else list(data.columns)
    table = plain(data) if is_dataset(data) else data
    contents = table["text" if "text" in names else "tokens"][:]
    return SplitRows(list(contents), list(table[COLUMN][:]) if COLUMN in names else [None] * len(contents))
