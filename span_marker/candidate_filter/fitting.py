"""Fitting a candidate filter to a model: what it learns from, where it cuts, and what is to be expected of it.

The teacher is the model itself without a threshold: what must survive is what it would have found.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from span_marker.candidate_filter.head import Examined, SpanFilter, filter_loss
from span_marker.configuration import SpanMarkerConfig
from span_marker.core.checks import check_probability
from span_marker.core.decoding import Decoder, ScoredSpans, probabilities
from span_marker.preprocessing.batching import run_in_batches
from span_marker.preprocessing.data_collator import SpanMarkerDataCollator
from span_marker.preprocessing.inputs import Sentences
from span_marker.preprocessing.pieces import into_pieces, tokenize
from span_marker.preprocessing.tokenizer import SpanMarkerTokenizer

DEFAULT_RECALL = 0.995
"""Share of a model's entities that its filter keeps."""

CONFIDENCE = 0.95
"""How sure a filter's recall must be, given that held-out entities are a sample."""

HELD_OUT = 5
"""One in so many sentences decides where the filter cuts, if the caller brings no other ones."""

RECALLS = (0.9, 0.95, 0.98, 0.99, 0.995, 0.998, 0.999)
"""Recalls that reports list besides the one asked for."""

EPOCHS = 15

LEARNING_RATE = 2e-3

WARM_UP = 0.1
"""Share of the steps in which the learning rate rises."""


@dataclass(frozen=True)
class Examples:
    """Candidates of a batch of texts, and what the model makes of them.

    Attributes:
        text_states: States of tokens with which candidates begin or end, ``(num_tokens, input_size)``.
        span_rows: Rows of each candidate's first and last token in them, ``(num_spans, 2)``.
        span_lengths: Words of each candidate, ``(num_spans,)``.
        probabilities: Probability that it is an entity, ``(num_spans,)``.
        is_entity: Whether it is among the entities that the model gives out, ``(num_spans,)``.
        has_markers: Whether the model gave it markers, ``(num_spans,)``.
    """

    text_states: Tensor
    span_rows: Tensor
    span_lengths: Tensor
    probabilities: Tensor
    is_entity: Tensor
    has_markers: Tensor


Examine = Callable[[dict[str, Tensor]], Examined]
"""Looks at a batch, see `span_marker.network.SpanMarkerNetwork.examine`."""


def examine_all(
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
        is_entity[kept] = entities_among(ScoredSpans.of(batch, seen.logits, kept), decoder).float()
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


def split(sentences: Sentences) -> tuple[Sentences, Sentences]:
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
def learn(examples: Sequence[Examples], seed: int) -> SpanFilter:
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
        torch.manual_seed(seed)
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


@dataclass(frozen=True)
class FilterPoint:
    """A threshold of a filter, and what it keeps of held-out text.

    Attributes:
        recall: The share of the entities that it keeps at least, with `CONFIDENCE`.
        threshold: The least score of a candidate that is kept.
        entities_kept: Share of the held-out entities that it keeps.
        candidates_kept: Share of the held-out candidates that it keeps.
    """

    recall: float
    threshold: float
    entities_kept: float
    candidates_kept: float


@dataclass(frozen=True)
class SpanFilterReport:
    """What a candidate filter keeps; as a string, a table.

    Attributes:
        points: Its thresholds for several recalls, ascending.
        chosen: The one that it has.
        num_entities: Entities of the model in the held-out text.
        num_candidates: Candidates of the held-out text.
    """

    points: tuple[FilterPoint, ...]
    chosen: FilterPoint
    num_entities: int
    num_candidates: int

    def __repr__(self) -> str:
        lines = [
            f"{self.num_entities:,} entities of the model among {self.num_candidates:,} held-out candidates",
            "",
            f"recall, at {CONFIDENCE:.0%} confidence  entities kept  candidates kept  threshold",
        ]
        lines += [
            f"{point.recall:>25.1%}  {point.entities_kept:>13.2%}  {point.candidates_kept:>15.2%}"
            f"  {point.threshold:>9.2f}{' <-' if point is self.chosen else ''}"
            for point in self.points
        ]
        return "\n".join(lines)


def choose_threshold(span_filter: SpanFilter, held_out: Iterable[Examples], recall: float) -> SpanFilterReport:
    """Find the highest threshold with which a filter keeps a share of the entities, and be sure of it.

    With the k-th lowest score of n entities as the threshold, the share of all entities that it drops is at most ``1 -
    recall`` with the probability ``1 - P(B(n, 1 - recall) < k)``, ``B`` being binomial (Wilks 1941, Determination of
    sample sizes for setting tolerance limits). The highest k is taken for which that is at least `CONFIDENCE`.

    Args:
        span_filter: The filter, on the CPU, in the numbers that it is to run in.
        held_out: What the model makes of candidates that the filter has not learned from.
        recall: The share, above 0 and below 1.

    Returns:
        The threshold, and those for other recalls.

    Raises:
        ValueError: If there is no entity, or too few to be sure.
    """
    scores, masks = [torch.empty(0)], [torch.empty(2, 0, dtype=torch.bool)]
    for some in held_out:
        with torch.inference_mode():
            scores.append(span_filter(some.text_states, some.span_rows, some.span_lengths))
        masks.append(torch.stack([some.is_entity, some.has_markers]))
    all_scores, (is_entity, has_markers) = torch.cat(scores).double().numpy(), torch.cat(masks, dim=1).numpy()
    of_entities = np.sort(all_scores[is_entity])
    needed = entities_needed(recall)
    if not len(of_entities):
        raise ValueError("the model finds no entity in the held-out text: has it learned enough?")
    if len(of_entities) < needed:
        lower = f"recall={RECALLS[0]}, for which {entities_needed(RECALLS[0])} entities are enough"
        raise ValueError(
            f"the model finds {len(of_entities)} entities in the held-out text, but it takes {needed} to be sure that "
            f"a candidate filter keeps recall={recall} of them: pass {math.ceil(needed / len(of_entities))} times as "
            f"much held-out text{f', or {lower}' if recall > RECALLS[0] else ''}"
        )
    points = []
    for wanted in sorted({*RECALLS, recall}):
        if entities_needed(wanted) <= len(of_entities):
            threshold = float(of_entities[num_expendable(len(of_entities), wanted)])
            entities_kept, candidates_kept = of_entities >= threshold, (all_scores >= threshold) & has_markers
            points.append(FilterPoint(wanted, threshold, float(entities_kept.mean()), float(candidates_kept.mean())))
    chosen = next(point for point in points if point.recall == recall)
    return SpanFilterReport(tuple(points), chosen, len(of_entities), len(all_scores))


def check_recall(recall: float) -> None:
    """Check the share of the entities that a filter is to keep.

    Args:
        recall: The share.

    Raises:
        TypeError: If it is not a number.
        ValueError: If it is out of range.
    """
    check_probability("recall", recall)
    if recall in (0, 1):
        raise ValueError(f"recall={recall} must be above 0 and below 1: to keep all entities, predict with exact=True")


def entities_needed(recall: float) -> int:
    """Count the held-out entities that it takes to be sure of a recall, if all of them are kept.

    Args:
        recall: The recall, above 0 and below 1.

    Returns:
        How many.

    Example:
        >>> entities_needed(0.995)
        598
    """
    return math.ceil(math.log(1 - CONFIDENCE) / math.log(recall))


def num_expendable(num_entities: int, recall: float) -> int:
    """Count the held-out entities that may be dropped while one can still be sure of a recall.

    Args:
        num_entities: Held-out entities, at least `entities_needed`.
        recall: The recall, above 0 and below 1.

    Returns:
        How many: the largest k with ``P(B(num_entities, 1 - recall) <= k) <= 1 - CONFIDENCE``.

    Example:
        >>> num_expendable(598, 0.995), num_expendable(5000, 0.995)
        (0, 16)
    """
    odds = math.log1p(-recall) - math.log(recall)
    log_probability = num_entities * math.log(recall)  # of dropping none
    total = math.exp(log_probability)
    dropped = 0
    while True:
        log_probability += odds + math.log((num_entities - dropped) / (dropped + 1))
        total += math.exp(log_probability)
        if total > 1 - CONFIDENCE:
            return dropped
        dropped += 1
