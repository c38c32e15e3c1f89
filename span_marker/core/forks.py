"""Detecting whether this process was forked from one that had imported this library, and may have used threads."""

from __future__ import annotations

import os

_imported_in = os.getpid()
"""The process that this module was imported in."""


def was_forked() -> bool:
    """Return whether this process was forked after this module was imported.

    Modules that import PyTorch lazily import this one first, since a module that is imported after a fork cannot detect
    it.

    Returns:
        Whether another process imported this module, and was forked.
    """
    return os.getpid() != _imported_in
