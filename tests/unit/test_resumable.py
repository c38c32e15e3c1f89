"""Long measurements go on where they were stopped, and say whether they show what they should."""

import json

import bulk
import pytest
import resumable
from resumable import Results, show_demands

from benchmarks import serving  # tests has a module of the same name


def test_what_was_measured_is_not_measured_again(tmp_path):
    path, calls = tmp_path / "deep" / "results.json", []
    for number in range(3):
        results = Results(path, {"workers": (1, 2)})
        assert results.part("first", lambda: calls.append("first") or 1) == 1
        if number:
            assert results.part("second", lambda: calls.append("second") or [2]) == [2]
    assert calls == ["first", "second"]
    assert json.loads(path.read_text())["parts"] == {"first": 1, "second": [2]}


def test_a_part_that_fails_leaves_those_before(tmp_path):
    path = tmp_path / "results.json"
    Results(path, {}).part("first", lambda: 1)
    with pytest.raises(ZeroDivisionError):
        Results(path, {}).part("second", lambda: 1 / 0)
    assert json.loads(path.read_text())["parts"] == {"first": 1}
    assert [*tmp_path.iterdir()] == [path]


def test_results_of_other_settings_are_not_mixed(tmp_path):
    Results(tmp_path / "results.json", {"files": 10}).part("first", lambda: 1)
    with pytest.raises(ValueError, match=r"other settings \(files=10, not 20\): remove it"):
        Results(tmp_path / "results.json", {"files": 20})


def test_results_of_another_commit_or_machine_are_not_mixed(tmp_path, monkeypatch):
    path, here = tmp_path / "results.json", resumable.machine()
    Results(path, {}).part("first", lambda: 1)
    monkeypatch.setattr(resumable, "machine", lambda: {**here, "date": "2000-01-01"})
    assert Results(path, {}).part("first", lambda: 2) == 1
    for name in ("commit", "cpu"):
        monkeypatch.setattr(resumable, "machine", lambda name=name: {**here, name: "other"})
        with pytest.raises(ValueError, match=rf"other machine \({name}=.*, not 'other'\): remove it"):
            Results(path, {})


def served(share, wrong, sizes):
    summary = {"server": [{"connections": number, "of_predict": share} for number in (8, 64, 512)]}
    checks = [
        {"requests": 10, "of_another_text": 0, "different": wrong, "mebibytes": [0, size], "port": 1} for size in sizes
    ]
    return show_demands(serving.demands(summary, checks))


def test_demands_on_the_server(capsys):
    assert served(0.9, 0, [700, 800, 810, 805, 800, 790]) == 0
    assert "30 answers: none wrong" not in capsys.readouterr().out
    assert served(0.84, 0, [800] * 6) == 1
    assert "NOT MET: 64 connections: at least 0.85 of predict (0.84)" in capsys.readouterr().out
    assert served(0.9, 1, [800] * 6) == 1
    assert served(0.9, 0, [800, 820, 850, 900, 950, 1000]) == 1


def read(workers, per_second, sizes):
    looks = [[float(n), n, size, [size] * (workers > 1)] for n, size in enumerate(sizes)]
    return {"source": "files", "workers": workers, "per_second": per_second, "over_time": looks}


def test_demands_on_reading_in_bulk():
    flat = [300, 500, *[510] * 8]
    assert all(bulk.demands([read(1, 100.0, flat), read(2, 101.0, flat)]).values())
    assert [*bulk.demands([read(1, 100.0, flat), read(2, 99.0, flat)]).values()] == [True, True, False]
    assert [*bulk.demands([read(1, 100.0, [300, 500, *[600] * 8])]).values()] == [False]
