"""A string and the words that a splitter makes of it are the same input, for every kind of tokenizer, everywhere."""

import json
import sys

import pytest
from datasets import Dataset
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny import LABELS, SENTENCES, build_model, build_tokenizer

from span_marker import SpanMarkerConfig, SpanMarkerModel, validate
from span_marker.core.graphemes import place_words
from span_marker.core.labels import LabelledSpan
from span_marker.core.word_rules import WordRules
from span_marker.core.word_splitters import NAMES, TrainedOn, check_splitter, find_split, import_splitter
from span_marker.core.words import character_words
from span_marker.data.rows import Row
from span_marker.preprocessing.features import NO_WORDS, align_entities
from span_marker.preprocessing.inputs import Sentences
from span_marker.preprocessing.pieces import tokenize

KINDS = ["wordpiece", "bytelevel", "unigram"]

RULES = WordRules.fit([["Mr.", "B.", "Young", "left", "the", "U.S.", ",", "so", "they", "say", "."]])

LANGUAGES = {
    "Chinese": ("\u738b\u5c0f\u660e\u4f4f\u5728\u5317\u4eac\u5e02\u3002", ["\u738b\u5c0f\u660e", "\u5317\u4eac\u5e02"]),
    "Japanese": (
        "\u7530\u4e2d\u3055\u3093\u306f\u6771\u4eac\u306b\u884c\u304f\u3002",
        ["\u7530\u4e2d", "\u6771\u4eac"],
    ),
    "Thai": (
        "\u0e2a\u0e21\u0e0a\u0e32\u0e22\u0e44\u0e1b\u0e01\u0e23\u0e38\u0e07\u0e40\u0e17\u0e1e",
        ["\u0e2a\u0e21\u0e0a\u0e32\u0e22"],
    ),
    "Khmer": (
        "\u179f\u17bb\u1781\u1791\u17c5\u1797\u17d2\u1793\u17c6\u1796\u17c1\u1789",
        ["\u1797\u17d2\u1793\u17c6\u1796\u17c1\u1789"],
    ),
    "Korean": (
        "\uae40\ucca0\uc218\ub294 \uc11c\uc6b8\uc5d0\uc11c \uc0b0\ub2e4.",
        ["\uae40\ucca0\uc218", "\uc11c\uc6b8"],
    ),
    "English": ("Ann Lee flew to New York, U.S.", ["Ann Lee", "New York"]),
}
"""A sentence in each language, and its entities."""

SPLITTERS = dict.fromkeys(LANGUAGES, "unicode") | {"Korean": "characters"}
"""The word splitter with which no entity of the sentence cuts a word."""


def own_words(text):
    """A word splitter of the caller: halves of the string."""
    return [(0, len(text) // 2), (len(text) // 2, len(text))]


def backwards(text):
    return [(1, 2), (0, 1)]


def gold(text, names):
    return [LabelledSpan("PER", text.index(name), text.index(name) + len(name)) for name in names]


def cut(kind, text, names, split):
    (sentence,) = tokenize(Sentences([text], True), build_tokenizer(kind), split)
    spans = align_entities(Row("text", text, gold(text, names)), sentence, "row 0")
    return sum(span.start == NO_WORDS for span in spans)


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("kind", KINDS)
def test_no_entity_cuts_a_word_with_the_right_splitter(kind, language):
    assert cut(kind, *LANGUAGES[language], find_split(SPLITTERS[language], None)) == 0


@pytest.mark.parametrize("language", ["Chinese", "Japanese", "Thai", "Korean"])
@pytest.mark.parametrize("kind", ["bytelevel", "unigram"])
def test_the_tokenizer_has_clauses_for_words(kind, language):
    assert cut(kind, *LANGUAGES[language], None) == len(LANGUAGES[language][1])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["unicode", "characters", "fitted"])
@settings(max_examples=40)
@given(text=st.text(st.sampled_from("aB .,'\u6771\u0e2a\u0e35\uc11c\u0301\U0001f469\n\ud83d"), max_size=10))
def test_a_string_is_the_list_of_its_words(kind, name, text):
    split, tokenizer = find_split(name, RULES), TOKENIZERS[kind]
    text = text.replace("\ud83d", "\ufffd")
    found = place_words(text, split(text))
    words, places = [word for word, _ in found], [place for _, place in found]
    (of_text,) = tokenize(Sentences([text], True), tokenizer, split)
    (of_words,) = tokenize(Sentences([words], False), tokenizer)
    assert of_text.input_ids.tolist() == of_words.input_ids.tolist()
    assert of_text.word_starts.tolist() == of_words.word_starts.tolist()
    assert list(zip(of_text.char_starts, of_text.char_ends, strict=True)) == places[: of_text.num_words]


TOKENIZERS = {kind: build_tokenizer(kind) for kind in KINDS}


@pytest.mark.parametrize("name", ["unicode", "characters", "fitted"])
def test_predictions_for_a_string_are_those_for_its_words(name):
    model = build_model("roberta", entity_max_length=3)
    model.config.word_splitter, model.config.word_rules = name, RULES
    text = "B. Young left the U.S., so they say."
    places = list(model.config.split(text))
    of_text = model.predict(text)
    of_words = model.predict([text[start:end] for start, end in places], is_split_into_words=True)
    assert of_text
    assert [(e["label"], e["char_start_index"], e["char_end_index"]) for e in of_text] == [
        (e["label"], places[e["word_start_index"]][0], places[e["word_end_index"] - 1][1]) for e in of_words
    ]


@pytest.mark.parametrize("name", NAMES)
def test_the_splitter_is_saved_with_the_model(name, tmp_path):
    model = build_model("bert", entity_max_length=3)
    model.config.word_splitter, model.config.word_rules = name, RULES if name == "fitted" else None
    model.config.trained_on = TrainedOn("words", 5, 6.5, 14)
    model.save_pretrained(tmp_path)
    again = SpanMarkerModel.from_pretrained(tmp_path)
    assert again.config.word_splitter == name
    assert again.config.word_rules == model.config.word_rules
    assert again.config.trained_on == model.config.trained_on
    if name != "icu":
        assert again.predict("B. Young left.") == model.predict("B. Young left.")


def test_checkpoints_without_a_splitter_have_the_tokenizer_s_words(tmp_path):
    build_model("bert", entity_max_length=3).save_pretrained(tmp_path)
    path = tmp_path / "config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    for key in ("word_splitter", "word_rules", "trained_on"):
        del config[key]
    path.write_text(json.dumps(config), encoding="utf-8")
    config = SpanMarkerModel.from_pretrained(tmp_path).config
    assert (config.word_splitter, config.word_rules, config.trained_on) == ("tokenizer", None, None)
    assert config.split is None


def test_a_function_is_saved_by_name_and_never_run_from_there(tmp_path, monkeypatch):
    model = build_model("bert", entity_max_length=3)
    model.config.word_splitter = own_words
    model.save_pretrained(tmp_path)
    name = f"{__name__}:own_words"
    assert json.loads((tmp_path / "config.json").read_text(encoding="utf-8"))["word_splitter"] == name
    with pytest.raises(
        ValueError, match=r"only run if you pass it: set word_splitter=\.\.\. to the function or its import"
    ):
        SpanMarkerModel.from_pretrained(tmp_path)
    with pytest.raises(ValueError, match="is a custom function, which a checkpoint may not run by itself"):
        _ = SpanMarkerConfig.from_pretrained(tmp_path).split
    for word_splitter in (own_words, name):
        loaded = SpanMarkerModel.from_pretrained(tmp_path, word_splitter=word_splitter)
        assert loaded.config.word_splitter is own_words
        assert loaded.predict("Ann left") == model.predict("Ann left")
    assert SpanMarkerModel.from_pretrained(tmp_path, word_splitter="unicode").config.word_splitter == "unicode"


def test_no_module_is_imported_for_a_checkpoint(tmp_path, monkeypatch):
    module = tmp_path / "evil_splitter.py"
    module.write_text("raise SystemExit('imported')")
    monkeypatch.syspath_prepend(tmp_path)
    model = build_model("bert")
    model.save_pretrained(tmp_path / "model")
    path = tmp_path / "model" / "config.json"
    path.write_text(
        path.read_text(encoding="utf-8").replace('"word_splitter": "tokenizer"', '"word_splitter": "evil_splitter:x"')
    )
    with pytest.raises(ValueError, match="word_splitter='evil_splitter:x', which is only run if you pass it"):
        SpanMarkerModel.from_pretrained(tmp_path / "model")
    assert "evil_splitter" not in sys.modules


@pytest.mark.parametrize("name", ["words", "a b", "a:", ":b", "a:b c", "a.b"])
def test_unknown_names_are_refused(name):
    with pytest.raises(ValueError, match="word_splitter="):
        SpanMarkerConfig(labels=LABELS, word_splitter=name)


def test_what_is_no_splitter_is_refused():
    with pytest.raises(TypeError, match="word_splitter=3 must be one of"):
        SpanMarkerConfig(labels=LABELS, word_splitter=3)
    with pytest.raises(ValueError, match="defined with def at the top of a module"):
        check_splitter(lambda text: [])
    for name in ("no_such_module:f", f"{__name__}:no_such_function"):
        with pytest.raises(ValueError, match="cannot be imported"):
            import_splitter(name)
    with pytest.raises(ValueError, match="has no rules yet"):
        find_split("fitted", None)
    with pytest.raises(ValueError, match=r"returned a word from 0 to 1 after one that ends at 2, in a text of 3 char"):
        find_split(backwards, None)("abc")


@pytest.mark.parametrize(
    "values", [3, {}, {"unit": "rows", "num_rows": 1, "mean_words": 1.0, "max_words": 1}, {"unit": "words"}]
)
def test_broken_records_are_refused(values):
    with pytest.raises(ValueError, match="trained_on"):
        SpanMarkerConfig(labels=LABELS, trained_on=values)


@pytest.mark.parametrize("language", ["Chinese", "Thai", "Korean"])
def test_validate_names_the_splitter_that_keeps_entities_whole(language):
    text, names = LANGUAGES[language]
    entities = [{"label": label, "start": start, "end": end} for label, start, end in gold(text, names)]
    english, (name, _) = LANGUAGES["English"]
    data = Dataset.from_list(
        [
            {"text": text, "entities": entities},
            {"text": english, "entities": [{"label": "PER", "start": 0, "end": len(name)}]},
        ]
    )
    model = build_model("xlm-roberta", entity_max_length=8)
    report = validate(data, model)
    assert report.suggested_splitter() == SPLITTERS[language]
    assert report.word_cuts["tokenizer"] == len(names)
    share = len(names) / (len(names) + 1)
    assert (
        f"{share:.1%} of the entities begin or end inside a word with word_splitter='tokenizer', 0.0% with "
        f"word_splitter={SPLITTERS[language]!r}"
    ) in str(report)
    model.config.word_splitter = SPLITTERS[language]
    report = validate(data, model)
    assert report.suggested_splitter() is None
    assert not report.by_kind("partial-word")
    assert validate(Dataset.from_dict({"tokens": SENTENCES[:1], "entities": [[]]}), model).word_cuts == {}


def test_characters_are_the_words_of_last_resort():
    assert list(find_split("characters", None)("a b")) == character_words("a b")
