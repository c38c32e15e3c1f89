"""Lone surrogates, as in broken JSON and broken file names. No encoding of Unicode can represent them."""

from __future__ import annotations

import json
import re
from typing import Any

SURROGATES = re.compile("[\ud800-\udfff]")
"""A lone surrogate."""

REPLACEMENT = "\ufffd"
"""The Unicode replacement character."""


def readable(text: str) -> str:
    r"""Replace lone surrogates, which tokenizers cannot encode, by `REPLACEMENT`. Offsets do not change.

    Args:
        text: The text.

    Returns:
        The text without surrogates.

    Example:
        >>> readable("Par\ud83dis") == "Par\ufffdis"
        True
    """
    return text if text.isascii() else SURROGATES.sub(REPLACEMENT, text)


def has_surrogates(value: Any) -> bool:
    """Return whether a string, or a list or dict with strings, contains lone surrogates.

    Args:
        value: A value that JSON can represent.

    Returns:
        Whether it does.
    """
    return SURROGATES.search(json.dumps(value, ensure_ascii=False, default=str)) is not None
