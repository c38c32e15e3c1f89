"""Data sets are checked at once, read once, and prepared when they are first needed."""

import copy
import gc

import datasets.arrow_dataset
import pytest
from datasets import Dataset
from datasets.formatting import ArrowFormatter
from helpers import arguments
from tiny import LABELS, SENTENCES, TAGS, build_model, build_tokenizer, encoder_config
from transformers import AutoModel

import span_marker.preprocessing.features
from span_marker import SpanMarkerModel, Trainer
from span_marker.checkpoints.training_record import NUM_LABEL_ROWS, NUM_TEXT_ROWS


@pytest.fixture
def dataset():
    return Dataset.from_dict({"tokens": SENTENCES, "ner_tags": TAGS})


def entity(start, end):
    return {"label": "PER", "start": start, "end": end}


def test_each_data_set_is_prepared_once(dataset, tmp_path, monkeypatch):
    calls = []
    original = span_marker.preprocessing.features.prepare
    monkeypatch.setattr(
        span_marker.preprocessing.features, "prepare", lambda *a, **k: calls.append(a[0]) or original(*a, **k)
    )
    other = Dataset.from_dict({"tokens": SENTENCES[:1], "ner_tags": TAGS[:1]})
    trainer = Trainer(build_model("bert", entity_max_length=3), arguments(tmp_path), dataset, dataset)
    trainer.train()
    trainer.evaluate()
    for _ in range(2):
        trainer.evaluate(other)
        trainer.predict(other)
    assert calls == [dataset, other]


def test_features_go_with_their_data_set(dataset, tmp_path):
    trainer = Trainer(build_model("bert", entity_max_length=3), arguments(tmp_path), dataset, dataset)
    rows = dataset.to_list()
    for _ in range(3):
        trainer.evaluate(rows)  # a new data set each time
    gc.collect()
    trainer.evaluate()
    assert [prepared.dataset() for prepared in trainer._data._prepared] == [dataset]


@pytest.fixture
def rows_read(monkeypatch):
    """How many rows with tokens have been read from data sets: one number for each time that some were."""
    counts, format_table = [], datasets.arrow_dataset.format_table

    def counting(table, key, formatter, *args, **kwargs):
        if "tokens" in table.column_names and not isinstance(formatter, ArrowFormatter):  # map reads arrow first
            counts.append(table.num_rows)
        return format_table(table, key, formatter, *args, **kwargs)

    monkeypatch.setattr(datasets.arrow_dataset, "format_table", counting)
    return counts


@pytest.mark.parametrize("limit", [3, "auto"])
def test_rows_are_read_once_and_once_more_for_limits(tmp_path, rows_read, limit):
    size = 1200  # more than are looked at for examples
    data = Dataset.from_dict(
        {"tokens": [SENTENCES[1], SENTENCES[4]] * (size // 2), "ner_tags": [TAGS[1], TAGS[4]] * (size // 2)}
    )
    trainer = Trainer(build_model("bert", entity_max_length=limit), arguments(tmp_path, max_steps=1), data)
    assert sum(rows_read) == (size if limit == "auto" else 0)
    rows_read.clear()
    trainer.evaluate(data.select([0]))  # training data come first, since they may set decoding
    assert sum(rows_read) == size + 1
    rows_read.clear()
    trainer.train()
    trainer.train()
    examples = NUM_TEXT_ROWS + 2 * NUM_LABEL_ROWS
    assert sum(rows_read) <= 2 * examples < size
    record = trainer.model.training_record
    assert record.entity_counts == (1, 1.5, 2)
    assert record.sentence_lengths == (1, 2, 3)
    assert record.label_examples == {"LOC": ["Paris", "Egypt"], "PER": ["Cleopatra"]}


def test_new_models_with_the_same_settings_share_limits_and_features(tmp_path, rows_read):
    size = 300
    data = Dataset.from_dict({"tokens": [SENTENCES[4]] * size, "ner_tags": [TAGS[4]] * size})
    trainer = Trainer(
        model_init=lambda: build_model("bert", entity_max_length="auto"),
        args=arguments(tmp_path, max_steps=1),
        train_dataset=data,
    )
    trainer.train()
    trainer.train()
    assert trainer.model.config.entity_max_length == 1
    assert sum(rows_read) <= 2 * size + 2 * (NUM_TEXT_ROWS + 2 * NUM_LABEL_ROWS)


def test_other_data_may_take_the_place_of_the_first(dataset, tmp_path):
    trainer = Trainer(build_model("bert", entity_max_length=3), arguments(tmp_path), dataset, dataset)
    metrics = trainer.evaluate()
    trainer.train_dataset = dataset.select([0, 1])
    trainer.eval_dataset = dataset.select([0])
    assert trainer.train().global_step == 1
    assert metrics["eval_PER"]["number"] > trainer.evaluate()["eval_PER"]["number"] == 1


def test_bad_rows_stop_training_before_its_first_step(dataset, tmp_path):
    broken = Dataset.from_dict({"tokens": [["a"]], "ner_tags": [["B-ART"]]})
    model = build_model("bert")
    before = copy.deepcopy(model.state_dict())
    for given, name in (
        ((broken, dataset), "training"),
        ((dataset, broken), "evaluation"),
        ((dataset, {"news": dataset, "chat": broken}), r"evaluation \(chat\)"),
    ):
        trainer = Trainer(model, arguments(tmp_path, learning_rate=1.0), *given)
        with pytest.raises(ValueError, match=f"row 0 of the {name} data: tag 'B-ART'"):
            trainer.train()
        assert all((before[key] == tensor).all() for key, tensor in model.state_dict().items())
    assert model.config.tags == LABELS


def test_wrong_columns_are_refused_at_once(dataset, tmp_path):
    untagged = dataset.remove_columns("ner_tags")
    model = build_model("bert")
    for given, name in (
        ((untagged, None), "training"),
        ((dataset, untagged), "evaluation"),
        ((dataset, {"news": dataset, "chat": untagged}), r"evaluation \(chat\)"),
    ):
        with pytest.raises(ValueError, match=f"the {name} data has the columns"):
            Trainer(model, arguments(tmp_path), *given)


def test_automatic_limits_come_from_the_training_data(dataset, tmp_path):
    model = build_model("bert", entity_max_length="auto", model_max_length="auto")
    with pytest.raises(ValueError, match="'auto' is set by Trainer from the training data"):
        model.predict("Paris")
    Trainer(model, arguments(tmp_path), dataset)
    assert model.config.entity_max_length == 3
    assert model.config.model_max_length == 128  # all that the encoder can read, and less than the default
    model.predict("Paris")
    model = build_model("xlm-roberta", entity_max_length=3, model_max_length="auto")
    model.config.model_max_length_default = 8
    Trainer(model, arguments(tmp_path), dataset)
    longest = max(len(row.input_ids) for row in model.tokenizer.encode_words(SENTENCES)) + 2
    assert longest <= model.config.model_max_length < longest + 8
    with pytest.raises(ValueError, match="'auto' is set by Trainer from the training data"):
        Trainer(build_model("bert", entity_max_length="auto"), arguments(tmp_path), eval_dataset=dataset)


def test_the_limit_of_entities_comes_from_the_data_that_the_labels_come_from(dataset, tmp_path, caplog):
    encoder, tokenizer = tmp_path / "encoder", build_tokenizer("wordpiece").tokenizer
    AutoModel.from_config(encoder_config("bert", len(tokenizer))).save_pretrained(encoder)
    tokenizer.save_pretrained(encoder)
    rows = [
        {"tokens": ["Ann", *"Lee flew to Paris".split()] + ["x"] * 20, "entities": entities}
        for entities in ([entity(0, 2), entity(4, 5)], [entity(0, 12)])
    ]
    data = Dataset.from_list(rows)
    for labels in (data, {"train": data}):
        model = SpanMarkerModel.from_pretrained(encoder, labels=labels)
        assert model.config.entity_max_length == "auto"
        with caplog.at_level("INFO", logger="span_marker"):
            Trainer(model, arguments(tmp_path), data)
        assert model.config.entity_max_length == 12
        messages = [record.getMessage() for record in caplog.records]
        assert [message for message in messages if message.startswith("Set from")] == [
            "Set from the training data: entity_max_length=12 (in words of the tokenizer), which keeps 100.00% of the "
            "entities, the longest of which has 12."
        ]
        caplog.clear()
    assert SpanMarkerModel.from_pretrained(encoder, labels=data, entity_max_length=3).config.entity_max_length == 3
    assert SpanMarkerModel.from_pretrained(encoder, labels=["O", "PER"]).config.entity_max_length == 8
    model.save_pretrained(tmp_path / "model")
    again = SpanMarkerModel.from_pretrained(tmp_path / "model", labels=data)
    assert again.config.entity_max_length == 12


def test_model_init_may_change_limits(dataset, tmp_path):
    limits = iter([(3, 100), (2, 8), (4, 100)])

    def model_init():
        entity_max_length, model_max_length = next(limits)
        return build_model("bert", entity_max_length=entity_max_length, model_max_length=model_max_length)

    data = dataset.add_column("document_id", list(range(5))).add_column("sentence_id", [0] * 5)
    trainer = Trainer(model_init=model_init, args=arguments(tmp_path), train_dataset=data, eval_dataset=dataset)
    lengths = []
    for entity_max_length in (2, 4):
        trainer.train()
        assert trainer.data_collator.entity_max_length == entity_max_length
        assert trainer.model.config.trained_with_document_context
        lengths.append(max(batch["input_ids"].shape[1] for batch in trainer.get_train_dataloader()))
        trainer.evaluate()
    assert lengths[0] == 8 < lengths[1]


def test_settings_that_change_after_the_trainer_is_made_count(tmp_path, monkeypatch):
    """Features and candidates of the limit before gave wrong figures without a word."""
    prepared = []
    original = span_marker.preprocessing.features.prepare
    monkeypatch.setattr(
        span_marker.preprocessing.features, "prepare", lambda *a, **k: prepared.append(a[0]) or original(*a, **k)
    )
    rows = [{"tokens": ["Ann", "Lee", "left"], "entities": [entity(0, 2)]}] * 4
    data = Dataset.from_list(rows)

    def evaluate(trainer):
        metrics = trainer.evaluate()
        return {name: value for name, value in metrics.items() if not name.endswith(("time", "second"))}

    trainer = Trainer(build_model("bert", entity_max_length=1, seed=5), arguments(tmp_path), eval_dataset=data)
    before = evaluate(trainer)
    trainer.model.config.entity_max_length = 3
    after = evaluate(trainer)
    model = build_model("bert", entity_max_length=3, seed=5)
    assert after == evaluate(Trainer(model, arguments(tmp_path), eval_dataset=data)) != before
    assert trainer.data_collator.entity_max_length == 3
    del prepared[:]
    trainer.model.config.thresholds = dict.fromkeys(trainer.model.labels, 0.1)
    evaluate(trainer)
    assert not prepared, "thresholds change no features"
    trainer.model.config.model_max_length = 4
    evaluate(trainer)
    assert len(prepared) == 1
