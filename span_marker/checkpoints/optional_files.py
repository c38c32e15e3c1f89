"""Optional files of a checkpoint: its card, its rules, and the handler for Inference Endpoints."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from transformers.utils.hub import cached_file

from span_marker.checkpoints.errors import StrPath
from span_marker.checkpoints.loading import hub_arguments
from span_marker.rules.rules import RULES_FILE, Rules
from span_marker.version import __version__

HANDLER = Path(__file__).parents[1] / "integrations" / "endpoint_handler.py"


def load_card(path: StrPath, arguments: dict[str, Any]) -> str | None:
    """Load the card of a checkpoint.

    Args:
        path: A folder or the name of a repository.
        arguments: Arguments of ``from_pretrained``; only those of the Hub are used.

    Returns:
        The card; None if the checkpoint has none.
    """
    file = _find(path, "README.md", arguments)
    return None if file is None else Path(file).read_text(encoding="utf-8", errors="replace")


def load_rules(path: StrPath, arguments: dict[str, Any]) -> Rules | None:
    """Load the rules of a checkpoint.

    Args:
        path: See `load_card`.
        arguments: See `load_card`.

    Returns:
        The rules; None if the checkpoint has none.

    Raises:
        ValueError: If their file is broken.
    """
    file = _find(path, RULES_FILE, arguments)
    return None if file is None else Rules.load(file)


def _find(path: StrPath, name: str, arguments: dict[str, Any]) -> str | None:
    # private: other functions raise errors for missing files
    file: str | None = cached_file(path, name, _raise_exceptions_for_missing_entries=False, **hub_arguments(arguments))
    return file


def write_handler(folder: Path, extra: str | None) -> None:
    """Write the handler for Inference Endpoints, and its requirements.

    Args:
        folder: The folder of the checkpoint.
        extra: The extra that the model needs, or None.
    """
    shutil.copyfile(HANDLER, folder / "handler.py")
    extras = f"[{extra}]" if extra else ""
    (folder / "requirements.txt").write_text(f"span_marker{extras}>={__version__}\n", encoding="utf-8")
