"""The forms of annotated rows: their columns."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, Literal

Form = Literal["words", "text", "tags"]

FORMS: dict[Form, tuple[str, str]] = {
    "words": ("tokens", "entities"),
    "text": ("text", "entities"),
    "tags": ("tokens", "ner_tags"),
}
"""The forms of annotated rows, by their columns: what is annotated, and its annotation."""

BOUNDS = ("start", "end", "label")
"""What a row has instead of its annotation if it is one entity of a text or of words, see `is_entity_table`."""


_NAMES = ("text", "tokens", "entities", "ner_tags", "relations")

_SIMILARITY = 0.8
"""Of a misspelled name to the one that is meant: "entitis" has it, but "spans" is another name."""


def misspelled(names: Iterable[Any]) -> dict[str, str]:
    """Find probably misspelled names of columns.

    Args:
        names: Names of columns, or keys of a row.

    Returns:
        The names that are meant, by those that are written.

    Example:
        >>> misspelled(["Text", "entitis", "id"])
        {'Text': 'text', 'entitis': 'entities'}
    """
    others = [name for name in names if isinstance(name, str) and name not in _NAMES]
    found = {name: difflib.get_close_matches(name.casefold(), _NAMES, 1, _SIMILARITY) for name in others}
    return {name: meant[0] for name, meant in found.items() if meant}


def is_entity_table(names: Collection[str]) -> bool:
    """Tell whether rows are single entities, each with all of its text or words.

    Args:
        names: Names of their columns.

    Returns:
        Whether they are.

    Example:
        >>> is_entity_table(["id", "text", "start", "end", "label"])
        True
    """
    is_annotated = any(annotation in names for _, annotation in FORMS.values())
    return {*BOUNDS} <= {*names} and not is_annotated and ("text" in names or "tokens" in names)


def check_splits(data: Mapping[Any, Any]) -> None:
    """Check that a dict maps names to data sets, rather than being the columns of one.

    Args:
        data: The dict.

    Raises:
        TypeError: If it has columns.
        ValueError: If it is empty.
    """
    if not data:
        raise ValueError("the dict of data sets is empty")
    names = [str(name) for name in data]
    if is_entity_table(names) or any({*columns} <= {*names} for columns in FORMS.values()):
        content = data["text"] if "text" in data else data["tokens"]
        is_row = isinstance(content, str) or (not isinstance(data.get("text"), list) and _are_words(content))
        way = "a list of rows, [row]" if is_row else "datasets.Dataset.from_dict(columns)"
        raise TypeError(
            f"a dict must map names such as 'train' to data sets, but this one has the columns {names}: pass {way}"
        )


def _are_words(value: Any) -> bool:
    return isinstance(value, (list, tuple)) and all(isinstance(word, str) for word in value)


def find_form(names: Sequence[str], subject: str) -> Form:
    """Determine the form of annotated rows.

    Args:
        names: Names of their columns.
        subject: What to call what has them in errors, such as ``the training data``.

    Returns:
        A key of `FORMS`.

    Raises:
        ValueError: If the columns are those of no form, or of several.
    """
    if {"entities", "ner_tags"} <= set(names):
        raise ValueError(f"{subject} has both 'entities' and 'ner_tags': remove one of them (dataset.remove_columns)")
    forms = [form for form, columns in FORMS.items() if set(columns) <= set(names)]
    if len(forms) > 1:
        raise ValueError(
            f"{subject} has both 'tokens' and 'text', so 'start' and 'end' may count words or characters: remove one "
            "of them (dataset.remove_columns)"
        )
    if not names:
        raise ValueError(f"{subject} has neither rows nor columns")
    if not forms:
        similar = "".join(f"; is {name!r} a misspelling of {meant!r}?" for name, meant in misspelled(names).items())
        raise ValueError(
            f"{subject} has the columns {list(names)}, but annotated data has 'tokens' and 'entities', 'text' and "
            "'entities', 'tokens' and 'ner_tags', or, with a row for each entity, 'text' (or 'tokens'), 'start', 'end' "
            f"and 'label': rename them (rename_column of a Dataset, rename of a DataFrame){similar}"
        )
    return forms[0]
