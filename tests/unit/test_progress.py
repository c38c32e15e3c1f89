"""What is said about trainings that predict nothing, and that evaluation moves meanwhile."""

import logging

import pytest
import torch
from datasets import Dataset
from helpers import places
from hypothesis import given
from hypothesis import strategies as st
from tiny import SENTENCES, build_model
from transformers import EarlyStoppingCallback, TrainerCallback

from span_marker import Trainer, TrainingArguments
from span_marker.scores.thresholds import ThresholdReport
from span_marker.training.progress import MIN_PREDICTED, Outcome, advice_after, advice_during

TAGS = [
    ["B-PER", "I-PER", "O", "O", "O", "B-LOC", "O"],
    ["B-LOC"],
    ["B-PER", "I-PER", "I-PER", "O", "B-ORG", "I-ORG", "I-ORG", "O", "B-LOC", "O", "B-LOC", "O", "O", "O"],
    [],
    ["B-PER", "O", "B-LOC"],
]

DURING, AFTER = "No entity has been predicted correctly", "training steps, the model predicts"


@pytest.fixture
def dataset():
    return Dataset.from_dict({"tokens": SENTENCES, "ner_tags": TAGS})


def trainer_of(folder, dataset, outside, eval_dataset=None, callbacks=(), **changes):
    """A trainer of a model that predicts nothing if its bias towards ``O`` is large, as it is before training."""
    model = build_model("bert", entity_max_length=3, candidates_per_word=None)
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    with torch.no_grad():
        model.classifier.bias[model.config.outside_id] = outside
    options = {"num_train_epochs": 4, "per_device_train_batch_size": 2, "learning_rate": 1e-3, "seed": 1}
    options |= {"eval_strategy": "epoch", "save_strategy": "no", "report_to": "none", "use_cpu": True}
    args = TrainingArguments(str(folder), disable_tqdm=True, **{**options, **changes})
    return Trainer(model, args, dataset, eval_dataset or dataset, callbacks=list(callbacks))


def logged(trainer, name):
    return [entry[name] for entry in trainer.state.log_history if name in entry]


def said(caplog, beginning):
    return [record for record in caplog.records if beginning in record.getMessage()]


def stop_early(folder, dataset, metric, **changes):
    options = {"num_train_epochs": 8, "save_strategy": "epoch", "load_best_model_at_end": True, "save_total_limit": 1}
    callback = EarlyStoppingCallback(early_stopping_patience=2)
    trainer = trainer_of(
        folder, dataset, 6.0, callbacks=[callback], metric_for_best_model=metric, **{**options, **changes}
    )
    trainer.train()
    return trainer


def test_early_stopping_does_not_take_silence_for_standstill(dataset, tmp_path, caplog):
    by_f1 = stop_early(tmp_path / "f1", dataset, "overall_f1")
    assert logged(by_f1, "eval_overall_f1") == [0.0, 0.0, 0.0]
    assert (by_f1.state.epoch, by_f1.state.best_global_step) == (3, 3)  # the first of the checkpoints, and the worst
    (after,) = said(caplog, AFTER)
    assert f"After 3 {AFTER} 0" in after.getMessage()  # that checkpoint, not the last one
    by_best_f1 = stop_early(tmp_path / "best", dataset, "overall_best_f1")
    assert not any(logged(by_best_f1, "eval_overall_f1")[:3])
    best = logged(by_best_f1, "eval_overall_best_f1")
    assert best[:3] == logged(by_f1, "eval_overall_best_f1")
    assert by_best_f1.state.epoch > 3
    assert by_best_f1.state.best_metric == max(best) > best[0]
    assert by_best_f1.evaluate()["eval_overall_best_f1"] == max(best)
    assert len(set(logged(by_best_f1, "eval_overall_average_precision"))) == len(best)


def test_early_stopping_with_several_evaluation_sets(dataset, tmp_path):
    sets = {"news": dataset, "chat": dataset.select([0])}
    trainer = stop_early(tmp_path, dataset, "news_overall_best_f1", eval_dataset=sets)
    assert trainer.state.best_metric == max(logged(trainer, "eval_news_overall_best_f1"))
    assert len(logged(trainer, "eval_chat_overall_best_f1")) == len(logged(trainer, "eval_news_overall_best_f1"))


@pytest.mark.parametrize("several", [False, True])
def test_silence_is_reported_once_per_training(dataset, tmp_path, caplog, several):
    rounds = []

    class NoteReports(TrainerCallback):
        def on_evaluate(self, *args, **kwargs):
            rounds.append(len(said(caplog, DURING)))

    sets = {"news": dataset, "chat": dataset} if several else dataset
    trainer = trainer_of(tmp_path, dataset, 6.0, sets, [NoteReports()], logging_steps=1)
    trainer.train()
    (during,), (after,) = said(caplog, DURING), said(caplog, AFTER)
    assert (during.levelno, after.levelno) == (logging.WARNING, logging.WARNING)
    assert f"an F1 of {trainer._progress._first[-1].best_f1:.3f}" in after.getMessage()
    assert "predicts 0 entities in evaluation data that have 9" in after.getMessage()
    assert "learning_rate=0.001" in after.getMessage()
    assert len(rounds) == 4 * (1 + several)  # no evaluation more
    trainer.evaluate()
    assert len(said(caplog, AFTER)) == 1
    trainer.train()
    assert len(said(caplog, DURING)) <= 2
    assert len(rounds) == 9 * (1 + several)


def test_a_model_that_predicts_something_gets_no_advice(dataset, tmp_path, caplog):
    found = trainer_of(tmp_path, dataset, -2.0).model.predict(SENTENCES)
    rows = [
        [{"label": e["label"], "start": start, "end": end} for e in row for start, end in [places(e)]] for row in found
    ]
    held_out = Dataset.from_dict({"tokens": SENTENCES, "entities": rows})
    trainer = trainer_of(tmp_path, dataset, -2.0, held_out, learning_rate=1e-6)
    trainer.train()
    assert all(logged(trainer, "eval_overall_f1"))
    trainer.evaluate()
    assert not said(caplog, DURING)
    assert not said(caplog, AFTER)


@pytest.mark.parametrize("tunes", [True, False])
def test_without_evaluations_the_tuning_of_thresholds_tells_or_the_first_one_after_training(
    dataset, tmp_path, caplog, tunes
):
    trainer = trainer_of(tmp_path, dataset, 9.0, eval_strategy="no")
    trainer._tunes_thresholds = tunes
    trainer.evaluate()
    assert not said(caplog, AFTER)  # not yet trained
    trainer.train()
    assert len(said(caplog, f"After 12 {AFTER} 0 entities in evaluation data that have 9. Train")) == tunes
    trainer.evaluate()
    trainer.evaluate()
    assert len(said(caplog, AFTER)) == 1


def test_a_model_whose_thresholds_help_is_not_called_silent(dataset, tmp_path, caplog, monkeypatch):
    trainer = trainer_of(tmp_path, dataset, 9.0, eval_strategy="epoch")
    monkeypatch.setattr(ThresholdReport, "is_better", True)
    trainer.train()
    assert trainer.model.config.thresholds is not None
    assert not said(caplog, AFTER)
    trainer.evaluate()
    assert len(said(caplog, AFTER)) == 1  # with these thresholds, which are made up


def test_other_metrics_are_reported_beside_those_over_thresholds(dataset, tmp_path, caplog):
    trainer = trainer_of(tmp_path, dataset, 6.0)
    expected = trainer.evaluate()
    trainer.compute_metrics = trainer._sentence_metrics(lambda prediction: {"mine": 1.0})
    metrics = trainer.evaluate()
    assert metrics["eval_mine"] == 1.0
    assert "eval_overall_f1" not in metrics
    for name in ("eval_overall_best_f1", "eval_overall_best_threshold", "eval_overall_average_precision"):
        assert metrics[name] == expected[name]
    trainer.train()
    assert len(said(caplog, AFTER)) == 1


def outcome(num_correct=0, num_predicted=0, num_gold=100, loss=1.0, best_f1=0.25):
    return Outcome(num_correct, num_predicted, num_gold, best_f1, 0.125, loss, 10)


@given(st.lists(st.tuples(st.integers(0, 1), st.integers(1, 4)), max_size=4), st.lists(st.integers(1, 4), max_size=4))
def test_advice_needs_two_silent_evaluations_and_a_falling_loss(evaluations, losses):
    outcomes = [outcome(correct, correct, loss=float(loss)) for correct, loss in evaluations]
    silent = len(outcomes) >= 2 and not any(correct for correct, _ in evaluations)
    falls = [values for values in ([loss for _, loss in evaluations], losses) if values and values[-1] < values[0]]
    advice = advice_during(outcomes, losses, None)
    assert (advice is not None) == (silent and bool(falls))
    if advice is not None:
        assert f"in {len(outcomes)} evaluations" in advice
        assert f"falls from {falls[0][0]} to {falls[0][-1]}, and threshold=0.125 would give an F1 of 0.250." in advice


@pytest.mark.parametrize(
    ("metric", "is_mentioned"),
    [
        (None, False),
        ("eval_loss", False),
        ("eval_overall_best_f1", False),
        ("overall_f1", True),
        ("eval_a_overall_f1", True),
    ],
)
def test_a_metric_that_stays_0_is_mentioned(metric, is_mentioned):
    advice = advice_during([outcome(loss=2.0), outcome(loss=1.0, best_f1=0.0)], [], metric)
    assert advice.endswith("use 'overall_best_f1'.") == is_mentioned
    assert "would give" not in advice


def test_few_predictions_are_less_than_a_tenth_of_the_gold_entities():
    for num_predicted, num_gold in ((0, 0), (1, 0), (10, 100), (1, 9)):
        assert advice_after(outcome(0, num_predicted, num_gold), 1e-5) is None
    for num_predicted, num_gold in ((0, 1), (9, 100)):
        assert num_predicted < MIN_PREDICTED * num_gold
        assert f"predicts {num_predicted} entities" in advice_after(outcome(0, num_predicted, num_gold), 1e-5)
