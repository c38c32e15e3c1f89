"""What the system says about a CPU, read from what systems print."""

import sys

import pytest

from span_marker.core import cpu
from span_marker.core.cpu import FEATURES, Cpu, available_cpus, flags_of, quota_cpus

EPYC = """processor\t: 0
model name\t: AMD EPYC
flags\t\t: fpu avx avx2 avx512f avx_vnni avx512_bf16 avx512_vnni
processor\t: 1
flags\t\t: fpu avx avx2 avx512f avx_vnni avx512_bf16 avx512_vnni
"""

GRAVITON = """processor\t: 0
Features\t: fp asimd asimddp i8mm bf16
processor\t: 1
Features\t: fp asimd asimddp
"""


def test_flags_are_those_of_all_cores():
    assert flags_of(EPYC) >= {"avx2", "avx512_bf16"}
    assert flags_of(GRAVITON) == {"fp", "asimd", "asimddp"}  # the second core lacks two
    assert flags_of("") == set()


def test_features_have_one_name_on_all_systems():
    assert Cpu.from_flags("x86_64", flags_of(EPYC), 2).features == {"AVX2", "AVX-512", "VNNI", "AVX512-BF16"}
    assert Cpu.from_flags("arm64", {"FEAT_DotProd", "FEAT_BF16"}, 8).features == {"dot product", "BF16"}
    assert Cpu.from_flags("AMD64", set(), 1) == Cpu("amd64", frozenset(), 1)
    for name, flags in FEATURES.items():
        assert all(Cpu.from_flags("x", {flag}, 1).features == {name} for flag in flags)


def test_a_cpu_says_what_it_is():
    assert str(Cpu.from_flags("x86_64", {"avx2"}, 2)) == "x86_64 (AVX2), 2 cores for this process"
    assert "unknown instructions" in str(Cpu("amd64", frozenset(), 2))


def test_apples_flags_come_from_sysctl(monkeypatch):
    class Done:
        stdout = "hw.optional.arm.FEAT_BF16: 1\nhw.optional.arm.FEAT_I8MM: 0\nhw.optional.floatingpoint: 1\n"

    monkeypatch.setattr(sys, "platform", "darwin")
    monkeypatch.setattr(cpu.subprocess, "run", lambda *args, **kwargs: Done())
    assert Cpu.of_this_machine().features == {"BF16"}

    def missing(*args, **kwargs):
        raise FileNotFoundError

    monkeypatch.setattr(cpu.subprocess, "run", missing)
    assert Cpu.of_this_machine().features == set()


@pytest.mark.parametrize(
    ("files", "quota"),
    [
        ({}, None),
        ({"cpu.max": "max 100000\n"}, None),
        ({"cpu.max": "150000 100000\n"}, 2),
        ({"cpu.max": "1000 100000\n"}, 1),
        ({"cpu.max": "1600000 100000\n"}, 16),
        ({"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, None),
        ({"cpu/cpu.cfs_quota_us": "300000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 3),
    ],
)
def test_a_container_has_the_cpus_of_its_quota(monkeypatch, tmp_path, files, quota):
    for name, contents in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(contents)
    monkeypatch.setattr(cpu, "CGROUPS", tmp_path)
    monkeypatch.setattr(cpu.os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    assert quota_cpus() == quota
    assert available_cpus() == min(quota or 8, 8)
