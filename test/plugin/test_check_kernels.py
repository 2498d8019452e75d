"""The gate on what nvcc makes of the kernels."""

from __future__ import annotations

import re
import shutil

import pytest
from plugin_kernels import PLUGIN

from engines.plugin.check_kernels import KernelUse, compile_for, known_architectures, parse, table

REPORT = """
ptxas info    : 0 bytes gmem
ptxas info    : Compiling entry function '_ZN13gaussian_yolo10findKernelI6__halfEEvNS_4PlanENS_9WorkspaceE' for 'sm_87'
ptxas info    : Function properties for _ZN13gaussian_yolo10findKernelI6__halfEEvNS_4PlanENS_9WorkspaceE
    16 bytes stack frame, 4 bytes spill stores, 8 bytes spill loads
ptxas info    : Used 34 registers, used 0 barriers, 776 bytes cmem[0]
ptxas info    : Compiling entry function '_ZN13gaussian_yolo10voteKernelENS_4PlanENS_9WorkspaceE' for 'sm_87'
ptxas info    : Function properties for _ZN13gaussian_yolo10voteKernelENS_4PlanENS_9WorkspaceE
    0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads
ptxas info    : Used 60 registers, used 1 barriers, 4096 bytes smem, 816 bytes cmem[0]
"""


def test_reads_the_report() -> None:
    assert parse(REPORT, 87) == [
        KernelUse("findKernel<half>", 87, registers=34, stack=16, spills=12, shared=0),
        KernelUse("voteKernel", 87, registers=60, stack=0, spills=0, shared=4096),
    ]


def test_prints_a_row_a_kernel() -> None:
    assert table(parse(REPORT, 87) + parse(REPORT, 90)).splitlines()[2:] == [
        "| `findKernel<half>` | 34 | 34 | 0 | 16 | 12 |",
        "| `voteKernel` | 60 | 60 | 4096 | 0 | 0 |",
    ]


@pytest.mark.parametrize(
    ("registers", "stack", "spills", "fault"),
    [
        (96, 64, 0, None),
        (97, 0, 0, "97 registers"),
        (1, 65, 0, "65 bytes of stack"),
        (1, 0, 4, "4 bytes of spills"),
    ],
)
def test_the_gate(registers: int, stack: int, spills: int, fault: str | None) -> None:
    found = KernelUse("k", 87, registers, stack, spills, 0).fault

    assert (found is None) if fault is None else (fault in (found or ""))


@pytest.mark.parametrize(
    "which", ["Orin", *(pytest.param(each, marks=pytest.mark.slow) for each in ("oldest", "newest"))]
)
def test_nvcc_compiles_the_kernels_within_the_gate(which: str) -> None:
    """On three architectures; check_kernels.py goes through all."""
    nvcc = shutil.which("nvcc")
    if nvcc is None:
        pytest.skip("no nvcc to compile the kernels with")
    known = known_architectures(nvcc)
    if which == "Orin" and 87 not in known:
        pytest.skip("this nvcc does not know the architecture of Orin")

    uses = compile_for(nvcc, {"oldest": known[0], "Orin": 87, "newest": known[-1]}[which])

    assert [use.fault for use in uses if use.fault] == []
    sources = "".join(path.read_text() for path in PLUGIN.glob("*.cuh"))
    assert {use.kernel.partition("<")[0] for use in uses} == set(re.findall(r"__global__ void (\w+)", sources))


def test_the_documentation_has_a_row_a_kernel_and_a_row_a_wait() -> None:
    text = (PLUGIN.parents[1] / "docs" / "kernels.md").read_text()
    sources = "".join(path.read_text() for path in PLUGIN.glob("*.cuh"))

    for kernel in re.findall(r"__global__ void (\w+)", sources):
        assert re.search(rf"^\| `{kernel}", text, re.MULTILINE), kernel
    for number in re.findall(r"GY_SYNC\((\d+)\)", sources):
        assert re.search(rf"^\| {number} \|", text, re.MULTILINE), number
