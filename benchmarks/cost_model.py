"""What documents cost: the operations and bytes of the model, counted from its architecture, and from them the time.

Lengths are in tokens with special tokens (``n``), a candidate has two markers (``m = 2 * kept``), an encoder has
``layers`` layers of size ``d`` whose linear layers have ``W`` weights together (BERT: ``W = 4 d**2 + 2 d f``), and
attention heads ``h``. A product of a matrix and a vector takes two operations per weight (Kaplan et al. 2020, Scaling
Laws for Neural Language Models, section 2.1), and attention ``4 d`` per pair of a query and a key (table 1 there: the
scores and the weighted sum, ``2 d`` each). With the passes of `span_marker.encoders.engines.FastEngine`:

* text: ``(layers - 1) * (2 W n + 4 d n**2) + 6 d**2 n``, since the last layer ends with queries, keys and values;
* markers: ``layers * (2 W m + 4 d m (n + 2))``, since a marker attends to its text and to its pair;
* filter: ``4 d r n`` with rank ``r``, and classifier: ``2 * 4 d * labels`` per candidate that is kept.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any, NamedTuple

import numpy as np
from scipy.optimize import nnls

from span_marker.candidate_filter.head import RANK
from span_marker.core.spans import num_candidates
from span_marker.encoders.engines import CPU_PASS
from span_marker.preprocessing.batching import batches

FLOAT_BYTES = 4

CANDIDATE_SIZE = 2
"""Markers of a candidate."""

HOST_TERMS = ("documents", "batches", "tokens", "candidates", "kept")
"""What the time before and after the encoder is made of: Python, the tokenizer, decoding."""

MODEL_TERMS = ("linear", "attention", "bytes", "layer_runs", "text_runs", "candidates")
"""What the time of the model is made of."""


class Encoder(NamedTuple):
    """The sizes of an encoder.

    Attributes:
        num_layers: Number of layers.
        hidden: Size of a state.
        weights: Weights of the linear layers of one layer.
        inner: Size of the feed-forward layer's inner states.
        num_heads: Number of attention heads.
        num_labels: Number of classes.
    """

    num_layers: int
    hidden: int
    weights: int
    inner: int
    num_heads: int
    num_labels: int

    @classmethod
    def from_config(cls, config: Any, num_labels: int) -> Encoder:
        """Read the sizes of an encoder whose layers are those of BERT."""
        hidden, inner = config.hidden_size, config.intermediate_size
        weights = 4 * hidden**2 + 2 * hidden * inner
        return cls(config.num_hidden_layers, hidden, weights, inner, config.num_attention_heads, num_labels)


class Text(NamedTuple):
    """What is encoded as one text.

    Attributes:
        num_tokens: Number of tokens, special tokens included.
        candidates: Number of candidates.
        kept: Number of candidates that get markers.
    """

    num_tokens: int
    candidates: int
    kept: int

    @classmethod
    def from_lengths(cls, num_words: int, num_tokens: int, max_length: int, per_word: float | None) -> Text:
        """Count the candidates of a text.

        Args:
            num_words: Number of words.
            num_tokens: Number of tokens, special tokens included.
            max_length: ``entity_max_length``, in words.
            per_word: Number of candidates per word that the filter keeps; None for all.
        """
        candidates = num_candidates(num_words, max_length)
        kept = candidates if per_word is None else min(candidates, math.ceil(per_word * num_words))
        return cls(num_tokens, candidates, kept)


@dataclass(frozen=True)
class Work:
    """What has to be done.

    Attributes:
        linear: Operations of linear layers.
        attention: Operations of attention.
        bytes: Bytes that layers read and write: weights once per pass, activations once per operation.
        layer_runs: How often a layer runs.
        text_runs: How often the attention of a layer runs for one text.
        documents: Number of texts.
        batches: Number of batches.
        tokens: Number of tokens.
        candidates: Number of candidates.
        kept: Number of candidates that get markers.
    """

    linear: float = 0
    attention: float = 0
    bytes: float = 0
    layer_runs: float = 0
    text_runs: float = 0
    documents: float = 0
    batches: float = 0
    tokens: float = 0
    candidates: float = 0
    kept: float = 0

    def __add__(self, other: Work) -> Work:
        """Add two pieces of work."""
        return Work(**{field.name: getattr(self, field.name) + getattr(other, field.name) for field in fields(Work)})

    def times(self, factor: float) -> Work:
        """Do it several times."""
        return Work(**{name: factor * value for name, value in asdict(self).items()})

    @property
    def operations(self) -> float:
        """Operations of the model."""
        return self.linear + self.attention


def work_of_batch(encoder: Encoder, texts: Sequence[Text], uses_filter: bool, max_markers: int = CPU_PASS) -> Work:
    """Count the work for texts that are encoded together.

    Args:
        encoder: The encoder.
        texts: The texts.
        uses_filter: Whether a candidate filter runs.
        max_markers: Markers per pass.

    Returns:
        The work.
    """
    layers, size, weights = encoder.num_layers, encoder.hidden, encoder.weights
    tokens, kept = sum(text.num_tokens for text in texts), sum(text.kept for text in texts)
    markers = CANDIDATE_SIZE * kept
    pairs = sum(text.num_tokens**2 for text in texts)
    marker_pairs = sum(CANDIDATE_SIZE * text.kept * (text.num_tokens + CANDIDATE_SIZE) for text in texts)
    # The last layer of the text makes queries, keys and values only.
    rows = (layers - 1) * tokens + layers * markers
    linear = 2 * weights * rows + 6 * size**2 * tokens + 2 * 4 * size * encoder.num_labels * kept
    if uses_filter:
        linear += 2 * 2 * size * RANK * tokens
    num_passes = -(-kept // (max_markers // CANDIDATE_SIZE))
    # Every linear layer writes its output, and the next operation reads it; so do GELU and two normalizations. Scores
    # of markers are written, joined with those of the pair, normalized, and read again.
    activations = rows * (16 * size + 4 * encoder.inner) + 6 * encoder.num_heads * layers * marker_pairs
    return Work(
        linear=linear,
        attention=4 * size * ((layers - 1) * pairs + layers * marker_pairs),
        bytes=FLOAT_BYTES * (activations + layers * (1 + num_passes) * weights),
        layer_runs=layers * (1 + num_passes),
        text_runs=layers * len(texts),
        documents=len(texts),
        batches=1,
        tokens=tokens,
        candidates=sum(text.candidates for text in texts),
        kept=kept,
    )


def work_of(encoder: Encoder, texts: Sequence[Text], uses_filter: bool, batch_size: int) -> Work:
    """Count the work for texts that `predict` divides into batches.

    Args:
        encoder: The encoder.
        texts: The texts.
        uses_filter: Whether a candidate filter runs.
        batch_size: The largest number of texts in a batch.

    Returns:
        The work.
    """
    costs = [text.num_tokens + CANDIDATE_SIZE * text.kept for text in texts]
    groups = batches(costs, batch_size)
    return sum((work_of_batch(encoder, [texts[i] for i in group], uses_filter) for group in groups), Work())


def fit(terms: Sequence[str], works: Sequence[Work], seconds: Sequence[float]) -> dict[str, float]:
    """Find how long a unit of each term takes: the least squares of relative errors, none of them below zero.

    Args:
        terms: Names of fields of `Work`.
        works: What was done.
        seconds: How long each took.

    Returns:
        Seconds per unit.
    """
    rows = np.array([[getattr(work, term) for term in terms] for work in works]) / np.array(seconds)[:, None]
    scale = rows.max(axis=0)  # units differ by many orders of magnitude
    units, _ = nnls(rows / scale, np.ones(len(rows)))
    return dict(zip(terms, (units / scale).tolist(), strict=True))


def seconds_of(rates: dict[str, float], work: Work) -> float:
    """Predict how long some work takes, in seconds of one core.

    Args:
        rates: Seconds per unit, see `fit`.
        work: The work.

    Returns:
        Seconds.
    """
    return sum(unit * float(getattr(work, term)) for term, unit in rates.items())


ENTITY_BYTES = 52
"""Bytes of an entity in Arrow: a score and two indices of 8 each, offsets of two strings of 4 each, some text."""


class Kind(NamedTuple):
    """A kind of documents.

    Attributes:
        name: What to call it.
        sentences: Number of sentences, which are read one by one.
        words: Number of words of a sentence.
        tokens_per_word: Number of tokens per word.
        bytes_per_word: Bytes of UTF-8 per word, with the space.
        entities_per_word: Number of entities per word.
    """

    name: str
    sentences: int
    words: int
    tokens_per_word: float = 1.3
    bytes_per_word: float = 6.0
    entities_per_word: float = 0.08

    @property
    def bytes_read(self) -> float:
        """Bytes of text per document."""
        return self.sentences * self.words * self.bytes_per_word

    @property
    def bytes_written(self) -> float:
        """Bytes of results per document: the text again, and its entities."""
        return self.bytes_read + self.sentences * self.words * self.entities_per_word * ENTITY_BYTES

    def work(self, encoder: Encoder, max_length: int, per_word: float | None, batch_size: int) -> Work:
        """Count the work per document, read in full batches of sentences of this length."""
        num_tokens = round(self.words * self.tokens_per_word) + 2
        text = Text.from_lengths(self.words, num_tokens, max_length, per_word)
        return work_of(encoder, [text] * batch_size, per_word is not None, batch_size).times(
            self.sentences / batch_size
        )


KINDS = (Kind("tweets", 1, 17), Kind("news", 30, 22), Kind("contracts", 300, 30))
"""Kinds of documents of the tables. Their sizes are assumptions: count those of yours."""
