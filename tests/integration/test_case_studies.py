"""The case studies with a tiny encoder on a few sentences, beside a spaCy pipeline whose findings are known."""

import json
import re

import case_studies
import pytest
import quickstart
import spacy
import systems
import torch
from bundled_corpus import CORPUS, read_words
from safetensors.torch import load_file
from systems import SYSTEMS, Sentence, in_words, read_classes
from tiny import build_tokenizer, encoder_config
from transformers import AutoModel, AutoModelForTokenClassification

from span_marker import infer_labels
from span_marker.core.labels import LabelledSpan, tags_to_entities
from span_marker.data.inline import parse_line

NUM_SENTENCES = 12

SHARED = ("organization", "person", "place")

PATTERNS = [
    ("LOC", "Osh"),  # right
    ("LOC", "the Adriatic"),  # a word too long
    ("ORG", "Sardinia"),  # a place
    ("PER", "prefecture"),  # nothing
    ("DATE_TIME", "lunch"),  # of a label that is not compared
]
"""What the pipeline finds in the first sentences of the test split."""


def write_encoder(folder):
    torch.manual_seed(0)
    tokenizer = build_tokenizer("wordpiece").tokenizer
    AutoModel.from_config(encoder_config("bert", len(tokenizer))).save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def write_pipeline(folder):
    nlp = spacy.blank("en")
    nlp.add_pipe("entity_ruler").add_patterns([{"label": label, "pattern": pattern} for label, pattern in PATTERNS])
    nlp.to_disk(folder)


def arguments(folder, *others):
    paths = {"models": "models", "encoder": "encoder", "spacy": "pipeline", "results": "new/results.json"}
    given = [text for name, path in paths.items() for text in (f"--{name}", str(folder / path))]
    few = "--seeds 1 --rounds 1 --learning-rates 1e-3 2e-3 --spacy-steps 2".split()
    return [*given, *few, "--sentences", str(NUM_SENTENCES), *others]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The study, done; and the sentences that figures were made of."""
    folder, judge, judged = tmp_path_factory.mktemp("study"), case_studies.judge, []
    write_encoder(folder / "encoder")
    write_pipeline(folder / "pipeline")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(case_studies, "judge", lambda *given: judged.append(given[0]) or judge(*given))
        case_studies.main(arguments(folder))
    (folder / "judged.json").write_text(json.dumps([[of.words for of in sentences] for sentences in judged]))
    return folder


@pytest.fixture(scope="module")
def results(folder):
    return json.loads((folder / "new" / "results.json").read_text(encoding="utf-8"))


def test_all_systems_are_judged_on_the_same_sentences(folder):
    judged = json.loads((folder / "judged.json").read_text())
    expected = read_words("test")["tokens"][:NUM_SENTENCES]
    assert len(judged) == 2 * 3 + 2 * 4
    assert all(sentences == expected for sentences in judged)


def test_figures_are_those_counted_by_hand(results):
    lines = [line for line in (CORPUS / "test.txt").read_text(encoding="utf-8").splitlines() if line[:1] not in "#"]
    num_gold = len(re.findall(rf"\]\((?:{'|'.join(SHARED)})\)", "\n".join(lines[:NUM_SENTENCES])))
    found = results["systems"]["spacy-pretrained"]["shared"]
    assert found["precision"] == pytest.approx(1 / 4)
    assert found["recall"] == pytest.approx(1 / num_gold)
    assert found["f1"] == pytest.approx(2 / (4 + num_gold))
    assert found["overlap_f1"] == pytest.approx(2 * 2 / (4 + num_gold))


def test_runs_and_comparisons(results):
    assert [(run["system"], run["seed"]) for run in results["runs"]] == [(name, 1) for name in SYSTEMS]
    f1 = {run["system"]: run for run in results["runs"]}
    for name, system in results["systems"].items():
        compared = {"span-marker": set(), "spacy-pretrained": {"shared"}}.get(name, {"all", "shared"})
        assert set(system["against"]) == compared
        for labels, of in system["against"].items():
            own = system["shared"]["f1"] if name == "spacy-pretrained" else f1[name][labels]["f1"]
            assert of["difference"] == pytest.approx(own - f1["span-marker"][labels]["f1"])
        assert system["sentences_per_second"] > 0
    classifier = f1["token-classifier"]
    assert list(classifier["dev_f1"]) == ["0.001", "0.002"]
    best = max(classifier["dev_f1"].values())
    assert classifier["dev_f1"][str(classifier["learning_rate"])] == best


def test_parameters_and_bytes_are_those_of_the_files(folder, results):
    for name, system in results["systems"].items():
        saved = folder / "models" / (name if name == "spacy-pretrained" else f"{name}-1")
        assert system["bytes"] == sum(path.stat().st_size for path in saved.rglob("*") if path.is_file())
        if (saved / "model.safetensors").exists():
            assert system["parameters"] == sum(
                value.numel() for value in load_file(saved / "model.safetensors").values()
            )
    assert results["systems"]["spacy-pretrained"]["parameters"] == 0
    assert results["systems"]["spacy-trained"]["parameters"] > 1_000_000


def test_the_model_is_the_quickstarts(folder, tmp_path):
    paths = ["--encoder", str(folder / "encoder"), "--folder", str(tmp_path)]
    quickstart.main([*paths, "--seed", "1", "--sentences", str(NUM_SENTENCES)])
    one, other = (
        load_file(of / "model.safetensors") for of in (tmp_path / "my-model", folder / "models" / "span-marker-1")
    )
    assert one.keys() == other.keys()
    assert all(torch.equal(value, other[name]) for name, value in one.items())


def test_a_study_that_is_done_trains_nothing(folder, results, monkeypatch, capsys):
    monkeypatch.setattr(case_studies, "SYSTEMS", {name: (None, load) for name, (_, load) in SYSTEMS.items()})
    again = case_studies.main(arguments(folder))
    assert again["runs"] == results["runs"]
    assert again["snippets"] == results["snippets"]
    assert "| spacy-pretrained, shared labels | 0.250 |" in capsys.readouterr().out
    with pytest.raises(SystemExit, match="choose another --results"):
        case_studies.main(arguments(folder, "--spacy-labels", "PER=person"))


def test_snippets_are_read_by_all_and_are_not_in_the_corpus(results):
    corpus = {" ".join(words) for split in ("train", "dev", "test") for words in read_words(split)["tokens"]}
    labels = set(infer_labels(read_words("train")))
    names = {"annotated", *results["systems"]}
    assert [snippet["title"] for snippet in results["snippets"]][:3] == [
        "Leonardo da Vinci",
        "Amelia Earhart",
        "Cleopatra VII",
    ]
    for snippet in results["snippets"]:
        sentences = systems.read_sentences(parse_line(line, "snippet") for line in snippet["lines"])
        assert not corpus & {" ".join(sentence.words) for sentence in sentences}
        inline = re.findall(r"\[([^\]]+)\]\(([^)]+)\)", "\n".join(snippet["lines"]))
        annotated = [
            (of["span"], of["labels"]["annotated"]) for of in snippet["entities"] if "annotated" in of["labels"]
        ]
        assert annotated == inline
        assert {label for _, label in inline} <= labels
        assert all(of["labels"] and of["labels"].keys() <= names for of in snippet["entities"])


def test_a_word_has_the_class_of_its_first_token(folder):
    tokenizer = systems.AutoTokenizer.from_pretrained(folder / "encoder")
    torch.manual_seed(1)
    labels = ["O", "B-person", "I-person", "B-place", "I-place"]
    model = AutoModelForTokenClassification.from_pretrained(folder / "encoder", id2label=dict(enumerate(labels))).eval()
    torch.nn.init.normal_(model.classifier.weight)
    sentences = systems.read_split("test", 40)  # more than a batch
    found = read_classes(model, tokenizer, sentences)
    assert sum(map(len, found)) > 40
    for sentence, entities in zip(sentences, found, strict=True):
        pieces = [tokenizer(word, add_special_tokens=False)["input_ids"] for word in sentence.words]
        firsts = [1 + sum(map(len, pieces[:index])) for index in range(len(pieces))]  # behind the first special token
        with torch.no_grad():
            classes = model(**tokenizer([sentence.words], is_split_into_words=True, return_tensors="pt")).logits.argmax(
                -1
            )
        assert entities == tags_to_entities([labels[classes[0, first]] for first in firsts], "IOB")


def test_characters_of_spacys_words_in_words_of_the_corpus():
    text = "don't ask  Amelia Earhart's dog"
    doc = spacy.blank("en")(text)
    doc.ents = [doc.char_span(2, 5, label="PER"), doc.char_span(11, 25, label="PER"), doc.char_span(28, 31, label="X")]
    assert [entity.text for entity in doc.ents] == ["n't", "Amelia Earhart", "dog"]
    words = ["don", "'", "t", "ask", "Amelia", "Earhart", "'", "s", "dog"]
    found = in_words(Sentence(text, words, []), doc, {"PER": "person"})
    assert found == [LabelledSpan("person", 0, 3), LabelledSpan("person", 4, 6), LabelledSpan("X", 8, 9)]
