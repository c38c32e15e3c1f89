"""The CPU of this machine: how many cores this process may use, and which instructions it supports."""

from __future__ import annotations

import math
import os
import platform
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

FEATURES: Mapping[str, frozenset[str]] = {
    "AVX2": frozenset({"avx2"}),
    "AVX-512": frozenset({"avx512f"}),
    "VNNI": frozenset({"avx512_vnni", "avx512vnni", "avx_vnni"}),
    "AVX512-BF16": frozenset({"avx512_bf16"}),
    "AMX": frozenset({"amx_bf16"}),
    "dot product": frozenset({"asimddp", "FEAT_DotProd"}),
    "I8MM": frozenset({"i8mm", "FEAT_I8MM"}),
    "BF16": frozenset({"bf16", "FEAT_BF16"}),
}
"""Instructions that affect the speed of models, those of Arm last, and the flags by which systems name them."""

ARM = ("aarch64", "arm64")
"""Names of 64-bit Arm on different systems."""

CGROUPS = Path("/sys/fs/cgroup")
"""Folder in which Linux describes the resources of a container."""

FLAG_LINES = ("flags", "Features")
"""The lines of ``/proc/cpuinfo`` with the flags of a core, on x86 and on Arm."""


@dataclass(frozen=True)
class Cpu:
    """The CPU of a machine.

    Attributes:
        architecture: Such as ``"x86_64"``, in lower case.
        features: Its instructions, keys of `FEATURES`; empty if the system does not list them.
        num_cpus: Number of cores that this process may use.
    """

    architecture: str
    features: frozenset[str]
    num_cpus: int

    @classmethod
    def from_flags(cls, architecture: str, flags: set[str], num_cpus: int) -> Cpu:
        """Describe a CPU by the flags that its system lists.

        Args:
            architecture: See `Cpu`.
            flags: Names of its instructions.
            num_cpus: See `Cpu`.

        Returns:
            The CPU.
        """
        return cls(architecture.lower(), frozenset(name for name, names in FEATURES.items() if names & flags), num_cpus)

    @classmethod
    def of_this_machine(cls) -> Cpu:
        """Describe the CPU of this machine, on Linux and macOS. On other systems, its instructions are unknown."""
        return cls.from_flags(platform.machine(), _read_flags(), available_cpus())

    def __str__(self) -> str:
        known = ", ".join(name for name in FEATURES if name in self.features) or "unknown instructions"
        return f"{self.architecture} ({known}), {self.num_cpus} cores for this process"


def _read_flags() -> set[str]:
    if sys.platform == "darwin":
        return _read_sysctl()
    path = Path("/proc/cpuinfo")
    return flags_of(path.read_text(encoding="utf-8", errors="replace")) if path.is_file() else set()


def flags_of(cpuinfo: str) -> set[str]:
    """Read the flags of a CPU.

    Args:
        cpuinfo: The contents of ``/proc/cpuinfo``.

    Returns:
        The flags that all cores share, since a CPU may have different cores.
    """
    lines = (line.partition(":") for line in cpuinfo.splitlines())
    flags = [set(values.split()) for name, _, values in lines if name.strip() in FLAG_LINES]
    return set.intersection(*flags) if flags else set()


def _read_sysctl() -> set[str]:
    """Flags of Apple's CPUs, such as ``hw.optional.arm.FEAT_BF16: 1``."""
    try:
        listed = subprocess.run(["sysctl", "hw.optional"], capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return set()
    pairs = (line.partition(": ") for line in listed.splitlines())
    return {name.rpartition(".")[2] for name, _, value in pairs if value.strip() == "1"}


def available_cpus() -> int:
    """Count the CPUs that this process may use: its affinity, and the quota of its container if it has one.

    Returns:
        At least 1.
    """
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(count, quota_cpus() or count)


def quota_cpus() -> int | None:
    """Read the quota of the container that this process runs in.

    Returns:
        The number of CPUs whose time it may use, rounded up; None if there is no quota.
    """
    whole = CGROUPS / "cpu.max"  # version 2 of cgroups
    parts = [CGROUPS / "cpu" / f"cpu.cfs_{name}_us" for name in ("quota", "period")]  # version 1
    files = next((files for files in ([whole], parts) if all(file.is_file() for file in files)), [])
    values = " ".join(file.read_text(encoding="ascii") for file in files).split()
    if not values or values[0] in ("max", "-1"):
        return None
    return max(math.ceil(int(values[0]) / int(values[1])), 1)
