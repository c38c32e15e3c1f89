"""The methods of a model for its candidate filter: adding, applying, fitting, tuning and resetting it."""

from __future__ import annotations

import copy
import logging
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from span_marker.candidate_filter.fitting import (
    DEFAULT_RECALL,
    Examined,
    Examples,
    choose_threshold,
    collect_examples,
    fit_filter,
    split_held_out,
)
from span_marker.candidate_filter.head import SpanFilter
from span_marker.configuration import SpanFilterConfig, SpanMarkerConfig
from span_marker.core.arrays import Batch, as_array
from span_marker.core.spans import best_candidates, kept_candidates
from span_marker.core.tolerance import CONFIDENCE, FilterReport, check_recall
from span_marker.data.in_memory import as_dataset
from span_marker.encoders.engines import Engine, StagedEngine
from span_marker.preprocessing.inputs import Sentences, read_inputs
from span_marker.preprocessing.preprocessor import Preprocessor
from span_marker.preprocessing.processes import evaluating

logger = logging.getLogger(__name__)


class SpanFilterMixin(nn.Module):
    """The candidate filter of a model. It chooses the candidates that get markers, in training and in prediction.

    The class that it is mixed into has an encoder, an engine and a classifier, see `span_marker.SpanMarkerModel`.

    Attributes:
        span_filter: The filter; None if the model has none.
    """

    span_filter: SpanFilter | None

    if TYPE_CHECKING:
        config: SpanMarkerConfig
        encoder: Any
        engine: Engine
        device: torch.device
        dtype: torch.dtype
        _classify: Any
        _engine_input: Any
        _inputs: Any
        _staged_engine: Any
        _marker_ids: Any
        hire_workers: Any

        @property
        def preprocessor(self) -> Preprocessor:
            """See `SpanMarkerPreTrainedModel`."""

        def note_change(self, subject: str, change: str) -> None:
            """See `SpanMarkerPreTrainedModel`."""

    @property
    def can_filter(self) -> bool:
        """Whether the engine can stop between texts and markers, which a candidate filter needs."""
        return isinstance(self.engine, StagedEngine)

    @property
    def candidates_kept(self) -> float:
        """Approximate share of the candidates that get markers in prediction; 1 without a filter."""
        return self.config.candidates_kept if self.span_filter is not None and self.can_filter else 1.0

    def uses_filter(self, exact: bool | None = None) -> bool:
        """Return whether the candidate filter chooses the candidates that get markers in prediction.

        Args:
            exact: Whether the caller requests all candidates. Defaults to ``config.exact``.

        Returns:
            False if all candidates get markers.
        """
        return self.span_filter is not None and self.can_filter and self.config.uses_filter(exact)

    def text_state_size(self) -> int:
        """Measure the size of the text states that the candidate filter and the classifier read.

        Returns:
            The size of the values in the encoder's last layer, which need not be ``hidden_size``.

        Raises:
            ValueError: If the model runs on the dense engine.
        """
        ids = self._marker_ids(self.device)[None]
        no_spans = torch.zeros(0, 2, dtype=torch.long, device=self.device)
        batch = self._engine_input(
            ids, torch.ones_like(ids), no_spans, torch.zeros(1, dtype=torch.long), torch.zeros_like(ids)
        )
        with evaluating(self), torch.no_grad():
            return self._staged_engine().encode_texts(self.encoder, batch).states.shape[1]

    def add_span_filter(self) -> None:
        """Give the model a new candidate filter, to be trained jointly with the classifier.

        `Trainer` calls this when ``candidates_per_word`` is set.

        Raises:
            ValueError: If the model runs on the dense engine.
        """
        self.span_filter = SpanFilter(self.text_state_size()).to(self.device, self.dtype)
        self.config.span_filter = SpanFilterConfig(self.span_filter.input_size)

    def examine(self, batch: Batch) -> Examined:
        """Run a batch as if the candidate filter had no threshold yet, so that one can be fitted or tuned.

        A model that was trained with a filter gives markers to as many candidates as in training; any other model, to
        all.

        Args:
            batch: The batch, from `SpanMarkerDataCollator`, in arrays or tensors on any device.

        Returns:
            Class scores and text states, see `Examined`.

        Raises:
            ValueError: If the model runs on the dense engine.
        """
        inputs = self._inputs(batch)
        span_words, span_counts = inputs.pop("span_words"), inputs["span_counts"]
        engine, engine_input = self._staged_engine(), self._engine_input(**inputs)
        with evaluating(self), torch.no_grad():
            texts = engine.encode_texts(self.encoder, engine_input)
            span_rows = texts.span_rows(engine_input)
            kept = torch.arange(len(span_rows), device=self.device)
            if self.span_filter is not None and self.config.best_per_word is not None:
                scores = self._filter_scores(texts.states, span_rows, span_words)
                kept = self._is_best(scores, span_words, span_counts).nonzero()[:, 0]
            states = engine.encode_markers(self.encoder, engine_input.take(kept), texts)
            logits = self._classify(states, texts.states, span_rows[kept])
        return Examined(logits, kept, texts.states, span_rows)

    def filter_scores(self, batch: Batch) -> Tensor:
        """Score all candidates of a batch with the candidate filter.

        Args:
            batch: See `examine`.

        Returns:
            Log-odds of an entity, ``(num_spans,)``.

        Raises:
            ValueError: If the model runs on the dense engine, or has no filter.
        """
        inputs = self._inputs(batch)
        span_words = inputs.pop("span_words")
        engine, engine_input = self._staged_engine(), self._engine_input(**inputs)
        with evaluating(self), torch.no_grad():
            texts = engine.encode_texts(self.encoder, engine_input)
            return self._filter_scores(texts.states, texts.span_rows(engine_input), span_words)

    def _is_filtered(self, has_labels: bool, exact: bool | None) -> bool:
        """Whether the filter chooses candidates in a forward pass."""
        if self.training:
            return self.config.candidates_per_word is not None and has_labels
        return self.uses_filter(exact)

    def _filter_scores(self, text_states: Tensor, span_rows: Tensor, span_words: Tensor | None) -> Tensor:
        """Score the candidates of a batch before any of them has markers, ``(num_spans,)``."""
        if self.span_filter is None:
            raise ValueError(
                f"candidates_per_word={self.config.candidates_per_word}, but the model has no candidate filter: call "
                "add_span_filter() before you create the optimizer"
            )
        if span_words is None:
            raise ValueError("the candidate filter needs span_words, which SpanMarkerDataCollator adds to each batch")
        scores: Tensor = self.span_filter(text_states, span_rows, span_words.diff(dim=1)[:, 0])
        return scores

    def _choose_for_training(
        self, scores: Tensor, span_words: Tensor | None, span_counts: Tensor, is_gold: Tensor
    ) -> Tensor:
        """Choose the best candidates of each sentence and all gold spans: their indices, ascending, ``(num_kept,)``."""
        return (self._is_best(scores.detach(), span_words, span_counts) | is_gold).nonzero()[:, 0]

    def _choose_for_prediction(self, scores: Tensor, span_words: Tensor | None, span_counts: Tensor) -> Tensor:
        """Choose the best candidates at or above the threshold, see `_choose_for_training`."""
        assert span_words is not None  # the scores need it, too
        assert self.config.span_filter is not None
        self.config.check_filter_length()
        lengths, counts = as_array(span_words.diff(dim=1)[:, 0]), as_array(span_counts)
        per_word, threshold = self.config.best_per_word, self.config.span_filter.threshold
        kept = kept_candidates(as_array(scores), lengths, counts, per_word, threshold)
        return torch.from_numpy(kept).to(scores.device)

    def _is_best(self, scores: Tensor, span_words: Tensor | None, span_counts: Tensor) -> Tensor:
        """True for the best candidates, as many per word as may get markers, ``(num_spans,)``."""
        if self.config.best_per_word is None or span_words is None:
            return torch.ones_like(scores, dtype=torch.bool)
        lengths, counts = as_array(span_words.diff(dim=1)[:, 0]), as_array(span_counts)
        is_best = best_candidates(as_array(scores), lengths, counts, self.config.best_per_word)
        return torch.from_numpy(is_best).to(scores.device)

    @torch.inference_mode(False)
    def fit_span_filter(
        self,
        data: Any,
        held_out: Any = None,
        recall: float = DEFAULT_RECALL,
        batch_size: int = 32,
        seed: int = 0,
    ) -> FilterReport:
        """Fit a candidate filter to the model, so that only likely entities get markers in prediction.

        The filter learns from what the model itself predicts with all candidates; annotations are not used. The encoder
        and the classifier do not change, nor do the scores of the candidates that the filter keeps. The filter is
        switched on (``config.exact`` becomes False) and saved with the model.

        Args:
            data: A few thousand sentences, similar to those to predict, in any form that `predict` accepts, or as
                a list of dicts or a table with ``tokens`` or ``text``.
            held_out: Sentences to choose the filter's threshold on. Defaults to every fifth sentence of ``data``, or
                every fifth document if there are documents; the filter does not learn from these.
            recall: The share of the model's entities that the filter must keep, above 0 and below 1.
            batch_size: The maximum number of sentences in a batch.
            seed: Seed of the filter's initial weights and of the order of the sentences.

        Returns:
            The shares of entities and candidates that the filter keeps.

        Raises:
            TypeError: If an input is none of the supported types.
            ValueError: If the model runs on the dense engine, was trained with a filter that drops candidates, finds no
                entities in the data, or too few in the held-out text to guarantee the recall. The model is then
                unchanged.
        """
        check_recall(recall)
        if self.config.best_per_word is not None:
            raise ValueError(
                f"the model was trained with a filter (candidates_per_word={self.config.candidates_per_word}) and "
                "cannot get a new one: call tune_span_filter to change its threshold, or train a model with "
                "candidates_per_word=None"
            )
        sentences = _read_sentences(data)
        parts = split_held_out(sentences) if held_out is None else (sentences, _read_sentences(held_out))
        examples, held_out_examples = (self._examples(part, batch_size) for part in parts)
        span_filter = fit_filter(list(examples), seed).to(self.dtype)
        report = choose_threshold(span_filter, held_out_examples, recall)
        self._use(span_filter.to(self.device), report)
        return report

    def tune_span_filter(self, held_out: Any, recall: float = DEFAULT_RECALL, batch_size: int = 32) -> FilterReport:
        """Choose a new threshold for the model's candidate filter, and switch the filter on.

        Use it for other text or another recall.

        Args:
            held_out: Text that the filter has not learned from, see `fit_span_filter`.
            recall: See `fit_span_filter`.
            batch_size: The maximum number of sentences in a batch.

        Returns:
            See `fit_span_filter`.

        Raises:
            TypeError: If ``held_out`` is none of the supported types.
            ValueError: If the model has no filter, or finds too few entities to guarantee the recall. The model is then
                unchanged.
        """
        check_recall(recall)
        if self.span_filter is None:
            raise ValueError("the model has no candidate filter: fit one with fit_span_filter")
        examples = self._examples(_read_sentences(held_out), batch_size)
        report = choose_threshold(copy.deepcopy(self.span_filter).cpu(), examples, recall)
        self._use(self.span_filter, report)
        return report

    def reset_span_filter(self) -> None:
        """Drop a filter that is not trained; reset the threshold of one that is. Called before training."""
        if self.span_filter is None:
            return
        if self.config.candidates_per_word is None:
            logger.warning(
                "The model's candidate filter is removed, because training changes the states that it was fitted to. "
                "Set candidates_per_word to train the filter as well, or call fit_span_filter afterwards."
            )
            self.span_filter, self.config.span_filter = None, None
        else:
            self.config.span_filter = SpanFilterConfig(self.span_filter.input_size)

    def _examples(self, sentences: Sentences, batch_size: int) -> Iterator[Examples]:
        return collect_examples(sentences, self.examine, self.preprocessor, batch_size, self.hire_workers)

    def _use(self, span_filter: SpanFilter, report: FilterReport) -> None:
        self.span_filter, self.config.exact = span_filter, False
        self.config.span_filter = SpanFilterConfig(
            input_size=span_filter.input_size,
            threshold=report.chosen.threshold,
            entity_max_length=self.config.limit("entity_max_length"),
            recall=report.chosen.recall,
            candidates_kept=report.chosen.kept,
        )
        self.note_change(
            "Candidate filter",
            f"It keeps {report.chosen.kept:.2%} of {report.num_scored:,} held-out candidates and, with "
            f"{CONFIDENCE:.0%} confidence, at least {report.chosen.recall:.2%} of what the model predicts.",
        )


def _read_sentences(data: Any) -> Sentences:
    return read_inputs(as_dataset(data, "filter"))[0]
