"""Settings of a model that prediction needs. They are part of its configuration, and can be read without PyTorch."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Real
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from span_marker.core.checks import check_limit, check_probability
from span_marker.core.decoding import Decoder, Decoding, check_decoding
from span_marker.core.filter_settings import LARGEST_STATE, PairFilterConfig, SpanFilterConfig
from span_marker.core.labels import OUTSIDE
from span_marker.core.relations import NO_RELATION, RelationRules, check_names, relation_classes
from span_marker.core.spans import FloatArray
from span_marker.core.word_rules import WordRules
from span_marker.core.word_splitters import check_splitter, find_split
from span_marker.core.words import Split

CONFIG_FILE = "config.json"
"""The file of a checkpoint that contains its settings."""

DEFAULT_MODEL_MAX_LENGTH = 512
DEFAULT_ENTITY_MAX_LENGTH = 8

NO_THRESHOLDS: Any = object()
"""Value for no thresholds at all, as opposed to None, which means those of the configuration."""

ANY_TYPES = "any"
"""Value of ``relation_types`` that allows all types, and that `Trainer` does not replace."""

AUTO = "auto"
"""Value of a limit that `Trainer` sets from the training data."""

LARGEST_LIMIT = 2**31 - 1
"""The maximum allowed value of any limit."""


@dataclass(kw_only=True, repr=False, eq=False)  # a configuration has its own of both
class ModelSettings:
    """Settings that prediction needs, and values derived from them. They are described in `SpanMarkerConfig`."""

    if TYPE_CHECKING:
        id2label: Any

    model_max_length: int | Literal["auto"] | None = None
    entity_max_length: int | Literal["auto"] = DEFAULT_ENTITY_MAX_LENGTH
    max_prev_context: int | None = None
    max_next_context: int | None = None
    trained_with_document_context: bool = False
    model_max_length_default: int = DEFAULT_MODEL_MAX_LENGTH
    multi_label: bool = False
    decoding: Decoding | None = None
    calibration_temperature: float = 1.0
    thresholds: dict[str, float] | None = None
    candidates_per_word: float | None = None
    letter_case: bool = False
    token_state_size: int | None = None
    word_splitter: Any = "tokenizer"
    word_rules: WordRules | None = None
    span_filter: SpanFilterConfig | None = None
    exact: bool = False
    relation_labels: list[str] | None = None
    symmetric_relations: list[str] | None = None
    relation_types: list[list[str]] | Literal["any"] | None = None
    relation_thresholds: dict[str, float] | None = None
    pair_filter: PairFilterConfig | None = None

    def build_parts(self) -> None:
        """Build the parts that were read as dicts.

        Raises:
            TypeError: If an entry of a part has the wrong type.
            ValueError: If a part has unknown or invalid entries.
        """
        if self.span_filter is not None and not isinstance(self.span_filter, SpanFilterConfig):
            self.span_filter = SpanFilterConfig.from_dict(self.span_filter)
        if self.pair_filter is not None and not isinstance(self.pair_filter, PairFilterConfig):
            self.pair_filter = PairFilterConfig.from_dict(self.pair_filter)
        if self.word_rules is not None and not isinstance(self.word_rules, WordRules):
            self.word_rules = WordRules(self.word_rules)

    @property
    def split(self) -> Split | None:
        """The function that finds the words of a string; None if the tokenizer does.

        Raises:
            ValueError: If ``word_splitter`` names a function that was not passed, or has no rules yet.
        """
        return find_split(self.word_splitter, self.word_rules)

    def check_limits(self) -> None:
        """Check all settings.

        Raises:
            TypeError: If a setting has the wrong type.
            ValueError: If a setting is out of range.
        """
        check_limit("model_max_length_default", self.model_max_length_default, 1, at_most=LARGEST_LIMIT)
        check_limit("entity_max_length", self.entity_max_length, at_least=1, at_most=LARGEST_LIMIT, also=(AUTO,))
        check_limit("model_max_length", self.model_max_length, 1, at_most=LARGEST_LIMIT, also=(None, AUTO))
        check_limit("token_state_size", self.token_state_size, at_least=1, at_most=LARGEST_STATE, also=(None,))
        check_splitter(self.word_splitter)
        for name in ("max_prev_context", "max_next_context"):
            check_limit(name, getattr(self, name), at_least=0, at_most=LARGEST_LIMIT, also=(None,))
        if self.thresholds is not None:
            _check_thresholds("thresholds", self.thresholds, self.classes, OUTSIDE)
        for name in ("multi_label", "exact", "letter_case"):
            if not isinstance(getattr(self, name), bool):
                raise TypeError(f"{name}={getattr(self, name)!r} must be True or False")
        per_word = self.candidates_per_word
        if per_word is not None and (isinstance(per_word, bool) or not isinstance(per_word, Real)):
            raise TypeError(f"candidates_per_word={per_word!r} must be a number, or None to train no candidate filter")
        if per_word is not None and not 0 < float(per_word) < math.inf:
            raise ValueError(
                f"candidates_per_word={per_word} must be above 0 and finite: at entity_max_length, all candidates get "
                "markers, and None trains no candidate filter"
            )
        if not self.exact:
            self.check_filter_length()
        if self.decoding is not None:
            check_decoding(self.decoding)
        self.check_relations()
        temperature = self.calibration_temperature
        if isinstance(temperature, bool) or not isinstance(temperature, Real) or not 0 < float(temperature) < math.inf:
            raise ValueError(f"calibration_temperature={temperature!r} must be a positive number")

    def check_relations(self) -> None:
        """Check the settings of relations, and add `NO_RELATION` in front of their labels.

        Raises:
            TypeError: If a setting has the wrong type.
            ValueError: If a label is repeated, unknown, or also a label of entities; if a threshold is not a
                probability; or if there are symmetric relations, types or thresholds without relations.
        """
        self._check_relation_names()
        if self.relation_labels is not None:
            self.relation_labels = relation_classes(self.relation_labels)
            _ = self.relation_rules
            if self.relation_thresholds is not None:
                _check_thresholds("relation_thresholds", self.relation_thresholds, self.relation_labels, NO_RELATION)
            return
        for name in ("symmetric_relations", "relation_types", "relation_thresholds", "pair_filter"):
            if getattr(self, name) is not None:
                raise ValueError(f"{name}={getattr(self, name)!r} needs relation_labels: pass the labels of relations")

    def _check_relation_names(self) -> None:
        types = self.relation_types
        if types is not None and types != ANY_TYPES:
            if not isinstance(types, (list, tuple)):
                raise TypeError(f"relation_types={types!r} must be {ANY_TYPES!r}, or a list of lists of three labels")
            for triple in types:
                check_names("each of relation_types", triple)
                if len(triple) != 3:
                    raise ValueError(
                        f"relation_types contains {triple!r}, which must be the labels of a head, a relation and a tail"
                    )
        if self.symmetric_relations is not None:
            check_names("symmetric_relations", self.symmetric_relations)

    @property
    def relation_rules(self) -> RelationRules:
        """Which pairs of entities may have which relation.

        Raises:
            TypeError: If the settings of relations have the wrong type.
            ValueError: If the model has no relations, or their settings name unknown labels.
        """
        if self.relation_labels is None:
            raise ValueError("the model has no relations: make it with relation_labels=, or call add_relations")
        self._check_relation_names()
        types = None if isinstance(self.relation_types, str) else self.relation_types
        return RelationRules.from_labels(self.relation_labels, self.classes, self.symmetric_relations or (), types)

    def check_filter_length(self) -> None:
        """Check that the candidate filter's threshold was chosen for the model's ``entity_max_length``.

        Raises:
            ValueError: If it was chosen for another value.
        """
        if self.span_filter is None or self.span_filter.threshold is None:
            return
        fitted_to = self.span_filter.entity_max_length
        if fitted_to != self.entity_max_length:
            raise ValueError(
                f"the candidate filter was fitted with entity_max_length={fitted_to} words, but the model has "
                f"entity_max_length={self.entity_max_length}: load it with exact=True, then call fit_span_filter, or "
                "tune_span_filter if the model was trained with its filter"
            )

    def limit(self, name: str) -> int:
        """Return a limit as a number.

        Args:
            name: Name of the limit.

        Returns:
            The limit.

        Raises:
            ValueError: If it is still ``"auto"``.
        """
        value = getattr(self, name)
        if value == AUTO:
            raise ValueError(
                f"{name}='auto' is set by Trainer from the training data: train the model first, or pass a number"
            )
        return int(value)

    def decoder(
        self,
        threshold: float | dict[str, float] | None = None,
        decoding: Decoding | None = None,
        keeps_all_scores: bool = False,
    ) -> Decoder:
        """Return how class scores become entities.

        Args:
            threshold: The minimum probability of an entity, or a dict with the minimum for some labels; the others keep
                theirs. Defaults to ``thresholds``; `NO_THRESHOLDS` for none.
            decoding: How to resolve overlaps; by default ``decoding``.
            keeps_all_scores: Whether to fill in `ScoredSpan.all_scores`.

        Returns:
            The decoder.

        Raises:
            TypeError: If a threshold is not a number.
            ValueError: If a threshold is not a probability, a label is unknown, or ``decoding`` is unknown.
        """
        fallback: Decoding = "nested" if self.multi_label else "flat"
        return Decoder(
            outside_id=self.outside_id,
            multi_label=self.multi_label,
            temperature=self.calibration_temperature,
            thresholds=read_thresholds("threshold", threshold, self.classes, OUTSIDE, self.thresholds),
            decoding=check_decoding(next(name for name in (decoding, self.decoding, fallback) if name is not None)),
            keeps_all_scores=keeps_all_scores,
        )

    def read_relation_threshold(self, threshold: float | dict[str, float] | None = None) -> FloatArray | None:
        """Return how probable relations must be.

        Args:
            threshold: The minimum probability of a relation, or a dict with the minimum for some labels; the others
                keep theirs. Defaults to ``relation_thresholds``; `NO_THRESHOLDS` for none.

        Returns:
            The minimum probability of each class of pairs, ``(num_relations,)``; None without thresholds.

        Raises:
            TypeError: If a threshold is not a number.
            ValueError: If a threshold is not a probability, or a label is unknown.
        """
        labels = self.relation_labels or ()
        return read_thresholds("relation_threshold", threshold, labels, NO_RELATION, self.relation_thresholds)

    @property
    def best_per_word(self) -> float | None:
        """The maximum number of candidates per word of a sentence that may get markers; None if all may."""
        per_word, max_per_word = self.candidates_per_word, self.limit("entity_max_length")
        return None if per_word is None or per_word >= max_per_word else per_word

    @property
    def candidates_kept(self) -> float:
        """Approximate share of the candidates that get markers in prediction; 1 without a filter."""
        if self.span_filter is None:
            return 1.0
        if self.span_filter.candidates_kept is not None:
            return self.span_filter.candidates_kept
        return 1.0 if self.best_per_word is None else self.best_per_word / self.limit("entity_max_length")

    def uses_filter(self, exact: bool | None = None) -> bool:
        """Return whether the candidate filter chooses the candidates that get markers in prediction.

        Args:
            exact: Whether the caller requests all candidates. Defaults to ``exact``.

        Returns:
            False if all candidates get markers.
        """
        if (self.exact if exact is None else exact) or self.span_filter is None:
            return False
        return self.span_filter.threshold is not None or self.best_per_word is not None

    def pair_threshold(self, exact: bool | None = None) -> float | None:
        """Return the minimum score that pairs of entities need to get markers in prediction.

        Args:
            exact: Whether the caller requests all pairs. Defaults to ``exact``.

        Returns:
            The threshold of the pair filter; None if all pairs get markers.
        """
        if (self.exact if exact is None else exact) or self.pair_filter is None:
            return None
        return self.pair_filter.threshold

    @property
    def classes(self) -> list[str]:
        """The classes of spans in the order of their IDs: ``["O", "PER"]``."""
        return [str(label) for _, label in sorted((self.id2label or {}).items())]

    @property
    def outside_id(self) -> int:
        """Class ID of ``O``."""
        return self.classes.index(OUTSIDE)


def read_thresholds(
    name: str,
    threshold: float | dict[str, float] | None,
    classes: Sequence[str],
    no_label: str,
    own: dict[str, float] | None = None,
) -> FloatArray | None:
    """Read thresholds of labels.

    Args:
        name: Name of the argument, for errors.
        threshold: The minimum probability of all labels, or a dict with the minimum for some labels; None for the
            thresholds of the model, `NO_THRESHOLDS` for none.
        classes: The classes.
        no_label: The class that is not a label.
        own: The thresholds of the model, which also apply to labels that are not in the dict; None if it has none.

    Returns:
        The minimum probability of each class, ``(num_classes,)``, NaN for those without a threshold; or None.

    Raises:
        TypeError: If a threshold is not a number.
        ValueError: If a threshold is not a probability, or a label is unknown.
    """
    threshold = own if threshold is None else threshold
    if threshold is None or threshold is NO_THRESHOLDS:
        return None
    if not isinstance(threshold, dict):
        check_probability(name, threshold)
        return np.full(len(classes), threshold, dtype=np.float32)
    known = [label for label in classes if label != no_label]
    if unknown := sorted(set(threshold) - set(known)):
        raise ValueError(f"{name}={threshold} contains the labels {unknown}, but the model has {known}")
    for label, value in threshold.items():
        check_probability(f"{name}[{label!r}]", value)
    least = {**(own or {}), **threshold}
    return np.array([least.get(label, math.nan) for label in classes], dtype=np.float32)


def _check_thresholds(name: str, value: Any, classes: Sequence[str], no_label: str) -> None:
    """Check thresholds of a configuration."""
    if not isinstance(value, dict):
        raise TypeError(f"{name}={value!r} must be a dict with the thresholds of labels, or None")
    read_thresholds(name, value, classes, no_label)
