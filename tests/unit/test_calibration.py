import logging
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

import span_marker.scores.temperature
from span_marker.scores.calibration import (
    calibration_report,
    chance_calibration_error,
    decisions,
    expected_calibration_error,
    reliability,
)
from span_marker.scores.temperature import (
    MAX_ERROR,
    MAX_FACTOR,
    MAX_TEMPERATURE,
    MIN_DECISIONS,
    MIN_TEMPERATURE,
    ScoredCandidates,
    _zero,
    decisions_needed,
    fit_temperature,
    proposed_entities,
    temperature_error,
    temperature_interval,
)

OUTSIDE = 1


def sample(temperature, multi_label, num_spans=20_000, num_labels=4, seed=0):
    """Candidates of which few are entities, with labels drawn from the probabilities at a temperature."""
    generator = torch.Generator().manual_seed(seed)
    logits = 2 * torch.randn(num_spans, num_labels, generator=generator)
    if multi_label:
        logits -= 3
        labels = torch.bernoulli(torch.sigmoid(logits / temperature), generator=generator).long()
        labels[:, OUTSIDE] = 1 - labels.any(dim=1).long()
    else:
        logits[:, OUTSIDE] += 4
        labels = torch.multinomial(torch.softmax(logits / temperature, dim=1), 1, generator=generator).squeeze(1)
    return ScoredCandidates(logits, labels, OUTSIDE, multi_label)


def loss(candidates, temperature):
    """What the temperature minimizes, from PyTorch."""
    logits, labels = candidates.logits.double(), candidates.labels
    if candidates.multi_label:
        columns = [0, 2, 3]
        return F.binary_cross_entropy_with_logits(logits[:, columns] / temperature, labels[:, columns].double())
    return F.cross_entropy(logits / temperature, labels)


@pytest.mark.parametrize("multi_label", [False, True])
@pytest.mark.parametrize("temperature", [0.2, 1.0, 3.0])
def test_the_temperature_that_made_the_labels_is_found(multi_label, temperature):
    assert fit_temperature(sample(temperature, multi_label)) == pytest.approx(temperature, rel=0.05)


@pytest.mark.parametrize("multi_label", [False, True])
@pytest.mark.parametrize("temperature", [0.3, 1.0, 10.0])
def test_the_loss_does_not_change_around_the_temperature(multi_label, temperature):
    candidates = sample(temperature, multi_label, num_spans=500)
    found = torch.tensor(fit_temperature(candidates), dtype=torch.float64, requires_grad=True)
    (gradient,) = torch.autograd.grad(loss(candidates, found), found)
    assert abs((gradient * found).item()) < 1e-9


@settings(max_examples=20, deadline=None)
@given(st.booleans(), st.integers(0, 1000), st.floats(0.05, 20))
def test_scores_times_a_factor_give_the_temperature_times_the_factor(multi_label, seed, factor):
    candidates = sample(1.5, multi_label, num_spans=200, seed=seed)
    logits = candidates.logits.double()
    scaled = ScoredCandidates(factor * logits, candidates.labels, OUTSIDE, multi_label)
    assert fit_temperature(scaled) == pytest.approx(factor * fit_temperature(candidates), rel=1e-8)


def test_what_is_added_to_all_scores_of_a_candidate_changes_nothing():
    candidates = sample(1.5, multi_label=False, num_spans=200)
    logits = candidates.logits.double() + 1000 * torch.arange(200.0)[:, None]
    assert fit_temperature(ScoredCandidates(logits, candidates.labels, OUTSIDE)) == pytest.approx(
        fit_temperature(candidates), rel=1e-6
    )


@pytest.mark.parametrize("multi_label", [False, True])
def test_the_size_of_chunks_changes_nothing(multi_label, monkeypatch):
    candidates = sample(2.0, multi_label, num_spans=101)
    temperature, report, decided = fit_temperature(candidates), calibration_report(candidates, 2), decisions(candidates)
    for size in (1, 30):  # less than a row, and some rows
        monkeypatch.setattr(span_marker.scores.temperature, "CHUNK", size)
        assert fit_temperature(candidates) == pytest.approx(temperature, rel=1e-9)
        assert calibration_report(candidates, 2).after == pytest.approx(report.after, rel=1e-9)
        for one, other in zip(decisions(candidates), decided, strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-12)


@pytest.mark.parametrize("power", [1 / 3, 1, 21])
def test_a_zero_is_found_where_newton_strays_or_creeps(power):
    places = []

    def slopes(place):
        places.append(place)
        distance = abs(place - 0.7)
        return math.copysign(distance**power, place - 0.7), power * distance ** (power - 1)

    assert _zero(slopes, -4.0, 4.0) == pytest.approx(0.7, abs=1e-8)
    assert len(places) < 100


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_number_formats_and_gradients_of_scores(dtype):
    candidates = sample(2.0, multi_label=False, num_spans=500)
    logits = candidates.logits.to(dtype).requires_grad_()
    scored = ScoredCandidates(logits, candidates.labels, OUTSIDE)
    assert fit_temperature(scored) == pytest.approx(fit_temperature(candidates), rel=0.01)
    assert calibration_report(scored, 2.0).after.nll == pytest.approx(
        calibration_report(candidates, 2.0).after.nll, rel=0.01
    )


@pytest.mark.parametrize("scale", [1.0, 1e-30, 1e30])
@pytest.mark.parametrize("multi_label", [False, True])
@pytest.mark.parametrize(("sign", "bound"), [(1, MIN_TEMPERATURE), (-1, MAX_TEMPERATURE)])
def test_bounds_are_said(scale, multi_label, sign, bound, caplog):
    """Scores that are always right or always wrong; tiny and huge ones, too."""
    labels = torch.eye(3).long()
    logits = sign * scale * (2 * labels.float() - 1)
    candidates = ScoredCandidates(logits, labels if multi_label else labels.argmax(dim=1), OUTSIDE, multi_label)
    with caplog.at_level(logging.WARNING):
        assert fit_temperature(candidates) == bound
    assert f"beyond the bound of {bound:g}" in caplog.text


@pytest.mark.parametrize("scale", [1e-30, 1e30])
def test_scores_beyond_the_bounds(scale, caplog):
    """Neither always right nor always wrong, but what would fit them is out of reach."""
    candidates = sample(1.0, multi_label=False, num_spans=200)
    scaled = ScoredCandidates(candidates.logits.double() * scale, candidates.labels, OUTSIDE)
    assert fit_temperature(scaled) == (MIN_TEMPERATURE if scale < 1 else MAX_TEMPERATURE)
    assert "beyond the bound" in caplog.text


@pytest.mark.parametrize("multi_label", [False, True])
@pytest.mark.parametrize("temperature", [0.3, 1.0, 4.0])
def test_the_error_of_a_temperature_is_the_curvature_of_the_likelihood(multi_label, temperature):
    candidates = sample(temperature, multi_label, num_spans=500)
    fitted = fit_temperature(candidates)
    num_choices = 500 * (3 if multi_label else 1)
    place = torch.tensor(math.log(fitted), dtype=torch.float64)
    curvature = torch.autograd.functional.hessian(lambda s: num_choices * loss(candidates, s.exp()), place)
    assert temperature_error(candidates, fitted) == pytest.approx(float(curvature) ** -0.5, rel=1e-6)


@pytest.mark.parametrize("multi_label", [False, True])
def test_the_interval_covers_the_temperature_that_made_the_labels(multi_label):
    """In about 95 of 100 samples."""
    num_samples, temperature = 300, 1.5
    num_inside = 0
    for seed in range(num_samples):
        candidates = sample(temperature, multi_label, num_spans=150, seed=seed)
        fitted = fit_temperature(candidates)
        low, high = temperature_interval(fitted, temperature_error(candidates, fitted))
        assert low * high == pytest.approx(fitted**2)
        num_inside += low <= temperature <= high
    assert abs(num_inside / num_samples - 0.95) < 3 * math.sqrt(0.95 * 0.05 / num_samples)


def test_the_needed_number_makes_the_interval_narrow_enough():
    num_spans, generator = 40, torch.Generator().manual_seed(0)
    logits = torch.randn(num_spans, 4, generator=generator)
    error = temperature_error(ScoredCandidates(logits, torch.zeros(num_spans).long(), OUTSIDE), 1.0)
    needed = decisions_needed(num_spans, error)
    assert needed > num_spans
    low, high = temperature_interval(1.0, error * math.sqrt(num_spans / needed))
    assert 1 / MAX_FACTOR <= low < high <= MAX_FACTOR
    _, high = temperature_interval(1.0, error * math.sqrt(num_spans / (needed - 1)))
    assert high > MAX_FACTOR


def test_no_choice_between_two_says_more_than_is_assumed():
    scores = torch.linspace(-20, 20, 4001)
    most = max(
        temperature_error(ScoredCandidates(torch.tensor([[x, 0.0]]), torch.tensor([0]), 1), 1.0) ** -2
        for x in scores.tolist()
        if x
    )
    assert MIN_DECISIONS - 1 < 1 / (most * MAX_ERROR**2) <= MIN_DECISIONS


def test_equal_scores_say_nothing_about_the_temperature():
    candidates = ScoredCandidates(torch.zeros(5, 2), torch.zeros(5).long(), OUTSIDE)
    assert temperature_error(candidates, 1.0) == math.inf
    assert temperature_interval(1.0, math.inf) == (0.0, math.inf)


ROWS = torch.tensor([[1.0, 0.0], [2.0, 1.0]])


@pytest.mark.parametrize(
    ("logits", "labels", "multi_label", "message"),
    [
        (torch.empty(0, 2), torch.empty(0), False, "there are no candidates"),
        (torch.empty(0, 2), torch.empty(0, 2), True, "there are no candidates"),
        (ROWS, torch.tensor([1, 1]), False, "all labels are 1"),
        (ROWS, torch.tensor([[0, 1], [0, 1]]), True, "all labels are 0"),  # the column of O does not count
        (torch.tensor([[3.0, 3.0], [1.0, 1.0]]), torch.tensor([0, 1]), False, "all equal"),
        (torch.tensor([[0.0, 3.0], [0.0, 1.0]]), torch.tensor([[0, 1], [1, 0]]), True, "all equal"),
        (ROWS.log(), torch.tensor([0, 1]), False, "logits must be finite"),
        (ROWS * math.nan, torch.tensor([[0, 1], [1, 0]]), True, "logits must be finite"),
        (ROWS, torch.tensor([0, 2]), False, "from 0 to 1, but one is 2"),
        (ROWS, torch.tensor([0, -100]), False, "from 0 to 1, but one is -100"),
        (ROWS, torch.tensor([[0, 1], [2, 0]]), True, "from 0 to 1, but one is 2"),
        (ROWS, torch.tensor([0, 1, 0]), False, r"logits \(2, 2\) and labels \(3,\) must have the shapes"),
        (ROWS, torch.tensor([0, 1]), True, r"logits \(2, 2\) and labels \(2,\) must have the shapes"),
        (ROWS, torch.tensor([[0, 1], [1, 0]]), False, "must have the shapes"),
        (torch.ones(2), torch.tensor([0, 1]), False, "must have the shapes"),
        (torch.ones(2, 1), torch.tensor([0, 0]), False, "outside_id=1 must be one of the 1 classes"),
    ],
)
def test_nothing_to_fit(logits, labels, multi_label, message):
    with pytest.raises(ValueError, match=message):
        fit_temperature(ScoredCandidates(logits, labels, OUTSIDE, multi_label))


@pytest.mark.parametrize("multi_label", [False, True])
@pytest.mark.parametrize("temperature", [0.3, 1.0, 4.0])
def test_decisions_are_those_of_a_loop(multi_label, temperature):
    candidates = sample(1.0, multi_label, num_spans=50)
    expected = []
    for logits, labels in zip(candidates.logits.double(), candidates.labels, strict=True):
        if multi_label:
            for label in (0, 2, 3):
                probability = 1 / (1 + math.exp(-logits[label] / temperature))
                has_it = probability >= 0.5
                expected.append((max(probability, 1 - probability), has_it == bool(labels[label]), has_it))
        else:
            scores = [math.exp(logit / temperature) for logit in logits.tolist()]
            best = scores.index(max(scores))
            expected.append((scores[best] / sum(scores), best == labels, best != OUTSIDE))
    found = decisions(candidates, temperature)
    for column, values in zip(found, zip(*expected, strict=True), strict=True):
        np.testing.assert_allclose(column, values, rtol=1e-12)


def naive_bins(confidences, is_right, num_bins):
    bins = []
    for number in range(num_bins):
        low, high = number / num_bins, (number + 1) / num_bins
        inside = [
            (confidence, right)
            for confidence, right in zip(confidences, is_right, strict=True)
            if low < confidence <= high or (number == 0 and confidence == 0)
        ]
        if inside:
            bins.append((low, high, len(inside), *(sum(column) / len(inside) for column in zip(*inside, strict=True))))
    return bins


EDGES = st.integers(1, 20).flatmap(lambda n: st.integers(0, n).map(lambda i: i / n))
DECISIONS = st.lists(st.tuples(st.floats(0, 1) | EDGES, st.booleans()), max_size=30)


@given(DECISIONS, st.integers(1, 20))
def test_calibration_error_is_that_of_a_loop(rows, num_bins):
    confidences, is_right = [row[0] for row in rows], [row[1] for row in rows]
    expected = naive_bins(confidences, is_right, num_bins)
    found = reliability(confidences, is_right, num_bins)
    assert [bin[:3] for bin in found] == [bin[:3] for bin in expected]
    for one, other in zip(found, expected, strict=True):
        assert one[3:] == pytest.approx(other[3:])
    error = expected_calibration_error(confidences, is_right, num_bins)
    if rows:
        assert error == pytest.approx(sum(n * abs(acc - conf) for _, _, n, conf, acc in expected) / len(rows))
    else:
        assert math.isnan(error)


@pytest.mark.parametrize("confidence", [0.5, 0.9])
@pytest.mark.parametrize("num_decisions", [1, 4, 50])
def test_chance_alone_makes_a_calibration_error(confidence, num_decisions):
    """With equal confidences, it is the mean distance of a binomial share from them."""
    shares = np.arange(num_decisions + 1) / num_decisions
    weights = [
        math.comb(num_decisions, n) * confidence**n * (1 - confidence) ** (num_decisions - n)
        for n in range(num_decisions + 1)
    ]
    distances = abs(shares - confidence)
    mean = np.dot(weights, distances)
    error = math.sqrt(max(np.dot(weights, np.square(distances - mean)), 0) / 2000)
    found = chance_calibration_error(np.full(num_decisions, confidence), num_draws=2000)
    assert abs(found - mean) <= 4 * error + 1e-12


@pytest.mark.parametrize(
    ("confidences", "is_right", "num_bins", "message"),
    [
        ([0.5], [True], 0, "num_bins=0 must be at least 1"),
        ([0.5], [True, False], 15, r"confidences \(1,\) and is_right \(2,\) must have one dimension and equal length"),
        ([[0.5]], [[True]], 15, "must have one dimension"),
        ([0.5, 1.5], [True, False], 15, "confidences must be from 0 to 1, but one is 1.5"),
        ([math.nan], [True], 15, "confidences must be from 0 to 1, but one is nan"),
    ],
)
def test_bad_confidences(confidences, is_right, num_bins, message):
    with pytest.raises(ValueError, match=message):
        expected_calibration_error(confidences, is_right, num_bins)


@pytest.mark.parametrize("multi_label", [False, True])
def test_a_report_says_what_the_temperature_changes(multi_label):
    candidates = sample(2.0, multi_label)
    temperature = fit_temperature(candidates)
    report = calibration_report(candidates, temperature, (1.5, 2.5))
    assert report.after.nll == pytest.approx(float(loss(proposed_entities(candidates), temperature)))
    assert report.before.nll == pytest.approx(float(loss(proposed_entities(candidates), 1.0)))
    assert report.after.nll < report.before.nll
    assert report.after.ece < 0.03 < report.before.ece
    assert report.after.ece_all < report.before.ece_all
    before, after = decisions(candidates), decisions(candidates, temperature)
    entities = before.is_entity
    assert report.num_candidates == 20_000
    assert report.num_entities == entities.sum() > 500
    assert report.precision == pytest.approx(before.is_right[entities].mean())
    for calibration, decided in ((report.before, before), (report.after, after)):
        np.testing.assert_array_equal(decided.is_right, before.is_right)
        np.testing.assert_array_equal(decided.is_entity, before.is_entity)
        assert calibration.confidence == pytest.approx(decided.confidences[entities].mean())
        assert calibration.ece == expected_calibration_error(decided.confidences[entities], before.is_right[entities])
        assert calibration.ece_all == expected_calibration_error(decided.confidences, before.is_right)
        assert calibration.ece_chance == chance_calibration_error(decided.confidences[entities])
    assert report.after.ece < 2 * report.after.ece_chance < report.before.ece
    lines = str(report).splitlines()
    assert lines[0] == f"temperature {temperature:.4g} (95% interval 1.5 to 2.5)"
    assert lines[1].startswith("20,000 candidates, ")
    assert lines[3].split()[-2:] == [f"{report.before.nll:.4f}", f"{report.after.nll:.4f}"]
    assert len(lines) == 8


def test_a_report_without_entities():
    report = calibration_report(ScoredCandidates(torch.tensor([[0.0, 9.0]]), torch.tensor([1]), OUTSIDE), 2.0)
    assert report.num_entities == 0
    assert str(report).startswith("temperature 2\n1 candidates")
    assert math.isnan(report.before.ece_chance)
    assert all(map(math.isnan, (report.precision, report.before.ece, report.after.confidence, report.after.nll)))
    assert report.after.ece_all > report.before.ece_all > 0
