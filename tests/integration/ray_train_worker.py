"""Trains a tiny model with Ray Train; test_ray_train.py runs it. ``python ray_train_worker.py FOLDER``: two workers."""

import os
import sys
import tempfile
from pathlib import Path

# Before Ray is imported. Its workers would have a small share of the processor otherwise, beside other tests.
os.environ |= {"RAY_USAGE_STATS_ENABLED": "0", "RAY_TRAIN_V2_ENABLED": "1", "RAY_worker_niceness": "0"}

import ray
import torch
from ray.train import RunConfig, ScalingConfig
from ray.train.torch import TorchConfig, TorchTrainer

HERE = str(Path(__file__).parent)


def train_here(settings: dict[str, str]) -> None:
    """What each worker runs."""
    sys.path.insert(0, settings["scripts"])
    from train_worker import train_all

    torch.set_num_threads(1)
    folder = Path(settings["folder"])
    results = train_all(folder / "run", batch_size=2)
    if ray.train.get_context().get_world_rank() == 0:
        torch.save(results, folder / "results.pt")


def main(folder: str) -> None:
    temporary = tempfile.mkdtemp(prefix="ray")  # a short name, since sockets are in it
    ray.init(num_cpus=3, include_dashboard=False, object_store_memory=100 * 2**20, _temp_dir=temporary)
    TorchTrainer(
        train_here,
        train_loop_config={"scripts": HERE, "folder": folder},
        torch_config=TorchConfig(backend="gloo"),
        scaling_config=ScalingConfig(num_workers=2),
        run_config=RunConfig(storage_path=str(Path(folder) / "ray")),
    ).fit()
    ray.shutdown()


if __name__ == "__main__":
    main(sys.argv[1])
