"""The data of `relations.py`: sentences with relations, and texts from which relations of given entities are read.

A relation is read from a *group* of markers in a text. `pairs_in_sentence` has the sentence as it stands, and for each
pair of entities a group of four, those of the head and those of the tail. `subjects_in_sentence` is the recipe of
PL-Marker (Ye et al. 2022, Packed Levitated Marker for Entity and Relation Extraction): for each head the sentence once
more, with words around the head, and for each tail a group of two. Both have the same pairs.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from accuracy_data import Data, make_data, read_files

from span_marker import read_annotations
from span_marker.core.labels import LabelledSpan
from span_marker.core.relation_statistics import RelationStatistics
from span_marker.core.spans import IntArray

BEFORE_SUBJECT, AFTER_SUBJECT = "§", "¶"
"""Words around a subject. They are in the vocabulary of most encoders, and rare in texts, so that they can learn to
mean it: those of other sentences are replaced, see `without_marks`."""

REPLACEMENT = "#"

SYMMETRIC = ("COMPARE", "CONJUNCTION")
"""The symmetric relations of SciERC. CoNLL04 has none."""


class Relation(NamedTuple):
    """A relation between two entities of a sentence."""

    label: str
    head: LabelledSpan
    tail: LabelledSpan


class RelatedSentence(NamedTuple):
    """Words, their entities, and relations between these."""

    words: list[str]
    entities: list[LabelledSpan]
    relations: list[Relation]


class MarkedText(NamedTuple):
    """A text with groups of markers.

    Attributes:
        words: The text.
        groups: First word and word after the last of each span of a group, ``(num_groups, 2 * spans_per_group)``.
    """

    words: list[str]
    groups: IntArray


def load(path: Path, num_dev: int | None, num_test: int | None) -> Data:
    """Read annotated data, see `accuracy_data.load`.

    Args:
        path: A folder, or a file.
        num_dev: Choose on this many sentences, at even distances. Defaults to all.
        num_test: Test on this many sentences, at even distances. Defaults to all.

    Returns:
        The data, with `RelatedSentence` as sentences.
    """
    return make_data(read_files(path, read_file), num_dev, num_test)


def read_file(file: Path) -> list[RelatedSentence]:
    """Read the sentences of a file. The heads of symmetric relations are the entities that stand first."""
    rows = read_annotations(file).select_columns(["tokens", "entities", "relations"])
    sentences = []
    for row in rows:
        entities = [LabelledSpan(entity["label"], entity["start"], entity["end"]) for entity in row["entities"]]
        ends = ((one["label"], entities[one["head"]], entities[one["tail"]]) for one in row["relations"])
        relations = dict.fromkeys(directed(Relation(*one), SYMMETRIC) for one in ends)
        sentences.append(RelatedSentence(without_marks(row["tokens"]), entities, list(relations)))
    return sentences


def without_marks(words: Iterable[str]) -> list[str]:
    """Replace words that mark subjects."""
    return [REPLACEMENT if word in (BEFORE_SUBJECT, AFTER_SUBJECT) else word for word in words]


def directed(relation: Relation, symmetric: Iterable[str]) -> Relation:
    """Give a symmetric relation the direction in which the library predicts it: from the entity that stands first."""
    if relation.label in symmetric and relation.head[1:] > relation.tail[1:]:
        return relation._replace(head=relation.tail, tail=relation.head)
    return relation


def relation_labels(sentences: Iterable[RelatedSentence]) -> list[str]:
    """List the labels of the relations of sentences."""
    return sorted({relation.label for sentence in sentences for relation in sentence.relations})


def relation_types(sentences: Iterable[RelatedSentence]) -> list[list[str]]:
    """List which relations join which entities, as the library learns it from annotated data."""
    statistics = RelationStatistics()
    for sentence in sentences:
        statistics.add(sentence.relations)
    return statistics.known_types()


def relation_columns(sentences: Sequence[RelatedSentence]) -> dict[str, list[Any]]:
    """Write sentences as columns with entities and relations."""
    return {
        "tokens": [sentence.words for sentence in sentences],
        "entities": [[entity._asdict() for entity in sentence.entities] for sentence in sentences],
        "relations": [
            [
                {
                    "label": relation.label,
                    "head": sentence.entities.index(relation.head),
                    "tail": sentence.entities.index(relation.tail),
                }
                for relation in sentence.relations
            ]
            for sentence in sentences
        ],
    }


def pairs_in_sentence(words: list[str], spans: IntArray, pairs: IntArray) -> list[MarkedText]:
    """Put all pairs of entities into the sentence as it stands.

    Args:
        words: The sentence.
        spans: First word and word after the last of each entity, ``(num_entities, 2)``.
        pairs: Indices of head and tail, ``(num_pairs, 2)``.

    Returns:
        One text, with a group per pair; none if there are no pairs.
    """
    return [MarkedText(words, spans[pairs].reshape(-1, 4))] if len(pairs) else []


def subjects_in_sentence(words: list[str], spans: IntArray, pairs: IntArray) -> list[MarkedText]:
    """Mark each head in a text of its own.

    Args:
        words: The sentence.
        spans: First word and word after the last of each entity, ``(num_entities, 2)``.
        pairs: Indices of head and tail, in the order of the heads, ``(num_pairs, 2)``.

    Returns:
        A text for each entity that is a head, in order, with a group for each of its tails.

    Example:
        >>> spans, pairs = np.array([[0, 1], [2, 3]]), np.array([[0, 1], [1, 0]])
        >>> for text in subjects_in_sentence(["Ann", "runs", "Acme"], spans, pairs):
        ...     print(" ".join(text.words), text.groups.tolist())
        § Ann ¶ runs Acme [[4, 5]]
        Ann runs § Acme ¶ [[0, 1]]
    """
    texts = []
    for head in dict.fromkeys(pairs[:, 0].tolist()):
        (start, end), tails = spans[head].tolist(), spans[pairs[pairs[:, 0] == head, 1]]
        marked = [*words[:start], BEFORE_SUBJECT, *words[start:end], AFTER_SUBJECT, *words[end:]]
        places = np.arange(len(words))
        places = places + (places >= start) + (places >= end)
        groups = np.stack([places[tails[:, 0]], places[tails[:, 1] - 1] + 1], axis=1)
        texts.append(MarkedText(marked, groups))
    return texts
