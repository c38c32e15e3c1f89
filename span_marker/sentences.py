"""Sentences in the one form that everything reads, whatever they came as, and the way from there to tokens."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from datasets import Column, Dataset

from span_marker.configuration import SpanMarkerConfig
from span_marker.context import surround
from span_marker.spans import IntArray
from span_marker.tokenizer import EncodedSentence, SpanMarkerTokenizer


@dataclass(frozen=True)
class Sentences:
    """Sentences in the one form that everything behind this reads.

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
        """Some of the sentences.

        Args:
            rows: Which ones; with document context, whole documents.

        Returns:
            They alone.
        """

        def pick(column: Any) -> Any:
            return column[rows] if isinstance(column, Column) else [column[row] for row in rows]

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


def read_inputs(inputs: Any) -> tuple[Sentences, bool]:
    """Bring what a caller may pass to ``predict`` into one form.

    Args:
        inputs: A string; a list of words (strings without a space); a list of strings of which any has a space; a list
            of lists of words; a column of a `Dataset` with either; or a `Dataset` with a column ``tokens`` and, for
            document context, ``document_id`` and ``sentence_id``.

    Returns:
        The sentences, and whether it was a single one.

    Raises:
        TypeError: If the input, or an item of it, is nothing of the kind.
        ValueError: If a `Dataset` lacks a column.
    """
    if isinstance(inputs, str):
        return Sentences([inputs], are_texts=True), True
    if isinstance(inputs, Dataset):
        return _read_dataset(inputs.with_format(None)), False
    if isinstance(inputs, Column):
        inputs = inputs[:]
    if not isinstance(inputs, (list, tuple)):
        raise TypeError(
            f"predict can't read inputs of type {type(inputs).__name__}: pass a string, a list of words, a list of "
            "strings, a list of lists of words, or a Dataset with a column 'tokens'"
        )
    if all(isinstance(item, str) for item in inputs):
        if not inputs or any(" " in item for item in inputs):
            return Sentences(inputs, are_texts=True), False
        return Sentences([inputs], are_texts=False), True
    expected = str if isinstance(inputs[0], str) else (list, tuple)
    for row, item in enumerate(inputs):
        if not isinstance(item, expected):
            raise TypeError(
                f"predict can't read inputs[{row}] of type {type(item).__name__}: the items of inputs must be all "
                "strings, or all lists of words"
            )
    for row, item in enumerate(inputs):
        check_words(item, f"inputs[{row}]")
    return Sentences(inputs, are_texts=False), False


def check_words(words: Any, where: str) -> None:
    """Check that something is a list of words.

    Args:
        words: What should be a list of words.
        where: What to call it in the error.

    Raises:
        TypeError: If it is not.
    """
    if not isinstance(words, (list, tuple)):
        raise TypeError(f"{where} must be a list of words, not {type(words).__name__}")
    for position, word in enumerate(words):
        if not isinstance(word, str):
            raise TypeError(f"{where}[{position}]={word!r} must be a word (a string), not {type(word).__name__}")


def _read_dataset(dataset: Dataset) -> Sentences:
    if "tokens" not in dataset.column_names:
        raise ValueError(f"predict needs a column 'tokens', but the data set has only {dataset.column_names}")
    tokens = dataset["tokens"]
    for row, words in enumerate(tokens):
        check_words(words, f"row {row}: 'tokens'")
    document_ids, sentence_ids = document_columns(dataset)
    return Sentences(tokens, False, document_ids, sentence_ids)


def document_columns(dataset: Dataset) -> tuple[Sequence[Any] | None, Sequence[Any] | None]:
    """Read the columns that document context needs.

    Args:
        dataset: A data set.

    Returns:
        The columns ``document_id`` and ``sentence_id``, or None and None if there is neither.

    Raises:
        ValueError: If there is one without the other.
    """
    has = [name in dataset.column_names for name in ("document_id", "sentence_id")]
    if not any(has):
        return None, None
    if not all(has):
        missing = "sentence_id" if has[0] else "document_id"
        raise ValueError(
            f"document context needs both columns, 'document_id' and 'sentence_id', but the data set has no {missing!r}"
        )
    return dataset["document_id"][:], dataset["sentence_id"][:]


def encode(
    sentences: Sentences, tokenizer: SpanMarkerTokenizer, config: SpanMarkerConfig, max_tokens: int
) -> list[EncodedSentence]:
    """Tokenize sentences, and put special tokens and document context around them.

    Args:
        sentences: What to encode.
        tokenizer: The model's tokenizer.
        config: Says how much document context there may be.
        max_tokens: The text limit, special tokens included.

    Returns:
        One encoding a sentence, cut to the text limit.
    """
    bare = tokenizer.encode_texts(sentences.items) if sentences.are_texts else tokenizer.encode_words(sentences.items)
    context = _document_context(sentences, bare, config, max_tokens - tokenizer.num_special_tokens)
    return [
        sentence.fit(
            np.concatenate([tokenizer.prefix_ids, before]), np.concatenate([after, tokenizer.suffix_ids]), max_tokens
        )
        for sentence, (before, after) in zip(bare, context, strict=True)
    ]


def _document_context(
    sentences: Sentences, bare: list[EncodedSentence], config: SpanMarkerConfig, max_tokens: int
) -> list[tuple[IntArray, IntArray]]:
    empty = np.empty(0, dtype=np.int64)
    context = [(empty, empty)] * len(bare)
    for rows in sentences.documents():
        tokens = [bare[row].input_ids for row in rows]
        for index, row in enumerate(rows):
            context[row] = surround(tokens, index, max_tokens, config.max_prev_context, config.max_next_context)
    return context
