"""Forked processes, in which PyTorch would wait for threads that only their parent has."""

from __future__ import annotations

import logging
import os

import torch

logger = logging.getLogger(__name__)

_imported_in = os.getpid()
"""The process that this module was imported in."""

_process = _imported_in
"""The process that this module was imported in, or the forked one that `enter_process` has adapted to."""


def enter_process(device: torch.device) -> None:
    """Adapt to the process, if it was forked since this module was imported: run one thread in it from now on.

    OpenMP, with which PyTorch computes on a CPU, does not survive ``fork``: if the parent has computed with several
    threads, the child would wait for them forever. Only a single thread is safe. Everything that runs a model calls
    this first.

    Args:
        device: The model's device.

    Raises:
        RuntimeError: If the process was forked from one that uses the device, such as a GPU. Such devices cannot be
            shared.
    """
    global _process
    if os.getpid() == _process:
        return
    backend = getattr(torch, device.type, None)
    # private: true in a process that was forked after its parent began to use the device.
    if getattr(backend, "_is_in_bad_fork", bool)():
        raise RuntimeError(
            f"the model is on device={str(device)!r}, which a forked process cannot share: start processes with "
            "multiprocessing.get_context('spawn'), leave n_process out of nlp.pipe, or keep the model on the CPU "
            "(device='cpu')"
        )
    if torch.get_num_threads() > 1:
        logger.info("This process was forked: PyTorch runs one thread in it, since more would wait forever.")
        torch.set_num_threads(1)
    _process = os.getpid()


def set_num_threads(count: int) -> None:
    """Set PyTorch's number of threads, except in a forked process, where more than one could wait forever.

    Args:
        count: Number of threads.
    """
    if os.getpid() == _imported_in and torch.get_num_threads() != count:
        torch.set_num_threads(count)
