"""Annotated data to features: annotations become spans of words, words become tokens, and what is lost is counted."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Container
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from datasets import Dataset, Features, List, Value
from datasets.fingerprint import Hasher

from span_marker.configuration import SpanMarkerConfig
from span_marker.core.alignment import align
from span_marker.core.checks import check_text, check_words
from span_marker.core.decoding import Decoding
from span_marker.core.labels import LabelledSpan, count_overlaps
from span_marker.core.spans import IntArray
from span_marker.core.windows import UNBOUNDED
from span_marker.data.columns import (
    COLUMNS,
    ROWS_AT_A_TIME,
    Unit,
    annotation_form,
    check_entities,
    read_entities,
    tag_names,
    way_to_data,
)
from span_marker.preprocessing.data_collator import within_reach
from span_marker.preprocessing.inputs import Sentences, document_columns, text_column
from span_marker.preprocessing.pieces import Piece, into_pieces, tokenize
from span_marker.preprocessing.tokenizer import EncodedSentence, SpanMarkerTokenizer

logger = logging.getLogger(__name__)

TEXT_FEATURES: dict[str, Any] = {
    **{name: List(Value("int64")) for name in ("input_ids", "word_starts", "word_ends", "bounds")},
    "row": Value("int64"),
    "first_word": Value("int64"),
}
"""Columns of a prepared data set without annotations, see `span_marker.preprocessing.pieces.Piece.features`."""

LABEL_FEATURES: dict[str, Any] = {"entities": List(List(Value("int64"))), "num_words": Value("int64")}
"""Columns that annotations add to it."""

NO_WORDS = -1
"""First and last word of an entity that begins or ends within a word: nothing can stand for it."""

NUM_EXAMPLES = 3

OVERLAP_SHARE = 0.01
"""Share of the entities that must overlap others before a model gives out such entities: a few may be mistakes."""


@dataclass
class Annotations:
    """What a data set's annotations hold, and what of it no candidate stands for.

    Attributes:
        num_entities: All gold entities.
        num_nested: Those within another one.
        num_crossing: Those that overlap another one, but neither lies within the other.
        num_sharing: Those with the same words as another one, with another label.
        too_long: Those longer than the longest candidate, by their number of words.
        cut_off: Those that no window holds as a whole.
        without_tokens: Those that end in words without tokens, such as control characters, behind all others.
        cut_words: Those that begin or end within a word.
        examples: The first of these, in words.
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

    @property
    def decoding(self) -> Decoding:
        """How a model that is trained on the data should resolve overlaps."""
        enough = max(OVERLAP_SHARE * self.num_entities, 1)
        if self.num_crossing >= enough:
            return "overlapping"
        return "nested" if self.num_nested + self.num_sharing >= enough else "flat"

    def warn_of_overlaps(self, decoding: Decoding, what: str) -> None:
        """Log that there are overlaps of a kind that a model does not give out, if there are.

        Args:
            decoding: How the model resolves overlaps.
            what: What to call the data set.
        """
        is_flat = decoding in ("flat", "flat-optimal")
        num_lost = self.num_crossing + is_flat * (self.num_nested + self.num_sharing)
        if num_lost and decoding != "overlapping":
            logger.warning(
                "%d of the %d gold entities of the %s data overlap others in a way that decoding=%r does not give out: "
                "set model.config.decoding if they are no mistakes.",
                num_lost,
                self.num_entities,
                what,
                decoding,
            )

    def warn(self, config: SpanMarkerConfig, max_tokens: int, what: str) -> None:
        """Log what is lost and what to change, if anything is.

        Args:
            config: Holds the limits.
            max_tokens: The text limit in force.
            what: What to call the data set.
        """
        if self.num_sharing and not config.multi_label:
            logger.warning(
                "%d of the %d gold entities of the %s data share their words with one of another label, but the model "
                "gives a span one label: make it with multi_label=True.",
                self.num_sharing,
                self.num_entities,
                what,
            )
        num_lost = self.too_long.total() + self.cut_off + self.without_tokens + self.cut_words
        if not num_lost:
            return
        parts = []
        if self.too_long:
            by_length = ", ".join(f"{count} of {words} words" for words, count in sorted(self.too_long.items()))
            parts.append(
                f"{self.too_long.total()} are longer than entity_max_length={config.entity_max_length} ({by_length})"
            )
        if self.cut_off:
            parts.append(f"{self.cut_off} fit in no window of {max_tokens} tokens (model_max_length)")
        if self.without_tokens:
            parts.append(f"{self.without_tokens} end in words for which the tokenizer has no token")
        if self.cut_words:
            parts.append(
                f"{self.cut_words} begin or end within a word of the tokenizer (such as {'; '.join(self.examples)})"
            )
        logger.warning(
            "%d of the %d gold entities of the %s data are out of reach and count as missed: %s.",
            num_lost,
            self.num_entities,
            what,
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
            entities: Entities of each row; those that cut words are `NO_WORDS`.
            seen_words: Words of each row, up to the last one with a token.
            pieces: What the rows were cut into.
            rows: Class ID, first word and word behind the last of the entities of each piece.
            entity_max_length: Words of the longest candidate.
        """
        for found in entities:
            self.num_entities += len(found)
            if len(found) > 1:
                overlaps = count_overlaps(entity for entity in found if entity.start != NO_WORDS)
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
    tokenizer: SpanMarkerTokenizer,
    config: SpanMarkerConfig,
    max_tokens: int,
    what: str,
    needs_labels: bool = True,
) -> tuple[Dataset, Annotations]:
    """Turn annotated data into features.

    Args:
        dataset: Has the columns ``tokens`` and ``ner_tags`` (integers, or strings of the label list), ``tokens`` and
            ``entities`` (in words), or ``text`` and ``entities`` (in characters), see `span_marker.data.columns`; and
            for document context ``document_id`` and ``sentence_id``.
        tokenizer: The model's tokenizer.
        config: The model's configuration.
        max_tokens: The text limit, special tokens included.
        what: What to call the data set in messages: ``training`` or ``evaluation``.
        needs_labels: Whether missing annotations are an error.

    Returns:
        A data set with the columns `TEXT_FEATURES`, and `LABEL_FEATURES` if there are annotations, with one row a
        sentence, or several for a sentence that is read in windows; and what the annotations hold.

    Raises:
        TypeError: If it is no `Dataset`, or a row has something of the wrong type.
        ValueError: If it is empty, a column is missing, a row has more or fewer tags than words, an entity lies outside
            of its text, or a label is unknown.
    """
    if not isinstance(dataset, Dataset):
        raise TypeError(
            f"the {what} data must be a datasets.Dataset, such as one split or {way_to_data(dataset)}, not a "
            f"{type(dataset).__name__}"
        )
    dataset = dataset.with_format(None)
    item_column, label_column = _columns(dataset, what, needs_labels)
    if len(dataset) == 0:
        raise ValueError(f"the {what} data set has no rows")
    has_documents = document_columns(dataset)[0] is not None
    found = Annotations()
    names, scheme = tag_names(dataset) or config.given_labels, config.scheme
    class_ids = {label: index for index, label in enumerate(config.reduced_labels)}
    entity_max_length = config.require("entity_max_length")

    def prepare_rows(rows: dict[str, list[Any]], indices: list[int]) -> dict[str, list[Any]]:
        wheres = [f"row {index} of the {what} data" for index in indices]
        check = check_text if item_column == "text" else check_words
        for where, item in zip(wheres, rows[item_column], strict=True):
            check(item, f"{where}: {item_column!r}")
        documents = (rows["document_id"], rows["sentence_id"]) if has_documents else (None, None)
        sentences = Sentences(rows[item_column], item_column == "text", *documents)
        bare = tokenize(sentences, tokenizer)
        pieces = into_pieces(sentences, bare, tokenizer, config, max_tokens)
        texts = [{**piece.features(), "row": indices[piece.row]} for piece in pieces]
        result: dict[str, list[Any]] = {name: [text[name] for text in texts] for name in TEXT_FEATURES}
        if label_column is None:
            return result
        rows_of = zip(sentences.items, rows[label_column], bare, wheres, strict=True)
        entities = [
            read_entities(item, labels, names, config.given_labels, scheme, where)
            if label_column == "ner_tags"
            else read_spans(item, labels, sentence, config.reduced_labels, where, found)
            for item, labels, sentence, where in rows_of
        ]
        arrays = [
            np.array([(class_ids[label], start, end) for label, start, end in row], dtype=np.int64).reshape(-1, 3)
            for row in entities
        ]
        shared = [_own(arrays[piece.row], piece) for piece in pieces]
        found.add(entities, [sentence.num_words for sentence in bare], pieces, shared, entity_max_length)
        num_words = [
            b.num_words if item_column == "text" else len(i) for i, b in zip(sentences.items, bare, strict=True)
        ]
        result["entities"] = [rows.tolist() for rows in shared]
        result["num_words"] = [0 if piece.first_word else num_words[piece.row] for piece in pieces]
        return result

    prepared = dataset.map(
        prepare_rows,
        batched=True,
        # A document's sentences need each other.
        batch_size=len(dataset) if has_documents else ROWS_AT_A_TIME,
        with_indices=True,
        remove_columns=dataset.column_names,
        features=Features({**TEXT_FEATURES, **(LABEL_FEATURES if label_column else {})}),
        # The count of what is lost would be lost itself if the result came out of a cache on disk.
        load_from_cache_file=False,
        # Made by hand, since it would be made of the whole tokenizer otherwise.
        new_fingerprint=Hasher.hash((dataset._fingerprint, config.to_json_string(), max_tokens, what)),
        desc=f"Preparing the {what} data",
    )
    found.warn(config, max_tokens, what)
    return prepared, found


def _own(entities: IntArray, piece: Piece) -> IntArray:
    """Those entities of a sentence that belong to a piece of it; each belongs to one, even if it reaches beyond it."""
    if (piece.above, piece.up_to) == UNBOUNDED:
        return entities
    place = entities[:, 1] + entities[:, 2]
    return entities[(place > piece.above) & (place <= piece.up_to)]


def _columns(dataset: Dataset, what: str, needs_labels: bool) -> tuple[str, str | None]:
    """Find the column with the sentences, and the one with their annotation, if there is any."""
    if needs_labels or {"entities", "ner_tags"} & set(dataset.column_names):
        return COLUMNS[annotation_form(dataset, what)]
    return text_column(dataset, what), None


def read_spans(
    item: Any, entities: Any, sentence: EncodedSentence, labels: Container[str], where: str, found: Annotations
) -> list[LabelledSpan]:
    """Read one sentence's entities out of spans of words or characters.

    Args:
        item: The words, or the text.
        entities: A list of dicts with ``label``, ``start`` and ``end``.
        sentence: The tokens of the sentence, not cut.
        labels: The labels of the model.
        where: What to call the sentence in errors.
        found: Gets examples of entities that cut a word.

    Returns:
        The entities in words, without repetitions; those that begin or end within a word are `NO_WORDS`.

    Raises:
        ValueError: If an entity lies outside of the sentence or has an unknown label.
    """
    unit: Unit = "characters" if isinstance(item, str) else "words"
    spans = list(dict.fromkeys(check_entities(entities, len(item), where, unit)))
    for label, start, end in spans:
        if label not in labels:
            raise ValueError(
                f"{where}: the label {label!r} of {unit} {start} to {end} is not among those of the model, {labels}: "
                "give it to a new model as labels="
            )
    if sentence.char_starts is None or sentence.char_ends is None:
        return spans
    aligned, cut = align(spans, item, sentence.char_starts, sentence.char_ends)
    examples = [f"{where}, characters {start} to {end}, {item[start:end]!r}" for _, start, end in cut]
    found.examples += examples[: NUM_EXAMPLES - len(found.examples)]
    return [*dict.fromkeys(aligned), *(LabelledSpan(span.label, NO_WORDS, NO_WORDS) for span in cut)]
