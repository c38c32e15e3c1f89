"""Find repeated sentences, within or across data sets, as text or as words, and how their annotations differ."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import accumulate
from typing import Any, NamedTuple

from span_marker.core.alignment import trim_entities
from span_marker.core.labels import LabelledSpan
from span_marker.core.relation_metrics import LabelledRelation, distinct_relations
from span_marker.data.row_relations import labelled_relations
from span_marker.validation.report import Problem, RowPlace
from span_marker.validation.row_checks import CheckedRow, is_blank


class _Seen(NamedTuple):
    """Where a sentence occurs first, and its entities and relations there; None if it says nothing of relations.

    Entities count the characters of the sentence without white space, so that they are the same for all splits into
    words.
    """

    place: RowPlace
    spans: frozenset[LabelledSpan]
    relations: frozenset[LabelledRelation] | None


class SeenSentences:
    """The sentences of a data set, and of those before it. White space and splits into words do not tell them apart.

    Args:
        before: The sentences of the data set before it; None for the first.
    """

    def __init__(self, before: SeenSentences | None = None) -> None:
        self.is_first = before is None
        self._before: dict[str, _Seen] = {} if before is None else {**before._here, **before._before}
        self._here: dict[str, _Seen] = {}

    def problems(self, row: CheckedRow) -> Iterator[Problem]:
        """Look for the sentence of a row in other data sets and in its own, and remember it.

        Args:
            row: The row.

        Yields:
            What is worth knowing about it.
        """
        if is_blank(row.item):
            yield row.place.problem("empty-row", "there are no words")
            return
        sentence = "".join("".join(row.item).split())
        here = _Seen(row.place, *_annotation(row, sentence))
        quote = row.quote(0, len(row.item))
        for kind, others in (("shared-sentence", self._before), ("repeated-sentence", self._here)):
            if sentence in others:
                yield row.place.problem(kind, f"{quote} is also in {others[sentence].place}")
        first_here = self._here.setdefault(sentence, here)
        first = self._before.get(sentence, first_here)
        if parts := [*_differences("entities", first.spans, here.spans), *_relation_differences(first, here)]:
            message = f"{quote} is annotated differently in {first.place} ({'; '.join(parts)})"
            yield row.place.problem("conflicting-sentence", message)


def _annotation(row: CheckedRow, sentence: str) -> tuple[frozenset[LabelledSpan], frozenset[LabelledRelation] | None]:
    """The entities and the relations of a row, in characters of its sentence without white space."""
    widths = [len("".join(part.split())) for part in row.item] if row.spans else []
    places = [0, *accumulate(widths)]
    spans = [LabelledSpan(label, places[start], places[end]) for label, start, end in row.spans]
    relations = distinct_relations(labelled_relations(row.relations.values(), spans, sentence))
    return frozenset(trim_entities(spans, sentence)), frozenset(relations) if row.has_relations else None


def _relation_differences(first: _Seen, here: _Seen) -> Iterator[str]:
    if first.relations is not None and here.relations is not None:
        yield from _differences("relations", first.relations, here.relations)


def _differences(name: str, there: frozenset[Any], here: frozenset[Any]) -> Iterator[str]:
    """Count the annotations that only one of two equal sentences has."""
    if there != here:
        yield f"{name} only there: {len(there - here)}, only here: {len(here - there)}"
