"""Predict: from any input that holds sentences to entities as dicts, in batches of similar sentences."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from torch import Tensor
from tqdm.auto import tqdm

from span_marker.configuration import SpanMarkerConfig, check_limit
from span_marker.data_collator import SpanMarkerDataCollator, sentence_features
from span_marker.decoding import FloatArray, ScoredSpan, decode_flat
from span_marker.sentences import Sentences, encode, read_inputs
from span_marker.spans import IntArray, num_candidates
from span_marker.tokenizer import EncodedSentence, SpanMarkerTokenizer

logger = logging.getLogger(__name__)

BLOCK_SIZE = 4096
"""Sentences that are tokenized and sorted at a time."""

BATCH_TOKENS = 8192
"""Tokens of a batch, text and markers together, unless a single sentence has more."""

Score = Callable[[dict[str, Tensor]], tuple[IntArray, FloatArray]]
"""A batch to the best class of each candidate and its probability, both ``(num_spans,)``."""


def batches(encoded: Sequence[EncodedSentence], entity_max_length: int, batch_size: int) -> Iterator[list[int]]:
    """Group sentences of similar cost, the longest first, so that memory runs out at once or never.

    Args:
        encoded: The sentences.
        entity_max_length: Words of the longest candidate.
        batch_size: The most sentences of a batch.

    Yields:
        Indices of the sentences of a batch: at most ``batch_size``, and at most `BATCH_TOKENS` tokens.
    """
    costs = [len(s.input_ids) + 2 * num_candidates(s.num_words, entity_max_length) for s in encoded]
    batch: list[int] = []
    total = 0
    for index in sorted(range(len(encoded)), key=costs.__getitem__, reverse=True):
        if batch and (len(batch) == batch_size or total + costs[index] > BATCH_TOKENS):
            yield batch
            batch, total = [], 0
        batch.append(index)
        total += costs[index]
    if batch:
        yield batch


def predict(
    inputs: Any,
    score: Score,
    tokenizer: SpanMarkerTokenizer,
    config: SpanMarkerConfig,
    max_tokens: int,
    batch_size: int,
    show_progress_bar: bool,
) -> list[Any]:
    """Find the entities of the input. See ``SpanMarkerModel.predict``.

    Args:
        inputs: See `read_inputs`.
        score: Scores a batch.
        tokenizer: The model's tokenizer.
        config: The model's configuration.
        max_tokens: The text limit, special tokens included.
        batch_size: The most sentences of a batch.
        show_progress_bar: Whether to show a progress bar.

    Returns:
        Entities as dicts: a list for a single sentence, else a list of lists.

    Raises:
        TypeError: If the input is nothing of the kind.
        ValueError: If ``batch_size`` is below 1, or a `Dataset` lacks a column.
    """
    check_limit("batch_size", batch_size, at_least=1)
    sentences, is_single = read_inputs(inputs)
    _warn_of_context(sentences.document_ids is not None, config.trained_with_document_context)
    collator = SpanMarkerDataCollator(tokenizer.pad_token_id, config.entity_max_length, config.outside_id)
    labels = config.reduced_labels
    results: list[list[dict[str, Any]]] = [[]] * len(sentences.items)
    num_cut = 0
    with tqdm(total=len(sentences.items), desc="Predicting", disable=not show_progress_bar) as progress:
        for block_rows in _blocks(sentences):
            block = sentences.take(block_rows)
            encoded = encode(block, tokenizer, config, max_tokens)
            found: list[list[ScoredSpan]] = [[]] * len(encoded)
            for rows in batches(encoded, config.entity_max_length, batch_size):
                batch = collator([sentence_features(encoded[row]) for row in rows])
                spans = decode_flat(
                    *score(batch), batch["span_words"].numpy(), batch["span_counts"].numpy(), config.outside_id
                )
                for row, kept in zip(rows, spans, strict=True):
                    found[row] = kept
                progress.update(len(rows))
            num_cut += sum(sentence.num_cut_tokens > 0 for sentence in encoded)
            for row, item, sentence, kept in zip(block_rows, block.items, encoded, found, strict=True):
                entities = [_as_dict(span, item, sentence, labels) for span in kept]
                results[row] = [entity for entity in entities if entity["span"]]  # white space is no entity
    if num_cut:
        logger.warning(
            "%d of %d sentences were cut to the text limit of %d tokens: no entity is found behind it. Load the model "
            "with a larger model_max_length if its encoder has room, or split the text.",
            num_cut,
            len(results),
            max_tokens,
        )
    return results[0] if is_single else results


def _warn_of_context(has_context: bool, trained_with_context: bool) -> None:
    if has_context and not trained_with_context:
        logger.warning(
            "The model was trained without document context, but the data set brings it: drop the columns "
            "'document_id' and 'sentence_id' to predict as the model was trained."
        )
    if trained_with_context and not has_context:
        logger.warning(
            "The model was trained with document context, but there is none: pass a Dataset with the columns "
            "'tokens', 'document_id' and 'sentence_id' to predict as the model was trained."
        )


def _blocks(sentences: Sentences) -> Iterator[list[int]]:
    """Cut many sentences into blocks, by row; the sentences of a document need each other and stay together."""
    if sentences.document_ids is None:
        rows = range(len(sentences.items))
        yield from (list(rows[first : first + BLOCK_SIZE]) for first in range(0, len(rows), BLOCK_SIZE))
        return
    block: list[int] = []
    for document in sentences.documents():
        if block and len(block) + len(document) > BLOCK_SIZE:
            yield block
            block = []
        block += document
    if block:
        yield block


def _as_dict(span: ScoredSpan, item: Any, sentence: EncodedSentence, labels: list[str]) -> dict[str, Any]:
    label, score = labels[span.label_id], span.score
    if sentence.char_starts is None or sentence.char_ends is None:
        words = list(item[span.start : span.end])
        return {
            "span": words,
            "label": label,
            "score": score,
            "word_start_index": span.start,
            "word_end_index": span.end,
        }
    start, end = int(sentence.char_starts[span.start]), int(sentence.char_ends[span.end - 1])
    text = item[start:end].strip()
    start += item[start:end].find(text)
    return {
        "span": text,
        "label": label,
        "score": score,
        "char_start_index": start,
        "char_end_index": start + len(text),
    }
