"""Propagation: a name that was found with confidence is an entity wherever it occurs in the same document.

A document consists of the sentences of a ``document_id``; without IDs, each input is a document: a string, or a list of
words. Entities that the model found are neither changed nor dropped.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from operator import itemgetter
from typing import Any, NamedTuple

from span_marker.core.checks import check_probability
from span_marker.core.names import without_possessive
from span_marker.core.offsets import OffsetUnit, convert_offsets
from span_marker.core.phrases import Folding, PhraseMatcher, phrase_key
from span_marker.data.rows import PREDICTED, join_words
from span_marker.prediction.entities import Entity, Origin
from span_marker.preprocessing.inputs import Sentences

TEXT_PLACE, WORD_PLACE = PREDICTED["characters"], PREDICTED["words"]
"""The keys of an entity that say where it is."""


@dataclass(frozen=True)
class Propagation:
    """How names are found at all their mentions.

    Args:
        min_score: The minimum score of a mention whose name is searched for elsewhere, from 0 to 1.
        ignore_case: Whether mentions may differ in case: ``Roma`` also finds ``ROMA``.
        ignore_diacritics: Whether mentions may differ in the marks on letters: ``Zoë`` also finds ``Zoe``.

    Raises:
        TypeError: If ``min_score`` is not a number.
        ValueError: If ``min_score`` is not a probability.
    """

    min_score: float = 0.9
    ignore_case: bool = False
    ignore_diacritics: bool = False

    def __post_init__(self) -> None:
        check_probability("min_score", self.min_score)

    @property
    def folding(self) -> Folding:
        """The differences between words that are ignored."""
        return Folding(bool(self.ignore_case), bool(self.ignore_diacritics))


def read_propagate(propagate: bool | Propagation) -> Propagation | None:
    """Read the argument ``propagate``.

    Args:
        propagate: True for the defaults, False to disable it, or a `Propagation`.

    Returns:
        The settings, or None.

    Raises:
        TypeError: If ``propagate`` is none of these.
    """
    if isinstance(propagate, bool):
        return Propagation() if propagate else None
    if not isinstance(propagate, Propagation):
        raise TypeError(f"propagate={propagate!r} must be True, False, or a Propagation")
    return propagate


class _Mention(NamedTuple):
    label: str
    score: float
    origin: Origin


class _Sentence(NamedTuple):
    """A sentence as text: its entities, and the characters of each; for words, where each begins."""

    item: str | Sequence[str]
    text: str
    entities: list[Entity]
    spans: list[tuple[int, int]]
    starts: list[int] | None

    @classmethod
    def from_item(cls, item: str | Sequence[str], entities: list[Entity]) -> _Sentence:
        if isinstance(item, str):
            return cls(item, item, entities, list(map(itemgetter(*TEXT_PLACE), entities)), None)
        text, starts = join_words(item)
        words = map(itemgetter(*WORD_PLACE), entities)
        return cls(item, text, entities, [(starts[first], starts[last] - 1) for first, last in words], starts)

    def place(self, start: int, end: int) -> dict[str, int] | None:
        """Where characters are in the sentence, or None if they are not whole words of a list."""
        if self.starts is None:
            return dict(zip(TEXT_PLACE, (start, end), strict=True))
        first, last = bisect_left(self.starts, start), bisect_left(self.starts, end + 1)
        if self.starts[first] != start or self.starts[last] != end + 1:
            return None
        return dict(zip(WORD_PLACE, (first, last), strict=True))


def propagate_names(
    sentences: Sentences, entities: Sequence[list[Entity]], propagation: Propagation, offsets: OffsetUnit = "codepoint"
) -> list[list[Entity]]:
    """Add the other mentions of names that were found with confidence.

    Each name gets the label with the largest sum of scores in the document, and the score of its best mention. It is
    searched for as whole words, in one pass through each sentence, from left to right, with longer names first.
    Mentions that overlap an entity are not added; the entity gets a ``conflict`` if it has the same words and another
    label, or does not contain all words of the name.

    Args:
        sentences: The sentences.
        entities: The entities of each sentence; places in texts are in code points.
        propagation: The settings.
        offsets: The unit of places in ``origin``.

    Returns:
        The entities of each sentence including the added ones, in order. An added entity has an ``origin``: where its
        score comes from.
    """
    items = list(sentences.items)
    results: list[list[Entity]] = [[] for _ in items]
    for rows in sentences.documents() or [[row] for row in range(len(results))]:
        document = [_Sentence.from_item(items[row], entities[row]) for row in rows]
        for row, found in zip(rows, _propagate(document, propagation, offsets), strict=True):
            results[row] = found
    return results


def _propagate(document: Sequence[_Sentence], propagation: Propagation, offsets: OffsetUnit) -> Iterator[list[Entity]]:
    names = _confident_names(document, propagation, offsets)
    if not names:
        yield from (list(sentence.entities) for sentence in document)
        return
    matcher, mentions = PhraseMatcher(list(names)), list(names.values())
    for sentence in document:
        matches = matcher.find(sentence.text, propagation.folding)
        yield _add(sentence, [(start, end, mentions[phrase]) for phrase, start, end in matches])


def _confident_names(
    document: Sequence[_Sentence], propagation: Propagation, offsets: OffsetUnit
) -> dict[str, _Mention]:
    """The names of a document by key, each with its best mention."""
    found: dict[str, dict[str, list[_Mention]]] = {}
    for number, sentence in enumerate(document):
        context: Any = {"kind": "mention", **({"sentence": number} if len(document) > 1 else {})}
        places = _places(sentence, offsets)
        for entity, (start, end), place in zip(sentence.entities, sentence.spans, places, strict=True):
            key = phrase_key(without_possessive(sentence.text[start:end]), propagation.folding)
            if entity["score"] >= propagation.min_score and any(map(str.isalnum, key)):
                mention = _Mention(entity["label"], entity["score"], context | place)
                found.setdefault(key, {}).setdefault(mention.label, []).append(mention)
    return {key: _best_mention(by_label) for key, by_label in found.items()}


def _places(sentence: _Sentence, offsets: OffsetUnit) -> list[dict[str, int]]:
    """Where the entities of a sentence are, as ``predict`` returns it."""
    names = TEXT_PLACE if sentence.starts is None else WORD_PLACE
    places = [itemgetter(*names)(entity) for entity in sentence.entities]
    if sentence.starts is None and offsets != "codepoint":
        converted = iter(convert_offsets(sentence.text, chain.from_iterable(places), offsets))
        places = list(zip(converted, converted, strict=True))
    return [dict(zip(names, place, strict=True)) for place in places]


def _best_mention(by_label: dict[str, list[_Mention]]) -> _Mention:
    mentions = max(by_label.values(), key=lambda mentions: sum(mention.score for mention in mentions))
    return max(mentions, key=lambda mention: mention.score)


def _add(sentence: _Sentence, matches: Sequence[tuple[int, int, _Mention]]) -> list[Entity]:
    """Add matches that overlap no entity, and note conflicts with those that do."""
    results = list(sentence.entities)
    order = deque(sorted(range(len(results)), key=sentence.spans.__getitem__))
    touching: list[int] = []
    for start, end, mention in matches:  # in order, so that each entity is looked at while it may overlap
        while order and sentence.spans[order[0]][0] < end:
            touching.append(order.popleft())
        touching = [index for index in touching if sentence.spans[index][1] > start]
        if touching:
            for index in _contradicted(sentence, touching, start, end, mention.label):
                first: Any = results[index].get("conflict", mention._asdict())
                results[index] = {**results[index], "conflict": first}
        elif place := sentence.place(start, end):
            first_unit, last_unit = place.values()
            span = sentence.item[first_unit:last_unit]
            added: Any = {"span": span if isinstance(span, str) else list(span), **place, **mention._asdict()}
            results.append(added)
    return sorted(results, key=itemgetter((TEXT_PLACE if sentence.starts is None else WORD_PLACE)[0]))


def _contradicted(sentence: _Sentence, touching: Sequence[int], start: int, end: int, label: str) -> list[int]:
    """Entities that contradict a match: another label for its words, or only some of its words."""
    same = [index for index in touching if sentence.spans[index] == (start, end)]
    if any(sentence.entities[index]["label"] == label for index in same):
        return []
    partial = [i for i in touching if not (sentence.spans[i][0] <= start and end <= sentence.spans[i][1])]
    return same + partial
