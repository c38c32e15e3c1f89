"""The letter case of words, and models that read it because their tokenizer drops it."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tiny import SENTENCES, build_model, build_tokenizer

from span_marker import SpanMarkerModel
from span_marker.core.letter_case import CAPITAL, CAPITALIZED, LOWER, MIXED, NO_CASE, NUM_CASES, UPPER, letter_cases

EXAMPLES = {
    LOWER: ["flew", "o'clock", "straße", "5pm"],
    CAPITALIZED: ["Paris", "Zürich", "Saint-Denis", "Ωmega"],
    UPPER: ["NATO", "U.S.", "B5B", "ÄÖ"],
    CAPITAL: ["A", " I", "Ä"],
    MIXED: ["McDonald", "iPhone", "eBay", "PCs"],
    NO_CASE: ["", " ", "1503", ".", "東京", "القاهرة", "\u2063"],
}


@pytest.mark.parametrize("case", EXAMPLES)
def test_each_case_has_its_words(case):
    context = ["The", "cat"]
    assert letter_cases([*context, *EXAMPLES[case]]).tolist() == [CAPITALIZED, LOWER, *[case] * len(EXAMPLES[case])]


@given(st.lists(st.text(max_size=6), max_size=6))
def test_every_word_has_a_case(words):
    cases = letter_cases(words)
    assert cases.shape == (len(words),)
    assert ((cases >= 0) & (cases < NUM_CASES)).all()


@given(st.lists(st.text(st.sampled_from("abcXYZäÖ.1 "), max_size=6), max_size=6))
def test_a_text_in_one_case_says_nothing(words):
    for text in ([word.lower() for word in words], [word.upper() for word in words]):
        assert (letter_cases(text) == NO_CASE).all()


@pytest.mark.parametrize("kind", ["wordpiece", "bytelevel", "unigram"])
def test_tokenizers_say_whether_they_drop_the_case(kind):
    assert not build_tokenizer(kind).drops_case
    assert build_tokenizer(kind, drops_case=True).drops_case


@pytest.mark.parametrize("kind", ["wordpiece", "bytelevel", "unigram"])
def test_each_token_has_the_case_of_its_word(kind):
    tokenizer = build_tokenizer(kind, drops_case=True)
    text = "Amelia  flew to NATO, (McDonald) \u2063 1503!"
    (from_text,) = tokenizer.encode_texts([text])
    words = [text[start:end] for start, end in zip(from_text.char_starts, from_text.char_ends, strict=True)]
    (from_words,) = tokenizer.encode_words([words])
    expected = letter_cases(words)
    for sentence in (from_text, from_words):
        assert len(sentence.token_cases) == len(sentence.input_ids)
        for word, (start, end) in enumerate(zip(sentence.word_starts, sentence.word_ends, strict=True)):
            assert (sentence.token_cases[start:end] == expected[word]).all()
    whole = from_text.fit(tokenizer.prefix, tokenizer.suffix, 512)
    assert whole.token_cases.tolist() == [NO_CASE, *from_text.token_cases.tolist(), NO_CASE]
    cut = from_text.fit(tokenizer.prefix, tokenizer.suffix, 6)
    assert cut.token_cases.tolist() == [NO_CASE, *from_text.token_cases[:4].tolist(), NO_CASE]


def save_encoder(folder, drops_case):
    """A bare encoder without markers, as a user would find it."""
    model = build_model("bert")
    model.encoder.resize_token_embeddings(len(build_tokenizer("wordpiece").tokenizer) - 2)
    model.encoder.save_pretrained(folder)
    build_tokenizer("wordpiece", drops_case).tokenizer.save_pretrained(folder)
    return folder


def test_new_models_read_the_case_if_their_tokenizer_drops_it(tmp_path):
    labels = ["O", "B-PER", "I-PER"]
    uncased, cased = (save_encoder(tmp_path / name, name == "uncased") for name in ("uncased", "cased"))
    new = SpanMarkerModel.from_pretrained(uncased, labels=labels)
    assert new.config.letter_case
    assert not SpanMarkerModel.from_pretrained(cased, labels=labels).config.letter_case
    for options in ({"letter_case": False}, {"compatible_with_1x": True}):
        other = SpanMarkerModel.from_pretrained(uncased, labels=labels, **options)
        assert not other.config.letter_case
        assert other.case_embedding is None
    with pytest.raises(ValueError, match="letter_case=True must be left out with compatible_with_1x=True"):
        SpanMarkerModel.from_pretrained(uncased, labels=labels, letter_case=True, compatible_with_1x=True)
    with pytest.raises(ValueError, match="letter_case=True must be left out: the tokenizer already distinguishes"):
        SpanMarkerModel.from_pretrained(cased, labels=labels, letter_case=True)
    assert (new.case_embedding.weight == 0).all()  # it starts as it was pretrained
    torch.nn.init.normal_(new.classifier.weight)
    torch.nn.init.zeros_(new.classifier.bias)
    torch.nn.init.normal_(new.case_embedding.weight)
    new.save_pretrained(tmp_path / "checkpoint")
    loaded = SpanMarkerModel.from_pretrained(tmp_path / "checkpoint")
    assert loaded.config.letter_case
    assert loaded.predict(SENTENCES) == new.predict(SENTENCES)
    with pytest.raises(ValueError, match="trained with letter_case=True, not False: leave letter_case out"):
        SpanMarkerModel.from_pretrained(tmp_path / "checkpoint", letter_case=False)


def test_the_case_changes_scores_of_models_that_read_it():
    model = build_model("bert", letter_case=True, entity_max_length=3)

    def score(text):
        return [entity["score"] for entity in model.predict(text, threshold=0.0, decoding="overlapping")]

    assert score("amelia flew to Paris") != score("Amelia flew to paris")
    assert score("amelia flew") == score("AMELIA FLEW")  # in a single case, nothing is known


def test_a_batch_without_cases_is_refused():
    model = build_model("bert", letter_case=True, entity_max_length=3)
    ids = torch.ones(1, 3, dtype=torch.long)
    with pytest.raises(ValueError, match="needs token_cases, which SpanMarkerDataCollator adds to each batch"):
        model(ids, ids, torch.ones(1, 2, dtype=torch.long), torch.ones(1, dtype=torch.long))
