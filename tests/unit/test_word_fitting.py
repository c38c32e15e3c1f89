import logging

import pytest
from datasets import Dataset
from helpers import arguments
from tiny import LABELS, SENTENCES, TAGS, build_model

from span_marker import SpanMarkerModel, Trainer
from span_marker.core.word_rules import WordRules
from span_marker.core.word_splitters import TrainedOn
from span_marker.preprocessing.word_fitting import restored_share, set_word_splitter

NEWS = [["B.", "Young", "left", "the", "U.S.", ",", "they", "say", "."], ["C.", "Lee", "met", "D.", "Day-Lewis", "."]]
CHARACTERS = [[*"\u738b\u5c0f\u660e\u4f4f\u5728\u5317\u4eac\u5e02\u3002"], [*"\u6771\u4eac\u30bf\u30ef\u30fc"]]


def rows(sentences):
    return Dataset.from_dict({"tokens": sentences, "ner_tags": [["O"] * len(words) for words in sentences]})


def chosen(sentences, word_splitter="auto"):
    config = build_model("bert").config
    config.word_splitter = word_splitter
    set_word_splitter(config, rows(sentences))
    return config


@pytest.mark.parametrize(
    ("sentences", "expected"),
    [
        (NEWS, "fitted"),
        (CHARACTERS, "characters"),
        ([*CHARACTERS, [*"\uc11c\uc6b8\uc5d0\uc11c"]], "characters"),
        ([*CHARACTERS * 9, ["BMW", *"\u304c"]], "fitted"),  # which has single characters, too, but BMW whole
        ([["A"], ["B"]], "fitted"),
    ],
    ids=["news", "characters", "Korean", "characters and words", "rows of one letter"],
)
def test_training_words_choose(sentences, expected, caplog):
    with caplog.at_level(logging.INFO):
        config = chosen(sentences)
    assert config.word_splitter == expected
    assert (config.word_rules is not None) == (expected == "fitted")
    assert restored_share(sentences, config.split) == 1
    (record,) = caplog.records
    assert record.levelno == logging.INFO
    assert f"word_splitter={expected!r} was chosen from the training data" in record.message


def test_what_cannot_be_restored_is_a_warning(caplog):
    with caplog.at_level(logging.INFO):
        chosen([["\u6771\u4eac", "\u30bf\u30ef\u30fc"], ["\u5317\u4eac"]])
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert "0.00% of the training words" in record.message


@pytest.mark.parametrize("name", ["tokenizer", "unicode", "characters"])
def test_the_caller_s_choice_stands(name, caplog):
    with caplog.at_level(logging.INFO):
        config = chosen(CHARACTERS, name)
    assert (config.word_splitter, config.word_rules) == (name, None)
    assert not caplog.records


def test_rules_are_fitted_once():
    config = chosen(NEWS, "fitted")
    rules = config.word_rules
    assert rules == WordRules.fit(NEWS)
    set_word_splitter(config, rows(CHARACTERS))
    assert config.word_rules is rules


def test_texts_leave_words_to_the_tokenizer():
    texts = Dataset.from_dict({"text": ["Ann left."], "entities": [[]]})
    config = build_model("bert").config
    config.word_splitter = "auto"
    set_word_splitter(config, texts)
    assert config.word_splitter == "tokenizer"
    config.word_splitter = "fitted"
    with pytest.raises(ValueError, match="word_splitter='fitted' needs training data with words"):
        set_word_splitter(config, texts)


def test_a_new_model_learns_its_words_in_training_and_remembers_them(tmp_path):
    build_model("bert").encoder.save_pretrained(tmp_path / "encoder")
    build_model("bert").tokenizer.tokenizer.save_pretrained(tmp_path / "encoder")
    model = SpanMarkerModel.from_pretrained(tmp_path / "encoder", labels=LABELS, entity_max_length=3)
    assert model.config.word_splitter == "auto"
    data = Dataset.from_dict({"tokens": SENTENCES, "ner_tags": TAGS})
    Trainer(model, arguments(tmp_path, max_steps=1), data).train()
    model.save_pretrained(tmp_path / "model")
    config = SpanMarkerModel.from_pretrained(tmp_path / "model").config
    assert config.word_splitter == "fitted"
    assert config.word_rules == WordRules.fit(SENTENCES)
    assert config.trained_on == TrainedOn("words", 5, 25 / 5, 14)

    old = SpanMarkerModel.from_pretrained(tmp_path / "encoder", labels=LABELS, compatible_with_1x=True)
    assert old.config.word_splitter == "tokenizer"
    given = SpanMarkerModel.from_pretrained(tmp_path / "encoder", labels=LABELS, word_splitter="unicode")
    Trainer(given, arguments(tmp_path, max_steps=1), data)
    assert given.config.word_splitter == "unicode"


def test_new_models_with_the_same_settings_share_the_splitter(tmp_path):
    def model_init():
        model = build_model("bert", entity_max_length=3)
        model.config.word_splitter = "auto"
        return model

    trainer = Trainer(model_init=model_init, args=arguments(tmp_path, max_steps=1), train_dataset=rows(CHARACTERS))
    trainer.train()
    trainer.train()
    assert trainer.model.config.word_splitter == "characters"
    assert trainer.model.config.trained_on == TrainedOn("words", 2, 7.0, 9)
