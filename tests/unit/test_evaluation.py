import pytest

from span_marker.evaluation import compute_metrics
from span_marker.labels import LabelledSpan

GOLD = [[LabelledSpan("PER", 0, 2), LabelledSpan("LOC", 3, 4)], [], [LabelledSpan("LOC", 0, 9)]]
PREDICTED = [[LabelledSpan("PER", 0, 2), LabelledSpan("LOC", 3, 5)], [LabelledSpan("PER", 1, 2)], []]


def test_an_entity_counts_only_if_all_of_it_is_right():
    metrics = compute_metrics(GOLD, PREDICTED, [5, 3, 10])
    assert metrics["PER"] == {"precision": 0.5, "recall": 1.0, "f1": pytest.approx(2 / 3), "number": 1}
    assert metrics["LOC"] == {"precision": 0.0, "recall": 0.0, "f1": 0.0, "number": 2}
    assert metrics["overall_precision"] == pytest.approx(1 / 3)
    assert metrics["overall_recall"] == pytest.approx(1 / 3)
    assert metrics["overall_f1"] == pytest.approx(1 / 3)
    assert metrics["overall_accuracy"] == pytest.approx((4 + 2 + 1) / 18)


def test_nothing_found_where_nothing_is():
    metrics = compute_metrics([[], []], [[], []], [3, 0])
    assert metrics == {
        "overall_precision": 0.0,
        "overall_recall": 0.0,
        "overall_f1": 0.0,
        "overall_accuracy": 1.0,
    }


def test_no_sentence_at_all():
    assert compute_metrics([], [], [])["overall_f1"] == 0.0


def test_overlapping_predictions_are_refused():
    with pytest.raises(ValueError, match="overlaps"):
        compute_metrics([[]], [[LabelledSpan("PER", 0, 2), LabelledSpan("LOC", 1, 3)]], [3])
