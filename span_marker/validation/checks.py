"""Checks annotated data before training: what would raise, what would be lost, and what is worth knowing.

`validate` reads every row and never stops at a bad one. Each kind of problem has a severity: an *error* would stop
training, a *loss* is an entity that can't be trained on or found, and a *note* changes nothing.
"""

from __future__ import annotations

from bisect import bisect_right, insort
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np
from datasets import Dataset

from span_marker.configuration import AUTO
from span_marker.core.alignment import align, without_edges
from span_marker.core.labels import LabelledSpan, complete_tags, detect_scheme, tags_to_entities
from span_marker.core.spans import IntArray
from span_marker.data import columns as annotated
from span_marker.data.columns import COLUMNS, UNITS, Form, Unit
from span_marker.modeling import SpanMarkerModel, without_adapter
from span_marker.preprocessing.inputs import document_columns
from span_marker.preprocessing.tokenizer import NO_TOKEN, EncodedSentence
from span_marker.validation.report import Problem, Report

QUOTE_LENGTH = 60


class _Row:
    """A row that is being read: makes its problems."""

    def __init__(self, split: str, row: int, unit: Unit, item: Any) -> None:
        self.where = f"row {row} of the {split} data"
        self.unit: Unit = unit
        self.item = item
        self._problem = partial(Problem, split=split, row=row, unit=unit)

    def problem(self, kind: str, message: str, **place: Any) -> Problem:
        """A problem of the row."""
        return self._problem(kind, message if message.startswith(self.where) else f"{self.where}: {message}", **place)

    def about(self, span: LabelledSpan, kind: str, message: str) -> Problem:
        """A problem of an entity."""
        return self.problem(kind, f"{self.name(span)} {message}", start=span.start, end=span.end, label=span.label)

    def name(self, span: LabelledSpan) -> str:
        """An entity in messages."""
        label, start, end = span
        return f"{label!r} from {self.unit} {start} to {end} ({self.quote(start, end)})"

    def quote(self, start: int, end: int) -> str:
        """A piece of the row, shortened."""
        text = self.item[start:end] if isinstance(self.item, str) else " ".join(self.item[start:end])
        return repr(text if len(text) <= QUOTE_LENGTH else text[: QUOTE_LENGTH - 3] + "...")


def validate(data: Any, model: SpanMarkerModel | None = None) -> Report:
    """Check annotated data. Bad rows are reported, they raise nothing.

    Args:
        data: A `Dataset` or a dict of several, with the columns ``tokens`` and ``entities``, ``text`` and ``entities``,
            or ``tokens`` and ``ner_tags``.
        model: The model to train or to evaluate. With it, words are those of its tokenizer, and labels and limits are
            checked; without it, a word of a text ends between two characters that are not both letters or digits.

    Returns:
        The report. Where there are three entities in one another, each but the longest is *nested* once; likewise,
        one that crosses several is *crossing* once, and a sentence that occurs three times is repeated twice.

    Raises:
        TypeError: If it is no data set.
        ValueError: If the columns are not those of annotated data, or tags are integers of which neither a
            ``ClassLabel`` nor a model has the names.

    Example:
        >>> rows = [{"text": "Ann went", "entities": [{"label": "PER", "start": 0, "end": 5}]}]
        >>> report = validate(Dataset.from_list(rows))
        >>> report.is_clean, report.problems[0].message
        (False, "row 0 of the annotated data: 'PER' from characters 0 to 5 ('Ann w') begins or ends inside a word")
    """
    model = None if model is None else without_adapter(model)
    datasets = annotated.named_splits(data)
    forms = {name: annotated.annotation_form(dataset, name) for name, dataset in datasets.items()}
    string_labels = complete_tags(_string_tags(datasets, forms))
    problems: list[Problem] = []
    num_entities = 0
    seen: dict[Any, str] = {}
    for split, dataset in datasets.items():
        document_columns(dataset)
        names, labels = _tag_labels(dataset, forms[split], split, string_labels, model)
        seen_here: dict[Any, str] = {}
        for batch in _read_batches(dataset, split, forms[split]):
            good = []
            for row, annotation in batch:
                spans, found = _read_row(row, annotation, forms[split], names, labels)
                problems += found
                if spans is not None:
                    num_entities += len(spans)
                    good.append((row, spans))
            for (row, spans), sentence in zip(good, _encode([row.item for row, _ in good], model), strict=True):
                problems += _sentence_problems(row, seen, seen_here)
                problems += _entity_problems(row, spans)
                problems += _overlap_problems(row, spans, model is not None and model.config.multi_label)
                if model is not None and sentence is not None:
                    problems += _model_problems(row, spans, sentence, model)
                elif row.unit == "characters":
                    problems += _cut_at_characters(row, spans)
        seen = {**seen_here, **seen}
    order = {split: index for index, split in enumerate(datasets)}
    problems.sort(key=lambda problem: (order[problem.split], problem.row))
    return Report(tuple(problems), {name: len(dataset) for name, dataset in datasets.items()}, num_entities)


def _string_tags(datasets: dict[str, Dataset], forms: dict[str, Form]) -> Iterator[str]:
    for name, dataset in datasets.items():
        if forms[name] == "tags" and annotated.tag_names(dataset) is None:
            for _, tags in annotated.read_column(dataset, "ner_tags", name):
                yield from (tag for tag in tags or () if isinstance(tag, str))


def _tag_labels(
    dataset: Dataset, form: Form, split: str, string_labels: list[str], model: SpanMarkerModel | None
) -> tuple[list[str] | None, list[str]]:
    """Names of a data set's integer tags, and the labels that tags may have."""
    names = annotated.tag_names(dataset)
    if model is not None:
        return names or model.config.given_labels, model.config.given_labels
    dtype = getattr(getattr(dataset.features.get("ner_tags"), "feature", None), "dtype", "")
    if form == "tags" and names is None and "int" in str(dtype):
        raise ValueError(
            f"the tags of the {split} data are integers without names: pass model=, or cast the column 'ner_tags' to a "
            "ClassLabel with names"
        )
    return names, names or string_labels


def _read_batches(dataset: Dataset, split: str, form: Form) -> Iterator[list[tuple[_Row, Any]]]:
    item_column, column = COLUMNS[form]
    for first in range(0, len(dataset), annotated.ROWS_AT_A_TIME):
        batch = dataset[first : first + annotated.ROWS_AT_A_TIME]
        rows = enumerate(zip(batch[item_column], batch[column], strict=True), start=first)
        yield [(_Row(split, row, UNITS[form], item), annotation) for row, (item, annotation) in rows]


def _read_row(
    row: _Row, annotation: Any, form: Form, names: list[str] | None, labels: list[str]
) -> tuple[list[LabelledSpan] | None, list[Problem]]:
    """Read the entities that can be read; None if it is no row at all."""
    try:
        annotated.check_item(row.item, form, row.where)
        annotation = annotated.check_list(annotation, COLUMNS[form][1], row.where)
    except TypeError as error:
        return None, [row.problem("malformed-row", str(error))]
    if form == "tags":
        return _read_tags(row, annotation, names, labels)
    spans, problems = [], []
    for entity in annotation:
        try:
            spans.append(annotated.check_entity(entity, len(row.item), row.where, row.unit))
        except (TypeError, ValueError) as error:
            known = entity if isinstance(entity, dict) else {}
            place = {name: known[name] for name in ("start", "end") if isinstance(known.get(name), int)}
            label = known["label"] if isinstance(known.get("label"), str) else None
            problems.append(row.problem("malformed-entity", str(error), label=label, **place))
    return spans, problems


def _read_tags(
    row: _Row, tags: Sequence[Any], names: list[str] | None, labels: list[str]
) -> tuple[list[LabelledSpan], list[Problem]]:
    if len(tags) != len(row.item):
        return [], [row.problem("tag-count", f"{len(row.item)} 'tokens' but {len(tags)} 'ner_tags'")]
    named = [annotated.tag_name(tag, names, labels) for tag in tags]
    known = [name for name in named if name is not None]
    if len(known) == len(tags):
        return tags_to_entities(known, detect_scheme(labels)), []
    return [], [
        row.problem(
            "unknown-tag",
            f"the tag {tag!r} of word {place} ({row.quote(place, place + 1)}) is not in the label list",
            start=place,
            end=place + 1,
        )
        for place, tag in enumerate(tags)
        if named[place] is None
    ]


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
    seen_here.setdefault(sentence, row.where)


def _entity_problems(row: _Row, spans: list[LabelledSpan]) -> Iterator[Problem]:
    for span in spans:
        parts = row.item[span.start : span.end]
        if _is_blank(parts):
            yield row.about(span, "blank-entity", "is white space only")
        elif not parts[0].strip() or not parts[-1].strip():
            yield row.about(span, "edge-space", "has white space at an edge")


def _overlap_problems(row: _Row, spans: list[LabelledSpan], multi_label: bool) -> Iterator[Problem]:
    """Compare each entity with those before it. Each finding names one other entity."""
    first: dict[tuple[int, int], LabelledSpan] = {}
    listed: set[LabelledSpan] = set()
    for span in (without_edges(span, row.item) for span in spans):
        other = first.setdefault((span.start, span.end), span)
        if span in listed:
            yield row.about(span, "repeated-entity", "is listed twice")
        elif other.label != span.label and not multi_label:
            yield row.about(span, "two-labels", f"is {other.label!r} too")
        listed.add(span)
    longest: LabelledSpan | None = None  # the one that reaches furthest, of all that begin earlier or are longer
    ends: list[tuple[int, LabelledSpan]] = []
    for span in sorted(first.values(), key=lambda span: (span.start, -span.end)):
        if longest is not None and span.end <= longest.end:
            yield row.about(span, "nested", f"lies in {row.name(longest)}")
        else:
            longest = span
        next_end = bisect_right(ends, span.start, key=lambda end: end[0])
        if next_end < len(ends) and ends[next_end][0] < span.end:
            yield row.about(span, "crossing", f"crosses {row.name(ends[next_end][1])}")
        insort(ends, (span.end, span), key=lambda end: end[0])


def _is_blank(parts: Sequence[str]) -> bool:
    """Whether there is nothing but white space in some words or characters."""
    return all(part.isspace() or not part for part in parts)


def _cut_at_characters(row: _Row, spans: list[LabelledSpan]) -> Iterator[Problem]:
    for span in spans:
        if any(0 < place < len(row.item) and row.item[place - 1 : place + 1].isalnum() for place in span[1:]):
            yield row.about(span, "cut-word", "begins or ends inside a word")


def _model_problems(
    row: _Row, spans: list[LabelledSpan], sentence: EncodedSentence, model: SpanMarkerModel
) -> Iterator[Problem]:
    """Compare a row with the model's labels, limits and words."""
    config, tokenizer = model.config, model.require_tokenizer()
    labels = config.reduced_labels
    for span in spans:
        if span.label not in labels:
            yield row.about(span, "unknown-label", f"has a label that is not among the model's, {labels}")
    if sentence.char_starts is not None and sentence.char_ends is not None:
        words, others = align(spans, row.item, sentence.char_starts, sentence.char_ends)
    else:
        words = [span for span in spans if span.end <= sentence.num_words]
        others = [span for span in spans if span.end > sentence.num_words]
    refused = set(others)
    aligned = [span for span in spans if span not in refused]
    for span, (_, start, end) in zip(aligned, words, strict=True):
        if config.entity_max_length != AUTO and end - start > config.require("entity_max_length"):
            message = f"has {end - start} words, more than entity_max_length={config.entity_max_length}"
            yield row.about(span, "too-long", message)
    starts, ends = _covered(sentence)
    for span in others:
        if _is_blank(row.item[span.start : span.end]):
            continue
        if isinstance(row.item, str) and np.any((starts < span.end) & (ends > span.start)):
            yield row.about(span, "cut-word", "begins or ends inside a word of the tokenizer, or where it has no token")
        else:
            yield row.about(span, "entity-without-token", "ends in words for which the tokenizer has no token")
    num_tokens = len(sentence.input_ids) + tokenizer.num_special_tokens
    if config.model_max_length != AUTO and num_tokens > model.max_text_length:
        message = f"{num_tokens} tokens are more than the text limit of {model.max_text_length} (model_max_length)"
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
    """Where the words that have tokens begin and end, in the row's own unit."""
    has_token = sentence.word_starts != NO_TOKEN
    if sentence.char_starts is None or sentence.char_ends is None:
        words = np.flatnonzero(has_token)
        return words, words + 1
    return sentence.char_starts[has_token], sentence.char_ends[has_token]
