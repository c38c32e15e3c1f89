"""Processes die at every operation on files; what they leave is read by others."""

import contextlib

import pytest
import torch
from datasets import Dataset
from test_folders import Killed, Killer
from tiny import SENTENCES, build_model
from transformers import TrainingArguments
from transformers.trainer import TRAINER_STATE_NAME
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR

from span_marker import SpanMarkerModel, Trainer
from span_marker.checkpoints.atomic import CHECKPOINT, STATE, declare_incomplete, last_complete

TAGS = [["B-PER" if word[:1].isupper() else "O" for word in words] for words in SENTENCES]


@pytest.mark.parametrize("patience", range(0, 16))
def test_a_checkpoint_is_the_old_one_or_the_new_one(tmp_path, patience):
    models = [
        build_model("bert", labels=["O", label], entity_max_length=2, seed=seed) for seed, label in enumerate("PQ")
    ]
    models[0].save_pretrained(tmp_path)
    with pytest.MonkeyPatch.context() as monkeypatch:
        Killer(monkeypatch, patience)
        with contextlib.suppress(Killed):
            models[1].save_pretrained(tmp_path, max_shard_size="40KB")
    loaded = SpanMarkerModel.from_pretrained(tmp_path)
    expected = models["PQ".index(loaded.config.classes[1])]
    assert loaded.predict(SENTENCES) == expected.predict(SENTENCES)
    assert f"| {loaded.config.classes[1]} " in loaded.card_text


def test_saving_in_parts_and_in_one_leaves_no_weights_of_the_other(tmp_path):
    one, other = (build_model("bert", entity_max_length=2, seed=seed) for seed in (0, 1))
    one.save_pretrained(tmp_path)
    other.save_pretrained(tmp_path, max_shard_size="40KB")
    assert (tmp_path / "model.safetensors.index.json").exists()
    assert SpanMarkerModel.from_pretrained(tmp_path).predict(SENTENCES) == other.predict(SENTENCES)
    one.save_pretrained(tmp_path)
    assert [path.name for path in tmp_path.glob("model*")] == ["model.safetensors"]
    assert SpanMarkerModel.from_pretrained(tmp_path).predict(SENTENCES) == one.predict(SENTENCES)


def trainer_of(folder):
    data = Dataset.from_dict({"tokens": SENTENCES, "ner_tags": TAGS})
    args = TrainingArguments(
        str(folder), max_steps=8, per_device_train_batch_size=2, save_steps=2, save_total_limit=2, learning_rate=1e-3,
        report_to="none", use_cpu=True, disable_tqdm=True, seed=1,
    )  # fmt: skip
    return Trainer(build_model("bert", entity_max_length=2), args, data)


def test_a_training_that_dies_again_and_again_ends_with_the_weights_of_one_that_does_not(tmp_path):
    expected = trainer_of(tmp_path / "undisturbed")
    expected.train()
    folder, steps, deaths = tmp_path / "disturbed", [0], 0
    for patience in (1, 9, 4, 17, 6, 2, 21, 11, 8, 14, 3, 19, 13, 25, 5, 7, 30, 33, 12, 40, 1000):
        with pytest.MonkeyPatch.context() as monkeypatch:
            trainer = trainer_of(folder)
            Killer(monkeypatch, patience)
            try:
                trainer.train(resume_from_checkpoint=any(folder.glob("checkpoint-*")))
                break
            except Killed:
                deaths += 1
        latest, _ = last_complete(folder)
        steps.append(0 if latest is None else int(latest.rpartition("-")[2]))
    assert deaths >= 5
    assert steps == sorted(steps)  # nothing that was saved is lost
    for name, tensor in expected.model.state_dict().items():
        assert torch.equal(trainer.model.state_dict()[name], tensor), name


@pytest.mark.parametrize("state", ['{"global_step": 6}', "{}", "[]", "null", "", '{"global_step": 8'])
def test_a_checkpoint_with_the_state_of_another_step_or_none_is_incomplete(tmp_path, state):
    for step in (2, 8):
        (tmp_path / f"checkpoint-{step}").mkdir()
    (tmp_path / "checkpoint-2" / STATE).write_text('{"epoch": 0.5, "global_step": 2}', encoding="utf-8")
    (tmp_path / "checkpoint-8" / STATE).write_text(state, encoding="utf-8")
    (tmp_path / "checkpoint-best").mkdir()
    assert last_complete(tmp_path) == (str(tmp_path / "checkpoint-2"), [str(tmp_path / "checkpoint-8")])
    declare_incomplete(tmp_path / "checkpoint-2")
    assert last_complete(tmp_path)[0] is None


def test_names_of_files_are_those_of_transformers():
    assert f"{PREFIX_CHECKPOINT_DIR}-" == CHECKPOINT
    assert TRAINER_STATE_NAME == STATE


def test_incomplete_checkpoints_are_told_of(tmp_path, caplog):
    trainer_of(tmp_path).train()
    state = tmp_path / "checkpoint-8" / "trainer_state.json"
    state.write_text(state.read_text(encoding="utf-8")[:50], encoding="utf-8")
    trainer = trainer_of(tmp_path)
    trainer.train(resume_from_checkpoint=True)
    assert "checkpoint-8'] is incomplete: training resumes from" in caplog.text
    assert trainer.state.global_step == 8
