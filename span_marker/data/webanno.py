"""WebAnno TSV 3, the format of WebAnno and INCEpTION: one line per token, with the annotations of each layer.

``PER[7]`` on several tokens is one entity; the number also tells entities of the same token apart. Offsets count UTF-16
units from the beginning of the document.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Any, NamedTuple

from span_marker.data.rows import check_entity
from span_marker.data.text_files import SourceFile

logger = logging.getLogger(__name__)

_FORMAT = "#FORMAT=WebAnno TSV 3"
_LAYER, _RELATIONS, _CHAINS, _TEXT = "#T_SP=", "#T_RL=", "#T_CH=", "#Text="
_TOKEN = re.compile(r"\d+-\d+(\.\d+)?\t")
_VALUE = re.compile(r"((?:[^\\\[\]|]|\\.)+)(?:\[(\d+)\])?", re.DOTALL)
_ESCAPED = re.compile(r"\\(->|.)", re.DOTALL)
_CONTROLS = {"n": "\n", "t": "\t", "r": "\r"}


class _Token(NamedTuple):
    number: int  # of the line
    start: int
    end: int
    form: str
    value: str


class _Sentence(NamedTuple):
    lines: list[str]
    tokens: list[_Token]


class _Column(NamedTuple):
    layer: str
    feature: str
    cell: int

    @property
    def name(self) -> str:
        return f"{self.layer.rsplit('.', 1)[-1]}|{self.feature}"


def is_webanno(head: str) -> bool:
    """Tell whether a file is of this format, by its first line."""
    return head.lstrip("\ufeff").startswith(_FORMAT)


def read_webanno(path: SourceFile, layer: str | None = None) -> list[dict[str, Any]]:
    """Read a file.

    Args:
        path: The file. It collects the errors of sentences.
        layer: The layer and the feature that has the labels, such as ``NamedEntity|value``. Defaults to that, or else
            to the only feature of the only layer of spans.

    Returns:
        Rows with entities: one per sentence, with its text.

    Raises:
        ValueError: If the version is another, or it is open which layer to read.
    """
    lines = path.text().split("\n")
    if not is_webanno(lines[0]):
        raise ValueError(f"{path}, line 1: {lines[0]!r:.100} is not {_FORMAT!r}: export it as WebAnno TSV v3.x")
    column = _pick_column(_columns(lines), layer, path)
    without: list[int] = []
    rows = []
    for row, numbered in enumerate(_sentences(lines)):
        with path.row():
            sentence = _read_sentence(numbered, column, (path, row))
            text, places = _align(sentence, f"{path}, line {sentence.tokens[0].number}, row {row}")
            rows.append({"text": text, "entities": _entities(sentence, text, places, (path, row), without)})
    if without:
        logger.warning(
            "%s: %d entities without a value of %s are left out: lines %s", path, len(without), column.name, without[:5]
        )
    _warn_of_relations(lines, path)
    return rows


def _warn_of_relations(lines: Sequence[str], path: SourceFile) -> None:
    columns = _columns(lines, _RELATIONS)
    places = {column.cell for column in columns}
    numbers = [
        number
        for number, line in enumerate(lines, start=1)
        if places and _TOKEN.match(line) and any(c != "_" for i, c in enumerate(line.split("\t")) if i in places and c)
    ]
    if numbers:
        layers = sorted({column.layer.rsplit(".", 1)[-1] for column in columns})
        logger.warning("%s: relations of the layers %s are not read: lines %s", path, layers, numbers[:5])


def _columns(lines: Sequence[str], kind: str = _LAYER) -> list[_Column]:
    """The columns of layers of a kind, by default of spans. Other layers have columns, too, and may stand before them.

    A layer without features has one column; each slot of a relation has one, too.
    """
    columns, index = [], 3
    for line in lines:
        if line.startswith((_LAYER, _RELATIONS, _CHAINS)):
            layer, *features = line.partition("=")[2].split("|")
            features = features or [""]
            if line.startswith(kind):
                columns += [_Column(layer, feature, index + place) for place, feature in enumerate(features)]
            index += len(features)
        elif line.startswith(_TEXT):
            break
    return columns


def _pick_column(columns: Sequence[_Column], layer: str | None, path: SourceFile) -> _Column:
    wanted = layer or "NamedEntity|value"
    found = [column for column in columns if wanted in (column.name, f"{column.layer}|{column.feature}")]
    if layer is None and not found:
        found = list(columns)
    if len(found) != 1:
        names = [column.name for column in columns]
        subject = f"layer={layer!r} is not one of" if layer else "it is unclear which layer has the entities; there are"
        raise ValueError(f"{path}: {subject} {names}: pass layer= with one of them")
    return found[0]


def _sentences(lines: Sequence[str]) -> Iterator[list[tuple[int, str]]]:
    """The lines between two blank ones, with their numbers. The header and a text without tokens are no sentences."""
    for has_lines, numbered in groupby(enumerate(lines, start=1), key=lambda line: bool(line[1].strip())):
        sentence = list(numbered)
        if has_lines and not all(line.startswith("#") for _, line in sentence):
            yield sentence


def _read_sentence(numbered: Sequence[tuple[int, str]], column: _Column, place: tuple[SourceFile, int]) -> _Sentence:
    path, row = place
    sentence = _Sentence([], [])
    for number, line in numbered:
        location = f"{path}, line {number}, row {row}"
        if _TOKEN.match(line):
            cells = line.split("\t")
            bounds = re.fullmatch(r"(\d+)-(\d+)", cells[1])
            if len(cells) <= column.cell or bounds is None:
                raise ValueError(f"{location}: {line!r:.200} has no {column.name} or no offsets")
            if not sentence.lines:
                raise ValueError(f"{location}: there is no {_TEXT!r} above the first token of the sentence")
            sentence.tokens.append(_Token(number, int(bounds[1]), int(bounds[2]), cells[2], cells[column.cell]))
        elif line.startswith(_TEXT) and not sentence.tokens:
            sentence.lines.append(line.removeprefix(_TEXT))
        elif not line.startswith("#"):
            raise ValueError(f"{location}: {line!r:.200} is neither a token nor a comment")
    return sentence


def _unescape(text: str) -> str:
    return _ESCAPED.sub(lambda match: _CONTROLS.get(match[1], match[1]), text)


def _align(sentence: _Sentence, location: str) -> tuple[str, list[tuple[int, int]]]:
    """The text of a sentence, and the characters of its tokens.

    Versions differ in whether the text is escaped, and other tools count characters: what fits all tokens is right.
    """
    raw = "\n".join(sentence.lines)
    forms = [{token.form, _unescape(token.form)} for token in sentence.tokens]
    for text in dict.fromkeys((raw, _unescape(raw))):
        first = min((place for form in forms[0] if (place := text.find(form)) >= 0), default=-1)
        if first < 0:
            continue
        for starts in (_units(text), list(range(len(text) + 1))):
            base = sentence.tokens[0].start - starts[first]
            by_unit = {unit: place for place, unit in enumerate(starts)}
            places = [(by_unit.get(token.start - base), by_unit.get(token.end - base)) for token in sentence.tokens]
            spans = [(start, end) for start, end in places if start is not None and end is not None]
            if len(spans) == len(forms) and all(text[slice(*s)] in form for s, form in zip(spans, forms, strict=True)):
                return text, spans
    raise ValueError(f"{location}: the offsets of the tokens do not fit the text {raw!r:.100}")


def _units(text: str) -> list[int]:
    """The UTF-16 unit that each character begins at, and the one after the last."""
    starts = [0]
    for character in text:
        starts.append(starts[-1] + (2 if ord(character) > 0xFFFF else 1))
    return starts


def _entities(
    sentence: _Sentence, text: str, places: Sequence[tuple[int, int]], place: tuple[SourceFile, int], without: list[int]
) -> list[dict[str, Any]]:
    """Read the entities of a sentence, and note the lines of those without a value."""
    path, row = place
    spans: dict[tuple[Any, str], tuple[int, int, int]] = {}
    for index, (token, (start, end)) in enumerate(zip(sentence.tokens, places, strict=True)):
        if token.value == "_":
            continue
        position = 0
        while position < len(token.value):
            match = _VALUE.match(token.value, position)
            if match is None or (match.end() < len(token.value) and token.value[match.end()] != "|"):
                location = f"{path}, line {token.number}, row {row}"
                raise ValueError(f"{location}: {token.value!r} is not of the form LABEL or LABEL[1]|LABEL[2]")
            position = match.end() + 1
            key = (int(match[2]), match[1]) if match[2] else (f"token {index}", match[1])
            first, last, number = spans.get(key, (start, end, token.number))
            spans[key] = first, max(last, end), number
    entities = []
    for (_, label), (start, end, number) in spans.items():
        if label == "*":
            without.append(number)
            continue
        entity = {"label": _unescape(label), "start": start, "end": end}
        location = f"{path}, line {number}, row {row}"
        entities.append(check_entity(entity, len(text), "characters", location).to_dict())
    return entities
