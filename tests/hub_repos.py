"""Repositories of `hub_server`: files, commits, branches and tags, in memory."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import Any, NamedTuple

LFS_SUFFIXES = (".safetensors", ".bin", ".pt", ".pth", ".onnx", ".spacy")


class RefusalError(Exception):
    """An answer that is an error, with the headers by which a client tells errors apart."""

    def __init__(self, status: int, message: str, code: str | None = None, **headers: str) -> None:
        self.status, self.message = status, message
        self.headers = {"X-Error-Message": message, **({"X-Error-Code": code} if code else {}), **headers}


@dataclass(frozen=True)
class File:
    content: bytes
    is_lfs: bool = False

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.content).hexdigest()

    @property
    def oid(self) -> str:
        """What git calls the file, or the pointer to it."""
        blob = self.content
        if self.is_lfs:
            blob = f"version https://git-lfs.github.com/spec/v1\noid sha256:{self.sha256}\nsize {len(blob)}\n".encode()
        return hashlib.sha1(b"blob %d\0" % len(blob) + blob).hexdigest()

    def describe(self, path: str) -> dict[str, Any]:
        described = {"type": "file", "path": path, "size": len(self.content), "oid": self.oid}
        if self.is_lfs:
            described["lfs"] = {"oid": self.sha256, "size": len(self.content), "pointerSize": 130}
        return described


class Commit(NamedTuple):
    id: str
    title: str
    files: dict[str, File]


@dataclass
class Repo:
    name: str
    is_private: bool = False
    is_gated: bool = False
    branches: dict[str, Commit] = field(default_factory=dict)
    tags: dict[str, Commit] = field(default_factory=dict)
    commits: dict[str, Commit] = field(default_factory=dict)

    @property
    def owner(self) -> str:
        return self.name.removeprefix("datasets/").removeprefix("spaces/").split("/")[0]

    def commit(self, title: str, changes: dict[str, File | None], branch: str = "main") -> Commit:
        """Move a branch by a commit; None takes a file or all of a folder away."""
        parent = self.branches.get(branch)
        files = dict(parent.files) if parent else {}
        for path, file in changes.items():
            if file is not None:
                files[path] = file
            for gone in [name for name in files if file is None and f"{name}/".startswith(path.rstrip("/") + "/")]:
                del files[gone]
        tree = sorted((path, file.oid) for path, file in files.items())
        key = f"{self.name} {len(self.commits)} {parent.id if parent else None} {title} {tree}"
        made = Commit(hashlib.sha1(key.encode()).hexdigest(), title, files)
        self.commits[made.id] = self.branches[branch] = made
        return made

    def at(self, revision: str = "main") -> Commit:
        """The commit that a branch, a tag or a commit's id names."""
        for names in (self.branches, self.tags, self.commits):
            if revision in names:
                return names[revision]
        raise RefusalError(404, f"Invalid rev id: {revision}", "RevisionNotFound")

    def files(self, revision: str = "main") -> dict[str, File]:
        return self.at(revision).files
