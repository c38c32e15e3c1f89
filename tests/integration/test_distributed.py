"""Two processes on the CPU learn and report what one does, however they are launched."""

import os
import subprocess
import sys

import pytest
import torch
import train_worker
from train_worker import share_filters, train_all

LAUNCHERS = {
    "torchrun": ["torch.distributed.run", "--standalone", "--nproc-per-node=2"],
    # With --cpu, accelerate starts one process, or leaves them to MPI: this is how it starts one for each GPU.
    "accelerate": [
        *("accelerate.commands.launch", "--multi_gpu", "--num_processes=2", "--num_machines=1"),
        *("--main_process_port=0", "--mixed_precision=no", "--dynamo_backend=no"),
    ],
}


@pytest.fixture(scope="module")
def one(tmp_path_factory):
    """What one process learns from batches of four."""
    return train_all(tmp_path_factory.mktemp("one"), batch_size=4)


@pytest.mark.parametrize("launcher", ["torchrun", pytest.param("accelerate", marks=pytest.mark.slow)])
def test_two_processes_equal_one(tmp_path, one, launcher):
    output = tmp_path / "results.pt"
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore", "HF_HOME": str(tmp_path)}
    command = [sys.executable, "-m", *LAUNCHERS[launcher], train_worker.__file__, str(output), "2"]
    result = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=240, check=False)
    assert result.returncode == 0, result.stderr[-3000:]
    two = torch.load(output, weights_only=True)
    for kind in ("exact", "filtered"):
        check(one[kind], two[kind])
    assert (one["exact"]["weights"]["classifier.weight"] != one["filtered"]["weights"]["classifier.weight"]).any()


def test_processes_share_the_pair_filter_of_the_first(tmp_path):
    torch.multiprocessing.spawn(share_filters, (str(tmp_path / "store"),), nprocs=2)  # raises what they raise


def check(one, two):
    assert (one["world_size"], two["world_size"]) == (1, 2)
    assert two["losses"] == pytest.approx(one["losses"], rel=1e-4)
    assert one["losses"][-1] < one["losses"][0]
    for name, tensor in one["weights"].items():
        torch.testing.assert_close(two["weights"][name], tensor, atol=1e-5, rtol=1e-4)
    for name in ("f1", "precision", "recall", "accuracy", "best_f1", "average_precision"):
        assert two["metrics"][f"eval_overall_{name}"] == pytest.approx(one["metrics"][f"eval_overall_{name}"])
    assert two["metrics"]["eval_candidates_kept"] == one["metrics"]["eval_candidates_kept"]
    assert two["metrics"]["eval_LOC"]["number"] == one["metrics"]["eval_LOC"]["number"] == 16
