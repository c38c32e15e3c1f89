"""Prediction: sentences in any form and of any length, alone, in batches and as streams."""

import logging
import traceback
from functools import partial
from itertools import pairwise

import pytest
from datasets import Dataset
from helpers import approximately, check_margin, score_rounding
from tiny import SENTENCES, TOKENIZERS, build_model

import span_marker.preprocessing.batching
from span_marker.core.spans import num_candidates
from span_marker.core.streams import blocks
from span_marker.core.windows import plan_windows
from span_marker.preprocessing.inputs import read_inputs
from span_marker.preprocessing.pieces import sentence_beginnings

TEXTS = ["Amelia Earhart flew across the Atlantic.", "Paris", "", "  ", "Cleopatra (51 BC) ruled Egypt!"]

DOCUMENT = {"tokens": SENTENCES[:3], "document_id": [1, 1, 1], "sentence_id": [2, 0, 1]}


@pytest.fixture(scope="module")
def model():
    model = build_model("bert", entity_max_length=4)
    documents = {"tokens": SENTENCES, "document_id": [1, 2, 1, 2, 3], "sentence_id": [1, 0, 0, 1, 0]}
    # Batches of any size find the same.
    check_margin(model, TEXTS, SENTENCES, Dataset.from_dict(documents), Dataset.from_dict(DOCUMENT))
    return model


@pytest.fixture(scope="module")
def within(model):
    """How far apart the scores of two batches may be."""
    return score_rounding(model)


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


def test_many_inputs_give_what_each_gives_alone(model, within):
    assert model.predict(TEXTS, batch_size=2) == approximately([model.predict(text) for text in TEXTS], within)
    together = model.predict(SENTENCES, batch_size=2)
    assert together == approximately([model.predict([words])[0] for words in SENTENCES], within)
    assert model.predict(tuple(tuple(words) for words in SENTENCES)) == approximately(together, within)


def test_forms_of_input(model):
    # In batches of the same shapes, so that scores are the same bit for bit.
    assert model.predict(["Amelia", "Earhart"]) == model.predict([["Amelia", "Earhart"]])[0]  # no space: words
    assert model.predict(["Amelia Earhart"]) == [model.predict("Amelia Earhart")]  # a space: sentences
    assert model.predict([]) == []
    assert model.predict([[]]) == [[]]
    dataset = Dataset.from_dict({"tokens": SENTENCES})
    assert model.predict(dataset) == model.predict(SENTENCES)


@pytest.mark.parametrize("text", ["", " ", "\n\t", "\u2063"])
def test_blank_text_has_no_entities(model, text):
    assert model.predict(text) == []
    assert model.predict([text, "Amelia Earhart flew", text])[::2] == [[], []]
    assert model.predict([[text], []]) == [[], []]


def test_batch_size_below_one(model):
    with pytest.raises(ValueError, match="batch_size=0 must be at least 1"):
        model.predict("a", batch_size=0)
    with pytest.raises(TypeError, match="batch_size='4' must be a whole number"):
        model.predict("a", batch_size="4")


def test_predict_changes_nothing(model):
    model.train()
    try:
        first = model.predict(TEXTS)
        assert model.training
        assert first == model.predict(TEXTS)
    finally:
        model.eval()


def test_blocks_change_nothing(model, within, monkeypatch):
    whole = model.predict(SENTENCES)
    monkeypatch.setattr(span_marker.prediction.predictor, "BLOCK_SIZE", 2)
    monkeypatch.setattr(span_marker.preprocessing.batching, "BATCH_TOKENS", 40)
    assert model.predict(SENTENCES) == approximately(whole, within)
    assert model.predict(Dataset.from_dict({"tokens": SENTENCES})) == approximately(whole, within)


def test_document_context_keeps_the_order_of_the_input(model, within):
    found = model.predict(Dataset.from_dict(DOCUMENT))
    order = [1, 2, 0]
    straight = {name: [column[row] for row in order] for name, column in DOCUMENT.items()}
    assert [found[row] for row in order] == approximately(model.predict(Dataset.from_dict(straight)), within)
    assert found != model.predict(SENTENCES[:3])


def test_blocks_keep_documents_whole(model, within, monkeypatch):
    rows = {"tokens": SENTENCES, "document_id": [1, 2, 1, 2, 3], "sentence_id": [1, 0, 0, 1, 0]}
    data = Dataset.from_dict(rows)
    whole = model.predict(data)
    monkeypatch.setattr(span_marker.prediction.predictor, "BLOCK_SIZE", 3)
    groups = [(rows, 0) for rows in read_inputs(data)[0].documents()]
    assert list(blocks(groups, 3)) == [[2, 0], [1, 3, 4]]
    assert model.predict(data) == approximately(whole, within)
    assert model.predict(data.select([])) == []


def test_sentence_ids_may_have_gaps_and_repeat_in_another_document(model):
    rows = {"tokens": [*SENTENCES[:3], SENTENCES[4]], "document_id": [1, 1, 1, 2], "sentence_id": [5, 90, 7, 7]}
    found = model.predict(Dataset.from_dict(rows))
    straight = Dataset.from_dict(rows | {"document_id": ["a", "a", "a", "b"], "sentence_id": [0, 2, 1, 0]})
    assert found == model.predict(straight)


def test_columns_are_passed_through_in_the_order_of_the_input(model):
    rows = {"tokens": SENTENCES[:3], "document_id": ["d"] * 3, "sentence_id": [2, 0, 1], "url": ["x", "y", None]}
    data = Dataset.from_dict(rows)
    results = model.predict(data, keep_columns=["url", "tokens", "sentence_id"])
    found = model.predict(data)
    assert [result["url"] for result in results] == ["x", "y", None]
    assert [result["sentence_id"] for result in results] == [2, 0, 1]
    assert [result["tokens"] for result in results] == SENTENCES[:3]
    assert [result["entities"] for result in results] == found
    assert model.predict(data, keep_columns=[]) == [{"entities": entities} for entities in found]
    with_coverage, coverage = model.predict(data, keep_columns=["url"], return_coverage=True)
    assert [result["url"] for result in with_coverage] == rows["url"]
    assert len(coverage) == 3
    assert model.predict(data.select([]), keep_columns=["url"]) == []


def test_columns_that_cannot_be_passed_through(model):
    data = Dataset.from_dict({"tokens": SENTENCES[:1], "entities": [[]]})
    with pytest.raises(
        ValueError, match=r"keep_columns=\['id'\]: 'id' is not one of the columns \['tokens', 'entities'\]"
    ):
        model.predict(data, keep_columns=["id"])
    with pytest.raises(ValueError, match="'entities' holds the result"):
        model.predict(data, keep_columns=["entities"])
    with pytest.raises(TypeError, match="the input is of type list"):
        model.predict(SENTENCES, keep_columns=["id"])
    with pytest.raises(TypeError, match=r"keep_columns='tokens' must be a list: \['tokens'\]"):
        model.predict(data, keep_columns="tokens")


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


LONG = "Amelia Earhart flew across the Atlantic. Leonardo painted the Mona Lisa in Florence, Italy! Cleopatra died. "


def long_text(repetitions):
    return LONG * repetitions


def test_a_limit_that_is_not_met_changes_nothing(model):
    texts = [*TEXTS, long_text(1)]
    longest = max(len(row.input_ids) for row in model.tokenizer.encode_texts(texts)) + 2
    exact = build_model("bert", entity_max_length=4, model_max_length=longest)
    assert exact.predict(texts) == model.predict(texts)


@pytest.mark.parametrize("limit", [40, 60, 100])
@pytest.mark.parametrize("family", ["bert", "roberta", "xlm-roberta"])
def test_long_text_is_read_in_windows(family, limit):
    model = build_model(family, entity_max_length=3, model_max_length=limit)
    text = long_text(8)
    entities, coverage = model.predict(text, return_coverage=True)
    assert coverage.is_complete
    assert coverage.num_windows > 1
    assert coverage.num_candidates == coverage.num_scored
    assert max(entity["char_end_index"] for entity in entities) > len(text) * 0.8
    for entity in entities:
        assert text[entity["char_start_index"] : entity["char_end_index"]] == entity["span"]
    places = [(entity["char_start_index"], entity["char_end_index"]) for entity in entities]
    assert all(end <= start for (_, end), (start, _) in pairwise(places))
    words = text.split()
    found, coverage = model.predict(words, return_coverage=True)
    assert coverage.is_complete
    assert coverage.num_words == len(words)
    for entity in found:
        assert words[entity["word_start_index"] : entity["word_end_index"]] == entity["span"]


def test_a_span_is_scored_in_the_window_that_gives_it_most_context(model, within):
    windowed = build_model("bert", entity_max_length=4, model_max_length=40)
    words = long_text(3).split()
    (tokens,) = windowed.tokenizer.encode_words([words])
    windows = plan_windows(*tokens.filled_words(), sentence_beginnings(words), 38, 4)
    scores = {}
    for first, last, _, _ in windows:
        alone = model.predict([words[first:last]], threshold=0.0, decoding="overlapping")[0]
        for entity in alone:
            start, end = first + entity["word_start_index"], first + entity["word_end_index"]
            context = min(start - first, last - end)
            scores.setdefault((start, end), []).append((context, -first, entity["score"]))
    found = windowed.predict(words, threshold=0.0, decoding="overlapping")
    assert len(found) == num_candidates(len(words), 4)
    middle = [e for e in found if e["word_start_index"] >= 14 and e["word_end_index"] <= len(words) - 14]
    assert middle
    for entity in middle:
        best = max(scores[entity["word_start_index"], entity["word_end_index"]])
        assert entity["score"] == pytest.approx(best[2], abs=within, rel=0)


def test_words_without_tokens_end_no_window_early():
    model = build_model("bert", entity_max_length=3, model_max_length=12)
    words = ["Paris", "\u2063", "\u2063", "Italy", "\u2063", "Egypt"] * 9 + ["Paris"]
    entities, coverage = model.predict(words, threshold=0.0, decoding="overlapping", return_coverage=True)
    assert coverage.is_complete
    assert coverage.num_windows > 3
    assert len(entities) == num_candidates(len(words), 3)


def test_what_is_cut_is_said(caplog):
    model = build_model("bert", entity_max_length=4, model_max_length=20)
    text = f"Amelia {'x' * 50} flew"
    with caplog.at_level(logging.WARNING):
        _, coverages = model.predict([text, "Paris is", ""], return_coverage=True)
    assert [coverage.is_complete for coverage in coverages] == [False, True, True]
    assert coverages[0].cut_words == [(7, 57)]
    assert [coverage.windows for coverage in coverages[1:]] == [[(0, 8)], []]
    assert coverages[0].num_scored < coverages[0].num_candidates == 6
    (record,) = [record for record in caplog.records if record.name.startswith("span_marker")]
    assert record.getMessage().startswith("1 of 3 sentences were not read in full")


def test_thresholds(model):
    usual = model.predict(SENTENCES[2])  # always in a batch of its own, so that each score is the same bit for bit
    everything = model.predict(SENTENCES[2], threshold=0.0, decoding="overlapping")
    assert len(everything) == num_candidates(len(SENTENCES[2]), 4)
    assert model.predict(SENTENCES[2], threshold=1.0) == []
    scores = sorted(entity["score"] for entity in usual)
    high = [entity for entity in usual if entity["score"] >= scores[len(scores) // 2]]
    assert model.predict(SENTENCES[2], threshold=scores[len(scores) // 2]) == high
    labels = {"PER": 0.0, "LOC": 1.0, "ORG": 1.0}
    only = model.predict(SENTENCES[2], threshold=labels, decoding="overlapping")
    assert {entity["label"] for entity in only} == {"PER"}
    model.config.thresholds = labels
    try:
        assert model.predict(SENTENCES[2], decoding="overlapping") == only
    finally:
        model.config.thresholds = None


def test_all_labels(model):
    plain = model.predict(TEXTS[0])
    for entity, usual in zip(model.predict(TEXTS[0], top_k=9), plain, strict=True):
        labels = entity.pop("labels")
        assert entity == usual
        assert {pair["label"] for pair in labels} == {"O", "PER", "LOC", "ORG"}
        assert sum(pair["score"] for pair in labels) == pytest.approx(1.0)
        assert labels == sorted(labels, key=lambda pair: -pair["score"])
        assert labels[0] == {"label": entity["label"], "score": entity["score"]}
    assert all(len(entity["labels"]) == 2 for entity in model.predict(TEXTS[0], top_k=2))


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"threshold": 1.5}, ValueError, r"threshold=1.5 must be from 0 to 1"),
        ({"threshold": "0.5"}, TypeError, "threshold='0.5' must be a number"),
        (
            {"threshold": {"person": 0.5}},
            ValueError,
            r"contains the labels \['person'\], but the model has \['LOC', 'ORG",
        ),
        ({"threshold": {"PER": 0.5, "LOC": 2, "ORG": 0}}, ValueError, r"threshold\['LOC'\]=2 must be"),
        ({"decoding": "best"}, ValueError, "decoding='best' must be one of"),
        ({"top_k": 0}, ValueError, "top_k=0 must be at least 1"),
    ],
)
def test_wrong_options(model, options, error, message):
    with pytest.raises(error, match=message):
        model.predict("Paris", **options)
    with pytest.raises(error, match=message):
        model.predict_stream(["Paris"], **options)


def test_decodings(model):
    def found(decoding):
        return {
            (entity["word_start_index"], entity["word_end_index"])
            for entity in model.predict(SENTENCES[2], decoding=decoding)
        }

    assert found("flat") == found(None)
    assert found("flat") <= found("nested") <= found("overlapping")
    assert found("flat") < found("overlapping")


def test_a_multi_label_model_gives_each_label_of_a_span():
    model = build_model("bert", entity_max_length=4, multi_label=True)
    entities = model.predict(SENTENCES[2], threshold=0.0, decoding="overlapping", top_k=9)
    assert len(entities) == 3 * num_candidates(len(SENTENCES[2]), 4)
    for entity in entities:
        assert {"label": entity["label"], "score": entity["score"]} in entity["labels"]


def test_streams_keep_order_and_pass_on_what_comes_with_the_text(model, within, monkeypatch):
    monkeypatch.setattr(span_marker.prediction.predictor, "BLOCK_SIZE", 2)
    items = [TEXTS[0], {"id": 7, "text": TEXTS[4]}, SENTENCES[0], {"tokens": SENTENCES[1], "id": "b"}, TEXTS[1], *TEXTS]
    found = list(model.predict_stream(iter(items)))
    assert found[1].keys() == {"id", "text", "entities"}
    assert found[3]["id"] == "b"
    plain = [result["entities"] if isinstance(result, dict) else result for result in found]
    alone = [item.get("text", item.get("tokens")) if isinstance(item, dict) else item for item in items]
    expected = [model.predict(item) if item != ["Paris"] else model.predict([item])[0] for item in alone]
    assert plain == approximately(expected, within)


@pytest.mark.parametrize("single", ["Paris", {"text": "Paris"}])
def test_a_single_sentence_is_no_stream(model, single):
    with pytest.raises(TypeError, match="needs an iterable of sentences, not a single"):
        model.predict_stream(single)


def test_streams_are_read_as_needed(model, monkeypatch):
    monkeypatch.setattr(span_marker.prediction.predictor, "BLOCK_SIZE", 4)
    taken = []
    stream = model.predict_stream(taken.append(number) or f"Paris {number}" for number in range(100))
    next(stream)
    assert len(taken) <= 5
    assert len(list(stream)) == 99


@pytest.mark.parametrize(
    ("item", "error", "message"),
    [
        (3, TypeError, "item 1 of the inputs must be a string, a list of words or a dict, not int"),
        ({"id": 1}, ValueError, r"item 1 of the inputs must have either 'text' or 'tokens', but has \['id'\]"),
        ({"text": ["a"], "tokens": ["a"]}, ValueError, "either 'text' or 'tokens'"),
        ({"tokens": ["a", None]}, TypeError, r"item 1 of the inputs: 'tokens'\[1\]=None must be a word"),
    ],
)
def test_bad_items_of_a_stream(model, item, error, message):
    stream = model.predict_stream(["Paris", item, "Paris"])
    assert isinstance(next(stream), list)
    with pytest.raises(error, match=message):
        next(stream)


@pytest.mark.parametrize("error", [LookupError, StopIteration])
def test_results_of_all_items_come_before_an_error_of_the_stream(model, within, error):
    def items():
        yield from TEXTS
        raise error("the store has gone")

    found = []
    with pytest.raises(RuntimeError if error is StopIteration else error) as raised:
        found.extend(model.predict_stream(items()))
    assert found == approximately([model.predict(text) for text in TEXTS], within)
    assert "in items\n" in "".join(traceback.format_exception(raised.value))


def stop(*arguments):
    """What a function does that calls ``next`` on an iterator with nothing left."""
    return next(iter(()))


@pytest.mark.parametrize("part", ["split_sentences", "word_splitter", "hook"])
def test_no_loop_ends_early_because_a_function_of_the_caller_raised_stop_iteration(part):
    """A loop such as ``map`` would take it for the end of its texts."""
    model = build_model("bert", entity_max_length=4)
    options = {"split_sentences": stop} if part == "split_sentences" else {}
    if part == "word_splitter":
        model.config.word_splitter = stop
    if part == "hook":
        model.encoder.register_forward_pre_hook(stop)
    with pytest.raises(RuntimeError, match="StopIteration"):
        list(map(partial(model.predict, **options), TEXTS))
