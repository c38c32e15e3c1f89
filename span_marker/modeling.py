"""SpanMarkerModel: predict, and fit a candidate filter."""

from __future__ import annotations

import copy
import functools
import logging
import os
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import torch

from span_marker import prediction
from span_marker.candidate_filter import fitting
from span_marker.candidate_filter.fitting import Examples, SpanFilterReport
from span_marker.candidate_filter.head import SpanFilter
from span_marker.checkpoints.pretrained import SpanMarkerPreTrainedModel
from span_marker.core.decoding import Decoding
from span_marker.preprocessing.inputs import Sentences, read_inputs, take_columns

logger = logging.getLogger(__name__)


class SpanMarkerModel(SpanMarkerPreTrainedModel):
    """A SpanMarker model: it reads entities out of text.

    Make one with `from_pretrained`, from an encoder or from a SpanMarker checkpoint.

    Args:
        config: See `span_marker.network.SpanMarkerNetwork`.
        encoder: Likewise.
        engine: Likewise.
    """

    def predict(
        self,
        inputs: Any,
        batch_size: int = 32,
        show_progress_bar: bool = False,
        *,
        threshold: float | dict[str, float] | None = None,
        decoding: Decoding | None = None,
        top_k: int | None = None,
        exact: bool | None = None,
        return_coverage: bool = False,
        keep_columns: Sequence[str] | None = None,
    ) -> Any:
        """Read the entities out of text.

        Text beyond the limit is read in windows that overlap, cut where sentences begin if possible; each span is
        scored in the window that gives it the most context.

        Args:
            inputs: One sentence: a string, or a list of words. Or several: a list of strings of which at least one has
                a space, a list of lists of words, or a `Dataset` with a column ``tokens`` or ``text`` and, for document
                context, ``document_id`` and ``sentence_id``.
            batch_size: The most sentences of a batch.
            show_progress_bar: Whether to show a progress bar.
            threshold: The least probability of an entity, or a dict with that of each label. With it, a span has its
                most probable label among those that reach theirs, even if ``O`` is more probable. By default the
                thresholds of the configuration, or if it has none, the most probable class decides.
            decoding: ``"flat"``, ``"flat-optimal"``, ``"nested"`` or ``"overlapping"``, see
                `span_marker.core.decoding`. Defaults to that of the configuration.
            top_k: Give each entity its most probable labels, ``O`` included, as a list ``labels`` of dicts with
                ``label`` and ``score``; a number larger than that of the labels gives all.
            exact: Whether to score all candidates, rather than those that the candidate filter keeps, if there is one;
                by default what ``config.exact`` says.
            return_coverage: Whether to return what was read in windows, cut or left out, too.
            keep_columns: Columns of a `Dataset`, such as its IDs, to pass through: each sentence then gives a dict with
                these and ``entities``, which is what ``write_jsonl`` and its like take.

        Returns:
            The entities of one sentence in order of their words, or a list of such lists. An entity is a dict with
            ``span``, ``label`` and ``score``, and ``char_start_index`` and ``char_end_index`` for strings, or
            ``word_start_index`` and ``word_end_index`` for words; ends are exclusive. With ``return_coverage``, also a
            `Coverage`, or a list of one for each sentence. Whatever the order of the work, results stand in the order
            of the input.

        Raises:
            TypeError: If the input is nothing of the kind, or a threshold is not a number.
            ValueError: If ``batch_size`` or ``top_k`` is below 1, a threshold is no probability or its labels are not
                those of the model, there is no such decoding, or a `Dataset` lacks a column or has a sentence ID twice
                in a document.
        """
        kept = None if keep_columns is None else take_columns(inputs, keep_columns)
        sentences, is_single = read_inputs(inputs)
        predictor = self._predictor(batch_size, threshold, decoding, top_k, exact)
        entities, coverages = prediction.predict(sentences, predictor, show_progress_bar)
        if kept is not None:
            entities = [{**row, "entities": found} for row, found in zip(kept, entities, strict=True)]
        if is_single:
            return (entities[0], coverages[0]) if return_coverage else entities[0]
        return (entities, coverages) if return_coverage else entities

    def predict_stream(
        self,
        inputs: Iterable[str | Sequence[str] | dict[str, Any]],
        batch_size: int = 32,
        show_progress_bar: bool = False,
        *,
        threshold: float | dict[str, float] | None = None,
        decoding: Decoding | None = None,
        top_k: int | None = None,
        exact: bool | None = None,
    ) -> Iterator[Any]:
        """Read the entities out of a stream of sentences, in order, holding a few thousand at a time.

        Args:
            inputs: Strings, lists of words, or dicts with ``text`` or ``tokens`` and anything else, such as an ``id``.
            batch_size: See `predict`.
            show_progress_bar: See `predict`.
            threshold: See `predict`.
            decoding: See `predict`.
            top_k: See `predict`.
            exact: See `predict`.

        Returns:
            Yields the entities of each sentence, see `predict`; for a dict, the dict with ``entities`` besides.

        Raises:
            TypeError: If ``inputs`` is a single sentence, or an item nothing of the kind.
            ValueError: If a dict has neither ``text`` nor ``tokens``, or both; or an argument is wrong, see `predict`.
        """
        if isinstance(inputs, (str, dict)):
            raise TypeError(f"predict_stream needs an iterable of sentences, not a single {type(inputs).__name__}")
        predictor = self._predictor(batch_size, threshold, decoding, top_k, exact)
        return prediction.predict_stream(inputs, predictor, show_progress_bar)

    def _predictor(
        self, batch_size: int, threshold: Any, decoding: Any, top_k: int | None, exact: bool | None
    ) -> prediction.Predictor:
        is_exact = self.is_exact(exact)
        return prediction.Predictor(
            functools.partial(self.score, exact=is_exact),
            self.require_tokenizer(),
            self.config,
            self.max_text_length,
            self.config.decoder(threshold, decoding, keeps_all_scores=top_k is not None),
            batch_size,
            top_k,
            1.0 if is_exact else self.candidates_kept,
        )

    def is_exact(self, exact: bool | None = None) -> bool:
        """Whether prediction gives markers to all candidates.

        Args:
            exact: What the caller asks for; by default ``config.exact`` decides.

        Returns:
            True if there is no filter in use.
        """
        wants_exact = self.config.exact if exact is None else exact
        return wants_exact or self.candidates_kept == 1

    @torch.inference_mode(False)
    def fit_span_filter(
        self,
        data: Any,
        held_out: Any = None,
        recall: float = fitting.DEFAULT_RECALL,
        batch_size: int = 32,
        seed: int = 0,
    ) -> SpanFilterReport:
        """Fit a candidate filter to the model, so that prediction gives markers only to what may be an entity.

        The model itself is the teacher, with all candidates: labels are not needed, and not looked at. Its encoder and
        its classifier stay as they are, and so do the scores of the candidates that the filter keeps. The filter is
        switched on (``config.exact`` becomes False), and saved with the model.

        Args:
            data: Text like that which is to be read, in any form that `predict` takes: a few thousand sentences.
            held_out: Text that decides where the filter cuts; by default every fifth sentence of ``data``, or document
                if there are documents, which the filter then does not learn from.
            recall: The share of the model's entities that the filter is to keep, above 0 and below 1.
            batch_size: The most sentences of a batch.
            seed: Decides about the filter's first weights and the order of the sentences.

        Returns:
            What the filter keeps, of entities and of candidates.

        Raises:
            TypeError: If an input is nothing of the kind.
            ValueError: If the model runs on the dense engine, was trained with a filter that kept candidates from it,
                finds no entity in the data, or too few in the held-out text to be sure of the recall. The model stays
                as it is.
        """
        fitting.check_recall(recall)
        if self.best_per_word is not None:
            raise ValueError(
                f"the model is made to learn with a filter, candidates_per_word={self.config.candidates_per_word}, and "
                "can't have another one: call tune_span_filter for another threshold, or train a model with "
                "candidates_per_word=None"
            )
        sentences, _ = read_inputs(data)
        parts = fitting.split(sentences) if held_out is None else (sentences, read_inputs(held_out)[0])
        examples, held_out_examples = (self._examine_all(part, batch_size) for part in parts)
        span_filter = fitting.learn(list(examples), seed).to(self.dtype)
        report = fitting.choose_threshold(span_filter, held_out_examples, recall)
        self._use(span_filter.to(self.device), report)
        return report

    def tune_span_filter(
        self, held_out: Any, recall: float = fitting.DEFAULT_RECALL, batch_size: int = 32
    ) -> SpanFilterReport:
        """Choose anew where the model's candidate filter cuts, for other text or for another recall, and switch it on.

        Args:
            held_out: Text that the filter has not learned from, see `fit_span_filter`.
            recall: See `fit_span_filter`.
            batch_size: The most sentences of a batch.

        Returns:
            See `fit_span_filter`.

        Raises:
            TypeError: If the input is nothing of the kind.
            ValueError: If the model has no filter, or finds too few entities to be sure of the recall. The model stays
                as it is.
        """
        fitting.check_recall(recall)
        if self.span_filter is None:
            raise ValueError("the model has no candidate filter: fit one with fit_span_filter")
        examples = self._examine_all(read_inputs(held_out)[0], batch_size)
        report = fitting.choose_threshold(copy.deepcopy(self.span_filter).cpu(), examples, recall)
        self._use(self.span_filter, report)
        return report

    def _examine_all(self, sentences: Sentences, batch_size: int) -> Iterator[Examples]:
        tokenizer, max_tokens = self.require_tokenizer(), self.max_text_length
        return fitting.examine_all(sentences, self.examine, tokenizer, self.config, max_tokens, batch_size)

    def _use(self, span_filter: SpanFilter, report: SpanFilterReport) -> None:
        self.span_filter, self.config.exact = span_filter, False
        self.config.span_filter = {
            "input_size": span_filter.input_size,
            "entity_max_length": self.config.require("entity_max_length"),
            "threshold": report.chosen.threshold,
            "recall": report.chosen.recall,
            "candidates_kept": report.chosen.candidates_kept,
        }

    def reset_span_filter(self) -> None:
        """Forget the threshold of a candidate filter, before training changes it; drop a filter that is not trained."""
        if self.span_filter is None:
            return
        if self.config.candidates_per_word is None:
            logger.warning(
                "The model's candidate filter is taken away, since training changes what it was fitted to: set "
                "candidates_per_word to train it, too, or call fit_span_filter afterwards."
            )
            self.span_filter, self.config.span_filter = None, None
        else:
            self.config.span_filter = {"input_size": self.span_filter.input_size}

    def try_cuda(self) -> SpanMarkerModel:
        """Move the model to a GPU if there is one.

        Returns:
            The model itself.
        """
        if torch.cuda.is_available():
            self.to(torch.device("cuda"))  # type: ignore[arg-type]
        else:
            logger.warning("There is no CUDA device: the model stays on %s.", self.device)
        return self


def without_adapter(model: Any) -> SpanMarkerModel:
    """Find the model within an adapter of PEFT, if there is one around it.

    Args:
        model: A SpanMarker model, or a ``PeftModel`` around one.

    Returns:
        The SpanMarker model.

    Raises:
        TypeError: If it is another model.
    """
    if hasattr(model, "get_base_model"):
        model = model.get_base_model()
    if not isinstance(model, SpanMarkerModel):
        advice = f": SpanMarkerModel.from_pretrained({str(model)!r})" if isinstance(model, (str, os.PathLike)) else ""
        raise TypeError(f"model must be a SpanMarkerModel, not {type(model).__name__}{advice}")
    return model
