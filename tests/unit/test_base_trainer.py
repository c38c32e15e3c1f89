"""Evaluation and prediction of Trainer: entities and metrics are those of ``predict``."""

from itertools import pairwise

import pytest
import torch
from datasets import Dataset
from helpers import arguments, as_row, check_margin, places
from tiny import LABELS, SENTENCES, TAGS, build_model

from span_marker import Trainer
from span_marker.core.labels import LabelledSpan, entities_to_tags, tags_to_entities
from span_marker.core.metrics import compute_metrics


@pytest.fixture
def dataset():
    return Dataset.from_dict({"tokens": SENTENCES, "ner_tags": TAGS})


def test_metrics_are_those_of_predict(tmp_path):
    model = build_model("bert", entity_max_length=3)
    check_margin(model, SENTENCES)  # batches of any size find the same
    found = [
        [LabelledSpan(e["label"], e["word_start_index"], e["word_end_index"]) for e in entities]
        for entities in model.predict(SENTENCES)
    ]
    # Half of the gold entities are what the model finds, the others what it does not.
    gold = [found[0], [LabelledSpan("LOC", 0, 1)], tags_to_entities(TAGS[2], "IOB"), [], found[4]]
    tags = [entities_to_tags(entities, len(words)) for entities, words in zip(gold, SENTENCES, strict=True)]
    dataset = Dataset.from_dict({"tokens": SENTENCES, "ner_tags": tags})
    metrics = Trainer(model, arguments(tmp_path), eval_dataset=dataset).evaluate()
    right = sum(entity in expected for entities, expected in zip(found, gold, strict=True) for entity in entities)
    assert 0 < right < sum(map(len, gold))
    assert metrics["eval_overall_precision"] == pytest.approx(right / sum(map(len, found)))
    assert metrics["eval_overall_recall"] == pytest.approx(right / sum(map(len, gold)))
    for label in ("PER", "LOC", "ORG"):
        number = sum(entity.label == label for entities in gold for entity in entities)
        assert metrics.get(f"eval_{label}", {"number": 0})["number"] == number
    assert metrics["eval_loss"] > 0


def test_entities_out_of_reach_count_as_missed(tmp_path):
    dataset = Dataset.from_dict({"tokens": [SENTENCES[2]], "ner_tags": [TAGS[2]]})
    for limits in ({"entity_max_length": 1}, {"entity_max_length": 3, "model_max_length": 8}):
        trainer = Trainer(build_model("bert", **limits), arguments(tmp_path), eval_dataset=dataset)
        metrics = trainer.evaluate()
        assert sum(metrics[f"eval_{label}"]["number"] for label in ("PER", "ORG", "LOC")) == 4


def test_labels_are_reported_outside_of_training_only(dataset, tmp_path):
    model = build_model("bert", entity_max_length=3)
    trainer = Trainer(model, arguments(tmp_path, eval_strategy="epoch"), dataset, dataset)
    trainer.train()
    (log,) = [log for log in trainer.state.log_history if "eval_overall_f1" in log]
    assert {"eval_overall_precision", "eval_overall_recall", "eval_overall_accuracy", "eval_loss"} <= set(log)
    assert not any(isinstance(value, dict) for value in log.values())
    assert isinstance(trainer.evaluate()["eval_PER"], dict)


def test_evaluation_keeps_entities_and_no_scores_of_candidates(dataset, tmp_path):
    seen = []
    trainer = Trainer(
        build_model("bert", entity_max_length=3),
        arguments(tmp_path),
        eval_dataset=dataset,
        compute_metrics=lambda prediction: seen.append(prediction) or {"mine": 1.0},
    )
    assert trainer.evaluate()["eval_mine"] == 1.0
    (entities, scores), (gold, num_words) = seen[0].predictions, seen[0].label_ids
    assert entities.shape == (*scores.shape, 3)
    assert len(entities) == len(gold) == len(SENTENCES)
    assert num_words.tolist() == [len(words) for words in SENTENCES]
    kept = entities[..., 0] != -100
    assert (kept == (scores != -100)).all()
    assert entities.shape[1] <= max(map(len, SENTENCES))


def test_predict_without_tags(tmp_path):
    model = build_model("bert", entity_max_length=3)
    check_margin(model, SENTENCES)  # batches of any size find the same
    trainer = Trainer(model, arguments(tmp_path))
    output = trainer.predict(Dataset.from_dict({"tokens": SENTENCES}))
    entities, _ = output.predictions
    expected = [
        [[model.config.label2id[e["label"]], e["word_start_index"], e["word_end_index"]] for e in found]
        for found in model.predict(SENTENCES)
    ]
    assert [[row for row in rows if row[0] != -100] for rows in entities.tolist()] == expected
    assert output.label_ids is None


def test_metrics_can_be_logged(dataset, tmp_path, capsys):
    trainer = Trainer(build_model("bert", entity_max_length=3), arguments(tmp_path), eval_dataset=dataset)
    trainer.log_metrics("eval", trainer.evaluate())
    assert "eval_PER_f1" in capsys.readouterr().out


def test_untagged_data_can_be_predicted_but_not_evaluated(tmp_path):
    untagged = Dataset.from_dict({"tokens": SENTENCES})
    trainer = Trainer(build_model("bert", entity_max_length=3), arguments(tmp_path))
    trainer.predict(untagged)
    with pytest.raises(ValueError, match="has the columns"):
        trainer.evaluate(untagged)


def test_evaluation_and_prediction_see_the_same_context(dataset, tmp_path):
    """In any order of the rows, and with a neighbor that decides what is found."""
    documents = dataset.add_column("document_id", [7, 8, 7, 8, 7]).add_column("sentence_id", [2, 0, 0, 1, 1])
    model = build_model("bert", entity_max_length=3)
    check_margin(model, documents)  # batches of any size find the same
    trainer = Trainer(model, arguments(tmp_path, per_device_eval_batch_size=3))
    entities, _ = trainer.predict(documents).predictions
    found = [[tuple(entity) for entity in rows if entity[0] >= 0] for rows in entities.tolist()]
    ids = model.config.label2id
    expected = [
        [(ids[entity["label"]], entity["word_start_index"], entity["word_end_index"]) for entity in of]
        for of in model.predict(documents)
    ]
    assert [sorted(rows) for rows in found] == [sorted(rows) for rows in expected]
    alone = model.predict(dataset)
    assert [[entity["span"] for entity in of] for of in alone] != [
        [entity["span"] for entity in of] for of in model.predict(documents)
    ]


def test_windows_of_a_sentence_are_evaluated_as_one_sentence(tmp_path):
    model = build_model("bert", entity_max_length=3, model_max_length=30)
    words = [word for _ in range(6) for word in SENTENCES[2]]
    sentences = [SENTENCES[0], words, SENTENCES[4]]
    check_margin(model, sentences)  # batches of any size find the same
    found = [
        [LabelledSpan(e["label"], e["word_start_index"], e["word_end_index"]) for e in entities]
        for entities in model.predict(sentences)
    ]
    assert len(found[1]) > 6
    gold = [found[0], [*found[1][::2], LabelledSpan("PER", 1, 12)], []]
    data = Dataset.from_list([as_row(*row) for row in zip(sentences, gold, strict=True)])
    trainer = Trainer(model, arguments(tmp_path), eval_dataset=data)
    metrics = trainer.evaluate()
    right = len(found[0]) + len(found[1][::2])
    assert metrics["eval_overall_precision"] == pytest.approx(right / sum(map(len, found)))
    assert metrics["eval_overall_recall"] == pytest.approx(right / (right + 1))
    output = trainer.predict(data)
    entities, _ = output.predictions
    ids = model.config.label2id
    expected = [[[ids[label], start, end] for label, start, end in row] for row in found]
    assert [[row for row in rows if row[0] != -100] for rows in entities.tolist()] == expected
    assert output.label_ids[1].tolist() == [len(words) for words in sentences]


@pytest.mark.parametrize(
    ("decoding", "multi_label"),
    [("flat", False), ("flat-optimal", False), ("nested", False), ("nested", True), ("overlapping", True)],
)
def test_metrics_over_thresholds_are_those_of_predictions_with_each_threshold(tmp_path, decoding, multi_label):
    limits = {"entity_max_length": 2, "model_max_length": 30}  # two spans per word, and two labels per span
    model = build_model("bert", labels=LABELS[:5], decoding=decoding, multi_label=multi_label, **limits)
    with torch.no_grad():
        model.classifier.bias[model.config.outside_id] = 3.0  # O is more probable than the label of many gold entities
    greedy = "flat" if decoding == "flat-optimal" else decoding
    sentences = [SENTENCES[0], [word for _ in range(4) for word in SENTENCES[2]], [], SENTENCES[4]]
    assert len(model.tokenizer.encode_words(sentences[1:2])[0].input_ids) > 30  # windows

    def predict(threshold):
        predictions = model.predict(sentences, threshold=threshold, decoding=greedy)
        return [[LabelledSpan(e["label"], *places(e)) for e in entities] for entities in predictions]

    every_third = [entities[::3] for entities in predict(0.1)]
    gold = [[*entities, LabelledSpan("PER", 0, 3)] if entities else [] for entities in every_third]
    data = Dataset.from_list([as_row(*row) for row in zip(sentences, gold, strict=True)])
    metrics = Trainer(model, arguments(tmp_path), eval_dataset=data).evaluate()
    scores = {e["score"] for row in model.predict(sentences, threshold=0.0, decoding="overlapping") for e in row}
    ranked = [*sorted(scores, reverse=True), 0.0]
    average, recall, best = 0.0, 0.0, 0.0
    for threshold in [(high + low) / 2 for high, low in pairwise(ranked)]:
        figures = compute_metrics(gold, predict(threshold), list(map(len, sentences)))
        average += (figures["overall_recall"] - recall) * figures["overall_precision"]
        recall, best = figures["overall_recall"], max(best, figures["overall_f1"])
    assert 0 < average < 1
    assert metrics["eval_overall_f1"] < best < 1
    assert metrics["eval_overall_best_f1"] == best
    assert metrics["eval_overall_average_precision"] == pytest.approx(average)
    at_best = compute_metrics(gold, predict(metrics["eval_overall_best_threshold"]), list(map(len, sentences)))
    assert at_best["overall_f1"] == best


def test_another_model_is_refused(tmp_path):
    with pytest.raises(TypeError, match="model must be a SpanMarkerModel, not BertModel"):
        Trainer(build_model("bert").encoder, arguments(tmp_path))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"model": "encoder"}, r"model must be a SpanMarkerModel, .*SpanMarkerModel.from_pretrained\('encoder'\)"),
        ({"args": "out"}, r"args must be TrainingArguments, not str: pass TrainingArguments\('out'\)"),
        ({"train_dataset": "train.jsonl"}, r"the training data must be .*read_annotations\('train.jsonl'\)"),
        ({"eval_dataset": "dev.jsonl"}, r"the evaluation data must be .*read_annotations\('dev.jsonl'\)"),
    ],
)
def test_names_in_place_of_things(tmp_path, given, message):
    with pytest.raises(TypeError, match=message):
        Trainer(**{"model": build_model("bert", entity_max_length=3), "args": arguments(tmp_path), **given})
