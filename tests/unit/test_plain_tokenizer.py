"""Without transformers, text becomes the same tokens."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tiny import SENTENCES, TEXT, TOKENIZERS, build_tokenizer, uncased_tokenizer

from span_marker import SpanMarkerTokenizer
from span_marker.preprocessing.plain_tokenizer import PlainTokenizer

MAKERS = {**{kind: lambda kind=kind: build_tokenizer(kind) for kind in TOKENIZERS}, "uncased": uncased_tokenizer}

CHARACTERS = st.text(
    st.one_of(st.sampled_from("aé ß\n<>[]s/東\u0301\u200d🚀Paris.,'\ud800"), st.characters()), max_size=20
)


@pytest.fixture(scope="module", params=MAKERS)
def pair(request, tmp_path_factory):
    """A tokenizer of transformers, loaded as a model loads it, and the same files read without transformers."""
    folder = tmp_path_factory.mktemp(request.param)
    MAKERS[request.param]().save_pretrained(folder)
    return SpanMarkerTokenizer.from_pretrained(folder), SpanMarkerTokenizer(PlainTokenizer.from_folder(folder))


def assert_equal(found, expected):
    assert len(found) == len(expected)
    for first, second in zip(found, expected, strict=True):
        for name in ("input_ids", "word_starts", "word_ends", "char_starts", "char_ends", "token_cases"):
            left, right = getattr(first, name), getattr(second, name)
            assert (left is None) == (right is None)
            assert left is None or np.array_equal(left, right), name


def test_what_is_known_of_the_tokens(pair):
    expected, found = pair
    for name in ("start_marker_id", "end_marker_id", "pad_token_id", "drops_case", "num_special_tokens", "_space"):
        assert getattr(found, name) == getattr(expected, name)
    for name in ("prefix", "suffix", "_reserved_ids"):
        assert np.array_equal(getattr(found, name), getattr(expected, name))
    assert found._unknown_id == expected._unknown_id
    assert found.tokenizer.model_max_length == expected.tokenizer.model_max_length
    assert len(found) == len(expected)


def test_texts_and_words(pair):
    expected, found = pair
    texts = [*TEXT.splitlines(), "<s> [SEP] <start> </s>", "naïve façade", ""]
    assert_equal(found.encode_texts(texts), expected.encode_texts(texts))
    assert_equal(found.encode_words(SENTENCES), expected.encode_words(SENTENCES))


@given(CHARACTERS, st.lists(CHARACTERS, max_size=4))
def test_any_text_and_any_words(pair, text, words):
    expected, found = pair
    assert_equal(found.encode_texts([text]), expected.encode_texts([text]))
    assert_equal(found.encode_words([words]), expected.encode_words([words]))


def test_special_tokens_in_any_form(tmp_path):
    build_tokenizer("wordpiece").save_pretrained(tmp_path)
    path = tmp_path / "tokenizer_config.json"
    settings = json.loads(path.read_text())
    plain = PlainTokenizer.from_folder(tmp_path)
    assert plain.all_special_ids == [0, 1, 2, 3, 4]
    settings["pad_token"] = {"content": "<mask>", "lstrip": False}
    settings["extra_special_tokens"] = ["P", {"content": "."}]
    path.write_text(json.dumps(settings))
    changed = PlainTokenizer.from_folder(tmp_path)
    assert changed.pad_token_id == 4
    more = changed.convert_tokens_to_ids(["P", "."])
    assert changed.all_special_ids == sorted({0, 2, 3, 4, *more})
    settings["unk_token"] = 7
    path.write_text(json.dumps(settings))
    with pytest.raises(TypeError, match="the special token 7 must be a string"):
        PlainTokenizer.from_folder(tmp_path)


def test_a_tokenizer_in_python_is_refused(tmp_path):
    build_tokenizer("wordpiece").save_pretrained(tmp_path)
    (tmp_path / "tokenizer.json").unlink()
    with pytest.raises(FileNotFoundError, match=r"has no tokenizer.json. Tokenizers that are written in Python"):
        PlainTokenizer.from_folder(tmp_path)
