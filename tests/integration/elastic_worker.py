"""Trains a tiny model, and kills one of the processes once; test_hosts.py runs it under torchrun.

``torchrun --max-restarts=3 elastic_worker.py FOLDER``. All processes resume from the last complete checkpoint.
"""

import os
import signal
import sys
from pathlib import Path
from typing import Any

import torch
from train_worker import leave_group, make_trainer, train  # the folder of this script is in the path
from transformers import TrainerCallback
from transformers.trainer_utils import get_last_checkpoint

STEPS = 6
SAVED = 2
"""Checkpoints are written every so many steps."""

KILLED = 3
"""The step after which a process is killed."""


class Killer(TrainerCallback):
    """Kills the second process once.

    Args:
        marker: A file that says that it has.
    """

    def __init__(self, marker: Path) -> None:
        self._marker = marker

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if os.environ["RANK"] == "1" and state.global_step == KILLED and not self._marker.exists():
            self._marker.touch()
            os.kill(os.getpid(), signal.SIGKILL)


def run(folder: Path) -> dict[str, Any]:
    """Train, from the last checkpoint if there is one."""
    trainer = make_trainer(folder / "run", 2, None, max_steps=STEPS, save_strategy="steps", save_steps=SAVED)
    trainer.add_callback(Killer(folder / "killed"))
    resumed = (folder / "run").exists() and get_last_checkpoint(str(folder / "run")) is not None
    return {**train(trainer, resumed), "resumed": resumed}


def main(folder: Path) -> None:
    torch.set_num_threads(1)
    results = run(folder)
    if os.environ["RANK"] == "0":
        torch.save(results, folder / "results.pt")
    leave_group()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
