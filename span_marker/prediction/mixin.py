"""The methods of a model that find entities: ``predict`` and ``predict_stream``."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Literal, TypedDict, overload

from torch import nn

from span_marker.configuration import SpanMarkerConfig
from span_marker.core.decoding import Decoding
from span_marker.prediction import predictor
from span_marker.prediction.entities import Coverage, Entity
from span_marker.preprocessing.inputs import Inputs, Words, read_inputs, take_columns
from span_marker.preprocessing.preprocessor import Preprocessor

if TYPE_CHECKING:
    from datasets import Dataset
    from typing_extensions import Unpack


class PredictOptions(TypedDict, total=False):
    """Options of `SpanMarkerModel.predict` that do not change the type of the result."""

    batch_size: int
    show_progress_bar: bool
    threshold: float | dict[str, float] | None
    decoding: Decoding | None
    top_k: int | None
    exact: bool | None


class PredictionMixin(nn.Module):
    """Finds entities in text.

    The class that it is mixed into scores batches and has a tokenizer, see `span_marker.SpanMarkerModel`.
    """

    if TYPE_CHECKING:
        config: SpanMarkerConfig
        score: Any
        uses_filter: Any

        @property
        def preprocessor(self) -> Preprocessor:
            """See `SpanMarkerPreTrainedModel`."""

        @property
        def candidates_kept(self) -> float:
            """See `SpanFilterMixin`."""

    @overload
    def predict(  # type: ignore[overload-overlap]
        self,
        inputs: str,
        *,
        is_split_into_words: Literal[False] | None = ...,
        return_coverage: Literal[False] = ...,
        **options: Unpack[PredictOptions],
    ) -> list[Entity]: ...

    @overload
    def predict(  # type: ignore[overload-overlap]
        self,
        inputs: str,
        *,
        is_split_into_words: Literal[False] | None = ...,
        return_coverage: Literal[True],
        **options: Unpack[PredictOptions],
    ) -> tuple[list[Entity], Coverage]: ...

    @overload
    def predict(
        self,
        inputs: Words,
        *,
        is_split_into_words: Literal[True],
        return_coverage: Literal[False] = ...,
        **options: Unpack[PredictOptions],
    ) -> list[Entity]: ...

    @overload
    def predict(
        self,
        inputs: Words,
        *,
        is_split_into_words: Literal[True],
        return_coverage: Literal[True],
        **options: Unpack[PredictOptions],
    ) -> tuple[list[Entity], Coverage]: ...

    @overload
    def predict(
        self,
        inputs: Iterable[str],
        *,
        is_split_into_words: Literal[False],
        return_coverage: Literal[False] = ...,
        **options: Unpack[PredictOptions],
    ) -> list[list[Entity]]: ...

    @overload
    def predict(
        self,
        inputs: Iterable[str],
        *,
        is_split_into_words: Literal[False],
        return_coverage: Literal[True],
        **options: Unpack[PredictOptions],
    ) -> tuple[list[list[Entity]], list[Coverage]]: ...

    @overload
    def predict(
        self,
        inputs: Iterable[str],
        *,
        is_split_into_words: None = ...,
        return_coverage: Literal[False] = ...,
        **options: Unpack[PredictOptions],
    ) -> list[Entity] | list[list[Entity]]: ...

    @overload
    def predict(
        self,
        inputs: Iterable[str],
        *,
        is_split_into_words: None = ...,
        return_coverage: Literal[True],
        **options: Unpack[PredictOptions],
    ) -> tuple[list[Entity], Coverage] | tuple[list[list[Entity]], list[Coverage]]: ...

    @overload
    def predict(
        self,
        inputs: Dataset,
        *,
        is_split_into_words: bool | None = ...,
        return_coverage: Literal[False] = ...,
        keep_columns: Sequence[str],
        **options: Unpack[PredictOptions],
    ) -> list[dict[str, Any]]: ...

    @overload
    def predict(
        self,
        inputs: Dataset,
        *,
        is_split_into_words: bool | None = ...,
        return_coverage: Literal[True],
        keep_columns: Sequence[str],
        **options: Unpack[PredictOptions],
    ) -> tuple[list[dict[str, Any]], list[Coverage]]: ...

    @overload
    def predict(
        self,
        inputs: Iterable[Words] | Dataset,
        *,
        is_split_into_words: bool | None = ...,
        return_coverage: Literal[False] = ...,
        **options: Unpack[PredictOptions],
    ) -> list[list[Entity]]: ...

    @overload
    def predict(
        self,
        inputs: Iterable[Words] | Dataset,
        *,
        is_split_into_words: bool | None = ...,
        return_coverage: Literal[True],
        **options: Unpack[PredictOptions],
    ) -> tuple[list[list[Entity]], list[Coverage]]: ...

    def predict(
        self,
        inputs: Inputs,
        batch_size: int = 32,
        show_progress_bar: bool = False,
        *,
        is_split_into_words: bool | None = None,
        threshold: float | dict[str, float] | None = None,
        decoding: Decoding | None = None,
        top_k: int | None = None,
        exact: bool | None = None,
        return_coverage: bool = False,
        keep_columns: Sequence[str] | None = None,
    ) -> Any:
        """Find the entities in text.

        Text beyond the text limit is read in overlapping windows, which begin with a sentence if possible. Each
        candidate is scored in the window that gives it the most context.

        Args:
            inputs: One sentence, as a string or a list of words; or several: any iterable of strings, a list of lists
                of words, or a `Dataset` with a column ``tokens`` or ``text`` and, for document context, ``document_id``
                and ``sentence_id``.
            batch_size: The largest number of sentences in a batch.
            show_progress_bar: Whether to show a progress bar.
            is_split_into_words: Whether strings are words, as in the tokenizers of ``transformers``: True if a list of
                strings is one sentence, False if each string is a text. None guesses as 1.x does: a list of strings is
                one sentence if none of them has a space. The guess is logged once.
            threshold: The least probability of an entity, or a dict with those of some labels; the
                others keep their threshold of the configuration, if any. A span then has the most
                probable label among those at or above their thresholds, even if ``O`` is more probable. Defaults to the
                thresholds of the configuration; without any, a span has its most probable class.
            decoding: ``"flat"``, ``"flat-optimal"``, ``"nested"`` or ``"overlapping"``, see
                `span_marker.core.decoding`. Defaults to that of the configuration.
            top_k: Number of labels to return for each entity, most probable first and including ``O``: a list
                ``labels`` of dicts with ``label`` and ``score``, with all labels if there are fewer. None for no list.
            exact: Whether to score all candidates, rather than those that the candidate filter keeps. Defaults to
                ``config.exact``.
            return_coverage: Whether to also return what was read in windows, cut or dropped.
            keep_columns: Columns of a `Dataset` to return, such as its IDs. Each sentence then yields a dict with these
                columns and ``entities``, as ``write_jsonl`` and the other writers take them.

        Returns:
            The entities of one sentence in order of their words, or a list of such lists, in the order of ``inputs``.
            An entity is a dict with ``span``, ``label`` and ``score``, and with ``char_start_index`` and
            ``char_end_index`` for strings, or ``word_start_index`` and ``word_end_index`` for words; ends are
            exclusive. With ``return_coverage``, also one `Coverage` per sentence.

        Raises:
            TypeError: If ``inputs`` is none of the supported types, or a threshold is not a number.
            ValueError: If ``is_split_into_words`` contradicts ``inputs``, ``batch_size`` or ``top_k`` is below 1, a
                threshold is not a probability or one of its labels is unknown, ``decoding`` is unknown, or a
                `Dataset` lacks a column or has a sentence ID twice in a document.
        """
        kept = None if keep_columns is None else take_columns(inputs, keep_columns)
        sentences, is_single = read_inputs(inputs, is_split_into_words)
        reader = self._predictor(batch_size, threshold, decoding, top_k, exact)
        entities, coverages = predictor.predict(sentences, reader, show_progress_bar)
        if kept is not None:
            entities = [{**row, "entities": sentence} for row, sentence in zip(kept, entities, strict=True)]
        if is_single:
            return (entities[0], coverages[0]) if return_coverage else entities[0]
        return (entities, coverages) if return_coverage else entities

    def predict_stream(
        self,
        inputs: Iterable[str | Words | dict[str, Any]],
        batch_size: int = 32,
        show_progress_bar: bool = False,
        *,
        is_split_into_words: bool | None = None,
        threshold: float | dict[str, float] | None = None,
        decoding: Decoding | None = None,
        top_k: int | None = None,
        exact: bool | None = None,
    ) -> Iterator[list[Entity] | dict[str, Any]]:
        """Find the entities in a stream of sentences, in order, with a few thousand sentences in memory at a time.

        Args:
            inputs: Strings, lists of words, or dicts with ``text`` or ``tokens`` and any other keys, such as ``id``.
            batch_size: See `predict`.
            show_progress_bar: See `predict`.
            is_split_into_words: What every item must be: True for lists of words, False for texts. With None, lists are
                words and strings are texts.
            threshold: See `predict`.
            decoding: See `predict`.
            top_k: See `predict`.
            exact: See `predict`.

        Returns:
            An iterator over the entities of each sentence, see `predict`; for dicts, over the dicts with ``entities``
            added.

        Raises:
            TypeError: If ``inputs`` is a single sentence, or an item is none of the supported types.
            ValueError: If a dict has neither ``text`` nor ``tokens``, or both; or an argument is wrong, see `predict`.
        """
        if isinstance(inputs, (str, dict)):
            raise TypeError(f"predict_stream needs an iterable of sentences, not a single {type(inputs).__name__}")
        reader = self._predictor(batch_size, threshold, decoding, top_k, exact)
        return predictor.predict_stream(inputs, reader, show_progress_bar, is_split_into_words)

    def _predictor(
        self,
        batch_size: int,
        threshold: float | dict[str, float] | None,
        decoding: Decoding | None,
        top_k: int | None,
        exact: bool | None,
    ) -> predictor.Predictor:
        uses_filter = self.uses_filter(exact)
        return predictor.Predictor(
            functools.partial(self.score, exact=not uses_filter),
            self.preprocessor,
            self.config.decoder(threshold, decoding, keeps_all_scores=top_k is not None),
            batch_size,
            top_k,
            self.candidates_kept if uses_filter else 1.0,
        )
