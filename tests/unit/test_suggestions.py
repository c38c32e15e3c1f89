"""What to annotate next: uncertain, different from each other, with every label, from a stream of any length."""

from dataclasses import replace
from itertools import combinations, permutations

import numpy as np
import pytest
from tiny import SENTENCES, build_model

from span_marker.curation import suggestions
from span_marker.curation.suggestions import resemblance, suggest_annotations, wrong_decisions


@pytest.fixture(scope="module")
def model():
    return build_model()


def sentences(number, seed=0):
    words = [word for sentence in SENTENCES for word in sentence]
    generator = np.random.default_rng(seed)
    return [[str(word) for word in generator.choice(words, size=int(generator.integers(2, 9)))] for _ in range(number)]


def test_the_most_uncertain_sentence_comes_first_and_nothing_twice(model):
    data = sentences(40)
    found = suggest_annotations(model, data, 8)
    assert len({s.row for s in found}) == 8
    assert all(data[s.row] is s.item for s in found)
    everything = suggest_annotations(model, data, len(data), max_resemblance=1)
    assert found[0].uncertainty == max(s.uncertainty for s in everything)


@pytest.mark.parametrize("words", [SENTENCES[0], SENTENCES[0] * 30], ids=["sentence", "windows"])
def test_uncertainty_is_that_of_all_candidates(model, words):
    [found] = suggest_annotations(model, [words], 1)
    [per_word] = suggest_annotations(model, [words], 1, per="word")
    assert per_word.uncertainty == pytest.approx(found.uncertainty / len(words))
    assert found.uncertainty == pytest.approx(expected_errors(model, words, exact=True), rel=1e-4)


def expected_errors(model, words, exact):
    options = {"threshold": 0.0, "decoding": "overlapping", "top_k": len(model.config.classes), "exact": exact}
    scores = [[label["score"] for label in e["labels"]] for e in model.predict(words, **options)]
    return sum(1 - max(row) for row in scores)


def test_suggestions_from_a_larger_pool_differ_more_from_each_other(model):
    data = sentences(200)
    embeddings = np.stack([c.embedding for c in suggestions._score(model, data, "sentence", 32)])
    centered = embeddings - embeddings.mean(axis=0)
    centered /= np.linalg.norm(centered, axis=1, keepdims=True)
    nearest = []
    for pool_factor in (1, 4):
        chosen = centered[[s.row for s in suggest_annotations(model, data, 10, pool_factor=pool_factor)]]
        nearest.append((chosen @ chosen.T - 2 * np.eye(10)).max(axis=1).mean())
    assert nearest[1] < nearest[0] - 0.1  # by uncertainty alone, both are the same


def test_candidates_without_markers_in_training_count_as_certain_whatever_the_threshold():
    model = build_model(candidates_per_word=1)
    model.add_span_filter()
    kept, everything = (expected_errors(model, SENTENCES[0], exact) for exact in (False, True))
    untuned = model.config.span_filter
    length = model.config.entity_max_length
    tuned = replace(untuned, threshold=1e9, entity_max_length=length, recall=0.9, candidates_kept=0.0)
    for model.config.span_filter, model.config.exact in ((untuned, False), (untuned, True), (tuned, False)):
        [found] = suggest_annotations(model, [SENTENCES[0]], 1)
        assert found.uncertainty == pytest.approx(kept, rel=1e-4)
    assert kept < 0.9 * everything


def test_blocks_and_batches_change_nothing(model, monkeypatch):
    data = sentences(30)
    expected = [s.row for s in suggest_annotations(model, data, 5)]
    monkeypatch.setattr(suggestions, "BLOCK_SIZE", 7)
    assert [s.row for s in suggest_annotations(model, iter(data), 5, batch_size=3)] == expected


def test_a_stream_is_read_block_by_block_and_the_pool_is_bounded(model, monkeypatch):
    monkeypatch.setattr(suggestions, "BLOCK_SIZE", 4)
    sizes = []
    add = suggestions._Pool.add

    def watched(self, candidate):
        add(self, candidate)
        sizes.append((len(self.heap), len(self.known)))

    monkeypatch.setattr(suggestions._Pool, "add", watched)
    suggest_annotations(model, iter(sentences(40)), 2, pool_factor=3)
    assert max(sizes) == (6, 6)


def test_near_duplicates_are_suggested_once(model):
    base = "Leonardo da Vinci painted the Mona Lisa in Florence around".split()
    data = [[*base, str(year)] for year in range(1500, 1520)] + [[*base, "then"], SENTENCES[0]]
    found = suggest_annotations(model, data, 10)
    assert len(found) == 2
    shingles = [suggestions._shingles(s.item) for s in suggest_annotations(model, sentences(60), 20)]
    assert max(resemblance(a, b) for a, b in combinations(shingles, 2)) <= 0.8


def test_a_pool_of_near_duplicates_is_reported(model, caplog):
    base = "Leonardo da Vinci painted the Mona Lisa in Florence around".split()
    data = [[*base, "then"], [*base, "there"], ["Paris"]]
    assert len(suggest_annotations(model, data, 2, pool_factor=1)) == 1
    assert "1 of 2 sentences are suggested" in caplog.text
    caplog.clear()
    assert len(suggest_annotations(model, data, 2)) == 2
    assert not caplog.text


def test_the_most_uncertain_repetition_is_suggested_whatever_the_order(model):
    data = ["paris is a city .", "Paris is a CITY .", "PARIS IS A CITY ."]
    uncertainties = [suggest_annotations(model, [text], 1)[0].uncertainty for text in data]
    assert max(uncertainties) > 1.1 * min(uncertainties)
    most = data[int(np.argmax(uncertainties))]
    for order in permutations(data):
        [found] = suggest_annotations(model, order, 2)
        assert found.item == most


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("東京は日本の首都であり最大の都市のひとつです", "東京は日本の首都であり最大の都市のひとつだ"),
        ("Andr\u00e9 flew to Paris", "Andre\u0301 flew to Paris"),
        ("Paris is a city.", ["Paris", "is", "a", "city", "."]),
    ],
)
def test_near_duplicates_are_found_in_any_script_and_form(model, first, second):
    assert len(suggest_annotations(model, [first, second], 2)) == 1


def test_sentences_without_a_word_are_not_suggested(model):
    data = ["", "Paris", " \r\n", [], [" "], {"text": ""}, ["Egypt"]]
    assert sorted(s.row for s in suggest_annotations(model, data, 9)) == [1, 6]
    assert suggest_annotations(model, ["", []], 1) == []


def test_a_quota_that_the_data_does_not_fill_is_reported(model, caplog):
    data = sentences(20)
    everything = suggest_annotations(model, data, 20, max_resemblance=1)
    number = sum(s.labels["LOC"] >= suggestions.LEAST_EXPECTED for s in everything)
    suggest_annotations(model, data, 20, quota={"LOC": number}, max_resemblance=1)
    assert not caplog.text
    suggest_annotations(model, data, 20, quota={"LOC": number + 1}, max_resemblance=1)
    assert (
        f"{number} suggestions are expected to contain an entity 'LOC', fewer than quota['LOC']={number + 1}"
        in caplog.text
    )


def test_quotas_come_first(model):
    data = sentences(60)
    everything = suggest_annotations(model, data, 60, max_resemblance=1)
    label = "LOC"
    have = {s.row for s in everything if s.labels[label] >= suggestions.LEAST_EXPECTED}
    found = suggest_annotations(model, data, 4, quota={label: 3}, pool_factor=1)
    assert sum(s.row in have for s in found) >= min(3, len(have))


def test_texts_words_and_dicts_may_be_mixed(model):
    data = ["Paris is a city.", SENTENCES[0], {"text": "Tokyo", "id": 3}, {"tokens": SENTENCES[2]}]
    assert {s.row for s in suggest_annotations(model, data, 4)} == {0, 1, 2, 3}
    assert suggest_annotations(model, [], 4) == []


def test_labels_that_do_not_exclude_each_other_are_decisions_of_their_own():
    scores = np.array([[0.5, 0.25, 0.875]])
    assert wrong_decisions(scores, 0, multi_label=True).tolist() == [0.375]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n": 0}, "n=0"),
        ({"per": "page"}, "per='page' must be 'sentence' or 'word'"),
        ({"quota": {"X": 1}}, "quota contains the label 'X'"),
        ({"quota": {"LOC": 3}}, "the quotas add up to 3, but n=2"),
        ({"max_resemblance": 2}, "max_resemblance=2 must be from 0 to 1"),
    ],
)
def test_arguments_out_of_range_are_refused(model, options, message):
    with pytest.raises(ValueError, match=message):
        suggest_annotations(model, SENTENCES, **{"n": 2, **options})


def test_an_item_of_another_type_is_named(model):
    with pytest.raises(TypeError, match="item 1 of the data"):
        suggest_annotations(model, ["a b", 3], 1)
    with pytest.raises(TypeError, match="item 0 of the data must be a string or a list of words, not None"):
        suggest_annotations(model, [None], 1)
    with pytest.raises(TypeError, match="item 0 of the data has neither a 'text' nor 'tokens': {'text': None}"):
        suggest_annotations(model, [{"text": None}], 1)
    with pytest.raises(TypeError, match="quota must be a dict with the number of suggestions for each label"):
        suggest_annotations(model, ["a b"], 1, quota=["LOC"])


def test_tables_are_read_by_row_and_single_sentences_are_refused(model):
    pandas = pytest.importorskip("pandas")
    texts = ["Paris is a city.", "Tokyo", "Amelia left Egypt."]
    table = pandas.DataFrame({"id": [1, 2, 3], "text": texts})
    found = suggest_annotations(model, table, 3)
    assert [s.row for s in found] == [s.row for s in suggest_annotations(model, texts, 3)]
    assert all(s.item == {"id": s.row + 1, "text": texts[s.row]} for s in found)
    for wrong, kind in (("Paris is a city.", "str"), ({"text": texts}, "dict")):
        with pytest.raises(TypeError, match=f"unlabelled must be several sentences, not a {kind}"):
            suggest_annotations(model, wrong, 1)
