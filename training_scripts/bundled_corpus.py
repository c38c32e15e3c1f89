"""Reads the bundled corpus, as texts and as words."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from datasets import Dataset

from span_marker import read_annotations

CORPUS = Path(__file__).parent / "corpus"
SPLITS = ("train", "dev", "test")

_WORD = re.compile(r"\w+|[^\w\s]")


def read_split(split: str) -> Dataset:
    """Read one split of the bundled corpus.

    Args:
        split: ``train``, ``dev`` or ``test``.

    Returns:
        Rows with ``text`` and ``entities``.
    """
    return read_annotations(CORPUS / f"{split}.txt", format="inline")


def to_words(row: Mapping[str, Any]) -> dict[str, Any]:
    """Split a text into what most tokenizers see as words: runs of letters and digits, and single punctuation marks.

    Args:
        row: A row with ``text`` and ``entities``.

    Returns:
        A row with ``tokens`` and ``entities``.

    Raises:
        KeyError: If an entity begins or ends within a word, or in white space.
    """
    words = list(_WORD.finditer(row["text"]))
    starts = {word.start(): index for index, word in enumerate(words)}
    ends = {word.end(): index + 1 for index, word in enumerate(words)}
    entities = [
        {"label": entity["label"], "start": starts[entity["start"]], "end": ends[entity["end"]]}
        for entity in row["entities"]
    ]
    return {"tokens": [word[0] for word in words], "entities": entities}


def read_words(split: str) -> Dataset:
    """Read one split of the bundled corpus as words.

    Args:
        split: ``train``, ``dev`` or ``test``.

    Returns:
        Rows with ``tokens`` and ``entities``.
    """
    return Dataset.from_list([to_words(row) for row in read_split(split)])
