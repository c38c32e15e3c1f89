"""The study of a small model with a tiny encoder on a few sentences."""

import json

import pytest
import quickstart
import small_model
import torch
from datasets import Dataset
from tables import small_model_table
from tiny import build_tokenizer, encoder_config
from transformers import AutoModel, AutoModelForTokenClassification

from span_marker import SpanMarkerModel

pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")

NUM_SENTENCES = 12

CONLL = "Tokyo NNP I-NP B-LOC\nsleeps VBZ I-VP O\n\nParis NNP I-NP B-LOC\n"


def test_other_names_have_the_labels_of_those_that_they_replace():
    rows = [
        {
            "tokens": ["Ada", "Lovelace", "left", "Paris", "."],
            "entities": [{"label": "person", "start": 0, "end": 2}, {"label": "place", "start": 3, "end": 4}],
        },
        {"tokens": ["New", "York", "sleeps"], "entities": [{"label": "place", "start": 0, "end": 2}]},
    ]
    data = Dataset.from_list(rows)
    found = [words for seed in range(10) for words in small_model.with_other_names(data, 5, seed)]
    assert {" ".join(words) for words in found} == {
        *("Ada Lovelace left Paris .", "Ada Lovelace left New York ."),
        *("Paris sleeps", "New York sleeps"),
    }
    assert len(found) == 20
    assert data.to_list() == rows


@pytest.mark.slow
def test_a_small_model_is_taught_exported_and_measured_once(tmp_path, monkeypatch):
    torch.manual_seed(0)
    tokenizer = build_tokenizer("wordpiece").tokenizer
    AutoModel.from_config(encoder_config("bert", len(tokenizer))).save_pretrained(tmp_path / "encoder")
    tokenizer.save_pretrained(tmp_path / "encoder")
    few = ["--sentences", str(NUM_SENTENCES)]
    quickstart.main(["--encoder", str(tmp_path / "encoder"), "--folder", str(tmp_path), *few])
    texts = tmp_path / "news" / "train.txt"
    texts.parent.mkdir()
    texts.write_text(CONLL)
    paths = {"teacher": "my-model", "models": "models", "texts": "news/train.txt", "results": "results.json"}
    given = [text for name, path in paths.items() for text in (f"--{name}", str(tmp_path / path))]
    arguments = [*given, *few, *"--layers 2 --seeds 1 --rounds 1 --epochs 1".split()]
    results = small_model.main([*arguments, "--no-test"])
    assert "systems" not in results
    (run,) = results["runs"]
    assert run["dev_f1"].keys() == small_model.WAYS.keys()
    assert results["settings"]["texts"] == ["news"]
    student = SpanMarkerModel.from_pretrained(tmp_path / "models" / "student-1-torch")
    assert student.config.encoder.num_hidden_layers == 2
    assert student.config.compression.keys() == {"Layers", "Vocabulary", "Teacher"}
    monkeypatch.setattr(small_model, "teach", None)  # a study that was stopped trains nothing again
    classifier = AutoModelForTokenClassification.from_pretrained(
        tmp_path / "encoder", id2label={0: "O", 1: "B-place", 2: "I-place"}
    )
    with torch.no_grad():
        classifier.classifier.bias[1] += 100  # each word
    classifier.save_pretrained(tmp_path / "classifier")
    tokenizer.save_pretrained(tmp_path / "classifier")
    results = small_model.main([*arguments, "--classifier", str(tmp_path / "classifier")])
    ways = ("PyTorch", "ONNX Runtime")
    ((in_torch,), (in_onnx,)) = (results["systems"][f"token classification, {way}"]["f1"] for way in ways)
    assert 0 < in_torch == pytest.approx(in_onnx, abs=0.01)
    assert json.loads((tmp_path / "results.json").read_text()) == results
    assert len(results["systems"]) == 2 * len(small_model.WAYS) + 2
    sizes = {name: system["bytes"] for name, system in results["systems"].items()}
    assert sizes["student, PyTorch, float32"] < sizes["teacher, PyTorch, float32"]
    table = small_model_table(results)
    assert all(name in table for name in results["systems"])
