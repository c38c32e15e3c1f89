"""Error analysis of models, whose figures are those of Trainer, and of predictions in any form."""

import re
from datetime import date
from itertools import product

import pytest
from datasets import ClassLabel, Dataset, Features, List, Value
from reports import DATA, FIGURES
from tiny import LABELS, SENTENCES, build_model

from span_marker import SpanMarkerModel, Trainer, TrainingArguments
from span_marker.core.labels import LabelledSpan, entities_to_tags
from span_marker.error_analysis.analyze import analyze_errors, analyze_predictions
from span_marker.error_analysis.report import REASONS, ErrorReport
from span_marker.validation.checks import validate

WORDS = [*SENTENCES, ["Amelia", "left", "Paris", "for", "New", "York"], ["Cleopatra", "the", "Great"]]


ROW = {
    "tokens": ["Ann", "met", "Bo"],
    "entities": [{"label": "PER", "start": place, "end": place + 1} for place in (0, 2)],
}


@pytest.fixture(scope="module")
def model():
    return build_model("bert", entity_max_length=3)


def half_right(model, inputs, unit):
    """Gold entities of which the model finds some; the others have another label, are shorter, or are not found."""
    rows = []
    for found in model.predict(inputs):
        spans = [LabelledSpan(e["label"], e[f"{unit}_start_index"], e[f"{unit}_end_index"]) for e in found]
        spans = [span._replace(label="PER") if index % 3 == 1 else span for index, span in enumerate(spans)]
        rows.append([span for index, span in enumerate(spans) if index % 4 != 3])
    return rows


def dicts(spans):
    return [span._asdict() for span in spans]


def dataset_of(inputs, gold):
    return Dataset.from_dict(
        {"text" if isinstance(inputs[0], str) else "tokens": inputs, "entities": [*map(dicts, gold)]}
    )


def evaluate(model, data, folder):
    arguments = TrainingArguments(str(folder), report_to="none", use_cpu=True, disable_tqdm=True)
    return Trainer(model, arguments, eval_dataset=data).evaluate()


@pytest.mark.parametrize("unit", ["word", "char"])
def test_figures_of_a_model_are_those_of_the_trainer(model, unit, tmp_path):
    inputs = WORDS if unit == "word" else [" ".join(words) for words in WORDS]
    gold = half_right(model, inputs, unit)
    if unit == "char":  # spaces at the edges, and an entity that cuts a word
        gold[0] = [span._replace(end=min(span.end + 1, len(inputs[0]))) for span in gold[0]]
        gold[1] = [LabelledSpan("LOC", 0, 3)]
    data = dataset_of(inputs, gold)
    report = analyze_errors(model, data, batch_size=2, num_resamples=20)
    metrics = evaluate(model, data, tmp_path)
    assert 0 < report.overall.f1.value < 1
    assert [of.value for of in report.overall[2:]] == [metrics[f"eval_overall_{name}"] for name in FIGURES]
    for label, figures in report.labels.items():
        assert [of.value for of in figures[2:]] == [metrics[f"eval_{label}"][name] for name in FIGURES]
    assert report.unreachable == {**dict.fromkeys(REASONS, 0), "partial-word": int(unit == "char")}
    assert analyze_errors(model, data, num_resamples=20) == report


def test_accents_of_their_own_at_the_edges_do_not_count(model, tmp_path):
    texts = ["Café left", "for Café", "Zoe\u0301"]
    texts = [text.replace("é", "e\u0301") for text in texts]
    found = half_right(model, texts, "char")
    gold = [[LabelledSpan("PER", text.index(text.split()[-1][0]), len(text))] for text in texts]
    gold = [[*ones, *others[:1]] for ones, others in zip(gold, found, strict=True)]
    data = dataset_of(texts, gold)
    metrics = evaluate(model, data, tmp_path)
    assert analyze_errors(model, data, num_resamples=5).overall.f1.value == metrics["eval_overall_f1"]
    row = dataset_of(texts[:1], [[LabelledSpan("PER", 0, 5)]])
    predictions = [[{"label": "PER", "start": 0, "end": 4}]]
    assert analyze_predictions(row, predictions, num_resamples=5).kinds["correct"] == 1


def test_reports_say_what_was_measured(tmp_path):
    model = build_model("bert", entity_max_length=3)
    assert analyze_errors(model, DATA, num_resamples=5).model_name is None
    model.encoder.name_or_path = "user/encoder"
    assert analyze_errors(model, DATA, num_resamples=5).model_name == "SpanMarker with user/encoder"
    model.save_pretrained(tmp_path / "model")
    model = SpanMarkerModel.from_pretrained(tmp_path / "model")
    assert analyze_errors(model, DATA, num_resamples=5).model_name == str(tmp_path / "model")
    model.model_card_data.model_id = "user/model"
    data = DATA.select([0])
    data.info.download_checksums = {"hf://datasets/user/names@0123/train.parquet": {}}
    report = analyze_errors(model, {"dev": data, "test": data, "other": DATA}, num_resamples=5)
    assert (report.model_name, report.dataset_name) == ("user/model", "user/names")
    report = analyze_errors(model, data, num_resamples=5, model_name="mine", dataset_name="ours")
    assert (report.model_name, report.dataset_name) == ("mine", "ours")
    report = analyze_predictions(data, [[]], num_resamples=5, model_name="rules")
    assert (report.model_name, report.dataset_name) == ("rules", "user/names")
    assert report.date <= date.today()


def test_tags_and_a_dict_of_splits(model):
    names = ClassLabel(names=LABELS)
    gold = half_right(model, WORDS, "word")
    tags = [entities_to_tags(row, len(words)) for row, words in zip(gold, WORDS, strict=True)]
    features = Features({"tokens": List(Value("string")), "ner_tags": List(names)})
    tagged = Dataset.from_dict({"tokens": WORDS, "ner_tags": tags}, features=features)
    report = analyze_errors(model, {"dev": tagged, "test": dataset_of(WORDS, gold)}, num_resamples=5)
    assert list(report.splits) == ["dev", "test"]
    assert report.splits["dev"][:2] == report.splits["test"][:2]
    assert {(of.split, of.row) for of in report.sentences} == set(product(("dev", "test"), range(len(WORDS))))
    assert report.by_kind("spurious")[-1].where.endswith("data")
    lines = [re.sub(" +", " ", line) for line in str(report).splitlines()]
    assert any(line.startswith("test ") for line in lines)
    integers = Dataset.from_dict({"tokens": WORDS, "ner_tags": [[LABELS.index(tag) for tag in row] for row in tags]})
    assert (
        analyze_errors(model, integers, num_resamples=5).kinds == analyze_errors(model, tagged, num_resamples=5).kinds
    )


def test_what_the_limits_put_out_of_reach():
    model = build_model("bert", entity_max_length=2, model_max_length=8)
    words = [["a", "b", "c"], ["x" * 20, "d", "\u200b"], *WORDS]
    gold = [[LabelledSpan("PER", 0, 3)], [LabelledSpan("PER", 1, 3), LabelledSpan("LOC", 0, 2)], *([] for _ in WORDS)]
    report = analyze_errors(model, dataset_of(words, gold), num_resamples=5)
    assert report.unreachable["too-long"] == 1
    assert report.unreachable["entity-without-token"] + report.unreachable["cut-off"] == 2
    text = str(report)
    assert "gold entities out of reach: 3 of 3, so recall is at most 0.0000" in text
    assert "     1  longer than entity_max_length" in text
    assert "partial-word" not in text


@pytest.mark.parametrize("multi_label", [False, True])
def test_what_the_filter_drops_is_counted(multi_label):
    model = build_model("bert", entity_max_length=3, multi_label=multi_label)
    gold = [
        [LabelledSpan("PER", start, start + 1) for start in range(0, len(words), 2)]
        + [LabelledSpan("LOC", start, start + 2) for start in range(len(words) - 1)]
        for words in WORDS
    ]
    if multi_label:
        gold = [[*row, *(span._replace(label="ORG") for span in row[:2])] for row in gold]
    data = dataset_of(WORDS, gold)
    assert analyze_errors(model, data, num_resamples=5).unreachable["filtered"] == 0
    model.add_span_filter()
    model.config.candidates_per_word = 1
    report = analyze_errors(model, data, batch_size=2, num_resamples=5)
    kept, everything = (
        [{(e["word_start_index"], e["word_end_index"]) for e in row} for row in rows]
        for rows in (
            model.predict(WORDS, threshold=0.0, decoding="overlapping"),
            model.predict(WORDS, threshold=0.0, decoding="overlapping", exact=True),
        )
    )
    assert all(len(row) == 3 * len(words) - 3 for row, words in zip(everything, WORDS, strict=True) if len(words) > 1)
    num_dropped = sum(
        (span.start, span.end) not in row for row, spans in zip(kept, gold, strict=True) for span in spans
    )
    assert report.unreachable["filtered"] == num_dropped > 0
    assert report.kinds["correct"] <= report.overall.num_gold - num_dropped


def test_predictions_may_come_in_any_form(model):
    for inputs, unit in ((WORDS, "word"), ([" ".join(words) for words in WORDS], "char")):
        gold = half_right(model, inputs, unit)
        data = dataset_of(inputs, gold)
        expected = analyze_errors(model, data, num_resamples=5)
        column = data.column_names[0]
        lists = model.predict(inputs)
        plain = [
            [{"label": e["label"], "start": e[f"{unit}_start_index"], "end": e[f"{unit}_end_index"]} for e in row]
            for row in lists
        ]
        forms = [
            lists,
            plain,
            tuple(map(tuple, plain)),
            [{"entities": row} for row in lists],
            model.predict(data, keep_columns=[column]),
            Dataset.from_dict({column: inputs, "entities": plain}),
        ]
        for predictions in forms:
            report = analyze_predictions(data, predictions, num_resamples=5)
            assert report.unreachable is None
            assert report.sentences == expected.sentences
            assert report.measures == expected.measures
        report = analyze_predictions({"dev": data, "test": data}, {"test": lists, "dev": plain}, num_resamples=5)
        assert report.kinds == {kind: 2 * number for kind, number in expected.kinds.items()}


TEXTS = Dataset.from_list([{"text": "Ann", "entities": [{"label": "PER", "start": 0, "end": 3}]}])


@pytest.mark.parametrize(
    ("predictions", "error", "message"),
    [
        ([], ValueError, "0 predictions for the 1 rows of the annotated data: pass one for each"),
        ("Ann", TypeError, "predictions must be a list with one item for each row, not a str"),
        (None, TypeError, "not a NoneType"),
        (
            [[{"label": "PER", "start": 0, "end": 3}]],
            ValueError,
            "row 0 of the predictions: entity 'PER' ends at word 3",
        ),
        ([[{"label": "PER", "char_start_index": 0, "char_end_index": 1}]], ValueError, "has no 'start'"),
        ([{"tokens": ["Bob"], "entities": []}], ValueError, r"row 0 of the predictions is not .* but \['Bob'\]"),
        ([{"tokens": ["Ann", "Lee"]}], TypeError, "row 0 of the predictions: 'entities' must be a list"),
        (TEXTS, ValueError, "row 0 of the predictions is not row 0 of the annotated data, but 'Ann'"),
        (DATA.select([0, 0]), ValueError, "2 predictions for the 1 rows"),
    ],
)
def test_predictions_that_do_not_fit(predictions, error, message):
    with pytest.raises(error, match=message):
        analyze_predictions(DATA, predictions)


def test_relations_that_the_model_cannot_find_are_named(model, caplog):
    rows = [{**ROW, "relations": [{"label": "knows", "head": 0, "tail": 1}]}, {**ROW, "relations": None}]
    assert analyze_errors(model, rows, num_resamples=5).relations is None
    assert "The model has no relations, so the 1 relations of the annotated data are not used" in caplog.text
    related = build_model("bert", entity_max_length=3, relation_labels=["knows"])
    assert len(analyze_errors(related, rows, num_resamples=5).relations.sentences) == 1
    assert "1 of the 2 rows of the annotated data have no value for 'relations'" in caplog.text


def test_arguments_that_do_not_fit(model):
    with pytest.raises(TypeError, match="model must be a SpanMarkerModel, not Dataset"):
        analyze_errors(DATA, model)
    with pytest.raises(ValueError, match=r"the annotated data has no rows: \[\] was passed"):
        analyze_errors(model, [])
    with pytest.raises(TypeError, match=r"not a path: pass read_annotations\('dev.jsonl'\)"):
        analyze_errors(model, "dev.jsonl")
    with pytest.raises(ValueError, match="the annotated data set has no rows"):
        analyze_errors(model, DATA.select([]))
    with pytest.raises(ValueError, match="entity 'ART' has a label that is not one of"):
        analyze_errors(
            model, Dataset.from_list([{"tokens": ["a"], "entities": [{"label": "ART", "start": 0, "end": 1}]}])
        )
    with pytest.raises(ValueError, match=r"predictions must be a dict with the data sets \['dev'\], not list"):
        analyze_predictions({"dev": DATA}, [[]])
    with pytest.raises(ValueError, match=r"must be a dict with the data sets .*, not \['test'\]"):
        analyze_predictions({"dev": DATA}, {"test": [[]]})
    with pytest.raises(ValueError, match="num_examples=-1 must be at least 0"):
        analyze_predictions(DATA, [[]], num_examples=-1)
    with pytest.raises(ValueError, match="num_resamples=0 must be at least 1"):
        analyze_predictions(DATA, [[]], num_resamples=0)
    with pytest.raises(ValueError, match="confidence=95 must be above 0 and below 1"):
        analyze_predictions(DATA, [[]], confidence=95)
    with pytest.raises(ValueError, match="there are no sentences to resample: pass data with at least one row"):
        ErrorReport.from_sentences([])


def test_relations_that_a_model_does_not_know_are_not_passed_over_in_silence(model, caplog):
    entities = [{"label": "PER", "start": 0, "end": 1}, {"label": "LOC", "start": 2, "end": 3}]
    row = {"tokens": ["Ann", "in", "Rome"], "entities": entities}
    row["relations"] = [{"label": "in", "head": 0, "tail": 1}]
    for judge in (analyze_errors, lambda model, data: validate(data, model)):
        caplog.clear()
        judge(model, Dataset.from_list([row] * 2))
        assert "The model has no relations, so the 2 relations of the annotated data are not used" in caplog.text
