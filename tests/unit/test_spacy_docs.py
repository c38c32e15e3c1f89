"""Documents of spaCy and files of them: what is written is read back as the same, with scores."""

import sys

import pytest
from annotation_files import (
    ANN,
    COLOGNE,
    PREDICTIONS,
    SENTENCE,
    TEXT,
    entity,
    flat,
    lists_of,
    read_text,
    round_trip,
    snap,
    text_rows,
    unique,
    word_rows,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from span_marker.data.files import read_annotations
from span_marker.data.html import write_html
from span_marker.data.spacy_docs import from_docs, to_docs, write_docbin


@pytest.fixture(scope="module")
def nlp():
    return pytest.importorskip("spacy").blank("xx")


def test_a_docbin_is_read(tmp_path, caplog):
    spacy = pytest.importorskip("spacy")
    nlp = spacy.blank("en")
    doc = nlp.make_doc(TEXT)
    doc.ents = [doc.char_span(*COLOGNE[1:], label="LOC")]
    doc.spans["sc"] = [doc.char_span(0, 25, label="ALL"), doc.char_span(*ANN[1:], label="PER")]
    spacy.tokens.DocBin(docs=[doc, nlp.make_doc("none")]).to_disk(tmp_path / "x.spacy")
    rows = list(read_annotations(tmp_path / "x.spacy"))
    assert rows == [{"text": TEXT, "entities": [entity(*COLOGNE)]}, {"text": "none", "entities": []}]
    rows = list(read_annotations(tmp_path / "x.spacy", spans_key="sc"))
    assert [row["entities"] for row in rows] == [[entity("ALL", 0, 25), entity(*ANN)], []]
    with pytest.raises(ValueError, match=r"no document has spans 'other'.*\['sc'\]"):
        read_annotations(tmp_path / "x.spacy", spans_key="other")
    assert not caplog.text
    doc.ents = []
    spacy.tokens.DocBin(docs=[doc]).to_disk(tmp_path / "x.spacy")
    read_annotations(tmp_path / "x.spacy")
    assert "did you mean spans_key= one of ['sc']" in caplog.text


def test_what_is_no_docbin_is_refused(tmp_path):
    pytest.importorskip("spacy")
    for content in ("", "no"):
        with pytest.raises(ValueError, match=r"x\.spacy is not a DocBin file"):
            read_text(tmp_path, content, "x.spacy")


def test_without_spacy_the_error_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "spacy", None)
    with pytest.raises(ImportError, match="pip install spacy"):
        read_text(tmp_path, "", "x.spacy")


@settings(max_examples=30)
@given(st.data(), lists_of(text_rows()))
def test_texts_are_read_back_from_a_docbin(nlp, data, rows):
    rows = [snap(row, nlp) for row in rows]
    found = round_trip(
        lambda path, r: write_docbin(path, r, spans_key="k"), [empty_group()] + rows, "x.spacy", spans_key="k"
    )
    assert [row["text"] for row in found[1:]] == [row["text"] for row in rows]
    assert [unique(row["entities"]) for row in found[1:]] == [unique(row["entities"]) for row in rows]
    rows = [flat(row) for row in rows]
    assert round_trip(write_docbin, rows, "x.spacy") == rows


def empty_group():
    """A row whose group makes the file have it, whatever the other rows are."""
    return {"text": "a", "entities": [{"label": "X", "start": 0, "end": 1}]}


@settings(max_examples=30)
@given(lists_of(word_rows()))
def test_words_become_tokens(nlp, rows):
    for row, doc in zip(rows, to_docs(rows, spans_key="k"), strict=True):
        assert [token.text for token in doc] == row["tokens"]
        assert doc.text == " ".join(row["tokens"])
        assert sorted((s.start, -s.end, s.label_) for s in doc.spans["k"]) == unique(row["entities"])


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (
            {"text": "Annie went", "entities": [{"label": "PER", "start": 0, "end": 3}]},
            r"row 0: entity 'PER' from characters 0 to 3 \('Ann'\) begins or ends inside a token of \['Annie'\]",
        ),
        (
            {"text": "a b", "entities": [{"label": "X", "start": 0, "end": 3}, {"label": "Y", "start": 0, "end": 1}]},
            r"row 0 has entities that overlap, which Doc.ents cannot represent: pass spans_key=",
        ),
        ({"tokens": ["a", ""], "entities": []}, r"row 0: word 1 is empty"),
    ],
)
def test_what_documents_cannot_hold_is_refused(nlp, row, message):
    with pytest.raises(ValueError, match=message):
        list(to_docs([row]))


def test_another_tokenizer_can_be_passed(nlp):
    spacy = pytest.importorskip("spacy")
    row = {"text": "can't", "entities": [{"label": "X", "start": 0, "end": 2}]}
    with pytest.raises(ValueError, match="inside a token"):
        list(to_docs([row], nlp))
    (doc,) = to_docs([row], spacy.blank("en"))
    assert doc.ents[0].text == "ca"


@pytest.mark.parametrize("row", PREDICTIONS)
@pytest.mark.parametrize("has_file", [False, True])
def test_scores_are_kept_in_documents(nlp, tmp_path, row, has_file):
    def make(**options):
        if not has_file:
            return next(to_docs([row], **options))
        write_docbin(tmp_path / "x.spacy", [row], **options)
        return next(docbin.DocBin().from_disk(tmp_path / "x.spacy").get_docs(nlp.vocab))

    docbin = pytest.importorskip("spacy.tokens")
    doc = make()
    assert [(span.text, span.label_, span._.score) for span in doc.ents] == [("Ann", "PER", 0.75), ("Bob", "PER", 0.5)]
    doc.ents = doc.ents[1:]
    assert [span._.score for span in doc.ents] == [0.5]
    doc = make(spans_key="sc")
    assert [span.text for span in doc.spans["sc"]] == ["Ann", "Bob"]
    assert list(doc.spans["sc"].attrs["scores"]) == [0.75, 0.5]


@pytest.mark.parametrize("spans_key", [None, "sc"])
def test_rows_of_documents_are_those_that_the_documents_were_made_of(spans_key):
    entities = [
        {"label": "PER", "start": 0, "end": 3, "score": 0.75},
        {"label": "LOC", "start": 7, "end": 12, "score": 0.5},
    ]
    relations = [{"label": "in", "head": 0, "tail": 1, "score": 0.625}]
    rows = [
        {"text": "Ann in Paris.", "entities": entities, "relations": relations},
        {"text": "Ann runs.", "entities": [{"label": "PER", "start": 0, "end": 3}], "relations": []},
    ]
    assert list(from_docs(to_docs(rows, spans_key=spans_key), spans_key)) == rows


def test_what_is_no_document_or_has_no_such_group_is_named(nlp):
    with pytest.raises(ValueError, match=r"document 0 has no spans 'sc', only \[\]: pass spans_key="):
        list(from_docs([nlp("Paris")], "sc"))
    for wrong in (nlp("Paris"), ["Paris"]):
        with pytest.raises(TypeError, match=r"document 0 must be a spaCy Doc, not .*Paris"):
            list(from_docs(wrong))


def test_without_scores_documents_have_none(nlp, tmp_path):
    rows = [{"tokens": SENTENCE, "entities": [{"label": "PER", "start": 0, "end": 1}]}]
    (doc,) = to_docs(rows)
    assert not doc.user_data
    (doc,) = to_docs(rows, spans_key="sc")
    assert not doc.spans["sc"].attrs
    (doc,) = to_docs([{"tokens": SENTENCE, "entities": []}], spans_key="sc")
    assert doc.spans["sc"].attrs == {"scores": []}


@pytest.mark.parametrize("extension", [{"default": 0.0}, {"getter": len}, {"method": len}])
def test_what_others_call_score_is_left_alone(nlp, monkeypatch, extension):
    tokens = pytest.importorskip("spacy.tokens")
    monkeypatch.setattr(tokens.underscore.Underscore, "span_extensions", {})
    tokens.Span.set_extension("score", **extension)
    with pytest.raises(ValueError, match=r"Span\._\.score, but another extension has that name: set spans_key"):
        list(to_docs(PREDICTIONS))
    assert [doc.spans["sc"].attrs["scores"] for doc in to_docs(PREDICTIONS, spans_key="sc")] == [[0.75, 0.5]] * 2


def test_what_readers_call_score_is_the_same(nlp, monkeypatch):
    tokens = pytest.importorskip("spacy.tokens")
    monkeypatch.setattr(tokens.underscore.Underscore, "span_extensions", {})
    tokens.Span.set_extension("score", default=None)
    assert [doc.ents[0]._.score for doc in to_docs(PREDICTIONS)] == [0.75, 0.75]


def test_writing_without_spacy_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "spacy", None)
    rows = [{"text": "a", "entities": []}]
    with pytest.raises(ImportError, match="pip install spacy"):
        write_docbin(tmp_path / "x", rows)
    with pytest.raises(ImportError, match="pip install spacy"):
        list(to_docs(rows))
    write_html(tmp_path / "x", rows)
