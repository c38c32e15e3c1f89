"""What evaluation finds, as padded arrays that can be gathered from processes, and back to entities of sentences."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from span_marker.core.decoding import Decoder, FloatArray, ScoredSpan
from span_marker.core.labels import LabelledSpan
from span_marker.core.spans import IntArray
from span_marker.preprocessing.data_collator import IGNORE_INDEX, pad_entities


def pad_spans(spans: Sequence[Sequence[ScoredSpan]]) -> tuple[IntArray, FloatArray]:
    """Stack what was found in several sentences.

    Args:
        spans: The spans of each sentence.

    Returns:
        Class ID, first word and word behind the last, ``(batch, max_spans, 3)``, and scores, ``(batch, max_spans)``,
        both filled up with `IGNORE_INDEX`.
    """
    entities = pad_entities([np.array([span[:3] for span in of], dtype=np.int64).reshape(-1, 3) for of in spans])
    scores = np.full(entities.shape[:2], IGNORE_INDEX, dtype=np.float32)
    for row, of_sentence in zip(scores, spans, strict=True):
        row[: len(of_sentence)] = [span.score for span in of_sentence]
    return entities, scores


def merge(predictions: Any, label_ids: Any, decoder: Decoder) -> tuple[Any, Any]:
    """Bring the windows of each sentence together, and resolve overlaps.

    Args:
        predictions: What ``Trainer.prediction_step`` returns of pieces, gathered: entities, scores, sentence of each
            piece, and counts of candidates.
        label_ids: Gold entities and number of words of each piece; None if there are none.
        decoder: Resolves overlaps.

    Returns:
        Entities and scores of each sentence, see `pad_spans`; and gold entities, likewise, and the number of words of
        each sentence, or None.
    """
    found, scores, rows, _ = predictions
    places = {row: index for index, row in enumerate(sorted(set(rows.tolist())))}
    spans: list[list[ScoredSpan]] = [[] for _ in places]
    for row, entities, of_entities in zip(rows.tolist(), found.tolist(), scores.tolist(), strict=True):
        pairs = zip(entities, of_entities, strict=True)
        spans[places[row]] += [
            ScoredSpan(span[0], span[1], span[2], score) for span, score in pairs if span[0] != IGNORE_INDEX
        ]
    predictions = pad_spans([decoder.select(of_sentence) for of_sentence in spans])
    if label_ids is None:
        return predictions, None
    gold: list[list[list[int]]] = [[] for _ in places]
    num_words = np.zeros(len(places), dtype=np.int64)
    for row, entities, words in zip(rows.tolist(), label_ids[0].tolist(), label_ids[1].tolist(), strict=True):
        gold[places[row]] += [entity for entity in entities if entity[0] != IGNORE_INDEX]
        num_words[places[row]] += words
    arrays = [np.array(entities, dtype=np.int64).reshape(-1, 3) for entities in gold]
    return predictions, (pad_entities(arrays), num_words)


def read_entities(padded: np.ndarray[Any, Any], labels: list[str]) -> list[list[LabelledSpan]]:
    """Read padded entities.

    Args:
        padded: ``(num_sentences, max_entities, 3)``, see `pad_spans`.
        labels: Names of the classes.

    Returns:
        The entities of each sentence.
    """
    return [
        [LabelledSpan(labels[label], start, end) for label, start, end in rows if label != IGNORE_INDEX]
        for rows in padded.tolist()
    ]
