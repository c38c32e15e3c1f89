"""What studies share: claims of runs, results on disk, counts, and tests of differences."""

import json
import multiprocessing
import os
import signal

import numpy as np
import pytest
from studies import (
    claim,
    compare_runs,
    continue_study,
    count_entities,
    figures,
    read_counts,
    spread,
    t_test,
    write_json,
)

from span_marker.core.labels import LabelledSpan
from span_marker.core.metrics import compute_metrics
from span_marker.error_analysis import bootstrap

FORK = multiprocessing.get_context("fork")


def in_another_process(function, *arguments):
    process = FORK.Process(target=function, args=arguments)
    process.start()
    process.join()
    return process.exitcode


def try_to_claim(path):
    with claim(path) as is_mine:
        pass
    raise SystemExit(int(is_mine))


def die_with_a_claim(path):
    with claim(path) as is_mine:
        assert is_mine
        os.kill(os.getpid(), signal.SIGKILL)


def test_one_process_at_a_time_has_a_run_until_it_is_done(tmp_path):
    path = tmp_path / "new" / "run.json"
    with claim(path) as is_mine:
        assert is_mine
        assert in_another_process(try_to_claim, path) == 0
    assert in_another_process(try_to_claim, path) == 1  # there is no result
    with claim(path) as is_mine:
        write_json(path, {})
    assert in_another_process(try_to_claim, path) == 0
    assert list(path.parent.iterdir()) == [path]


def test_the_claim_of_a_process_that_died_is_released(tmp_path):
    path = tmp_path / "run.json"
    assert in_another_process(die_with_a_claim, path) == -signal.SIGKILL
    with claim(path) as is_mine:
        assert is_mine


def test_a_claim_is_released_by_an_error(tmp_path):
    path = tmp_path / "run.json"
    with pytest.raises(KeyboardInterrupt), claim(path):
        raise KeyboardInterrupt
    with claim(path) as is_mine:
        assert is_mine


def test_a_study_goes_on_with_the_same_settings_alone(tmp_path):
    path, new = tmp_path / "new" / "study.json", {"settings": {"epochs": 1}, "runs": []}
    assert continue_study(path, new) is new
    write_json(path, {**new, "runs": ["é"]})
    assert continue_study(path, new) == json.loads(path.read_text(encoding="utf-8")) == {**new, "runs": ["é"]}
    with pytest.raises(SystemExit, match="choose another --results"):
        continue_study(path, {"settings": {"epochs": 2}, "runs": []})


def test_figures_are_those_of_the_metrics_of_the_library():
    generator = np.random.default_rng(0)
    drawn = [[generator.integers(2, size=size) for size in generator.integers(5, size=40)] for _ in range(2)]
    gold, found = (
        [[LabelledSpan("AB"[label], start, start + 1) for start, label in enumerate(some)] for some in of]
        for of in drawn
    )
    run, expected = figures(count_entities(gold, found)), compute_metrics(gold, found, [5] * 40)
    for name in ("precision", "recall", "f1"):
        assert run[name] == pytest.approx(expected[f"overall_{name}"])
    assert read_counts([run, run])[:, 2].tolist() == [2 * len(some) for some in gold]


def test_spread():
    assert spread(10, 3) == [0, 3, 6]
    assert spread(3, 10) == spread(3, None) == [0, 1, 2]


def run_of(right):
    return figures(np.array([[number, 2, 2] for number in right], dtype=float))


def test_runs_are_compared_in_pairs_and_sentences_over_all_of_them():
    base, own = [run_of([2, 1, 1]), run_of([0, 0, 0])], [run_of([2, 2, 1]), run_of([1, 0, 0])]
    found = compare_runs(base, own)
    assert found["difference"] == pytest.approx(1 / 6)
    assert found["p_seeds"] == pytest.approx(0)  # both differ by as much
    counts = [
        {"all": np.array([[a + b, 4, 4] for a, b in pairs], dtype=float)}
        for pairs in (
            [(2, 0), (1, 0), (1, 0)],
            [(2, 1), (2, 0), (1, 0)],
        )
    ]
    expected = bootstrap.compare(*counts, num_resamples=10_000, confidence=0.95, seed=0)["all"].f1
    assert found["interval"] == [expected.difference.low, expected.difference.high]
    assert found["p_sentences"] == expected.p_value
    same = compare_runs(base[:1], base[:1])
    assert same == {"difference": 0, "interval": [0, 0], "p_sentences": 1, "p_seeds": None}


def test_the_test_over_seeds_has_the_levels_of_the_tables():
    for t, probability in ((1.886, 0.2), (4.303, 0.05), (9.925, 0.01)):  # two degrees of freedom
        mean = t / 3**0.5
        assert t_test([mean - 1, mean, mean + 1]) == pytest.approx(probability, abs=1e-4)
    assert t_test([0.0, 2.0]) == pytest.approx(0.5)  # t = 1, one degree of freedom
    assert t_test([-2.0, 0.0]) == pytest.approx(0.5)
    assert t_test([0.5, 0.5, 0.5]) == pytest.approx(0)
    assert t_test([0.0, 0.0, 0.0]) == 1
