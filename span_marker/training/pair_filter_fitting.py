"""Fitting a pair filter to a trained model with relations, so that only likely pairs of entities get markers.

The teacher is the model itself, which scores all pairs of the entities that it finds.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch

from span_marker.candidate_filter.fitting import Examples, choose_threshold, learn, split_held_out
from span_marker.configuration import PairFilterConfig
from span_marker.core.arrays import Array, as_array
from span_marker.core.checks import check_limit
from span_marker.core.filter_settings import without_pair_filter
from span_marker.core.tolerance import CONFIDENCE, FilterReport, check_recall
from span_marker.data.in_memory import as_dataset
from span_marker.heads import PairFilter
from span_marker.modeling import SpanMarkerModel, without_adapter
from span_marker.prediction.relations import FoundPairs, RelationReader
from span_marker.preprocessing.batching import run_in_batches
from span_marker.preprocessing.inputs import Sentences, read_inputs
from span_marker.relations.mixin import PAIR_FILTER

logger = logging.getLogger(__name__)

DEFAULT_RECALL = 0.95
"""Share of the model's relations that its filter must keep."""

STEP_SIZE = 8
"""The maximum number of sentences in a step of the fitting. A few hundred sentences make too few larger steps."""


@torch.inference_mode(False)
def fit_pair_filter(
    model: SpanMarkerModel,
    data: Any,
    held_out: Any = None,
    recall: float = DEFAULT_RECALL,
    batch_size: int = 32,
    seed: int = 0,
) -> FilterReport:
    """Fit a pair filter to a model, so that only likely pairs of entities get markers in prediction.

    The filter learns from the relations that the model itself finds between the entities that it finds; annotations are
    not used. Nothing else changes, nor do the scores of the pairs that the filter keeps. The filter replaces any former
    one, is saved with the model, and is not used with ``exact=True``. ``model.reset_pair_filter()`` removes it.

    The recall holds for the present thresholds of relations. With much lower ones, the filter may drop a larger share:
    `span_marker.tune_thresholds` removes it if it changes them.

    Args:
        model: A trained model with relations.
        data: A few hundred sentences, or a few thousand without ``held_out``, similar to those to predict, in any form
            that ``predict`` accepts, or as a list of dicts or a table with ``tokens`` or ``text``. Sentences that are
            longer than a window are skipped.
        held_out: Sentences to choose the threshold of the filter on. Defaults to every fifth sentence of ``data``, or
            every fifth document if there are documents; the filter does not learn from these.
        recall: The share of the model's relations that the filter must keep, above 0 and below 1.
        batch_size: The maximum number of sentences in a batch.
        seed: Seed of the filter's initial weights and of the order of the batches.

    Returns:
        The shares of relations and pairs that the filter keeps.

    Raises:
        TypeError: If ``model`` is not a `SpanMarkerModel`, or an input is none of the supported types.
        ValueError: If the model has no relations, has an adapter, or runs on the dense engine; or if it finds no
            relations in the data, or too few in the held-out text to guarantee the recall. The model is then unchanged.
    """
    model = without_adapter(model)
    _ = model.config.relation_rules  # refuses models without relations
    model.check_relations_possible()
    if getattr(model, "peft_config", None):
        raise ValueError(
            "a pair filter is not saved with the adapter of the model: fit it to the result of merge_and_unload()"
        )
    check_recall(recall)
    check_limit("batch_size", batch_size, at_least=1)
    check_limit("seed", seed, at_least=0)
    sentences = _read_sentences(data)
    parts = split_held_out(sentences) if held_out is None else (sentences, _read_sentences(held_out))
    with without_pair_filter(model.config):  # the teacher scores all pairs
        examples = list(_examples(model, parts[0], min(batch_size, STEP_SIZE)))
        if not any(batch.is_predicted.any() for batch in examples):
            raise ValueError(
                "the model finds no relations in the text that the pair filter is fitted to: pass more text, or text "
                "similar to the training data of the model"
            )
        trained = learn(PairFilter, examples, seed).to(model.dtype)
        names = {"predicted": "relations", "scored": "pairs", "name": "pair filter"}
        report = choose_threshold(trained, _examples(model, parts[1], batch_size), recall, **names)
    chosen = report.chosen
    settings = PairFilterConfig(trained.input_size, chosen.threshold, chosen.recall, chosen.kept)
    model.use_pair_filter(trained, settings)
    if model.config.exact:
        logger.warning("The pair filter is not used in prediction until you set model.config.exact = False.")
    model.note_change(
        PAIR_FILTER,
        f"It keeps {chosen.kept:.2%} of {report.num_scored:,} held-out pairs and, with {CONFIDENCE:.0%} confidence, at "
        f"least {chosen.recall:.2%} of the relations that the model predicts.",
    )
    return report


def _read_sentences(data: Any) -> Sentences:
    return read_inputs(as_dataset(data, "filter"))[0]


def _examples(model: SpanMarkerModel, sentences: Sentences, batch_size: int) -> Iterator[Examples]:
    """The pairs of each batch of sentences, with the predictions of the model."""
    config, preprocessor = model.config, model.preprocessor
    rules, thresholds = config.relation_rules, config.read_relation_threshold()
    reader = RelationReader(model.score_pairs, config.decoder(), rules, thresholds)
    pieces = preprocessor.pieces(sentences, preprocessor.encode(sentences))

    def examine(batch: dict[str, Array]) -> tuple[FoundPairs, Any, Any, Any]:
        found: list[FoundPairs] = []

        def find_pairs(*scores: Any) -> tuple[Any, Any]:
            found.append(reader.find(batch, *scores))
            return found[0].tokens(batch), found[0].counts

        _, _, logits = model.score_pairs(batch, find_pairs)
        tokens = found[0].tokens(batch)
        return found[0], logits, torch.from_numpy(tokens), model.pair_states(batch, tokens, found[0].counts)

    features = [piece.features() for piece in pieces]
    for _, _, (found, logits, tokens, (states, rows)) in run_in_batches(
        examine, features, preprocessor.collator, batch_size, model.candidates_kept, hire=model.hire_workers
    ):
        if not len(tokens):
            continue
        heads, tails = np.moveaxis(found.ends(), 1, 0)
        scores, places, _ = rules.likely(as_array(logits), heads, tails, thresholds)
        is_predicted = torch.zeros(len(tokens), dtype=torch.bool)
        is_predicted[torch.from_numpy(places)] = True
        used, used_rows = rows.unique(return_inverse=True)
        yield Examples(
            text_states=states[used].cpu(),
            rows=used_rows.cpu(),
            lengths=tokens[:, 2] - tokens[:, 0],
            probabilities=torch.from_numpy(1 - scores[:, 0]),
            is_predicted=is_predicted,
            has_markers=torch.ones_like(is_predicted),
        )
