"""Alignment of annotated entities with the words of a model's tokenizer."""

from __future__ import annotations

from collections.abc import Sequence

from span_marker.core.alignment import align, trim_entities
from span_marker.core.labels import LabelledSpan
from span_marker.data.rows import Row, RowEntity
from span_marker.preprocessing.tokenizer import EncodedSentence

NO_WORDS = -1
"""First and last word of an entity that begins or ends inside a word, which no candidate can match."""

NUM_EXAMPLES = 3
"""Number of such entities that are described."""


def align_entities(
    row: Row, encoding: EncodedSentence, location: str, examples: list[str] | None = None
) -> list[LabelledSpan]:
    """Align the entities of a row with the words of the tokenizer.

    Args:
        row: The row.
        encoding: The tokens of the row, not cut.
        location: What to call the row in messages.
        examples: List to which descriptions of entities that begin or end inside a word are added, up to
            `NUM_EXAMPLES`.

    Returns:
        The entities in words, without duplicates; those that begin or end inside a word are `NO_WORDS`.
    """
    entities = trim_entities(row.spans, row.content)
    if encoding.char_starts is None or encoding.char_ends is None:
        return entities
    aligned, cut = align(entities, row.content, encoding.char_starts, encoding.char_ends)
    if examples is not None:
        described = [f"{location}, characters {start} to {end}" for _, start, end in cut]  # no text: logs are stored
        examples += described[: NUM_EXAMPLES - len(examples)]
    return [*aligned, *(LabelledSpan(entity.label, NO_WORDS, NO_WORDS) for entity in cut)]


def entity_places(row: Row, encoding: EncodedSentence, aligned: Sequence[LabelledSpan]) -> list[int | None]:
    """Look up the entities of a row among those that `align_entities` returns.

    Args:
        row: The row.
        encoding: The tokens of the row, not cut.
        aligned: The result of `align_entities`.

    Returns:
        For each entity of the row, its index in ``aligned``; None if it begins or ends inside a word.
    """
    numbered = [RowEntity(str(place), *entity[1:]) for place, entity in enumerate(row.entities)]
    words = {int(span.label): span[1:] for span in align_entities(row._replace(entities=numbered), encoding, "")}
    spans = [LabelledSpan(entity.label, *words[place]) for place, entity in enumerate(row.entities)]
    return [None if span.start == NO_WORDS else aligned.index(span) for span in spans]
