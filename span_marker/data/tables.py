"""Tables of other libraries: DataFrames and Arrow tables as a `datasets.Dataset`."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

from span_marker.data.columns import is_dataset


def as_dataset(value: Any) -> Any:
    """Read a table of another library as a `datasets.Dataset`.

    Args:
        value: A DataFrame of pandas or Polars, an Arrow table, or any other object with ``columns`` that exports Arrow
            data (``__arrow_c_stream__`` or ``__arrow_c_array__``); or anything else.

    Returns:
        The same rows and columns, without an index; anything that is no table is returned unchanged.

    Raises:
        TypeError: If the table exports no Arrow data, or its cells do not fit into columns of one type each.
    """
    if isinstance(value, Mapping) or is_dataset(value) or not hasattr(value, "columns"):
        return value
    kind = type(value).__name__
    if not hasattr(value, "__arrow_c_stream__") and not hasattr(value, "__arrow_c_array__"):
        raise TypeError(
            f"cannot read the columns of a {kind}: pass a DataFrame of pandas or Polars, an Arrow table, a Dataset, or "
            "the texts alone"
        )
    import pyarrow  # takes long to import, as datasets does
    from datasets import Dataset

    try:
        if isinstance(value, getattr(sys.modules.get("pandas"), "DataFrame", ())):
            return Dataset.from_pandas(value, preserve_index=False)
        return Dataset(pyarrow.table(value))
    except (pyarrow.ArrowInvalid, pyarrow.ArrowTypeError, pyarrow.ArrowNotImplementedError) as error:
        raise TypeError(
            f"cannot read the {kind}, since the cells of a column have different types: pass it with the columns "
            f"'text' or 'tokens' and those that you need ({error})"
        ) from error
