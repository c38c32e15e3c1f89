"""Crash-safe checkpoint folders: which checkpoints are complete, and which files are weights."""

from __future__ import annotations

import json
from pathlib import Path

from span_marker.checkpoints.errors import StrPath

WEIGHTS = tuple(
    f"{name}{part}.{kind}"
    for name, kind in (("model", "safetensors"), ("pytorch_model", "bin"))
    for part in ("", "-?????-of-?????")
) + ("model.safetensors.index.json", "pytorch_model.bin.index.json")
"""Patterns of weight files, single or sharded."""

CHECKPOINT = "checkpoint-"
"""Prefix of the checkpoint folders of ``transformers.Trainer``, followed by the step."""

STATE = "trainer_state.json"
"""The last file that ``transformers.Trainer`` writes into a checkpoint."""


def last_complete(folder: StrPath) -> tuple[str | None, list[str]]:
    """Find the latest complete checkpoint of a training.

    Args:
        folder: The output folder of a ``transformers.Trainer``.

    Returns:
        Its path, or None; and the paths of later checkpoints, which are incomplete.
    """
    steps: dict[int, Path] = {}
    for path in Path(folder).glob(f"{CHECKPOINT}*"):
        number = path.name.removeprefix(CHECKPOINT)
        if number.isdecimal() and path.is_dir():
            steps[int(number)] = path
    incomplete: list[str] = []
    for step in sorted(steps, reverse=True):
        if _is_complete(steps[step], step):
            return str(steps[step]), incomplete
        incomplete.append(str(steps[step]))
    return None, incomplete


def _is_complete(checkpoint: Path, step: int) -> bool:
    try:
        state = json.loads((checkpoint / STATE).read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):  # not written yet, or cut short
        return False
    return isinstance(state, dict) and state.get("global_step") == step


def declare_incomplete(checkpoint: StrPath) -> None:
    """Mark a checkpoint as incomplete before overwriting it.

    Args:
        checkpoint: Its folder, which need not exist.
    """
    Path(checkpoint, STATE).unlink(missing_ok=True)
