import math
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from span_marker.scores.thresholds import (
    PSEUDO_GOLD,
    UNTUNED_THRESHOLD,
    Figures,
    OperatingPoint,
    Proposals,
    Scores,
    ThresholdReport,
    choose_thresholds,
    f1_change,
)

# Few different scores, so that ties are common, and neighboring numbers, which have no middle.
SCORES = np.array(
    [0.0, 1e-45, 0.25, np.nextafter(np.float32(0.25), np.float32(1)), 0.5, 0.9, 1.0], dtype=np.float32
).tolist()
PROBABILITIES = st.floats(0, 1, width=32, allow_subnormal=False)  # a processor may take subnormal ones for zero
PROPOSALS = st.lists(st.tuples(st.sampled_from(SCORES) | PROBABILITIES, st.booleans()), max_size=12)


def tune_one(scores, is_right, num_gold, precision=None, floor=0.0):
    """The threshold of a single label, which all labels together are."""
    return choose_thresholds({"PER": Proposals(scores, is_right, num_gold)}, precision, floor)["PER"]


def kept_at(scores, threshold):
    return frozenset(np.flatnonzero(np.array(scores, dtype=np.float32) >= np.float32(threshold)).tolist())


def figures(kept, is_right, num_gold):
    right = sum(is_right[index] for index in kept)
    precision, recall = Fraction(right, len(kept)), Fraction(right, num_gold)
    return precision, recall, Fraction(2 * right, len(kept) + num_gold)


@settings(max_examples=300)
@given(PROPOSALS, st.integers(0, 5), st.none() | st.sampled_from([0.1, 0.5, 2 / 3, 0.9, 1.0]))
def test_no_threshold_is_better(proposals, num_missed, wanted):
    scores, is_right = [row[0] for row in proposals], [row[1] for row in proposals]
    num_gold = sum(is_right) + num_missed
    point = tune_one(scores, is_right, num_gold, wanted)
    if not any(is_right):
        assert point == OperatingPoint(UNTUNED_THRESHOLD, 0.0, 0.0, 0.0, False)
        return
    # What each possible threshold keeps, the highest threshold first.
    choices = [kept_at(scores, score) for score in sorted(set(scores), reverse=True)]
    all_figures = [figures(kept, is_right, num_gold) for kept in choices]
    if wanted is None:
        best, reached = max(range(len(choices)), key=lambda i: (all_figures[i][2], -i)), True
    else:
        enough = [i for i, found in enumerate(all_figures) if float(found[0]) >= wanted]
        reached = bool(enough)
        if reached:
            best = max(enough, key=lambda i: (all_figures[i][1], -i))
        else:
            best = max(range(len(choices)), key=lambda i: all_figures[i][:2])
    assert kept_at(scores, point.threshold) == choices[best]
    assert point[1:4] == pytest.approx([float(number) for number in all_figures[best]], rel=1e-12)
    assert point.reached == reached


@given(PROPOSALS.filter(lambda rows: any(right for _, right in rows)))
def test_a_threshold_lies_halfway(proposals):
    scores, is_right = [row[0] for row in proposals], [row[1] for row in proposals]
    threshold = tune_one(scores, is_right, sum(is_right)).threshold
    assert threshold == float(np.float32(threshold))
    kept = kept_at(scores, threshold)
    last = min(scores[index] for index in kept)
    following = max((score for index, score in enumerate(scores) if index not in kept), default=0.0)
    middle = float(np.float32((last + following) / 2))
    assert threshold == (middle if middle > following else last)


def test_the_floor_takes_the_place_of_what_is_dropped():
    assert tune_one([0.75], [True], 1, floor=0.25).threshold == 0.5
    assert tune_one([0.25], [True], 1, floor=0.25).threshold == 0.25
    assert tune_one([0.75, 0.625], [True, False], 1, floor=0.25).threshold == 0.6875
    assert tune_one([0.1], [True], 1, floor=0.1).threshold == float(np.float32(0.1))


def test_more_recall_is_no_reason_to_keep_more_that_is_wrong():
    point = tune_one([0.875, 0.75, 0.5], [True, True, False], 2, precision=0.5)
    assert point == OperatingPoint(0.625, 1.0, 1.0, 1.0, True)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([0.5, math.nan], [True, False], 1), "scores must be from 0 to 1, but one is nan"),
        (([0.5, -0.5], [True, False], 1), "scores must be from 0 to 1, but one is -0.5"),
        (([0.5], [True, False], 1), "must have one dimension and equal length"),
        (([0.5, 0.5], [True, True], 1), "num_gold=1 must not be below the 2 proposals that are right"),
        (([0.5], [True], 1, 0.0), "precision=0.0 must be above 0 and at most 1"),
        (([0.5], [True], 1, 1.5), "precision=1.5 must be above 0 and at most 1"),
        (([0.5], [True], 1, None, 0.75), "floor=0.75 must not be above any score, but one is 0.5"),
    ],
)
def test_bad_proposals(arguments, message):
    with pytest.raises(ValueError, match=message):
        tune_one(*arguments)


LABELS = st.lists(st.tuples(PROPOSALS, st.integers(0, 5)), min_size=1, max_size=3)


def naive_counts(rows, num_gold, threshold):
    kept = [right for score, right in rows if np.float32(score) >= threshold]
    return [Fraction(sum(kept)), Fraction(len(kept)), Fraction(num_gold)]


@settings(max_examples=200)
@given(LABELS, st.sampled_from([0, 1, PSEUDO_GOLD]), st.none() | st.sampled_from([0.1, 0.5, 2 / 3, 0.9, 1.0]))
def test_counts_of_all_labels_stand_in_for_gold_entities_of_each(labels, pseudo_gold, wanted):
    labels = [(rows, missed + sum(right for _, right in rows)) for rows, missed in labels]
    points = choose_thresholds(
        {str(i): Proposals([s for s, _ in rows], [r for _, r in rows], n) for i, (rows, n) in enumerate(labels)},
        wanted,
        pseudo_gold=pseudo_gold,
    )
    thresholds = sorted({np.float32(score) for rows, _ in labels for score, _ in rows}, reverse=True)
    own = [[naive_counts(rows, num_gold, t) for t in thresholds] for rows, num_gold in labels]
    pooled = [[sum(column) for column in zip(*counts, strict=True)] for counts in zip(*own, strict=True)]
    price = max((right / (proposed + gold) for right, proposed, gold in pooled if right), default=None)
    for point, counts in zip(points.values(), own, strict=True):
        mixed = [
            [one + pseudo_gold * other / both[2] for one, other in zip(label, both, strict=True)] if both[2] else label
            for label, both in zip(counts, pooled, strict=True)
        ]
        if not any(right for right, _, _ in mixed):
            assert point == OperatingPoint(UNTUNED_THRESHOLD, 0.0, 0.0, 0.0, False)
            continue
        precisions = [right / proposed if proposed else Fraction(0) for right, proposed, _ in mixed]
        enough = [i for i, precision in enumerate(precisions) if wanted is None or float(precision) >= wanted]
        assert point.reached == bool(enough)
        if wanted is None:
            best = max(enough, key=lambda i: (mixed[i][0] - price * mixed[i][1], -i))
        elif enough:
            best = max(enough, key=lambda i: (mixed[i][0], -i))
        else:
            best = max(range(len(mixed)), key=lambda i: (precisions[i], i))
        passing = [t for t in thresholds if t >= np.float32(point.threshold)]
        assert len(passing) == best + 1
        right, proposed, gold = mixed[best]
        assert point[1:4] == pytest.approx(
            [float(right / proposed), float(right / gold), float(2 * right / (proposed + gold))], rel=1e-12
        )


@given(LABELS.filter(lambda labels: all(any(right for _, right in rows) for rows, _ in labels)))
def test_own_thresholds_beat_a_common_one(labels):
    """On the data that they are tuned on, if nothing holds them to it (Dinkelbach's inequality)."""
    proposals = {
        str(i): Proposals([s for s, _ in rows], [r for _, r in rows], missed + sum(r for _, r in rows))
        for i, (rows, missed) in enumerate(labels)
    }
    grid = np.unique(np.concatenate([label.scores for label in proposals.values()]))
    common = max(micro_f1(proposals, dict.fromkeys(proposals, threshold)) for threshold in grid)
    points = choose_thresholds(proposals, pseudo_gold=0)
    assert micro_f1(proposals, {label: point.threshold for label, point in points.items()}) >= common


def micro_f1(proposals, thresholds):
    right, proposed, gold = sum(label.counts(np.float32([thresholds[name]]))[0] for name, label in proposals.items())
    return 2 * right / (proposed + gold)


def test_a_label_without_gold_entities_gets_the_common_threshold():
    many = Proposals(np.linspace(0.05, 0.95, 500), np.linspace(0, 1, 500) ** 2 > 0.3, 300)
    points = choose_thresholds({"PER": many, "ART": Proposals([], [], 0)}, floor=0.05)
    assert points["ART"] == points["PER"]


def test_proposals_that_are_always_wrong_need_a_higher_score():
    scores, is_right = np.linspace(0.05, 0.95, 500), np.random.default_rng(0).random(500) < np.linspace(0.05, 0.95, 500)
    wrong = Proposals(np.full(100, 0.6), np.zeros(100), 0)
    points = choose_thresholds({"PER": Proposals(scores, is_right, 300), "ART": wrong}, floor=0.05)
    assert points["ART"].threshold > 0.6 > points["PER"].threshold


# Random labels whose true distributions are known. In each, the logits of gold entities and of wrong proposals are
# normal; those below the floor are not proposed.
SPREAD, FLOOR = 1.5, 0.05
WORLDS = {  # mean logit of gold entities, of wrong proposals, and wrong proposals per gold entity
    "undertrained": (-0.8, -1.5, 3.0),
    "fair": (1.0, -1.0, 1.0),
    "good": (2.5, -1.0, 0.4),
}
normal_tail = np.vectorize(lambda x: math.erfc(x / math.sqrt(2)) / 2)


class World:
    """Labels whose means differ a little."""

    def __init__(self, name, num_gold, generator, difference=0.3):
        right, wrong, ratio = WORLDS[name]
        self.num_gold = np.array(num_gold, dtype=float)
        shift, other, factor = difference * generator.normal(size=(3, len(num_gold)))
        self.right, self.wrong = right + shift, wrong + other / 2
        self.num_wrong = self.num_gold * ratio * np.exp(factor)

    def draw(self, generator):
        proposals = {}
        for label, (right, wrong, num_gold, num_wrong) in enumerate(
            zip(self.right, self.wrong, self.num_gold, self.num_wrong, strict=True)
        ):
            sizes = generator.poisson([num_gold, num_wrong])
            logits = np.concatenate(
                [generator.normal(mean, SPREAD, n) for mean, n in zip((right, wrong), sizes, strict=True)]
            )
            scores = (1 / (1 + np.exp(-logits))).astype(np.float32)
            kept, is_right = scores >= np.float32(FLOOR), np.arange(len(scores)) < sizes[0]
            proposals[str(label)] = Proposals(scores[kept], is_right[kept], int(sizes[0]))
        return proposals

    def f1(self, thresholds):
        """The overall F1 on endless new text."""
        thresholds = np.array(list(thresholds.values()))
        logits = np.log(thresholds / (1 - thresholds))
        right = (self.num_gold * normal_tail((logits - self.right) / SPREAD)).sum()
        wrong = (self.num_wrong * normal_tail((logits - self.wrong) / SPREAD)).sum()
        return 2 * right / (right + wrong + self.num_gold.sum())


def regularized(proposals, pseudo_gold=PSEUDO_GOLD):
    points = choose_thresholds(proposals, floor=FLOOR, pseudo_gold=pseudo_gold)
    return {label: point.threshold for label, point in points.items()}


def each_by_itself(proposals):
    return {name: regularized({name: label})[name] for name, label in proposals.items()}


@pytest.mark.parametrize("name", WORLDS)
@pytest.mark.parametrize("num_gold", [[6] * 8, [100, 30, 15, 10, 5, 4, 3, 2]], ids=["few", "uneven"])
def test_regularized_thresholds_are_better_on_new_text(name, num_gold):
    generator = np.random.default_rng(0)
    f1s = []
    for _ in range(60):
        world = World(name, num_gold, generator)
        proposals = world.draw(generator)
        none = dict.fromkeys(proposals, 0.5)
        ways = (regularized(proposals), regularized(proposals, pseudo_gold=0), each_by_itself(proposals), none)
        f1s.append([*(world.f1(way) for way in ways), micro_f1(proposals, none)])
    ours, unregularized, by_itself, untuned, _ = np.mean(f1s, axis=0)
    assert ours > unregularized
    assert ours > by_itself
    # Tuning costs less than the error of an F1 that is measured on as much data: how far that is from the true one.
    error = np.std([measured - true for *_, true, measured in f1s])
    assert ours > untuned - error / 2
    if name == "undertrained":
        assert ours > untuned + error / 2


@pytest.mark.parametrize("name", WORLDS)
def test_with_many_gold_entities_labels_decide_for_themselves(name):
    generator = np.random.default_rng(0)
    world = World(name, [20_000] * 3, generator)
    proposals = world.draw(generator)
    own, ours = regularized(proposals, pseudo_gold=0), regularized(proposals)
    # Both maximize num_right - F / 2 * num_proposed. Ours adds to that of a label what PSEUDO_GOLD gold entities of all
    # labels contribute: per gold entity, F / 2 at most, and no less than -F / 2 times the number of proposals, which
    # is at most 4 here. So they differ by 2.5 at most, and F1 by twice that over the number of gold entities.
    num_gold = sum(label.num_gold for label in proposals.values())
    assert sum(len(label.scores) for label in proposals.values()) < 4 * num_gold
    cost = 2 * 2.5 * PSEUDO_GOLD * len(proposals) / num_gold
    assert micro_f1(proposals, own) - micro_f1(proposals, ours) <= cost
    assert world.f1(ours) == pytest.approx(world.f1(own), abs=cost)


# Reports


def test_a_report_has_that_of_relations():
    of_relations = ThresholdReport.from_counts(POINTS, BEFORE, AFTER, AFTER, kind="relations")
    report = replace(ThresholdReport.from_counts(POINTS, BEFORE, AFTER, BEFORE), relations=of_relations)
    alone, own = str(replace(report, relations=None)), str(of_relations)
    assert str(report) == f"{alone}\n\nrelations between the entities that are found:\n\n{own}"
    assert "few relations" in own
    assert "few entities" not in own
    assert "set model.config.relation_thresholds = None to predict without them" in own
    assert report.to_dict()["relations"]["points"]["PER"]["threshold"] == 0.25


def test_the_interval_of_a_change_covers_it():
    """Over repeated samples of sentences, in about 95 of 100."""
    generator = np.random.default_rng(0)

    def draw(num_sentences):
        gold = generator.poisson(2, num_sentences)
        before, after = generator.binomial(gold, 0.6), generator.binomial(gold, 0.7)
        wrong = generator.poisson(0.5, num_sentences)
        return [np.stack([right, right + wrong, gold], axis=1) for right in (before, after)]

    truth = f1_change(*draw(500_000)).value
    intervals = [f1_change(*draw(100)) for _ in range(400)]
    share = np.mean([low <= truth <= high for _, low, high in intervals])
    assert abs(share - 0.95) < 4 * math.sqrt(0.95 * 0.05 / 400)


def test_no_change_is_certain():
    counts = [[1, 2, 3], [0, 0, 1]]
    assert f1_change(counts, counts) == (0.0, 0.0, 0.0)
    assert f1_change([[0, 0, 0]], [[0, 0, 0]]) == (0.0, 0.0, 0.0)


POINTS = {"PER": OperatingPoint(0.25, 0.5, 1.0, 2 / 3, True), "LOC": OperatingPoint(0.5, 0.0, 0.0, 0.0, False)}
BEFORE = np.array([[[300, 400, 600], [1, 1, 3]], [[300, 400, 600], [2, 3, 4]]], dtype=float)
AFTER = np.array([[[400, 800, 600], [1, 1, 3]], [[400, 800, 600], [2, 3, 4]]], dtype=float)


def test_a_report_of_thresholds():
    report = ThresholdReport.from_counts(POINTS, BEFORE, AFTER, BEFORE)
    assert report.thresholds == {"PER": 0.25, "LOC": 0.5}
    assert report.num_gold == {"PER": 1200, "LOC": 7}
    assert report.few == {"LOC": 7}
    before, after = Scores(0.75, 0.5, 0.6), Scores(0.5, 800 / 1200, 1600 / 2800)
    assert report.labels["PER"] == Figures(before, after, before)
    assert report.before == report.expected == Scores(603 / 804, 603 / 1207, 1206 / 2011)
    assert report.after == Scores(803 / 1604, 803 / 1207, 1606 / 2811)
    assert report.f1_change == (0.0, 0.0, 0.0)
    assert report.problem is None
    titles, steps, *rows, space, _, change = str(report).splitlines()
    assert titles.split() == ["precision", "recall", "f1"]
    assert steps.split() == ["threshold", "gold", *["before", "tuned", "new"] * 3]
    figures = ["0.7500", "0.5000", "0.7500", "0.5000", "0.6667", "0.5000", "0.6000", "0.5714", "0.6000"]
    assert rows[0].split() == ["PER", "0.2500", "1,200", *figures]
    assert rows[1].split()[:3] == ["LOC", "0.5000", "7"]
    assert rows[1].endswith("few entities, not reached")
    assert rows[2].split()[:5] == ["all", "1,207", "0.7500", "0.5006", "0.7500"]
    assert space == ""
    assert change == (
        "change on new text: precision +0.0000, recall +0.0000, f1 +0.0000 (95% interval +0.0000 to +0.0000)"
    )


@pytest.mark.parametrize(
    ("expected", "wanted", "problem"),
    [
        (
            AFTER,
            None,
            "the expected F1 on new text is 0.5713, below 0.5997 without thresholds: tune on more data, or set",
        ),
        (
            AFTER,
            0.6,
            "the expected precision on new text is 0.5006, below the requested precision=0.6: request a higher",
        ),
        (BEFORE, 0.6, None),
        (None, None, "the data is one sentence or document, which gives no estimate for new text: tune on more data"),
    ],
)
def test_a_report_says_what_is_wrong(expected, wanted, problem):
    report = ThresholdReport.from_counts(POINTS, BEFORE, AFTER, expected, wanted)
    text = str(report)
    assert (report.problem or "").startswith(problem or "")
    assert text.count("note: ") == (problem is not None)
    cost = "precision -0.2494" if expected is not BEFORE else "precision +0.0000"
    assert cost in text
    if expected is None:
        assert "change on tuning data: " in text
        assert [row.split()[-1] for row in text.splitlines()[2:3]] == ["-"]


def test_a_report_says_that_nothing_is_right():
    points = choose_thresholds({"PER": Proposals([0.5, 0.25], [False, False], num_gold=2)})
    counts = np.array([[[0.0, 1.0, 2.0]], [[0.0, 1.0, 0.0]]])
    report = ThresholdReport.from_counts(points, counts, counts, counts)
    assert report.num_predicted == 2
    assert report.problem == "none of the model's proposals are right, whatever the thresholds: train it longer"
