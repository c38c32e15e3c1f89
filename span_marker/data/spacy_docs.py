"""spaCy's DocBin files and Docs. spaCy is imported only when needed."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from span_marker.core.extras import import_extra
from span_marker.core.labels import LabelledSpan, have_overlap
from span_marker.data.row_errors import OnError
from span_marker.data.row_relations import RELATIONS
from span_marker.data.row_writing import converted_rows, without_repetitions
from span_marker.data.rows import Row, RowEntity, Unit, parse_row
from span_marker.data.spacy_relations import (
    LEAST_SCORE,
    count_raised,
    has_relations,
    read_relations_of,
    set_relations,
)
from span_marker.data.text_files import SourceFile, StrPath, check_target

if TYPE_CHECKING:
    from datasets import Dataset
    from spacy.language import Language
    from spacy.tokens import Doc, Span

logger = logging.getLogger(__name__)

SCORE = "score"
"""Name of the extension attribute of spans with the scores of ``Doc.ents``."""

PLAIN_EXTENSION = (None, None, None, None)
"""Default, method, getter and setter of an extension attribute that holds a value, at first None."""


import_spacy = partial(import_extra, "spacy", "spacy", "spacy")


def register_score() -> None:
    """Register ``Span._.score``, the score of an entity in ``Doc.ents``, or None.

    spaCy stores it in ``Doc.user_data``, by the first and the last character, so that it survives changes of
    ``Doc.ents`` and is saved with the document.

    Raises:
        ValueError: If another extension has that name.
        ImportError: If spaCy is not installed.
    """
    span_type = import_spacy().tokens.Span
    if not span_type.has_extension(SCORE):
        span_type.set_extension(SCORE, default=None)
    elif span_type.get_extension(SCORE) != PLAIN_EXTENSION:
        raise ValueError(
            f"the scores of Doc.ents are stored as Span._.{SCORE}, but another extension has that name: set spans_key, "
            f"so that they are stored with Doc.spans, or call Span.remove_extension({SCORE!r}) first"
        )


def set_spans(doc: Doc, spans: Iterable[tuple[Span, float | None]], spans_key: str | None) -> None:
    """Write spans into a document: to ``Doc.ents`` and ``Span._.score``, or to ``Doc.spans`` and ``attrs["scores"]``.

    Spans with the same words share one ``Span._.score``, whatever their labels, so groups store their scores
    separately.

    Args:
        doc: The document.
        spans: All its spans, each with its score; None leaves ``Span._.score`` unchanged.
        spans_key: The group of spans; None for ``Doc.ents``.

    Raises:
        ValueError: If there are scores, and another extension has the name ``Span._.score``.
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


def read_docbin(file: SourceFile, spans_key: str | None = None) -> list[dict[str, Any]]:
    """Read a DocBin file.

    Args:
        file: The file, which collects the errors of documents.
        spans_key: Read the group ``Doc.spans[spans_key]`` instead of ``Doc.ents``.

    Returns:
        Rows with entities, and with relations where ``Doc._.rel`` has them, see `span_marker.data.spacy_relations`.

    Raises:
        ValueError: If the file is not a DocBin, or no document has the group.
    """
    spacy, path = import_spacy(), file.path
    try:
        docs = list(spacy.tokens.DocBin().from_disk(path).get_docs(spacy.vocab.Vocab()))
    except (ValueError, KeyError, EOFError, OSError) as error:
        if isinstance(error, FileNotFoundError):
            raise
        raise ValueError(f"{path} is not a DocBin file: {error}") from error
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
        with file.row():
            rows.append(_to_row(doc, spans_key, f"{path}, row {index}", with_scores=False))
    return rows


def from_docs(docs: Iterable[Doc], spans_key: str | None = None) -> Iterator[dict[str, Any]]:
    """Convert spaCy documents to rows, one after the other: the inverse of `to_docs`.

    Args:
        docs: The documents.
        spans_key: Read the group ``Doc.spans[spans_key]`` instead of ``Doc.ents``.

    Yields:
        ``text`` and ``entities``, with the scores that the component ``span_marker`` or a span categorizer stored, and
        ``relations`` where a document has them, see `span_marker.data.spacy_relations`.

    Raises:
        TypeError: If something is not a ``Doc``.
        ValueError: If a document has no such group, or has relations between spans other than these entities.
    """
    for index, doc in enumerate(docs):
        if not isinstance(doc, import_spacy().tokens.Doc):
            raise TypeError(f"document {index} must be a spaCy Doc, not {doc!r:.60}: pass a list, or nlp.pipe(...)")
        if spans_key is not None and spans_key not in doc.spans:
            raise ValueError(f"document {index} has no spans {spans_key!r}, only {sorted(doc.spans)}: pass spans_key=")
        yield _to_row(doc, spans_key, f"document {index}", with_scores=True)


def _to_row(doc: Doc, spans_key: str | None, location: str, with_scores: bool) -> dict[str, Any]:
    spans = doc.ents if spans_key is None else doc.spans.get(spans_key, ())
    entities = [{"label": span.label_, "start": span.start_char, "end": span.end_char} for span in spans]
    if with_scores:
        for entity, score in zip(entities, _scores_of(doc, spans_key), strict=True):
            entity.update({} if score is None else {"score": score})
    relations = read_relations_of(doc, spans, location, with_scores)
    row = parse_row({"text": doc.text, "entities": entities, RELATIONS: relations}, location)
    found: dict[str, Any] = {"text": doc.text, "entities": [entity.to_dict() for entity in row.entities]}
    if relations is not None:
        found[RELATIONS] = [relation.to_dict() for relation in row.relations]
    return found


def _scores_of(doc: Doc, spans_key: str | None) -> Iterable[float | None]:
    """The scores of entities, as `set_spans` stores them."""
    if spans_key is None:
        # The place of a value of an extension that need not be registered here, such as after a DocBin was read.
        stored: Mapping[Any, Any] = doc.user_data
        return [stored.get(("._.", SCORE, span.start_char, span.end_char)) for span in doc.ents]
    group = doc.spans[spans_key]
    scores: Iterable[float | None] = group.attrs.get("scores", [None] * len(group))
    return scores


def to_docs(
    rows: Dataset | Iterable[Mapping[str, Any]],
    nlp: Language | None = None,
    spans_key: str | None = None,
    errors: OnError = "raise",
) -> Iterator[Doc]:
    """Convert rows to spaCy documents, one after the other.

    Words become tokens, separated by single spaces; a text is tokenized by ``nlp``. Entities become ``Doc.ents``, their
    scores ``Span._.score``, and relations ``Doc._.rel``, see `span_marker.data.spacy_relations`. A relation with a
    score below 0.5 gets 0.5, with a warning, since spaCy's tutorial treats lower scores as no relation. With
    ``spans_key``, entities become ``Doc.spans[spans_key]``, and their scores its ``attrs["scores"]``, as spaCy's span
    categorizer stores them.

    Args:
        rows: A data set annotated in any form, or rows with ``tokens`` or ``text``, and ``entities``.
        nlp: The pipeline whose tokenizer and vocabulary to use. Defaults to a blank one for any language.
        spans_key: The group of spans, which may overlap.
        errors: What to do with rows that cannot be represented, see `span_marker.data.jsonl.write_jsonl`.

    Returns:
        An iterator over documents, one per row.

    Raises:
        TypeError: If a row has a value of the wrong type.
        ValueError: If a row is invalid, entities overlap without a ``spans_key``, an entity begins or ends inside a
            token, or another extension has the name ``Span._.score``.
        ImportError: If spaCy is not installed.
    """
    spacy = import_spacy()
    nlp = nlp or spacy.blank("xx")
    return _make_docs(rows, nlp, spans_key, errors)


def _make_docs(
    rows: Dataset | Iterable[Mapping[str, Any]], nlp: Language, spans_key: str | None, errors: OnError
) -> Iterator[Doc]:
    def convert(index: int, columns: Mapping[str, Any], row: Row) -> tuple[Doc, int]:
        return _to_doc(index, columns, row, nlp, spans_key), count_raised(row.relations)

    num_raised = 0
    for doc, number in converted_rows(rows, convert, errors, writes_relations=True):
        num_raised += number
        yield doc
    if num_raised:
        logger.warning(
            "%d relations have a score below %s, and are stored with this score: in Doc._.rel, a lower score means "
            "that there is no such relation",
            num_raised,
            LEAST_SCORE,
        )


def _to_doc(index: int, columns: Mapping[str, Any], row: Row, nlp: Language, spans_key: str | None) -> Doc:
    location = f"row {index}"
    if row.kind == "words":
        if "" in row.content:
            raise ValueError(f"{location}: word {row.content.index('')} is empty, which spaCy cannot represent")
        spaces = [True] * len(row.content)
        tokens: Any = import_spacy().tokens
        doc = tokens.Doc(nlp.vocab, words=list(row.content), spaces=spaces[:-1] + [False] * bool(spaces))
    else:
        doc = nlp.make_doc(row.content)
    row = without_repetitions(row, location)
    entities = row.entities
    if spans_key is None and have_overlap(LabelledSpan(*entity[:3]) for entity in entities):
        raise ValueError(f"{location} has entities that overlap, which Doc.ents cannot represent: pass spans_key=")
    spans = [_span(doc, entity, row.unit, location) for entity in entities]
    set_spans(doc, [(span, entity.score) for span, entity in zip(spans, entities, strict=True)], spans_key)
    if columns.get(RELATIONS) is not None:
        set_relations(doc, spans, row.relations, location)
    return doc


def _span(doc: Doc, entity: RowEntity, unit: Unit, location: str) -> Any:
    if unit == "words":
        return import_spacy().tokens.Span(doc, entity.start, entity.end, label=entity.label)
    span = doc.char_span(entity.start, entity.end, label=entity.label)
    if span is None:
        tokens = [token.text for token in doc if token.idx < entity.end and token.idx + len(token.text) > entity.start]
        raise ValueError(
            f"{location}: entity {entity.label!r} from characters {entity.start} to {entity.end} "
            f"({doc.text[entity.start : entity.end]!r}) begins or ends inside a token of {tokens}: pass nlp= with "
            "another tokenizer"
        )
    return span


def write_docbin(
    path: StrPath,
    rows: Dataset | Iterable[Mapping[str, Any]],
    nlp: Language | None = None,
    spans_key: str | None = None,
    errors: OnError = "raise",
) -> None:
    """Write rows as a DocBin file, which ``spacy train`` reads.

    Args:
        path: The file.
        rows: A data set annotated in any form, or rows with ``tokens`` or ``text``, and ``entities``.
        nlp: See `to_docs`.
        spans_key: See `to_docs`.
        errors: See `to_docs`.
    """
    check_target(path)
    docs = list(to_docs(rows, nlp, spans_key, errors))
    has_scores = any(span.has_extension(SCORE) and span._.get(SCORE) is not None for doc in docs for span in doc.ents)
    has_data = has_scores or any(has_relations(doc) for doc in docs)
    import_spacy().tokens.DocBin(docs=docs, store_user_data=has_data).to_disk(path)
