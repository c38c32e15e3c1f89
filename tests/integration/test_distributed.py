"""Two processes on the CPU learn and report what one does."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

WORKER = Path(__file__).with_name("train_worker.py")


def run(command, output):
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"}
    result = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=240, check=False)
    assert result.returncode == 0, result.stderr[-3000:]
    return torch.load(output, weights_only=True)


def test_two_processes_equal_one(tmp_path):
    one = run([sys.executable, str(WORKER), str(tmp_path / "one.pt"), "4"], tmp_path / "one.pt")
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    two = run([*launcher, str(WORKER), str(tmp_path / "two.pt"), "2"], tmp_path / "two.pt")
    assert (one["world_size"], two["world_size"]) == (1, 2)
    for name, tensor in one["weights"].items():
        torch.testing.assert_close(two["weights"][name], tensor, atol=1e-5, rtol=1e-4)
    for name in ("eval_overall_f1", "eval_overall_precision", "eval_overall_recall", "eval_overall_accuracy"):
        assert two["metrics"][name] == pytest.approx(one["metrics"][name])
    assert two["metrics"]["eval_LOC"]["number"] == one["metrics"]["eval_LOC"]["number"] == 16
