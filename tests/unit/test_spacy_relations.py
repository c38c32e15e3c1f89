"""Relations of spaCy's documents: ``Doc._.rel`` as spaCy's tutorial makes it, in documents and in files."""

import pytest
from annotation_files import entity, flat, lists_of, related_spans, relation, round_trip, word_rows
from helpers import relation_model
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny import SENTENCES

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


def test_low_scores_are_raised_so_that_the_relations_are_read_back(tmp_path, caplog):
    scored = [{**one, "score": score} for one, score in zip(ROW["relations"], (0.25, 0.75), strict=True)]
    [doc] = to_docs([{**ROW, "relations": scored}])
    assert doc._.rel[0, 2] == {"runs": 0.5, "boss": 0.75}
    write_docbin(tmp_path / "x.spacy", [{**ROW, "relations": scored}])
    assert read_annotations(tmp_path / "x.spacy")[0]["relations"] == ROW["relations"]
    assert caplog.text.count("1 relations have a score below 0.5, and are stored with this score") == 2


def test_no_relations_are_told_from_nothing_said(tmp_path):
    rows = [{**ROW, "relations": []}, {**ROW, "relations": None}, {"text": "Ann", "entities": [], "relations": []}]
    write_docbin(tmp_path / "x.spacy", rows)
    assert read_annotations(tmp_path / "x.spacy")["relations"][:] == [[], None, []]


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


@pytest.fixture(scope="module")
def related(nlp, tmp_path_factory):
    """A pipeline whose model finds relations, its model, and texts of one sentence each."""
    import spacy

    folder = tmp_path_factory.mktemp("related")
    model = relation_model(reads_tokens=True)
    model.save_pretrained(folder)
    pipeline = spacy.blank("en")
    pipeline.add_pipe("span_marker", config={"model": str(folder), "device": "cpu", "batch_size": 1})
    return pipeline, model, [" ".join(words) for words in SENTENCES if words]


def spans_of(doc):
    return [(r.label, r.head.label_, r.head.text, r.tail.label_, r.tail.text) for r in doc._.relations]


def test_the_component_sets_relations(related):
    pipeline, model, texts = related
    num_relations = 0
    for doc in pipeline.pipe(texts):
        result = model.predict([token.text for token in doc], is_split_into_words=True)
        names = [(entity["label"], " ".join(entity["span"])) for entity in result["entities"]]
        expected = [(one["label"], *names[one["head"]], *names[one["tail"]]) for one in result["relations"]]
        assert [
            (r.label, *(part for span in (r.head, r.tail) for part in (span.label_, " ".join(t.text for t in span))))
            for r in doc._.relations
        ] == expected
        assert [r.score for r in doc._.relations] == pytest.approx([one["score"] for one in result["relations"]])
        num_relations += len(expected)
    assert num_relations > 3


def test_relations_of_the_component_survive_files(related, tmp_path):
    import spacy
    from spacy.tokens import Doc, DocBin

    pipeline, _, texts = related
    docs = list(pipeline.pipe(texts))
    expected = [spans_of(doc) for doc in docs]
    assert [spans_of(Doc(pipeline.vocab).from_bytes(doc.to_bytes())) for doc in docs] == expected
    path = tmp_path / "x.spacy"
    DocBin(docs=docs, store_user_data=True).to_disk(path)
    assert [spans_of(doc) for doc in DocBin().from_disk(path).get_docs(spacy.blank("en").vocab)] == expected
    for row, doc in zip(read_annotations(path), docs, strict=True):
        names = [(e["label"], row["text"][e["start"] : e["end"]]) for e in row["entities"]]
        assert [(one["label"], *names[one["head"]], *names[one["tail"]]) for one in row["relations"]] == spans_of(doc)
    docs[0].ents = []
    DocBin(docs=docs[:1], store_user_data=True).to_disk(path)
    with pytest.raises(ValueError, match=r"has a relation .* which is not one of its entities: pass the spans_key="):
        read_annotations(path)


def test_a_text_without_words_has_no_relations(related, tmp_path):
    """As `predict` says of it, so that it is not told from others in which none was found."""
    from spacy.tokens import DocBin

    pipeline, _, texts = related
    DocBin(docs=list(pipeline.pipe([texts[0], "", " "])), store_user_data=True).to_disk(tmp_path / "x.spacy")
    assert [row["relations"] for row in read_annotations(tmp_path / "x.spacy")][1:] == [[], []]


def test_relations_are_those_of_entities_in_the_document(related):
    from spacy.tokens import Span

    pipeline, _, texts = related
    before = pipeline(texts[2])
    taken = before._.relations[0].head
    doc = pipeline.make_doc(texts[2])
    doc.ents = [Span(doc, taken.start, taken.end, label="OTHER")]
    doc = pipeline(doc)
    assert spans_of(doc) == [
        (r.label, r.head.label_, r.head.text, r.tail.label_, r.tail.text)
        for r in before._.relations
        if not {r.head.start, r.tail.start} & {taken.start}
    ]
    assert spans_of(doc) != spans_of(before)


def test_entities_that_begin_together_have_relations(related, tmp_path):
    import spacy
    from spacy.tokens import DocBin

    other, _, texts = related
    pipeline = spacy.blank("en")
    config = {"model": other.get_pipe("span_marker").cfg["model"], "device": "cpu", "spans_key": "sc"}
    pipeline.add_pipe("span_marker", config={**config, "decoding": "overlapping", "threshold": 0.2})
    doc = pipeline(texts[2])
    places = {(span.start, span.end, span.label_) for span in doc.spans["sc"]}
    ends = [(s.start, s.end, s.label_) for r in doc._.relations for s in (r.head, r.tail)]
    assert ends
    assert places >= set(ends)
    assert len({start for start, _, _ in ends}) < len(set(ends))
    path = tmp_path / "x.spacy"
    DocBin(docs=[doc], store_user_data=True).to_disk(path)
    [row] = read_annotations(path, spans_key="sc")
    assert len(row["relations"]) == len(doc._.relations)


def test_relations_go_with_their_entities(related):
    pipeline, _, texts = related
    doc = pipeline(texts[2])
    before = spans_of(doc)
    taken = doc._.relations[0].head
    doc.ents = [entity for entity in doc.ents if entity != taken]
    expected = [relation for relation in before if taken.text not in (relation[2], relation[4])]
    assert spans_of(doc) == expected != before
    part = pipeline(texts[2])[1:].as_doc(copy_user_data=True)  # which does not move their places
    assert all((name, text) in {(e.label_, e.text) for e in part.ents} for _, name, text, _, _ in spans_of(part))


def test_relations_are_replaced_with_their_entities_and_no_others(related, nlp):
    import spacy

    first, _, texts = related
    folder = first.get_pipe("span_marker").cfg["model"]

    def read(doc, **config):
        pipeline = spacy.blank("en")
        return pipeline.add_pipe("span_marker", config={"model": folder, "device": "cpu", **config})(doc)

    doc = first(texts[2])
    expected = spans_of(doc)
    assert spans_of(read(doc)) == expected  # the entities stay
    assert spans_of(read(doc, relations=False)) == expected
    assert spans_of(read(doc, relations=False, spans_key="sc")) == expected
    assert spans_of(read(doc, relations=False, overwrite_entities=True)) == expected  # those of the group stay
    doc = read(first(texts[2]), relations=False, overwrite_entities=True)
    assert (len(doc.ents) > 0, spans_of(doc)) == (True, [])
    doc = read(first(texts[2]), spans_key="sc", decoding="overlapping", threshold=0.2)
    assert spans_of(doc)[: len(expected)] == expected
    assert len(spans_of(doc)) > len(expected)


@pytest.mark.slow
def test_several_processes_return_relations(related):
    pipeline, _, texts = related
    expected = [spans_of(doc) for doc in pipeline.pipe(texts)]
    assert [spans_of(doc) for doc in pipeline.pipe(texts, n_process=2)] == expected


def test_another_extension_is_left_alone(related):
    from spacy.tokens import Doc

    pipeline, _, texts = related
    before = Doc.remove_extension("relations")
    Doc.set_extension("relations", default=None)
    try:
        with pytest.raises(ValueError, match=r"stored as Doc\._\.relations, but another extension"):
            pipeline(texts[0])
    finally:
        Doc.remove_extension("relations")
        Doc.set_extension("relations", getter=before[2])
