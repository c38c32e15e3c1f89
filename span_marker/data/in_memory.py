"""Rows in memory: lists of dicts and data frames of pandas, made into data sets."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from itertools import chain
from typing import TYPE_CHECKING, Any, TypeAlias, TypeGuard

from span_marker.core.surrogates import has_surrogates
from span_marker.data.entity_tables import BOUNDS, rows_of_entities
from span_marker.data.rows import Kind

if TYPE_CHECKING:
    from datasets import Dataset
    from pandas import DataFrame


AnnotatedData: TypeAlias = "Dataset | DataFrame | Sequence[Mapping[str, Any]]"
"""Rows in any form that functions for annotated data take."""


def is_dataframe(value: Any) -> TypeGuard[DataFrame]:
    """Tell whether a value is a data frame of pandas, without importing the library."""
    return isinstance(value, getattr(sys.modules.get("pandas"), "DataFrame", ()))


def is_rows(value: Any) -> TypeGuard[Sequence[Mapping[str, Any]]]:
    """Tell whether a value is a list or a tuple of dicts."""
    return isinstance(value, (list, tuple)) and bool(value) and all(isinstance(row, Mapping) for row in value)


def as_dataset(value: Any, dataset_name: str) -> Any:
    """Make a data set of rows that are in another form.

    Args:
        value: A list or tuple of dicts; or a pandas data frame with one line per row, or one line per entity as
            `span_marker.data.csv_files.to_dataframe` returns it.
        dataset_name: What to call it in errors.

    Returns:
        A `Dataset`; any other value, a `Dataset` among them, as it is.

    Raises:
        TypeError: If a value of a line has the wrong type.
        ValueError: If there are no rows, the values of a column are not all of one type, or a line is wrong.
    """
    columns: Mapping[Any, list[Any]]
    if is_dataframe(value):
        names = {*value.columns}
        if {*BOUNDS} <= names and "entities" not in names and {"text", "tokens"} & names:
            kind: Kind = "text" if "text" in names else "words"
            lines = enumerate(value.to_dict("records"))
            located = ((f"line {number} of the {dataset_name} data", line) for number, line in lines)
            return as_dataset(rows_of_entities(located, kind), dataset_name)
        columns = {name: [_plain_value(cell) for cell in value[name]] for name in value.columns}
    elif is_rows(value):
        columns = {name: [row.get(name) for row in value] for name in dict.fromkeys(chain.from_iterable(value))}
    else:
        return value
    return _from_columns(columns, dataset_name)


def _from_columns(columns: Mapping[Any, list[Any]], dataset_name: str) -> Dataset:
    from datasets import Dataset, Features  # takes long to import

    features = {}
    for name, values in columns.items():
        try:
            features[str(name)] = Dataset.from_dict({"column": values}).features["column"]
        except UnicodeEncodeError as error:
            row = next(row for row, value in enumerate(values) if has_surrogates(value))
            raise ValueError(
                f"row {row} of the {dataset_name} data: {name!r} has a lone surrogate, which no encoding represents: "
                "replace it by '\\ufffd'"
            ) from error
        except (TypeError, ValueError) as error:
            raise ValueError(
                f"the values of {name!r} in the {dataset_name} data are not all of one type: {error}"
            ) from error
    return Dataset.from_dict({str(name): values for name, values in columns.items()}, features=Features(features))


def _plain_value(cell: Any) -> Any:
    """Arrays as lists, and the NaN of an empty cell as None."""
    if hasattr(cell, "tolist"):
        cell = cell.tolist()
    return None if isinstance(cell, float) and cell != cell else cell
