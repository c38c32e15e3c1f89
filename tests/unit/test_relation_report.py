"""Reports on relations: what print and the page show, and where the relations come from."""

import json

import pytest
from datasets import Dataset
from pages import read_page, text_of

from span_marker.core.labels import LabelledSpan
from span_marker.error_analysis.analyze import analyze_predictions
from span_marker.error_analysis.comparison import compare_reports
from span_marker.error_analysis.matching import JudgedSentence, match
from span_marker.error_analysis.relation_matching import RELATION_KINDS
from span_marker.error_analysis.relation_report import RelationErrors

WORDS = "Ann Lee , born in Rome , leads Acme with Bo".split()
ENTITIES = [("PER", 0, 2), ("LOC", 5, 6), ("ORG", 8, 9), ("PER", 10, 11)]


def row_of(entities, relations, words=WORDS, text=False):
    spans = [LabelledSpan(*entity) for entity in entities]
    content = {"tokens": words}
    if text:
        starts = [sum(len(word) + 1 for word in words[:place]) for place in range(len(words) + 1)]
        spans = [LabelledSpan(label, starts[start], starts[end] - 1) for label, start, end in spans]
        content = {"text": " ".join(words)}
    names = ("label", "head", "tail")
    listed = [dict(zip(names, relation, strict=True)) for relation in relations]
    return {**content, "entities": [span._asdict() for span in spans], "relations": listed}


GOLD = [("born in", 0, 1), ("leads", 0, 2), ("leads", 3, 2), ("knows", 3, 0)]
FOUND = [("born in", 0, 1), ("owns", 0, 2), ("leads", 2, 3), ("knows", 0, 3)]


def report_on(gold, predicted, **options):
    return analyze_predictions(gold, predicted, **{"num_resamples": 20, **options})


@pytest.mark.parametrize("text", [False, True])
def test_figures_by_hand(text):
    gold, predicted = (row_of(ENTITIES, relations, text=text) for relations in (GOLD, FOUND))
    report = report_on(Dataset.from_list([gold]), [predicted], symmetric_relations=["knows"]).relations
    assert report.kinds == {
        "correct": 2,
        "wrong-direction": 1,
        "wrong-label": 1,
        "wrong-entity": 0,
        "missed-entity": 0,
        "missed": 0,
        "spurious": 0,
    }
    assert (report.overall.num_gold, report.overall.num_predicted, report.overall.f1.value) == (4, 4, 0.5)
    assert report.labels["leads"].f1.value == 0.0
    assert report.labels["knows"].f1.value == 1.0
    assert report_on(Dataset.from_list([gold]), [predicted]).relations.kinds["correct"] == 1
    [error] = report.by_kind("wrong-label")
    assert error.as_line(40) == (
        "leads of PER 'Ann Lee' to ORG 'Acme' -> owns of PER 'Ann Lee' to ORG 'Acme'; row 0 of the annotated data: "
        "[{Ann Lee}] , born in Rome , leads [{Acme}] with Bo"
    )
    with pytest.raises(ValueError, match="kind='wrong' must be one of"):
        report.by_kind("wrong")


def test_wrong_entities_differ_by_strict_figures_only():
    predicted = [("ORG", 0, 2), *ENTITIES[1:]]
    report = report_on([row_of(ENTITIES, GOLD[:1])], [row_of(predicted, GOLD[:1])]).relations
    assert (report.overall.f1.value, report.measures["boundaries"].f1.value) == (0.0, 1.0)
    assert report.kinds["wrong-entity"] == 1


def test_gold_as_predictions_gives_1():
    rows = [row_of(ENTITIES, GOLD), row_of([], [])]
    for predictions in (rows, Dataset.from_list(rows[:1] * 2).select([0])):
        data = rows if isinstance(predictions, list) else rows[:1]
        report = report_on(data, predictions).relations
        assert {figures.f1.value for figures in (*report.measures.values(), *report.labels.values())} == {1.0}
        assert sum(report.kinds.values()) == report.kinds["correct"] == 4


def test_what_is_not_annotated_or_not_predicted_is_not_judged():
    row = row_of(ENTITIES, GOLD)
    without = {name: value for name, value in row.items() if name != "relations"}
    assert report_on([row], [row["entities"]]).relations is None
    assert report_on([row], [without]).relations is None
    assert report_on([without], [row]).relations is None
    both = report_on({"a": [row], "b": [without]}, {"a": [row], "b": [row]})
    assert len(both.relations.sentences) == 1
    assert report_on([row], [{**row, "relations": []}]).relations.kinds["missed"] == 4
    assert RelationErrors.from_sentences([JudgedSentence(WORDS, match([], []))]) is None


def test_two_systems_are_compared_by_relations():
    gold = [row_of(ENTITIES, GOLD), row_of(ENTITIES, GOLD[:1])]
    first = report_on(gold, [row_of(ENTITIES, FOUND), row_of(ENTITIES, [])])
    second = report_on(gold, gold)
    compared = compare_reports(first, second, num_resamples=20)
    assert compared.relations.f1[:2] == (first.relations.overall.f1.value, 1.0)
    assert "recall of relations" in str(compared)
    entities = [row["entities"] for row in gold]
    assert compare_reports(report_on(gold, entities), second, num_resamples=5).relations is None
    other = report_on([gold[0], row_of(ENTITIES, GOLD[1:2])], gold)
    with pytest.raises(ValueError, match="different texts or gold annotations"):
        compare_reports(other, second, num_resamples=5)


def test_predictions_that_say_nothing_of_relations_are_not_judged(caplog):
    gold = [row_of(ENTITIES, GOLD)] * 3
    silent = {name: value for name, value in gold[0].items() if name != "relations"}
    predictions = [gold[0], {**gold[0], "relations": None}, {**gold[0], "relations": []}]
    whole = report_on(gold[:2], [gold[0], {**gold[0], "relations": []}]).relations
    assert not caplog.text
    for some in (predictions, Dataset.from_list(predictions), [gold[0], gold[0]["entities"], predictions[2]]):
        caplog.clear()
        report = report_on(gold, some).relations
        assert [sentence.row for sentence in report.sentences] == [0, 2]
        assert (report.measures, report.kinds) == (whole.measures, whole.kinds)
        assert "Predictions of 1 of the 3 rows of the annotated data with annotated relations have no" in caplog.text
        assert str(report).startswith("relations of 2 sentences; gold relations: 8; predictions: 4;")
    caplog.clear()
    assert report_on(gold, [silent] * 3).relations is None
    assert not caplog.text


def test_systems_are_compared_by_the_same_relations_of_the_same_rows():
    gold = [row_of(ENTITIES, GOLD)] * 2
    report = report_on(gold, gold)
    partly = report_on(gold, [gold[0], {**gold[1], "relations": None}])
    for pair in ((report, partly), (partly, report)):
        with pytest.raises(ValueError, match="row 1 of the annotated data .* only one report has its relations"):
            compare_reports(*pair, num_resamples=5)
    spurious = report_on([row_of(ENTITIES, [])] * 2, [gold[0], {**gold[1], "relations": None}])
    with pytest.raises(ValueError, match="only one report has its relations"):
        compare_reports(spurious, report_on([row_of(ENTITIES, [])] * 2, gold), num_resamples=5)
    symmetric = report_on(gold, gold, symmetric_relations=["knows"])
    with pytest.raises(ValueError, match="same gold relations, but not the same symmetric ones"):
        compare_reports(report, symmetric, num_resamples=5)


def test_symmetric_relations_are_no_string():
    row = row_of(ENTITIES, GOLD)
    with pytest.raises(TypeError, match=r"symmetric_relations must be a list of labels: pass \['knows'\]"):
        report_on([row], [row], symmetric_relations="knows")


def test_a_relation_of_an_entity_that_is_not_there_is_refused():
    row = row_of(ENTITIES, GOLD)
    with pytest.raises(ValueError, match="row 0 of the predictions: relation 0 .* but the row has only 1 entity"):
        report_on([row], [row_of(ENTITIES[:1], GOLD[:1])])


def test_print_and_the_page(tmp_path):
    gold = [row_of(ENTITIES, GOLD), row_of(ENTITIES, GOLD)]
    report = report_on(gold, [row_of(ENTITIES, FOUND), row_of(ENTITIES[:2], [])], num_examples=1)
    text = str(report)
    assert text.endswith(str(report.relations))
    for line in ("missed-entity: 3 gold relations with an entity that is not found", "wrong-label: 1 pairs between"):
        assert line in text
    assert len(report.relations.by_kind("wrong-direction")) == 2  # "knows" is not said to be symmetric
    assert sum("x  " in line for line in str(report.relations).splitlines()) == 4
    outcomes = {kind: cells for kind, *cells in report.relations.outcomes()}
    assert outcomes["missed-entity"] == ["3", "37.50%", ""]
    assert outcomes["correct"] == ["1", "12.50%", "25.00%"]
    report.write_html(tmp_path / "errors.html")
    page = " ".join(text_of(read_page(tmp_path / "errors.html")).split())
    for title, lines in report.relations.errors():
        assert title in page
        assert all(" ".join(line.split()) in page for line in lines)
    report.write_html(tmp_path / "figures.html", examples=False)
    page = read_page(tmp_path / "figures.html")
    rows = [[text_of(cell).strip() for cell in row] for row in page.iter("tr")]
    assert ["missed-entity", "3", "37.50%", "", RELATION_KINDS["missed-entity"]] in rows
    assert report.relations.summary() in " ".join(text_of(page).split())
    assert "Acme" not in text_of(page)
    assert json.loads(json.dumps(report.to_dict()))["relations"]["kinds"] == report.relations.kinds
