"""Detect annotations that are not read because of their name: misspelled ones, and those of other tools."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from span_marker.data.entity_keys import LABEL_KEYS, has_place
from span_marker.data.file_tags import are_prefixed
from span_marker.data.forms import misspelled
from span_marker.data.values import is_list, suggest_dict

if TYPE_CHECKING:
    from datasets import Dataset

logger = logging.getLogger(__name__)


def unread_annotation(record: Any) -> list[str]:
    """Find what looks like the annotation of a row, but has a name that is not read.

    Args:
        record: A row without entities.

    Returns:
        The keys of lists of entities or of tags.

    Example:
        >>> unread_annotation({"text": "Ann went", "entities": [], "label": [[0, 3, "PER"]], "id": 7})
        ['label']
    """
    items = record.items() if isinstance(record, Mapping) else ()
    return [str(name) for name, value in items if is_list(value) and value and _is_annotation(value)]


def _is_annotation(items: Any) -> bool:
    """Tell whether a list has entities or tags."""
    if all(isinstance(item, str) for item in items):
        return are_prefixed(items)
    return all(bool(suggest_dict(item)) or (_has_label(item) and has_place(item)) for item in items)


def _has_label(item: Any) -> bool:
    return isinstance(item, Mapping) and any(key in item for key in (*LABEL_KEYS, "labels"))


def warn_of_unread_columns(dataset: Dataset, dataset_name: str) -> None:
    """Log a warning if a data set has lists in columns whose names are misspelled.

    Args:
        dataset: The data set.
        dataset_name: What to call it.
    """
    for name, meant in misspelled(dataset.column_names).items():
        if meant in dataset.column_names and getattr(dataset.features[name], "feature", None) is not None:
            logger.warning("The column %r of the %s data is ignored; %r is read instead.", name, dataset_name, meant)
