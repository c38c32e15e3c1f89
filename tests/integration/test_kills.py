"""Processes are killed while they train, and while they save; ``python tests/kills.py`` does more of it."""

import kills
import pytest

pytestmark = pytest.mark.slow


def test_a_training_that_is_killed_ends_like_one_that_is_not(tmp_path):
    counts = kills.kill_trainings(tmp_path, steps=30, kills=1, seed=0, run=kills.train)
    assert counts["kills"] == 1


def test_a_process_that_is_killed_while_saving_leaves_one_model_or_the_other(tmp_path):
    counts = kills.kill_savings(tmp_path, kills=1, seed=0)
    assert counts["kills"] == 1
