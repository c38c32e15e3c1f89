"""Find problems with relations: within a row, and across rows."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from span_marker.configuration import AUTO, SpanMarkerConfig
from span_marker.core.labels import LabelledSpan
from span_marker.core.relation_statistics import RelationStatistics
from span_marker.data.row_relations import RowRelation, read_relations, unknown_label
from span_marker.data.values import as_whole
from span_marker.modeling import SpanMarkerModel
from span_marker.preprocessing.inputs import Sentences
from span_marker.preprocessing.pieces import SENTENCE_ENDS, into_pieces
from span_marker.preprocessing.tokenizer import EncodedSentence
from span_marker.validation.report import Problem, RowPlace
from span_marker.validation.row_checks import CheckedRow

_SENTENCE_END = re.compile(
    rf"\n\s*\n|(?:[^\W\d_]{{4,}}|\s)[{re.escape(SENTENCE_ENDS)}]+[\"'\u201d\u2019)\]]*\s+(?=[^\Wa-z])"
)
"""A blank line; or punctuation behind a word that is no short abbreviation, before a word that is not in lower case."""

_END_WORD = re.compile(rf"[{re.escape(SENTENCE_ENDS)}]+")


def listed_relations(entities: Sequence[int | None], annotation: Any, relations: Any) -> list[int] | None:
    """List those relations of a row that were read, see `span_marker.data.rows.read_row`.

    Args:
        entities: Indices of the entities that were read, in the list of the row.
        annotation: The entities, as they are written.
        relations: The relations, as they are written.

    Returns:
        Indices of the relations that are right and whose entities were read; None if the row says nothing of relations.
    """
    if relations is None:
        return None
    wrong = {problem.place for problem in read_relations(relations, len(annotation), "")[1]}
    return [
        index
        for index, relation in enumerate(relations)
        if index not in wrong and {as_whole(relation["head"]), as_whole(relation["tail"])} <= {*entities}
    ]


def relation_problems(row: CheckedRow) -> Iterator[Problem]:
    """Look at each relation of a row alone, and compare it with those before it."""
    first: dict[tuple[str, int, int], int] = {}
    for index, relation in row.relations.items():
        if first.setdefault(relation[:3], index) != index:
            yield _about(row, index, "repeated-relation", f"is the same as relation {first[relation[:3]]}")
        if _crosses_sentence(row, relation):
            yield _about(row, index, "relation-across-sentences", "joins entities of different sentences")


def _crosses_sentence(row: CheckedRow, relation: RowRelation) -> bool:
    """Tell whether a sentence ends between the entities of a relation."""
    (_, first), (last, _) = sorted((row.spans[relation.head][1:], row.spans[relation.tail][1:]))
    if not isinstance(row.item, str):
        return any(map(_END_WORD.fullmatch, row.item[first:last]))
    return any(
        match.end() <= last for match in _SENTENCE_END.finditer(row.item, max(first - 4, 0)) if match.end() > first
    )


def model_problems(row: CheckedRow, config: SpanMarkerConfig) -> Iterator[Problem]:
    """Find the relations that a model does not have, or that it has for entities of other labels only.

    Args:
        row: The row.
        config: The configuration of the model.

    Yields:
        Their problems; none if the model has no relations.
    """
    if not row.relations or config.relation_labels is None:
        return
    known, classes, allowed = config.relation_labels, config.classes, config.relation_rules.allowed
    for index, relation in row.relations.items():
        ends = [row.spans[end].label for end in (relation.head, relation.tail)]
        if relation.label not in known[1:]:
            yield _about(row, index, "unknown-label", unknown_label(known[1:]))
        elif {*ends} <= {*classes} and not allowed[(*map(classes.index, ends), known.index(relation.label))]:
            message = (
                "joins labels that the model's relation_types do not allow: set it to 'any', or to None to learn it"
            )
            yield _about(row, index, "ruled-out-relation", message)


def window_problems(
    row: CheckedRow, words: Mapping[LabelledSpan, LabelledSpan], sentence: EncodedSentence, model: SpanMarkerModel
) -> Iterator[Problem]:
    """Find the relations whose entities are in no window together.

    Args:
        row: The row.
        words: The words of each entity that consists of whole words.
        sentence: Its tokens.
        model: The model whose windows to use.

    Yields:
        Their problems.
    """
    config, tokenizer = model.config, model.require_tokenizer()
    if not row.relations or AUTO in (config.model_max_length, config.entity_max_length):
        return
    sentences = Sentences([row.item], are_texts=isinstance(row.item, str))
    pieces = into_pieces(sentences, [sentence], tokenizer, config, model.max_text_length)
    if len(pieces) == 1:
        return
    windows = [(piece.first_word, piece.first_word + piece.tokens.num_words) for piece in pieces]
    for index, relation in row.relations.items():
        ends = [words[span] for span in (row.spans[relation.head], row.spans[relation.tail]) if span in words]
        if len(ends) < 2:
            continue
        bounds = min(span.start for span in ends), max(span.end for span in ends)
        if not any(first <= bounds[0] and bounds[1] <= last for first, last in windows):
            message = (
                f"spans {bounds[1] - bounds[0]} words, and none of the {len(windows)} windows contains both of its "
                f"entities: raise model_max_length={config.model_max_length}, or split the row"
            )
            yield _about(row, index, "relation-beyond-window", message)


def _further_relations(row: CheckedRow, symmetric: Collection[str]) -> Iterator[Problem]:
    """Find the relations of a pair of head and tail that has another one before."""
    first: dict[tuple[tuple[int, int], ...], str] = {}
    for index, relation in row.relations.items():
        ends = row.spans[relation.head][1:], row.spans[relation.tail][1:]
        label = first.setdefault(tuple(sorted(ends)) if relation.label in symmetric else ends, relation.label)
        if label != relation.label:
            yield _about(row, index, "further-relation", f"is not learned: a pair has only one, here {label!r}")


def _about(row: CheckedRow, index: int, kind: str, message: str) -> Problem:
    """A problem of a relation."""
    relation = row.relations[index]
    head, tail = row.spans[relation.head], row.spans[relation.tail]
    message = f"relation {index}, {relation.label!r} of {row.name(head)} to {row.name(tail)}, {message}"
    start, end = min(head.start, tail.start), max(head.end, tail.end)
    return row.place.problem(kind, message, start=start, end=end, label=relation.label, relation=index)


class _Types(NamedTuple):
    """A relation, and the labels of its entities."""

    label: str
    head: str
    tail: str


class Relations:
    """The relations of all rows.

    Args:
        symmetric: The relations without direction; None for those that the rows have in both directions.
    """

    def __init__(self, symmetric: Collection[str] | None = None) -> None:
        self._symmetric = symmetric
        self._statistics = RelationStatistics()
        self._crowded: list[CheckedRow] = []
        self._entities: set[str] = set()
        self._labels: Counter[str] = Counter()
        self._types: Counter[_Types] = Counter()
        self._first: dict[_Types, tuple[RowPlace, int]] = {}

    def add(self, row: CheckedRow) -> None:
        """Add the relations of a row."""
        self._entities.update(span.label for span in row.spans)
        for relation in dict.fromkeys(relation._replace(score=None) for relation in row.relations.values()):
            index = next(index for index, other in row.relations.items() if other[:3] == relation[:3])
            types = _Types(relation.label, row.spans[relation.head].label, row.spans[relation.tail].label)
            self._labels[relation.label] += 1
            self._types[types] += 1
            self._first.setdefault(types, (row.place, index))
        related = [(one.label, row.spans[one.head], row.spans[one.tail]) for one in row.relations.values()]
        self._statistics.add(one for one in related if one[1][1:] != one[2][1:])
        if len({frozenset((head[1:], tail[1:])) for _, head, tail in related}) < len(related):
            self._crowded.append(row)

    def problems(self) -> Iterator[Problem]:
        """Compare the relations.

        Yields:
            The problems, kind by kind.
        """
        first: dict[str, _Types] = {}
        for types in self._types:
            first.setdefault(types.label, types)
        for label, types in first.items():
            if label in self._entities:
                message = f"{label!r} is also a label of entities: rename one of them"
                yield self._problem(types, "shared-label", message)
        for types, number in self._types.items():
            if number == 1 and self._labels[types.label] > 1:
                message = (
                    f"{types.label!r} goes from {types.head!r} to {types.tail!r}, unlike its other relations "
                    f"({self._labels[types.label]:,} in all)"
                )
                yield self._problem(types, "rare-relation-types", message)
        symmetric = self._statistics.symmetric() if self._symmetric is None else self._symmetric
        for row in self._crowded:
            yield from _further_relations(row, symmetric)

    def _problem(self, types: _Types, kind: str, message: str) -> Problem:
        place, index = self._first[types]
        return place.problem(kind, f"relation {index}: {message}", label=types.label, relation=index)
