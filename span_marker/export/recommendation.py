"""Recommend a backend, number format and quantization mode for a CPU. ``docs/export.md`` shows the same table."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, NamedTuple

from span_marker.core.arrays import Precision
from span_marker.core.cpu import ARM, Cpu
from span_marker.core.tables import TextReport, markdown_table, text_table
from span_marker.encoders.graph_engine import Backend

Usage = Literal["batches", "one text"]
"""Throughput on many texts, or latency of a single one."""

Entities = Literal["all equal", "nearly all equal", "most equal"]
"""How many entities equal those of the model in float32 in PyTorch."""


class Way(NamedTuple):
    """A way to run a model.

    Attributes:
        backend: The runtime.
        dtype: Number format, see `span_marker.export.export_onnx`; ``"int8"`` for a quantized model.
        mode: With ``"int8"``, the mode of `span_marker.export.quantize`.
    """

    backend: Backend
    dtype: Precision | Literal["int8"]
    mode: Literal["dynamic", "static"] | None = None

    def __str__(self) -> str:
        mode = f", {self.mode}" if self.mode else ""
        return f"{NAMES[self.backend]}, {self.dtype}{mode}"


NAMES: dict[Backend, str] = {"torch": "PyTorch", "onnx": "ONNX Runtime", "openvino": "OpenVINO"}

SHARED_CORES = "If other processes also use them, set OMP_WAIT_POLICY=passive, too."
"""Advice against threads that wait for a core, see ``docs/parallel.md``."""

ENTITIES: tuple[Entities, ...] = ("all equal", "nearly all equal", "most equal")

ONNX, BFLOAT16, INT8 = Way("onnx", "float32"), Way("torch", "bfloat16"), Way("onnx", "int8", "dynamic")


@dataclass(frozen=True)
class Kind:
    """CPUs with the same recommendation.

    Attributes:
        title: Their common description.
        is_arm: Whether they are of the Arm architecture, or None for any.
        any_of: They have one of these instructions, see `span_marker.core.cpu.FEATURES`; empty for any CPU.
        ways: The fastest way by usage, for each of `ENTITIES`.
        reason: Why.
        is_measured: Whether it was measured on such a CPU, rather than concluded from its instructions.
    """

    title: str
    is_arm: bool | None
    any_of: frozenset[str]
    ways: Mapping[Usage, tuple[Way, Way, Way]]
    reason: str
    is_measured: bool = False

    def fits(self, cpu: Cpu) -> bool:
        """Tell whether a CPU is of this kind."""
        is_arm = cpu.architecture in ARM
        return self.is_arm in (None, is_arm) and (not self.any_of or bool(self.any_of & cpu.features))

    def row(self) -> list[str]:
        """The row of the table: title, ways for batches and for one text, and whether it was measured."""
        cells = [" / ".join(map(str, dict.fromkeys(self.ways[usage]))) for usage in USAGES]
        return [self.title, *cells, self.reason, "yes" if self.is_measured else "no"]


USAGES: tuple[Usage, ...] = ("batches", "one text")

KINDS = (
    Kind(
        "x86 with AVX512-BF16 or AMX",
        False,
        frozenset({"AVX512-BF16", "AMX"}),
        {"batches": (ONNX, BFLOAT16, INT8), "one text": (ONNX, ONNX, INT8)},
        "products in bfloat16 are fast, so 8 bits gain little more in batches; for one text, the overhead of calls "
        "dominates",
        is_measured=True,
    ),
    Kind(
        "x86 with VNNI",
        False,
        frozenset({"VNNI"}),
        {"batches": (ONNX, ONNX, INT8), "one text": (ONNX, ONNX, INT8)},
        "products of 8-bit numbers are fast, but those in bfloat16 are emulated",
    ),
    Kind(
        "Arm with I8MM or dot product",
        True,
        frozenset({"I8MM", "dot product"}),
        {"batches": (ONNX, ONNX, INT8), "one text": (ONNX, ONNX, INT8)},
        "products of 8-bit numbers are fast; whether those in bfloat16 are depends on the build of PyTorch",
    ),
    Kind(
        "any other",
        None,
        frozenset(),
        {"batches": (ONNX, ONNX, ONNX), "one text": (ONNX, ONNX, ONNX)},
        "there are no instructions for 8 bits or bfloat16: they save memory rather than time",
    ),
)
"""The first kind that matches a CPU applies."""


@dataclass(frozen=True)
class Recommendation(TextReport):
    """How to run models on a CPU. Its string has a table and the reasons.

    Attributes:
        cpu: The CPU and its features.
        kind: The row of the table in ``docs/export.md``.
        ways: The fastest way by usage (``"batches"``, ``"one text"``), and by how many entities equal those of the
            model in float32 in PyTorch (``"all equal"``, ``"nearly all equal"``, ``"most equal"``).
        num_threads: Number of threads to set, ``OMP_NUM_THREADS``.
        reasons: Why, in sentences.
        is_measured: Whether it was measured on such a CPU, rather than concluded from its instructions.
    """

    cpu: str
    kind: str
    ways: Mapping[Usage, Mapping[Entities, Way]]
    num_threads: int
    reasons: tuple[str, ...]
    is_measured: bool

    def __str__(self) -> str:
        rows = [("entities", *USAGES)]
        rows += [(entities, *(str(self.ways[usage][entities]) for usage in USAGES)) for entities in ENTITIES]
        return "\n".join([self.cpu, "", text_table(rows), "", *(f"- {reason}" for reason in self.reasons)])


def recommend(cpu: Cpu | None = None) -> Recommendation:
    """Recommend a backend, a number format and a quantization mode for a CPU.

    The recommendation is based on the features of the CPU and on measurements with one small encoder, see
    ``docs/export.md``. Results for your model may differ: measure them with ``span-marker bench``.

    Args:
        cpu: The CPU. Defaults to that of this machine.

    Returns:
        The recommendation and its reasons.

    Example:
        >>> from span_marker.core.cpu import Cpu
        >>> recommend(Cpu.from_flags("x86_64", {"avx2", "avx512_bf16"}, 4)).ways["batches"]["nearly all equal"]
        Way(backend='torch', dtype='bfloat16', mode=None)
    """
    cpu = cpu or Cpu.of_this_machine()
    kind = next(kind for kind in KINDS if kind.fits(cpu))
    ways = {usage: dict(zip(ENTITIES, kind.ways[usage], strict=True)) for usage in USAGES}
    reasons = [f"{kind.title}: {kind.reason}."]
    if any(INT8 in kind.ways[usage] for usage in USAGES):
        reasons.append("In 8 bits, mode='static' changes fewer entities, but is a quarter slower: measure both.")
    if not kind.is_measured:
        reasons.append("This recommendation was not measured on such a CPU: check it with span-marker bench.")
    if not cpu.features:
        reasons.append(
            "The system does not report the instructions of the CPU, so only those that every CPU has are assumed."
        )
    reasons.append(f"OMP_NUM_THREADS={cpu.num_cpus}: the number of cores that this process may use. {SHARED_CORES}")
    return Recommendation(str(cpu), kind.title, ways, cpu.num_cpus, tuple(reasons), kind.is_measured)


def recommendation_table() -> str:
    """Write the recommendations for all kinds of CPUs as a table in Markdown, as ``docs/export.md`` shows it."""
    return markdown_table(["CPU", *USAGES, "why", "measured"], [kind.row() for kind in KINDS])
