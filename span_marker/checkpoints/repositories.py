"""Repositories on the Hub that a model is pushed to."""

from __future__ import annotations

from fnmatch import fnmatch

from huggingface_hub import HfApi

from span_marker.checkpoints.atomic import WEIGHTS
from span_marker.checkpoints.model_card import LIBRARY_NAME
from span_marker.graphs.files import ENCODER, FOLDER, GRAPHS, HEADS, MANIFEST
from span_marker.rules.rules import RULES_FILE
from span_marker.version import __version__

OUTDATED = [*WEIGHTS, RULES_FILE, *(f"{FOLDER}/{name}" for name in (*GRAPHS, ENCODER, HEADS, MANIFEST))]
"""Patterns of files to delete from a repository when a model without them is pushed to it: they belong to another
model."""


def open_repository(
    is_exported: bool, repo_id: str, private: bool | None, token: bool | str | None, revision: str | None
) -> tuple[HfApi, str]:
    """Create a repository and a branch, unless they exist.

    Args:
        is_exported: Whether graphs will be pushed. Existing weights may belong to another model.
        repo_id: Name of the repository.
        private: Whether a new repository is private. Defaults to the setting of the account.
        token: A token with write access. Defaults to the stored one.
        revision: The branch. Defaults to the main branch. Refs of pull requests are not created.

    Returns:
        A client, and the full name of the repository.

    Raises:
        ValueError: If graphs will be pushed, but the repository has weights for PyTorch.
    """
    api = HfApi(library_name=LIBRARY_NAME, library_version=__version__)
    full_name: str = api.create_repo(repo_id, private=private, token=token, exist_ok=True).repo_id
    if revision is not None and not revision.startswith("refs/pr"):
        api.create_branch(full_name, branch=revision, token=token, exist_ok=True)
    names = api.list_repo_files(full_name, revision=revision, token=token) if is_exported else []
    if found := [name for name in names if any(fnmatch(name, pattern) for pattern in WEIGHTS)]:
        raise ValueError(
            f"{full_name!r} holds a checkpoint with weights ({found[0]}): push the exported model to a separate "
            "repository"
        )
    return api, full_name
