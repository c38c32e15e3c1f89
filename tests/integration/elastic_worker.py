"""Trains a tiny model with a checkpoint after each step, and is killed once; test_hosts.py runs it on two hosts.

``python elastic_worker.py OUTPUT BATCH_SIZE``
"""

import os
import signal
import sys
from pathlib import Path
from typing import Any

import torch

sys.path[:0] = [str(Path(__file__).parents[1]), str(Path(__file__).parents[2])]

from datasets import Dataset  # noqa: E402
from tiny import build_model  # noqa: E402
from train_worker import TOKENS, tags  # noqa: E402
from transformers import TrainerCallback  # noqa: E402
from transformers.trainer_utils import get_last_checkpoint  # noqa: E402

from span_marker import Trainer, TrainingArguments  # noqa: E402

DEADLY_STEP = 3
"""The step after which the second process is killed, before its checkpoint is saved."""


class Killer(TrainerCallback):
    """Kills the second process, once."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if args.process_index == 1 and state.global_step == DEADLY_STEP and not self.marker.exists():
            self.marker.touch()
            os.kill(os.getpid(), signal.SIGKILL)


def train(folder: Path, batch_size: int) -> dict[str, Any]:
    """Train a model, from the last checkpoint if there is one."""
    model = build_model("bert", entity_max_length=3)
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    args = TrainingArguments(
        output_dir=str(folder),
        per_device_train_batch_size=batch_size,
        max_steps=5,
        learning_rate=0.01,
        lr_scheduler_type="constant",
        logging_steps=1,
        save_strategy="steps",
        save_steps=1,
        report_to="none",
        use_cpu=True,
        disable_tqdm=True,
        ddp_backend="gloo" if "WORLD_SIZE" in os.environ else None,
    )
    data = Dataset.from_dict({"tokens": TOKENS, "ner_tags": [tags(words) for words in TOKENS]})
    trainer = Trainer(model, args, data, callbacks=[Killer(folder.parent / "killed")])
    checkpoint = get_last_checkpoint(str(folder)) if folder.exists() else None
    if trainer.is_world_process_zero():
        with (folder.parent / "begun").open("a") as file:
            file.write(f"{checkpoint and Path(checkpoint).name}\n")
    trainer.train(resume_from_checkpoint=checkpoint)
    return {
        "weights": {name: tensor.cpu() for name, tensor in model.state_dict().items()},
        "losses": [entry["loss"] for entry in trainer.state.log_history if "loss" in entry],
    }


def main(output: str, batch_size: int) -> None:
    torch.set_num_threads(1)
    results = train(Path(output).parent / "run", batch_size)
    if int(os.environ.get("RANK", "0")) == 0:
        torch.save(results, output)
    torch.distributed.barrier()  # a process aborts if the other one leaves first
    torch.distributed.destroy_process_group()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
