import copy
import logging
import re

import pytest
from datasets import Dataset
from huggingface_hub import ModelCard
from tiny import SENTENCES, build_model
from transformers import TrainingArguments

from span_marker import SpanMarkerModel, SpanMarkerModelCardData, Trainer, tune_thresholds
from span_marker.checkpoints.model_card import OUTDATED, note_change_in_card
from span_marker.checkpoints.training_record import Spread, TrainingRecord
from span_marker.core.tables import markdown_table

TAGS = [
    ["B-PER", "I-PER", "O", "O", "O", "B-LOC", "O"],
    ["B-LOC"],
    ["B-PER", "I-PER", "I-PER", "O", "B-ORG", "I-ORG", "I-ORG", "O", "B-LOC", "O", "B-LOC", "O", "O", "O"],
    [],
    ["B-PER", "O", "B-LOC"],
]
SECTIONS = """
Model Details / Model Description / Model Sources / Model Labels / Evaluation / Metrics / Uses /
Direct Use for Inference / Downstream Use / Out-of-Scope Use / Bias, Risks and Limitations / Recommendations /
Training Details / Training Set Metrics / Training Hyperparameters / Training Results / Framework Versions / Citation /
BibTeX / Glossary / Model Card Authors / Model Card Contact
"""


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    data = Dataset.from_dict({"tokens": SENTENCES, "ner_tags": TAGS})
    model = build_model("bert", entity_max_length=3)
    model.model_card_data = SpanMarkerModelCardData(
        language=["en", "nl"],
        license="apache-2.0",
        encoder_id="google-bert/bert-base-cased",
        dataset_name="Tiny",
        dataset_id="user/tiny",
        dataset_revision="0123abc",
        tags=["history"],
    )
    folder = tmp_path_factory.mktemp("trained")
    args = {"per_device_train_batch_size": 2, "gradient_accumulation_steps": 2, "eval_strategy": "steps"}
    args |= {"eval_steps": 1, "save_steps": 1, "max_steps": 3, "load_best_model_at_end": True}
    args |= {"lr_scheduler_type": "constant_with_warmup", "warmup_steps": 0.1, "bf16": True, "learning_rate": 0.1}
    trainer = Trainer(
        model,
        TrainingArguments(str(folder), report_to="none", use_cpu=True, disable_tqdm=True, seed=1, **args),
        data,
        data.select([2, 0, 4]),
    )
    trainer.train()
    trainer.evaluate(data, metric_key_prefix="test")
    return trainer, folder


def test_metadata_are_what_the_hub_reads(trained):
    card = ModelCard(trained[0].model.generate_model_card())
    data = card.data.to_dict()
    assert data["library_name"] == "span-marker"
    assert data["pipeline_tag"] == "token-classification"
    assert {"span-marker", "ner", "generated_from_span_marker_trainer", "history"} <= set(data["tags"])
    assert (data["language"], data["license"]) == (["en", "nl"], "apache-2.0")
    assert (data["base_model"], data["datasets"]) == ("google-bert/bert-base-cased", ["user/tiny"])
    assert data["metrics"] == ["precision", "recall", "f1"]
    # Of the evaluation data, and in their order.
    assert [item["text"] for item in data["widget"]] == [" ".join(SENTENCES[row]) for row in (2, 0, 4)]


def test_model_index_has_the_figures_of_the_weights_that_are_kept(trained):
    trainer, _ = trained
    results = ModelCard(trainer.model.generate_model_card()).data.eval_results
    found = {(result.dataset_split, result.metric_type): result.metric_value for result in results}
    losses = {entry["step"]: entry["eval_loss"] for entry in trainer.state.log_history if "eval_loss" in entry}
    kept = trainer.model.training_record.results["eval"]
    assert kept["eval_loss"] == losses[trainer.state.best_global_step] == min(losses.values()) < losses[3]
    assert found["eval", "f1"] == kept["eval_overall_f1"]
    test = next(entry for entry in trainer.state.log_history if "test_overall_f1" in entry)
    assert found["test", "recall"] == test["test_overall_recall"]
    assert {result.dataset_revision for result in results} == {"0123abc"}


def test_every_section_is_there(trained):
    text = trained[0].model.generate_model_card()
    headings = re.findall(r"^#{2,3} (.*)$", text, flags=re.MULTILINE)
    assert headings == [name.strip() for name in SECTIONS.replace("\n", " ").split(" / ")]


def test_figures_of_the_data(trained):
    text = trained[0].model.generate_model_card()
    # Lengths 0, 1, 3, 7, 14 and 0, 1, 2, 2, 4 entities: the medians are no means.
    assert re.search(r"\| Sentence length +\| 0 +\| 3 +\| 14 +\|", text)
    assert re.search(r"\| Entities per sentence +\| 0 +\| 2 +\| 4 +\|", text)
    assert '| PER   | "Amelia Earhart", "Leonardo da Vinci", "Cleopatra" |' in text
    assert '| ORG   | "the Mona Lisa" ' in text


def test_settings_and_results_of_the_training(trained):
    trainer, _ = trained
    text = trainer.model.generate_model_card()
    for line in (
        "- learning_rate: 0.1",
        "- train_batch_size: 2",
        "- gradient_accumulation_steps: 2",
        "- total_train_batch_size: 4",
        "- lr_scheduler_warmup_steps: 0.1",
        "- mixed_precision_training: bfloat16",
        "- optimizer: adamw_torch_fused with betas=(0.9,0.999) and epsilon=1e-08",
        "- **Maximum Entity Length:** 3 words",
        "- **Maximum Sequence Length:** 128 tokens",
    ):
        assert line in text.splitlines()
    table = text.split("### Training Results\n")[1].split("\n\n")[0].splitlines()
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in table[2:]]
    losses = [entry["eval_loss"] for entry in trainer.state.log_history if "eval_loss" in entry]
    assert [(row[1], row[2]) for row in rows] == [(str(step + 1), f"{losses[step]:.4f}") for step in range(3)]


def test_code_of_the_card_runs(trained):
    text = trained[0].model.generate_model_card()
    blocks = re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)
    assert len(blocks) == 2
    for block in blocks:
        compile(block, "card", "exec")
    assert blocks[1].startswith(
        "from datasets import load_dataset\nfrom span_marker import SpanMarkerModel, Trainer\n\n"
    )
    assert 'dataset = load_dataset("user/tiny")\n\n' in blocks[1]
    assert f"model.predict({' '.join(SENTENCES[2])!r})".replace("'", '"') in blocks[0]


def test_checkpoints_and_the_output_folder_have_cards(trained):
    trainer, folder = trained
    assert "### Training Results" in (folder / "checkpoint-3" / "README.md").read_text(encoding="utf-8")
    trainer.create_model_card(model_name="Another title", language="de", tags="more")
    card = ModelCard.load(folder / "README.md")
    assert "# Another title" in card.text
    assert card.data.language == ["en", "nl"]  # the model's own card data come first
    assert {"history", "more"} <= set(card.data.tags)
    assert "more" not in trainer.model.generate_model_card()


def test_a_card_is_kept_until_the_model_is_trained(trained, tmp_path):
    trained[0].model.save_pretrained(tmp_path / "one")
    readme = tmp_path / "one" / "README.md"
    readme.write_text(readme.read_text(encoding="utf-8") + "\nWritten by hand.\n", encoding="utf-8")
    model = SpanMarkerModel.from_pretrained(tmp_path / "one")
    model.save_pretrained(tmp_path / "two")
    assert (tmp_path / "two" / "README.md").read_text(encoding="utf-8") == readme.read_text(encoding="utf-8")
    told = SpanMarkerModel.from_pretrained(tmp_path / "one", model_card_data=SpanMarkerModelCardData(license="mit"))
    assert ModelCard(told.generate_model_card()).data.license == "mit"
    data = Dataset.from_dict({"tokens": SENTENCES, "ner_tags": TAGS})
    args = TrainingArguments(str(tmp_path), max_steps=1, report_to="none", use_cpu=True, disable_tqdm=True)
    Trainer(model, args, data).train()
    assert "Written by hand" not in model.generate_model_card()


@pytest.mark.parametrize(
    ("dataset_id", "examples", "are_shown"),
    [(None, None, False), (None, True, True), ("user/tiny", None, True), ("user/tiny", False, False)],
)
def test_texts_are_in_the_card_of_public_data_or_on_request(trained, monkeypatch, dataset_id, examples, are_shown):
    data = trained[0].model.model_card_data
    monkeypatch.setattr(data, "dataset_id", dataset_id)
    monkeypatch.setattr(data, "examples", examples)
    monkeypatch.setattr(trained[0].model.training_record, "dataset_id", "user/loaded")  # the Hub has private data, too
    text = trained[0].model.generate_model_card()
    for name in ("Leonardo", "Florence", "Cleopatra"):
        assert (name in text) == are_shown
    assert ("widget:" in text) == are_shown
    assert "| PER   |" in text
    assert "Median" in text


SECRETS = ["Zebedee", "zebedee.quux@example.com", "Quuxville"]


def test_no_file_of_a_training_has_texts_of_the_data(tmp_path, caplog):
    tokens = [["Ask", SECRETS[0], "at", SECRETS[1], "in", SECRETS[2], "."]] * 4
    data = Dataset.from_dict({"tokens": tokens, "ner_tags": [["O", "B-PER", "O", "B-ORG", "O", "B-LOC", "O"]] * 4})
    model = build_model("bert", entity_max_length=3, candidates_per_word=1)
    args = {"eval_strategy": "epoch", "save_strategy": "epoch", "num_train_epochs": 1, "report_to": "tensorboard"}
    trainer = Trainer(model, TrainingArguments(str(tmp_path), use_cpu=True, disable_tqdm=True, **args), data, data)
    with caplog.at_level(logging.INFO, "span_marker"):
        trainer.train()
        trainer.evaluate()
        tune_thresholds(model, data)
        trainer.save_model(str(tmp_path / "saved"))
        trainer.save_state()
        trainer.create_model_card()
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert {"README.md", "trainer_state.json", "config.json", "training_args.bin"} <= {path.name for path in files}
    for path in files:
        content = path.read_bytes().lower()
        assert not [secret for secret in SECRETS if secret.lower().encode() in content], path
    assert not [secret for secret in SECRETS if secret in caplog.text]
    assert caplog.text.count("The model card shows no texts or entities of the data.") == 1


def annotated():
    """Gold entities that random weights find in part."""
    return Dataset.from_dict({"tokens": SENTENCES, "ner_tags": TAGS})


def names_of_metrics(text):
    return {result.dataset_split: result.metric_name for result in ModelCard(text).data.eval_results}


def test_the_card_says_that_metrics_were_measured_before_a_change(tmp_path):
    model = build_model("bert", entity_max_length=3)
    args = {"max_steps": 1, "eval_strategy": "steps", "eval_steps": 1, "save_steps": 1, "report_to": "none"}
    trainer = Trainer(model, TrainingArguments(str(tmp_path), use_cpu=True, **args), annotated(), annotated())
    trainer.train()
    trainer.evaluate(annotated(), metric_key_prefix="test")
    trainer.evaluate()
    before = model.generate_model_card()
    assert names_of_metrics(before) == {"eval": "Recall", "test": "Recall"}
    assert "Changes After Training" not in before
    assert "Evaluation `test`:\n\n| Label" in before  # the first measured

    report = tune_thresholds(model, annotated())
    text = model.generate_model_card()
    assert names_of_metrics(text) == {"eval": "Recall" + OUTDATED, "test": "Recall" + OUTDATED}
    assert f"Evaluation `test`{OUTDATED}:" in text
    assert "Metrics were measured: `eval`, `test` before the last change." in text
    [line] = [line for line in text.splitlines() if line.startswith("- **Thresholds:** ")]
    assert "Tuned for the best F1 on 5 held-out sentences with 9 entities." in line
    for name, scores in (("with them", report.after), ("expected on new text", report.expected)):
        assert f"{name} {', '.join(f'{score:.4f}' for score in scores)}" in line
    trainer.save_model(str(tmp_path / "tuned"))

    metrics = trainer.evaluate()
    text = model.generate_model_card()
    assert metrics["eval_overall_f1"] == pytest.approx(report.after.f1)
    assert names_of_metrics(text) == {"eval": "Recall", "test": "Recall" + OUTDATED}
    assert "Metrics were measured: `test` before the last change; `eval` after it." in text

    trainer.train()
    assert "Changes After Training" not in model.generate_model_card()


def test_a_card_that_is_kept_says_that_its_figures_are_of_before(trained, tmp_path):
    trained[0].model.save_pretrained(tmp_path / "one")
    model = SpanMarkerModel.from_pretrained(tmp_path / "one")
    before = model.generate_model_card()
    model.note_change("Thresholds", "Tuned.")
    model.save_pretrained(tmp_path / "two")
    model = SpanMarkerModel.from_pretrained(tmp_path / "two")
    model.note_change("Calibration", "Scores are divided by 2.")
    model.note_change("Thresholds", "Tuned again.")
    text = model.generate_model_card()
    assert text.count("### Changes After Training") == text.count("## Uses\n") == 1
    assert re.findall(r"^- \*\*(.*?):\*\* (.*)$", text.split("### Changes After Training")[1].split("##")[0], re.M) == [
        ("Calibration", "Scores are divided by 2."),
        ("Thresholds", "Tuned again."),
    ]
    assert "All other figures in this card were measured before the last change." in text
    assert text.index("### Metrics") < text.index("### Changes After Training") < text.index("## Uses")
    assert set(names_of_metrics(text).values()) == {"Recall" + OUTDATED}
    rest = re.sub(r"<!-- changes -->.*<!-- /changes -->\n", "", text, flags=re.S).replace(OUTDATED, "")
    assert rest.split() == before.split()


def test_a_card_without_sections_or_metrics_takes_a_change():
    assert note_change_in_card("# A model\n", "Thresholds", "Tuned.") == (
        "# A model\n\n<!-- changes -->\n### Changes After Training\n- **Thresholds:** Tuned.\n\n"
        "All other figures in this card were measured before the last change.\n<!-- /changes -->\n"
    )


def test_the_card_names_the_library_that_reads_the_model(trained):
    model = copy.deepcopy(trained[0].model)
    text = model.generate_model_card()
    assert "[SpanMarker](https" not in text
    assert "**Repository:**" not in text
    assert (
        "```console\n$ pip install .\n```\n\nOn PyPI, the name `span_marker` belongs to the 1.x library, which can"
        in text
    )
    for name, value in (("token_state_size", 32), ("letter_case", True), ("multi_label", True)):
        config = copy.deepcopy(model.config)
        setattr(config, name, value)
        model.config, old = config, model.config
        assert "the 1.x library, which cannot read this model." in model.generate_model_card()
        model.config = old


def test_facts_fill_the_gaps_in_one_card(trained):
    model = trained[0].model
    before = model.generate_model_card()
    text = model.generate_model_card(model_id="user/ner", license="mit", tags=["more"])
    assert 'from_pretrained("user/ner")' in text
    assert ModelCard(text).data.license == "apache-2.0"  # the model's own
    assert {"history", "more"} <= set(ModelCard(text).data.tags)
    assert model.generate_model_card() == before


def test_an_untrained_model_has_a_card():
    card = ModelCard(build_model("bert", entity_max_length=3).generate_model_card())
    assert "generated_from_span_marker_trainer" not in card.data.tags
    assert card.data.eval_results is None
    assert "<!-- - **Encoder:** Unknown -->" in card.text
    assert "Median" not in card.text


def test_the_card_of_a_model_with_relations_lists_them_and_their_metrics():
    labels = ["lives in", "knows"]
    model = build_model("bert", entity_max_length=3, reads_tokens=True, relation_labels=labels)
    spread = Spread.from_counts([1])
    metrics = {f"test_{kind}_{name}": 0.5 for kind in ("overall", "relation") for name in ("precision", "recall", "f1")}
    model.training_record = TrainingRecord({}, [], spread, spread, results={"test": metrics})
    card = ModelCard(model.generate_model_card())
    assert "| lives in | head to tail | any entities |" in card.text
    assert "to find relations between the entities." in card.text
    assert re.search(
        r'^found = model.predict\(".*"\)  # a dict with "entities" and "relations"$', card.text, re.MULTILINE
    )
    results = card.data.eval_results
    assert {result.task_name for result in results} == {"Named Entity Recognition", "Relation Extraction"}
    assert [result.metric_type for result in results] == ["f1", "precision", "recall"] * 2


def test_a_card_with_other_relations_is_not_kept(tmp_path):
    build_model("bert", reads_tokens=True, relation_labels=["knows"]).save_pretrained(tmp_path)
    model = SpanMarkerModel.from_pretrained(tmp_path)
    assert "| knows " in model.generate_model_card()
    model.add_relations(["leads"])
    text = model.generate_model_card()
    assert "| leads " in text
    assert "knows" not in text


def test_code_of_a_card_without_a_data_set_on_the_hub_reads_files():
    text = build_model("bert", entity_max_length=3).generate_model_card()
    _, code = re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)
    compile(code, "card", "exec")
    assert code.startswith("from span_marker import SpanMarkerModel, Trainer, read_annotations\n\n")
    assert 'dataset = {"train": read_annotations("train.jsonl"), "validation": read_annotations("dev.jsonl")}\n' in code
    assert "load_dataset" not in text


def test_card_data_of_another_type_are_refused_at_once():
    with pytest.raises(TypeError, match=r"such as SpanMarkerModelCardData\(language='en'\), not dict"):
        SpanMarkerModel.from_pretrained("any", model_card_data={"language": "en"})


def test_a_folder_is_no_name_of_an_encoder(tmp_path, monkeypatch):
    model = build_model("bert", entity_max_length=3)
    model.config.encoder._name_or_path = str(tmp_path)
    assert str(tmp_path) not in model.generate_model_card()
    monkeypatch.chdir(tmp_path)
    (tmp_path / "encoder").mkdir()
    model.config.encoder._name_or_path = "encoder"
    assert ModelCard(model.generate_model_card()).data.base_model is None
    model.config.encoder._name_or_path = "google-bert/bert-base-cased"
    assert ModelCard(model.generate_model_card()).data.base_model == "google-bert/bert-base-cased"


def test_several_evaluation_sets_have_rows_of_their_own(tmp_path):
    data = Dataset.from_dict({"tokens": SENTENCES, "ner_tags": TAGS})
    args = TrainingArguments(
        str(tmp_path), max_steps=1, eval_strategy="steps", report_to="none", use_cpu=True, disable_tqdm=True
    )
    model = build_model("bert", entity_max_length=3)
    trainer = Trainer(model, args, data, {"news": data, "chat": data.select([0])})
    trainer.train()
    card = ModelCard(model.generate_model_card())
    assert {result.dataset_split for result in card.data.eval_results} == {"eval_news", "eval_chat"}
    assert re.search(r"^\| news +\|", card.text, flags=re.MULTILINE)
    assert re.search(r"^\| chat +\|", card.text, flags=re.MULTILINE)


def test_odd_labels_break_nothing():
    labels = ["O", "B-{{ x }}|y", "I-{{ x }}|y"]
    text = build_model("bert", labels=labels, entity_max_length=3).generate_model_card()
    assert "| {{ x }}\\|y |" in text
    assert markdown_table(["a", "b"], [("1|2", "3")]).splitlines()[2] == "| 1\\|2 | 3 |"


def test_emissions_are_in_the_card_if_codecarbon_measures_them(tmp_path):
    data = Dataset.from_dict({"tokens": SENTENCES, "ner_tags": TAGS})
    args = TrainingArguments(str(tmp_path), max_steps=1, report_to="codecarbon", use_cpu=True, disable_tqdm=True)
    model = build_model("bert", entity_max_length=3)
    Trainer(model, args, data).train()
    card = ModelCard(model.generate_model_card())
    emissions = card.data.to_dict()["co2_eq_emissions"]
    assert emissions["source"] == "codecarbon"
    assert emissions["energy_consumed"] > 0
    assert "### Environmental Impact" in card.text


def test_a_card_that_is_kept_learns_where_the_model_lives(trained, tmp_path):
    trained[0].model.save_pretrained(tmp_path)
    model = SpanMarkerModel.from_pretrained(tmp_path)
    text = model.generate_model_card(model_id="user/ner", tags=["more", "ner"])
    assert "span_marker_model_id" not in text
    assert 'SpanMarkerModel.from_pretrained("user/ner")' in text
    assert ModelCard(text).data.tags.count("ner") == ModelCard(text).data.tags.count("more") == 1
    assert "span_marker_model_id" in model.generate_model_card()


def test_metrics_of_the_caller_may_be_few(tmp_path):
    data = Dataset.from_dict({"tokens": SENTENCES, "ner_tags": TAGS})
    args = TrainingArguments(
        str(tmp_path), max_steps=1, eval_strategy="steps", report_to="none", use_cpu=True, disable_tqdm=True
    )
    model = build_model("bert", entity_max_length=3)
    Trainer(model, args, data, data, compute_metrics=lambda prediction: {"overall_f1": 0.25}).train()
    card = ModelCard(model.generate_model_card())
    assert [(result.metric_type, result.metric_value) for result in card.data.eval_results] == [("f1", 0.25)]
    assert re.search(r"\| 0.2500 +\|", card.text)
