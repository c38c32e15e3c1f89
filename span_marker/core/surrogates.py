"""Lone surrogates, as in broken JSON and broken file names. No encoding of Unicode can represent them."""

from __future__ import annotations

import json
import re
from typing import Any

SURROGATES = re.compile("[\ud800-\udfff]")
"""One of them."""

REPLACEMENT = "\ufffd"
"""The Unicode replacement character."""


def readable(text: str) -> str:
    r"""Replace lone surrogates, which tokenizers fail on, by `REPLACEMENT`. No character changes its place.

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
    """Tell whether a string, or a list or dict with strings, has lone surrogates.

    Args:
        value: A value such as JSON has.

    Returns:
        Whether it has.
    """
    return SURROGATES.search(json.dumps(value, ensure_ascii=False, default=str)) is not None
