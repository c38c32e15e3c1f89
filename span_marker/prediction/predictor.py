"""From sentences in any form to entities as dicts, in batches of similar sentences."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from tqdm.auto import tqdm

from span_marker.core.alignment import trim
from span_marker.core.arrays import Array
from span_marker.core.checks import check_limit, without_stop_iteration
from span_marker.core.decoding import Decoder, ScoredSpan, ScoredSpans
from span_marker.core.offsets import OffsetUnit, check_offset_unit
from span_marker.core.relations import MAX_PAIRS, ScoredRelation
from span_marker.core.spans import num_candidates
from span_marker.core.streams import blocks
from span_marker.prediction.documents import Splitter, count_in, join_documents, split_documents
from span_marker.prediction.entities import Coverage, Entity, top_labels
from span_marker.prediction.propagation import Propagation, propagate_names
from span_marker.prediction.relations import (
    PieceRelations,
    Relation,
    RelationReader,
    WindowTask,
    as_dicts,
    follow,
    join_relations,
    replace_annotation,
    window_features,
)
from span_marker.preprocessing.batching import HireWorkers, MemoryBudget, in_turn, run_in_batches
from span_marker.preprocessing.inputs import Sentences, sentence_of, warn_of_context
from span_marker.preprocessing.pieces import Piece
from span_marker.preprocessing.preprocessor import Preprocessor
from span_marker.preprocessing.tokenizer import EncodedSentence
from span_marker.rules import Rules

logger = logging.getLogger(__name__)

T = TypeVar("T")

BLOCK_SIZE = 4096
"""The maximum number of sentences that are tokenized and sorted at a time."""

BLOCK_LENGTH = 2_000_000
"""Number of characters or words at which a block of sentences is full."""


Score = Callable[[dict[str, Array]], tuple[Any, Any]]
"""Scores the candidates of a batch of arrays, see `span_marker.modeling.SpanMarkerModel.score`: arrays, or tensors."""


@dataclass
class _Found:
    """The entities and relations of a sentence, in the pieces that were read so far."""

    pieces: list[Piece] = field(default_factory=list)
    proposals: list[ScoredSpan] = field(default_factory=list)
    entities: list[tuple[ScoredSpan, Entity]] = field(default_factory=list)
    relations: list[ScoredRelation] = field(default_factory=list)
    num_scored: int = 0
    num_kept: int = 0
    num_separate_pairs: int = 0
    num_dropped_pairs: int = 0
    num_unlikely_pairs: int = 0

    def add(
        self,
        piece: Piece,
        num_scored: int,
        num_kept: int,
        proposals: list[ScoredSpan],
        relations: PieceRelations,
    ) -> None:
        """Add the results of a piece."""
        self.pieces.append(piece)
        self.proposals += proposals
        self.num_scored += num_scored
        self.num_kept += num_kept
        self.add_relations(relations)

    def add_relations(self, found: PieceRelations) -> None:
        """Add the relations of a piece."""
        self.relations += found.relations
        self.num_dropped_pairs += found.num_dropped
        self.num_unlikely_pairs += found.num_unlikely


@dataclass
class Predictor:
    """Finds the entities of sentences, and counts the sentences that it could not read in full.

    Args:
        score: Scores a batch.
        preprocessor: The model's preprocessor.
        decoder: How class scores become entities.
        batch_size: The maximum number of sentences in a batch.
        top_k: Number of labels to return for each entity; None for no such list.
        candidates_kept: Approximate share of the candidates that get markers.
        splitter: Splits texts into sentences; None to read each text as one sentence.
        offsets: The unit of places in texts.
        rules: Rules whose entities are merged with those of the model, or None.
        propagation: How names are found at all their mentions, or None to skip this.
        relations: Scores batches in place of ``score``, and finds their relations; None to predict entities only.
        hire: Starts the workers that read the batches.

    Raises:
        TypeError: If ``batch_size`` or ``top_k`` is not a whole number.
        ValueError: If ``batch_size`` or ``top_k`` is below 1, or ``offsets`` is unknown.
    """

    score: Score
    preprocessor: Preprocessor
    decoder: Decoder
    batch_size: int = 32
    top_k: int | None = None
    candidates_kept: float = 1.0
    splitter: Splitter | None = None
    offsets: OffsetUnit = "codepoint"
    rules: Rules | None = None
    propagation: Propagation | None = None
    relations: RelationReader | None = None
    hire: HireWorkers = in_turn
    _memory_budget: MemoryBudget = field(default_factory=MemoryBudget, init=False)
    _num_read: int = field(default=0, init=False)
    _num_incomplete: int = field(default=0, init=False)
    _num_cut: int = field(default=0, init=False)
    _num_separate_pairs: int = field(default=0, init=False)
    _num_dropped_pairs: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        check_limit("batch_size", self.batch_size, at_least=1)
        check_limit("top_k", self.top_k, at_least=1, also=(None,))
        check_offset_unit(self.offsets)
        self._collator = self.preprocessor.collator
        self._labels = self.preprocessor.config.classes
        self._relation_labels = self.preprocessor.config.relation_labels or []

    @without_stop_iteration
    def read(self, sentences: Sentences, progress: tqdm[Any]) -> tuple[list[Any], list[Coverage]]:
        """Find the entities of sentences, and their relations if ``relations`` is set.

        Args:
            sentences: The sentences; with document context, whole documents.
            progress: The progress bar. It advances with each sentence or window, and its total grows if sentences are
                read in windows.

        Returns:
            The entities of each sentence, or a dict of its ``entities`` and ``relations``; and how much of it was read.
        """
        if self.splitter is None or not sentences.are_texts:
            entities, coverages, relations = self._read(sentences, progress)
        else:
            with_context = self.preprocessor.config.trained_with_document_context
            parts, starts = split_documents(sentences, self.splitter, bool(with_context))
            if progress.total is not None:
                progress.total += len(parts.items) - len(starts)
            entities, coverages, relations = self._read(parts, progress)
            relations = join_relations(starts, entities, relations)
            entities, coverages = join_documents(starts, entities, coverages)
        completed = self._complete(sentences, entities)
        relations = [follow(*row) for row in zip(relations, entities, completed, strict=True)]
        if sentences.are_texts:
            rows = [count_in(self.offsets, *row) for row in zip(sentences.items, completed, coverages, strict=True)]
            completed, coverages = [found for found, _ in rows], [coverage for _, coverage in rows]
        if self.relations is None:
            return completed, coverages
        both = zip(completed, relations, strict=True)
        return [{"entities": found, "relations": between} for found, between in both], coverages

    def _complete(self, sentences: Sentences, entities: list[list[Entity]]) -> list[list[Entity]]:
        """Add the entities of rules, and other mentions of names."""
        if self.rules is not None:
            entities = [self.rules.apply(*row) for row in zip(sentences.items, entities, strict=True)]
        if self.propagation is not None:
            entities = propagate_names(sentences, entities, self.propagation, self.offsets)
        return entities

    def _read(
        self, sentences: Sentences, progress: tqdm[Any]
    ) -> tuple[list[list[Entity]], list[Coverage], list[list[Relation]]]:
        """Find the entities and relations of sentences, see `read`. Places in texts are in code points."""
        encodings = self.preprocessor.encode(sentences)
        pieces = self.preprocessor.pieces(sentences, encodings)
        if progress.total is not None:
            progress.total += len(pieces) - len(encodings)
        found = [_Found() for _ in encodings]
        features = [piece.features() for piece in pieces]
        for indices, batch, (scored, *columns) in self._run(self._read_batch, features, self.candidates_kept):
            counts = (batch["span_counts"].tolist(), scored.span_counts.tolist())
            for index, *values in zip(indices, *counts, *columns, strict=True):
                found[pieces[index].row].add(pieces[index], *values)
            progress.update(len(indices))
        for item, sentence, row in zip(sentences.items, encodings, found, strict=True):
            spans = self.decoder.select(row.proposals)
            pairs = [(span, self._as_dict(span, item, sentence)) for span in spans]
            row.entities = [pair for pair in pairs if pair[1]["span"]]  # white space is no entity
        if self.relations is not None:
            self._read_windows(self.relations, found)
        coverages = list(map(self._coverage, sentences.items, encodings, found))
        self._num_read += len(encodings)
        relations = [
            as_dicts(row.relations, [span for span, _ in row.entities], self._relation_labels, self.top_k)
            for row in found
        ]
        return [[entity for _, entity in row.entities] for row in found], coverages, relations

    def _run(
        self, read: Callable[[dict[str, Array]], T], features: list[dict[str, Any]], candidates_kept: float
    ) -> Iterator[tuple[list[int], dict[str, Array], T]]:
        return run_in_batches(
            read, features, self._collator, self.batch_size, candidates_kept, self._memory_budget, self.hire
        )

    def _read_batch(self, batch: dict[str, Array]) -> tuple[ScoredSpans, list[list[ScoredSpan]], list[PieceRelations]]:
        """The candidates of a batch that got markers, and the proposals and relations of each piece."""
        if self.relations is not None:
            return self.relations(batch)
        scored = ScoredSpans.from_batch(batch, *self.score(batch))
        return scored, self.decoder.propose(*scored), [PieceRelations([])] * len(scored.span_counts)

    def _read_windows(self, reader: RelationReader, found: Sequence[_Found]) -> None:
        """Find the relations of sentences with windows, whose entities are known by now."""
        tasks: list[WindowTask] = []
        rows: list[_Found] = []  # of each task
        for row in found:
            if len(row.pieces) > 1:
                entities = [span for span, _ in row.entities]
                windows = sorted(row.pieces, key=lambda piece: piece.first_word)
                new, row.num_dropped_pairs, row.num_separate_pairs = reader.window_tasks(entities, windows)
                tasks += new
                rows += [row] * len(new)

        def read(batch: dict[str, Array]) -> list[PieceRelations]:
            return reader.read_windows(batch, [tasks[number] for number in batch["rows"].tolist()])

        for numbers, _, relations in self._run(read, window_features(tasks), candidates_kept=0.0):
            for number, between in zip(numbers, relations, strict=True):
                rows[number].add_relations(between)

    def _coverage(self, item: Any, sentence: EncodedSentence, found: _Found) -> Coverage:
        """Describe how much of a sentence was read, and count incomplete sentences."""
        cut_words = [
            piece.first_word + piece.tokens.num_words - 1 for piece in found.pieces if piece.tokens.num_cut_tokens
        ]
        windows = sorted((piece.first_word, piece.first_word + piece.tokens.num_words) for piece in found.pieces)
        coverage = Coverage(
            num_words=sentence.num_words,
            num_tokens=len(sentence.input_ids),
            num_windows=len(found.pieces),
            num_candidates=num_candidates(sentence.num_words, self._collator.entity_max_length),
            num_scored=found.num_scored,
            num_dropped=found.num_scored - found.num_kept,
            cut_words=[place(word, word + 1, item, sentence) for word in sorted(cut_words)],
            windows=[place(first, last, item, sentence) for first, last in windows if first < last],
            num_separate_pairs=found.num_separate_pairs,
            num_dropped_pairs=found.num_dropped_pairs,
            num_unlikely_pairs=found.num_unlikely_pairs,
        )
        self._num_incomplete += not coverage.is_complete
        self._num_cut += bool(cut_words) or coverage.num_scored < coverage.num_candidates
        self._num_separate_pairs += coverage.num_separate_pairs
        self._num_dropped_pairs += coverage.num_dropped_pairs
        return coverage

    def warn(self) -> None:
        """Log a warning if sentences could not be read in full."""
        if not self._num_incomplete:
            return
        reasons, advice = [], []
        if self._num_cut or self._num_separate_pairs:
            advice.append("Load the model with a larger model_max_length if its encoder supports it.")
        if self._num_cut:
            reasons.append(f"words or candidates do not fit into a window of {self.preprocessor.max_tokens} tokens")
        if self._num_separate_pairs:
            reasons.append(
                f"pairs of entities are not together in any window of {self.preprocessor.max_tokens} tokens "
                f"({self._num_separate_pairs:,})"
            )
        if self._num_dropped_pairs:
            reasons.append(
                f"pairs of entities are not among the nearest {MAX_PAIRS:,} of a window ({self._num_dropped_pairs:,})"
            )
            advice.append(
                "For fewer pairs, pass a higher threshold or split_sentences=True, or restrict model.config."
                "relation_types."
            )
        logger.warning(
            "%d of %d sentences were not read in full, since %s: pass return_coverage=True to see which. %s",
            self._num_incomplete,
            self._num_read,
            "; ".join(reasons),
            " ".join(advice),
        )

    def _as_dict(self, span: ScoredSpan, item: Any, sentence: EncodedSentence) -> Entity:
        labels = self._labels
        start, end = place(span.start, span.end, item, sentence)
        entity: Entity = {"span": item[start:end], "label": labels[span.label_id], "score": span.score}
        if isinstance(item, str):
            entity["char_start_index"], entity["char_end_index"] = start, end
        else:
            entity["span"] = list(item[start:end])
            entity["word_start_index"], entity["word_end_index"] = start, end
        if self.top_k:
            entity["labels"] = top_labels(labels, span.all_scores, self.top_k)
        return entity


def place(first: int, last: int, item: Any, sentence: EncodedSentence) -> tuple[int, int]:
    """Find words in the input.

    Args:
        first: First word.
        last: Word after the last.
        item: The text, or the words.
        sentence: Its tokens.

    Returns:
        The words themselves, or the characters of the text without white space at the edges.
    """
    if sentence.char_starts is None or sentence.char_ends is None:
        return first, last
    return trim(item, int(sentence.char_starts[first]), int(sentence.char_ends[last - 1]), keep_marks=True)


def predict(sentences: Sentences, predictor: Predictor, show_progress_bar: bool) -> tuple[list[Any], list[Coverage]]:
    """Find the entities of sentences. See ``SpanMarkerModel.predict``.

    Args:
        sentences: The sentences.
        predictor: Finds their entities.
        show_progress_bar: Whether to show a progress bar.

    Returns:
        The results for each sentence, see `Predictor.read`, and how much of it was read.
    """
    if predictor.splitter is None:
        warn_of_context(sentences.document_ids is not None, predictor.preprocessor.config)
    results: list[Any] = [None] * len(sentences.items)
    with tqdm(total=len(results), desc="Predicting", disable=not show_progress_bar) as progress:
        # The sentences of a document stay together, since each is context of the others.
        documents = ((rows, 0) for rows in sentences.documents())
        singles = (([row], len(item)) for row, item in enumerate(sentences.items))
        for rows in blocks(singles if sentences.document_ids is None else documents, BLOCK_SIZE, BLOCK_LENGTH):
            for row, *result in zip(rows, *predictor.read(sentences.take(rows), progress), strict=True):
                results[row] = result
    predictor.warn()
    entities, coverages = ([result[index] for result in results] for index in (0, 1))
    return entities, coverages


def predict_stream(
    items: Iterable[Any], predictor: Predictor, show_progress_bar: bool, is_split_into_words: bool | None = None
) -> Iterator[Any]:
    """Find the entities of a stream of sentences. See ``SpanMarkerModel.predict_stream``.

    Args:
        items: Strings, lists of words, or dicts with ``text`` or ``tokens``.
        predictor: Finds their entities.
        show_progress_bar: Whether to show a progress bar.
        is_split_into_words: The required type of all items: True for lists of words, False for texts; None for either.

    Yields:
        The results for each sentence, see `Predictor.read`, in order; for dicts, the dicts with the results added. An
        error of ``items`` is raised after the results of all previous items.

    Raises:
        TypeError: If an item is none of the supported types.
        ValueError: If a dict has neither ``text`` nor ``tokens``, or both; or a list may be a row of a table.
    """
    if predictor.splitter is None:
        warn_of_context(False, predictor.preprocessor.config)
    try:
        with tqdm(desc="Predicting", disable=not show_progress_bar) as progress:
            pairs = (
                (item, sentence_of(item, f"item {index} of the inputs", is_split_into_words))
                for index, item in enumerate(items)
            )
            for block in blocks((([pair], len(pair[1])) for pair in pairs), BLOCK_SIZE, BLOCK_LENGTH):
                results: dict[int, Any] = {}
                for kind in (str, (list, tuple)):
                    places = [place for place, (_, sentence) in enumerate(block) if isinstance(sentence, kind)]
                    sentences = Sentences([block[place][1] for place in places], are_texts=kind is str)
                    results |= zip(places, predictor.read(sentences, progress)[0], strict=True)
                for place, (item, _) in enumerate(block):
                    result = results[place]
                    yield replace_annotation(item, result) if isinstance(item, Mapping) else result
    finally:
        predictor.warn()
