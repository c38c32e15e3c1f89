"""Checkpoints that outlive being killed: folders whose files change together, and checkpoints that are complete."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from fnmatch import fnmatch
from pathlib import Path

from transformers.trainer_callback import TrainerState
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR

WRITING = ".writing-"
"""Begins the name of a folder, within the one that changes, with new files that are not complete."""

WRITTEN = ".written"
"""Name of the folder with new files that are complete, but maybe not all in their places."""

MANIFEST = ".manifest.json"
"""Lists the new files, those that are in their places among them."""


WEIGHTS = tuple(
    f"{name}{part}.{kind}"
    for name, kind in (("model", "safetensors"), ("pytorch_model", "bin"))
    for part in ("", "-?????-of-?????")
) + ("model.safetensors.index.json", "pytorch_model.bin.index.json")
"""Patterns of files with weights, in one part or several."""

STATE = "trainer_state.json"
"""What ``transformers.Trainer`` writes last into a checkpoint."""


@contextmanager
def replacing(folder: str | os.PathLike[str], stale: tuple[str, ...] = ()) -> Iterator[Path]:
    """Change files of a folder together.

    The new files are written into a folder of their own; then one renaming declares them complete; then each is moved
    to its place. A writer that dies before the renaming has changed nothing. If it dies after it, `finish` does what is
    left to do: it is called by the next writer, and must be called by readers.

    Args:
        folder: The folder; it is made if there is none. Its other files stay.
        stale: Patterns of files that must go unless they are new, such as weights that were saved in other parts.

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
        staging.rename(target / WRITTEN)
    except BaseException:
        shutil.rmtree(staging, ignore_errors=True)
        raise
    finish(target)


def finish(folder: str | os.PathLike[str]) -> None:
    """Move new files that are complete to their places, if a writer died before it could.

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
            path.unlink()
    for name in manifest["files"]:
        if (written / name).exists():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            os.replace(written / name, target / name)
    (written / MANIFEST).unlink()
    shutil.rmtree(written)


def last_complete(folder: str | os.PathLike[str]) -> tuple[str | None, list[str]]:
    """Find the latest checkpoint of a training that was written to its end.

    Args:
        folder: The output folder of a ``transformers.Trainer``.

    Returns:
        Its path, None if there is none; and the paths of later ones, which are not complete.
    """
    steps: dict[int, Path] = {}
    for path in Path(folder).glob(f"{PREFIX_CHECKPOINT_DIR}-*"):
        number = path.name.rpartition("-")[2]
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
        return TrainerState.load_from_json(str(checkpoint / STATE)).global_step == step
    except (FileNotFoundError, ValueError, TypeError):  # not there, or cut
        return False


def declare_incomplete(checkpoint: str | os.PathLike[str]) -> None:
    """Take back that a checkpoint is complete, before it is written over.

    Args:
        checkpoint: Its folder; there may be none.
    """
    Path(checkpoint, STATE).unlink(missing_ok=True)
