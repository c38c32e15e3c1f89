"""Characters are where the offsets say, whatever the text."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny import TOKENIZERS, build_model, build_tokenizer

FAMILY = {"wordpiece": "bert", "bytelevel": "roberta", "unigram": "xlm-roberta"}

PIECES = [
    "Paris", " ", "  ", "\t", "\n", ".", "...", "U.S.", "don't", "東京", "は", "서울", "กรุงเทพ", "القاهرة", "ירושלים",
    "e\u0301", "a\u0308\u0323", "👩‍👩‍👧", "🇫🇷", "🏳️‍🌈", "ﬁ", "İ", "ß", "\u200b", "\u200f", "\u2063", "\ufeff", "\u00a0",
    "\u3000", "\u202e", "½", "①", "\x00", "\x1f", "<start>", "<end>", "<s>", "</s>", "<mask>", "\U0001d54f",
]  # fmt: skip

TEXTS = st.one_of(st.text(max_size=30), st.lists(st.sampled_from(PIECES), max_size=12).map("".join))


@pytest.fixture(scope="module")
def models():
    found = {}
    for kind in TOKENIZERS:
        model = build_model(FAMILY[kind], entity_max_length=2, model_max_length=40)
        model.classifier.bias.data[0] = -100.0  # everything is an entity
        found[kind] = model
    return found


@pytest.mark.parametrize("kind", TOKENIZERS)
@settings(max_examples=60, deadline=None)
@given(text=TEXTS)
def test_an_entity_is_the_text_between_its_offsets(models, kind, text):
    behind = 0
    for entity in models[kind].predict([text, "a b"])[0]:
        start, end = entity["char_start_index"], entity["char_end_index"]
        assert text[start:end] == entity["span"]
        assert entity["span"] == entity["span"].strip() != ""
        assert start >= behind, "entities neither overlap nor change places"
        behind = end


@pytest.mark.parametrize("kind", TOKENIZERS)
@settings(max_examples=100, deadline=None)
@given(text=TEXTS)
def test_words_stand_in_order_and_their_tokens_within_them(kind, text):
    tokenizer = build_tokenizer(kind)
    (sentence,) = tokenizer.encode_texts([text])
    behind = 0
    for start, end in zip(sentence.char_starts, sentence.char_ends, strict=True):
        assert 0 <= start <= end <= len(text)
        word = text[start:end].strip()  # some tokenizers count the space in front of a word as part of it
        if word:
            assert start + text[start:end].index(word) >= behind
            behind = end
    tokens = [index for first, last in zip(sentence.word_starts, sentence.word_ends, strict=True)
              for index in range(first, last) if first >= 0]  # fmt: skip
    assert tokens == list(range(len(sentence.input_ids))), "every token belongs to one word"


@pytest.mark.parametrize("kind", TOKENIZERS)
@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("I live in İstanbul today", "İstanbul"),
        ("Cafe\u0301 de Flore", "Cafe\u0301"),
        ("x 👩‍👩‍👧 y", "👩‍👩‍👧"),
        ("ذهبت إلى القاهرة أمس", "القاهرة"),
        ("גר בירושלים היום", "בירושלים"),
        ("a\u00a0Paris\u3000b", "Paris"),
    ],
)
def test_a_word_of_any_script_can_be_an_entity(models, kind, text, word):
    # Where it is one word for the tokenizer, or two that belong together.
    found = {
        text[start:end].strip()
        for (sentence,) in [models[kind].tokenizer.encode_texts([text])]
        for first, start in enumerate(sentence.char_starts)
        for end in sentence.char_ends[first:]
    }
    assert word in found


def test_the_words_of_a_list_are_tokenized_as_in_a_string():
    for kind in TOKENIZERS:
        tokenizer = build_tokenizer(kind)
        words = ["Amelia", "flew", "to", "Paris"]
        (from_words,), (from_text,) = tokenizer.encode_words([words]), tokenizer.encode_texts([" ".join(words)])
        assert from_words.input_ids.tolist() == from_text.input_ids.tolist()
