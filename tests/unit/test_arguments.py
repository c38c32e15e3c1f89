"""Training arguments follow the amount of data and the size of the encoder, and the caller has the last word."""

from functools import partial

import pytest
from tiny import build_model

from span_marker import TrainingArguments, suggest_training_arguments
from span_marker.training.arguments import BATCH_SIZE, BEST_METRIC, EPOCHS, NUM_STEPS


@pytest.fixture
def model():
    return build_model("bert")


def test_few_sentences_are_read_more_often_but_not_forever(model, tmp_path):
    epochs = [
        suggest_training_arguments(range(count), model, str(tmp_path)).num_train_epochs
        for count in (1, 10, 100, 200, 400, 1000, 3000, 10**6)
    ]
    assert epochs == sorted(epochs, reverse=True)
    assert (epochs[-1], epochs[0]) == EPOCHS
    assert epochs[3] * 200 / BATCH_SIZE >= NUM_STEPS


def test_larger_encoders_learn_in_smaller_steps(model, tmp_path):
    rates = []
    for size in (128, 384, 768, 1024, 4096):
        model.config.encoder.hidden_size = size
        rates.append(suggest_training_arguments([0], model, str(tmp_path)).learning_rate)
    assert rates == sorted(rates, reverse=True)
    assert rates[1] > rates[2] > rates[3]


def test_the_caller_has_the_last_word(model, tmp_path):
    arguments = suggest_training_arguments(
        range(50), model, str(tmp_path), learning_rate=1e-3, eval_strategy="epoch", use_cpu=True
    )
    assert isinstance(arguments, TrainingArguments)
    assert arguments.output_dir == str(tmp_path)
    assert arguments.learning_rate == pytest.approx(1e-3)
    assert arguments.eval_strategy == "epoch"


def test_without_data_there_is_nothing_to_suggest(model, tmp_path):
    with pytest.raises(ValueError, match="at least one sentence"):
        suggest_training_arguments([], model, str(tmp_path))


def test_sentences_are_counted_rather_than_lines_splits_or_characters(model, tmp_path):
    places = [(0, 3), (8, 10)]
    lines = [
        {"id": number, "text": "Ann met Bo", "start": start, "end": end, "label": "PER"}
        for number in range(300)
        for start, end in places
    ]
    epochs, expected = (
        suggest_training_arguments(data, model, str(tmp_path)).num_train_epochs for data in (lines, range(300))
    )
    assert epochs == expected
    with pytest.raises(TypeError, match="not dict: pass one of its splits"):
        suggest_training_arguments({"train": lines, "dev": lines}, model, str(tmp_path))
    with pytest.raises(TypeError, match=r"not a path: pass read_annotations\('train.jsonl'\)"):
        suggest_training_arguments("train.jsonl", model, str(tmp_path))
    with pytest.raises(TypeError, match="must be a datasets.Dataset, not generator"):
        suggest_training_arguments((line for line in lines), model, str(tmp_path))


@pytest.mark.parametrize("options", [{"per_device_train_batch_size": 16}, {"gradient_accumulation_steps": 2}])
def test_larger_batches_get_as_many_steps(model, tmp_path, options):
    epochs = [
        suggest_training_arguments(range(800), model, str(tmp_path), **more).num_train_epochs for more in ({}, options)
    ]
    assert epochs == [5, 10]


def test_checkpoints_are_compared_by_what_moves(model, tmp_path):
    best = {"eval_strategy": "epoch", "save_strategy": "epoch", "load_best_model_at_end": True}
    for make in (TrainingArguments, partial(suggest_training_arguments, range(9), model)):
        by_f1, by_loss, without = (
            make(output_dir=str(tmp_path), **options)
            for options in (best, {**best, "metric_for_best_model": "loss"}, {})
        )
        assert (by_f1.metric_for_best_model, by_f1.greater_is_better) == (BEST_METRIC, True)
        assert (by_loss.metric_for_best_model, by_loss.greater_is_better) == ("loss", False)
        assert without.metric_for_best_model is None
    plateau = TrainingArguments(str(tmp_path), lr_scheduler_type="reduce_lr_on_plateau", **best)
    assert plateau.metric_for_best_model == "loss"  # that scheduler waits for something to fall
