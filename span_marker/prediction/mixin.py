"""The methods of a model that find entities: ``predict`` and ``predict_stream``."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, Literal, overload

from span_marker.core.decoding import Decoding
from span_marker.core.offsets import OffsetUnit
from span_marker.data.in_memory import table_as_dataset
from span_marker.prediction import explanation, predictor
from span_marker.prediction.documents import Splitter
from span_marker.prediction.entities import Coverage, Entity
from span_marker.prediction.explanation import Explanation
from span_marker.prediction.frames import TableMixin
from span_marker.prediction.options import EntityOptions, make_predictor
from span_marker.prediction.propagation import Propagation
from span_marker.prediction.relations import replace_annotation
from span_marker.preprocessing.batching import Workers, in_turn
from span_marker.preprocessing.inputs import Inputs, Words, read_inputs, read_rows, take_columns
from span_marker.preprocessing.preprocessor import Preprocessor
from span_marker.rules import Rules

if TYPE_CHECKING:
    from datasets import Dataset
    from typing_extensions import Unpack


class PredictionMixin(TableMixin):
    """Mixin for models that find entities in text.

    The class that it is mixed into scores batches and has a tokenizer, see `span_marker.SpanMarkerModel` and
    `span_marker.runtime.ExportedModel`.
    """

    if TYPE_CHECKING:
        config: Any
        score: Any
        score_pairs: Any
        check_relations_possible: Any
        uses_filter: Any
        backend: Any
        rules: Rules | None

        @property
        def preprocessor(self) -> Preprocessor:
            """See `SpanMarkerPreTrainedModel`."""

        @property
        def candidates_kept(self) -> float:
            """See `SpanFilterMixin`."""

    def hire_workers(self, count: int) -> AbstractContextManager[Workers]:
        """Start the workers that score batches: on a CPU, threads that run at the same time.

        Args:
            count: The maximum number of workers that have enough to do.

        Returns:
            The workers, for a ``with`` block. They share the threads that PyTorch may use (``torch.set_num_threads``).
            Exported models have a single worker, since their runtimes have their own threads.
        """
        if self.backend != "torch":
            return in_turn(count)
        from span_marker.preprocessing.processes import sharing_threads  # imports PyTorch

        model: Any = self
        return sharing_threads(model, count)

    @overload
    def predict(  # type: ignore[overload-overlap]
        self,
        inputs: str,
        *,
        is_split_into_words: Literal[False] | None = ...,
        return_coverage: Literal[False] = ...,
        **options: Unpack[EntityOptions],
    ) -> list[Entity]: ...

    @overload
    def predict(  # type: ignore[overload-overlap]
        self,
        inputs: str,
        *,
        is_split_into_words: Literal[False] | None = ...,
        return_coverage: Literal[True],
        **options: Unpack[EntityOptions],
    ) -> tuple[list[Entity], Coverage]: ...

    @overload
    def predict(
        self,
        inputs: Words,
        *,
        is_split_into_words: Literal[True],
        return_coverage: Literal[False] = ...,
        **options: Unpack[EntityOptions],
    ) -> list[Entity]: ...

    @overload
    def predict(
        self,
        inputs: Words,
        *,
        is_split_into_words: Literal[True],
        return_coverage: Literal[True],
        **options: Unpack[EntityOptions],
    ) -> tuple[list[Entity], Coverage]: ...

    @overload
    def predict(
        self,
        inputs: Iterable[str],
        *,
        is_split_into_words: Literal[False],
        return_coverage: Literal[False] = ...,
        **options: Unpack[EntityOptions],
    ) -> list[list[Entity]]: ...

    @overload
    def predict(
        self,
        inputs: Iterable[str],
        *,
        is_split_into_words: Literal[False],
        return_coverage: Literal[True],
        **options: Unpack[EntityOptions],
    ) -> tuple[list[list[Entity]], list[Coverage]]: ...

    @overload
    def predict(
        self,
        inputs: Iterable[str],
        *,
        is_split_into_words: None = ...,
        return_coverage: Literal[False] = ...,
        **options: Unpack[EntityOptions],
    ) -> list[Entity] | list[list[Entity]]: ...

    @overload
    def predict(
        self,
        inputs: Iterable[str],
        *,
        is_split_into_words: None = ...,
        return_coverage: Literal[True],
        **options: Unpack[EntityOptions],
    ) -> tuple[list[Entity], Coverage] | tuple[list[list[Entity]], list[Coverage]]: ...

    @overload
    def predict(
        self,
        inputs: Dataset,
        *,
        is_split_into_words: bool | None = ...,
        return_coverage: Literal[False] = ...,
        keep_columns: Sequence[str],
        **options: Unpack[EntityOptions],
    ) -> list[dict[str, Any]]: ...

    @overload
    def predict(
        self,
        inputs: Dataset,
        *,
        is_split_into_words: bool | None = ...,
        return_coverage: Literal[True],
        keep_columns: Sequence[str],
        **options: Unpack[EntityOptions],
    ) -> tuple[list[dict[str, Any]], list[Coverage]]: ...

    @overload
    def predict(
        self,
        inputs: Iterable[Words] | Dataset,
        *,
        is_split_into_words: bool | None = ...,
        return_coverage: Literal[False] = ...,
        **options: Unpack[EntityOptions],
    ) -> list[list[Entity]]: ...

    @overload
    def predict(
        self,
        inputs: Iterable[Words] | Dataset,
        *,
        is_split_into_words: bool | None = ...,
        return_coverage: Literal[True],
        **options: Unpack[EntityOptions],
    ) -> tuple[list[list[Entity]], list[Coverage]]: ...

    @overload
    def predict(self, inputs: Inputs, *, relations: bool | None, **options: Any) -> Any: ...

    def predict(  # type: ignore[misc]  # with relations, it takes the same options
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
        split_sentences: bool | Splitter = False,
        offsets: OffsetUnit = "codepoint",
        propagate: bool | Propagation = False,
        return_coverage: bool = False,
        keep_columns: Sequence[str] | None = None,
        relations: bool | None = None,
        relation_threshold: float | dict[str, float] | None = None,
    ) -> Any:
        """Find the entities in text.

        Texts that exceed the text limit are read in overlapping windows, which start at the beginning of a sentence if
        possible. Each candidate is scored in the window that gives it the most context.

        Args:
            inputs: One sentence, as a string or a list of words; or several: any iterable of strings, a list of lists
                of words, or a `Dataset`, a DataFrame or an Arrow table with a column ``tokens`` or ``text`` and, for
                document context, ``document_id`` and ``sentence_id``.
            batch_size: The maximum number of sentences in a batch.
            show_progress_bar: Whether to show a progress bar.
            is_split_into_words: Whether strings are words, as in the tokenizers of ``transformers``: True if a list of
                strings is one sentence, False if each string is a text. With None, it is guessed as in 1.x: a list or
                tuple of strings is one sentence if none of them contains a space, which is logged once. The strings of
                any other iterable are texts.
            threshold: The minimum probability of an entity, or a dict with the minimum for some labels; the others keep
                their thresholds from the configuration. A span then gets the most probable label among those that reach
                their threshold, even if ``O`` is more probable. Defaults to the thresholds of the configuration;
                without any, a span gets its most probable class.
            decoding: ``"flat"``, ``"flat-optimal"``, ``"nested"`` or ``"overlapping"``, see
                `span_marker.core.decoding`. Defaults to that of the configuration.
            top_k: Number of labels to return for each entity, as a list ``labels`` of dicts with ``label`` and
                ``score``, most probable first and including ``O``. If there are fewer labels, all are returned.
                Relations get such a list, too, including ``no relation``. None for no list.
            exact: Whether to score all candidates and pairs, rather than only those that the candidate filter and the
                pair filter keep. Defaults to ``config.exact``.
            split_sentences: Whether each text is a document, to be read sentence by sentence: True for spaCy's
                rule-based sentencizer (English tokens, punctuation of all scripts; needs the extra ``spacy``), or a
                function that takes a text and returns the start and end of each sentence, in characters and in order.
                Indices still refer to the whole text. If the model was trained with document context, the sentences of
                a text are context of each other.
            offsets: The unit of indices into texts: ``"codepoint"``, as in Python; ``"utf-16"``, as in JavaScript, Java
                and C#; or ``"utf-8"``, bytes. Indices of words do not change.
            propagate: Whether a name that was found with confidence is an entity wherever it occurs, as whole words, in
                the same document: the sentences of a ``document_id``, or otherwise each input. True, or a `Propagation`
                with the minimum score and whether case and diacritics count; needs the extra ``rules``. Entities that
                the model found are kept. An added entity has an ``origin``: the mention that its score is from. An
                entity that other mentions contradict has a ``conflict``.
            return_coverage: Whether to also return how much of each sentence was read, and in how many windows.
            keep_columns: Columns of a `Dataset` or DataFrame to return, such as its IDs. The result for each sentence
                is then a dict with these columns and ``entities``, and ``relations`` if they are predicted, which
                ``write_jsonl`` and the other writers accept.
            relations: Whether to also find relations between the entities of the model. The result for each sentence is
                then a dict with ``entities`` and ``relations``: dicts with ``label``, ``score``, ``head`` and ``tail``,
                the latter two being indices of the entities. At most 2,048 pairs per sentence or window are scored,
                the nearest ones; this is enough for all pairs of 45 entities. Defaults to True if the model has
                relations.
            relation_threshold: The minimum probability of a relation, or a dict with the minimum for some labels; the
                others keep their thresholds from the configuration. A pair then gets the most probable label among
                those that reach their threshold, even if having no relation is more probable. Defaults to the
                ``relation_thresholds`` of the configuration; without any, a pair gets its most probable class, which
                may be ``no relation``.

        Returns:
            The entities of one sentence in order of their words, or a list of such lists, in the order of ``inputs``.
            An entity is a dict with ``span``, ``label`` and ``score``, and with ``char_start_index`` and
            ``char_end_index`` for strings, or ``word_start_index`` and ``word_end_index`` for words; ends are
            exclusive. With relations, each list is replaced by a dict. With ``return_coverage``, also one `Coverage`
            per sentence.

        Raises:
            ImportError: If ``split_sentences=True`` and spaCy is not installed, or ``propagate`` is set and
                ``ahocorasick_rs`` is not installed.
            TypeError: If ``inputs`` is none of the supported types, or a threshold is not a number.
            ValueError: If ``is_split_into_words`` contradicts ``inputs``, a word contains a space although
                ``is_split_into_words`` is not True, ``batch_size`` or ``top_k`` is below 1, a threshold is not a
                probability or one of its labels is unknown, ``decoding`` or ``offsets`` is unknown, ``split_sentences``
                is used with words or returns overlapping sentences, or a `Dataset` lacks a column or repeats a sentence
                ID within a document.
        """
        inputs = table_as_dataset(inputs, "input")
        kept = None if keep_columns is None else take_columns(inputs, keep_columns)
        options = (threshold, decoding, top_k, exact, split_sentences, offsets, propagate)
        reader = make_predictor(self, batch_size, *options, relations, relation_threshold)
        are_words = _are_words(is_split_into_words, reader)
        sentences, is_single = read_inputs(inputs, are_words)
        if reader.splitter is not None and sentences.document_ids is not None:
            raise ValueError(
                "split_sentences is for documents, but the rows are sentences, with 'document_id' and 'sentence_id': "
                "leave it out, or drop these columns"
            )
        found, coverages = predictor.predict(sentences, reader, show_progress_bar)
        if kept is not None:
            found = [replace_annotation(*row) for row in zip(kept, found, strict=True)]
        if is_single:
            return (found[0], coverages[0]) if return_coverage else found[0]
        return (found, coverages) if return_coverage else found

    def predict_stream(
        self,
        inputs: Iterable[str | Words | Mapping[str, Any]],
        batch_size: int = 32,
        show_progress_bar: bool = False,
        *,
        is_split_into_words: bool | None = None,
        threshold: float | dict[str, float] | None = None,
        decoding: Decoding | None = None,
        top_k: int | None = None,
        exact: bool | None = None,
        split_sentences: bool | Splitter = False,
        offsets: OffsetUnit = "codepoint",
        propagate: bool | Propagation = False,
        relations: bool | None = None,
        relation_threshold: float | dict[str, float] | None = None,
    ) -> Iterator[list[Entity] | dict[str, Any]]:
        """Find the entities in a stream of sentences, in order, with a few thousand sentences in memory at a time.

        Args:
            inputs: Strings, lists of words, or dicts with ``text`` or ``tokens`` and any other keys, such as ``id``. Or
                a `Dataset`, a DataFrame or an Arrow table, whose rows are such dicts.
            batch_size: See `predict`.
            show_progress_bar: See `predict`.
            is_split_into_words: The required type of all items: True for lists of words, False for texts. With None,
                lists are words and strings are texts.
            threshold: See `predict`.
            decoding: See `predict`.
            top_k: See `predict`.
            exact: See `predict`.
            split_sentences: See `predict`.
            offsets: See `predict`.
            propagate: See `predict`; each item is a separate document.
            relations: See `predict`.
            relation_threshold: See `predict`.

        Returns:
            An iterator over what `predict` finds in each sentence; for dicts, over the dicts with ``entities`` added,
            and ``relations`` if they are predicted. Entities and relations that the dict itself has are dropped. If
            ``inputs`` raises an error, or an item is invalid, the error is raised after the results of all previous
            items.

        Raises:
            TypeError: If ``inputs`` is a single sentence or has no order, or an item is none of the supported types.
            ValueError: If a dict has neither ``text`` nor ``tokens``, or both; ``inputs`` is a ``zip``, the ``items()``
                of a dict or a ``csv.reader``, an item is a named tuple, or a word of a list contains a space, as in a
                pair of an ID and a text, unless ``is_split_into_words`` is True; or an argument is invalid, see
                `predict`.
        """
        rows = read_rows(inputs, is_split_into_words)
        options = (threshold, decoding, top_k, exact, split_sentences, offsets, propagate)
        reader = make_predictor(self, batch_size, *options, relations, relation_threshold)
        return predictor.predict_stream(rows, reader, show_progress_bar, _are_words(is_split_into_words, reader))

    def explain(
        self,
        text: str | Words,
        span: str | Words | tuple[int, int],
        *,
        threshold: float | dict[str, float] | None = None,
        decoding: Decoding | None = None,
        exact: bool | None = None,
    ) -> Explanation:
        """Explain why `predict` finds a span of a text, or why it does not.

        Args:
            text: One text, or one list of words.
            span: First character and the one after the last, or the part of the text itself if it occurs only once; for
                words, the same in words.
            threshold: See `predict`.
            decoding: See `predict`.
            exact: See `predict`.

        Returns:
            The step at which the span was lost, with its scores, thresholds and overlaps. White space around the span
            does not count. The result agrees with that of `predict` for this text by itself.

        Raises:
            TypeError: If ``text`` is neither a string nor a list of words, or ``span`` is none of the supported types.
            ValueError: If the span is empty, outside of the text, or does not occur exactly once; or an option is
                invalid, see `predict`.
        """
        sentences, is_single = read_inputs(text, None if isinstance(text, str) else True)
        if not is_single:
            raise TypeError("explain takes one text or one list of words: pass one of your inputs")
        reader = make_predictor(self, 32, threshold, decoding, exact=exact, relations=False)
        return explanation.explain(self, sentences, span, reader)


def _are_words(is_split_into_words: bool | None, reader: predictor.Predictor) -> bool | None:
    """Whether strings are words. Documents that are split into sentences are texts."""
    if reader.splitter is None:
        return is_split_into_words
    if is_split_into_words:
        raise ValueError("split_sentences needs texts, but these are words (is_split_into_words=True): leave it out")
    return False
