"""Arrow tables: the column that is read, and the columns that are added. All tables have the same schema."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import pyarrow as pa

from span_marker.data.row_relations import RELATIONS
from span_marker.prediction.readings import ADDED, ENTITIES, ERROR

DEFAULT_COLUMNS = ("text", "tokens")
"""Columns that are read if none is named."""


def as_table(batch: Any) -> Any:
    """Convert a batch to an Arrow table or record batch.

    Args:
        batch: A table or a record batch; or a dict of columns, such as `datasets.Dataset.map` and Ray Data pass.

    Returns:
        A table, or the record batch.

    Raises:
        TypeError: If it is none of these.
    """
    if isinstance(batch, (pa.Table, pa.RecordBatch)):
        return batch
    if isinstance(batch, Mapping):
        # The dict of datasets makes Python objects of a column when it is looked at; the table is what it has.
        return batch.pa_table if hasattr(batch, "pa_table") else pa.table(dict(batch))
    raise TypeError(
        f"a batch must be an Arrow table, a record batch or a dict of columns, not {type(batch).__name__}: set "
        "batched=True for Dataset.map, or batch_format='pyarrow' for Ray Data"
    )


def pick_column(names: Sequence[Any], name: Any = None, argument: str = "text_column") -> Any:
    """Pick the column of the texts by its name.

    Args:
        names: Names of all columns.
        name: Its name. Defaults to ``text`` or ``tokens``.
        argument: Name of the argument that sets the column, for errors.

    Returns:
        Its name.

    Raises:
        ValueError: If there is no such column, or more than one.
    """
    columns = [column for column in names if (column in DEFAULT_COLUMNS if name is None else column == name)]
    if len(columns) != 1:
        wanted = "either 'text' or 'tokens'" if name is None else f"a column {name!r}"
        raise ValueError(f"the table must have {wanted}, but has {list(names)}: set {argument}")
    return columns[0]


def find_column(schema: Any, name: str | None = None, argument: str = "text_column") -> str:
    """Find the column of the texts, and check its type.

    Args:
        schema: The Arrow schema of the table.
        name: See `pick_column`.
        argument: See `pick_column`.

    Returns:
        Its name.

    Raises:
        ValueError: If there is no such column, or more than one.
        TypeError: If it has neither strings nor lists of strings.
    """
    column: str = pick_column(schema.names, name, argument)
    type_ = _value_type(schema.field(column).type)
    if not (_is_text(type_) or (_is_list(type_) and _is_text(_value_type(type_.value_type)))):
        raise TypeError(f"the column {column!r} must have strings or lists of strings, not {type_}: set {argument}")
    return column


class AddedColumns(NamedTuple):
    """Which columns predictions add, and what they contain.

    Attributes:
        with_labels: Whether entities and relations have ``labels``, as with ``top_k``.
        with_origins: Whether entities have ``origin`` and ``conflict``, as with ``propagate`` and with rules.
        with_relations: Whether there is a column ``relations``.
        with_errors: Whether there is a column ``error``.
    """

    with_labels: bool
    with_origins: bool
    with_relations: bool
    with_errors: bool

    @property
    def names(self) -> list[str]:
        """Names of the columns."""
        is_added = {ENTITIES: True, RELATIONS: self.with_relations, ERROR: self.with_errors}
        return [name for name in ADDED if is_added[name]]

    def replace(self, names: Iterable[Any]) -> list[Any]:
        """Find the columns of a table that these replace.

        Args:
            names: Names of its columns.

        Returns:
            The columns with the same names; and always ``relations``, since they contain indices of entities that are
            replaced.
        """
        return [name for name in names if name in self.names or name == RELATIONS]

    def fields(self, are_words: bool) -> list[Any]:
        """Return the Arrow fields of the columns.

        Args:
            are_words: Whether the inputs are lists of words, rather than texts.

        Returns:
            The fields.
        """
        types = {
            ENTITIES: pa.list_(entity_type(are_words, self.with_labels, self.with_origins)),
            RELATIONS: pa.list_(relation_type(self.with_labels)),
            ERROR: pa.string(),
        }
        return [pa.field(name, types[name]) for name in self.names]


def output_schema(schema: Any, column: str, added: AddedColumns) -> Any:
    """Add the columns of predictions to a schema.

    Args:
        schema: The Arrow schema of the input.
        column: The column of the texts.
        added: The columns to add.

    Returns:
        The schema with these columns at its end, without those that they replace.
    """
    are_words = _is_list(_value_type(schema.field(column).type))
    replaced = added.replace(schema.names)
    return pa.schema(
        [*(field for field in schema if field.name not in replaced), *added.fields(are_words)], schema.metadata
    )


def entity_type(are_words: bool, with_labels: bool = False, with_origins: bool = False) -> Any:
    """Return the Arrow type of an entity: a struct with the keys of `span_marker.prediction.entities.Entity`.

    Args:
        are_words: Whether the inputs are lists of words, rather than texts.
        with_labels: Whether they have ``labels``.
        with_origins: Whether they have ``origin`` and ``conflict``, which are null for most entities.

    Returns:
        The type.
    """
    unit = "word" if are_words else "char"
    place = {f"{unit}_start_index": pa.int64(), f"{unit}_end_index": pa.int64()}
    scored = {"label": pa.string(), "score": pa.float64()}
    fields = {"span": pa.list_(pa.string()) if are_words else pa.string(), **scored, **place}
    if with_labels:
        fields["labels"] = pa.list_(pa.struct(scored))
    if with_origins:
        fields["origin"] = pa.struct({"kind": pa.string(), "rule": pa.string(), "sentence": pa.int64(), **place})
        fields["conflict"] = pa.struct({**scored, "origin": fields["origin"]})
    return pa.struct(fields)


def relation_type(with_labels: bool = False) -> Any:
    """Return the Arrow type of a relation: a struct with the keys of `span_marker.prediction.relations.Relation`.

    Args:
        with_labels: Whether relations have ``labels``.

    Returns:
        The type.
    """
    scored = {"label": pa.string(), "score": pa.float64()}
    fields = {**scored, "head": pa.int64(), "tail": pa.int64()}
    if with_labels:
        fields["labels"] = pa.list_(pa.struct(scored))
    return pa.struct(fields)


def add_columns(batch: Any, schema: Any, columns: Mapping[str, Sequence[Any]]) -> Any:
    """Add columns to a table or a record batch.

    Args:
        batch: The table or record batch.
        schema: The schema of the result, see `output_schema`.
        columns: The values of the columns that are added, by name.

    Returns:
        The same kind of object. The columns of ``batch`` are not copied.
    """
    arrays = [
        pa.array(columns[field.name], field.type) if field.name in columns else batch.column(field.name)
        for field in schema
    ]
    return type(batch).from_arrays(arrays, schema=schema)


def _value_type(type_: Any) -> Any:
    """The type of the values, for columns that store each of them once."""
    return type_.value_type if pa.types.is_dictionary(type_) else type_


def _is_text(type_: Any) -> bool:
    return any(is_kind(type_) for is_kind in (pa.types.is_string, pa.types.is_large_string, pa.types.is_null)) or (
        type_ == pa.string_view()
    )


def _is_list(type_: Any) -> bool:
    return any(is_kind(type_) for is_kind in (pa.types.is_list, pa.types.is_large_list, pa.types.is_fixed_size_list))
