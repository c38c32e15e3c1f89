"""Whether this process was forked from one that knows this library already, which may have computed with threads."""

from __future__ import annotations

import os

_imported_in = os.getpid()
"""The process that this module was imported in."""


def was_forked() -> bool:
    """Tell whether this process was forked since this module was imported.

    Modules that import PyTorch only when they need it import this one first: what imports PyTorch after a fork could
    not tell.

    Returns:
        Whether another process imported this module, and was forked.
    """
    return os.getpid() != _imported_in
