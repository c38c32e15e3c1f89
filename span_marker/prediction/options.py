"""The options of ``predict`` that all ways of predicting accept, and the predictor that they define."""

from __future__ import annotations

import functools
from typing import Any, Literal, TypedDict

from span_marker.core.decoding import Decoder, Decoding
from span_marker.core.offsets import OffsetUnit
from span_marker.prediction.documents import Splitter, sentence_splitter
from span_marker.prediction.predictor import Predictor
from span_marker.prediction.propagation import Propagation, read_propagate
from span_marker.prediction.relations import RelationReader


class _Options(TypedDict, total=False):
    batch_size: int
    show_progress_bar: bool
    threshold: float | dict[str, float] | None
    decoding: Decoding | None
    top_k: int | None
    exact: bool | None
    split_sentences: bool | Splitter
    offsets: OffsetUnit
    propagate: bool | Propagation
    relation_threshold: float | dict[str, float] | None


class EntityOptions(_Options, total=False):
    """Options of `SpanMarkerModel.predict` with which it only returns entities, for models without relations."""

    relations: Literal[False] | None


class PredictOptions(_Options, total=False):
    """Options of `SpanMarkerModel.predict` with which the result contains nothing besides entities and relations."""

    relations: bool | None


def make_predictor(
    model: Any,
    batch_size: int,
    threshold: float | dict[str, float] | None = None,
    decoding: Decoding | None = None,
    top_k: int | None = None,
    exact: bool | None = None,
    split_sentences: bool | Splitter = False,
    offsets: OffsetUnit = "codepoint",
    propagate: bool | Propagation = False,
    relations: bool | None = None,
    relation_threshold: float | dict[str, float] | None = None,
) -> Predictor:
    """Make the predictor of a model. The options are those of `SpanMarkerModel.predict`, which describes them in full.

    Args:
        model: A class that `span_marker.prediction.mixin.PredictionMixin` is mixed into.
        batch_size: The maximum number of sentences in a batch.
        threshold: The minimum probability of an entity, or a dict with the minimum for some labels.
        decoding: How overlaps are resolved.
        top_k: Number of labels to return for each entity and relation.
        exact: Whether to score all candidates, and all pairs of entities.
        split_sentences: Whether each text is a document, to be read sentence by sentence; or the function that splits
            it.
        offsets: The unit of indices into texts.
        propagate: Whether names are found at all their mentions.
        relations: Whether to find relations, too; None for True if the model has them.
        relation_threshold: The minimum probability of a relation, or a dict with the minimum for some labels.

    Returns:
        The predictor.

    Raises:
        ImportError: If an optional package is missing.
        TypeError: If an option has the wrong type.
        ValueError: If the value of an option is invalid, or relations are requested, but the model has none.
    """
    if exact is not None and not isinstance(exact, bool):
        raise TypeError(f"exact={exact!r} must be True, False, or None for the setting of the model's configuration")
    uses_filter = model.uses_filter(exact)
    decoder = model.config.decoder(threshold, decoding, keeps_all_scores=top_k is not None)
    return Predictor(
        functools.partial(model.score, exact=not uses_filter),
        model.preprocessor,
        decoder,
        batch_size,
        top_k,
        model.candidates_kept if uses_filter else 1.0,
        sentence_splitter(split_sentences),
        offsets,
        model.rules,
        read_propagate(propagate),
        _relation_reader(model, decoder, exact, relations, relation_threshold),
        model.hire_workers,
    )


def check_relations(model: Any, relations: bool | None, threshold: float | dict[str, float] | None = None) -> bool:
    """Check the arguments ``relations`` and ``relation_threshold``.

    Args:
        model: A model.
        relations: See `make_predictor`.
        threshold: The argument ``relation_threshold``.

    Returns:
        Whether to find relations.

    Raises:
        TypeError: If a value has the wrong type.
        ValueError: If relations are requested, but the model has none or cannot find them on its engine; if the
            threshold is invalid; or if a threshold is set although no relations are predicted.
    """
    if finds_relations(model, relations):
        _ = model.config.relation_rules  # refuses models without relations
        model.check_relations_possible()
        model.config.read_relation_threshold(threshold)
        return True
    if threshold is not None:
        reason = "the model has none" if relations is None else "relations=False"
        raise ValueError(f"relation_threshold={threshold!r}, but no relations are predicted ({reason}): leave it out")
    return False


def finds_relations(model: Any, relations: bool | None) -> bool:
    """Read the argument ``relations``.

    Args:
        model: A model.
        relations: Whether to find relations; None for True if the model has them.

    Returns:
        Whether to find relations.

    Raises:
        TypeError: If ``relations`` is not True, False or None.
    """
    if relations is not None and not isinstance(relations, bool):
        raise TypeError(f"relations={relations!r} must be True, False, or None for True if the model has relations")
    return model.config.relation_labels is not None if relations is None else relations


def _relation_reader(
    model: Any,
    decoder: Decoder,
    exact: bool | None,
    relations: bool | None,
    threshold: float | dict[str, float] | None,
) -> RelationReader | None:
    if not check_relations(model, relations, threshold):
        return None
    score_pairs = functools.partial(model.score_pairs, exact=exact)
    return RelationReader(
        score_pairs, decoder, model.config.relation_rules, model.config.read_relation_threshold(threshold)
    )
