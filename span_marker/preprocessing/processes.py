"""Preparing PyTorch before a model runs: evaluation mode, and a single thread in forked processes.

In a forked process, PyTorch would wait for threads that only exist in its parent.
"""

from __future__ import annotations

import contextvars
import functools
import logging
import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, suppress
from typing import Any, TypeVar

import torch
from torch import nn

from span_marker.core.cpu import quota_cpus
from span_marker.core.forks import was_forked
from span_marker.preprocessing.batching import Workers

logger = logging.getLogger(__name__)

T = TypeVar("T")
Model = TypeVar("Model", bound=nn.Module)

MAX_WORKERS = 8
"""The maximum number of concurrent batches: each needs the interpreter for a tenth of its time."""

FOREIGN = ("_forward_hooks", "_forward_pre_hooks", "_hf_hook", "_fsdp_wrapped_module")
"""Attributes of modules that run foreign code: hooks of PyTorch, which users and FSDP2 register, those of accelerate,
and FSDP 1. Such code may not be thread-safe, or must gather weights in the same order in all processes."""

_setting_threads = threading.Lock()
"""Held while PyTorch's number of threads, which new threads inherit, is that of a worker."""

_lock = threading.Lock()

_evaluated: dict[nn.Module, tuple[int, list[nn.Module]]] = {}
"""Models in temporary evaluation mode: the number of active blocks, and the modules in training mode before."""


def _forget_threads() -> None:
    """Reset the state of threads that do not exist in a forked process."""
    global _setting_threads, _lock
    _setting_threads, _lock = threading.Lock(), threading.Lock()
    _evaluated.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_threads)


@functools.cache
def warn_of_quota() -> None:
    """Warn, once per process, if PyTorch runs more threads than the quota of the container has CPUs for."""
    quota, num_threads = quota_cpus(), torch.get_num_threads()
    if quota is not None and quota < num_threads:
        logger.warning(
            f"PyTorch runs {num_threads} threads, but the quota of this container is {quota} CPUs, so threads wait "
            f"for each other: set OMP_NUM_THREADS={quota}, or call torch.set_num_threads({quota})"
        )


def enter_process(device: torch.device) -> None:
    """Restrict PyTorch to a single thread if this process was forked from one that had imported this library.

    OpenMP, with which PyTorch computes on a CPU, does not survive ``fork``: if the parent has computed with several
    threads, the child would wait for them forever. Only a single thread is safe. Everything that runs a model calls
    this first.

    Args:
        device: The model's device.

    Raises:
        RuntimeError: If the process was forked from one that uses the device, such as a GPU. Such devices cannot be
            shared.
    """
    if device.type == "cpu":
        warn_of_quota()
    if not was_forked():
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
        logger.info("This process was forked, so PyTorch runs only one thread: with several, it would wait forever.")
        torch.set_num_threads(1)


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Put a model into evaluation mode within a ``with`` block, and adapt to the process, see `enter_process`.

    If several threads do so at the same time, the model returns to its former mode when the last of them is done.

    Args:
        model: The model.

    Raises:
        ValueError: If this process has only a part of the weights.
    """
    parameter = next(model.parameters())
    if hasattr(parameter, "full_tensor"):  # as of a DTensor
        raise ValueError(
            "this process has only a part of the model, whose weights FSDP2 shards: call trainer.save_model in all "
            "processes, and load the saved model to predict"
        )
    enter_process(parameter.device)
    with _lock:
        count, in_training = _evaluated.get(model, (0, []))
        if not count:
            in_training = [module for module in model.modules() if module.training]
        if in_training:
            model.eval()
        _evaluated[model] = count + 1, in_training
    try:
        yield
    finally:
        with _lock:
            count, in_training = _evaluated.pop(model, (1, in_training))  # it is missing after a fork within the block
            if count > 1:
                _evaluated[model] = count - 1, in_training
            else:
                for module in in_training:
                    module.training = True


def set_num_threads(count: int) -> None:
    """Set PyTorch's number of threads in this thread of Python and in those that start later.

    Args:
        count: Number of threads.
    """
    # Must be read first: a new thread inherits the number of the process on its first read.
    if torch.get_num_threads() != count:
        torch.set_num_threads(count)


def may_share_threads(model: nn.Module) -> bool:
    """Return whether batches of a model may run at the same time, each in a thread.

    Args:
        model: The model.

    Returns:
        True if it is on a CPU, and no hooks run in it, see `FOREIGN`.
    """
    # private: PyTorch has no public way to check for hooks, of all modules or of one of them.
    if next(model.parameters()).device.type != "cpu" or nn.modules.module._has_any_global_hook():
        return False
    return not any(getattr(module, name, None) for module in model.modules() for name in FOREIGN)


@contextmanager
def sharing_threads(model: nn.Module, count: int) -> Iterator[Workers]:
    """Run batches on a CPU in threads of Python, in evaluation mode, which share the threads that PyTorch may use.

    Within a batch, PyTorch shares thousands of small operations among its threads, and all of them wait for the slowest
    each time. Several concurrent batches, with fewer threads each, avoid this waiting.

    Args:
        model: The model.
        count: The maximum number of workers that have enough to do.

    Yields:
        The workers: one if ``count`` or PyTorch's number of threads is 1, the model may not share threads, see
        `may_share_threads`, or no thread can start, as when the interpreter shuts down. This worker is the thread of
        the caller.
    """
    with evaluating(model):
        with _setting_threads:
            num_threads = torch.get_num_threads()
        count = min(count, num_threads, MAX_WORKERS)
        if count < 2 or not may_share_threads(model):
            yield Workers()
            return
        autocast = torch.autocast("cpu", torch.get_autocast_dtype("cpu"), torch.is_autocast_enabled("cpu"))
        executor: ThreadPoolExecutor | None = None
        with suppress(RuntimeError):
            executor = begin_threads(count, num_threads)
        if executor is None:
            yield Workers()
            return
        submit = executor.submit

        def start(task: Callable[[], T]) -> Callable[[], T]:
            try:
                return submit(contextvars.copy_context().run, _under, autocast, task).result
            except RuntimeError:  # the interpreter is shutting down
                return task

        try:
            yield Workers(count, start)
        finally:
            executor.shutdown(cancel_futures=True)


def begin_threads(count: int, num_threads: int) -> ThreadPoolExecutor:
    """Start threads of Python that share PyTorch's threads.

    Args:
        count: Number of threads of Python.
        num_threads: Total number of PyTorch's threads in all of them. This thread, and threads that start later, keep
            this number.

    Returns:
        The threads, which the caller must shut down.

    Raises:
        RuntimeError: If no more threads can start.
    """
    begun = threading.Barrier(count)
    executor = ThreadPoolExecutor(count, "span_marker", set_num_threads, (max(num_threads // count, 1),))
    with _setting_threads:
        try:
            list(executor.map(lambda _: begun.wait(), range(count)))
        except BaseException:  # such as KeyboardInterrupt: started threads would wait for the others forever
            begun.abort()
            executor.shutdown()
            raise
        finally:
            if not was_forked():
                torch.set_num_threads(num_threads)  # for threads that start later
    return executor


def _under(context: AbstractContextManager[Any], task: Callable[[], T]) -> T:
    with context:
        return task()


def move_to_device(model: Model, device: str | None) -> Model:
    """Move a model to a device.

    Args:
        model: The model.
        device: The device, such as ``"cpu"`` or ``"cuda:1"``. Defaults to an accelerator if one is available.

    Returns:
        The model.

    Raises:
        ValueError: If this machine has no such device, or the model does not fit on it.
    """
    try:
        return model.to(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    except (AssertionError, RuntimeError, NotImplementedError) as error:
        raise ValueError(f"device={device!r} cannot be used: {error}") from error
