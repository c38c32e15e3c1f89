"""Relations of spaCy's documents: ``Doc._.rel`` as spaCy's tutorial makes it, in documents and in files."""

import pytest
from annotation_files import entity, flat, lists_of, related_spans, relation, round_trip, word_rows
from hypothesis import given, settings
from hypothesis import strategies as st

from span_marker.data.files import read_annotations
from span_marker.data.spacy_docs import to_docs, write_docbin

ROW = {
    "text": "Ann runs Acme",
    "entities": [entity("PER", 0, 3), entity("ORG", 9, 13)],
    "relations": [relation("runs", 0, 1), relation("boss", 0, 1)],
}


@pytest.fixture(scope="module", autouse=True)
def nlp():
    return pytest.importorskip("spacy").blank("xx")


def test_a_document_has_an_entry_for_each_pair():
    [doc] = to_docs([ROW])
    assert doc._.rel == {(0, 0): {}, (0, 2): {"runs": 1.0, "boss": 1.0}, (2, 0): {}, (2, 2): {}}
    [doc] = to_docs([{**ROW, "relations": [{**ROW["relations"][0], "score": 0.75}]}])
    assert doc._.rel[0, 2] == {"runs": 0.75}


@st.composite
def rows(draw):
    """Rows of words without overlaps, since relations of spaCy name entities by their first tokens."""
    row = flat(draw(word_rows(min_words=2)))
    indices = range(len(row["entities"]))
    pairs = [(head, tail) for head in indices for tail in indices if head != tail]
    found = draw(st.lists(st.tuples(st.sampled_from("ab"), st.sampled_from(pairs)), max_size=4)) if pairs else []
    return {**row, "relations": [relation(label, *pair) for label, pair in found]}


@settings(max_examples=30)
@given(lists_of(rows()))
def test_relations_are_read_back_from_a_docbin(given_rows):
    found = round_trip(write_docbin, given_rows, "x.spacy")
    for row, read in zip(given_rows, found, strict=True):
        places = [0]
        for word in row["tokens"]:
            places.append(places[-1] + len(word) + 1)
        spans = [{**e, "start": places[e["start"]], "end": places[e["end"]] - 1} for e in row["entities"]]
        assert related_spans(read) == related_spans({**row, "entities": spans})


def test_a_file_of_the_tutorial_is_read(nlp, tmp_path):
    """The tutorial fills in zeros, and does not register the extension where the file is read."""
    spacy = pytest.importorskip("spacy")
    doc = nlp.make_doc(ROW["text"])
    doc.ents = [doc.char_span(0, 3, label="PER"), doc.char_span(9, 13, label="ORG")]
    doc.user_data["._.", "rel", None, None] = {(0, 2): {"runs": 1.0, "boss": 0.0}, (2, 0): {"runs": 0.0}}
    path = tmp_path / "x.spacy"
    spacy.tokens.DocBin(docs=[doc], store_user_data=True).to_disk(path)
    assert list(read_annotations(path)) == [{**ROW, "relations": ROW["relations"][:1]}]
    for pairs, message in (
        ({(0, 1): {"runs": 1.0}}, r"row 0: Doc\._\.rel has a relation of .* at token 1, but no entity begins there"),
        ({"a": 1}, r"row 0: Doc\._\.rel must be a dict of pairs of tokens"),
        ({(0, 2): 1}, r"row 0: Doc\._\.rel\[\(0, 2\)\] must be a dict of scores, not 1"),
    ):
        doc.user_data["._.", "rel", None, None] = pairs
        spacy.tokens.DocBin(docs=[doc], store_user_data=True).to_disk(path)
        with pytest.raises((TypeError, ValueError), match=message):
            read_annotations(path)


def test_entities_with_the_same_first_token_are_refused():
    row = {**ROW, "entities": [*ROW["entities"], entity("X", 0, 8)]}
    with pytest.raises(ValueError, match=r"row 0: the relation 'runs' has the entity 'Ann', but several entities"):
        list(to_docs([row], spans_key="sc"))


def test_another_extension_of_the_name_is_not_overwritten():
    doc_type = pytest.importorskip("spacy").tokens.Doc
    old = doc_type.remove_extension("rel") if doc_type.has_extension("rel") else None
    doc_type.set_extension("rel", getter=lambda doc: 7)
    try:
        with pytest.raises(ValueError, match=r"stored as Doc\._\.rel, but another extension has that name"):
            list(to_docs([ROW]))
    finally:
        doc_type.remove_extension("rel")
        if old is not None:
            doc_type.set_extension("rel", default=old[0])
