"""Annotated data sets: their form, their labels, and how to read their rows.

Annotated data comes in three forms, recognized by its columns: ``tokens`` and ``entities`` (starts and ends count
words), ``text`` and ``entities`` (they count characters), or ``tokens`` and ``ner_tags`` (one tag per word). Entities
may have ``relations``. Lists of dicts and tables are converted first, see `span_marker.data.in_memory`. Everything here
works without a model or a tokenizer; `span_marker.data.rows` checks the rows.
"""

from __future__ import annotations

import functools
import logging
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING, Any, TypeGuard

from span_marker.core.labels import OUTSIDE, LabelledSpan, complete_tags
from span_marker.core.notation import Notation, complete_labels, read_labels, read_notation, tell_renamed
from span_marker.data.forms import FORMS, Form, check_splits, find_form
from span_marker.data.in_memory import as_dataset, refuse_no_rows
from span_marker.data.row_relations import RELATIONS
from span_marker.data.rows import Row, RowProblem, Unit, first_error, unknown_labels
from span_marker.data.tags import ANY_TAGS, Tags, name_tags, read_annotation
from span_marker.data.unread import warn_of_unread_columns

if TYPE_CHECKING:
    from datasets import Column, Dataset

logger = logging.getLogger(__name__)

ROWS_AT_A_TIME = 1000


def is_dataset(value: Any) -> TypeGuard[Dataset]:
    """Tell whether a value is a `datasets.Dataset`, without importing the library, which is slow."""
    return isinstance(value, getattr(sys.modules.get("datasets"), "Dataset", ()))


def is_column(value: Any) -> TypeGuard[Column]:
    """Tell whether a value is a column of a `datasets.Dataset`, without importing the library."""
    return isinstance(value, getattr(sys.modules.get("datasets"), "Column", ()))


def plain(dataset: Dataset) -> Dataset:
    """Return a data set whose rows are plain Python objects, whatever format was set."""
    return dataset.with_format(None)


def require_dataset(value: Any, dataset_name: str) -> Dataset:
    """Check that a value is a data set, or rows that can be converted to one.

    Args:
        value: The value, see `as_dataset`.
        dataset_name: What to call it in errors, such as ``training``.

    Returns:
        The data set. Its rows are plain Python objects, whatever format was set.

    Raises:
        TypeError: If it is something else.
        ValueError: If it is an empty list, or its rows cannot be converted to a data set.
    """
    refuse_no_rows(value, dataset_name)
    dataset = as_dataset(value, dataset_name)
    if not is_dataset(dataset):
        raise TypeError(f"the {dataset_name} data must be a datasets.Dataset, not {_mistake(value)}")
    warn_of_unread_columns(dataset, dataset_name)
    return plain(dataset)


def _mistake(value: Any) -> str:
    """Describe what was passed instead of a data set, and what to pass."""
    if isinstance(value, Mapping):
        check_splits(value)
        return f"{type(value).__name__}: pass one of its splits"
    if isinstance(value, (str, os.PathLike)):
        return f"a path: pass {way_to_data(value)}"
    if isinstance(value, (list, tuple)):
        index, item = next((index, item) for index, item in enumerate(value) if not isinstance(item, Mapping))
        return (
            f"a list with {item!r:.70} as item {index}: pass a list of dicts, such as {{'text': 'Ann', 'entities': "
            "[]}, or what read_annotations returns for one path"
        )
    return f"{type(value).__name__}: pass a pandas DataFrame or a list of dicts, or make one with {way_to_data(value)}"


def way_to_data(value: Any) -> str:
    """Suggest how to create a data set.

    Args:
        value: What was passed instead of one.

    Returns:
        A call.
    """
    return f"read_annotations({str(value)!r})" if isinstance(value, (str, os.PathLike)) else "Dataset.from_list(rows)"


def named_splits(data: Any) -> dict[str, Dataset]:
    """Convert one or several data sets to a dict of data sets.

    Args:
        data: A `Dataset`, or rows that can be converted to one, see `as_dataset`; or a dict of several by name.

    Returns:
        The data sets by name, see `require_dataset`. A single one is named after its split, or ``annotated``.

    Raises:
        TypeError: If it is neither, or a dict of columns.
        ValueError: If it is an empty dict.
    """
    if not isinstance(data, Mapping):
        name = str((is_dataset(data) and data.split) or "annotated")
        return {name: require_dataset(data, name)}
    check_splits(data)
    return {str(name): require_dataset(dataset, str(name)) for name, dataset in data.items()}


def annotation_form(dataset: Dataset, dataset_name: str) -> Form:
    """Determine the form of annotated data from its columns.

    Args:
        dataset: A data set.
        dataset_name: What to call it in errors.

    Returns:
        A key of `span_marker.data.forms.FORMS`.

    Raises:
        ValueError: If the columns match no form or several.
    """
    return find_form(dataset.column_names, f"the {dataset_name} data")


def tag_names(dataset: Dataset) -> list[str] | None:
    """Read the names of the integers in the column ``ner_tags``.

    Args:
        dataset: A data set of words and tags.

    Returns:
        The names of its ``ClassLabel``; None without one, or if they are numbers, as in ``ClassLabel(num_classes=3)``.
    """
    names = getattr(getattr(dataset.features.get("ner_tags"), "feature", None), "names", None)
    return list(names) if names and list(names) != [*map(str, range(len(names)))] else None


def string_tags(dataset: Dataset, dataset_name: str) -> set[str]:
    """List the tags of a data set. Broken rows are skipped.

    Args:
        dataset: A data set of words and tags.
        dataset_name: What to call it in errors.

    Returns:
        The tags.

    Raises:
        ValueError: If they are integers without names.
    """
    return {tag for names, _ in _named_tags(dataset, dataset_name) for tag in names or ()}


def _has_integers(dataset: Dataset) -> bool:
    return "int" in str(getattr(getattr(dataset.features.get("ner_tags"), "feature", None), "dtype", ""))


def _named_tags(
    dataset: Dataset, dataset_name: str, meaning: Tags = ANY_TAGS
) -> Iterator[tuple[list[str] | None, list[RowProblem]]]:
    if _has_integers(dataset) and not meaning.names:
        raise ValueError(
            f"the tags of the {dataset_name} data are integers without names: cast the column 'ner_tags' to a "
            "ClassLabel, or pass labels= in the order of the integers (validate: model=)"
        )
    for index, (words, tags) in enumerate(read_columns(dataset, FORMS["tags"])):
        yield name_tags(words, tags, meaning, f"row {index} of the {dataset_name} data")


@dataclass(frozen=True)
class RowReader:
    """Reads the rows of a data set.

    Args:
        form: The form of the data set.
        dataset_name: What to call it in errors.
        tags: What its tags mean.
        classes: The labels that an entity may have; None for any.
        has_relations: Whether it has relations between its entities.
    """

    form: Form
    dataset_name: str
    tags: Tags = ANY_TAGS
    classes: Sequence[str] | None = None
    has_relations: bool = False

    @classmethod
    def from_dataset(
        cls,
        dataset: Dataset,
        dataset_name: str,
        labels: Sequence[str] | None = None,
        classes: Sequence[str] | None = None,
        notation: Callable[[], Notation] | None = None,
    ) -> RowReader:
        """Create the reader of a data set.

        Args:
            dataset: The data set.
            dataset_name: What to call it in errors, such as ``training``.
            labels: The tags that a word may have, in the order that integer tags index. Defaults to those in the data.
            classes: The labels that an entity may have. Defaults to any.
            notation: How the tags are written. Defaults to the notation of this data set.

        Returns:
            The reader.

        Raises:
            ValueError: If it is not annotated, or the meaning of its tags is unknown.
        """
        form = annotation_form(dataset, dataset_name)
        if form != "tags":
            return cls(form, dataset_name, ANY_TAGS, classes, RELATIONS in dataset.column_names)
        names = tag_names(dataset)
        if notation is None:

            def read_once() -> Notation:
                is_unnamed = names is None and labels is not None and _has_integers(dataset)
                return read_notation((labels if is_unnamed else names or string_tags(dataset, dataset_name)) or ())

            notation = functools.cache(read_once)  # takes a look at all rows, which those in the usual notation spare
        if labels is None:
            read = list(dict.fromkeys(notation().renamed.values()))
            labels = read if names else complete_tags(read)
        return cls(form, dataset_name, Tags.from_labels(labels, names, notation), classes)

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns to read: the content, its annotation, and relations if the data has them."""
        return (*FORMS[self.form], RELATIONS) if self.has_relations else FORMS[self.form]

    @property
    def unit(self) -> Unit:
        """What the entities count."""
        return "characters" if self.form == "text" else "words"

    def location(self, index: int) -> str:
        """What to call a row in errors."""
        return f"row {index} of the {self.dataset_name} data"

    def examine(
        self, index: int, content: Any, annotation: Any, relations: Any = None
    ) -> tuple[Row | None, list[RowProblem]]:
        """Read a row, and find all of its problems.

        Args:
            index: Its number.
            content: Its words or text.
            annotation: Its entities or tags.
            relations: Its relations; None if it has none.

        Returns:
            See `span_marker.data.tags.read_annotation`.
        """
        location = self.location(index)
        row, problems = read_annotation(self.form, content, annotation, location, self.tags, relations)
        if row is not None and self.classes is not None:
            problems = problems + unknown_labels(row, self.classes, location)
        return row, problems

    def read(self, index: int, content: Any, annotation: Any, relations: Any = None) -> Row:
        """Read a row, and raise its first problem.

        Args:
            index: Its number.
            content: Its words or text.
            annotation: Its entities or tags.
            relations: Its relations; None if it has none.

        Returns:
            The row.

        Raises:
            TypeError: If a value has the wrong type.
            ValueError: If a value is wrong.
        """
        return first_error(*self.examine(index, content, annotation, relations))


def read_columns(dataset: Dataset, columns: Sequence[str]) -> Iterator[tuple[Any, ...]]:
    """Read some columns of a data set, row by row.

    Args:
        dataset: The data set, in any format.
        columns: Names of the columns.

    Yields:
        The values of each row, as plain Python objects.
    """
    for batch in plain(dataset).select_columns(list(columns)).iter(ROWS_AT_A_TIME):
        yield from zip(*(batch[name] for name in columns), strict=True)


def read_rows(
    dataset: Dataset, dataset_name: str, labels: Sequence[str] | None = None, classes: Sequence[str] | None = None
) -> Iterator[tuple[Any, list[LabelledSpan]]]:
    """Read annotated data, row by row.

    Args:
        dataset: The data, in any form and any format.
        dataset_name: What to call it in errors, such as ``training``.
        labels: The tags that a word may have, in the order that integer tags index. Defaults to those in the data.
        classes: The labels that an entity may have. Defaults to any.

    Yields:
        The words or the text of each row, and its entities, whose offsets count words or characters.
    """
    for row in whole_rows(dataset, dataset_name, labels, classes):
        yield row.content, row.spans


def whole_rows(
    dataset: Dataset, dataset_name: str, labels: Sequence[str] | None = None, classes: Sequence[str] | None = None
) -> Iterator[Row]:
    """Read annotated data like `read_rows`, including all other columns."""
    reader = RowReader.from_dataset(dataset, dataset_name, labels, classes)
    yield from (reader.read(index, *values) for index, values in enumerate(read_columns(dataset, reader.columns)))


def infer_labels(data: Any) -> list[str]:
    """List the labels of annotated data, for ``SpanMarkerModel.from_pretrained(encoder, labels=...)``.

    Args:
        data: A `Dataset`, a DataFrame or a list of dicts; or a dict of several, whose labels are merged.

    Returns:
        The names of the ``ClassLabel``, if the tags have one; the labels of all entities; or all tags. With a scheme,
        every label has all prefixes, since other data may have prefixes that this data lacks.

    Raises:
        TypeError: If the data, a row, a label or a tag has the wrong type.
        ValueError: If there is no annotated column or no entity, a row is invalid, tags are integers without names, or
            the data sets differ in form.

    Example:
        >>> infer_labels([{"tokens": ["Ann", "Lee"], "ner_tags": ["B-PER", "O"]}])
        ['O', 'B-PER', 'I-PER']
    """
    datasets = named_splits(data)
    have_tags = {name: annotation_form(dataset, name) == "tags" for name, dataset in datasets.items()}
    if len(set(have_tags.values())) > 1:
        raise ValueError(
            f"the data sets {[name for name in have_tags if have_tags[name]]} have tags, but "
            f"{[name for name in have_tags if not have_tags[name]]} have entities: pass labels="
        )
    if all(have_tags.values()):
        return _infer_tags(datasets)
    labels = {span.label for name, data in datasets.items() for row in whole_rows(data, name) for span in row.spans}
    if not labels:
        raise ValueError(f"there are no entities in the {' and '.join(datasets)} data: pass labels=")
    return complete_labels(labels)


def _infer_tags(datasets: dict[str, Dataset]) -> list[str]:
    all_names = {name: names for name, dataset in datasets.items() if (names := tag_names(dataset))}
    for name, names in all_names.items():
        first, first_names = next(iter(all_names.items()))
        if names != first_names:
            raise ValueError(
                f"the integer tags of the {first} data mean {first_names}, those of the {name} data mean {names}: "
                "cast them to one ClassLabel, or pass labels="
            )
    if all_names:
        first, names = next(iter(all_names.items()))
        notation = read_notation(names)
        _refuse_strays(datasets, Tags(names, notation.renamed, notation=lambda: notation))
        return read_labels(names, f"the names of 'ner_tags' in the {first} data")
    tags: set[str] = set()
    for names, problems in chain.from_iterable(_named_tags(dataset, name) for name, dataset in datasets.items()):
        if problems or names is None:
            raise problems[0].error
        tags.update(names)
    if not tags - {OUTSIDE}:
        raise ValueError(f"there are no entities in the {' and '.join(datasets)} data: pass labels=")
    notation = read_notation(sorted(tags))
    _refuse_strays(datasets, Tags(known=notation.renamed, notation=lambda: notation))
    tell_renamed(notation)
    return complete_tags(notation.renamed.values())


def _refuse_strays(datasets: dict[str, Dataset], meaning: Tags) -> None:
    """Raise an error for the first word whose tag cannot be read."""
    for name, dataset in datasets.items() if meaning.notation().strays else ():
        for _, problems in _named_tags(dataset, name, meaning):
            if problems:
                raise ValueError(f"column 'ner_tags', {problems[0].error}")
