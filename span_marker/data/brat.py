"""brat's standoff files: ``x.txt`` with a document and ``x.ann`` with its annotation. Offsets count code points.

``T`` lines are entities, ``R`` lines are relations between two of them, and ``*`` lines symmetric relations of several.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Collection, Iterable, Mapping
from itertools import pairwise, permutations
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unicodedata import normalize

from span_marker.core.surrogates import SURROGATES
from span_marker.data.copies import check_copy, is_copy
from span_marker.data.json_records import fill_in_relations
from span_marker.data.row_errors import OnError
from span_marker.data.row_relations import RELATIONS, RowRelation, distinct_relations, parse_relations
from span_marker.data.row_writing import converted_rows, without_repetitions
from span_marker.data.rows import Row, RowEntity, as_text, check_entity
from span_marker.data.text_files import SourceFile, StrPath

if TYPE_CHECKING:
    from datasets import Dataset

logger = logging.getLogger(__name__)

_SPAN = re.compile(r"T\S*\t(\S+) (\d+ \d+(?:;\d+ \d+)*)\t(.*)", re.DOTALL)
_RELATION = re.compile(r"R\S*\t(\S+) ([^\s:]+):(\S+) ([^\s:]+):(\S+)\s*")
_SYMMETRIC = re.compile(r"\*\t(\S+)((?: \S+){2,})\s*")
_LONGEST_NAME = 255 - len(".txt")
"""Maximum length of a document name, in bytes, on all common file systems."""

_MARK = "\ufeff"
_LINE_END = str.maketrans("\r\n", "  ")


def read_brat(file: SourceFile) -> list[dict[str, Any]]:
    """Read a folder of documents, or one document.

    Args:
        file: The folder, or one of the two files of a document. It collects the errors of documents.

    Returns:
        Rows with entities and ``id``, the name of the files, in order of the names; and with relations if any document
        has ``R`` or ``*`` lines. A ``*`` line is a relation of each pair, in both directions.

    Raises:
        ValueError: If a file is missing.
    """
    path, rows = file.path, []
    if path.is_dir():
        texts = _find_texts(path)
    else:
        texts = [path.with_suffix(".txt")]
        missing = [half for half in (*texts, path.with_suffix(".ann")) if not half.is_file()]
        if missing:
            raise ValueError(f"{path} is one half of a document: {missing[0]} is missing in its folder")
    for text in texts:
        with file.row(text):
            row = _read_document(file.at(text))
            if row is not None:
                rows.append(row)
    fill_in_relations(rows, range(len(rows)))
    return rows


def _find_texts(folder: Path) -> list[Path]:
    texts, annotations = (sorted(folder.glob(pattern)) for pattern in ("*.txt", "*.ann"))
    if not annotations:
        raise ValueError(f"{folder} has no .ann files (a folder is read as brat: pass a single file for columns)")
    have_text = {text.with_suffix(".ann") for text in texts}
    strays = [file for file in annotations if file not in have_text]
    if strays:
        raise ValueError(f"{strays[0]} has no text: {strays[0].with_suffix('.txt').name} is missing in its folder")
    left_out = [text.name for text in texts if not text.with_suffix(".ann").is_file()]
    if left_out:
        logger.warning("%s: %d texts without an .ann file are left out: %s", folder, len(left_out), left_out[:5])
    return [annotation.with_suffix(".txt") for annotation in annotations]


def _read_document(file: SourceFile) -> dict[str, Any] | None:
    """Read a document; None if a line is wrong."""
    text, annotation = file.text(keep_mark=True, keep_line_ends=True), file.at(file.path.with_suffix(".ann"))
    lines = annotation.text(keep_line_ends=True)
    # Where line feeds end the lines, a carriage return may be part of a copy.
    lines = lines if "\n" in lines else lines.replace("\r", "\n")
    numbered = [(number, line.removesuffix("\r")) for number, line in enumerate(lines.split("\n"), start=1)]
    if text.startswith(_MARK) and not _counts_mark(text, [line for _, line in numbered]):
        text = text.removeprefix(_MARK)
    entities: list[dict[str, Any]] = []
    split = []
    places: dict[str, int | None] = {}
    repeated: set[str] = set()
    for number, line in numbered:
        if line.startswith("T"):
            with file.row(file.path):
                location = f"{annotation}, line {number}"
                entity = _read_span(line, text, location)
                identity = line.split("\t")[0]
                repeated |= {identity} & places.keys()
                places[identity] = None if entity is None else len(entities)
                if entity is None:
                    split.append(number)
                else:
                    entities.append(_without_mark(text, entity, location).to_dict())
    _warn(annotation, "discontinuous entities cannot be represented and are left out", split)
    row = {"id": file.path.stem, "text": text.removeprefix(_MARK), "entities": entities}
    if file.path not in file.wrong and any(line.startswith(("R", "*")) for _, line in numbered):
        relations = _read_relations(file, annotation, numbered, places, repeated)
        row[RELATIONS] = [relation.to_dict() for relation in distinct_relations(relations)]
    _warn(annotation, "events are reduced to their triggers, which are read as entities", _lines_with("E", numbered))
    logger.debug("%s: %d lines are ignored", annotation, len(_lines_with(("A", "M", "N", "#"), numbered)))
    return None if file.path in file.wrong else row


def _counts_mark(text: str, lines: Iterable[str]) -> bool:
    """Tell whether offsets count the byte order mark, as the copies prove that first fit one reading alone."""
    for match in filter(None, map(_SPAN.fullmatch, lines)):
        bounds = [[int(bound) for bound in fragment.split()] for fragment in match[2].split(";")]
        with_mark, without = (
            is_copy(" ".join(base[start:end] for start, end in bounds), match[3]) for base in (text, text[1:])
        )
        if with_mark != without:
            return with_mark
    return True


def _without_mark(text: str, entity: RowEntity, location: str) -> RowEntity:
    """Move an entity to where it is in a text without its byte order mark, if it has one."""
    length = len(text.removeprefix(_MARK))
    shift = len(text) - length
    bounds = {"start": max(0, entity.start - shift), "end": entity.end - shift}
    return check_entity({"label": entity.label, **bounds}, length, "characters", location) if shift else entity


def _lines_with(first: str | tuple[str, ...], numbered: Iterable[tuple[int, str]]) -> list[int]:
    return [number for number, line in numbered if line.startswith(first)]


def _warn(annotation: SourceFile, subject: str, numbers: list[int]) -> None:
    if numbers:
        logger.warning("%s: %d %s: lines %s", annotation, len(numbers), subject, numbers[:5])


def _read_relations(
    file: SourceFile,
    annotation: SourceFile,
    numbered: Iterable[tuple[int, str]],
    places: Mapping[str, int | None],
    repeated: Collection[str],
) -> list[RowRelation]:
    """Read the relations between entities. Those of events and of entities that are left out are left out, too.

    An ID may be repeated, as in documents that were joined, unless a relation has it.
    """
    numbered = list(numbered)
    events = {line.split("\t")[0] for _, line in numbered if line.startswith("E")}
    num_entities = sum(place is not None for place in places.values())
    relations: list[RowRelation] = []
    lost = []
    for number, line in numbered:
        if not line.startswith(("R", "*")):
            continue
        location = f"{annotation}, line {number}"
        with file.row(file.path):
            label, pairs = _read_ends(line, location)
            ends = {end for pair in pairs for end in pair}
            unknown = sorted(ends - places.keys() - events)
            if unknown:
                raise ValueError(f"{location}: the relation {label!r} has {unknown[0]!r}, but no line has this ID")
            if twice := sorted(ends.intersection(repeated)):
                raise ValueError(f"{location}: the relation {label!r} has {twice[0]!r}, but several lines have this ID")
            if any(places.get(end) is None for end in ends):
                lost.append(number)
                continue
            rows = [{"label": label, "head": places[head], "tail": places[tail]} for head, tail in pairs]
            relations += parse_relations(rows, num_entities, location)
    _warn(annotation, "relations of events and of discontinuous entities are left out", lost)
    return relations


def _read_ends(line: str, location: str) -> tuple[str, list[tuple[str, str]]]:
    """Read the label of a relation, and the IDs of the pairs that have it. The first role of an R line is its head."""
    if match := _RELATION.fullmatch(line):
        label, first_role, first, second_role, second = match.groups()
        is_reversed = (first_role, second_role) == ("Arg2", "Arg1")
        return label, [(second, first) if is_reversed else (first, second)]
    if match := _SYMMETRIC.fullmatch(line):
        return match[1], list(permutations(match[2].split(), 2))
    raise ValueError(
        f"{location}: {line!r} is neither of the form 'R1<TAB>LABEL Arg1:T1 Arg2:T2' nor '*<TAB>LABEL T1 T2'"
    )


def _read_span(line: str, text: str, location: str) -> RowEntity | None:
    """Read one line; None if the entity has several fragments with text between them."""
    match = _SPAN.fullmatch(line)
    if match is None:
        raise ValueError(f"{location}: {line!r} is not of the form 'T1<TAB>LABEL START END<TAB>TEXT'")
    label, offsets, copy = match.groups()
    bounds = [[int(bound) for bound in fragment.split()] for fragment in offsets.split(";")]
    fragments = [
        check_entity({"label": label, "start": start, "end": end}, len(text), "characters", location)
        for start, end in bounds
    ]
    check_copy(text, [(fragment.start, fragment.end) for fragment in fragments], copy, location)
    # brat splits an entity where a line ends.
    gaps = [text[fragment.end : after.start] for fragment, after in pairwise(fragments)]
    if any(not gap or gap.strip("\r\n") for gap in gaps):
        return None
    return fragments[0]._replace(end=fragments[-1].end)


def write_brat(
    folder: StrPath,
    rows: Dataset | Iterable[Mapping[str, Any]],
    errors: OnError = "raise",
    model_version: str | None = None,
) -> None:
    """Write each row as a document: ``NAME.txt`` and ``NAME.ann``.

    The name is the ``id`` of the row, or else its number. Words are joined by single spaces. Other columns are not
    written.

    Args:
        folder: The folder to write to. It is created if necessary, and must not contain .txt or .ann files.
        rows: A data set annotated in any form, or rows with ``tokens`` or ``text``, and ``entities``.
        errors: What to do with rows that cannot be written, see `span_marker.data.jsonl.write_jsonl`.
        model_version: Name of the model that predicted the entities, which becomes a note on each entity and relation
            with a score, beside the score. Defaults to no notes.

    Raises:
        TypeError: If a row has a value of the wrong type.
        ValueError: If a row is invalid or begins with U+FEFF, a label has white space, or an ``id`` is not a file name
            or occurs twice.
        FileExistsError: If the folder has .txt or .ann files.
    """
    documents: dict[str, tuple[str, str]] = {}
    names: dict[str, str] = {}

    def add(index: int, columns: Mapping[str, Any], row: Row) -> None:
        location = f"row {index}"
        name = f"{index:06}" if columns.get("id") is None else str(columns["id"])
        if not re.fullmatch(r"[^/\\:\x00]+", name) or name in (".", "..") or SURROGATES.search(name):
            raise ValueError(f"{location}: the id {name!r} is not a file name")
        if len(name.encode()) > _LONGEST_NAME:
            raise ValueError(
                f"{location}: the id {name!r:.40} has {len(name.encode())} bytes, but a file name has at most "
                f"{_LONGEST_NAME}: shorten it"
            )
        same = names.setdefault(normalize("NFC", name).casefold(), name)
        if name in documents or same != name:
            twice = "occurs twice" if same == name else f"is the same as {same!r} if letter case is ignored"
            raise ValueError(f"{location}: the id {name!r} {twice}, but file names must be unique")
        documents[name] = _to_document(location, row, model_version)

    for _ in converted_rows(rows, add, errors, writes_relations=True):
        pass
    target = Path(folder)
    target.mkdir(parents=True, exist_ok=True)
    refuse_documents(target)
    for name, (text, annotation) in documents.items():
        (target / f"{name}.txt").write_bytes(text.encode())
        (target / f"{name}.ann").write_bytes(annotation.encode())


def refuse_documents(folder: Path) -> None:
    """Refuse to write to a folder that has documents, since they would be read together with the new ones.

    Args:
        folder: The folder.

    Raises:
        FileExistsError: If it has .txt or .ann files.
    """
    existing = sorted(file.name for pattern in ("*.txt", "*.ann") for file in folder.glob(pattern))
    if existing:
        raise FileExistsError(f"{folder} already has documents, such as {existing[0]}: choose an empty folder")


def _to_document(location: str, row: Row, model_version: str | None) -> tuple[str, str]:
    """The text of a document, and its annotation."""
    row = without_repetitions(row, location)
    text, entities = as_text(row)
    if text.startswith(_MARK):
        raise ValueError(f"{location} begins with U+FEFF, which would be read as the byte order mark of the document")
    lines = []
    items: tuple[RowEntity | RowRelation, ...] = (*entities, *row.relations)
    for item in items:
        if any(character.isspace() for character in item.label):
            raise ValueError(f"{location}: the label {item.label!r} has white space, which brat cannot represent")
    for number, entity in enumerate(entities, start=1):
        span = text[entity.start : entity.end].translate(_LINE_END)
        lines.append(f"T{number}\t{entity.label} {entity.start} {entity.end}\t{span}\n")
        if model_version is not None and entity.score is not None:
            lines.append(f"#{number}\tAnnotatorNotes T{number}\t{f'{model_version} {entity.score:.4f}'.strip()}\n")
    for number, relation in enumerate(row.relations, start=1):
        lines.append(f"R{number}\t{relation.label} Arg1:T{relation.head + 1} Arg2:T{relation.tail + 1}\n")
        if model_version is not None and relation.score is not None:
            note = f"{model_version} {relation.score:.4f}".strip()
            lines.append(f"#{len(entities) + number}\tAnnotatorNotes R{number}\t{note}\n")
    return text, "".join(lines)
