import logging

import pytest
from datasets import Dataset
from tiny import SENTENCES, TOKENIZERS, build_model

import span_marker.inference
from span_marker.inference import batches
from span_marker.sentences import read_inputs
from span_marker.spans import num_candidates
from span_marker.tokenizer import EncodedSentence

TEXTS = ["Amelia Earhart flew across the Atlantic.", "Paris", "", "  ", "Cleopatra (51 BC) ruled Egypt!"]


@pytest.fixture(scope="module")
def model():
    return build_model("bert", entity_max_length=4)


def test_a_string_gives_a_list_of_entities(model):
    entities = model.predict(TEXTS[0])
    assert entities
    for entity in entities:
        assert set(entity) == {"span", "label", "score", "char_start_index", "char_end_index"}
        assert TEXTS[0][entity["char_start_index"] : entity["char_end_index"]] == entity["span"]
        assert entity["label"] in {"PER", "LOC", "ORG"}
        assert 0 < entity["score"] <= 1


def test_words_give_a_list_of_entities(model):
    words = SENTENCES[0]
    entities = model.predict(words)
    assert entities
    for entity in entities:
        assert set(entity) == {"span", "label", "score", "word_start_index", "word_end_index"}
        assert words[entity["word_start_index"] : entity["word_end_index"]] == entity["span"]


def test_many_inputs_give_what_each_gives_alone(model):
    assert model.predict(TEXTS, batch_size=2) == approximately([model.predict(text) for text in TEXTS])
    together = model.predict(SENTENCES, batch_size=2)
    assert together == approximately([model.predict([words])[0] for words in SENTENCES])
    assert model.predict(tuple(tuple(words) for words in SENTENCES)) == approximately(together)


def approximately(results):
    return [[{**entity, "score": pytest.approx(entity["score"], abs=1e-6)} for entity in found] for found in results]


def test_forms_of_input(model):
    assert model.predict(["Amelia", "Earhart"]) == model.predict([["Amelia", "Earhart"]])[0]  # no space: words
    assert model.predict(["Amelia Earhart"]) == [model.predict("Amelia Earhart")]  # a space: sentences
    assert model.predict([]) == []
    assert model.predict([[]]) == [[]]
    dataset = Dataset.from_dict({"tokens": SENTENCES})
    assert model.predict(dataset) == approximately(model.predict(SENTENCES))


@pytest.mark.parametrize("text", ["", " ", "\n\t", "\u2063"])
def test_blank_text_has_no_entities(model, text):
    assert model.predict(text) == []
    assert model.predict([text, "Amelia Earhart flew", text])[::2] == [[], []]
    assert model.predict([[text], []]) == [[], []]


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        (3, "inputs of type int"),
        (None, "inputs of type NoneType"),
        ({"text": "a"}, "inputs of type dict"),
        ([1, 2], r"inputs\[0\] of type int"),
        (["a b", ["c"]], r"inputs\[1\] of type list"),
        (["a b", None], r"inputs\[1\] of type NoneType"),
        ([["a"], "b c"], r"inputs\[1\] of type str"),
        ([["a", 5]], r"inputs\[0\]\[1\]=5 must be a word"),
        ([["a", None]], r"inputs\[0\]\[1\]=None must be a word"),
    ],
)
def test_what_predict_cannot_read(model, inputs, message):
    with pytest.raises(TypeError, match=message):
        model.predict(inputs)


def test_a_data_set_without_tokens(model):
    with pytest.raises(ValueError, match=r"needs a column 'tokens', but the data set has only \['text'\]"):
        model.predict(Dataset.from_dict({"text": ["a"]}))
    with pytest.raises(ValueError, match="no 'document_id'"):
        model.predict(Dataset.from_dict({"tokens": [["a"]], "sentence_id": [1]}))


def test_batch_size_below_one(model):
    with pytest.raises(ValueError, match="batch_size=0 must be at least 1"):
        model.predict("a", batch_size=0)
    with pytest.raises(TypeError, match="batch_size='4' must be a whole number"):
        model.predict("a", batch_size="4")


def test_cut_text_is_said(caplog):
    model = build_model("bert", entity_max_length=4, model_max_length=8)
    with caplog.at_level(logging.WARNING):
        model.predict(["Amelia Earhart flew across the Atlantic.", "Paris", "a b"])
    (record,) = [record for record in caplog.records if record.name.startswith("span_marker")]
    assert record.getMessage().startswith("1 of 3 sentences were cut to the text limit of 8 tokens")


def test_predict_changes_nothing(model):
    model.train()
    try:
        first = model.predict(TEXTS)
        assert model.training
        assert first == model.predict(TEXTS)
    finally:
        model.eval()


def test_blocks_change_nothing(model, monkeypatch):
    whole = model.predict(SENTENCES)
    monkeypatch.setattr(span_marker.inference, "BLOCK_SIZE", 2)
    monkeypatch.setattr(span_marker.inference, "BATCH_TOKENS", 40)
    assert model.predict(SENTENCES) == approximately(whole)
    assert model.predict(Dataset.from_dict({"tokens": SENTENCES})) == approximately(whole)


def test_document_context_keeps_the_order_of_the_input(model):
    rows = {"tokens": SENTENCES[:3], "document_id": [1, 1, 1], "sentence_id": [2, 0, 1]}
    found = model.predict(Dataset.from_dict(rows))
    order = [1, 2, 0]
    straight = {name: [column[row] for row in order] for name, column in rows.items()}
    assert [found[row] for row in order] == approximately(model.predict(Dataset.from_dict(straight)))
    assert found != model.predict(SENTENCES[:3])


def test_blocks_keep_documents_whole(model, monkeypatch):
    rows = {"tokens": SENTENCES, "document_id": [1, 2, 1, 2, 3], "sentence_id": [1, 0, 0, 1, 0]}
    data = Dataset.from_dict(rows)
    whole = model.predict(data)
    monkeypatch.setattr(span_marker.inference, "BLOCK_SIZE", 3)
    assert list(span_marker.inference._blocks(read_inputs(data)[0])) == [[2, 0], [1, 3, 4]]
    assert model.predict(data) == approximately(whole)
    assert model.predict(data.select([])) == []


def test_the_other_way_round_than_trained_warns(caplog):
    model = build_model("bert", entity_max_length=2)
    documents = Dataset.from_dict({"tokens": [["Paris"]], "document_id": [0], "sentence_id": [0]})
    with caplog.at_level(logging.WARNING):
        model.predict(documents)
        model.config.trained_with_document_context = True
        model.predict("Paris")
        assert ["without" in record.getMessage() for record in caplog.records] == [True, False]
        model.predict(documents)
    assert len(caplog.records) == 2


@pytest.mark.parametrize("family", ["roberta", "xlm-roberta"])
def test_offsets_give_back_the_span(family):
    assert len(TOKENIZERS) == 3
    model = build_model(family, entity_max_length=3)
    text = "Amélie (née  Poulain) flew\tto 東京, São Paulo & Zürich… 😀!"
    entities = model.predict(text)
    assert entities
    for entity in entities:
        assert text[entity["char_start_index"] : entity["char_end_index"]] == entity["span"] == entity["span"].strip()


def test_batches_keep_their_limits():
    def sentence(words):
        return EncodedSentence(*(__import__("numpy").arange(words),) * 3)

    encoded = [sentence(words) for words in (3, 50, 7, 0, 50, 2, 300)]
    found = list(batches(encoded, entity_max_length=8, batch_size=3))
    assert sorted(index for batch in found for index in batch) == list(range(7))
    costs = [len(s.input_ids) + 2 * num_candidates(s.num_words, 8) for s in encoded]
    assert found[0][0] == 6
    for batch in found:
        assert len(batch) <= 3
        assert len(batch) == 1 or sum(costs[index] for index in batch) <= span_marker.inference.BATCH_TOKENS
