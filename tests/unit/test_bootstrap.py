"""Resampling: intervals and p-values are those of naive loops, and mean what they promise."""

from fractions import Fraction
from statistics import stdev

import numpy as np
import pytest

from span_marker.error_analysis import bootstrap


def naive_figures(counts):
    correct, predicted, gold = (Fraction(sum(row[column] for row in counts)) for column in range(3))
    precision, recall = (correct / number if number else Fraction(0) for number in (predicted, gold))
    f1 = 2 * precision * recall / (precision + recall) if correct else Fraction(0)
    return float(precision), float(recall), float(f1)


def naive_quantile(values, share):
    values, place = sorted(values), share * (len(values) - 1)
    low = int(place)
    return values[low] + (place - low) * (values[min(low + 1, len(values) - 1)] - values[low])


def random_counts(num_sentences, recalls, seed):
    """Counts of systems that find these shares of the same gold entities, and as many others as they miss."""
    generator = np.random.default_rng(seed)
    num_gold = generator.integers(0, 4, size=num_sentences)
    of_systems = []
    for recall in recalls:
        num_right, num_spurious = (generator.binomial(num_gold, share) for share in (recall, 1 - recall))
        of_systems.append(np.stack([num_right, num_right + num_spurious, num_gold], axis=1).astype(float))
    return of_systems


def test_resamples_are_those_of_a_naive_loop():
    first, second = random_counts(23, (0.7, 0.6), seed=1)
    num_resamples = 150  # more than are drawn at a time, and no multiple of it
    found = bootstrap.estimate({"a": first, "b": second}, num_resamples, 0.9, seed=7)
    compared = bootstrap.compare({"a": first}, {"a": second}, num_resamples, 0.9, seed=7)["a"]
    generator = np.random.default_rng(7)
    draws = [generator.integers(23, size=23).tolist() for _ in range(num_resamples)]
    resampled = [
        [naive_figures([counts[index] for index in draw]) for draw in draws]
        for counts in (first.tolist(), second.tolist())
    ]
    for name, counts, figures in zip("ab", (first, second), resampled, strict=True):
        assert found[name][:2] == (counts[:, 2].sum(), counts[:, 1].sum())
        for place, (value, low, high, standard_error) in enumerate(found[name][2:]):
            column = [row[place] for row in figures]
            assert value == naive_figures(counts.tolist())[place]
            assert (low, high) == pytest.approx([naive_quantile(column, share) for share in (0.05, 0.95)])
            assert standard_error == pytest.approx(stdev(column))
    for place, of in enumerate(compared):
        ones, others = (naive_figures(counts.tolist())[place] for counts in (first, second))
        differences = [after[place] - before[place] for before, after in zip(*resampled, strict=True)]
        assert (of.first, of.second, of.difference.value) == (ones, others, others - ones)
        bounds = [naive_quantile(differences, share) for share in (0.05, 0.95)]
        assert of.difference[1:] == pytest.approx([*bounds, stdev(differences)])
        num_extreme = sum(abs(change - (others - ones)) >= abs(others - ones) for change in differences)
        assert of.p_value == pytest.approx((1 + num_extreme) / (1 + num_resamples))


def test_counts_do_not_depend_on_what_else_is_counted():
    first, second = random_counts(40, (0.7, 0.5), seed=1)
    both = bootstrap.estimate({"a": first, "b": second}, 50, 0.95, seed=0)
    assert both["b"] == bootstrap.estimate({"b": second}, 50, 0.95, seed=0)["b"]
    assert both["b"] != bootstrap.estimate({"b": second}, 50, 0.95, seed=1)["b"]


def test_intervals_hold_the_figure_and_mostly_the_truth():
    num_held = 0
    for seed in range(100):
        figures = bootstrap.estimate({"a": random_counts(100, [0.7], seed)[0]}, 200, 0.9, seed=seed)["a"]
        assert all(figure.low <= figure.value <= figure.high for figure in figures[2:])
        num_held += figures.recall.low <= 0.7 <= figures.recall.high
    assert 82 <= num_held <= 97


def test_intervals_are_wider_for_more_confidence_and_narrower_for_more_data():
    def width(num_sentences, confidence):
        counts = np.tile(random_counts(50, [0.7], 0)[0], (num_sentences // 50, 1))
        _, low, high, _ = bootstrap.estimate({"a": counts}, 400, confidence, seed=0)["a"].f1
        return high - low

    assert width(50, 0.8) < width(50, 0.95) < width(50, 0.99)
    assert width(800, 0.95) == pytest.approx(width(50, 0.95) / 4, rel=0.2)


def test_p_values_of_equal_systems_are_spread_and_those_of_others_small():
    p_values = []
    for seed in range(150):
        first, second = random_counts(120, (0.7, 0.7), seed)
        p_values.append(bootstrap.compare({"a": first}, {"a": second}, 100, 0.95, seed=0)["a"].f1.p_value)
    assert 0.02 <= np.mean(np.array(p_values) <= 0.1) <= 0.2
    assert 0.35 <= np.mean(np.array(p_values) <= 0.5) <= 0.65
    first, second = random_counts(300, (0.6, 0.8), seed=0)
    of = bootstrap.compare({"a": first}, {"a": second}, 999, 0.95, seed=0)["a"].f1
    assert of.p_value == 1 / 1000
    assert 0 < of.difference.low < of.difference.value < of.difference.high
