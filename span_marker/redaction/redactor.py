"""Redact a single text, or a stream of texts with consistent placeholders."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from itertools import accumulate, chain
from operator import add, itemgetter, le, sub
from typing import Any, TypeAlias

from span_marker.data.plain_entities import EntityColumns, read_plain_entities
from span_marker.data.rows import PREDICTED, RowEntity, first_error, read_row
from span_marker.redaction.placeholders import (
    LITERAL,
    MIN_KEY_LENGTH,
    NAMED_WAYS,
    PLACEHOLDER,
    WAYS,
    How,
    Pseudonyms,
    plain_replacement,
)
from span_marker.redaction.report import RedactionReport
from span_marker.redaction.results import Redacted, RedactedSpan, RedactionMap, text_digest

_Spans: TypeAlias = tuple[Sequence[str], Sequence[int], Sequence[int], Sequence[str]]
"""Labels, starts and ends of ordered, non-overlapping spans, and their text."""

_AS_SPAN = partial(tuple.__new__, RedactedSpan)
"""Creates a span from its five values. The constructor takes 50 % longer, which is a large part of redaction."""


def redact(
    text: str,
    entities: Iterable[Mapping[str, Any]] | Mapping[str, Any],
    how: How = "label",
    *,
    key: str | bytes | None = None,
) -> Redacted:
    """Replace the entities of a text.

    Every character of every entity is replaced. Overlapping and nested entities are replaced together, under the label
    of the longest; among equally long ones, of the most probable.

    Args:
        text: The text.
        entities: What ``predict`` returns, with or without relations; or dicts with ``label``, ``start`` and ``end``.
            Offsets count code points.
        how: The replacement. ``"label"``: ``[PERSON]``. ``"numbered"``: ``[PERSON_1]``, with the same number for the
            same name. ``"mask"``: ``*`` for each character. ``"hash"``: ``[PERSON_3f2a9c1be07d5a48]``, the start of the
            name's HMAC-SHA-256, which does not depend on the text. ``"remove"``: nothing. Or a function of the old text
            and its label that returns the new text. Names that differ only in case, possessive endings or repeated
            white space are the same.
        key: The secret key of ``"hash"``: at least 16 bytes, such as ``secrets.token_bytes(32)``.

    Returns:
        The new text, what was replaced, and the map that restores it, see `restore`.

    Raises:
        TypeError: If an entity is not a dict, a value of it has the wrong type, or a function returns no string.
        ValueError: If ``how`` is unknown, an entity is invalid, or ``key`` is missing, too short or not used.

    Example:
        >>> entities = [{"label": "person", "start": 0, "end": 5}, {"label": "person", "start": 13, "end": 16}]
        >>> redact("Ann's cat saw Ann.", [entities[0]]).text
        '[PERSON] cat saw Ann.'
    """
    return Redactor(how, key=key).redact(text, entities)


class Redactor:
    """Redacts many texts, with the same placeholder for the same name in all of them.

    It is not thread-safe.

    Args:
        how: See `redact`.
        key: See `redact`.
        names: The ``names`` of an earlier redactor, to continue with its placeholders.

    Raises:
        TypeError: If ``key`` is neither a string nor bytes.
        ValueError: If ``how`` is unknown; ``key`` is missing, too short or not used; or ``names`` does not apply to
            ``how`` or has keys that are not placeholders.

    Example:
        >>> redactor = Redactor("numbered")
        >>> redactor.redact("Ann left.", [{"label": "person", "start": 0, "end": 3}]).text
        '[PERSON_1] left.'
        >>> redactor.redact("So did ANN.", [{"label": "person", "start": 7, "end": 10}]).text
        'So did [PERSON_1].'
    """

    def __init__(
        self, how: How = "numbered", *, key: str | bytes | None = None, names: Mapping[str, str] | None = None
    ) -> None:
        if how not in WAYS and not callable(how):
            raise ValueError(f"how={how!r} must be one of {list(WAYS)}, or a function")
        secret = _read_key(key, how)
        if names and how not in NAMED_WAYS:
            raise ValueError(f"names needs how= to be one of {list(NAMED_WAYS)}, whose placeholders stand for names")
        self.how = how
        self._pseudonyms = Pseudonyms(secret, names or {}) if how in NAMED_WAYS else None
        self._replace = plain_replacement(how) if self._pseudonyms is None else self._pseudonyms.replace
        self._num_texts = self._num_characters = self._num_redacted = self._num_entities = 0
        self._spans: Counter[str] = Counter()

    @property
    def names(self) -> dict[str, str]:
        """The name behind each placeholder, for `restore`. **It contains what was redacted**."""
        return {} if self._pseudonyms is None else dict(self._pseudonyms.names)

    @property
    def report(self) -> RedactionReport:
        """Statistics of what was redacted so far."""
        return RedactionReport(
            how=self.how if isinstance(self.how, str) else "function",
            num_texts=self._num_texts,
            num_characters=self._num_characters,
            num_redacted=self._num_redacted,
            num_entities=self._num_entities,
            spans=dict(self._spans),
            names={} if self._pseudonyms is None else dict(Counter(self._pseudonyms.labels.values())),
        )

    def redact(self, text: str, entities: Iterable[Mapping[str, Any]] | Mapping[str, Any]) -> Redacted:
        """Replace the entities of a text, see `redact`.

        Args:
            text: The text.
            entities: Its entities, see `redact`.

        Returns:
            The new text, what was replaced, and the map of this text.

        Raises:
            TypeError: If an entity is not a dict, a value of it has the wrong type, or a function returns no string.
            ValueError: If an entity is invalid, or two names have the same hash.
        """
        found = _read_entities(text, entities)
        labels, starts, ends, old = self._separate(text, found)
        new = self._replace(old, labels)
        between = [text[end:start] for end, start in zip((0, *ends), (*starts, len(text)), strict=True)]
        new_text = "".join(chain.from_iterable(zip(between, (*new, ""), strict=True)))
        lengths = list(map(len, new))
        moves = accumulate(map(sub, lengths, map(len, old)), initial=0)  # of the text before each span
        new_starts = list(map(add, starts, moves))
        new_ends = list(map(add, new_starts, lengths))
        spans = tuple(map(_AS_SPAN, zip(labels, starts, ends, new_starts, new_ends, strict=True)))
        pieces = tuple(zip(new_starts, new_ends, old, strict=True))
        names = {} if self._pseudonyms is None else {name: self._pseudonyms.names[name] for name in new}
        self._num_texts += 1
        self._num_characters += len(text)
        self._num_redacted += sum(map(len, old))
        self._num_entities += len(found.labels)
        self._spans.update(labels)
        return Redacted(new_text, spans, RedactionMap(pieces, names, text_digest(new_text)))

    def _separate(self, text: str, found: EntityColumns) -> _Spans:
        """Merge overlapping entities, and add text that looks like a placeholder."""
        literals = self._literals(text)
        if not literals and all(map(le, found.ends, found.starts[1:])):
            return found.labels, found.starts, found.ends, found.parts
        merged = merge_overlaps([*zip(*found[:4], strict=True), *literals])
        labels, starts, ends = zip(*merged, strict=True) if merged else ((), (), ())
        return labels, starts, ends, [text[start:end] for _, start, end in merged]

    def _literals(self, text: str) -> list[RowEntity]:
        """Text that already looks like a placeholder; none if placeholders do not stand for names."""
        if self._pseudonyms is None or "[" not in text:
            return []
        return [RowEntity(LITERAL, *match.span()) for match in PLACEHOLDER.finditer(text)]


def _read_entities(text: str, entities: Any) -> EntityColumns:
    found: Any = entities.get("entities") if isinstance(entities, Mapping) else entities
    if not isinstance(found, (list, str, Mapping)) and isinstance(found, Iterable):
        found = list(found)
    is_plain = isinstance(text, str) and isinstance(found, list)
    columns = read_plain_entities(text, found, PREDICTED["characters"]) if is_plain else None
    if columns is None:
        read = first_error(*read_row("text", text, found, "the text")).entities
        labels, starts, ends, scores = zip(*read, strict=True) if read else ((),) * 4
        columns = EntityColumns(labels, starts, ends, scores, [text[start:end] for _, start, end, _ in read])
    return columns


def merge_overlaps(entities: Iterable[tuple[str, int, int, float | None]]) -> list[tuple[str, int, int]]:
    """Merge entities that overlap. Adjacent ones stay separate.

    Args:
        entities: Label, start, end and score of entities, in any order.

    Returns:
        For each group of overlapping entities, the label of the longest (among equally long ones, of the most
        probable), and the start and end of the group.

    Example:
        >>> merge_overlaps([RowEntity("ORG", 0, 9), RowEntity("LOC", 4, 12), RowEntity("PER", 12, 15)])
        [('ORG', 0, 12), ('PER', 12, 15)]
    """
    merged: list[tuple[str, int, int]] = []
    best: tuple[str, int, int, float | None] | None = None
    last = 0
    for entity in sorted(entities, key=itemgetter(1)):
        label, start, end, _ = entity
        if best is None or start >= last:
            merged.append((label, start, end))
            best, last = entity, end
        else:
            best, last = max(best, entity, key=_rank), max(last, end)
            merged[-1] = (best[0], merged[-1][1], last)
    return merged


def _rank(entity: tuple[str, int, int, float | None]) -> tuple[int, float]:
    _, start, end, score = entity
    return end - start, score or 0.0


def _read_key(key: str | bytes | None, how: How) -> bytes | None:
    if how != "hash":
        if key is not None:
            raise ValueError(f"key is only used with how='hash', not with how={how!r}: leave it out")
        return None
    if key is None:
        raise ValueError("how='hash' needs a secret key: pass key=, such as secrets.token_bytes(32), and store it")
    if not isinstance(key, (str, bytes)):
        raise TypeError(f"key must be a string or bytes, not {type(key).__name__}")
    secret = key.encode("utf-8") if isinstance(key, str) else key
    if len(secret) < MIN_KEY_LENGTH:
        raise ValueError(
            f"key has {len(secret)} bytes, but needs at least {MIN_KEY_LENGTH} to resist guessing: pass one such as "
            "secrets.token_bytes(32)"
        )
    return secret
