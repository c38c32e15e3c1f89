"""Data collator: from features to batches. Candidates are enumerated here, for a whole batch at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from span_marker.core.arrays import Array
from span_marker.core.letter_case import NO_CASE
from span_marker.core.relations import labelled_pairs
from span_marker.core.settings import ModelSettings
from span_marker.core.spans import IntArray, enumerate_spans, span_index
from span_marker.core.windows import UNBOUNDED
from span_marker.preprocessing.tokenizer import SpanMarkerTokenizer

if TYPE_CHECKING:
    from torch import Tensor

TEXT_INPUTS = ("input_ids", "attention_mask", "span_tokens", "span_counts", "span_words", "token_cases")
"""Keys of a batch that the model reads in prediction."""

MODEL_INPUTS = (*TEXT_INPUTS, "labels")
"""Keys of a batch that are arguments of the model's ``forward``."""

PAIR_INPUTS = ("pair_tokens", "pair_counts", "pair_labels")
"""Additional keys of this kind, in batches with relations."""

IGNORE_INDEX = -100
"""Padding of rows, such as those of gold entities."""


@dataclass(frozen=True)
class SpanMarkerDataCollator:
    """Collates features into a batch.

    A feature is a dict with the keys of `Piece.features`. For labeled sentences, it also has ``entities``, a list of
    ``[class ID, start word, end word]`` that belong to the piece, and ``num_words``, the number of words of the
    sentence, only in its first piece. The features of `span_marker.preprocessing.features` also have ``blank_words``,
    only in the first piece. Features with relations have ``neighbors``, entities within the piece that belong to
    another one; and ``relations``, a list of ``[class ID, head, tail]`` with indices of ``entities`` followed by
    ``neighbors``, or None if its relations are not annotated.

    Args:
        pad_token_id: Token ID of padding.
        entity_max_length: The maximum number of words of a candidate.
        outside_id: Class ID of ``O``.
        num_labels: Number of classes of a multi-label model; None for other models.
        symmetric: Whether head and tail of each class of pairs can be exchanged.
    """

    pad_token_id: int
    entity_max_length: int
    outside_id: int
    num_labels: int | None = None
    symmetric: tuple[bool, ...] = ()

    @classmethod
    def for_model(cls, tokenizer: SpanMarkerTokenizer, config: ModelSettings) -> SpanMarkerDataCollator:
        """Make the collator of a model.

        Args:
            tokenizer: The model's tokenizer.
            config: The model's configuration.

        Returns:
            The collator.
        """
        num_labels = len(config.classes) if config.multi_label else None
        symmetric = tuple(label in (config.symmetric_relations or ()) for label in config.relation_labels or ())
        return cls(tokenizer.pad_token_id, config.limit("entity_max_length"), config.outside_id, num_labels, symmetric)

    def __call__(self, features: Sequence[dict[str, Any]]) -> dict[str, Tensor]:
        """Collate features into tensors, see `collate`."""
        import torch  # prediction only needs arrays

        return {name: torch.from_numpy(array) for name, array in self.collate(features).items()}

    def collate(self, features: Sequence[dict[str, Any]]) -> dict[str, Array]:
        """Collate features.

        Args:
            features: One dict per piece.

        Returns:
            ``input_ids``, ``attention_mask`` and ``token_cases``, all ``(batch, seq_len)``; ``span_words``, the first
            word and the word after the last of each candidate, counted from the beginning of its sentence, and
            ``span_tokens``, the first and the last token, both ``(num_spans, 2)``; ``span_counts``, ``rows``, and
            ``is_whole``, False for windows, all ``(batch,)``. For labeled sentences also ``labels``, ``(num_spans,)``
            class IDs, or for a multi-label model ``(num_spans, num_labels)``, 1 for each label that a candidate has;
            ``gold_entities (batch, max_entities, 3)``, padded with `IGNORE_INDEX`; ``num_words (batch,)``. If the
            features have ``blank_words``, these, ``(batch, max_blank_words, 2)``, padded with `IGNORE_INDEX`. If they
            have ``relations``, the pairs of their entities, see `span_marker.core.relations.labelled_pairs`:
            ``pair_tokens``, the first and the last token of head and tail, ``(num_pairs, 4)``; ``pair_labels``,
            ``(num_pairs,)``; and ``pair_counts (batch,)``.
        """
        lengths = np.array([len(feature["input_ids"]) for feature in features])
        input_ids = np.full((len(features), lengths.max(initial=0)), self.pad_token_id, dtype=np.int64)
        token_cases = np.full_like(input_ids, NO_CASE)
        attention_mask = np.arange(input_ids.shape[1]) < lengths[:, None]
        input_ids[attention_mask] = np.concatenate([feature["input_ids"] for feature in features])
        token_cases[attention_mask] = np.concatenate([feature["token_cases"] for feature in features])

        seen_words = np.array([len(feature["word_starts"]) for feature in features])
        first_words = np.array([feature["first_word"] for feature in features])
        spans = enumerate_spans(seen_words, self.entity_max_length)
        piece = np.repeat(np.arange(len(features)), spans.counts)
        span_words = np.stack([spans.starts, spans.ends], axis=1)
        word_starts = np.concatenate([feature["word_starts"] for feature in features]).astype(np.int64)
        word_ends = np.concatenate([feature["word_ends"] for feature in features]).astype(np.int64)
        starts, ends = (span_words + (np.cumsum(seen_words) - seen_words)[piece, None]).T  # in the words of the batch
        span_words = span_words + first_words[piece, None]
        bounds = np.array([feature["bounds"] for feature in features], dtype=np.int64)
        is_whole = (bounds == UNBOUNDED).all(axis=1)
        own: Any = slice(None)
        if not is_whole.all():
            above, up_to = bounds[piece].T
            own = (span_words.sum(axis=1) > above) & (span_words.sum(axis=1) <= up_to)
        batch: dict[str, Array] = {
            "input_ids": input_ids,
            "token_cases": token_cases,
            "attention_mask": attention_mask,
            "span_words": span_words[own],
            "span_tokens": np.stack([word_starts[starts], word_ends[ends - 1] - 1], axis=1)[own],
            "span_counts": np.bincount(piece[own], minlength=len(features)),
            "is_whole": is_whole,
            "rows": np.array([feature["row"] for feature in features]),
        }
        if "blank_words" in features[0]:
            blank = [np.array(feature["blank_words"], dtype=np.int64).reshape(-1, 2) for feature in features]
            batch["blank_words"] = pad_entities(blank)
        if "entities" in features[0]:
            entities = [np.array(feature["entities"], dtype=np.int64).reshape(-1, 3) for feature in features]
            batch["labels"] = self._labels(entities, first_words, seen_words, spans.counts)[own]
            batch["gold_entities"] = pad_entities(entities)
            batch["num_words"] = np.array([feature["num_words"] for feature in features])
        if "relations" in features[0]:
            tokens, labels = zip(*map(self._pairs, features), strict=True)
            batch["pair_tokens"], batch["pair_labels"] = np.concatenate(tokens), np.concatenate(labels)
            batch["pair_counts"] = np.array([len(some) for some in labels])
        return batch

    def _pairs(self, feature: dict[str, Any]) -> tuple[IntArray, IntArray]:
        """Tokens and class IDs of the pairs of a piece's entities. Entities outside the piece are left out."""
        if feature["relations"] is None:
            return np.empty((0, 4), dtype=np.int64), np.empty(0, dtype=np.int64)
        entities = [*feature["entities"], *feature.get("neighbors", ())]
        spans = np.array(entities, dtype=np.int64).reshape(-1, 3)[:, 1:]
        starts, ends = (spans - feature["first_word"]).T
        is_within = within_reach(starts, ends, np.full(len(spans), len(feature["word_starts"])))
        place = np.cumsum(is_within) - 1  # among those that are not left out
        relations = np.array(feature["relations"], dtype=np.int64).reshape(-1, 3)
        relations = relations[is_within[relations[:, 1:]].all(axis=1)]
        relations[:, 1:] = place[relations[:, 1:]]
        pairs, labels = labelled_pairs(spans[is_within], relations, self.symmetric, feature["bounds"])
        starts = np.asarray(feature["word_starts"], dtype=np.int64)[starts[is_within]]
        ends = np.asarray(feature["word_ends"], dtype=np.int64)[ends[is_within] - 1] - 1
        return np.stack([starts, ends], axis=1)[pairs].reshape(-1, 4), labels

    def _labels(
        self, entities: list[IntArray], first_words: IntArray, seen_words: IntArray, span_counts: IntArray
    ) -> IntArray:
        """Label the candidates of a batch. Entities that are not candidates are ignored."""
        piece = np.repeat(np.arange(len(entities)), [len(rows) for rows in entities])
        label, start, end = np.concatenate(entities).T
        start, end = start - first_words[piece], end - first_words[piece]
        is_candidate = within_reach(start, end, seen_words[piece]) & (end - start <= self.entity_max_length)
        piece, label, start, end = piece[is_candidate], label[is_candidate], start[is_candidate], end[is_candidate]
        first_span = np.cumsum(span_counts) - span_counts
        places = first_span[piece] + span_index(start, end, seen_words[piece], self.entity_max_length)
        if self.num_labels is None:
            labels = np.full(span_counts.sum(), self.outside_id, dtype=np.int64)
            labels[places] = label
            return labels
        has_label = np.zeros((span_counts.sum(), self.num_labels), dtype=np.int64)
        has_label[:, self.outside_id] = 1
        has_label[places, self.outside_id] = 0
        has_label[places, label] = 1
        return has_label


def within_reach(start: IntArray, end: IntArray, seen_words: IntArray) -> np.ndarray[Any, Any]:
    """Determine which entities lie within their piece, and are therefore candidates if they are short enough.

    Args:
        start: First word of each entity, counted from the beginning of its piece, ``(n,)``.
        end: Word after the last, counted in the same way, ``(n,)``.
        seen_words: Number of words of each entity's piece, ``(n,)``.

    Returns:
        True where an entity lies within its piece, ``(n,)``.
    """
    return (start >= 0) & (end <= seen_words)


def pad_entities(entities: Sequence[IntArray]) -> IntArray:
    """Stack the entities of several sentences.

    Args:
        entities: ``(num_entities, columns)`` for each sentence, with the same number of columns.

    Returns:
        The entities, padded with `IGNORE_INDEX`, ``(batch, max_entities, columns)``.
    """
    longest = max(len(rows) for rows in entities)
    padded = np.full((len(entities), longest, entities[0].shape[1]), IGNORE_INDEX, dtype=np.int64)
    for row, values in zip(padded, entities, strict=True):
        row[: len(values)] = values
    return padded
