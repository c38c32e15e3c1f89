"""CoNLL-U files with entity tags in the last column, MISC: ``name=B-PER``, ``NE=B-PER`` or ``NER=B-PER``."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import dropwhile, groupby
from typing import Any

from span_marker.core.labels import OUTSIDE
from span_marker.data.jsonl import read_records
from span_marker.data.text_files import SourceFile

_KEYS = ("name", "NE", "NER")
_WIDTH = 10
_TAGGED_WORD = re.compile(rf"^\d+\t(?:[^\t\n]*\t){{8}}(?:[^\t\n]*\|)?({'|'.join(_KEYS)})=", re.MULTILINE)
_NO_WORD = re.compile(r"\d+-\d+|\d+\.\d+")  # the surface form of several words; an empty node


def is_conllu(head: str) -> bool:
    """Tell whether a file is of this format, by a word with a tag in its beginning."""
    return _TAGGED_WORD.search(head) is not None


def read_conllu_words(path: SourceFile) -> list[list[str]]:
    """Read the words of a CoNLL-U file, whether they have tags or not.

    Args:
        path: The file.

    Returns:
        The syntactic words of each sentence.

    Raises:
        ValueError: If a line has another number of columns.
    """
    errors = replace(path, errors=[])
    sentences = _sentences(errors, path.text(), _KEYS[0], False)
    words = [row["tokens"] for _, row in sentences]
    if errors.errors:
        raise errors.errors[0]
    return words


def read_conllu(path: SourceFile, documents: bool = False) -> list[dict[str, Any]]:
    """Read a CoNLL-U file. A word without a tag is outside of all entities.

    Args:
        path: The file. It collects the errors of sentences.
        documents: Whether ``# newdoc`` begins a new ``document_id``, in which sentences are numbered.

    Returns:
        Rows with entities, and ``id``, the ``sent_id`` of the sentence. Words are the syntactic words.

    Raises:
        ValueError: If no word has a tag, or several keys have tags.
    """
    text = path.text()
    found = dict.fromkeys(_TAGGED_WORD.findall(text))
    if len(found) != 1:
        raise ValueError(
            f"{path} has {f'entity tags under several keys, {list(found)}' if found else 'no entity tags'}: the last "
            f"column of a word must have one of {[f'{key}=' for key in _KEYS]}"
        )
    if documents and not re.search(r"^# *newdoc\b", text, re.MULTILINE):
        raise ValueError(f"{path} has no '# newdoc' lines: leave documents= out")
    return read_records(path, _sentences(path, text, next(iter(found)), documents))


def _sentences(path: SourceFile, text: str, key: str, documents: bool) -> Iterator[tuple[str, dict[str, Any]]]:
    document, sentence = -1, 0
    for has_lines, lines in groupby(enumerate(text.split("\n"), start=1), key=lambda line: bool(line[1].strip())):
        numbered = list(lines) if has_lines else []
        words = list(dropwhile(lambda line: line[1].startswith("#"), numbered))
        comments = [line[1:].strip() for _, line in numbered[: len(numbered) - len(words)]]
        if any(comment.split()[:1] == ["newdoc"] for comment in comments):
            document, sentence = document + 1, 0
        if not words:
            continue
        row: dict[str, Any] = {"document_id": max(document, 0), "sentence_id": sentence} if documents else {}
        ids = [value.strip() for name, _, value in (c.partition("=") for c in comments) if name.strip() == "sent_id"]
        row |= {"id": ids[-1]} if ids else {}
        sentence += 1
        read: list[tuple[int, str, str]] = []
        with path.row():
            read = _read_words(path, words, key)
        if read:
            numbers, row["tokens"], row["ner_tags"] = map(list, zip(*read, strict=True))
            yield f"line {numbers[0]}", row


def _read_words(path: SourceFile, numbered: Sequence[tuple[int, str]], key: str) -> list[tuple[int, str, str]]:
    """Line, form and tag of each word of a sentence."""
    read = []
    for number, line in numbered:
        cells = line.split("\t")
        if len(cells) != _WIDTH:
            raise ValueError(f"{path}, line {number}: {line!r:.200} has {len(cells)} columns, not {_WIDTH}")
        if not _NO_WORD.fullmatch(cells[0]):
            tag = dict(item.partition("=")[::2] for item in cells[-1].split("|")).get(key, "_")
            read.append((number, cells[1], OUTSIDE if tag == "_" else tag))
    return read
