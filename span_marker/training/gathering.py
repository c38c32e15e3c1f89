"""Entities found in evaluation, as padded arrays that processes can exchange, and back to entities of sentences."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from span_marker.core.alignment import trim_words
from span_marker.core.decoding import Decoder, FloatArray, ScoredSpan
from span_marker.core.labels import LabelledSpan
from span_marker.core.spans import IntArray
from span_marker.preprocessing.data_collator import IGNORE_INDEX, pad_entities


def pad_spans(spans: Sequence[Sequence[ScoredSpan]]) -> tuple[IntArray, FloatArray]:
    """Stack the spans of several sentences.

    Args:
        spans: The spans of each sentence.

    Returns:
        Class ID, first word and the word behind the last, ``(batch, max_spans, 3)``, and scores, ``(batch,
        max_spans)``, both padded with `IGNORE_INDEX`.
    """
    arrays = [np.array([span[:3] for span in sentence], dtype=np.int64).reshape(-1, 3) for sentence in spans]
    entities = pad_entities(arrays)
    scores = np.full(entities.shape[:2], IGNORE_INDEX, dtype=np.float32)
    for row, sentence in zip(scores, spans, strict=True):
        row[: len(sentence)] = [span.score for span in sentence]
    return entities, scores


def merge_windows(predictions: Any, label_ids: Any, decoder: Decoder) -> tuple[Any, Any]:
    """Merge the windows of each sentence, and resolve overlaps. Predicted entities lose blank words at their edges.

    Args:
        predictions: Gathered predictions of ``Trainer.prediction_step``: entities, their scores, the index of the
            sentence of each row, its blank words, and counts of candidates.
        label_ids: Gold entities and number of words of each row; None without annotations.
        decoder: Resolves overlaps.

    Returns:
        Predictions and labels per sentence. Predictions are entities and scores, see `pad_spans`. Labels are gold
        entities in the same form and the number of words of each sentence; None without annotations.
    """
    entities, scores, sentences, blank_words, _ = predictions
    places = {sentence: place for place, sentence in enumerate(sorted(set(sentences.tolist())))}
    rows = [places[sentence] for sentence in sentences.tolist()]
    spans: list[list[ScoredSpan]] = [[] for _ in places]
    for row, row_entities, row_scores in zip(rows, entities.tolist(), scores.tolist(), strict=True):
        spans[row] += [
            ScoredSpan(class_id, start, end, score)
            for (class_id, start, end), score in zip(row_entities, row_scores, strict=True)
            if class_id != IGNORE_INDEX
        ]
    blank: list[dict[int, bool]] = [{} for _ in places]
    for row, row_blank in zip(rows, blank_words.tolist(), strict=True):
        blank[row] |= {word: bool(is_space) for word, is_space in row_blank if word != IGNORE_INDEX}
    predictions = pad_spans([_trim(decoder.select(spans[row]), blank[row]) for row in range(len(spans))])
    if label_ids is None:
        return predictions, None
    gold: list[list[list[int]]] = [[] for _ in places]
    num_words = np.zeros(len(places), dtype=np.int64)
    for row, row_gold, row_words in zip(rows, label_ids[0].tolist(), label_ids[1].tolist(), strict=True):
        gold[row] += [entity for entity in row_gold if entity[0] != IGNORE_INDEX]
        num_words[row] += row_words
    arrays = [np.array(sentence, dtype=np.int64).reshape(-1, 3) for sentence in gold]
    return predictions, (pad_entities(arrays), num_words)


def _trim(spans: Sequence[ScoredSpan], blank: Mapping[int, bool]) -> list[ScoredSpan]:
    """Trim predicted entities like gold ones, see `trim_words`. Of equal results, the most probable is kept."""
    if not blank:
        return list(spans)
    trimmed: dict[tuple[int, int, int], ScoredSpan] = {}
    for span in sorted(spans, key=lambda span: -span.score):
        start, end = trim_words(span.start, span.end, blank)
        if start < end:  # white space is no entity
            trimmed.setdefault((start, end, span.label_id), span._replace(start=start, end=end))
    return [trimmed[key] for key in sorted(trimmed)]


def unpad_entities(padded: np.ndarray[Any, Any], classes: Sequence[str]) -> list[list[LabelledSpan]]:
    """Read padded entities, see `pad_spans`.

    Args:
        padded: Padded entities, ``(num_sentences, max_entities, 3)``.
        classes: Names of the classes.

    Returns:
        The entities of each sentence.
    """
    return [
        [LabelledSpan(classes[class_id], start, end) for class_id, start, end in rows if class_id != IGNORE_INDEX]
        for rows in padded.tolist()
    ]
