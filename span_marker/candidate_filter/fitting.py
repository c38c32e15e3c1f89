"""Fitting a candidate filter to a trained model.

The teacher is the model itself without a filter: the filter must keep whatever the model would have found.
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
from span_marker.configuration import SpanMarkerConfig
from span_marker.core.decoding import Decoder, ScoredSpans, probabilities
from span_marker.preprocessing.batching import run_in_batches
from span_marker.preprocessing.data_collator import SpanMarkerDataCollator
from span_marker.preprocessing.inputs import Sentences
from span_marker.preprocessing.pieces import into_pieces, tokenize
from span_marker.preprocessing.tokenizer import SpanMarkerTokenizer

HELD_OUT = 5
"""Every fifth sentence is held out to choose the threshold on, unless the caller passes held-out text."""


EPOCHS = 15

LEARNING_RATE = 2e-3

WARM_UP = 0.1
"""Share of the steps in which the learning rate rises."""


class Examined(NamedTuple):
    """What a model makes of a batch without its filter's threshold, for a filter to learn from.

    Attributes:
        logits: Class scores of the candidates that got markers, ``(num_kept, num_labels)``.
        kept: Indices of these candidates, ascending, ``(num_kept,)``.
        text_states: States of the text tokens, ``(num_tokens, input_size)``.
        span_rows: Rows of the first and last token of each candidate in them, ``(num_spans, 2)``.
    """

    logits: Tensor
    kept: Tensor
    text_states: Tensor
    span_rows: Tensor


@dataclass(frozen=True)
class Examples:
    """Candidates of a batch of texts, and what the model makes of them.

    Attributes:
        text_states: States of tokens with which candidates begin or end, ``(num_tokens, input_size)``.
        span_rows: Rows of each candidate's first and last token in them, ``(num_spans, 2)``.
        span_lengths: Words of each candidate, ``(num_spans,)``.
        probabilities: Probability that it is an entity, ``(num_spans,)``.
        is_entity: Whether the model predicts it as an entity, ``(num_spans,)``.
        has_markers: Whether the model gave it markers, ``(num_spans,)``.
    """

    text_states: Tensor
    span_rows: Tensor
    span_lengths: Tensor
    probabilities: Tensor
    is_entity: Tensor
    has_markers: Tensor


Examine = Callable[[dict[str, Tensor]], Examined]
"""Looks at a batch, see `span_marker.candidate_filter.mixin.SpanFilterMixin.examine`."""


def collect_examples(
    sentences: Sentences,
    examine: Examine,
    tokenizer: SpanMarkerTokenizer,
    config: SpanMarkerConfig,
    max_tokens: int,
    batch_size: int,
) -> Iterator[Examples]:
    """Let a model look at some sentences.

    Args:
        sentences: The sentences; with document context, whole documents.
        examine: Looks at a batch.
        tokenizer: The model's tokenizer.
        config: The model's configuration.
        max_tokens: The text limit, special tokens included.
        batch_size: The most sentences of a batch.

    Yields:
        What it makes of a batch; what it gives no markers is no entity.
    """
    pieces = into_pieces(sentences, tokenize(sentences, tokenizer), tokenizer, config, max_tokens)
    collator = SpanMarkerDataCollator.for_model(tokenizer, config)
    decoder = config.decoder()
    for _, batch, seen in run_in_batches(examine, [piece.features() for piece in pieces], collator, batch_size):
        kept = seen.kept.cpu()
        span_words = batch["span_words"]
        probability, is_entity, has_markers = torch.zeros(3, len(span_words)).unbind()
        probability[kept] = entity_probabilities(seen.logits, decoder)
        is_entity[kept] = entities_among(ScoredSpans.from_batch(batch, seen.logits, kept), decoder).float()
        has_markers[kept] = 1
        used, span_rows = seen.span_rows.unique(return_inverse=True)
        yield Examples(
            text_states=seen.text_states[used].cpu(),
            span_rows=span_rows.cpu(),
            span_lengths=span_words[:, 1] - span_words[:, 0],
            probabilities=probability,
            is_entity=is_entity.bool(),
            has_markers=has_markers.bool(),
        )


def entity_probabilities(logits: Tensor, decoder: Decoder) -> Tensor:
    """Compute how probable it is that candidates are entities.

    Args:
        logits: Class scores, ``(num_spans, num_labels)``.
        decoder: How scores become entities.

    Returns:
        Probability of an entity of any label, or of a multi-label model that of the most probable, ``(num_spans,)``.
    """
    scores = torch.from_numpy(probabilities(logits, decoder.multi_label, decoder.temperature))
    if not decoder.multi_label:
        return 1 - scores[:, decoder.outside_id]
    scores[:, decoder.outside_id] = 0
    return scores.amax(dim=1)


def entities_among(scored: ScoredSpans, decoder: Decoder) -> Tensor:
    """Find the candidates that are given out as entities.

    Args:
        scored: Candidates of a batch.
        decoder: How scores become entities.

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
    codes, of_entities = (
        rows @ np.array([base * base, base, 1])
        for rows in (candidates, np.array(entities, dtype=np.int64).reshape(-1, 3))
    )
    return torch.from_numpy(np.isin(codes, of_entities))


def split_held_out(sentences: Sentences) -> tuple[Sentences, Sentences]:
    """Hold out every fifth sentence, or document if there are documents.

    Args:
        sentences: The sentences.

    Returns:
        Those to learn from, and those that are held out.
    """
    groups = sentences.documents() or [[row] for row in range(len(sentences.items))]
    held_out = groups[HELD_OUT - 1 :: HELD_OUT]
    rest = [group for place, group in enumerate(groups, start=1) if place % HELD_OUT]
    first, second = (sentences.take([row for group in some for row in group]) for some in (rest, held_out))
    return first, second


@torch.enable_grad()
def fit_filter(examples: Sequence[Examples], seed: int) -> SpanFilter:
    """Teach a new filter the probabilities that a model gives to candidates.

    Args:
        examples: What the model makes of candidates.
        seed: Decides about the filter's first weights and the order of the examples.

    Returns:
        The filter, in float32 on the CPU.

    Raises:
        ValueError: If no candidate is an entity.
    """
    if not any(some.is_entity.any() for some in examples):
        raise ValueError(
            "the model finds no entity in the text that a candidate filter is to learn from: pass more, or text like "
            "that which the model was trained on"
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
        some = examples[index]
        scores = span_filter(some.text_states.float(), some.span_rows, some.span_lengths)
        loss = filter_loss(scores, some.probabilities) / max(len(scores), 1)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return span_filter
