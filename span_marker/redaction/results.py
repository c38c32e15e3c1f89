"""Redacted texts: where their parts moved, and how to restore them."""

from __future__ import annotations

import hashlib
from bisect import bisect_left, bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from span_marker.redaction.placeholders import fill_in


class RedactedSpan(NamedTuple):
    """A replaced span of a text. Characters count from 0, ends are exclusive.

    Attributes:
        label: Label of the entity, or of the longest of several that overlap.
        start: First character in the old text.
        end: Character after the last in the old text.
        new_start: First character of the replacement in the new text.
        new_end: Character after its last.
    """

    label: str
    start: int
    end: int
    new_start: int
    new_end: int


@dataclass(frozen=True)
class RedactionMap:
    """The information that restores a redacted text. **It contains what was redacted**: store it apart from the text.

    Attributes:
        pieces: Start and end of each replacement in the new text, and the original text.
        names: The name behind each placeholder, if each stands for a single name; otherwise empty.
        digest: SHA-256 of the new text, as a hexadecimal number, to detect later changes.
    """

    pieces: tuple[tuple[int, int, str], ...] = field(repr=False)
    names: Mapping[str, str] = field(repr=False)
    digest: str

    def to_dict(self) -> dict[str, Any]:
        """Return a dict, for JSON."""
        return {"pieces": [list(piece) for piece in self.pieces], "names": dict(self.names), "digest": self.digest}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> RedactionMap:
        """Read the output of `to_dict`.

        Args:
            values: The dict.

        Returns:
            The map.

        Raises:
            ValueError: If it is not such a dict.
        """
        try:
            pieces = tuple((int(start), int(end), str(old)) for start, end, old in values["pieces"])
            return cls(pieces, dict(values["names"]), str(values["digest"]))
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError("the map must be a dict returned by RedactionMap.to_dict") from error


@dataclass(frozen=True)
class Redacted:
    """A redacted text.

    Attributes:
        text: The new text.
        spans: What was replaced, in order.
        map: What restores the text, see `restore`.
    """

    text: str
    spans: tuple[RedactedSpan, ...]
    map: RedactionMap

    def new_span(self, start: int, end: int) -> tuple[int, int]:
        """Find a span of the old text in the new one.

        Args:
            start: First character.
            end: Character after the last.

        Returns:
            Start and end in the new text. A span that touches a replaced part includes all of its replacement.

        Raises:
            ValueError: If ``start`` is negative or after ``end``.

        Example:
            >>> from span_marker.redaction import redact
            >>> redacted = redact("Ann went home", [{"label": "person", "start": 0, "end": 3}])
            >>> redacted.text, redacted.new_span(4, 8)
            ('[PERSON] went home', (9, 13))
        """
        if not 0 <= start <= end:
            raise ValueError(f"start={start} and end={end} must satisfy 0 <= start <= end")
        if start == end:
            place = self._moved(start, bisect_right(self.spans, start, key=_start), "new_start")
            return place, place
        return (
            self._moved(start, bisect_right(self.spans, start, key=_start), "new_start"),
            self._moved(end, bisect_left(self.spans, end, key=_start), "new_end"),
        )

    def _moved(self, place: int, num_before: int, edge: str) -> int:
        if num_before == 0:
            return place
        span = self.spans[num_before - 1]
        return getattr(span, edge) if place < span.end else place - span.end + span.new_end


def _start(span: RedactedSpan) -> int:
    return span.start


def text_digest(text: str) -> str:
    """Compute the SHA-256 of a text, as a hexadecimal number."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def restore(redacted: Redacted | str, map: RedactionMap | Mapping[str, str] | None = None) -> str:
    """Restore a redacted text.

    A text that was not changed is restored exactly. In a changed text, such as the answer of a language model, each
    placeholder is replaced with its name wherever it occurs. This needs ``how="numbered"`` or ``how="hash"``, whose
    placeholders each stand for a single name. Unknown placeholders stay.

    Args:
        redacted: The redacted text, or the result of `redact`, which includes the map.
        map: The map of the text, or a dict from placeholders to names, such as ``redactor.names`` for the texts of a
            whole corpus.

    Returns:
        The text.

    Raises:
        TypeError: If ``redacted`` is a string, but there is no map.
        ValueError: If the text was changed and its placeholders do not tell names apart.

    Example:
        >>> from span_marker.redaction import redact
        >>> redacted = redact("Ann saw Bo.", [{"label": "PER", "start": 0, "end": 3}], how="numbered")
        >>> restore(redacted), restore("Who is [PER_1]?", redacted.map)
        ('Ann saw Bo.', 'Who is Ann?')
    """
    if isinstance(redacted, Redacted):
        map = redacted.map if map is None else map
        redacted = redacted.text
    if map is None:
        raise TypeError("restore needs the map of the text: call restore(text, redacted.map)")
    if not isinstance(map, RedactionMap):
        return fill_in(redacted, map)
    if text_digest(redacted) == map.digest:
        return _put_back(redacted, map.pieces)
    if map.pieces and not map.names:
        raise ValueError(
            "the text differs from the one that redact returned, and its placeholders do not identify names: restore "
            "the unchanged text, or redact with how='numbered' or how='hash'"
        )
    return fill_in(redacted, map.names)


def _put_back(text: str, pieces: Sequence[tuple[int, int, str]]) -> str:
    parts: list[str] = []
    last = 0
    for start, end, old in pieces:
        parts += (text[last:start], old)
        last = end
    return "".join([*parts, text[last:]])
