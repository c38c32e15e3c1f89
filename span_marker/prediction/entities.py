"""What prediction returns: entities, and how much of a text was read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypedDict


class LabelScore(TypedDict):
    """A label, ``O`` among them, and its probability."""

    label: str
    score: float


class _Found(TypedDict):
    span: str | list[str]
    label: str
    score: float


class Entity(_Found, total=False):
    """An entity, as ``predict`` returns it. Indices are 0-based, ends exclusive.

    Attributes:
        span: Its text, or its words if the input was words.
        label: Its label.
        score: The probability of the label.
        char_start_index: First character, if the input was a string.
        char_end_index: Character behind the last, likewise.
        word_start_index: First word, if the input was words.
        word_end_index: Word behind the last, likewise.
        labels: The most probable labels, if ``top_k`` was given.
    """

    char_start_index: int
    char_end_index: int
    word_start_index: int
    word_end_index: int
    labels: list[LabelScore]


@dataclass(frozen=True)
class Coverage:
    """What of a text was read, and how.

    Attributes:
        num_words: Words, up to the last one for which the tokenizer has a token.
        num_tokens: Tokens, without special ones and context.
        num_windows: Windows that the text was read in; 1 if it was read as a whole.
        num_candidates: Spans of at most ``entity_max_length`` words.
        num_scored: Those that were scored, if only by the candidate filter. A span is not if it has so many tokens that
            it lies in no window.
        num_dropped: Those of them that the candidate filter dropped.
        cut_words: Words with more tokens than a window: only the first ones were read. Each as the indices of its first
            and last character, or of its first and last word, ends exclusive.
    """

    num_words: int
    num_tokens: int
    num_windows: int
    num_candidates: int
    num_scored: int
    num_dropped: int
    cut_words: list[tuple[int, int]]

    @property
    def is_complete(self) -> bool:
        """Whether every span was scored, and every token read."""
        return self.num_scored == self.num_candidates and not self.cut_words
