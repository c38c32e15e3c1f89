"""Rows of words and tags: the allowed tags, and the entities that they encode."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Any, NamedTuple

from span_marker.core.labels import detect_scheme, tags_to_entities
from span_marker.core.notation import Notation
from span_marker.data.forms import Form
from span_marker.data.rows import Row, RowProblem, check_content, read_row
from span_marker.data.values import as_whole, check_list

IGNORED = (-100, -1)
"""Integers that mark words without annotation in other libraries."""


def no_notation() -> Notation:
    """Return the notation of tags which are written as this library writes them."""
    return Notation({}, {})


class Tags(NamedTuple):
    """What the tags of a data set mean.

    Attributes:
        names: Names of integer tags; empty if integers have no names.
        known: The tags that a word may have; None for any.
        scheme: Their scheme, a key of `span_marker.core.labels.SCHEMES`, or None.
        notation: Tells how they are written in the data, if in another way; and those that cannot be read.
    """

    names: Sequence[str] = ()
    known: Collection[str] | None = None
    scheme: str | None = None
    notation: Callable[[], Notation] = no_notation

    @classmethod
    def from_labels(
        cls,
        labels: Sequence[str],
        names: Sequence[str] | None = None,
        notation: Callable[[], Notation] = no_notation,
    ) -> Tags:
        """Take the tags of a label list.

        Args:
            labels: The tags that a word may have.
            names: Names of integer tags. Defaults to the label list.
            notation: Tells how the tags are written in the data.

        Returns:
            What tags mean.
        """
        return cls(labels if names is None else names, dict.fromkeys(labels), detect_scheme(labels), notation)

    def name_of(self, tag: Any) -> str | None:
        """Name a tag, a string or an integer; None if it is unknown."""
        if not isinstance(tag, str):
            number = as_whole(tag)
            tag = self.names[number] if number is not None and 0 <= number < len(self.names) else None
        if tag is None or self.known is None or tag in self.known:
            return tag
        name = self.notation().renamed.get(tag)
        return name if name in self.known else None


ANY_TAGS = Tags()
"""Strings of any kind."""


def read_tags(words: Any, tags: Any, meaning: Tags, location: str) -> tuple[Row | None, list[RowProblem]]:
    """Read a row with tags, and find all of its problems.

    Args:
        words: The words.
        tags: One tag per word, a string or an integer.
        meaning: What the tags mean.
        location: What to call the row in errors.

    Returns:
        The row, without entities if a tag is wrong, or None if it is not a row at all; and its problems.
    """
    names, problems = name_tags(words, tags, meaning, location)
    if names is None:
        return None, problems
    if problems:
        return Row("words", words, []), problems
    return read_row("words", words, [span._asdict() for span in tags_to_entities(names, meaning.scheme)], location)


def read_annotation(
    form: Form, content: Any, annotation: Any, location: str, meaning: Tags = ANY_TAGS, relations: Any = None
) -> tuple[Row | None, list[RowProblem]]:
    """Read a row in any form, and find all of its problems.

    Args:
        form: The form.
        content: Its words or text.
        annotation: Its entities or tags.
        location: What to call the row in errors.
        meaning: What tags mean.
        relations: Its relations; None if it has none. They refer to entities, so tags have none.

    Returns:
        See `span_marker.data.rows.read_row` and `read_tags`.
    """
    if form == "tags":
        return read_tags(content, annotation, meaning, location)
    return read_row(form, content, annotation, location, relations)


def name_tags(words: Any, tags: Any, meaning: Tags, location: str) -> tuple[list[str] | None, list[RowProblem]]:
    """Name the tags of a row, and find all of their problems.

    Args:
        words: The words.
        tags: One tag per word, a string or an integer.
        meaning: What the tags mean.
        location: What to call the row in errors.

    Returns:
        The names of the tags that have one, or None if it is not a row at all; and the problems of the row.
    """
    try:
        check_content("words", words, location)
        tags = check_list(tags, f"{location}: 'ner_tags'")
    except TypeError as error:
        return None, [RowProblem("malformed-row", error)]
    if len(words) != len(tags):
        message = f"{location}: {len(words)} 'tokens' but {len(tags)} 'ner_tags': every word needs one tag"
        return [], [RowProblem("tag-count", ValueError(message))]
    names = [meaning.name_of(tag) for tag in tags]
    problems = [
        RowProblem("unknown-tag", _unknown(tags[place], words[place], place, meaning, location), place, place + 1)
        for place, name in enumerate(names)
        if name is None
    ]
    return [name for name in names if name is not None], problems


def _unknown(tag: Any, word: str, place: int, meaning: Tags, location: str) -> TypeError | ValueError:
    subject = f"{location}: tag {tag!r} of word {place} ({word!r})"
    if not isinstance(tag, str):
        number = as_whole(tag)
        if number is None:
            return TypeError(f"{subject} must be a string or a whole number, not {type(tag).__name__}")
        if number in IGNORED:
            return ValueError(
                f"{subject} marks a word without annotation, but every word needs a tag: pass the data as it was "
                "before tokens were aligned with words, or leave the row out"
            )
        if not meaning.names:
            return ValueError(f"{subject} is an integer without a name: tags must be strings such as 'B-PER'")
        if not 0 <= number < len(meaning.names):
            return ValueError(f"{subject} is out of range: there are names for only {len(meaning.names)} integers")
        tag = meaning.names[number]
        subject = f"{subject}, which is {tag!r},"
    if reason := meaning.notation().strays.get(tag):
        return ValueError(f"{subject} {reason}")
    return ValueError(f"{subject} is not one of {list(meaning.known or ())}: make a new model to add it")
