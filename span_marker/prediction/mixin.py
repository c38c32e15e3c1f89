"""How a model is asked for entities: ``predict`` and ``predict_stream``."""

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
    """Reads entities out of text.

    The class that it is mixed into scores batches and has a tokenizer, see `span_marker.SpanMarkerModel`.
    """

    if TYPE_CHECKING:
        config: SpanMarkerConfig
        max_text_length: int
        score: Any
        require_tokenizer: Any
        uses_filter: Any

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
        """Read the entities out of text.

        Text beyond the limit is read in windows that overlap, cut where sentences begin if possible; each span is
        scored in the window that gives it the most context.

        Args:
            inputs: One sentence, a string or a list of words; or several: any sequence or other iterable of strings, a
                list of lists of words, or a `Dataset` with a column ``tokens`` or ``text`` and, for document context,
                ``document_id`` and ``sentence_id``.
            batch_size: The largest number of sentences in a batch.
            show_progress_bar: Whether to show a progress bar.
            is_split_into_words: Whether strings are words, as in the tokenizers of ``transformers``: True if a list of
                strings is one sentence, False if each string is a text. None guesses as 1.x does: a list of strings is
                one sentence of words if none of them has a space. The guess is logged once.
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
            TypeError: If the input is none of the supported types, or a threshold is not a number.
            ValueError: If ``is_split_into_words`` contradicts the input, ``batch_size`` or ``top_k`` is below 1, a
                threshold is no probability or its labels are not those of the model, there is no such decoding, or a
                `Dataset` lacks a column or has a sentence ID twice in a document.
        """
        kept = None if keep_columns is None else take_columns(inputs, keep_columns)
        sentences, is_single = read_inputs(inputs, is_split_into_words)
        reader = self._predictor(batch_size, threshold, decoding, top_k, exact)
        entities, coverages = predictor.predict(sentences, reader, show_progress_bar)
        if kept is not None:
            entities = [{**row, "entities": found} for row, found in zip(kept, entities, strict=True)]
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
        """Read the entities out of a stream of sentences, in order, holding a few thousand at a time.

        Args:
            inputs: Strings, lists of words, or dicts with ``text`` or ``tokens`` and anything else, such as an ``id``.
            batch_size: See `predict`.
            show_progress_bar: See `predict`.
            is_split_into_words: What every item must be: True for lists of words, False for texts. None takes each item
                for what it is.
            threshold: See `predict`.
            decoding: See `predict`.
            top_k: See `predict`.
            exact: See `predict`.

        Returns:
            Yields the entities of each sentence, see `predict`; for a dict, the dict with ``entities`` besides.

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
            self.require_tokenizer(),
            self.config,
            self.max_text_length,
            self.config.decoder(threshold, decoding, keeps_all_scores=top_k is not None),
            batch_size,
            top_k,
            self.candidates_kept if uses_filter else 1.0,
        )
