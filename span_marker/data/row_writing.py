"""Convert rows one by one for writing, and report those that a format cannot represent."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any, TypeVar

from span_marker.core.surrogates import SURROGATES
from span_marker.data.columns import RowReader, is_dataset, read_columns
from span_marker.data.in_memory import as_dataset, is_table
from span_marker.data.row_errors import OnError, RowError, check_on_error, report_errors
from span_marker.data.row_relations import RELATIONS, RowRelation, distinct_relations, move_relations
from span_marker.data.rows import COLUMNS, Row, RowEntity, distinct, parse_row

if TYPE_CHECKING:
    from datasets import Dataset

logger = logging.getLogger(__name__)

Converted = TypeVar("Converted")


def annotated_rows(
    rows: Dataset | Iterable[Any], errors: OnError = "raise", *, allow_surrogates: bool = False
) -> Iterator[tuple[dict[str, Any], Row]]:
    """Read rows to write them, see `converted_rows`."""
    return converted_rows(rows, lambda index, columns, row: (columns, row), errors, allow_surrogates=allow_surrogates)


def converted_rows(
    rows: Dataset | Iterable[Any],
    convert: Callable[[int, dict[str, Any], Row], Converted],
    errors: OnError = "raise",
    *,
    allow_surrogates: bool = False,
    writes_relations: bool = False,
) -> Iterator[Converted]:
    """Convert annotated rows to what a file has of them, one after the other.

    Args:
        rows: A data set in any form and any format, a DataFrame, or dicts with ``tokens`` or ``text``, and
            ``entities``.
        convert: Converts a row: its number, its columns with tags replaced by entities, and the row as it was read.
        errors: What happens to rows that are wrong or that ``convert`` refuses: ``raise`` raises the first error at
            once, ``skip`` warns of them at the end, and a list gets the errors at the end.
        allow_surrogates: Whether texts, words and labels may have lone surrogates.
        writes_relations: Whether ``convert`` keeps the relations of rows. A warning counts those that it does not keep.

    Yields:
        What ``convert`` returns.

    Raises:
        TypeError: If a row or a value has the wrong type.
        ValueError: If a row is not annotated, wrong, or not to be represented.
    """
    check_on_error(errors)
    values, read = _rows_to_write(rows)
    found: list[RowError] = []
    num_relations = 0
    for index, value in enumerate(values):
        try:
            columns, row = read(index, value)
            if not allow_surrogates:
                _check_surrogates(row, f"row {index}")
            converted = convert(index, columns, row)
        except (TypeError, ValueError) as error:
            if errors == "raise":
                raise
            found.append(error)
            continue
        num_relations += 0 if writes_relations else len(row.relations)
        yield converted
    warn_of_relations(num_relations)
    report_errors(found, len(found), errors, "the rows to write")


def warn_of_relations(number: int) -> None:
    """Log a warning if relations are not written.

    Args:
        number: Number of relations.
    """
    if number:
        logger.warning(
            "%d relations are not written, since the format does not support them: JSON lines, brat, DocBin and tasks "
            "do",
            number,
        )


def without_repetitions(row: Row, location: str) -> Row:
    """Return a row with its `distinct` entities, and the relations between them, each once.

    Args:
        row: The row.
        location: What to call it in errors.

    Returns:
        The row.

    Raises:
        ValueError: If a relation joins two entities that are the same, which would be lost.
    """
    for number, (label, head, tail, _) in enumerate(row.relations):
        if row.entities[head][:3] == row.entities[tail][:3]:
            raise ValueError(
                f"{location}: relation {number} ({label!r}) joins the entities {head} and {tail}, which have the same "
                f"label {row.entities[head].label!r} and position: remove one of them, or write JSON lines"
            )
    entities = distinct(row.entities)
    index = {entity[:3]: place for place, entity in enumerate(entities)}
    places = [index[entity[:3]] for entity in row.entities]
    relations = distinct_relations(move_relations(row.relations, places))
    return row._replace(entities=entities, relations=tuple(relations))


def _rows_to_write(rows: Any) -> tuple[Iterable[Any], Callable[[int, Any], tuple[dict[str, Any], Row]]]:
    """The values of rows, and the function that reads one: its columns, and the row."""

    def read_dict(index: int, value: Any) -> tuple[dict[str, Any], Row]:
        row = parse_row(value, f"row {index}")
        return dict(value), row

    if is_table(rows) or is_dataset(rows):
        rows = as_dataset(rows, "annotated")
    if not is_dataset(rows):
        return rows, read_dict
    reader, names = RowReader.from_dataset(rows, "annotated"), list(rows.column_names)
    left_out = {"ner_tags", "text", RELATIONS} if reader.form == "tags" else set()
    if "text" in left_out & {*names}:
        logger.warning("The column 'text' is not written: entities of rows with 'tokens' count words.")
    if RELATIONS in left_out & {*names}:
        logger.warning("The column %r is not written: rows with 'ner_tags' have no list of entities.", RELATIONS)

    def read_values(index: int, values: Any) -> tuple[dict[str, Any], Row]:
        columns = dict(zip(names, values, strict=True))
        row = reader.read(index, *(columns[name] for name in reader.columns))
        if reader.form == "tags":
            columns = {name: value for name, value in columns.items() if name not in left_out}
            columns["entities"] = [entity.to_dict() for entity in row.entities]
        return columns, row

    return read_columns(rows, names), read_values


def _check_surrogates(row: Row, location: str) -> None:
    items: tuple[RowEntity | RowRelation, ...] = (*row.entities, *row.relations)
    labels = (("label", item.label) for item in items)
    for name, text in ((COLUMNS[row.kind], "".join(row.content)), *labels):
        match = None if text.isascii() else SURROGATES.search(text)
        if match:
            raise ValueError(
                f"{location}: {name!r} has the lone surrogate {match[0]!r}, which UTF-8 cannot represent: replace it "
                "by '\\ufffd', or write JSON lines"
            )
