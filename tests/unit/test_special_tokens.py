"""A text that spells special tokens is ordinary text."""

import copy
import json
import logging
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from datasets import Dataset
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny import SPECIALS, TOKENIZERS, build_model, build_tokenizer
from tokenizers import AddedToken, Tokenizer, pre_tokenizers
from tokenizers.models import WordLevel
from transformers import PreTrainedTokenizerFast

from span_marker import SpanMarkerTokenizer
from span_marker.preprocessing.features import prepare
from span_marker.preprocessing.special_tokens import reserved_ids

BERT = {"cls": "[CLS]", "sep": "[SEP]", "pad": "[PAD]", "mask": "[MASK]", "unk": "[UNK]"}

TEXT = "Speaker: <start> Amelia Earhart flew to Paris <end>"


def bracketed():
    """Special tokens as BERT's."""
    tokenizer = build_tokenizer("wordpiece").tokenizer
    tokenizer.add_special_tokens({f"{name}_token": token for name, token in BERT.items() if name != "unk"})
    return SpanMarkerTokenizer(tokenizer)


def whole_words():
    """White space alone separates words, and special tokens are words of the vocabulary."""
    vocabulary = [*BERT.values(), "<start>", "<end>", "Amelia", "flew", "a"]
    backend = Tokenizer(WordLevel({word: index for index, word in enumerate(vocabulary)}, unk_token="[UNK]"))
    backend.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    names = {f"{name}_token": token for name, token in BERT.items()}
    return SpanMarkerTokenizer(PreTrainedTokenizerFast(tokenizer_object=backend, **names))


KINDS = {
    **{kind: lambda kind=kind: build_tokenizer(kind) for kind in TOKENIZERS},
    "bracketed": bracketed,
    "whole words": whole_words,
}


@pytest.fixture(scope="module", params=KINDS)
def tokenizer(request):
    return KINDS[request.param]()


def words_of(tokenizer, text):
    (sentence,) = tokenizer.encode_texts([text])
    return [text[a:b].strip() for a, b in zip(sentence.char_starts, sentence.char_ends, strict=True)]


@settings(max_examples=30, deadline=None)
@given(data=st.data())
def test_no_text_has_special_tokens(tokenizer, data):
    specials = [*tokenizer.tokenizer.all_special_tokens, "<start>", "<end>"]
    pieces = st.sampled_from([*specials, *SPECIALS, *BERT.values(), "Amelia", "flew", " ", "  ", "\n", "a"])
    pieces = data.draw(st.lists(pieces, min_size=1, max_size=8))
    text = "".join(pieces)
    reserved = reserved_ids(tokenizer.tokenizer)
    assert {tokenizer.start_marker_id, tokenizer.end_marker_id} <= set(reserved.tolist())
    for sentence in (*tokenizer.encode_texts([text]), *tokenizer.encode_words([pieces])):
        assert not np.isin(sentence.input_ids, reserved).any()
    (sentence,) = tokenizer.encode_texts([text])
    covered = {place for a, b in zip(sentence.char_starts, sentence.char_ends, strict=True) for place in range(a, b)}
    assert {place for place, char in enumerate(text) if not char.isspace()} <= covered


@pytest.mark.parametrize("kind", ["wordpiece", "unigram", "bracketed"])
def test_special_tokens_are_the_words_that_they_spell(kind):
    expected = ["Speaker", ":", "<", "start", ">", "Amelia", "Earhart", "flew", "to", "Paris", "<", "end", ">"]
    assert words_of(KINDS[kind](), TEXT) == expected
    assert words_of(KINDS[kind](), "a</s>b [SEP]") == ["a", "<", "/", "s", ">", "b", "[", "SEP", "]"]


def test_a_special_token_that_is_a_word_of_the_model_is_unknown():
    (sentence,) = whole_words().encode_words([["a", "[SEP]", "<start>", "[UNK]", "flew"]])
    assert whole_words().tokenizer.convert_ids_to_tokens(sentence.input_ids.tolist()) == [
        "a", "[UNK]", "[UNK]", "[UNK]", "flew"
    ]  # fmt: skip
    assert sentence.num_words == 5


@pytest.mark.parametrize("kind", TOKENIZERS)
@settings(max_examples=100, deadline=None)
@given(text=st.text(st.characters(codec="utf-8", exclude_characters="<["), max_size=40))
def test_other_texts_are_tokenized_as_ever(kind, text):
    tokenizer = build_tokenizer(kind)
    plain = tokenizer.tokenizer(tokenizer._space + text, add_special_tokens=False)["input_ids"]
    assert tokenizer.encode_texts([text])[0].input_ids.tolist() == plain


@pytest.mark.parametrize("kind", TOKENIZERS)
def test_words_that_a_user_added_stay_whole(kind):
    backend = build_tokenizer(kind).tokenizer
    backend.add_tokens(["C++lang", AddedToken("<tag>", special=False)])
    tokenizer = SpanMarkerTokenizer(backend)
    added = set(backend.convert_tokens_to_ids(["C++lang", "<tag>"]))
    for sentence in (*tokenizer.encode_texts(["a C++lang <s> <tag>"]), *tokenizer.encode_words([["C++lang", "<tag>"]])):
        assert added <= set(sentence.input_ids.tolist())


def test_the_tokenizer_itself_is_left_as_it_is(tokenizer, tmp_path):
    given, text = copy.deepcopy(tokenizer.tokenizer), f"a {tokenizer.tokenizer.mask_token} <start>"
    own = SpanMarkerTokenizer(given)
    own.encode_texts([text])
    for backend in (given, own.tokenizer):
        assert backend.split_special_tokens is False
        ids = backend(text, add_special_tokens=False)["input_ids"]
        assert {backend.mask_token_id, own.start_marker_id} <= set(ids)
    own.encode_texts([text])
    own.save_pretrained(tmp_path)
    settings = json.loads((tmp_path / "tokenizer_config.json").read_text(encoding="utf-8"))
    assert not settings.get("split_special_tokens")
    loaded = SpanMarkerTokenizer.from_pretrained(tmp_path)
    assert loaded.encode_texts([text])[0].input_ids.tolist() == own.encode_texts([text])[0].input_ids.tolist()


def test_threads_do_not_disturb_each_other():
    tokenizer = build_tokenizer("bytelevel")
    texts = [f"<s> {index} <start> <mask>" for index in range(40)]
    expected = [sentence.input_ids.tolist() for sentence in tokenizer.encode_texts(texts)]
    with ThreadPoolExecutor(8) as pool:
        for found in pool.map(lambda _: tokenizer.encode_texts(texts), range(40)):
            assert [sentence.input_ids.tolist() for sentence in found] == expected


@pytest.mark.parametrize("family", ["bert", "roberta", "xlm-roberta"])
def test_prediction_and_training_read_the_words(family, caplog):
    model = build_model(family, entity_max_length=2)
    model.classifier.bias.data[0] = -100.0
    entities = [{"label": "PER", "start": 17, "end": 31}, {"label": "LOC", "start": 40, "end": 45}]
    data = Dataset.from_list([{"text": TEXT, "entities": entities}])
    with caplog.at_level(logging.WARNING):
        features, _ = prepare(data, model.preprocessor, "training")
    assert not caplog.text
    (row,) = features
    inner = row["input_ids"][1:-1]
    assert not np.isin(inner, reserved_ids(model.tokenizer.tokenizer)).any()
    (sentence,) = model.tokenizer.encode_texts([TEXT])
    places = [
        TEXT[sentence.char_starts[start] : sentence.char_ends[end - 1]].strip() for _, start, end in row["entities"]
    ]
    assert places == ["Amelia Earhart", "Paris"]
    spans = {entity["span"] for entity in model.predict(TEXT, decoding="overlapping", threshold=0.0)}
    assert {"Amelia Earhart", "Paris"} <= spans
