"""Labels passed by callers: a list, or annotated data to take them from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from span_marker.core.labels import check_label_list
from span_marker.data.in_memory import is_rows, is_table


def read_label_list(labels: Any) -> Sequence[str] | None:
    """Read entity labels passed by a caller.

    Args:
        labels: A list of labels, annotated data to take them from, or None.

    Returns:
        The labels; None if there are none.

    Raises:
        TypeError: If they are not a list of strings.
        ValueError: If the data has no entity, or tags that cannot be read.
    """
    if _is_data(labels):
        from span_marker.data.columns import infer_labels  # imports datasets

        return infer_labels(labels)
    if labels is not None:
        check_label_list(labels)
    return labels


def read_relation_labels(labels: Any) -> Any:
    """Read relation labels passed by a caller.

    Args:
        labels: A list of labels, which the configuration checks, annotated data to take them from, or None.

    Returns:
        The labels; None if there are none.

    Raises:
        TypeError: If a row of the data has a value of the wrong type.
        ValueError: If the data has no relation, or a row is invalid.
    """
    if _is_data(labels):
        from span_marker.data.relation_labels import infer_relation_labels  # imports datasets

        return infer_relation_labels(labels)
    return labels


def _is_data(labels: Any) -> bool:
    """Tell whether labels are annotated data, or a dict of several data sets."""
    is_dict_of_data = isinstance(labels, dict) and {str, int}.isdisjoint(map(type, labels.values()))
    return hasattr(labels, "column_names") or is_table(labels) or is_rows(labels) or is_dict_of_data
