"""Distillation: a small model learns from the predictions of a larger one on unlabeled texts.

The teacher's probabilities carry more information than labels: its confidence, and the alternatives for a span. For
each candidate, the student learns the teacher's probabilities of all classes, with the cross-entropy as its loss
(Hinton et al. 2015, Distilling the Knowledge in a Neural Network; the temperature is the teacher's own). Candidates
that the teacher's filter drops, or whose labels all have a probability below `FLOOR`, are ``O``. A student with
relations learns the relations that the teacher predicts, without their probabilities.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import torch
from datasets import Dataset
from torch import Tensor
from transformers import TrainingArguments

from span_marker.checkpoints.model_card import hub_id
from span_marker.compression.layers import check_compressible, note_compression
from span_marker.configuration import SpanMarkerConfig
from span_marker.core.checks import refuse_single_text
from span_marker.core.decoding import FloatArray, ScoredSpan, likely_labels, select
from span_marker.core.filter_settings import without_pair_filter
from span_marker.core.settings import NO_THRESHOLDS
from span_marker.core.spans import IntArray
from span_marker.data.columns import RowReader, annotation_form, require_dataset
from span_marker.data.in_memory import AnnotatedData
from span_marker.data.relation_labels import refuse_relations
from span_marker.data.row_relations import RELATIONS
from span_marker.data.rows import COLUMNS, PREDICTED, UNITS, Kind, Row, RowEntity, check_text, check_words
from span_marker.modeling import SpanMarkerModel
from span_marker.preprocessing.data_collator import SpanMarkerDataCollator
from span_marker.preprocessing.entity_alignment import NO_WORDS, align_entities
from span_marker.preprocessing.inputs import Sentences
from span_marker.training.trainer import Trainer

logger = logging.getLogger(__name__)

FLOOR = 0.02
"""Minimum probability of a label for the student to learn it."""

BLOCK_SIZE = 1000
"""Number of rows whose spans are aligned with the student's words at a time."""

MAX_WORDS = 2**20
"""Number of words beyond which the positions in a row are no longer unique."""


class SoftRow(NamedTuple):
    """A text, with the probabilities of some of its spans. All other spans are ``O``.

    Attributes:
        row: The text with its entities.
        spans: Start and end of the spans, in the unit of the row.
        probabilities: Of each class, by the class IDs of the student, ``(num_spans, num_labels)``.
    """

    row: Row
    spans: list[tuple[int, int]]
    probabilities: FloatArray


def distill(
    teacher: SpanMarkerModel,
    student: SpanMarkerModel,
    texts: Iterable[str] | Iterable[Sequence[str]],
    args: TrainingArguments,
    *,
    labeled: AnnotatedData | None = None,
    eval_dataset: AnnotatedData | None = None,
    batch_size: int = 32,
    **kwargs: Any,
) -> Trainer:
    """Train a student model on the predictions of a teacher.

    Args:
        teacher: The larger model.
        student: The smaller model, which is trained: from `shrink`, or a new model with a smaller encoder. It must have
            the teacher's labels, and either its relations or none. Unset ``decoding``, ``symmetric_relations`` and
            ``relation_types`` are copied from the teacher.
        texts: Texts similar to those that the student will read, all strings or all lists of words. More are better:
            ten times as many as were annotated are a good start.
        args: Training arguments.
        labeled: Annotated data, for which annotations are used instead of the teacher's predictions.
        eval_dataset: The evaluation data.
        batch_size: Maximum number of texts in a batch of the teacher.
        **kwargs: Other arguments of `Trainer`.

    Returns:
        The trainer, which has trained the student.

    Raises:
        TypeError: If ``texts`` is a single string, or a text is neither a string nor a list of words.
        ValueError: If there are no texts; if student and teacher are one model; if the labels or the relations of the
            two models differ, or the teacher has rules; or if texts are strings and ``labeled`` has words, or vice
            versa.
    """
    check_compressible(student)
    if student is teacher:
        raise ValueError("student and teacher are the same model: pass shrink(teacher, ...), or a copy")
    refuse_single_text(texts, "texts")
    corpus: Any = list(texts)
    has_relations = _check_relations(teacher.config, student.config)
    if teacher.rules is not None:
        raise ValueError("the teacher has rules, which have no probabilities to learn from: set teacher.rules = None")
    _check_labels(teacher.config, student.config)
    rows = [*_teach(teacher, student.config, corpus, batch_size), *_gold_rows(labeled, student.config)]
    kinds = {soft.row.kind for soft in rows}
    if len(kinds) != 1:
        raise ValueError(
            f"texts and labeled have {' and '.join(sorted(kinds)) or 'no rows'}: pass only strings, or only lists of "
            "words"
        )
    if student.config.decoding is None:
        student.config.decoding = teacher.config.decoder().decoding
    columns = {
        COLUMNS[kinds.pop()]: [soft.row.content for soft in rows],
        "entities": [[entity.to_dict() for entity in soft.row.entities] for soft in rows],
    }
    if has_relations:
        for name in ("symmetric_relations", "relation_types"):
            if getattr(student.config, name) is None:
                setattr(student.config, name, getattr(teacher.config, name))
        found = _teach_relations(teacher, [soft.row for soft in rows[: len(corpus)]], batch_size)
        columns[RELATIONS] = [*found, *_gold_relations(labeled)]
    dataset = Dataset.from_dict(columns)
    note_compression(student, "Teacher", _describe(teacher, len(corpus), len(rows) - len(corpus)))
    trainer = _Distiller(student, args, dataset, eval_dataset, **kwargs)
    trainer.soft_labels = SoftLabels.from_rows(rows, student)  # in words, which the trainer has settled by now
    trainer.train()
    return trainer


def _describe(teacher: SpanMarkerModel, num_texts: int, num_labeled: int) -> str:
    """Describe the teacher and the texts, for the card. Folder names are left out."""
    name = teacher.model_card_data.model_id or hub_id(teacher.config._name_or_path) or "a SpanMarker model"
    labeled = f", and {num_labeled:,} annotated ones" if num_labeled else ""
    return f"{name}, of {teacher.num_parameters():,} parameters, on {num_texts:,} texts{labeled}"


def _check_labels(teacher: SpanMarkerConfig, student: SpanMarkerConfig) -> None:
    if set(teacher.classes) != set(student.classes) or teacher.multi_label != student.multi_label:
        raise ValueError(
            f"the student must have the labels of the teacher, {teacher.classes} (multi_label={teacher.multi_label}), "
            f"not {student.classes} (multi_label={student.multi_label})"
        )


def _check_relations(teacher: SpanMarkerConfig, student: SpanMarkerConfig) -> bool:
    """Tell whether the student learns relations."""
    if student.relation_labels is None:
        if teacher.relation_labels is not None:
            logger.warning("The student has no relations, so it does not learn the teacher's relations.")
        return False
    if set(student.relation_labels) != set(teacher.relation_labels or ()):
        raise ValueError(
            f"the student must have the relations of the teacher, {teacher.relation_labels}, or none, not "
            f"{student.relation_labels}"
        )
    return True


def _teach_relations(teacher: SpanMarkerModel, rows: Sequence[Row], batch_size: int) -> Iterator[list[dict[str, Any]]]:
    """Find the teacher's relations between the entities that it found in rows."""
    model: Any = teacher
    contents, is_words = [row.content for row in rows], bool(rows) and rows[0].kind == "words"
    options: dict[str, Any] = {"threshold": NO_THRESHOLDS, "relations": True}  # the entities that `_teach` selects
    with without_pair_filter(model.config):
        results = model.predict_stream(contents, is_split_into_words=is_words, batch_size=batch_size, **options)
        for row, found in zip(rows, results, strict=True):
            start, end = PREDICTED[row.unit]
            places = {entity[:3]: index for index, entity in enumerate(row.entities)}
            spans = [(entity["label"], entity[start], entity[end]) for entity in found["entities"]]
            relations = [(one["label"], spans[one["head"]], spans[one["tail"]]) for one in found["relations"]]
            yield [
                {"label": label, "head": places[head], "tail": places[tail]}
                for label, head, tail in relations
                if head in places and tail in places
            ]


def _gold_relations(labeled: AnnotatedData | None) -> list[Any]:
    """The relations of annotated rows; None for rows without annotated relations."""
    if labeled is None:
        return []
    dataset = require_dataset(labeled, "labeled")
    if annotation_form(dataset, "labeled") == "tags":
        refuse_relations(dataset, "labeled")
    return list(dataset[RELATIONS]) if RELATIONS in dataset.column_names else [None] * len(dataset)


def _teach(
    teacher: SpanMarkerModel,
    config: SpanMarkerConfig,
    texts: Sequence[str] | Sequence[Sequence[str]],
    batch_size: int,
) -> Iterator[SoftRow]:
    """Predict texts with the teacher. ``config`` is the student's."""
    kind: Kind = "text" if len(texts) and isinstance(texts[0], str) else "words"
    check: Any = check_text if kind == "text" else check_words
    for index, text in enumerate(texts):
        check(text, f"item {index} of the texts")
    start, end = PREDICTED[UNITS[kind]]
    options: dict[str, Any] = {"threshold": FLOOR, "decoding": "overlapping", "top_k": len(config.classes)}
    options["relations"] = False  # between all of these spans
    model: Any = teacher  # found is a list of dicts for each text
    found = model.predict_stream(texts, is_split_into_words=kind == "words", batch_size=batch_size, **options)
    for text, entities in zip(texts, found, strict=True):
        by_span = {(entity[start], entity[end]): entity["labels"] for entity in entities}
        scores = [{label["label"]: label["score"] for label in labels} for labels in by_span.values()]
        values = [[of_span[label] for label in config.classes] for of_span in scores]
        probabilities = np.array(values, dtype=np.float32).reshape(-1, len(config.classes))
        spans = list(by_span)
        likely = zip(*likely_labels(probabilities, config.outside_id, None, config.multi_label), strict=True)
        scored = [
            ScoredSpan(label, spans[place][0], spans[place][1], float(probabilities[place, label]))
            for place, label in likely
        ]
        selected = select(scored, teacher.config.decoder().decoding)
        row = Row(kind, text, [RowEntity(config.classes[span.label_id], span.start, span.end) for span in selected])
        yield SoftRow(row, spans, probabilities)


def _gold_rows(labeled: AnnotatedData | None, config: SpanMarkerConfig) -> Iterator[SoftRow]:
    """Annotated rows, whose spans have probabilities of 0 and 1."""
    if labeled is None:
        return
    dataset = require_dataset(labeled, "labeled")
    reader = RowReader.from_dataset(dataset, "labeled", config.tags, config.classes)
    for index, row in enumerate(dataset):
        read = reader.read(index, *(row[column] for column in reader.columns))
        by_span: dict[tuple[int, int], list[int]] = {}
        for entity in read.entities:
            by_span.setdefault((entity.start, entity.end), []).append(config.classes.index(entity.label))
        values = np.zeros((len(by_span), len(config.classes)), dtype=np.float32)
        for value, labels in zip(values, by_span.values(), strict=True):
            value[labels if config.multi_label else labels[-1]] = 1
        yield SoftRow(read, list(by_span), values)


@dataclass(frozen=True)
class SoftLabels:
    """A data collator that replaces the labels of candidates with probabilities.

    Args:
        keys: Row, first word and word after the last of each span with probabilities, in one number, see `span_keys`,
            ``(num_spans,)``, ascending.
        probabilities: ``(num_spans, num_labels)``.
        outside_id: Class ID of ``O``.
        collator: Creates batches; None until the trainer has one.
    """

    keys: IntArray
    probabilities: FloatArray
    outside_id: int
    collator: SpanMarkerDataCollator | None = None

    @classmethod
    def from_rows(cls, rows: Sequence[SoftRow], student: SpanMarkerModel) -> SoftLabels:
        """Find the words of the student that spans consist of. Spans that begin or end inside a word are left out.

        Args:
            rows: The rows, all of one kind.
            student: The student.

        Returns:
            The collator.
        """
        keys, probabilities = [], []
        for first in range(0, len(rows), BLOCK_SIZE):
            block = rows[first : first + BLOCK_SIZE]
            sentences = Sentences([soft.row.content for soft in block], are_texts=block[0].row.kind == "text")
            encodings = student.preprocessor.encode(sentences)
            for index, (soft, encoding) in enumerate(zip(block, encodings, strict=True), first):
                numbered = [RowEntity(str(place), *span) for place, span in enumerate(soft.spans)]
                aligned = align_entities(Row(soft.row.kind, soft.row.content, numbered), encoding, f"row {index}")
                whole = [span for span in aligned if span.start != NO_WORDS]
                keys.append(span_keys(index, np.array([span[1:] for span in whole], dtype=np.int64).reshape(-1, 2)))
                probabilities.append(soft.probabilities[[int(span.label) for span in whole]])
        joined, order = np.unique(np.concatenate(keys), return_index=True)
        return cls(joined, np.concatenate(probabilities)[order], student.config.outside_id)

    def __call__(self, features: Sequence[dict[str, Any]]) -> dict[str, Tensor]:
        """Collate features.

        Args:
            features: See `SpanMarkerDataCollator`.

        Returns:
            The batch, with ``labels``, ``(num_candidates, num_labels)``.
        """
        assert self.collator is not None
        batch = self.collator(features)
        rows = np.repeat(batch["rows"].numpy(), batch["span_counts"].numpy())
        wanted = span_keys(rows, batch["span_words"].numpy())
        labels = np.zeros((len(wanted), self.probabilities.shape[1]), dtype=np.float32)
        labels[:, self.outside_id] = 1
        if len(self.keys):
            places = np.minimum(np.searchsorted(self.keys, wanted), len(self.keys) - 1)
            is_known = self.keys[places] == wanted
            labels[is_known] = self.probabilities[places[is_known]]
        return {**batch, "labels": torch.from_numpy(labels)}


def span_keys(rows: Any, span_words: IntArray) -> IntArray:
    """Encode spans as numbers, for look-up.

    Args:
        rows: The row of each span, ``(num_spans,)``, or of all.
        span_words: First word and word after the last, ``(num_spans, 2)``.

    Returns:
        A number for each span, ``(num_spans,)``.

    Raises:
        ValueError: If a row has more than `MAX_WORDS` words.
    """
    if span_words.max(initial=0) >= MAX_WORDS:
        raise ValueError(f"a text of {span_words.max()} words must have fewer than {MAX_WORDS}: split it")
    starts, ends = span_words.T
    keys: IntArray = (rows * MAX_WORDS + starts) * MAX_WORDS + ends
    return keys


class _Distiller(Trainer):
    """Trains on probabilities, and evaluates on annotations."""

    soft_labels: SoftLabels

    def _collator_for(self, description: str) -> Any:
        collator: Any = super()._collator_for(description)
        return replace(self.soft_labels, collator=collator) if description == "Training" else collator
