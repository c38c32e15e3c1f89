"""Metrics of relations in `Trainer`: those of ``predict``, and what no model can predict is missed."""

import numpy as np
import pytest
import torch
from datasets import Dataset
from helpers import RELATIONS, arguments, as_row, relation_model
from oracle import as_double, relation_logits
from tiny import SENTENCES

from span_marker import Trainer
from span_marker.core.labels import LabelledSpan
from span_marker.core.metrics import NAMES
from span_marker.core.relation_metrics import LabelledRelation, relation_metrics
from span_marker.core.windows import pair_window
from span_marker.error_analysis.analyze import analyze_errors, analyze_predictions

WORDS = [words for words in SENTENCES if words]


def predict(model, inputs):
    return model.predict(inputs, relations=True)


def unit_of(inputs):
    return ("text", "char") if isinstance(inputs[0], str) else ("tokens", "word")


def half_right(model, inputs):
    """Rows that the model gets partly right: other labels, directions and entities, and relations that are missing."""
    column, unit = unit_of(inputs)
    rows = []
    for item, result in zip(inputs, predict(model, inputs), strict=True):
        entities = [
            {"label": e["label"], "start": e[f"{unit}_start_index"], "end": e[f"{unit}_end_index"]}
            for e in result["entities"]
        ]
        relations = [{name: one[name] for name in ("label", "head", "tail")} for one in result["relations"]]
        for index, one in enumerate(relations):
            if index % 4 == 1:
                one["label"] = RELATIONS[(RELATIONS.index(one["label"]) + 1) % 3]
            elif index % 4 == 2:
                one["head"], one["tail"] = one["tail"], one["head"]
        if len(entities) > 2:
            entities[2] = {**entities[2], "label": "ORG" if entities[2]["label"] == "PER" else "PER"}
        rows.append({column: item, "entities": entities, "relations": relations[: max(len(relations) - 1, 1)]})
    return rows


def evaluate(model, rows, folder, **options):
    return Trainer(model, arguments(folder), eval_dataset=Dataset.from_list(rows)).evaluate(**options)


def relations_of(rows):
    found = []
    for row in rows:
        spans = [LabelledSpan(e["label"], e["start"], e["end"]) for e in row["entities"]]
        found.append(
            [LabelledRelation(one["label"], spans[one["head"]], spans[one["tail"]]) for one in row["relations"]]
        )
    return found


@pytest.mark.parametrize("inputs", [WORDS, [" ".join(words) for words in WORDS]], ids=["words", "texts"])
def test_figures_are_those_of_predict(inputs, tmp_path):
    model = relation_model(reads_tokens=True)
    rows = half_right(model, inputs)
    metrics = evaluate(model, rows, tmp_path)
    report = analyze_predictions(rows, predict(model, inputs), num_resamples=5, symmetric_relations=["knows"]).relations
    assert 0 < report.overall.f1.value < report.measures["boundaries"].f1.value < 1
    assert [value.value for value in report.overall[2:]] == [metrics[f"eval_relation_{name}"] for name in NAMES]
    bounds = report.measures["boundaries"][2:]
    assert [value.value for value in bounds] == [metrics[f"eval_relation_boundaries_{name}"] for name in NAMES]
    for label, figures in report.labels.items():
        expected = metrics[f"eval_relation_{label}"]
        assert expected["number"] == figures.num_gold
        assert [value.value for value in figures[2:]] == [expected[name] for name in NAMES]
    assert analyze_errors(model, rows, num_resamples=5).relations == report


def test_predictions_as_gold_data_are_all_right(tmp_path):
    model = relation_model(reads_tokens=True)
    rows = [
        {
            **as_row(words, [(e["label"], e["word_start_index"], e["word_end_index"]) for e in result["entities"]]),
            "relations": [{name: one[name] for name in ("label", "head", "tail")} for one in result["relations"]],
        }
        for words, result in zip(WORDS, predict(model, WORDS), strict=True)
    ]
    metrics = evaluate(model, rows, tmp_path)
    names = [
        f"{kind}{macro}{name}" for kind in ("", "boundaries_", "gold_") for macro in ("", "macro_") for name in NAMES
    ]
    assert {metrics[f"eval_relation_{name}"] for name in names} == {1.0}
    turned = [
        {
            **row,
            "relations": [
                {**one, "head": one["tail"], "tail": one["head"]} if one["label"] == "knows" else one
                for one in row["relations"]
            ],
        }
        for row in rows
    ]
    assert any(one["label"] == "knows" for row in rows for one in row["relations"])
    assert evaluate(model, turned, tmp_path)["eval_relation_f1"] == 1.0


def test_gold_entities_are_given_with_any_entities_found(tmp_path):
    model = relation_model(reads_tokens=True)
    rows = half_right(model, WORDS)
    expected = evaluate(model, rows, tmp_path)
    model.classifier.bias.data[model.config.outside_id] += 1e4  # no entity is found
    metrics = evaluate(model, rows, tmp_path)
    assert metrics["eval_relation_f1"] == metrics["eval_relation_best_f1"] == 0.0
    of_given = {name: value for name, value in metrics.items() if name.startswith("eval_relation_gold_")}
    rounded = of_given.pop("eval_relation_gold_best_threshold")
    assert rounded == pytest.approx(expected["eval_relation_gold_best_threshold"], abs=1e-3)
    assert of_given == {name: expected[name] for name in of_given}
    for name in ("f1", "best_f1", "average_precision"):
        assert 0 < of_given[f"eval_relation_gold_{name}"] < 1


def test_what_cannot_be_predicted_is_missed(tmp_path):
    model = relation_model(reads_tokens=True)
    text = " ".join(WORDS[0])
    spans = [("PER", 0, len(text.split()[0])), ("LOC", 1, 3), ("LOC", 2, len(text))]  # two begin inside a word
    row = {
        "text": text,
        "entities": [{"label": label, "start": start, "end": end} for label, start, end in spans],
        "relations": [{"label": "lives in", "head": 0, "tail": tail} for tail in (1, 2)]
        + [{"label": "knows", "head": head, "tail": 1 - head} for head in (0, 1)],
    }
    metrics = evaluate(model, [row], tmp_path)
    assert metrics["eval_relation_lives in"]["number"] == metrics["eval_relation_gold_lives in"]["number"] == 2
    assert metrics["eval_relation_knows"]["number"] == 1
    assert metrics["eval_relation_gold_recall"] == 0.0


def test_windows(tmp_path):
    model = relation_model(model_max_length=12, reads_tokens=True)
    words = (WORDS[2] + WORDS[0]) * 2
    spans = [
        (label, start, start + 1) for label, start in zip(["PER", "LOC"] * 20, range(0, len(words), 3), strict=False)
    ]
    pairs = [(head, tail) for head in range(len(spans)) for tail in range(len(spans)) if head != tail]
    listed = [{"label": "works for", "head": head, "tail": tail} for head, tail in pairs]
    trainer = Trainer(model, arguments(tmp_path), eval_dataset=[{**as_row(words, spans), "relations": listed}])
    metrics = trainer.evaluate()
    assert metrics["eval_relation_works for"]["number"] == len(pairs)
    features = trainer._features.with_format(None)
    windows = np.array([(piece["first_word"], piece["first_word"] + len(piece["word_starts"])) for piece in features])
    assert len(windows) > 2
    places = np.array([span[1:] for span in spans])
    owner = pair_window(*(places[[pair[end] for pair in pairs]] for end in range(2)), windows)
    assert (owner < 0).any()
    gold = [LabelledRelation("works for", *(LabelledSpan(*spans[end]) for end in pair)) for pair in pairs]
    exact, rules, given = as_double(model), model.config.relation_rules, []
    for (head, tail), window in zip(pairs, owner.tolist(), strict=True):
        if window >= 0:
            piece = features[window]
            tokens = []
            for start, end in (places[head] - piece["first_word"], places[tail] - piece["first_word"]):
                tokens += [piece["word_starts"][start], piece["word_ends"][end - 1] - 1]
            logits = relation_logits(exact, torch.tensor(piece["input_ids"]), [tokens])
            array = np.array([[model.config.label2id[spans[end][0]], *spans[end][1:]] for end in (head, tail)])
            options = rules.options(array[:1], array[1:])
            best = int(np.where(options, logits.detach().numpy(), -np.inf).argmax())
            if best:
                ends = (LabelledSpan(*spans[end]) for end in (head, tail))
                given.append(LabelledRelation(model.config.relation_labels[best], *ends))
    expected = relation_metrics([gold], [[]], [given], ["knows"])
    assert expected["gold_recall"] > 0
    for name in NAMES:
        assert metrics[f"eval_relation_gold_{name}"] == expected[f"gold_{name}"]


def test_only_data_with_relations_are_measured(tmp_path):
    model = relation_model(reads_tokens=True)
    rows = half_right(model, WORDS)
    with_all = evaluate(model, rows, tmp_path)
    unknown = [{**row, "relations": None} for row in rows]
    mixed = evaluate(model, rows + unknown, tmp_path)
    names = [name for name in with_all if name.startswith("eval_relation_")]
    assert {name: mixed[name] for name in names} == {name: with_all[name] for name in names}
    assert mixed["eval_overall_f1"] == pytest.approx(with_all["eval_overall_f1"])
    without = [{name: row[name] for name in ("tokens", "entities")} for row in rows]
    assert not any("relation" in name for name in evaluate(model, without, tmp_path))


def test_other_ways_of_evaluating(tmp_path):
    model = relation_model(reads_tokens=True)
    rows = half_right(model, WORDS)
    trainer = Trainer(model, arguments(tmp_path), eval_dataset={"a": rows, "b": rows[:2]})
    both = trainer.evaluate()
    assert both["eval_a_relation_f1"] == evaluate(model, rows, tmp_path)["eval_relation_f1"]
    assert both["eval_b_relation_f1"] == evaluate(model, rows[:2], tmp_path)["eval_relation_f1"]
    assert trainer.predict(Dataset.from_list(rows)).metrics["test_relation_f1"] == both["eval_a_relation_f1"]
    exact = evaluate(model, rows, tmp_path, compare_exact=True)
    assert exact["eval_exact_relation_f1"] == exact["eval_relation_f1"]


def test_checkpoints_can_be_compared_by_relations(tmp_path):
    model = relation_model(reads_tokens=True)
    rows = half_right(model, WORDS)
    options = {"eval_strategy": "epoch", "save_strategy": "epoch", "load_best_model_at_end": True}
    options |= {"metric_for_best_model": "relation_best_f1", "num_train_epochs": 2}
    trainer = Trainer(model, arguments(tmp_path, **options), rows, rows)
    trainer.train()
    logged = [entry for entry in trainer.state.log_history if "eval_relation_f1" in entry]
    assert len(logged) == 2
    assert trainer.state.best_metric == max(entry["eval_relation_best_f1"] for entry in logged)
    assert "eval_relation_knows_f1" not in logged[0]
    assert trainer.evaluate()["eval_relation_knows"]["number"] > 0
    card = model.generate_model_card()
    assert "| knows" in card
    assert "F1 with gold entities" in card
    assert "boundaries_" not in card
