"""Column files: one word per line with its tags, and a blank line after each sentence.

Files come in many dialects, and a word may be ``#``. A line is a comment only before the first word of a sentence, and
only if it cannot be a word. A line that is neither a word nor a comment is an error.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from span_marker.core.labels import OUTSIDE, SCHEMES, LabelledSpan, detect_scheme, entities_to_tags, tags_to_entities
from span_marker.core.notation import read_notation, tell_renamed
from span_marker.data.columns import annotated_rows
from span_marker.data.rows import RowEntity, distinct, parse_row
from span_marker.data.text_files import StrPath, read_utf8, writing

if TYPE_CHECKING:
    from datasets import Dataset

DOCUMENT_START = "-DOCSTART-"

_PREFIXES = frozenset("BIESLU")
_PREFIXED = re.compile(r"[BIESLU]-.+", re.DOTALL)
_KEY_AND_VALUE = re.compile(r"# *\S+ = ")


class _Sentence(NamedTuple):
    document: int
    lines: list[int]  # of its words
    cells: list[list[str]]  # of each word's line


def read_conll(
    path: Path, token_column: int = 0, tag_columns: Any = -1, documents: bool = False
) -> list[dict[str, Any]]:
    """Read a column file.

    Args:
        path: The file.
        token_column: The column of the words.
        tag_columns: The column or columns of the tags, or ``"all"`` for every column except that of the words.
        documents: Whether to number documents and their sentences.

    Returns:
        Rows with entities.

    Raises:
        ValueError: If lines differ in their number of columns, a column does not exist, or tags cannot be read.
    """
    sentences = _split(path)
    if not sentences:
        return []
    if documents and sentences[-1].document < 0:
        raise ValueError(f"{path} has no {DOCUMENT_START} lines: leave documents= out")
    first = sentences[0]
    token, tags = _pick_columns(token_column, tag_columns, len(first.cells[0]), f"{path}, line {first.lines[0]}")
    places: dict[str, str] = {}
    for index, sentence in enumerate(sentences):
        for line, cells in zip(sentence.lines, sentence.cells, strict=True):
            location = f"{path}, line {line}, row {index}"
            if not cells[token]:
                raise ValueError(f"{location}: the word is empty: {cells}")
            for column in tags:
                places.setdefault(cells[column], location)
    renamed, scheme = resolve_tags(places)
    rows: list[dict[str, Any]] = []
    for index, sentence in enumerate(sentences):
        levels = [tags_to_entities([renamed[cells[column]] for cells in sentence.cells], scheme) for column in tags]
        row = {
            "tokens": [cells[token] for cells in sentence.cells],
            "entities": [span._asdict() for level in levels for span in level],
        }
        entities = distinct(parse_row(row, f"{path}, line {sentence.lines[0]}, row {index}").entities)
        rows.append({**row, "entities": [entity.to_dict() for entity in entities]})
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
                "and comes before a sentence"
            )
        if at_start:
            sentences.append(_Sentence(document, [], []))
            at_start = False
        sentences[-1].lines.append(number)
        sentences[-1].cells.append(cells)
    return sentences


def _starts_document(line: str) -> bool:
    return re.split("[ \t]", line, maxsplit=1)[0] == DOCUMENT_START


def _pick_columns(token_column: int, tag_columns: Any, width: int, location: str) -> tuple[int, list[int]]:
    def pick(column: int) -> int:
        if not -width <= column < width:
            raise ValueError(
                f"{location}: there is no column {column}, since a line has {width} columns (0 to {width - 1})"
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
        raise ValueError(f"{location}: column {token} of {width} has the words: tag_columns= must name others")
    return token, tags


def resolve_tags(places: Mapping[str, str]) -> tuple[dict[str, str], str | None]:
    """Find out how all tags of a file are written.

    Args:
        places: The location of the first occurrence of each tag.

    Returns:
        How this library writes each tag, and the scheme, a key of `SCHEMES` or None.

    Raises:
        ValueError: If a tag cannot be read, see `scheme_of` and `span_marker.core.notation.read_notation`.
    """
    notation = read_notation(places)
    scheme = scheme_of({notation.renamed.get(tag, tag): place for tag, place in places.items()})
    for tag, reason in notation.strays.items():
        raise ValueError(f"{places[tag]}: the tag {tag!r} {reason}")
    tell_renamed(notation)
    return notation.renamed, scheme


def scheme_of(places: Mapping[str, str]) -> str | None:
    """Find the scheme of all tags of a file.

    Args:
        places: The location of the first occurrence of each tag.

    Returns:
        A key of `SCHEMES`, or None if the tags are plain labels.

    Raises:
        ValueError: If only some tags have a prefix, or the prefixes belong to no scheme.
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
    """Number the documents consecutively, and the sentences of each."""
    documents = {start: document for document, start in enumerate(dict.fromkeys(starts))}
    counts: dict[int, int] = {}
    numbered = []
    for row, start in zip(rows, starts, strict=True):
        sentence = counts.get(start, 0)
        counts[start] = sentence + 1
        numbered.append({"document_id": documents[start], "sentence_id": sentence, **row})
    return numbered


def write_conll(path: StrPath, rows: Dataset | Iterable[Mapping[str, Any]]) -> None:
    """Write rows of words as a column file: ``word<TAB>tag``, IOB2.

    Entities that overlap need several columns: each goes into the first one where its words are free, and every line of
    the file has all columns, which ``read_annotations(path, tag_columns="all")`` reads. A ``-DOCSTART-`` line precedes
    each new ``document_id``. Scores and other columns are not written.

    Args:
        path: The file.
        rows: A data set of words annotated in any form, or rows with ``tokens`` and ``entities``.

    Raises:
        TypeError: If a row has a value of the wrong type.
        ValueError: If a row is wrong, has a text or no words, or a word or a label would not be read back as the same.
    """
    sentences: list[tuple[Any, list[str], list[list[str]]]] = []
    for index, (columns, row) in enumerate(annotated_rows(rows)):
        location = f"row {index}"
        if row.kind == "text":
            raise ValueError(f"{location} has 'text', but CoNLL files have words: write_conll needs rows with 'tokens'")
        if not row.content:
            raise ValueError(f"{location} has no words: a CoNLL file cannot represent empty sentences")
        for word in row.content:
            _check_cell(word, f"{location}: the word")
        for entity in row.entities:
            _check_cell(entity.label, f"{location}: the label")
        tags = [entities_to_tags(level, len(row.content)) for level in _levels(distinct(row.entities))]
        sentences.append((columns.get("document_id"), row.content, tags))
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


def _check_cell(value: str, subject: str) -> None:
    if not value or value.startswith((DOCUMENT_START, "\ufeff")) or any(character.isspace() for character in value):
        raise ValueError(
            f"{subject} {value!r} cannot be written as CoNLL: it is empty, has white space, or has a special meaning"
        )


def _levels(entities: Sequence[RowEntity]) -> list[list[LabelledSpan]]:
    """Distribute entities, in order of their start, among levels: each goes to the first where its words are free."""
    levels: list[list[LabelledSpan]] = []
    for label, start, end, _ in entities:
        free = next((level for level in levels if level[-1].end <= start), None)
        if free is None:
            free = []
            levels.append(free)
        free.append(LabelledSpan(label, start, end))
    return levels
