"""spaCy: DocBin files and Docs. spaCy is imported when it is needed."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from span_marker.data.rows import RowEntity, check_entity, distinct, overlaps, parse_row

if TYPE_CHECKING:
    from spacy.language import Language
    from spacy.tokens import Doc, Span

logger = logging.getLogger(__name__)

SCORE = "score"
"""Name of the extension attribute of spans with the scores of ``Doc.ents``."""

PLAIN_EXTENSION = (None, None, None, None)
"""Default, method, getter and setter of an extension attribute that holds a value, at first None."""


def import_spacy() -> Any:
    """Import spaCy.

    Returns:
        The module.

    Raises:
        ImportError: If it is not installed.
    """
    try:
        import spacy
    except ImportError as error:
        raise ImportError("this needs spaCy, which is not installed: pip install spacy") from error
    return spacy


def register_score() -> None:
    """Make spaCy know ``Span._.score``, the score of an entity in ``Doc.ents``, or None.

    spaCy keeps it in ``Doc.user_data``, by the first and the last character, so that it outlives changes of
    ``Doc.ents`` and is saved with the document.

    Raises:
        ValueError: If something else goes by that name.
        ImportError: If spaCy is not installed.
    """
    span_type = import_spacy().tokens.Span
    if not span_type.has_extension(SCORE):
        span_type.set_extension(SCORE, default=None)
    elif span_type.get_extension(SCORE) != PLAIN_EXTENSION:
        raise ValueError(
            f"the scores of Doc.ents are kept as Span._.{SCORE}, but something else has that name: set spans_key, so "
            f"that they are kept with Doc.spans, or call Span.remove_extension({SCORE!r}) first"
        )


def set_spans(doc: Doc, spans: Iterable[tuple[Span, float | None]], spans_key: str | None) -> None:
    """Write spans into a document: to ``Doc.ents`` and ``Span._.score``, or to ``Doc.spans`` and ``attrs["scores"]``.

    Several labels of the same words have one ``Span._.score`` in common, which is why groups have their scores apart.

    Args:
        doc: The document.
        spans: All its spans, each with its score; None to leave ``Span._.score`` as it is.
        spans_key: The group of spans; None for ``Doc.ents``.

    Raises:
        ValueError: If there are scores, and ``Span._.score`` is something else.
    """
    spans = list(spans)
    scores = [score for _, score in spans]
    has_scores = set(scores) != {None}
    if spans_key is not None:
        attrs = {"scores": scores} if has_scores else {}
        group = import_spacy().tokens.SpanGroup(doc, name=spans_key, spans=[span for span, _ in spans], attrs=attrs)
        doc.spans[spans_key] = group
        return
    doc.ents = [span for span, _ in spans]
    if has_scores:
        register_score()
    for span, score in spans:
        if score is not None:
            span._.set(SCORE, score)


def read_docbin(path: Path, spans_key: str | None) -> list[dict[str, Any]]:
    """Read a DocBin file.

    Args:
        path: The file.
        spans_key: Read the group ``Doc.spans[spans_key]`` instead of ``Doc.ents``.

    Returns:
        Canonical rows.

    Raises:
        ValueError: If it is no DocBin, or no document has the group.
    """
    spacy = import_spacy()
    try:
        docs = list(spacy.tokens.DocBin().from_disk(path).get_docs(spacy.vocab.Vocab()))
    except (ValueError, KeyError, EOFError, OSError) as error:
        if isinstance(error, FileNotFoundError):
            raise
        raise ValueError(f"{path} is no DocBin file: {error}") from error
    groups = sorted({name for doc in docs for name in doc.spans})
    if docs and spans_key is not None and spans_key not in groups:
        raise ValueError(
            f"{path}: no document has spans {spans_key!r}: spans_key= must be one of {groups}, or left out"
        )
    if spans_key is None and groups and not any(doc.ents for doc in docs):
        logger.warning(
            "%s: no document has entities, but there are spans: did you mean spans_key= one of %s?", path, groups
        )
    rows = []
    for index, doc in enumerate(docs):
        spans = doc.ents if spans_key is None else doc.spans.get(spans_key, ())
        text, where = doc.text, f"{path}, row {index}"
        found = [check_entity(span.label_, span.start_char, span.end_char, len(text), where) for span in spans]
        rows.append({"text": text, "entities": [entity.to_dict() for entity in found]})
    return rows


def to_docs(
    rows: Iterable[Mapping[str, Any]], nlp: Language | None = None, spans_key: str | None = None
) -> Iterator[Doc]:
    """Make spaCy documents of rows, one after the other.

    Words become tokens, with single spaces between them; a text is cut into tokens by ``nlp``. Entities become
    ``Doc.ents`` and their scores ``Span._.score``; or, if there is ``spans_key``, ``Doc.spans[spans_key]`` and its
    ``attrs["scores"]``, as spaCy's span categorizer has them.

    Args:
        rows: The rows.
        nlp: The pipeline whose tokenizer and vocabulary to use; a blank one for any language by default.
        spans_key: The group of spans, which may overlap.

    Yields:
        A document for each row.

    Raises:
        ValueError: If entities overlap and there is no ``spans_key``, an entity begins or ends inside of a token, or
            ``Span._.score`` is something else.
        ImportError: If spaCy is not installed.
    """
    spacy = import_spacy()
    nlp = nlp or spacy.blank("xx")
    for index, row in enumerate(rows):
        where = f"row {index}"
        parsed = parse_row(row, where)
        if parsed.kind == "tokens":
            if "" in parsed.content:
                raise ValueError(f"{where}: word {parsed.content.index('')} is empty, which spaCy can't have")
            spaces = [True] * len(parsed.content)
            doc = spacy.tokens.Doc(nlp.vocab, words=list(parsed.content), spaces=spaces[:-1] + [False] * bool(spaces))
        else:
            doc = nlp.make_doc(parsed.content)
        entities = distinct(parsed.entities)
        if spans_key is None and overlaps(entities):
            raise ValueError(f"{where} has entities that overlap, which Doc.ents can't have: pass spans_key=")
        spans = [(_span(doc, entity, parsed.kind, where), entity.score) for entity in entities]
        set_spans(doc, spans, spans_key)
        yield doc


def _span(doc: Doc, entity: RowEntity, kind: str, where: str) -> Any:
    if kind == "tokens":
        return import_spacy().tokens.Span(doc, entity.start, entity.end, label=entity.label)
    span = doc.char_span(entity.start, entity.end, label=entity.label)
    if span is None:
        tokens = [token.text for token in doc if token.idx < entity.end and token.idx + len(token.text) > entity.start]
        raise ValueError(
            f"{where}: the {entity.label!r} of characters {entity.start} to {entity.end} "
            f"({doc.text[entity.start : entity.end]!r}) begins or ends inside of a token of {tokens}: pass nlp= with "
            "another tokenizer"
        )
    return span


def write_docbin(
    path: str | os.PathLike[str],
    rows: Iterable[Mapping[str, Any]],
    nlp: Language | None = None,
    spans_key: str | None = None,
) -> None:
    """Write rows as a DocBin file, as ``spacy train`` reads it.

    Args:
        path: The file.
        rows: The rows.
        nlp: See `to_docs`.
        spans_key: See `to_docs`.
    """
    docs = list(to_docs(rows, nlp, spans_key))
    has_scores = any(span.has_extension(SCORE) and span._.get(SCORE) is not None for doc in docs for span in doc.ents)
    import_spacy().tokens.DocBin(docs=docs, store_user_data=has_scores).to_disk(path)
