"""Crash-safe folders, whose files change together even if the writer is killed."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from fnmatch import fnmatch
from pathlib import Path

WRITING = ".writing-"
"""Prefix of the folder, inside the one that changes, into which new files are written."""

WRITTEN = ".written"
"""Name of that folder once its files are complete; some of them may already have been moved."""

MANIFEST = ".manifest.json"
"""File in that folder that lists all new files, including those already moved."""


@contextmanager
def replacing(folder: str | os.PathLike[str], stale: tuple[str, ...] = ()) -> Iterator[Path]:
    """Change several files of a folder together.

    New files are written to a separate folder. Renaming this folder declares them complete, and then each file is moved
    to its place. A writer that is killed before the renaming has changed nothing. If it is killed afterwards, `finish`
    moves the remaining files: the next writer calls it, and readers must call it. All files get the default permissions
    of new files: safetensors would make its files unreadable for other users, such as that of a container.

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
            if path.stat().st_mode != permissions:  # some file systems cannot change them
                path.chmod(permissions)
        staging.rename(target / WRITTEN)
    except BaseException:
        shutil.rmtree(staging, ignore_errors=True)
        raise
    finish(target)


def finish(folder: str | os.PathLike[str]) -> None:
    """Move complete new files to their places, if a writer was killed before it could.

    Args:
        folder: The folder.
    """
    target, written = Path(folder), Path(folder, WRITTEN)
    if not (written / MANIFEST).is_file():
        shutil.rmtree(written, ignore_errors=True)  # everything has been moved
        return
    manifest = json.loads((written / MANIFEST).read_text(encoding="utf-8"))
    new = {target / name for name in manifest["files"]}  # some may already have been moved
    for path in target.iterdir():
        if any(fnmatch(path.name, pattern) for pattern in manifest["stale"]):
            _delete(path, new)
    for name in manifest["files"]:
        if (written / name).exists():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            os.replace(written / name, target / name)
    (written / MANIFEST).unlink()
    shutil.rmtree(written)


def _delete(path: Path, kept: set[Path]) -> None:
    """Delete a file or a folder, except for files that are kept."""
    if not path.is_dir():
        if path not in kept:
            path.unlink()
    elif any(path in file.parents for file in kept):
        for part in path.iterdir():
            _delete(part, kept)
    else:
        shutil.rmtree(path)
