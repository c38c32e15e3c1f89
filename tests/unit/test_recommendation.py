"""What is recommended for which CPU, and the table about it in the documentation."""

from pathlib import Path

import pytest

from span_marker.core.cpu import Cpu
from span_marker.export import recommend
from span_marker.export.recommendation import ENTITIES, KINDS, USAGES, recommendation_table

PAGE = Path(__file__).parents[2] / "docs" / "export.md"

EXAMPLES = {
    "x86 with AVX512-BF16 or AMX": ("x86_64", {"avx2", "avx512_vnni", "amx_bf16"}),
    "x86 with VNNI": ("AMD64", {"avx2", "avx_vnni"}),
    "Arm with I8MM or dot product": ("aarch64", {"asimddp", "bf16"}),
    "any other": ("x86_64", {"avx2"}),
}


@pytest.mark.parametrize("title", EXAMPLES)
def test_each_kind_of_cpu_has_its_recommendation(title):
    architecture, flags = EXAMPLES[title]
    report = recommend(Cpu.from_flags(architecture, flags, 4))
    assert report.kind == title
    assert report.num_threads == 4
    assert {usage: {*ways} for usage, ways in report.ways.items()} == {usage: {*ENTITIES} for usage in USAGES}
    assert "OMP_NUM_THREADS=4" in str(report)
    assert all(str(way) in str(report) for ways in report.ways.values() for way in ways.values())
    assert ("not measured" in str(report)) != report.is_measured


def test_every_kind_is_an_example():
    assert [kind.title for kind in KINDS] == [*EXAMPLES]


def test_all_equal_means_float32_and_8_bits_come_last():
    for kind in KINDS:
        for exact, nearly, most in kind.ways.values():
            assert exact.dtype == "float32"
            assert nearly.dtype != "int8"
            assert (most.dtype == "int8") == (most.mode is not None)


def test_bfloat16_only_where_the_cpu_has_it():
    for architecture, flags in EXAMPLES.values():
        cpu = Cpu.from_flags(architecture, flags, 1)
        ways = {way for ways in recommend(cpu).ways.values() for way in ways.values()}
        assert any(way.dtype == "bfloat16" for way in ways) <= bool(cpu.features & {"AVX512-BF16", "AMX"})


def test_an_unknown_cpu_gets_what_every_cpu_can_do():
    report = recommend(Cpu.from_flags("riscv64", set(), 2))
    assert report.kind == "any other"
    assert "does not report the instructions" in str(report)


def test_this_machine_is_the_default():
    assert recommend().cpu == str(Cpu.of_this_machine())


def test_the_page_shows_the_same_table():
    page = PAGE.read_text(encoding="utf-8")
    assert f"<!-- recommendations -->\n{recommendation_table()}\n<!-- /recommendations -->" in page
