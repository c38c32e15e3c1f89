"""From annotated data to a ranked report of suspicious annotations."""

import pytest
from datasets import Dataset
from test_cross_validation import arguments, make_model, make_rows
from test_explanation import SENTENCES, with_filter

from span_marker import cross_validate
from span_marker.curation import ALL_SPANS, find_label_errors, label_errors
from span_marker.curation.label_errors import predict_all_spans
from span_marker.curation.suspects import UNSUPPORTED
from span_marker.training.cross_validation import OutOfFold

ROWS = [
    {"id": "a", "tokens": ["Ann", "Lee", "went"], "entities": [{"label": "LOC", "start": 0, "end": 2}]},
    {"id": "b", "tokens": ["to", "Rome"], "entities": []},
    {"id": "c", "tokens": ["by", "Bo"], "entities": [{"label": "PER", "start": 1, "end": 2}]},
]
PREDICTED = [
    [{"label": "PER", "score": 0.75, "word_start_index": 0, "word_end_index": 2}],
    [{"label": "LOC", "score": 0.875, "word_start_index": 1, "word_end_index": 2}],
    [{"label": "PER", "score": 0.75, "word_start_index": 1, "word_end_index": 2}],
]


def test_suspects_are_ranked():
    report = find_label_errors(ROWS, PREDICTED)
    assert [(s.row, s.id, s.kind, s.text, s.probability) for s in report.suspects] == [
        (0, "a", "wrong-label", "Ann Lee", UNSUPPORTED),
        (1, "b", "missing", "Rome", pytest.approx(UNSUPPORTED * 3.5 / 3.625)),
    ]
    assert (report.num_entities, report.num_models, report.num_unjudged, report.rows) == (2, 1, 0, [0, 1])
    assert len(find_label_errors(ROWS, PREDICTED, min_probability=0.1).suspects) == 3
    assert len(find_label_errors(ROWS, PREDICTED, min_probability=UNSUPPORTED).suspects) == 1


def test_suspects_count_more_if_their_words_have_the_suggested_label_elsewhere():
    """Letter case does not count, and neither does the suspicious annotation itself."""
    known = [
        {"tokens": ["ANN", "LEE"], "entities": [{"label": "PER", "start": 0, "end": 2}]},
        {"tokens": ["rome"], "entities": [{"label": "ORG", "start": 0, "end": 1}]},
    ]
    predicted = [{"label": "PER", "score": 1.0, "word_start_index": 0, "word_end_index": 2}]
    report = find_label_errors([*ROWS, *known], [*PREDICTED, predicted, []])
    assert [(s.row, s.kind, s.probability) for s in report.suspects] == [
        (0, "wrong-label", 1.0),
        (4, "spurious", UNSUPPORTED),
        (1, "missing", pytest.approx(UNSUPPORTED * 3.5 / 3.625)),
    ]


@pytest.mark.parametrize("ids", [[1, None, 0], [None, None, 2], ["a", "a", "b"], [None] * 3])
def test_rows_are_told_apart_by_ids_only_if_all_have_one_of_their_own(ids, caplog):
    """What comes back from an annotation tool is joined by it: no number of a row may look like the ID of another."""
    report = find_label_errors([{**row, "id": own} for row, own in zip(ROWS, ids, strict=True)], PREDICTED)
    assert [(suspect.row, suspect.id) for suspect in report.suspects] == [(0, None), (1, None)]
    assert [task["id"] for task in report.tasks()] == [0, 1]
    [message] = caplog.messages
    assert f"3 rows have only {len({*ids} - {None})} different values of 'id'" in message


def test_tags_and_texts_are_read_too():
    tagged = [{"tokens": ["Ann", "went"], "ner_tags": ["B-LOC", "O"]}]
    predicted = [{"label": "PER", "score": 0.75, "start": 0, "end": 1}]
    [suspect] = find_label_errors(tagged, [predicted]).suspects
    assert (suspect.text, suspect.annotated.label) == ("Ann", "LOC")
    texts = [{"text": "Ann went", "entities": [{"label": "LOC", "start": 0, "end": 4}]}]
    [suspect] = find_label_errors(texts, [[{**predicted[0], "end": 3}]]).suspects
    assert (suspect.kind, suspect.text, suspect.annotated[1:]) == ("wrong-label", "Ann", (0, 3))


def test_predictions_of_several_models_are_averaged():
    unsure = [[{**entity, "score": 0.25} for entity in row] for row in PREDICTED]
    report = find_label_errors(ROWS, [PREDICTED, unsure], min_probability=0)
    assert report.num_models == 2
    assert {s.text: s.probability for s in report.suspects} == {
        "Ann Lee": UNSUPPORTED,
        "Rome": pytest.approx(UNSUPPORTED * 2.25 / 2.6875),
        "Bo": UNSUPPORTED * 0.5,
    }


def test_entities_out_of_reach_are_counted_but_not_judged():
    rows = [{"tokens": ["a", "b"], "entities": [{"label": "X", "start": 0, "end": 2}]}, ROWS[1]]
    report = find_label_errors(rows, [[], PREDICTED[1]])
    assert ([s.text for s in report.suspects], report.num_unjudged) == (["Rome"], 1)
    assert "1 entities are not judged: no span with as many words is predicted" in str(report)


def test_entities_in_reach_are_judged_even_if_no_span_is_as_long(monkeypatch, tmp_path):
    """What a model is sure of lists no span: an annotated clause is no entity then, rather than out of reach."""
    rows = [{"tokens": list("abcd"), "entities": [{"label": "PER", "start": 0, "end": end}]} for end in (3, 4)]

    def predict_nothing(make, data, *args, **options):
        make()
        return OutOfFold([], [{"entities": []} for _ in data], [], None)

    monkeypatch.setattr(label_errors, "predict_all_spans", predict_nothing)
    report = find_label_errors(rows, make_model, arguments(tmp_path))
    assert [(s.row, s.kind, s.probability) for s in report.suspects] == [(0, "spurious", UNSUPPORTED)]
    assert report.num_unjudged == 1


@pytest.mark.parametrize(
    ("predictions", "options", "error", "message"),
    [
        (PREDICTED[:2], {}, ValueError, "2 predictions for the 3 rows"),
        ([PREDICTED, PREDICTED[:2]], {}, ValueError, "2 predictions for the 3 rows"),
        (
            [{"tokens": row["tokens"], "entities": []} for row in reversed(ROWS)],
            {},
            ValueError,
            r"row 0 of the predictions is about \['by', 'Bo'\], but row 0 of the annotated data is \['Ann', 'Lee'",
        ),
        (PREDICTED, {"min_probability": 1.5}, ValueError, "min_probability=1.5"),
        (PREDICTED, {"repeats": 0}, ValueError, "repeats"),
        (7, {}, TypeError, "not int"),
        (make_model, {}, TypeError, "args must be TrainingArguments"),
        (make_model, {"args": 5}, TypeError, "args must be TrainingArguments, not int"),
        (make_model(), {}, TypeError, "make_model must be a function that makes a new model"),
    ],
)
def test_wrong_arguments_are_refused(predictions, options, error, message):
    with pytest.raises(error, match=message):
        find_label_errors(ROWS, predictions, **options)


def test_models_are_cross_validated_and_finished_folds_are_read_again(tmp_path):
    data = Dataset.from_list(make_rows())
    made = []

    def make():
        made.append(make_model())
        return made[-1]

    report = find_label_errors(data, make, arguments(tmp_path), folds=2, repeats=2, min_probability=0)
    assert len(made) == 2 * (1 + 2)
    assert report.num_models == 2
    assert len({(s.row, s.annotated) for s in report.suspects if s.annotated}) == report.num_entities == 25
    again = find_label_errors(data, make, arguments(tmp_path), folds=2, repeats=2, min_probability=0, resume=True)
    assert again == report
    assert len(made) == 2 * (1 + 2) + 2


def test_a_cross_validation_is_taken_as_it_is(tmp_path):
    data = Dataset.from_list(make_rows())
    report = cross_validate(make_model, data, arguments(tmp_path / "1"), folds=2, predict_options=ALL_SPANS)
    rows = predict_all_spans(make_model, data, arguments(tmp_path / "2"), folds=2).rows
    expected = find_label_errors(data, [row["entities"] for row in rows])
    assert find_label_errors(data, report) == expected
    assert find_label_errors(data, [report, report]).num_models == 2


def test_multi_label_models_are_refused(tmp_path):
    with pytest.raises(ValueError, match="multi_label=True"):
        predict_all_spans(lambda: make_model(multi_label=True), make_rows(), arguments(tmp_path), folds=2)


def test_predictions_with_relations_are_read_too():
    related = [{"entities": entities, "relations": []} for entities in PREDICTED]
    expected = find_label_errors(ROWS, PREDICTED)
    assert find_label_errors(ROWS, related).suspects == expected.suspects
    of_two = find_label_errors(ROWS, [related, PREDICTED])
    assert (of_two.suspects, of_two.num_models) == (expected.suspects, 2)
    assert find_label_errors(ROWS[:2], [related[:2], related[:2]]).num_models == 2
    with pytest.raises(ValueError, match=r"row 1 of the predictions, \{'relations': \[\]\}, has no 'entities'"):
        find_label_errors(ROWS, [related[0], {"relations": []}, related[2]])


def test_no_span_is_outside_for_certain_because_of_a_filter():
    model = with_filter(entity_max_length=3)
    filtered, found = (
        sum(map(len, model.predict(SENTENCES, **options))) for options in ({**ALL_SPANS, "exact": False}, ALL_SPANS)
    )
    assert filtered < found
