"""What is asked of a Ray cluster, and what is refused; `test_clusters.py` runs one."""

import sys
from fractions import Fraction

import pytest
from fresh import printed_by
from hypothesis import given
from hypothesis import strategies as st

from span_marker.bulk import Reading
from span_marker.integrations.ray import (
    SHARES,
    check_gpus,
    count_readings,
    predict_dataset,
    reserved_cpus,
    threads_per_actor,
)
from span_marker.prediction.entities import Coverage


def fits(cpus, actors):
    """Whether actors and a task of one CPU find room, placed one after the other."""
    for reader, cpu in enumerate(cpus):
        left = [Fraction(c) - (index == reader) for index, c in enumerate(cpus)]
        for reserved in map(Fraction, actors):
            left[left.index(max(left))] -= reserved
        if cpu >= 1 and min(left) >= 0:
            return True
    return False


@given(st.lists(st.integers(1, 9), min_size=1, max_size=4), st.integers(1, 12), st.integers(1, 9))
def test_actors_reserve_as_much_as_leaves_one_cpu(cpus, concurrency, num_threads):
    possible = [reserved for reserved in (*range(num_threads, 0, -1), *SHARES) if fits(cpus, [reserved] * concurrency)]
    if num_threads > max(cpus) or not possible:
        with pytest.raises(ValueError, match="concurrency=|num_threads="):
            reserved_cpus(cpus, concurrency, num_threads)
    else:
        assert reserved_cpus(cpus, concurrency, num_threads) == possible[0]


@given(st.integers(2, 9), st.lists(st.tuples(st.integers(1, 6), st.integers(1, 9)), min_size=1, max_size=4))
def test_stages_that_run_at_the_same_time_leave_one_cpu(num_cpus, stages):
    held = []
    for concurrency, num_threads in stages:
        held += [reserved_cpus([num_cpus], concurrency, min(num_threads, num_cpus), held=held)] * concurrency
    assert fits([num_cpus], held)


def test_later_stages_get_what_earlier_ones_leave():
    assert reserved_cpus([8], 1, 4, held=[2]) == 4
    assert reserved_cpus([8], 1, 8, held=[2]) == 5
    assert reserved_cpus([2], 2, 1, held=[1]) == 0
    assert reserved_cpus([2, 2], 1, 2, held=[2]) == 1
    check_gpus([2], concurrency=1, num_gpus=1, held=[1])
    check_gpus([1], concurrency=1, num_gpus=0.5, held=[0.5])
    with pytest.raises(ValueError, match=r"stages of the data set hold 1 of the 1 GPUs .* call materialize\(\)"):
        check_gpus([1], concurrency=1, num_gpus=1, held=[1])
    with pytest.raises(ValueError, match=r"cluster has 1 GPUs: lower concurrency to 1, or num_gpus"):
        check_gpus([1], concurrency=2, num_gpus=1, held=[1])


def test_what_a_cluster_lacks_is_an_error_rather_than_waiting():
    with pytest.raises(ValueError, match=r"num_threads=3, but the largest machine of the cluster has 2 CPUs"):
        reserved_cpus([2, 2], 1, 3)
    with pytest.raises(
        ValueError, match=r"concurrency=1, but the cluster has 1 CPUs, and Ray Data needs 1 of them to read"
    ):
        reserved_cpus([1], 1, 1)
    assert reserved_cpus([2], 1, 2, num_spare=1) == 1
    with pytest.raises(ValueError, match=r"needs 2 of them to read data: .* call ray\.init\(num_cpus=3\)"):
        reserved_cpus([2], 1, 2, num_spare=2)
    check_gpus([1, 2], concurrency=3, num_gpus=1)
    check_gpus([1], concurrency=4, num_gpus=0.25)
    with pytest.raises(ValueError, match=r"cluster has 3 GPUs: lower concurrency to 3, or num_gpus"):
        check_gpus([1, 2], concurrency=4, num_gpus=1)
    with pytest.raises(ValueError, match=r"num_gpus=1, but no machine of the cluster has that many: \[0\]"):
        check_gpus([0], concurrency=1, num_gpus=1)


@pytest.mark.parametrize(
    ("cpus", "concurrency", "expected"), [([2], 1, 2), ([2], 2, 1), ([2], 5, 1), ([8, 16], 4, 4), ([], 1, 1)]
)
def test_threads_are_those_of_the_smallest_machine(cpus, concurrency, expected):
    assert threads_per_actor(cpus, concurrency) == expected


def test_readings_are_counted():
    coverage = Coverage(
        num_words=3, num_tokens=4, num_windows=1, num_candidates=6, num_scored=6, num_dropped=5, cut_words=[]
    )
    readings = [Reading([{}, {}], coverage=coverage), Reading([], "bad"), Reading([], coverage=coverage)]
    assert count_readings(readings) == {
        "texts": 3,
        "words": 6,
        "entities": 2,
        "errors": 1,
        "candidates": 12,
        "candidates_kept": 2,
    }


def test_without_ray_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(
        ImportError, match=r"needs ray, .*: pip install 'ray\[data\]', or install span_marker with the extra 'ray'"
    ):
        predict_dataset(None, "my-model")


def test_engines_are_imported_when_they_are_needed():
    code = (
        "import sys, span_marker.integrations.ray, span_marker.integrations.spark; "
        "print([name for name in ('ray', 'pyspark') if name in sys.modules])"
    )
    assert printed_by(code) == "[]"
