"""Runtimes that run exported graphs: ONNX Runtime."""

from __future__ import annotations

import importlib
import os
from pathlib import Path
from types import ModuleType
from typing import Any

import torch

from span_marker.encoders.graph_engine import Array


def import_extra(name: str) -> ModuleType:
    """Import a package that graphs need, which is optional.

    Args:
        name: The package: ``onnx``, ``onnxscript`` or ``onnxruntime``.

    Returns:
        The package.

    Raises:
        ImportError: If it is not installed, with what to install.
    """
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise ImportError(
            f"exported graphs need {name}, which is not installed: pip install onnx onnxscript onnxruntime, or "
            "span_marker with the extra 'onnx'"
        ) from error


class OnnxGraph:
    """A graph in ONNX Runtime, on the CPU. See `span_marker.encoders.graph_engine.Graph`.

    It runs as many threads as PyTorch does when it is loaded. A forked process, in which those threads are missing,
    loads it again.

    Args:
        path: The file of the graph. Its weights are in a file beside it.

    Raises:
        ImportError: If ONNX Runtime is not installed.
        ValueError: If the graph is broken, or has operators that the installed version does not know.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._load()

    def _load(self) -> None:
        runtime: Any = import_extra("onnxruntime")
        options = runtime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        options.enable_mem_pattern = False  # it would plan memory anew for every shape, and no two batches are alike
        options.log_severity_level = 4  # errors are raised
        try:
            self._session = runtime.InferenceSession(self.path, options, providers=["CPUExecutionProvider"])
        except _errors(runtime) as error:
            reason = str(error).partition("\n")[0]
            raise ValueError(
                f"onnxruntime {runtime.__version__} cannot load {str(self.path)!r}: {reason}. If it lacks an operator, "
                "install a newer one: pip install --upgrade onnxruntime"
            ) from error
        self._process = os.getpid()
        self._names = [graph_input.name for graph_input in self._session.get_inputs()]

    def __reduce__(self) -> tuple[type[OnnxGraph], tuple[Path]]:
        return OnnxGraph, (self.path,)

    @property
    def output_shapes(self) -> list[list[Any]]:
        """The shapes of the outputs; sizes that vary have names."""
        return [output.shape for output in self._session.get_outputs()]

    def __call__(self, inputs: dict[str, Array]) -> list[Array]:
        """See `span_marker.encoders.graph_engine.Graph`."""
        if os.getpid() != self._process:
            self._load()
        outputs: list[Array] = self._session.run(None, {name: inputs[name] for name in self._names})
        return outputs


def _errors(runtime: Any) -> tuple[type[Exception], ...]:
    """The errors of ONNX Runtime, which have no base class of their own."""
    values = vars(runtime.capi.onnxruntime_pybind11_state).values()
    return (RuntimeError, *(value for value in values if isinstance(value, type) and issubclass(value, Exception)))
