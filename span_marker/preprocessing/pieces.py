"""Pieces: sentences with special tokens and document context, or windows of sentences that are too long."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from span_marker.core.context import context_sizes
from span_marker.core.graphemes import place_words
from span_marker.core.settings import ModelSettings
from span_marker.core.spans import BoolArray, IntArray
from span_marker.core.surrogates import readable
from span_marker.core.windows import UNBOUNDED, plan_windows
from span_marker.core.words import Split
from span_marker.preprocessing.inputs import Sentences
from span_marker.preprocessing.tokenizer import EncodedSentence, SpanMarkerTokenizer

SENTENCE_ENDS = ".!?\u2026\u3002\uff01\uff1f\u061f\u0964"
"""Punctuation that ends sentences, including that of Chinese, Arabic and Hindi."""


@dataclass(frozen=True)
class Piece:
    """A text that is encoded as a unit: a sentence with special tokens and context, or a window of a long sentence.

    Attributes:
        row: Index of the sentence.
        tokens: The tokens and words of the piece.
        first_word: First word of the piece in the sentence.
        above: Candidates belong to the piece if the sum of their ``start`` and ``end`` in the sentence is larger than
            this, see `span_marker.core.windows`,
        up_to: and not larger than this.
    """

    row: int
    tokens: EncodedSentence
    first_word: int = 0
    above: int = UNBOUNDED[0]
    up_to: int = UNBOUNDED[1]

    def features(self) -> dict[str, Any]:
        """Return the features that the data collator needs.

        Returns:
            ``input_ids`` and ``token_cases``, both ``(seq_len,)``; ``word_starts`` and ``word_ends``, both
            ``(num_words,)``; ``row``, the index of the sentence; ``first_word``, the first word of the piece in the
            sentence; ``bounds (2,)``, `above` and `up_to`.
        """
        return {
            "input_ids": self.tokens.input_ids,
            "token_cases": self.tokens.token_cases,
            "word_starts": self.tokens.word_starts,
            "word_ends": self.tokens.word_ends,
            "row": self.row,
            "first_word": self.first_word,
            "bounds": [self.above, self.up_to],
        }

    def owns(self, spans: IntArray) -> BoolArray:
        """Determine which spans of the sentence belong to the piece. Each span belongs to one, even if it exceeds it.

        Args:
            spans: First word and word after the last in the sentence, ``(num_spans, 2)``.

        Returns:
            True for those that belong to it, ``(num_spans,)``.
        """
        place = spans.sum(axis=1)
        is_own: BoolArray = (place > self.above) & (place <= self.up_to)
        return is_own


def tokenize(sentences: Sentences, tokenizer: SpanMarkerTokenizer, split: Split | None = None) -> list[EncodedSentence]:
    """Tokenize sentences, without special tokens. Strings are split into words here.

    Args:
        sentences: Texts or lists of words.
        tokenizer: The model's tokenizer.
        split: Finds the words of a text, see ``ModelSettings.split``. Defaults to the tokenizer.

    Returns:
        One encoding per sentence. With ``split``, a text is encoded like the list of its words.
    """
    if not sentences.are_texts:
        return tokenizer.encode_words(sentences.items)
    if split is None:
        return tokenizer.encode_texts(sentences.items)
    return tokenizer.encode_split_texts([place_words(text, split(text)) for text in map(readable, sentences.items)])


def into_pieces(
    sentences: Sentences,
    encodings: Sequence[EncodedSentence],
    tokenizer: SpanMarkerTokenizer,
    config: ModelSettings,
    max_tokens: int,
) -> list[Piece]:
    """Add special tokens and document context to sentences, and cut sentences that are too long into windows.

    Args:
        sentences: The sentences.
        encodings: The tokens of each sentence, see `tokenize`.
        tokenizer: The model's tokenizer.
        config: The model's configuration, which limits document context.
        max_tokens: The text limit, including special tokens.

    Returns:
        The pieces, in order of the sentences: one per sentence; for sentences beyond the text limit, one per window,
        without context.
    """
    max_text_tokens = max_tokens - tokenizer.num_special_tokens
    special = tokenizer.prefix, tokenizer.suffix
    around = _document_context(sentences, encodings, config, max_text_tokens, *special)
    pieces = []
    for row, (sentence, (before, after)) in enumerate(zip(encodings, around, strict=True)):
        if len(sentence.input_ids) <= max_text_tokens:
            pieces.append(Piece(row, sentence.fit(before, after, max_tokens)))
            continue
        starts, ends = sentence.filled_words()
        beginnings = sentence_beginnings(_words_of(sentences, row, sentence))
        for first, last, above, up_to in plan_windows(
            starts, ends, beginnings, max_text_tokens, config.limit("entity_max_length")
        ):
            part = sentence.take(first, last, int(starts[first]), int(ends[last - 1]))
            part = part.fit(*special, max_tokens)
            pieces.append(Piece(row, part, first, above, up_to))
    return pieces


def _words_of(sentences: Sentences, row: int, sentence: EncodedSentence) -> list[str]:
    """The words of a sentence. Those of a text include the white space before them."""
    item = sentences.items[row]
    if sentence.char_ends is None:
        return list(item[: sentence.num_words])
    ends = [0, *sentence.char_ends.tolist()]
    return [item[start:end] for start, end in pairwise(ends)]


def sentence_beginnings(words: Sequence[str]) -> IntArray:
    r"""Find words that may begin a sentence: after a full stop or similar punctuation, and after a line break.

    Args:
        words: The words, with or without white space before them.

    Returns:
        Indices of these words, ascending.

    Example:
        >>> sentence_beginnings(["It", "rains", ".", "We", "stay", "\n", "Home"]).tolist()
        [3, 5]
    """
    return np.array(
        [
            index + 1
            for index, (word, following) in enumerate(pairwise(words))
            if (word.strip() and word.strip()[-1] in SENTENCE_ENDS) or "\n" in following
        ],
        dtype=np.int64,
    )


def _document_context(
    sentences: Sentences,
    encodings: Sequence[EncodedSentence],
    config: ModelSettings,
    max_tokens: int,
    prefix: IntArray,
    suffix: IntArray,
) -> list[tuple[IntArray, IntArray]]:
    """Special tokens and context before and after each sentence, in the form of `EncodedSentence.tokens`."""
    around = [(prefix, suffix)] * len(encodings)
    for rows in sentences.documents():
        lengths = np.array([len(encodings[row].input_ids) for row in rows], dtype=np.int64)
        document = np.concatenate([encodings[row].tokens for row in rows], axis=1)
        sizes = context_sizes(lengths, max_tokens, config.max_prev_context, config.max_next_context)
        ends = np.cumsum(lengths)
        for row, start, end, num_before, num_after in zip(rows, ends - lengths, ends, *sizes, strict=True):
            before, after = document[:, start - num_before : start], document[:, end : end + num_after]
            around[row] = np.concatenate([prefix, before], axis=1), np.concatenate([after, suffix], axis=1)
    return around
