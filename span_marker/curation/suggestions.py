"""Active learning: which sentences to annotate next, namely uncertain ones that differ from each other.

A model's decision on a span is wrong with probability ``1 - max_y p(y | span)``, its *least confidence* (Settles and
Craven 2008, An Analysis of Active Learning Strategies for Sequence Labeling Tasks). The uncertainty of a sentence is
the sum over its candidates: the expected number of wrong decisions. If the model was trained with a candidate filter,
candidates beyond the number that got markers in training count as certain: scoring them would take several times as
long and hardly change the choice.

Sentences of a pool of the most uncertain ones are chosen greedily: each time the one with the largest product of its
uncertainty and its distance from the chosen ones. Without the first factor, this is the k-center greedy choice of
core-sets (Sener and Savarese 2018, Active Learning for Convolutional Neural Networks, algorithm 1).

The pool has a limited size, so that streams of any length need the memory of one block of sentences and of the pool.
"""

from __future__ import annotations

import heapq
import logging
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, Literal, NamedTuple
from unicodedata import normalize

import numpy as np
import numpy.typing as npt

from span_marker.core.arrays import as_array
from span_marker.core.checks import check_limit
from span_marker.core.decoding import probabilities
from span_marker.core.labels import OUTSIDE
from span_marker.core.words import unicode_words
from span_marker.data.in_memory import table_as_dataset
from span_marker.data.rows import check_text, check_words
from span_marker.modeling import SpanMarkerModel, without_adapter
from span_marker.preprocessing.batching import run_in_batches
from span_marker.preprocessing.inputs import Sentences

logger = logging.getLogger(__name__)

Per = Literal["sentence", "word"]

BLOCK_SIZE = 1024
"""Number of sentences that are read at a time."""

SHINGLE = 2
"""Number of words per shingle. Near-duplicates share most of their shingles."""

LEAST_EXPECTED = 0.5
"""The minimum expected number of entities of a label for a sentence to count towards its quota."""

NOISE = 1e-3
"""How much more uncertain, relatively, a near-duplicate must be to replace an earlier sentence, since rounding depends
on the batch."""

_DIGITS = re.compile(r"\d+")


class Suggestion(NamedTuple):
    """A sentence to annotate.

    Attributes:
        row: Its index in the data, 0-based.
        item: The item of the data.
        uncertainty: Expected number of wrong decisions, in total or per word.
        labels: Expected number of entities of each label.
    """

    row: int
    item: Any
    uncertainty: float
    labels: Mapping[str, float]


@dataclass
class _Candidate:
    """A sentence of the pool, with the mean of its text states and its pairs of words."""

    suggestion: Suggestion
    embedding: npt.NDArray[np.float32]
    shingles: frozenset[tuple[str, ...]]


_Entry = tuple[float, int, _Candidate]


@dataclass
class _Pool:
    """The most uncertain sentences so far. Among sentences with the same shingles, only the most uncertain is kept."""

    size: int
    heap: list[_Entry] = field(default_factory=list)
    known: dict[frozenset[tuple[str, ...]], _Entry] = field(default_factory=dict)

    def add(self, candidate: _Candidate) -> None:
        entry = (candidate.suggestion.uncertainty, -candidate.suggestion.row, candidate)
        same = self.known.get(candidate.shingles)
        if same is not None:
            if entry[0] <= same[0] * (1 + NOISE):
                return
            self.heap.remove(same)
            heapq.heapify(self.heap)
        self.known[candidate.shingles] = entry
        if len(self.heap) < self.size:
            heapq.heappush(self.heap, entry)
        else:
            del self.known[heapq.heappushpop(self.heap, entry)[2].shingles]

    def candidates(self) -> list[_Candidate]:
        """The sentences, most uncertain first."""
        return [candidate for _, _, candidate in sorted(self.heap, reverse=True)]


def suggest_annotations(
    model: SpanMarkerModel,
    unlabelled: Iterable[Any],
    n: int,
    *,
    per: Per = "sentence",
    quota: Mapping[str, int] | None = None,
    pool_factor: int = 10,
    max_resemblance: float = 0.8,
    batch_size: int = 32,
) -> list[Suggestion]:
    """Suggest the sentences whose annotation helps a model most.

    The uncertainty is computed over all candidates; for a model that was trained with a candidate filter, over as many
    per word as in training, those with the highest filter scores, regardless of its threshold and ``exact``. The others
    count as certain.

    The result is deterministic. Sentences are embedded by the mean of the states of their tokens that the candidate
    filter reads, too: a linear projection of the input of the encoder's last layer.

    Args:
        model: A trained model, on any engine except the dense one.
        unlabelled: Strings, lists of words, or dicts with ``text`` or ``tokens``, in a stream of any length; or a table
            with one of these columns.
            Sentences without a word are not suggested.
        n: Number of suggestions.
        per: ``"sentence"`` for the uncertainty of the whole sentence, or ``"word"`` for the uncertainty per word, which
            favors shorter sentences and suits annotators who are paid by length.
        quota: The minimum number of suggestions that are expected to have an entity of each label. If the data, or the
            pool, has fewer, a warning is logged.
        pool_factor: Number of sentences in the pool per suggestion. With 1, only uncertainty decides.
        max_resemblance: Two sentences are near-duplicates, only one of which is suggested, if they share more than this
            fraction of all pairs of neighboring words that occur in either (Broder 1997, On the Resemblance and
            Containment of Documents). Words are determined by Unicode rules, by which each Chinese, Japanese or Thai
            character is a word. Letter case and digits do not count.
        batch_size: The maximum number of sentences per batch.

    Returns:
        The suggestions in the order in which they were chosen; fewer than ``n`` if the data, or the pool, has no more
        that differ. In the latter case, a warning is logged.

    Raises:
        TypeError: If ``quota`` is not a dict, or ``unlabelled`` or an item is none of the supported types.
        ValueError: If an argument is out of range, the quotas add up to more than ``n``, or the model lacks one of
            their labels or runs on the dense engine.
    """
    model = without_adapter(model)
    if isinstance(unlabelled, (str, Mapping)):
        kind = type(unlabelled).__name__
        raise TypeError(
            f"unlabelled must be several sentences, not a {kind}: pass a list, such as [{unlabelled!r:.60}]"
        )
    unlabelled = table_as_dataset(unlabelled, "unlabelled")
    quota = {} if quota is None else quota
    _check(model, n, per, quota, pool_factor, max_resemblance)
    everything, by_label = _Pool(n * pool_factor), {label: _Pool(quota[label] * pool_factor) for label in quota}
    for candidate in _score(model, unlabelled, per, batch_size):
        everything.add(candidate)
        for label, pool in by_label.items():
            if candidate.suggestion.labels[label] >= LEAST_EXPECTED:
                pool.add(candidate)
    pooled = {c.suggestion.row: c for pool in (everything, *by_label.values()) for c in pool.candidates()}
    candidates = [pooled[index] for index in sorted(pooled)]
    chosen = _choose(candidates, n, quota, max_resemblance)
    if len(chosen) < n and len(everything.heap) == everything.size:
        logger.warning(
            "Only %d of %d sentences are suggested: the others of the %d most uncertain ones are near-duplicates of "
            "these. Raise pool_factor=%d to consider more sentences, or max_resemblance=%s.",
            len(chosen),
            n,
            everything.size,
            pool_factor,
            max_resemblance,
        )
    for label, number in quota.items():
        found = sum(suggestion.labels[label] >= LEAST_EXPECTED for suggestion in chosen)
        if found < number:
            logger.warning(
                "Only %d suggestions are expected to contain an entity %r, fewer than quota[%r]=%d: no other "
                "sentences of the data are, except for near-duplicates.",
                found,
                label,
                label,
                number,
            )
    return chosen


def _check(model: Any, n: int, per: str, quota: Mapping[str, int], factor: int, max_resemblance: float) -> None:
    check_limit("n", n, at_least=1)
    check_limit("pool_factor", factor, at_least=1)
    if per not in ("sentence", "word"):
        raise ValueError(f"per={per!r} must be 'sentence' or 'word'")
    if not 0 <= max_resemblance <= 1:
        raise ValueError(f"max_resemblance={max_resemblance} must be from 0 to 1")
    if not isinstance(quota, Mapping):
        raise TypeError(f"quota must be a dict with the number of suggestions for each label, not {quota!r:.60}")
    unknown = [label for label in quota if label not in model.config.classes or label == OUTSIDE]
    if unknown:
        raise ValueError(
            f"quota contains the label {unknown[0]!r}, which is not one of the model's {model.config.classes}"
        )
    for label, number in quota.items():
        check_limit(f"quota[{label!r}]", number, at_least=1)
    if sum(quota.values()) > n:
        raise ValueError(f"the quotas add up to {sum(quota.values())}, but n={n}: raise n")


def _score(model: SpanMarkerModel, stream: Iterable[Any], per: Per, batch_size: int) -> Iterator[_Candidate]:
    """Score sentences block by block, in order."""
    contents = ((index, item, _content(item, f"item {index} of the data")) for index, item in enumerate(stream))
    worth_reading = (entry for entry in contents if any(map(str.strip, entry[2])))
    while block := list(islice(worth_reading, BLOCK_SIZE)):
        sentences = [sentence for _, _, sentence in block]
        scored: list[tuple[float, dict[str, float], npt.NDArray[np.float32]] | None] = [None] * len(block)
        for are_texts in (True, False):
            rows = [row for row, sentence in enumerate(sentences) if isinstance(sentence, str) == are_texts]
            results = _score_sentences(model, Sentences([sentences[row] for row in rows], are_texts), per, batch_size)
            for row, scores in zip(rows, results, strict=True):
                scored[row] = scores
        for (index, item, sentence), result in zip(block, scored, strict=True):
            assert result is not None
            uncertainty, labels, embedding = result
            yield _Candidate(Suggestion(index, item, uncertainty, labels), embedding, _shingles(sentence))


def _content(item: Any, location: str) -> str | Sequence[str]:
    value = item
    if isinstance(item, Mapping):
        value = item.get("tokens") if item.get("text") is None else item["text"]
        if value is None:
            raise TypeError(f"{location} has neither a 'text' nor 'tokens': {dict(item)!r:.80}")
    elif item is None:
        raise TypeError(f"{location} must be a string or a list of words, not None")
    (check_text if isinstance(value, str) else check_words)(value, location)
    return value


def _score_sentences(
    model: SpanMarkerModel, sentences: Sentences, per: Per, batch_size: int
) -> list[tuple[float, dict[str, float], npt.NDArray[np.float32]]]:
    """Uncertainty, expected number of entities per label, and embedding of each sentence."""
    if not sentences.items:
        return []
    config, preprocessor = model.config, model.preprocessor
    encodings = preprocessor.encode(sentences)
    pieces = preprocessor.pieces(sentences, encodings)
    features = [piece.features() for piece in pieces]
    wrong, expected = np.zeros(len(encodings)), np.zeros((len(encodings), len(config.classes)))
    sums: list[Any] = [0.0] * len(encodings)
    for indices, batch, found in run_in_batches(
        model.examine, features, preprocessor.collator, batch_size, hire=model.hire_workers
    ):
        rows = np.array([pieces[index].row for index in indices])
        spans = rows.repeat(as_array(batch["span_counts"]))[as_array(found.kept)]
        scores = probabilities(
            as_array(found.logits), config.multi_label, config.calibration_temperature or 1.0
        ).astype(np.float64)
        np.add.at(wrong, spans, wrong_decisions(scores, config.outside_id, config.multi_label))
        np.add.at(expected, spans, scores)
        tokens = rows.repeat(as_array(batch["attention_mask"]).sum(axis=1))
        states = as_array(found.text_states)
        for row in dict.fromkeys(rows.tolist()):
            sums[row] = sums[row] + states[tokens == row].sum(axis=0)
    results = []
    for row, encoding in enumerate(encodings):
        labels = dict(zip(config.classes, expected[row].tolist(), strict=True))
        del labels[config.classes[config.outside_id]]
        divisor = max(encoding.num_words, 1) if per == "word" else 1
        results.append((wrong[row].item() / divisor, labels, _unit(np.asarray(sums[row], dtype=np.float32))))
    return results


def wrong_decisions(
    scores: npt.NDArray[np.float64], outside_id: int, multi_label: bool = False
) -> npt.NDArray[np.float64]:
    """Compute the expected number of wrong decisions on each span.

    Args:
        scores: Probabilities of classes, ``(num_spans, num_labels)``.
        outside_id: Class ID of ``O``.
        multi_label: Whether each label is a separate decision.

    Returns:
        ``1 - max p``, or for multi-label models the sum of ``min(p, 1 - p)`` over all labels except ``O``,
        ``(num_spans,)``.

    Example:
        >>> wrong_decisions(np.array([[1.0, 0.0], [0.25, 0.75]]), outside_id=0).tolist()
        [0.0, 0.25]
    """
    if not multi_label:
        return 1 - scores.max(axis=1)
    return np.minimum(scores, 1 - scores)[:, np.arange(scores.shape[1]) != outside_id].sum(axis=1)


def _unit(vector: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    return vector / max(float(np.linalg.norm(vector)), 1e-12)


def _shingles(sentence: str | Sequence[str]) -> frozenset[tuple[str, ...]]:
    text = sentence if isinstance(sentence, str) else " ".join(sentence)
    text = _DIGITS.sub("0", normalize("NFKC", text.casefold()))
    words = [text[start:end] for start, end in unicode_words(text)]
    return frozenset(zip(*(words[start:] for start in range(SHINGLE)), strict=False)) or frozenset([tuple(words)])


def resemblance(first: frozenset[Any], second: frozenset[Any]) -> float:
    """Compute the fraction of the shingles in either set that both share (Broder 1997).

    Args:
        first: Shingles of a sentence.
        second: Shingles of another sentence.

    Returns:
        The fraction.

    Example:
        >>> resemblance(frozenset("abc"), frozenset("bcd"))
        0.5
    """
    return len(first & second) / max(len(first | second), 1)


def _choose(
    candidates: Sequence[_Candidate], n: int, quota: Mapping[str, int], max_resemblance: float
) -> list[Suggestion]:
    """Choose greedily by uncertainty times distance, among sentences that count towards a quota until it is filled."""
    if not candidates:
        return []
    embeddings = np.stack([candidate.embedding for candidate in candidates])
    # The states of all texts share a direction, which would make all distances similar.
    centered = np.stack([*map(_unit, embeddings - embeddings.mean(axis=0))])
    uncertainty = np.array([candidate.suggestion.uncertainty for candidate in candidates])
    distance, is_free = np.ones(len(candidates)), np.ones(len(candidates), dtype=bool)
    labels = {label: np.array([c.suggestion.labels[label] >= LEAST_EXPECTED for c in candidates]) for label in quota}
    left = dict(quota)
    chosen: list[int] = []
    while len(chosen) < n and is_free.any():
        open_labels = [label for label, number in left.items() if number > 0 and (labels[label] & is_free).any()]
        allowed = is_free & labels[open_labels[0]] if open_labels else is_free
        best = int(np.where(allowed, uncertainty * distance, -1.0).argmax())
        is_free[best] = False
        shingles = candidates[best].shingles
        if any(resemblance(shingles, candidates[other].shingles) > max_resemblance for other in chosen):
            continue
        chosen.append(best)
        for label in left:
            left[label] -= bool(labels[label][best])
        distance = np.minimum(distance, (1 - centered @ centered[best]) / 2)
    return [candidates[index].suggestion for index in chosen]
