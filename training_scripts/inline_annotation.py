"""Reads the bundled corpus: sentences with inline annotation.

An entity is written as in ``[Amelia Earhart](person) flew to [Paris](place).``

Words are what most tokenizers see as words: runs of letters and digits, and single punctuation marks.
"""

from __future__ import annotations

import re
from pathlib import Path

CORPUS = Path(__file__).parent / "corpus"

_ENTITY = re.compile(r"\[([^\[\]]+)\]\(([^()\s]+)\)")
_WORD = re.compile(r"\w+|[^\w\s]")


def parse_sentence(line: str) -> tuple[list[str], list[str]]:
    """Split an annotated sentence into words and IOB2 tags.

    Args:
        line: The sentence; each entity is written as ``[text](label)``.

    Returns:
        The words and their tags.

    Raises:
        ValueError: If a bracket belongs to no entity, or an entity is empty or cuts a word.
    """
    pieces: list[tuple[str, str | None]] = []
    position = 0
    for match in _ENTITY.finditer(line):
        pieces += [(line[position : match.start()], None), (match[1], match[2])]
        position = match.end()
    pieces.append((line[position:], None))

    words: list[str] = []
    tags: list[str] = []
    for text, label in pieces:
        found = _WORD.findall(text)
        if label is None and re.search(r"[\[\]]", text):
            raise ValueError(f"a bracket belongs to no entity: {line!r}")
        if label is not None and (not found or text != text.strip()):
            raise ValueError(f"the entity {text!r} is empty or has white space at its edges: {line!r}")
        words += found
        tags += ["O"] * len(found) if label is None else [f"B-{label}"] + [f"I-{label}"] * (len(found) - 1)
    if words != _WORD.findall("".join(text for text, _ in pieces)):
        raise ValueError(f"an entity cuts a word: {line!r}")
    return words, tags


def read_split(split: str) -> dict[str, list[list[str]]]:
    """Read one split of the bundled corpus.

    Args:
        split: ``train``, ``dev`` or ``test``.

    Returns:
        The columns ``tokens`` and ``ner_tags``.
    """
    lines = (CORPUS / f"{split}.txt").read_text(encoding="utf-8").splitlines()
    sentences = [parse_sentence(line) for line in lines if line.strip() and not line.startswith("#")]
    return {"tokens": [words for words, _ in sentences], "ner_tags": [tags for _, tags in sentences]}


def label_list(tags: list[list[str]]) -> list[str]:
    """List the labels that occur: ``O`` first, then ``B-`` and ``I-`` of each type in alphabetical order.

    Args:
        tags: The tags of every sentence.

    Returns:
        The labels, as ``SpanMarkerModel.from_pretrained`` takes them.
    """
    types = sorted({tag[2:] for sentence in tags for tag in sentence if tag != "O"})
    return ["O"] + [f"{prefix}-{label}" for label in types for prefix in "BI"]
