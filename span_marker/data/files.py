"""Files of annotated data: a table of formats, and the functions that read and write them."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from operator import ne
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from span_marker.core.graphemes import whole_spans
from span_marker.core.offsets import OffsetUnit
from span_marker.data.brat import read_brat, write_brat
from span_marker.data.column_lines import is_conll_2012
from span_marker.data.conll import read_conll, write_conll
from span_marker.data.conllu import is_conllu, read_conllu
from span_marker.data.csv_files import is_csv, read_csv, write_csv
from span_marker.data.gliner import read_gliner, read_gliner2, write_gliner
from span_marker.data.inline import read_inline, write_inline
from span_marker.data.jsonl import READ_OPTIONS, is_json, read_json, write_jsonl
from span_marker.data.label_map import check_label_map, map_labels
from span_marker.data.pubtator import is_pubtator, read_pubtator
from span_marker.data.row_errors import OnError, check_on_error, report_errors
from span_marker.data.row_relations import RELATIONS
from span_marker.data.spacy_docs import read_docbin, write_docbin
from span_marker.data.text_files import SourceFile, StrPath, check_path
from span_marker.data.webanno import is_webanno, read_webanno

if TYPE_CHECKING:
    from datasets import Dataset

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Format:
    """A format of files.

    Attributes:
        name: Its name.
        endings: File extensions, in lower case; none if another format has them and also reads its files.
        read: Reads a `SourceFile`, which collects the errors of rows, with the options by name, as rows with entities.
        write: Writes rows with entities to a path; None if the format is only read.
        options: Options of reading, with their defaults.
        write_options: Names of the options of writing.
        is_folder: Whether files of the format are in a folder.
        is_text: Whether they have an encoding.
        keeps: Names of the columns that it writes in addition to text, words, entities and relations; None for all.
        recognizes: Recognizes the format by the beginning of a text file, whatever its extension; None if contents do
            not tell.
    """

    name: str
    endings: tuple[str, ...]
    read: Callable[..., list[dict[str, Any]]]
    write: Callable[..., None] | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    write_options: tuple[str, ...] = ()
    is_folder: bool = False
    is_text: bool = True
    keeps: tuple[str, ...] | None = ()
    recognizes: Callable[[str], bool] | None = None


FORMATS = (
    Format(
        "conll",
        (".conll", ".txt", ".bio", ".iob", ".iob2", ".tsv"),
        read_conll,
        write_conll,
        {"token_column": None, "tag_columns": -1, "documents": False},
        keeps=("document_id", "sentence_id"),
        recognizes=is_conll_2012,
    ),
    Format(
        "jsonl",
        (".jsonl", ".json"),
        read_json,
        write_jsonl,
        {"annotator": None, **READ_OPTIONS},
        ("offsets",),
        keeps=None,
        recognizes=is_json,
    ),
    Format("gliner", (), read_gliner, write_gliner),
    Format("gliner2", (), read_gliner2, options={"occurrences": "all"}),
    Format(
        "csv",
        (".csv",),
        read_csv,
        write_csv,
        {"columns": None, "annotator": None, "field": None, "control": None, "labels": None, "occurrences": "all"},
        keeps=("id",),
        recognizes=is_csv,
    ),
    Format("conllu", (".conllu",), read_conllu, options={"documents": False}, recognizes=is_conllu),
    Format("webanno", (), read_webanno, options={"layer": None}, recognizes=is_webanno),
    Format("inline", (), read_inline, write_inline),
    Format("pubtator", (".pubtator",), read_pubtator, recognizes=is_pubtator),
    Format("brat", (".ann",), read_brat, write_brat, is_folder=True, keeps=("id",)),
    Format("docbin", (".spacy",), read_docbin, write_docbin, {"spans_key": None}, ("nlp", "spans_key"), is_text=False),
)
"""All formats that can be read."""

_ANNOTATION = ("tokens", "text", "entities", "ner_tags", RELATIONS)
"""The columns of annotated rows."""

HEAD = 4096
"""Number of bytes of a file that are used to detect its format."""


def read_annotations(
    path: StrPath,
    format: str | None = None,
    *,
    token_column: int | None = None,
    tag_columns: int | Sequence[int] | Literal["all"] = -1,
    documents: bool = False,
    annotator: str | int | None = None,
    spans_key: str | None = None,
    field: str | None = None,
    control: str | Sequence[str] | None = None,
    labels: Mapping[int, str] | Sequence[Any] | StrPath | None = None,
    occurrences: Literal["all", "in-order"] = "all",
    offsets: OffsetUnit | None = None,
    columns: Mapping[str, str] | None = None,
    layer: str | None = None,
    label_map: Mapping[str, str | None] | None = None,
    encoding: str | None = None,
    errors: OnError = "raise",
) -> Dataset:
    """Read annotated data into rows with ``tokens`` or ``text``, ``entities``, and optionally ``relations``.

    Nothing is guessed: anything ambiguous raises an error that names its location. Records without a finished
    annotation (skipped, rejected, unfinished) are left out, and a warning counts them.

    Args:
        path: A file, or a folder for brat.
        format: ``conll``, ``jsonl``, ``gliner``, ``gliner2``, ``csv``, ``conllu``, ``webanno``, ``inline``,
            ``pubtator``, ``brat`` or ``docbin``. Defaults to the file extension; for column files and unknown
            extensions, to the contents. ``inline`` is never the default. ``jsonl`` reads the records of all tools,
            including GLiNER's; ``gliner`` accepts only those.
        token_column: For conll: the column of the words. Defaults to the first, unless that clearly contains something
            else, such as word numbers; in files of CoNLL-2012, to the fourth.
        tag_columns: For conll: the column of the tags, or of brackets. Defaults to the last; in files of CoNLL-2012, to
            the eleventh. Several columns, or ``"all"`` columns except that of the words, are levels of nested entities.
        documents: For conll and conllu: whether ``-DOCSTART-`` or ``# newdoc`` lines become the columns ``document_id``
            and ``sentence_id``, so that the trainer reads each sentence in the context of its document.
        annotator: For jsonl, and csv of Label Studio: the annotator whose annotation to use if there are several; a
            name, number or address.
        spans_key: For docbin: read ``Doc.spans[spans_key]`` instead of ``Doc.ents``.
        field: For Label Studio and Argilla 2: the field of the text. Defaults to ``text``, or else to the only string.
        control: For Label Studio: the name of the ``Labels`` control to read, or a list of several. Defaults to the
            only one.
        labels: For jsonl and csv: names of labels and tags that are numbers. A dict; a list, counted from 0; doccano's
            label configuration; or the path of a JSON file with one of these.
        occurrences: For entities given as strings without offsets: ``"all"`` occurrences as whole words, or
            ``"in-order"``: the first occurrence for the first of equal strings, the second for the second, and so on.
        offsets: For doccano and Argilla: the unit of offsets. Their pages count ``utf-16``. Defaults to the metadata of
            `span_marker.data.write_tasks`, or else to ``codepoint``, with a warning where it matters.
        columns: For csv: the names of columns by role, such as ``{"text": "sentence"}``; see the page on data.
        layer: For webanno: the layer and the feature of the labels. Defaults to ``NamedEntity|value``, or else to the
            only one.
        label_map: New names of entity and relation labels, by their old names; None to drop a label.
        encoding: The encoding of text files. Defaults to what their byte order mark says (UTF-8, UTF-16 or UTF-32), or
            else UTF-8.
        errors: What to do with invalid rows: ``raise`` an error that lists the first 20 problems and counts the others;
            ``skip`` them, with a warning that counts them and shows the first; or a list, to which their errors are
            appended. Rows are counted from 0, including skipped ones.

    Returns:
        A data set with the columns ``tokens`` or ``text``, ``entities``, ``relations`` if the file has any, and other
        columns of the format.

    Raises:
        TypeError: If ``path`` is not a path, or the first wrong value in the file has the wrong type.
        ValueError: If the format is unknown, an option does not apply to the format, the file as a whole cannot be
            read, or the data is invalid.
        FileNotFoundError: If there is no such file.
    """
    check_path(path)
    check_on_error(errors)
    new_labels = check_label_map(label_map or {})
    path = Path(path)
    source = SourceFile(path, encoding)
    if not path.exists():
        raise FileNotFoundError(f"there is no {path}")
    is_brat = path.is_dir() or (path.suffix == ".txt" and path.with_suffix(".ann").exists())
    by_content = _recognize(source) if format is None and not is_brat else None
    kind = by_content or _find_format(path, format, is_brat, [known.name for known in FORMATS])
    given: dict[str, Any] = {
        "token_column": token_column,
        "tag_columns": tag_columns,
        "documents": documents,
        "annotator": annotator,
        "spans_key": spans_key,
        "field": field,
        "control": control,
        "labels": labels,
        "occurrences": occurrences,
        "offsets": offsets,
        "columns": columns,
        "layer": layer,
    }
    defaults = {option: default for other in FORMATS for option, default in other.options.items()}
    _check_options({name: value for name, value in given.items() if value != defaults[name]}, kind.options, path, kind)
    if kind.name == "inline" and path.is_file() and (other := recognize_format(source.head(HEAD))):
        raise ValueError(f"{path} looks like {other.name}, not like texts with brackets: pass format={other.name!r}")
    if path.is_dir() and not kind.is_folder:
        raise ValueError(f"{path} is a folder: for format={kind.name!r}, pass one file")
    if encoding is not None and not kind.is_text:
        raise ValueError(f"encoding={encoding!r} does not apply to {path}, whose format is {kind.name}: leave it out")
    rows = _read(kind, source, {name: given[name] for name in kind.options}, errors)
    _extend_to_graphemes(rows, path)
    if new_labels:
        map_labels(rows, new_labels, path)
    return _to_dataset(rows, path, f": {len(source.wrong)} have errors ({source.errors[0]})" if source.errors else "")


def write_annotations(
    path: StrPath, rows: Dataset | Iterable[Mapping[str, Any]], format: str | None = None, **options: Any
) -> None:
    """Write annotated data or predictions as a file that `read_annotations` reads.

    Args:
        path: The file; for brat a folder, which is created if necessary.
        rows: A data set annotated in any form, or rows with ``tokens`` or ``text``, and ``entities``.
        format: ``conll``, ``jsonl``, ``gliner``, ``csv``, ``inline``, ``brat`` or ``docbin``. Defaults to the file
            extension, which never selects ``gliner`` or ``inline``; a folder, or a path that ends with ``/``, selects
            brat.
        **options: Options of the writer: ``errors`` for all formats, and ``offsets`` for jsonl, see `write_jsonl`;
            ``nlp`` and ``spans_key`` for docbin, see `write_docbin`.

    Raises:
        TypeError: If ``path`` is not a path, or a row has a value of the wrong type.
        ValueError: If the format is unknown, an option does not apply to the format, or a row is invalid or cannot be
            represented in the format.
    """
    check_path(path)
    writable = [other.name for other in FORMATS if other.write is not None]
    kind = _find_format(Path(path), format, is_folder_path(path), writable)
    _check_options(options, ("errors", *kind.write_options), path, kind)
    if kind.write is None:
        raise ValueError(f"{path}: {kind.name} can only be read: pass format= one of {writable}")
    names = dict.fromkeys(getattr(rows, "column_names", getattr(rows, "columns", ())))  # the second of data frames
    kind.write(path, rows if names else _noting(rows, names), **options)
    if kind.keeps is not None and (lost := {*names} - {*_ANNOTATION, *kind.keeps}):
        logger.warning("%s: columns that the format does not support are left out: %s", path, sorted(lost))


def _noting(rows: Iterable[Mapping[str, Any]], names: dict[str, None]) -> Iterator[Mapping[str, Any]]:
    """Yield dicts unchanged, and collect their keys."""
    for row in rows:
        names |= dict.fromkeys(row if isinstance(row, Mapping) else ())
        yield row


def _read(kind: Format, source: SourceFile, options: Mapping[str, Any], errors: OnError) -> list[dict[str, Any]]:
    """Read the rows of a file, and report invalid ones."""
    try:
        rows = kind.read(source, **options)
    except (TypeError, ValueError) as error:
        if errors == "raise":
            report_errors([*source.errors, error], len(source.wrong), errors, str(source))
        raise
    report_errors(source.errors, len(source.wrong), errors, str(source))
    return rows


def recognize_format(head: str) -> Format | None:
    """Detect the format of a text file by its contents.

    Args:
        head: The beginning of the file.

    Returns:
        The format; None if contents do not tell.
    """
    return next((kind for kind in FORMATS if kind.recognizes is not None and kind.recognizes(head)), None)


def _recognize(source: SourceFile) -> Format | None:
    """Detect a format by the contents of a file, unless its extension is that of a format that contents do not show."""
    by_ending = next((kind for kind in FORMATS if source.path.suffix.lower() in kind.endings), None)
    if by_ending is not None and by_ending.recognizes is None:
        return None
    return recognize_format(source.head(HEAD))


def is_folder_path(path: StrPath) -> bool:
    """Tell whether a path is a folder: it exists as one, or ends with a slash."""
    return os.fspath(path).endswith(("/", os.sep)) or Path(path).is_dir()


def _find_format(path: Path, name: str | None, is_folder: bool, names: Sequence[str]) -> Format:
    for kind in FORMATS:
        by_path = kind.is_folder if is_folder else path.suffix.lower() in kind.endings
        if kind.name == name or (name is None and by_path):
            return kind
    if name is not None:
        raise ValueError(f"format={name!r} must be one of {', '.join(names)}")
    raise ValueError(f"the ending of {path} does not tell its format: pass format= one of {', '.join(names)}")


def _check_options(given: Mapping[str, Any], known: Iterable[str], path: StrPath, kind: Format) -> None:
    for name, value in given.items():
        if name not in known:
            raise ValueError(f"{name}={value!r} does not apply to {path}, whose format is {kind.name}: leave it out")


def _extend_to_graphemes(rows: Sequence[dict[str, Any]], path: Path) -> None:
    """Extend entities that begin or end within a grapheme, in place, as all readers of rows do."""
    num_extended = 0
    for row in rows:
        if "text" in row:
            places = [(entity["start"], entity["end"]) for entity in row["entities"]]
            whole = whole_spans(row["text"], places)
            num_extended += sum(map(ne, places, whole))
            row["entities"] = [
                {**entity, "start": start, "end": end}
                for entity, (start, end) in zip(row["entities"], whole, strict=True)
            ]
    if num_extended:
        logger.warning(
            "%s: %d entities begin or end within a character with marks or an emoji, and were extended to all of it",
            path,
            num_extended,
        )


def _to_dataset(rows: Sequence[dict[str, Any]], path: Path, reason: str) -> Dataset:
    """Create a data set from rows that all have words, or all have texts. Missing columns are None."""
    from datasets import Dataset, Features, List, Value  # takes long to import

    if not rows:
        raise ValueError(f"{path} has no annotated rows{reason}")
    kinds = ["tokens" if "tokens" in row else "text" for row in rows]
    other = next((index for index, kind in enumerate(kinds) if kind != kinds[0]), None)
    if other is not None:
        raise ValueError(f"{path}: row {other} has {kinds[other]!r}, but row 0 has {kinds[0]!r}: split the file")
    names = list(dict.fromkeys(name for row in rows for name in row))
    names.sort(key=lambda name: (name == "entities") + 2 * (name == RELATIONS))
    columns = {name: [row.get(name) for row in rows] for name in names}
    features = {
        "tokens": List(Value("string")),
        "text": Value("string"),
        "entities": List({"label": Value("string"), "start": Value("int64"), "end": Value("int64")}),
        RELATIONS: List({"label": Value("string"), "head": Value("int64"), "tail": Value("int64")}),
    }
    for name in columns.keys() - features.keys():
        try:
            features[name] = Dataset.from_dict({name: columns[name]}).features[name]
        except (TypeError, ValueError, OverflowError) as error:
            raise ValueError(
                f"{path}: the values of {name!r} are not all of one type: convert them, or remove {name!r} ({error})"
            ) from error
    return Dataset.from_dict(columns, features=Features({name: features[name] for name in names}))
