"""From annotated data to features: aligning entities with words, tokenizing, and counting lost entities."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import groupby
from math import prod
from typing import TYPE_CHECKING, Any, Literal, cast

import numpy as np

from span_marker.configuration import SpanMarkerConfig
from span_marker.core.alignment import blank_words
from span_marker.core.decoding import RULES, Decoding
from span_marker.core.labels import LabelledSpan, count_overlaps
from span_marker.core.spans import IntArray
from span_marker.core.word_splitters import TrainedOn
from span_marker.data.columns import ROWS_AT_A_TIME, RowReader, require_dataset
from span_marker.data.relation_labels import refuse_relations
from span_marker.data.row_relations import RELATIONS
from span_marker.data.rows import Kind, Row, check_content
from span_marker.preprocessing.data_collator import within_reach
from span_marker.preprocessing.entity_alignment import NO_WORDS, align_entities, entity_places
from span_marker.preprocessing.inputs import Sentences, document_columns, text_column
from span_marker.preprocessing.pieces import Piece
from span_marker.preprocessing.preprocessor import Preprocessor
from span_marker.preprocessing.relation_features import (
    RELATION_FEATURES,
    RelationPreparer,
    RelationSummary,
    SentenceEntities,
)
from span_marker.preprocessing.tokenizer import EncodedSentence

if TYPE_CHECKING:
    from datasets import Dataset, Features

logger = logging.getLogger(__name__)

TEXT_FEATURES = ("input_ids", "token_cases", "word_starts", "word_ends", "bounds", "row", "first_word", "blank_words")
"""Columns of a prepared data set without annotations: those of `Piece.features`, and ``blank_words``: indices of the
words in which no character counts, each with 1 if it consists only of white space, see `span_marker.core.alignment`."""

LABEL_FEATURES = ("entities", "num_words")
"""Columns that annotations add."""

OVERLAP_SHARE = 0.01
"""Minimum share of entities that overlap others for the trained model to predict such entities: a few may be annotation
errors."""


@dataclass
class DatasetSummary:
    """Counts of the annotations of a data set, and of the entities that no candidate can match.

    Attributes:
        num_entities: Number of gold entities.
        num_nested: Number of entities inside another one.
        num_crossing: Number of entities that overlap another one, while neither is inside the other.
        num_sharing: Number of entities that share their words with an entity of another label.
        too_long: Number of entities longer than the longest candidate, by their number of words.
        cut_off: Number of entities that do not fit into any window.
        without_tokens: Number of entities that end in words without tokens, such as control characters, at the end of
            the sentence.
        cut_words: Number of entities that begin or end inside a word.
        examples: Descriptions of the first of these.
        row_lengths: Number of rows by their number of words.
        labels: Number of entities of each label.
        relations: The same for relations, with its own warnings.
    """

    num_entities: int = 0
    num_nested: int = 0
    num_crossing: int = 0
    num_sharing: int = 0
    too_long: Counter[int] = field(default_factory=Counter)
    cut_off: int = 0
    without_tokens: int = 0
    cut_words: int = 0
    examples: list[str] = field(default_factory=list)
    row_lengths: Counter[int] = field(default_factory=Counter)
    labels: Counter[str] = field(default_factory=Counter)
    relations: RelationSummary = field(default_factory=RelationSummary)

    def trained_on(self, unit: Literal["words", "text"]) -> TrainedOn:
        """The description of the training data for a model, from the kind of the rows: words or texts."""
        num_rows, num_words = self.row_lengths.total(), sum(map(prod, self.row_lengths.items()))
        return TrainedOn(unit, num_rows, num_words / max(num_rows, 1), max(self.row_lengths, default=0))

    @property
    def decoding(self) -> Decoding:
        """The way in which a model that is trained on the data should resolve overlaps."""
        enough = max(OVERLAP_SHARE * self.num_entities, 1)
        if self.num_crossing >= enough:
            return "overlapping"
        return "nested" if self.num_nested + self.num_sharing >= enough else "flat"

    def warn_of_overlaps(self, decoding: Decoding, dataset_name: str) -> None:
        """Log how many entities overlap in a way that a model cannot predict, if any do.

        Args:
            decoding: How the model resolves overlaps.
            dataset_name: What to call the data set.
        """
        rule = RULES[decoding]
        num_lost = (not rule.may_cross) * self.num_crossing
        num_lost += (not rule.may_nest) * (self.num_nested + self.num_sharing)
        if num_lost:
            logger.warning(
                "%d of the %d gold entities of the %s data overlap other entities, which decoding=%r cannot predict. "
                "If the overlaps are intended, set model.config.decoding.",
                num_lost,
                self.num_entities,
                dataset_name,
                decoding,
            )

    def warn(self, config: SpanMarkerConfig, max_tokens: int, dataset_name: str) -> None:
        """Log how many entities are lost, if any, and what to change.

        Args:
            config: Holds the limits.
            max_tokens: The text limit in force.
            dataset_name: What to call the data set.
        """
        if self.num_sharing and not config.multi_label:
            logger.warning(
                "%d of the %d gold entities of the %s data share their words with an entity of another label, but the "
                "model predicts one label per span. To predict several, make the model with multi_label=True.",
                self.num_sharing,
                self.num_entities,
                dataset_name,
            )
        parts = []
        if self.too_long:
            by_length = ", ".join(f"{count} of {words} words" for words, count in sorted(self.too_long.items()))
            parts.append(
                f"{self.too_long.total()} are longer than entity_max_length={config.entity_max_length} ({by_length})"
            )
        if self.cut_off:
            parts.append(f"{self.cut_off} do not fit into any window of {max_tokens} tokens (model_max_length)")
        if self.without_tokens:
            parts.append(f"{self.without_tokens} end in words for which the tokenizer has no token")
        if self.cut_words:
            parts.append(
                f"{self.cut_words} begin or end inside a word (such as {'; '.join(self.examples)}; validate(data, "
                "model) tells whether another word_splitter keeps them whole)"
            )
        if parts:
            logger.warning(
                "%d of the %d gold entities of the %s data cannot be predicted, and count as missed: %s.",
                self.too_long.total() + self.cut_off + self.without_tokens + self.cut_words,
                self.num_entities,
                dataset_name,
                "; ".join(parts),
            )

    def add(
        self,
        entities: list[list[LabelledSpan]],
        seen_words: list[int],
        pieces: list[Piece],
        rows: list[IntArray],
        entity_max_length: int,
    ) -> None:
        """Count more rows.

        Args:
            entities: Entities of each row; those that begin or end inside a word are `NO_WORDS`.
            seen_words: Number of words of each row, up to the last one with a token.
            pieces: The pieces that the rows were cut into.
            rows: Class ID, first word and word after the last of the entities of each piece, ``(num_entities, 3)``.
            entity_max_length: The longest candidate, in words.
        """
        self.row_lengths.update(seen_words)
        for row_entities in entities:
            self.num_entities += len(row_entities)
            self.labels.update(entity.label for entity in row_entities)
            if len(row_entities) > 1:
                overlaps = count_overlaps(entity for entity in row_entities if entity.start != NO_WORDS)
                self.num_nested += overlaps.nested
                self.num_crossing += overlaps.crossing
                self.num_sharing += overlaps.sharing
        counts = [len(row) for row in rows]
        _, start, end = np.concatenate([np.empty((0, 3), dtype=np.int64), *rows]).T
        piece_words = np.repeat([piece.tokens.num_words for piece in pieces], counts)
        first_word = np.repeat([piece.first_word for piece in pieces], counts)
        row_words = np.repeat([seen_words[piece.row] for piece in pieces], counts)
        too_long = end - start > entity_max_length
        cuts_word = start == NO_WORDS
        lost = ~within_reach(start - first_word, end - first_word, piece_words) & ~too_long & ~cuts_word
        self.too_long.update((end - start)[too_long].tolist())
        self.cut_words += int(cuts_word.sum())
        self.without_tokens += int((lost & (end > row_words)).sum())
        self.cut_off += int((lost & (end <= row_words)).sum())


def prepare(
    dataset: Dataset,
    preprocessor: Preprocessor,
    dataset_name: str,
    needs_labels: bool = True,
) -> tuple[Dataset, DatasetSummary]:
    """Convert annotated data to features.

    Args:
        dataset: Has the columns ``tokens`` and ``ner_tags`` (integers, or strings of the label list), ``tokens`` and
            ``entities`` (in words), or ``text`` and ``entities`` (in characters), see `span_marker.data.columns`; and
            for document context ``document_id`` and ``sentence_id``.
        preprocessor: The model's preprocessor.
        dataset_name: What to call the data set in messages: ``training`` or ``evaluation``.
        needs_labels: Whether missing annotations are an error.

    Returns:
        A data set with the columns `TEXT_FEATURES`; `LABEL_FEATURES` if there are annotations; and `RELATION_FEATURES`
        for a model with relations. It has one row per sentence, or several for a sentence that is read in windows. And
        a summary of the annotations.

    Raises:
        TypeError: If it is not a `Dataset`, or a row has a value of the wrong type.
        ValueError: If it is empty, a column is missing, a row has more or fewer tags than words, an entity is outside
            its row, or a label is unknown.
    """
    from datasets.fingerprint import Hasher  # takes long to import

    config, max_tokens = cast(SpanMarkerConfig, preprocessor.config), preprocessor.max_tokens
    dataset = require_dataset(dataset, dataset_name)
    preparer = _RowPreparer(dataset, preprocessor, dataset_name, needs_labels)
    if len(dataset) == 0:
        raise ValueError(f"the {dataset_name} data set has no rows")
    prepared = dataset.map(
        preparer,
        batched=True,
        # The sentences of a document are context of each other.
        batch_size=len(dataset) if preparer.has_documents else ROWS_AT_A_TIME,
        with_indices=True,
        remove_columns=dataset.column_names,
        features=_features(preparer.columns),
        # Counts would be lost if the result were read from a cache on disk.
        load_from_cache_file=False,
        # private: set explicitly, since datasets would hash the whole tokenizer.
        new_fingerprint=Hasher.hash((dataset._fingerprint, config.to_json_string(), max_tokens, dataset_name)),
        desc=f"Preparing the {dataset_name} data",
    )
    preparer.summary.warn(config, max_tokens, dataset_name)
    if preparer.reader is not None and not preparer.summary.num_entities:
        logger.warning("There are no entities in the %d rows of the %s data.", len(dataset), dataset_name)
    return prepared, preparer.summary


def _features(columns: Sequence[str]) -> Features:
    from datasets import Features, List, Value

    integer = Value("int64")
    of_sentences = dict.fromkeys(("row", "first_word", "num_words"), integer)
    of_pairs = dict.fromkeys(("blank_words", "entities", *RELATION_FEATURES), List(List(integer)))
    return Features({name: {**of_sentences, **of_pairs}.get(name, List(integer)) for name in columns})


class _RowPreparer:
    """Converts batches of rows to features, and counts entities.

    Args:
        dataset: See `prepare`.
        preprocessor: See `prepare`.
        dataset_name: See `prepare`.
        needs_labels: See `prepare`.

    Attributes:
        reader: Reads rows with their annotations; None for data without annotations.
        columns: Columns of the features.
        has_documents: Whether there is document context.
        summary: What was counted so far.
    """

    def __init__(
        self,
        dataset: Dataset,
        preprocessor: Preprocessor,
        dataset_name: str,
        needs_labels: bool,
    ) -> None:
        config = cast(SpanMarkerConfig, preprocessor.config)
        self.reader: RowReader | None = None
        self.columns: tuple[str, ...] = TEXT_FEATURES
        if needs_labels or {"entities", "ner_tags"} & set(dataset.column_names):
            self.reader = RowReader.from_dataset(dataset, dataset_name, config.tags, config.classes)
            self._column = self.reader.columns[0]
            has_relations = config.relation_labels is not None
            self.columns += (*LABEL_FEATURES, *(RELATION_FEATURES if has_relations else ()))
            if has_relations and self.reader.form == "tags":
                refuse_relations(dataset, dataset_name)
        else:
            self._column = text_column(dataset, dataset_name)
        self.has_documents = document_columns(dataset)[0] is not None
        self._entity_max_length = config.limit("entity_max_length")
        self.summary = DatasetSummary()
        self._relations = RelationPreparer(config.relation_labels, self._entity_max_length, self.summary.relations)
        self._dataset_name = dataset_name
        self._preprocessor = preprocessor
        self._class_ids = {label: class_id for class_id, label in enumerate(config.classes)}

    def __call__(self, batch: dict[str, list[Any]], indices: list[int]) -> dict[str, list[Any]]:
        """Convert rows to features.

        Args:
            batch: Columns of the rows.
            indices: Numbers of the rows.

        Returns:
            Columns of the features.
        """
        rows = self._read(batch, indices)
        documents = (batch["document_id"], batch["sentence_id"]) if self.has_documents else (None, None)
        sentences = Sentences([row.content for row in rows], self._column == "text", *documents)
        encodings = self._preprocessor.encode(sentences)
        pieces = self._preprocessor.pieces(sentences, encodings)
        blank = [_blank_words(row, encoding) for row, encoding in zip(rows, encodings, strict=True)]
        features = [
            {
                **piece.features(),
                "row": indices[piece.row],
                "blank_words": [] if piece.first_word else blank[piece.row],
            }
            for piece in pieces
        ]
        columns = {name: [feature[name] for feature in features] for name in TEXT_FEATURES}
        if self.reader is None:
            return columns
        relations = batch.get(RELATIONS) or [None] * len(rows)
        known = [None if value is None else row.relations for row, value in zip(rows, relations, strict=True)]
        return columns | self._label_features(rows, indices, encodings, pieces, known)

    def _read(self, batch: dict[str, list[Any]], indices: list[int]) -> list[Row]:
        """Read rows with their annotations, or without if there are none."""
        contents = batch[self._column]
        if self.reader is not None:
            columns = [batch[name] for name in self.reader.columns]
            return [self.reader.read(*row) for row in zip(indices, *columns, strict=True)]
        kind: Kind = "text" if self._column == "text" else "words"
        for index, content in zip(indices, contents, strict=True):
            check_content(kind, content, f"row {index} of the {self._dataset_name} data")
        return [Row(kind, content, []) for content in contents]

    def _label_features(
        self,
        rows: list[Row],
        indices: list[int],
        encodings: list[EncodedSentence],
        pieces: list[Piece],
        relations: list[Any],
    ) -> dict[str, list[Any]]:
        locations = [f"row {index} of the {self._dataset_name} data" for index in indices]
        entities = [
            align_entities(row, encoding, location, self.summary.examples)
            for row, location, encoding in zip(rows, locations, encodings, strict=True)
        ]
        arrays = [
            np.array([(self._class_ids[label], start, end) for label, start, end in spans], dtype=np.int64)
            for spans in entities
        ]
        arrays = [array.reshape(-1, 3) for array in arrays]
        shared = [arrays[piece.row][piece.owns(arrays[piece.row][:, 1:])] for piece in pieces]
        seen_words = [encoding.num_words for encoding in encodings]
        self.summary.add(entities, seen_words, pieces, shared, self._entity_max_length)
        num_words = [
            seen if row.kind == "text" else len(row.content) for row, seen in zip(rows, seen_words, strict=True)
        ]
        columns: dict[str, list[Any]] = {
            "entities": [array.tolist() for array in shared],
            "num_words": [0 if piece.first_word else num_words[piece.row] for piece in pieces],
        }
        by_row = [list(own) for _, own in groupby(pieces, key=lambda piece: piece.row)]  # every row has a piece
        features: list[dict[str, Any]] = []
        for place, (row, own) in enumerate(zip(rows, by_row, strict=True)):
            places = entity_places(row, encodings[place], entities[place]) if row.relations else []
            class_ids = [self._class_ids[span.label] for span in row.spans]
            found = SentenceEntities(entities[place], places, arrays[place], class_ids)
            features += self._relations.features(relations[place], found, own, locations[place])
        return columns | {name: [feature[name] for feature in features] for name in self.columns if name in features[0]}


def _blank_words(row: Row, encoding: EncodedSentence) -> list[list[int]]:
    if encoding.char_starts is None or encoding.char_ends is None:
        return []
    blank = blank_words(row.content, encoding.char_starts, encoding.char_ends)
    return [[word, int(is_white_space)] for word, is_white_space in blank.items()]
