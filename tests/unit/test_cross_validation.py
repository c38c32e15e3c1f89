"""Cross-validation: who has seen what, what the figures are, and what a killed one leaves."""

import json
import re
from collections import Counter

import numpy as np
import pytest
import torch
from datasets import ClassLabel, Dataset, List, Value
from tiny import LABELS, SENTENCES, build_model

import span_marker.training.cross_validation
from span_marker import (
    SpanMarkerModel,
    Trainer,
    TrainingArguments,
    analyze_errors,
    analyze_predictions,
    cross_validate,
    read_annotations,
    write_jsonl,
)
from span_marker.core.labels import LabelledSpan
from span_marker.core.metrics import compute_metrics
from span_marker.training.cross_validation_report import CrossValidationReport, macro_f1

PER = {"label": "PER", "start": 0, "end": 1}
LOC = {"label": "LOC", "start": 2, "end": 3}
ORG = {"label": "ORG", "start": 1, "end": 3}
WORDS = ["Amelia", "Cleopatra", "Paris", "Egypt", "Leonardo", "Tokyo"]


def make_rows(number=15):
    """Sentences of three words, all different, each with one or two entities."""
    return [
        {
            "id": f"row {index}",
            "tokens": [WORDS[index % 6], "fox", WORDS[index // 6]],
            "entities": [PER, LOC] if index % 3 else [ORG],
        }
        for index in range(number)
    ]


@pytest.fixture
def data():
    return Dataset.from_list(make_rows())


def make_model(**limits):
    return build_model("bert", entity_max_length=3, **limits)


KNOWS = [{"label": "knows", "head": head, "tail": 1 - head} for head in (0, 1)]


def make_related(number, one_way=()):
    """Rows of two entities, which know each other, or where the first knows the second."""
    rows = [{**row, "entities": [PER, LOC]} for row in make_rows(number)]
    return [{**row, "relations": KNOWS[: 1 if index in one_way else 2]} for index, row in enumerate(rows)]


def related_model(labels=("knows",), **settings):
    return make_model(relation_labels=list(labels), reads_tokens=True, **settings)


def arguments(folder, **changes):
    options = {"max_steps": 1, "per_device_train_batch_size": 8, "per_device_eval_batch_size": 8}
    options |= {"save_strategy": "no", "report_to": "none", "use_cpu": True, "disable_tqdm": True, "seed": 1}
    return TrainingArguments(output_dir=str(folder), **{**options, **changes})


@pytest.fixture
def seen(monkeypatch):
    """What each model is trained, evaluated and measured on: one dict per trainer, with the IDs of the rows."""
    trainers = []

    class Spy(Trainer):
        def __init__(self, model, args, train_dataset, eval_dataset):
            super().__init__(model, args, train_dataset, eval_dataset)
            evaluation = [] if eval_dataset is None else eval_dataset["id"][:]
            trainers.append({"model": model, "args": args, "train": train_dataset["id"][:], "eval": evaluation})

        def train(self, *args, **kwargs):
            output = super().train(*args, **kwargs)
            trainers[-1]["steps"] = output.global_step
            return output

    predict = SpanMarkerModel.predict

    def spy_on_predict(model, inputs, *args, **kwargs):
        if trainers and model is trainers[-1]["model"] and "steps" in trainers[-1] and "id" in inputs.column_names:
            trainers[-1]["test"] = inputs["id"][:]
        return predict(model, inputs, *args, **kwargs)

    monkeypatch.setattr(span_marker.training.cross_validation, "Trainer", Spy)
    monkeypatch.setattr(SpanMarkerModel, "predict", spy_on_predict)
    return trainers


def spans(entities):
    return [LabelledSpan(e["label"], e["word_start_index"], e["word_end_index"]) for e in entities]


def test_every_row_is_predicted_once_by_a_model_that_has_not_seen_it(data, seen, tmp_path):
    report = cross_validate(make_model, data, arguments(tmp_path), folds=3)
    everything = set(data["id"])
    assert len(seen) == 3
    assert len({id(fold["model"]) for fold in seen}) == 3
    assert [fold["steps"] for fold in seen] == [1, 1, 1]
    assert Counter(row for fold in seen for row in fold["test"]) == Counter(everything)
    for number, fold in enumerate(seen):
        assert set(fold["train"]) == everything - set(fold["test"])
        assert fold["eval"] == []
        assert len(fold["train"]) == len(set(fold["train"]))
        assert fold["args"].seed == 1 + number
        assert [data["id"][row] for row in np.flatnonzero(np.equal(report.fold_of_row, number))] == fold["test"]
        own = fold["model"].predict(data.select(np.flatnonzero(np.equal(report.fold_of_row, number))), batch_size=8)
        assert [report.predictions[row] for row in np.flatnonzero(np.equal(report.fold_of_row, number))] == own
    assert any(report.predictions)


def test_evaluation_during_training_has_a_fold_of_its_own(data, seen, tmp_path):
    cross_validate(make_model, data, arguments(tmp_path, eval_strategy="steps", eval_steps=1), folds=3)
    everything = set(data["id"])
    for fold, following in zip(seen, [*seen[1:], seen[0]], strict=True):
        assert set(fold["eval"]) == set(following["test"])
        assert set(fold["train"]) == everything - set(fold["test"]) - set(fold["eval"])


def test_documents_stay_together_and_are_drawn_as_wholes(seen, tmp_path):
    documents = [index % 7 for index in range(21)]
    rows = [{**row, "document_id": documents[index], "sentence_id": index} for index, row in enumerate(make_rows(21))]
    report = cross_validate(make_model, Dataset.from_list(rows), arguments(tmp_path), folds=3)
    for fold in seen:
        train, test = ({int(row.split()[1]) % 7 for row in fold[part]} for part in ("train", "test"))
        assert train.isdisjoint(test)
        assert train | test == set(range(7))
    assert report.num_documents == 7
    assert "resamples of the 7 documents" in str(report)
    assert all(fold["model"].config.trained_with_document_context for fold in seen)


def test_figures_are_those_of_the_pooled_predictions(data, tmp_path):
    report = cross_validate(make_model, data, arguments(tmp_path), folds=3)
    gold = [[LabelledSpan(*e.values()) for e in entities] for entities in data["entities"]]
    predicted = [spans(entities) for entities in report.predictions]
    expected = compute_metrics(gold, predicted, [3] * len(data))
    assert 0 < expected["overall_f1"] < 1
    for name in ("precision", "recall", "f1"):
        figure = getattr(report.overall, name)
        assert figure.value == expected[f"overall_{name}"]
        assert figure.low <= figure.value <= figure.high
        assert figure.low < figure.high
        assert figure.standard_error > 0
        for label, figures in report.labels.items():
            assert getattr(figures, name).value == expected[label][name]
    assert report.macro_f1.value == pytest.approx(expected["macro_f1"])
    assert report.macro_f1.low <= report.macro_f1.value <= report.macro_f1.high
    assert {label: figures.num_gold for label, figures in report.labels.items()} == {"PER": 10, "LOC": 10, "ORG": 5}
    assert report.overall.num_gold == 25
    assert report.overall.num_predicted == sum(map(len, predicted))
    for number, fold in enumerate(report.folds):
        rows = np.flatnonzero(np.equal(report.fold_of_row, number))
        metrics = compute_metrics([gold[row] for row in rows], [predicted[row] for row in rows], [3] * len(rows))
        assert fold.num_sentences == len(rows) == 5
        assert fold.num_gold == sum(len(gold[row]) for row in rows)
        expected_figures = [metrics[name] for name in ("overall_precision", "overall_recall", "overall_f1", "macro_f1")]
        assert fold[2:] == pytest.approx(expected_figures)
    assert report.fold_means["f1"] == pytest.approx(np.mean([fold.f1 for fold in report.folds]))
    assert report.fold_deviations["f1"] == pytest.approx(np.std([fold.f1 for fold in report.folds], ddof=1))
    # Without documents, sentences are drawn as in the analysis of errors, with the same seed.
    assert report.overall.f1[1:] == report.errors.overall.f1[1:]
    text = str(report)
    assert f"f1 {report.overall.f1.value:.4f}" in re.sub(" +", " ", text)
    assert text.startswith("15 sentences in 3 folds; 95% intervals from 1,000 resamples of the 15 sentences\n")


def test_copies_in_a_document_make_nothing_more_certain(data, tmp_path):
    once = cross_validate(make_model, data, arguments(tmp_path), folds=3)
    gold = [
        (tokens, [LabelledSpan(*entity.values()) for entity in entities])
        for tokens, entities in zip(data["tokens"], data["entities"], strict=True)
    ]
    copies = CrossValidationReport.from_predictions(
        gold * 4, [*once.rows] * 4, [*once.fold_of_row] * 4, [*range(len(gold))] * 4
    )
    single = CrossValidationReport.from_predictions(gold * 4, [*once.rows] * 4, [*once.fold_of_row] * 4)
    assert copies.macro_f1 == pytest.approx(once.macro_f1)
    for figure in ("precision", "recall", "f1"):
        assert getattr(copies.overall, figure) == pytest.approx(getattr(once.overall, figure))
        assert getattr(single.overall, figure).standard_error < 0.7 * getattr(once.overall, figure).standard_error


def test_macro_f1_is_over_the_labels_that_occur():
    counts = np.array([[[1, 1, 1], [0, 2, 0], [0, 0, 3], [0, 0, 0]], np.zeros((4, 3))])
    assert macro_f1(counts).tolist() == pytest.approx([1 / 3, 0])


TAG_NAMES = ("O", "B-PER", "I-PER", "B-LOC", "I-LOC", "B-ORG", "I-ORG")


def as_tags(row):
    tags = ["O"] * 3
    for label, start, end in (entity.values() for entity in row["entities"]):
        tags[start:end] = [f"B-{label}", *[f"I-{label}"] * (end - start - 1)]
    return tags


def in_form(form):
    rows = make_rows()
    if form == "text":
        for row in rows:
            starts = [0, len(row["tokens"][0]) + 1, len(row["tokens"][0]) + 5, len(" ".join(row["tokens"])) + 1]
            row["text"] = " ".join(row.pop("tokens"))
            row["entities"] = [{**e, "start": starts[e["start"]], "end": starts[e["end"]] - 1} for e in row["entities"]]
        return Dataset.from_list(rows)
    columns = {name: [row[name] for row in rows] for name in ("id", "tokens")}
    tags = Dataset.from_dict({**columns, "text": ["beside"] * 15, "ner_tags": list(map(as_tags, rows))})
    if form == "strings":
        return tags
    assert list(TAG_NAMES) == LABELS  # the order in which integers count
    tags = tags.cast_column("ner_tags", List(ClassLabel(names=LABELS)))
    return tags if form == "ClassLabel" else tags.cast_column("ner_tags", List(Value("int64")))


@pytest.mark.parametrize("form", ["strings", "ClassLabel", "integers", "text"])
def test_all_forms_of_annotated_data(form, data, tmp_path):
    report = cross_validate(make_model, in_form(form), arguments(tmp_path), folds=3)
    expected = cross_validate(make_model, data, arguments(tmp_path / "words"), folds=3)
    assert report.fold_of_row == expected.fold_of_row
    assert {label: figures.num_gold for label, figures in report.labels.items()} == {"PER": 10, "LOC": 10, "ORG": 5}
    content = "text" if form == "text" else "tokens"
    assert [set(row) for row in report.rows] == [{"id", content, "entities"}] * 15
    assert [row["id"] for row in report.rows] == data["id"][:]
    if form != "text":  # of which words are tokenized as a text
        assert report.predictions == expected.predictions
        assert report.overall == expected.overall
    else:
        for row in report.rows:
            assert all(row["text"][e["char_start_index"] : e["char_end_index"]] == e["span"] for e in row["entities"])


def test_predictions_go_to_files_and_to_the_analysis_of_errors(data, tmp_path):
    report = cross_validate(make_model, data, arguments(tmp_path), folds=3, predict_options={"top_k": 2})
    assert all(len(entity["labels"]) == 2 for entities in report.predictions for entity in entities)
    write_jsonl(tmp_path / "predictions.jsonl", report.rows)
    written = read_annotations(tmp_path / "predictions.jsonl")
    assert [[tuple(e[key] for key in ("label", "start", "end")) for e in row] for row in written["entities"]] == [
        [tuple(span) for span in spans(entities)] for entities in report.predictions
    ]
    again = analyze_predictions(data, report.predictions)
    assert again.measures == report.errors.measures
    assert [sentence.outcomes for sentence in again.sentences] == [s.outcomes for s in report.errors.sentences]
    report.errors.write_html(tmp_path / "errors.html")


def test_the_same_seed_makes_the_same_report(data, tmp_path):
    def dropping():  # with random weights, and random in training
        model = build_model("bert", entity_max_length=3, seed=torch.initial_seed())
        model.dropout.p = 0.5
        return model

    first, second, other_folds, other_models = (
        cross_validate(dropping, data, arguments(tmp_path / str(place), seed=seed), folds=3, seed=fold_seed)
        for place, (seed, fold_seed) in enumerate([(1, 0), (1, 0), (1, 1), (2, 0)])
    )
    assert first.predictions == second.predictions
    assert first == second
    assert str(first) == str(second)
    assert first.fold_of_row != other_folds.fold_of_row
    assert first.fold_of_row == other_models.fold_of_row
    assert first.predictions != other_models.predictions


class KilledError(Exception):
    pass


def killed_at(call, make=make_model):
    """A function that makes models, and fails when it is called this often."""
    calls = []

    def make_or_fail():
        calls.append(None)
        if len(calls) == call:
            raise KilledError
        return make()

    return make_or_fail


def test_finished_folds_outlive_one_that_fails(data, seen, tmp_path):
    whole = cross_validate(make_model, data, arguments(tmp_path / "whole"), folds=3)
    del seen[:]
    with pytest.raises(KilledError):
        cross_validate(killed_at(4), data, arguments(tmp_path / "killed"), folds=3)
    assert len(seen) == 2
    (tmp_path / "killed").rename(tmp_path / "moved")
    resumed = cross_validate(make_model, data, arguments(tmp_path / "moved"), folds=3, resume=True)
    assert len(seen) == 3
    assert resumed == whole
    assert resumed.predictions == whole.predictions
    cross_validate(make_model, data, arguments(tmp_path / "moved"), folds=3)
    assert len(seen) == 6  # unless told to resume, nothing is taken from before


@pytest.mark.parametrize(
    ("changes", "differing"),
    [
        ({"args": {"learning_rate": 1e-3}}, "args.learning_rate"),
        ({"make_model": lambda: make_model(marker_max_length=64)}, "model.config.marker_max_length"),
        ({"data": Dataset.from_list(make_rows()[::-1])}, "data"),
        ({"seed": 1}, "data"),
        ({"predict_options": {"top_k": 1}}, "predict_options"),
    ],
)
def test_nothing_is_resumed_under_other_settings(changes, differing, data, tmp_path):
    given = {"make_model": make_model, "data": data, "seed": 0, "predict_options": None}
    with pytest.raises(KilledError):
        cross_validate(killed_at(3), data, arguments(tmp_path), folds=3)
    changes = {**changes, "args": arguments(tmp_path, **changes.get("args", {}))}
    with pytest.raises(ValueError, match=rf"made with different settings: {re.escape(differing)}\. Restore"):
        cross_validate(**{**given, **changes}, folds=3, resume=True)


SAME = make_model()
NO_ENTITY = Dataset.from_dict({"tokens": SENTENCES, "entities": [[]] * 5})
DOCUMENTS = Dataset.from_list([{**row, "document_id": i % 3, "sentence_id": i} for i, row in enumerate(make_rows())])


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"folds": 1}, ValueError, "folds=1 must be at least 2"),
        ({"folds": 2.5}, TypeError, "folds=2.5 must be a whole number"),
        ({"folds": 16}, ValueError, "folds=16 must be at most 15, the number of rows"),
        ({"data": DOCUMENTS}, ValueError, "folds=5 must be at most 3, the number of documents"),
        ({"folds": 2, "args": {"eval_strategy": "epoch"}}, ValueError, "folds=2 leaves nothing to train on"),
        ({"make_model": lambda: SAME}, ValueError, "make_model returned the same model twice"),
        ({"make_model": SAME}, TypeError, "make_model must be a function that makes a new model"),
        ({"make_model": lambda: "bert"}, TypeError, "must be a SpanMarkerModel, not str"),
        ({"make_model": lambda: build_model(labels=LABELS[:5])}, ValueError, "'ORG' has a label that is not one of"),
        (
            {"make_model": lambda: related_model(["leads"]), "data": make_related(8)},
            ValueError,
            r"row 0 of the annotated data: relation 0 \('knows'\) has a label that is not one of \['leads'\]",
        ),
        ({"data": {"train": DOCUMENTS}}, TypeError, "must be a datasets.Dataset, not dict"),
        ({"data": NO_ENTITY}, ValueError, "there are no entities in the annotated data"),
        ({"args": "folder"}, TypeError, "args must be TrainingArguments, not str"),
        ({"args": {"push_to_hub": True}}, ValueError, "push_to_hub=True must be False"),
        ({"predict_options": {"return_coverage": True}}, ValueError, r"predict_options has \['return_coverage'\]"),
        ({"predict_options": {"top_k": 0}}, ValueError, "top_k=0"),
    ],
)
def test_wrong_arguments_are_errors_before_anything_is_trained(changes, error, message, data, tmp_path, monkeypatch):
    monkeypatch.setattr(Trainer, "train", lambda self: pytest.fail("trained"))
    args = changes.get("args", {})
    changes = {**changes, "args": arguments(tmp_path, **args) if isinstance(args, dict) else args}
    with pytest.raises(error, match=message):
        cross_validate(**{"make_model": make_model, "data": data, **changes})
    assert not (tmp_path / "fold-0" / "predictions.json").exists()


def test_rare_labels_are_named(data, tmp_path, caplog):
    cross_validate(make_model, data, arguments(tmp_path), folds=5)
    assert "fewer" not in caplog.text  # each fold has one of the five
    cross_validate(make_model, data, arguments(tmp_path), folds=6)
    assert "labels, which are in fewer rows than there are folds (6)" in caplog.text
    assert "are unreliable: 'ORG' in 5\n" in caplog.text


@pytest.mark.parametrize("outside", [9.0, -2.0])
def test_models_that_predict_hardly_anything_are_a_warning(outside, data, tmp_path, caplog):
    def make():
        model = make_model()
        with torch.no_grad():
            model.classifier.bias[model.config.outside_id] = outside
        return model

    report = cross_validate(make, data, arguments(tmp_path), folds=2)
    num_predicted = sum(map(len, report.predictions))
    warning = f"The models of the folds predict {num_predicted} entities in data that has "
    assert (warning in caplog.text) == (outside > 0)


def test_the_file_of_a_fold_holds_its_predictions_and_its_settings(data, tmp_path):
    report = cross_validate(make_model, data, arguments(tmp_path), folds=3)
    for number in range(3):
        saved = json.loads((tmp_path / f"fold-{number}" / "predictions.json").read_text(encoding="utf-8"))
        rows = np.flatnonzero(np.equal(report.fold_of_row, number))
        assert saved["entities"] == [report.predictions[row] for row in rows]
        assert saved["settings"]["args.seed"] == 1


def test_a_model_that_knows_nothing_of_a_fold_is_judged_as_analyze_errors_does(data, tmp_path, monkeypatch):
    models = []
    train = Trainer.train
    monkeypatch.setattr(Trainer, "train", lambda self: models.append(self.model) or train(self))
    report = cross_validate(make_model, data, arguments(tmp_path), folds=3)
    for number, model in enumerate(models):
        rows = np.flatnonzero(np.equal(report.fold_of_row, number))
        figures = analyze_errors(model, data.select(rows), batch_size=8).overall
        assert report.folds[number][2:5] == tuple(figure.value for figure in figures[2:])


@pytest.mark.parametrize("settings", [{}, {"relation_labels": ["lives in"], "reads_tokens": True}])
def test_relations_are_those_of_predicted_entities(tmp_path, settings):
    gold = [{"label": "lives in", "head": 0, "tail": 1}]
    rows = [{**row, "relations": gold if len(row["entities"]) > 1 else []} for row in make_rows(6)]
    report = cross_validate(lambda: make_model(**settings), Dataset.from_list(rows), arguments(tmp_path), folds=2)
    for row in report.rows:
        assert ("relations" in row) == bool(settings)
        for one in row.get("relations", ()):
            assert max(one["head"], one["tail"]) < len(row["entities"])
            assert "score" in one
    figures = report.errors.relations
    assert (figures is not None) == bool(settings)
    if figures is not None:
        assert figures.overall.num_gold == sum(len(row["relations"]) for row in rows)
        assert "relations, by label" in str(report)


@pytest.mark.parametrize(
    ("number", "one_way", "settings", "expected"),
    [
        (4, (), {}, ["knows"]),  # half of them are too few
        (8, (0,), {}, []),  # the half without the first row has all in both directions
        (8, (0,), {"symmetric_relations": ["knows"]}, ["knows"]),
    ],
)
def test_all_folds_take_the_same_relations_for_symmetric(
    number, one_way, settings, expected, seen, tmp_path, monkeypatch
):
    given = []
    own = CrossValidationReport.from_predictions

    def spy(*args, **options):
        given.append(args[5])
        return own(*args, **options)

    monkeypatch.setattr(CrossValidationReport, "from_predictions", spy)
    rows = make_related(number, one_way)
    report = cross_validate(lambda: related_model(**settings), rows, arguments(tmp_path), folds=2)
    assert [fold["model"].config.symmetric_relations for fold in seen] == [expected] * 2
    assert given == [expected]
    assert report.errors.relations.overall.num_gold == (number if expected else 2 * number - len(one_way))


def test_relations_that_may_be_symmetric_are_named(tmp_path, caplog):
    cross_validate(related_model, make_related(8, (0,)), arguments(tmp_path), folds=2)
    assert "7 of the 8 pairs of entities with the relation 'knows' in the annotated data have it in both" in caplog.text


def test_labels_of_relations_are_spread_and_rare_ones_are_named(tmp_path, caplog):
    rows = make_related(12)
    for row in rows[:3]:
        row["relations"] = [{"label": "leads", "head": 0, "tail": 1}]
    labels = ("knows", "leads")
    report = cross_validate(lambda: related_model(labels), rows, arguments(tmp_path / "a"), folds=3)
    assert sorted(report.fold_of_row[:3]) == [0, 1, 2]
    assert "fewer" not in caplog.text
    cross_validate(lambda: related_model(labels), rows, arguments(tmp_path / "b"), folds=4)
    assert "no entity or relation of these labels, which are in fewer rows than there are folds (4)" in caplog.text
    assert "are unreliable: 'leads' in 3\n" in caplog.text


def test_the_report_says_what_the_intervals_of_relations_are_over(tmp_path):
    rows = [{**row, "document_id": index // 2, "sentence_id": index} for index, row in enumerate(make_related(8))]
    text = str(cross_validate(related_model, rows, arguments(tmp_path), folds=2))
    before = text.split("relations, by measure")[0]
    assert "resamples of the 4 documents" in before
    summary = before.strip().splitlines()[-1]
    assert summary.startswith("relations of 8 sentences; gold relations: 8;")
    assert summary.endswith("intervals from resamples of these sentences")
