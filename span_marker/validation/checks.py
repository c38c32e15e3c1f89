"""Checks annotated data before training: errors, losses, doubts, and what is worth knowing.

`validate` reads every row once and never stops at a bad one. What is wrong with a row alone is found here;
`span_marker.validation.consistency` compares all rows. `span_marker.validation.report` says how severe each kind of
problem is.
"""

from __future__ import annotations

import re
from bisect import bisect_right, insort
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import numpy as np

from span_marker.configuration import AUTO
from span_marker.core.alignment import align, trim, trim_entities, trim_words
from span_marker.core.graphemes import place_words
from span_marker.core.labels import LabelledSpan, complete_tags
from span_marker.core.notation import read_labels, read_notation
from span_marker.core.spans import IntArray
from span_marker.core.surrogates import readable
from span_marker.core.word_splitters import OWN_SPLITS, splitter_name
from span_marker.core.words import has_icu
from span_marker.data.columns import (
    ROWS_AT_A_TIME,
    RowReader,
    annotation_form,
    read_columns,
    string_tags,
    tag_names,
)
from span_marker.data.rows import Row, RowProblem, Unit
from span_marker.modeling import SpanMarkerModel, without_adapter
from span_marker.preprocessing.features import DatasetSummary
from span_marker.preprocessing.inputs import Sentences, document_columns
from span_marker.preprocessing.pieces import tokenize
from span_marker.preprocessing.tokenizer import NO_TOKEN, EncodedSentence
from span_marker.validation.consistency import Mentions
from span_marker.validation.fixes import snap
from span_marker.validation.inputs import read_splits
from span_marker.validation.overlaps import count_row, decoding_in_force, weigh_overlaps
from span_marker.validation.report import Problem, RowPlace, ValidationReport

if TYPE_CHECKING:
    from datasets import Dataset

QUOTE_LENGTH = 60

WORDS = re.compile(r"[^\W_]+|[^\w\s]|_")
"""The words of a text without a model: letters and digits in a row, and each other character that is no white space."""


class _Seen(NamedTuple):
    """Where a sentence occurs first, and its entities there."""

    place: RowPlace
    spans: frozenset[LabelledSpan]


_AllSeen: TypeAlias = "dict[Any, _Seen]"


class _Row:
    """A row that was read: makes its problems.

    Args:
        place: Where it is.
        row: What was read.
        indices: Index of each of its entities in its list; None for rows with tags.
    """

    def __init__(self, place: RowPlace, row: Row, indices: Sequence[int | None]) -> None:
        self.place = place
        self.unit: Unit = row.unit
        self.item = row.content
        self.spans = row.spans
        self.indices = indices
        self.first_index: dict[LabelledSpan, int | None] = {}
        for span, index in zip(self.spans, indices, strict=True):
            self.first_index.setdefault(span, index)

    def about(self, span: LabelledSpan, kind: str, message: str, **details: Any) -> Problem:
        """A problem of an entity; of the first of equal ones, unless ``entity`` says which."""
        details = {"entity": self.first_index.get(span), **details}
        message = f"{self.name(span)} {message}"
        return self.place.problem(kind, message, start=span.start, end=span.end, label=span.label, **details)

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
        data: A `Dataset`, a list of dicts or a DataFrame, with the columns ``tokens`` and ``entities``, ``text`` and
            ``entities``, or ``tokens`` and ``ner_tags``, and perhaps ``id``; a path that `read_annotations` reads; or a
            dict of several, the training data first.
        model: The model to train or to evaluate. With it, words are those of its ``word_splitter``, labels and limits
            are checked, and the report says which other ``word_splitter`` would cut fewer entities of texts. Without a
            model, word boundaries are taken from the text: a boundary lies between two characters unless both are
            alphanumeric.

    Returns:
        The report. Each problem refers to one other entity or sentence: an entity inside several longer ones is
        *nested* once, one that crosses several is *crossing* once, and a sentence that occurs three times is reported
        twice.

    Raises:
        TypeError: If ``data`` is not annotated data.
        ValueError: If the columns are not those of annotated data, tags are integers whose names neither a
            ``ClassLabel`` nor a model has, or a file is broken.

    Example:
        >>> from datasets import Dataset
        >>> rows = [{"text": "Ann went", "entities": [{"label": "PER", "start": 0, "end": 5}]}]
        >>> report = validate(Dataset.from_list(rows))
        >>> report.is_clean, report.problems[0].kind, report.problems[0].entity
        (False, 'partial-word', 0)
        >>> print(report.problems[0].message)
        row 0 of the annotated data, entity 0: 'PER' from characters 0 to 5 ('Ann w') begins or ends inside a word
    """
    model = None if model is None else without_adapter(model)
    datasets = read_splits(data)
    problems: list[Problem] = []
    num_entities = 0
    seen: _AllSeen = {}
    word_cuts: Counter[str] = Counter()
    mentions, overlaps = Mentions(), DatasetSummary()
    for dataset, reader in zip(datasets.values(), _readers(datasets, model), strict=True):
        document_columns(dataset)
        problems += _name_problems(dataset, reader) if model is None else ()
        seen_here: _AllSeen = {}
        names = (*reader.columns, *({"id"} & set(dataset.column_names)))
        numbered = enumerate(read_columns(dataset, names))
        while batch := list(islice(numbered, ROWS_AT_A_TIME)):
            rows, found = _read(batch, reader)
            problems += found
            num_entities += sum(len(row.spans) for row in rows)
            for row, sentence in zip(rows, _encode([row.item for row in rows], model), strict=True):
                mentions.add(row.place, row.item, row.first_index)
                if not seen:  # as training does, which may set decoding
                    count_row(overlaps, row.first_index)
                problems += _row_problems(row, sentence, model, seen, seen_here)
                if model is not None and sentence is not None:
                    word_cuts.update(_count_cuts(row, sentence, model))
        seen = {**seen_here, **seen}
    problems = [*weigh_overlaps(problems, decoding_in_force(model, overlaps)), *mentions.problems()]
    order = {split: index for index, split in enumerate(datasets)}
    problems.sort(key=lambda problem: (order[problem.split], problem.row))
    num_rows = {name: len(dataset) for name, dataset in datasets.items()}
    return ValidationReport(tuple(problems), num_rows, num_entities, dict(word_cuts))


def _row_problems(
    row: _Row, sentence: EncodedSentence | None, model: SpanMarkerModel | None, seen: _AllSeen, seen_here: _AllSeen
) -> Iterator[Problem]:
    """Everything that is wrong with a row that was read."""
    yield from _sentence_problems(row, seen, seen_here)
    yield from _entity_problems(row)
    yield from _overlap_problems(row, model is not None and model.config.multi_label)
    if model is not None and sentence is not None:
        yield from _model_problems(row, sentence, model)
    elif row.unit == "characters":
        yield from _partial_words(row)


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
        RowReader.from_dataset(dataset, split, tags, notation=lambda: notation)
        if split in unnamed
        else RowReader.from_dataset(dataset, split)
        for split, dataset in datasets.items()
    ]


def _name_problems(dataset: Dataset, reader: RowReader) -> Iterator[Problem]:
    """Read the names of integer tags as a new model would, whether rows have these tags or not."""
    names = tag_names(dataset) if reader.form == "tags" else None
    try:
        if names is not None:
            read_labels(names, f"the names of 'ner_tags' in the {reader.dataset_name} data")
    except ValueError as error:
        yield Problem("tag-names", str(error), reader.dataset_name, row=0, unit=reader.unit)


def _read(batch: Iterable[tuple[int, tuple[Any, ...]]], reader: RowReader) -> tuple[list[_Row], list[Problem]]:
    """Read rows with the entities that can be read; and what is wrong with them."""
    rows, problems = [], []
    for index, (content, annotation, *ids) in batch:
        place = RowPlace(reader.dataset_name, index, reader.unit, *ids)
        row, found = reader.examine(index, content, annotation)
        indices = [] if row is None else _entity_indices(row, found, reader.form == "tags")
        if row is not None:
            rows.append(_Row(place, row, indices))
        for kind, error, start, end, label, entity in found:
            message = str(error).removeprefix(f"{reader.location(index)}: ")
            if reader.form == "tags":
                entity = None
            elif kind == "unknown-label" and entity is not None:
                entity = indices[entity]
            problems.append(place.problem(kind, message, entity, start=start, end=end, label=label))
    return rows, problems


def _entity_indices(row: Row, problems: Iterable[RowProblem], has_tags: bool) -> list[int | None]:
    """The index of each entity that was read in the list of its row; None if the row has tags instead."""
    if has_tags:
        return [None] * len(row.entities)
    malformed = {problem.entity for problem in problems if problem.kind == "malformed-entity"}
    return [index for index in range(len(row.entities) + len(malformed)) if index not in malformed]


def _encode(items: list[Any], model: SpanMarkerModel | None) -> Sequence[EncodedSentence | None]:
    if model is None or not items:
        return [None] * len(items)
    sentences = Sentences(items, are_texts=isinstance(items[0], str))
    return tokenize(sentences, model.require_tokenizer(), model.config.split)


def _count_cuts(row: _Row, sentence: EncodedSentence, model: SpanMarkerModel) -> dict[str, int]:
    """Count the entities of a text that begin or end inside a word, with the model's words and with other ones."""
    if not row.spans or not isinstance(row.item, str) or sentence.char_starts is None or sentence.char_ends is None:
        return {}
    words = {splitter_name(model.config.word_splitter): (sentence.char_starts, sentence.char_ends)}
    for name, split in OWN_SPLITS.items():
        if name not in words and (name != "icu" or has_icu()):
            text = readable(row.item)
            starts, ends = np.array([p for _, p in place_words(text, split(text))], dtype=np.int64).reshape(-1, 2).T
            words[name] = starts, ends
    return {name: len(align(row.spans, row.item, *places)[1]) for name, places in words.items()}


def _sentence_problems(row: _Row, seen: _AllSeen, seen_here: _AllSeen) -> Iterator[Problem]:
    """Look for the sentence in other splits and in its own."""
    if _is_blank(row.item):
        yield row.place.problem("empty-row", "there are no words")
        return
    sentence = row.item if isinstance(row.item, str) else tuple(row.item)
    here = _Seen(row.place, frozenset(trim_entities(row.spans, row.item)))
    quote = row.quote(0, len(row.item))
    for kind, others in (("shared-sentence", seen), ("repeated-sentence", seen_here)):
        if sentence in others:
            yield row.place.problem(kind, f"{quote} is also {others[sentence].place}")
    first_here = seen_here.setdefault(sentence, here)
    first = seen.get(sentence, first_here)
    if first.spans != here.spans:
        only_there, only_here = len(first.spans - here.spans), len(here.spans - first.spans)
        message = (
            f"{quote} is annotated in another way in {first.place} (entities only there: {only_there}, only here: "
            f"{only_here})"
        )
        yield row.place.problem("conflicting-sentence", message)


def _entity_problems(row: _Row) -> Iterator[Problem]:
    for span, index in zip(row.spans, row.indices, strict=True):
        parts = row.item[span.start : span.end]
        if _is_blank(parts):
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


def _overlap_problems(row: _Row, multi_label: bool) -> Iterator[Problem]:
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


def _is_blank(parts: Sequence[str]) -> bool:
    """Whether words or characters are white space only."""
    return all(part.isspace() or not part for part in parts)


def _partial_words(row: _Row) -> Iterator[Problem]:
    for span in row.spans:
        edges = trim(row.item, span.start, span.end)
        if any(0 < place < len(row.item) and row.item[place - 1 : place + 1].isalnum() for place in edges):
            snapped = snap(*edges, (word.span() for word in WORDS.finditer(row.item)))
            yield row.about(span, "partial-word", "begins or ends inside a word", replacement=snapped)


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
            message = "begins or ends inside a word, or where the tokenizer has no token"
            bounds = (trim(row.item, *word) for word in zip(starts.tolist(), ends.tolist(), strict=True))
            snapped = snap(*trim(row.item, span.start, span.end), bounds)
            yield row.about(span, "partial-word", message, replacement=snapped)
        else:
            yield row.about(span, "entity-without-token", "ends in words for which the tokenizer has no token")
    num_tokens = len(sentence.input_ids) + tokenizer.num_special_tokens
    if config.model_max_length != AUTO and num_tokens > model.max_text_length:
        message = f"{num_tokens} tokens are more than the text limit, {model.max_text_length} (model_max_length)"
        yield row.place.problem("long-text", message)
    depth = np.bincount(starts, minlength=len(row.item) + 1) - np.bincount(ends, minlength=len(row.item) + 1)
    places = np.flatnonzero(np.cumsum(depth)[:-1] == 0).tolist()
    if row.unit == "characters":
        places = [place for place in places if not row.item[place].isspace()]
    if places:
        first = places[0]
        message = f"there is no token for {len(places)} {row.unit}, such as {row.quote(first, first + 1)} at {first}"
        yield row.place.problem("word-without-token", message, start=first, end=first + 1)


def _covered(sentence: EncodedSentence) -> tuple[IntArray, IntArray]:
    """First and last position of each word that has tokens, in the unit of the row; ends are exclusive."""
    has_token = sentence.word_starts != NO_TOKEN
    if sentence.char_starts is None or sentence.char_ends is None:
        words = np.flatnonzero(has_token)
        return words, words + 1
    return sentence.char_starts[has_token], sentence.char_ends[has_token]
