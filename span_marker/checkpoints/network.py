"""Loading without a network."""

from __future__ import annotations

import logging
import os
import socket
from typing import Any
from urllib.parse import urlsplit
from urllib.request import getproxies

from huggingface_hub import constants

logger = logging.getLogger(__name__)


def adapt_to_network(path: str | os.PathLike[str], arguments: dict[str, Any]) -> dict[str, Any]:
    """Use only cached files if the Hub cannot be resolved, since each file would be tried for 30 seconds.

    Args:
        path: A folder or the name of a repository.
        arguments: Arguments of ``from_pretrained``.

    Returns:
        The arguments, with ``local_files_only=True`` if there is no network. Behind a proxy, which resolves names
        itself, they are returned unchanged.
    """
    if os.path.exists(path) or arguments.get("local_files_only") or constants.HF_HUB_OFFLINE or getproxies():
        return arguments
    host = urlsplit(constants.ENDPOINT).hostname
    try:
        socket.getaddrinfo(host, None)
    except socket.gaierror:
        logger.warning("No network: the name %s cannot be resolved. Only cached files are used.", host)
        return {**arguments, "local_files_only": True}
    return arguments
