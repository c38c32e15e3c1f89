"""Thresholds of anything: what is chosen, what is expected of it, and when it surely helps. On simulated scores."""

from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from span_marker.core.metrics import count_metrics
from span_marker.core.settings import NO_THRESHOLDS
from span_marker.scores.cross_fitting import FLOOR, NUM_FOLDS, cross_fit, into_folds
from span_marker.scores.thresholds import Proposals, choose_thresholds

LABELS = ["born in", "knows"]


class Item(NamedTuple):
    label: str
    number: int


class Simulated:
    """Sentences with items whose log-odds are known, and a model that predicts those that reach a threshold.

    ``shyness`` is by how much all log-odds are too low: without thresholds, a model predicts those above 0.
    """

    def __init__(self, shyness, num_sentences=150, seed=0):
        generator = np.random.default_rng(seed)
        self.gold, self.scores = [], []
        for _ in range(num_sentences):
            items = [Item(LABELS[number % 3 // 2], number) for number in range(generator.integers(0, 6))]
            true = generator.normal(0, 2, len(items))
            is_gold = generator.random(len(items)) < 1 / (1 + np.exp(-true))
            scores = (1 / (1 + np.exp(shyness - true))).astype(np.float32).tolist()
            self.gold.append({item for item, gold in zip(items, is_gold, strict=True) if gold})
            self.scores.append(dict(zip(items, scores, strict=True)))

    def predict(self, sentences, thresholds):
        least = 0.5 if thresholds is NO_THRESHOLDS else thresholds
        least = least if isinstance(least, dict) else dict.fromkeys(LABELS, least)
        for sentence in sentences:
            yield {item: score for item, score in self.scores[sentence].items() if score >= least[item.label]}

    def f1(self, thresholds):
        predicted = list(self.predict(range(len(self.gold)), thresholds))
        return count_metrics(self.gold, predicted)["overall_f1"]

    def fit(self, **options):
        groups = [[sentence] for sentence in range(len(self.gold))]
        return cross_fit(LABELS, self.gold, self.predict, groups, **options)


def test_thresholds_of_a_shy_model_surely_help():
    report = Simulated(shyness=2.5).fit(kind="relations")
    assert report.is_better
    assert report.before.recall < report.expected.recall
    assert all(FLOOR < threshold < 0.3 for threshold in report.thresholds.values())
    other = Simulated(shyness=2.5, num_sentences=3000, seed=1)
    change = other.f1(report.thresholds) - other.f1(NO_THRESHOLDS)
    assert report.f1_change.low < change < report.f1_change.high
    assert (report.kind, report.setting) == ("relations", "relation_thresholds")


def test_thresholds_of_a_model_that_is_not_shy_are_not_said_to_help():
    """The best threshold of calibrated scores is half of the best F1, here about 0.4: hardly better than 0.5."""
    reports = [Simulated(shyness=0.0, num_sentences=60, seed=seed).fit() for seed in range(20)]
    assert sum(report.is_better for report in reports) <= 2
    seeming = [report.after.f1 - report.before.f1 for report in reports]  # where they were tuned
    assert np.mean(seeming) > 0
    assert {report.setting for report in reports} == {"thresholds"}


@pytest.mark.parametrize("precision", [None, 0.9])
def test_figures_are_those_of_predictions(precision):
    data = Simulated(shyness=1.0, num_sentences=40)
    report = data.fit(precision=precision)
    assert report.before.f1 == data.f1(NO_THRESHOLDS)
    assert report.after.f1 == data.f1(report.thresholds)
    assert report.num_gold == {label: sum(item.label == label for row in data.gold for item in row) for label in LABELS}
    gold, predicted = [], []
    for fold in into_folds([[sentence] for sentence in range(40)]):
        proposals = {}
        for label in LABELS:
            rest = [sentence for sentence in range(40) if sentence not in fold]
            proposed = [
                (score, item in data.gold[sentence])
                for sentence in rest
                for item, score in data.scores[sentence].items()
                if item.label == label and score >= np.float32(FLOOR)
            ]
            num_gold = sum(item.label == label for sentence in rest for item in data.gold[sentence])
            proposals[label] = Proposals(*zip(*proposed, strict=True), num_gold)
        points = choose_thresholds(proposals, precision, FLOOR)
        thresholds = {label: point.threshold for label, point in points.items()}
        gold += [data.gold[sentence] for sentence in fold]
        predicted += data.predict(fold, thresholds)
    assert report.expected.f1 == count_metrics(gold, predicted)["overall_f1"]


def test_a_single_group_gives_no_estimate():
    data = Simulated(shyness=1.0, num_sentences=40)
    report = cross_fit(LABELS, data.gold, data.predict, [list(range(40))])
    assert report.expected is report.f1_change is None
    assert not report.is_better


@given(st.lists(st.integers(1, 4), max_size=12))
def test_groups_stay_whole(sizes):
    sentences = iter(range(sum(sizes)))
    groups = [[next(sentences) for _ in range(size)] for size in sizes]
    folds = into_folds(groups)
    assert len(folds) == min(NUM_FOLDS, len(groups))
    assert sorted(sentence for fold in folds for sentence in fold) == list(range(sum(sizes)))
    for group in groups:
        assert sum(bool(set(group) & set(fold)) for fold in folds) == 1
    in_each = [sum(set(group) <= set(fold) for group in groups) for fold in folds]
    assert not folds or max(in_each) - min(in_each) <= 1
