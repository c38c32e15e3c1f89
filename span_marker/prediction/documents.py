"""Documents: split texts into sentences, and map the entities of the sentences back to the documents."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import fields, replace
from itertools import chain, islice
from typing import Any, TypeAlias

from span_marker.core.offsets import OffsetUnit, convert_offsets
from span_marker.data.values import is_whole
from span_marker.prediction.entities import Coverage, Entity
from span_marker.preprocessing.inputs import Sentences

Splitter: TypeAlias = Callable[[str], Iterable[tuple[int, int]]]
"""Finds the sentences of a text: first character and the one after the last of each, in order."""

PLACES = ("cut_words", "windows")
"""Attributes of `Coverage` that are lists of places in the text."""


def sentence_splitter(split_sentences: bool | Splitter) -> Splitter | None:
    """Read the argument ``split_sentences``.

    Args:
        split_sentences: True for spaCy's rule-based sentencizer, False for none, or a function.

    Returns:
        The function that splits texts, or None.

    Raises:
        ImportError: If spaCy is needed, but not installed.
        TypeError: If the value is none of these.
    """
    if isinstance(split_sentences, bool):
        return _sentencizer() if split_sentences else None
    if not callable(split_sentences):
        raise TypeError(
            f"split_sentences={split_sentences!r} must be True, False, or a function that takes a text and returns the "
            "(start, end) of each sentence"
        )
    return split_sentences


@functools.cache
def _sentencizer() -> Splitter:
    try:
        import spacy
    except ImportError as error:
        raise ImportError(
            "split_sentences=True needs spaCy: install the extra span_marker[spacy], or pass a function that takes a "
            "text and returns the (start, end) of each sentence"
        ) from error
    nlp = spacy.blank(
        "en"
    )  # it knows abbreviations such as "Dr."; the sentencizer knows the punctuation of all scripts
    nlp.max_length = sys.maxsize  # the limit protects parsers
    nlp.add_pipe("sentencizer")
    return lambda text: [(sentence.start_char, sentence.end_char) for sentence in nlp(text).sents]


def split_documents(documents: Sentences, splitter: Splitter, with_context: bool) -> tuple[Sentences, list[list[int]]]:
    """Split texts into sentences, without white space around them.

    Args:
        documents: The texts.
        splitter: Finds the sentences of a text.
        with_context: Whether the sentences of a text are context of each other.

    Returns:
        All sentences, and for each text the first character of each of its sentences.

    Raises:
        TypeError: If the splitter does not return pairs of whole numbers.
        ValueError: If the sentences are not in order, overlap, or lie outside of the text.
    """
    sentences: list[str] = []
    starts: list[list[int]] = []
    for text in documents.items:
        bounds = list(splitter(text))
        _check_bounds(bounds, len(text))
        parts = [(start + len(part) - len(part.lstrip()), part.strip()) for start, part in _cut(text, bounds)]
        parts = [(start, part) for start, part in parts if part]
        sentences += [part for _, part in parts]
        starts.append([start for start, _ in parts])
    if not with_context:
        return Sentences(sentences, are_texts=True), starts
    document_ids = [number for number, own in enumerate(starts) for _ in own]
    return Sentences(sentences, True, document_ids, list(range(len(sentences)))), starts


def _cut(text: str, bounds: Iterable[tuple[int, int]]) -> list[tuple[int, str]]:
    return [(start, text[start:end]) for start, end in bounds]


def _check_bounds(bounds: Sequence[Any], length: int) -> None:
    """Check the bounds of a sentence that a splitter returned for a text of this length."""
    last = 0
    for bound in bounds:
        if not isinstance(bound, (tuple, list)) or len(bound) != 2 or not all(map(is_whole, bound)):
            raise TypeError(f"split_sentences returned {bound!r}, which must be the (start, end) of a sentence")
        start, end = bound
        if not last <= start <= end <= length:
            raise ValueError(
                f"split_sentences returned the sentence {(start, end)}, which must begin at {last} or later, where "
                f"the previous sentence ends, and end at {length} or earlier, where the text ends"
            )
        last = end


def join_documents(
    starts: Sequence[Sequence[int]], entities: Sequence[list[Entity]], coverages: Sequence[Coverage]
) -> tuple[list[list[Entity]], list[Coverage]]:
    """Map the entities of sentences back to their documents.

    Args:
        starts: For each document, the first character of each sentence.
        entities: The entities of each sentence of all documents.
        coverages: How much of each sentence was read.

    Returns:
        The entities of each document, and how much of it was read.
    """
    rows = iter(zip(entities, coverages, strict=True))
    joined: list[list[Entity]] = []
    read: list[Coverage] = []
    for own in starts:
        parts = [(start, *next(rows)) for start in own]
        joined.append([_moved(entity, start) for start, found, _ in parts for entity in found])
        read.append(_total([(start, coverage) for start, _, coverage in parts]))
    return joined, read


def _moved(entity: Entity, by: int) -> Entity:
    moved = entity.copy()
    moved["char_start_index"] += by
    moved["char_end_index"] += by
    return moved


def _total(parts: Sequence[tuple[int, Coverage]]) -> Coverage:
    """The coverage of a document, from that of its sentences and where they begin."""
    counts = [field.name for field in fields(Coverage) if field.name not in PLACES]
    totals = {name: sum(getattr(coverage, name) for _, coverage in parts) for name in counts}
    moved: dict[str, Any] = {
        name: [(start + first, start + last) for start, coverage in parts for first, last in getattr(coverage, name)]
        for name in PLACES
    }
    return Coverage(**totals, **moved)


def count_in(unit: OffsetUnit, text: str, entities: list[Entity], coverage: Coverage) -> tuple[list[Entity], Coverage]:
    """Convert the offsets of the entities and the coverage of a text.

    Args:
        unit: The unit of the result.
        text: The text.
        entities: Its entities, whose offsets count code points.
        coverage: How much of it was read.

    Returns:
        Both with the converted offsets.
    """
    if unit == "codepoint" or text.isascii():
        return entities, coverage
    places = [(entity["char_start_index"], entity["char_end_index"]) for entity in entities]
    of_coverage = {name: getattr(coverage, name) for name in PLACES}
    offsets = iter(convert_offsets(text, chain.from_iterable(chain(places, *of_coverage.values())), unit))
    pairs = zip(offsets, offsets, strict=True)
    converted: list[Entity] = [
        {**entity, "char_start_index": start, "char_end_index": end}
        for entity, (start, end) in zip(entities, islice(pairs, len(entities)), strict=True)
    ]
    read: dict[str, Any] = {name: list(islice(pairs, len(own))) for name, own in of_coverage.items()}
    return converted, replace(coverage, **read)
