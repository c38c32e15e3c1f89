"""The scripts of the thesis' experiments, all of each, with a tiny encoder on a few sentences."""

import importlib
import json
from pathlib import Path
from typing import NamedTuple

import experiment
import numpy as np
import pytest
import torch
from datasets import ClassLabel, Dataset, DatasetDict, Features, List, Value
from tiny import build_tokenizer, encoder_config
from transformers import AutoModel

from span_marker import SpanMarkerModel, infer_labels, read_annotations, write_conll, write_jsonl


class Setting(NamedTuple):
    encoder: str
    limits: tuple[int, int, int]  # of text, markers and entities
    learning_rate: float
    batch: tuple[int, int]  # sentences, and how many of these batches are accumulated
    epochs: int
    context: bool
    hub: str
    name: str


XLM, ROBERTA, BERT = "FacebookAI/xlm-roberta-large", "FacebookAI/roberta-large", "google-bert/bert-base-cased"
CONLL, CONLLPP, FEWNERD = "tomaarsen/conll2003", "tomaarsen/conllpp", "DFKI-SLT/few-nerd"

SETTINGS = {
    "conll03": Setting(XLM, (128, 64, 6), 1e-5, (4, 2), 3, False, CONLL, "CoNLL03"),
    "conll03_doc_context": Setting(XLM, (512, 128, 8), 1e-5, (4, 2), 3, True, CONLL, "CoNLL03"),
    "conllpp_doc_context": Setting(XLM, (512, 128, 8), 1e-5, (4, 2), 3, True, CONLLPP, "CoNLL++"),
    "ontonotes5": Setting(ROBERTA, (256, 128, 10), 1e-5, (8, 2), 4, False, "tner/ontonotes5", "OntoNotes v5"),
    "fewnerd_bert_base": Setting(BERT, (256, 128, 8), 5e-5, (32, 1), 3, False, FEWNERD, "FewNERD"),
    "fewnerd_roberta_large": Setting(ROBERTA, (256, 128, 8), 1e-5, (8, 1), 3, False, FEWNERD, "FewNERD"),
}
"""What the thesis says of each experiment."""

FOR_ALL = {
    "optim": "adamw_torch",
    "lr_scheduler_type": "linear",
    "warmup_steps": 0.1,
    "weight_decay": 0.01,
    "bf16": True,
}

ROWS = [
    ("Amelia Earhart flew", [("PER", 0, 2)]),
    ("Paris", [("LOC", 0, 1)]),
    ("Cleopatra ruled Egypt", [("PER", 0, 1), ("LOC", 2, 3)]),
    ("Leonardo", [("PER", 0, 1)]),
]
"""Short sentences, so that chance finds some of the entities."""

SPLITS = {"train": 8, "dev": 4, "test": 12}


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    """One with room for the longest text limit, and the least of a model otherwise."""
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("encoder")
    tokenizer = build_tokenizer("wordpiece").tokenizer
    config = encoder_config("bert", len(tokenizer))
    config.max_position_embeddings, config.num_hidden_layers = 514, 1  # 514 as xlm-roberta-large
    AutoModel.from_config(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def write_data(folder, documents=True):
    """Column files, in documents of three sentences."""
    for split, number in SPLITS.items():
        rows = []
        for index in range(number):
            words, spans = ROWS[index % 4]
            entities = [{"label": label, "start": start, "end": end} for label, start, end in spans]
            rows.append({"tokens": words.split(), "entities": entities})
            if documents:
                rows[-1] |= {"document_id": index // 3}
        write_conll(folder / f"{split}.txt", rows)
    return folder


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_data(tmp_path_factory.mktemp("data"))


@pytest.fixture
def trainers(monkeypatch):
    """The trainers that scripts make."""
    made = []

    class Kept(experiment.Trainer):
        def __init__(self, *args, **kwargs):
            super().__init__(*args, **kwargs)
            with torch.no_grad():  # large weights: untrained models find something, and each seed something else
                for parameter in self.model.parameters():
                    if parameter.dim() > 1:
                        parameter.normal_(std=0.3)
                self.model.classifier.bias[self.model.config.outside_id] = -2
            made.append(self)

    monkeypatch.setattr(experiment, "Trainer", Kept)
    monkeypatch.setattr(experiment, "has_fast_bfloat16", lambda: True)
    return made


@pytest.mark.parametrize("name", SETTINGS)
def test_the_whole_script(name, encoder, data, tmp_path, trainers, capsys):
    setting = SETTINGS[name]
    options = ["--encoder", str(encoder), "--data", str(data), "--output", str(tmp_path), "--seeds", "2"]
    report = importlib.import_module(name).main(options)

    runs = report["runs"]
    assert [run["seed"] for run in runs] == [1, 2]
    assert runs[0]["precision"] != runs[1]["precision"]
    printed = capsys.readouterr().out
    for measure in ("f1", "precision", "recall"):
        values = np.array([run[measure] for run in runs])
        error = values.std(ddof=1) / np.sqrt(2)
        assert report["mean"][measure] == pytest.approx(values.mean())
        assert report["standard_error"][measure] == pytest.approx(error)
        assert f"test {measure}: {values.mean():.4f} ± {error:.4f}\n" in printed
    assert json.loads((tmp_path / "results.json").read_text(encoding="utf-8")) == report

    assert [trainer.args.seed for trainer in trainers] == [1, 2]
    for trainer, run in zip(trainers, runs, strict=True):
        args, config = trainer.args, trainer.model.config
        assert (config.model_max_length, config.marker_max_length, config.entity_max_length) == setting.limits
        assert config.candidates_per_word is None
        assert config.trained_with_document_context == setting.context
        assert args.learning_rate == setting.learning_rate
        assert (args.per_device_train_batch_size, args.gradient_accumulation_steps) == setting.batch
        assert args.num_train_epochs == setting.epochs
        assert {key: getattr(args, key) for key in FOR_ALL} == FOR_ALL
        assert trainer.state.global_step == setting.epochs * -(-SPLITS["train"] // np.prod(setting.batch))

        folder = tmp_path / f"seed-{run['seed']}"
        test = read_annotations(data / "test.txt", documents=setting.context)
        metrics = trainer.evaluate(test, metric_key_prefix="again")
        assert metrics["again_overall_f1"] == run["f1"]
        assert SpanMarkerModel.from_pretrained(folder).config.trained_with_document_context == setting.context
        card = (folder / "README.md").read_text(encoding="utf-8")
        assert f"value: {run['f1']}" in card
        assert f"name: {setting.name}" in card
        assert setting.hub not in card  # it was trained on files


def hub_data(name):
    """What the Hub has, in its columns."""
    if name == "tner/ontonotes5":
        features = Features({"tokens": List(Value("string")), "tags": List(Value("int32"))})
        return Dataset.from_dict({"tokens": [["Ann", "Lee", "left"]] * 2, "tags": [[4, 5, 0]] * 2}, features)
    tokens = {"id": ["0", "1"], "tokens": [["Ann", "left"]] * 2}
    if name == "DFKI-SLT/few-nerd":
        coarse, fine = ClassLabel(names=["O", "person"]), ClassLabel(names=["O", "art-film", "person-actor"])
        columns = tokens | {"ner_tags": [[1, 0]] * 2, "fine_ner_tags": [[2, 0]] * 2}
        features = {"ner_tags": List(coarse), "fine_ner_tags": List(fine)}
    else:
        columns = tokens | {"document_id": [0, 0], "sentence_id": [0, 1], "ner_tags": [[1, 0]] * 2}
        features = {"document_id": Value("int32"), "sentence_id": Value("int32")}
        features |= {"ner_tags": List(ClassLabel(names=["O", "B-PER", "I-PER"]))}
    return Dataset.from_dict(columns, Features({"id": Value("string"), "tokens": List(Value("string")), **features}))


FIRST_TAGS = {CONLL: ["B-PER", "O"], CONLLPP: ["B-PER", "O"], FEWNERD: ["person-actor", "O"]}


@pytest.mark.parametrize("name", SETTINGS)
def test_data_of_the_hub(name, monkeypatch):
    setting, script, asked = SETTINGS[name], importlib.import_module(name), []

    def load(*args, **kwargs):
        asked.append((args, kwargs))
        return DatasetDict({split: hub_data(setting.hub) for split in ("train", "validation", "test")})

    seen = {}
    monkeypatch.setattr(script, "load_dataset", load)
    monkeypatch.setattr(script, "read_data", lambda *args, **kwargs: seen.update(experiment.read_data(*args, **kwargs)))
    monkeypatch.setattr(script, "run_seeds", lambda *args: None)
    with pytest.raises(TypeError):  # there is no data to go on with
        script.main(["--output", "nowhere", "--revision", "abc"])

    (args, kwargs) = asked[0]
    if setting.hub == "tner/ontonotes5":
        files = {"train": "train*.json", "validation": "valid.json", "test": "test.json"}
        paths = {split: f"hf://datasets/tner/ontonotes5@abc/dataset/{file}" for split, file in files.items()}
        assert (args, kwargs) == (("json",), {"data_files": paths})
    else:
        config = ("supervised",) if setting.hub == FEWNERD else ()
        assert (args, kwargs) == ((setting.hub, *config), {"revision": "abc"})
    for dataset in seen.values():
        names = dataset.features["ner_tags"].feature.names
        tags = [names[tag] for tag in dataset[0]["ner_tags"]]
        assert tags == FIRST_TAGS.get(setting.hub, ["B-PERSON", "I-PERSON", "O"])
        assert ({"document_id", "sentence_id"} <= set(dataset.column_names)) == setting.context
        assert ("document_id" in dataset.column_names) == setting.context
    assert list(seen) == ["train", "validation", "test"]
    assert infer_labels(seen) == names


def test_a_card_names_the_data_of_the_hub(encoder, tmp_path, trainers, monkeypatch):
    script = importlib.import_module("conll03_doc_context")
    splits = {split: hub_data(CONLL) for split in ("train", "validation", "test")}
    monkeypatch.setattr(script, "load_dataset", lambda *args, **kwargs: DatasetDict(splits))
    script.main(["--encoder", str(encoder), "--output", str(tmp_path), "--seeds", "1", "--epochs", "1"])
    (trainer,) = trainers
    assert trainer.model.config.trained_with_document_context
    assert f"datasets:\n- {CONLL}\n" in (tmp_path / "seed-1" / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", SETTINGS)
def test_a_script_is_short_and_has_the_encoder_of_the_thesis(name, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")  # of the help page
    script = importlib.import_module(name)
    assert len(Path(script.__file__).read_text(encoding="utf-8").splitlines()) <= 80
    with pytest.raises(SystemExit):
        script.main(["--help"])
    printed = " ".join(capsys.readouterr().out.split())
    assert f"(default: {SETTINGS[name].encoder})" in printed
    assert f"epochs of each (default: {SETTINGS[name].epochs})" in printed


def test_a_filter_may_be_trained(encoder, data, tmp_path, trainers):
    options = ["--encoder", str(encoder), "--data", str(data), "--output", str(tmp_path), "--seeds", "1"]
    report = importlib.import_module("conll03").main(
        [*options, "--sentences", "4", "--epochs", "1", "--candidates-per-word", "1"]
    )
    (trainer,) = trainers
    assert trainer.model.config.candidates_per_word == 1
    assert (len(trainer.train_dataset), trainer.state.global_step) == (4, 1)
    assert report["standard_error"] == {"f1": None, "precision": None, "recall": None}


def test_relations_are_trained_and_measured(encoder, tmp_path):
    rows = [
        {
            "tokens": f"{person} ruled {place}".split(),
            "entities": [{"label": "PER", "start": 0, "end": 1}, {"label": "LOC", "start": 2, "end": 3}],
            "relations": [{"label": "lives in", "head": 0, "tail": 1}],
        }
        for person in ("Cleopatra", "Amelia", "Leonardo")
        for place in ("Egypt", "Paris")
    ]
    for split in SPLITS:
        write_jsonl(tmp_path / f"{split}.jsonl", rows)
    script, output = importlib.import_module("conll04_relations"), tmp_path / "output"
    with pytest.raises(SystemExit, match="--data FOLDER is needed"):
        script.main(["--output", str(output)])
    arguments = ["--encoder", str(encoder), "--data", str(tmp_path), "--output", str(output)]
    report = script.main([*arguments, "--seeds", "1", "--epochs", "1"])
    assert list(report["mean"]) == [*experiment.MEASURES, *script.MEASURES]
    assert report == json.loads((output / "results.json").read_text(encoding="utf-8"))
    model = SpanMarkerModel.from_pretrained(output / "seed-1")
    assert model.config.relation_labels == ["no relation", "lives in"]
    assert len(Path(script.__file__).read_text(encoding="utf-8").splitlines()) <= 80
    write_jsonl(tmp_path / "test.jsonl", [{name: row[name] for name in ("tokens", "entities")} for row in rows])
    with pytest.raises(SystemExit, match="the test data has no relations"):
        script.main(arguments)


def options_of(*arguments):
    return experiment.parse_options(None, "encoder", 1, ["--output", "out", *map(str, arguments)])


def test_what_is_missing_is_said(tmp_path):
    with pytest.raises(SystemExit, match=r"must have one file train\.\*, but has \[\]"):
        experiment.read_data(options_of("--data", tmp_path), None, document_context=False)
    write_data(tmp_path, documents=False)
    with pytest.raises(ValueError, match="has no -DOCSTART- lines"):
        experiment.read_data(options_of("--data", tmp_path), None, document_context=True)
    plain = DatasetDict({split: hub_data("tner/ontonotes5") for split in ("train", "validation", "test")})
    with pytest.raises(SystemExit, match="the train data has no document_id and no sentence_id"):
        experiment.read_data(options_of(), lambda: plain, document_context=True)
    with pytest.raises(SystemExit):
        options_of("--seeds", 0)


def test_files_of_a_split_are_not_mixed_up(data, tmp_path):
    read = experiment.read_data(options_of("--data", data), None, document_context=True)
    assert {split: len(rows) for split, rows in read.items()} == {"train": 8, "validation": 4, "test": 12}
    assert read["train"]["document_id"][:4] == [0, 0, 0, 1]
    (tmp_path / "train.txt").write_text("", encoding="utf-8")
    (tmp_path / "train.conll").write_text("", encoding="utf-8")
    with pytest.raises(SystemExit, match="must have one file"):
        experiment.read_data(options_of("--data", tmp_path), None, document_context=False)
