"""Processes are killed while they train and while they save: nothing that was saved may be lost, or half of it found.

``python tests/kills.py --kills 20 --seed 0`` kills so many that train and so many that save, and prints what it saw.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from functools import cache, partial
from pathlib import Path
from typing import Any

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[1])]

import torch  # noqa: E402
from datasets import Dataset  # noqa: E402
from safetensors.torch import load_file  # noqa: E402
from tiny import SENTENCES, build_model  # noqa: E402
from transformers import PrinterCallback, TrainerCallback  # noqa: E402

from span_marker import SpanMarkerModel, Trainer, TrainingArguments  # noqa: E402
from span_marker.checkpoints.atomic import STATE, last_complete  # noqa: E402
from span_marker.core.folders import WRITING, WRITTEN  # noqa: E402

SAVE_STEPS = 8  # most of them within an epoch, of ten steps
SAVE_SECONDS = 0.05  # about as long as it takes to write a checkpoint
PATIENCE = 600.0  # seconds to wait for a process
PARTS = {STATE, "model.safetensors", "optimizer.pt", "scheduler.pt", "rng_state.pth", "training_args.bin"}
FAMILIES = ("bert", "roberta")
LOST = "steps to be made again"


class Telling(TrainerCallback):
    """Tells whoever started the process of every step."""

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        print(f"done {state.global_step}", flush=True)  # noqa: T201


def train(folder: Path, steps: int) -> None:
    """Train with dropout on shuffled sentences, from the last checkpoint on if there is any, and save the model."""
    tags = [["B-PER" if word[:1].isupper() else "O" for word in words] for words in SENTENCES]
    data = Dataset.from_dict({"tokens": SENTENCES * 4, "ner_tags": tags * 4})
    args = TrainingArguments(
        str(folder), max_steps=steps, per_device_train_batch_size=2, save_steps=SAVE_STEPS, save_total_limit=2,
        logging_steps=1, learning_rate=1e-3, report_to="none", use_cpu=True, disable_tqdm=True, seed=1,
    )  # fmt: skip
    trainer = Trainer(build_model(entity_max_length=2), args, data, callbacks=[Telling()])
    trainer.remove_callback(PrinterCallback)
    trainer.train(resume_from_checkpoint=any(folder.glob("checkpoint-*")))
    trainer.save_model(str(folder))
    trainer.save_state()


@cache
def saver(which: int) -> Callable[[Path], None]:
    """Saves one of two models, which differ in all but ``O``: with its weights in one file, or in many."""
    model = build_model(FAMILIES[which], labels=["O", FAMILIES[which]], entity_max_length=2, seed=which)
    return partial(model.save_pretrained, max_shard_size=("1GB", "20KB")[which])


def save(folder: Path, rounds: int) -> None:
    """Save both into the same folder, over and over."""
    for number in range(rounds):
        saver(number % 2)(folder)
        print(f"done {number + 1}", flush=True)  # noqa: T201


class Worker(subprocess.Popen):
    """A process that calls a function of this module; it doesn't outlive its ``with`` block."""

    def __init__(self, task: Callable, folder: Path, count: int) -> None:
        self.told, self.errors = folder.with_suffix(".told"), folder.with_suffix(".errors")
        code = f"import kills; kills.{task.__name__}(kills.Path({str(folder)!r}), {count})"
        command, here = [sys.executable, "-W", "ignore", "-c", code], Path(__file__).parent
        with open(self.told, "w") as told, open(self.errors, "w") as errors:
            super().__init__(command, cwd=here, stdout=told, stderr=errors, start_new_session=True)

    def __exit__(self, *error: Any) -> None:
        self.end()

    def done(self) -> int:
        """The last step or round that the process has told of; 0 before the first."""
        return max(map(int, re.findall(r"^done (\d+)\n", self.told.read_text(), re.MULTILINE)), default=0)

    def wait_for(self, condition: Callable, pause: float = 0.0005) -> None:
        """Wait until something is so, or the process has ended."""
        end = time.monotonic() + PATIENCE
        while self.poll() is None and not condition():
            assert time.monotonic() < end, f"nothing happened for {PATIENCE} seconds"
            time.sleep(pause)

    def end(self) -> bool:
        """Kill the process and what it may have started; False if it had ended by itself."""
        if self.poll() is None:
            os.killpg(self.pid, signal.SIGKILL)
        assert self.wait() in (0, -signal.SIGKILL), self.errors.read_text()[-3000:]
        return self.returncode != 0


def unfinished(folder: Path) -> set[tuple[str, int]]:
    """What is being written or deleted, or was when a process died, and when it changed last."""
    found = set()
    for path in [folder, *folder.glob("checkpoint-*")]:
        with suppress(FileNotFoundError):
            names = set(os.listdir(path))
            if (path != folder and not names >= PARTS) or any(name.startswith((WRITING, WRITTEN)) for name in names):
                found.add((path.name, path.stat().st_mtime_ns))
    return found


def train_and_kill(folder: Path, steps: int, delay: float = PATIENCE, delay_in_save: float | None = None) -> Counter:
    """Train in a process that is killed some seconds after its first step; or so long after the next save began."""
    before, saved_before = unfinished(folder), int((last_complete(folder)[0] or "-0").rpartition("-")[2])
    with Worker(train, folder, steps) as worker:
        worker.wait_for(worker.done, pause=0.005)
        with suppress(subprocess.TimeoutExpired):
            worker.wait(delay)
        if delay_in_save is not None:
            worker.wait_for(lambda: unfinished(folder) - before)
            time.sleep(delay_in_save)
        was_killed = worker.end()
    saved = int((last_complete(folder)[0] or "-0").rpartition("-")[2])
    lost = max(worker.done(), saved_before) - saved
    assert saved >= saved_before and 0 <= lost <= SAVE_STEPS, (saved_before, worker.done(), saved)  # noqa: PT018
    in_save = was_killed and bool(unfinished(folder) - before)
    return Counter({"kills": was_killed, "kills while a checkpoint was written or deleted": in_save, LOST: lost})


def check_same_training(*folders: Path) -> None:
    """Check that two trainings ended with the same weights, and had the same losses in the same steps."""
    found, wanted = (load_file(folder / "model.safetensors") for folder in folders)
    assert found.keys() == wanted.keys() and all(torch.equal(found[name], wanted[name]) for name in wanted)  # noqa: PT018
    logs = [json.loads((folder / STATE).read_text())["log_history"] for folder in folders]
    found, wanted = ([entry for entry in log if "loss" in entry] for log in logs)  # the last entry is about time
    assert found == wanted


def kill_trainings(root: Path, steps: int, kills: int, seed: int, run: Callable = train_and_kill) -> Counter:
    """Kill a training so many times, and resume it each time; if it ends before that, begin another one."""
    draw, counts = random.Random(seed), Counter()
    run(root / "undisturbed", steps)
    log = json.loads((root / "undisturbed" / STATE).read_text())["log_history"]
    seconds = 2 * log[-1]["train_runtime"] / kills  # so that one training lives to be killed about so often
    while counts["kills"] < kills:
        counts["trainings"] += 1
        folder, was_killed = root / f"training-{counts['trainings']}", True
        while was_killed and counts["kills"] < kills:
            delay_in_save = draw.uniform(0, SAVE_SECONDS) if counts["kills"] % 2 else None
            happened = train_and_kill(folder, steps, draw.uniform(0, seconds), delay_in_save)
            was_killed = bool(happened["kills"])
            counts.update(happened)
            counts[f"{LOST}, at most"] = max(counts[f"{LOST}, at most"], happened[LOST])
        if was_killed:
            run(folder, steps)
        check_same_training(folder, root / "undisturbed")
        counts["trainings that end like an undisturbed one, bit for bit"] += 1
    return counts


def places(folder: Path) -> set[tuple[str, int]]:
    """Which files are in their places, with numbers that tell old and new ones apart."""
    return {(entry.name, entry.inode()) for entry in os.scandir(folder) if not entry.name.startswith(".")}


def check_loads_as_one(folder: Path, saved: list[Path]) -> int:
    """Check that a folder loads as one of two models, and that each file is that model's; return which it is."""
    loaded = SpanMarkerModel.from_pretrained(folder)
    which = FAMILIES.index(loaded.config.classes[1])
    expected = SpanMarkerModel.from_pretrained(saved[which])
    assert loaded.config.to_json_string() == expected.config.to_json_string()
    assert loaded.predict(SENTENCES) == expected.predict(SENTENCES)
    weights = loaded.state_dict()
    assert all(torch.equal(weights[name], tensor) for name, tensor in expected.state_dict().items())
    found, wanted = ({path.name: path.read_bytes() for path in place.glob("[!.]*")} for place in (folder, saved[which]))
    assert found == wanted
    return which


def kill_savings(root: Path, kills: int, seed: int) -> Counter:
    """Kill a process that saves two models in turn so many times, and load what is there each time."""
    draw, counts, folder = random.Random(seed), Counter(), root / "saved"
    saved = [root / family for family in FAMILIES]
    for which, path in enumerate(saved):
        saver(which)(path)
    while counts["kills"] < kills:
        with Worker(save, folder, 1_000_000) as worker:
            worker.wait_for(worker.done, pause=0.005)
            time.sleep(draw.uniform(0, 10 * SAVE_SECONDS))
            if counts["kills"] % 2:  # files are written for long, but moved to their places in no time
                before = places(folder)
                worker.wait_for(lambda before=before: places(folder) != before)
            counts["kills"] += worker.end()
        names = os.listdir(folder)
        counts["kills while files were written"] += any(name.startswith(WRITING) for name in names)
        counts["kills while files were moved to their places"] += WRITTEN in names
        counts[f"times that all of the {FAMILIES[check_loads_as_one(folder, saved)]} model was found"] += 1
    return counts


def main() -> None:
    """Kill processes that train, and processes that save."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--steps", type=int, default=400, help="of a training; whole epochs, of ten")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as root:
        print("Training:", dict(kill_trainings(Path(root), options.steps, options.kills, options.seed)))  # noqa: T201
        print("Saving:", dict(kill_savings(Path(root), options.kills, options.seed)))  # noqa: T201


if __name__ == "__main__":
    main()
