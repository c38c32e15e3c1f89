"""Two workers of Ray Train on this machine learn what one process learns."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from test_distributed import check
from train_worker import train_all

WORKER = Path(__file__).with_name("ray_train_worker.py")

pytestmark = pytest.mark.slow


def test_two_workers_of_ray_equal_one_process(tmp_path):
    environment = {**os.environ, "PYTHONWARNINGS": "ignore", "OMP_NUM_THREADS": "1", "HF_HOME": str(tmp_path / "home")}
    command = [sys.executable, str(WORKER), str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=400, check=False)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    two, one = torch.load(tmp_path / "results.pt", weights_only=True), train_all(tmp_path / "one", batch_size=4)
    for kind in ("exact", "filtered"):
        check(one[kind], two[kind])
