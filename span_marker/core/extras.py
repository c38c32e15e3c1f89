"""Optional packages: imported on first use, with what to install if they are missing."""

from __future__ import annotations

import importlib
from typing import Any


def import_extra(name: str, packages: str, extra: str, needed_by: str = "this needs") -> Any:
    """Import an optional package.

    Args:
        name: The module.
        packages: What to install, as ``pip`` takes it.
        extra: The extra that installs it.
        needed_by: How the error begins.

    Returns:
        The module.

    Raises:
        ImportError: If it is not installed, with what to install.
    """
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise ImportError(
            f"{needed_by} {name}, which is not installed: pip install {packages}, or install span_marker with the "
            f"extra {extra!r}"
        ) from error
