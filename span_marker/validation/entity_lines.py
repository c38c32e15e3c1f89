"""Changes to tables with one line per entity: changed cells and dropped lines."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from span_marker.data.columns import is_dataset, plain
from span_marker.data.entity_tables import ENTITY_COLUMNS, TextLines
from span_marker.data.in_memory import is_dataframe


def change_lines(data: Any, changed: Mapping[int, tuple[TextLines, Sequence[Any]]]) -> Any:
    """Write new entities into a copy of a table.

    Args:
        data: The table: a list of dicts, a DataFrame of pandas, or a `Dataset`.
        changed: The lines of each text whose entities are new, and these, each with its ``line``.

    Returns:
        The table, in the same form. Lines of removed entities are dropped, but one line per text is kept, with empty
        cells if necessary. If nothing is changed, the table itself.
    """
    cells: dict[int, dict[str, Any]] = {}
    dropped: set[int] = set()
    for text, entities in changed.values():
        kept = {entity["line"]: entity for entity in entities}
        for old in text.row["entities"]:
            new = kept.get(old["line"])
            if new is None:
                dropped.add(old["line"])
            elif new != old:
                cells[old["line"]] = {name: value for name, value in new.items() if value != old.get(name)}
        if dropped.issuperset(text.lines):
            dropped.remove(text.lines[0])
            cells[text.lines[0]] = dict.fromkeys(ENTITY_COLUMNS)
    if not cells and not dropped:
        return data
    if is_dataframe(data):
        return _change_frame(data, cells, dropped)
    rows: Sequence[Any] = list(plain(data)) if is_dataset(data) else data
    new_rows = [
        {**row, **{name: value for name, value in cells.get(line, {}).items() if name in row}}
        for line, row in enumerate(rows)
        if line not in dropped
    ]
    if not is_dataset(data):
        return new_rows
    from datasets import Dataset

    return Dataset.from_list(new_rows, features=data.features)


def _change_frame(frame: Any, cells: Mapping[int, Mapping[str, Any]], dropped: set[int]) -> Any:
    import pandas as pd

    columns = {}
    for name in frame.columns:
        new = {line: values[name] for line, values in cells.items() if name in values}
        if new:
            values = [new.get(line, value) for line, value in enumerate(frame[name])]
            columns[name] = pd.Series(values, index=frame.index, dtype=object)
    kept = [line for line in range(len(frame)) if line not in dropped]
    changed = frame.assign(**columns).iloc[kept]
    return changed.astype({name: _dtype(changed[name], frame[name].dtype) for name in columns})


def _dtype(column: Any, dtype: Any) -> Any:
    """The type of a changed column: as it was, if that can hold it."""
    if column.isna().any() and getattr(dtype, "kind", "?") in "iu":
        return "Int64"
    is_category = str(dtype) == "category"
    return object if is_category else dtype
