"""The results of prediction: entities, and how much of a text was read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, TypedDict


class LabelScore(TypedDict):
    """A label, or ``O``, and its probability."""

    label: str
    score: float


class _ScoredText(TypedDict):
    span: str | list[str]
    label: str
    score: float


class Origin(TypedDict, total=False):
    """Where a label and its score come from, unless the model found them for this span.

    Attributes:
        kind: ``"mention"``: from another mention of the name in the document, see `Propagation`. ``"rule"``: from a
            rule, see `span_marker.rules.Rules`.
        rule: The name of the rule.
        sentence: Index of the sentence of the document that contains this mention, if the document has several.
        char_start_index: First character of the mention, if the input was text.
        char_end_index: Character after the last, if the input was text.
        word_start_index: First word of the mention, if the input was words.
        word_end_index: Word after the last, if the input was words.
    """

    kind: Literal["mention", "rule"]
    rule: str
    sentence: int
    char_start_index: int
    char_end_index: int
    word_start_index: int
    word_end_index: int


class Conflict(LabelScore):
    """What another mention says about the words of an entity.

    Attributes:
        label: The label of the other mention.
        score: The score of the other mention.
        origin: The other mention.
    """

    origin: Origin


class Entity(_ScoredText, total=False):
    """An entity, as returned by ``predict``. Indices are counted from 0, ends are exclusive.

    Attributes:
        span: Text of the entity, or its words if the input was words.
        label: Label of the entity.
        score: Probability of the label.
        char_start_index: First character, if the input was text.
        char_end_index: Character after the last, if the input was text.
        word_start_index: First word, if the input was words.
        word_end_index: Word after the last, if the input was words.
        labels: The most probable labels, if ``top_k`` was set and the model found the entity.
        origin: Where the score comes from, if the model did not find the entity here.
        conflict: A different result for another mention of the name, if ``propagate`` was set.
    """

    char_start_index: int
    char_end_index: int
    word_start_index: int
    word_end_index: int
    labels: list[LabelScore]
    origin: Origin
    conflict: Conflict


def place_of(entity: Entity) -> tuple[int, int]:
    """Return the place of an entity.

    Args:
        entity: The entity.

    Returns:
        Its first character and the one after the last, or the same in words if the input was words.
    """
    if "char_start_index" in entity:
        return entity["char_start_index"], entity["char_end_index"]
    return entity["word_start_index"], entity["word_end_index"]


def top_labels(labels: Sequence[str], scores: Sequence[float], top_k: int) -> list[LabelScore]:
    """List the most probable labels, see ``top_k``.

    Args:
        labels: All labels.
        scores: Their probabilities.
        top_k: Number of labels to list.

    Returns:
        The labels, most probable first; all of them if there are fewer.
    """
    best = sorted(zip(labels, scores, strict=True), key=lambda pair: -pair[1])[:top_k]
    return [{"label": label, "score": score} for label, score in best]


@dataclass(frozen=True)
class Coverage:
    """How much of a text was read, and in how many windows.

    Attributes:
        num_words: Number of words up to the last one with a token.
        num_tokens: Number of tokens, without special tokens and context.
        num_windows: Number of windows; 1 if the text was read as a whole.
        num_candidates: Number of candidates, that is, of spans of at most ``entity_max_length`` words.
        num_scored: Number of candidates that were scored, at least by the candidate filter. Candidates with more tokens
            than a window are not scored.
        num_dropped: Number of scored candidates that the candidate filter dropped.
        cut_words: Words with more tokens than a window, of which only the first tokens were read: first character and
            character after the last of each, or the same in words if the input was words.
        windows: The part of the text in each window, in order, in the same form; a text that was read as a whole is a
            single window. Nothing was predicted across words that are in no window together, see `holds`.
        num_separate_pairs: Number of pairs of entities that may have a relation, but are not together in any window.
        num_dropped_pairs: Number of pairs beyond the limit of pairs per text or window. Neither these nor separate
            pairs are scored; both are 0 unless relations are predicted.
        num_unlikely_pairs: Number of pairs that the pair filter dropped, as `num_dropped` for candidates.
    """

    num_words: int
    num_tokens: int
    num_windows: int
    num_candidates: int
    num_scored: int
    num_dropped: int
    cut_words: list[tuple[int, int]]
    windows: list[tuple[int, int]] = field(default_factory=list, repr=False)
    num_separate_pairs: int = 0
    num_dropped_pairs: int = 0
    num_unlikely_pairs: int = 0

    @property
    def is_complete(self) -> bool:
        """Whether every token was read and every candidate was scored; with relations, also every pair of entities."""
        num_left_out = self.num_separate_pairs + self.num_dropped_pairs
        return self.num_scored == self.num_candidates and not self.cut_words and not num_left_out

    def holds(self, *entities: Entity) -> bool:
        """Return whether one window contains all these entities, so that relations between them were predicted.

        Args:
            *entities: Entities, as returned by ``predict`` with the coverage.

        Returns:
            Whether one does.
        """
        places = list(map(place_of, entities))
        return any(all(first <= start and end <= last for start, end in places) for first, last in self.windows)
