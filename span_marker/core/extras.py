"""Optional packages: imported on first use, with installation advice if they are missing."""

from __future__ import annotations

import importlib
from typing import Any


def import_extra(name: str, packages: str, extra: str, needed_by: str = "this needs") -> Any:
    """Import an optional package.

    Args:
        name: The module.
        packages: The packages to install, as arguments of ``pip``.
        extra: The extra that installs it.
        needed_by: Beginning of the error.

    Returns:
        The module.

    Raises:
        ImportError: If it is not installed. The error says what to install.
    """
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise ImportError(
            f"{needed_by} {name}, which is not installed: pip install {packages}, or install span_marker with the "
            f"extra {extra!r}"
        ) from error
