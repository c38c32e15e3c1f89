"""Crash-safe checkpoint folders: files that change together, and checkpoints that are known to be complete."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from fnmatch import fnmatch
from pathlib import Path

from span_marker.checkpoints.errors import StrPath

WRITING = ".writing-"
"""Prefix of the folder, inside the one that changes, into which new files are written."""

WRITTEN = ".written"
"""Name of that folder once its files are complete; some of them may be in their places already."""

MANIFEST = ".manifest.json"
"""File in that folder that lists all new files, including those in their places."""

WEIGHTS = tuple(
    f"{name}{part}.{kind}"
    for name, kind in (("model", "safetensors"), ("pytorch_model", "bin"))
    for part in ("", "-?????-of-?????")
) + ("model.safetensors.index.json", "pytorch_model.bin.index.json")
"""Patterns of weight files, whole or in parts."""

CHECKPOINT = "checkpoint-"
"""What ``transformers.Trainer`` puts in front of the step to name the folder of a checkpoint."""

STATE = "trainer_state.json"
"""The last file that ``transformers.Trainer`` writes into a checkpoint."""


@contextmanager
def replacing(folder: StrPath, stale: tuple[str, ...] = ()) -> Iterator[Path]:
    """Change several files of a folder together.

    New files are written into a folder of their own. Renaming this folder declares them complete, and then each is
    moved to its place. A writer that dies before the renaming has changed nothing. If it dies afterwards, `finish` does
    the rest: the next writer calls it, and readers must call it. All get the permissions of any new file: safetensors
    would keep its own from everybody else, such as the user of a container.

    Args:
        folder: The folder; it is created if it does not exist. Its other files stay.
        stale: Patterns of files and folders to delete unless they are new, such as weights that were saved in other
            parts.

    Yields:
        An empty folder to write into.
    """
    target = Path(folder)
    target.mkdir(parents=True, exist_ok=True)
    finish(target)
    for abandoned in target.glob(f"{WRITING}*"):
        shutil.rmtree(abandoned, ignore_errors=True)
    staging = Path(tempfile.mkdtemp(prefix=WRITING, dir=target))
    try:
        yield staging
        names = [str(path.relative_to(staging)) for path in staging.rglob("*") if path.is_file()]
        manifest = {"files": names, "stale": list(stale)}
        (staging / MANIFEST).write_text(json.dumps(manifest), encoding="utf-8")
        permissions = (staging / MANIFEST).stat().st_mode
        for path in map(staging.joinpath, names):
            if path.stat().st_mode != permissions:  # some file systems give all files the same, and cannot change them
                path.chmod(permissions)
        staging.rename(target / WRITTEN)
    except BaseException:
        shutil.rmtree(staging, ignore_errors=True)
        raise
    finish(target)


def finish(folder: StrPath) -> None:
    """Move complete new files to their places, if a writer died before it could.

    Args:
        folder: The folder.
    """
    target, written = Path(folder), Path(folder, WRITTEN)
    if not (written / MANIFEST).is_file():
        shutil.rmtree(written, ignore_errors=True)  # everything has been moved
        return
    manifest = json.loads((written / MANIFEST).read_text(encoding="utf-8"))
    for path in target.iterdir():
        if path.name not in manifest["files"] and any(fnmatch(path.name, pattern) for pattern in manifest["stale"]):
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    for name in manifest["files"]:
        if (written / name).exists():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            os.replace(written / name, target / name)
    (written / MANIFEST).unlink()
    shutil.rmtree(written)


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
