"""Fitting a candidate filter to a trained model.

The teacher is the model itself without a filter, since the filter must keep what the model would predict.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from span_marker.candidate_filter.head import SpanFilter, filter_loss
from span_marker.core.arrays import Array, as_array
from span_marker.core.decoding import Decoder, ScoredSpans, probabilities
from span_marker.preprocessing.batching import HireWorkers, in_turn, run_in_batches
from span_marker.preprocessing.inputs import Sentences
from span_marker.preprocessing.preprocessor import Preprocessor

HELD_OUT = 5
"""Every fifth sentence is held out to choose the threshold, unless the caller passes held-out text."""


EPOCHS = 15

LEARNING_RATE = 2e-3

WARM_UP = 0.1
"""Share of the steps over which the learning rate is warmed up."""


class Examined(NamedTuple):
    """Output of a model for a batch, without the threshold of its filter, for a filter to learn from.

    Attributes:
        logits: Class scores of the candidates that got markers, ``(num_kept, num_labels)``.
        kept: Indices of these candidates, ascending, ``(num_kept,)``.
        text_states: States of the text tokens, ``(num_tokens, input_size)``.
        span_rows: Rows of ``text_states`` for the first and last token of each candidate, ``(num_spans, 2)``.
    """

    logits: Tensor
    kept: Tensor
    text_states: Tensor
    span_rows: Tensor


@dataclass(frozen=True)
class Examples:
    """Candidates of a batch of texts, with the predictions of the model for them.

    Attributes:
        text_states: States of tokens that begin or end candidates, ``(num_tokens, input_size)``.
        span_rows: Rows of ``text_states`` for the first and last token of each candidate, ``(num_spans, 2)``.
        span_lengths: Number of words of each candidate, ``(num_spans,)``.
        probabilities: Probability that each candidate is an entity, ``(num_spans,)``.
        is_entity: Whether the model predicts it as an entity, ``(num_spans,)``.
        has_markers: Whether the model gave it markers, ``(num_spans,)``.
    """

    text_states: Tensor
    span_rows: Tensor
    span_lengths: Tensor
    probabilities: Tensor
    is_entity: Tensor
    has_markers: Tensor


Examine = Callable[[dict[str, Array]], Examined]
"""Examines a batch, see `span_marker.candidate_filter.mixin.SpanFilterMixin.examine`."""


def collect_examples(
    sentences: Sentences,
    examine: Examine,
    preprocessor: Preprocessor,
    batch_size: int,
    hire: HireWorkers = in_turn,
) -> Iterator[Examples]:
    """Collect the predictions of a model for sentences.

    Args:
        sentences: The sentences; with document context, whole documents.
        examine: Examines a batch.
        preprocessor: The model's preprocessor.
        batch_size: The maximum number of sentences in a batch.
        hire: Starts the workers that examine the batches.

    Yields:
        The candidates of a batch. Candidates without markers are not entities.
    """
    pieces = preprocessor.pieces(sentences, preprocessor.encode(sentences))
    features = [piece.features() for piece in pieces]
    decoder = preprocessor.config.decoder()
    for _, batch, examined in run_in_batches(examine, features, preprocessor.collator, batch_size, hire=hire):
        kept = examined.kept.cpu()
        span_words = torch.from_numpy(batch["span_words"])
        probability, is_entity, has_markers = torch.zeros(3, len(span_words)).unbind()
        probability[kept] = entity_probabilities(examined.logits, decoder)
        is_entity[kept] = entities_among(ScoredSpans.from_batch(batch, examined.logits, kept), decoder).float()
        has_markers[kept] = 1
        used, span_rows = examined.span_rows.unique(return_inverse=True)
        yield Examples(
            text_states=examined.text_states[used].cpu(),
            span_rows=span_rows.cpu(),
            span_lengths=span_words[:, 1] - span_words[:, 0],
            probabilities=probability,
            is_entity=is_entity.bool(),
            has_markers=has_markers.bool(),
        )


def entity_probabilities(logits: Tensor, decoder: Decoder) -> Tensor:
    """Compute the probability that candidates are entities.

    Args:
        logits: Class scores, ``(num_spans, num_labels)``.
        decoder: How class scores become entities.

    Returns:
        Probability of an entity of any label, or, for multi-label models, of the most probable label, ``(num_spans,)``.
    """
    scores = torch.from_numpy(probabilities(as_array(logits), decoder.multi_label, decoder.temperature))
    if not decoder.multi_label:
        return 1 - scores[:, decoder.outside_id]
    scores[:, decoder.outside_id] = 0
    return scores.amax(dim=1)


def entities_among(scored: ScoredSpans, decoder: Decoder) -> Tensor:
    """Find the candidates that are predicted as entities.

    Args:
        scored: Candidates of a batch.
        decoder: How class scores become entities.

    Returns:
        True for entities, ``(num_spans,)``.
    """
    entities = [
        (sentence, span.start, span.end)
        for sentence, proposals in enumerate(decoder.propose(*scored))
        for span in decoder.select(proposals)
    ]
    sentences = np.repeat(np.arange(len(scored.span_counts)), scored.span_counts)
    candidates = np.column_stack([sentences, scored.span_words])
    base = candidates.max(initial=0) + 1
    span_codes, entity_codes = (
        rows @ np.array([base * base, base, 1])
        for rows in (candidates, np.array(entities, dtype=np.int64).reshape(-1, 3))
    )
    return torch.from_numpy(np.isin(span_codes, entity_codes))


def split_held_out(sentences: Sentences) -> tuple[Sentences, Sentences]:
    """Hold out every fifth sentence, or every fifth document if there are documents.

    Args:
        sentences: The sentences.

    Returns:
        The sentences to learn from, and the held-out ones.
    """
    groups = sentences.documents() or [[row] for row in range(len(sentences.items))]
    held_out = groups[HELD_OUT - 1 :: HELD_OUT]
    rest = [group for place, group in enumerate(groups, start=1) if place % HELD_OUT]
    first, second = (sentences.take(list(itertools.chain.from_iterable(groups))) for groups in (rest, held_out))
    return first, second


@torch.enable_grad()
def fit_filter(examples: Sequence[Examples], seed: int) -> SpanFilter:
    """Fit a new filter to the probabilities that a model computes for candidates.

    Args:
        examples: Candidates with the predictions of the model.
        seed: Seed of the filter's initial weights and of the order of the examples.

    Returns:
        The filter, in float32 on the CPU.

    Raises:
        ValueError: If no candidate is an entity.
    """
    if not any(batch.is_entity.any() for batch in examples):
        raise ValueError(
            "the model finds no entity in the text that the candidate filter is fitted to: pass more text, or text "
            "similar to the training data of the model"
        )
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)  # torch.manual_seed would seed accelerators, too
        span_filter = SpanFilter(examples[0].text_states.shape[1])
        orders = [torch.randperm(len(examples)).tolist() for _ in range(EPOCHS)]
    parameters = list(span_filter.parameters())
    optimizer = torch.optim.AdamW(parameters, LEARNING_RATE)
    num_steps = EPOCHS * len(examples)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, LEARNING_RATE, num_steps, pct_start=WARM_UP)
    for index in itertools.chain.from_iterable(orders):
        batch = examples[index]
        scores = span_filter(batch.text_states.float(), batch.span_rows, batch.span_lengths)
        loss = filter_loss(scores, batch.probabilities) / max(len(scores), 1)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return span_filter
