"""Entities in evaluation: as padded arrays that processes can exchange, and converted back to those of sentences."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from span_marker.core.alignment import trim_words
from span_marker.core.decoding import Decoder, FloatArray, ScoredSpan
from span_marker.core.labels import LabelledSpan
from span_marker.core.spans import IntArray
from span_marker.preprocessing.data_collator import IGNORE_INDEX, pad_entities

PROPOSALS_PER_WORD = 4
"""The maximum number of ranked proposals per word of a sentence or window: more than flat entities, of which there is
at most one per word, and nested ones, of which there are at most two per word and label."""


class Gathered(NamedTuple):
    """The predictions that evaluation gathers from all batches and processes. Rows are sentences or windows.

    Attributes:
        entities: The selected entities of a sentence, or the proposed ones of a window, see `pad_spans`.
        scores: Their scores.
        ranked_entities: Spans that would be selected, or proposed, at a threshold of 0, see `proposal_limits`.
        ranked_scores: Their scores.
        sentences: Index of the sentence, ``(num_rows,)``.
        blank_words: Blank words of the sentence, only in its first row, ``(num_rows, max_blank_words, 2)``.
        counts: Number of candidates with markers and of all candidates, ``(num_rows, 2)``.
    """

    entities: Any
    scores: Any
    ranked_entities: Any
    ranked_scores: Any
    sentences: Any
    blank_words: Any
    counts: Any


class FoundEntities(NamedTuple):
    """The predicted entities of a sentence.

    Attributes:
        row: Index of the sentence.
        entities: The entities, as the model predicts them.
        blank: Words in which no character counts, each with whether it is white space, see
            `span_marker.core.alignment.trim_words`.
    """

    row: int
    entities: Sequence[ScoredSpan]
    blank: Mapping[int, bool]


def proposal_limits(span_words: IntArray, span_counts: IntArray) -> IntArray:
    """Compute how many proposals are ranked: `PROPOSALS_PER_WORD`, regardless of the length of candidates.

    Args:
        span_words: First word and word after the last of each candidate, ``(num_spans, 2)``.
        span_counts: Number of candidates per row, ``(num_rows,)``.

    Returns:
        The maximum number of proposals of each row, ``(num_rows,)``.

    Example:
        >>> proposal_limits(np.array([[0, 1], [0, 2], [1, 2], [7, 8]]), np.array([3, 0, 1])).tolist()
        [8, 0, 4]
    """
    rows = np.repeat(np.arange(len(span_counts)), span_counts)
    end = np.zeros(len(span_counts), dtype=np.int64)
    np.maximum.at(end, rows, span_words[:, 1])
    start = end.copy()
    np.minimum.at(start, rows, span_words[:, 0])
    return PROPOSALS_PER_WORD * (end - start)


def pad_spans(spans: Sequence[Sequence[ScoredSpan]]) -> tuple[IntArray, FloatArray]:
    """Stack the spans of several sentences.

    Args:
        spans: The spans of each sentence.

    Returns:
        Class ID, first word and the word after the last, ``(batch, max_spans, 3)``, and scores, ``(batch, max_spans)``,
        both padded with `IGNORE_INDEX`.
    """
    arrays = [np.array([span[:3] for span in sentence], dtype=np.int64).reshape(-1, 3) for sentence in spans]
    entities = pad_entities(arrays)
    scores = np.full(entities.shape[:2], IGNORE_INDEX, dtype=np.float32)
    for row, sentence in zip(scores, spans, strict=True):
        row[: len(sentence)] = [span.score for span in sentence]
    return entities, scores


def merge_windows(gathered: Gathered, label_ids: Any, decoder: Decoder) -> tuple[Any, Any]:
    """Merge the windows of each sentence, and resolve overlaps. Blank words at the edges of entities are removed.

    Args:
        gathered: Gathered predictions of ``Trainer.prediction_step``.
        label_ids: Gold entities and number of words of each row; None without annotations.
        decoder: Resolves overlaps.

    Returns:
        Predictions and labels per sentence. Predictions are entities and scores, see `pad_spans`. Labels are gold
        entities in the same form and the number of words of each sentence; None without annotations.
    """
    rows, num_sentences = _sentence_rows(gathered)
    predictions = _merge_spans(gathered.entities, gathered.scores, gathered, decoder)
    if label_ids is None:
        return predictions, None
    gold: list[list[list[int]]] = [[] for _ in range(num_sentences)]
    num_words = np.zeros(num_sentences, dtype=np.int64)
    for row, row_gold, row_words in zip(rows, label_ids[0].tolist(), label_ids[1].tolist(), strict=True):
        gold[row] += [entity for entity in row_gold if entity[0] != IGNORE_INDEX]
        num_words[row] += row_words
    arrays = [np.array(sentence, dtype=np.int64).reshape(-1, 3) for sentence in gold]
    return predictions, (pad_entities(arrays), num_words)


def merge_ranked(gathered: Gathered, decoder: Decoder) -> tuple[IntArray, FloatArray]:
    """Merge the ranked spans of the windows of each sentence like the entities, see `merge_windows`.

    Args:
        gathered: See `merge_windows`.
        decoder: Resolves overlaps greedily, see `DecodingRule.greedy`.

    Returns:
        The spans of each sentence, see `pad_spans`. Those at or above any threshold are the entities that the decoder
        selects at this threshold, provided that no more than `PROPOSALS_PER_WORD` are proposed.
    """
    return _merge_spans(gathered.ranked_entities, gathered.ranked_scores, gathered, decoder)


def right_spans(spans: tuple[IntArray, FloatArray], gold: IntArray) -> tuple[FloatArray, npt.NDArray[np.bool_]]:
    """Determine which spans are gold entities.

    Args:
        spans: Spans of each sentence, with scores, see `pad_spans`.
        gold: The gold entities of each sentence, padded, ``(num_sentences, max_entities, 3)``.

    Returns:
        The scores of the spans of all sentences, and whether each is a gold entity, ``(num_spans,)`` each.
    """
    entities, scores = spans
    expected = set(_numbered(gold))
    is_right = np.array([entity in expected for entity in _numbered(entities)], dtype=bool)
    return scores[entities[..., 0] != IGNORE_INDEX], is_right


def _numbered(padded: IntArray) -> list[tuple[int, ...]]:
    """Padded entities as tuples of sentence, class ID, first word and the word after the last."""
    is_entity = padded[..., 0] != IGNORE_INDEX
    rows = np.nonzero(is_entity)[0]
    return list(map(tuple, np.column_stack([rows, padded[is_entity]]).tolist()))


def _sentence_rows(gathered: Gathered) -> tuple[list[int], int]:
    """The place of each row's sentence among all sentences, and the number of sentences."""
    sentences, rows = np.unique(gathered.sentences, return_inverse=True)
    return rows.tolist(), len(sentences)


def _merge_spans(
    entities: IntArray, scores: FloatArray, gathered: Gathered, decoder: Decoder
) -> tuple[IntArray, FloatArray]:
    """Merge padded spans of rows into padded spans of sentences."""
    selected = _select_spans(entities, scores, gathered, decoder)
    return pad_spans([_trim(found, words) for found, words in zip(selected, _blank_words(gathered), strict=True)])


def found_entities(gathered: Gathered, decoder: Decoder) -> list[FoundEntities]:
    """Merge the windows of each sentence like `merge_windows`, but keep blank words at the edges of entities.

    Args:
        gathered: See `merge_windows`.
        decoder: Resolves overlaps.

    Returns:
        The predicted entities of each sentence.
    """
    selected = _select_spans(gathered.entities, gathered.scores, gathered, decoder)
    rows = np.unique(gathered.sentences).tolist()
    return [FoundEntities(*row) for row in zip(rows, selected, _blank_words(gathered), strict=True)]


def _select_spans(
    entities: IntArray, scores: FloatArray, gathered: Gathered, decoder: Decoder
) -> list[list[ScoredSpan]]:
    """Resolve overlaps among the padded spans of the rows of each sentence."""
    rows, num_sentences = _sentence_rows(gathered)
    spans: list[list[ScoredSpan]] = [[] for _ in range(num_sentences)]
    is_span = entities[..., 0] != IGNORE_INDEX
    for (row, class_id, start, end), score in zip(_numbered(entities), scores[is_span].tolist(), strict=True):
        spans[rows[row]].append(ScoredSpan(class_id, start, end, score))
    return [decoder.select(found) for found in spans]


def _blank_words(gathered: Gathered) -> list[dict[int, bool]]:
    """The blank words of each sentence, and whether they consist only of white space."""
    rows, num_sentences = _sentence_rows(gathered)
    blank: list[dict[int, bool]] = [{} for _ in range(num_sentences)]
    for row, row_blank in zip(rows, gathered.blank_words.tolist(), strict=True):
        blank[row] |= {word: bool(is_space) for word, is_space in row_blank if word != IGNORE_INDEX}
    return blank


def _trim(spans: Sequence[ScoredSpan], blank: Mapping[int, bool]) -> list[ScoredSpan]:
    """Trim predicted entities like gold ones, see `trim_words`. Of equal results, the most probable is kept."""
    if not blank:
        return list(spans)
    trimmed: dict[tuple[int, int, int], ScoredSpan] = {}
    for span in sorted(spans, key=lambda span: -span.score):
        start, end = trim_words(span.start, span.end, blank)
        if start < end:  # white space is not an entity
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
