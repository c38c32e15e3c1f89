"""Verify that an exported model agrees with the original, on texts of many lengths."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from torch import Tensor
from tqdm.auto import tqdm

from span_marker.checkpoints.exported import ExportedEncoder
from span_marker.core.arrays import Array, Precision, as_array
from span_marker.core.checks import check_texts
from span_marker.core.decoding import FloatArray, probabilities
from span_marker.core.relations import is_dropped
from span_marker.core.tables import TextReport, text_table
from span_marker.export.sample_texts import TEXTS, long_text
from span_marker.modeling import SpanMarkerModel
from span_marker.prediction.predictor import Predictor
from span_marker.prediction.relations import RelationReader, as_columns
from span_marker.preprocessing.data_collator import TEXT_INPUTS
from span_marker.preprocessing.inputs import Sentences
from span_marker.relations.mixin import FindPairs

TOLERANCE = 1e-4
"""Maximum difference between two probabilities in float32."""


class Tolerance(NamedTuple):
    """Maximum differences between an export and its model.

    Attributes:
        largest: Maximum difference between two probabilities of a candidate.
        mean: Maximum mean of these differences.
        changed: Maximum share of entities that only one of the two finds, among all entities.
    """

    largest: float
    mean: float
    changed: float


TOLERANCES: dict[Precision, Tolerance] = {
    "float32": Tolerance(TOLERANCE, TOLERANCE, 0.0),
    "float16": Tolerance(0.02, 0.0001, 0.01),
    "bfloat16": Tolerance(0.2, 0.005, 0.05),
}
"""By the number format of an export. Significands have 24, 11 and 8 bits, so that rounding errors in float16 are about
8,000 times and in bfloat16 about 65,000 times those of float32. Where a model is undecided, that can change a
probability a lot, but hardly the mean. In bfloat16, the probabilities of the quickstart's model differ on average by
0.0001 and none of its entities changes. Models with large random weights are undecided everywhere, and are refused."""

BATCH_SIZE = 8
"""Number of sentences in a batch when they do not run alone."""


@dataclass(frozen=True)
class ExportReport(TextReport):
    """The comparison of an exported model with the original. Its string is a table.

    Attributes:
        num_texts: Number of texts that were compared, in all comparisons together.
        num_candidates: Number of their candidates that got markers in both models.
        num_entities: Number of entities that the original finds in them.
        max_difference: The largest difference between two probabilities of a candidate or a pair.
        modes: Which candidates were scored: ``"all"``, and ``"filtered"`` if the model uses a candidate filter.
        mean_difference: The mean difference between two probabilities.
        num_changed: Number of entities that only one of the two finds: 0 in float32.
        dtype: Number format of the export, which determines the tolerances.
        num_pairs: Number of pairs of spans that were scored in both models: those of entities, and one per text that
            need not be entities, so that pairs are compared even if the model finds no entities in the texts.
        num_relations: Number of relations that the original finds.
        num_changed_relations: Number of relations that only one of the two finds: 0 in float32.
    """

    num_texts: int
    num_candidates: int
    num_entities: int
    max_difference: float
    modes: tuple[str, ...]
    mean_difference: float
    num_changed: int
    dtype: Precision
    num_pairs: int = 0
    num_relations: int = 0
    num_changed_relations: int = 0

    def __str__(self) -> str:
        rows = [
            ("texts", f"{self.num_texts:,}"),
            ("candidates", f"{self.num_candidates:,} ({', '.join(self.modes)})"),
            ("entities, all equal" if not self.num_changed else "entities", f"{self.num_entities:,}"),
            ("largest difference between probabilities", f"{self.max_difference:.1e}"),
        ]
        if self.num_pairs:
            count = f"{self.num_relations:,} ({self.num_pairs:,} pairs)"
            rows.append(("relations" if self.num_changed_relations else "relations, all equal", count))
        if self.dtype != "float32":
            rows += [
                (f"mean difference ({self.dtype})", f"{self.mean_difference:.1e}"),
                ("entities that only one of the two finds", f"{self.num_changed:,}"),
            ]
            if self.num_pairs:
                rows.append(("relations that only one of the two finds", f"{self.num_changed_relations:,}"))
        return text_table(rows)


def compare_models(
    original: SpanMarkerModel, exported: SpanMarkerModel, texts: Sequence[str] = (), dtype: Precision | None = None
) -> ExportReport:
    """Compare the scores, the entities and any relations of two models that should be equal.

    Args:
        original: The original.
        exported: The same model in another runtime.
        texts: More texts to compare on.
        dtype: Number format, which decides how much the two may differ, see `TOLERANCES`. Defaults to that of the
            export.

    Returns:
        The report.

    Raises:
        TypeError: If ``texts`` is not a list of strings.
        ValueError: If probabilities differ by more than the tolerance, or more entities or relations differ than it
            allows: in float32, any.
    """
    encoder = exported.encoder
    dtype = dtype or (encoder.manifest["dtype"] if isinstance(encoder, ExportedEncoder) else "float32")
    modes = {"filtered": False, "all": True} if _can_filter(original) else {"all": True}
    together = [*TEXTS, long_text(original), *check_texts(texts, "texts")]
    runs = [
        (exact, batch_size, sentences)
        for exact in modes.values()
        for batch_size, sentences in ((1, list(TEXTS)), (BATCH_SIZE, together))
    ]
    comparison = _Comparison(original, exported, TOLERANCES[dtype])
    for run in runs:
        comparison.run(*run)
    comparison.check(dtype)
    return ExportReport(
        num_texts=sum(len(sentences) for _, _, sentences in runs),
        num_candidates=comparison.num_candidates,
        num_entities=comparison.entities.expected,
        max_difference=comparison.max_difference,
        modes=tuple(modes),
        mean_difference=comparison.mean_difference,
        num_changed=comparison.entities.changed,
        dtype=dtype,
        num_pairs=comparison.num_pairs,
        num_relations=comparison.relations.expected,
        num_changed_relations=comparison.relations.changed,
    )


def _can_filter(model: SpanMarkerModel) -> bool:
    """Whether a model can use filters. With ``exact=True``, the candidate filter may be one for other limits."""
    if model.config.exact:
        try:
            model.config.check_filter_length()
        except ValueError:
            return False
    return model.uses_filter(exact=False) or model.config.pair_filter is not None


class _Found(NamedTuple):
    """What a model finds in a sentence, without scores: entities, and relations between them."""

    entities: list[tuple[Any, ...]]
    relations: list[tuple[Any, ...]]


@dataclass
class _Counts:
    """How many the original finds, how many the exported model does, and how many only one of the two."""

    expected: int = 0
    found: int = 0
    changed: int = 0

    def add(self, expected: list[tuple[Any, ...]], found: list[tuple[Any, ...]]) -> None:
        """Count those of a sentence."""
        self.expected, self.found = self.expected + len(expected), self.found + len(found)
        self.changed += len({*expected} ^ {*found})

    def check(self, kind: str, limit: float, dtype: Precision) -> None:
        """Refuse an export that changes more entities or relations than its number format explains."""
        share = self.changed / max(self.expected + self.found, 1)
        if share > limit:
            raise ValueError(
                f"the exported model finds {self.found:,} {kind}, the original {self.expected:,}, and {self.changed:,} "
                f"are found by only one of the two: {share:.1%}, more than {limit:.1%} for {dtype}. Export it with "
                "dtype='float32', or, if there are few, pass more texts="
            )


class _Comparison:
    """Compares two models text by text, and accumulates statistics.

    Args:
        original: The original.
        exported: The same model in another runtime.
        tolerance: How much it may differ.
    """

    def __init__(self, original: SpanMarkerModel, exported: SpanMarkerModel, tolerance: Tolerance) -> None:
        self.original, self.exported, self.tolerance = original, exported, tolerance
        self.num_candidates = self.num_pairs = self.num_differences = 0
        self.entities, self.relations = _Counts(), _Counts()
        self.max_difference = self.sum_of_differences = 0.0

    @property
    def mean_difference(self) -> float:
        """The mean difference between two probabilities."""
        return self.sum_of_differences / max(self.num_differences, 1)

    def check(self, dtype: Precision) -> None:
        """Refuse an export that differs by more than its number format explains.

        Args:
            dtype: The number format.

        Raises:
            ValueError: If it does.
        """
        kinds = ("a probability of the exported model differs", self.max_difference, self.tolerance.largest)
        mean = ("probabilities of the exported model differ on average", self.mean_difference, self.tolerance.mean)
        for subject, difference, limit in (kinds, mean):
            if not difference <= limit:
                raise ValueError(
                    f"{subject} by {difference:.1e} from that of the original, more than {limit} for {dtype}. "
                    f"{_advice(self.original)}"
                )
        self.entities.check("entities", self.tolerance.changed, dtype)
        self.relations.check("relations", self.tolerance.changed, dtype)

    def run(self, exact: bool, batch_size: int, sentences: list[str]) -> None:
        """Compare on some sentences.

        Args:
            exact: Whether to score all candidates.
            batch_size: Number of sentences in a batch.
            sentences: The sentences.

        Raises:
            ValueError: If the models read the sentences differently or find other entities.
        """
        recorded: list[tuple[dict[str, Array], FloatArray, dict[tuple[int, ...], FloatArray], FloatArray]] = []

        def record(batch: dict[str, Array], find_pairs: FindPairs | None = None) -> tuple[Any, ...]:
            result, pairs = _score(self.original, batch, exact, find_pairs)
            if _has_candidates(batch):
                scores = self._probabilities(batch, *result[:2])
                of_any = _score_any_pairs(self.original, batch)
                recorded.append((batch, scores, pairs, of_any))
            return result

        def compare(batch: dict[str, Array], find_pairs: FindPairs | None = None) -> tuple[Any, ...]:
            has_candidates = _has_candidates(batch)
            if has_candidates:
                expected_batch, expected, expected_pairs, of_any = recorded.pop(0)
                if any(not np.array_equal(batch[name], expected_batch[name]) for name in TEXT_INPUTS):
                    raise ValueError(f"the exported model reads text differently. {_advice(self.original)}")
            result, pairs = _score(self.exported, batch, exact, find_pairs)
            if not _is_finite(result):
                self.max_difference = math.inf
            if has_candidates:
                self.num_candidates += self._add(self._probabilities(batch, *result[:2]) - expected)
                both = [scores - expected_pairs[pair] for pair, scores in pairs.items() if pair in expected_pairs]
                if both:  # in 16 bits, one of the two may find other entities
                    self.num_pairs += self._add(np.stack(both))
                self.num_pairs += self._add(_score_any_pairs(self.exported, batch) - of_any)
            return result

        expected = _predict(self.original, record, batch_size, sentences)
        found = _predict(self.exported, compare, batch_size, sentences)
        for sentence, first, second in zip(sentences, found, expected, strict=True):
            if first != second and not self.tolerance.changed:
                raise ValueError(
                    f"the exported model finds {first} in {sentence[:80]!r}, and the original finds {second}. "
                    f"{_advice(self.original)}"
                )
            self.entities.add(second.entities, first.entities)
            self.relations.add(second.relations, first.relations)

    def _add(self, differences: FloatArray) -> int:
        """Add differences between probabilities, and return how many rows of them both models have scored."""
        is_scored = ~np.isnan(differences).any(axis=1)
        differences = np.abs(differences[is_scored])
        self.max_difference = max(self.max_difference, float(differences.max(initial=0.0)))
        self.sum_of_differences += float(differences.sum())
        self.num_differences += differences.size
        return len(differences)

    def _probabilities(self, batch: dict[str, Array], logits: Tensor, kept: Tensor | None) -> FloatArray:
        """Probabilities of all candidates of a batch, nan for those that the filter drops."""
        decoder = self.original.config.decoder()
        scores = np.full((len(batch["span_words"]), logits.shape[1]), np.nan, dtype=np.float32)
        scores[slice(None) if kept is None else kept.numpy()] = probabilities(
            as_array(logits), decoder.multi_label, decoder.temperature
        )
        return scores


def _has_candidates(batch: dict[str, Array]) -> bool:
    """Whether a batch has candidates. One of windows whose pairs are scored has none, and depends on the entities."""
    return len(batch["span_words"]) > 0


def _score(
    model: SpanMarkerModel, batch: dict[str, Array], exact: bool, find_pairs: FindPairs | None
) -> tuple[tuple[Any, ...], dict[tuple[int, ...], FloatArray]]:
    """Score a batch, and its pairs if there is something to find them, which sentence and tokens tell apart."""
    if find_pairs is None:
        return (*model.score(batch, exact), None), {}
    pairs: list[tuple[int, ...]] = []

    def find(*scores: Any) -> tuple[Any, Any]:
        pair_tokens, counts = find_pairs(*scores)
        sentences = np.repeat(np.arange(len(counts)), counts)
        pairs.extend(map(tuple, np.column_stack([sentences, pair_tokens]).tolist()))
        return pair_tokens, counts

    result = model.score_pairs(batch, find, exact)
    return result, dict(zip(pairs, _pair_probabilities(result), strict=True))


def _score_any_pairs(model: SpanMarkerModel, batch: dict[str, Array]) -> FloatArray:
    """The probabilities of a pair per text, of its first and its last candidate; of none without relations."""
    result: tuple[Any, ...] = (None, None, None)
    if model.config.relation_labels is not None:
        has_pair = batch["span_counts"] > 0
        ends = np.cumsum(batch["span_counts"])[has_pair]
        ends_of_pairs = (ends - batch["span_counts"][has_pair], ends - 1)
        tokens = np.concatenate([batch["span_tokens"][index] for index in ends_of_pairs], axis=1)
        result = model.score_pairs(batch, lambda *_: (tokens, has_pair.astype(np.int64)), exact=True)
    return _pair_probabilities(result)


def _pair_probabilities(result: tuple[Any, ...]) -> FloatArray:
    """The probabilities of pairs, ``(num_pairs, num_relations)``, from the result of `_score`; nan without markers."""
    if result[2] is None:
        return np.zeros((0, 1), dtype=np.float32)
    logits = as_array(result[2])
    scores = probabilities(logits, multi_label=False, temperature=1.0)
    scores[is_dropped(logits)] = np.nan
    return scores


def _is_finite(result: tuple[Any, ...]) -> bool:
    """Whether the class scores in the result of `_score` are finite, but for pairs without markers."""
    logits = as_array(result[2]) if result[2] is not None else np.zeros((0, 1), dtype=np.float32)
    return bool(np.isfinite(as_array(result[0])).all() and np.isfinite(logits[~is_dropped(logits)]).all())


def _predict(model: SpanMarkerModel, score: Callable[..., Any], batch_size: int, sentences: list[str]) -> list[_Found]:
    """What a model finds in each sentence."""
    config, decoder, reader = model.config, model.config.decoder(), None
    if config.relation_labels is not None:
        reader = RelationReader(score, decoder, config.relation_rules, config.read_relation_threshold())
    predictor = Predictor(lambda batch: score(batch)[:2], model.preprocessor, decoder, batch_size, relations=reader)
    rows, _ = predictor.read(Sentences(sentences, are_texts=True), tqdm(disable=True))  # without a warning of windows
    found = []
    for row in rows:
        entities = [
            (one["char_start_index"], one["char_end_index"], one["label"]) for one in as_columns(row)["entities"]
        ]
        relations = as_columns(row).get("relations", ())
        found.append(
            _Found(entities, [(one["label"], entities[one["head"]], entities[one["tail"]]) for one in relations])
        )
    return found


def _advice(model: SpanMarkerModel) -> str:
    return (
        "An export that differs from its model is not kept. Please report this with the type of the encoder, "
        f"{model.config.encoder.model_type!r}"
    )
