"""A tokenizer without word map: PhoBERT's, as transformers ships it, with a small vocabulary."""

import fuzz
import pytest
from datasets import Dataset
from hypothesis import given
from hypothesis import strategies as st
from tiny import LABELS, encoder_config
from transformers import AutoModel, PhobertTokenizer

from span_marker import SpanMarkerModel, SpanMarkerTokenizer, Trainer, TrainingArguments
from span_marker.preprocessing.slow_tokenizers import split_text
from span_marker.preprocessing.special_tokens import reserved_ids


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("phobert")
    letters = "abcdefghijklmnopqrstuvwxyzAEHN.,_"
    pieces = [*(f"{letter}@@" for letter in letters), *letters, "Hà@@", "Nội"]
    (folder / "vocab.txt").write_text("".join(f"{piece} 1\n" for piece in pieces), encoding="utf-8")
    (folder / "bpe.codes").write_text("H à 3\nN ộ 2\nNộ i</w> 1\n", encoding="utf-8")
    tokenizer = PhobertTokenizer(str(folder / "vocab.txt"), str(folder / "bpe.codes"))
    assert not tokenizer.is_fast
    tokenizer.save_pretrained(folder)
    AutoModel.from_config(encoder_config("roberta", len(tokenizer))).save_pretrained(folder)
    return folder


def test_words_map_to_their_tokens(folder):
    tokenizer = SpanMarkerTokenizer.from_pretrained(folder)
    words = ["Amelia", "", "Hà", "Nội", "."]
    (sentence,) = tokenizer.encode_words([words])
    backend = tokenizer.tokenizer
    for word, start, end in zip(words, sentence.word_starts, sentence.word_ends, strict=True):
        expected = backend.convert_tokens_to_ids(backend.tokenize(word)) if word else []
        assert sentence.input_ids[start:end].tolist() == expected
    whole = sentence.fit(tokenizer.prefix, tokenizer.suffix, 512)
    assert whole.input_ids[0] == backend.cls_token_id
    assert whole.input_ids[-1] == backend.sep_token_id
    assert whole.num_words == 5


def test_train_save_load_predict(folder, tmp_path):
    model = SpanMarkerModel.from_pretrained(folder, labels=LABELS)
    data = Dataset.from_dict({"tokens": [["Hà", "Nội", "."]] * 2, "ner_tags": [["B-LOC", "I-LOC", "O"]] * 2})
    args = TrainingArguments(
        str(tmp_path), max_steps=30, learning_rate=3e-3, save_strategy="no", report_to="none", use_cpu=True
    )
    Trainer(model, args, data).train()
    found = model.predict("Hà Nội.")
    assert [(entity["span"], entity["label"]) for entity in found] == [("Hà Nội", "LOC")]
    assert (found[0]["char_start_index"], found[0]["char_end_index"]) == (0, 6)
    model.save_pretrained(tmp_path / "checkpoint")
    assert SpanMarkerModel.from_pretrained(tmp_path / "checkpoint").predict("Hà Nội.") == found


@given(st.text(max_size=40))
def test_words_are_where_their_offsets_say(text):
    behind = 0
    for word, (start, end) in split_text(text):
        assert text[start:end] == word
        assert word
        assert text[behind:start].strip() == ""
        behind = end
    assert text[behind:].strip() == ""


@given(st.text(max_size=40))
def test_any_text_can_be_encoded(folder, text):
    (sentence,) = SpanMarkerTokenizer.from_pretrained(folder).encode_texts([text])
    assert len(sentence.char_starts) == sentence.num_words


def test_words_that_spell_special_tokens_have_none(folder):
    backend = SpanMarkerTokenizer.from_pretrained(folder).tokenizer
    backend.add_tokens(["A.b"])
    tokenizer = SpanMarkerTokenizer(backend)
    words = ["a", "<s>", "Hà</s>", "<mask>", "<start>", "A.b", "<pad>"]
    reserved = reserved_ids(tokenizer.tokenizer)
    for sentence in (*tokenizer.encode_words([words]), *tokenizer.encode_texts([" ".join(words)])):
        assert not set(sentence.input_ids.tolist()) & set(reserved.tolist())
    (sentence,) = tokenizer.encode_words([words])
    assert sentence.num_words == len(words)
    assert (sentence.word_ends - sentence.word_starts).tolist()[1:5] == [3, 5, 6, 7]  # letters, and "Hà" whole
    assert sentence.input_ids[sentence.word_starts[5] : sentence.word_ends[5]].tolist() == [
        tokenizer.tokenizer.convert_tokens_to_ids("A.b")
    ]
    assert "".join(word for word, _ in split_text("a<start>b")) == "a<start>b"


@given(st.text(st.sampled_from("aนีุ้ง\u0301 👩\u200d.क्षि"), max_size=12))
def test_words_have_whole_graphemes(text):
    for _, place in split_text(text):
        fuzz.check_graphemes(text, *place)
