import numpy as np
import pytest
from tiny import SENTENCES, TOKENIZERS, build_tokenizer
from tokenizers import Regex, normalizers, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from span_marker import SpanMarkerTokenizer
from span_marker.preprocessing.tokenizer import NO_TOKEN

TEXT = "Amelia Earhart (b. 1897) flew  across\tthe Atlantic."


@pytest.fixture(params=TOKENIZERS, scope="module")
def tokenizer(request):
    return build_tokenizer(request.param)


def test_marker_tokens_are_two_and_stay_two(tokenizer, tmp_path):
    ids = tokenizer.tokenizer.convert_tokens_to_ids(["<start>", "<end>"])
    assert [tokenizer.start_marker_id, tokenizer.end_marker_id] == ids
    assert len(set(ids)) == 2
    tokenizer.save_pretrained(tmp_path)
    loaded = SpanMarkerTokenizer.from_pretrained(tmp_path)
    assert len(loaded) == len(tokenizer)
    assert [loaded.start_marker_id, loaded.end_marker_id] == ids
    for one, other in zip(loaded.encode_texts([TEXT]), tokenizer.encode_texts([TEXT]), strict=True):
        assert one.input_ids.tolist() == other.input_ids.tolist()
        assert one.char_starts.tolist() == other.char_starts.tolist()


def test_wrapping_leaves_the_given_tokenizer_alone():
    backend = build_tokenizer("wordpiece").tokenizer
    size = len(backend)
    backend.add_tokens(["extra"])
    SpanMarkerTokenizer(backend)
    assert len(backend) == size + 1


def test_the_whole_is_what_the_tokenizer_itself_makes(tokenizer):
    for words, sentence in zip(SENTENCES, tokenizer.encode_words(SENTENCES), strict=True):
        whole = sentence.fit(tokenizer.prefix, tokenizer.suffix, 512)
        assert whole.input_ids.tolist() == tokenizer.tokenizer(words, is_split_into_words=True)["input_ids"]
        assert whole.num_cut_tokens == 0


def test_words_map_to_their_tokens(tokenizer):
    for words, sentence in zip(SENTENCES, tokenizer.encode_words(SENTENCES), strict=True):
        assert sentence.num_words == len(words)
        word_ids = tokenizer.tokenizer(words, is_split_into_words=True, add_special_tokens=False).word_ids()
        for word, (start, end) in enumerate(zip(sentence.word_starts, sentence.word_ends, strict=True)):
            assert word_ids[start:end] == [word] * (end - start)
            assert end > start


def test_characters_of_words(tokenizer):
    (sentence,) = tokenizer.encode_texts([TEXT])
    words = [TEXT[a:b].strip() for a, b in zip(sentence.char_starts, sentence.char_ends, strict=True)]
    expected = ["Amelia", "Earhart", "(", "b", ".", "1897", ")", "flew", "across", "the", "Atlantic", "."]
    if "ByteLevel" in repr(tokenizer.tokenizer.backend_tokenizer.pre_tokenizer):
        expected.insert(8, "")  # it takes the first of two spaces for a word
        expected.insert(10, "")  # and a tab
    assert words == expected


def test_a_text_is_its_words_for_metaspace_too():
    (sentence,) = build_tokenizer("unigram").encode_texts(["Paris, Italy."])
    assert sentence.num_words == 4


def test_punctuation_is_split_off_once():
    tokenizer = build_tokenizer("unigram")
    again = SpanMarkerTokenizer(tokenizer.tokenizer)
    assert repr(again.tokenizer.backend_tokenizer.pre_tokenizer) == repr(
        tokenizer.tokenizer.backend_tokenizer.pre_tokenizer
    )


def test_a_word_without_tokens_observes_the_first_token():
    tokenizer = build_tokenizer("wordpiece")
    (sentence,) = tokenizer.encode_words([["Paris", "\u2063", "Italy", "\u2063"]])
    assert sentence.num_words == 3  # up to the last one with a token
    assert sentence.word_starts[1] == sentence.word_ends[1] == NO_TOKEN
    whole = sentence.fit(tokenizer.prefix, tokenizer.suffix, 512)
    assert (whole.word_starts[1], whole.word_ends[1]) == (0, 1)


@pytest.mark.parametrize("words", [[], [""], ["", ""], ["\u2063"], [" "]])
def test_nothing_has_no_words(words):
    tokenizer = build_tokenizer("wordpiece")
    (sentence,) = tokenizer.encode_words([words])
    assert sentence.num_words == 0
    assert len(sentence.fit(tokenizer.prefix, tokenizer.suffix, 512).input_ids) == 2


def test_no_sentences():
    tokenizer = build_tokenizer("wordpiece")
    assert tokenizer.encode_words([]) == tokenizer.encode_texts([]) == []


def test_a_cut_sentence_keeps_the_words_that_have_a_token():
    tokenizer = build_tokenizer("wordpiece")
    words = ["Paris", "unbelievableness", "Italy"]
    (sentence,) = tokenizer.encode_words([words])
    first, second = sentence.word_starts[1], sentence.word_ends[1]
    assert second - first > 2
    for limit in range(2, len(sentence.input_ids) + 4):
        cut = sentence.fit(tokenizer.prefix, tokenizer.suffix, limit)
        room = limit - 2
        assert len(cut.input_ids) == min(limit, len(sentence.input_ids) + 2)
        assert cut.num_words == sum(sentence.word_starts < room)
        assert cut.num_cut_tokens == max(len(sentence.input_ids) - room, 0)
        assert (cut.word_ends <= len(cut.input_ids) - 1).all()


def test_some_words_are_a_sentence_of_their_own():
    tokenizer = build_tokenizer("wordpiece")
    words = ["Paris", "\u2063", "unbelievableness", "Italy", "\u2063", "Egypt"]
    (sentence,) = tokenizer.encode_words([words])
    starts, ends = sentence.filled_words()
    for first in range(len(words)):
        for last in range(first + 1, len(words) + 1):
            part = sentence.take(first, last, int(starts[first]), int(ends[last - 1]))
            (alone,) = tokenizer.encode_words([words[first:last]])
            assert part.input_ids.tolist() == alone.input_ids.tolist()
            # Behind the last word with a token, a sentence of its own has no words, but a part of one has.
            assert part.word_starts[: alone.num_words].tolist() == alone.word_starts.tolist()
            assert part.word_ends[: alone.num_words].tolist() == alone.word_ends.tolist()
            assert len(part.word_starts) == last - first


def test_context_shifts_the_words():
    tokenizer = build_tokenizer("wordpiece")
    (sentence,) = tokenizer.encode_words([["Paris", "Italy"]])
    alone = sentence.fit(tokenizer.prefix, tokenizer.suffix, 512)
    before = np.concatenate([tokenizer.prefix, [[7, 8, 9], [0, 0, 0]]], axis=1)
    shifted = sentence.fit(before, tokenizer.suffix, 512)
    assert (shifted.word_starts == alone.word_starts + 3).all()
    assert (shifted.word_ends == alone.word_ends + 3).all()


def test_a_missing_pad_token_is_no_hindrance():
    backend = build_tokenizer("bytelevel").tokenizer.backend_tokenizer
    assert SpanMarkerTokenizer(PreTrainedTokenizerFast(tokenizer_object=backend)).pad_token_id == 0


def gemma():
    """As Gemma's: spaces become marks before words are looked for, so that a string is one word."""
    backend = build_tokenizer("unigram").tokenizer.backend_tokenizer
    backend.normalizer = normalizers.Replace(" ", "\u2581")
    backend.pre_tokenizer = pre_tokenizers.Split(" ", "merged_with_previous")
    return PreTrainedTokenizerFast(tokenizer_object=backend, unk_token="<unk>")


def test_a_string_has_words_whatever_the_tokenizer_makes_of_it():
    tokenizer = SpanMarkerTokenizer(gemma())
    text = "Paris, Italy"
    (from_text,) = tokenizer.encode_texts([text])
    words = [text[start:end] for start, end in zip(from_text.char_starts, from_text.char_ends, strict=True)]
    assert words == ["Paris", ",", "Italy"]
    (from_words,) = tokenizer.encode_words([words])
    assert from_words.input_ids.tolist() == from_text.input_ids.tolist()
    marked = tokenizer.tokenizer("\u2581Italy", add_special_tokens=False)["input_ids"]
    assert from_words.input_ids[from_words.word_starts[2] :].tolist() == marked


@pytest.mark.parametrize(
    "pre_tokenizer",
    [
        pre_tokenizers.ByteLevel(add_prefix_space=True),
        pre_tokenizers.ByteLevel(add_prefix_space=False),
        pre_tokenizers.Sequence(
            [
                pre_tokenizers.Split(Regex(r" ?\w+| ?[^\w\s]|\s"), "isolated"),
                pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
            ]
        ),
    ],
    ids=["roberta", "modernbert", "eurobert"],
)
def test_byte_level_tokenizers_see_the_words_of_a_list_as_words(pre_tokenizer):
    backend = build_tokenizer("bytelevel").tokenizer.backend_tokenizer
    backend.pre_tokenizer = pre_tokenizer
    tokenizer = SpanMarkerTokenizer(PreTrainedTokenizerFast(tokenizer_object=backend))
    text = "Amelia Earhart flew"
    (from_words,), (from_text,) = tokenizer.encode_words([text.split()]), tokenizer.encode_texts([text])
    assert from_words.input_ids.tolist() == from_text.input_ids.tolist()
    tokens = tokenizer.tokenizer.convert_ids_to_tokens(from_words.input_ids.tolist())
    assert [tokens[start][0] for start in from_words.word_starts] == ["\u0120"] * 3
    assert [text[a:b].strip() for a, b in zip(from_text.char_starts, from_text.char_ends, strict=True)] == text.split()
