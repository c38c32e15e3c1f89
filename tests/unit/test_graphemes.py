"""No span begins or ends within a grapheme: in words, in entities, in training and in files."""

import logging
import sys
import unicodedata
from functools import cache
from itertools import pairwise

import fuzz
import numpy as np
import pytest
import regex
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny import build_tokenizer, uncased_tokenizer
from tokenizers import normalizers, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from span_marker import SpanMarkerTokenizer, read_annotations, write_annotations
from span_marker.core.alignment import align, trim
from span_marker.core.graphemes import graphemes, has_clusters, whole_spans, whole_words
from span_marker.core.labels import LabelledSpan
from span_marker.data.rows import parse_row

SCRIPTS = [
    "ARABIC", "BALINESE", "BATAK", "BENGALI", "BUGINESE", "BUHID", "CHAM", "COPTIC", "CYRILLIC", "DEVANAGARI",
    "ETHIOPIC", "GLAGOLITIC", "GREEK", "GUJARATI", "GURMUKHI", "HANUNOO", "HEBREW", "JAVANESE", "KANNADA", "KAYAH LI",
    "KHMER", "LAO", "LATIN", "LEPCHA", "LIMBU", "MALAYALAM", "MANDAIC", "MEETEI MAYEK", "MONGOLIAN", "MYANMAR", "NKO",
    "ORIYA", "REJANG", "SAMARITAN", "SAURASHTRA", "SINHALA", "SUNDANESE", "SYLOTI NAGRI", "SYRIAC", "TAGALOG",
    "TAGBANWA", "TAI VIET", "TAMIL", "TELUGU", "THAANA", "THAI", "TIBETAN",
]  # fmt: skip
"""As the names of their characters begin."""

WORDS = ["Zoe\u0308", "Bronte\u0308", "நீலகிரி", "दिल्ली", "กรุงเทพฯ", "مُحَمَّد", "יְרוּשָׁלַיִם"]

SEQUENCES = [
    "👩\u200d👩\u200d👧", "❤\ufe0f\u200d🔥", "🇫🇷", "👍🏽", "1\ufe0f\u20e3",
    "🏴\U000e0067\U000e0062\U000e0065\U000e006e\U000e0067\U000e007f", "\u1112\u1161\u11ab",
]  # fmt: skip
"""Emoji with joiners, a flag, a skin tone, a keycap, a flag of tags, and a syllable of Hangul in letters."""


@cache
def named_characters():
    """All characters that have a name, and it."""
    return [(char, name) for char in map(chr, range(0x20000)) if (name := unicodedata.name(char, ""))]


@cache
def letters_and_marks(script):
    """The letters of a script and its marks; without marks of its own, those for any script."""
    characters = [char for char, name in named_characters() if name.startswith(f"{script} ")]
    letters = [char for char in characters if unicodedata.category(char) in ("Lo", "Ll", "Lu")]
    marks = [char for char in characters if unicodedata.category(char) in ("Mn", "Mc", "Me")]
    return letters, marks or [chr(code) for code in range(0x300, 0x34F)]


def words_of(script):
    """Words of letters, each with up to three marks."""
    letters, marks = map(st.sampled_from, letters_and_marks(script))
    syllable = st.builds(lambda letter, own: letter + "".join(own), letters, st.lists(marks, max_size=3))
    word = st.lists(syllable, min_size=1, max_size=4).map("".join)
    return st.lists(word, min_size=1, max_size=5)


def composing():
    """Composes characters, as many SentencePiece tokenizers do."""
    tokenizer = build_tokenizer("unigram").tokenizer
    tokenizer.backend_tokenizer.normalizer = normalizers.NFKC()
    return SpanMarkerTokenizer(tokenizer)


def unsplit():
    """Takes a string for one word, as Gemma's does, so that the library splits it."""
    backend = build_tokenizer("unigram").tokenizer.backend_tokenizer
    backend.normalizer = normalizers.Replace(" ", "\u2581")
    backend.pre_tokenizer = pre_tokenizers.Split(" ", "merged_with_previous")
    return SpanMarkerTokenizer(PreTrainedTokenizerFast(tokenizer_object=backend, unk_token="<unk>"))


KINDS = {
    "wordpiece": lambda: build_tokenizer("wordpiece"),
    "uncased": uncased_tokenizer,
    "bytelevel": lambda: build_tokenizer("bytelevel"),
    "unigram": lambda: build_tokenizer("unigram"),
    "composing": composing,
    "unsplit": unsplit,
}


@pytest.fixture(scope="module")
def tokenizers():
    return {kind: build() for kind, build in KINDS.items()}


@pytest.fixture(scope="module")
def models():
    """Everything is an entity for them."""
    models = {kind: fuzz.build(kind) for kind in fuzz.KINDS}
    for model in models.values():
        model.classifier.bias.data[0] = -100.0
    return models


def words_in(tokenizer, text):
    """The words of a text without the white space around them, and without blank ones."""
    (sentence,) = tokenizer.encode_texts([text])
    places = zip(sentence.char_starts.tolist(), sentence.char_ends.tolist(), strict=True)
    return [place for place in (trim(text, *place, keep_marks=True) for place in places) if place[0] < place[1]]


def touches(span, part):
    return span[0] < span[1] and span[0] < part[1] and span[1] > part[0]


def naive_whole_words(text, words):
    """Look at each pair of words before and after each place."""
    parts = [part.span() for part in regex.finditer(r"\X", text)]
    long = [part for part in parts if part[1] - part[0] > 1]
    result = []
    for index, word in enumerate(words):
        touched = [part for part in parts if touches(word, part)]
        inside = [part for part in parts if part[0] < word[1] < part[1]]
        start, end = (touched[0][0], touched[-1][1]) if touched else (inside[0][1] if inside else word[1],) * 2
        first, before, after = index, words[:index], words[index:]
        if any(touches(one, part) and touches(other, part) for one in before for other in after for part in long):
            first_start, behind, first = result.pop()
            start, end = min(first_start, start), max(behind, end)
        result.append((start, end, first))
    return result


SYLLABLES = ["a", "½", "e\u0301", "\u0301", "👩\u200d👧", "นี้", "\u0600", "🇫🇷", "각", "क्षि"]


@st.composite
def split_texts(draw):
    """Texts cut into words in any place. Some characters are in no word; some words are empty, and follow another."""
    text = draw(st.lists(st.sampled_from(SYLLABLES), max_size=6).map("".join))
    cuts = sorted(draw(st.sets(st.integers(0, len(text)), max_size=8)))
    words = [(0, 0)] if draw(st.booleans()) else []
    for pair in pairwise(cuts):
        kind = draw(st.sampled_from(["in a word", "in a word", "in no word", "before an empty word"]))
        words += [pair] if kind != "in no word" else []
        words += [(pair[1], pair[1])] if kind == "before an empty word" else []
    return text, words


@given(split_texts())
def test_words_are_joined_as_a_naive_search_joins_them(case):
    text, words = case
    starts, ends = np.array(words, dtype=np.int64).reshape(-1, 2).T
    found = whole_words(text, starts, ends)
    assert list(zip(*(array.tolist() for array in found), strict=True)) == naive_whole_words(text, words)


def test_words_that_share_a_single_character_stay_apart():
    words = np.array([[0, 1], [0, 1], [0, 1], [2, 4]])  # "1", "/" and "2" of a tokenizer that composes characters
    for text in ("½ ab", "½ e\u0301"):
        starts, ends, first_words = whole_words(text, *words.T)
        assert np.array_equal(np.stack([starts, ends], axis=1), words)
        assert first_words.tolist() == [0, 1, 2, 3]


@given(split_texts())
def test_spans_are_extended_to_the_graphemes_that_they_touch(case):
    text, spans = case
    spans = [span for span in spans if span[0] < span[1]]
    parts = [part.span() for part in regex.finditer(r"\X", text)]
    for (start, end), found in zip(spans, whole_spans(text, spans), strict=True):
        touched = [part for part in parts if part[0] < end and part[1] > start]
        assert found == (touched[0][0], touched[-1][1])


def test_where_no_character_can_join_others_each_is_a_grapheme():
    alone = "".join(char for char in map(chr, range(sys.maxunicode + 1)) if not has_clusters(char))
    assert len(alone) > 1_000_000
    for text in (alone, alone[::-1]):
        assert max(map(len, regex.findall(r"\r|\X", text))) == 1
        assert graphemes(text) is text


@pytest.mark.parametrize("text", ["a \u0301b", "\r\n\u0301", "\u0600 a", "\u00a0\u0308"])
def test_white_space_stands_alone(text):
    parts = list(graphemes(text))
    assert "".join(parts) == text
    assert all(len(part) == 1 for part in parts)


def test_there_are_many_scripts():
    assert len(SCRIPTS) > 30
    for script in SCRIPTS:
        assert all(letters_and_marks(script)), script


@pytest.mark.parametrize("script", SCRIPTS)
def test_no_word_begins_or_ends_within_a_grapheme(tokenizers, script):
    @settings(max_examples=8, deadline=None)
    @given(words_of(script))
    def check(words):
        text = " ".join(words) + "."
        for kind, tokenizer in tokenizers.items():
            places = words_in(tokenizer, text)
            for place in places:
                fuzz.check_graphemes(text, *place)
            for (_, end), (start, _) in pairwise(places):
                assert end <= start or len(unicodedata.normalize("NFKC", text[start])) > 1, f"{kind}: words overlap"

    check()


@pytest.mark.parametrize("script", SCRIPTS)
def test_entities_are_found_again_after_alignment(tokenizers, script):
    """Every run of words, annotated without its last mark, is aligned with words whose characters are all of it."""

    @settings(max_examples=8, deadline=None)
    @given(words_of(script), st.data())
    def check(words, data):
        first = data.draw(st.integers(0, len(words) - 1))
        text = " ".join(words)
        last = data.draw(st.integers(first + 1, len(words)))
        start, end = len(" ".join([*words[:first], ""])), len(" ".join(words[:last]))
        cut = end - (unicodedata.category(text[end - 1]) in ("Mn", "Me"))  # other marks may stand alone
        row = parse_row({"text": text, "entities": [{"label": "X", "start": start, "end": cut}]}, "row 0")
        for kind, tokenizer in tokenizers.items():
            (sentence,) = tokenizer.encode_texts([text])
            for spans in (row.spans, [LabelledSpan("X", start, end)]):
                aligned, others = align(spans, text, sentence.char_starts, sentence.char_ends)
                assert not others, kind
                ((_, first_word, last_word),) = aligned
                place = int(sentence.char_starts[first_word]), int(sentence.char_ends[last_word - 1])
                assert trim(text, *place, keep_marks=True) == (start, end), kind

    check()


@pytest.mark.parametrize("script", SCRIPTS[::6])
def test_predicted_entities_are_whole(models, script):
    @settings(max_examples=4, deadline=None)
    @given(words_of(script))
    def check(words):
        text = " ".join(words) + ", Paris"
        for model in models.values():
            entities = model.predict([text], is_split_into_words=False)[0]
            assert entities
            fuzz.check_entities(text, entities)

    check()


@pytest.mark.parametrize("word", [*WORDS, *SEQUENCES])
def test_a_word_is_found_whole(tokenizers, word):
    text = f"x {word} y"
    for kind, tokenizer in tokenizers.items():
        places = words_in(tokenizer, text)
        assert 2 in {start for start, _ in places}, kind
        assert 2 + len(word) in {end for _, end in places}, kind


def test_an_accent_at_the_end_of_an_entity_is_kept(models):
    text = "Zoe\u0308 Bronte\u0308"
    spans = {entity["span"] for entity in models["uncased"].predict(text, decoding="overlapping", threshold=0.0)}
    assert spans == {"Zoe\u0308", "Bronte\u0308", text}


@pytest.mark.parametrize("kind", ["wordpiece", "uncased", "bytelevel", "unigram"])
@settings(max_examples=60, deadline=None)
@given(text=st.text(st.characters(codec="utf-8"), max_size=30).filter(lambda text: not has_clusters(text)))
def test_nothing_changes_where_each_character_is_a_grapheme(tokenizers, kind, text):
    tokenizer = tokenizers[kind]
    (sentence,) = tokenizer.encode_texts([text])
    space = tokenizer._space
    encoding = tokenizer.tokenizer(space + text, add_special_tokens=False, split_special_tokens=True).encodings[0]
    expected = [encoding.word_to_chars(word) for word in sorted(set(encoding.word_ids))]
    has_token = sentence.word_starts >= 0
    found = zip(sentence.char_starts[has_token].tolist(), sentence.char_ends[has_token].tolist(), strict=True)
    assert list(found) == [(max(start - len(space), 0), max(end - len(space), 0)) for start, end in expected]


def test_readers_and_writers_extend_entities(tmp_path, caplog):
    text = "Zoe\u0308 sang"
    cut = {"text": text, "entities": [{"label": "PER", "start": 0, "end": 3}]}
    whole = {"text": text, "entities": [{"label": "PER", "start": 0, "end": 4}]}
    (tmp_path / "x.jsonl").write_text(f'{{"text": "{text}", "label": [[0, 3, "PER"]]}}\n', encoding="utf-8")
    with caplog.at_level(logging.WARNING):
        assert list(read_annotations(tmp_path / "x.jsonl")) == [whole]
    assert "1 entities begin or end within a character" in caplog.text
    caplog.clear()
    for name in ("y.jsonl", "folder/"):
        write_annotations(f"{tmp_path}/{name}", [cut])
        (found,) = read_annotations(tmp_path / name)
        assert found["entities"] == whole["entities"]
    assert not caplog.text
