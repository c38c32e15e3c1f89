import math
import re

import pytest
import torch
from datasets import Dataset
from helpers import check_margin, logit_rounding, make_shy
from peft import LoraConfig, get_peft_model
from tiny import SENTENCES, build_model

from span_marker import SpanMarkerModel, analyze_errors, calibrate, tune_thresholds, validate
from span_marker.core.labels import LabelledSpan
from span_marker.core.metrics import compute_metrics
from span_marker.core.spans import num_candidates
from span_marker.rules import ListRule, Rules
from span_marker.scores.cross_fitting import into_folds
from span_marker.scores.held_out import HeldOut
from span_marker.scores.tuning import score_candidates

WORDS = [*SENTENCES, ["Amelia", "left", "Paris", "for", "New", "York"], ["Cleopatra", "the", "Great"]]


def spans(found, unit):
    return [[LabelledSpan(e["label"], e[f"{unit}_start_index"], e[f"{unit}_end_index"]) for e in row] for row in found]


def half_right(model, inputs, unit):
    """Gold entities of which the model finds some, and others with another label."""
    rows = spans(model.predict(inputs, threshold=0.3), unit)
    return [
        [span if index % 3 else span._replace(label="PER") for index, span in enumerate(row) if index % 4 != 1]
        for row in rows
    ]


def mostly_right(model, inputs=WORDS, copies=2):
    """Data in which most of what the model proposes is right, and enough of it to calibrate."""
    rows = spans(model.predict(inputs, decoding="overlapping"), "word")
    gold = [
        [span if index % 4 else span._replace(label="PER") for index, span in enumerate(row) if index % 5]
        for row in rows
    ]
    return Dataset.from_dict({"tokens": [*inputs] * copies, "entities": as_dicts(gold) * copies})


def as_dicts(entities):
    return [[{"label": label, "start": start, "end": end} for label, start, end in row] for row in entities]


@pytest.fixture
def model():
    model = build_model("bert", entity_max_length=3)
    check_margin(model, WORDS)  # batches of any size find the same
    return model


def test_the_temperature_is_fitted_and_saved(model, tmp_path):
    data = mostly_right(model)
    before = model.predict(WORDS, decoding="overlapping")
    report = calibrate(model, data)
    assert report.temperature == model.config.calibration_temperature > 1.2
    low, high = report.interval
    assert 1.2 < low < report.temperature < high < 1.5 * report.temperature
    assert report.after.nll < report.before.nll
    assert report.after.ece < report.before.ece
    after = model.predict(WORDS, decoding="overlapping")
    assert spans(after, "word") == spans(before, "word")
    assert after[0][0]["score"] < before[0][0]["score"]
    model.save_pretrained(tmp_path)
    assert SpanMarkerModel.from_pretrained(tmp_path).predict(WORDS, decoding="overlapping") == after
    other = calibrate(model, data, test_data=data.select([0]))
    assert other.temperature == report.temperature  # of the same scores, bit for bit: they come from the same batches
    assert other.interval == report.interval
    assert other.num_candidates < report.num_candidates


def test_the_card_says_what_was_tuned(model):
    data = mostly_right(model)
    tune_thresholds(model, data, precision=0.5)
    text = model.generate_model_card()
    assert f"- **Thresholds:** Tuned for a precision of 0.5 on {len(data)} held-out sentences with " in text
    assert "No metrics were measured." in text
    report = calibrate(model, data)
    text = model.generate_model_card()
    assert f"- **Calibration:** Scores are divided by {report.temperature:.4g}. " in text
    assert f"the calibration error is {report.before.ece:.4f} without and {report.after.ece:.4f} with it." in text
    assert "- **Thresholds:** None: they were reset when the scores were calibrated." in text
    assert "Tuned for" not in text


def test_too_few_proposals_are_not_calibrated(model):
    with pytest.raises(
        ValueError, match=r"proposes (\d+) entities .*, but about (\d+) are needed .* pass 2 times"
    ) as error:
        calibrate(model, mostly_right(model, copies=1))
    num_proposed, needed = map(int, re.findall(r" (\d+) (?:entities|are needed)", str(error.value)))
    assert num_proposed < needed <= 2 * num_proposed
    assert model.config.calibration_temperature == 1.0
    calibrate(model, mostly_right(model, copies=2))  # the message is right
    few = mostly_right(model).select([0])
    with pytest.raises(ValueError, match=r"but about \d+ are needed to know the temperature to a factor of 1.5"):
        calibrate(model, few)


def test_a_temperature_at_a_bound_is_refused(model, caplog):
    """Nearly everything that the model proposes is wrong: equal scores for all labels would fit better."""
    data = Dataset.from_dict({"tokens": WORDS, "entities": as_dicts(half_right(model, WORDS, "word"))})
    with pytest.raises(ValueError, match=r"but no temperature from 0.01 to 100 fits their scores"):
        calibrate(model, data)
    assert "beyond the bound of 100" in caplog.text
    assert model.config.calibration_temperature == 1.0


def test_all_candidates_are_scored_once(model):
    data = Dataset.from_dict({"tokens": WORDS, "entities": as_dicts(half_right(model, WORDS, "word"))})
    within = logit_rounding(model)
    small, large = (score_candidates(model, data, size).logits.double() for size in (2, 32))
    assert len(small) == len(large) == sum(num_candidates(len(words), 3) for words in WORDS)
    differences = torch.cdist(small, large, p=math.inf)
    partners = differences.argmin(dim=1)
    assert sorted(partners.tolist()) == list(range(len(large)))
    assert differences.gather(1, partners[:, None]).max() < within
    assert torch.pdist(large, p=math.inf).min() > 2 * within  # so that no candidate can be taken for another


def test_only_what_the_filter_keeps_is_calibrated(model):
    data = Dataset.from_dict({"tokens": WORDS, "entities": as_dicts(half_right(model, WORDS, "word"))})
    everything = score_candidates(model, data)
    model.add_span_filter()
    model.config.candidates_per_word = 1
    scored = score_candidates(model, data)
    assert len(scored.logits) == len(scored.labels) == sum(map(len, WORDS))
    differences = torch.cdist(scored.logits.double(), everything.logits.double(), p=math.inf)
    assert differences.amin(dim=1).max() < logit_rounding(model)
    assert torch.equal(scored.labels, everything.labels[differences.argmin(dim=1)])


@pytest.mark.parametrize("precision", [None, 0.8])
@pytest.mark.parametrize("unit", ["word", "char"])
def test_thresholds_are_tuned_for_each_label(model, unit, precision):
    inputs = WORDS if unit == "word" else [" ".join(words) for words in WORDS]
    gold = half_right(model, inputs, unit)
    column = "tokens" if unit == "word" else "text"
    data = Dataset.from_dict({column: inputs, "entities": as_dicts(gold)})
    report = tune_thresholds(model, data, precision)
    assert report.thresholds == model.config.thresholds
    assert set(report.thresholds) == {"PER", "LOC", "ORG"}
    found = spans(model.predict(inputs), unit)
    metrics = compute_metrics(gold, found, [100] * len(inputs))
    assert report.after.f1 == pytest.approx(metrics["overall_f1"])
    assert {label: figures.after.f1 for label, figures in report.labels.items() if label in metrics} == {
        label: pytest.approx(metrics[label]["f1"]) for label in report.labels if label in metrics
    }
    if precision is None:
        assert report.after.f1 >= report.before.f1
    else:
        assert report.after.precision > report.before.precision
        assert all(point.precision >= precision for point in report.points.values() if point.reached)


@pytest.mark.parametrize("precision", [None, 0.8])
def test_what_to_expect_is_measured_on_sentences_that_were_not_tuned_on(model, precision, caplog):
    data = Dataset.from_dict({"tokens": WORDS, "entities": as_dicts(half_right(model, WORDS, "word"))})
    report = tune_thresholds(model, data, precision)
    assert caplog.text.count("gold entities in the held-out data: ") == 1
    assert ", ".join(f"{label} ({number})" for label, number in report.few.items()) in caplog.text
    assert report.problem in caplog.text
    gold, found = [], []
    folds = into_folds(HeldOut.read(model, data, 32).groups)
    assert [len(fold) for fold in folds] == [2] * (len(WORDS) - 5) + [1] * (10 - len(WORDS))
    for fold in folds:
        rest = [row for row in range(len(data)) if row not in fold]
        thresholds = tune_thresholds(model, data.select(rest), precision).thresholds
        rows = data.select(fold)
        found += spans(model.predict(rows["tokens"], threshold=thresholds), "word")
        gold += [[LabelledSpan(**entity) for entity in entities] for entities in rows["entities"]]
    metrics = compute_metrics(gold, found, [100] * len(gold))
    assert list(report.expected) == [
        pytest.approx(metrics[f"overall_{name}"]) for name in ("precision", "recall", "f1")
    ]


def test_documents_are_not_split(model):
    columns = {"tokens": WORDS, "entities": as_dicts(half_right(model, WORDS, "word"))}
    documents = [row % 4 for row in range(len(WORDS))]
    data = Dataset.from_dict({**columns, "document_id": documents, "sentence_id": list(range(len(WORDS)))})
    folds = into_folds(HeldOut.read(model, data, 32).groups)
    whole = [[row for row in range(len(WORDS)) if documents[row] == document] for document in range(4)]
    assert sorted(folds) == whole
    assert tune_thresholds(model, data).expected is not None
    report = tune_thresholds(model, data.remove_columns("document_id").add_column("document_id", [0] * len(WORDS)))
    assert report.expected is report.f1_change is report.labels["ORG"].expected is None
    assert "which gives no estimate for new text" in report.problem


def test_what_fails_leaves_the_model_as_it_was(model):
    model.config.thresholds = dict.fromkeys(("PER", "LOC", "ORG"), 0.25)
    data = Dataset.from_dict({"tokens": WORDS, "entities": as_dicts(half_right(model, WORDS, "word"))})
    with pytest.raises(ValueError, match="precision=2 must be above 0 and at most 1"):
        tune_thresholds(model, data, precision=2)
    assert model.config.thresholds == dict.fromkeys(("PER", "LOC", "ORG"), 0.25)
    nothing = Dataset.from_dict({"tokens": WORDS, "entities": [[] for _ in WORDS]})
    with pytest.raises(ValueError, match=r"0 of the \d+ entities .* are right.* at least 54 .* train the model longer"):
        calibrate(model, nothing)
    model.config.thresholds = None
    everything = as_dicts(spans(model.predict(WORDS, decoding="overlapping"), "word"))
    with pytest.raises(ValueError, match=r"(\d+) of the \1 entities .* at least 54 in total: pass more sentences$"):
        calibrate(model, Dataset.from_dict({"tokens": WORDS, "entities": everything}))
    assert model.config.calibration_temperature == 1.0
    with pytest.raises(ValueError, match="there are no entities in the held-out data"):
        tune_thresholds(model, nothing)
    unknown = [[{"label": "ART", "start": 0, "end": 1}]]
    with pytest.raises(ValueError, match=r"row 0 of the held-out data: entity 'ART' has a label that is not one of"):
        tune_thresholds(model, Dataset.from_dict({"tokens": [["a"]], "entities": unknown}))
    for function in (calibrate, tune_thresholds):
        with pytest.raises(TypeError, match="must be a SpanMarkerModel, not Dataset"):
            function(nothing, model)
        with pytest.raises(
            TypeError, match="the held-out data must be a datasets.Dataset, not dict: pass one of its splits"
        ):
            function(model, {"dev": nothing})
    assert model.config.thresholds is None


def test_a_model_with_an_adapter_is_tuned_and_looked_into():
    model = build_model("bert", entity_max_length=3)
    data = mostly_right(model)
    adapted = get_peft_model(model, LoraConfig(target_modules=["query"], modules_to_save=["classifier"])).eval()
    assert calibrate(adapted, data).temperature == model.config.calibration_temperature != 1
    assert tune_thresholds(adapted, data).thresholds == model.config.thresholds
    assert analyze_errors(adapted, data).overall.num_gold == validate(data, adapted).num_entities > 0


def test_rules_are_left_out(model):
    data = Dataset.from_dict({"tokens": WORDS, "entities": as_dicts(half_right(model, WORDS, "word"))})
    report = tune_thresholds(model, data)
    model.rules = Rules([ListRule("PER", ["Paris", "Amelia"]), ListRule("SHIP", ["Lisa"])])
    assert tune_thresholds(model, data) == report


def test_thresholds_of_other_scores_are_reset(model, caplog):
    data = mostly_right(model)
    tune_thresholds(model, data)
    calibrate(model, data)
    assert model.config.thresholds is None
    assert "thresholds no longer match the scores and are reset" in caplog.text


def test_a_multi_label_model():
    model = build_model("bert", entity_max_length=3, multi_label=True)
    gold = half_right(model, WORDS, "word")
    report = calibrate(model, mostly_right(model))
    assert report.after.nll < report.before.nll
    assert 1 < report.temperature < 10
    data = Dataset.from_dict({"tokens": WORDS, "entities": as_dicts(gold)})
    after = tune_thresholds(model, data).after
    found = spans(model.predict(WORDS), "word")
    assert after.f1 == pytest.approx(compute_metrics(gold, found, [100] * len(WORDS))["overall_f1"])


@pytest.mark.parametrize(("threshold", "helps"), [(None, False), (0.1, True)])
def test_thresholds_that_may_not_help_are_not_set(model, threshold, helps, caplog):
    inputs = WORDS * 3
    if helps:
        make_shy(model)
    gold = spans(model.predict(inputs, threshold=threshold), "word")
    model.config.thresholds = {"PER": 0.9}
    report = tune_thresholds(
        model, Dataset.from_dict({"tokens": inputs, "entities": as_dicts(gold)}), only_if_better=True
    )
    assert report.is_better == helps
    assert model.config.thresholds == (report.thresholds if helps else None)
    assert model.card_changes["Thresholds"].startswith("Tuned for" if helps else "None: it is not certain")
    assert ("Labels with fewer than" in caplog.text) == helps
