"""Whatever is read: no crash, entities that stand where they say, and never those of another sentence."""

import fuzz
import pytest
from datasets import Dataset
from hypothesis import given, settings
from tiny import TOKENIZERS, build_tokenizer

from span_marker.preprocessing.tokenizer import readable


@pytest.fixture(scope="module")
def models():
    return {kind: fuzz.build(kind) for kind in fuzz.KINDS}


@pytest.mark.parametrize("kind", fuzz.KINDS)
@pytest.mark.parametrize("form", fuzz.BATCHES)
def test_any_batch(models, kind, form):
    @settings(max_examples=6)
    @given(batch=fuzz.BATCHES[form])
    def check(batch):
        fuzz.check_batch(models[kind], batch)

    check()


@pytest.mark.parametrize("kind", TOKENIZERS)
def test_blank_items_in_every_position(models, kind):
    full = ["Amelia Earhart flew to Paris.", "Leonardo painted the Mona Lisa."]
    alone = [models[kind].predict(text) for text in full]
    assert all(alone)
    for blank in fuzz.BLANKS:
        for place in range(3):
            batch = [*full[:place], blank, *full[place:]]
            found = models[kind].predict(batch)
            assert fuzz.places(found.pop(place)) == fuzz.places(models[kind].predict(blank))
            assert [fuzz.places(entities) for entities in found] == [fuzz.places(entities) for entities in alone]
    for batch in ([[], ["Paris"], []], [["", " "], ["Paris"]], [[], []]):
        fuzz.check_batch(models[kind], batch)


@pytest.mark.parametrize("kind", TOKENIZERS)
def test_a_word_of_a_megabyte(models, kind):
    words = ["Paris", "a" * 1_000_000, "Rome"]
    found, short = models[kind].predict([words, ["Amelia", "flew"]])
    fuzz.check_entities(words, found)
    fuzz.check_same(models[kind], ["Amelia", "flew"], short, models[kind].predict([["Amelia", "flew"]])[0])


def test_a_sentence_of_ten_thousand_words(models):
    words = ["Amelia", "Earhart", "flew", "to", "Paris"] * 2000
    found = models["wordpiece"].predict([["Paris"], words, []])
    assert len(found) == 3
    fuzz.check_entities(words, found[1])
    assert fuzz.places(found[0]) == fuzz.places(models["wordpiece"].predict([["Paris"]])[0])


@pytest.mark.parametrize("kind", TOKENIZERS)
@pytest.mark.parametrize("broken", ["\ud800", "a\udc80b", "\ud83d\ude00"])
def test_lone_surrogates_are_read_as_the_replacement_character(models, kind, broken):
    text = f"Amelia {broken} flew to Paris"
    whole = text.translate(dict.fromkeys(range(0xD800, 0xE000), "\ufffd"))
    assert readable(text) == whole
    (found, _), (expected, _) = (models[kind].predict([item, "a b"]) for item in (text, whole))
    assert found == [{**e, "span": text[e["char_start_index"] : e["char_end_index"]]} for e in expected]
    found, expected = (models[kind].predict([item.split(" ")])[0] for item in (text, whole))
    assert fuzz.places(found) == fuzz.places(expected)
    assert found


@pytest.mark.parametrize("kind", TOKENIZERS)
def test_a_data_set_is_read_like_a_list(models, kind):
    texts = [readable(piece) + " flew" for piece in fuzz.PIECES]  # Arrow refuses surrogates by itself
    found = models[kind].predict(texts)
    assert models[kind].predict(Dataset.from_dict({"text": texts})) == found
    assert list(models[kind].predict_stream({"text": text} for text in texts)) == [
        {"text": text, "entities": entities} for text, entities in zip(texts, found, strict=True)
    ]


@pytest.mark.parametrize("row", [0, 1, 2])
@pytest.mark.parametrize("wrong", [None, 3, b"Paris", ["a", None], {"a": 1}])
def test_an_item_of_another_kind_is_named(models, row, wrong):
    batch = [["Paris"], ["Rome"]]
    batch.insert(row, wrong)
    with pytest.raises(TypeError, match=rf"inputs\[{row}\]|inputs of type|items of inputs"):
        models["wordpiece"].predict(batch)


def test_the_check_notices_a_sentence_in_the_place_of_another(models, monkeypatch):
    model = models["wordpiece"]
    predict = model.predict
    monkeypatch.setattr(model, "predict", lambda inputs, **options: predict(inputs, **options)[::-1])
    with pytest.raises(AssertionError):
        fuzz.check_batch(model, ["Amelia Earhart flew", "Leonardo painted the Mona Lisa in Florence"])


def test_offsets_of_a_bare_tokenizer_survive_surrogates():
    for kind in TOKENIZERS:
        broken, whole = build_tokenizer(kind).encode_texts(["a \ud83d b", "a \ufffd b"])
        assert broken.input_ids.tolist() == whole.input_ids.tolist()
        assert broken.char_ends.tolist() == whole.char_ends.tolist()
