"""Packages that integrations need, which are optional."""

from __future__ import annotations

import importlib
from typing import Any


def import_extra(name: str, packages: str, extra: str) -> Any:
    """Import an optional package.

    Args:
        name: The module.
        packages: What to install, as ``pip`` takes it.
        extra: The extra that installs it.

    Returns:
        The module.

    Raises:
        ImportError: If it is not installed, with what to install.
    """
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise ImportError(
            f"this needs {name}, which cannot be imported ({error}): pip install {packages}, or span_marker with the "
            f"extra {extra!r}"
        ) from error
