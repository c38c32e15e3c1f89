"""Relations of spaCy's documents: ``Doc._.rel``, as spaCy's tutorial of a relation component has them.

It is a dict. Its keys are pairs of the first tokens of two entities, and its values have the score of each label: 1 for
a relation that was annotated, and 0, or no score, for none.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from span_marker.data.row_relations import RowRelation

if TYPE_CHECKING:
    from spacy.tokens import Doc, Span

REL = "rel"
"""Name of the extension attribute."""

LEAST_SCORE = 0.5
"""The least score of a relation that is read."""

_KEY: Any = ("._.", REL, None, None)
"""Where spaCy stores it in ``Doc.user_data``."""


def has_relations(doc: Doc) -> bool:
    """Tell whether a document has relations, whether the extension is registered or not."""
    return bool(doc.user_data.get(_KEY))


def read_relations_of(doc: Doc, spans: Sequence[Span], location: str) -> list[dict[str, Any]] | None:
    """Read the relations of a document.

    Args:
        doc: The document.
        spans: Its entities.
        location: What to call it in errors.

    Returns:
        The relations with a score of at least 0.5, as dicts of a row; None if the document has none.

    Raises:
        TypeError: If ``Doc._.rel`` is not a dict of pairs of tokens.
        ValueError: If no entity begins at a token of a relation, or several do.
    """
    if not has_relations(doc):
        return None
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
        relations: The relations between them. One without a score has the score 1.
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
        score = 1.0 if relation.score is None else relation.score
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
