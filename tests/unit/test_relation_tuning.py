"""Thresholds of relations: chosen on held-out data, kept if they help, used by ``predict`` and in evaluation."""

import logging

import pytest
from datasets import Dataset
from helpers import RELATIONS, arguments, make_shy_of_relations, relation_model
from test_relation_evaluation import relations_of
from tiny import SENTENCES, build_model

from span_marker import SpanMarkerModel, Trainer, analyze_errors, fit_relations, tune_thresholds
from span_marker.core.metrics import NAMES
from span_marker.core.relation_metrics import relation_metrics
from span_marker.scores.cross_fitting import into_folds
from span_marker.scores.held_out import HeldOut
from span_marker.scores.relation_tuning import HeldOutRelations

WORDS = [
    *(words for words in SENTENCES if words),
    ["Amelia", "left", "Paris", "for", "New", "York"],
    ["Cleopatra", "saw", "Leonardo", "in", "Egypt", "."],
    ["Vinci", "is", "near", "Florence", "in", "Italy"],
]
TEXTS = [" ".join(words) for words in WORDS]
LOW = 0.08


@pytest.fixture
def model():
    return make_shy_of_relations(relation_model(reads_tokens=True))


def annotate(model, inputs, threshold=LOW, wrong=False):
    """Rows as the model predicts them at a threshold of relations, some of which are then annotated otherwise."""
    column, unit = ("text", "char") if isinstance(inputs[0], str) else ("tokens", "word")
    rows = []
    for item, found in zip(inputs, model.predict(inputs, relation_threshold=threshold), strict=True):
        entities = [
            {"label": e["label"], "start": e[f"{unit}_start_index"], "end": e[f"{unit}_end_index"]}
            for e in found["entities"]
        ]
        relations = [{name: one[name] for name in ("label", "head", "tail")} for one in found["relations"]]
        if wrong:
            relations = [one for index, one in enumerate(relations) if index % 3]
            for one in relations[::4]:
                one["label"] = RELATIONS[(RELATIONS.index(one["label"]) + 1) % 3]
        rows.append({column: item, "entities": entities, "relations": relations})
    return rows


def evaluate(model, rows, folder):
    metrics = Trainer(model, arguments(folder), eval_dataset=Dataset.from_list(rows)).evaluate()
    return [metrics[f"eval_relation_{name}"] for name in NAMES]


@pytest.mark.parametrize("inputs", [WORDS, TEXTS], ids=["words", "texts"])
def test_figures_are_those_of_evaluation(model, inputs, tmp_path):
    rows = annotate(model, inputs, wrong=True) * 2
    report = tune_thresholds(model, rows)
    assert report.thresholds == model.config.thresholds  # those of entities are chosen first
    assert report.relations.thresholds == model.config.relation_thresholds
    assert list(report.relations.points) == RELATIONS
    assert report.relations.after.recall > report.relations.before.recall
    assert list(report.relations.after) == evaluate(model, rows, tmp_path)
    errors = analyze_errors(model, rows, num_resamples=2).relations
    assert [figure.value for figure in errors.overall[2:]] == list(report.relations.after)
    for label, figures in errors.labels.items():
        assert [figure.value for figure in figures[2:]] == list(report.relations.labels[label].after)
        assert figures.num_gold == report.relations.num_gold[label]
    model.config.relation_thresholds = None
    assert list(report.relations.before) == evaluate(model, rows, tmp_path)


def test_what_to_expect_is_measured_on_sentences_that_were_not_tuned_on(model):
    rows = annotate(model, WORDS, wrong=True) * 2
    report = HeldOutRelations.read(HeldOut.read(model, rows, 32)).tune(None)
    assert model.config.relation_thresholds is None
    gold, found = [], []
    for fold in into_folds([[row] for row in range(len(rows))]):
        rest = [row for index, row in enumerate(rows) if index not in fold]
        thresholds = HeldOutRelations.read(HeldOut.read(model, rest, 32)).tune(None).thresholds
        fold_rows = [rows[index] for index in fold]
        predicted = annotate(model, [row["tokens"] for row in fold_rows], thresholds)
        gold += relations_of(fold_rows)
        found += relations_of(predicted)
    metrics = relation_metrics(gold, found, symmetric=model.config.symmetric_relations)
    assert list(report.expected) == [metrics[name] for name in NAMES]


def test_the_model_predicts_with_its_thresholds_and_keeps_them(model, tmp_path):
    shy, rows = annotate(model, WORDS, threshold=None), annotate(model, WORDS)
    report = tune_thresholds(model, rows * 3, only_if_better=True)
    assert model.config.thresholds is None
    assert report.relations.is_better
    found = annotate(model, WORDS, threshold=None)
    assert sum(len(row["relations"]) for row in found) > sum(len(row["relations"]) for row in shy)
    assert found == annotate(model, WORDS, report.relations.thresholds)
    stream = list(model.predict_stream(WORDS, batch_size=32))
    assert [len(row["relations"]) for row in stream] == [len(row["relations"]) for row in found]
    model.save_pretrained(tmp_path)
    loaded = SpanMarkerModel.from_pretrained(tmp_path)
    assert loaded.config.relation_thresholds == report.relations.thresholds
    assert annotate(loaded, WORDS, threshold=None) == found
    assert "- **Thresholds of relations:** Tuned for the best F1 on 21 held-out sentences with " in (
        loaded.generate_model_card()
    )
    # An argument overrides them: a number those of all labels, a dict those of some.
    assert annotate(loaded, WORDS, 1.0) == [{**row, "relations": []} for row in found]
    label = next(one["label"] for row in found for one in row["relations"])
    some = annotate(loaded, WORDS, {label: 1.0})
    assert some == annotate(loaded, WORDS, {**report.relations.thresholds, label: 1.0})
    assert some != found


@pytest.mark.parametrize("helps", [True, False])
def test_thresholds_that_may_not_help_are_not_set(model, helps, caplog):
    if not helps:
        model = relation_model(reads_tokens=True)
    rows = annotate(model, WORDS, LOW if helps else None)
    model.config.relation_thresholds = {"knows": 0.9}
    report = tune_thresholds(model, rows * 3, only_if_better=True).relations
    assert report.is_better == helps
    assert model.config.relation_thresholds == (report.thresholds if helps else None)
    change = model.card_changes["Thresholds of relations"]
    assert change.startswith("Tuned for the best F1 on 21 " if helps else "None: it is not certain that")
    few = f"Labels with fewer than 20 gold relations in the held-out data: {next(iter(report.few), '')}"
    assert (few in caplog.text) == helps


def test_data_without_relations_leaves_them_alone(model):
    rows = annotate(model, WORDS)
    model.config.relation_thresholds = {"knows": 0.3}
    for others in (
        [{**row, "relations": []} for row in rows],
        [{name: row[name] for name in ("tokens", "entities")} for row in rows],
    ):
        assert tune_thresholds(model, others).relations is None
        assert model.config.relation_thresholds == {"knows": 0.3}
    plain = build_model("bert", reads_tokens=True, entity_max_length=4)
    assert tune_thresholds(plain, rows).relations is None


def test_rows_that_say_nothing_of_relations_are_left_out(model):
    rows = annotate(model, WORDS, wrong=True)
    report = HeldOutRelations.read(HeldOut.read(model, rows, 32)).tune(None)
    more = [*({**row, "relations": None} for row in rows), *rows]
    again = HeldOutRelations.read(HeldOut.read(model, more, 32)).tune(None)
    assert again.thresholds == pytest.approx(report.thresholds)  # other batches
    assert (again.before, again.after, again.expected) == (report.before, report.after, report.expected)


def test_documents_are_not_split(model):
    rows = annotate(model, WORDS)
    documents = [{**row, "document_id": "one", "sentence_id": index} for index, row in enumerate(rows)]
    report = tune_thresholds(model, documents).relations
    assert report.expected is None
    assert report.problem.startswith("the data is one sentence or document")
    assert tune_thresholds(model, rows).relations.expected is not None


def test_what_fails_leaves_the_model_as_it_was(model):
    rows = annotate(model, WORDS)
    row = next(index for index, row in enumerate(rows) if row["relations"])
    rows[row]["relations"][0]["label"] = "sings to"
    with pytest.raises(ValueError, match=rf"row {row} of the held-out data: relation 0 \('sings to'\) has a label"):
        tune_thresholds(model, rows)
    assert model.config.thresholds is model.config.relation_thresholds is None
    assert model.card_changes == {}


@pytest.mark.parametrize("tunes", [True, False])
def test_training_ends_with_thresholds_of_relations_if_they_help(model, tmp_path, caplog, tunes):
    rows = annotate(model, WORDS)
    model.config.relation_thresholds = {"knows": 0.9}
    trainer = Trainer(model, arguments(tmp_path, learning_rate=0.0), rows, rows * 3, tunes_thresholds=tunes)
    with caplog.at_level(logging.INFO, "span_marker"):
        trainer.train()
    chosen = "Thresholds of relations, tuned on the evaluation data, are now set in the model:"
    assert (chosen in caplog.text) == tunes
    assert ("relation_thresholds={'knows': 0.9} belong to the weights before" in caplog.text) == tunes
    if not tunes:
        assert model.config.relation_thresholds == {"knows": 0.9}
        return
    assert "Thresholds, tuned on the evaluation data, may not help" in caplog.text
    assert set(model.config.relation_thresholds) == set(RELATIONS)
    tuned = trainer.evaluate()["eval_relation_f1"]
    model.config.relation_thresholds = None
    assert tuned > trainer.evaluate()["eval_relation_f1"]


def test_fitted_relations_get_thresholds_of_held_out_data(model, caplog):
    rows = annotate(model, WORDS)
    model.config.thresholds = {"PER": 0.01}
    model.config.relation_thresholds = {"knows": 0.9}
    fit_relations(model, rows, num_epochs=1)
    assert "relation_thresholds={'knows': 0.9} belong to the weights before this training" in caplog.text
    assert model.config.relation_thresholds is None
    assert model.card_changes["Thresholds of relations"] == "None: they were reset when the relations were fitted."
    with caplog.at_level(logging.INFO, "span_marker"):
        fit_relations(model, rows, num_epochs=1, held_out=rows * 2)
    [line] = [record.getMessage() for record in caplog.records if "tuned on the held-out" in record.getMessage()]
    helps = "are now set in the model" in line
    assert (model.config.relation_thresholds is not None) == helps
    assert model.config.thresholds == {"PER": 0.01}  # entities stay as they are
    with pytest.raises(ValueError, match="there are no relations in the held-out data"):
        fit_relations(model, rows, num_epochs=1, held_out=[{**row, "relations": []} for row in rows])
