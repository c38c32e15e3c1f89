"""Checks annotated data before training: errors, losses, and what is worth knowing.

`validate` reads every row and never stops at a bad one. Each kind of problem has a severity: an *error* would stop
training, a *loss* is an entity that cannot be trained on or predicted, and a *note* has no effect on training.
"""

from __future__ import annotations

from bisect import bisect_right, insort
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np

from span_marker.configuration import AUTO
from span_marker.core.alignment import align, trim, trim_entities
from span_marker.core.labels import LabelledSpan, complete_tags
from span_marker.core.notation import read_notation
from span_marker.core.spans import IntArray
from span_marker.data.columns import (
    ROWS_AT_A_TIME,
    RowReader,
    annotation_form,
    named_splits,
    read_columns,
    string_tags,
    tag_names,
)
from span_marker.data.rows import Row, Unit
from span_marker.modeling import SpanMarkerModel, without_adapter
from span_marker.preprocessing.inputs import document_columns
from span_marker.preprocessing.tokenizer import NO_TOKEN, EncodedSentence
from span_marker.validation.report import Problem, ValidationReport

if TYPE_CHECKING:
    from datasets import Dataset

QUOTE_LENGTH = 60


class _Row:
    """A row that was read: makes its problems.

    Args:
        split: Name of its data set.
        index: Its number.
        row: What was read.
    """

    def __init__(self, split: str, index: int, row: Row) -> None:
        self.location = f"row {index} of the {split} data"
        self.unit: Unit = row.unit
        self.item = row.content
        self.spans = row.spans
        self._problem = partial(Problem, split=split, row=index, unit=self.unit)

    def problem(self, kind: str, message: str, **place: Any) -> Problem:
        """A problem of the row."""
        return self._problem(kind, f"{self.location}: {message}", **place)

    def about(self, span: LabelledSpan, kind: str, message: str) -> Problem:
        """A problem of an entity."""
        return self.problem(kind, f"{self.name(span)} {message}", start=span.start, end=span.end, label=span.label)

    def name(self, span: LabelledSpan) -> str:
        """An entity in messages."""
        label, start, end = span
        return f"{label!r} from {self.unit} {start} to {end} ({self.quote(start, end)})"

    def quote(self, start: int, end: int) -> str:
        """A fragment of the row, shortened."""
        text = self.item[start:end] if isinstance(self.item, str) else " ".join(self.item[start:end])
        return repr(text if len(text) <= QUOTE_LENGTH else text[: QUOTE_LENGTH - 3] + "...")


def validate(data: Any, model: SpanMarkerModel | None = None) -> ValidationReport:
    """Check annotated data. Bad rows are reported and do not raise errors.

    Args:
        data: A `Dataset` or a dict of several, with the columns ``tokens`` and ``entities``, ``text`` and ``entities``,
            or ``tokens`` and ``ner_tags``.
        model: The model to train or to evaluate. With it, words are those of its tokenizer, and labels and limits are
            checked. Without a model, word boundaries are taken from the text: a boundary lies between two characters
            unless both are alphanumeric.

    Returns:
        The report. Each problem refers to one other entity or sentence: an entity inside several longer ones is
        *nested* once, one that crosses several is *crossing* once, and a sentence that occurs three times is reported
        twice.

    Raises:
        TypeError: If ``data`` is not annotated data.
        ValueError: If the columns are not those of annotated data, or tags are integers whose names neither a
            ``ClassLabel`` nor a model has.

    Example:
        >>> from datasets import Dataset
        >>> rows = [{"text": "Ann went", "entities": [{"label": "PER", "start": 0, "end": 5}]}]
        >>> report = validate(Dataset.from_list(rows))
        >>> report.is_clean, report.problems[0].message
        (False, "row 0 of the annotated data: 'PER' from characters 0 to 5 ('Ann w') begins or ends inside a word")
    """
    model = None if model is None else without_adapter(model)
    datasets = named_splits(data)
    problems: list[Problem] = []
    num_entities = 0
    seen: dict[Any, str] = {}
    for dataset, reader in zip(datasets.values(), _readers(datasets, model), strict=True):
        document_columns(dataset)
        seen_here: dict[Any, str] = {}
        numbered = enumerate(read_columns(dataset, reader.columns))
        while batch := list(islice(numbered, ROWS_AT_A_TIME)):
            rows, found = _read(batch, reader)
            problems += found
            num_entities += sum(len(row.spans) for row in rows)
            for row, sentence in zip(rows, _encode([row.item for row in rows], model), strict=True):
                problems += _sentence_problems(row, seen, seen_here)
                problems += _entity_problems(row)
                problems += _overlap_problems(row, model is not None and model.config.multi_label)
                if model is not None and sentence is not None:
                    problems += _model_problems(row, sentence, model)
                elif row.unit == "characters":
                    problems += _partial_words(row)
        seen = {**seen_here, **seen}
    order = {split: index for index, split in enumerate(datasets)}
    problems.sort(key=lambda problem: (order[problem.split], problem.row))
    return ValidationReport(tuple(problems), {name: len(dataset) for name, dataset in datasets.items()}, num_entities)


def _readers(datasets: dict[str, Dataset], model: SpanMarkerModel | None) -> list[RowReader]:
    """The readers of all splits. Without a model, string tags may be those of any split."""
    if model is not None:
        tags, classes = model.config.tags, model.config.classes
        return [RowReader.from_dataset(dataset, split, tags, classes) for split, dataset in datasets.items()]
    unnamed = {
        split: dataset
        for split, dataset in datasets.items()
        if annotation_form(dataset, split) == "tags" and tag_names(dataset) is None
    }
    written = set[str]().union(*(string_tags(dataset, split) for split, dataset in unnamed.items()))
    notation = read_notation(sorted(written))
    tags = complete_tags(notation.renamed.values())
    return [
        RowReader.from_dataset(dataset, split, tags, notation=notation)
        if split in unnamed
        else RowReader.from_dataset(dataset, split)
        for split, dataset in datasets.items()
    ]


def _read(batch: Iterable[tuple[int, tuple[Any, ...]]], reader: RowReader) -> tuple[list[_Row], list[Problem]]:
    """Read rows with the entities that can be read; and what is wrong with them."""
    rows, problems = [], []
    for index, values in batch:
        row, found = reader.examine(index, *values)
        if row is not None:
            rows.append(_Row(reader.dataset_name, index, row))
        problems += [
            Problem(kind, str(error), reader.dataset_name, index, reader.unit, start, end, label)
            for kind, error, start, end, label in found
        ]
    return rows, problems


def _encode(items: list[Any], model: SpanMarkerModel | None) -> Sequence[EncodedSentence | None]:
    if model is None or not items:
        return [None] * len(items)
    tokenizer = model.require_tokenizer()
    return tokenizer.encode_texts(items) if isinstance(items[0], str) else tokenizer.encode_words(items)


def _sentence_problems(row: _Row, seen: dict[Any, str], seen_here: dict[Any, str]) -> Iterator[Problem]:
    """Look for the sentence in other splits and in its own."""
    if _is_blank(row.item):
        yield row.problem("empty-row", "there are no words")
        return
    sentence = row.item if isinstance(row.item, str) else tuple(row.item)
    for kind, others in (("shared-sentence", seen), ("repeated-sentence", seen_here)):
        if sentence in others:
            yield row.problem(kind, f"{row.quote(0, len(row.item))} is also {others[sentence]}")
    seen_here.setdefault(sentence, row.location)


def _entity_problems(row: _Row) -> Iterator[Problem]:
    for span in row.spans:
        parts = row.item[span.start : span.end]
        if _is_blank(parts):
            yield row.about(span, "blank-entity", "is white space only")
        elif not parts[0].strip() or not parts[-1].strip():
            yield row.about(span, "outer-whitespace", "has white space at an edge")


def _overlap_problems(row: _Row, multi_label: bool) -> Iterator[Problem]:
    """Compare each entity with those before it. Each problem names one other entity."""
    first: dict[tuple[int, int], LabelledSpan] = {}
    listed: set[LabelledSpan] = set()
    for span in (trimmed for listed_span in row.spans for trimmed in trim_entities([listed_span], row.item)):
        other = first.setdefault((span.start, span.end), span)
        if span in listed:
            yield row.about(span, "repeated-entity", "is listed twice")
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


def _is_blank(parts: Sequence[str]) -> bool:
    """Whether words or characters are white space only."""
    return all(part.isspace() or not part for part in parts)


def _partial_words(row: _Row) -> Iterator[Problem]:
    for span in row.spans:
        edges = trim(row.item, span.start, span.end)
        if any(0 < place < len(row.item) and row.item[place - 1 : place + 1].isalnum() for place in edges):
            yield row.about(span, "partial-word", "begins or ends inside a word")


def _model_problems(row: _Row, sentence: EncodedSentence, model: SpanMarkerModel) -> Iterator[Problem]:
    """Compare a row with the limits and the words of a model."""
    config, tokenizer, spans = model.config, model.require_tokenizer(), row.spans
    if sentence.char_starts is not None and sentence.char_ends is not None:
        words, others = align(spans, row.item, sentence.char_starts, sentence.char_ends)
    else:
        words = [span for span in spans if span.end <= sentence.num_words]
        others = [span for span in spans if span.end > sentence.num_words]
    partial_words = set(others)
    aligned = [span for span in spans if span not in partial_words]
    for span, (_, start, end) in zip(aligned, words, strict=True):
        if config.entity_max_length != AUTO and end - start > config.limit("entity_max_length"):
            message = f"has {end - start} words, more than entity_max_length={config.entity_max_length}"
            yield row.about(span, "too-long", message)
    starts, ends = _covered(sentence)
    for span in others:
        if _is_blank(row.item[span.start : span.end]):
            continue
        if isinstance(row.item, str) and np.any((starts < span.end) & (ends > span.start)):
            message = "begins or ends inside a word of the tokenizer, or where it has no token"
            yield row.about(span, "partial-word", message)
        else:
            yield row.about(span, "entity-without-token", "ends in words for which the tokenizer has no token")
    num_tokens = len(sentence.input_ids) + tokenizer.num_special_tokens
    if config.model_max_length != AUTO and num_tokens > model.max_text_length:
        message = f"{num_tokens} tokens are more than the text limit, {model.max_text_length} (model_max_length)"
        yield row.problem("long-text", message)
    depth = np.bincount(starts, minlength=len(row.item) + 1) - np.bincount(ends, minlength=len(row.item) + 1)
    places = np.flatnonzero(np.cumsum(depth)[:-1] == 0).tolist()
    if row.unit == "characters":
        places = [place for place in places if not row.item[place].isspace()]
    if places:
        first = places[0]
        message = f"there is no token for {len(places)} {row.unit}, such as {row.quote(first, first + 1)} at {first}"
        yield row.problem("word-without-token", message, start=first, end=first + 1)


def _covered(sentence: EncodedSentence) -> tuple[IntArray, IntArray]:
    """First and last position of each word that has tokens, in the unit of the row; ends are exclusive."""
    has_token = sentence.word_starts != NO_TOKEN
    if sentence.char_starts is None or sentence.char_ends is None:
        words = np.flatnonzero(has_token)
        return words, words + 1
    return sentence.char_starts[has_token], sentence.char_ends[has_token]
