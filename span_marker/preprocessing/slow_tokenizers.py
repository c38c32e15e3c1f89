"""Slow tokenizers, which are written in Python: they encode word by word, since they do not map tokens to words.

The tokenizers of PhoBERT and BERTweet are examples.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tokenizers import Regex
from tokenizers.pre_tokenizers import PreTokenizer, Split, Whitespace
from tokenizers.pre_tokenizers import Sequence as PreTokenizerSequence

from span_marker.core.graphemes import place_words

WITHOUT_SPACES = r"[\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}]"
"""Characters of scripts without spaces between words."""


@dataclass(frozen=True)
class WordEncoding:
    """The tokens of a sentence, in the form of the encodings of ``tokenizers``.

    Attributes:
        ids: Token IDs.
        word_ids: Word of each token.
    """

    ids: list[int]
    word_ids: list[int]


def split_text(text: str) -> list[tuple[str, tuple[int, int]]]:
    """Split a string into words. In scripts without spaces, each grapheme is a word.

    Args:
        text: The string.

    Returns:
        Each word, that is, a sequence of letters and digits or a sequence of other marks, with its first character and
        the one after its last.

    Example:
        >>> split_text("Ms. Li, 東京")
        [('Ms', (0, 2)), ('.', (2, 3)), ('Li', (4, 6)), (',', (6, 7)), ('東', (8, 9)), ('京', (9, 10))]
    """
    return place_words(text, (place for _, place in _word_splitter().pre_tokenize_str(text)))


def _word_splitter() -> PreTokenizer:
    return PreTokenizerSequence([Whitespace(), Split(Regex(WITHOUT_SPACES), "isolated")])


def encode_words(tokenizer: Any, sentences: Sequence[Sequence[str]]) -> list[WordEncoding]:
    """Encode pre-split words.

    Args:
        tokenizer: A slow tokenizer.
        sentences: The words of each sentence.

    Returns:
        One encoding per sentence, without special tokens: words that spell them are split.
    """
    specials = re.compile("|".join(map(re.escape, tokenizer.all_special_tokens)))
    return [_encode(tokenizer, words, specials) for words in sentences]


def _encode(tokenizer: Any, words: Sequence[str], specials: re.Pattern[str]) -> WordEncoding:
    ids, word_ids = [], []
    for index, word in enumerate(words):
        # Only if needed, since it also splits all other added tokens.
        options = {"split_special_tokens": True} if specials.search(word) else {}
        word_tokens = tokenizer.convert_tokens_to_ids(tokenizer.tokenize(word, is_split_into_words=True, **options))
        ids += word_tokens
        word_ids += [index] * len(word_tokens)
    return WordEncoding(ids, word_ids)


def special_tokens(tokenizer: Any) -> tuple[list[int], list[int]]:
    """Find the special tokens that a tokenizer adds around a text.

    Args:
        tokenizer: A slow tokenizer.

    Returns:
        Token IDs before and after the text.
    """
    text = -1  # represents the text: no token has this ID
    ids = tokenizer.build_inputs_with_special_tokens([text])
    place = ids.index(text)
    return ids[:place], ids[place + 1 :]
