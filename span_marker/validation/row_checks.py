"""Find problems within a row, independent of a model."""

from __future__ import annotations

import re
from bisect import bisect_right, insort
from collections.abc import Iterable, Iterator, Sequence
from html import unescape
from html.entities import html5
from typing import Any

from span_marker.core.alignment import trim, trim_entities, trim_words
from span_marker.core.boundaries import is_inside_word, is_unspaced, snap, words_of
from span_marker.core.labels import LabelledSpan
from span_marker.data.label_names import strip_label
from span_marker.data.rows import Row, RowProblem, Unit
from span_marker.validation.report import Problem, RowPlace

QUOTE_LENGTH = 60

_PIECE = re.compile(r"^##\w|\w@@$|\w</w>$|^\u2581|^\[(?:CLS|SEP|PAD|MASK|UNK)\]$|^</?s>$|^<(?:pad|mask|unk)>$")
"""A word of WordPiece, BPE or SentencePiece, or a special token."""

_BYTE_LEVEL = re.compile("\u0120.")
"""A word of byte-level BPE behind a space; also one of Maltese, where few words begin with this letter."""

_ESCAPE = re.compile("& ?(?:#x?[0-9a-fA-F]+|[a-zA-Z]+[0-9]*) ?;")
"""Also one that was split into words."""


class CheckedRow:
    """A row that was read: makes its problems.

    Args:
        place: Where it is.
        row: What was read.
        indices: Index of each of its entities in its list; None for rows with tags.
        written: Start and end of each of its entities as they are written. Those of the row are extended to graphemes.
        listed: Index of each of its relations in its list; None if it says nothing of relations.
    """

    def __init__(
        self,
        place: RowPlace,
        row: Row,
        indices: Sequence[int | None],
        written: Sequence[tuple[int, int]],
        listed: Sequence[int] | None = None,
    ) -> None:
        self.place = place
        self.unit: Unit = row.unit
        self.item = row.content
        self.spans = row.spans
        self.indices = indices
        self.written = written
        self.has_relations = listed is not None
        self.relations = dict(zip(listed or (), row.relations, strict=True))
        self.first_index: dict[LabelledSpan, int | None] = {}
        for span, index in zip(self.spans, indices, strict=True):
            self.first_index.setdefault(span, index)

    def about(self, span: LabelledSpan, kind: str, message: str, **details: Any) -> Problem:
        """A problem of an entity; of the first of equal ones, unless ``entity`` says which."""
        details = {"entity": self.first_index.get(span), **details}
        message = f"{self.name(span)} {message}"
        return self.place.problem(kind, message, start=span.start, end=span.end, label=span.label, **details)

    def as_written(self, problems: Iterable[RowProblem]) -> list[tuple[int | None, str, int, int]]:
        """List index, label, start and end of each entity, as they are written.

        Args:
            problems: The problems of the row, the malformed entities among them.

        Returns:
            The entities, with those malformed ones that have a label, a start and an end.
        """
        entities = [
            (index, span.label, *bounds)
            for index, span, bounds in zip(self.indices, self.spans, self.written, strict=True)
        ]
        for problem in problems:
            _, _, start, end, label, index, _ = problem
            if problem.kind == "malformed-entity" and start is not None and end is not None and label is not None:
                entities.append((index, label, start, end))
        return entities

    def name(self, span: LabelledSpan) -> str:
        """An entity in messages."""
        label, start, end = span
        return f"{label!r} from {self.unit} {start} to {end} ({self.quote(start, end)})"

    def quote(self, start: int, end: int) -> str:
        """A fragment of the row, shortened."""
        text = self.item[start:end] if isinstance(self.item, str) else " ".join(self.item[start:end])
        return repr(text if len(text) <= QUOTE_LENGTH else text[: QUOTE_LENGTH - 3] + "...")


def entity_problems(row: CheckedRow) -> Iterator[Problem]:
    """Look at each entity alone."""
    for span, index, written in zip(row.spans, row.indices, row.written, strict=True):
        label = strip_label(span.label)
        if label != span.label:
            message = f"has a label with white space or invisible characters at an edge: is {label!r} meant?"
            yield row.about(span, "label-space", message, entity=index, new_label=label)
        if written != span[1:]:
            message = f"is written from {written[0]} to {written[1]}, inside a character of several code points"
            yield row.about(span, "partial-grapheme", message, entity=index, replacement=(span.start, span.end))
        parts = row.item[span.start : span.end]
        if is_blank(parts):
            yield row.about(span, "blank-entity", "is white space only", entity=index)
        elif not parts[0].strip() or not parts[-1].strip():
            stripped = _strip(row.item, span)
            message = "has white space at an edge"
            yield row.about(span, "outer-whitespace", message, entity=index, replacement=stripped)


def _strip(item: Any, span: LabelledSpan) -> tuple[int, int]:
    """The range of an entity without white space at its edges."""
    if isinstance(item, str):
        return trim(item, span.start, span.end, keep_marks=True)
    blank = {place: True for place in range(span.start, span.end) if not item[place].strip()}
    return trim_words(span.start, span.end, blank)


def word_problems(row: CheckedRow) -> Iterator[Problem]:
    """Look for words and characters that were made for another program: pieces of a tokenizer, escapes of HTML."""
    is_text = isinstance(row.item, str)
    if not is_text and (pieces := _pieces(row.item)):
        yield row.place.problem("word-piece", f"{pieces[0]!r} is a piece of a word (pieces: {len(pieces)})")
    found = (match[0].replace(" ", "") for match in _ESCAPE.finditer(row.item if is_text else " ".join(row.item)))
    escapes = [escape for escape in found if escape[1] == "#" or escape[1:] in html5]
    if escapes:
        message = f"{escapes[0]!r} stands for {unescape(escapes[0])!r} (escapes of HTML: {len(escapes)})"
        yield row.place.problem("html-escape", message)


def _pieces(words: Sequence[str]) -> list[str]:
    """Words that look like pieces: by marks that nobody writes, or by letters that too many words begin with."""
    pieces = [word for word in words if _PIECE.search(word)]
    byte_level = [word for word in words[1:] if _BYTE_LEVEL.match(word)]
    return pieces or (byte_level if 2 * len(byte_level) >= len(words) > 1 else [])


def overlap_problems(row: CheckedRow, multi_label: bool) -> Iterator[Problem]:
    """Compare each entity with those before it. Each problem names one other entity."""
    first: dict[tuple[int, int], LabelledSpan] = {}
    listed: set[LabelledSpan] = set()
    for index, listed_span in zip(row.indices, row.spans, strict=True):
        (span,) = trim_entities([listed_span], row.item)
        row.first_index.setdefault(span, index)
        other = first.setdefault((span.start, span.end), span)
        if span in listed:
            yield row.about(span, "repeated-entity", "is listed twice", entity=index)
        elif other.label != span.label and not multi_label:
            yield row.about(span, "same-span-labels", f"is {other.label!r} too")
        listed.add(span)
    longest: LabelledSpan | None = None  # the one that ends last, of all that begin earlier or are longer
    ends: list[tuple[int, LabelledSpan]] = []
    for span in sorted(first.values(), key=lambda span: (span.start, -span.end)):
        if longest is not None and span.end <= longest.end:
            yield row.about(span, "nested", f"is inside {row.name(longest)}")
        else:
            longest = span
        next_end = bisect_right(ends, span.start, key=lambda end: end[0])
        if next_end < len(ends) and ends[next_end][0] < span.end:
            yield row.about(span, "crossing", f"crosses {row.name(ends[next_end][1])}")
        insort(ends, (span.end, span), key=lambda end: end[0])


def is_blank(parts: Sequence[str]) -> bool:
    """Whether words or characters are white space only."""
    return all(part.isspace() or not part for part in parts)


def partial_words(row: CheckedRow) -> Iterator[Problem]:
    """Find the entities of a text that begin or end inside a word, without a model."""
    for span in row.spans:
        edges = trim(row.item, span.start, span.end)
        inside = [place for place in edges if is_inside_word(row.item, place)]
        unspaced = [place for place in inside if is_unspaced(row.item, place)]
        if len(unspaced) < len(inside):
            snapped = None if unspaced else snap(*edges, words_of(row.item))
            yield row.about(span, "partial-word", "begins or ends inside a word", replacement=snapped)
        elif unspaced:
            message = "begins or ends between letters that have no space between words"
            yield row.about(span, "unspaced-word", message)
