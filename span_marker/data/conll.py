"""Column files: one word per line with its tags, and a blank line after each sentence.

Files come in many dialects. Tags have the prefixes of a scheme, or brackets as in CoNLL-2012. A line that is neither a
word nor a comment is an error.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from itertools import chain
from typing import TYPE_CHECKING, Any

from span_marker.core.brackets import NOTHING, are_brackets, brackets_to_entities
from span_marker.core.labels import OUTSIDE, LabelledSpan, entities_to_tags, tags_to_entities
from span_marker.core.notation import read_notation
from span_marker.data.column_lines import COMMENT, DOCUMENT_START, Layout, Sentence, Word, split_sentences
from span_marker.data.column_names import odd_lengths, why_no_words
from span_marker.data.delimited import refuse_other_separators
from span_marker.data.file_tags import PREFIXED, FileTags, are_prefixed, resolve_tags
from span_marker.data.row_errors import OnError
from span_marker.data.row_writing import converted_rows
from span_marker.data.rows import Row, RowEntity, distinct, parse_row
from span_marker.data.text_files import SourceFile, StrPath, writing

if TYPE_CHECKING:
    from datasets import Dataset

logger = logging.getLogger(__name__)

_NO_ENTITY = (OUTSIDE, NOTHING)


def read_conll(
    file: SourceFile, token_column: int | None = None, tag_columns: Any = -1, documents: bool = False
) -> list[dict[str, Any]]:
    """Read a column file.

    Args:
        file: The file, which collects the errors of sentences.
        token_column: The column of the words. Defaults to the first, unless that clearly contains something else; in
            CoNLL-2012 to the fourth.
        tag_columns: The column or columns of the tags, or ``"all"`` for every column except that of the words.
        documents: Whether to number documents and their sentences.

    Returns:
        Rows with entities.

    Raises:
        ValueError: If the file looks like plain text, a column does not exist or clearly contains something else, or
            the tags of the file cannot be read.
    """
    layout, sentences = split_sentences(file)
    if not sentences:
        return []
    if documents and sentences[-1].document < 0:
        raise ValueError(f"{file} has no {DOCUMENT_START} lines: leave documents= out")
    if layout.width == 1:
        _refuse_other_separators(sentences, file, "format=")
    _check_is_table(sentences, layout, file)
    if odd := odd_lengths([len(sentence.words) for sentence in sentences]):
        logger.warning("%s: %s", file, odd)
    location = f"{file}, line {sentences[0].words[0].number}"
    token, tags = _pick_columns(layout.pick_token(token_column), tag_columns, layout.width, location)
    whole: list[Sentence] = []
    for sentence in sentences:
        with file.row():
            for word in sentence.words:
                problem = _find_problem(word, layout, token)
                if problem:
                    raise ValueError(f"{file}, line {word.number}, row {sentence.row}: {problem}")
            whole.append(sentence)
    if token_column is None:
        _check_words(whole, token, file, "pass token_column= the column of the words, or another format")
    if not layout.is_2012:
        _check_columns(whole, token, tags, tag_columns, file)
    words = [word for sentence in whole for word in sentence.words]
    brackets = {column for column in tags if are_brackets([word.cells[column] for word in words])}
    read = _read_tags(whole, [column for column in tags if column not in brackets], file)
    rows, starts = [], []
    for sentence in whole:
        with file.row():
            for word in sentence.words if read.odd else ():
                found = (word.cells[column] for column in tags)
                problem = next((read.odd[tag] for tag in found if tag in read.odd), None)
                if problem:
                    raise ValueError(f"{file}, line {word.number}, row {sentence.row}: {problem}")
            rows.append(_to_row(sentence, token, tags, brackets, read, file))
            starts.append(sentence.document)
    return _number(rows, starts) if documents else rows


def read_words(file: SourceFile, token_column: int | None = None) -> list[list[str]]:
    """Read the words of a column file, ignoring its tags.

    Args:
        file: The file.
        token_column: See `read_conll`.

    Returns:
        The words of each sentence.

    Raises:
        ValueError: If there is no such column, lines differ in their number of columns, a word is empty, or the column
            contains word numbers.
    """
    layout, sentences = split_sentences(file)
    if not sentences:
        return []
    if layout.width == 1:
        _refuse_other_separators(sentences, file, "another input_format=")
    location = f"{file}, line {sentences[0].words[0].number}"
    token = _pick_column(layout.pick_token(token_column), layout.width, location)
    for sentence in sentences:
        for word in sentence.words:
            if problem := _find_problem(word, layout, token):
                raise ValueError(f"{file}, line {word.number}, row {sentence.row}: {problem}")
    if token_column is None:
        _check_words(sentences, token, file, "pass token_column= the column of the words, or another input_format=")
    return [[word.cells[token] for word in sentence.words] for sentence in sentences]


def _refuse_other_separators(sentences: Sequence[Sentence], file: SourceFile, advice: str) -> None:
    lines = {word.number: word.line for sentence in sentences for word in sentence.words}
    refuse_other_separators([*lines.values()], f"{file}, line {min(lines, default=1)}", advice)


def _read_tags(sentences: Sequence[Sentence], columns: Sequence[int], file: SourceFile) -> FileTags:
    places: dict[str, str] = {}
    for sentence in sentences:
        for word in sentence.words:
            for column in columns:
                if word.cells[column] not in places:
                    places[word.cells[column]] = f"{file}, line {word.number}, row {sentence.row}"
    return resolve_tags(places)


def _to_row(
    sentence: Sentence, token: int, columns: Sequence[int], brackets: Collection[int], read: FileTags, file: SourceFile
) -> dict[str, Any]:
    tokens = [word.cells[token] for word in sentence.words]
    location = f"{file}, line {sentence.words[0].number}, row {sentence.row}"
    spans: list[dict[str, Any]] = []
    for column in columns:
        cells = [word.cells[column] for word in sentence.words]
        try:
            level = (
                brackets_to_entities(cells)
                if column in brackets
                else tags_to_entities([read.renamed[cell] for cell in cells], read.scheme)
            )
        except ValueError as error:
            raise ValueError(f"{location}: column {column}: {error}") from error
        spans += [span._asdict() for span in level]
    entities = distinct(parse_row({"tokens": tokens, "entities": spans}, location).entities)
    return {"tokens": tokens, "entities": [entity.to_dict() for entity in entities]}


def _check_is_table(sentences: Sequence[Sentence], layout: Layout, file: SourceFile) -> None:
    """Check that a file is not plain text: most lines have the same columns, and some cells after the first are tags.

    Args:
        sentences: What was read.
        layout: How its lines are split into columns.
        file: The file, for errors.

    Raises:
        ValueError: If it looks like plain text.
    """
    lines = [word.cells for sentence in sentences for word in sentence.words]
    regular = [cells for cells in lines if len(cells) == layout.width]
    names = read_notation({cell for cells in regular for cell in cells[1:]}).renamed.values()
    has_tags = any(name == OUTSIDE or PREFIXED.fullmatch(name) for name in names)
    has_tags = has_tags or any(map(are_brackets, [*zip(*regular, strict=True)][1:]))
    if layout.has_tabs or (has_tags and 2 * len(regular) >= len(lines)):
        return
    raise ValueError(
        f"{file} looks like plain text without annotations, since lines such as {layout.example!r:.80} are not a word "
        "and its tag: to find entities in it, use predict (span-marker predict). If it is annotated, pass format=, "
        "such as format='inline' for [Paris](place); brat needs the .ann file beside it"
    )


def _find_problem(word: Word, layout: Layout, token: int) -> str | None:
    """What is wrong with a line, or None."""
    if not layout.has_tabs and "\t" in word.line:
        return (
            f"{word.line!r} has a tab, but spaces separate the columns of most lines, such as {layout.example!r}: if "
            "the tab is a word, replace it with another character, otherwise with a space"
        )
    if len(word.cells) != layout.width == len(re.split(" +", word.line)) and not COMMENT.match(word.line):
        return (
            f"{word.line!r} has no tab, but tabs separate the columns of most lines, such as {layout.example!r}: "
            "separate all columns by tabs, or all by spaces"
        )
    if len(word.cells) != layout.width:
        return (
            f"{word.line!r} has {len(word.cells)} columns, but {layout.example!r} has {layout.width}: a line must be a "
            "word with all of its columns, or a comment that begins with '# ' before a sentence (if the file has no "
            "columns, pass format=)"
        )
    return None if word.cells[token] else f"the word is empty: {word.cells}"


def _check_words(sentences: Sequence[Sentence], token: int, file: SourceFile, advice: str) -> None:
    """Check that the column of the words is not plainly that of their numbers, or of the sentence or document."""
    words = [[word.cells[token] for word in sentence.words] for sentence in sentences]
    width = len(sentences[0].words[0].cells) if sentences else 0
    problem = why_no_words(words) if width > 2 and max(map(len, words)) > 1 else None
    if width > 1 and are_prefixed({*chain.from_iterable(words)}):
        problem = "has tags"
    if problem:
        raise ValueError(f"{file}: column {token} {problem}: {advice}")


def _check_columns(
    sentences: Sequence[Sentence], token: int, tags: Sequence[int], tag_columns: Any, file: SourceFile
) -> None:
    """Check that the columns of the tags are not plainly others."""
    words = [word.cells for sentence in sentences for word in sentence.words]
    width = len(words[0]) if words else 0
    if any(cells[column] not in _NO_ENTITY for cells in words for column in tags):
        return
    unread = (column for column in range(width) if column not in (token, *tags))
    others = [column for column in unread if _are_tags([cells[column] for cells in words])]
    if not others:
        return
    example = next(cells[others[0]] for cells in words if cells[others[0]] not in _NO_ENTITY)
    message = (
        f"{file}: column {tags[-1]} has no entities, but the columns {others} look like tags, such as {example!r}: "
        f"pass tag_columns='all' if entities are nested, tag_columns={others[0]} for this column alone, or "
        f"tag_columns={tags[-1]} if there are no entities"
    )
    if tag_columns == -1:
        raise ValueError(message)
    logger.warning(message)


def _are_tags(cells: Sequence[str]) -> bool:
    """Tell whether the cells of a column look like tags: they have prefixes, or most of them are O or ``*``."""
    labels = [cell for cell in cells if cell not in _NO_ENTITY]
    return bool(labels) and len(labels) < len(cells) and (are_prefixed(cells) or 2 * len(labels) <= len(cells))


def _pick_column(column: int, width: int, location: str) -> int:
    if not -width <= column < width:
        raise ValueError(
            f"{location}: there is no column {column}, since a line has {width} columns (0 to {width - 1})"
        )
    return column % width


def _pick_columns(token_column: int, tag_columns: Any, width: int, location: str) -> tuple[int, list[int]]:
    token = _pick_column(token_column, width, location)
    if isinstance(tag_columns, str):
        if tag_columns != "all":
            raise ValueError(f"tag_columns={tag_columns!r} must be a number, a list of numbers, or 'all'")
        tags = [column for column in range(width) if column != token]
    else:
        columns = [tag_columns] if isinstance(tag_columns, int) else tag_columns
        tags = [_pick_column(column, width, location) for column in columns]
    if not tags or token in tags:
        raise ValueError(f"{location}: column {token} of {width} has the words: tag_columns= must name other columns")
    return token, tags


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


def write_conll(path: StrPath, rows: Dataset | Iterable[Mapping[str, Any]], errors: OnError = "raise") -> None:
    """Write rows of words as a column file: ``word<TAB>tag``, IOB2.

    Overlapping entities need several columns: each entity goes into the first column where its words are free. Every
    line has all columns; read them with ``read_annotations(path, tag_columns="all")``. A ``-DOCSTART-`` line precedes
    each new ``document_id``. Scores and other columns are not written.

    Args:
        path: The file.
        rows: A data set of words annotated in any form, or rows with ``tokens`` and ``entities``.
        errors: What to do with rows that cannot be written, see `span_marker.data.jsonl.write_jsonl`.

    Raises:
        TypeError: If a row has a value of the wrong type.
        ValueError: If a row is invalid, has a text or no words, or a word or a label would not be read back as the
            same.
    """
    sentences = list(converted_rows(rows, _to_columns, errors))
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


def _to_columns(index: int, columns: Mapping[str, Any], row: Row) -> tuple[Any, list[str], list[list[str]]]:
    """The document, the words, and the tags of each level."""
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
    return columns.get("document_id"), row.content, tags


def _check_cell(value: str, subject: str) -> None:
    if not value or value.startswith((DOCUMENT_START, "\ufeff")) or any(character.isspace() for character in value):
        raise ValueError(
            f"{subject} {value!r} cannot be written as CoNLL: it is empty, has white space, or has a special meaning"
        )


def _levels(entities: Sequence[RowEntity]) -> list[list[LabelledSpan]]:
    """Distribute entities, in order of their start: each goes to the first level where its words are free."""
    levels: list[list[LabelledSpan]] = []
    for label, start, end, _ in entities:
        free = next((level for level in levels if level[-1].end <= start), None)
        if free is None:
            free = []
            levels.append(free)
        free.append(LabelledSpan(label, start, end))
    return levels
