"""Runtimes that run exported graphs: ONNX Runtime and OpenVINO."""

from __future__ import annotations

import os
import sys
import threading
from abc import ABC, abstractmethod
from pathlib import Path
from types import ModuleType
from typing import Any

from span_marker.core import extras
from span_marker.core.arrays import Array, Precision
from span_marker.core.cpu import available_cpus, quota_cpus

EXTRAS = {"onnx": "onnx onnxscript onnxruntime", "openvino": "openvino"}
"""The packages that each extra for exported models installs."""


def import_extra(name: str) -> ModuleType:
    """Import an optional package that graphs need.

    Args:
        name: ``openvino``, or a package or module that comes with the extra ``onnx``.

    Returns:
        The package.

    Raises:
        ImportError: If it is not installed. The message names the package to install.
    """
    extra = "openvino" if name == "openvino" else "onnx"
    module: ModuleType = extras.import_extra(name, EXTRAS[extra], extra, "exported graphs need")
    return module


def waits_passively() -> bool:
    """Tell whether idle threads should sleep rather than spin, which takes CPU time from other processes.

    Returns:
        True if ``OMP_WAIT_POLICY`` is ``passive``, as for PyTorch; or if it is not set and the container has a CPU
        quota, which spinning would use up.
    """
    policy = os.environ.get("OMP_WAIT_POLICY", "").lower()
    return policy == "passive" or (not policy and quota_cpus() is not None)


class RuntimeGraph(ABC):
    """A graph in a runtime, on the CPU. See `span_marker.graphs.runner.Graph`. It is thread-safe.

    A forked process lacks the threads of its parent: ONNX Runtime loads the graph again, OpenVINO cannot.

    Args:
        path: The file of the graph. Its weights are in a file next to it.
        num_threads: Number of threads that run it. Defaults to that of PyTorch, if the process has imported it;
            otherwise to ``OMP_NUM_THREADS``, the quota of the container, or one per core.
        precision: Number format of the export. It is also used for computation if runtime and CPU support it.

    Raises:
        ImportError: If the runtime is not installed.
        ValueError: If the graph is broken, or has operators that the installed version of the runtime does not support.
    """

    def __init__(self, path: Path, num_threads: int | None = None, precision: Precision = "float32") -> None:
        self.path, self.num_threads, self.precision = path, num_threads, precision
        self._process = os.getpid()
        self._load()

    def __reduce__(self) -> tuple[type[RuntimeGraph], tuple[Path, int | None, Precision]]:
        return type(self), (self.path, self.num_threads, self.precision)

    def __call__(self, inputs: dict[str, Array]) -> list[Array]:
        """See `span_marker.graphs.runner.Graph`."""
        if os.getpid() != self._process:
            self._load_again()
            self._process = os.getpid()  # only now may other threads run it
        return self._run(inputs)

    @abstractmethod
    def _load(self) -> None:
        """Load the graph into the runtime."""

    def _load_again(self) -> None:
        """Load the graph in a forked process."""
        self._load()

    @abstractmethod
    def _run(self, inputs: dict[str, Array]) -> list[Array]:
        """Run the graph."""

    @property
    @abstractmethod
    def output_shapes(self) -> list[list[Any]]:
        """The shapes of the outputs. Variable sizes are not numbers."""

    @property
    def _num_threads(self) -> int:
        """Number of threads; 0 lets the runtime choose."""
        if self.num_threads is not None:
            return self.num_threads
        if torch := sys.modules.get("torch"):
            return int(torch.get_num_threads())
        named = os.environ.get("OMP_NUM_THREADS", "")
        if named.isdecimal():
            return int(named)
        return 0 if quota_cpus() is None else available_cpus()

    def _cannot_load(self, runtime: Any, package: str, error: Exception) -> ValueError:
        reason = " ".join(str(error).split())[:300]
        return ValueError(
            f"{package} {runtime.__version__} cannot load {str(self.path)!r}: {reason}. If an operator is missing, "
            f"install a newer version: pip install --upgrade {package}"
        )


class OnnxGraph(RuntimeGraph):
    """A graph in ONNX Runtime, which computes in float32 whatever weights are stored in. See `RuntimeGraph`."""

    def _load(self) -> None:
        runtime: Any = import_extra("onnxruntime")
        runtime.disable_telemetry_events()  # which it has on Windows
        options = runtime.SessionOptions()
        options.intra_op_num_threads = self._num_threads
        if waits_passively():
            options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.enable_cpu_mem_arena = False  # it would keep the memory of the largest batch
        options.enable_mem_pattern = False  # it would plan memory anew for every shape, and no two batches are alike
        options.log_severity_level = 4  # errors are raised
        try:
            self._session = runtime.InferenceSession(self.path, options, providers=["CPUExecutionProvider"])
        except _errors(runtime) as error:
            raise self._cannot_load(runtime, "onnxruntime", error) from error
        self._names = [graph_input.name for graph_input in self._session.get_inputs()]

    def _run(self, inputs: dict[str, Array]) -> list[Array]:
        outputs: list[Array] = self._session.run(None, {name: inputs[name] for name in self._names})
        return outputs

    @property
    def output_shapes(self) -> list[list[Any]]:
        """See `RuntimeGraph.output_shapes`."""
        return [output.shape for output in self._session.get_outputs()]


def _errors(runtime: Any) -> tuple[type[Exception], ...]:
    """The errors of ONNX Runtime, which have no common base class."""
    values = vars(runtime.capi.onnxruntime_pybind11_state).values()
    return (RuntimeError, *(value for value in values if isinstance(value, type) and issubclass(value, Exception)))


HINTS: dict[Precision, str] = {"float32": "f32", "float16": "f16", "bfloat16": "bf16"}
"""OpenVINO's names of the precisions."""


class OpenVinoGraph(RuntimeGraph):
    """A graph in OpenVINO, which computes in the precision of the export if the CPU can. See `RuntimeGraph`."""

    def _load(self) -> None:
        runtime: Any = import_extra("openvino")
        settings = {
            "INFERENCE_NUM_THREADS": self._num_threads,
            "INFERENCE_PRECISION_HINT": HINTS[self.precision],  # by default bfloat16, where the CPU has it
            "CPU_RUNTIME_CACHE_CAPACITY": "0",  # it would keep a plan for every shape, and no two batches are alike
        }
        core = runtime.Core()
        try:
            model = core.compile_model(core.read_model(self.path), "CPU", settings)
        except RuntimeError as error:
            raise self._cannot_load(runtime, "openvino", error) from error
        # In one step: two threads of a forked process may load the graph, and one may run it while the other does.
        self._loaded = model, model.create_infer_request(), threading.Lock()

    def _load_again(self) -> None:
        raise RuntimeError(
            "OpenVINO does not run in a process that was forked after loading a model: start processes with "
            "multiprocessing.get_context('spawn'), or load the model with backend='onnx'"
        )

    def _run(self, inputs: dict[str, Array]) -> list[Array]:
        model, request, lock = self._loaded
        names = [graph_input.any_name for graph_input in model.inputs]
        # A second request would wait for the same cores: OpenVINO runs one at a time on all of them.
        with lock:
            results = request.infer({name: inputs[name] for name in names}, share_inputs=True)
        return [results[output] for output in model.outputs]

    @property
    def output_shapes(self) -> list[list[Any]]:
        """See `RuntimeGraph.output_shapes`."""
        return [
            [size.get_length() if size.is_static else None for size in output.partial_shape]
            for output in self._loaded[0].outputs
        ]


RUNTIMES: dict[str, type[RuntimeGraph]] = {"onnx": OnnxGraph, "openvino": OpenVinoGraph}
"""The runtimes, by the name of their backend."""
