"""Training: steps, gradients, options, overlaps, and the candidate filter."""

import copy
import logging
import math
import re
import threading

import datasets
import numpy as np
import pytest
import torch
from datasets import Dataset
from helpers import approximately, arguments, as_row, check_margin, filter_scores, make_shy, rounding
from tiny import SENTENCES, TAGS, build_model

from span_marker import SpanMarkerConfig, SpanMarkerModel, Trainer
from span_marker.configuration import SpanFilterConfig
from span_marker.core.spans import num_candidates
from span_marker.core.tolerance import MARGIN
from span_marker.training.final_choices import reset_settings


@pytest.fixture
def dataset():
    return Dataset.from_dict({"tokens": SENTENCES, "ner_tags": TAGS})


def test_default_arguments_and_training_twice(dataset, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    model = build_model("bert", entity_max_length=3)
    trainer = Trainer(model=model, train_dataset=dataset, eval_dataset=dataset)
    before = copy.deepcopy(model.state_dict())
    first = trainer.train()
    middle = copy.deepcopy(model.state_dict())
    second = trainer.train()
    assert first.global_step == second.global_step > 0
    assert any((before[name] != middle[name]).any() for name in before)
    assert any((middle[name] != tensor).any() for name, tensor in model.state_dict().items())
    assert 0 <= trainer.evaluate()["eval_overall_f1"] <= 1


def test_several_evaluation_sets(dataset, tmp_path):
    sets = {"one": dataset, "two": dataset.select([0])}
    trainer = Trainer(build_model("bert", entity_max_length=3), arguments(tmp_path), eval_dataset=sets)
    metrics = trainer.evaluate()
    assert {"eval_one_overall_f1", "eval_two_overall_f1"} <= set(metrics)


@pytest.mark.parametrize("multi_label", [False, True])
def test_gradient_accumulation_is_one_larger_batch(dataset, tmp_path, multi_label):
    weights = []
    for batch_size, steps in ((4, 1), (1, 4)):
        model = build_model("bert", entity_max_length=3, multi_label=multi_label)
        for module in model.modules():
            if isinstance(module, torch.nn.Dropout):
                module.p = 0.0
        options = {"per_device_train_batch_size": batch_size, "gradient_accumulation_steps": steps, "max_steps": 1}
        options |= {"optim": "sgd", "learning_rate": 0.1, "per_device_eval_batch_size": 4}
        trainer = Trainer(model, arguments(tmp_path, **options), dataset.select([0, 1, 2, 4]))
        expected = trainer.evaluate(dataset.select([0, 1, 2, 4]))["eval_loss"]
        assert trainer.train().training_loss == pytest.approx(expected, rel=1e-4)
        weights.append(model.state_dict())
    for name, tensor in weights[0].items():
        torch.testing.assert_close(weights[1][name], tensor, atol=1e-6, rtol=1e-4)


@pytest.mark.parametrize(
    "changes", [{"bf16": True}, {"gradient_checkpointing": True}, {"train_sampling_strategy": "group_by_length"}]
)
def test_training_options(dataset, tmp_path, changes):
    model = build_model("bert", entity_max_length=3)
    before = copy.deepcopy(model.state_dict())
    result = Trainer(model, arguments(tmp_path, **changes), dataset, dataset).train()
    assert np.isfinite(result.training_loss)
    assert all((before[name] != tensor).any() for name, tensor in model.state_dict().items() if tensor.dim() > 1)


def test_model_init(dataset, tmp_path):
    trainer = Trainer(
        model_init=lambda: build_model("bert", entity_max_length=3), args=arguments(tmp_path), train_dataset=dataset
    )
    assert trainer.train().global_step == 3


def test_a_collator_of_the_caller_is_refused(dataset, tmp_path):
    with pytest.raises(TypeError, match="leave data_collator out"):
        Trainer(build_model("bert"), arguments(tmp_path), dataset, data_collator=lambda features: {})


@pytest.mark.parametrize("name", ["tokenizer", "processing_class"])
def test_the_tokenizer_is_that_of_the_model(name, dataset, tmp_path):
    model, other = build_model("bert"), build_model("roberta").tokenizer
    with pytest.raises(TypeError, match=f"{name}=SpanMarkerTokenizer cannot replace .* leave {name} out"):
        Trainer(model, arguments(tmp_path), dataset, **{name: other})
    for own in (model.tokenizer, model.tokenizer.tokenizer, None):
        assert Trainer(model, arguments(tmp_path), dataset, **{name: own}).processing_class is model.tokenizer


def test_noise_on_embeddings_is_refused(dataset, tmp_path):
    with pytest.raises(ValueError, match="neftune_noise_alpha=5 must be None"):
        Trainer(build_model("bert"), arguments(tmp_path, neftune_noise_alpha=5), dataset)


@pytest.mark.parametrize("disable", [False, True])
def test_progress_bars_are_shown_or_not(disable, dataset, tmp_path, capsys):
    trainer = Trainer(build_model("bert"), arguments(tmp_path, disable_tqdm=disable), dataset)
    trainer.get_train_dataloader()
    assert ("Preparing the training data" in capsys.readouterr().err) is not disable
    assert not datasets.are_progress_bars_disabled()


def test_best_model_is_loaded_at_the_end(dataset, tmp_path):
    options = {"eval_strategy": "epoch", "save_strategy": "epoch", "load_best_model_at_end": True}
    options |= {"metric_for_best_model": "eval_overall_f1", "num_train_epochs": 2}
    trainer = Trainer(build_model("bert", entity_max_length=3), arguments(tmp_path, **options), dataset, dataset)
    trainer.train()
    assert trainer.state.best_model_checkpoint is not None
    assert trainer.evaluate()["eval_overall_f1"] == pytest.approx(trainer.state.best_metric)


def test_document_context_is_noted(dataset, tmp_path):
    model = build_model("bert", entity_max_length=3)
    with_context = dataset.add_column("document_id", [0] * 5).add_column("sentence_id", list(range(5)))
    Trainer(model, arguments(tmp_path), with_context)
    assert model.config.trained_with_document_context
    Trainer(model, arguments(tmp_path), dataset)
    assert not model.config.trained_with_document_context


def test_evaluation_the_other_way_round_than_training_warns(dataset, tmp_path, caplog):
    with_context = dataset.add_column("document_id", [0] * 5).add_column("sentence_id", list(range(5)))
    trainer = Trainer(build_model("bert", entity_max_length=3), arguments(tmp_path), with_context, with_context)
    trainer.evaluate()
    trainer.predict(with_context)
    assert not caplog.records
    trainer.evaluate(dataset)
    assert [record.getMessage()[:50] for record in caplog.records] == [
        "The model was trained with document context, but t"
    ]
    Trainer(build_model("bert", entity_max_length=3), arguments(tmp_path), dataset).evaluate(with_context)
    assert "trained without document context" in caplog.records[-1].getMessage()


def test_data_of_empty_sentences(tmp_path):
    empty = Dataset.from_dict({"tokens": [[], [], ["", ""]], "ner_tags": [[], [], ["O", "O"]]})
    trainer = Trainer(build_model("bert"), arguments(tmp_path), empty, empty)
    assert trainer.train().training_loss == 0.0
    assert trainer.evaluate()["eval_overall_f1"] == 0.0


def test_an_evaluation_set_is_named_or_given(dataset, tmp_path):
    trainer = Trainer(build_model("bert", entity_max_length=3), arguments(tmp_path), eval_dataset={"news": dataset})
    assert "eval_overall_f1" in trainer.evaluate("news")
    with pytest.raises(ValueError, match=r"'dev.jsonl' is none .* \['news'\]: .* pass read_annotations\('dev.jsonl'\)"):
        trainer.evaluate("dev.jsonl")


def by_heart(model, folder):
    """How to learn a few sentences by heart."""
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    options = {"num_train_epochs": 100, "learning_rate": 4e-3, "per_device_train_batch_size": 5, "warmup_steps": 5}
    options |= {"per_device_eval_batch_size": 100}
    return arguments(folder, **options)


def test_the_loss_of_windows_is_that_of_all_candidates(tmp_path):
    words = [word for _ in range(6) for word in SENTENCES[2]]
    data = Dataset.from_list([as_row(words, [("PER", 0, 3), ("LOC", 40, 41)])])
    model = build_model("bert", entity_max_length=3, model_max_length=60)
    trainer = Trainer(model, arguments(tmp_path, per_device_train_batch_size=50), data)
    (batch,) = trainer.get_train_dataloader()
    assert len(batch["rows"]) > 1
    assert len(batch["labels"]) == int(batch["span_counts"].sum()) == 3 * len(words) - 3
    assert int((batch["labels"] != 0).sum()) == 2


@pytest.mark.parametrize("multi_label", [False, True])
def test_nested_entities_are_learned(tmp_path, multi_label):
    entities = [
        [("PER", 0, 2), ("LOC", 5, 6)],
        [("LOC", 0, 1)],
        [("PER", 0, 3), ("ORG", 4, 7), ("PER", 5, 7), ("LOC", 8, 9), ("LOC", 10, 11)],
        [],
        [("PER", 0, 1), ("LOC", 2, 3), *([("ORG", 2, 3)] if multi_label else [])],
    ]
    data = Dataset.from_list([as_row(*row) for row in zip(SENTENCES, entities, strict=True)])
    model = build_model("bert", entity_max_length=3, multi_label=multi_label)
    trainer = Trainer(model, by_heart(model, tmp_path), data, data)
    trainer.train()
    assert model.config.decoding == "nested"
    metrics = trainer.evaluate()
    assert metrics["eval_overall_f1"] == 1.0
    model.save_pretrained(tmp_path)
    loaded = SpanMarkerModel.from_pretrained(tmp_path)
    assert loaded.config.multi_label == multi_label
    found = [
        [(e["label"], e["word_start_index"], e["word_end_index"]) for e in row] for row in loaded.predict(SENTENCES)
    ]
    assert [sorted(row) for row in found] == [sorted(row) for row in entities]


@pytest.mark.parametrize("decoding", [None, "flat"])
def test_training_data_decide_how_overlaps_are_resolved_before_anything_is_found(tmp_path, caplog, decoding):
    nested = Dataset.from_list([as_row(SENTENCES[0], [("PER", 0, 2), ("LOC", 0, 1)])])
    models = []

    def model_init():
        models.append(build_model("bert", entity_max_length=3, decoding=decoding))
        return models[-1]

    trainer = Trainer(model_init=model_init, args=arguments(tmp_path), train_dataset=nested)
    assert models[0].config.decoding == decoding
    trainer.evaluate(nested)
    trainer.predict(nested)
    trainer.train()
    assert [model.config.decoding for model in models] == [decoding or "nested"] * 2
    warnings = [record for record in caplog.records if "overlap" in record.getMessage()]
    assert len(warnings) == (0 if decoding is None else 2)  # one for each model


def test_texts_are_trained_on_as_they_are_predicted(tmp_path):
    text = "Amelia Earhart (1897) flew to Paris, France."
    entities = [
        {"label": label, "start": text.index(span), "end": text.index(span) + len(span)}
        for label, span in (("PER", "Amelia Earhart"), ("LOC", "Paris"), ("LOC", "France"))
    ]
    data = Dataset.from_list([{"text": text, "entities": entities}, {"text": "", "entities": []}] * 2)
    model = build_model("bert", entity_max_length=3)
    trainer = Trainer(model, by_heart(model, tmp_path), data, data)
    trainer.train()
    assert trainer.evaluate()["eval_overall_f1"] == 1.0
    found = model.predict(text)
    assert [(e["label"], e["char_start_index"], e["char_end_index"]) for e in found] == [
        (e["label"], e["start"], e["end"]) for e in entities
    ]


def many(dataset, copies=100):
    return Dataset.from_dict({name: dataset[name][:] * copies for name in dataset.column_names})


@pytest.mark.parametrize("per_word", [3, 0.5])
def test_the_filter_is_trained_and_tuned(dataset, tmp_path, per_word):
    model = build_model("bert", entity_max_length=3, candidates_per_word=per_word)
    trainer = Trainer(model, by_heart(model, tmp_path), dataset, many(dataset))
    before = copy.deepcopy(model.span_filter.state_dict())
    trainer.train()
    assert all((before[name] != tensor).any() for name, tensor in model.span_filter.state_dict().items())
    # The threshold is a little below the score of one of the many copies of an entity, which rounding sets apart.
    within = rounding(model, lambda some: filter_scores(some, SENTENCES))
    distances = (filter_scores(model, SENTENCES).double() - model.config.span_filter.threshold).abs()
    assert within < MARGIN - within < distances.min() < MARGIN + within
    check_margin(model, SENTENCES)
    metrics = trainer.evaluate(compare_exact=True)
    assert 0 < metrics["eval_candidates_kept"] < 1 == metrics["eval_exact_candidates_kept"]
    lost = metrics["eval_exact_overall_recall"] - metrics["eval_overall_recall"]
    assert metrics["eval_recall_lost"] == pytest.approx(lost)
    output = trainer.predict(dataset)
    found, _ = output.predictions
    assert output.metrics["test_overall_f1"] == metrics["eval_overall_f1"]
    predictions = model.predict(dataset)
    assert [row[row[:, 0] >= 0][:, 1:].tolist() for row in found] == [
        [[entity["word_start_index"], entity["word_end_index"]] for entity in row] for row in predictions
    ]
    model.save_pretrained(tmp_path)
    assert SpanMarkerModel.from_pretrained(tmp_path).predict(dataset) == predictions
    assert not model.config.exact


class Unchanged(SpanMarkerConfig):
    """A configuration that refuses to be changed."""

    def __setattr__(self, name, value):
        raise AssertionError(f"config.{name} was set")


@pytest.mark.parametrize("names", [None, ("news", "chat")])
def test_evaluating_without_the_filter_leaves_the_model_to_others(dataset, tmp_path, names):
    """Other threads may predict in the meantime."""
    model = build_model("bert", entity_max_length=3, candidates_per_word=0.5)
    model.add_span_filter()
    sets = dataset if names is None else dict.fromkeys(names, dataset)
    trainer = Trainer(model, arguments(tmp_path), dataset, sets)
    trainer.train()
    # A library may run matrix products in fewer threads while others are busy.
    within = check_margin(model, SENTENCES)
    expected = approximately(model.predict(SENTENCES), within)
    assert expected != model.predict(SENTENCES, exact=True)
    record = copy.deepcopy(model.training_record)
    model.config.__class__ = Unchanged
    found, is_done = [], threading.Event()

    def predict():
        while not is_done.is_set():
            found.append(model.predict(SENTENCES))

    thread = threading.Thread(target=predict)
    thread.start()
    try:
        metrics = trainer.evaluate(compare_exact=True)
    finally:
        is_done.set()
        thread.join()
    assert found
    assert all(entities == expected for entities in found)
    for name in ("eval",) if names is None else ("eval_news", "eval_chat"):
        exact = name.replace("eval", "eval_exact")
        assert metrics[f"{name}_candidates_kept"] < 1 == metrics[f"{exact}_candidates_kept"]
        lost = metrics[f"{exact}_overall_recall"] - metrics[f"{name}_overall_recall"]
        assert metrics[f"{name}_recall_lost"] == lost
        assert trainer.evaluate()[f"{name}_candidates_kept"] < 1
    # The card has only the figures of the model as it predicts.
    evaluations = {"eval"} if names is None else {"eval_news", "eval_chat"}
    assert record.results == {}
    assert set(model.training_record.results) == evaluations
    assert {evaluation.name for evaluation in model.training_record.evaluations} == evaluations


@pytest.mark.parametrize("per_word", [3, 0.5])
def test_without_evaluation_data_the_filter_has_no_threshold(dataset, tmp_path, caplog, per_word):
    model = build_model("bert", entity_max_length=3, candidates_per_word=per_word)
    trainer = Trainer(model, arguments(tmp_path), dataset)
    with caplog.at_level(logging.INFO, "span_marker"):
        trainer.train()
    [line] = [record for record in caplog.records if "tune_span_filter" in record.getMessage()]
    assert line.levelno == logging.INFO
    assert f"in training (candidates_per_word={per_word}), which costs speed, not accuracy." in line.getMessage()
    assert line.getMessage().endswith("Training chose none: there is no eval_dataset")
    exact = model.predict(dataset, exact=True)
    counts = [num_candidates(len(words), 3) for words in dataset["tokens"]]
    kept = sum(min(math.ceil(per_word * len(words)), num_candidates(len(words), 3)) for words in dataset["tokens"])
    metrics = trainer.evaluate(dataset)
    assert metrics["eval_candidates_kept"] == kept / sum(counts)
    assert model.uses_filter() == (per_word != 3)
    report = model.tune_span_filter(many(dataset), recall=0.9, batch_size=100)
    assert model.predict(dataset, exact=True) == exact
    assert trainer.evaluate(dataset)["eval_candidates_kept"] <= metrics["eval_candidates_kept"]
    assert report.chosen.kept == model.candidates_kept


def test_too_few_evaluation_data_give_no_threshold(dataset, tmp_path, caplog):
    model = build_model("bert", entity_max_length=3, candidates_per_word=0.5)
    trainer = Trainer(model, arguments(tmp_path), dataset, {"small": dataset})
    with caplog.at_level(logging.INFO, "span_marker"):
        trainer.train()
    [line] = [record for record in caplog.records if "tune_span_filter(held_out, recall=...)" in record.getMessage()]
    assert line.levelno == logging.INFO
    assert re.search(r"Training chose none: the model finds .* 598 are needed to be sure", line.getMessage())
    assert model.config.span_filter.threshold is None
    assert 0.2 < trainer.evaluate()["eval_small_candidates_kept"] < 0.4


def test_an_optimizer_without_the_filter_is_refused(dataset, tmp_path):
    model = build_model("bert", entity_max_length=3, candidates_per_word=1)
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    with pytest.raises(ValueError, match="add_span_filter"):
        Trainer(model, arguments(tmp_path), dataset, optimizers=(optimizer, None))
    model.add_span_filter()
    before = copy.deepcopy(model.span_filter.state_dict())
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    Trainer(model, arguments(tmp_path), dataset, optimizers=(optimizer, None)).train()
    assert all((before[name] != tensor).any() for name, tensor in model.span_filter.state_dict().items())


def test_a_filter_needs_the_models_own_loss(dataset, tmp_path):
    model = build_model("bert", entity_max_length=3, candidates_per_word=1)
    with pytest.raises(ValueError, match=r"label_smoothing_factor .*candidates_per_word=None"):
        Trainer(model, arguments(tmp_path, label_smoothing_factor=0.1), dataset)
    with pytest.raises(ValueError, match=r"compute_loss_func .*candidates_per_word=None"):
        Trainer(model, arguments(tmp_path), dataset, compute_loss_func=lambda *args, **kwargs: 0)
    Trainer(build_model("bert", entity_max_length=3), arguments(tmp_path, label_smoothing_factor=0.1), dataset).train()


def test_each_new_model_forgets_its_filter(dataset, tmp_path):
    fitted = build_model("bert", entity_max_length=3)
    fitted.fit_span_filter(many(dataset), recall=0.9, batch_size=100)
    fitted.save_pretrained(tmp_path / "fitted")
    trainer = Trainer(
        args=arguments(tmp_path),
        train_dataset=dataset,
        model_init=lambda: SpanMarkerModel.from_pretrained(tmp_path / "fitted"),
    )
    trainer.train()
    assert trainer.model.span_filter is None
    assert trainer.evaluate(dataset)["eval_candidates_kept"] == 1


def test_training_removes_a_filter_that_it_does_not_train(dataset, tmp_path, caplog):
    model = build_model("bert", entity_max_length=3)
    model.fit_span_filter(many(dataset), recall=0.9, batch_size=100)
    assert model.uses_filter()
    Trainer(model, arguments(tmp_path), dataset).train()
    assert "candidate filter is removed" in caplog.text
    assert model.span_filter is None
    assert model.config.span_filter is None


def test_a_filter_that_is_trained_on_is_tuned_anew(dataset, tmp_path):
    model = build_model("bert", entity_max_length=3, candidates_per_word=3)
    model.fit_span_filter(many(dataset), recall=0.9, batch_size=100)
    before = model.config.span_filter
    during = []
    options = arguments(tmp_path, eval_strategy="epoch", per_device_eval_batch_size=100)
    trainer = Trainer(model, options, dataset, many(dataset))
    evaluate = trainer.evaluate
    trainer.evaluate = lambda *args, **kwargs: during.append(model.config.span_filter) or evaluate(*args, **kwargs)
    trainer.train()
    assert during == [SpanFilterConfig(input_size=32)]  # the old threshold says nothing any more
    assert model.config.span_filter.recall == 0.995 > before.recall


@pytest.mark.parametrize("per_word", [3, 0.5])
def test_accumulated_gradients_with_a_filter_are_those_of_one_larger_batch(dataset, tmp_path, per_word):
    weights = []
    for size, steps in ((4, 1), (2, 2)):
        model = build_model("bert", entity_max_length=3, candidates_per_word=per_word)
        for module in model.modules():
            if isinstance(module, torch.nn.Dropout):
                module.p = 0.0
        changes = {"per_device_train_batch_size": size, "gradient_accumulation_steps": steps, "max_grad_norm": 0}
        changes |= {"optim": "sgd", "max_steps": 1}
        Trainer(model, arguments(tmp_path, **changes), dataset).train()
        weights.append(torch.cat([parameter.detach().flatten() for parameter in model.parameters()]))
    torch.testing.assert_close(weights[0], weights[1], atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize(("tunes", "has_data"), [(True, True), (True, False), (False, True)])
def test_what_belongs_to_former_weights_is_reset_or_named(tunes, has_data, caplog):
    config = build_model("bert").config
    config.thresholds, config.calibration_temperature = {"PER": 0.9}, 1.5
    reset_settings(config, tunes, has_data)
    assert config.thresholds == (None if tunes and has_data else {"PER": 0.9})
    assert config.calibration_temperature == 1.0
    assert "calibration_temperature=1.5 belongs to the weights before this training and is reset" in caplog.text
    assert ("but are kept, since there is no eval_dataset" in caplog.text) == (tunes and not has_data)
    caplog.clear()
    reset_settings(build_model("bert").config, tunes, has_data)
    assert not caplog.records


def test_training_resets_the_temperature(dataset, tmp_path, caplog):
    model = build_model("bert", entity_max_length=3)
    model.config.calibration_temperature = 1.5
    Trainer(model, arguments(tmp_path, max_steps=1), dataset).train()
    assert model.config.calibration_temperature == 1.0


@pytest.mark.parametrize("tunes", [True, False])
def test_training_ends_with_thresholds_if_they_help(dataset, tmp_path, caplog, tunes):
    model = make_shy(build_model("bert", entity_max_length=3))
    model.config.thresholds = {"PER": 0.9}
    copies = many(dataset, 30)
    found = model.predict(copies, threshold=0.1)  # gold, since the training changes nothing
    gold = [
        [{**entity, "start": entity["word_start_index"], "end": entity["word_end_index"]} for entity in row]
        for row in found
    ]
    held_out = Dataset.from_dict({"tokens": copies["tokens"], "entities": gold})
    trainer = Trainer(model, arguments(tmp_path, learning_rate=0.0), dataset, held_out, tunes_thresholds=tunes)
    with caplog.at_level(logging.INFO, "span_marker"):
        trainer.train()
    assert ("Thresholds, tuned on the evaluation data, are now set in the model:" in caplog.text) == tunes
    assert ("are reset" in caplog.text) == tunes
    if not tunes:
        assert model.config.thresholds == {"PER": 0.9}
        return
    assert set(model.config.thresholds) == {"PER", "LOC", "ORG"}
    tuned = trainer.evaluate()["eval_overall_f1"]
    model.config.thresholds = None
    assert tuned > trainer.evaluate()["eval_overall_f1"]


def test_training_leaves_out_thresholds_that_may_not_help(dataset, tmp_path, caplog):
    model = build_model("bert", entity_max_length=3)
    with caplog.at_level(logging.INFO, "span_marker"):
        Trainer(model, arguments(tmp_path), dataset, dataset).train()
    assert model.config.thresholds is None
    assert "Thresholds, tuned on the evaluation data, may not help, so the model gets none:" in caplog.text
    nothing = dataset.map(lambda row: {"ner_tags": [0] * len(row["tokens"])})
    with caplog.at_level(logging.INFO, "span_marker"):
        Trainer(model, arguments(tmp_path), dataset, nothing).train()
    assert "Training chose no thresholds: there are no entities in the held-out data" in caplog.text


def test_labels_that_only_the_evaluation_data_have_are_named(dataset, tmp_path, caplog):
    without = dataset.select([0, 1, 4])
    Trainer(build_model("bert", entity_max_length=3), arguments(tmp_path), without, dataset).get_train_dataloader()
    assert "The training data has no entities of these labels, so the model cannot learn them: ORG." in caplog.text
    caplog.clear()
    Trainer(build_model("bert", entity_max_length=3), arguments(tmp_path), dataset, without).get_train_dataloader()
    assert "no entities" not in caplog.text


def test_a_search_without_evaluation_data_is_refused_before_its_first_run(dataset, tmp_path):
    trainer = Trainer(model_init=lambda: build_model("bert"), args=arguments(tmp_path), train_dataset=dataset)
    with pytest.raises(ValueError, match="pass Trainer an eval_dataset"):
        trainer.hyperparameter_search(lambda trial: {}, n_trials=1, backend="optuna")
    assert trainer.state.global_step == 0
