"""Check annotated data before training: errors, losses, doubts and notes.

`validate` reads every row once and never stops at a bad one. Problems within a row are found here;
`span_marker.validation.consistency` compares all rows. `span_marker.validation.report` defines the severity of each
kind of problem.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np

from span_marker.configuration import AUTO
from span_marker.core.alignment import align, trim
from span_marker.core.boundaries import is_unspaced, snap
from span_marker.core.graphemes import has_clusters, place_words
from span_marker.core.labels import complete_tags
from span_marker.core.notation import read_labels, read_notation
from span_marker.core.spans import IntArray
from span_marker.core.surrogates import readable
from span_marker.core.word_splitters import AUTO_SPLITTER, OWN_SPLITS, splitter_name
from span_marker.core.words import has_icu
from span_marker.data.columns import (
    ROWS_AT_A_TIME,
    RowReader,
    annotation_form,
    read_columns,
    string_tags,
    tag_names,
)
from span_marker.data.relation_labels import refuse_relations
from span_marker.data.rows import Row, RowProblem, check_entity
from span_marker.modeling import SpanMarkerModel, without_adapter
from span_marker.preprocessing.features import DatasetSummary
from span_marker.preprocessing.inputs import Sentences, document_columns
from span_marker.preprocessing.pieces import tokenize
from span_marker.preprocessing.relation_features import warn_of_unused_relations
from span_marker.preprocessing.tokenizer import NO_TOKEN, EncodedSentence
from span_marker.validation.consistency import Mentions
from span_marker.validation.inputs import Split, read_splits
from span_marker.validation.offset_units import OffsetUnits
from span_marker.validation.overlaps import count_row, decoding_in_force, weigh_overlaps
from span_marker.validation.relations import (
    Relations,
    listed_relations,
    model_problems,
    relation_problems,
    window_problems,
)
from span_marker.validation.report import Problem, RowPlace, ValidationReport
from span_marker.validation.row_checks import (
    CheckedRow,
    entity_problems,
    is_blank,
    overlap_problems,
    partial_words,
    word_problems,
)
from span_marker.validation.seen_sentences import SeenSentences
from span_marker.validation.shifts import Shifts

if TYPE_CHECKING:
    from datasets import Dataset


def validate(data: Any, model: SpanMarkerModel | None = None, **read_options: Any) -> ValidationReport:
    """Check annotated data. Bad rows are reported and do not raise errors.

    Args:
        data: A `Dataset`, a list of dicts or a DataFrame, with the columns ``tokens`` and ``entities``, ``text`` and
            ``entities``, or ``tokens`` and ``ner_tags``, and optionally ``relations`` and ``id``; a path that
            `read_annotations` reads; or a dict of several, the training data first.
        model: The model to train or to evaluate. With a model, its ``word_splitter`` defines words, labels and limits
            are checked, and the report suggests another ``word_splitter`` if it would cut fewer entities of texts.
            Without a model, word boundaries are taken from the text: a boundary lies between two characters unless both
            are alphanumeric.
        **read_options: Arguments of `read_annotations` for paths, such as ``format`` and ``tag_columns``, except
            ``errors``: rows that cannot be read are problems of the report.

    Returns:
        The report. Each problem refers to one other entity or sentence: an entity inside several longer ones is
        *nested* once, one that crosses several is *crossing* once, and a sentence that occurs three times is reported
        twice.

    Raises:
        TypeError: If ``data`` is not annotated data.
        ValueError: If the columns are not those of annotated data, tags are integers whose names neither a
            ``ClassLabel`` nor a model has, a file is broken, or a read option is wrong or passed for data that is not a
            path.

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
    splits = read_splits(data, read_options)
    datasets = {name: split.dataset for name, split in splits.items()}
    problems: list[Problem] = []
    num_entities = 0
    sentences: SeenSentences | None = None
    word_cuts: Counter[str] = Counter()
    relations = Relations(None if model is None else model.config.symmetric_relations)
    mentions, overlaps = Mentions(), DatasetSummary()
    for (name, split), reader in zip(splits.items(), _readers(datasets, model), strict=True):
        dataset, shifts, units = split.dataset, Shifts(), OffsetUnits()
        document_columns(dataset)
        problems += _file_problems(split, reader)
        problems += _name_problems(dataset, reader) if model is None else ()
        problems += _column_problems(dataset, reader, model)
        sentences = SeenSentences(sentences)
        rows_of_ids: dict[str, int] = {}
        num_relations = 0
        names = (*reader.columns, *({"id"} & set(dataset.column_names)))
        numbered = enumerate(read_columns(dataset, names))
        while batch := list(islice(numbered, ROWS_AT_A_TIME)):
            rows, found = _read(batch, reader, split, (shifts, units))
            problems += found
            num_entities += sum(len(row.spans) for row in rows)
            for row, sentence in zip(rows, _encode([row.item for row in rows], model), strict=True):
                mentions.add(row.place, row.item, row.first_index)
                relations.add(row)
                num_relations += len(row.relations)
                if sentences.is_first:  # as training does, which may set decoding
                    count_row(overlaps, row.first_index)
                problems += _row_problems(row, sentence, model, sentences)
                problems += _id_problems(row.place, rows_of_ids)
                if model is not None and sentence is not None:
                    word_cuts.update(_count_cuts(row, sentence, model))
        if model is not None and model.config.relation_labels is None:
            warn_of_unused_relations(num_relations, name)
        problems += units.problems(shifts.num_explained()) or shifts.problems()
    problems = [
        *weigh_overlaps(problems, decoding_in_force(model, overlaps)),
        *mentions.problems(),
        *relations.problems(),
    ]
    order = {split: index for index, split in enumerate(datasets)}
    problems.sort(key=lambda problem: (order[problem.split], problem.row))
    num_rows = {name: len(dataset) for name, dataset in datasets.items()}
    return ValidationReport(tuple(problems), num_rows, num_entities, dict(word_cuts))


def _row_problems(
    row: CheckedRow,
    sentence: EncodedSentence | None,
    model: SpanMarkerModel | None,
    sentences: SeenSentences,
) -> Iterator[Problem]:
    """All problems of a row that was read."""
    yield from sentences.problems(row)
    yield from word_problems(row)
    yield from entity_problems(row)
    yield from overlap_problems(row, model is not None and model.config.multi_label)
    yield from relation_problems(row)
    if model is not None and sentence is not None:
        yield from model_problems(row, model.config)
        yield from _model_problems(row, sentence, model)
    elif row.unit == "characters":
        yield from partial_words(row)


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


def _column_problems(dataset: Dataset, reader: RowReader, model: SpanMarkerModel | None) -> Iterator[Problem]:
    """Find relations in rows with tags, which a model with relations refuses, and other models ignore."""
    if reader.form != "tags" or (model is not None and model.config.relation_labels is None):
        return
    try:
        refuse_relations(dataset, reader.dataset_name)
    except ValueError as error:
        severity = "note" if model is None else "error"
        details: Any = {"row": 0, "unit": reader.unit, "severity": severity}
        yield Problem("malformed-relation", str(error), reader.dataset_name, **details)


def _file_problems(split: Split, reader: RowReader) -> Iterator[Problem]:
    """The problems of rows of a file that could not be read."""
    for error in split.errors:
        yield Problem("unreadable-row", str(error), reader.dataset_name, row=0, unit=reader.unit)


def _read(
    batch: Iterable[tuple[int, tuple[Any, ...]]],
    reader: RowReader,
    split: Split,
    collectors: Sequence[Shifts | OffsetUnits],
) -> tuple[list[CheckedRow], list[Problem]]:
    """Read rows with all readable entities, and find their problems."""
    rows, problems = [], []
    for index, values in batch:
        width = len(reader.columns)
        place = RowPlace(reader.dataset_name, index, reader.unit, *values[width:])
        content, annotation, *others = split.raw.get(index, values[:width])
        row, found = reader.examine(index, content, annotation, *others)
        indices = [] if row is None else _entity_indices(row, found, reader.form == "tags")
        if row is not None:
            relations = listed_relations(indices, annotation, others[0] if others else None)
            rows.append(CheckedRow(place, row, indices, _written(row, annotation, indices), relations))
            for collector in collectors:
                collector.add(rows[-1], found)
        if index in split.problems:
            found = [*found, split.problems[index]]
        for kind, error, start, end, label, entity, relation in found:
            message = str(error).removeprefix(f"{reader.location(index)}: ")
            if reader.form == "tags":
                entity = None
            elif kind == "unknown-label" and entity is not None:
                entity = indices[entity]
            details = {"start": start, "end": end, "label": label, "relation": relation}
            problems.append(place.problem(kind, message, entity, **details))
    return rows, problems


def _entity_indices(row: Row, problems: Iterable[RowProblem], has_tags: bool) -> list[int | None]:
    """The index of each entity that was read in the list of its row; None if the row has tags instead."""
    if has_tags:
        return [None] * len(row.entities)
    malformed = {problem.entity for problem in problems if problem.kind == "malformed-entity"}
    return [index for index in range(len(row.entities) + len(malformed)) if index not in malformed]


def _written(row: Row, annotation: Any, indices: Iterable[int | None]) -> list[tuple[int, int]]:
    """Start and end of each entity as they are written, before those of a text are extended to graphemes."""
    if row.kind == "words" or not has_clusters(row.content):
        return [(entity.start, entity.end) for entity in row.entities]
    read = (check_entity(annotation[index], len(row.content), row.unit, "") for index in indices)
    return [(entity.start, entity.end) for entity in read]


def _encode(items: list[Any], model: SpanMarkerModel | None) -> Sequence[EncodedSentence | None]:
    if model is None or not items:
        return [None] * len(items)
    sentences = Sentences(items, are_texts=isinstance(items[0], str))
    return tokenize(sentences, model.require_tokenizer(), model.config.split)


def _count_cuts(row: CheckedRow, sentence: EncodedSentence, model: SpanMarkerModel) -> dict[str, int]:
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


def _id_problems(place: RowPlace, rows: dict[str, int]) -> Iterator[Problem]:
    """Look for the ``id`` of a row in its own split."""
    if place.id is not None and (first := rows.setdefault(repr(place.id), place.row)) != place.row:
        yield place.problem("repeated-id", f"row {first} has the same id")


def _model_problems(row: CheckedRow, sentence: EncodedSentence, model: SpanMarkerModel) -> Iterator[Problem]:
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
    yield from window_problems(row, dict(zip(aligned, words, strict=True)), sentence, model)
    starts, ends = _covered(sentence)
    has_no_splitter = splitter_name(config.word_splitter) in ("tokenizer", AUTO_SPLITTER)
    for span in others:
        if is_blank(row.item[span.start : span.end]):
            continue
        if isinstance(row.item, str) and np.any((starts < span.end) & (ends > span.start)):
            message = "begins or ends inside a word, or where the tokenizer has no token"
            edges = trim(row.item, span.start, span.end)
            bounds = (trim(row.item, *word) for word in zip(starts.tolist(), ends.tolist(), strict=True))
            is_open = has_no_splitter and any(is_unspaced(row.item, place) for place in edges)
            yield row.about(span, "partial-word", message, replacement=None if is_open else snap(*edges, bounds))
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
        first, more = places[0], len(places) - 1
        message = f"the tokenizer has no token for {row.quote(first, first + 1)} at {first}"
        message += f", and for {more} more of the {row.unit}" if more else ""
        yield row.place.problem("word-without-token", message, start=first, end=first + 1)


def _covered(sentence: EncodedSentence) -> tuple[IntArray, IntArray]:
    """First and last position of each word that has tokens, in the unit of the row; ends are exclusive."""
    has_token = sentence.word_starts != NO_TOKEN
    if sentence.char_starts is None or sentence.char_ends is None:
        words = np.flatnonzero(has_token)
        return words, words + 1
    return sentence.char_starts[has_token], sentence.char_ends[has_token]
