"""Word splitters: the function that splits strings into words, by its name in a configuration.

| name | words |
|---|---|
| ``"tokenizer"`` | those of the tokenizer's own pre-tokenization, as in 1.x |
| ``"fitted"`` | those of the training data, by rules that are learned from them, see `span_marker.core.word_rules` |
| ``"unicode"`` | Unicode's; in scripts without white space between words, each character is a word |
| ``"icu"`` | ICU's, which has dictionaries of these scripts; it needs PyICU |
| ``"characters"`` | characters, each with its combining marks |
| ``"auto"`` | the tokenizer's, until training chooses one of the above |

``"unicode"`` and ``"icu"`` are separate so that a model has the same words regardless of which packages are installed.
"""

from __future__ import annotations

import importlib
import os
import re
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields
from numbers import Real
from typing import Any, Literal

from span_marker.core.checks import check_limit
from span_marker.core.word_rules import WordRules
from span_marker.core.words import Place, Split, character_words, icu_words, unicode_words

AUTO_SPLITTER = "auto"

OWN_SPLITS: dict[str, Split] = {"unicode": unicode_words, "icu": icu_words, "characters": character_words}
"""Word splitters that need nothing but the string, from the longest words to the shortest."""

NAMES = ("tokenizer", "fitted", *OWN_SPLITS, AUTO_SPLITTER)
"""Names of word splitters."""

IMPORT_PATH = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*(\.[^\W\d]\w*)*")
"""``module:function``, the saved form of a function of the caller."""


@dataclass(frozen=True)
class TrainedOn:
    """Description of the training data of a model.

    Args:
        unit: ``"words"`` if the training data was split into words, ``"text"`` if it was strings.
        num_rows: Number of training sentences or texts.
        mean_words: Mean number of words of each.
        max_words: Number of words of the longest.

    Raises:
        TypeError: If an entry is not a number.
        ValueError: If ``unit`` is unknown, or a number is out of range.
    """

    unit: Literal["words", "text"]
    num_rows: int
    mean_words: float
    max_words: int

    def __post_init__(self) -> None:
        if self.unit not in ("words", "text"):
            raise ValueError(f"trained_on.unit={self.unit!r} must be 'words' or 'text'")
        for name in ("num_rows", "max_words"):
            check_limit(f"trained_on.{name}", getattr(self, name), at_least=0)
        if isinstance(self.mean_words, bool) or not isinstance(self.mean_words, Real):
            raise TypeError(f"trained_on.mean_words={self.mean_words!r} must be a number")

    @classmethod
    def from_dict(cls, values: Any) -> TrainedOn:
        """Read the output of `to_dict`.

        Args:
            values: The dict.

        Returns:
            The description.

        Raises:
            TypeError: If an entry is not a number.
            ValueError: If ``values`` is not a dict with exactly the attributes as keys, or an entry is out of range.
        """
        names = [field.name for field in fields(cls)]
        if not isinstance(values, dict) or set(values) != set(names):
            raise ValueError(f"trained_on={values!r} must be None or a dict with the keys {names}")
        return cls(**values)

    def to_dict(self) -> dict[str, Any]:
        """Return a dict, for JSON."""
        return asdict(self)


def splitter_name(word_splitter: str | Split) -> str:
    """Name a word splitter, to save it.

    Args:
        word_splitter: One of `NAMES`, an import path, or a function.

    Returns:
        The name, or ``module:function``.
    """
    if isinstance(word_splitter, str):
        return word_splitter
    return f"{getattr(word_splitter, '__module__', '')}:{getattr(word_splitter, '__qualname__', '')}"


def check_splitter(word_splitter: Any) -> None:
    """Check that a word splitter can be used and saved. No function is called or imported.

    Args:
        word_splitter: One of `NAMES`, an import path, or a function.

    Raises:
        TypeError: If it is neither a string nor a function.
        ValueError: If it is an unknown name, or a function that has no import path, such as a lambda.
    """
    if not isinstance(word_splitter, str) and not callable(word_splitter):
        raise TypeError(f"word_splitter={word_splitter!r} must be one of {list(NAMES)}, or a function")
    name = splitter_name(word_splitter)
    if name not in NAMES and IMPORT_PATH.fullmatch(name) is None:
        advice = "" if isinstance(word_splitter, str) else ", defined with def at the top of a module"
        raise ValueError(f"word_splitter={name!r} must be one of {list(NAMES)}, or a function{advice}")


def import_splitter(word_splitter: str | Split) -> str | Split:
    """Import a word splitter that the caller names. Never pass a name from a checkpoint: importing runs code.

    Args:
        word_splitter: One of `NAMES`, a function, or its import path, ``module:function``.

    Returns:
        The name or the function.

    Raises:
        TypeError: If it is neither a string nor a function.
        ValueError: If there is no such module or function.
    """
    check_splitter(word_splitter)
    if not isinstance(word_splitter, str) or word_splitter in NAMES:
        return word_splitter
    module, _, path = word_splitter.partition(":")
    try:
        found: Any = importlib.import_module(module)
        for name in path.split("."):
            found = getattr(found, name)
    except (ImportError, AttributeError) as error:
        raise ValueError(f"word_splitter={word_splitter!r} cannot be imported: {error}") from error
    check_splitter(found)
    return found


def is_foreign(word_splitter: str | Split) -> bool:
    """Whether a word splitter is the name of a function that the caller must pass."""
    return isinstance(word_splitter, str) and word_splitter not in NAMES


def check_given(splitter: Any, path: str | os.PathLike[str]) -> None:
    """Refuse a checkpoint that names a function, unless the caller has passed the function.

    Args:
        splitter: The word splitter of the configuration.
        path: Name of the checkpoint, for errors.

    Raises:
        ValueError: If it is the name of a function, which is not run.
    """
    if is_foreign(splitter):
        raise ValueError(
            f"the checkpoint {str(path)!r} splits strings into words with a custom function, "
            f"word_splitter={splitter!r}, which is only run if you pass it: set word_splitter=... to the function or "
            "its import path"
        )


def find_split(word_splitter: str | Split, rules: WordRules | None) -> Split | None:
    """Find the function of a word splitter.

    Args:
        word_splitter: One of `NAMES`, or a function.
        rules: The rules of ``"fitted"``.

    Returns:
        The function; None if the tokenizer makes the words.

    Raises:
        ValueError: If it is the name of a function, or ``"fitted"`` without rules.
    """
    if not isinstance(word_splitter, str):
        return _checked(word_splitter)
    if word_splitter in ("tokenizer", AUTO_SPLITTER):
        return None
    if word_splitter in OWN_SPLITS:
        return OWN_SPLITS[word_splitter]
    if is_foreign(word_splitter):
        raise ValueError(
            f"word_splitter={word_splitter!r} is a custom function, which a checkpoint may not run by itself: pass "
            "from_pretrained word_splitter=..., the function or its import path"
        )
    if rules is None:
        raise ValueError(
            "word_splitter='fitted' has no rules yet: train the model on words, or choose another word_splitter"
        )
    return rules.split


def _checked(function: Callable[[str], Any]) -> Split:
    """Check the results of a function of the caller."""

    def split(text: str) -> list[Place]:
        places = [(int(start), int(end)) for start, end in function(text)]
        last = 0
        for start, end in places:
            if not last <= start < end <= len(text):
                raise ValueError(
                    f"word_splitter={splitter_name(function)!r} returned a word from {start} to {end} after one that "
                    f"ends at {last}, in a text of {len(text)} characters: words must be in order, must not be empty, "
                    "and must not overlap"
                )
            last = end
        return places

    return split
