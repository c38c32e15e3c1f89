"""From text to tokens: the words of a sentence, their tokens, and the token that each marker observes.

`SpanMarkerTokenizer` wraps any tokenizer of ``transformers`` and adds the two marker tokens. It encodes sentences
without special tokens and without truncation. `EncodedSentence.fit` then adds special tokens and document context
around a sentence, and cuts it to the text limit.
"""

from __future__ import annotations

import copy
import os
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from tokenizers.pre_tokenizers import Punctuation
from tokenizers.pre_tokenizers import Sequence as PreTokenizerSequence

from span_marker.core.graphemes import whole_words
from span_marker.core.letter_case import letter_cases
from span_marker.core.spans import IntArray
from span_marker.core.surrogates import readable
from span_marker.preprocessing import slow_tokenizers
from span_marker.preprocessing.plain_tokenizer import PlainTokenizer
from span_marker.preprocessing.special_tokens import replace_reserved, reserved_ids, surrounding_tokens

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

START_MARKER = "<start>"
END_MARKER = "<end>"

NO_TOKEN = -1
"""Stands for the token of a word without tokens, until `EncodedSentence.fit`."""


@dataclass(frozen=True)
class EncodedSentence:
    """The tokens of a sentence, and the map from its words to them.

    Attributes:
        input_ids: Token IDs, ``(seq_len,)``.
        word_starts: First token of each word, ``(num_words,)``. `NO_TOKEN` for words without tokens; after `fit`, the
            very first token.
        word_ends: Token after the last of each word, ``(num_words,)``. Words without tokens are treated as in
            ``word_starts``.
        char_starts: First character of each word, ``(num_words,)``. Some tokenizers count the space before a word as
            part of it. None for pre-split words, and after `take` or `fit`.
        char_ends: Character after the last of each word, ``(num_words,)``, or None as above.
        num_cut_tokens: Number of tokens cut off at the text limit.
        token_cases: The letter case of each token's word, see `span_marker.core.letter_case`, ``(seq_len,)``. `NO_CASE`
            for special tokens, and for all tokens if the tokenizer itself distinguishes cases.
    """

    input_ids: IntArray
    word_starts: IntArray
    word_ends: IntArray
    char_starts: IntArray | None = None
    char_ends: IntArray | None = None
    num_cut_tokens: int = 0
    token_cases: IntArray = field(default_factory=lambda: np.zeros(0, dtype=np.int64))

    @property
    def tokens(self) -> IntArray:
        """Token IDs in the first row, letter cases in the second, ``(2, seq_len)``."""
        return np.stack([self.input_ids, self.token_cases])

    def with_cases(self, words: Sequence[str]) -> EncodedSentence:
        """Look up the letter cases of tokens.

        Args:
            words: The words of the sentence, ``(num_words,)``.

        Returns:
            The sentence with the letter cases.
        """
        has_token = self.word_starts != NO_TOKEN
        num_tokens = (self.word_ends - self.word_starts)[has_token]
        return replace(self, token_cases=np.repeat(letter_cases(words)[has_token], num_tokens))

    def join_words(self, first_words: IntArray) -> EncodedSentence:
        """Join consecutive words.

        Args:
            first_words: The first of the words that each joined word consists of, ``(num_joined,)``.

        Returns:
            The sentence with the joined words, without their characters.
        """
        if len(first_words) == self.num_words:
            return self
        num_tokens = len(self.input_ids)
        starts = np.where(self.word_starts == NO_TOKEN, num_tokens, self.word_starts)
        starts = np.minimum.reduceat(starts, first_words)
        return replace(
            self,
            word_starts=np.where(starts == num_tokens, NO_TOKEN, starts),
            word_ends=np.maximum.reduceat(self.word_ends, first_words),
            char_starts=None,
            char_ends=None,
        )

    @property
    def num_words(self) -> int:
        """Number of words, up to the last one with a token. These are the words that markers can observe."""
        return len(self.word_starts)

    def take(self, first: int, last: int, first_token: int, last_token: int) -> EncodedSentence:
        """Take consecutive words as a separate sentence.

        Args:
            first: First word.
            last: Word after the last.
            first_token: First token of these words.
            last_token: Token after the last of these words.

        Returns:
            The words with their tokens.
        """
        missing = self.word_starts[first:last] == NO_TOKEN
        return EncodedSentence(
            input_ids=self.input_ids[first_token:last_token],
            token_cases=self.token_cases[first_token:last_token],
            word_starts=np.where(missing, NO_TOKEN, self.word_starts[first:last] - first_token),
            word_ends=np.where(missing, NO_TOKEN, self.word_ends[first:last] - first_token),
        )

    def filled_words(self) -> tuple[IntArray, IntArray]:
        """Find the tokens of all words. Words without tokens are empty, and follow the previous word.

        Returns:
            First token of each word and the one after its last, ``(num_words,)`` each, both ascending.
        """
        ends = np.maximum.accumulate(np.maximum(self.word_ends, 0))
        return np.where(self.word_starts == NO_TOKEN, ends, self.word_starts), ends

    def fit(self, before: IntArray, after: IntArray, max_tokens: int) -> EncodedSentence:
        """Put tokens around the sentence, and cut its end so that the result has at most ``max_tokens``.

        Args:
            before: What to put before the sentence, in the form of `tokens`, ``(2, num_before)``.
            after: What to put after the sentence, ``(2, num_after)``.
            max_tokens: The maximum number of tokens of the result.

        Returns:
            The sentence with the tokens around it. If it was cut, its words are those up to the last one that still has
            a token.
        """
        max_own = max_tokens - before.shape[1] - after.shape[1]
        num_words = self.num_words
        if len(self.input_ids) > max_own:
            with_token = np.flatnonzero((self.word_starts < max_own) & (self.word_starts != NO_TOKEN))
            num_words = int(with_token[-1]) + 1 if len(with_token) else 0
        shift = before.shape[1]
        input_ids, token_cases = np.concatenate([before, self.tokens[:, :max_own], after], axis=1)
        starts, ends = self.word_starts[:num_words], self.word_ends[:num_words]
        return EncodedSentence(
            input_ids=input_ids,
            token_cases=token_cases,
            word_starts=np.where(starts == NO_TOKEN, 0, starts + shift),
            word_ends=np.where(ends == NO_TOKEN, 1, np.minimum(ends, max_own) + shift),
            num_cut_tokens=max(len(self.input_ids) - max_own, 0),
        )


class SpanMarkerTokenizer:
    """A tokenizer of ``transformers`` with the two marker tokens.

    Args:
        tokenizer: The tokenizer, or a `PlainTokenizer`. It is copied. Marker tokens are added unless it has them
            already.

    Attributes:
        tokenizer: The wrapped tokenizer.
        start_marker_id: Token ID of the start marker.
        end_marker_id: Token ID of the end marker.
        pad_token_id: Token ID of padding.
        prefix: Special tokens before every text, in the form of `EncodedSentence.tokens`, ``(2, num_prefix)``.
        suffix: Special tokens after every text, ``(2, num_suffix)``.
        drops_case: Whether the tokenizer lowercases words, so that the encoder does not see their case.
    """

    model_input_names = ("input_ids",)  # Trainer reads it to group texts by length

    def __init__(self, tokenizer: PreTrainedTokenizerBase | PlainTokenizer) -> None:
        tokenizer = copy.deepcopy(tokenizer)
        tokenizer.add_tokens([START_MARKER, END_MARKER], special_tokens=True)
        if tokenizer.is_fast:
            _split_punctuation(tokenizer)
        self.tokenizer: Any = tokenizer
        self._space = ""
        self._splits_text = tokenizer.is_fast and len(set(self._encode(["a b"], False)[0].word_ids)) > 1
        self._space = self._missing_space()
        marker_ids: Any = tokenizer.convert_tokens_to_ids([START_MARKER, END_MARKER])
        self.start_marker_id, self.end_marker_id = marker_ids
        self.pad_token_id = int(tokenizer.pad_token_id or 0)
        self._unknown_id = tokenizer.unk_token_id
        self._reserved_ids = reserved_ids(tokenizer)
        self.prefix, self.suffix = (np.stack([ids, np.zeros_like(ids)]) for ids in surrounding_tokens(tokenizer))
        self.drops_case = False
        upper, lower = (self.encode_words([[word]])[0].input_ids.tolist() for word in ("PARIS", "paris"))
        self.drops_case = upper == lower

    @classmethod
    def from_pretrained(cls, name_or_path: str | os.PathLike[str], **kwargs: Any) -> SpanMarkerTokenizer:
        """Load the tokenizer of an encoder or of a SpanMarker checkpoint.

        Args:
            name_or_path: A folder, or the name of a repository.
            **kwargs: Arguments for ``AutoTokenizer.from_pretrained``.

        Returns:
            The tokenizer, with the marker tokens.
        """
        from transformers import AutoTokenizer  # a `PlainTokenizer` does not need it

        return cls(AutoTokenizer.from_pretrained(name_or_path, **{"add_prefix_space": True, **kwargs}))

    def save_pretrained(self, directory: str | os.PathLike[str]) -> None:
        """Write the tokenizer's files, including the marker tokens.

        Args:
            directory: The folder to write to.
        """
        self.tokenizer.save_pretrained(directory)

    def __len__(self) -> int:
        return len(self.tokenizer)

    @property
    def num_special_tokens(self) -> int:
        """Number of special tokens around every text."""
        return self.prefix.shape[1] + self.suffix.shape[1]

    def encode_words(self, sentences: Sequence[Sequence[str]]) -> list[EncodedSentence]:
        """Encode pre-split words.

        Args:
            sentences: The words of each sentence.

        Returns:
            One encoding per sentence, without special tokens and without truncation.
        """
        spaced = [[self._space + readable(word) if word.strip() else word for word in words] for words in sentences]
        encoded = self._word_maps(self._encode(spaced, True))
        if self.drops_case:
            pairs = zip(encoded, sentences, strict=True)
            encoded = [sentence.with_cases(words[: sentence.num_words]) for sentence, words in pairs]
        return encoded

    def encode_texts(self, texts: Sequence[str]) -> list[EncodedSentence]:
        """Encode strings. Their words come from the tokenizer's own pre-tokenization, without splitting graphemes.

        Args:
            texts: One string per sentence.

        Returns:
            One encoding per string, with the characters of each word, without special tokens and without truncation.
        """
        texts = [readable(text) for text in texts]
        if not self._splits_text:
            return self.encode_split_texts([slow_tokenizers.split_text(text) for text in texts])
        sentences = []
        encodings = self._encode([self._space + text for text in texts], False)
        encoded = self._word_maps(encodings)
        for text, encoding, sentence in zip(texts, encodings, encoded, strict=True):
            offsets = np.array(encoding.offsets, dtype=np.int64).reshape(-1, 2)
            offsets = np.maximum(offsets - len(self._space), 0)
            has_token = sentence.word_starts != NO_TOKEN
            char_ends = np.zeros(sentence.num_words, dtype=np.int64)
            char_ends[has_token] = offsets[sentence.word_ends[has_token] - 1, 1]
            char_ends = np.maximum.accumulate(char_ends)  # words without tokens are empty, and follow the one before
            char_starts = char_ends.copy()
            char_starts[has_token] = offsets[sentence.word_starts[has_token], 0]
            char_starts, char_ends, first_words = whole_words(text, char_starts, char_ends)
            joined = replace(sentence.join_words(first_words), char_starts=char_starts, char_ends=char_ends)
            sentences.append(joined)
            if self.drops_case:
                bounds = zip(char_starts.tolist(), char_ends.tolist(), strict=True)
                sentences[-1] = joined.with_cases([text[start:end] for start, end in bounds])
        return sentences

    def encode_split_texts(self, texts: Sequence[Sequence[tuple[str, tuple[int, int]]]]) -> list[EncodedSentence]:
        """Encode strings that were already split into words.

        Args:
            texts: The words of each string, each with its first character and the one after its last.

        Returns:
            One encoding per string: that of `encode_words`, with the characters of each word.
        """
        sentences = []
        encoded = self.encode_words([[word for word, _ in words] for words in texts])
        for words, sentence in zip(texts, encoded, strict=True):
            places = np.array([place for _, place in words], dtype=np.int64).reshape(-1, 2)[: sentence.num_words]
            sentences.append(replace(sentence, char_starts=places[:, 0], char_ends=places[:, 1]))
        return sentences

    def _word_maps(self, encodings: list[Any]) -> list[EncodedSentence]:
        ids = replace_reserved([encoding.ids for encoding in encodings], self._reserved_ids, self._unknown_id)
        return [_word_map(row, encoding.word_ids) for row, encoding in zip(ids, encodings, strict=True)]

    def _missing_space(self) -> str:
        """Find out whether words need a space before them.

        Byte-level tokenizers, and some SentencePiece tokenizers, recognize words by the space before them, and not all
        of them add it themselves. Without it, the words of a list would be tokenized as a single word.
        """
        if not self.tokenizer.is_fast:
            return ""

        def ids(item: Any, is_split_into_words: bool) -> list[int]:
            return list(self._encode([item], is_split_into_words)[0].ids)

        if ids(["a", "a"], True) == ids("a a", False) or ids([" a", " a"], True) != ids(" a a", False):
            return ""
        return " "

    def _encode(self, inputs: list[Any], is_split_into_words: bool) -> list[Any]:
        if not inputs:
            return []
        if not self.tokenizer.is_fast:
            return list(slow_tokenizers.encode_words(self.tokenizer, inputs))
        encoded = self.tokenizer(
            inputs,
            is_split_into_words=is_split_into_words,
            add_special_tokens=False,
            padding=False,
            truncation=False,
            split_special_tokens=True,  # a text that spells them has no special tokens
            return_attention_mask=False,
            return_token_type_ids=False,
            verbose=False,
        )
        return list(encoded.encodings)


def _word_map(ids: IntArray, word_ids: Sequence[int]) -> EncodedSentence:
    """Map words to tokens, from the word of each token. The sentence ends with its last word that has a token."""
    num_words = word_ids[-1] + 1 if word_ids else 0
    starts, ends = [NO_TOKEN] * num_words, [NO_TOKEN] * num_words
    for token, word in enumerate(word_ids):  # on a sentence, faster than arrays
        if starts[word] == NO_TOKEN:
            starts[word] = token
        ends[word] = token + 1
    word_starts, word_ends = np.array([starts, ends], dtype=np.int64)
    return EncodedSentence(ids, word_starts, word_ends, token_cases=np.zeros_like(ids))


def _split_punctuation(tokenizer: PreTrainedTokenizerBase | PlainTokenizer) -> None:
    """Split off punctuation before a Metaspace pre-tokenizer, which itself only splits at white space.

    ``transformers`` rebuilds some pre-tokenizers on every load, so this runs on every load, too. It has no effect on a
    tokenizer that already splits off punctuation.
    """
    backend = tokenizer.backend_tokenizer
    description = repr(backend.pre_tokenizer)
    if "Metaspace" in description and "Punctuation" not in description:
        backend.pre_tokenizer = PreTokenizerSequence([Punctuation(), backend.pre_tokenizer])
