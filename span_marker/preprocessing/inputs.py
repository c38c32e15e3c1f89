"""Inputs: converting everything that a caller may pass to a single form."""

from __future__ import annotations

import functools
import logging
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

from span_marker.core.settings import ModelSettings
from span_marker.data.columns import is_column, is_dataset, plain
from span_marker.data.in_memory import table_as_dataset
from span_marker.data.row_relations import RELATIONS
from span_marker.data.rows import check_content, check_text, check_words
from span_marker.data.values import as_whole
from span_marker.preprocessing.table_rows import refuse_row, refuse_rows, warn_of_rows

if TYPE_CHECKING:
    from datasets import Dataset

logger = logging.getLogger(__name__)

Words: TypeAlias = "list[str] | tuple[str, ...]"
"""A sentence that is split into words."""

Inputs: TypeAlias = "str | Iterable[str] | Iterable[Words] | Dataset"
"""The inputs of ``predict``, see `read_inputs`."""


REPLACED = {"entities": "holds the result", RELATIONS: "has indices of entities that the result replaces"}
"""Columns that cannot be copied to the results, with the reason."""


@dataclass(frozen=True)
class Sentences:
    """Sentences in the form that the rest of the library reads.

    Attributes:
        items: Strings, or lists of words.
        are_texts: Whether the items are strings.
        document_ids: Document of each sentence; None without document context.
        sentence_ids: Place of each sentence in its document; None without document context.
    """

    items: Sequence[Any]
    are_texts: bool
    document_ids: Sequence[Any] | None = None
    sentence_ids: Sequence[Any] | None = None

    def take(self, rows: list[int]) -> Sentences:
        """Select sentences.

        Args:
            rows: Their indices; with document context, those of whole documents.

        Returns:
            The selected sentences.
        """

        def pick(column: Any) -> Any:
            return column[rows] if is_column(column) else [column[row] for row in rows]

        if self.document_ids is None or self.sentence_ids is None:
            return Sentences(pick(self.items), self.are_texts)
        return Sentences(pick(self.items), self.are_texts, pick(self.document_ids), pick(self.sentence_ids))

    def documents(self) -> list[list[int]]:
        """Rows of each document in order of their sentences; none without document context."""
        if self.document_ids is None or self.sentence_ids is None:
            return []
        documents: dict[Any, list[int]] = {}
        for row, document_id in enumerate(self.document_ids):
            documents.setdefault(document_id, []).append(row)
        return [sorted(rows, key=self.sentence_ids.__getitem__) for rows in documents.values()]


def read_inputs(inputs: Inputs, is_split_into_words: bool | None = None) -> tuple[Sentences, bool]:
    """Convert everything that a caller may pass to ``predict`` to a single form.

    Args:
        inputs: One sentence, a string or a list of words; or several: any sequence or other iterable of strings, a list
            of lists of words, or a `Dataset` with a column ``tokens`` or ``text`` and, for document context,
            ``document_id`` and ``sentence_id``.
        is_split_into_words: Whether strings are words, as in the tokenizers of ``transformers``: True if a list of
            strings is one sentence, False if each string is a text. With None, it is guessed: a list or tuple of
            strings is one sentence if none of them contains a space, which is logged once; in any other iterable,
            strings are texts.

    Returns:
        The sentences, and whether it was a single one.

    Raises:
        TypeError: If the input, or an item of it, is none of the supported types.
        ValueError: If ``is_split_into_words`` contradicts the input, a `Dataset` lacks a column, or a word contains a
            space although ``is_split_into_words`` is not True.
    """
    inputs = table_as_dataset(inputs, "input")
    if isinstance(inputs, str):
        if is_split_into_words:
            raise ValueError("is_split_into_words=True needs lists of words, but the input is a string: leave it out")
        return Sentences([inputs], are_texts=True), True
    if is_dataset(inputs):
        sentences, is_single = _read_dataset(plain(inputs)), False
    else:
        sentences, is_single = _read_items(inputs, is_split_into_words)
    if is_split_into_words is not None and is_split_into_words == sentences.are_texts:
        found = "texts" if sentences.are_texts else "lists of words"
        raise ValueError(f"is_split_into_words={is_split_into_words}, but the inputs are {found}: leave it out")
    return sentences, is_single


def _read_items(inputs: Any, is_split_into_words: bool | None) -> tuple[Sentences, bool]:
    """Read an iterable of strings or of lists of words."""
    if not has_items(inputs):
        raise TypeError(
            f"predict can't read inputs of type {type(inputs).__name__}: pass a string, a list of words, a list or "
            "other iterable of strings, a list of lists of words, or a Dataset or DataFrame with a column 'tokens' or "
            "'text'. Pass one split of a DatasetDict, and one column of a batch of Dataset.map; predict_stream takes "
            "dicts"
        )
    is_said = is_split_into_words is not None
    if not is_said:
        refuse_rows(inputs)
    items = inputs.to_pylist() if hasattr(inputs, "to_pylist") else list(inputs)  # an array or a column of Arrow
    if all(isinstance(item, str) for item in items):
        is_single = is_split_into_words
        if not is_said:
            is_single = bool(items) and isinstance(inputs, (list, tuple)) and not any(" " in item for item in items)
            if is_single:
                refuse_row(items, "the list of strings")
                _say_that_strings_are_words()
        return (Sentences([items], are_texts=False), True) if is_single else (Sentences(items, are_texts=True), False)
    expected = str if isinstance(items[0], str) else (list, tuple)
    for row, item in enumerate(items):
        if not isinstance(item, expected):
            raise TypeError(
                f"predict can't read inputs[{row}] of type {type(item).__name__}: the items of inputs must be all "
                "strings, or all lists of words; predict_stream takes dicts, too"
            )
    for row, item in enumerate(items):
        check_words(item, f"inputs[{row}]")
        if not is_said:
            refuse_row(item, f"inputs[{row}]")
    if not is_said:
        warn_of_rows(items)
    return Sentences(items, are_texts=False), False


def read_rows(inputs: Any, is_split_into_words: bool | None = None) -> Iterable[Any]:
    """Convert everything that a caller may stream to a single form.

    Args:
        inputs: Any iterable of sentences, or a table: a `Dataset`, a DataFrame or an Arrow table.
        is_split_into_words: See `sentence_of`.

    Returns:
        The sentences. Those of a table are dicts.

    Raises:
        TypeError: If the input is a single sentence, or is not an ordered collection of sentences.
        ValueError: If a table has no column ``tokens`` or ``text``, or both; or the input may consist of rows of a
            table.
    """
    inputs = table_as_dataset(inputs, "input")
    if isinstance(inputs, str):
        raise TypeError("predict_stream needs an iterable of sentences, not a single str")
    if not has_items(inputs):
        advice = "" if not isinstance(inputs, Mapping) else ": [row] for one row, one split of a DatasetDict"
        raise TypeError(f"predict_stream needs an iterable of sentences, not a single {type(inputs).__name__}{advice}")
    if is_dataset(inputs):
        text_column(inputs, "input")
        return plain(inputs)
    if is_split_into_words is None:
        refuse_rows(inputs)
    rows: Iterable[Any] = inputs
    return rows


def sentence_of(item: Any, location: str, is_split_into_words: bool | None) -> Any:
    """Find the sentence of an item of a stream.

    Args:
        item: A string, a list of words, or a dict with ``text`` or ``tokens``.
        location: What to call it in errors.
        is_split_into_words: The required type: True for a list of words, False for a text; None for either.

    Returns:
        The sentence.

    Raises:
        TypeError: If the item is none of these, or does not have the required type.
        ValueError: If a dict has neither ``text`` nor ``tokens``, or both; or a list may be a row of a table.
    """
    is_said = is_split_into_words is not None or isinstance(item, Mapping)
    if isinstance(item, Mapping):
        columns = _content_columns(item)
        if len(columns) != 1:
            raise ValueError(f"{location} must have either 'text' or 'tokens', but has {list(item)}")
        name, item, location = columns[0], item[columns[0]], f"{location}: {columns[0]!r}"
    elif isinstance(item, (str, list, tuple)):
        name = "text" if isinstance(item, str) else "tokens"
    else:
        raise TypeError(f"{location} must be a string, a list of words or a dict, not {type(item).__name__}")
    if is_split_into_words is not None and is_split_into_words != (name == "tokens"):
        wanted = "a list of words" if is_split_into_words else "a text"
        raise TypeError(f"{location} must be {wanted}, since is_split_into_words={is_split_into_words}")
    (check_text if name == "text" else check_words)(item, location)
    if name == "tokens" and not is_said:
        refuse_row(item, location)
        warn_of_rows([item])
    return item


def has_items(inputs: Any) -> bool:
    """Return whether a value is an ordered collection of sentences: an iterable, but not a mapping, set or bytes.

    Args:
        inputs: The value.

    Returns:
        Whether to read its items.
    """
    is_single = isinstance(inputs, (Mapping, set, frozenset, bytes, bytearray)) or getattr(inputs, "ndim", 1) == 0
    return isinstance(inputs, Iterable) and not is_single


@functools.cache
def _say_that_strings_are_words() -> None:
    logger.warning(
        "A list of strings without a space is read as the words of one sentence. Set is_split_into_words=False if "
        "each string is a text, or is_split_into_words=True if this is right. This message is logged once."
    )


def text_column(dataset: Dataset, dataset_name: str) -> str:
    """Find the column that holds the sentences.

    Args:
        dataset: A data set.
        dataset_name: What to call it in errors.

    Returns:
        ``tokens`` or ``text``.

    Raises:
        ValueError: If there is neither, or both without ``ner_tags``, which belong to ``tokens``.
    """
    columns = _content_columns(dataset.column_names)
    if len(columns) == 1:
        return columns[0]
    if columns:
        raise ValueError(
            f"the {dataset_name} data has both 'tokens' and 'text': remove the one that should not be read "
            "(remove_columns of a Dataset, drop of a DataFrame)"
        )
    raise ValueError(f"the {dataset_name} data needs a column 'tokens' or 'text', but has only {dataset.column_names}")


def _content_columns(names: Collection[str]) -> list[str]:
    """The columns that may hold sentences; if there are tags, these belong to words."""
    columns = [name for name in ("text", "tokens") if name in names]
    return ["tokens"] if "ner_tags" in names and "tokens" in columns else columns


def _read_dataset(dataset: Dataset) -> Sentences:
    column = text_column(dataset, "input")
    for row, item in enumerate(dataset[column]):
        check_content("text" if column == "text" else "words", item, f"row {row}")
    return Sentences(dataset[column], column == "text", *document_columns(dataset))


def take_columns(inputs: Any, names: Sequence[str]) -> list[dict[str, Any]]:
    """Read the columns that are copied to the results.

    Args:
        inputs: The `Dataset`.
        names: The columns.

    Returns:
        A dict for each row.

    Raises:
        TypeError: If the input is not a `Dataset`, or ``names`` is a string.
        ValueError: If there is no such column, or it is ``entities`` or ``relations``, which the result replaces.
    """
    if isinstance(names, str):
        raise TypeError(f"keep_columns={names!r} must be a list: {[names]}")
    if not is_dataset(inputs):
        raise TypeError(
            f"keep_columns={names!r} needs a Dataset, but the input is of type {type(inputs).__name__}: leave it out, "
            "or use predict_stream, which copies all items of a dict"
        )
    for name in names:
        if name not in inputs.column_names or name in REPLACED:
            reason = REPLACED.get(name, f"is not one of the columns {inputs.column_names}")
            raise ValueError(f"keep_columns={list(names)!r}: {name!r} {reason}")
    if not names:
        return [{} for _ in range(len(inputs))]
    return plain(inputs).select_columns(list(names)).to_list()


def document_columns(dataset: Dataset) -> tuple[Sequence[Any] | None, Sequence[Any] | None]:
    """Read the columns of document context.

    Args:
        dataset: A data set.

    Returns:
        The columns ``document_id`` and ``sentence_id``; None and None if both are missing.

    Raises:
        TypeError: If a sentence ID is not a whole number, so that the order is undefined.
        ValueError: If only one of the columns exists, an ID is missing, or a sentence ID is repeated within a document.
    """
    has = [name in dataset.column_names for name in ("document_id", "sentence_id")]
    if not any(has):
        return None, None
    if not all(has):
        there, missing = ("document_id", "sentence_id") if has[0] else ("sentence_id", "document_id")
        raise ValueError(
            "document context needs both columns, 'document_id' and 'sentence_id', but the data set has no "
            f"{missing!r}: number the sentences of each document, or drop {there!r} with dataset.remove_columns"
        )
    document_ids, sentence_ids = dataset["document_id"][:], dataset["sentence_id"][:]
    rows: dict[tuple[Any, int], int] = {}
    for row, (document_id, sentence_id) in enumerate(zip(document_ids, sentence_ids, strict=True)):
        if document_id is None or sentence_id is None:
            missing = "document_id" if document_id is None else "sentence_id"
            raise ValueError(f"row {row} has no {missing!r}: give every row one, or drop both columns")
        if as_whole(sentence_id) is None:
            raise TypeError(
                f"row {row}: sentence_id={sentence_id!r} must be a whole number, the sentence's place in its document"
            )
        first = rows.setdefault((document_id, sentence_id), row)
        if first != row:
            raise ValueError(
                f"rows {first} and {row} both have sentence_id={sentence_id} in document_id={document_id!r}: number "
                "the sentences of each document in their order"
            )
    return document_ids, sentence_ids


def warn_of_context(has_context: bool, config: ModelSettings) -> None:
    """Warn if a model that was trained with document context is used without it, or vice versa.

    Args:
        has_context: Whether the data has document context.
        config: The configuration, which stores whether the model was trained with it.
    """
    if has_context and not config.trained_with_document_context:
        logger.warning(
            "The model was trained without document context, but the data set has it: drop the columns 'document_id' "
            "and 'sentence_id' to use the model as it was trained."
        )
    if config.trained_with_document_context and not has_context:
        logger.warning(
            "The model was trained with document context, but the input has none: pass a Dataset with the columns "
            "'document_id' and 'sentence_id', in addition to 'tokens' or 'text', to use the model as it was trained."
        )
