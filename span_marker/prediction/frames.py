"""Prediction on tables of Arrow, pandas or Polars, which returns the same kind. pandas and Polars are not imported."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypeVar

from span_marker.data.values import is_list
from span_marker.prediction.options import PredictOptions, finds_relations
from span_marker.prediction.readings import OnError, check_row_options, read_contents, reading_columns

if TYPE_CHECKING:
    from typing_extensions import Unpack

Table = TypeVar("Table")

ADVICE = {
    "polars": "call collect() first",
    "datasets": "pass dataset.map a span_marker.bulk.Reader, or dataset.to_pandas()",
    "duckdb": "pass relation.to_arrow_table()",
    "_duckdb": "pass relation.to_arrow_table()",
    "pyspark": "use span_marker.integrations.predict_dataframe",
    "ray": "use span_marker.integrations.predict_dataset",
}
"""What to do instead with an object that is not a table in memory, by the package that it comes from."""


class TableMixin:
    """Mixin that adds entities to tables. The class that it is mixed into has ``predict`` and ``rules``."""

    def predict_table(
        self, table: Table, column: str | None = None, *, on_error: OnError = "raise", **options: Unpack[PredictOptions]
    ) -> Table:
        """Find the entities of the rows of a table, and add them as a column.

        Each row is read independently, without document context. All other columns stay unchanged.

        Args:
            table: A DataFrame of pandas or Polars, or an Arrow table or record batch.
            column: The column of the texts: strings, or lists of strings, which are words. Defaults to ``text`` or
                ``tokens``.
            on_error: What happens to texts that cannot be read, such as None: ``"raise"`` raises the error,
                ``"column"`` writes it to a column ``error``, which is null elsewhere, and leaves ``entities`` empty.
            **options: Options of `predict`.

        Returns:
            A table of the same kind, with these columns at its end: ``entities``, lists of structs with the keys of
            `Entity`; ``relations``, lists of structs with the keys of `Relation`, if they are predicted; and ``error``,
            if requested. They replace columns of the same names. A column ``relations`` of the table is always dropped,
            since it refers to the entities of the table. The Arrow types of the columns do not depend on the rows. In
            pandas, they are Arrow columns, too (``pandas.ArrowDtype``).

        Raises:
            TypeError: If ``table`` or the column has none of the supported types, ``predict`` has no such option, or a
                text is None and ``on_error`` is ``"raise"``.
            ValueError: If there is no such column, or an option is invalid.
        """
        check_row_options(on_error, options)
        model: Any = self
        model.predict([], **options)  # checks the options, also of tables without rows
        return _predict_table(model, table, column, on_error, options)


def _predict_table(model: Any, table: Any, column: str | None, on_error: OnError, options: Mapping[str, Any]) -> Any:
    import pyarrow as pa  # takes long

    from span_marker.prediction.arrow import AddedColumns, add_columns, find_column, output_schema, pick_column

    added = AddedColumns(
        with_labels=bool(options.get("top_k")),
        with_origins=bool(options.get("propagate")) or model.rules is not None,
        with_relations=finds_relations(model, options.get("relations")),
        with_errors=on_error == "column",
    )

    def add_entities(table: Any, column: str | None, others: Mapping[int, Any] | None = None) -> Any:
        name = find_column(table.schema, column, "column")
        contents = table.column(name).to_pylist()
        for index, other in (others or {}).items():
            contents[index] = other
        readings = read_contents(model, contents, on_error, options)
        schema = output_schema(table.schema, name, added)
        return add_columns(table, schema, reading_columns(readings, added.names))

    if isinstance(table, (pa.Table, pa.RecordBatch)):
        return add_entities(table, column)
    if _is_frame(table, "pandas"):
        pandas = sys.modules["pandas"]
        name = pick_column(list(table.columns), column, "column")
        texts, others = _as_arrow(table[name], str(name))
        found = add_entities(texts, str(name), others)
        arrays = {key: pandas.arrays.ArrowExtensionArray(found.column(key)) for key in added.names}
        kept = table.drop(columns=added.replace(table.columns))
        return kept.assign(**{key: pandas.Series(array, index=table.index) for key, array in arrays.items()})
    if _is_frame(table, "polars"):
        name = pick_column(table.columns, column, "column")
        found = add_entities(table.select(name).to_arrow(), name)
        kept = table.drop(added.replace(table.columns))
        return kept.hstack(sys.modules["polars"].from_arrow(found.select(added.names)))
    advice = ADVICE.get(type(table).__module__.partition(".")[0], "pass texts to predict, and files to predict_files")
    raise TypeError(
        "table must be a DataFrame of pandas or Polars, an Arrow table or a record batch, not "
        f"{type(table).__name__}: {advice}"
    )


def _is_frame(table: Any, package: str) -> bool:
    """Whether a value is a DataFrame of a package, which is then already imported."""
    return isinstance(table, getattr(sys.modules.get(package), "DataFrame", ()))


def _as_arrow(series: Any, name: str) -> tuple[Any, dict[int, Any]]:
    """Convert a column of pandas to an Arrow table, with NaN as null; and collect the cells that are not texts."""
    import pyarrow as pa

    values = [None if is_null else value for value, is_null in zip(series.astype(object), series.isna(), strict=True)]
    texts = [value if isinstance(value, str) or is_list(value) else None for value in values]
    others = {index: value for index, value in enumerate(values) if value is not None and texts[index] is None}
    try:
        if len(others) == len(values) - values.count(None):  # it is a column of something else
            return pa.table({name: pa.array(values)}), {}
        return pa.table({name: pa.array(texts)}), others
    except (ValueError, TypeError) as error:
        raise TypeError(f"the column {name!r} must have strings or lists of strings: {error}") from error
