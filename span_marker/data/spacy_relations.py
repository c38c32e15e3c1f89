"""Relations in spaCy documents: ``Doc._.rel``, as in spaCy's tutorial on a relation component.

It is a dict from pairs of the first tokens of two entities to a score per label: 1 for an annotated relation, and 0 or
no score for none.

The component ``span_marker`` instead sets ``Doc._.relations``, which has the entities themselves, see `SpanRelation`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from span_marker.data.row_relations import RELATIONS, RowRelation

if TYPE_CHECKING:
    from spacy.tokens import Doc, Span

REL = "rel"
"""Name of the extension attribute."""

LEAST_SCORE = 0.5
"""Minimum score of a relation to be read."""

_KEY: Any = ("._.", REL, None, None)
"""Where spaCy stores it in ``Doc.user_data``."""

_FOUND = "span_marker_relations"
"""Where the relations that were predicted are in ``Doc.user_data``: lists of numbers and strings, in characters.

Nothing else is saved: `Doc.to_bytes`, which several processes need, can't have the pairs of tokens of ``Doc._.rel``."""


class SpanRelation(NamedTuple):
    """A relation between two entities of a document, an item of ``Doc._.relations``.

    Attributes:
        label: Label of the relation.
        score: Probability of the label.
        head: The entity that the relation starts from.
        tail: The entity that it leads to.
    """

    label: str
    score: float
    head: Span
    tail: Span


def has_relations(doc: Doc) -> bool:
    """Tell whether a document has annotated relations, even if there are none of them.

    It does not matter whether the extensions are registered.
    """
    return doc.user_data.get(_KEY) is not None or _FOUND in doc.user_data


def read_relations_of(
    doc: Doc, spans: Sequence[Span], location: str, with_scores: bool = False
) -> list[dict[str, Any]] | None:
    """Read the relations of a document.

    Args:
        doc: The document.
        spans: Its entities.
        location: What to call it in errors.
        with_scores: Whether to return their scores, too.

    Returns:
        The relations as dicts of a row: those that the component ``span_marker`` found, or else those of ``Doc._.rel``
        with a score of at least 0.5. None if the document says nothing of relations.

    Raises:
        TypeError: If ``Doc._.rel`` is not a dict of pairs of tokens.
        ValueError: If no entity begins at a token of a relation, or several do; or the component found a relation of an
            entity that is not among the spans.
    """
    if not has_relations(doc):
        return None
    if _FOUND in doc.user_data:
        return _read_found(doc, spans, location, with_scores)
    pairs = doc.user_data[_KEY]
    if not isinstance(pairs, Mapping) or not all(isinstance(pair, tuple) and len(pair) == 2 for pair in pairs):
        raise TypeError(f"{location}: Doc._.{REL} must be a dict of pairs of tokens, not {pairs!r:.200}")
    places: dict[int, list[int]] = {}
    for index, span in enumerate(spans):
        places.setdefault(span.start, []).append(index)
    relations = []
    for pair, scores in pairs.items():
        if not isinstance(scores, Mapping):
            raise TypeError(f"{location}: Doc._.{REL}[{pair}] must be a dict of scores, not {scores!r:.200}")
        for label, score in scores.items():
            if score >= LEAST_SCORE:
                head, tail = (_entity_at(places, token, location) for token in pair)
                relations.append({"label": label, "head": head, "tail": tail})
                relations[-1].update({"score": score} if with_scores else {})
    return relations


def count_raised(relations: Iterable[RowRelation]) -> int:
    """Count the relations to which `set_relations` gives a higher score."""
    return sum(relation.score is not None and relation.score < LEAST_SCORE for relation in relations)


def _read_found(doc: Doc, spans: Sequence[Span], location: str, with_scores: bool) -> list[dict[str, Any]]:
    """The relations that the component found, as dicts of a row."""
    indices = {_place(span): index for index, span in enumerate(spans)}
    relations = []
    for label, score, *ends in doc.user_data[_FOUND]:
        if missing := next((end for end in map(tuple, ends) if end not in indices), None):
            raise ValueError(
                f"{location}: Doc._.{RELATIONS} has a relation {label!r} of {doc.text[slice(*missing[:2])]!r} "
                f"({missing[2]}), which is not one of its entities: pass the spans_key= of the component if it has one"
            )
        head, tail = (indices[tuple(end)] for end in ends)
        relations.append({"label": label, "head": head, "tail": tail})
        relations[-1].update({"score": score} if with_scores else {})
    return relations


def _entity_at(places: Mapping[int, Sequence[int]], token: int, location: str) -> int:
    found = places.get(token, ())
    if len(found) != 1:
        number = "several entities begin" if found else "no entity begins"
        raise ValueError(
            f"{location}: Doc._.{REL} has a relation of the entity that begins at token {token}, but {number} there"
        )
    return found[0]


def set_relations(doc: Doc, spans: Sequence[Span], relations: Sequence[RowRelation], location: str) -> None:
    """Write relations into a document, with an entry for each pair of entities, as the component needs it.

    Args:
        doc: The document.
        spans: Its entities.
        relations: The relations between them. One without a score has the score 1, and one with a score below 0.5 has
            0.5: with less, it would be read as none.
        location: What to call the row in errors.

    Raises:
        ValueError: If a relation has an entity that begins at the same token as another one, or another extension has
            the name ``Doc._.rel``.
    """
    starts = [span.start for span in spans]
    counts = Counter(starts)
    for relation in relations:
        for end in (relation.head, relation.tail):
            if counts[starts[end]] > 1:
                raise ValueError(
                    f"{location}: the relation {relation.label!r} has the entity {spans[end].text!r}, but several "
                    f"entities begin there, which Doc._.{REL} cannot tell apart"
                )
    pairs: dict[tuple[int, int], dict[str, float]] = {(head, tail): {} for head in starts for tail in starts}
    for relation in relations:
        score = 1.0 if relation.score is None else max(relation.score, LEAST_SCORE)
        pairs[starts[relation.head], starts[relation.tail]][relation.label] = score
    _register(doc)
    doc._.set(REL, pairs)


def _register(doc: Doc) -> None:
    """Register ``Doc._.rel`` as the tutorial does; any extension that holds a value will do."""
    if not doc.has_extension(REL):
        type(doc).set_extension(REL, default={})
    elif any(part is not None for part in doc.get_extension(REL)[1:]):
        raise ValueError(
            f"relations are stored as Doc._.{REL}, but another extension has that name: call "
            f"Doc.remove_extension({REL!r}) first"
        )


def register_found_relations() -> bool:
    """Register ``Doc._.relations``, see `found_relations`.

    Returns:
        Whether it is there; False if another extension has that name.
    """
    from spacy.tokens import Doc

    if not Doc.has_extension(RELATIONS):
        Doc.set_extension(RELATIONS, getter=found_relations)
    return any(part is found_relations for part in Doc.get_extension(RELATIONS))


def found_relations(doc: Doc) -> tuple[SpanRelation, ...]:
    """Return the relations that the component ``span_marker`` found, for ``Doc._.relations``.

    Args:
        doc: A document.

    Returns:
        The relations whose entities are still in the document, in ``Doc.ents`` or a group of ``Doc.spans``; none if the
        component found none.
    """
    spans = {_place(span): span for group in (*doc.spans.values(), doc.ents) for span in group}
    relations = []
    for label, score, *ends in doc.user_data.get(_FOUND, ()):
        head, tail = (spans.get(tuple(end)) for end in ends)
        if head is not None and tail is not None:
            relations.append(SpanRelation(label, score, head, tail))
    return tuple(relations)


def relations_that_stay(doc: Doc, spans_key: str | None, overwrites: bool) -> list[Any]:
    """List the relations of a document whose entities stay when a component writes its own, as it stores them.

    Args:
        doc: The document, before anything is written.
        spans_key: The group that is replaced; None if ``Doc.ents`` are written.
        overwrites: Whether none of ``Doc.ents`` stays, if these are written.

    Returns:
        The relations, for `set_found_relations`.
    """
    staying = [doc.ents] if spans_key is not None or not overwrites else []
    staying += [group for name, group in doc.spans.items() if name != spans_key]
    there = {_place(span) for group in staying for span in group}
    return [one for one in doc.user_data.get(_FOUND, ()) if there.issuperset(map(tuple, one[2:]))]


def set_found_relations(
    doc: Doc, relations: Sequence[SpanRelation] | None, spans_key: str | None = None, staying: Sequence[Any] = ()
) -> None:
    """Write predicted relations to a document, for ``Doc._.relations``.

    Args:
        doc: The document.
        relations: The relations; None if they were not looked for. Those of entities that are not in the document are
            left out.
        spans_key: The group of the entities; None for ``Doc.ents``.
        staying: What `relations_that_stay` returned, which comes first, as entities that stay do. All other relations
            that the document had are removed.

    Raises:
        ValueError: If another extension has the name ``Doc._.relations``.
    """
    if relations is None and not staying:
        doc.user_data.pop(_FOUND, None)
        return
    if relations is not None and not register_found_relations():
        raise ValueError(
            f"relations are stored as Doc._.{RELATIONS}, but another extension has that name: call "
            f"Doc.remove_extension({RELATIONS!r}) first, or set relations=False"
        )
    there = set(map(_place, doc.ents if spans_key is None else doc.spans[spans_key]))
    found, taken = list(staying), {tuple(map(tuple, ends)) for _, _, *ends in staying}
    for relation in relations or ():
        ends = _place(relation.head), _place(relation.tail)
        if there.issuperset(ends) and ends not in taken:
            found.append((relation.label, relation.score, *ends))
    doc.user_data[_FOUND] = found


def _place(span: Span) -> tuple[int, int, str]:
    return span.start_char, span.end_char, span.label_
