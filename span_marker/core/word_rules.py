"""Word rules: splitting strings into the same words as the training data, with rules learned from counts.

A text is cut at white space, and each chunk into *atoms*: sequences of letters and digits, endings such as ``'s``, and
runs of one punctuation mark. Between two atoms of a chunk there is a break or not, which is learned from the training
words. `WordRules.fit` writes them as plain text, with `detokenize`, and counts breaks by their *context*: from the
kinds of the two atoms up to the atoms themselves. A context becomes a rule only if its decision differs from that of a
wider one, which keeps the table small.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import regex

from span_marker.core.words import CHUNK, UNSPACED, UNSPACED_START, Place, words_between

LETTERS = r"[\p{L}\p{M}\p{N}]"

INVISIBLE = r"(?:(?!\u200b)\p{Cf})"
"""Invisible characters, such as soft hyphens, joiners and direction marks, except for the zero-width space. As in
Unicode's Standard Annex 29, they belong to the preceding letter, and do not split a word."""

CLITICS = rf"n['\u2019]t(?!{LETTERS})|['\u2019](?:s|m|re|ve|ll|d)(?!{LETTERS})"
"""Endings of English words that many data sets split off."""

ATOM = regex.compile(
    rf"{UNSPACED}\p{{M}}*|{CLITICS}|(?:(?!{UNSPACED}|(?<={LETTERS})n['\u2019]t(?!{LETTERS})){LETTERS}{INVISIBLE}*)+|(.)\1*",
    regex.IGNORECASE | regex.DOTALL,
)
"""An atom, which is never split."""

MAX_WORDS = 250_000
"""Maximum number of training words from which rules are learned."""

MAX_RULES = 4_000
"""The maximum number of rules; the most frequent contexts are kept."""

MAX_CONTEXT = 100
"""The maximum number of characters of a context."""

CLINGS_LEFT = frozenset(
    ".,;:!?)]}%\u2026\u00bb\u201d\u2019"
    "\u3001\u3002\uff0c\uff1b\uff1a\uff01\uff1f\uff09\u300d\u300f\u3011\u300b"  # Chinese and Japanese
)
"""First characters of words that are written without white space before them."""

CLINGS_RIGHT = frozenset("([{#@$\u00ab\u201c\u2018\u201e\u00bf\u00a1\u00a3\u20ac\uff08\u300c\u300e\u3010\u300a")
"""Words that are written without white space after them."""

AMBIGUOUS = frozenset("-/&'_+=~*|\u2019\u00b7\u2013\u2014")
"""Words that are written without white space around them if the data separates them, but not inside words."""

QUOTES = frozenset("\"'")
"""Words that are written without white space after or before them, alternately."""


@dataclass(frozen=True)
class WordRules:
    """Where the words of the training data begin and end.

    Args:
        breaks: Contexts, see `_contexts`, and whether there is a break between their two atoms.

    Raises:
        ValueError: If ``breaks`` is not such a table, or too large.
    """

    breaks: dict[str, bool] = field(default_factory=dict)

    def __post_init__(self) -> None:
        is_table = isinstance(self.breaks, dict) and len(self.breaks) <= MAX_RULES
        if not is_table or not all(
            isinstance(context, str) and len(context) <= MAX_CONTEXT and isinstance(is_break, bool)
            for context, is_break in self.breaks.items()
        ):
            raise ValueError(
                f"word_rules must have at most {MAX_RULES} contexts of at most {MAX_CONTEXT} characters, each mapped "
                "to True or False"
            )

    @classmethod
    def fit(cls, sentences: Iterable[Sequence[str]]) -> WordRules:
        """Learn the rules.

        Args:
            sentences: Training words. Those beyond `MAX_WORDS` are not read.

        Returns:
            The rules.
        """
        sentences = list(_first_words(sentences))
        attached = attached_marks(sentences)
        counts: dict[str, Counter[bool]] = {}
        wider: dict[str, str] = {}
        for words in sentences:
            text, places = detokenize(words, attached)
            starts = {start for start, _ in places}
            for place, contexts in _boundaries(text):
                for context, parent in zip(contexts, ["", *contexts], strict=False):
                    counts.setdefault(context, Counter())[place in starts] += 1
                    wider[context] = parent
        rules: dict[str, bool] = {}
        for context in sorted(counts, key=lambda context: context[0]):  # the widest first
            is_break = counts[context][True] >= counts[context][False]
            if is_break != _decide(rules, context, wider):
                rules[context] = is_break
        kept = sorted(rules, key=lambda context: (-counts[context].total(), context))
        return cls({context: rules[context] for context in kept[:MAX_RULES] if len(context) <= MAX_CONTEXT})

    def split(self, text: str) -> list[Place]:
        """Split a string into words.

        Args:
            text: The string.

        Returns:
            The place of each word.

        Example:
            >>> rules = WordRules.fit([["Mr.", "B.", "Young", "(", "U.S.", ")", "said", "so", "."]])
            >>> text = "B. Young left the U.S."
            >>> [text[start:end] for start, end in rules.split(text)]
            ['B.', 'Young', 'left', 'the', 'U.S.']
        """
        breaks = {
            place
            for place, contexts in _boundaries(text)
            if next((self.breaks[context] for context in reversed(contexts) if context in self.breaks), True)
        }
        return words_between(text, breaks)


def _decide(rules: dict[str, bool], context: str, wider: dict[str, str]) -> bool:
    while context := wider[context]:
        if context in rules:
            return rules[context]
    return True


def _boundaries(text: str) -> Iterator[tuple[int, list[str]]]:
    """Find the places between two atoms of a chunk, each with its contexts, the widest first.

    Next to characters of scripts without white space, there is always a break, without contexts.
    """
    chunks = [match.span() for match in CHUNK.finditer(text)]
    for index, (start, end) in enumerate(chunks):
        atoms = [(match.start(), match[0]) for match in ATOM.finditer(text, start, end)]
        if len(atoms) > 1:
            following = text[chunks[index + 1][0]] if index + 1 < len(chunks) else ""
            yield from _chunk_boundaries(atoms, following, index == 0)


def _chunk_boundaries(atoms: list[tuple[int, str]], following: str, is_first: bool) -> Iterator[tuple[int, list[str]]]:
    names = [atom for _, atom in atoms]
    # A following capital letter may begin a sentence, so it is treated like the end of the text.
    shapes = ["^^" if is_first else "^", *map(_shape, names), "$a" if following.islower() else "$"]
    for index, (first, second) in enumerate(pairwise(names), start=1):
        before, left, right, after = shapes[index - 1 : index + 3]
        is_inner = "" if after[0] == "$" else "+"
        kinds = [shape if shape[0] not in "xXd" else "x" for shape in (left, right)]
        contexts = [
            f"0 {kinds[0]} {kinds[1]}",
            f"1 {left} {right}{is_inner}",
            f"2 {before} {left} {right} {after}",
            f"3 {before} {first} {second} {is_inner}",
        ]
        is_unspaced = UNSPACED_START.match(first) or UNSPACED_START.match(second)
        yield atoms[index][0], [] if is_unspaced else contexts


def _shape(atom: str) -> str:
    """``x``, ``xx``, ``X``, ``XX``, ``Xx``, ``d``; letters after an apostrophe and marks represent themselves."""
    if atom[0].isdigit():
        return "d"
    if not atom[0].isalpha() or (len(atom) > 1 and atom[-2] in "'\u2019"):  # n't
        return atom.lower() if atom[0] != atom[-1] else atom[:3]
    if len(atom) == 1:
        return "X" if atom.isupper() else "x"
    return "XX" if atom.isupper() else "Xx" if atom[0].isupper() else "xx"


def _first_words(sentences: Iterable[Sequence[str]]) -> Iterator[Sequence[str]]:
    num_words = 0
    for words in sentences:
        num_words += len(words)
        if num_words > MAX_WORDS:
            return
        yield words


def attached_marks(sentences: Iterable[Sequence[str]]) -> frozenset[str]:
    """Find the `AMBIGUOUS` marks that the data splits off where plain text has no white space.

    Args:
        sentences: Training words.

    Returns:
        The marks that occur between two words with letters or digits more often than inside a word.
    """
    apart: Counter[str] = Counter()
    inside: Counter[str] = Counter()
    for words in sentences:
        for index, word in enumerate(words):
            if word in AMBIGUOUS:
                neighbors = [*words[max(index - 1, 0) : index], *words[index + 1 : index + 2]]
                apart[word] += len(neighbors) == 2 and all(neighbor.isalnum() for neighbor in neighbors)
            else:
                inside.update(set(word[1:-1]) & AMBIGUOUS)
    return frozenset(mark for mark, number in apart.items() if number > inside[mark])


def detokenize(words: Sequence[str], attached: frozenset[str] = frozenset()) -> tuple[str, list[Place]]:
    """Write words as plain text, with white space in the usual places.

    Args:
        words: The words.
        attached: Marks that are written without white space around them.

    Returns:
        The text, and the place of each word that is not blank.

    Example:
        >>> detokenize(["It", "'s", "(", "nearly", ")", "over", "."])[0]
        "It's (nearly) over."
    """
    text, places = "", []
    is_open = dict.fromkeys(QUOTES, False)
    clings = True
    for word in (word for word in words if word.strip()):
        clings_left, clings_right = _clings(word, text, attached, is_open)
        text += "" if clings or clings_left else " "
        places.append((len(text), len(text) + len(word)))
        text += word
        clings = clings_right
    return text, places


def _clings(word: str, text: str, attached: frozenset[str], is_open: dict[str, bool]) -> tuple[bool, bool]:
    """Whether a word is written without white space before it, and after it."""
    if word in attached:
        return True, True
    if word == "'" and text.endswith(("s", "S")) and not is_open[word]:
        return True, False
    if word in QUOTES:
        is_open[word] = not is_open[word]
        return not is_open[word], is_open[word]
    is_unspaced = bool(UNSPACED_START.match(word)) and bool(text) and bool(UNSPACED_START.match(text[-1]))
    clings_left = is_unspaced or (word[0] in CLINGS_LEFT and not word[-1].isalnum())
    clings_left |= bool(regex.fullmatch(CLITICS, word, regex.IGNORECASE))
    return clings_left, word in CLINGS_RIGHT
