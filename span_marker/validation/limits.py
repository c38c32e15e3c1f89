"""Limits suggested from the data, with the recall and time that each costs.

``entity_max_length`` limits which entities can be predicted, and determines the number of candidates of a sentence.
``model_max_length`` determines which sentences are read as a whole. Longer ones are read in windows, so it costs no
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
from span_marker.core.spans import IntArray, num_candidates
from span_marker.core.tables import TextReport, text_table
from span_marker.core.words import Split
from span_marker.data.columns import ROWS_AT_A_TIME, named_splits, read_rows
from span_marker.encoders.support import max_positions
from span_marker.preprocessing.inputs import Sentences
from span_marker.preprocessing.pieces import tokenize
from span_marker.preprocessing.tokenizer import SpanMarkerTokenizer

logger = logging.getLogger(__name__)

DEFAULT_KEEP = 0.995
"""The minimum share of the entities that a suggested limit keeps."""

SHARES = (0.5, 0.9, 0.95, 0.99, 0.999, 1.0)
"""Shares of the sentences for which text limits are listed."""

BOUNDS = ("entity_max_length", "entities kept", "candidates per sentence", "speed-up", "")

TEXT_COLUMNS = ("sentences", "tokens", "read whole")

STEP = 8
"""Suggested text limits are multiples of this."""


@dataclass(frozen=True)
class EntityLimit:
    """The effect of a value of ``entity_max_length`` on the data.

    Attributes:
        entity_max_length: The limit, in words.
        share_kept: Share of the entities that are not longer, which is the maximum recall of a model.
        num_candidates: Mean number of candidates per sentence.
        speed_up: Number of tokens that run through the encoder with the largest listed limit, divided by that with this
            one.
    """

    entity_max_length: int
    share_kept: float
    num_candidates: float
    speed_up: float


@dataclass(frozen=True)
class TextLimit:
    """How many tokens sentences have.

    Attributes:
        share: Share of the sentences to be read as a whole.
        num_tokens: The smallest text limit for this, including special tokens.
        share_whole: Share of the sentences that are read as a whole with this limit.
    """

    share: float
    num_tokens: int
    share_whole: float


@dataclass(frozen=True)
class LimitsReport(TextReport):
    """Suggested limits, and the tables that they are derived from. As a string, both tables and the suggestion.

    Attributes:
        entity_limits: One limit per different length of an entity, ascending. Limits in between keep no more entities.
        text_limits: One limit per share of `SHARES`.
        entity_max_length: The smallest limit, in words, that keeps the requested share.
        model_max_length: The smallest limit, in tokens, that reads all sentences as a whole, if the encoder supports
            it.
        keep: The requested share.
        num_sentences: Number of sentences in the data.
        num_entities: Number of entities in the data.
        num_cut: Number of entities that do not consist of whole words. No limit keeps them, and they do not count for
            shares.
    """

    entity_limits: tuple[EntityLimit, ...]
    text_limits: tuple[TextLimit, ...]
    entity_max_length: int
    model_max_length: int
    keep: float
    num_sentences: int
    num_entities: int
    num_cut: int

    def __str__(self) -> str:
        lines = [f"{self.num_entities:,} entities in {self.num_sentences:,} sentences"]
        if self.num_cut:
            lines += [f"{self.num_cut:,} of them do not consist of whole words, and no limit keeps them"]
        entity_rows = [
            (
                str(limit.entity_max_length),
                _percent(limit.share_kept),
                f"{limit.num_candidates:.1f}",
                f"{limit.speed_up:.2f}x",
                "<-" if limit.entity_max_length == self.entity_max_length else "",
            )
            for limit in self.entity_limits
        ]
        text_rows = [
            (_percent(limit.share), f"{limit.num_tokens:,}", _percent(limit.share_whole)) for limit in self.text_limits
        ]
        lines += [
            "",
            text_table([BOUNDS, *entity_rows]),
            "",
            text_table([TEXT_COLUMNS, *text_rows]),
            "",
            f"suggested: entity_max_length={self.entity_max_length}, model_max_length={self.model_max_length}",
        ]
        if self.text_limits[-1].num_tokens > self.model_max_length:
            lines += ["longer sentences are read in windows, which costs time but no recall"]
        return "\n".join(lines)


def suggest_limits(
    data: Any,
    tokenizer: SpanMarkerTokenizer,
    keep: float = DEFAULT_KEEP,
    text_limit: int | None = None,
    labels: Sequence[str] | None = None,
    split: Split | None = None,
) -> LimitsReport:
    """Suggest limits for annotated data.

    Args:
        data: A `Dataset`, a DataFrame, a list of dicts, or a dict of several, with the columns ``tokens`` and
            ``entities``, ``text`` and ``entities``, or ``tokens`` and ``ner_tags``.
        tokenizer: The model's tokenizer.
        keep: Share of the entities that the suggested limit must keep, above 0 and at most 1.
        text_limit: The maximum number of tokens that the encoder can read. Defaults to the limit of its tokenizer.
        labels: The tags that integers stand for. Defaults to the names in the data set.
        split: Finds the words of strings, such as ``model.config.split``. Defaults to the tokenizer.

    Returns:
        The suggestion, and the tables that it is derived from.

    Raises:
        TypeError: If ``data`` is not a data set, or a row has the wrong types.
        ValueError: If no entity consists of whole words, an entity or a tag is invalid, tags are integers without
            names, or ``keep`` is out of range.
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
            same_kind = [(item, spans) for item, spans in batch if isinstance(item, str) == are_texts]
            items: list[Any] = [item for item, _ in same_kind]
            encodings = tokenize(Sentences(items, are_texts), tokenizer, split)
            for (item, spans), sentence in zip(same_kind, encodings, strict=True):
                num_entities += len(spans)
                if sentence.char_starts is not None and sentence.char_ends is not None:
                    spans, _ = align(spans, item, sentence.char_starts, sentence.char_ends)
                lengths.update(end - start for _, start, end in spans)
                num_words.append(sentence.num_words)
                num_tokens.append(len(sentence.input_ids) + tokenizer.num_special_tokens)
    if not num_words:
        raise ValueError("the data has no rows: pass annotated data to take limits from")
    if num_entities and not lengths:
        raise ValueError(
            f"none of the {num_entities} entities of the data consists of whole words, so that there is none to take "
            "entity_max_length from: validate(data, model) says whether their offsets are shifted"
        )
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
    """Set limits that are ``"auto"`` from the training data, and log them in one line.

    Args:
        config: The model's configuration.
        train_dataset: The training data.
        tokenizer: The model's tokenizer.
    """
    limits = [name for name in ("entity_max_length", "model_max_length") if getattr(config, name) == AUTO]
    if not limits:
        return
    suggestion = suggest_limits(
        {"training": train_dataset},
        tokenizer,
        text_limit=max_positions(config.encoder),
        labels=config.tags,
        split=config.split,
    )
    chosen = []
    if config.entity_max_length == AUTO:
        config.entity_max_length = suggestion.entity_max_length
        kept = {limit.entity_max_length: limit.share_kept for limit in suggestion.entity_limits}
        chosen.append(
            f"entity_max_length={suggestion.entity_max_length} (in words of the tokenizer), which keeps "
            f"{_percent(kept[suggestion.entity_max_length])} of the entities, the longest of which has {max(kept)}"
        )
    if config.model_max_length == AUTO:
        # A higher limit costs nothing for short texts, and other texts may be longer or have document context.
        largest = max_positions(config.encoder)
        limit = max(suggestion.model_max_length, config.model_max_length_default)
        config.model_max_length = limit if largest is None else min(limit, largest)
        chosen.append(f"model_max_length={config.model_max_length} (in tokens)")
    logger.info("Set from the training data: %s.", "; ".join(chosen))


def suggest_entity_max_length(lengths: IntArray | Counter[int], keep: float = DEFAULT_KEEP) -> int:
    """Find the smallest limit that keeps a share of the entities.

    Args:
        lengths: Number of words of each entity, ``(num_entities,)``, or how many entities have each number of words.
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
        raise ValueError(f"keep={keep}, the share of the entities to keep, must be above 0 and at most 1")
    words, kept = _cumulate(lengths)
    if not len(words):
        raise ValueError("there is no entity to take entity_max_length from: pass it as a number")
    return int(words[np.argmax(kept / kept[-1] >= keep)])


def entity_limits(
    lengths: IntArray | Counter[int], num_words: IntArray, num_text_tokens: int
) -> tuple[EntityLimit, ...]:
    """Compute the effect of each ``entity_max_length``.

    Args:
        lengths: Number of words of each entity, or how many entities have each number of words.
        num_words: Number of words of each sentence, ``(num_sentences,)``.
        num_text_tokens: Number of tokens of all sentences together.

    Returns:
        One limit per different length of an entity, ascending.
    """
    words, kept = _cumulate(lengths)
    sizes, counts = np.unique(num_words, return_counts=True)
    candidates = num_candidates(sizes, words[:, None]) @ counts  # (num_limits,)
    cost = num_text_tokens + 2 * candidates  # tokens that run through the linear layers
    return tuple(
        EntityLimit(int(limit), float(number / kept[-1]), float(total / len(num_words)), float(cost[-1] / tokens))
        for limit, number, total, tokens in zip(words, kept, candidates, cost, strict=True)
    )


def text_limits(num_tokens: IntArray) -> tuple[TextLimit, ...]:
    """Compute how many tokens sentences have.

    Args:
        num_tokens: Number of tokens of each sentence, including special tokens, ``(num_sentences,)``, at least one.

    Returns:
        One limit per share of `SHARES`.
    """
    needed = np.quantile(num_tokens, SHARES, method="inverted_cdf")
    return tuple(
        TextLimit(share, int(tokens), float(np.mean(num_tokens <= tokens)))
        for share, tokens in zip(SHARES, needed, strict=True)
    )


def _cumulate(lengths: IntArray | Counter[int]) -> tuple[IntArray, IntArray]:
    """The different lengths, ascending, and how many entities are not longer than each."""
    counts = lengths if isinstance(lengths, Counter) else Counter(lengths.tolist())
    words = sorted(counts)
    return np.array(words), np.cumsum([counts[length] for length in words], dtype=np.int64)


def _percent(share: float) -> str:
    """Format a share in percent. Only the whole is formatted as 100.00%."""
    text = f"{share:.2%}"
    return "99.99%" if text == "100.00%" and share < 1 else text
