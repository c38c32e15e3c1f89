"""Trains tiny models whose weights are sharded; test_fsdp.py runs it in two processes, under accelerate.

``accelerate launch --config_file FILE fsdp_worker.py FOLDER FAMILY...``
"""

import os
import sys
from pathlib import Path
from typing import Any

import torch
import train_worker  # the folder of this script is in the path
from accelerate import DistributedType, PartialState
from train_worker import leave_group, make_trainer, train

from span_marker import TrainingArguments


def shard_on_the_cpu() -> None:
    """Let accelerate shard on a CPU. It does so on accelerators alone: with ``use_cpu``, its FSDP is DDP."""

    def arguments(**settings: Any) -> TrainingArguments:
        made = TrainingArguments(**settings)
        PartialState._shared_state["distributed_type"] = DistributedType.MULTI_GPU
        return made

    train_worker.TrainingArguments = arguments


def share_here(model: Any) -> float:
    """The share of the model's numbers that this process holds."""
    parameters = [*model.parameters()]
    return sum(each.to_local().numel() for each in parameters) / sum(each.numel() for each in parameters)


def run(folder: Path, family: str) -> dict[str, Any]:
    """Train, and save the model."""
    folder /= family
    trainer = make_trainer(folder, 2, 1, family)
    results = train(trainer)
    trainer.save_model(str(folder / "saved"))
    trainer.model.reshard()
    results["share"] = share_here(trainer.model)
    return results


def main(folder: str, families: list[str]) -> None:
    torch.set_num_threads(1)
    shard_on_the_cpu()
    results = {family: run(Path(folder), family) for family in families}
    if int(os.environ["RANK"]) == 0:
        torch.save(results, Path(folder) / "results.pt")
    leave_group()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
