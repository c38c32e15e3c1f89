"""Choosing the word splitter of a model from its training data."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from span_marker.configuration import SpanMarkerConfig
from span_marker.core.word_rules import MAX_WORDS, WordRules, attached_marks, detokenize
from span_marker.core.word_splitters import AUTO_SPLITTER
from span_marker.core.words import Split, character_words
from span_marker.data.columns import plain

if TYPE_CHECKING:
    from datasets import Dataset

logger = logging.getLogger(__name__)

SHARE_OF_CHARACTERS = 0.95
"""Share of the training words that must be single characters for strings to be split into characters."""

SHARE_RESTORED = 0.98
"""Share of restored training words below which a warning is logged."""

NUM_MEASURED = 2000
"""Number of training rows that are written as text and split again, to measure how many words are restored."""

ROWS_AT_A_TIME = 100


def set_word_splitter(config: SpanMarkerConfig, train_dataset: Dataset) -> None:
    """Choose the word splitter from the training data if it is ``"auto"``, fit rules if they are missing, and log both.

    Args:
        config: The model's configuration.
        train_dataset: The training data.

    Raises:
        ValueError: If the word splitter is to be fitted, but the data has strings rather than words.
    """
    is_unfitted = config.word_splitter == "fitted" and config.word_rules is None
    if config.word_splitter != AUTO_SPLITTER and not is_unfitted:
        return
    if "tokens" not in train_dataset.column_names:
        if is_unfitted:
            raise ValueError("word_splitter='fitted' needs training data with words, in a column 'tokens'")
        config.word_splitter = "tokenizer"
        return
    sentences = list(_read_words(train_dataset))
    rules = WordRules.fit(sentences)
    sample = sentences[:NUM_MEASURED]
    shares = {"fitted": restored_share(sample, rules.split)}
    if not is_unfitted and _are_characters(sentences):
        shares["characters"] = restored_share(sample, character_words)
    config.word_splitter = max(shares, key=lambda name: (shares[name], name == "characters"))
    config.word_rules = rules if config.word_splitter == "fitted" else None
    share = shares[config.word_splitter]
    logger.log(
        logging.INFO if share >= SHARE_RESTORED else logging.WARNING,
        "word_splitter=%r was chosen from the training data: it restores %.2f%% of the training words when they are "
        "written as strings. The others are split differently in strings than in training.",
        config.word_splitter,
        100 * share,
    )


def restored_share(sentences: Sequence[Sequence[str]], split: Split) -> float:
    """Measure the share of words that are restored when they are written as plain text, and the text is split.

    Args:
        sentences: The words of each sentence.
        split: Finds the words of a string.

    Returns:
        The share, 1 if there are no words.
    """
    attached = attached_marks(sentences)
    num_words = num_restored = 0
    for words in sentences:
        text, places = detokenize(words, attached)
        num_words += len(places)
        num_restored += len(set(places) & set(split(text)))
    return num_restored / num_words if num_words else 1.0


def _are_characters(sentences: Sequence[Sequence[str]]) -> bool:
    """Whether nearly all words are single characters, in rows of several."""
    words = [word for sentence in sentences if len(sentence) > 1 for word in sentence]
    num_single = sum(len(character_words(word)) == 1 for word in words)
    return bool(words) and num_single >= SHARE_OF_CHARACTERS * len(words)


def _read_words(dataset: Dataset) -> Iterator[list[str]]:
    """The first rows with words. Malformed ones are left out: they are errors elsewhere."""
    num_words = 0
    for batch in plain(dataset).select_columns(["tokens"]).iter(ROWS_AT_A_TIME):
        for words in batch["tokens"]:
            if isinstance(words, list) and all(isinstance(word, str) for word in words):
                num_words += len(words)
                yield words
        if num_words > MAX_WORDS:
            return
