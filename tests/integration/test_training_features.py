"""What ``transformers.Trainer`` and its friends give works with SpanMarker models."""

import copy
import logging
import shutil

import optuna
import pytest
import torch
from datasets import Dataset
from helpers import collate
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tiny import LABELS, SENTENCES, build_model
from transformers import BitsAndBytesConfig, EarlyStoppingCallback, TrainerCallback

from span_marker import SpanMarkerConfig, SpanMarkerModel, Trainer, TrainingArguments
from span_marker.preprocessing.data_collator import MODEL_INPUTS

TAGS = [
    ["B-PER", "I-PER", "O", "O", "O", "B-LOC", "O"],
    ["B-LOC"],
    ["B-PER", "I-PER", "I-PER", "O", "B-ORG", "I-ORG", "I-ORG", "O", "B-LOC", "O", "B-LOC", "O", "O", "O"],
    [],
    ["B-PER", "O", "B-LOC"],
]


OTHER_FAMILIES = (
    *("albert", "deberta", "deberta-v3", "distilbert", "eurobert", "megatron-bert"),
    *("mobilebert", "modernbert", "mpnet", "rembert", "t5"),
)
"""Families of encoders whose layers are unlike BERT's."""


@pytest.fixture
def dataset():
    return Dataset.from_dict({"tokens": SENTENCES, "ner_tags": TAGS})


def arguments(folder, **changes):
    options = {"num_train_epochs": 1, "per_device_train_batch_size": 2, "per_device_eval_batch_size": 100}
    options |= {"save_strategy": "no", "report_to": "none", "use_cpu": True, "disable_tqdm": True, "seed": 1}
    return TrainingArguments(output_dir=str(folder), **{**options, **changes})


def new_model(per_word=None, seed=0, dropout=True, **limits):
    """A tiny model, with a candidate filter if it is to learn with one."""
    model = build_model("bert", seed=seed, **{"entity_max_length": 3, "candidates_per_word": per_word, **limits})
    if per_word is not None:
        model.add_span_filter()
    return model if dropout else without_dropout(model)


def without_dropout(model):
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    return model


def weights(model):
    return copy.deepcopy(model.state_dict())


def difference(one, other):
    """The largest difference between two sets of weights."""
    assert one.keys() == other.keys()
    return max(float((tensor - other[name]).abs().max()) for name, tensor in one.items())


def losses(trainer):
    return [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]


def predictable(model, copies):
    """Sentences, many times over, with what a model finds in them as their entities."""
    rows = [
        {"tokens": words, "entities": [{"label": e["label"], "start": s, "end": t} for e, s, t in places(found)]}
        for words, found in zip(SENTENCES, model.predict(SENTENCES), strict=True)
    ]
    return Dataset.from_list(rows * copies)


def places(found):
    return [(entity, entity["word_start_index"], entity["word_end_index"]) for entity in found]


def scores(model):
    """Everything with some probability in the sentences, with its score."""
    return [
        [(e["label"], start, end, pytest.approx(e["score"], abs=1e-5)) for e, start, end in places(found)]
        for found in model.predict(SENTENCES, threshold=0.001, decoding="overlapping")
    ]


@pytest.mark.parametrize(("per_word", "batch_size", "accumulation"), [(None, 2, 1), (1, 1, 2)])
def test_resuming_within_an_epoch_is_like_never_having_stopped(dataset, tmp_path, per_word, batch_size, accumulation):
    options = {"num_train_epochs": 3, "learning_rate": 1e-2, "save_strategy": "steps", "save_steps": 5}
    options |= {"per_device_train_batch_size": batch_size, "gradient_accumulation_steps": accumulation}
    first = new_model(per_word)
    trainer = Trainer(first, arguments(tmp_path / "first", **options), dataset)
    trainer.train()
    assert trainer.state.global_step == 9  # three in an epoch
    ends = []
    shutil.copytree(tmp_path / "first" / "checkpoint-5", tmp_path / "without")
    (tmp_path / "without" / "rng_state.pth").unlink()
    for checkpoint in (tmp_path / "first" / "checkpoint-5", tmp_path / "without"):
        model = new_model(per_word, seed=3)
        trainer = Trainer(model, arguments(tmp_path / "second", **options), dataset)
        trainer.train(resume_from_checkpoint=str(checkpoint))
        ends.append(weights(model))
    assert difference(ends[0], weights(first)) == 0
    assert difference(ends[1], weights(first)) > 1e-4  # other entries were dropped
    assert difference(load_file(tmp_path / "first" / "checkpoint-5" / "model.safetensors"), weights(first)) > 1e-3


def searching(dataset, folder, **changes):
    """A trainer that searches for a learning rate and for a limit of the model, and the limits of each evaluation."""
    limits = []

    def model_init(trial):
        longest = 3 if trial is None else trial.suggest_categorical("entity_max_length", [2, 3])
        return new_model(entity_max_length=longest, dropout=False)

    class NoteLimits(TrainerCallback):
        def on_evaluate(self, args, state, control, model, **kwargs):
            limits.append((model.config.entity_max_length, trainer.data_collator.entity_max_length))

    options = {"num_train_epochs": 4, **changes}
    trainer = Trainer(
        args=arguments(folder, **options),
        train_dataset=dataset,
        eval_dataset=dataset,
        model_init=model_init,
        callbacks=[NoteLimits()],
    )
    return trainer, limits


def learning_rates(trial):
    return {"learning_rate": trial.suggest_float("learning_rate", 1e-4, 1e-2, log=True)}


def test_a_search_with_optuna(dataset, tmp_path):
    trainer, limits = searching(dataset, tmp_path, eval_strategy="epoch")
    study = {}

    def objective(metrics):
        study.setdefault(trainer._trial.number, []).append(metrics["eval_overall_f1"])
        return metrics["eval_overall_f1"]

    best = trainer.hyperparameter_search(
        hp_space=learning_rates,
        compute_objective=objective,
        n_trials=3,
        direction="maximize",
        backend="optuna",
        sampler=optuna.samplers.RandomSampler(seed=1),
    )
    found = [values[-1] for _, values in sorted(study.items())]
    assert len(found) == 3
    assert best.objective == max(found) > min(found)
    assert int(best.run_id) == found.index(best.objective)
    assert {model for model, _ in limits} == {2, 3}
    assert all(model == collator for model, collator in limits)
    # What was found makes the same model again.
    trainer.args.learning_rate = best.hyperparameters["learning_rate"]
    longest = best.hyperparameters["entity_max_length"]
    trainer.model_init = lambda: new_model(entity_max_length=longest, dropout=False)
    trainer.train()
    assert trainer.evaluate()["eval_overall_f1"] == best.objective


def test_a_search_looks_for_the_best_f1_at_any_threshold_by_default(dataset, tmp_path):
    trainer, _ = searching(dataset, tmp_path, num_train_epochs=2)  # evaluated after training alone
    seen = []
    trainer.add_callback(NoteMetrics(seen))
    grid = {"learning_rate": [3e-3, 6e-3], "entity_max_length": [3]}
    best = trainer.hyperparameter_search(
        hp_space=lambda trial: {"learning_rate": trial.suggest_categorical("learning_rate", grid["learning_rate"])},
        n_trials=2,
        backend="optuna",
        sampler=optuna.samplers.GridSampler(grid, seed=1),
    )
    assert [metrics["eval_overall_f1"] for metrics in seen] == [0.0, 0.0]  # would be a draw
    found = [metrics["eval_overall_best_f1"] for metrics in seen]
    assert best.objective == max(found) > min(found) > 0
    assert int(best.run_id) == found.index(best.objective)
    trainer.args.learning_rate = best.hyperparameters["learning_rate"]
    longest = best.hyperparameters["entity_max_length"]
    trainer.model_init = lambda: new_model(entity_max_length=longest, dropout=False)
    trainer.train()
    assert trainer.evaluate()["eval_overall_best_f1"] == best.objective


def test_a_search_with_several_evaluation_sets_looks_at_the_first(dataset, tmp_path):
    trainer, _ = searching(dataset, tmp_path, num_train_epochs=2, learning_rate=3e-3)
    trainer.eval_dataset = {"news": dataset, "chat": dataset.select([1])}
    seen = []
    trainer.add_callback(NoteMetrics(seen))
    sampler = optuna.samplers.GridSampler({"entity_max_length": [3]})
    best = trainer.hyperparameter_search(hp_space=lambda trial: {}, n_trials=1, backend="optuna", sampler=sampler)
    assert best.objective == seen[0]["eval_news_overall_best_f1"] != seen[1]["eval_chat_overall_best_f1"]


class NoteMetrics(TrainerCallback):
    """Notes the metrics of each evaluation."""

    def __init__(self, seen):
        self.seen = seen

    def on_evaluate(self, args, state, control, metrics, **kwargs):
        self.seen.append(metrics)


def test_the_card_of_a_trial_has_its_own_hyperparameters(dataset, tmp_path):
    seen = []

    class NoteRates(TrainerCallback):
        def on_train_end(self, args, state, control, model, **kwargs):
            seen.append((args.learning_rate, model.training_record.hyperparameters["learning_rate"]))

    trainer, _ = searching(dataset, tmp_path, num_train_epochs=1)
    trainer.add_callback(NoteRates())
    sampler = optuna.samplers.RandomSampler(seed=1)
    trainer.hyperparameter_search(hp_space=learning_rates, n_trials=2, backend="optuna", sampler=sampler)
    assert len(set(seen)) == 2
    assert all(used == in_card for used, in_card in seen)


def test_callbacks_see_and_stop_training(dataset, tmp_path):
    seen = []

    class Watch(TrainerCallback):
        def on_train_begin(self, args, state, control, model, **kwargs):
            seen.append(("begin", type(model)))

        def on_evaluate(self, args, state, control, metrics, **kwargs):
            seen.append(("evaluate", state.global_step, metrics["eval_overall_f1"]))

        def on_log(self, args, state, control, logs, **kwargs):
            seen.append(("log", state.global_step, "loss" in logs))

        def on_step_end(self, args, state, control, **kwargs):
            control.should_training_stop = state.global_step == 4

    options = arguments(tmp_path, num_train_epochs=3, eval_strategy="steps", eval_steps=2, logging_steps=4)
    trainer = Trainer(new_model(), options, dataset, dataset, callbacks=[Watch()])
    assert trainer.train().global_step == 4  # of nine
    assert seen[0] == ("begin", SpanMarkerModel)
    assert [step for what, step, *_ in seen if what == "evaluate"] == [2, 4]
    assert ("log", 4, True) in seen


def test_training_stops_early(dataset, tmp_path):
    options = {"num_train_epochs": 9, "learning_rate": 0.0, "eval_strategy": "epoch", "save_strategy": "epoch"}
    options |= {"metric_for_best_model": "overall_best_f1", "load_best_model_at_end": True, "save_total_limit": 1}
    callbacks = [EarlyStoppingCallback(early_stopping_patience=2)]
    trainer = Trainer(new_model(), arguments(tmp_path, **options), dataset, dataset, callbacks=callbacks)
    trainer.train()
    assert trainer.state.epoch == 3  # nothing was better than the first evaluation in the two after it


@pytest.mark.parametrize("per_word", [None, 1])
def test_the_best_weights_come_back_and_the_filter_is_tuned_to_them(dataset, tmp_path, per_word):
    model = new_model(per_word)
    with torch.no_grad():
        model.classifier.bias[model.config.outside_id] = -4.0  # it finds much; training will make it find less
    held_out = predictable(model, copies=60)
    options = {"max_steps": 2, "learning_rate": 5e-3, "eval_strategy": "steps", "eval_steps": 1, "save_steps": 1}
    options |= {"save_strategy": "steps", "load_best_model_at_end": True, "metric_for_best_model": "overall_f1"}
    trainer = Trainer(model, arguments(tmp_path, **options), dataset, held_out)
    trainer.train()
    f1 = [entry["eval_overall_f1"] for entry in trainer.state.log_history if "eval_overall_f1" in entry]
    assert f1[0] > f1[1]
    assert trainer.state.best_model_checkpoint == str(tmp_path / "checkpoint-1")
    assert trainer.state.best_metric == f1[0]
    assert difference(load_file(tmp_path / "checkpoint-1" / "model.safetensors"), weights(model)) == 0
    assert difference(load_file(tmp_path / "checkpoint-2" / "model.safetensors"), weights(model)) > 1e-3
    if per_word is None:
        assert trainer.evaluate()["eval_overall_f1"] == f1[0]
        return
    best, last = (SpanMarkerModel.from_pretrained(tmp_path / f"checkpoint-{step}") for step in (1, 2))
    assert best.config.span_filter.threshold is None
    best.tune_span_filter(held_out, batch_size=100)
    assert best.config.span_filter == model.config.span_filter
    reports = [loaded.tune_span_filter(held_out, recall=0.9, batch_size=100) for loaded in (best, last)]
    assert reports[0].chosen.threshold != reports[1].chosen.threshold


@pytest.mark.parametrize("per_word", [None, 1])
def test_accumulated_gradients_are_those_of_one_larger_batch(dataset, tmp_path, per_word):
    ends = []
    for batch_size, accumulation, counts_all in ((4, 1, True), (1, 4, True), (1, 4, False)):
        model = new_model(per_word, dropout=False)
        options = {"per_device_train_batch_size": batch_size, "gradient_accumulation_steps": accumulation}
        options |= {"max_steps": 1, "optim": "sgd", "learning_rate": 0.1, "max_grad_norm": 0.0}
        trainer = Trainer(model, arguments(tmp_path, **options), dataset.select([0, 1, 2, 4]))
        trainer.model_accepts_loss_kwargs = counts_all
        trainer.train()
        ends.append(weights(model))
    assert difference(ends[0], ends[1]) < 1e-6
    assert difference(ends[0], ends[2]) > 1e-3  # the mean over batches of different sizes is another loss


@pytest.mark.parametrize("per_word", [None, 1])
def test_empty_sentences_send_gradients_of_zero(per_word):
    """Several processes wait for each other's gradients."""
    model = new_model(per_word).train()
    batch = collate(model, [[], []], [[], []])
    model(**{name: tensor for name, tensor in batch.items() if name in MODEL_INPUTS}).loss.backward()
    for parameter in model.parameters():
        assert (parameter.grad == 0).all()


@pytest.mark.parametrize("per_word", [None, 1])
def test_bfloat16(dataset, tmp_path, per_word):
    logs = {}
    for bf16 in (False, True):
        model = new_model(per_word, dropout=False)
        options = {"num_train_epochs": 12, "learning_rate": 4e-3, "per_device_train_batch_size": 5, "logging_steps": 1}
        trainer = Trainer(model, arguments(tmp_path, bf16=bf16, **options), dataset, dataset)
        trainer.train()
        logs[bf16] = losses(trainer)
        assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
        assert trainer.evaluate()["eval_loss"] < logs[bf16][0] / 2
    assert logs[True][0] == pytest.approx(logs[False][0], rel=0.02)
    assert logs[True][0] != logs[False][0]
    assert logs[True][-1] < logs[True][0] / 3
    assert logs[True][-1] == pytest.approx(logs[False][-1], rel=0.3)


@pytest.mark.parametrize("per_word", [None, 1])
@pytest.mark.parametrize("settings", [None, {"preserve_rng_state": False}])
def test_gradient_checkpointing(dataset, tmp_path, per_word, settings):
    ends, runs = [], []
    for changes in ({}, {"gradient_checkpointing": True, "gradient_checkpointing_kwargs": settings}):
        model = new_model(per_word, dropout=False)
        calls = []
        model.encoder.encoder.layer[0].attention.register_forward_pre_hook(lambda *args, calls=calls: calls.append(0))
        options = {"optim": "sgd", "learning_rate": 0.1, **changes}
        Trainer(model, arguments(tmp_path, **options), dataset).train()
        ends.append(weights(model))
        runs.append(len(calls))
        assert model.predict(SENTENCES)
    assert difference(*ends) < 1e-6
    assert difference(ends[0], weights(new_model(per_word))) > 1e-3
    assert runs[1] == 2 * runs[0]


def test_tensorboard(dataset, tmp_path):
    options = {"report_to": "tensorboard", "eval_strategy": "epoch", "num_train_epochs": 2, "logging_steps": 1}
    trainer = Trainer(new_model(), arguments(tmp_path, **options), dataset, dataset)
    trainer.train()
    metrics = trainer.evaluate()
    (folder,) = (tmp_path / "runs").iterdir()
    events = EventAccumulator(str(folder)).Reload()
    for tag, name, number in (("train/loss", "loss", 6), ("eval/overall_f1", "eval_overall_f1", 3)):
        logged = [(entry["step"], entry[name]) for entry in trainer.state.log_history if name in entry]
        assert len(logged) == number
        assert [(event.step, event.value) for event in events.Scalars(tag)] == [
            (step, pytest.approx(value)) for step, value in logged
        ]
    (event,) = events.Scalars("eval/LOC_f1")  # labels are reported after training alone
    assert event.value == pytest.approx(metrics["eval_LOC"]["f1"])


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A checkpoint that knows the sentences by heart and has a tuned candidate filter, and text to tune one on."""
    folder = tmp_path_factory.mktemp("trained")
    data = Dataset.from_dict({"tokens": SENTENCES, "ner_tags": TAGS})
    held_out = Dataset.from_dict({"tokens": SENTENCES * 70, "ner_tags": TAGS * 70})
    model = new_model(per_word=1, dropout=False)
    options = {"num_train_epochs": 50, "learning_rate": 4e-3, "per_device_train_batch_size": 5, "warmup_steps": 5}
    trainer = Trainer(model, arguments(folder, **options), data, held_out)
    trainer.train()
    assert trainer.evaluate(data)["eval_overall_f1"] == 1
    assert model.config.span_filter.threshold is not None
    model.save_pretrained(folder)
    return folder, held_out


def adapter(model, **changes):
    """What is to be learned with LoRA: the heads and the markers, too."""
    markers = [model.tokenizer.start_marker_id, model.tokenizer.end_marker_id]
    options = {"target_modules": ["query", "value"], "modules_to_save": ["classifier", "span_filter"]}
    return LoraConfig(r=4, trainable_token_indices=markers, **{**options, **changes})


def with_adapter(model, seed=0, **changes):
    torch.manual_seed(seed)
    return get_peft_model(model, adapter(model, **changes))


def swapped(dataset):
    """The same sentences with other labels: something to learn for a model that knows them."""
    return dataset.map(lambda row: {"ner_tags": [tag.replace("PER", "ORG") for tag in row["ner_tags"]]})


@pytest.mark.parametrize("per_word", [None, 1])
def test_lora(dataset, tmp_path, trained, per_word):
    path, held_out = trained
    settings = {"candidates_per_word": per_word, "exact": per_word is None}
    base = without_dropout(SpanMarkerModel.from_pretrained(path, **settings))
    before = weights(base)
    model = with_adapter(base)
    options = {"num_train_epochs": 15, "learning_rate": 1e-2, "per_device_train_batch_size": 5, "logging_steps": 5}
    trainer = Trainer(model, arguments(tmp_path / "run", **options), swapped(dataset), swapped(held_out))
    trainer.train()
    assert losses(trainer)[-1] < losses(trainer)[0] / 4
    assert trainer.evaluate()["eval_overall_f1"] > 0.9
    assert {entity["label"] for found in model.predict(SENTENCES) for entity in found} == {"ORG", "LOC"}
    found = scores(model)
    model.save_pretrained(tmp_path / "adapter")
    base.config.save_pretrained(tmp_path / "adapter")
    saved = load_file(tmp_path / "adapter" / "adapter_model.safetensors")
    assert sum(tensor.numel() for tensor in saved.values()) < sum(tensor.numel() for tensor in before.values()) / 2

    config = SpanMarkerConfig.from_pretrained(tmp_path / "adapter")
    loaded = PeftModel.from_pretrained(SpanMarkerModel.from_pretrained(path, config=config), tmp_path / "adapter")
    assert scores(loaded) == found
    merged = loaded.merge_and_unload()
    assert type(merged) is SpanMarkerModel
    assert scores(merged) == found
    assert merged.config.span_filter == base.config.span_filter
    learned = {name for name, tensor in merged.state_dict().items() if (tensor != before[name]).any()}
    queries = {
        f"encoder.encoder.layer.{n}.attention.self.{name}.weight" for n in range(3) for name in ("query", "value")
    }
    heads = {name for name in before if name.split(".")[0] in ("classifier", *(["span_filter"] if per_word else []))}
    assert learned == {"encoder.embeddings.word_embeddings.weight", *queries, *heads}
    embeddings = "encoder.embeddings.word_embeddings.weight"
    rows = (merged.state_dict()[embeddings] != before[embeddings]).any(dim=1).nonzero().flatten().tolist()
    assert rows == [base.tokenizer.start_marker_id, base.tokenizer.end_marker_id]
    merged.save_pretrained(tmp_path / "merged")
    assert scores(SpanMarkerModel.from_pretrained(tmp_path / "merged")) == found


@pytest.mark.parametrize("family", OTHER_FAMILIES)
def test_encoders_of_all_kinds_learn_with_lora(family):
    base = build_model(family, entity_max_length=3, candidates_per_word=1)
    base.add_span_filter()
    entities = [[("PER", 0, 1)] if words else [] for words in SENTENCES]
    batch = {name: tensor for name, tensor in collate(base, SENTENCES, entities).items() if name in MODEL_INPUTS}
    before, _ = base.score(batch, exact=True)
    model = with_adapter(base, target_modules="all-linear")
    torch.testing.assert_close(base.score(batch, exact=True)[0], before)  # an adapter begins with zeros
    learning = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.SGD(learning, 0.1)
    model.train()
    for _ in range(2):
        optimizer.zero_grad()
        model(**batch).loss.backward()
        assert all(parameter.grad is not None for parameter in learning)
        optimizer.step()
    assert all(parameter.grad.any() for parameter in learning)
    learned, _ = base.score(batch, exact=True)
    assert (learned - before).abs().max() > 0.1
    torch.testing.assert_close(model.merge_and_unload().score(batch, exact=True)[0], learned, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("per_word", [None, 1])
def test_checkpoints_of_an_adapter(dataset, tmp_path, per_word):
    """They hold the adapter alone. Training resumes from them as if it had never stopped; the best one comes back."""
    options = {
        "max_steps": 4,
        "learning_rate": 2e-2,
        "save_strategy": "steps",
        "save_steps": 2,
        "eval_strategy": "steps",
    }
    options |= {"eval_steps": 2, "load_best_model_at_end": True, "metric_for_best_model": "loss"}
    folders = [tmp_path / "first" / f"checkpoint-{step}" for step in (2, 4)]
    model = with_adapter(new_model(per_word), lora_dropout=0.1)
    trainer = Trainer(model, arguments(tmp_path / "first", **options), dataset, dataset)
    trainer.train()
    first, second = (load_file(folder / "adapter_model.safetensors") for folder in folders)
    assert difference(first, second) > 1e-3
    assert {"tokenizer.json", "adapter_config.json"} <= {file.name for file in folders[0].iterdir()}
    assert not (folders[0] / "model.safetensors").exists()
    evaluations = [entry["eval_loss"] for entry in trainer.state.log_history if "eval_loss" in entry]
    assert trainer.evaluate()["eval_loss"] == pytest.approx(min(evaluations))
    model.save_pretrained(tmp_path / "best")
    best = load_file(tmp_path / "best" / "adapter_model.safetensors")
    assert difference(best, (first, second)[evaluations.index(min(evaluations))]) == 0

    options["load_best_model_at_end"] = False
    model = with_adapter(new_model(per_word), seed=5, lora_dropout=0.1)
    trainer = Trainer(model, arguments(tmp_path / "second", **options), dataset, dataset)
    trainer.train(resume_from_checkpoint=str(folders[0]))
    model.save_pretrained(tmp_path / "resumed")
    assert difference(load_file(tmp_path / "resumed" / "adapter_model.safetensors"), second) == 0


def test_each_new_model_may_have_an_adapter(dataset, tmp_path, trained):
    path, held_out = trained
    thresholds = []

    class NoteThresholds(TrainerCallback):
        def on_step_end(self, args, state, control, model, **kwargs):
            thresholds.append(model.config.span_filter.threshold)

    trainer = Trainer(
        args=arguments(tmp_path, max_steps=1),
        train_dataset=dataset,
        eval_dataset=held_out,
        model_init=lambda: with_adapter(SpanMarkerModel.from_pretrained(path)),
        callbacks=[NoteThresholds()],
    )
    trainer.train()
    assert thresholds == [None]  # that of the base says nothing any more
    assert trainer.model.config.span_filter.threshold is not None


def test_a_filter_that_an_adapter_leaves_out_is_told_of(dataset, tmp_path, caplog):
    Trainer(with_adapter(new_model(per_word=1), modules_to_save=["classifier"]), arguments(tmp_path), dataset)
    assert 'put "span_filter" into modules_to_save' in caplog.text
    caplog.clear()
    Trainer(with_adapter(new_model(per_word=1)), arguments(tmp_path), dataset)
    Trainer(with_adapter(new_model(), modules_to_save=["classifier"]), arguments(tmp_path), dataset)
    assert "modules_to_save" not in caplog.text
    model = build_model("bert", entity_max_length=3, candidates_per_word=1)  # a filter that no adapter knows of
    with pytest.raises(ValueError, match=r"add_span_filter\(\) before"):
        Trainer(with_adapter(model), arguments(tmp_path), dataset)


def test_an_adapter_of_a_new_model_needs_nothing_but_the_encoder(dataset, tmp_path):
    model = new_model()
    model.encoder.save_pretrained(tmp_path / "encoder")
    model.tokenizer.save_pretrained(tmp_path / "encoder")
    found = []
    for seed in (0, 1):
        torch.manual_seed(seed)  # new heads and markers are random
        base = SpanMarkerModel.from_pretrained(tmp_path / "encoder", labels=LABELS, entity_max_length=3)
        if seed == 0:
            model = with_adapter(base)
            Trainer(model, arguments(tmp_path / "run", learning_rate=1e-2), dataset).train()
            model.save_pretrained(tmp_path / "adapter")
        else:
            other = scores(base)
            model = PeftModel.from_pretrained(base, tmp_path / "adapter")
        found.append(scores(model))
    assert found[0] == found[1] != other


def test_an_adapter_of_transformers_own(dataset, tmp_path, trained):
    path, held_out = trained
    model = SpanMarkerModel.from_pretrained(path)
    model.add_adapter(adapter(model))
    before = scores(model)
    trainer = Trainer(model, arguments(tmp_path, learning_rate=1e-2), swapped(dataset), swapped(held_out))
    trainer.train()
    found = scores(model)
    assert found != before
    model.save_pretrained(tmp_path / "adapter")
    assert not (tmp_path / "adapter" / "model.safetensors").exists()
    loaded = SpanMarkerModel.from_pretrained(path)
    assert scores(loaded) == before
    loaded.load_adapter(tmp_path / "adapter")
    loaded.config.span_filter = model.config.span_filter
    assert scores(loaded) == found


def entities(model, **settings):
    found = model.predict(SENTENCES, **settings)
    return [[(entity["label"], start, end) for entity, start, end in places(row)] for row in found]


EIGHT_BITS = 0.05
"""How far a probability may move with 8 significant bits. Class scores here are up to 10 in size, so that each of the
four stages (three layers and the classifier) moves them by at most 10 * 2**-8 = 0.04; a probability moves by at most a
quarter of the sum of them, 0.16, and a little more where roundings add up. Integers have 8 bits for the largest value
of a row, which is about four times a typical one."""


def probabilities(model):
    """The probabilities of all classes for all candidates in the sentences, by place."""
    found = model.predict(SENTENCES, threshold=0.0, decoding="overlapping", top_k=len(model.config.classes), exact=True)
    return {
        (row, start, end, scored["label"]): scored["score"]
        for row, some in enumerate(found)
        for entity, start, end in places(some)
        for scored in entity["labels"]
    }


def near(model, other, within):
    """Whether all probabilities differ no more than so; what is decided by them may differ where two are close."""
    return probabilities(model) == pytest.approx(probabilities(other), abs=within)


def linear_layers(model):
    """Names of the linear layers, by class."""
    names = {}
    for name, module in model.named_modules():
        if isinstance(module, torch.nn.Linear):
            names.setdefault(type(module).__name__, []).append(name)
    return names


HEADS = ["classifier", "span_filter.first", "span_filter.last", "span_filter.score"]


@pytest.mark.parametrize("settings", [BitsAndBytesConfig(load_in_8bit=True), {"load_in_8bit": True}])
def test_a_checkpoint_in_8_bits(dataset, tmp_path, trained, settings, caplog):
    caplog.set_level(logging.ERROR, "bitsandbytes")  # each layer says that it rounds its input
    path, _ = trained
    exact, before = SpanMarkerModel.from_pretrained(path), copy.deepcopy(settings)
    model = SpanMarkerModel.from_pretrained(path, quantization_config=settings)
    assert (settings if isinstance(settings, dict) else settings.to_dict()) == (
        before if isinstance(before, dict) else before.to_dict()
    )
    layers = linear_layers(model)
    assert sorted(layers["Linear"] + layers["SpanClassifier"]) == HEADS
    assert len(layers["Linear8bitLt"]) == 18
    assert model.get_memory_footprint() < 0.8 * exact.get_memory_footprint()
    assert near(model, exact, within=4 * EIGHT_BITS)
    assert scores(model) != scores(exact)
    model.save_pretrained(tmp_path / "saved")
    loaded = SpanMarkerModel.from_pretrained(tmp_path / "saved")
    assert linear_layers(loaded) == layers
    assert scores(loaded) == scores(model)
    with pytest.raises(ValueError, match="Please attach trainable adapters"):
        Trainer(model, arguments(tmp_path), dataset)


def test_8_bits_without_outliers_are_the_same_in_any_batch(trained, caplog):
    caplog.set_level(logging.ERROR, "bitsandbytes")
    sentences = [words for words in SENTENCES if words]
    differences = []
    for settings in ({}, {"llm_int8_threshold": 0.0}):
        settings = BitsAndBytesConfig(load_in_8bit=True, **settings)
        model = SpanMarkerModel.from_pretrained(trained[0], quantization_config=settings)
        together, _ = model.score(collate(model, sentences), exact=True)
        alone = torch.cat([model.score(collate(model, [words]), exact=True)[0] for words in sentences])
        differences.append(float((together - alone).abs().max()))
    assert differences[1] < 1e-5 < differences[0]


def test_an_encoder_in_8_bits(dataset, tmp_path, caplog):
    caplog.set_level(logging.ERROR, "bitsandbytes")
    model = new_model()
    model.encoder.save_pretrained(tmp_path / "encoder")
    model.tokenizer.save_pretrained(tmp_path / "encoder")
    base = SpanMarkerModel.from_pretrained(
        tmp_path / "encoder",
        labels=LABELS,
        entity_max_length=3,
        quantization_config=BitsAndBytesConfig(load_in_8bit=True),
    )
    layers = linear_layers(base)
    assert sorted(layers["Linear"] + layers["SpanClassifier"]) == HEADS
    assert len(layers["Linear8bitLt"]) == 18
    with pytest.raises(ValueError, match="Please attach trainable adapters"):
        Trainer(base, arguments(tmp_path / "run"), dataset)
    base.save_pretrained(tmp_path / "base")
    loaded = SpanMarkerModel.from_pretrained(tmp_path / "base")
    assert linear_layers(loaded) == layers
    assert scores(loaded) == scores(base)

    model = with_adapter(without_dropout(loaded))
    options = {"num_train_epochs": 10, "learning_rate": 1e-2, "per_device_train_batch_size": 5, "logging_steps": 1}
    trainer = Trainer(model, arguments(tmp_path / "run", **options), dataset)
    trainer.train()
    assert losses(trainer)[-1] < 0.75 * losses(trainer)[0]
    model.save_pretrained(tmp_path / "adapter")
    found = scores(model)
    before = scores(base)
    assert scores(PeftModel.from_pretrained(base, tmp_path / "adapter")) == found != before
    with pytest.warns(UserWarning, match="rounding errors"):
        merged = model.merge_and_unload()
    assert linear_layers(merged) == layers
    assert [[entity[:3] for entity in row] for row in scores(merged)] != [
        [entity[:3] for entity in row] for row in before
    ]


@pytest.mark.parametrize("dtype", [torch.bfloat16, "bfloat16"])
def test_a_checkpoint_in_bfloat16(tmp_path, trained, dtype):
    path, held_out = trained
    exact = SpanMarkerModel.from_pretrained(path)
    model = SpanMarkerModel.from_pretrained(path, dtype=dtype)
    assert {parameter.dtype for parameter in model.parameters()} == {torch.bfloat16}
    assert near(model, exact, within=EIGHT_BITS)
    assert scores(model) != scores(exact)
    model.tune_span_filter(held_out, batch_size=100)
    assert entities(model) == entities(exact)
    assert model.config.span_filter.threshold == pytest.approx(exact.config.span_filter.threshold, abs=0.2)
    model.save_pretrained(tmp_path)
    loaded = SpanMarkerModel.from_pretrained(tmp_path, dtype="auto")
    assert loaded.dtype == torch.bfloat16
    assert scores(loaded) == scores(model)
    assert SpanMarkerModel.from_pretrained(tmp_path, dtype=torch.float32).dtype == torch.float32
    assert SpanMarkerModel.from_pretrained(path, dtype="auto").dtype == torch.float32


@pytest.mark.parametrize("per_word", [None, 1])
def test_an_encoder_in_bfloat16(dataset, tmp_path, per_word):
    model = new_model()
    model.encoder.to(torch.bfloat16).save_pretrained(tmp_path / "encoder")
    model.tokenizer.save_pretrained(tmp_path / "encoder")
    settings = {"labels": LABELS, "entity_max_length": 3, "candidates_per_word": per_word}
    for dtype, expected in (("auto", torch.bfloat16), (torch.bfloat16, torch.bfloat16), ("float32", torch.float32)):
        model = SpanMarkerModel.from_pretrained(tmp_path / "encoder", dtype=dtype, **settings)
        assert {parameter.dtype for parameter in model.parameters()} == {expected}
        assert all(scores(model)[:3])
    model = SpanMarkerModel.from_pretrained(tmp_path / "encoder", dtype="bfloat16", device_map="auto", **settings)
    options = {"num_train_epochs": 10, "learning_rate": 1e-2, "per_device_train_batch_size": 5, "logging_steps": 1}
    trainer = Trainer(without_dropout(model), arguments(tmp_path, **options), dataset)
    trainer.train()
    assert losses(trainer)[-1] < 0.75 * losses(trainer)[0]


@pytest.mark.parametrize("device_map", ["cpu", "auto", {"": "cpu"}])
def test_device_maps(tmp_path, trained, device_map):
    path, _ = trained
    model = SpanMarkerModel.from_pretrained(path, device_map=device_map)
    if not torch.cuda.is_available():
        assert model.device.type == "cpu"
    assert scores(model) == scores(SpanMarkerModel.from_pretrained(path))
    model.encoder.save_pretrained(tmp_path)
    model.tokenizer.save_pretrained(tmp_path)
    model = SpanMarkerModel.from_pretrained(tmp_path, labels=LABELS, entity_max_length=3, device_map=device_map)
    assert {parameter.device for parameter in model.parameters()} == {model.device}
    assert scores(model)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_the_model_stays_where_it_is(caplog):
    model = new_model()
    assert model.try_cuda() is model
    assert model.device.type == "cpu"
    assert "No CUDA device" in caplog.text
