"""The heads of an exported model in NumPy: the same formulas as in PyTorch, for prediction only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from span_marker.core.arrays import Array
from span_marker.core.letter_case import CASE_SCALE, NUM_CASES
from span_marker.core.settings import ModelSettings
from span_marker.core.spans import IntArray

LAYER_NORM_EPS = 1e-5
"""PyTorch's default epsilon of layer normalization."""

PAIR_FILTER = "relation_head.pair_filter"
"""Name of the pair filter in a model."""


@dataclass(frozen=True)
class Heads:
    """Letter case, candidate filter, classifier, and relation head.

    Attributes:
        weights: The weights by the names that they have in `span_marker.SpanMarkerModel`.
    """

    weights: Mapping[str, Array]

    def check(self, settings: ModelSettings, embed_dim: int, hidden_size: int) -> None:
        """Check that the weights match the settings.

        Args:
            settings: The settings of the model.
            embed_dim: Size of the encoder's token embeddings.
            hidden_size: Size of a marker's state.

        Raises:
            ValueError: If a weight is missing, unexpected, or has the wrong shape.
        """
        state_size = hidden_size + (settings.token_state_size or 0)
        expected: dict[str, tuple[int, ...]] = {
            "classifier.weight": (len(settings.classes), 2 * state_size),
            "classifier.bias": (len(settings.classes),),
        }
        if settings.relation_labels is not None:
            expected["relation_head.markers"] = (4, embed_dim)
            expected["relation_head.classifier.weight"] = (len(settings.relation_labels), 4 * state_size)
            expected["relation_head.classifier.bias"] = (len(settings.relation_labels),)
        if settings.pair_filter is not None:
            num_distances, rank = self._shape(f"{PAIR_FILTER}.distance.weight", 2)
            expected[f"{PAIR_FILTER}.tokens.weight"] = (rank, 4 * settings.pair_filter.input_size)
            expected[f"{PAIR_FILTER}.tokens.bias"] = (rank,)
            expected[f"{PAIR_FILTER}.distance.weight"] = (num_distances, rank)
            expected[f"{PAIR_FILTER}.score.weight"], expected[f"{PAIR_FILTER}.score.bias"] = (1, rank), (1,)
        if settings.letter_case:
            expected["case_embedding.weight"] = (NUM_CASES, embed_dim)
        if settings.span_filter is not None:
            size, (num_lengths, rank) = settings.span_filter.input_size, self._shape("span_filter.length.weight", 2)
            for side in ("first", "last"):
                expected[f"span_filter.{side}.weight"] = (rank, size)
            expected["span_filter.first.bias"] = (rank,)
            expected["span_filter.length.weight"] = (num_lengths, rank)
            expected["span_filter.score.weight"], expected["span_filter.score.bias"] = (1, rank), (1,)
        for name in sorted({*expected, *self.weights}):
            shape = self.weights[name].shape if name in self.weights else None
            if shape != expected.get(name):
                raise ValueError(f"{name!r} has the shape {shape} instead of {expected.get(name)}")

    def _shape(self, name: str, num_sizes: int) -> tuple[int, ...]:
        shape = self.weights[name].shape if name in self.weights else ()
        return shape if len(shape) == num_sizes else (0,) * num_sizes

    def case_embeds(self, token_cases: IntArray) -> Array:
        """Embeddings of the letter case, to add to token embeddings, see `span_marker.heads.CaseEmbedding`.

        Args:
            token_cases: ``(num_tokens,)``.

        Returns:
            ``(num_tokens, embed_dim)``.
        """
        scaled: Array = np.float32(CASE_SCALE) * self.weights["case_embedding.weight"][token_cases]
        return scaled

    def filter_scores(self, text_states: Array, span_rows: IntArray, span_lengths: IntArray) -> Array:
        """Score candidates, see `span_marker.candidate_filter.head.SpanFilter`.

        Args:
            text_states: States of the tokens of all texts, normalized, see `layer_norm`, ``(num_tokens, size)``.
            span_rows: Rows of ``text_states`` for the first and last token of each candidate, ``(num_spans, 2)``.
            span_lengths: Number of words of each candidate, ``(num_spans,)``.

        Returns:
            Log-odds of an entity, ``(num_spans,)``.
        """
        lengths = self.weights["span_filter.length.weight"]
        hidden = self._linear("span_filter.first", text_states)[span_rows[:, 0]]
        hidden += (text_states @ self.weights["span_filter.last.weight"].T)[span_rows[:, 1]]
        hidden += lengths[np.minimum(span_lengths - 1, len(lengths) - 1)]
        return self._linear("span_filter.score", np.maximum(hidden, 0))[:, 0]

    def pair_scores(self, text_states: Array, pair_rows: IntArray, distances: IntArray) -> Array:
        """Score pairs, see `span_marker.heads.PairFilter`.

        Args:
            text_states: See `filter_scores`.
            pair_rows: Rows of ``text_states`` for the first and last token of heads and tails, ``(num_pairs, 4)``.
            distances: Number of tokens from the first of the head to the first of the tail, ``(num_pairs,)``.

        Returns:
            Log-odds of a relation, ``(num_pairs,)``.
        """
        of_distances = self.weights[f"{PAIR_FILTER}.distance.weight"]
        largest = len(of_distances) // 2
        states = np.concatenate([text_states[column] for column in pair_rows.T], axis=1)
        hidden = self._linear(f"{PAIR_FILTER}.tokens", states)
        hidden += of_distances[np.clip(distances, -largest, largest) + largest]
        return self._linear(f"{PAIR_FILTER}.score", np.maximum(hidden, 0))[:, 0]

    @property
    def pair_embeds(self) -> Array:
        """Embeddings of the markers of a pair, ``(4, embed_dim)``."""
        return self.weights["relation_head.markers"]

    def classify(self, marker_states: Array, text_states: Array, span_rows: IntArray) -> Array:
        """Classify candidates, see `span_marker.heads.SpanClassifier`.

        Args:
            marker_states: States of the markers, ``(num_spans, 2, hidden)``.
            text_states: See `filter_scores`. Used only if the classifier also reads tokens.
            span_rows: See `filter_scores`.

        Returns:
            Class scores, ``(num_spans, num_labels)``.
        """
        return self._classify("classifier", marker_states, text_states, span_rows)

    def classify_pairs(self, marker_states: Array, text_states: Array, pair_rows: IntArray) -> Array:
        """Classify pairs of spans, see `span_marker.heads.RelationHead`.

        Args:
            marker_states: States of the markers, ``(num_pairs, 4, hidden)``.
            text_states: See `classify`.
            pair_rows: Rows of ``text_states`` for the first and last token of heads and tails, ``(num_pairs, 4)``.

        Returns:
            Class scores, ``(num_pairs, num_relations)``.
        """
        return self._classify("relation_head.classifier", marker_states, text_states, pair_rows)

    def _classify(self, name: str, marker_states: Array, text_states: Array, rows: IntArray) -> Array:
        features = [*np.moveaxis(marker_states, 1, 0)]
        if len(features) * marker_states.shape[2] < self.weights[f"{name}.weight"].shape[1]:
            features += [text_states[column] for column in rows.T]
        return self._linear(name, np.concatenate(features, axis=1))

    def _linear(self, name: str, states: Array) -> Array:
        product: Array = states @ self.weights[f"{name}.weight"].T + self.weights[f"{name}.bias"]
        return product


def layer_norm(states: Array) -> Array:
    """Normalize states to mean 0 and variance 1 (Ba et al. 2016, Layer Normalization), without weights.

    Args:
        states: ``(num_rows, size)``.

    Returns:
        ``(states - mean) / sqrt(variance + LAYER_NORM_EPS)``, ``(num_rows, size)``.
    """
    centered = states - states.mean(axis=-1, keepdims=True)
    variance = np.square(centered).mean(axis=-1, keepdims=True)
    normal: Array = centered / np.sqrt(variance + np.float32(LAYER_NORM_EPS))
    return normal
