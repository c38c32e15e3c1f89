"""Features to batches: candidates are made here, on the fly, for a whole batch at a time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from span_marker.spans import IntArray, enumerate_spans, span_index
from span_marker.tokenizer import EncodedSentence

MODEL_INPUTS = ("input_ids", "attention_mask", "span_tokens", "span_counts", "labels")
"""Keys of a batch that the model's ``forward`` takes."""

IGNORE_INDEX = -100
"""Fills the room behind shorter rows of gold entities."""


def sentence_features(sentence: EncodedSentence) -> dict[str, Any]:
    """The features of a sentence that the collator needs.

    Args:
        sentence: A sentence within its special tokens.

    Returns:
        ``input_ids (seq_len,)``, ``word_starts (num_words,)`` and ``word_ends (num_words,)``.
    """
    return {"input_ids": sentence.input_ids, "word_starts": sentence.word_starts, "word_ends": sentence.word_ends}


@dataclass(frozen=True)
class SpanMarkerDataCollator:
    """Collates features into a batch.

    A feature has ``input_ids``, ``word_starts`` and ``word_ends`` (see `sentence_features`), and for labelled sentences
    ``entities``, a list of ``[class ID, start word, end word]``, and ``num_words``, the words before any was cut off.

    Args:
        pad_token_id: Fills the room behind shorter sentences.
        entity_max_length: Words of the longest candidate.
        outside_id: Class ID of candidates that are no entity.
    """

    pad_token_id: int
    entity_max_length: int
    outside_id: int

    def __call__(self, features: Sequence[dict[str, Any]]) -> dict[str, Tensor]:
        """Collate features.

        Args:
            features: One dict a sentence.

        Returns:
            ``input_ids`` and ``attention_mask``, both ``(batch, seq_len)``; ``span_words``, the first word and the word
            behind the last of each candidate, and ``span_tokens``, the first and the last token, both
            ``(num_spans, 2)``; ``span_counts (batch,)``. For labelled sentences also ``labels (num_spans,)``;
            ``gold_entities (batch, max_entities, 3)``, padded with `IGNORE_INDEX`; ``num_words (batch,)``.
        """
        lengths = np.array([len(feature["input_ids"]) for feature in features])
        input_ids = np.full((len(features), lengths.max(initial=0)), self.pad_token_id, dtype=np.int64)
        attention_mask = np.arange(input_ids.shape[1]) < lengths[:, None]
        input_ids[attention_mask] = np.concatenate([feature["input_ids"] for feature in features])

        seen_words = np.array([len(feature["word_starts"]) for feature in features])
        spans = enumerate_spans(seen_words, self.entity_max_length)
        first_word = np.repeat(np.cumsum(seen_words) - seen_words, spans.counts)  # of the sentence of each span
        word_starts = np.concatenate([feature["word_starts"] for feature in features]).astype(np.int64)
        word_ends = np.concatenate([feature["word_ends"] for feature in features]).astype(np.int64)
        batch = {
            "input_ids": input_ids,
            "attention_mask": attention_mask,
            "span_words": np.stack([spans.starts, spans.ends], axis=1),
            "span_tokens": np.stack(
                [word_starts[first_word + spans.starts], word_ends[first_word + spans.ends - 1] - 1], axis=1
            ),
            "span_counts": spans.counts,
        }
        if "entities" in features[0]:
            entities = [np.array(feature["entities"], dtype=np.int64).reshape(-1, 3) for feature in features]
            batch["labels"] = self._labels(entities, seen_words, spans.counts)
            batch["gold_entities"] = pad_entities(entities)
            batch["num_words"] = np.array([feature["num_words"] for feature in features])
        return {name: torch.from_numpy(array) for name, array in batch.items()}

    def _labels(self, entities: list[IntArray], seen_words: IntArray, span_counts: IntArray) -> IntArray:
        """Label the candidates of a batch; entities that no candidate stands for are left out."""
        labels = np.full(span_counts.sum(), self.outside_id, dtype=np.int64)
        sentence = np.repeat(np.arange(len(entities)), [len(rows) for rows in entities])
        label, start, end = np.concatenate(entities).T
        reachable = within_reach(start, end, seen_words[sentence], self.entity_max_length)
        sentence, label, start, end = sentence[reachable], label[reachable], start[reachable], end[reachable]
        first_span = np.cumsum(span_counts) - span_counts
        labels[first_span[sentence] + span_index(start, end, seen_words[sentence], self.entity_max_length)] = label
        return labels


def within_reach(start: IntArray, end: IntArray, seen_words: IntArray, entity_max_length: int) -> np.ndarray[Any, Any]:
    """Tell which entities are candidates.

    Args:
        start: First words, ``(n,)``.
        end: Words behind the last, ``(n,)``.
        seen_words: Words of each entity's sentence that were not cut off, ``(n,)``.
        entity_max_length: Words of the longest candidate.

    Returns:
        True where an entity is short enough and not cut off, ``(n,)``.
    """
    return (end <= seen_words) & (end - start <= entity_max_length)


def pad_entities(entities: Sequence[IntArray]) -> IntArray:
    """Stack the entities of several sentences.

    Args:
        entities: ``(num_entities, columns)`` for each sentence, with the same number of columns.

    Returns:
        ``(batch, max_entities, columns)``, filled up with `IGNORE_INDEX`.
    """
    longest = max(len(rows) for rows in entities)
    padded = np.full((len(entities), longest, entities[0].shape[1]), IGNORE_INDEX, dtype=np.int64)
    for row, values in zip(padded, entities, strict=True):
        row[: len(values)] = values
    return padded
