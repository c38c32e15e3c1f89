"""Convert rows in memory to data sets: data frames, Arrow tables and lists of dicts."""

from __future__ import annotations

import sys
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain
from typing import TYPE_CHECKING, Any, TypeAlias, TypeGuard

from span_marker.core.surrogates import has_surrogates
from span_marker.data.entity_tables import rows_of_entities
from span_marker.data.forms import is_entity_table
from span_marker.data.rows import Kind
from span_marker.data.values import is_list, suggest_dict

if TYPE_CHECKING:
    from datasets import Dataset
    from pandas import DataFrame


_MISFIT = (ValueError, TypeError, OverflowError, NotImplementedError)
"""Errors that Arrow raises for values of mixed types."""

AnnotatedData: TypeAlias = "Dataset | DataFrame | Sequence[Mapping[str, Any]]"
"""Rows in any form that functions for annotated data accept; other data frames and Arrow tables are also accepted."""


def is_dataframe(value: Any) -> TypeGuard[DataFrame]:
    """Tell whether a value is a data frame of pandas, without importing the library."""
    return isinstance(value, getattr(sys.modules.get("pandas"), "DataFrame", ()))


def is_table(value: Any) -> bool:
    """Tell whether a value is a table of another library: a data frame, or an Arrow table."""
    return hasattr(value, "columns") and not isinstance(value, Mapping)


def is_rows(value: Any) -> TypeGuard[Sequence[Mapping[str, Any]]]:
    """Tell whether a value is a list or a tuple of dicts."""
    return isinstance(value, (list, tuple)) and bool(value) and all(isinstance(row, Mapping) for row in value)


def refuse_no_rows(value: Any, dataset_name: str) -> None:
    """Raise an error if a value is a list or a tuple without anything in it."""
    if isinstance(value, (list, tuple)) and not value:
        raise ValueError(f"the {dataset_name} data has no rows: {value!r} was passed")


def refuse_mixed_rows(value: Any, dataset_name: str) -> None:
    """Raise an error if some dicts of a list have words, and others a text.

    Args:
        value: The list, or anything else.
        dataset_name: What to call it in the error.

    Raises:
        ValueError: If they are mixed.
    """
    rows = value if is_rows(value) else ()
    kinds = [[name for name in ("tokens", "text") if row.get(name) is not None] for row in rows]
    other = next((row for row, kind in enumerate(kinds) if kind != kinds[0]), None)
    if other is not None and all(len(kind) == 1 for kind in kinds):
        raise ValueError(
            f"row {other} of the {dataset_name} data has {kinds[other][0]!r}, but row 0 has {kinds[0][0]!r}: split "
            "them into two data sets"
        )


def as_dataset(value: Any, dataset_name: str) -> Any:
    """Convert annotated rows in another form to a data set.

    Args:
        value: A list or tuple of dicts, a table, see `table_as_dataset`, or a `Dataset`. Each may have one line per
            row, or one line per entity, as `span_marker.data.csv_files.to_dataframe` returns it.
        dataset_name: What to call it in errors.

    Returns:
        A `Dataset` with one row per text; any other value as it is.

    Raises:
        TypeError: If a table exports no Arrow data, or a value of a line has the wrong type.
        ValueError: If the values of a column are not all of one type, or a line is wrong.
    """
    dataset = table_as_dataset(value, dataset_name)
    if is_rows(value):
        refuse_mixed_rows(value, dataset_name)
        names = dict.fromkeys(chain.from_iterable(value))
        dataset = _from_columns({name: [row.get(name) for row in value] for name in names}, dataset_name)
    columns = getattr(dataset, "column_names", ())
    if not is_entity_table(columns):
        return dataset
    kind: Kind = "text" if "text" in columns else "words"
    lines = enumerate(dataset.with_format(None))
    located = ((f"line {number} of the {dataset_name} data", line) for number, line in lines)
    return as_dataset(rows_of_entities(located, kind), dataset_name)


def table_as_dataset(value: Any, dataset_name: str) -> Any:
    """Convert a table of another library to a data set.

    Args:
        value: A DataFrame of pandas or Polars, an Arrow table, or any other object with ``columns`` that exports Arrow
            data (``__arrow_c_stream__`` or ``__arrow_c_array__``); or anything else.
        dataset_name: What to call it in errors.

    Returns:
        A `Dataset` with the same rows and columns, without an index; any other value unchanged.

    Raises:
        TypeError: If the table exports no Arrow data.
        ValueError: If the values of a column are not all of one type, or several columns have one name.
    """
    if not is_table(value):
        return value
    if is_dataframe(value):
        refuse_equal_names(value.columns, dataset_name)
        return _from_columns({name: value[name].astype(object) for name in value.columns}, dataset_name)
    if not hasattr(value, "__arrow_c_stream__") and not hasattr(value, "__arrow_c_array__"):
        raise TypeError(
            f"cannot read the columns of a {type(value).__name__}: pass a DataFrame of pandas or Polars, an Arrow "
            "table, a Dataset, or the texts alone"
        )
    import pyarrow  # takes long to import, as datasets does
    from datasets import Dataset

    table = pyarrow.table(value)
    refuse_equal_names(table.column_names, dataset_name)
    return Dataset(table)


def refuse_equal_names(names: Iterable[Any], dataset_name: str) -> None:
    """Raise an error if two columns of a table have the same name.

    Args:
        names: The names.
        dataset_name: What to call the data in the error.

    Raises:
        ValueError: If two are the same.
    """
    twice = next((name for name, number in Counter(names).items() if number > 1), None)
    if twice is not None:
        raise ValueError(f"the {dataset_name} data has several columns {twice!r}: rename or remove all but one")


def _from_columns(columns: Mapping[Any, Any], dataset_name: str) -> Dataset:
    """Create a data set from lists, or from Series with NaN as None."""
    import pyarrow
    from datasets import Dataset

    refuse_equal_names(map(str, columns), dataset_name)  # 1 and "1" are one, where names are strings
    arrays = {}
    for name, values in columns.items():
        try:
            arrays[str(name)] = pyarrow.array(values)
        except UnicodeEncodeError as error:
            row = next(row for row, value in enumerate(values) if has_surrogates(value))
            raise ValueError(
                f"row {row} of the {dataset_name} data: {name!r} has a lone surrogate, which no encoding represents: "
                "replace it by '\\ufffd'"
            ) from error
        except _MISFIT as error:
            _refuse_triples(name, values, dataset_name)
            misfit = _describe_misfit(list(values), from_pandas=not isinstance(values, list))
            raise ValueError(
                f"the values of {name!r} in the {dataset_name} data are not all of one type that a data set can hold: "
                f"{misfit}convert them, or leave the column out ({error})"
            ) from error
    return Dataset(pyarrow.table(arrays))


def _refuse_triples(name: Any, values: Sequence[Any], dataset_name: str) -> None:
    """Raise an error for the first entity that is a list of its label, start and end."""
    for row, entities in enumerate(values):
        for entity in entities if name == "entities" and is_list(entities) else ():
            hint = suggest_dict(entity)
            if hint:
                raise ValueError(f"row {row} of the {dataset_name} data: entity {entity!r} must be a dict{hint}")


def _describe_misfit(values: Sequence[Any], *, from_pandas: bool) -> str:
    """Name the first value that no column can hold together with those before it; nothing if their type is to blame."""
    import pyarrow

    def is_misfit(row: int) -> bool:
        try:
            pyarrow.array(values[: row + 1], from_pandas=from_pandas)
        except _MISFIT:
            return True
        return False

    row = bisect_left(range(len(values)), True, key=is_misfit)
    if row == len(values):
        return ""
    before = next((f" after {value!r:.70}" for value in reversed(values[:row]) if value is not None), "")
    return f"row {row} has {values[row]!r:.70}{before}: "
