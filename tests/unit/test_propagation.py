"""Every mention: found names are found wherever they stand, and nothing that the model found is lost."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tiny import build_model

from span_marker.core.offsets import convert_offsets
from span_marker.prediction.propagation import Propagation, propagate_names
from span_marker.preprocessing.inputs import Sentences

PLACES = ("char_start_index", "char_end_index")
WORDS = "Ann Ann's ann Lee Ann\xe9 , \U0001f600 of".split()


def find(text, part, label="PER", score=0.95, start=0):
    first = text.index(part, start)
    return {"span": part, "label": label, "score": score, **dict(zip(PLACES, (first, first + len(part)), strict=True))}


def propagate(texts, entities, offsets="codepoint", document_ids=None, **options):
    order = None if document_ids is None else list(range(len(texts)))
    sentences = Sentences(texts, isinstance(texts[0], str), document_ids, order)
    return propagate_names(sentences, entities, Propagation(**options), offsets)


def places(entities):
    return [tuple(entity[name] for name in PLACES) for entity in entities]


@st.composite
def rows(draw):
    words = draw(st.lists(st.sampled_from(WORDS), min_size=1, max_size=12))
    text, found = " ".join(words), []
    bounds = [match.span() for match in re.finditer(r"\S+", text)]
    for _ in range(draw(st.integers(0, 4))):
        first = draw(st.integers(0, len(words) - 1))
        last = draw(st.integers(first, min(first + 2, len(words) - 1)))
        start, end = bounds[first][0], bounds[last][1]
        label, score = draw(st.sampled_from(["PER", "ORG"])), draw(st.sampled_from([0.5, 0.9, 0.95, 0.99]))
        places = dict(zip(PLACES, (start, end), strict=True))
        found.append({"span": text[start:end], "label": label, "score": score, **places})
    return text, sorted(found, key=lambda entity: entity[PLACES[0]])


@given(st.lists(rows(), min_size=1, max_size=3), st.booleans())
def test_what_the_model_found_stays_and_what_is_added_has_an_origin(document, is_document):
    texts, entities = map(list, zip(*document, strict=True))
    results = propagate(texts, entities, document_ids=[1] * len(texts) if is_document else None)
    for row, (text, found, result) in enumerate(zip(texts, entities, results, strict=True)):
        kept = [{name: value for name, value in e.items() if name != "conflict"} for e in result if "origin" not in e]
        assert kept == found
        assert places(result) == sorted(places(result), key=lambda place: place[0])
        added = [entity for entity in result if "origin" in entity]
        for entity in added:
            start, end = places([entity])[0]
            assert entity["span"] == text[start:end]
            assert not any(s < end and start < e for s, e in places([e for e in result if e is not entity]))
            origin = entity["origin"]
            source = origin.get("sentence", row)
            assert is_document or source == row
            mention = max(
                (e for e in entities[source] if places([e]) == places([origin]) and e["label"] == entity["label"]),
                key=lambda e: e["score"],
            )
            assert mention["score"] == entity["score"] >= 0.9
            assert mention["span"].removesuffix("'s") == entity["span"]


@given(st.lists(rows(), min_size=1, max_size=3))
def test_every_mention_of_a_confident_name_is_covered(document):
    texts, entities = map(list, zip(*document, strict=True))
    results = propagate(texts, entities, document_ids=[1] * len(texts))
    names = {e["span"].removesuffix("'s") for found in entities for e in found if e["score"] >= 0.9}
    names = {name for name in names if re.search(r"\w", name)}
    for text, result in zip(texts, results, strict=True):
        for name in names:
            for match in re.finditer(rf"(?<![^\W_]){re.escape(name)}(?![^\W_])", text):
                assert any(start < match.end() and match.start() < end for start, end in places(result)), (name, text)


def test_a_name_is_found_in_all_sentences_of_its_document_and_in_no_other():
    texts = ["Ann left.", "Where is Ann?", "Ann stayed."]
    results = propagate(texts, [[find(texts[0], "Ann")], [], []], document_ids=[1, 1, 2])
    origin = {"kind": "mention", "sentence": 0, "char_start_index": 0, "char_end_index": 3}
    assert results[1] == [{**find(texts[1], "Ann"), "origin": origin}]
    assert [len(found) for found in results] == [1, 1, 0]
    assert propagate(texts, [[find(texts[0], "Ann")], [], []])[1:] == [[], []]


def test_words_stay_words():
    words = ["Ann", "Lee's", "and", "Ann", "Lee", "Ann-Lee", "Ann", "", "Lee"]
    entity = {"span": ["Ann", "Lee"], "label": "PER", "score": 0.95, "word_start_index": 3, "word_end_index": 5}
    [found] = propagate([words], [[entity]])
    assert [(e["span"], e["word_start_index"], e["word_end_index"]) for e in found] == [
        (["Ann", "Lee"], 3, 5),
        (["Ann", "", "Lee"], 6, 9),
    ]
    assert found[1]["origin"] == {"kind": "mention", "word_start_index": 3, "word_end_index": 5}


@pytest.mark.parametrize(
    ("text", "options", "found"),
    [
        ("Zo\xeb ZO\xcb Zoe zoe\u0308", {}, ["Zo\xeb"]),
        ("Zo\xeb ZO\xcb Zoe zoe\u0308", {"ignore_case": True}, ["Zo\xeb", "ZO\xcb", "zoe\u0308"]),
        ("Zo\xeb ZO\xcb Zoe zoe\u0308", {"ignore_diacritics": True}, ["Zo\xeb", "Zoe"]),
        ("Zo\xeb zoe", {"ignore_case": True, "ignore_diacritics": True}, ["Zo\xeb", "zoe"]),
        ("Zo\xeb Zo\xeb", {"min_score": 0.96}, ["Zo\xeb"]),
        ("Zo\xeb's Zo\xeb", {}, ["Zo\xeb", "Zo\xeb"]),
    ],
)
def test_options(text, options, found):
    [result] = propagate([text], [[find(text, "Zo\xeb")]], **options)
    assert [entity["span"] for entity in result] == found


def test_a_contradiction_is_kept_and_noted():
    text = "Paris, Paris, Paris and Paris Hilton at Paris Hilton College"
    model = [find(text, "Paris", "LOC", 0.95), find(text, "Paris", "PER", 0.6, start=5)]
    model += [find(text, "Paris Hilton", "PER", 0.99), find(text, "Hilton", "ORG", 0.5, start=35)]
    [found] = propagate([text], [model])
    said = [(e["span"], e["label"], e.get("conflict", {}).get("label"), "origin" in e) for e in found]
    assert said == [
        ("Paris", "LOC", None, False),
        ("Paris", "PER", "LOC", False),
        ("Paris", "LOC", None, True),
        ("Paris Hilton", "PER", None, False),
        ("Hilton", "ORG", "PER", False),
    ]
    assert found[1]["conflict"] == {"label": "LOC", "score": 0.95, "origin": found[2]["origin"]}


def test_the_label_with_the_largest_sum_of_scores_wins():
    text = "Paris Paris Paris Paris"
    model = [find(text, "Paris", "LOC", 0.99), find(text, "Paris", "PER", 0.9, 5), find(text, "Paris", "PER", 0.91, 11)]
    [found] = propagate([text], [model])
    assert (found[3]["label"], found[3]["score"]) == ("PER", 0.91)
    assert [entity["label"] for entity in found[:3]] == ["LOC", "PER", "PER"]


def test_punctuation_is_no_name():
    [found] = propagate(["! !"], [[find("! !", "!")]])
    assert len(found) == 1


def test_many_mentions_take_no_longer_each():
    text = " ".join(["Ann saw Bob."] * 20_000)
    [found] = propagate([text], [[find(text, "Ann")]])
    assert len(found) == 20_000


@pytest.fixture(scope="module")
def model():
    return build_model("bert", entity_max_length=4)


TEXT = "\U0001f600 Amelia Earhart flew across the Atlantic. Amelia Earhart flew across the Atlantic."


@pytest.mark.parametrize("unit", ["codepoint", "utf-16", "utf-8"])
def test_prediction_adds_mentions(model, unit):
    settings = Propagation(min_score=0.0)
    best = max(entity["score"] for entity in model.predict(TEXT, threshold=0.5)) - 1e-6
    usual = model.predict(TEXT, threshold=best)
    expected = propagate_names(Sentences([TEXT], True), [usual], settings)[0]
    found = model.predict(TEXT, threshold=best, propagate=settings, offsets=unit)
    assert len(found) > len(usual) > 0
    for entity, other in zip(found, expected, strict=True):
        for one, two in ((entity, other), (entity.get("origin"), other.get("origin"))):
            assert (one is None) == (two is None)
            if one is not None:
                assert list(places([one])[0]) == convert_offsets(TEXT, places([two])[0], unit)
        assert entity["label"] == other["label"]
    streamed = list(model.predict_stream([TEXT, {"text": TEXT}], threshold=best, propagate=settings, offsets=unit))
    assert places(streamed[0]) == places(streamed[1]["entities"]) == places(found)


def test_what_is_refused(model):
    with pytest.raises(TypeError, match="propagate='yes' must be True, False, or a Propagation"):
        model.predict(TEXT, propagate="yes")
    with pytest.raises(ValueError, match="min_score=2 must be from 0 to 1"):
        Propagation(min_score=2)
