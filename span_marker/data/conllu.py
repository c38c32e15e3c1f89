"""CoNLL-U files whose last column, MISC, has the tags of entities: ``name=B-PER``, ``NE=B-PER`` or ``NER=B-PER``."""

from __future__ import annotations

import re
from collections.abc import Iterator
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


def read_conllu(path: SourceFile, documents: bool = False) -> list[dict[str, Any]]:
    """Read a CoNLL-U file. A word without a tag is outside of all entities.

    Args:
        path: The file.
        documents: Whether ``# newdoc`` begins a new ``document_id``, in which sentences are numbered.

    Returns:
        Rows with entities, and ``id``, the ``sent_id`` of the sentence. Words are the syntactic words.

    Raises:
        ValueError: If a line does not have ten columns, no word has a tag, or several keys have tags.
    """
    text = path.text()
    found = dict.fromkeys(_TAGGED_WORD.findall(text))
    if len(found) != 1:
        raise ValueError(
            f"{path} has {f'tags of several keys, {list(found)}' if found else 'no tags of entities'}: the last column "
            f"of a word must have one of {[f'{key}=' for key in _KEYS]}"
        )
    if documents and not re.search(r"^# *newdoc\b", text, re.MULTILINE):
        raise ValueError(f"{path} has no '# newdoc' lines: leave documents= out")
    return read_records(path, _sentences(path, text, next(iter(found)), documents))


def _sentences(path: SourceFile, text: str, key: str, documents: bool) -> Iterator[tuple[str, dict[str, Any]]]:
    document, sentence = -1, 0
    row: dict[str, Any] = {}
    tokens: list[str] = []
    tags: list[str] = []
    start = 0
    for number, line in enumerate([*text.split("\n"), ""], start=1):
        line = line.rstrip("\r")
        if line.startswith("#") and not tokens:
            name, _, value = line[1:].partition("=")
            if name.strip() == "sent_id":
                row["id"] = value.strip()
            elif name.split()[:1] == ["newdoc"]:
                document, sentence = document + 1, 0
        elif not line.strip():
            if tokens:
                place = {"document_id": max(document, 0), "sentence_id": sentence} if documents else {}
                yield f"line {start}", {**place, **row, "tokens": tokens, "ner_tags": tags}
                row, tokens, tags, sentence = {}, [], [], sentence + 1
        else:
            cells = line.split("\t")
            if len(cells) != _WIDTH:
                raise ValueError(f"{path}, line {number}: {line!r:.200} has {len(cells)} columns, not {_WIDTH}")
            if _NO_WORD.fullmatch(cells[0]):
                continue
            start = start if tokens else number
            misc = dict(item.partition("=")[::2] for item in cells[-1].split("|"))
            tokens.append(cells[1])
            tags.append(OUTSIDE if misc.get(key, "_") == "_" else misc[key])
