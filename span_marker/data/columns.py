"""Annotated rows: in which form they are, what labels they have, and which entities.

Annotated data comes in three forms, told by its columns: ``tokens`` and ``entities`` (starts and ends count words),
``text`` and ``entities`` (they count characters), or ``tokens`` and ``ner_tags`` (one tag a word). Functions here look
at rows alone: no model and no tokenizer. What is wrong raises an error that names the row; nothing is repaired.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

from datasets import Dataset

from span_marker.core.labels import (
    OUTSIDE,
    LabelledSpan,
    complete_labels,
    complete_tags,
    detect_scheme,
    tags_to_entities,
)

Form = Literal["words", "text", "tags"]
Unit = Literal["words", "characters"]

COLUMNS: dict[Form, tuple[str, str]] = {
    "words": ("tokens", "entities"),
    "text": ("text", "entities"),
    "tags": ("tokens", "ner_tags"),
}
"""Columns of each form: the sentence, and its annotation."""

UNITS: dict[Form, Unit] = {"words": "words", "text": "characters", "tags": "words"}
"""What the entities of each form count."""

ROWS_AT_A_TIME = 1000


def way_to_data(given: Any) -> str:
    """Say how to make a data set.

    Args:
        given: What there is instead of one.

    Returns:
        A call.
    """
    return f"read_annotations({str(given)!r})" if isinstance(given, (str, os.PathLike)) else "Dataset.from_list(rows)"


def named_splits(data: Any) -> dict[str, Dataset]:
    """Bring one data set, or several, into one form.

    Args:
        data: A `Dataset`, or a dict of several by their names.

    Returns:
        The data sets by their names, whatever format they were set to; a single one is named after its split, or
        ``annotated``.

    Raises:
        TypeError: If it is nothing of the kind.
        ValueError: If it is an empty dict.
    """
    datasets = {str(data.split or "annotated"): data} if isinstance(data, Dataset) else data
    if not isinstance(datasets, Mapping):
        raise TypeError(
            f"annotated data must be a datasets.Dataset or a dict of several, not a {type(data).__name__}: make one "
            f"with {way_to_data(data)}"
        )
    if not datasets:
        raise ValueError("the dict of data sets is empty")
    for name, dataset in datasets.items():
        if not isinstance(dataset, Dataset):
            raise TypeError(
                f"the {name} data must be a datasets.Dataset, not a {type(dataset).__name__}: make one with "
                f"{way_to_data(dataset)}"
            )
    return {str(name): dataset.with_format(None) for name, dataset in datasets.items()}


def annotation_form(dataset: Dataset, what: str) -> Form:
    """Tell the form of annotated data by its columns.

    Args:
        dataset: A data set.
        what: What to call it in errors, such as ``training``.

    Returns:
        A key of `COLUMNS`.

    Raises:
        ValueError: If the columns are those of no form or of several.
    """
    columns = dataset.column_names
    forms = [form for form, needed in COLUMNS.items() if set(needed) <= set(columns)]
    if {"entities", "ner_tags"} <= set(columns):
        raise ValueError(f"the {what} data has both 'entities' and 'ner_tags': remove one with dataset.remove_columns")
    if "words" in forms and "text" in forms:
        raise ValueError(
            f"the {what} data has the columns {columns}: its 'entities' may count the words of 'tokens' or the "
            "characters of 'text'; remove the other column with dataset.remove_columns"
        )
    if not forms:
        raise ValueError(
            f"the {what} data has the columns {columns}, but annotated data has 'tokens' and 'entities', 'text' and "
            "'entities', or 'tokens' and 'ner_tags': rename them with dataset.rename_column"
        )
    return forms[0]


def tag_names(dataset: Dataset) -> list[str] | None:
    """Read the names of the integers in the column ``ner_tags``.

    Args:
        dataset: A data set of words and tags.

    Returns:
        The names of its ``ClassLabel``, None if there is none.
    """
    names = getattr(getattr(dataset.features.get("ner_tags"), "feature", None), "names", None)
    return list(names) if names else None


def infer_labels(data: Any) -> list[str]:
    """List the labels of annotated data, for ``SpanMarkerModel.from_pretrained(encoder, labels=...)``.

    Args:
        data: A `Dataset`, or a dict of several, whose labels are put together.

    Returns:
        The names of the ``ClassLabel``, if the tags have one; the labels of all entities; or all tags. With a scheme,
        these are all its prefixes with every label, so that none is missing that other data has.

    Raises:
        TypeError: If the data, a label or a tag is nothing of the kind.
        ValueError: If there is no annotated column or no entity, the tags are integers without names, or the data sets
            are not annotated in the same way.

    Example:
        >>> infer_labels(Dataset.from_dict({"tokens": [["Ann", "Lee"]], "ner_tags": [["B-PER", "O"]]}))
        ['O', 'B-PER', 'I-PER']
    """
    datasets = named_splits(data)
    have_tags = {name: annotation_form(dataset, name) == "tags" for name, dataset in datasets.items()}
    if len(set(have_tags.values())) > 1:
        raise ValueError(
            f"the data sets {[name for name in have_tags if have_tags[name]]} have tags, but "
            f"{[name for name in have_tags if not have_tags[name]]} have entities: give labels="
        )
    if all(have_tags.values()):
        return _infer_tags(datasets)
    labels = {
        _check_label(entity.get("label"), where) if isinstance(entity, Mapping) else _refuse(entity, where)
        for name, dataset in datasets.items()
        for where, entities in read_column(dataset, "entities", name)
        for entity in check_list(entities, "entities", where)
    }
    if not labels:
        raise ValueError(f"there is no entity in the {' and '.join(datasets)} data: give labels=")
    return complete_labels(labels)


def _infer_tags(datasets: dict[str, Dataset]) -> list[str]:
    all_names = {name: names for name, dataset in datasets.items() if (names := tag_names(dataset))}
    for name, names in all_names.items():
        first, first_names = next(iter(all_names.items()))
        if names != first_names:
            raise ValueError(
                f"the integer tags of the {first} data mean {first_names}, those of the {name} data mean {names}: "
                "cast them to one ClassLabel, or give labels="
            )
    if all_names:
        return next(iter(all_names.values()))
    tags: set[str] = set()
    for name, dataset in datasets.items():
        for where, row in read_column(dataset, "ner_tags", name):
            for tag in set(check_list(row, "ner_tags", where)) - tags:
                if isinstance(tag, int):
                    raise ValueError(
                        f"{where} has the tag {tag}: labels can't be guessed from integers; give labels=, in the order "
                        "that the integers count, or cast the column to a ClassLabel with names"
                    )
                if not isinstance(tag, str):
                    raise TypeError(f"{where}: tag {tag!r} must be a string, not {type(tag).__name__}")
                tags.add(tag)
    if not tags - {OUTSIDE}:
        raise ValueError(f"there is no entity in the {' and '.join(datasets)} data: give labels=")
    return complete_tags(tags)


def check_entity(entity: Any, length: int, where: str, unit: Unit) -> LabelledSpan:
    """Read one entity of a row.

    Args:
        entity: A dict with ``label``, ``start`` and ``end``; ends are exclusive.
        length: How many words or characters the row has.
        where: What to call the row in errors, such as ``row 3 of the training data``.
        unit: What start and end count.

    Returns:
        The entity.

    Raises:
        TypeError: If it is not a dict, or start or end is not a whole number.
        ValueError: If it has no label or is empty, or lies outside of the row.
    """
    if not isinstance(entity, Mapping):
        _refuse(entity, where)
    label, start, end = (entity.get(name) for name in ("label", "start", "end"))
    for name, value in (("start", start), ("end", end)):
        if isinstance(value, bool) or not isinstance(value, int):
            raise TypeError(f"{where}: the entity {dict(entity)} must have a whole number as its {name!r}")
    label = _check_label(label, where)
    if start >= end:
        raise ValueError(f"{where}: the entity {label!r} from {unit} {start} to {end} is empty: 'end' is exclusive")
    if start < 0 or end > length:
        raise ValueError(f"{where}: the entity {label!r} from {unit} {start} to {end} lies outside of {length} {unit}")
    return LabelledSpan(label, start, end)


def check_entities(entities: Any, length: int, where: str, unit: Unit) -> list[LabelledSpan]:
    """Read the entities of a row, see `check_entity`.

    Args:
        entities: A list of dicts.
        length: How many words or characters the row has.
        where: What to call the row in errors.
        unit: What the entities count.

    Returns:
        The entities, in the order of the list.

    Raises:
        TypeError: If it is not a list, or an entity is nothing of the kind.
        ValueError: If an entity can't be.

    Example:
        >>> check_entities([{"label": "PER", "start": 0, "end": 4}], 3, "row 0 of the training data", "words")
        Traceback (most recent call last):
        ValueError: row 0 of the training data: the entity 'PER' from words 0 to 4 lies outside of 3 words
    """
    return [check_entity(entity, length, where, unit) for entity in check_list(entities, "entities", where)]


def tag_name(tag: Any, names: Sequence[str] | None, labels: Sequence[str]) -> str | None:
    """Name a tag.

    Args:
        tag: A tag of a data set, an integer or a string.
        names: Names of the integers; None if they have none.
        labels: The labels that a tag may have.

    Returns:
        The name; None if the tag is unknown.
    """
    if isinstance(tag, int) and not isinstance(tag, bool):
        tag = names[tag] if names is not None and 0 <= tag < len(names) else None
    return tag if isinstance(tag, str) and tag in labels else None


def check_item(item: Any, form: Form, where: str) -> None:
    """Check what is annotated: a text or words.

    Args:
        item: The text or the words of a row.
        form: The form of its data set.
        where: What to call the row in errors.

    Raises:
        TypeError: If it is nothing of the kind.
    """
    if form == "text":
        if not isinstance(item, str):
            raise TypeError(f"{where}: 'text' must be a string, not {type(item).__name__}")
        return
    for position, word in enumerate(check_list(item, "tokens", where)):
        if not isinstance(word, str):
            raise TypeError(f"{where}: 'tokens'[{position}]={word!r} must be a string, not {type(word).__name__}")


def read_column(dataset: Dataset, column: str, what: str) -> Iterator[tuple[str, Any]]:
    """Read the rows of a column, each with what to call it in errors."""
    batches = dataset.select_columns([column]).iter(ROWS_AT_A_TIME)
    for row, value in enumerate(value for batch in batches for value in batch[column]):
        yield f"row {row} of the {what} data", value


def check_list(value: Any, column: str, where: str) -> Sequence[Any]:
    """Check that a row of a column is a list."""
    if not isinstance(value, (list, tuple)):
        raise TypeError(f"{where}: {column!r} must be a list, not {type(value).__name__}")
    return value


def _check_label(label: Any, where: str) -> str:
    if not isinstance(label, str) or not label or label == OUTSIDE:
        raise ValueError(f"{where}: an entity has the label {label!r}, but it must be a string other than '' and 'O'")
    return label


def _refuse(entity: Any, where: str) -> str:
    raise TypeError(
        f"{where}: the entity {entity!r} must be a dict with 'label', 'start' and 'end', not {type(entity).__name__}"
    )


def read_entities(
    words: Sequence[str], tags: Sequence[Any], tag_names: list[str], labels: list[str], scheme: str | None, where: str
) -> list[LabelledSpan]:
    """Read one sentence's entities out of its tags.

    Args:
        words: The words.
        tags: One tag a word, as an integer or a string.
        tag_names: Names of the integer tags.
        labels: The labels as given to the model.
        scheme: Their scheme.
        where: What to call the sentence in errors.

    Returns:
        The entities, with reduced labels.

    Raises:
        ValueError: If there are more or fewer tags than words, or a tag is not in the label list.
        TypeError: If a tag is neither an integer nor a string.
    """
    if not isinstance(tags, (list, tuple)):
        raise TypeError(f"{where}: 'ner_tags' must be a list of tags, not {type(tags).__name__}")
    if len(words) != len(tags):
        raise ValueError(f"{where} has {len(words)} 'tokens' but {len(tags)} 'ner_tags': every word needs one tag")
    names = []
    for position, tag in enumerate(tags):
        is_name = isinstance(tag, str)
        if not is_name and (isinstance(tag, bool) or not isinstance(tag, int)):
            raise TypeError(f"{where}: tag {tag!r} of word {position} must be an integer or a string")
        if not is_name and not 0 <= tag < len(tag_names):
            raise ValueError(
                f"{where}: tag {tag} of word {position} ({words[position]!r}) is not in the range of the "
                f"{len(tag_names)} labels {tag_names}: add it to labels"
            )
        name = tag if is_name else tag_names[tag]
        if name not in labels:
            raise ValueError(
                f"{where}: tag {tag!r} of word {position} ({words[position]!r})"
                f"{'' if is_name else f' is {name!r},'} is not among the labels {labels}: give these to a new model as "
                "labels="
            )
        names.append(name)
    return tags_to_entities(names, scheme)


def read_rows(
    dataset: Dataset, what: str, labels: Sequence[str] | None = None
) -> Iterator[tuple[Any, list[LabelledSpan]]]:
    """Read annotated data, row by row.

    Args:
        dataset: The data, in any form.
        what: What to call it in errors, such as ``training``.
        labels: The label list that integer tags index; by default the names that the data set has for them.

    Yields:
        The words or the text of each row, and its entities in words or characters.
    """
    form = annotation_form(dataset, what)
    names: list[str] = []
    if form == "tags":
        names = tag_names(dataset) or list(labels or infer_labels(dataset))
    scheme = detect_scheme(names)
    items, annotations = (read_column(dataset, column, what) for column in COLUMNS[form])
    for (where, item), (_, annotation) in zip(items, annotations, strict=True):
        check_item(item, form, where)
        if form == "tags":
            yield item, read_entities(item, annotation, names, names, scheme, where)
        else:
            yield item, check_entities(annotation, len(item), where, UNITS[form])
