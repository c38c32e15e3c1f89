"""Fitting a candidate filter to a trained model, and choosing its threshold.

The teacher is the model itself without a filter, since the filter must keep what the model would predict.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from span_marker.candidate_filter.head import SpanFilter, filter_loss
from span_marker.core.arrays import Array, as_array
from span_marker.core.decoding import Decoder, ScoredSpans, probabilities
from span_marker.core.tolerance import FilterReport, choose_point
from span_marker.preprocessing.batching import HireWorkers, in_turn, run_in_batches
from span_marker.preprocessing.inputs import Sentences
from span_marker.preprocessing.preprocessor import Preprocessor

Filter = TypeVar("Filter", bound=nn.Module)

DEFAULT_RECALL = 0.995
"""Share of the model's entities that its filter must keep."""

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
    """What a filter learns from: candidates, or pairs of entities, of a batch of texts, with the model's predictions.

    Attributes:
        text_states: States of tokens, ``(num_tokens, input_size)``.
        rows: Rows of ``text_states`` for the tokens that markers observe, ``(num_scored, candidate_size)``: the first
            and last token of a candidate, or of both entities of a pair.
        lengths: Number of words of each candidate, or the distance of each pair, ``(num_scored,)``.
        probabilities: Probability that it is an entity, or has a relation, ``(num_scored,)``.
        is_predicted: Whether the model predicts it, ``(num_scored,)``.
        has_markers: Whether the model gave it markers, ``(num_scored,)``.
    """

    text_states: Tensor
    rows: Tensor
    lengths: Tensor
    probabilities: Tensor
    is_predicted: Tensor
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
            rows=span_rows.cpu(),
            lengths=span_words[:, 1] - span_words[:, 0],
            probabilities=probability,
            is_predicted=is_entity.bool(),
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
    if not any(batch.is_predicted.any() for batch in examples):
        raise ValueError(
            "the model finds no entity in the text that the candidate filter is fitted to: pass more text, or text "
            "similar to the training data of the model"
        )
    return learn(SpanFilter, examples, seed)


@torch.enable_grad()
def learn(new_filter: Callable[[int], Filter], examples: Sequence[Examples], seed: int) -> Filter:
    """Train a new filter to reproduce the probabilities of a model.

    Args:
        new_filter: Makes a filter with random weights, for text states of a given size.
        examples: Batches of what the filter scores, see `Examples`.
        seed: Seed of the filter's initial weights and of the order of the batches.

    Returns:
        The filter, in float32 on the CPU.
    """
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)  # torch.manual_seed would seed accelerators, too
        trained = new_filter(examples[0].text_states.shape[1])
        orders = [torch.randperm(len(examples)).tolist() for _ in range(EPOCHS)]
    optimizer = torch.optim.AdamW(list(trained.parameters()), LEARNING_RATE)
    num_steps = EPOCHS * len(examples)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, LEARNING_RATE, num_steps, pct_start=WARM_UP)
    for index in itertools.chain.from_iterable(orders):
        batch = examples[index]
        scores = trained(batch.text_states.float(), batch.rows, batch.lengths)
        loss = filter_loss(scores, batch.probabilities) / max(len(scores), 1)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return trained


def choose_threshold(trained: nn.Module, held_out: Iterable[Examples], recall: float, **names: str) -> FilterReport:
    """Choose the threshold of a filter, see `span_marker.core.tolerance.choose_point`.

    Args:
        trained: The filter, on the CPU, in the data type that it will run in.
        held_out: What the filter has not learned from, with the predictions of the model.
        recall: The share of the predictions to keep, above 0 and below 1.
        **names: Names for the report and errors, see `span_marker.core.tolerance.choose_point`.

    Returns:
        The threshold, and those for other recalls.

    Raises:
        ValueError: If there is no prediction, or too few for the confidence.
    """
    scores, masks = [torch.empty(0)], [torch.empty(2, 0, dtype=torch.bool)]
    for batch in held_out:
        with torch.inference_mode():
            scores.append(trained(batch.text_states, batch.rows, batch.lengths))
        masks.append(torch.stack([batch.is_predicted, batch.has_markers]))
    is_predicted, has_markers = torch.cat(masks, dim=1).numpy()
    return choose_point(torch.cat(scores).double().numpy(), is_predicted, recall, has_markers, **names)
