"""Column files: one word a line with its tags, a blank line behind each sentence.

Files come in many dialects, and a word may be ``#``. A line is taken for a comment only where one may stand, at the
beginning of a sentence, and only if it can't be a word; a line that is neither is an error and never left out.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from span_marker.core.labels import OUTSIDE, SCHEMES, LabelledSpan, detect_scheme, entities_to_tags, tags_to_entities
from span_marker.data.rows import RowEntity, distinct, parse_row, read_utf8, writing

DOCUMENT_START = "-DOCSTART-"

_PREFIXES = frozenset("BIESLU")
_PREFIXED = re.compile(r"[BIESLU]-.+", re.DOTALL)
_KEY_AND_VALUE = re.compile(r"# *\S+ = ")


class _Sentence(NamedTuple):
    document: int
    lines: list[int]  # of its words
    cells: list[list[str]]  # of each word's line


def read_conll(path: Path, token_column: int, tag_columns: Any, documents: bool) -> list[dict[str, Any]]:
    """Read a column file.

    Args:
        path: The file.
        token_column: Which column has the words.
        tag_columns: Which column or columns have the tags, or ``"all"``, which is every column but the words'.
        documents: Whether to number documents and their sentences.

    Returns:
        Canonical rows.

    Raises:
        ValueError: If a line has other columns than the first one, a column does not exist, or tags can't be read.
    """
    sentences = _split(path)
    if not sentences:
        return []
    if documents and sentences[-1].document < 0:
        raise ValueError(f"{path} has no {DOCUMENT_START} lines: leave documents= out")
    first = sentences[0]
    token, tags = _pick_columns(token_column, tag_columns, len(first.cells[0]), f"{path}, line {first.lines[0]}")
    places: dict[str, str] = {}
    for row, sentence in enumerate(sentences):
        for line, cells in zip(sentence.lines, sentence.cells, strict=True):
            where = f"{path}, line {line}, row {row}"
            if not cells[token]:
                raise ValueError(f"{where}: the word is empty: {cells}")
            for column in tags:
                places.setdefault(cells[column], where)
    scheme = scheme_of(places)
    rows: list[dict[str, Any]] = []
    for sentence in sentences:
        levels = [tags_to_entities([cells[column] for cells in sentence.cells], scheme) for column in tags]
        found = sorted({entity for level in levels for entity in level}, key=lambda span: (span[1], -span[2], span[0]))
        tokens = [cells[token] for cells in sentence.cells]
        rows.append({"tokens": tokens, "entities": [span._asdict() for span in found]})
    return _number(rows, [sentence.document for sentence in sentences]) if documents else rows


def _split(path: Path) -> list[_Sentence]:
    lines = [line.rstrip(" \t\r") for line in read_utf8(path).split("\n")]
    data = [line for line in lines if line and not _starts_document(line)]
    words = [line for line in data if not line.startswith("# ")]
    if data and not words:
        raise ValueError(f"{path} has only lines that begin with '# ', which may be comments or words")
    delimiter = re.compile("\t" if any("\t" in line for line in words) else " +")
    width = len(delimiter.split(words[0])) if words else 0

    sentences: list[_Sentence] = []
    document, at_start = -1, True
    for number, line in enumerate(lines, start=1):
        if not line or _starts_document(line):
            document += bool(line)
            at_start = True
            continue
        cells = delimiter.split(line)
        if at_start and line.startswith("# ") and (len(cells) != width or _KEY_AND_VALUE.match(line)):
            continue
        if len(cells) != width:
            raise ValueError(
                f"{path}, line {number}, row {len(sentences) - (not at_start)}: {line!r} has {len(cells)} columns, but "
                f"{words[0]!r} has {width}: a line is a word with all its columns, or a comment that begins with '# ' "
                "and stands before a sentence"
            )
        if at_start:
            sentences.append(_Sentence(document, [], []))
            at_start = False
        sentences[-1].lines.append(number)
        sentences[-1].cells.append(cells)
    return sentences


def _starts_document(line: str) -> bool:
    return re.split("[ \t]", line, maxsplit=1)[0] == DOCUMENT_START


def _pick_columns(token_column: int, tag_columns: Any, width: int, where: str) -> tuple[int, list[int]]:
    def pick(column: int) -> int:
        if not -width <= column < width:
            raise ValueError(
                f"{where}: there is no column {column}, since a line has {width} columns (0 to {width - 1})"
            )
        return column % width

    token = pick(token_column)
    if isinstance(tag_columns, str):
        if tag_columns != "all":
            raise ValueError(f"tag_columns={tag_columns!r} must be a number, several numbers, or 'all'")
        tags = [column for column in range(width) if column != token]
    else:
        tags = [pick(column) for column in ([tag_columns] if isinstance(tag_columns, int) else tag_columns)]
    if not tags or token in tags:
        raise ValueError(f"{where}: column {token} of {width} has the words: tag_columns= must name others")
    return token, tags


def scheme_of(places: Mapping[str, str]) -> str | None:
    """Name the scheme of all tags of a file.

    Args:
        places: Where each tag occurs first.

    Returns:
        A key of `SCHEMES`, or None if the tags are plain labels.

    Raises:
        ValueError: If some tags have a prefix and others do not, or the prefixes are of no scheme.
    """
    plain = [tag for tag in places if tag != OUTSIDE and not _PREFIXED.fullmatch(tag)]
    prefixed = [tag for tag in places if tag != OUTSIDE and tag not in plain]
    scheme = detect_scheme(places)
    if prefixed and plain:
        raise ValueError(
            f"{places[plain[0]]}: the tag {plain[0]!r} has no prefix, but {prefixed[0]!r} has one: is it the column of "
            "the tags?"
        )
    if prefixed and scheme is None:
        found = sorted({tag[0] for tag in prefixed})
        raise ValueError(f"{places[prefixed[0]]}: the prefixes {found} belong to none of the schemes {list(SCHEMES)}")
    if "" in plain:
        raise ValueError(f"{places['']}: the tag is empty")
    if plain and (OUTSIDE not in places or any(tag.isdigit() for tag in plain)):
        reason = "which is a number" if plain[0].isdigit() else "but none of its tags is 'O'"
        raise ValueError(
            f"{places[plain[0]]}: the file has plain tags, such as {plain[0]!r}, {reason}: is it a column file, "
            "and tag_columns= the column of the tags?"
        )
    if plain and _PREFIXES.issuperset(plain):
        raise ValueError(f"{places[plain[0]]}: the tag {plain[0]!r} has no label: it should be like {plain[0]}-LABEL")
    return scheme


def _number(rows: list[dict[str, Any]], starts: Sequence[int]) -> list[dict[str, Any]]:
    """Number documents without a gap, and the sentences of each."""
    documents = {start: document for document, start in enumerate(dict.fromkeys(starts))}
    counts: dict[int, int] = {}
    numbered = []
    for row, start in zip(rows, starts, strict=True):
        sentence = counts.get(start, 0)
        counts[start] = sentence + 1
        numbered.append({"document_id": documents[start], "sentence_id": sentence, **row})
    return numbered


def write_conll(path: str | os.PathLike[str], rows: Iterable[Mapping[str, Any]]) -> None:
    """Write rows of words as a column file: ``word<TAB>tag``, IOB2.

    Entities that overlap need several columns: each goes into the first one where its words are free, and every line of
    the file has all columns (``read_annotations(path, tag_columns="all")`` reads them). A ``-DOCSTART-`` line stands
    wherever ``document_id`` changes. Scores and other columns are not written.

    Args:
        path: The file.
        rows: Rows with ``tokens``.

    Raises:
        ValueError: If a row has a text instead of words, has no words, or if a word or a label can't be written so that
            it is read as the same.
    """
    sentences: list[tuple[Any, list[str], list[list[str]]]] = []
    for index, row in enumerate(rows):
        where = f"row {index}"
        parsed = parse_row(row, where)
        if parsed.kind == "text":
            raise ValueError(f"{where} has 'text', but CoNLL files have words: write_conll needs rows with 'tokens'")
        if not parsed.content:
            raise ValueError(f"{where} has no words: a CoNLL file can't have empty sentences")
        for word in parsed.content:
            _check_cell(word, f"{where}: the word")
        for entity in parsed.entities:
            _check_cell(entity.label, f"{where}: the label")
        levels = _levels(distinct(parsed.entities))
        tags = [entities_to_tags(level, len(parsed.content)) for level in levels]
        sentences.append((row.get("document_id"), parsed.content, tags))
    num_levels = max([1, *(len(tags) for _, _, tags in sentences)])
    document: Any = None
    with writing(path) as file:
        for document_id, words, tags in sentences:
            if document_id is not None and document_id != document:
                file.write("\t".join([DOCUMENT_START] + [OUTSIDE] * num_levels) + "\n\n")
            document = document_id
            tags += [[OUTSIDE] * len(words)] * (num_levels - len(tags))
            for cells in zip(words, *tags, strict=True):
                file.write("\t".join(cells) + "\n")
            file.write("\n")


def _check_cell(value: str, what: str) -> None:
    if not value or value.startswith((DOCUMENT_START, "\ufeff")) or any(character.isspace() for character in value):
        raise ValueError(
            f"{what} {value!r} can't be written as CoNLL: it is empty, has white space or has a meaning there"
        )


def _levels(entities: Sequence[RowEntity]) -> list[list[LabelledSpan]]:
    """Share entities, in order of their start, out among levels: each to the first one where its words are free."""
    levels: list[list[LabelledSpan]] = []
    for label, start, end, _ in entities:
        free = next((level for level in levels if level[-1].end <= start), None)
        if free is None:
            free = []
            levels.append(free)
        free.append(LabelledSpan(label, start, end))
    return levels
