"""The labels of the relations of annotated data."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from span_marker.data.columns import RowReader, annotation_form, named_splits, read_columns
from span_marker.data.row_relations import RELATIONS

if TYPE_CHECKING:
    from datasets import Dataset


def infer_relation_labels(data: Any) -> list[str]:
    """List the relation labels of annotated data.

    Args:
        data: A `Dataset`, a DataFrame or a list of dicts, with the columns ``tokens`` or ``text``, ``entities`` and
            ``relations``; or a dict of several, whose labels are merged. Some of them may have no relations.

    Returns:
        The labels in alphabetical order.

    Raises:
        TypeError: If the data, a row or a value of a relation has the wrong type.
        ValueError: If there is no annotated column or no relation, or a row is invalid.

    Example:
        >>> row = {"tokens": ["Ann", "runs", "Acme"], "relations": [{"label": "runs", "head": 0, "tail": 1}]}
        >>> row["entities"] = [{"label": "PER", "start": 0, "end": 1}, {"label": "ORG", "start": 2, "end": 3}]
        >>> infer_relation_labels([row])
        ['runs']
    """
    datasets = named_splits(data)
    labels: set[str] = set()
    for name, dataset in datasets.items():
        if annotation_form(dataset, name) == "tags":
            refuse_relations(dataset, name)
            continue
        reader = RowReader.from_dataset(dataset, name)
        for index, values in enumerate(read_columns(dataset, reader.columns)):
            labels.update(relation.label for relation in reader.read(index, *values).relations)
    if not labels:
        raise ValueError(
            f"there are no relations in the {' and '.join(datasets)} data: rows need the column {RELATIONS!r} with "
            "dicts of 'label', 'head' and 'tail'"
        )
    return sorted(labels)


def rows_with_relations(dataset: Dataset) -> set[int]:
    """Find the rows whose relations are annotated, even if there are none.

    Args:
        dataset: A data set.

    Returns:
        The indices of the rows.
    """
    if RELATIONS not in dataset.column_names:
        return set()
    return {index for index, (value,) in enumerate(read_columns(dataset, (RELATIONS,))) if value is not None}


def refuse_relations(dataset: Dataset, dataset_name: str) -> None:
    """Refuse relations in rows with tags: they refer to entities by index, which tags do not have.

    Args:
        dataset: A data set of words and tags.
        dataset_name: What to call it in errors.

    Raises:
        ValueError: If it has relations.
    """
    if RELATIONS in dataset.column_names:
        raise ValueError(
            f"the {dataset_name} data has 'ner_tags' and {RELATIONS!r}, but relations are between 'entities': convert "
            "the tags to 'entities', or pass data without 'ner_tags'"
        )
