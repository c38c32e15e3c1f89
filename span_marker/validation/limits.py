"""Limits suggested from the data: the recall that each costs, and the speed that it buys.

``entity_max_length`` decides which entities can be found at all, and how many candidates a sentence has.
``model_max_length`` decides how many sentences are read whole; longer ones are read in windows, so that it costs no
recall.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
from datasets import Dataset

from span_marker.configuration import AUTO, SpanMarkerConfig
from span_marker.core.alignment import align
from span_marker.core.spans import IntArray
from span_marker.data.columns import ROWS_AT_A_TIME, named_splits, read_rows
from span_marker.encoders.support import max_positions
from span_marker.preprocessing.tokenizer import SpanMarkerTokenizer

logger = logging.getLogger(__name__)

DEFAULT_KEEP = 0.995
"""Share of the entities that a suggested limit keeps at least."""

SHARES = (0.5, 0.9, 0.95, 0.99, 0.999, 1.0)
"""Shares of the sentences that text limits are listed for."""

STEP = 8
"""Suggested text limits are multiples of it."""


@dataclass(frozen=True)
class EntityLimit:
    """What a value of ``entity_max_length`` means for the data.

    Attributes:
        entity_max_length: The limit, in words.
        share_kept: Share of the entities that are not longer: no model can have a higher recall.
        num_candidates: Candidates of a sentence, on average.
        speed_up: How many times fewer tokens run through the encoder than with the largest limit listed.
    """

    entity_max_length: int
    share_kept: float
    num_candidates: float
    speed_up: float


@dataclass(frozen=True)
class TextLimit:
    """How long sentences are.

    Attributes:
        share: Share of the sentences that were to be read whole.
        num_tokens: The tokens that it takes, special tokens included.
        share_whole: Share of the sentences that are read whole then.
    """

    share: float
    num_tokens: int
    share_whole: float


@dataclass(frozen=True)
class LimitsReport:
    """Suggested limits and what they are taken from; as a string, two tables and the suggestion.

    Attributes:
        entity_limits: One for each length that an entity has, ascending: limits in between keep no more.
        text_limits: One for each of `SHARES`.
        entity_max_length: The shortest limit, in words, that keeps the share asked for.
        model_max_length: The shortest limit, in tokens, that reads all sentences whole, if the encoder can.
        keep: The share asked for.
        num_sentences: Sentences of the data.
        num_entities: Entities of the data, all of them.
        num_cut: Entities that are not made of whole words. No limit keeps them, and they are left out of the shares.
    """

    entity_limits: tuple[EntityLimit, ...]
    text_limits: tuple[TextLimit, ...]
    entity_max_length: int
    model_max_length: int
    keep: float
    num_sentences: int
    num_entities: int
    num_cut: int

    def __repr__(self) -> str:
        lines = [f"{self.num_entities:,} entities in {self.num_sentences:,} sentences"]
        if self.num_cut:
            lines += [f"{self.num_cut:,} of them are not made of whole words; no limit keeps these"]
        lines += ["", "entity_max_length  entities kept  candidates a sentence  speed-up"]
        lines += [
            f"{limit.entity_max_length:>17}  {_percent(limit.share_kept):>13}  {limit.num_candidates:>21.1f}"
            f"  {limit.speed_up:>7.2f}x{' <-' if limit.entity_max_length == self.entity_max_length else ''}"
            for limit in self.entity_limits
        ]
        lines += ["", "sentences   tokens  read whole"]
        lines += [
            f"{_percent(limit.share):>9}  {limit.num_tokens:>7,}  {_percent(limit.share_whole):>10}"
            for limit in self.text_limits
        ]
        lines += [
            "",
            f"suggested: entity_max_length={self.entity_max_length}, model_max_length={self.model_max_length}",
        ]
        if self.text_limits[-1].num_tokens > self.model_max_length:
            lines += ["longer sentences than that are read in windows, which costs time but no recall"]
        return "\n".join(lines)


def suggest_limits(
    data: Any,
    tokenizer: SpanMarkerTokenizer,
    keep: float = DEFAULT_KEEP,
    text_limit: int | None = None,
    labels: Sequence[str] | None = None,
) -> LimitsReport:
    """Suggest limits for annotated data.

    Args:
        data: A `Dataset` or a dict of several, with the columns ``tokens`` and ``entities``, ``text`` and ``entities``,
            or ``tokens`` and ``ner_tags``.
        tokenizer: The model's tokenizer.
        keep: Share of the entities that must not be longer than the suggested limit, above 0 and at most 1.
        text_limit: Tokens of the longest text that the encoder can read; by default what its tokenizer says.
        labels: The label list that integer tags index; by default the names that the data set has for them.

    Returns:
        The suggestion, and the tables that it is taken from.

    Raises:
        TypeError: If it is no data set, or a row is nothing of the kind.
        ValueError: If no entity is made of whole words, an entity or a tag can't be, tags are integers without names,
            or ``keep`` is out of range.
    """
    if not isinstance(tokenizer, SpanMarkerTokenizer):
        raise TypeError(
            f"tokenizer must be a SpanMarkerTokenizer, such as model.tokenizer, not {type(tokenizer).__name__}"
        )
    num_entities = 0
    lengths: Counter[int] = Counter()
    num_words: list[int] = []
    num_tokens: list[int] = []
    rows = (row for name, dataset in named_splits(data).items() for row in read_rows(dataset, name, labels))
    while batch := list(islice(rows, ROWS_AT_A_TIME)):
        for are_texts in {isinstance(item, str) for item, _ in batch}:
            some = [(item, spans) for item, spans in batch if isinstance(item, str) == are_texts]
            items: list[Any] = [item for item, _ in some]
            encoded = tokenizer.encode_texts(items) if are_texts else tokenizer.encode_words(items)
            for (item, spans), sentence in zip(some, encoded, strict=True):
                num_entities += len(spans)
                if sentence.char_starts is not None and sentence.char_ends is not None:
                    spans, _ = align(spans, item, sentence.char_starts, sentence.char_ends)
                lengths.update(end - start for _, start, end in spans)
                num_words.append(sentence.num_words)
                num_tokens.append(len(sentence.input_ids) + tokenizer.num_special_tokens)
    if not num_words:
        raise ValueError("the data has no rows to take limits from")
    suggested = suggest_entity_max_length(lengths, keep)
    limits = [limit for limit in (text_limit, tokenizer.tokenizer.model_max_length) if limit is not None]
    return LimitsReport(
        entity_limits=entity_limits(lengths, np.array(num_words), sum(num_tokens)),
        text_limits=text_limits(np.array(num_tokens)),
        entity_max_length=suggested,
        model_max_length=int(min([-(-max(num_tokens) // STEP) * STEP, *limits])),
        keep=keep,
        num_sentences=len(num_words),
        num_entities=num_entities,
        num_cut=num_entities - lengths.total(),
    )


def set_limits(config: SpanMarkerConfig, train_dataset: Dataset, tokenizer: SpanMarkerTokenizer) -> None:
    """Set the limits that are ``"auto"`` from the training data, and say to what.

    Args:
        config: The model's configuration.
        train_dataset: The data to train on.
        tokenizer: The model's tokenizer.
    """
    limits = [name for name in ("entity_max_length", "model_max_length") if getattr(config, name) == AUTO]
    if not limits:
        return
    suggestion = suggest_limits(
        {"training": train_dataset},
        tokenizer,
        text_limit=max_positions(config.encoder),
        labels=config.given_labels,
    )
    if config.entity_max_length == AUTO:
        config.entity_max_length = suggestion.entity_max_length
    if config.model_max_length == AUTO:
        # Short texts cost no more under a higher limit, and later ones may be longer, or have context around them.
        largest = max_positions(config.encoder)
        wanted = max(suggestion.model_max_length, config.model_max_length_default)
        config.model_max_length = wanted if largest is None else min(wanted, largest)
    chosen = ", ".join(f"{name}={getattr(config, name)}" for name in limits)
    logger.info("%s, from the training data:\n%s", chosen, suggestion)


def suggest_entity_max_length(lengths: IntArray | Counter[int], keep: float = DEFAULT_KEEP) -> int:
    """Find the shortest limit that keeps a share of the entities.

    Args:
        lengths: Words of each entity, ``(num_entities,)``, or how many entities have each number of words.
        keep: The share, above 0 and at most 1.

    Returns:
        The limit, in words.

    Raises:
        ValueError: If there is no entity, or ``keep`` is out of range.

    Example:
        >>> suggest_entity_max_length(np.array([1, 1, 2, 9]), keep=0.75)
        2
    """
    if not 0 < keep <= 1:
        raise ValueError(f"keep={keep} must be above 0 and at most 1: it is the share of the entities to keep")
    words, kept = _cumulate(lengths)
    if not len(words):
        raise ValueError("there is no entity to take entity_max_length from: give it as a number")
    return int(words[np.argmax(kept / kept[-1] >= keep)])


def entity_limits(
    lengths: IntArray | Counter[int], num_words: IntArray, num_text_tokens: int
) -> tuple[EntityLimit, ...]:
    """Tabulate what each limit of the words of an entity keeps and costs.

    Args:
        lengths: Words of each entity, or how many entities have each number of words.
        num_words: Words of each sentence, ``(num_sentences,)``.
        num_text_tokens: Tokens of all sentences.

    Returns:
        One row for each length that an entity has, ascending.
    """
    words, kept = _cumulate(lengths)
    sizes, counts = np.unique(num_words, return_counts=True)
    longest = np.minimum(sizes, words[:, None])  # (num_limits, num_sizes)
    candidates = (longest * sizes - longest * (longest - 1) // 2) @ counts
    cost = num_text_tokens + 2 * candidates  # tokens that run through the linear layers
    return tuple(
        EntityLimit(int(limit), float(number / kept[-1]), float(total / len(num_words)), float(cost[-1] / tokens))
        for limit, number, total, tokens in zip(words, kept, candidates, cost, strict=True)
    )


def text_limits(num_tokens: IntArray) -> tuple[TextLimit, ...]:
    """Tabulate how long sentences are.

    Args:
        num_tokens: Tokens of each sentence, special tokens included, ``(num_sentences,)``, at least one.

    Returns:
        One row for each of `SHARES`.
    """
    needed = np.quantile(num_tokens, SHARES, method="inverted_cdf")
    return tuple(
        TextLimit(share, int(tokens), float(np.mean(num_tokens <= tokens)))
        for share, tokens in zip(SHARES, needed, strict=True)
    )


def _cumulate(lengths: IntArray | Counter[int]) -> tuple[IntArray, IntArray]:
    """The lengths that there are, ascending, and how many entities are not longer than each."""
    counts = lengths if isinstance(lengths, Counter) else Counter(lengths.tolist())
    found = sorted(counts.items())
    return np.array([length for length, _ in found]), np.cumsum([number for _, number in found], dtype=np.int64)


def _percent(share: float) -> str:
    """A share in per cent; a hundred only if it is all."""
    text = f"{share:.2%}"
    return "99.99%" if text == "100.00%" and share < 1 else text
