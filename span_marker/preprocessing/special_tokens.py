"""Special tokens: those around every text, and those that no text may contain.

A text may spell special tokens: ``<s>`` is an HTML tag, and users may write ``[SEP]`` or ``<start>``. Such text is
ordinary text. `SpanMarkerTokenizer` makes the tokenizer split it (``split_special_tokens=True``); this module handles
tokenizers whose regular vocabulary includes special tokens, so that text is still converted to them.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from typing import Any

import numpy as np

from span_marker.core.spans import IntArray
from span_marker.preprocessing import slow_tokenizers


def surrounding_tokens(tokenizer: Any) -> tuple[IntArray, IntArray]:
    """Find the special tokens that a tokenizer adds around a text.

    Args:
        tokenizer: A tokenizer of ``transformers``.

    Returns:
        Token IDs before and after the text.

    Raises:
        ValueError: If the tokenizer has no token for the letter "a".
    """
    if not tokenizer.is_fast:
        prefix, suffix = slow_tokenizers.special_tokens(tokenizer)
        return np.array(prefix, dtype=np.int64), np.array(suffix, dtype=np.int64)
    encoding = tokenizer(["a"], add_special_tokens=True, verbose=False).encodings[0]
    ids = np.array(encoding.ids, dtype=np.int64)
    text = np.flatnonzero(np.array(encoding.special_tokens_mask) == 0)
    if len(text) == 0:
        raise ValueError(f"{type(tokenizer).__name__} has no token for the text 'a': it cannot encode text")
    return ids[: text[0]], ids[text[-1] + 1 :]


def reserved_ids(tokenizer: Any) -> IntArray:
    """List the special tokens that no text may contain: all except the unknown token, which replaces words.

    Args:
        tokenizer: A tokenizer of ``transformers``, with the marker tokens.

    Returns:
        Token IDs, ascending.
    """
    added = {index for index, token in tokenizer.added_tokens_decoder.items() if token.special}
    return np.array(sorted(added.union(tokenizer.all_special_ids) - {tokenizer.unk_token_id}), dtype=np.int64)


def replace_reserved(ids: Sequence[list[int]], reserved: IntArray, unknown_id: int | None) -> list[IntArray]:
    """Replace special tokens by the unknown one.

    Args:
        ids: Token IDs of each text.
        reserved: The special tokens.
        unknown_id: The unknown token. None if the tokenizer has none, because it has a token for every byte: it never
            converts text to special tokens.

    Returns:
        The token IDs without special tokens, ``(seq_len,)`` each.

    Example:
        >>> replace_reserved([[7, 2], [8]], np.array([1, 2]), unknown_id=0)
        [array([7, 0]), array([8])]
    """
    arrays = [np.array(row, dtype=np.int64) for row in ids]
    if unknown_id is None or {*reserved.tolist()}.isdisjoint(chain.from_iterable(ids)):
        return arrays
    return [np.where(np.isin(row, reserved), unknown_id, row) for row in arrays]
