"""Rows of texts that are read independently: the result of each, or what is wrong with it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Literal, NamedTuple, TypeVar

from span_marker.data.row_relations import RELATIONS
from span_marker.data.rows import check_text, check_words
from span_marker.data.values import is_list
from span_marker.prediction.entities import Coverage
from span_marker.prediction.options import PredictOptions
from span_marker.prediction.relations import as_columns, replace_annotation

Row = TypeVar("Row")

OnError = Literal["raise", "column"]
"""What happens to rows that cannot be read."""

ROW_ERRORS = (ArithmeticError, LookupError, MemoryError, RuntimeError, TimeoutError, TypeError, ValueError)
"""Errors that a model may raise for a text: a rule takes too long, the text does not fit into memory, or the encoder
fails."""

ENTITIES = "entities"
"""The column of the entities."""

ERROR = "error"
"""The column that says what is wrong with a row, or is null."""

ADDED = (ENTITIES, RELATIONS, ERROR)
"""The columns that predictions add, or replace."""


class Reading(NamedTuple):
    """The result of reading a text.

    Attributes:
        entities: Its entities, as `SpanMarkerModel.predict` returns them.
        error: What is wrong with the text, or None if it could be read.
        coverage: How much of it was read; None if it could not be read.
        relations: Its relations; None if they were not predicted, or the text could not be read.
    """

    entities: list[Any]
    error: str | None = None
    coverage: Coverage | None = None
    relations: list[Any] | None = None

    def add_to(self, row: Mapping[str, Any]) -> dict[str, Any]:
        """Add the result to the row of the text.

        Args:
            row: The row. Its own ``entities`` and ``relations`` are replaced or dropped.

        Returns:
            The row with ``entities``, with ``relations`` if they were predicted, and with ``error`` in case of an
            error.
        """
        return replace_annotation(row, self.columns())

    def add_to_metadata(self, metadata: Mapping[str, Any], on_error: OnError) -> dict[str, Any]:
        """Add the result to the metadata of a document, see `former_names`.

        Args:
            metadata: The metadata.
            on_error: What happens to documents that cannot be read.

        Returns:
            A copy of the metadata with the values that `columns` returns, and without those that an earlier reading
            left behind.
        """
        former = former_names(metadata, on_error)
        return {**{name: value for name, value in metadata.items() if name not in former}, **self.columns()}

    def columns(self) -> dict[str, Any]:
        """Return the values that `add_to` adds."""
        found: dict[str, Any] = {ENTITIES: self.entities, RELATIONS: self.relations, ERROR: self.error}
        return {name: value for name, value in found.items() if value is not None}


def former_names(metadata: Mapping[str, Any], on_error: OnError) -> list[str]:
    """Find the keys that an earlier reading has left in the metadata of a document, besides the entities.

    Args:
        metadata: The metadata.
        on_error: What happens to documents that cannot be read.

    Returns:
        The keys to remove: ``relations`` next to ``entities``, which they refer to, and ``error`` if ``on_error`` uses
        this key. Without ``entities``, or with ``"raise"``, these keys may have another meaning and are kept.
    """
    is_former = {RELATIONS: ENTITIES in metadata, ERROR: on_error == "column"}
    return [name for name in metadata if is_former.get(name)]


def reading_columns(readings: Sequence[Reading], names: Sequence[str]) -> dict[str, list[Any]]:
    """Return the results as columns.

    Args:
        readings: The results.
        names: The columns, some of `ADDED`.

    Returns:
        The columns, with a value for each reading.
    """
    columns: dict[str, list[Any]] = {
        ENTITIES: [reading.entities for reading in readings],
        RELATIONS: [reading.relations or [] for reading in readings],
        ERROR: [reading.error for reading in readings],
    }
    return {name: columns[name] for name in names}


def check_row_options(on_error: str, options: Mapping[str, Any]) -> None:
    """Check the arguments for reading rows.

    Args:
        on_error: What happens to texts that cannot be read.
        options: Options of ``predict``, by name; their values are not checked.

    Raises:
        TypeError: If ``predict`` has no such option for rows.
        ValueError: If ``on_error`` is unknown.
    """
    if on_error not in ("raise", "column"):
        raise ValueError(f"on_error must be 'raise' or 'column', not {on_error!r}")
    if unknown := options.keys() - PredictOptions.__annotations__.keys():
        known = ", ".join(PredictOptions.__annotations__)
        raise TypeError(f"predict has no option {min(unknown)!r} for batches of rows; it has {known}")


def read_contents(
    model: Any,
    contents: Sequence[Any],
    on_error: OnError,
    options: Mapping[str, Any],
    places: Sequence[str] | None = None,
) -> list[Reading]:
    """Find the entities of the texts of some rows.

    Args:
        model: A model, or any object with the same ``predict`` method.
        contents: Strings, or lists of words, or both.
        on_error: What happens to those that are neither, or that the model cannot read: ``"raise"`` raises the error,
            ``"column"`` returns it. If the model fails, the texts are split in half and read again, until the one that
            it cannot read is isolated.
        options: Options of ``predict``.
        places: What to call each of them in errors. Defaults to their row numbers.

    Returns:
        The result of each, in order.

    Raises:
        TypeError: If an item is neither a string nor a list of words, and ``on_error`` is ``"raise"``.
    """
    readings: list[Reading] = [Reading([])] * len(contents)
    good: dict[bool, list[int]] = {False: [], True: []}
    for index, content in enumerate(contents):
        try:
            check_sentence(content, f"row {index}" if places is None else places[index])
        except TypeError as error:
            if on_error == "raise":
                raise
            readings[index] = Reading([], str(error))
        else:
            good[not isinstance(content, str)].append(index)
    for are_words, indices in good.items():
        if indices:
            predict = partial(model.predict, is_split_into_words=are_words, return_coverage=True, **options)
            for index, reading in zip(indices, _read(predict, [contents[i] for i in indices], on_error), strict=True):
                place = f"row {index}" if places is None else places[index]
                readings[index] = reading if reading.error is None else Reading([], f"{place}: {reading.error}")
    return readings


def _read(predict: Callable[[Sequence[Any]], Any], sentences: Sequence[Any], on_error: OnError) -> list[Reading]:
    """Read sentences together, or in halves if the model fails on one of them."""
    try:
        return [
            Reading(coverage=coverage, **as_columns(found)) for found, coverage in zip(*predict(sentences), strict=True)
        ]
    except ROW_ERRORS as error:
        if on_error == "raise":
            raise
        failure = f"{type(error).__name__}: {error}".removesuffix(": ")
    predict([])  # raises what is wrong with the options
    if len(sentences) == 1:
        return [Reading([], failure)]
    return [reading for half in halves(sentences) for reading in _read(predict, half, on_error)]


def halves(rows: Sequence[Row]) -> tuple[Sequence[Row], Sequence[Row]]:
    """Split rows in two, to find the one that cannot be read.

    Args:
        rows: At least two rows.

    Returns:
        The first half, and the rest.
    """
    middle = len(rows) // 2
    return rows[:middle], rows[middle:]


def check_sentence(content: Any, place: str) -> None:
    """Check that a value is a text or a list of words.

    Args:
        content: The value.
        place: Where it is, for errors.

    Raises:
        TypeError: If ``content`` is neither.
    """
    if is_list(content):
        check_words(content, f"{place}: tokens")
    elif content is None or isinstance(content, str):
        check_text(content, f"{place}: text")
    else:
        raise TypeError(f"{place}: text must be a string, or a list of words, not {type(content).__name__}")
